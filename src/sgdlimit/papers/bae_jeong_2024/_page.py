"""The page itself, one HTML file."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from ...comparison import AGREEMENT
from ...plotting import Panel
from . import _findings as findings
from ._beyond import beyond_the_paper
from ._captions import CAPTIONS
from ._claims import claim, discrepancy, dynamics, has_two, table, universality
from ._contents import Section, Shown, formula
from ._dropped import ANCHOR, CAPTION, left_out, pages
from ._summary import settings, summary

__all__ = ["write_report"]

PAGE_WIDTH = 900
"""Of the pictures of left-out instances, in pixels: there may be forty of them."""


def write_report(
    path: Path,
    *,
    figures: Mapping[str, Path | bytes],
    grid: xr.Dataset,
    blocks: xr.Dataset,
    examples_theory: xr.Dataset,
    examples_sgd: xr.Dataset,
    examples_mixture: xr.Dataset,
    sample_means: xr.Dataset,
    sizes: xr.Dataset,
    mixture: xr.Dataset,
    correlations: xr.Dataset,
    expectations: xr.Dataset,
    cases: xr.Dataset,
    provenance: Mapping[str, str],
    preset: str,
    readings: Mapping[str, Sequence[Panel]] | None = None,
) -> None:
    """Write one HTML file that needs nothing else: figures and a small script are in it, and no outside resources.

    Parameters
    ----------
    path
        The file to write, usually ``index.html``.
    figures
        PNG files, or their bytes, under the names of :func:`sgdlimit.figures.paper_figures`, and those of left-out
        instances under :func:`sgdlimit.papers.bae_jeong_2024.case_name`; any others go at the end.
    grid, blocks, examples_theory, examples_sgd, examples_mixture, sample_means, sizes, mixture, correlations, \
expectations
        The datasets the figures were drawn from; every number in the text comes from them.
    cases
        The instances left out, see :func:`sgdlimit.papers.bae_jeong_2024.left_out`.
    provenance
        Versions, seeds, wall time, command: shown as they are.
    preset
        Name of the preset.
    readings
        By the name of a figure what can be read off it, see :func:`sgdlimit.figures.hover_panels`. Figures without
        are pictures and no more.
    """
    activations = [str(name) for name in grid["activation"].values]
    sections = [
        claim(grid, blocks, activations),
        dynamics(examples_theory, examples_sgd, activations, standardized=False, ensemble=examples_mixture),
        discrepancy(grid, activations, standardized=False),
        dynamics(examples_theory, examples_sgd, activations, standardized=True),
        discrepancy(grid, activations, standardized=True),
        *(table(grid, name) for name in ("erf", "relu") if name in activations and has_two(grid)),
        Section(
            "Expectations of f under a mixture",
            "The sample means of erf, ReLU and sgn under the standardised mixture and under N(0, 1) are shown as "
            "indirect evidence that E f is the same under both (Lemma C.1, Figure S1).",
            [findings.sample_mean_verdict(sample_means)],
            ["figure_S1"],
        ),
        Section(
            "Distance of the mixtures from a Gaussian",
            "D_KL(P ‖ N) rises monotonically with α; more components overlap more, which reduces it (Figure S2).",
            [findings.kl_verdict(grid)],
            ["figure_S2"],
        ),
        universality(blocks, activations),
        *beyond_the_paper(sizes, mixture, correlations, expectations),
        left_out(grid, blocks, cases),
    ]
    about = pages(grid, cases)
    placed = {name for section in sections for name in section.figures} | {page.figure for page in about}
    others = [name for name in figures if name not in placed]
    if others:
        sections.append(Section("Further figures", figures=others))
    small = {page.figure for page in about}
    captions = {**CAPTIONS, **{page.figure: f"{page.title}. {CAPTION}" for page in about}}
    shown = {
        name: Shown(
            name,
            captions.get(name, name),
            _embedded(figure, PAGE_WIDTH if name in small else None),
            f"sgdlimit figure {name} ." if name in captions else "",
            _readings((readings or {}).get(name, ())),
        )
        for name, figure in figures.items()
    }
    environment = Environment(
        loader=PackageLoader("sgdlimit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["formula"] = formula
    html = environment.get_template("page.html.j2").render(
        preset=preset,
        summary=summary(grid, blocks, activations),
        settings=settings(grid, blocks, examples_theory, examples_sgd),
        sections=sections,
        pages=about,
        back=ANCHOR,
        shown=shown,
        provenance=dict(provenance),
        factor=f"{AGREEMENT:g}",
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


def _embedded(figure: Path | bytes, width: int | None = None) -> str:
    """A PNG of at most 256 colours, which is all that lines on white need and a third of the size."""
    with Image.open(BytesIO(figure) if isinstance(figure, bytes) else figure) as picture:
        full = picture.convert("RGB")
    if width is not None and width < full.width:
        full = full.resize((width, round(full.height * width / full.width)), Image.Resampling.LANCZOS)
    few = full.quantize(256, dither=Image.Dither.NONE)
    written = BytesIO()
    few.save(written, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(written.getvalue()).decode("ascii")


def _readings(panels: Sequence[Panel]) -> str:
    """What can be read off a figure as JSON that may stand in HTML; curves over the same points share them."""
    points: list[str] = []

    def place(x: np.ndarray) -> int:
        written = _numbers(x)
        if written not in points:
            points.append(written)
        return points.index(written)

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False).replace("<", "\\u003c").replace("&", "\\u0026")

    drawn = []
    for panel in panels:
        curves = ",".join(f"[{quoted(curve.name)},{place(curve.x)},{_numbers(curve.y)}]" for curve in panel.curves)
        axes = [
            f"[{quoted(label)},{int(scale == 'log')},{low:.6g},{high:.6g}]"
            for label, scale, (low, high) in (
                (panel.x_label, panel.x_scale, panel.x_limits),
                (panel.y_label, panel.y_scale, panel.y_limits),
            )
        ]
        box = ",".join(f"{share:.5f}" for share in panel.box)
        drawn.append(f"[{quoted(panel.title)},[{box}],{axes[0]},{axes[1]},[{curves}]]")
    return f'{{"x":[{",".join(points)}],"panels":[{",".join(drawn)}]}}' if drawn else ""


def _numbers(values: np.ndarray) -> str:
    return "[" + ",".join(f"{value:.5g}" for value in values) + "]"
