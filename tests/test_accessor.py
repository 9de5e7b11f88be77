"""``dataset.sgd``: figures, comparison and settings of trajectories and sweeps."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import sgdlimit as sl
from sgdlimit.figures import hover_panels

TIMES = sl.log_times(300, 60, 25)


@pytest.fixture(scope="module")
def problem() -> sl.Problem:
    return sl.Problem(
        input_dim=60, latent_dim=30, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )


@pytest.fixture(scope="module")
def theory(problem) -> xr.Dataset:
    return sl.solve(problem.draw(seed=0), TIMES)


@pytest.fixture(scope="module")
def runs(problem) -> xr.Dataset:
    return sl.simulate(problem.draw(seed=0), TIMES, runs=3, test_samples=200)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> xr.Dataset:
    """A sweep of two activations and three α at a small size."""
    problem = {"input_dim": 40, "latent_dim": 20, "student_units": 2, "teacher_units": 2, "learning_rate": 0.2,
               "latent": {"components": 2}}  # fmt: skip
    sweep = sl.Sweep(
        problem=problem, grid={"activation": ["erf", "relu"], "latent.spread": [0.0, 3.0, 9.0]},
        run={"instances": 2, "time": 2.0, "count": 10, "test_samples": 0},
    )  # fmt: skip
    return sl.compute_sweep(sweep, tmp_path_factory.mktemp("sweep") / "results.zarr", workers=0)


def curves(figure: Figure, panel: int) -> dict[str, np.ndarray]:
    figure.draw_without_rendering()
    return {curve.name: curve.y for curve in hover_panels(figure)[panel].curves}


def test_sgd_is_drawn_over_theory(theory, runs):
    drawn = curves(theory.sgd.plot(runs), 1)
    np.testing.assert_allclose(drawn["Q₁,₁, theory"], theory["Q"][:, 1, 1], rtol=1e-3)
    assert set(drawn["Q₁,₁, SGD"]) <= {float(f"{y:.4g}") for y in runs["Q"].mean("run").values[:, 1, 1]}


def test_one_trajectory_is_drawn_as_lines(theory, runs):
    assert list(curves(theory.sgd.plot(), 3)) == ["v₀, theory", "v₁, theory"]
    alone = curves(runs.sgd.plot(quantities=["v"]), 0)
    np.testing.assert_allclose(alone["v₀, SGD"], runs["v"].mean("run")[:, 0], rtol=1e-3)
    one = runs.isel(run=0)
    assert len(one.sgd.plot().axes) == 4


def test_axes_of_ones_own(theory, runs):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert theory.sgd.plot(runs, quantities=["Q", "generalization_error"], axes=[left, right]) is figure
    assert right.get_yscale() == "log"
    assert not figure.legends
    with pytest.raises(sl.ProblemError, match="axes: 1 given for 4 quantities"):
        theory.sgd.plot(runs, axes=left)


def test_time_zero_is_left_out_of_a_logarithmic_axis(problem):
    instance, times = problem.draw(seed=0), np.append(0.0, TIMES)
    figure = sl.solve(instance, times).sgd.plot(sl.simulate(instance, times, runs=2, test_samples=0))
    assert len(figure.axes) == 3  # without ε_g, which was not measured
    assert figure.axes[0].get_xlim()[0] == pytest.approx(TIMES[0])


def test_a_sweep_draws_its_discrepancies(results):
    figure = results.sgd.plot()
    drawn = curves(figure, 0)
    assert len(figure.axes) == 3
    assert list(drawn) == ["theory conventional, activation erf", "theory conventional, activation relu"]
    expected = (
        results["M_Q"].sel(theory="conventional", activation="erf").mean(["instance", "run", "student", "student_"])
    )
    np.testing.assert_allclose(drawn["theory conventional, activation erf"], expected, rtol=1e-3)
    against = results.sel(activation="erf", theory="conventional").sgd.plot(x="spread", quantities=["v"])
    assert hover_panels(against)[0].curves[0].x.tolist() == [0.0, 3.0, 9.0]


def test_problem_comparison_and_store(theory, runs, problem, tmp_path):
    assert theory.sgd.problem == runs.sgd.problem == problem
    xr.testing.assert_identical(theory.sgd.compare(runs), sl.compare(theory, runs))
    theory.sgd.save(tmp_path / "theory.zarr")
    assert sl.load(tmp_path / "theory.zarr").sgd.problem == problem


def test_what_cannot_be_done_is_said(theory, runs, results):
    several = xr.concat([runs, runs], dim="instance")
    for act, said in (
        (lambda: xr.Dataset().sgd.plot(), "no trajectory"),
        (lambda: xr.Dataset().sgd.problem, "attributes of this dataset hold none"),
        (lambda: results.sgd.problem, "a sweep has one for every condition"),
        (lambda: theory.sgd.plot(runs["Q"]), "runs: is no trajectory"),
        (lambda: runs.sgd.plot(theory), r"call it as theory\.sgd\.plot\(runs\)"),
        (lambda: theory.sgd.plot(runs.isel(time=slice(5))), "runs: 5 along 'time' where theory has 25"),
        (lambda: theory.sgd.plot(quantities=["Z"]), "quantities: 'Z' cannot be shown here; use some of .*'Q'"),
        (lambda: theory.sgd.plot(x="spread"), "x: 'spread' is for a sweep"),
        (lambda: several.sgd.plot(), r"has instance as well; choose one trajectory, as with \.isel\(instance=0\)"),
        (lambda: results.sgd.plot(runs), "runs: a sweep holds its own SGD"),
        (lambda: results.sgd.plot(x="learning_rate"), "x: 'learning_rate' is no axis .* 'kl', 'activation', 'spread'"),
        (lambda: results.sgd.plot(quantities=["ε"]), "quantities: there is no M of"),
        (lambda: results.sel(spread=3.0).sgd.plot(), "'kl' is the same in all of these results"),
    ):  # fmt: skip
        with pytest.raises(sl.ProblemError, match=said):
            act()
