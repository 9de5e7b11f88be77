"""``dataset.sgd``: figures, comparison and settings of trajectories and sweeps."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import sgdlimit as sl
from sgdlimit.plotting import hover_panels, sweep_discrepancy
from sgdlimit.trajectory import make_trajectory

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


def test_a_rule_of_many_outputs_without_a_teacher():
    """Six entries have six colours, what rounding alone moves is a flat line, and an R without entries has no panel."""
    rng, times, ones = np.random.default_rng(0), np.geomspace(0.1, 10, 30), np.ones((30, 6))
    theory = make_trajectory(
        times, Q=np.ones((1, 30, 1, 1)), R=np.ones((1, 30, 1, 0)), head_b=[times[:, None] * np.arange(6)],
        head_v=[0.7 * ones + 1e-9 * rng.normal(size=(30, 6))], leading={"run": [0]},
    )  # fmt: skip
    theory = theory.isel(run=0)
    figure = theory.sgd.plot()
    shown = {panel.get_ylabel(): panel for panel in figure.axes}
    assert list(shown) == ["overlap $Q$", "b", "v"]
    assert len({tuple(line.get_color()) for line in shown["b"].lines}) == 6
    low, high = shown["v"].get_ylim()
    assert (round(low, 6), round(high, 6)) == (0.63, 0.77)
    with pytest.raises(sl.ProblemError, match=r"quantities: must be of 'Q', 'head_b', 'head_v' .got 'R'"):
        theory.sgd.plot(quantities=["R"])


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
    with pytest.raises(sl.ProblemError, match=r"axes: must be .* each of 4 quantities .got 1\)"):
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


def test_the_legend_of_a_sweep_lies_within_the_picture(results):
    """Also of many curves with long names, which then have one column; no two are drawn alike."""
    single = results[["M_v", "kl"]].isel(theory=0, drop=True)
    rates = {"learning_rate": [0.1, 0.2]}
    many = single.expand_dims(rates).assign(
        M_v=single["M_v"].expand_dims(rates | {"theory": ["conventional", "moment-matched"]})
    )
    for some, columns, count in ((single, 2, 2), (many, 1, 8)):
        figure = sweep_discrepancy(some, "spread", quantities=["v"])
        figure.draw_without_rendering()
        (legend,), (panel,) = figure.legends, figure.axes
        box, whole = legend.get_window_extent(), figure.bbox
        assert (whole.x0 <= box.x0, box.x1 <= whole.x1, box.y1 <= whole.y1) == (True, True, True)
        assert box.y0 > panel.get_window_extent().y1 > 2 * figure.dpi
        assert len({round(text.get_window_extent().x0) for text in legend.get_texts()}) == columns
        lines = [line for line in panel.lines if line.get_marker() in list("os^Dv")]
        assert len({(line.get_color(), line.get_markerfacecolor()) for line in lines}) == len(lines) == count


def test_theory_meets_sgd_measured_for_it(problem, theory, runs):
    """plot and compare refuse the same pairs, and take what is the theory's of several overlaps."""
    instance = problem.replace(latent=sl.GaussianMixture(components=2, spread=3.0, block_size=3)).draw(seed=0)
    matched = sl.solve(instance, TIMES, theory="moment-matched")
    both = sl.simulate(instance, TIMES, runs=2, test_samples=200, overlaps=("conventional", "moment-matched"))
    said = r"overlaps: must be those of the theory, 'moment-matched' \(got 'conventional'\)\. Use simulate"
    for act in (matched.sgd.plot, matched.sgd.compare):
        for wrong in (runs, both.sel(overlaps="conventional"), both.sel(overlaps=["conventional"])):
            with pytest.raises(sl.ProblemError, match=said):
                act(wrong)
    with pytest.raises(sl.ProblemError, match=r"runs: must be SGD .got the conventional theory.*simulate"):
        theory.sgd.compare(theory)
    own = both.sel(overlaps="moment-matched", drop=True).assign_attrs(overlaps="moment-matched")
    xr.testing.assert_identical(matched.sgd.compare(both), matched.sgd.compare(own))
    xr.testing.assert_identical(matched.sgd.compare(both.sel(overlaps="moment-matched")), matched.sgd.compare(own))
    assert len(matched.sgd.plot(both).axes) == 4
    drawn = curves(matched.sgd.plot(both, quantities="Q"), 0)
    assert set(drawn["Q₁,₁, SGD"]) <= {float(f"{y:.4g}") for y in own["Q"].mean("run").values[:, 1, 1]}
    with pytest.raises(sl.ProblemError, match=r"theory without a name .* \.sel\(overlaps='conventional'\)"):
        matched.drop_attrs().sgd.plot(both)
    with pytest.raises(sl.ProblemError, match=r"measured once .got 'conventional' and 'moment-matched'\)\. Choose one"):
        both.sgd.plot()


def test_results_of_a_comparison_say_what_they_are(theory, runs):
    M = theory.sgd.compare(runs, noise_floor=runs)
    assert M["M"].attrs == {"long_name": "discrepancy M of theory and SGD, mean over entries and runs", "units": "1"}
    assert M["Q"].attrs["long_name"] == "discrepancy M of theory and SGD, mean over runs: student-student overlap Q"
    assert M["floor"].attrs["long_name"].startswith("noise floor")
    assert "units" not in M["agrees"].attrs
    assert all("long_name" in M[name].attrs for name in M)
    assert theory["Q"].attrs["long_name"] == "student-student overlap Q"


def test_members_of_an_ensemble_may_stand_for_sgd(theory, runs):
    ensemble = runs.drop_attrs(deep=False).assign_attrs(kind="theory", theory="mixture")
    mean = ensemble.mean("run", keep_attrs=True)
    assert float(sl.compare(mean, ensemble)["M"].sel(quantity="Q")) > 0
    with pytest.raises(sl.ProblemError, match=r"runs: must be SGD .got the mixture theory"):
        sl.compare(theory, ensemble)


def test_problem_comparison_and_store(theory, runs, problem, tmp_path):
    assert theory.sgd.problem == runs.sgd.problem == problem
    xr.testing.assert_identical(theory.sgd.compare(runs), sl.compare(theory, runs))
    theory.sgd.save(tmp_path / "theory.zarr")
    assert sl.load(tmp_path / "theory.zarr").sgd.problem == problem


def test_what_cannot_be_done_is_said(theory, runs, results):
    several = xr.concat([runs, runs], dim="instance")
    for act, said in (
        (lambda: xr.Dataset().sgd.plot(), "this dataset: must be a trajectory"),
        (lambda: xr.Dataset().sgd.problem, "must be in the attributes"),
        (lambda: results.sgd.problem, "a sweep, which has one for every condition"),
        (lambda: theory.sgd.plot(runs["Q"]), "runs: must be a trajectory"),
        (lambda: runs.sgd.plot(theory), r"Call theory\.sgd\.plot\(runs\)"),
        (lambda: theory.sgd.plot(runs.isel(time=slice(5))), r"runs: must have the 'time' of the theory, 25 \(got 5\)"),
        (lambda: theory.sgd.plot(quantities=["Z"]), r"quantities: .* \(got 'Z'\)\. Use some of .*'Q'"),
        (lambda: theory.sgd.plot(x="spread"), "x: must be left out for a trajectory"),
        (lambda: several.sgd.plot(), r"several along instance\)\. Choose one, as with \.isel\(instance=0\)"),
        (lambda: results.sgd.plot(runs), "runs: must be left out for a sweep"),
        (lambda: results.sgd.plot(x="learning_rate"), "x: .*got 'learning_rate'.* 'kl', 'activation', 'spread'"),
        (lambda: results.sgd.plot(quantities=["ε"]), "quantities: must be in the dataset .got 'ε'."),
        (lambda: results.sel(spread=3.0).sgd.plot(), "'kl', which is the same in all of these results"),
    ):  # fmt: skip
        with pytest.raises(sl.ProblemError, match=said):
            act()
