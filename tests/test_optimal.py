"""Learning-rate schedules by gradients through theory, and phase diagrams."""

import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq

import sgdlimit as sl
from sgdlimit.papers.optimal_schedule import schedule_against_constant
from sgdlimit.plotting import optimal_schedule as draw_schedule, phase_diagram as draw_phases
from sgdlimit.theory import Spectrum, optimal_schedule, phase_diagram, plateau_exit, solve_many, solve_spectrum
from sgdlimit.theory._optimal import SMALLEST

EXAMPLES = Path(__file__).parents[1] / "examples"
NOISE = 0.5
REGRESSION = sl.Problem(
    input_dim=50,
    latent_dim=50,
    student_units=1,
    teacher_units=1,
    activation="linear",
    nonlinearity="identity",
    features="identity",
    output_weights="equal",
    learning_rate=0.1,
    training=sl.Training(label_noise=NOISE, output_learning_rate=0.0),
)
"""Linear regression on isotropic Gaussian inputs: E = 2ε moves by itself, dE/dt = −2ηE + η²(E + σ²)."""


@pytest.fixture(scope="module")
def regression():
    return optimal_schedule(REGRESSION.draw(seed=0), 40.0)


def test_the_schedule_of_linear_regression_is_the_known_one(regression):
    """η = E/(E + σ²) is best at any time, so −1/E' = 1/E + σ²/E²: ln(E₀/E) + σ²(1/E − 1/E₀) = t."""
    start = 2 * float(sl.solve(regression.constant, [0.0]).generalization_error[0])

    def time_left(E):
        return np.log(start / E) + NOISE**2 * (1 / E - 1 / start) - 40.0

    least = float(np.asarray(brentq(time_left, 1e-6, start))) / 2
    assert least < regression.error < 1.03 * least  # no schedule is better; a polygon of 10 points comes close
    assert regression.converged
    np.testing.assert_allclose(sl.solve(regression.scheduled, [40.0]).generalization_error, regression.error, rtol=1e-4)


def test_the_best_constant_rate_of_linear_regression(regression):
    """E(t) = E∞ + (E₀ − E∞) exp(−(2η − η²)t) with E∞ = ησ²/(2 − η), at its least over η."""
    start = 2 * float(sl.solve(regression.constant, [0.0]).generalization_error[0])
    eta = np.linspace(0.01, 1.5, 20_000)
    end = eta * NOISE**2 / (2 - eta)
    error = (end + (start - end) * np.exp(-(2 * eta - eta**2) * 40)) / 2
    np.testing.assert_allclose(regression.constant_error, error.min(), rtol=1e-4)
    np.testing.assert_allclose(regression.constant_rate, eta[error.argmin()], rtol=0.01)
    assert regression.gain > 1.5
    assert f"{regression.gain:.3g} times less" in str(regression)


def test_the_rate_falls_and_stays_positive(regression):
    factors = np.array(regression.schedule.factors)
    assert (np.diff(factors) < 0).all()
    assert factors[-1] > SMALLEST * regression.constant_rate / REGRESSION.learning_rate


def test_sgd_gains_what_theory_says(regression):
    """On the same samples the schedule beats SGD's own best constant rate.

    The gain of 8 runs is 10 standard errors or more; below 3 with a probability of less than 1e-4. The seed is fixed.
    """
    times = sl.log_times(2000, 50, 20)
    study = schedule_against_constant(regression, times, runs=8, seed=1, test_samples=500)
    assert study.attrs["gain"] > 3 * study.attrs["gain_stderr"]
    assert study.attrs["gain_over_theory"] > 3 * study.attrs["gain_over_theory_stderr"]
    assert len(draw_schedule(study).axes) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration": -1.0}, r"duration: .*\(got -1\.0\)"),
        ({"knots": 1}, r"knots: .*\(got 1\)"),
        ({"rates": [0.1, 0.2]}, "rates: "),
        ({"rates": "fast"}, "rates: must be numbers"),
        ({"rates": [0.3, 0.5, 0.7]}, "rates: must have the best one inside their range .got 0.3, at its end"),
    ],
)
def test_schedules_that_cannot_be_looked_for(changes, message):
    with pytest.raises(sl.ProblemError, match=message):
        optimal_schedule(REGRESSION.draw(seed=0), **({"duration": 40.0} | changes))


def test_a_schedule_upon_a_schedule_is_refused(regression):
    with pytest.raises(sl.ProblemError, match=r"training\.schedule"):
        optimal_schedule(regression.scheduled, 40.0)


def test_rates_that_all_diverge():
    with pytest.raises(sl.DivergenceError, match="rates"):
        optimal_schedule(REGRESSION.draw(seed=0), 2000.0, rates=[4.0, 5.0, 6.0])


# --- phase diagrams --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diagram():
    grid = {"learning_rate": [0.5, 1.0, 2.5], "training.label_noise": [0.1, 0.2, 0.5, 1.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what diverges is marked, not warned of
        return phase_diagram(REGRESSION, grid, np.geomspace(0.02, 2000, 60))


def test_the_final_error_of_linear_regression(diagram):
    """ε = ησ²/(2(2 − η)); for η > 2 there is none."""
    eta, sigma = diagram["learning_rate"], diagram["training_label_noise"]
    expected = (eta * sigma**2 / (2 * (2 - eta))).where(eta < 2)
    np.testing.assert_allclose(diagram["final_error"], expected, rtol=1e-4)


def test_cells_that_diverge_are_marked(diagram):
    assert diagram["diverged"].values.tolist() == [[False] * 4] * 2 + [[True] * 4]
    np.testing.assert_array_equal(np.isnan(diagram["final_error"]), diagram["diverged"])
    np.testing.assert_array_equal(np.isfinite(diagram["diverged_at"]), diagram["diverged"])
    assert np.isinf(diagram["plateau_exit"]).all()  # an exponential has no plateau
    assert not diagram["left_plateau"].any()


def test_the_heat_map_is_hatched_where_theory_diverges(diagram):
    figure = draw_phases(diagram)
    hatches = [collection.get_hatch() for panel in figure.axes[:2] for collection in panel.collections]
    assert hatches.count("////") == 2
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"theory diverges", "no plateau is left"}


def test_diagrams_are_stored(diagram, tmp_path):
    sl.save(diagram, tmp_path / "diagram")
    xr.testing.assert_identical(sl.load(tmp_path / "diagram"), diagram)


def test_the_plateau_is_left_the_later_the_smaller_its_symmetry_is_broken():
    """Two erf units of each (Saad & Solla 1995): the asymmetry R₁₁ − R₁₂ grows exponentially on the plateau.

    So every factor 10 less of it at the start delays the exit by the same time.
    """
    asymmetry = 10.0 ** -np.arange(3, 8)
    start = np.diag([0.2, 0.3])
    spectra = [Spectrum([1.0], [1.0], [start], [x * np.eye(2)], [np.eye(2)], np.eye(2)) for x in asymmetry]
    times = np.geomspace(0.01, 600, 120)
    with pytest.warns(sl.AccuracyWarning, match="below 2e-13, which the solver does not resolve"):
        fan = solve_many(
            spectra,
            np.ones(2),
            np.ones(2),
            activation="erf",
            learning_rate=0.8,
            times=times,
            training=sl.Training(output_learning_rate=0.0),
            atol=1e-11,
        )
    exits, levels = np.transpose([plateau_exit(times, error) for error in fan["generalization_error"].values])
    np.testing.assert_allclose(levels, levels[0], rtol=0.02)
    delays = np.diff(exits)
    assert (delays > 5).all()
    np.testing.assert_allclose(delays[1:], delays[-1], rtol=0.05)


def test_the_example_of_the_phase_diagram(tmp_path, capsys):
    assert runpy.run_path(str(EXAMPLES / "phase_diagram.py"))["main"](2, 50, 200, str(tmp_path)) <= 4
    assert "4 cells" in capsys.readouterr().out
    assert (tmp_path / "phase_diagram.png").exists()


@pytest.mark.filterwarnings("ignore:generalization_error. from t=1.* on it is below 1e-09")
def test_plateaus_of_soft_committees_are_found_and_not_their_tails():
    """ε* = (M/π)(π/6 − M asin 1/(2M)) of Saad & Solla for η → 0; at η = 0.02 it lies up to 4 % higher."""
    times = np.geomspace(0.1, 20_000, 300)
    for M in (3, 4, 5):
        start = Spectrum([1.0], [1.0], [0.05 * np.eye(M)], [1e-3 * np.eye(M)], [np.eye(M)], np.eye(M))
        settings = {"learning_rate": 0.02, "training": sl.Training(output_learning_rate=0.0)}
        theory = solve_spectrum(start, np.ones(M), np.ones(M), activation="erf", times=times, **settings)
        left, level = plateau_exit(times, theory.generalization_error)
        plateau = M / np.pi * (np.pi / 6 - M * np.arcsin(1 / (2 * M)))
        assert plateau < level < 1.04 * plateau
        assert 7000 < left < 12_000


def test_plateaus_of_known_curves():
    t = np.geomspace(0.01, 1000, 200)
    before = 0.5 * np.exp(-t)
    exit_time, level = plateau_exit(t, before + 0.1 / (1 + (t / 100) ** 4) + 1e-5)
    np.testing.assert_allclose(level, 0.1, rtol=0.02)
    # The fall is by more than tenfold and counts as tenfold: ε = 0.1/√10.
    np.testing.assert_allclose(exit_time, 100 * (np.sqrt(10) - 1) ** 0.25, rtol=0.02)
    for unfinished in (before + 0.1, 0.5 / (1 + t), np.full(200, 0.3)):
        assert plateau_exit(t, unfinished)[0] == np.inf


@pytest.mark.parametrize(
    ("settings", "times", "message"),
    [
        ({"learning_rate": [0.1]}, [1.0, 2, 3, 4, 5], "settings: must be two names"),
        ({"learning_rate": [0.1], "latent_dim": []}, [1.0, 2, 3, 4, 5], "settings: must have values for both"),
        ({"learning_rate": [0.1], "rate": [1.0]}, [1.0, 2, 3, 4, 5], "rate"),
        (
            {"learning_rate": [0.1], "student_units": [1, 2]},
            [1.0, 2, 3, 4, 5],
            "settings: must leave the network's size as it is",
        ),
        (
            {"learning_rate": [0.1], "student_scale": [1.0]},
            [0.0, 1, 2, 3, 4],
            r"times: must be at least 5 above 0 \(got 5 from 0 on\)",
        ),
    ],
)
def test_diagrams_that_cannot_be_drawn(settings, times, message):
    with pytest.raises(sl.ProblemError, match=message):
        phase_diagram(REGRESSION, settings, times)
