"""What a page is made of: sections with a claim, what was measured, figures and tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

__all__ = ["Link", "Section", "Shown", "Table", "formula", "numbers", "slug"]


@dataclass(frozen=True)
class Shown:
    """A figure on the page."""

    name: str
    caption: str
    source: str
    command: str
    """That draws it again, in the folder of the report."""
    readings: str = ""
    """What can be read off it, as JSON; nothing where that is not known."""


@dataclass(frozen=True)
class Table:
    """A table on the page, its numbers formatted already."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    text: bool = False
    """Whether it is words rather than numbers."""


@dataclass(frozen=True)
class Link:
    """To a page about one thing."""

    text: str
    target: str


@dataclass
class Section:
    """A heading, what the paper reports, what was measured, and the figures and tables that show it."""

    title: str
    paper: str = ""
    """What it is measured against; under the heading :attr:`said`."""
    measured: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    links: Sequence[Link] = ()
    anchor: str = ""
    said: str = "The paper claims"

    @property
    def id(self) -> str:
        """The anchor, by default made of the title."""
        return self.anchor or slug(self.title)


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


def numbers(caption: str, table: pd.DataFrame, form: str, *, index: bool = True) -> Table:
    """A table of numbers, – where there is none."""

    def cell(value: object) -> str:
        return "–" if isinstance(value, float) and np.isnan(value) else form.format(value)

    rows = [
        [str(name)] * index + [cell(value) for value in row]
        for name, row in zip(table.index, table.values, strict=True)
    ]
    return Table(caption, [""] * index + [str(name) for name in table.columns], rows, text=not index)
