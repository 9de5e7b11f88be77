"""Every figure of the paper by name, those of the studies that go beyond it, and one for each instance left out."""

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from ...plotting import trajectory
from ._figure_discrepancy import discrepancy_against_kl
from ._figure_dynamics import example_dynamics
from ._figure_finite_size import finite_size
from ._figure_laws import kl_against_spread, sample_mean_law
from ._figure_lemmas import lemma_correlation, lemma_expectation
from ._figure_mixture_theory import mixture_theory
from ._figure_universality import universality
from ._left_out import case_name, trajectories_of
from ._study import Study


def paper_figures(study: Study) -> dict[str, Callable[[], Figure]]:
    """Figures 2-5 and S1-S4, Figures 2 and 4 for erf as well, and beyond the paper, each drawn when called.

    Returns
    -------
    dict
        By name: ``figure_2``, ``figure_3``, …, ``figure_S4``, ``figure_2_erf``, ``figure_4_erf``,
        ``universality_relu``, ``universality_erf``, ``finite_size``, ``mixture_theory``, ``lemma_V1``, ``lemma_V3``;
        then ``left_out_SEED_ACTIVATION``. Those of an activation that was not computed are missing.
    """
    theory, sgd, grid = study.examples_theory, study.examples_sgd, study.grid
    names = {
        "relu": ("figure_2", "figure_3", "figure_4", "figure_5", "universality_relu"),
        "erf": ("figure_2_erf", "figure_S3", "figure_4_erf", "figure_S4", "universality_erf"),
    }
    figures: dict[str, Callable[[], Figure]] = {}
    for activation in study.activations:
        drawings = (
            partial(example_dynamics, theory, sgd, activation, "mixture", mixture=study.examples_mixture),
            partial(discrepancy_against_kl, grid, activation, False),
            partial(example_dynamics, theory, sgd, activation, "standardized mixture"),
            partial(discrepancy_against_kl, grid, activation, True, theory=theory, sgd=sgd),
            partial(universality, study.blocks, activation),
        )
        figures |= dict(zip(names[activation], drawings, strict=True))
    figures |= {
        "figure_S1": partial(sample_mean_law, study.sample_means),
        "figure_S2": partial(kl_against_spread, grid),
        "finite_size": partial(finite_size, study.sizes),
        "mixture_theory": partial(mixture_theory, study.mixture),
        "lemma_V1": partial(lemma_correlation, study.correlations),
        "lemma_V3": partial(lemma_expectation, study.expectations),
    }
    for place in range(study.cases.sizes["case"]):
        case = study.cases.isel(case=place)
        name = case_name(int(case["instance"]), str(case["activation"].values))
        figures[name] = partial(trajectory, *trajectories_of(study.cases, place))
    return figures
