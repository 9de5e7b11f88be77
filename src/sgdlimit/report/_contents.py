"""The parts of a page: sections with a claim and the measurements, figures and tables."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup, escape

from ..plotting import Panel


class Picture(NamedTuple):
    """A figure on the page."""

    caption: str
    file: Path
    """A PNG file."""
    command: str
    """The command that draws it again, in the folder of the report."""
    panels: Sequence[Panel]
    """The values to show at the pointer, see :func:`sgdlimit.plotting.hover_panels`."""
    width: int | None
    """Its largest width in pixels, to keep a page with many pictures small."""


class Table(NamedTuple):
    """A table on the page, its numbers formatted already."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    text: bool = False
    """Whether the cells are words rather than numbers."""


class Finding(NamedTuple):
    """A sentence about a measurement, the table behind it, or both."""

    text: str = ""
    table: Table | None = None


class Section(NamedTuple):
    """A heading, a claim, the findings, and the figures that show them."""

    title: str
    claim: str = ""
    """The claim to compare with, under the heading :attr:`source`."""
    found: Sequence[Finding] = ()
    figures: Sequence[str] = ()
    pages: bool = False
    """Whether the section lists the pages about single cases."""
    source: str = "The paper claims"

    @property
    def id(self) -> str:
        """The anchor, made of the title."""
        return slug(self.title)

    @property
    def measured(self) -> list[str]:
        """The sentences."""
        return [finding.text for finding in self.found if finding.text]

    @property
    def tables(self) -> list[Table]:
        """The tables, in the order of their sentences."""
        return [finding.table for finding in self.found if finding.table]


class Page(NamedTuple):
    """A page about one case, which is shown by itself."""

    title: str
    facts: Mapping[str, str]
    figure: str
    table: Table

    @property
    def id(self) -> str:
        """The anchor, made of the name of the figure."""
        return slug(self.figure)


class Report(NamedTuple):
    """All that is on one page of results."""

    title: str
    """The title of the window."""
    heading: str
    lead: str
    """A sentence below the heading."""
    question: str
    """What the study answers."""
    summary: Mapping[str, Sequence[str]]
    """The results in short, by topic."""
    settings: Mapping[str, str]
    """What was computed."""
    sections: Sequence[Section]
    pages: Sequence[Page]
    pictures: Mapping[str, Picture]
    """The figures by the names that sections and pages use."""
    provenance: Mapping[str, str]
    """What it was computed with: versions, seeds, wall time, command."""


def slug(text: str) -> str:
    """A title as an anchor.

    Examples
    --------
    >>> slug("Beyond the paper: Lemma V.1 in numbers")
    'beyond-the-paper-lemma-v-1-in-numbers'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def formula(text: str) -> Markup:
    """Escaped text with the subscripts of D_KL, ε_g, Q0,1 and M_{α=3} set, and proper minus signs."""
    safe = str(escape(text))
    safe = re.sub(r"(D|ε)_(KL|g)\b", r"\1<sub>\2</sub>", safe)
    safe = re.sub(r"_\{([^}]*)\}", r"<sub>\1</sub>", safe)
    safe = re.sub(r"\b([QRv])(\d+(?:,\d+)?)\b", r"\1<sub>\2</sub>", safe)
    return Markup(re.sub(r"(?<![\w-])-(?=\d)", "−", safe))


def numbers(caption: str, table: pd.DataFrame, form: str = "{}", *, index: bool = True) -> Table:
    """A table of numbers, – where there is none."""
    cells = table.map(lambda value: "–" if pd.isna(value) else form.format(value))
    rows = [[str(name)] * index + row for name, *row in cells.itertuples()]
    return Table(caption, [""] * index + [*map(str, table.columns)], rows, text=not index)
