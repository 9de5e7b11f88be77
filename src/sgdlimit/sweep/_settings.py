"""What a sweep is: a problem, a grid over any of its fields, and how every condition is run."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import product
from math import gcd, prod
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, Field, StrictBool, field_validator, model_validator

from ..errors import ProblemError
from ..inputs import THEORIES
from ..problem import GaussianMixture, Problem
from ..settings import Settings, read_toml, shown, validated
from ..training import Schedule, Training
from ..trajectory import log_times

MOST_CONDITIONS = 100_000
TAKEN = ("instance", "run", "time", "theory", "student", "student_", "teacher", "task", "input", "kl", "Q", "R", "v")
"""Names that the dataset of a sweep has for itself."""

TABLES: Mapping[str, type[BaseModel]] = {
    "": Problem, "latent": GaussianMixture, "training": Training, "training.schedule": Schedule
}  # fmt: skip

TOGETHER = ("learning_rate", "latent", "training")
"""Fields in which conditions of a task may differ: they share features, teacher, first student and noise."""

APART = ("training.batch_size", "training.output_normalization")


class SweepRun(Settings):
    """How every condition of a sweep is run: the ``[run]`` table of its TOML file.

    Parameters
    ----------
    instances, first_instance
        How many instances of every condition, and the seed of the first; the others follow. An instance's seed is also
        that of its SGD noise, which all conditions of the instance share.
    runs
        SGD runs of each.
    time, count
        Length of training in units of N steps, and number of log-spaced output times.
    theories
        Which theories SGD is compared with: ``"conventional"``, ``"moment-matched"``, ``"mixture"``.
    noise_floor
        Whether SGD on Gaussian inputs is run as well, for M of noise alone.
    test_samples
        Fresh samples on which the generalisation error of SGD is measured; 0 leaves it out.
    trajectories
        Whether trajectories are kept, or only M.
    chains, chains_by_weights, largest_step
        Of the mixture theory: members of its ensemble, the same where its weights have to be followed, which takes ten
        times as long, and the largest step of integration.
    conditions_per_task
        The most conditions that one task computes. They share the noise and its product with the features.
    """

    instances: Annotated[int, Field(ge=1, le=10**6, strict=True)] = 1
    first_instance: Annotated[int, Field(ge=0, le=10**12, strict=True)] = 0
    runs: Annotated[int, Field(ge=1, le=10**6, strict=True)] = 1
    time: Annotated[float, Field(gt=0, le=1e7, strict=True)] = 100.0
    count: Annotated[int, Field(ge=2, le=10**5, strict=True)] = 200
    theories: Annotated[tuple[str, ...], Field(min_length=1)] = ("conventional",)
    noise_floor: StrictBool = True
    test_samples: Annotated[int, Field(ge=0, le=10**7, strict=True)] = 1000
    trajectories: StrictBool = True
    chains: Annotated[int, Field(ge=1, le=10**5, strict=True)] = 8
    chains_by_weights: Annotated[int, Field(ge=1, le=10**5, strict=True)] = 4
    largest_step: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.2
    conditions_per_task: Annotated[int, Field(ge=1, le=10**5, strict=True)] = 256

    @field_validator("test_samples")
    @classmethod
    def _enough_for_an_error(cls, value: int) -> int:
        if value == 1:
            raise ValueError("is too few for an error; use 0 or at least 2")
        return value

    @field_validator("theories")
    @classmethod
    def _known_theories(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in THEORIES or value.count(name) > 1:
                raise ValueError(f"use some of {', '.join(map(repr, THEORIES))}, each once")
        return tuple(name for name in THEORIES if name in value)


@dataclass(frozen=True)
class Axis:
    """A field of the problem and the values it takes."""

    path: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Its dimension: the last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def labels(self) -> np.ndarray:
        """Its coordinate: the values, or where they are no numbers or words of one kind, their JSON."""
        kinds = {type(value) for value in self.values}
        if kinds <= {int, float} and len(kinds) > 1:
            kinds = {float}
        if len(kinds) == 1 and kinds <= {bool, int, float, str}:
            return np.array(self.values, dtype=object if kinds == {str} else next(iter(kinds)))
        return np.array([json.dumps(value, default=str, sort_keys=True) for value in self.values], dtype=object)

    @property
    def together(self) -> bool:
        """Whether conditions that differ in it can be one task."""
        return self.path.partition(".")[0] in TOGETHER and self.path != "training" and self.path not in APART


class Sweep(Settings):
    """A grid over fields of a problem, on several instances, each condition with theory and SGD.

    Parameters
    ----------
    problem
        What all conditions have in common: fields of :class:`sgdlimit.Problem`.
    grid
        For any other fields, by name (``"learning_rate"``, ``"latent.spread"``, ``"training.label_noise"``), the values
        they take. Every combination is a condition.
    run
        A :class:`SweepRun`.

    Raises
    ------
    ProblemError
        If a field is not known, or any combination is no problem, naming the first.

    Examples
    --------
    >>> sweep = Sweep(problem={"input_dim": 100, "latent_dim": 50, "student_units": 2, "teacher_units": 2,
    ...                        "activation": "erf", "latent": {"components": 2}},
    ...               grid={"learning_rate": [0.1, 0.2], "latent.spread": [0.0, 3.0, 9.0]}, run={"instances": 4})
    >>> sweep.shape
    (4, 2, 3)
    """

    problem: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    run: SweepRun = SweepRun()

    def __init__(
        self,
        *,
        problem: Problem | Mapping[str, Any] | None = None,
        grid: Mapping[str, Any] | None = None,
        run: SweepRun | Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        given = {"problem": problem, "grid": grid, "run": run}
        super().__init__(**{name: value for name, value in given.items() if value is not None}, **unknown)

    @field_validator("problem", mode="before")
    @classmethod
    def _as_table(cls, value: Any) -> Any:
        return json.loads(value.model_dump_json(exclude_none=True)) if isinstance(value, Problem) else value

    @field_validator("grid", mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("is not a table; write the values of each field under [grid]")
        flat: dict[str, Any] = {}
        for path, values in _leaves(value):
            _check_field(path)
            if path in flat:
                raise ValueError(f"has {path} twice; give it once")
            flat[path] = _check_values(path, values)
        return flat

    @model_validator(mode="after")
    def _every_condition_is_a_problem(self) -> Self:
        names = [axis.name for axis in self.axes]
        for axis in self.axes:
            if names.count(axis.name) > 1 or axis.name in TAKEN:
                raise ValueError(
                    f"grid: {axis.path} would be the dimension {axis.name!r} of the results, which there is already; "
                    "leave one of them out"
                )
            for other in self.axes:
                if other.path.startswith(axis.path + "."):
                    raise ValueError(f"grid: {axis.path} holds {other.path} already; leave one of them out")
        if prod(self.shape) * self.run.runs > 10**8 or prod(self.shape[1:]) > MOST_CONDITIONS:
            raise ValueError(
                f"grid: {prod(self.shape[1:])} conditions on {self.run.instances} instances, {self.run.runs} runs each,"
                f" are more than {MOST_CONDITIONS} conditions or 10^8 runs; make several sweeps of it"
            )
        for values in product(*self.grid.values()):
            try:
                self._at(values)
            except ProblemError as error:
                place = ", ".join(f"{a.path} = {shown(value)}" for a, value in zip(self.axes, values, strict=True))
                raise ValueError(f"{'grid: at ' + place + ': ' if values else 'problem.'}{error}") from None
        if round(self.run.time * gcd(*self.values_of("input_dim"))) < 1:
            raise ValueError(f"run.time: {self.run.time:g} is less than a step; give more")
        return self

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Those of the grid, in the order given."""
        return tuple(Axis(path, values) for path, values in self.grid.items())

    @property
    def dims(self) -> tuple[str, ...]:
        """``instance`` and the axes."""
        return ("instance", *(axis.name for axis in self.axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Instances and values of each axis."""
        return (self.run.instances, *(len(axis.values) for axis in self.axes))

    def _at(self, values: tuple[Any, ...]) -> Problem:
        """The problem with a value for each axis."""
        settings = dict(self.problem)
        for path, value in zip(self.grid, values, strict=True):
            _put(settings, path, value)
        return Problem(**settings)

    def condition(self, place: tuple[int, ...]) -> Problem:
        """The problem at a place of the grid, one number for each axis."""
        return self._at(tuple(axis.values[i] for axis, i in zip(self.axes, place, strict=True)))

    def values_of(self, field: str) -> tuple[Any, ...]:
        """The values that a field of the problem takes."""
        return self.grid.get(field) or (getattr(self.condition((0,) * len(self.axes)), field),)

    @cached_property
    def times(self) -> np.ndarray:
        """Output times, shape (time,), whole steps for every N of the grid."""
        divisor = gcd(*self.values_of("input_dim"))
        return log_times(round(self.run.time * divisor), divisor, self.run.count)

    def canonical(self) -> dict[str, Any]:
        """All settings with their defaults, as JSON has them: equal for two sweeps that are the same."""
        first = self.condition((0,) * len(self.axes)).model_dump(mode="json", exclude_none=True)
        problem: dict[str, Any] = {}
        for path, value in _leaves(first):
            if not any(f"{path}.".startswith(f"{axis}.") for axis in self.grid):
                _put(problem, path, value)
        settings = {"problem": problem, "grid": self.grid, "run": self.run.model_dump(mode="json")}
        return json.loads(json.dumps(settings, default=str))

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a sweep from a TOML file.

        Raises
        ------
        ProblemError
            If the file cannot be read or a setting is wrong, naming the file.
        """
        return validated(cls, read_toml(path), path)


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What differs between two canonical settings, a phrase for each field."""
    one, two = dict(_leaves(here)), dict(_leaves(there))
    found = []
    for path in dict.fromkeys([*one, *two]):
        a, b = (repr(x[path]) if path in x else "nothing" for x in (one, two))
        if a != b and not (path in one and path in two and one[path] == two[path]):
            found.append(f"{path} is {a} here and {b} there")
    if not found and list(here["grid"]) != list(there["grid"]):
        found.append("the axes have another order")
    return found


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _check_field(path: str) -> None:
    table, _, name = path.rpartition(".")
    if table not in TABLES or name not in TABLES[table].model_fields:
        known = [f"{t}.{f}".lstrip(".") for t, model in TABLES.items() for f in model.model_fields]
        close = get_close_matches(path[:100], known, 3, 0.5) or known[:6]
        raise ValueError(
            f"grid: {shown(path)} is no field of a problem; use for example {' or '.join(map(repr, close))}"
        )


def _check_values(path: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"grid: {path} is {shown(values)}; give a list of at least one value, as in {path} = [...]")
    seen = set()
    for value in values:
        plain = isinstance(value, bool | int | float | str)
        key = (type(value), value if plain else json.dumps(value, default=str, sort_keys=True))
        if key in seen:
            raise ValueError(f"grid: {path} has {shown(value)} twice; give every value once")
        seen.add(key)
    return tuple(values)


def _put(settings: dict[str, Any], path: str, value: Any) -> None:
    """Set a field of nested tables, which are copied on the way."""
    head, _, rest = path.partition(".")
    if not rest:
        settings[head] = value
        return
    inner = settings.get(head, {})
    if not isinstance(inner, Mapping):
        raise ProblemError(
            f"{head}: {shown(inner)} is not a table of settings, which grid.{path} asks for; leave it out"
        )
    settings[head] = dict(inner)
    _put(settings[head], rest, value)
