"""Settings of a sweep: a problem, a grid over any of its fields, and how every condition is run."""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import product
from math import gcd, prod
from types import MappingProxyType
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, StrictBool, field_validator, model_validator

from ..errors import ProblemError, nearest, shown
from ..inputs import THEORIES, TheoryName
from ..law_settings import Covariance, GaussianMixture, LabelledClusters
from ..problem import Dimension, Duration, Few, FileSettings, Problem, Samples, Seed, Times
from ..rules import CLUSTERS
from ..settings import Settings, flat, nested
from ..training import Schedule, Training
from ..trajectory import log_times

MOST_CONDITIONS = 100_000
TAKEN = ("instance", "run", "time", "theory", "student", "student_", "teacher", "task", "input", "kl", "Q", "R", "v")
"""Names that the dataset of a sweep uses itself."""

TABLES = (
    ("", Problem), ("latent.", GaussianMixture), ("latent.", LabelledClusters), ("covariance.", Covariance),
    ("training.", Training), ("training.schedule.", Schedule),
)  # fmt: skip

RENAMED = {"loss": "loss_function"}
"""Axes whose field has the name of a metric."""
TOGETHER = ("activation", "teacher_activation", "learning_rate", "latent", "training")
"""Fields in which conditions of a task may differ: they share features, teacher, first student and noise."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


class SweepRun(Settings):
    """How every condition of a sweep is run: the ``[run]`` table of its TOML file.

    Parameters
    ----------
    instances, first_instance
        Number of instances of every condition, and the seed of the first; the others follow. All conditions of an
        instance share its SGD noise, which has the same seed.
    runs
        SGD runs of each condition.
    time, count
        Length of training in units of N steps, and number of log-spaced output times.
    theories
        Which theories SGD is compared with: ``"conventional"``, ``"moment-matched"``, ``"mixture"``.
    noise_floor
        Whether SGD also runs on Gaussian inputs, which gives the M of noise alone.
    test_samples
        Fresh samples on which the generalisation error of SGD is measured; 0 leaves it out.
    trajectories
        Whether trajectories are stored, or only M.
    chains, chains_by_weights, largest_step
        Settings of mixture theory: members of its ensemble, members where it must follow the weights, which takes ten
        times as long, and the largest step of integration.
    conditions_per_task
        Largest number of conditions in a task. They share the noise and its product with the features.
    """

    instances: Dimension = 1
    first_instance: Seed = 0
    runs: Dimension = 1
    time: Duration = 100.0
    count: Times = 200
    theories: Annotated[tuple[TheoryName, ...], Field(min_length=1)] = ("conventional",)
    noise_floor: StrictBool = True
    test_samples: Samples = 1000
    trajectories: StrictBool = True
    chains: Few = 8
    chains_by_weights: Few = 4
    largest_step: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.2
    conditions_per_task: Few = 256

    @field_validator("test_samples")
    @classmethod
    def _enough_for_an_error(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0 or at least 2", "Use 2 or more, from which an error follows.")
        return value

    @field_validator("theories")
    @classmethod
    def _each_once(cls, value: tuple[TheoryName, ...]) -> tuple[TheoryName, ...]:
        if len(set(value)) < len(value):
            raise ValueError("must name theories, each once", "Remove the others.")
        return tuple(sorted(value, key=THEORIES.index))


class Sweep(FileSettings):
    """A grid over fields of a problem, on several instances, each condition with theory and SGD.

    Parameters
    ----------
    problem
        What all conditions have in common: fields of :class:`sgdlimit.Problem`.
    grid
        Values of other fields, by name (``"learning_rate"``, ``"latent.spread"``, ``"training.label_noise"``). Every
        combination is a condition.
    run
        A :class:`SweepRun`.

    Raises
    ------
    ProblemError
        If a field is not known, or a combination is not a valid problem. The error names the first one.

    Examples
    --------
    >>> sweep = Sweep(problem={"input_dim": 100, "latent_dim": 50, "student_units": 2, "teacher_units": 2,
    ...                        "activation": "erf", "latent": {"components": 2}},
    ...               grid={"learning_rate": [0.1, 0.2], "latent.spread": [0.0, 3.0, 9.0]}, run={"instances": 4})
    >>> sweep.shape
    (4, 2, 3)
    """

    problem: dict[str, Any]
    grid: dict[str, tuple[Any, ...]]
    run: SweepRun

    def __init__(
        self,
        *,
        problem: Problem | Mapping[str, Any] = NOTHING,
        grid: Mapping[str, Any] = NOTHING,
        run: SweepRun | Mapping[str, Any] = NOTHING,
        **unknown: Any,
    ) -> None:
        try:
            super().__init__(problem=problem, grid=grid, run=run, **unknown)  # type: ignore[call-arg]
        except ProblemError as error:
            if not run:
                raise
            try:  # conditions are checked only where [run] is right
                Sweep(problem=problem, grid=grid)
            except ProblemError as others:
                raise ProblemError(*dict.fromkeys(others.args + error.args)) from None
            raise

    @field_validator("problem", mode="before")
    @classmethod
    def _as_table(cls, value: Any) -> Any:
        return value.model_dump(mode="json", exclude_none=True) if isinstance(value, Problem) else value

    @field_validator("grid", mode="before")
    @classmethod
    def _by_path(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("must be a table", "Write the values of each field under [grid].")
        known = [prefix + name for prefix, table in TABLES for name in table.model_fields]
        grid, complaints = flat(value), []
        for path, values in grid.items():
            if path not in known:
                fix = nearest(path, known, " Use fields of a problem, such as latent.spread.")
                complaints.append(f"grid: must be fields of a problem (got {shown(path)}).{fix}")
            complaints += _wrong_values(path, values)
        if complaints:
            raise ProblemError(*complaints)
        return grid

    @model_validator(mode="after")
    def _every_condition_is_a_problem(self) -> Self:
        """Refuse axes whose names collide, grids beyond the limits, and any combination that is no valid problem."""
        for path, name in zip(self.grid, self.dims[1:], strict=True):
            if (*TAKEN, *self.dims).count(name) > 1:
                raise ProblemError(
                    f"grid: {path} must have a last name of its own in the results (got {name!r}, which is there "
                    "already). Leave one of them out."
                )
            for other in self.grid:
                if other.startswith(f"{path}."):
                    raise ProblemError(f"grid: {path} must not hold {other} (got both). Leave one of them out.")
        instances, *axes = self.shape
        if prod(axes) > MOST_CONDITIONS or prod(self.shape) * self.run.runs > 10**8:
            raise ProblemError(
                f"grid: must be at most {MOST_CONDITIONS} conditions and 10^8 runs (got {prod(axes)} conditions on "
                f"{instances} instances, {self.run.runs} runs each). Make several sweeps of it."
            )
        complaints: dict[str, str] = {}  # each with the first place where it is true
        for values in product(*self.grid.values()):
            try:
                self.at(values)
            except ProblemError as error:
                place = ", ".join(f"{path} = {shown(value)}" for path, value in zip(self.grid, values, strict=True))
                for complaint in error.args:
                    of_grid = any(path.partition(".")[0] in complaint for path in self.grid)
                    complaints.setdefault(complaint, f"grid: at {place}: " if of_grid else "problem.")
        if complaints:
            raise ProblemError(*(where + complaint for complaint, where in complaints.items()))
        if round(self.run.time * gcd(*self.values_of("input_dim"))) < 1:
            raise ProblemError(f"run.time: must be at least a step (got {self.run.time:g}). Give it more.")
        if CLUSTERS in self.values_of("labels"):
            raise ProblemError(
                "labels: must come from a teacher, because a sweep's noise floor has Gaussian inputs (got 'clusters'). "
                "Use sgdlimit run."
            )
        if others := [name for name, shapes in self._shapes.items() if len({*map(len, shapes)}) > 1]:
            raise ProblemError(
                f"grid: all conditions must have heads with the same axes (got {others[0]} of the shapes "
                f"{shown(sorted(self._shapes[others[0]]))}). Make a sweep of each."
            )
        return self

    @cached_property
    def _shapes(self) -> dict[str, set[tuple[int, ...]]]:
        """By name, the shapes that head parameters and errors have in the conditions."""
        found: dict[str, set[tuple[int, ...]]] = {}
        for values in product(*(v[:1] if path.partition(".")[0] in TOGETHER else v for path, v in self.grid.items())):
            for name, shape in self.at(values).followed().items():
                found.setdefault(name, set()).add(shape)
        return found

    @cached_property
    def followed(self) -> dict[str, tuple[int, ...]]:
        """Variables besides Q and R, each with its largest shape, of which a condition fills a part."""
        return {name: tuple(np.max([*shapes], axis=0, initial=1)) for name, shapes in self._shapes.items()}

    @property
    def dims(self) -> tuple[str, ...]:
        """``instance`` and the axes, each by the last part of its name; of ``loss`` it is ``loss_function``."""
        return ("instance", *(RENAMED.get(path) or path.rpartition(".")[2] for path in self.grid))

    @property
    def shape(self) -> tuple[int, ...]:
        """Instances and values of each axis."""
        return (self.run.instances, *map(len, self.grid.values()))

    def at(self, values: Iterable[Any]) -> Problem:
        """The problem with a value for each axis."""
        return Problem(**nested(dict(zip(self.grid, values, strict=True)), self.problem))

    def condition(self, place: Iterable[int]) -> Problem:
        """The problem at a place of the grid, one number for each axis."""
        return self.at(values[i] for values, i in zip(self.grid.values(), place, strict=True))

    @cached_property
    def first(self) -> Problem:
        """The first condition."""
        return self.condition([0] * len(self.grid))

    def values_of(self, field: str) -> tuple[Any, ...]:
        """The values that a field of the problem takes."""
        return self.grid.get(field) or (getattr(self.first, field),)

    @cached_property
    def times(self) -> np.ndarray:
        """Output times, shape (time,), whole steps for every N of the grid."""
        divisor = gcd(*self.values_of("input_dim"))
        return log_times(round(self.run.time * divisor), divisor, self.run.count)

    def canonical(self) -> dict[str, Any]:
        """All settings with their defaults, as JSON has them: equal for two sweeps that are the same."""
        problem = self.first.model_dump(mode="json", exclude_none=True, exclude=nested(dict.fromkeys(self.grid, True)))
        settings = {"problem": problem, "grid": self.grid, "run": self.run.model_dump(mode="json")}
        return json.loads(json.dumps(settings, default=str))


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Differences between two canonical settings, a phrase for each field."""
    one, two = ({path: repr(value) for path, value in flat(settings).items()} for settings in (here, there))
    pairs = {path: (one.get(path, "nothing"), two.get(path, "nothing")) for path in one | two}
    found = [f"{path} is {ours} here and {theirs} there" for path, (ours, theirs) in pairs.items() if ours != theirs]
    if not found and list(here["grid"]) != list(there["grid"]):
        return ["the axes have another order"]
    return found


def _wrong_values(path: str, values: Any) -> list[str]:
    """Complaints about the values of an axis, which must be a list of different ones."""
    if not isinstance(values, list) or not values:
        return [f"grid: {path} must be a list of at least one value (got {shown(values)}). Write {path} = [...]."]
    seen = set()
    for value in values:
        simple = isinstance(value, int | float | str)
        key = type(value), value if simple else json.dumps(value, default=str, sort_keys=True)
        if key in seen:
            return [f"grid: {path} must have each value once (got {shown(value)} twice). Remove one."]
        seen.add(key)
    return []
