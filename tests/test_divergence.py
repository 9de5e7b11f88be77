"""D_KL(P ‖ N(0, I)) (16) against closed cases, direct integration, its bounds and Monte Carlo."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from sgdlimit.errors import ProblemError
from sgdlimit.inputs import MixtureLaw

means_lists = st.lists(st.floats(-9, 9), min_size=1, max_size=5)


def mixture(means, weights=None, **options) -> MixtureLaw:
    means = np.array(means)
    weights = np.full(len(means), 1 / len(means)) if weights is None else np.array(weights)
    return MixtureLaw(means, weights=weights, **options)


def by_direct_integration(law: MixtureLaw) -> float:
    """(16) as it stands, for a scalar mixture."""
    means, deviation = (law.means - law.location) / law.scale, 1 / float(law.scale)

    def log_density(x):
        return np.logaddexp.reduce(np.log(law.weights) + norm.logpdf(x, means, deviation))

    def integrand(x):
        return np.exp(log_density(x)) * (log_density(x) - norm.logpdf(x))

    edges = np.linspace(means.min() - 9 * deviation, means.max() + 9 * deviation, 60)
    return sum(quad(integrand, a, b, epsabs=1e-13)[0] for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize("mean", [0.0, 0.3, -4.0])
def test_one_component_is_half_its_mean_squared(mean):
    divergence = mixture([mean]).kl_to_standard_normal()
    assert divergence.value == pytest.approx(mean**2 / 2, abs=1e-14)
    assert divergence.standard_error == 0
    assert float(divergence) == divergence.lower == divergence.upper


def test_one_scaled_gaussian():
    rng = np.random.default_rng(0)
    law = mixture([2.0]).standardized_from(3 * rng.standard_normal((50, 4)) + 1)
    s, m = 1 / law.scale, (2 - law.location) / law.scale
    assert law.kl_to_standard_normal().value == pytest.approx(
        ((s**2 - 1 - np.log(s**2)) / 2 + m**2 / 2).sum(), rel=1e-13
    )


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize(
    "means", [[-9.0, 9.0], [-1e-3, 1e-3], [0.0, 5.0], [-9.0, -3.0, 0.1, 5.0, 8.9], [0.0, 1.0, 2.0]]
)
def test_quadrature_agrees_with_direct_integration(means, standardize):
    weights = np.arange(1.0, len(means) + 1) / np.arange(1.0, len(means) + 1).sum()
    for law in (
        mixture(means, standardize=standardize),
        mixture(means, weights=weights, standardize=standardize),
    ):
        assert law.kl_to_standard_normal().value == pytest.approx(by_direct_integration(law), abs=1e-10)


@given(means_lists, st.booleans(), st.sampled_from([1, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_value_lies_within_its_bounds(means, standardize, block_size):
    array = np.multiply.outer(np.array(means), [1.0, -0.5, 0.3, 0.0])
    for law in (
        mixture(means, standardize=standardize),
        mixture(array, block_size=block_size, standardize=standardize),
    ):
        divergence = law.kl_to_standard_normal(samples=100)
        assert 0 <= divergence.lower <= divergence.value <= divergence.upper


@given(means_lists)
@settings(max_examples=30, deadline=None)
def test_grows_with_the_spread(means):
    values = [mixture(alpha / 9 * np.array(means)).kl_to_standard_normal().value for alpha in range(10)]
    assert values[0] == pytest.approx(0, abs=1e-12)
    assert (np.diff(values) >= -1e-12).all()


@pytest.mark.parametrize("standardize", [False, True])
def test_separated_components_attain_the_entropy_bound(standardize):
    law = mixture([-40.0, 0.0, 40.0], weights=[0.2, 0.5, 0.3], standardize=standardize)
    divergence = law.kl_to_standard_normal()
    assert divergence.value == pytest.approx(divergence.lower, abs=1e-12)
    entropy = -np.sum(law.weights * np.log(law.weights))
    assert divergence.upper - divergence.lower == pytest.approx(entropy)


@pytest.mark.parametrize("standardize", [False, True])
def test_coordinates_with_their_own_components_add_up(standardize):
    means = np.random.default_rng(1).uniform(-9, 9, (3, 5))
    whole = mixture(means, standardize=standardize).kl_to_standard_normal()
    parts = [mixture(column, standardize=standardize).kl_to_standard_normal() for column in means.T]
    assert whole.value == pytest.approx(sum(part.value for part in parts), rel=1e-12)
    assert whole.upper == pytest.approx(sum(part.upper for part in parts), rel=1e-12)


def test_blocks_add_up():
    means = np.random.default_rng(2).uniform(-2, 2, (2, 6))
    whole = mixture(means, block_size=3).kl_to_standard_normal().value
    parts = [
        mixture(means[:, block], block_size=3).kl_to_standard_normal().value for block in (slice(0, 3), slice(3, 6))
    ]
    assert whole == pytest.approx(sum(parts), rel=1e-13)


@pytest.mark.parametrize("half_distance", [0.3, 1.0, 1.6])
def test_monte_carlo_agrees_with_quadrature(half_distance):
    """Four components on a rectangle, drawn as one block, are two independent scalar mixtures.

    Each case fails by chance with probability 6e-5 (4 standard errors); the seed is fixed.
    """
    a, b = half_distance, 1.3 * half_distance
    block = mixture([[a, b], [a, -b], [-a, b], [-a, -b]], block_size=2, standardize=True).kl_to_standard_normal(seed=3)
    exact = sum(mixture([-x, x], standardize=True).kl_to_standard_normal().value for x in (a, b))
    assert 0 < block.standard_error < 0.01
    assert abs(block.value - exact) < 4 * block.standard_error


def test_standard_error_is_that_of_repeated_estimates():
    """The deviation of 200 estimates is within 20 % of the stated one: false alarm below 1e-4 (χ², 199 d.o.f.)."""
    law = mixture([[1.0, 0.5], [-1.0, 0.7], [0.2, -1.4]], block_size=2)
    estimates = [law.kl_to_standard_normal(samples=400, seed=seed) for seed in range(200)]
    spread = np.std([estimate.value for estimate in estimates], ddof=1)
    stated = np.sqrt(np.mean([estimate.standard_error**2 for estimate in estimates]))
    assert spread == pytest.approx(stated, rel=0.2)


def test_same_seed_same_value_and_too_few_samples_are_refused():
    law = mixture(np.random.default_rng(5).uniform(-1, 1, (3, 4)), block_size=4)
    assert law.kl_to_standard_normal(samples=100, seed=7) == law.kl_to_standard_normal(samples=100, seed=7)
    with pytest.raises(ProblemError, match="samples"):
        law.kl_to_standard_normal(samples=3)
