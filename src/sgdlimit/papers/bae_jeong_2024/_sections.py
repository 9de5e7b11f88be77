"""The sections of the report: what the paper claims, what was measured, and the studies that go beyond it."""

import numpy as np
import pandas as pd
import xarray as xr

from ...plotting import ACTIVATION_LABELS
from ...report import Section, numbers
from . import _findings as findings
from ._published import PUBLISHED
from ._study import Study
from ._tables import discrepancy_table, flatness, flatness_statement

CLAIM = (
    "With inputs standardised, the dynamics under a Gaussian mixture follow the conventional theory, as if the inputs "
    "were Gaussian; without, they diverge from it."
)
DYNAMICS = {
    False: "The dynamics diverge significantly from those under a simple Gaussian (Figure 2, ReLU).",
    True: "Except in the saturation region, where randomness has a large effect, the dynamics almost align with the "
    "conventional prediction (Figure 4, ReLU).",
}
DISCREPANCY = {
    False: "As D_KL grows, Q and v tend to an asymptotic limit although P departs from N(0, I) (Figures 3 and S3).",
    True: "M is minimal relative to the scale of Q, R and v, at every D_KL and for every m (Figures 5 and S4).",
}
IN_PAPER = "In the paper"


def sections(study: Study) -> list[Section]:
    """Everything but what was left out, in the order of the paper."""
    grid, blocks, names = study.grid, study.blocks, study.activations
    replaced = [line for name in names for line in findings.claim_and_replacement(grid, blocks, name)]
    tables = [name for name in ("erf", "relu") if name in names and 2 in grid["components"].values]
    return [
        Section("What the paper claims, where it holds, and what replaces it", CLAIM, replaced),
        _dynamics(study, standardized=False),
        _discrepancy(study, standardized=False),
        _dynamics(study, standardized=True),
        _discrepancy(study, standardized=True),
        *(_table(grid, name) for name in tables),
        Section(
            "Expectations of f under a mixture",
            "The sample means of erf, ReLU and sgn under the standardised mixture and under N(0, 1) are shown as "
            "indirect evidence that E f is the same under both (Lemma C.1, Figure S1).",
            [findings.sample_mean_verdict(study.sample_means)],
            ["figure_S1"],
        ),
        Section(
            "Distance of the mixtures from a Gaussian",
            "D_KL(P ‖ N) rises monotonically with α; more components overlap more, which reduces it (Figure S2).",
            [findings.kl_verdict(grid)],
            ["figure_S2"],
        ),
        _universality(blocks, names),
        *_beyond_the_paper(study),
    ]


def _dynamics(study: Study, standardized: bool) -> Section:
    """Example dynamics, Figures 2 and 4."""
    theory, sgd, names = study.examples_theory, study.examples_sgd, study.activations
    law, number = ("standardized mixture", 4) if standardized else ("mixture", 2)
    measured = [findings.example_verdict(theory, sgd, name, law) for name in names]
    if not standardized:
        measured += [findings.mixture_example_verdict(sgd, study.examples_mixture, name, law) for name in names]
    return Section(
        f"Example dynamics, {findings.LAWS[standardized]} mixture",
        DYNAMICS[standardized],
        measured,
        [f"figure_{number}" + "_erf" * (name == "erf") for name in names],
        [
            numbers(
                f"M of the example, {ACTIVATION_LABELS[name]}, mean over runs",
                findings.example_numbers(theory, sgd, name, law),
                "{:.3g}",
            )
            for name in names
        ],
    )


def _discrepancy(study: Study, standardized: bool) -> Section:
    """M against D_KL, Figures 3, 5, S3 and S4; un-standardised, with the mixture theory."""
    grid, names, law = study.grid, study.activations, findings.LAWS[standardized]
    figures = {"relu": "figure_5", "erf": "figure_S4"} if standardized else {"relu": "figure_3", "erf": "figure_S3"}
    measured = [findings.discrepancy_verdict(grid, name, standardized) for name in names]
    late = "M over all m and α > 0; late: from ⅔ of the largest α on"
    tables = [(name, late, findings.discrepancy_numbers(grid, name, standardized)) for name in names]
    if not standardized:
        measured += [findings.mixture_discrepancy_verdict(grid, name) for name in names]
        share = "M of both theories as a share of the scale, over m and α > 0"
        tables += [(name, share, findings.mixture_discrepancy_numbers(grid, name)) for name in names]
    return Section(
        f"Discrepancy against D_KL, {law} mixtures",
        DISCREPANCY[standardized],
        measured,
        [figures[name] for name in names],
        [numbers(f"{ACTIVATION_LABELS[name]}, {law}: {what}", table, "{:.3g}") for name, what, table in tables],
    )


def _table(grid: xr.Dataset, activation: str) -> Section:
    """Table I or II."""
    published = PUBLISHED[activation]
    measured, slopes = discrepancy_table(grid, activation), flatness(grid, activation)
    return Section(
        f"{published.source}: M for each order parameter, {ACTIVATION_LABELS[activation]}, m = 2, standardised",
        "From α = 0 to 9 no M changes: the dynamics do not feel the mixture. (This is read off the rows of the table, "
        "which are alike; the text only says that the number of components does not matter.)",
        [
            findings.beside_published(measured, published.frame())
            + " An M smaller than the paper's means that theory and SGD are closer, not that something is wrong.",
            flatness_statement(slopes),
        ],
        tables=[
            numbers("Measured here, mean over kept instances", measured, "{:.3f}"),
            numbers(f"The paper's {published.source}", published.frame(), "{:.3f}"),
            numbers("Slope of M against α, mean ± standard error over instances", _slope_rows(slopes)),
        ],
        source="In the paper's table",
    )


def _slope_rows(slopes: pd.DataFrame) -> pd.DataFrame:
    """The slopes in words: units, percent, – where there is no number."""

    def slope(row: pd.Series) -> str:
        error = f" ± {1e5 * row['standard error']:.1f}" if np.isfinite(row["standard error"]) else ""
        return f"{1e5 * row['slope']:+.1f}{error}"

    columns = {"slope in 10⁻⁵ per unit of α": slopes.apply(slope, axis=1)}
    for title, name, form in (
        ("mean M", "mean M", "{:.4f}"),
        ("change over all α, of mean M", "share", "{:+.1%}"),
        ("its size, with 95% below", "limit", "{:.1%}"),
        ("p of no slope", "p", "{:.2g}"),
    ):
        columns[title] = slopes[name].map(form.format, na_action="ignore").fillna("–")
    return pd.DataFrame(columns)


def _universality(blocks: xr.Dataset, names: list[str]) -> Section:
    """M against the block size."""
    share = f"M as a share of its scale and in noise floors, at α = {float(blocks['spread'].max()):g}"
    return Section(
        "Where universality holds and where it ends",
        "Not varied. Equation (17) leaves open whether each coordinate draws its component by itself "
        "(block size B = 1, which Lemma V.1 supports) or all together (B = D, a clustered data set).",
        [findings.block_verdict(blocks, name, law) for law in findings.LAWS for name in names],
        [f"universality_{name}" for name in names],
        [
            numbers(f"{share}: {ACTIVATION_LABELS[name]}, {label}", findings.block_ratios(blocks, name, law), "{:.2f}")
            for name in names
            for law, label in findings.LAWS.items()
        ],
        source=IN_PAPER,
    )


def _beyond_the_paper(study: Study) -> list[Section]:
    """The studies that the paper does not have."""
    sizes, mixture, spread = study.sizes, study.mixture, study.correlations["spread"].values
    orders = f"Order of the error in ε, least over α = {spread[0]:g} to {spread[-1]:g}"
    return [
        Section(
            "Beyond the paper: how fast SGD approaches theory",
            "All runs have N = 1000; the equations hold for N → ∞.",
            [findings.size_verdict(sizes)],
            ["finite_size"],
            [numbers("Exponent of N, with its standard error over instances", findings.size_exponents(sizes))],
            source=IN_PAPER,
        ),
        Section(
            "Beyond the paper: how good the mixture theory is",
            "There is no such theory: its equations are for inputs without a mean.",
            [
                findings.mixture_size_verdict(mixture),
                findings.mixture_precision_verdict(mixture),
                findings.mixture_fluctuations(mixture),
            ],
            ["mixture_theory"],
            [numbers("Single SGD runs against N, mean ± standard error", findings.mixture_sizes(mixture))],
            source=IN_PAPER,
        ),
        Section(
            "Beyond the paper: Lemma V.1 in numbers",
            "For weakly correlated mixture variables E f(u1) g(u2) is a sum of products of means over the components, "
            "up to O(ε) (Lemma V.1).",
            [findings.correlation_verdict(study.correlations)],
            ["lemma_V1"],
            [numbers(orders, findings.correlation_orders(study.correlations), "{:.2f}")],
        ),
        Section(
            "Beyond the paper: Lemma V.3 in numbers",
            "Where derivatives of f beyond the second are negligible, E f depends on mean and variance alone; erf, "
            "ReLU and sgn approximately satisfy this (Lemmas V.3 and C.1).",
            [findings.expectation_verdict(study.expectations)],
            ["lemma_V3"],
        ),
    ]
