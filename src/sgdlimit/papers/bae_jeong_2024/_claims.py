"""The sections that follow the paper: what it claims, and what was measured."""

import numpy as np
import pandas as pd
import xarray as xr

from ...plotting import ACTIVATION_LABELS
from . import _findings as findings
from ._contents import Section, numbers
from ._published import PUBLISHED
from ._tables import discrepancy_table, flatness, flatness_statement

__all__ = ["claim", "discrepancy", "dynamics", "has_two", "table", "universality"]


def has_two(grid: xr.Dataset) -> bool:
    """Whether the grid has two components, those of the tables."""
    return 2 in grid["components"].values


def claim(grid: xr.Dataset, blocks: xr.Dataset, activations: list[str]) -> Section:
    """The claim of the paper, and what replaces it where it does not hold."""
    return Section(
        "What the paper claims, where it holds, and what replaces it",
        "With inputs standardised, the dynamics under a Gaussian mixture follow the conventional theory, as if the "
        "inputs were Gaussian; without, they diverge from it.",
        [line for activation in activations for line in findings.claim_and_replacement(grid, blocks, activation)],
    )


def dynamics(
    theory: xr.Dataset,
    sgd: xr.Dataset,
    activations: list[str],
    standardized: bool,
    ensemble: xr.Dataset | None = None,
) -> Section:
    """Example dynamics, Figures 2 and 4."""
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
            numbers(
                f"M of the example, {ACTIVATION_LABELS[activation]}, mean over runs",
                findings.example_numbers(theory, sgd, activation, law),
                "{:.3g}",
            )
            for activation in activations
        ],
    )


def discrepancy(grid: xr.Dataset, activations: list[str], standardized: bool) -> Section:
    """M against D_KL, Figures 3, 5, S3 and S4."""
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
            numbers(
                f"{ACTIVATION_LABELS[activation]}, {law}: M over all m and α > 0; late: from ⅔ of the largest α on",
                findings.discrepancy_numbers(grid, activation, standardized),
                "{:.3g}",
            )
            for activation in activations
        ]
        + [
            numbers(
                f"{ACTIVATION_LABELS[activation]}, {law}: M of both theories as a share of the scale, over m and α > 0",
                findings.mixture_discrepancy_numbers(grid, activation),
                "{:.3g}",
            )
            for activation in (() if standardized else activations)
        ],
    )


def table(grid: xr.Dataset, activation: str) -> Section:
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
            numbers("Slope of M against α, mean ± standard error over instances", _slope_rows(slopes), "{}"),
        ],
        said="In the paper's table",
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


def universality(blocks: xr.Dataset, activations: list[str]) -> Section:
    """M against the block size."""
    return Section(
        "Where universality holds and where it ends",
        "Not varied. Equation (17) leaves open whether each coordinate draws its component by itself "
        "(block size B = 1, which Lemma V.1 supports) or all together (B = D, a clustered data set).",
        [
            findings.block_verdict(blocks, activation, standardized)
            for standardized in (True, False)
            for activation in activations
        ],
        [f"universality_{activation}" for activation in activations],
        [
            numbers(
                f"M as a share of its scale and in units of its noise floor, at α = "
                f"{float(blocks['spread'].max()):g}: {ACTIVATION_LABELS[activation]}, "
                f"{'standardised' if standardized else 'un-standardised'}",
                findings.block_ratios(blocks, activation, standardized),
                "{:.2f}",
            )
            for activation in activations
            for standardized in (True, False)
        ],
        said="In the paper",
    )
