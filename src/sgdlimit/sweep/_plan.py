"""How a sweep falls into tasks, and what arrays its results are: one chunk of each for a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from typing import Any

import numpy as np
import xarray as xr

from ..comparison import COMPARED
from ..errors import ProblemError
from ..instance import Instance
from ..problem import Problem
from ..trajectory import VARIABLES
from ._settings import Sweep

MOST_TASKS = 10**6

ENTRIES = {name: VARIABLES[name].dims[1:] for name in COMPARED}
"""What is compared, and the dimensions of its entries."""

KINDS = {
    "": (("run", "time"), "{}, SGD"),
    "theory_": (("theory", "time"), "{}, theory; of an ensemble its mean"),
    "M_": (("theory", "run"), "mean |theory − SGD| over log-spaced times of the {}"),
    "scale_": (("theory", "run"), "mean |x| of SGD over log-spaced times of the {}"),
    "floor_": (("run",), "M of SGD on Gaussian inputs of the {}"),
    "floor_scale_": (("run",), "mean |x| of SGD on Gaussian inputs, {}"),
    "noise_": ((), "M from the scatter of the mixture theory alone, {}"),
}
"""What is stored of each quantity: a prefix, dimensions beside those of the grid and the entries, and what it is."""


@dataclass(frozen=True)
class Variable:
    """An array of the results: its dimensions, those of the grid among them, and what it is."""

    dims: tuple[str, ...]
    long_name: str
    dtype: str = "float64"

    @property
    def missing(self) -> float:
        """The value of what is not there."""
        return np.nan if self.dtype == "float64" else 0


@dataclass(frozen=True)
class Task:
    """A block of conditions on one instance, in the order of the grid."""

    index: int
    seed: int
    shape: tuple[int, ...]
    """Along the dimensions of the grid."""
    conditions: tuple[Problem, ...]

    def draw(self) -> list[Instance]:
        """The instances, which share their arrays where the conditions let them."""
        first = self.conditions[0].draw(self.seed)
        drawn = [first]
        for problem in self.conditions[1:]:
            if problem.student_alignment:  # the start depends on more than the seed
                drawn.append(problem.draw(self.seed))
                continue
            attrs = dict(first.attrs) | {"problem": problem.model_dump_json(exclude_none=True)}
            drawn.append(
                first.replace(
                    latent=problem.draw_latent(self.seed),
                    learning_rate=problem.learning_rate,
                    training=problem.training,
                    attrs=attrs,
                )
            )
        return drawn


class Plan:
    """The tasks of a sweep and the layout of its results.

    A task is an instance with one value of every axis that changes its arrays (the activation, a size) and all values
    of the others (the laws, learning rates), which then share one stream of noise; where those are more than
    ``conditions_per_task``, with a part of them.

    Raises
    ------
    ProblemError
        If the tasks are more than a million.

    Examples
    --------
    >>> sweep = Sweep(problem={"input_dim": 100, "latent_dim": 50, "student_units": 2, "teacher_units": 2,
    ...                        "learning_rate": 0.2, "latent": {"components": 2}},
    ...               grid={"activation": ["erf", "relu"], "latent.spread": [0.0, 3.0, 9.0]}, run={"instances": 4})
    >>> plan = Plan(sweep)
    >>> len(plan), plan.task(1).shape, plan.name(1)
    (8, (1, 1, 3), "instance 0, activation = 'relu'")
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        chunks = [1, *(len(axis.values) if axis.together else 1 for axis in sweep.axes)]
        while prod(chunks) > sweep.run.conditions_per_task:
            largest = int(np.argmax(chunks))
            chunks[largest] = ceil(chunks[largest] / 2)
        self.chunks = tuple(chunks)
        self.grid_shape = tuple(ceil(size / chunk) for size, chunk in zip(sweep.shape, chunks, strict=True))
        if len(self) > MOST_TASKS:
            raise ProblemError(
                f"run.instances: {sweep.run.instances} make {len(self)} tasks, more than {MOST_TASKS}; make several "
                "sweeps of it or raise run.conditions_per_task"
            )

    def __len__(self) -> int:
        return prod(self.grid_shape)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Length of every dimension of the results."""
        run, values_of = self.sweep.run, self.sweep.values_of
        tasks = max(1 + len(switches) for switches in values_of("switch_times"))
        K, M = max(values_of("student_units")), max(values_of("teacher_units")) * tasks
        return dict(zip(self.sweep.dims, self.sweep.shape, strict=True)) | {
            "theory": len(run.theories), "run": run.runs, "time": len(self.sweep.times),
            "student": K, "student_": K, "teacher": M, "task": tasks,
        }  # fmt: skip

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """The arrays of the results by name."""
        run, grid = self.sweep.run, self.sweep.dims
        wanted = {
            "": run.trajectories, "theory_": run.trajectories, "floor_": run.noise_floor,
            "floor_scale_": run.noise_floor, "noise_": "mixture" in run.theories,
        }  # fmt: skip
        found: dict[str, Variable] = {}
        for prefix, (dims, what) in KINDS.items():
            for name, entries in ENTRIES.items():
                measured = prefix == "theory_" or run.test_samples or "error" not in name
                if wanted.get(prefix, True) and measured and (name != "task_error" or self.sizes["task"] > 1):
                    by_theory = dims[:1] == ("theory",) or (not prefix and name in ("Q", "R"))
                    after = (*(dim for dim in dims if dim != "theory"), *entries)
                    found[prefix + name] = Variable(
                        (*(("theory",) if by_theory else ()), *grid, *after), what.format(VARIABLES[name].long_name)
                    )
        found["kl"] = Variable(grid, "D_KL(law ‖ N(0, I)), in nats; of one coordinate for a scalar mixture")
        found["diverged_at"] = Variable(grid, "t at which SGD diverged, NaN where it did not")
        found["theory_diverged_at"] = Variable(("theory", *grid), "t at which theory diverged, NaN where it did not")
        found["applies"] = Variable(("theory", *grid), "whether this theory can be asked about this law", "int8")
        return found

    def template(self) -> xr.Dataset:
        """The results without their values: the coordinates."""
        run, sizes = self.sweep.run, self.sizes
        coords: dict[str, Any] = {"instance": np.arange(run.first_instance, run.first_instance + run.instances)}
        coords |= {axis.name: (axis.name, axis.labels, {"field": axis.path}) for axis in self.sweep.axes}
        coords |= {"theory": np.array(run.theories, dtype=object), "run": np.arange(sizes["run"])}
        coords["time"] = ("time", self.sweep.times, {"long_name": "time t = steps/N"})
        return xr.Dataset(coords=coords)

    def chunk_shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array's chunk: what one task gives."""
        chunks = dict(zip(self.sweep.dims, self.chunks, strict=True))
        return tuple(chunks.get(dim, self.sizes[dim]) for dim in self.variables[name].dims)

    def region(self, index: int) -> Mapping[str, slice]:
        """Where a task lies in the grid."""
        places = np.unravel_index(index, self.grid_shape)
        return {
            dim: slice(int(place) * chunk, min((int(place) + 1) * chunk, size))
            for dim, place, chunk, size in zip(self.sweep.dims, places, self.chunks, self.sweep.shape, strict=True)
        }

    def chunk_key(self, name: str, index: int) -> str:
        """The name under which an array's chunk of a task is stored."""
        places = dict(zip(self.sweep.dims, np.unravel_index(index, self.grid_shape), strict=True))
        return f"{name}/c." + ".".join(str(places.get(dim, 0)) for dim in self.variables[name].dims)

    def task_of(self, key: str) -> int | None:
        """The task whose chunk of an array lies under a key; None for anything else."""
        name, _, places = key.partition("/c.")
        if name not in self.variables:
            return None
        numbers = dict(zip(self.variables[name].dims, map(int, places.split(".")), strict=True))
        return int(np.ravel_multi_index([numbers[dim] for dim in self.sweep.dims], self.grid_shape))

    def seed(self, index: int) -> int:
        """The seed of a task's instance, which is also that of its noise."""
        return self.sweep.run.first_instance + self.region(index)["instance"].start

    def task(self, index: int) -> Task:
        """A task by its number, from 0 to len(plan) − 1."""
        region = self.region(index)
        ranges = [range(some.start, some.stop) for some in list(region.values())[1:]]
        places = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, len(ranges)) if ranges else [()]
        return Task(
            index,
            self.seed(index),
            tuple(some.stop - some.start for some in region.values()),
            tuple(self.sweep.condition(tuple(int(i) for i in place)) for place in places),
        )

    def name(self, index: int) -> str:
        """A task in words: its instance and what sets it apart from others."""
        region = self.region(index)
        words = [f"instance {self.seed(index)}"]
        for axis in self.sweep.axes:
            chosen = axis.values[region[axis.name]]
            if len(chosen) < len(axis.values):
                words.append(f"{axis.path} = " + " or ".join(map(repr, chosen)))
        return ", ".join(words)
