"""Standard errors of a theory made from finite data, against the theory of the law they came from."""

import numpy as np
import pytest

import sgdlimit as sl

N = 30
RNG = np.random.default_rng(0)
W, TEACHER = RNG.normal(size=(2, 2, N))
NETWORK = W, [0.6, -0.4], TEACHER, [1.0, 0.7]
SETTINGS = {"activation": "erf", "learning_rate": 0.2}
ROOT = np.sqrt(np.geomspace(0.2, 4, N))[:, None] * np.linalg.qr(RNG.normal(size=(N, N))).Q
TIMES = np.array([0.0, 1.0, 5.0])


def of_samples(count, seed):
    data = np.random.default_rng(seed).normal(size=(count, N)) @ ROOT
    instance = sl.Instance.from_inputs(data, *NETWORK, **SETTINGS, centre=True)
    return sl.theory.bootstrap(instance, TIMES, resamples=10, seed=seed, nodes=20)


def test_the_truth_lies_within_the_stated_errors_which_fall_like_the_root_of_the_samples():
    """Deviations in units of their errors: with 10 resamples Student's t with 9 degrees of freedom, widened by √1.1.

    Sums of 16 independent squares, mean 16 · 1.1 · 9/7 = 22.6, of v, of an entry of Q and of R and of the error lie in
    (8, 60): false alarm below 2e-3 in all.
    """
    truth = sl.solve(sl.Instance.from_covariance(ROOT.T @ ROOT, *NETWORK, **SETTINGS), TIMES, nodes=20)
    found = [of_samples(300, seed) for seed in range(16)]
    for name in ("Q", "R", "v", "generalization_error"):
        at = {"time": 2} | {dim: 0 for dim in truth[name].dims if dim != "time"}
        squares = [float((((one[name] - truth[name]) / one[f"{name}_stderr"]) ** 2).isel(at)) for one in found]
        assert 8 < sum(squares) < 60, name
    largest = np.array([one["eigenvalue"][0] for one in found])
    error = np.array([one["eigenvalue_stderr"][0] for one in found])
    assert abs((largest - 4).mean()) < 4.5 * error.mean() / 4
    more = [of_samples(1200, seed) for seed in range(4)]
    ratio = np.mean([one["Q_stderr"] for one in found]) / np.mean([one["Q_stderr"] for one in more])
    assert 1.6 < ratio < 2.5


def test_a_resample_is_treated_as_the_data():
    samples = 3 * np.random.default_rng(1).normal(size=(200, 5)) + 1
    again = sl.Empirical(samples, standardize=True).reweighted(np.random.default_rng(0))
    np.testing.assert_allclose(again.mean(5), 0, atol=1e-12)
    np.testing.assert_allclose(again.covariance(5).diagonal(), 1)
    drawn = again.sample(np.random.default_rng(1), 100_000)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=4.5 / np.sqrt(100_000))
    assert np.abs(again.samples.mean(axis=0)).max() > 0.01


@pytest.mark.parametrize(
    ("inputs", "resamples", "message"),
    [
        (sl.Gaussian(), 10, r"latent: must be a finite set of samples \(got Gaussian\("),
        (
            np.random.default_rng(0).normal(size=(90, N)),
            1,
            r"resamples: must be a whole number .* 2 \(got 1\)",
        ),
    ],
)
def test_what_cannot_be_resampled_is_named(inputs, resamples, message):
    instance = sl.Instance.from_inputs(inputs, *NETWORK, **SETTINGS, centre=True)
    with pytest.raises(sl.ProblemError, match=message):
        sl.theory.bootstrap(instance, TIMES, resamples=resamples)
