"""One HTML file that needs nothing else: figures, their values and a small script are in it."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from ..plotting import Panel
from ._contents import Page, Picture, Section, formula


def write_page(
    path: Path,
    *,
    title: str,
    heading: str,
    lead: str,
    question: str,
    summary: Mapping[str, Sequence[str]],
    settings: Mapping[str, str],
    sections: Sequence[Section],
    pages: Sequence[Page],
    pictures: Mapping[str, Picture],
    provenance: Mapping[str, str],
) -> None:
    """Write the page.

    Parameters
    ----------
    path
        The file to write, usually ``index.html``.
    title, heading, lead, question
        The title of the window, the heading, a sentence below it, and the question that the study answers.
    summary
        The results in short, by topic.
    settings, provenance
        What was computed, and with what: versions, seeds, wall time, command.
    sections, pages
        The rest, in this order. Pictures that no section or page shows come at the end.
    pictures
        The figures by the names that sections and pages use.
    """
    placed = {name for section in sections for name in section.figures} | {page.figure for page in pages}
    others = [name for name in pictures if name not in placed]
    environment = Environment(
        loader=PackageLoader("sgdlimit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"formula": formula, "embedded": _embedded, "readings": _readings}
    html = environment.get_template("page.html.j2").render(
        title=title,
        heading=heading,
        lead=lead,
        question=question,
        summary=summary,
        settings=settings,
        sections=[*sections, *([Section("Further figures", figures=others)] if others else [])],
        pages=pages,
        pictures=pictures,
        provenance=provenance,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


def _embedded(picture: Picture) -> str:
    """A PNG of at most 256 colours, which is all that lines on white need and a third of the size."""
    with Image.open(BytesIO(picture.file) if isinstance(picture.file, bytes) else picture.file) as opened:
        full = opened.convert("RGB")
    if picture.width is not None:
        full.thumbnail((picture.width, full.height), Image.Resampling.LANCZOS)
    written = BytesIO()
    full.quantize(256, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(written.getvalue()).decode("ascii")


def _readings(panels: Sequence[Panel]) -> str:
    """What can be read off a figure as JSON that may stand in HTML; curves over the same points share them."""
    points: dict[tuple[float, ...], int] = {}

    def shared(panel: Panel) -> list[Any]:
        return [
            (curve.name, points.setdefault(tuple(curve.x.tolist()), len(points)), curve.y.tolist())
            for curve in panel.curves
        ]

    drawn = [(*panel[:-1], shared(panel)) for panel in panels]
    text = json.dumps({"x": list(points), "panels": drawn}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")
