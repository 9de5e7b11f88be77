"""The report on the paper: its head, its sections, a page for each instance left out, and the figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame
from xarray import DataArray, Dataset

from ...comparison import AGREEMENT, discrepancy, magnitude
from ...plotting import ACTIVATION_LABELS, Panel, entries
from ...report import Finding, Page, Picture, Report, Section, numbers, write_page
from . import _findings as findings
from ._averages import METRICS, Study
from ._captions import CAPTIONS, LEFT_OUT
from ._grids import AGREEMENT_OF_GAUSSIAN, case_name, trajectories_of
from ._sections import BLOCKS_TITLE, DISCREPANCY_TITLE, sections
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
    figures: Mapping[str, tuple[Path, Sequence[Panel]]],
    provenance: Mapping[str, str],
    preset: str,
) -> None:
    """Write one HTML file that needs nothing else: figures and a small script are in it, and no outside resources.

    Parameters
    ----------
    path
        The file to write, usually ``index.html``.
    study
        The datasets the figures were drawn from; every number in the text comes from them.
    figures
        PNG files under the names of ``paper_figures``, and what can be read off them, see
        :func:`sgdlimit.plotting.hover_panels`. Figures without readings are plain pictures.
    provenance
        Versions, seeds, wall time, command: shown as they are.
    preset
        Name of the preset.
    """
    grid, names, parts = study.grid, study.activations, [*sections(study), _left_out(study)]
    flat = [name for name in names if 2 in grid["components"].values]
    measured = {section.title: section.measured for section in parts}
    standardized, raw = (measured[DISCREPANCY_TITLE.format(law)] for law in findings.LAWS.values())
    about = [_page(grid, study.cases, place) for place in range(study.cases.sizes["case"])]
    small = {page.figure: f"{page.title}. {LEFT_OUT}" for page in about}
    captions = CAPTIONS | small
    report = Report(
        title=f"SGD on Gaussian mixtures: a reproduction ({preset})",
        heading="Learning dynamics on Gaussian mixtures, theory beside SGD",
        lead=LEAD.format(preset),
        question=QUESTION,
        summary={
            "Standardised mixtures": standardized,
            "Flat in α?": [f"{ACTIVATION_LABELS[name]}: {flatness_statement(flatness(grid, name))}" for name in flat],
            "Un-standardised mixtures": raw[: len(names)],
            "Un-standardised, with the mixture theory": raw[len(names) :],
            "Blocks of correlated coordinates": measured[BLOCKS_TITLE],
        },
        settings=_settings(study),
        sections=parts,
        pages=about,
        pictures={
            name: Picture(
                captions[name], file, f"sgdlimit figure {name} .", panels, PAGE_WIDTH if name in small else None
            )
            for name, (file, panels) in figures.items()
        },
        provenance=provenance,
    )
    write_page(path, report)


def _settings(study: Study) -> dict[str, str]:
    """What was computed, by name."""
    grid, blocks, theory, sgd = study.grid, study.blocks, study.examples_theory, study.examples_sgd
    kept = ", ".join(
        f"{count} ({ACTIVATION_LABELS[str(name)]})" for name, count in grid["kept"].sum("instance").to_series().items()
    )
    example = ", ".join(f"{key} {sgd.attrs[key]}" for key in ("components", "spread", "instance"))
    problem, times = json.loads(grid.attrs["problem"]), theory["time"].values
    symbols = {"input_dim": "N", "latent_dim": "D", "learning_rate": "η", "nonlinearity": "f"}
    return {
        "Network": ", ".join(f"{symbol} = {problem[key]}" for key, symbol in symbols.items()),
        "Student and teacher": f"K = {theory.sizes['student']}, M = {theory.sizes['teacher']} hidden units",
        "Activations": ", ".join(ACTIVATION_LABELS[name] for name in study.activations),
        "Time": f"t = steps/N from {times[0]:g} to {times[-1]:g}, {len(times)} log-spaced points",
        "Components m": _listed(grid["components"]),
        "Range α of the means": _listed(grid["spread"]),
        "Instances": f"{grid.sizes['instance']}, of which kept: {kept}",
        "Example": f"{example}; {sgd.sizes['run']} SGD runs",
        "Block sizes B": f"{_listed(blocks['block_size'])}; α = {_listed(blocks['spread'])}; "
        f"{blocks.sizes['instance']} instances",
    }


def _listed(values: DataArray) -> str:
    return ", ".join(f"{value:g}" for value in values.values)


def _left_out(study: Study) -> Section:
    """How many instances and runs were left out, by which rule, with a link to the page of each instance."""
    grid, blocks = study.grid, study.blocks
    rows = grid[["kept", "reason"]].to_dataframe(dim_order=["activation", "instance"]).query("~kept").reset_index()
    dropped = rows.replace({"activation": ACTIVATION_LABELS}).filter(["instance", "activation", "reason"])
    count = f"{grid.sizes['instance']} × {grid.sizes['activation']}"
    first = Finding(f"None of the {count} instances was left out: every instance is in the means, so none has a page.")
    if len(dropped):
        text = f"{len(dropped)} of {count} instances are not in the means; each has a page."
        first = Finding(text, numbers("Instances left out of the means", dropped, index=False))
    mixture = (
        f"The mixture theory diverged {int(grid['mixture_diverged'].sum())} times in the grid and "
        f"{int(blocks['theory_diverged'].sum())} times in the block-size study; those M are not in the means."
    )
    return Section(
        "What was left out",
        "Of 20 different Gaussian mixtures those where the ODE and the SGD of the simple Gaussian differ significantly "
        "are excluded, and 10 are sampled. It gives no threshold. Here a mixture means an instance, with F and weights "
        "of its own.",
        [first, _divergences("grid", grid), _divergences("block-size study", blocks), Finding(mixture)],
        pages=True,
        source="The paper says",
    )


def _divergences(name: str, dataset: Dataset) -> Finding:
    """How many SGD runs diverged, by condition, kept instances or not."""
    rows = dataset["diverged"].sum("instance").to_dataframe().query("diverged > 0").reset_index()
    if rows.empty:
        return Finding(f"No SGD runs of the {name} diverged.")
    words = {"activation": ACTIVATION_LABELS, "standardized": {True: "yes", False: "no"}}
    titles = {"standardized": "standardised", "components": "m", "spread": "α", "block_size": "B"}
    table = rows.assign(of=dataset.sizes["instance"]).replace(words).rename(columns=titles)
    return Finding(
        f"{rows['diverged'].sum()} SGD runs of the {name} diverged.",
        numbers(f"Diverged runs, {name}", table, index=False),
    )


def _page(grid: Dataset, cases: Dataset, place: int) -> Page:
    """Why one instance was left out, what that concerns, and its trajectories."""
    case = cases.isel(case=place)
    seed, activation = case["instance"].item(), case["activation"].item()
    label = ACTIVATION_LABELS[activation]
    laws: Any = grid["diverged"].sel(instance=seed, activation=activation).to_series()
    lost = [f"{findings.LAWS[law]}, m = {m}, α = {spread:g}" for law, m, spread in laws.index[laws]]
    facts = {
        "Instance": f"seed {seed}: F, W, v, W̃ and ṽ are drawn with it",
        "Activation": label,
        "Why": str(case["reason"].values),
        "Rule": "an instance counts where M(Q) of Gaussian SGD is at most "
        f"{AGREEMENT_OF_GAUSSIAN} of the mean |Q|, and is among the first ten that do",
        "Not in the means of": f"all {len(laws)} conditions of {label}: standardised and not, "
        f"m = {_listed(grid['components'])}, α = {_listed(grid['spread'])}",
        "SGD that diverged": "; ".join(lost) or "none of its runs",
    }
    # Every order parameter: at t = 0, its M and its mean size.
    theory, runs = trajectories_of(cases, place)
    start = Dataset({name: case[f"start_{name}"] for name in METRICS})
    columns = {"at t = 0": start, "M of Gaussian SGD": discrepancy(theory, runs), "mean |x|": magnitude(runs)}
    table = DataFrame(
        {
            title: {label: value.item() for name in METRICS for label, value in entries(values[name])}
            for title, values in columns.items()
        }
    )
    table["M / mean |x|"] = table["M of Gaussian SGD"] / table["mean |x|"]
    caption = "Order parameters at the start, and how far SGD is from the equations"
    return Page(f"Instance {seed}, {label}", facts, case_name(seed, activation), numbers(caption, table, "{:.3g}"))
