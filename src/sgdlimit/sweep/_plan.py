"""How a sweep is divided into tasks, and the arrays of its results: a task writes one chunk of each."""

import json
from collections.abc import Hashable, Sequence
from functools import cached_property
from itertools import product
from math import ceil, prod
from typing import Any, Self

import numpy as np
from xarray import Dataset

from ..errors import ProblemError
from ..problem import Problem
from ..trajectory import VARIABLES, is_error, variable
from ._settings import TOGETHER, Sweep

MOST_TASKS = 10**6

APART = ("training", "training.batch_size", "training.output_normalization")

OF_THEORY = ("theory",)

KINDS = {
    "": ((), ("run", "time"), "trajectories", "{}, SGD"),
    "theory_": (OF_THEORY, ("time",), "trajectories", "{}, theory; of an ensemble its mean"),
    "M_": (OF_THEORY, ("run",), "", "mean |theory − SGD| over log-spaced times of the {}"),
    "scale_": (OF_THEORY, ("run",), "", "mean |x| of SGD over log-spaced times of the {}"),
    "floor_": ((), ("run",), "noise_floor", "M of SGD on Gaussian inputs of the {}"),
    "floor_scale_": ((), ("run",), "noise_floor", "mean |x| of SGD on Gaussian inputs, {}"),
    "noise_": ((), (), "mixture", "M from the scatter of the mixture theory alone, {}"),
}
"""Arrays that are stored for each quantity, by prefix: dimensions before and after those of the grid, the option of the
sweep that asks for them, and a description."""

OTHERS = {
    "kl": ((), "D_KL(law ‖ N(0, I)), in nats; of one coordinate for a scalar mixture"),
    "diverged_at": ((), "t at which SGD diverged, NaN where it did not"),
    "theory_diverged_at": (OF_THEORY, "t at which theory diverged, NaN where it did not"),
    "applies": (OF_THEORY, "whether this theory can be asked about this law"),
}


class Plan:
    """The tasks of a sweep and the layout of its results.

    A task is an instance with one value of every axis that changes its arrays (a size, a rule) and all values of the
    others (laws, learning rates, activations), which then share one stream of noise; where those are more than
    ``conditions_per_task``, with a part of them.

    Raises
    ------
    ProblemError
        If the tasks are more than a million.

    Examples
    --------
    >>> sweep = Sweep(problem={"input_dim": 100, "latent_dim": 50, "student_units": 2, "teacher_units": 2,
    ...                        "learning_rate": 0.2, "activation": "erf", "latent": {"components": 2}},
    ...               grid={"student_units": [2, 4], "latent.spread": [0.0, 3.0, 9.0]}, run={"instances": 4})
    >>> plan = Plan(sweep)
    >>> len(plan), len(plan.conditions(1)), plan.name(1)
    (8, 3, 'instance 0, student_units = 4')
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        chunks = [1]
        for path, values in sweep.grid.items():
            chunks.append(len(values) if path.partition(".")[0] in TOGETHER and path not in APART else 1)
        while prod(chunks) > sweep.run.conditions_per_task:
            largest = np.argmax(chunks)
            chunks[largest] = ceil(chunks[largest] / 2)
        self.chunks: dict[Hashable, int] = dict(zip(sweep.dims, chunks, strict=True))
        self.grid_shape = tuple(ceil(size / chunk) for size, chunk in zip(sweep.shape, chunks, strict=True))
        if len(self) > MOST_TASKS:
            raise ProblemError(
                f"run.instances: must make at most {MOST_TASKS} tasks (got {sweep.run.instances}, which make "
                f"{len(self)}). Make several sweeps of it or raise run.conditions_per_task."
            )

    def __reduce__(self) -> tuple[type[Self], tuple[Sweep]]:
        """Without the template, which would be as large as all results."""
        return type(self), (self.sweep,)

    def __len__(self) -> int:
        return prod(self.grid_shape)

    @cached_property
    def template(self) -> Dataset:
        """The results before anything is computed: coordinates, and missing values that take no memory."""
        sweep, run, values_of = self.sweep, self.sweep.run, self.sweep.values_of
        empty = Dataset().assign_coords(
            instance=run.first_instance + np.arange(run.instances),
            run=np.arange(run.runs),
            theory=np.array(run.theories, object),
            time=("time", sweep.times, {"long_name": "time t = steps/N"}),
        )
        for name, (path, values) in zip(sweep.dims[1:], sweep.grid.items(), strict=True):
            empty.coords[name] = name, _labels(values), {"field": path}
        tasks = max(1 + len(switches) for switches in values_of("switch_times"))
        K, M = max(values_of("student_units")), max(values_of("teacher_units")) * tasks
        sizes = {**empty.sizes, "student": K, "student_": K, "teacher": M, "task": tasks}
        on = {**run.model_dump(), "": True, "mixture": "mixture" in run.theories}
        sizes |= {f"{name}_{axis}": n for name, shape in sweep.followed.items() for axis, n in enumerate(shape)}
        names = sorted(("Q", "R", *sweep.followed), key=[*VARIABLES, *sweep.followed].index)
        arrays = {name: ((*before, *sweep.dims), text) for name, (before, text) in OTHERS.items()}
        for (prefix, (before, after, option, text)), name in product(KINDS.items(), names):
            if on[option] and (prefix == "theory_" or run.test_samples or not is_error(name)):
                before = OF_THEORY if prefix + name in ("Q", "R") else before
                _, *entries = (found := variable(name, 1 + len(sweep.followed.get(name, ())))).dims
                arrays[prefix + name] = (*before, *sweep.dims, *after, *entries), text.format(found.long_name)
        for name, (dims, text) in arrays.items():
            missing = np.int8(0) if name == "applies" else np.nan
            empty[name] = dims, np.broadcast_to(missing, [sizes[dim] for dim in dims]), {"long_name": text}
        return empty

    def places(self, index: int) -> dict[Hashable, int]:
        """The number of a task's chunk along each dimension of the grid."""
        return dict(zip(self.chunks, map(int, np.unravel_index(index, self.grid_shape)), strict=True))

    def region(self, index: int) -> dict[Hashable, slice]:
        """Where a task lies in the grid; the last of an axis may reach over its end."""
        size = self.chunks
        return {dim: slice(n * size[dim], (n + 1) * size[dim]) for dim, n in self.places(index).items()}

    def task_of(self, key: str) -> int | None:
        """The task whose chunk of an array lies under a key; None for anything else."""
        name, _, places = key.partition("/c.")
        if name not in self.template.variables:
            return None
        first = self.template.variables[name].dims.index("instance")
        grid = places.split(".")[first : first + len(self.grid_shape)]
        return int(np.ravel_multi_index(list(map(int, grid)), self.grid_shape))

    def seed(self, index: int) -> int:
        """The seed of a task's instance, which is also that of its noise."""
        return self.sweep.run.first_instance + self.places(index)["instance"]

    def values(self, index: int) -> dict[str, tuple[Any, ...]]:
        """The values that each field of the grid has in a task."""
        _, *regions = self.region(index).values()
        return {path: values[part] for (path, values), part in zip(self.sweep.grid.items(), regions, strict=True)}

    def conditions(self, index: int) -> list[Problem]:
        """The conditions of a task, in the order of the grid."""
        return list(map(self.sweep.at, product(*self.values(index).values())))

    def name(self, index: int) -> str:
        """A task in words: its instance and what sets it apart from others."""
        words = [f"instance {self.seed(index)}"]
        for path, values in self.values(index).items():
            if len(values) < len(self.sweep.grid[path]):
                words.append(f"{path} = " + " or ".join(map(repr, values)))
        return ", ".join(words)


def _labels(values: Sequence[Any]) -> np.ndarray:
    """A coordinate: the values of an axis, or where they are no numbers or words of one kind, their JSON."""
    kinds = set(map(type, values))
    if kinds == {bool} or kinds <= {int, float}:
        return np.array(values)
    if kinds != {str}:
        values = [json.dumps(value, default=str, sort_keys=True) for value in values]
    return np.array(values, object)
