"""The report of a reproduction: one self-contained page that reads like the paper, with what was measured beside it."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from sgdlimit.comparison import AGREEMENT
from sgdlimit.figures import findings
from sgdlimit.figures._style import ACTIVATION_LABELS
from sgdlimit.figures.tables import discrepancy_table, flatness, flatness_statement
from sgdlimit.studies.published import PUBLISHED

__all__ = ["write_report"]


@dataclass(frozen=True)
class Shown:
    """A figure on the page."""

    name: str
    caption: str
    source: str


@dataclass(frozen=True)
class Table:
    """A table on the page, its numbers formatted already."""

    caption: str
    columns: list[str]
    rows: list[list[str]]


@dataclass
class Section:
    """A heading, what the paper reports, what was measured, and the figures and tables that show it."""

    title: str
    paper: str = ""
    measured: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


DISCREPANCY = "M(Q), M(R) and M(v) against D_KL"
BESIDE = "Left: the conventional theory. Right: the mixture theory, which measures Q and R within the clusters."
BELOW = (
    "Below: M of the mixture theory, full, and of the conventional, faint, as a share of the mean size of the order "
    "parameter, for the theories measure Q and R in different units."
)
BLOCKS = (
    "Where universality ends: M of three theories as a share of the mean size of Q, R and v, against the number of "
    "coordinates that share a component. Filled: noise explains it, for the mixture theory with the scatter between "
    "members of its ensemble (bars). A missing marker is a theory that does not apply"
)
CAPTIONS = {
    "figure_2": "Figure 2. Example dynamics on an un-standardised mixture, ReLU: ε_g, Q, R and v against time. "
    f"{BESIDE}",
    "figure_2_erf": "As Figure 2, for erf.",
    "figure_3": f"Figure 3. {DISCREPANCY} for un-standardised mixtures, ReLU. {BELOW}",
    "figure_4": "Figure 4. Example dynamics on a standardised mixture, ReLU: ε_g, Q, R and v against time.",
    "figure_4_erf": "As Figure 4, for erf.",
    "figure_5": f"Figure 5. {DISCREPANCY} for standardised mixtures, ReLU. Dotted: mean scale. Insets: the example.",
    "figure_S1": "Figure S1. Sample means of f(x) under a standardised mixture P and N(0, 1), and the exact means.",
    "figure_S2": "Figure S2. D_KL of the un-standardised scalar mixture against α.",
    "figure_S3": f"Figure S3. {DISCREPANCY} for un-standardised mixtures, erf. {BELOW}",
    "figure_S4": f"Figure S4. {DISCREPANCY} for standardised mixtures, erf. Dotted: mean scale. Insets: the example.",
    "finite_size": "M of single SGD runs against N with the fitted exponents, for the theory of each instance and for "
    "that of infinite size. Below: √N times the deviation of Q against time; on one curve it falls like 1/√N.",
    "lemma_V1": "Lemma V.1: the error of E f(u1) g(u2) against the correlation ε, and at one ε against the distance "
    "from N(0, 1). Dashed, the lemma as printed: first order in ε. Solid, with the next term: second order where "
    "markers are filled; where they are hollow an error of first order stays. Grey: no such ε can be had. The two "
    "variables are a latent coordinate and a sum that it enters, or share noise, or share a mixture component.",
    "lemma_V3": "Lemma V.3: how far E f under a standardised mixture is from E f under N(0, 1), for one coordinate "
    "against D_KL and for a sum of D coordinates against D. In the grey the lemma fails; hollow: its condition is "
    "not met.",
    "mixture_theory": "The mixture theory on two standardised clusters. (a) M of single SGD runs against N, with and "
    "without what the mean fields add to Q and R. (b) Difference to the finest step of integration. (c) Error of the "
    "mean over the chains of an ensemble. (d) Standard deviation of the mean fields in theory and SGD, at several η.",
    "universality_relu": f"{BLOCKS}, ReLU.",
    "universality_erf": f"{BLOCKS}, erf.",
}


def _formula(text: str) -> Markup:
    """Escaped text with the subscripts of D_KL, ε_g, Q0,1 and M_{α=3} set, and proper minus signs."""
    safe = str(escape(text))
    safe = re.sub(r"(D|ε)_(KL|g)\b", r"\1<sub>\2</sub>", safe)
    safe = re.sub(r"_\{([^}]*)\}", r"<sub>\1</sub>", safe)
    safe = re.sub(r"\b([QRv])(\d+(?:,\d+)?)\b", r"\1<sub>\2</sub>", safe)
    return Markup(re.sub(r"(?<![\w-])-(?=\d)", "−", safe))


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
    provenance: Mapping[str, str],
    preset: str,
) -> None:
    """Write one HTML file that needs nothing else: figures embedded, no scripts, no outside resources.

    Parameters
    ----------
    path
        The file to write, usually ``index.html``.
    figures
        PNG files, or their bytes, under the names of :func:`sgdlimit.figures.paper_figures`; any others go at the end.
    grid, blocks, examples_theory, examples_sgd, examples_mixture, sample_means, sizes, mixture, correlations, \
expectations
        The datasets the figures were drawn from; every number in the text comes from them.
    provenance
        Versions, seeds, wall time, command: shown as they are.
    preset
        Name of the preset.
    """
    activations = [str(name) for name in grid["activation"].values]
    sections = [
        _claim(grid, blocks, activations),
        _dynamics(examples_theory, examples_sgd, activations, standardized=False, ensemble=examples_mixture),
        _discrepancy(grid, activations, standardized=False),
        _dynamics(examples_theory, examples_sgd, activations, standardized=True),
        _discrepancy(grid, activations, standardized=True),
        *(_table(grid, name) for name in ("erf", "relu") if name in activations and _has_two(grid)),
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
        _universality(blocks, activations),
        *_beyond_the_paper(sizes, mixture, correlations, expectations),
        _left_out(grid, blocks),
    ]
    placed = {name for section in sections for name in section.figures}
    others = [name for name in figures if name not in placed]
    if others:
        sections.append(Section("Further figures", figures=others))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["formula"] = _formula
    page = environment.from_string(files("sgdlimit").joinpath("report.html.j2").read_text(encoding="utf-8"))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    html = page.render(
        preset=preset,
        summary=_summary(grid, blocks, activations),
        settings=_settings(grid, blocks, examples_theory, examples_sgd),
        sections=sections,
        shown={name: Shown(name, CAPTIONS.get(name, name), _embedded(figure)) for name, figure in figures.items()},
        provenance=dict(provenance),
        factor=f"{AGREEMENT:g}",
    )
    path.write_text(html, encoding="utf-8")


def _embedded(figure: Path | bytes) -> str:
    data = figure if isinstance(figure, bytes) else Path(figure).read_bytes()
    return "data:image/png;base64," + b64encode(data).decode("ascii")


def _has_two(grid: xr.Dataset) -> bool:
    return 2 in grid["components"].values


def _summary(grid: xr.Dataset, blocks: xr.Dataset, activations: list[str]) -> dict[str, list[str]]:
    return {
        "Standardised mixtures": [findings.discrepancy_verdict(grid, name, True) for name in activations],
        "Flat in α?": [
            f"{ACTIVATION_LABELS[name]}: {flatness_statement(flatness(grid, name))}"
            for name in activations
            if _has_two(grid)
        ],
        "Un-standardised mixtures": [findings.discrepancy_verdict(grid, name, False) for name in activations],
        "Un-standardised, with the mixture theory": [
            findings.mixture_discrepancy_verdict(grid, name) for name in activations
        ],
        "Blocks of correlated coordinates": [
            findings.block_verdict(blocks, name, standardized) for standardized in (True, False) for name in activations
        ],
    }


def _settings(grid: xr.Dataset, blocks: xr.Dataset, theory: xr.Dataset, sgd: xr.Dataset) -> dict[str, str]:
    def listed(values: np.ndarray) -> str:
        return ", ".join(f"{value:g}" if isinstance(value, float | np.floating) else str(value) for value in values)

    times = theory["time"].values
    kept = ", ".join(
        f"{int(count)} ({ACTIVATION_LABELS[str(name)]})"
        for name, count in zip(grid["activation"].values, grid["kept"].sum("instance").values, strict=True)
    )
    example = ", ".join(f"{key} {sgd.attrs[key]}" for key in ("components", "spread", "instance") if key in sgd.attrs)
    problem = json.loads(grid.attrs.get("problem", "{}"))
    named = {"input_dim": "N", "latent_dim": "D", "learning_rate": "η", "nonlinearity": "f"}
    network = ", ".join(f"{symbol} = {problem[key]}" for key, symbol in named.items() if key in problem)
    return ({"Network": network} if network else {}) | {
        "Student and teacher": f"K = {theory.sizes['student']}, M = {theory.sizes['teacher']} hidden units",
        "Activations": ", ".join(ACTIVATION_LABELS[str(name)] for name in grid["activation"].values),
        "Time": f"t = steps/N from {times[0]:g} to {times[-1]:g}, {len(times)} log-spaced points",
        "Components m": listed(grid["components"].values),
        "Range α of the means": listed(grid["spread"].values),
        "Instances": f"{grid.sizes['instance']}, of which kept: {kept}",
        "Example": f"{example}; {sgd.sizes['run']} SGD runs",
        "Block sizes B": f"{listed(blocks['block_size'].values)}; α = {listed(blocks['spread'].values)}; "
        f"{blocks.sizes['instance']} instances",
    }


def _claim(grid: xr.Dataset, blocks: xr.Dataset, activations: list[str]) -> Section:
    return Section(
        "What the paper claims, where it holds, and what replaces it",
        "With inputs standardised, the dynamics under a Gaussian mixture follow the conventional theory, as if the "
        "inputs were Gaussian; without, they diverge from it.",
        [line for activation in activations for line in findings.claim_and_replacement(grid, blocks, activation)],
    )


def _dynamics(
    theory: xr.Dataset,
    sgd: xr.Dataset,
    activations: list[str],
    standardized: bool,
    ensemble: xr.Dataset | None = None,
) -> Section:
    law, number = ("standardized mixture", "4") if standardized else ("mixture", "2")
    claim = (
        "Except in the saturation region, where randomness has a large effect, the dynamics almost align with the "
        "conventional prediction (Figure 4, ReLU)."
        if standardized
        else "The dynamics diverge significantly from those under a simple Gaussian (Figure 2, ReLU)."
    )
    return Section(
        f"Example dynamics, {'standardised' if standardized else 'un-standardised'} mixture",
        claim,
        [findings.example_verdict(theory, sgd, activation, law) for activation in activations]
        + (
            []
            if ensemble is None
            else [findings.mixture_example_verdict(sgd, ensemble, activation, law) for activation in activations]
        ),
        [f"figure_{number}" + "_erf" * (activation == "erf") for activation in activations],
        [
            _numbers(
                f"M of the example, {ACTIVATION_LABELS[activation]}, mean over runs",
                findings.example_numbers(theory, sgd, activation, law),
                "{:.3g}",
            )
            for activation in activations
        ],
    )


def _discrepancy(grid: xr.Dataset, activations: list[str], standardized: bool) -> Section:
    claim = (
        "M is minimal relative to the scale of Q, R and v, at every D_KL and for every m (Figures 5 and S4)."
        if standardized
        else "As D_KL grows, Q and v tend to an asymptotic limit although P departs from N(0, I) (Figures 3 and S3)."
    )
    names = {"relu": "figure_5", "erf": "figure_S4"} if standardized else {"relu": "figure_3", "erf": "figure_S3"}
    law = "standardised" if standardized else "un-standardised"
    return Section(
        f"Discrepancy against D_KL, {law} mixtures",
        claim,
        [findings.discrepancy_verdict(grid, activation, standardized) for activation in activations]
        + [
            findings.mixture_discrepancy_verdict(grid, activation)
            for activation in (() if standardized else activations)
        ],
        [names[activation] for activation in activations],
        [
            _numbers(
                f"{ACTIVATION_LABELS[activation]}, {law}: M over all m and α > 0; late: from ⅔ of the largest α on",
                findings.discrepancy_numbers(grid, activation, standardized),
                "{:.3g}",
            )
            for activation in activations
        ]
        + [
            _numbers(
                f"{ACTIVATION_LABELS[activation]}, {law}: M of both theories as a share of the scale, over m and α > 0",
                findings.mixture_discrepancy_numbers(grid, activation),
                "{:.3g}",
            )
            for activation in (() if standardized else activations)
        ],
    )


def _table(grid: xr.Dataset, activation: str) -> Section:
    published = PUBLISHED[activation]
    measured, slopes = discrepancy_table(grid, activation), flatness(grid, activation)
    return Section(
        f"{published.source}: M for each order parameter, {ACTIVATION_LABELS[activation]}, m = 2, standardised",
        "From α = 0 to 9 no M changes: the dynamics do not feel the mixture. (The claim is that the rows are alike. An "
        "M smaller than the paper's means that theory and SGD are closer, not that something is wrong.)",
        [findings.beside_published(measured, published.frame()), flatness_statement(slopes)],
        tables=[
            _numbers("Measured here, mean over kept instances", measured, "{:.3f}"),
            _numbers(f"The paper's {published.source}", published.frame(), "{:.3f}"),
            _numbers("Slope of M against α, mean ± standard error over instances", _slope_rows(slopes), "{}"),
        ],
    )


def _slope_rows(slopes: pd.DataFrame) -> pd.DataFrame:
    def scaled(name: str) -> list[float]:
        return (1e5 * np.asarray(slopes[name])).tolist()

    pairs = [
        f"{value:+.1f} ± {error:.1f}" if np.isfinite(error) else f"{value:+.1f}"
        for value, error in zip(scaled("slope"), scaled("standard error"), strict=True)
    ]
    columns = {"slope in 10⁻⁵ per unit of α": pairs, "mean M": [f"{value:.4f}" for value in slopes["mean M"]]}
    for name, title, form in (
        ("share", "change over all α, of mean M", "{:+.1%}"),
        ("limit", "its size, with 95% below", "{:.1%}"),
        ("p", "p of no slope", "{:.2g}"),
    ):
        columns[title] = ["–" if np.isnan(value) else form.format(value) for value in slopes[name]]
    return pd.DataFrame(columns, index=slopes.index)


def _universality(blocks: xr.Dataset, activations: list[str]) -> Section:
    return Section(
        "Where universality holds and where it ends",
        "The paper does not vary this. Equation (17) leaves open whether each coordinate draws its component by itself "
        "(block size B = 1, which Lemma V.1 supports) or all together (B = D, a clustered data set).",
        [
            findings.block_verdict(blocks, activation, standardized)
            for standardized in (True, False)
            for activation in activations
        ],
        [f"universality_{activation}" for activation in activations],
        [
            _numbers(
                f"M as a share of its scale and in units of its noise floor, at α = "
                f"{float(blocks['spread'].max()):g}: {ACTIVATION_LABELS[activation]}, "
                f"{'standardised' if standardized else 'un-standardised'}",
                findings.block_ratios(blocks, activation, standardized),
                "{:.2f}",
            )
            for activation in activations
            for standardized in (True, False)
        ],
    )


def _beyond_the_paper(
    sizes: xr.Dataset, mixture: xr.Dataset, correlations: xr.Dataset, expectations: xr.Dataset
) -> list[Section]:
    return [
        Section(
            "Beyond the paper: how fast SGD approaches theory",
            "All runs have N = 1000; the equations hold for N → ∞.",
            [findings.size_verdict(sizes)],
            ["finite_size"],
            [_numbers("Exponent of N, with its standard error over instances", findings.size_exponents(sizes), "{}")],
        ),
        Section(
            "Beyond the paper: how good the mixture theory is",
            "Not in the paper, whose equations are for inputs without a mean.",
            [
                findings.mixture_size_verdict(mixture),
                findings.mixture_precision_verdict(mixture),
                findings.mixture_fluctuations(mixture),
            ],
            ["mixture_theory"],
            [_numbers("Single SGD runs against N, mean ± standard error", findings.mixture_sizes(mixture), "{}")],
        ),
        Section(
            "Beyond the paper: Lemma V.1 in numbers",
            "For weakly correlated mixture variables E f(u1) g(u2) is a sum of products of means over the components, "
            "up to O(ε) (Lemma V.1).",
            [findings.correlation_verdict(correlations)],
            ["lemma_V1"],
            [
                _numbers(
                    f"Order of the error in ε, least over α = {correlations['spread'].values[0]:g} to "
                    f"{correlations['spread'].values[-1]:g}",
                    findings.correlation_orders(correlations),
                    "{:.2f}",
                )
            ],
        ),
        Section(
            "Beyond the paper: Lemma V.3 in numbers",
            "Where derivatives of f beyond the second are negligible, E f depends on mean and variance alone; erf, "
            "ReLU and sgn approximately satisfy this (Lemmas V.3 and C.1).",
            [findings.expectation_verdict(expectations)],
            ["lemma_V3"],
        ),
    ]


def _left_out(grid: xr.Dataset, blocks: xr.Dataset) -> Section:
    dropped = findings.dropped_instances(grid)
    lost = [("grid", findings.divergences(grid)), ("block-size study", findings.divergences(blocks))]
    measured = [
        f"{len(dropped)} of {grid.sizes['instance']} × {grid.sizes['activation']} instances are not in the means."
        if len(dropped)
        else "Every instance is in the means.",
        *(f"No SGD run of the {name} diverged." for name, table in lost if table.empty),
        *(f"{table['diverged'].sum()} SGD runs of the {name} diverged." for name, table in lost if len(table)),
        f"The mixture theory diverged {int(grid['mixture_diverged'].sum())} times in the grid and "
        f"{int(blocks['theory_diverged'].sum())} times in the block-size study; those M are not in the means.",
    ]
    tables = [_numbers(f"Diverged runs, {name}", table, "{}", index=False) for name, table in lost if len(table)]
    if len(dropped):
        tables.insert(0, _numbers("Instances left out of the means", dropped, "{}", index=False))
    return Section(
        "What was left out",
        "Of 20 instances those in which the ODE and Gaussian SGD differ significantly are excluded, and 10 are "
        "sampled. No threshold is given.",
        measured,
        tables=tables,
    )


def _numbers(caption: str, table: pd.DataFrame, form: str, *, index: bool = True) -> Table:
    def cell(value: object) -> str:
        return "–" if isinstance(value, float) and np.isnan(value) else form.format(value)

    rows = [
        [str(name)] * index + [cell(value) for value in row]
        for name, row in zip(table.index, table.values, strict=True)
    ]
    return Table(caption, [""] * index + [str(name) for name in table.columns], rows)
