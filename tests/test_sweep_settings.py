"""Settings of a sweep: what is refused, in which words, and that it takes neither long nor much memory."""

import resource
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings as examples

import sgdlimit as sl
from faults import PROBLEM, broken_syntax, check_one_sentence, settings, sweep_of, toml_text, wrong_values
from sgdlimit.settings import read_toml, shown
from sgdlimit.sweep import Plan, Sweep, _settings as sweep_settings
from sgdlimit.sweep._settings import differences

FEW = examples(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def refuse(command, tmp_path, content):
    path = tmp_path / "s.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = command("sweep", path, "--dry-run")
    if done.returncode != 0:  # a few of the files that are made are right
        check_one_sentence(done.returncode, done.stderr)
    return done


@FEW
@given(wrong_values())
def test_values_that_cannot_be_meant(command, tmp_path, text):
    refuse(command, tmp_path, text)


@FEW
@given(broken_syntax())
def test_files_that_are_no_toml(command, tmp_path, content):
    refuse(command, tmp_path, content)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("problem", "input_dim"), "1000000000", "input_dim: must be less than or equal to 1000000 (got 1000000000)"),
        (("problem", "input_dim"), "1" * 5000, "must be valid TOML (got Exceeds the limit"),
        (
            ("problem", "input_dim"),
            "0x" + "f" * 5000,
            "input_dim: must be less than or equal to 1000000 (got a value too long to show)",
        ),
        (("problem", "student_units"), "1000000", "must have room for"),
        (
            ("problem", "latent"),
            "{components = 2, spread = 1.0, weights = [nan, nan]}",
            "latent.weights: must be finite (got 2 of 2",
        ),
        (
            ("problem", "latent"),
            "{components = 2, spread = nan}",
            "latent.spread: must be less than or equal to 1000000 (got nan)",
        ),
        (("problem", "self"), "1", "self: must not be in this table, which has no such setting (got 1)"),
        (("problem", '"a\\nb"'), "1", r"'a\nb': must not be in this table, which has no such setting (got 1)"),
        (
            ("problem", '"\\u001b[31m"'),
            "1",
            r"'\x1b[31m': must not be in this table, which has no such setting (got 1)",
        ),
        (("problem", "activation"), '"' + "x" * 5000 + '"', "x ...)."),
        (("run", "count"), "1" + "0" * 18, "run.count: must be less than or equal to 100000 (got 1000000000000000000)"),
        (
            ("run", "instances"),
            "1000000",
            "run.instances: must make at most 1000000 tasks (got 1000000, which make 2000000)",
        ),
        (("run", "test_samples"), "1", "run.test_samples: must be 0 or at least 2 (got 1)"),
        (("run", "time"), "0.001", "run.time: must be at least a step (got 0.001)"),
        (("run", "theories"), '["conventional", "conventional"]', "run.theories: must name theories, each once (got"),
        (
            ("grid", "learning_rate"),
            "[]",
            "grid: learning_rate must be a list of at least one value (got []). Write learning_rate = [...]",
        ),
        (("grid", "learning_rate"), "[0.1, 0.1]", "grid: learning_rate must have each value once (got 0.1 twice)"),
        (("grid", "learning_rat"), "[0.1]", "Did you mean 'learning_rate'?"),
        (("grid", "latent.components"), "[2]", "latent"),
        (("grid", "training.schedule.times"), "[[1.0]]", "training.schedule.factors: must be given"),
        (
            ("grid", "training"),
            "{label_noise = [0.1], learning_rate = [1]}",
            "must be fields of a problem (got 'training.learning_rate')",
        ),
    ],
)
def test_what_is_wrong_is_named(command, tmp_path, place, value, words):
    done = refuse(command, tmp_path, toml_text({place: value}))
    assert done.returncode == 2
    assert words in done.stderr


def many(name, count):
    return (("grid", name), "[" + ",".join(f"{1e-6 * (i + 1):.6f}" for i in range(count)) + "]")


@pytest.mark.parametrize(
    "text",
    [
        toml_text(dict([many("learning_rate", 110_000)])),
        toml_text(dict(many(f"training.{name}", 1000) for name in ("label_noise", "weight_decay"))),
        toml_text(dict(many(name, 1000) for name in ("student_scale", "teacher_scale", "task_similarity"))),
        toml_text({("problem", "a." * 20_000 + "a"): "1"}),
        toml_text({("problem", "x"): '"' + "x" * (2 << 20) + '"'}),
        toml_text({("problem", "latent_dim"): "1", ("problem", "input_dim"): "1000000", ("run", "count"): "100000"}),
        toml_text({("problem", "input_dim"): "1048576", ("problem", "features"): '"hadamard"'}),
        toml_text({("problem", "latent"): "{components = 1000000, spread = 1.0, shared_means = false}"}),
    ],
    ids=["values", "two axes", "10^9 conditions", "dots", "long", "output times", "Hadamard", "means"],
)
def test_what_is_too_large_is_refused_at_once(command, tmp_path, text):
    """Without the memory or the time that it would take."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert refuse(command, tmp_path, text).returncode == 2
    assert time.process_time() - start < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 << 10  # KiB


def test_files_that_never_end(command):
    for path in ("/dev/zero", "/", "none.toml"):
        done = command("sweep", path, "--dry-run")
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbf" + toml_text({}).encode())
    assert Sweep.from_toml(tmp_path / "s.toml") == Sweep(**settings())


def test_a_sweep_that_is_right_is_taken(command, tmp_path):
    done = refuse(command, tmp_path, toml_text({}))
    assert done.returncode == 0
    assert "6 tasks, 9 conditions on instances, 9 SGD runs" in done.stderr


def test_as_many_conditions_as_are_allowed_do_not_take_minutes():
    start = time.process_time()
    rates = [1e-6 * (i + 1) for i in range(20_000)]
    assert len(Plan(sweep_of(grid={"learning_rate": rates}))) > 1000
    per_condition = (time.process_time() - start) / len(rates)
    assert per_condition * sweep_settings.MOST_CONDITIONS < 60


def test_settings_as_python_has_them():
    sweep = sweep_of(sl.Problem(**PROBLEM, learning_rate=0.1))
    assert Sweep(**sweep.canonical()) == Sweep(**Sweep(**sweep.canonical()).canonical())
    assert differences(sweep.canonical(), Sweep(**settings()).canonical()) == []
    with pytest.raises(sl.ProblemError, match="grid"):
        sweep_of(grid=3)
    axes = {"learning_rate": np.linspace(0.1, 0.3, 3), "latent.components": range(1, 3), "batch": [1]}
    with pytest.raises(sl.ProblemError) as error:
        Sweep(problem=PROBLEM, grid=axes, run={"runs": np.int64(0)})
    assert [complaint.partition(" (")[0] for complaint in error.value.args] == [
        "grid: must be fields of a problem", "run.runs: must be greater than or equal to 1",
    ]  # fmt: skip
    axes = {"learning_rate": np.array([-0.1, 0.2, -0.3])}
    with pytest.raises(sl.ProblemError) as error:
        Sweep(problem=PROBLEM | {"featurs": "dct"}, grid=axes, run={"runs": 0})
    assert [complaint.rpartition(": ")[0] for complaint in error.value.args] == [
        "problem.featurs",
        "grid: at learning_rate = -0.1: learning_rate",
        "grid: at learning_rate = -0.3: learning_rate",
        "run.runs",
    ]


def test_differences_name_every_field():
    one, other = Sweep(**settings()).canonical(), Sweep(**settings(time=2.0, runs=3)).canonical()
    assert differences(one, other) == ["run.runs is 1 here and 3 there", "run.time is 1.0 here and 2.0 there"]
    less = dict(one, run={k: v for k, v in one["run"].items() if k != "runs"})
    assert differences(one, less) == ["run.runs is 1 here and nothing there"]
    axes = {"learning_rate": [0.1, 0.2], "student_scale": [1.0, 2.0]}
    turned = dict(reversed(axes.items()))
    both = [sweep_of(grid=grid).canonical() for grid in (axes, turned)]
    assert differences(*both) == ["the axes have another order"]
    assert differences(one, dict(one, grid={"learning_rate": [0.1]})) == [
        "grid.learning_rate is [0.1, 0.2, 0.3] here and [0.1] there"
    ]


def test_values_in_messages_are_short():
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown("x" * 1000)) < 110
    assert shown(1 << 100_000) == "a value too long to show"


def test_output_times_of_nearly_every_step():
    """Log-spaced rounding leaves the last of them out for long."""
    assert len(sl.log_times(3000, 100, 2990)) == 2990
    assert len(sl.log_times(100_000, 1000, 100_000)) == 100_000


def test_nothing_runs_in_settings(tmp_path):
    (tmp_path / "s.toml").write_text("[problem]\nactivation = \"__import__('os').system('touch x')\"\n")
    assert read_toml(tmp_path / "s.toml")["problem"]["activation"].startswith("__import__")
    with pytest.raises(sl.ProblemError, match="activation"):
        Sweep(**settings() | {"problem": PROBLEM | read_toml(tmp_path / "s.toml")["problem"]})
