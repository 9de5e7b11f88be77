"""Data or a law directly as the inputs X, a teacher on top and no manifold."""

from types import SimpleNamespace

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.rules._activation import activation_named

N = 300


def network(rng):
    W, teacher = rng.normal(size=(2, 2, N))
    return W, rng.normal(size=2), teacher, rng.normal(size=2)


NETWORK = network(np.random.default_rng(5))
SETTINGS = {"activation": "erf", "learning_rate": 0.2}
ROOT = np.sqrt(np.geomspace(0.1, 5, N))[:, None] * np.linalg.qr(np.random.default_rng(6).normal(size=(N, N))).Q
TIMES = sl.log_times(30 * N, N, 60)


def distance(instance, theory):
    sgd = sl.simulate(instance, TIMES, runs=4, seed=1, test_samples=0, overlaps=theory)
    nodes = 70 if theory == "moment-matched" else None
    M = sl.compare(sl.solve(instance, TIMES, theory=theory, nodes=nodes), sgd)["M"]
    return M.sel(quantity=["Q", "R", "v"]).values


def test_independent_inputs_have_the_spectrum_of_one_node():
    spectrum = sl.theory.spectrum(sl.Instance.from_inputs(sl.Gaussian(), *NETWORK, **SETTINGS))
    np.testing.assert_allclose(spectrum.eigenvalues, [1])
    np.testing.assert_allclose(spectrum.student[0], NETWORK[0] @ NETWORK[0].T / N)
    np.testing.assert_allclose(spectrum.overlap[0], NETWORK[0] @ NETWORK[2].T / N)
    np.testing.assert_allclose(spectrum.teacher_overlap, NETWORK[2] @ NETWORK[2].T / N)


def test_independent_and_correlated_inputs_follow_their_theories():
    """M is what noise and N = 300 make of it, and falls like 1/√N: 0.007 and 0.017 for Q, half of it at N = 1200."""
    assert (distance(sl.Instance.from_inputs(sl.Gaussian(), *NETWORK, **SETTINGS), "conventional") < 0.02).all()
    data = np.random.default_rng(7).normal(size=(60_000, N)) @ ROOT + 1
    correlated = sl.Instance.from_inputs(data, *NETWORK, **SETTINGS, centre=True)
    true, isotropic = distance(correlated, "moment-matched"), distance(correlated, "conventional")
    assert (true < 0.03).all()
    assert isotropic[2] > 2 * true[2]  # v is measured alike for both
    assert correlated.attrs["input_mean"] == pytest.approx(1, abs=0.01)


def test_moments_are_those_of_the_data():
    data = np.random.default_rng(8).normal(size=(4000, N)) @ ROOT
    instance = sl.Instance.from_inputs(data, *NETWORK, **SETTINGS, centre=True)
    moments = instance.moments("moment-matched")
    X = data - data.mean(axis=0)
    fields = X @ NETWORK[2].T / np.sqrt(N)
    covariance = np.diag(moments.diagonal) + moments.factor.T @ moments.factor
    np.testing.assert_allclose(covariance, X.T @ X / len(X), atol=1e-12)
    np.testing.assert_allclose(moments.cross, np.sqrt(N) * X.T @ fields / len(X), atol=1e-11)
    np.testing.assert_allclose(moments.teacher_overlap, fields.T @ fields / len(X), atol=1e-12)
    isotropic = instance.moments()
    variance = X.var(axis=0).mean()
    np.testing.assert_allclose(isotropic.factor.T @ isotropic.factor, variance * np.eye(N), atol=1e-12)
    np.testing.assert_allclose(isotropic.teacher_overlap, variance * NETWORK[2] @ NETWORK[2].T / N)


def test_coordinates_may_depend_on_each_other():
    """A covariance without full rank: the last coordinate is what the others leave of a constant sum."""
    data = np.random.default_rng(8).normal(size=(4000, N))
    data[:, -1] = -data[:, :-1].sum(axis=1)
    moments = sl.Instance.from_inputs(data, *NETWORK, **SETTINGS, centre=True).moments("moment-matched")
    X = data - data.mean(axis=0)
    np.testing.assert_allclose(moments.factor.T @ moments.factor, X.T @ X / len(X), atol=1e-10)


def test_sgd_sees_the_data_themselves():
    data = np.random.default_rng(8).normal(size=(400, N)) @ ROOT + 3
    for centre, standardize, expected in (
        (False, False, data),
        (True, False, data - data.mean(axis=0)),
        (False, True, (data - data.mean(axis=0)) / data.std(axis=0)),
    ):
        instance = sl.Instance.from_inputs(data, *NETWORK, **SETTINGS, centre=centre, standardize=standardize)
        run = sl.simulate(instance, [1.0], keep_inputs=True, test_samples=0)
        assert (run.attrs["distinct_samples"], run.attrs["epochs"]) == (400, 0.75)
        X = run["X"].values[0]
        nearest = np.abs(X[:5, None] - expected).max(axis=2).min(axis=1)
        assert (nearest < 1e-5).all()
        field = X @ NETWORK[2].T / np.sqrt(N)
        activation = activation_named("erf").value
        np.testing.assert_allclose(run["y"].values[0], activation(field) @ NETWORK[3], atol=1e-5)


def test_a_fitted_mixture_is_a_law_of_inputs():
    means = np.random.default_rng(2).normal(size=(2, N))
    fitted = SimpleNamespace(
        means_=means, covariances_=np.ones((2, N)), weights_=np.array([0.5, 0.5]), covariance_type="diag"
    )
    instance = sl.Instance.from_inputs(fitted, *NETWORK, **SETTINGS, standardize=True)
    np.testing.assert_allclose(instance.latent.mean(N), 0, atol=1e-14)
    np.testing.assert_allclose(instance.latent.covariance(N).diagonal(), 1)
    assert "epochs" not in sl.simulate(instance, [1.0], test_samples=0).attrs


def test_inputs_with_a_mean_have_no_moment_matched_theory():
    data = np.random.default_rng(8).normal(size=(400, N)) + 1
    with pytest.raises(sl.ProblemError, match=r"must have a centred latent.*centre=True"):
        sl.solve(sl.Instance.from_inputs(data, *NETWORK, **SETTINGS), TIMES, theory="moment-matched")


def spoiled(place, value):
    data = np.random.default_rng(0).normal(size=(400, N))
    data[place] = value
    return data


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (spoiled((3, 4), np.nan), r"samples: must be finite \(got 1 of 120000 entries NaN .* first at \[3, 4\]"),
        (spoiled((slice(None), 4), 2.0), "samples: must vary .*1 constant of 300: 5,"),
        (np.ones((20, 2)), "samples: must vary .*2 constant of 2: 1, 2,"),
        (np.random.default_rng(0).normal(size=(300, N)), "samples: must be at least 301 .* 300 coordinates .*got 300"),
        (np.random.default_rng(0).normal(size=(400, 20)), r"student: must be of shape \(student_units, 20\)"),
        ("text", "samples: must be numbers .got 'text'"),
    ],
)
def test_bad_inputs_are_named(inputs, message):
    with pytest.raises(sl.ProblemError, match=message):
        sl.Instance.from_inputs(inputs, *NETWORK, **SETTINGS)


def test_a_teacher_that_does_not_fit_is_named():
    W, v, teacher, v_teacher = NETWORK
    with pytest.raises(sl.ProblemError, match=r"teacher: must be of shape \(teacher_units, 300\) \(got \(2, 299\)\)"):
        sl.Instance.from_inputs(sl.Gaussian(), W, v, teacher[:, 1:], v_teacher, **SETTINGS)
