"""What a sweep will cost, told before it begins."""

import os
import shutil
import time
import warnings
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ..errors import DivergenceWarning, ProblemError
from ..resources import LIBRARIES, available_bytes, cores
from ..simulation import predicted_bytes, simulate_together
from ._plan import Plan
from ._task import Conditions

__all__ = ["Cost", "cost", "duration", "refuse_disk", "refuse_memory", "results_bytes"]

PILOT_STEPS, PILOT_INPUTS, OUTPUTS = 1024, 1 << 20, 8
GAUSSIAN_THEORY = 0.3
"""Seconds of a solution with all of 500 nodes, its spectrum included; they grow like N³."""

SHARED, BY_WEIGHTS = 0.2e-6, 11e-6
"""Seconds of a step of a chain of the mixture theory: for each cluster and once more where clusters share a spectrum,
and where the weights are followed; docs/mixture.md."""


@dataclass(frozen=True)
class Cost:
    """Of what is to be done.

    Parameters
    ----------
    tasks, conditions, runs
        Numbers of tasks, of conditions on instances, and of SGD runs with those of the noise floor.
    seconds
        On one core of this machine, measured on the first steps of one task of each kind, and known for theory from
        docs/benchmarks.md. Times of clusters and laws differ; half or twice as much is within its error.
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
            f"Time: about {duration(self.seconds)} on one core of this machine, {duration(self.seconds / cores())} "
            f"on its {cores()}\n"
            f"Memory: {self.memory / 2**30:.1f} GiB for each process; disk: at most {_size(self.disk)}"
        )


def cost(plan: Plan, missing: list[int]) -> Cost:
    """What computing the missing tasks of a plan takes, from a short trial of every kind of task.

    Kinds are told apart by everything but the instance; at most four are tried, and the others take the mean.

    Raises
    ------
    ProblemError
        If the memory does not suffice for one of them.
    """
    per_instance = len(plan) // plan.grid_shape[0]
    kinds = sorted({index % per_instance for index in missing})
    tried = [kinds[i] for i in sorted({round(x) for x in np.linspace(0, len(kinds) - 1, min(4, len(kinds)))})]
    trials = [_trial(plan, kind) for kind in tried]
    seconds = float(np.mean([trial.seconds for trial in trials])) * len(missing) if trials else 0.0
    run = plan.sweep.run
    each = [trial.chains for trial in trials]
    return Cost(
        tasks=len(missing),
        conditions=int(np.prod(plan.sweep.shape)) * len(missing) // len(plan),
        runs=round(run.runs * float(np.mean(each)) * len(missing)) if each else 0,
        seconds=seconds,
        memory=LIBRARIES + max((trial.memory for trial in trials), default=0),
        disk=stored_bytes(plan),
    )


def stored_bytes(plan: Plan) -> int:
    """Bytes of all arrays before compression."""
    return sum(
        prod(plan.sizes[dim] for dim in variable.dims) * np.dtype(variable.dtype).itemsize
        for variable in plan.variables.values()
    )


def results_bytes(plan: Plan) -> int:
    """Bytes of the results of one task, and of what they are put together from."""
    return 16 * sum(prod(plan.chunk_shape(name)) for name in plan.variables)


def refuse_memory(needed: int, parallel: int) -> None:
    """Refuse a sweep for whose tasks the memory does not suffice.

    Raises
    ------
    ProblemError
        With what is needed and what is there.
    """
    free = available_bytes()
    if free is not None and parallel * needed > free:
        raise ProblemError(
            f"run.conditions_per_task: {parallel} tasks at a time would hold {_size(parallel * needed)} and "
            f"{_size(free)} are free; set run.conditions_per_task or run.count lower, or use fewer --workers"
        )


def refuse_disk(plan: Plan, missing: int, path: str) -> None:
    """Refuse a sweep for whose missing tasks the disk does not suffice.

    Raises
    ------
    ProblemError
        With what is needed and what is there.
    """
    if "://" in path:
        return
    place = Path(os.path.abspath(path))
    room = shutil.disk_usage(next(parent for parent in (place, *place.parents) if parent.exists())).free
    needed = stored_bytes(plan) * missing // len(plan)
    if needed > room:
        raise ProblemError(
            f"--out: {path!r} may take {_size(needed)} more and {_size(room)} are free there; name another disk, or "
            "set run.trajectories = false"
        )


@dataclass(frozen=True)
class _Trial:
    chains: int
    seconds: float
    memory: int


def _trial(plan: Plan, index: int) -> _Trial:
    """A task's cost from its first steps, on one thread."""
    run = plan.sweep.run
    conditions = Conditions(plan, plan.task(index), threads=1)
    instances = conditions.instances
    memory = predicted_bytes(instances, plan.sweep.times, runs=run.runs, test_samples=run.test_samples)
    memory += results_bytes(plan)
    refuse_memory(memory, 1)
    N = instances[0].input_dim
    steps = round(run.time * N)
    short = min(max(PILOT_STEPS, PILOT_INPUTS // N), steps)

    def timed(steps: int, outputs: int, test_samples: int) -> float:
        last = np.arange(steps - min(outputs, steps) + 1, steps + 1) / N
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            simulate_together(instances, np.append(0.0, last), test_samples=test_samples, threads=1)
        return time.perf_counter() - start

    timed(short, 1, run.test_samples)  # compiles
    begin, training = timed(1, 1, 0), timed(short, 1, 0)
    few, many = timed(short, 2, run.test_samples), timed(short, 2 + OUTPUTS, run.test_samples)
    measuring = max(few - training, 0) + max(many - few, 0) * len(plan.sweep.times) / OUTPUTS
    each = max(training - begin, 0) * steps / short + measuring
    seconds = begin + run.runs * each + _theory_seconds(plan, conditions, N)
    return _Trial(len(instances), seconds, memory)


def _theory_seconds(plan: Plan, conditions: Conditions, N: int) -> float:
    run, seconds = plan.sweep.run, 0.0
    for instance, theory in conditions.wanted_theories().values():
        if theory != "mixture":
            seconds += GAUSSIAN_THEORY * max(1.0, (N / 1000) ** 3)
            continue
        moments = instance.mixture_moments()
        shared = len(moments.kinds) == 1
        chains = run.chains if shared else run.chains_by_weights
        seconds += chains * run.time * N * (SHARED + SHARED * len(moments.weights) if shared else BY_WEIGHTS)
    return seconds


def duration(seconds: float) -> str:
    """A length of time to two figures, in the unit that fits."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _size(count: float) -> str:
    for size, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
