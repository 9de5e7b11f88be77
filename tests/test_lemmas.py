"""Lemmas V.1 and V.3 in numbers: known values, the order of the error, and failing regions that are marked."""

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import erf

import sgdlimit as sl
from sgdlimit.papers.bae_jeong_2024 import _beyond as findings
from sgdlimit.papers.bae_jeong_2024._figure_studies import lemma_correlation, lemma_expectation
from sgdlimit.papers.bae_jeong_2024._lemmas import CONSTRUCTIONS, Pair, function_correlation, function_expectation

SHAPE = [-0.48, 0.69, -0.08]  # skewed, as three uniform draws are


@pytest.fixture(scope="module")
def correlations():
    return function_correlation(SHAPE, [1.0, 3.0, 9.0])


@pytest.fixture(scope="module")
def expectations():
    return function_expectation({2: [-1.0, 1.0], 3: SHAPE}, [0.0, 1.0, 3.0, 9.0])


def test_product_means_of_one_gaussian_in_closed_form():
    rho = 0.6
    pair = Pair(np.ones(1), np.zeros((1, 2)), np.ones((1, 2)), np.array([rho]))
    arcsine = 2 / np.pi * np.arcsin(rho)
    arccosine = (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / (2 * np.pi)
    assert pair.product_mean("sign", "sign") == pytest.approx(arcsine, abs=1e-13)
    assert pair.product_mean("erf", "erf") == pytest.approx(2 / np.pi * np.arcsin(rho / 2), abs=1e-13)
    assert pair.product_mean("relu", "relu") == pytest.approx(arccosine, abs=1e-13)
    assert pair.product_mean("cube", "cube") == pytest.approx(9 * rho + 6 * rho**3, abs=1e-12)
    assert pair.moment("cube", 0) == pytest.approx(3, abs=1e-12)


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_variables_are_standardised_and_correlated_by_epsilon(name):
    law = sl.MixtureLaw(3 * np.array(SHAPE), standardize=True)
    points, s = (law.means - law.location) / law.scale, float(1 / law.scale)
    epsilon = 0.8 * CONSTRUCTIONS[name].largest(s)
    pair = CONSTRUCTIONS[name].pair(points, s, law.weights, epsilon)
    assert pair.weights.min() >= 0
    assert pair.weights.sum() == pytest.approx(1)
    for which in (0, 1):
        assert pair.mean("identity", which) == pytest.approx(0, abs=1e-13)
        assert pair.mean("square", which) == pytest.approx(1)
    assert pair.product_mean("identity", "identity") == pytest.approx(epsilon)


def test_product_mean_against_two_dimensional_quadrature():
    pair = Pair(np.array([0.3, 0.7]), np.array([[-1.0, 0.5], [0.4, -0.2]]), np.full((2, 2), 0.6), np.array([0.5, -0.3]))
    exact = 0.0
    correlation = np.broadcast_to(pair.correlation, 2)
    for p, mean, deviation, rho in zip(pair.weights, pair.means, pair.deviations, correlation, strict=True):

        def integrand(y, x, mean=mean, deviation=deviation, rho=rho):
            u = (x - mean[0]) / deviation[0], (y - mean[1]) / deviation[1]
            density = np.exp(-(u[0] ** 2 - 2 * rho * u[0] * u[1] + u[1] ** 2) / (2 * (1 - rho**2)))
            return erf(x / np.sqrt(2)) * y * density / (2 * np.pi * deviation.prod() * np.sqrt(1 - rho**2))

        exact += p * dblquad(integrand, -6, 6, 0, 6, epsabs=1e-9)[0]
    assert pair.product_mean("erf", "relu") == pytest.approx(exact, abs=1e-7)


def test_the_lemma_as_printed_is_of_first_order_and_the_next_term_makes_it_second(correlations):
    """The next term is that of C and U = ε C + …, not of variables that share noise or a component."""
    slope = correlations["slope"]
    np.testing.assert_allclose(slope.sel(order=0), 1, atol=0.03)
    to_first_order = slope.sel(order=1)
    assert (to_first_order.sel(construction="combination") > 1.95).all()
    smooth = to_first_order.sel(construction="combination", spread=3, pair=["relu, relu", "erf, relu"])
    np.testing.assert_allclose(smooth, 2, atol=0.05)
    np.testing.assert_allclose(to_first_order.sel(construction="combination", pair="sign, sign"), 3, atol=0.05)
    np.testing.assert_allclose(to_first_order.drop_sel(construction="combination"), 1, atol=0.1)
    text = findings.correlation(correlations).text
    assert "second order or higher for: combination" in text
    assert "first order for: common noise, common component" in text


def test_remainders_end_where_the_construction_does(correlations):
    reached = correlations["epsilon"] <= correlations["largest"]
    assert not reached.all()
    present = correlations["remainder"].notnull()
    assert (present == reached).all()


def test_near_the_gaussian_shared_noise_is_of_second_order_too():
    """At D_KL → 0 the missing linear term vanishes: the error falls with the distance from Gaussian."""
    data = function_correlation(SHAPE, [0.25, 1.0, 3.0])
    missing = data["remainder"].sel(order=1, construction="common noise", pair="sign, sign").isel(epsilon=0)
    assert (missing.diff("spread") > 0).all()
    assert missing[0] < 0.01 * missing[-1]


def test_known_expectations(expectations):
    difference = expectations["difference"]
    symmetric = difference.sel(components=2)
    np.testing.assert_allclose(symmetric.sel(function=["erf", "sign", "cube"]), 0, atol=1e-14)  # odd f
    np.testing.assert_allclose(difference.sel(function=["identity", "square"]), 0, atol=1e-13)
    np.testing.assert_allclose(difference.sel(spread=0.0), 0, atol=1e-14)
    # E max(x, 0) = E|x|/2: (x = ±3/√10 + z/√10) against 1/√(2π); the example of the paper's Figure S1 has 0.491
    a, s = np.sqrt(0.9), np.sqrt(0.1)
    folded = s * np.sqrt(2 / np.pi) * np.exp(-(a**2) / (2 * s**2)) + a * erf(a / (s * np.sqrt(2)))
    relu = symmetric.sel(function="relu", spread=3.0).item()
    assert relu == pytest.approx(folded / 2 - 1 / np.sqrt(2 * np.pi), abs=1e-14)
    example = function_expectation({2: [-0.47541373, 0.69232231]}, [9.0])["difference"].sel(function="relu").item()
    assert example + 1 / np.sqrt(2 * np.pi) == pytest.approx(0.491, abs=5e-4)


def test_where_the_condition_or_the_conclusion_fails_is_marked(expectations):
    condition = expectations["condition"].all(["components", "spread"])
    assert condition.sel(function=["relu", "sign", "identity", "square"]).all()
    assert not condition.sel(function=["erf", "cube"]).any()
    holds = expectations["holds"].sel(spread=9.0)
    assert holds.sel(function=["identity", "square"]).all()
    assert not holds.sel(function="relu", components=2)  # the condition is met, and still
    assert holds.sel(function="erf", components=2)  # and the other way round
    assert "relu: condition met, conclusion holds in" in findings.expectation(expectations).text


def test_sums_of_many_coordinates_meet_the_lemma(expectations):
    """erf and sgn see the skewness, D^(−1/2); ReLU, on skewness blind, the kurtosis, 1/D."""
    sums = expectations["sum_difference"].sel(spread=9.0)
    one = expectations["difference"].sel(components=3, spread=9.0)
    np.testing.assert_allclose(sums.sel(count=1), one, atol=1e-14)
    late = np.log2(abs(sums.sel(count=64) / sums.sel(count=128)))
    np.testing.assert_allclose(late.sel(function=["erf", "sign"]), 0.5, atol=0.02)
    np.testing.assert_allclose(late.sel(function="relu"), 1, atol=0.02)
    np.testing.assert_allclose(late.sel(function="cube"), 0.5, atol=1e-9)  # the skewness itself


def test_figures_shade_what_fails(correlations, expectations):
    figure = lemma_correlation(correlations)
    assert len(figure.axes) == 6
    hollow = [[line for line in panel.lines if line.get_markerfacecolor() == "white"] for panel in figure.axes[:3]]
    drawn = [sum(np.size(line.get_xdata()) > 0 for line in lines) for lines in hollow]
    assert drawn == [0, 4, 4]
    figure = lemma_expectation(expectations)
    assert len(figure.axes) == 6
    for panel in figure.axes:
        assert len(panel.patches) == 1  # the region in which the conclusion fails
    filled = [
        sum(np.size(line.get_xdata()) > 0 for line in p.lines if line.get_markerfacecolor() == "white")
        for p in figure.axes
    ]
    assert filled[:3] == [2, 0, 0]  # erf does not meet the condition
