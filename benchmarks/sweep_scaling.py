"""Scaling of a sweep from one local worker to two: python benchmarks/sweep_scaling.py (about five minutes).

Both compute the same tasks in turn, each time into a new store. The rate counts from the first outcome of every worker
to the last of all, without the start. Beside it stand the CPU time of the workers and how busy other processes kept the
machine, without which the ratio says little.
"""

import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

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
                f"1 worker {each:6.2f} s a task (CPU {cpu:6.2f} s in all, others {others:.2f} cores), 2 workers "
                f"{each2:6.2f} s (CPU {cpu2:6.2f} s, others {others2:.2f} cores); efficiency {each / (2 * each2):.3f}, "
                f"CPU ratio {cpu / cpu2:.3f}",
                flush=True,
            )
    for what, of in (
        ("efficiency", lambda a, b: a[0] / (2 * b[0])),
        ("CPU of one worker / of two", lambda a, b: a[1] / b[1]),
    ):
        values = sorted(of(*row) for row in rows)
        print(f"{what}: median {statistics.median(values):.3f}, {values[0]:.3f} to {values[-1]:.3f}")


def measure(plan: Plan, workers: int, path: Path) -> tuple[float, float, float]:
    """Wall seconds a task, CPU seconds of the workers, and cores that others kept busy."""
    begun, ended = time.perf_counter(), []
    cpu, busy, own = worker_seconds(), busy_seconds(), time.process_time()
    with SweepStore(path, plan) as store:
        run_sweep(store, LocalEngine(workers), report=lambda summary, outcome: ended.append(time.perf_counter()))
        assert not store.missing()
    wall, used = time.perf_counter() - begun, worker_seconds() - cpu
    each = (ended[-1] - ended[workers]) / (len(ended) - 1 - workers)  # the first report is of no task
    return each, used, max(0.0, busy_seconds() - busy - used - (time.process_time() - own)) / wall


def worker_seconds() -> float:
    """CPU seconds of all workers that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def busy_seconds() -> float:
    """CPU seconds of all processes, and those that the host of a virtual machine took."""
    fields = [int(x) for x in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
