"""Beyond the paper: finite size, and the lemmas' errors against Monte Carlo and closed forms."""

import numpy as np
import pytest
from scipy.special import erf

import sgdlimit as sl
from sgdlimit.figures.beyond import finite_size_scaling, lemma_errors
from sgdlimit.studies.finite_size import exponents, finite_size
from sgdlimit.studies.lemmas import function_correlation, function_expectation, lemmas, orders, shared_component


@pytest.fixture(scope="module")
def study():
    return lemmas()


def test_correlations_of_gaussians_have_their_closed_forms():
    epsilon = np.array([0.01, 0.1])
    for pair, expected in {
        "sign": 2 / np.pi * np.arcsin(epsilon),
        "erf": 2 / np.pi * np.arcsin(epsilon / 2),
        "x²": 2 * epsilon**2,
        "x³": 9 * epsilon + 6 * epsilon**3,
    }.items():
        np.testing.assert_allclose(function_correlation((pair, pair), 0.0, epsilon), expected, rtol=1e-9)


def test_correlations_of_a_mixture_agree_with_samples():
    """Four million samples, bound 5 standard errors: false alarm below 1e-6."""
    rng = np.random.default_rng(0)
    spread, epsilon, count = 1.0, 0.2, 4_000_000
    y, *z = rng.standard_normal((3, count))
    signs = rng.choice([-1, 1], (2, count))
    rho = 2 * epsilon
    u = (spread * signs + np.sqrt(rho) * y + np.sqrt(1 - rho) * np.array(z)) / np.sqrt(2)
    values = np.prod(erf(u / np.sqrt(2)), axis=0)  # of mean 0 each, by symmetry
    expected = function_correlation(("erf", "erf"), spread, [epsilon])[0]
    assert abs(values.mean() - expected) < 5 * values.std() / np.sqrt(count)


def test_lemma_V1_is_of_first_order_and_of_second_for_even_functions(study):
    slopes = orders(study)
    for pair in study["pair"].values:
        order = 2 if pair in ("x², x²", "|x|, |x|") else 1
        assert np.abs(slopes.sel(pair=pair) - order).max() < 0.01, pair


def test_lemma_V1_fails_without_correlation_where_components_are_shared(study):
    """Uncorrelated, and yet E u₁²u₂² = E (1 + μ₁²)(1 + μ₂²)/(1 + α²/2)² with μ₁μ₂ = 0 is not 1."""
    alpha = np.array([0.5, 3.0])
    expected = (1 + alpha**2) / (1 + alpha**2 / 2) ** 2 - 1
    np.testing.assert_allclose(shared_component(("x²", "x²"), alpha), expected, rtol=1e-12)
    error = np.abs(study["shared_error"])
    assert float(error.sel(pair="relu, relu").max()) > 0.05
    assert float(error.sel(pair="sign, sign").max()) < 1e-15  # odd functions do not see these clusters


def test_lemma_V3_is_exact_for_squares_only(study):
    error = np.abs(study["expectation_error"])
    assert float(error.sel(function="x²").max()) < 1e-12
    for function in ("sign", "relu", "|x|", "x⁴"):  # its condition 2 holds for all but the last
        assert float(error.sel(function=function).max()) > 0.02, function


def test_expectations_agree_with_the_studied_law():
    law = sl.MixtureLaw([4.0, -2.0], weights=[1 / 3, 2 / 3], standardize=True)
    x = law.sample(np.random.default_rng(1), 2_000_000, dim=1).ravel()
    expected = function_expectation("relu", [2.0])[0] + 1 / np.sqrt(2 * np.pi)
    assert abs(np.maximum(x, 0).mean() - expected) < 5 * x.std() / np.sqrt(len(x))  # false alarm below 1e-6


def test_distances_from_both_theories_fall_as_the_square_root():
    """Exponents within 4 of their standard errors, which are below 0.25, from −1/2: false alarm below 1 %."""
    found = finite_size((160, 320, 960), instances=10, time=2.0)
    fit = exponents(found)
    assert float(fit["stderr"].max()) < 0.25
    assert float(np.abs((fit["exponent"] + 0.5) / fit["stderr"]).max()) < 4
    assert len(finite_size_scaling(found, fit).axes) == 4


def test_sizes_that_cannot_share_times_are_refused():
    with pytest.raises(sl.ProblemError, match="sizes: "):
        finite_size((100, 250), instances=1)


def test_lemma_figure_draws(study):
    assert len(lemma_errors(study).axes) == 3
