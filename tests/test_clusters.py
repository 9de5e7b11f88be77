import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sgdlimit as sl

RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(3, 5))
SPREAD = RNG.normal(size=(3, 5, 5)) / 2
COVARIANCES = SPREAD @ np.swapaxes(SPREAD, 1, 2) + 0.3 * np.eye(5)
WEIGHTS = np.array([0.2, 0.5, 0.3])


@pytest.mark.parametrize("standardize", [False, True])
def test_moments_are_those_of_the_samples(standardize):
    law = sl.ClusterMixture(MEANS, COVARIANCES, weights=WEIGHTS, standardize=standardize)
    C = law.sample(np.random.default_rng(1), 400_000)
    covariance = law.covariance(5)
    error = np.sqrt(np.diag(covariance) / len(C))
    assert (np.abs(C.mean(axis=0) - law.mean(5)) < 4.5 * error).all()
    products = (C - law.mean(5))[:, :, None] * (C - law.mean(5))[:, None]
    error = products.std(axis=0) / np.sqrt(len(C))
    assert (np.abs(products.mean(axis=0) - covariance) < 4.5 * error).all()
    if standardize:
        np.testing.assert_allclose(law.mean(5), 0, atol=1e-14)
        np.testing.assert_allclose(np.diag(covariance), 1, rtol=1e-12)


def test_divergence_of_one_component_is_that_of_a_gaussian():
    law = sl.ClusterMixture(MEANS[:1], COVARIANCES[:1])
    found = law.kl_to_standard_normal(samples=200_000)
    exact = (np.trace(COVARIANCES[0]) + MEANS[0] @ MEANS[0] - 5 - np.linalg.slogdet(COVARIANCES[0])[1]) / 2
    assert found.upper == pytest.approx(exact)
    assert found.lower == pytest.approx(exact)
    assert abs(found.value - exact) < 4.5 * found.standard_error


def test_divergence_agrees_with_that_of_a_mixture_of_unit_deviations():
    means = np.array([[-1.5] * 4, [1.0] * 4])
    clusters = sl.ClusterMixture(means, [np.eye(4)] * 2, weights=[0.3, 0.7]).kl_to_standard_normal(samples=100_000)
    blocks = sl.MixtureLaw(means, weights=[0.3, 0.7], block_size=4).kl_to_standard_normal(samples=100_000)
    assert abs(clusters.value - blocks.value) < 4.5 * np.hypot(clusters.standard_error, blocks.standard_error)
    assert (clusters.lower, clusters.upper) == pytest.approx((blocks.lower, blocks.upper))


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_what_was_fitted_is_the_law(kind):
    given = {
        "full": COVARIANCES,
        "tied": COVARIANCES[0],
        "diag": np.diagonal(COVARIANCES, axis1=1, axis2=2),
        "spherical": np.array([0.5, 1.0, 2.0]),
    }[kind]
    fitted = SimpleNamespace(means_=MEANS, covariances_=given, weights_=WEIGHTS, covariance_type=kind)
    law = sl.ClusterMixture.from_sklearn(fitted)
    covariances = law.roots @ np.swapaxes(law.roots, 1, 2)
    expected = {
        "full": COVARIANCES,
        "tied": np.array([COVARIANCES[0]] * 3),
        "diag": np.array([np.diag(np.diag(c)) for c in COVARIANCES]),
        "spherical": np.array([s * np.eye(5) for s in (0.5, 1.0, 2.0)]),
    }[kind]
    np.testing.assert_allclose(covariances, expected, atol=1e-12)


def test_a_fit_of_the_library_itself():
    mixture = pytest.importorskip("sklearn.mixture")
    law = sl.ClusterMixture(4 * MEANS, COVARIANCES, weights=WEIGHTS)
    samples = law.sample(np.random.default_rng(2), 20_000)
    fitted = sl.ClusterMixture.from_sklearn(mixture.GaussianMixture(3, random_state=0).fit(samples))
    np.testing.assert_allclose(fitted.covariance(5), np.cov(samples.T, bias=True), atol=1e-3)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_constant_columns_of_fitted_data_are_refused_or_dropped(kind):
    """The fit gives a constant column the variance reg_covar. Standardised, it would be N(0, 1) noise."""
    mixture = pytest.importorskip("sklearn.mixture")
    rng = np.random.default_rng(3)
    samples = rng.normal(size=(500, 4)) + 3 * rng.integers(2, size=(500, 1))
    samples[:, 1] = 7.3
    fitted = mixture.GaussianMixture(2, covariance_type=kind, random_state=0).fit(samples)
    for refused in (
        lambda: sl.Instance.from_inputs(fitted, *2 * (np.ones((2, 4)), [1, 1]), activation="erf", standardize=True),
        lambda: sl.ClusterMixture.fit(samples, 2),
        lambda: sl.Empirical(samples),
    ):
        with pytest.raises(sl.ProblemError, match=r"must vary in every column .got 1 constant of 4: 2, counted from 1"):
            refused()
    law = sl.ClusterMixture.from_sklearn(fitted, drop_constant=True)
    assert (law.dim, law.dropped.tolist()) == (3, [1])
    assert sl.Empirical(samples, drop_constant=True).dropped.tolist() == [1]
    with pytest.raises(sl.ProblemError, match="20 constant of 20: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 10 more"):
        sl.Empirical(np.ones((30, 20)), drop_constant=True)


def test_a_fit_does_not_depend_on_units():
    """What is added to every variance is a thousandth of it: columns in small units are no noise."""
    pytest.importorskip("sklearn")
    samples = sl.ClusterMixture(4 * MEANS, COVARIANCES, weights=WEIGHTS).sample(np.random.default_rng(2), 1000)
    samples = np.insert(samples, 2, 1.0, axis=1)
    units = np.array([1e-4, 1.0, 1.0, 1.0, 10.0, 1e5])
    law = sl.ClusterMixture.fit(samples * units, 3, drop_constant=True)
    expected = np.cov(np.delete(samples * units, 2, 1).T, bias=True)
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    np.testing.assert_allclose(law.covariance(5) / scale, expected / scale, atol=2e-3)
    assert law.dropped.tolist() == [2]


def test_equal_clusters_at_the_origin_are_what_their_theory_says():
    """One component is a Gaussian latent with a covariance: exactly the case of the moment-matched theory."""
    problem = sl.Problem(
        input_dim=600, latent_dim=300, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    law = sl.ClusterMixture(np.zeros((1, 300)), [np.diag(np.geomspace(0.1, 5, 300))])
    instance = problem.draw(0).replace(latent=law)
    times = sl.log_times(6000, 600, 40)
    runs = sl.simulate(instance, times, runs=4, seed=1, test_samples=0, overlaps="moment-matched")
    M = sl.compare(sl.solve(instance, times, theory="moment-matched"), runs)["M"]
    gaussian = instance.replace(latent=sl.Gaussian())
    floor = sl.compare(sl.solve(gaussian, times), sl.simulate(gaussian, times, runs=4, seed=1, test_samples=0))["M"]
    assert (M / floor < 2).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"means": np.zeros(3)}, r"means: must be of shape \(components, latent_dim\) \(got \(3,\)\)"),
        ({"covariances": np.eye(5)}, r"covariances: must be of shape \(3, 5, 5\) \(got \(5, 5\)\)"),
        ({"covariances": COVARIANCES - 5 * np.eye(5)}, "covariances: must be positive definite"),
        ({"covariances": SPREAD}, "covariances: must be symmetric"),
        ({"weights": [0.5, 0.5, 0.5]}, "weights: must be positive and sum to 1"),
        ({"means": np.full((3, 5), np.nan)}, "means: must be finite .got 15 of 15 entries NaN"),
    ],
)
def test_bad_components_are_named(arguments, message):
    with pytest.raises(sl.ProblemError, match=message):
        sl.ClusterMixture(**({"means": MEANS, "covariances": COVARIANCES, "weights": WEIGHTS} | arguments))


def test_a_mixture_that_was_not_fitted_is_named():
    with pytest.raises(
        sl.ProblemError, match=r"fitted: must be fitted \(got a SimpleNamespace\). Call its fit\(samples\)"
    ):
        sl.ClusterMixture.from_sklearn(SimpleNamespace())


def test_the_example_of_clusters(tmp_path, monkeypatch, capsys):
    """The theory of the clusters is as close to SGD as the standard errors say, a Gaussian theory is not."""
    path = Path(__file__).parents[1] / "examples" / "clusters.py"
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(path))["main"](input_dim=200, time=5.0)
    assert found["mixture"] < 2 * found["noise of the means"]
    assert found["conventional"] > 4 * found["noise of the means"]
    assert (tmp_path / "clusters.png").stat().st_size > 10_000
    assert "conventional" in capsys.readouterr().out
