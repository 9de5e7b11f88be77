"""One HTML file that needs nothing else: figures, their values and a small script are in it."""

import json
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from ..plotting import Panel
from ._contents import Picture, Report, Section, formula


def write_page(path: Path, report: Report) -> None:
    """Write a report to a file, usually ``index.html``."""
    placed = {name for section in report.sections for name in section.figures} | {page.figure for page in report.pages}
    others = [name for name in report.pictures if name not in placed]
    further = [Section("Further figures", figures=others)] if others else []
    environment = Environment(
        loader=PackageLoader("sgdlimit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"formula": formula, "embedded": _embedded, "readings": _readings}
    contents = report._asdict() | {"sections": [*report.sections, *further]}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.get_template("page.html.j2").render(contents), encoding="utf-8")


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
    drawn = []
    for *axes, curves in panels:
        shared = [
            (curve.name, points.setdefault(tuple(curve.x.tolist()), len(points)), curve.y.tolist()) for curve in curves
        ]
        drawn.append((*axes, shared))
    text = json.dumps({"x": list(points), "panels": drawn}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")
