"""What a sweep computes is what the functions it stands for give, condition by condition."""

import re
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import sgdlimit as sl
from sgdlimit.errors import ProblemError
from sgdlimit.papers.bae_jeong_2024._reproduction import Stages
from sgdlimit.sweep import Plan, SweepRun
from sgdlimit.sweep._cost import cost
from sgdlimit.sweep._task import applicable_theory

ROOT = Path(__file__).parents[1]
SMALL = {"input_dim": 60, "latent_dim": 30, "student_units": 2, "teacher_units": 2, "learning_rate": 0.2}
LAWS = sl.Sweep(
    problem={**SMALL, "latent": {"components": 2, "shared_means": False}},
    grid={"activation": ["erf", "relu"], "latent.block_size": [1, 30], "latent.spread": [0.0, 4.0]},
    run={"instances": 2, "first_instance": 3, "time": 3.0, "count": 12, "theories": ["conventional", "mixture"]},
)


@pytest.fixture(scope="module")
def laws(tmp_path_factory):
    return sl.compute_sweep(LAWS, tmp_path_factory.mktemp("sweep") / "laws.zarr", workers=0)


def test_trajectories_and_m_are_those_of_solve_simulate_and_compare(laws):
    place = {"instance": 4, "activation": "relu", "block_size": 30, "spread": 4.0}
    one = laws.sel(place).load()
    problem = LAWS.condition((1, 1, 1))
    instance = problem.draw(seed=4)
    for theory, chains in (("conventional", None), ("mixture", LAWS.run.chains)):
        direct = sl.solve(instance, LAWS.times, theory=theory, chains=chains)
        mean = direct.mean("run") if "run" in direct.dims else direct
        runs = sl.simulate(instance, LAWS.times, seed=4, test_samples=1000, overlaps=theory)
        M = sl.compare(direct, runs)
        own = one.sel(theory=theory)
        for name in ("Q", "R", "v", "generalization_error"):
            np.testing.assert_allclose(own[f"theory_{name}"], mean[name], rtol=1e-12)
            np.testing.assert_allclose(own[name], runs[name], rtol=1e-6)  # errors are measured in other batches
            np.testing.assert_allclose(own[f"M_{name}"].isel(run=0), M[name], rtol=1e-5)
        np.testing.assert_allclose(own["scale_Q"].mean(), M["scale"].sel(quantity="Q"), rtol=1e-12)
    floor = sl.simulate(instance.replace(latent=sl.Gaussian()), LAWS.times, seed=4, test_samples=1000)
    M = sl.compare(sl.solve(instance, LAWS.times), floor)
    np.testing.assert_allclose(one["floor_Q"].isel(run=0), M["Q"], rtol=1e-12)
    assert float(one["kl"]) == float(instance.latent.kl_to_standard_normal(samples=2000))


def test_rules_are_swept_by_name(tmp_path):
    """Losses beside each other, with parameters and errors by name; what has no place in one sweep is a sentence."""
    problem = {**SMALL, "activation": "erf", "labels": "sign", "bias": True}
    run = {"time": 1.0, "count": 4, "test_samples": 100, "noise_floor": False}
    sweep = sl.Sweep(problem=problem, grid={"loss": ["hinge"], "training.weight_decay": [0.0, 0.1]}, run=run)
    swept = sl.compute_sweep(sweep, tmp_path / "rules.zarr", workers=0)
    one = swept.sel(instance=0, loss_function="hinge", weight_decay=0.1, theory="conventional").load()
    instance = sl.Problem(**problem, loss="hinge", training=sl.Training(weight_decay=0.1)).draw(seed=0)
    theory, runs = sl.solve(instance, sweep.times), sl.simulate(instance, sweep.times, test_samples=100)
    M = sl.compare(theory, runs)
    for name in ("Q", "R", "head_v", "head_b", "loss", "error_rate"):
        np.testing.assert_allclose(one[f"theory_{name}"], theory[name], rtol=1e-12)
        np.testing.assert_allclose(one[name], runs[name], rtol=1e-6)
        np.testing.assert_allclose(one[f"M_{name}"].isel(run=0), M[name], rtol=1e-5)
    with pytest.raises(ProblemError, match=r"^grid: all conditions must have heads with the same axes \(got head_v of"):
        sl.Sweep(problem=problem, grid={"outputs": [1, 2]})
    clusters = {"law": "clusters", "count": 2, "mean_norm": 2.0}
    with pytest.raises(
        ProblemError, match=r"^labels: must come from a teacher, because a sweep's noise floor has Gaussian inputs"
    ):
        sl.Sweep(problem=problem | {"teacher_units": 0, "labels": "clusters"}, grid={"latent": [clusters]})


def test_clusters_without_labels_are_trained_on(tmp_path):
    """They were taken for N(0, I)."""
    problem = SMALL | {"activation": "erf", "latent": {"law": "clusters", "count": 2, "mean_norm": 9.0}}
    run = {"time": 1.0, "count": 4, "theories": ["moment-matched"], "test_samples": 0}
    swept = sl.compute_sweep(
        sl.Sweep(problem=problem, grid={"latent.mean_norm": [9.0]}, run=run), tmp_path / "c", workers=0
    )
    runs = sl.simulate(sl.Problem(**problem).draw(seed=0), swept["time"], test_samples=0)
    np.testing.assert_allclose(swept["v"].squeeze(), runs["v"].squeeze(), rtol=1e-6)


def test_a_spread_of_zero_is_the_noise_floor_for_every_theory(laws):
    at_zero = laws.sel(spread=0.0).load()
    for theory in LAWS.run.theories:
        M = at_zero["M_Q"].sel(theory=theory, drop=True)
        np.testing.assert_array_equal(M, at_zero["floor_Q"].transpose(*M.dims))
    assert not at_zero["noise_Q"].any()
    assert not at_zero["kl"].any()


def test_the_dataset_is_lazy_and_says_where_it_comes_from(laws):
    assert all(laws[name].chunks is not None for name in laws)
    assert bool(laws["completed"].all())
    assert laws["instance"].values.tolist() == [3, 4]
    assert laws.attrs["tasks"] == laws.attrs["tasks_finished"] == 2
    assert {"sgdlimit", "numpy", "commit", "machine"} <= set(laws.attrs)
    assert sl.Sweep(**__import__("json").loads(laws.attrs["problem"])).canonical() == LAWS.canonical()


@pytest.mark.parametrize(
    ("law", "theory", "simplest"),
    [
        (sl.Gaussian(), "mixture", "conventional"),
        (sl.MixtureLaw([-2.0, 2.0], standardize=True), "mixture", "conventional"),
        (sl.MixtureLaw([-2.0, 2.0]), "mixture", "moment-matched"),
        (sl.MixtureLaw([-2.0, 3.0]), "mixture", "mixture"),
        (sl.MixtureLaw([-2.0, 3.0]), "moment-matched", None),
        (sl.MixtureLaw(np.outer([-1, 1], np.ones(30)), block_size=30), "mixture", "mixture"),
        (sl.MixtureLaw(np.outer([-1, 1], np.ones(30)), block_size=2), "mixture", "mixture"),  # 15 blocks
        (sl.MixtureLaw(np.outer([-1, 0, 1], np.ones(30)), block_size=5), "mixture", None),  # 3⁶ clusters
        (sl.MixtureLaw(np.outer([-1, 1], np.ones(30)), block_size=2), "moment-matched", "moment-matched"),
    ],
)
def test_the_simplest_theory_that_says_the_same_is_asked(law, theory, simplest):
    assert applicable_theory(LAWS.first.draw(seed=0).replace(latent=law), theory) == simplest


@pytest.mark.parametrize("change", [{"nonlinearity": "tanh"}, {"training": sl.Training(sphere=True)}], ids=str)
def test_mixture_theory_is_asked_where_it_applies_to_the_network_too(change):
    """Of many blocks it knows f = sign, erf and the identity, and no weights on the sphere."""
    many = sl.MixtureLaw(np.outer([-1, 1], np.ones(30)), block_size=2)
    instance = LAWS.first.draw(seed=0).replace(latent=many, **change)
    assert applicable_theory(instance, "mixture") is None
    assert not sl.Mixture().applies(instance)


def test_the_simplest_theory_does_say_the_same():
    """One Gaussian cluster without a mean; what is left is the quasi-Monte Carlo error of the ensemble's averages."""
    instance = LAWS.condition((0, 0, 0)).draw(0).replace(latent=sl.MixtureLaw([-2.0, 2.0]))
    mixture = sl.theory.solve_mixture(instance, LAWS.times, chains=64, largest_step=0.05).mean("run")
    matched, conventional = (sl.solve(instance, LAWS.times, theory=name) for name in ("moment-matched", "conventional"))
    error = float(abs(mixture["Q"] - matched["Q"]).max())
    assert error < 2e-3 < 0.05 * float(abs(conventional["Q"] - matched["Q"]).max())


def test_conditions_with_other_units_tasks_and_sizes_fill_up_with_nan(tmp_path):
    sweep = sl.Sweep(
        problem={**SMALL, "activation": "linear", "teacher_units": 1},
        grid={"student_units": [1, 2], "switch_times": [[], [1.5]]},
        run={"time": 3.0, "count": 8, "noise_floor": False, "test_samples": 50},
    )
    data = sl.compute_sweep(sweep, tmp_path / "units.zarr", workers=0).load()
    assert data["switch_times"].values.tolist() == ["[]", "[1.5]"]
    assert data["Q"].sel(student_units=1).isel(student=0, student_=0).notnull().all()
    assert data["Q"].sel(student_units=1).isel(student=1).isnull().all()
    assert data["Q"].sel(student_units=2).notnull().all()
    assert data["R"].sel(switch_times="[]").isel(teacher=1).isnull().all()
    assert data["task_error"].sel(switch_times="[1.5]").notnull().all()
    assert data["M_Q"].sel(student_units=2).notnull().all()
    assert "floor_Q" not in data


def test_output_times_are_whole_steps_of_every_size():
    sweep = sl.Sweep(problem={**SMALL, "activation": "erf"}, grid={"input_dim": [60, 90]}, run={"time": 3.0})
    assert sweep.times[-1] == 3.0
    np.testing.assert_allclose(sweep.times * 30, np.rint(sweep.times * 30), atol=1e-9)


def test_a_grid_over_training_and_whole_tables(tmp_path):
    sweep = sl.Sweep(
        problem={**SMALL, "activation": "erf"},
        grid={
            "latent": [{"law": "gaussian"}, {"components": 3, "spread": 2.0}],
            "training.label_noise": [0.0, 0.5],
            "learning_rate": [0.1, 1],
        },
        run={"time": 2.0, "count": 5, "trajectories": False},
    )
    plan = Plan(sweep)
    assert len(plan) == 1
    assert len(plan.conditions(0)) == 8
    data = sl.compute_sweep(sweep, tmp_path / "tables.zarr", workers=0).load()
    assert data["latent"].values.tolist() == ['{"law": "gaussian"}', '{"components": 3, "spread": 2.0}']
    assert "Q" not in data
    assert data["M_Q"].notnull().all()
    scale = data["scale_v"].isel(theory=0, instance=0, run=0)
    assert (scale.sel(label_noise=0.5) != scale.sel(label_noise=0.0)).all()
    assert (scale.isel(latent=0) != scale.isel(latent=1)).all()
    assert (scale.sel(learning_rate=0.1) != scale.sel(learning_rate=1.0)).all()


def test_a_divergence_is_a_result(tmp_path):
    sweep = sl.Sweep(
        problem={**SMALL, "activation": "linear"}, grid={"learning_rate": [0.1, 50.0]}, run={"time": 3.0, "count": 8}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        data = sl.compute_sweep(sweep, tmp_path / "diverged.zarr", workers=0).load()
    good, bad = data.sel(learning_rate=0.1), data.sel(learning_rate=50.0)
    assert np.isnan(good["diverged_at"]).all()
    assert (bad["diverged_at"] < 3.0).all()
    assert good["M_Q"].notnull().all()
    assert bad["M_Q"].isnull().all()
    assert bool(data["completed"].all())


def test_large_tasks_are_split_and_have_the_same_numbers(tmp_path, laws):
    split = LAWS.replace(run=LAWS.run.replace(conditions_per_task=3))
    plan = Plan(split)
    assert len(plan) == 8  # of two conditions each
    data = sl.compute_sweep(split, tmp_path / "split.zarr", workers=0)
    for name in ("Q", "theory_Q", "M_R", "floor_v", "kl"):
        np.testing.assert_allclose(data[name].values, laws[name].values, rtol=1e-6, atol=1e-9)


def test_the_example_and_the_page_have_valid_sweeps():
    shown = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8"), re.DOTALL)
    sweeps = [sl.Sweep(**tomllib.loads(text)) for text in shown]
    example = sl.Sweep.from_toml(ROOT / "examples" / "sweep.toml")
    assert (example.problem["input_dim"], example.run.time) == (1000, 100.0)
    assert len(Plan(example)) == 5
    assert len(sweeps) == 1
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in SweepRun.model_fields)
    plan = Plan(LAWS)
    names = {
        name for name in map(str, plan.template) if not name.startswith(("M_", "scale_", "floor_", "noise_", "theory_"))
    }
    assert all(f"`{name}`" in page for name in names)


def test_the_cost_is_said_before(laws):
    plan = Plan(LAWS)
    found = cost(plan, list(range(len(plan))))
    assert (found.tasks, found.conditions, found.runs) == (2, 16, 12)  # with spread 0 the Gaussian is shared
    assert found.disk == sum(laws[name].nbytes for name in laws)
    assert 0 < found.seconds < 60
    assert "2 tasks" in str(found)


def test_stages_are_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return xr.Dataset({"x": ("i", [1.0])}), xr.Dataset({"y": ("i", [2.0])})

    Stages(tmp_path).run(("a", "b"), compute)
    again = Stages(tmp_path)
    again.run(("a", "b"), compute)
    assert len(calls) == 1
    assert again.resumed
    assert sl.load(tmp_path / "b.zarr")["y"].values.tolist() == [2.0]
    (tmp_path / "b.zarr").rename(tmp_path / "elsewhere")  # interrupted between the two
    Stages(tmp_path).run(("a", "b"), compute)
    assert len(calls) == 2


def test_an_interrupted_reproduction_goes_on_and_another_one_does_not(tmp_path, command, monkeypatch):
    def interrupted(*args, **kwargs):
        raise sl.SweepError("interrupted with 1 of 4 tasks")

    monkeypatch.setattr("sgdlimit.papers.bae_jeong_2024.reproduce", interrupted)
    assert command("reproduce", "--out", "results").returncode == 1
    assert command("reproduce", "--out", "results").returncode == 1
    other = command("reproduce", "--out", "results", "--seed", "7")
    assert other.returncode == 2
    assert "must be a new or empty folder" in other.stderr
    monkeypatch.setattr("sgdlimit.papers.bae_jeong_2024.reproduce", lambda *args, **kwargs: "done")
    assert command("reproduce", "--out", "results").returncode == 0
    (tmp_path / "results" / "index.html").touch()
    assert command("reproduce", "--out", "results").returncode == 2
