"""One HTML file that needs nothing else: figures, their values and a small script are in it."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from ._contents import Picture, Report, formula


def write_page(path: Path, report: Report) -> None:
    """Write a report to a file, usually ``index.html``."""
    environment = Environment(
        loader=PackageLoader("sgdlimit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"formula": formula, "embedded": _embedded}
    readings = {"default": np.ndarray.tolist, "ensure_ascii": False, "separators": (",", ":")}
    environment.policies["json.dumps_kwargs"] = readings
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.get_template("page.html.j2").render(report._asdict()), encoding="utf-8")


def _embedded(picture: Picture) -> str:
    """A PNG of at most 256 colours, which is all that lines on white need and a third of the size."""
    with Image.open(picture.file) as opened:
        full = opened.convert("RGB")
    full.thumbnail((picture.width or full.width, full.height), Image.Resampling.LANCZOS)
    written = BytesIO()
    full.quantize(256, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(written.getvalue()).decode("ascii")
