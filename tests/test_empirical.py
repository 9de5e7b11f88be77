import runpy
from pathlib import Path

import numpy as np
import pytest

import sgdlimit as sl


def correlated(count, dim=30, seed=0):
    """Gaussian samples whose covariance has eigenvalues from 0.1 to 5."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(dim, dim))).Q
    return rng.normal(size=(count, dim)) @ (basis * np.sqrt(np.geomspace(0.1, 5, dim))).T


def test_moments_are_those_of_what_is_drawn():
    law = sl.Empirical(correlated(400) + 0.1)
    drawn = law.sample(np.random.default_rng(1), 200_000)
    assert {tuple(row) for row in drawn[:500]} <= {tuple(row) for row in law.samples}
    error = np.sqrt(np.diag(law.covariance(30)) / len(drawn))
    assert (np.abs(drawn.mean(axis=0) - law.mean(30)) < 4.5 * error).all()
    np.testing.assert_allclose(np.cov(drawn.T), law.covariance(30), atol=0.1)


def test_theory_of_the_true_covariance_follows_sgd_on_data_and_the_isotropic_one_does_not():
    problem = sl.Problem(
        input_dim=600, latent_dim=300, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    law = sl.Empirical(correlated(60_000, 300))
    instance = problem.draw(0).replace(latent=law)
    times = sl.log_times(12_000, 600, 60)
    M = {}
    for theory in ("conventional", "moment-matched"):
        runs = sl.simulate(instance, times, runs=4, seed=1, test_samples=0, overlaps=theory)
        M[theory] = sl.compare(sl.solve(instance, times, theory=theory), runs)["M"].sel(quantity="Q").item()
    floor_runs = sl.simulate(instance.replace(latent=sl.Gaussian()), times, runs=4, seed=1, test_samples=0)
    floor = sl.compare(sl.solve(instance, times), floor_runs)["M"].sel(quantity="Q").item()
    assert M["moment-matched"] < 2 * floor
    assert M["conventional"] > 3 * floor


def test_reused_samples_are_labelled():
    problem = sl.Problem(
        input_dim=60, latent_dim=30, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    instance = problem.draw(0)
    run = sl.simulate(instance.replace(latent=sl.Empirical(correlated(400))), [10.0], test_samples=50)
    assert (run.attrs["distinct_samples"], run.attrs["epochs"]) == (400, 1.5)
    assert "epochs" not in sl.simulate(instance, [10.0], test_samples=50).attrs


def test_standardised_data_has_no_mean_and_unit_deviations():
    law = sl.Empirical(3 * correlated(400) + 7, standardize=True)
    np.testing.assert_allclose(law.mean(30), 0, atol=1e-13)
    np.testing.assert_allclose(np.diag(law.covariance(30)), 1, rtol=1e-12)
    assert "standardized" in repr(law)
    assert np.isinf(law.kl_to_standard_normal().value)


def test_the_example_of_the_digits(capsys):
    """Real data: its covariance is far from isotropic, and the conventional theory does not follow."""
    path = Path(__file__).parents[1] / "examples" / "digits.py"
    ratios = runpy.run_path(str(path))["main"](steps=3000, runs=1)
    assert ratios["digits", "conventional"] > 2
    assert ratios["fitted mixture", "conventional"] > 2
    assert capsys.readouterr().out.count("noise floor") == 4


def test_the_example_of_digits_as_inputs(capsys):
    """v, measured alike for both theories, is where the covariance tells them apart."""
    path = Path(__file__).parents[1] / "examples" / "digits_as_inputs.py"
    found = runpy.run_path(str(path))["main"](time=30.0, runs=2, resamples=2)
    assert found["conventional v"] > 2 * found["moment-matched v"]
    assert 0 < found["stderr"] < 0.02
    assert capsys.readouterr().out.count("noise floor") == 4


def spoiled(change):
    samples = correlated(100)
    change(samples)
    return samples


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.ones(5), r"samples: must be of shape \(count, latent_dim\) \(got \(5,\)\)"),
        (np.ones((9, 2, 2)), r"samples: .* \(got \(9, 2, 2\)\)\. Give samples\.reshape\(len\(samples\), -1\)\."),
        ((np.ones((9, 2)), np.ones(9)), r"samples: must be one array \(got a tuple of 2\)\. Give the samples alone\."),
        ([np.ones((9, 2)), np.ones((9, 2))], r"samples: must be one array \(got a list of 2\)"),
        ("text", "samples: must be numbers .got 'text'"),
        (
            spoiled(lambda x: x.__setitem__((7, 3), np.nan)),
            r"samples: must be finite \(got 1 of 3000 entries NaN .* first at \[7, 3\]",
        ),
        (
            spoiled(lambda x: x.__setitem__((slice(None), 4), 2.5)),
            "samples: must vary .*1 constant of 30: 5, .*drop_constant=True",
        ),
        (
            spoiled(lambda x: x.__setitem__((slice(None), 9), -2 * x[:, 2])),
            "samples: .*up to scale: 3, 10, counted from 1",
        ),
        (correlated(30), "samples: must be at least 31 .* 30 coordinates .*got 30"),
    ],
)
def test_bad_samples_are_named(samples, message):
    with pytest.raises(sl.ProblemError, match=message):
        sl.Empirical(samples)


def test_data_of_another_dimension_is_refused():
    problem = sl.Problem(
        input_dim=60, latent_dim=40, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    with pytest.raises(sl.ProblemError, match=r"latent: must have latent_dim 40 coordinates .got a law of 30"):
        problem.draw(0).replace(latent=sl.Empirical(correlated(100)))
