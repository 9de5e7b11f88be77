"""The cost of a sweep, reported before it begins."""

import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from math import ceil, prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from dask.utils import format_bytes, format_time
from jaxtyping import Float
from numpy import ndarray

from ..errors import DivergenceWarning, ProblemError
from ..instance import Instance
from ..resources import LIBRARIES, cores, refuse_beyond_memory
from ..simulation import predicted_bytes, simulate_together
from ._plan import Plan
from ._task import Conditions

PILOT_STEPS, PILOT_INPUTS, OUTPUTS = 1024, 1 << 20, 8
GAUSSIAN_THEORY = 0.3
"""Seconds of a solution with all of 500 nodes, its spectrum included; they grow like N³."""

SHARED, BY_WEIGHTS = 0.2e-6, 5e-6
"""Seconds of a step of a chain of the mixture theory: for each cluster and once more where clusters share a spectrum,
and where the weights are followed; docs/mixture.md."""


class Cost(NamedTuple):
    """The cost of the tasks that are left.

    Parameters
    ----------
    tasks, conditions, runs
        Numbers of tasks, of conditions on instances, and of SGD runs with those of the noise floor.
    seconds
        On one core of this machine, measured on the first steps of one task of each kind, and known for theory from
        docs/benchmarks.md. It is accurate to a factor of two, because times of clusters and laws differ.
    memory
        Bytes that a process which computes the largest task will hold.
    disk
        Bytes of the whole store, not compressed.
    """

    tasks: int
    conditions: int
    runs: int
    seconds: float
    memory: int
    disk: int

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks, {self.conditions} conditions on instances, {self.runs} SGD runs\n"
            f"Time: about {format_time(self.seconds)} on one core of this machine, "
            f"{format_time(self.seconds / cores())} on its {cores()}\n"
            f"Memory: {format_bytes(self.memory)} for each process; disk: at most {format_bytes(self.disk)}"
        )


def cost(plan: Plan, missing: Sequence[int]) -> Cost:
    """The cost of the missing tasks of a plan, from a short trial of every kind of task.

    Tasks of one kind differ only in the instance. At most four kinds are tried. The others are assumed to take the mean
    of these.

    Raises
    ------
    ProblemError
        If the memory does not suffice for one of them.
    """
    refuse_memory(_results_bytes(plan))
    kinds = sorted({index % (len(plan) // plan.grid_shape[0]) for index in missing})
    tried = [_trial(plan, kind) for kind in kinds[:: ceil(len(kinds) / 4) or 1]]
    chains, seconds, memory = np.array(tried or [(0, 0, 0)]).T
    return Cost(
        tasks=len(missing),
        conditions=prod(plan.sweep.shape) * len(missing) // len(plan),
        runs=round(plan.sweep.run.runs * chains.mean() * len(missing)),
        seconds=seconds.mean() * len(missing),
        memory=LIBRARIES + int(memory.max()),
        disk=stored_bytes(plan),
    )


def stored_bytes(plan: Plan) -> int:
    """Bytes of all arrays before compression."""
    return sum(array.nbytes for array in plan.template.values())


def _results_bytes(plan: Plan) -> int:
    """Bytes of the results of one task, and of what they are put together from."""
    return 2 * plan.template.isel(plan.region(0)).nbytes


def refuse_memory(needed: int, parallel: int = 1) -> None:
    """Refuse a sweep for whose tasks the memory does not suffice.

    Raises
    ------
    ProblemError
        With what is needed and what is free.
    """
    fix = "Set run.conditions_per_task or run.count lower, or use fewer --workers."
    refuse_beyond_memory("run.conditions_per_task", f"{parallel} tasks at a time", parallel * needed, fix)


def refuse_disk(plan: Plan, missing: int, path: str) -> None:
    """Refuse a sweep for whose missing tasks the disk does not suffice.

    Raises
    ------
    ProblemError
        With what is needed and what is free.
    """
    place, needed = Path(path).absolute(), stored_bytes(plan) * missing // len(plan)
    room = shutil.disk_usage(next(parent for parent in (place, *place.parents) if parent.exists())).free
    if "://" not in path and needed > room:
        raise ProblemError(
            f"--out: must have room for {format_bytes(needed)} more (got {format_bytes(room)} at {path!r}). Name "
            "another disk, or set run.trajectories = false."
        )


def trial(
    instances: Sequence[Instance],
    times: Float[ndarray, "time"],
    *,
    runs: int,
    test_samples: int,
    refuse: Callable[[int], None],
) -> tuple[float, int]:
    """Seconds on one thread and bytes of a simulation, from its first steps; the bytes may be refused before."""
    memory = predicted_bytes(instances, times, runs=runs, test_samples=test_samples)
    refuse(memory)
    N = instances[0].input_dim
    steps = round(times[-1] * N)
    short = min(max(PILOT_STEPS, PILOT_INPUTS // N), steps)

    def timed(last: int, outputs: int) -> float:
        """Seconds of a run up to a step, with outputs at the last steps."""
        outputs_at = np.arange(max(last - outputs, 0) + 1, last + 1) / N
        start = time.perf_counter()
        with warnings.catch_warnings(action="ignore", category=DivergenceWarning):
            simulate_together(instances, np.append(0.0, outputs_at), test_samples=test_samples, threads=1)
        return time.perf_counter() - start

    timed(short, 1)  # compiles
    begin, training, measuring = timed(1, 1), timed(short, 1), timed(short, 1 + OUTPUTS)
    each = max(training - begin, 0) * steps / short + max(measuring - training, 0) * len(times) / OUTPUTS
    return begin + runs * each, memory


def _trial(plan: Plan, index: int) -> tuple[int, float, int]:
    """Trained chains, seconds on one thread, and bytes of a task, from its first steps."""
    run, conditions = plan.sweep.run, Conditions(plan, index)
    results = _results_bytes(plan)
    seconds, memory = trial(
        conditions.instances,
        plan.sweep.times,
        runs=run.runs,
        test_samples=run.test_samples,
        refuse=lambda memory: refuse_memory(memory + results),
    )
    theory = sum(_theory_seconds(plan, name, instance) for (name, *_), instance in conditions.cases().items())
    return len(conditions.instances), seconds + theory, memory + results


def _theory_seconds(plan: Plan, theory: str, instance: Instance) -> float:
    """Seconds of one solution; two blocks take as long as a cluster."""
    run, N = plan.sweep.run, instance.input_dim
    if theory != "mixture":
        return GAUSSIAN_THEORY * max(1.0, (N / 1000) ** 3)
    if instance.blocks > 1:
        return run.chains * run.time * N * SHARED * (1 + instance.blocks / 2)
    moments = instance.mixture_moments()
    if len(moments.kinds) == 1:
        return run.chains * run.time * N * SHARED * (1 + len(moments.weights))
    return run.chains_by_weights * run.time * N * BY_WEIGHTS
