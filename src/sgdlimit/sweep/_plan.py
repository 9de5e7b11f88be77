"""How a sweep falls into tasks, and what arrays its results are: one chunk of each for a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ProblemError
from ..instance import Instance
from ..problem import Problem
from ..trajectory import LONG_NAMES
from ._settings import Sweep

__all__ = ["Plan", "Task", "Variable"]

MOST_TASKS = 10**6

ENTRIES = {
    "Q": ("student", "student_"),
    "R": ("student", "teacher"),
    "v": ("student",),
    "generalization_error": (),
    "task_error": ("task",),
}
"""What is compared, and the dimensions of its entries."""


@dataclass(frozen=True)
class Variable:
    """An array of the results: its dimensions, those of the grid among them, and what it is."""

    dims: tuple[str, ...]
    long_name: str
    dtype: str = "float64"


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
        units = [self._field(name) for name in ("student_units", "teacher_units")]
        tasks = max(1 + len(switches) for switches in self._field("switch_times"))
        K, M = max(units[0]), max(units[1]) * tasks
        run = self.sweep.run
        return dict(zip(self.sweep.dims, self.sweep.shape, strict=True)) | {
            "theory": len(run.theories), "run": run.runs, "time": len(self.sweep.times),
            "student": K, "student_": K, "teacher": M, "task": tasks,
        }  # fmt: skip

    def _field(self, name: str) -> list[Any]:
        """The values that a field of the problem takes."""
        axis = next((axis for axis in self.sweep.axes if axis.path == name), None)
        first = self.sweep.condition((0,) * len(self.sweep.axes))
        return list(axis.values) if axis is not None else [getattr(first, name)]

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """The arrays of the results by name."""
        run, grid = self.sweep.run, self.sweep.dims
        has_tasks = self.sizes["task"] > 1
        of_theory = [name for name in ENTRIES if name != "task_error" or has_tasks]
        of_sgd = [name for name in of_theory if run.test_samples or "error" not in name]
        found: dict[str, Variable] = {}
        for name in of_sgd:
            own = ("theory", *grid) if name in ("Q", "R") else grid
            if run.trajectories:
                found[name] = Variable((*own, "run", "time", *ENTRIES[name]), f"{LONG_NAMES[name]}, SGD")
        for name in of_theory if run.trajectories else ():
            found[f"theory_{name}"] = Variable(
                ("theory", *grid, "time", *ENTRIES[name]), f"{LONG_NAMES[name]}, theory; of an ensemble its mean"
            )
        for name in of_sgd:
            dims = ("theory", *grid, "run", *ENTRIES[name])
            found[f"M_{name}"] = Variable(dims, f"mean |theory − SGD| over log-spaced times of the {LONG_NAMES[name]}")
            found[f"scale_{name}"] = Variable(dims, f"mean |x| of SGD over log-spaced times of the {LONG_NAMES[name]}")
            if run.noise_floor:
                dims = (*grid, "run", *ENTRIES[name])
                found[f"floor_{name}"] = Variable(dims, f"M of SGD on Gaussian inputs of the {LONG_NAMES[name]}")
                found[f"floor_scale_{name}"] = Variable(dims, f"mean |x| of it, {LONG_NAMES[name]}")
            if "mixture" in run.theories:
                found[f"noise_{name}"] = Variable(
                    (*grid, *ENTRIES[name]), f"M from the scatter of the mixture theory alone, {LONG_NAMES[name]}"
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

    def task(self, index: int) -> Task:
        """A task by its number, from 0 to len(plan) − 1."""
        region = self.region(index)
        ranges = [range(some.start, some.stop) for some in list(region.values())[1:]]
        places = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, len(ranges)) if ranges else [()]
        return Task(
            index,
            self.sweep.run.first_instance + region["instance"].start,
            tuple(some.stop - some.start for some in region.values()),
            tuple(self.sweep.condition(tuple(int(i) for i in place)) for place in places),
        )

    def name(self, index: int) -> str:
        """A task in words: its instance and what sets it apart from others."""
        region = self.region(index)
        words = [f"instance {self.sweep.run.first_instance + region['instance'].start}"]
        for axis in self.sweep.axes:
            chosen = axis.values[region[axis.name]]
            if len(chosen) < len(axis.values):
                words.append(f"{axis.path} = " + " or ".join(map(repr, chosen)))
        return ", ".join(words)
