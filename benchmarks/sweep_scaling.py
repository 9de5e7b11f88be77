"""Scaling of a sweep from one local worker to two: python benchmarks/sweep_scaling.py (about five minutes).

Both clusters stay up, are warm, and compute the same tasks in turn, each time into a new store. Beside the wall time
stands the CPU time of the workers and how busy other processes kept the machine, without which the ratio says little.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from sgdlimit.sweep import Plan, Sweep, SweepRun, SweepStore, run_sweep
from sgdlimit.sweep._cluster import local_cluster
from sgdlimit.sweep._engine import DaskEngine

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
    plan = Plan(SWEEP)
    with tempfile.TemporaryDirectory() as folder, local_cluster(1) as one, local_cluster(2) as two:
        for engine in (one, two):
            measure(plan, engine, Path(folder) / "warm")
        rows = []
        for number in range(ROUNDS):
            rows.append(
                [measure(plan, engine, Path(folder) / f"{number}-{n}") for n, engine in enumerate((one, two), 1)]
            )
            (wall, cpu, others), (wall2, cpu2, others2) = rows[-1]
            print(
                f"1 worker {wall:6.2f} s (CPU {cpu:6.2f}, others {others:.2f} cores), 2 workers {wall2:6.2f} s "
                f"(CPU {cpu2:6.2f}, others {others2:.2f} cores); efficiency {wall / (2 * wall2):.3f}, "
                f"CPU ratio {cpu / cpu2:.3f}, of both workers' time computing {cpu2 / (2 * wall2):.3f}",
                flush=True,
            )
    for what, of in (
        ("efficiency", lambda a, b: a[0] / (2 * b[0])),
        ("CPU of one worker / of two", lambda a, b: a[1] / b[1]),
    ):
        values = sorted(of(*row) for row in rows)
        print(f"{what}: median {statistics.median(values):.3f}, {values[0]:.3f} to {values[-1]:.3f}")


def measure(plan: Plan, engine: DaskEngine, path: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds of the workers, and cores that others kept busy."""
    cpu, busy, own = worker_seconds(engine), busy_seconds(), time.process_time()
    start = time.perf_counter()
    with SweepStore(path, plan) as store:
        summary = run_sweep(store, engine)
    wall = time.perf_counter() - start
    assert summary.complete
    path.rename(path.with_name(f"{path.name}-{engine.parallel}"))
    used = worker_seconds(engine) - cpu
    return wall, used, max(0.0, busy_seconds() - busy - used - (time.process_time() - own)) / wall


def worker_seconds(engine: DaskEngine) -> float:
    """CPU seconds of all workers."""
    return sum(engine.client.run(time.process_time).values())


def busy_seconds() -> float:
    """CPU seconds of all processes, and those that the host of a virtual machine took."""
    fields = [int(x) for x in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
