"""The report on the paper: its head, its sections, a page for each instance left out, and the figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...comparison import AGREEMENT
from ...plotting import ACTIVATION_LABELS, Panel
from ...report import Picture, write_page
from . import _findings as findings
from ._captions import CAPTIONS, LEFT_OUT
from ._dropped import left_out, pages
from ._sections import sections
from ._study import Study
from ._tables import flatness, flatness_statement

PAGE_WIDTH = 900
"""The width of the pictures of left-out instances, in pixels: there may be forty of them."""

LEAD = (
    "A reproduction of Bae and Jeong's study of two-layer networks on inputs with Gaussian-mixture structure, preset "
    "“{}”. Every number below was measured for it, unless it is called the paper's."
)
QUESTION = (
    "Online SGD in a two-layer student has an exact description by differential equations for the order parameters Q, "
    "R and v when the latent inputs are Gaussian (the hidden manifold model). Does that description still hold when "
    "the latent inputs are Gaussian mixtures, far from N(0, I) in the sense of D_KL? The distance between theory and "
    "SGD is M, the mean over log-spaced times of |x(t) − x̂(t)|, (18)–(20), averaged over matrix entries and instances. "
    "The noise floor is M of SGD on Gaussian inputs against the same theory. The paper gives no threshold for "
    f"agreement; here theory and SGD agree where M is at most {AGREEMENT:g} × the noise floor."
)


def write_report(
    path: Path,
    study: Study,
    *,
    figures: Mapping[str, Path | bytes],
    provenance: Mapping[str, str],
    preset: str,
    readings: Mapping[str, Sequence[Panel]] | None = None,
) -> None:
    """Write one HTML file that needs nothing else: figures and a small script are in it, and no outside resources.

    Parameters
    ----------
    path
        The file to write, usually ``index.html``.
    study
        The datasets the figures were drawn from; every number in the text comes from them.
    figures
        PNG files, or their bytes, under the names of :func:`~sgdlimit.papers.bae_jeong_2024.paper_figures`; any others
        go at the end.
    provenance
        Versions, seeds, wall time, command: shown as they are.
    preset
        Name of the preset.
    readings
        By the name of a figure what can be read off it, see :func:`sgdlimit.plotting.hover_panels`. Figures without
        readings are plain pictures.
    """
    about = pages(study)
    small = {page.figure: f"{page.title}. {LEFT_OUT}" for page in about}
    captions = {**CAPTIONS, **small}
    write_page(
        path,
        title=f"SGD on Gaussian mixtures: a reproduction ({preset})",
        heading="Learning dynamics on Gaussian mixtures, theory beside SGD",
        lead=LEAD.format(preset),
        question=QUESTION,
        summary=_summary(study),
        settings=_settings(study),
        sections=[*sections(study), left_out(study)],
        pages=about,
        pictures={
            name: Picture(
                captions.get(name, name),
                figure,
                f"sgdlimit figure {name} ." if name in captions else "",
                (readings or {}).get(name, ()),
                PAGE_WIDTH if name in small else None,
            )
            for name, figure in figures.items()
        },
        provenance=provenance,
    )


def _summary(study: Study) -> dict[str, list[str]]:
    """The results in short, by topic."""
    grid, blocks, names = study.grid, study.blocks, study.activations
    flat = [name for name in names if 2 in grid["components"].values]
    return {
        "Standardised mixtures": [findings.discrepancy_verdict(grid, name, True) for name in names],
        "Flat in α?": [f"{ACTIVATION_LABELS[name]}: {flatness_statement(flatness(grid, name))}" for name in flat],
        "Un-standardised mixtures": [findings.discrepancy_verdict(grid, name, False) for name in names],
        "Un-standardised, with the mixture theory": [
            findings.mixture_discrepancy_verdict(grid, name) for name in names
        ],
        "Blocks of correlated coordinates": [
            findings.block_verdict(blocks, name, law) for law in findings.LAWS for name in names
        ],
    }


def _settings(study: Study) -> dict[str, str]:
    """What was computed, by name."""
    grid, blocks, theory, sgd = study.grid, study.blocks, study.examples_theory, study.examples_sgd

    def listed(values: Any) -> str:
        return ", ".join(f"{value:g}" for value in values.values)

    kept = ", ".join(
        f"{int(count)} ({ACTIVATION_LABELS[name]})"
        for name, count in zip(study.activations, grid["kept"].sum("instance").values, strict=True)
    )
    example = ", ".join(f"{key} {sgd.attrs[key]}" for key in ("components", "spread", "instance") if key in sgd.attrs)
    problem, times = json.loads(grid.attrs.get("problem", "{}")), theory["time"].values
    symbols = {"input_dim": "N", "latent_dim": "D", "learning_rate": "η", "nonlinearity": "f"}
    network = ", ".join(f"{symbol} = {problem[key]}" for key, symbol in symbols.items() if key in problem)
    return ({"Network": network} if network else {}) | {
        "Student and teacher": f"K = {theory.sizes['student']}, M = {theory.sizes['teacher']} hidden units",
        "Activations": ", ".join(ACTIVATION_LABELS[name] for name in study.activations),
        "Time": f"t = steps/N from {times[0]:g} to {times[-1]:g}, {len(times)} log-spaced points",
        "Components m": listed(grid["components"]),
        "Range α of the means": listed(grid["spread"]),
        "Instances": f"{grid.sizes['instance']}, of which kept: {kept}",
        "Example": f"{example}; {sgd.sizes['run']} SGD runs",
        "Block sizes B": f"{listed(blocks['block_size'])}; α = {listed(blocks['spread'])}; "
        f"{blocks.sizes['instance']} instances",
    }
