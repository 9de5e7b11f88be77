"""Scaling of a sweep from one local worker to two: python benchmarks/sweep_scaling.py (about five minutes).

Both compute the same tasks in turn, each time into a new store. What a task takes counts from the first outcome of each
worker to the last of all, without the start, by the clock and in CPU seconds of the workers. Where other processes keep
the cores busy, only the ratio of CPU seconds means something. It leaves out what workers wait for.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from sgdlimit.sweep import Plan, Sweep, SweepRun, SweepStore, run_sweep
from sgdlimit.sweep._workers import LocalEngine

ROUNDS = 5
SWEEP = Sweep(
    problem={
        "input_dim": 1000, "latent_dim": 500, "student_units": 2, "teacher_units": 2, "activation": "erf",
        "latent": {"components": 2},
    },
    grid={"learning_rate": (0.1, 0.2), "latent.spread": (0.0, 1.0, 3.0, 9.0)},
    run=SweepRun(instances=8, time=100.0, theories=("conventional", "mixture")),
)  # fmt: skip


def main() -> None:
    """Print each round and the medians."""
    plan, rows = Plan(SWEEP), []
    with tempfile.TemporaryDirectory() as folder:
        measure(plan, 2, Path(folder) / "warm")
        for number in range(ROUNDS):
            rows.append([measure(plan, count, Path(folder) / f"{number}-{count}") for count in (1, 2)])
            (each, cpu, others), (each2, cpu2, others2) = rows[-1]
            print(
                f"1 worker {each:6.2f} s a task (CPU {cpu:6.2f} s, others {others:.2f} cores), 2 workers "
                f"{each2:6.2f} s (CPU {cpu2:6.2f} s, others {others2:.2f} cores); efficiency {each / (2 * each2):.3f}, "
                f"CPU ratio {cpu / cpu2:.3f}",
                flush=True,
            )
    for what, of in (
        ("efficiency", lambda a, b: a[0] / (2 * b[0])),
        ("CPU seconds of a task, one worker / two", lambda a, b: a[1] / b[1]),
    ):
        values = sorted(of(*row) for row in rows)
        print(f"{what}: median {statistics.median(values):.3f}, {values[0]:.3f} to {values[-1]:.3f}")


def measure(plan: Plan, workers: int, path: Path) -> tuple[float, float, float]:
    """Wall and CPU seconds of a task in a worker, and cores that others kept busy meanwhile."""
    reports = []  # the first one is of no task

    def report(*_: object) -> None:
        reports.append((time.perf_counter(), worker_seconds(), time.process_time(), busy_seconds()))

    with SweepStore(path, plan) as store:
        run_sweep(store, LocalEngine(workers), report=report)
        assert not store.missing()
    wall, used, own, busy = (last - first for first, last in zip(reports[workers], reports[-1], strict=True))
    tasks = len(reports) - 1 - workers
    return wall / tasks, used / tasks, max(0.0, busy - used - own) / wall


def worker_seconds() -> float:
    """CPU seconds of all workers so far."""
    times = [psutil.Process().cpu_times(), *(child.cpu_times() for child in psutil.Process().children())]
    return sum(each.user + each.system for each in times[1:]) + times[0].children_user + times[0].children_system


def busy_seconds() -> float:
    """CPU seconds of all processes, and those that the host of a virtual machine took."""
    fields = [int(x) for x in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
