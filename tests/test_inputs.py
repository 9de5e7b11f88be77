"""Laws of the latent against their own samples, the manifold's coefficients against quadrature, and (9)-(11)."""

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.inputs._manifold import NONLINEARITIES

RNG = np.random.default_rng(12)
LAWS = {
    "gaussian": sl.Gaussian(),
    "scalar": sl.MixtureLaw([-2.0, 1.0, 4.0], weights=[0.5, 0.3, 0.2]),
    "scalar, standardised": sl.MixtureLaw([-2.0, 1.0, 4.0], weights=[0.5, 0.3, 0.2], standardize=True),
    "own means": sl.MixtureLaw(RNG.uniform(-3, 3, (2, 12)), standardize=True),
    "blocks": sl.MixtureLaw(RNG.uniform(-3, 3, (3, 12)), block_size=4, weights=[0.2, 0.2, 0.6]),
    "blocks, standardised": sl.MixtureLaw(RNG.uniform(-3, 3, (3, 12)), block_size=4, standardize=True),
    "clusters": sl.MixtureLaw(RNG.uniform(-3, 3, (2, 12)), block_size=12, standardize=True),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
def test_mean_and_covariance_are_those_of_the_samples(law):
    """Every entry within 5.5 standard errors: false alarm below 1e-5 for each law."""
    count = 60_000
    C = law.sample(np.random.default_rng(1), count, dim=12)
    assert C.shape == (count, 12)
    covariance = law.covariance(12)
    assert (np.abs(C.mean(axis=0) - law.mean(12)) < 5.5 * np.sqrt(covariance.diagonal() / count)).all()
    centred = C - law.mean(12)
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(axis=0) / np.sqrt(count)
    assert (np.abs(products.mean(axis=0) - covariance) < 5.5 * error).all()


def test_standardised_laws_have_mean_zero_and_unit_variances():
    for name, law in LAWS.items():
        if "standardised" in name or name == "clusters":
            np.testing.assert_allclose(law.mean(12), 0, atol=1e-14)
            np.testing.assert_allclose(law.covariance(12).diagonal(), 1)


def test_blocks_of_one_are_uncorrelated_and_larger_ones_are_not():
    means = RNG.uniform(-9, 9, (2, 12))
    alone = sl.MixtureLaw(means, block_size=1, standardize=True).covariance(12)
    np.testing.assert_allclose(alone, np.eye(12), atol=1e-15)
    blocks = sl.MixtureLaw(means, block_size=3, standardize=True).covariance(12)
    inside = np.kron(np.eye(4), np.ones((3, 3))) > 0
    assert (blocks[~inside] == 0).all()
    assert (np.abs(blocks[inside]) > 0.05).all()
    clusters = sl.MixtureLaw(means, block_size=12, standardize=True).covariance(12)
    np.testing.assert_allclose(clusters[inside], blocks[inside])
    assert np.linalg.eigvalsh(clusters)[-1] > 6  # one direction, the difference of the clusters, holds most variance


def test_moments_estimated_from_samples_standardise_those_samples():
    law = sl.MixtureLaw(RNG.uniform(-3, 3, (3, 8)), block_size=2)
    samples = law.sample(np.random.default_rng(3), 500)
    standardised = law.standardized_from(samples)
    z = (samples - standardised.location) / standardised.scale
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1)
    exact = sl.MixtureLaw(law.means, block_size=2, standardize=True)
    # 500 samples know a mean to 1/√500 of a deviation: 5 standard errors
    np.testing.assert_array_less(np.abs(standardised.mean(8)), 5 / np.sqrt(500))
    np.testing.assert_allclose(standardised.covariance(8), exact.covariance(8), atol=0.25)
    scalar = sl.MixtureLaw([-1.0, 3.0]).standardized_from(np.random.default_rng(0).normal(1, 2, (400, 5)))
    assert scalar.dim == 5
    with pytest.raises(sl.ProblemError, match="standardised already"):
        standardised.standardized_from(samples)


@pytest.mark.parametrize("name", NONLINEARITIES)
@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.5])
def test_hermite_coefficients_by_quadrature(name, deviation):
    """a, b, c of (12): Gauss-Legendre on both sides of zero, where sign jumps."""
    f = NONLINEARITIES[name]
    x, w = np.polynomial.legendre.leggauss(200)
    z = np.concatenate([-5 * (x + 1), 5 * (x + 1)])
    weight = np.concatenate([5 * w, 5 * w]) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    value = f.value(deviation * z)
    expected = [weight @ value, weight @ (z * value) / deviation, weight @ value**2]
    np.testing.assert_allclose([float(v) for v in f.hermite(np.array(deviation))], expected, atol=1e-10)


@pytest.mark.parametrize("nonlinearity", ["sign", "erf", "identity"])
@pytest.mark.parametrize("law", ["gaussian", "blocks, standardised"])
def test_moment_matched_overlaps_are_those_of_samples(nonlinearity, law):
    """Q, R, T of (9)-(11) against the covariance of sampled local fields.

    Gaussian equivalence has corrections of order 1/√N for one instance; the bound is 6 standard errors plus 2/√N.
    """
    N, D, count = 480, 240, 40_000
    problem = sl.Problem(
        input_dim=N, latent_dim=D, student_units=2, teacher_units=2, activation="erf", learning_rate=0.1,
        nonlinearity=nonlinearity,
    )  # fmt: skip
    instance = problem.draw(seed=4)
    if law != "gaussian":
        # Means of 0.4 leave the preactivations close to Gaussian, so that the covariance is what is tested.
        means = np.random.default_rng(2).uniform(-0.4, 0.4, (2, D))
        instance = instance.replace(latent=sl.MixtureLaw(means, block_size=40, standardize=True))
    C = instance.latent.sample(np.random.default_rng(5), count, D)
    X = NONLINEARITIES[nonlinearity].value(C @ instance.features / np.sqrt(D))
    fields = np.hstack([X @ instance.student.T / np.sqrt(N), C @ instance.teacher.T / np.sqrt(D)])
    moments = instance.moments("moment-matched")
    Q, R = moments.overlaps(instance.student)
    theory = np.block([[Q, R], [R.T, moments.teacher_overlap]])
    error = 6 * np.sqrt(2 / count) * theory.diagonal().max() + 2 / np.sqrt(N)
    np.testing.assert_allclose(np.cov(fields.T), theory, atol=error)
    if law != "gaussian":
        conventional = instance.moments()
        assert np.abs(conventional.overlaps(instance.student)[0] - Q).max() > 1e-3


def test_overlaps_are_the_dense_formula():
    instance = sl.Problem(
        input_dim=40, latent_dim=20, student_units=3, teacher_units=2, activation="erf", learning_rate=0.1
    ).draw(seed=0)
    moments = instance.moments()
    covariance = np.diag(moments.diagonal) + moments.factor.T @ moments.factor
    np.testing.assert_allclose(covariance.diagonal(), 1)  # E sign² = 1
    Q, R = moments.overlaps(np.stack([instance.student, 2 * instance.student]))
    np.testing.assert_allclose(Q[0], instance.student @ covariance @ instance.student.T / 40)
    np.testing.assert_allclose(Q[1], 4 * Q[0])
    np.testing.assert_allclose(R[0], instance.student @ moments.cross / 40)


def test_moment_matched_refuses_a_law_with_a_mean():
    instance = sl.Problem(
        input_dim=40, latent_dim=20, student_units=2, teacher_units=2, activation="erf", learning_rate=0.1
    ).draw(seed=0)
    shifted = instance.replace(latent=sl.MixtureLaw([1.0, 2.0]))
    with pytest.raises(sl.ProblemError, match="must have a centred latent for 'moment-matched'"):
        shifted.moments("moment-matched")
    shifted.moments("conventional")


def test_a_column_of_zeros_and_a_wrong_covariance_are_named():
    instance = sl.Problem(
        input_dim=40, latent_dim=20, student_units=2, teacher_units=2, activation="erf", learning_rate=0.1
    ).draw(seed=0)
    features = instance.features.copy()
    features[:, 3] = 0
    with pytest.raises(sl.ProblemError, match="features: column 3 must give a preactivation"):
        sl.simulate(instance.replace(features=features), [1.0])

    class Own(sl.MixtureLaw):
        wrong = np.eye(20)

        def covariance(self, dim):
            return self.wrong

    law = Own([0.0])
    for wrong, message in (
        (np.eye(3), r"Own.covariance: must be of shape \(20, 20\) \(got \(3, 3\)\)"),
        (np.full((20, 20), np.nan), "Own.covariance: must be finite"),
        (np.triu(np.ones((20, 20))), "Own.covariance: must be symmetric"),
        (-np.eye(20), "latent: must have a covariance without negative eigenvalues .got -1"),
    ):
        law.wrong = wrong
        with pytest.raises(sl.ProblemError, match=message):
            instance.replace(latent=law).moments("moment-matched")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"means": [1.0, 2.0], "standardize": "estimated"}, "standardize: must be True or False .got 'estimated'"),
        ({"means": []}, "means: must be of shape"),
        ({"means": [[[1.0]]]}, "means: must be of shape"),
        ({"means": [np.nan, 1]}, "means: must be finite .got 1 of 2 entries NaN"),
        ({"means": "ab"}, "means: must be numbers .got 'ab'"),
        ({"means": [1.0, 2.0], "weights": [1.0]}, r"weights: must be of shape \(2,\) \(got \(1,\)\)"),
        ({"means": [1.0, 2.0], "weights": [0.7, 0.7]}, "weights: .* sum to 1"),
        ({"means": [1.0, 2.0], "weights": [1.5, -0.5]}, "weights: .* positive"),
        ({"means": [1.0, 2.0], "block_size": 2}, r"block_size: must be one of \[1\] .*got 2\)"),
        ({"means": np.ones((2, 10)), "block_size": 3}, r"block_size: must be one of \[1, 2, 5, 10\] .*got 3\)"),
        ({"means": np.ones((2, 10)), "block_size": 0}, r"block_size: must be one of .*got 0\)"),
    ],
)
def test_a_wrong_law_is_named(arguments, message):
    with pytest.raises(sl.ProblemError, match=message):
        sl.MixtureLaw(**arguments)


def test_a_law_without_dimension_asks_for_one():
    with pytest.raises(sl.ProblemError, match="dim: must be given for a law that fits any"):
        sl.Gaussian().sample(np.random.default_rng(0), 3)
