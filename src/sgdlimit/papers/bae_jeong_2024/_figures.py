"""Every figure of the paper by name, and those of the studies that go beyond it."""

from collections.abc import Callable
from functools import partial

import xarray as xr
from matplotlib.figure import Figure

from ...plotting import example_dynamics
from ._figure_discrepancy import discrepancy_against_kl
from ._figure_finite_size import finite_size
from ._figure_laws import kl_against_spread, sample_mean_law
from ._figure_lemmas import lemma_correlation, lemma_expectation
from ._figure_mixture_theory import mixture_theory
from ._figure_universality import universality

__all__ = ["paper_figures"]


def paper_figures(
    *,
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
) -> dict[str, Callable[[], Figure]]:
    """Figures 2-5 and S1-S4, Figures 2 and 4 for erf as well, and beyond the paper, each drawn when called.

    Parameters
    ----------
    grid
        See :func:`~sgdlimit.figures.discrepancy_against_kl`.
    blocks
        See :func:`~sgdlimit.figures.universality`.
    examples_theory, examples_sgd, examples_mixture
        See :func:`~sgdlimit.figures.example_dynamics`.
    sample_means
        See :func:`~sgdlimit.figures.sample_mean_law`.
    sizes
        See :func:`~sgdlimit.figures.finite_size`.
    mixture
        See :func:`~sgdlimit.figures.mixture_theory`.
    correlations, expectations
        See :func:`~sgdlimit.figures.lemma_correlation` and :func:`~sgdlimit.figures.lemma_expectation`.

    Returns
    -------
    dict
        By name: ``figure_2``, ``figure_3``, …, ``figure_S4``, ``figure_2_erf``, ``figure_4_erf``,
        ``universality_relu``, ``universality_erf``, ``finite_size``, ``mixture_theory``, ``lemma_V1``, ``lemma_V3``;
        those of an activation that was not computed are missing.
    """
    theory, sgd = examples_theory, examples_sgd
    names = {
        "relu": ("figure_2", "figure_3", "figure_4", "figure_5", "universality_relu"),
        "erf": ("figure_2_erf", "figure_S3", "figure_4_erf", "figure_S4", "universality_erf"),
    }
    figures: dict[str, Callable[[], Figure]] = {}
    for activation in (str(name) for name in grid["activation"].values):
        drawings = (
            partial(example_dynamics, theory, sgd, activation, "mixture", mixture=examples_mixture),
            partial(discrepancy_against_kl, grid, activation, False),
            partial(example_dynamics, theory, sgd, activation, "standardized mixture"),
            partial(discrepancy_against_kl, grid, activation, True, theory=theory, sgd=sgd),
            partial(universality, blocks, activation),
        )
        figures |= dict(zip(names[activation], drawings, strict=True))
    return figures | {
        "figure_S1": partial(sample_mean_law, sample_means),
        "figure_S2": partial(kl_against_spread, grid),
        "finite_size": partial(finite_size, sizes),
        "mixture_theory": partial(mixture_theory, mixture),
        "lemma_V1": partial(lemma_correlation, correlations),
        "lemma_V3": partial(lemma_expectation, expectations),
    }
