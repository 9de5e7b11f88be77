"""Inputs without a manifold and feature matrices of every kind: norms, spectra, and theory against SGD."""

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.inputs.equivalence import input_moments
from sgdlimit.theory import spectrum


def assert_sgd_follows_theory(instance, runs=12, seed=0):
    """The mean of runs within 5 of its standard errors, and of the corrections of order 1/N, of the ODE.

    False alarm: 5 standard errors of 12 runs are passed with probability 4e-4 by one number; there are 30, most of them
    correlated, and the seeds are fixed.
    """
    N = instance.input_dim
    times = np.array([0.1, 1, 5])
    theory = sl.solve(instance, times)
    sgd = sl.simulate(instance, times, runs=runs, seed=seed, test_samples=0)
    for name in ("Q", "R", "v"):
        mean, error = sgd[name].mean("run"), sgd[name].std("run", ddof=1) / np.sqrt(runs)
        largest = max(1.0, float(abs(theory[name]).max()))
        excess = (abs(mean - theory[name]) - 5 * error) / largest
        assert float(excess.max()) < 2 / N, name
    learnt = abs(theory.isel(time=-1) - theory.isel(time=0))
    assert float(learnt.R.max()) > 0.1  # there was something to follow


def committee(covariance, **changes):
    rng, N = np.random.default_rng(3), len(covariance)
    W, teacher = rng.normal(size=(2, N)), rng.normal(size=(2, N))
    settings = {"activation": "erf", "learning_rate": 0.5} | changes
    return sl.Instance.from_covariance(covariance, W, [1.0, 0.7], teacher, [1.0, -1.0], **settings), W, teacher


def correlated(N, rank=None):
    """A covariance whose eigenvalues spread over a factor of 20, or vanish beyond a rank."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.normal(size=(N, N)))[0][:, :rank]
    return (basis * np.geomspace(0.2, 4, basis.shape[1])) @ basis.T


@pytest.mark.parametrize("rank", [None, 15])
def test_covariance_is_that_of_the_inputs_theory_sees(rank):
    omega = correlated(40, rank)
    instance, W, teacher = committee(omega)
    moments = input_moments(instance)
    np.testing.assert_allclose(np.diag(moments.diagonal) + moments.factor.T @ moments.factor, omega, atol=1e-13)
    np.testing.assert_allclose(moments.cross, omega @ teacher.T, atol=1e-12)  # φ = √N Cov[X, X W̃ᵀ/√N]
    np.testing.assert_allclose(moments.teacher_overlap, teacher @ omega @ teacher.T / 40, atol=1e-12)
    resolved = spectrum(instance)
    np.testing.assert_allclose(resolved.Q, W @ omega @ W.T / 40, atol=1e-12)
    np.testing.assert_allclose(resolved.R, W @ omega @ teacher.T / 40, atol=1e-12)
    assert instance.latent_dim == (rank or 40)
    assert len(resolved.eigenvalues) == (16 if rank else 40)


def test_simulated_inputs_have_the_covariance():
    """Every entry within 5.5 standard errors of 4000 samples; the labels are those of ν = X W̃ᵀ/√N."""
    N, omega = 40, correlated(40)
    instance, _, teacher = committee(omega, activation="linear", learning_rate=0.01)
    run = sl.simulate(instance, [100.0], keep_inputs=True, test_samples=0).isel(run=0)
    X, y = run["X"].values, run["y"].values
    np.testing.assert_allclose(y, X @ teacher.T @ [1.0, -1.0] / np.sqrt(N), atol=1e-4)
    products = X[:, :, None] * X[:, None, :]
    error = products.std(axis=0) / np.sqrt(len(X))
    assert (np.abs(products.mean(axis=0) - omega) < 5.5 * error).all()


@pytest.mark.parametrize("covariance", ["independent", "correlated", "singular"])
def test_sgd_on_gaussian_inputs_follows_theory(covariance):
    N = 400
    omega = {"independent": np.eye(N), "correlated": correlated(N), "singular": correlated(N, 200)}[covariance]
    assert_sgd_follows_theory(committee(omega)[0])


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.ones((3, 4)), r"covariance: shape \(3, 4\) is not square"),
        (np.eye(5), r"teacher: shape \(2, 4\) does not fit covariance \(5, 5\)"),
        (np.triu(np.ones((4, 4))), "covariance: is not symmetric"),
        (np.diag([1.0, 1, 0, 1]), "covariance: input 2 has the variance 0"),
        (np.eye(4) - 0.5, "covariance: has the eigenvalue -1"),
        (np.full((4, 4), np.nan), "covariance: 16 of 16 entries"),
    ],
)
def test_covariances_that_cannot_be(covariance, message):
    rest = np.ones((2, 4)), [1, 1], np.ones((2, 4)), [1, 1]
    with pytest.raises(sl.ProblemError, match=message):
        sl.Instance.from_covariance(covariance, *rest, activation="erf", learning_rate=0.1)
