"""Every public function refuses what it cannot use in one sentence that names the argument."""

# pyright: reportArgumentType=false, reportCallIssue=false

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import xarray as xr

import sgdlimit as sl
from sgdlimit.signatures import checked

PROBLEM = sl.Problem(input_dim=20, latent_dim=10, student_units=1, teacher_units=1, activation="erf", learning_rate=0.2)
INSTANCE = PROBLEM.draw(0)
TRAJECTORY = xr.Dataset()


def public():
    """Functions, constructors and class methods by name, those without arguments left out."""
    left_out = {
        "HiddenManifoldDataset",
        "HiddenManifold",
        "LatentLaw",
        "Diagnosis",
        "Gaussian",
    }  # the first needs PyTorch
    for room in (sl, sl.datasets):
        for name in sorted({*room.__all__} - left_out):
            thing = getattr(room, name)
            errors = isinstance(thing, type) and issubclass(thing, Exception | Warning)
            if callable(thing) and not errors:
                yield name, thing
    for cls in (sl.Activation, sl.ClusterMixture, sl.Instance, sl.Problem, sl.Schedule, sl.Sweep):
        for name, method in vars(cls).items():
            if isinstance(method, classmethod) and not name.startswith("_"):
                yield f"{cls.__name__}.{name}", getattr(cls, name)
    for name in ("bootstrap", "exactness", "marchenko_pastur", "optimal_schedule", "phase_diagram", "plateau_exit",
                 "solve_many", "solve_spectrum", "spectrum", "stability_edge"):  # fmt: skip
        yield name, getattr(sl.theory, name)


@pytest.mark.parametrize("function", [pytest.param(function, id=name) for name, function in public()])
def test_an_object_that_is_nothing_is_refused(function):
    parameters = inspect.signature(function).parameters.values()
    parameters = [each for each in parameters if each.kind.name in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")]
    needed = [each.name for each in parameters if each.default is each.empty]
    optional = [each.name for each in parameters if each.default is not each.empty]
    for arguments in ([*needed], *([*needed, other] for other in optional)):
        if arguments:
            with pytest.raises(sl.ProblemError, match=r"^\w+[:.]") as error:
                function(**dict.fromkeys(arguments, object()))
            assert "\n" not in str(error.value)
            assert max(map(len, error.value.args)) < 400


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sl.compare(None, TRAJECTORY), r"theory: must be a Dataset .got None.. Give what sl.solve"),
        (lambda: sl.compare(TRAJECTORY, 3), r"runs: must be a Dataset .got 3."),
        (lambda: sl.simulate_together(3, [1.0]), r"instances: must be a list, each an Instance .got 3.. Give problem"),
        (lambda: sl.simulate_together([], [1.0]), r"instances: must be at least one"),
        (lambda: sl.simulate(INSTANCE, [10**400]), r"times: must be numbers .got \[1000.* ...."),
        (lambda: sl.simulate(INSTANCE, [1.0], runs=10**400), r"runs: must be a whole number .got 1000.* ...."),
        (lambda: sl.simulate(INSTANCE, [1.0], keep_inputs="no"), r"keep_inputs: must be True or False .got 'no'."),
        (lambda: sl.solve(INSTANCE, [1.0], []), r"theory: must be a string or a Theory .got \[\]."),
        (lambda: sl.solve(INSTANCE, [1.0], rtol={}), r"rtol: must be a number or None .got \{\}."),
        (
            lambda: INSTANCE.replace(attrs={"a": object()}),
            r"attrs: must be strings, numbers or lists",
        ),
        (lambda: INSTANCE.replace(activatoin="erf"), r"replace: .*got 'activatoin'.. Did you mean 'activation'"),
        (lambda: INSTANCE.then(INSTANCE.teacher, [1.0], at="late"), r"at: must be a number .got 'late'."),
        (lambda: sl.Activation.polynomial("ab"), r"coefficients: must be"),
        (lambda: sl.Activation.polynomial([[1], [1, 2]]), r"coefficients: must be"),
        (lambda: sl.open_sweep(None), r"path: must be a string or a path .got None.. Give the path"),
        (lambda: sl.save(TRAJECTORY, None), r"path: must be a string or a path .got None."),
        (lambda: sl.save(3, "x.zarr"), r"dataset: must be a Dataset .got 3."),
        (lambda: sl.save(TRAJECTORY, "a/../../" + "b" * 300), r"path: must be a string or a path .got 'a/../../bb"),
        (lambda: sl.save(TRAJECTORY, ".."), r"path: must be new .got '..'"),
        (lambda: sl.load("\0"), r"path: must be a string or a path"),
        (lambda: sl.log_times("many", 3), r"steps: must be a whole number .got 'many'."),
        (lambda: PROBLEM.draw(), r"Problem.draw: must be called with seed .missing a required argument: 'seed'."),
        (lambda: PROBLEM.draw(0, 1), r"Problem.draw: must be called with seed .too many positional arguments."),
        (lambda: sl.solve(INSTANCE, tims=[1.0]), r"solve: must be called with instance, times,.* Did you mean 'times'"),
        (lambda: sl.Instance(), r"Instance: must be called with features, student, .* argument: 'features'."),
        (lambda: sl.diagnose(PROBLEM), r"source: must be samples, .* .got a Problem.. Give problem.draw.seed=0."),
        (lambda: sl.diagnose(sl.GaussianMixture(components=2, spread=1.0)), r"source: must be .*got a GaussianMixture"),
    ],
)
def test_what_cannot_be_used_is_named(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sl.ProblemError, match=message) as error:
        call()
    assert len(str(error.value)) < 400


def test_types_of_numpy_fit_and_arrays_check_themselves():
    @checked
    def taken(
        count: int, rate: float | None, on: bool, each: Sequence[float], f: Callable[[], Any], kind: Literal["a", "b"]
    ) -> Any:
        return count, rate, on, each, f, kind

    good = {
        "count": np.int8(3),
        "rate": np.float32(2),
        "on": np.bool_(True),
        "each": np.ones(2),
        "f": print,
        "kind": "b",
    }
    assert taken(**good) == tuple(good.values())
    assert taken(**good | {"rate": np.array(3)})[1] == 3
    bad = {"count": (True, 2.0), "rate": (1j,), "on": (1,), "each": ([1, "a"],), "kind": (3, "c")}
    for name, value in ((name, value) for name, values in bad.items() for value in values):
        with pytest.raises(sl.ProblemError, match=f"^{name}: must be"):
            taken(**good | {name: value})
