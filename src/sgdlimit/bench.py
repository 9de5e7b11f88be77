"""What each part costs on the machine at hand, beside the limit it is held against."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sgdlimit.errors import DivergenceWarning
from sgdlimit.problem import Problem
from sgdlimit.resources import cores
from sgdlimit.simulation import simulate, simulate_together
from sgdlimit.studies.paper import PRESETS, grid_conditions
from sgdlimit.theory import solve_spectrum, spectrum

__all__ = ["Row", "bench", "table"]

PRESET = PRESETS["paper"]
STEPS = PRESET.steps


class Row(NamedTuple):
    """One measurement: what, how long, and the bare limit it is a multiple of (NaN where there is none)."""

    what: str
    seconds: float
    limit: str
    limit_seconds: float

    @property
    def ratio(self) -> float:
        """Seconds over the limit's."""
        return self.seconds / self.limit_seconds


def bench(progress: Callable[[str, float], None]) -> list[Row]:
    """Measure every row; a minute or two on two cores.

    A ratio is taken against the bare product timed just before and just after: machines have fast and slow phases.
    """
    rows = []
    parts = (_one_run, _grid, _theory, _large_theory, _processes)
    for done, part in enumerate(parts):
        progress("benchmark", done / len(parts))
        rows += part()
    progress("benchmark", 1.0)
    return rows


def table(rows: list[Row], path: Path | None = None) -> str:
    """The rows as text; with a path also as JSON, with the machine and the versions."""
    if path is not None:
        machine = {
            "processor": _processor(),
            "cores": cores(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("sgdlimit", "numpy", "numba", "jax", "diffrax")},
        }
        measured = [row._asdict() | {"ratio": row.ratio} for row in rows]
        path.write_text(json.dumps({"machine": machine, "rows": measured}, indent=1), encoding="utf-8")
    lines = [f"{'':58}{'seconds':>10}{'limit':>10}{'ratio':>8}"]
    for row in rows:
        if np.isnan(row.limit_seconds):
            lines.append(f"{row.what:58}{row.seconds:10.4f}")
        else:
            lines.append(f"{row.what:58}{row.seconds:10.4f}{row.limit_seconds:10.4f}{row.ratio:8.3f}  {row.limit}")
    return "\n".join(lines)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _bare_product() -> float:
    """The float32 product CF alone, for all steps of a run: blocks of 4096 × D × N on all cores."""
    D, N = PRESET.problem.latent_dim, PRESET.problem.input_dim
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((4096, D), dtype=np.float32)
    features = rng.standard_normal((D, N), dtype=np.float32)
    out = np.empty((4096, N), np.float32)
    blocks = 6
    return _seconds(lambda: [np.matmul(latent, features, out=out) for _ in range(blocks)]) * STEPS / (4096 * blocks)


def _against_product(what: str, call: Callable[[], object], share: int = 1, repeats: int = 5) -> Row:
    call()
    times, limits = [], [_bare_product()]
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) / share)
        limits.append(_bare_product())
    ratios = [t / ((before + after) / 2) for t, before, after in zip(times, limits[:-1], limits[1:], strict=True)]
    seconds = statistics.median(times)
    return Row(what, seconds, "bare product", seconds / statistics.median(ratios))


def _one_run() -> list[Row]:
    instance = PRESET.problem.draw(0).replace(activation="erf")
    return [_against_product("one SGD run, sampling and measuring included", lambda: simulate(instance, PRESET.times))]


def _grid() -> list[Row]:
    conditions, place = grid_conditions(PRESET, 0)

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            simulate_together(conditions, PRESET.times, test_samples=0)

    what = f"each of the {len(conditions)} SGD runs that the grid's {len(place)} conditions take"
    return [_against_product(what, run, share=len(conditions), repeats=3)]


def _theory_seconds(problem: Problem, activation: str, repeats: int) -> float:
    instance = problem.draw(0)
    nodes = spectrum(instance)
    output, teacher = instance.student_output, instance.teacher_output
    return _seconds(
        lambda: solve_spectrum(
            nodes, output, teacher, activation=activation, learning_rate=problem.learning_rate, times=PRESET.times
        ),
        repeats,
    )


def _theory() -> list[Row]:
    return [
        Row(f"theory warm, {name}", _theory_seconds(PRESET.problem, name, 9), "", np.nan) for name in ("erf", "relu")
    ]


def _large_theory() -> list[Row]:
    large = PRESET.problem.model_copy(update={"student_units": 8, "teacher_units": 8})
    return [
        Row(f"theory warm, K = M = 8, {name}", _theory_seconds(large, name, 3), "", np.nan) for name in ("erf", "relu")
    ]


def _processes() -> list[Row]:
    """What a new process waits for."""
    first_call = """
import time, numpy as np, sgdlimit as sl
from sgdlimit.theory import solve_spectrum, spectrum
from sgdlimit.studies.paper import PRESETS
preset = PRESETS["paper"]
instance = preset.problem.draw(0).replace(activation=ACTIVATION)
nodes = spectrum(instance)
start = time.perf_counter()
solve_spectrum(nodes, instance.student_output, instance.teacher_output, activation=ACTIVATION, learning_rate=0.2,
               times=preset.times)
print(time.perf_counter() - start)
"""

    def first_calls(activation: str) -> list[Row]:
        script = first_call.replace("ACTIVATION", repr(activation))
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", script]
            settings = {"env": os.environ | {"SGDLIMIT_CACHE_DIR": folder}, "text": True, "check": True}
            seconds = [float(subprocess.run(command, stdout=subprocess.PIPE, **settings).stdout) for _ in range(4)]
        return [
            Row(f"theory, first call ever, {activation}", seconds[0], "", np.nan),
            Row(f"theory, first call in a process, {activation}", statistics.median(seconds[1:]), "", np.nan),
        ]

    def process(*arguments: str) -> float:
        return _seconds(lambda: subprocess.run([sys.executable, *arguments], capture_output=True, check=True))

    bare = process("-c", "pass")
    return [
        *(row for name in ("erf", "relu") for row in first_calls(name)),
        Row("import sgdlimit", process("-c", "import sgdlimit"), "python alone", bare),
        Row("sgdlimit --help", process("-m", "sgdlimit", "--help"), "python alone", bare),
    ]
