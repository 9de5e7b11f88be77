"""What each part costs on the machine at hand, beside the limit it is held against."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._jax import own_jax
from .errors import DivergenceWarning
from .inputs import ClusterMixture
from .instance import Instance
from .papers.bae_jeong_2024 import PRESETS, reproduce
from .problem import GaussianMixture
from .random import fill_normals
from .resources import cores
from .rules import network
from .simulation import simulate, simulate_together, stream_of
from .sweep import Conditions, Plan, provenance
from .theory import (
    Solver,
    Spectrum,
    case_of,
    integrals_for,
    order_parameters,
    right_hand_side,
    solve,
    solve_many,
    solve_spectrum,
    spectrum,
    start,
)
from .trajectory import log_times

PRESET = PRESETS["paper"]
STEPS = PRESET.steps


class Row(NamedTuple):
    """One measurement: what, how long, and the bare limit it is a multiple of."""

    what: str
    seconds: float
    limit: str
    limit_seconds: float

    @property
    def ratio(self) -> float:
        """Seconds over the limit's."""
        return self.seconds / self.limit_seconds


def bench(progress: Callable[[str, float], None], *, quick: bool = False) -> list[Row]:
    """Measure every row; about eight minutes on two cores, or two if the largest are left out.

    A ratio against the product is taken against the bare product timed just before and just after: machines have fast
    and slow phases.

    Parameters
    ----------
    progress
        Called with ``"benchmark"`` and the fraction done.
    quick
        Leave out the large instance and the whole paper.
    """
    parts = [
        _sgd,
        partial(_theory, "theory warm", 9),
        partial(_rules, "SGD of any rule by blocks, cross-entropy of 3, K = 2"),
        partial(_rules, "SGD of any rule by blocks, cross-entropy of 3, K = 8", student_units=8),
        _mixture,
        _classes,
        _batch,
        partial(_theory, "theory warm, K = M = 8", 3, student_units=8, teacher_units=8),
        _processes,
    ]
    if not quick:
        parts += [_large_instance, _paper]
    rows = []
    for done, part in enumerate(parts):
        progress("benchmark", done / len(parts))
        rows += part()
    progress("benchmark", 1.0)
    return rows


def table(rows: list[Row], path: Path | None = None) -> str:
    """The rows as text; with a path also as JSON, with the machine and the versions."""
    if path is not None:
        measured = [row._asdict() | {"ratio": row.ratio} for row in rows]
        content = {"machine": {**provenance(), "cores": cores()}, "rows": measured}
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    lines = (f"\n{r.what:58}{r.seconds:10.4f}{r.limit_seconds:10.4f}{r.ratio:8.3f}  {r.limit}" for r in rows)
    return f"{'':58}{'seconds':>10}{'limit':>10}{'ratio':>8}" + "".join(lines)


def _once(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of a call, after one that is not counted."""
    call()
    return statistics.median(_once(call) for _ in range(repeats))


def _bare_product() -> float:
    """The float32 product CF alone, for all steps of a run: blocks of 4096 × D × N on all cores."""
    D, N, rows, blocks = PRESET.problem.latent_dim, PRESET.problem.input_dim, 4096, 6
    rng = np.random.default_rng(0)
    latent, features = (rng.standard_normal(shape, dtype=np.float32) for shape in ((rows, D), (D, N)))
    out = np.empty((rows, N), np.float32)
    return _seconds(lambda: [np.matmul(latent, features, out=out) for _ in range(blocks)]) * STEPS / (rows * blocks)


def _against_product(what: str, call: Callable[[], object], share: int = 1, repeats: int = 5) -> Row:
    """A row whose limit is the bare product, timed before and after every call."""
    call()
    times, limits = [], [_bare_product()]
    for _ in range(repeats):
        times.append(_once(call) / share)
        limits.append(_bare_product())
    ratio = statistics.median(2 * t / sum(around) for t, around in zip(times, pairwise(limits), strict=True))
    seconds = statistics.median(times)
    return Row(what, seconds, "bare product", seconds / ratio)


def _first_task() -> Conditions:
    return Conditions(Plan(PRESET.grid_sweep()), 0)


def _instances(**changes: Any) -> Iterator[Instance]:
    """An instance of the preset with each of the activations."""
    for name in ("erf", "relu"):
        yield PRESET.problem.replace(activation=name, **changes).draw(0)


def _sgd() -> Iterator[Row]:
    """One run, and the runs of a task of the grid, some of which are shared by several conditions."""
    one = partial(simulate, next(_instances()), PRESET.times)
    yield _against_product("one SGD run, sampling and measuring included", one)
    task = _first_task()
    conditions, count = task.instances, len(task.keys)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        run = partial(simulate_together, conditions, PRESET.times, test_samples=0)
        row = _against_product(f"each of the {count} SGD runs of a task of the grid", run, share=count, repeats=3)
    yield row
    each = row.seconds * count / len(conditions)
    yield row._replace(what=f"the same, shared by the {len(conditions)} that differ", seconds=each)


def _rules(what: str, **changes: Any) -> Iterator[Row]:
    """One run of a rule that is not in the compiled kernel."""
    problem = PRESET.problem.replace(loss="cross-entropy", outputs=3, labels="argmax", teacher_units=3, **changes)
    yield _against_product(what, partial(simulate, problem.draw(0), PRESET.times))


def _right_hand_sides(instance: Instance, nodes: Spectrum) -> float:
    """Seconds of the right-hand sides of a solution, in one compiled loop."""
    import jax
    import jax.numpy as jnp

    integrals = integrals_for(instance.activation)
    case = case_of(instance, nodes)
    steps = int(order_parameters(case, PRESET.times, Solver(integrals)).steps)
    with own_jax():
        state, fixed = start(case)

        def advance(_, state):
            slope = right_hand_side(jnp.zeros(()), state, fixed, integrals)
            return jax.tree.map(lambda x, dx: x + 1e-6 * dx, state, slope)

        loop = jax.jit(lambda state: jax.lax.fori_loop(0, 6 * steps, advance, state))  # six stages a step
        return _seconds(lambda: jax.block_until_ready(loop(state)), 3)


def _solving(function: Callable[..., object], instance: Instance, nodes: Any, **settings: Any) -> Callable[[], object]:
    """A call that solves an instance on nodes."""
    outputs = instance.student_output, instance.teacher_output
    settings = {"learning_rate": instance.learning_rate, "activation": instance.activation} | settings
    return partial(function, nodes, *outputs, times=PRESET.times, **settings)


def _theory(what: str, repeats: int, **changes: Any) -> Iterator[Row]:
    """A warm solution beside as many evaluations of the right-hand side as it takes, alone."""
    for instance in _instances(**changes):
        nodes, name = spectrum(instance), instance.activation.name
        seconds = _seconds(_solving(solve_spectrum, instance, nodes), repeats)
        yield Row(f"{what}, {name}", seconds, "right-hand sides", _right_hand_sides(instance, nodes))


def _mixture() -> Iterator[Row]:
    """32 chains of 100 N steps through two clusters; beside as many normal numbers as they take, on all cores."""
    latent = GaussianMixture(components=2, spread=9.0, block_size=PRESET.problem.latent_dim, standardize=True)
    units = PRESET.problem.student_units + PRESET.problem.teacher_units
    normals = np.empty((32 * STEPS // 1000, 1000 * units), np.float32)
    limit = _seconds(lambda: fill_normals(np.uint32(1), np.uint32(2), 0, normals), 3) / cores()
    for instance in _instances(latent=latent):
        seconds = _seconds(partial(solve, instance, PRESET.times, theory="mixture"), 3)
        yield Row(f"mixture theory warm, 32 chains, {instance.activation.name}", seconds, "normal numbers", limit)


def _classes() -> Iterator[Row]:
    """Ten classes with covariances of their own; beside the products of 8 chains' weights with these, in every step."""
    classes, N, K, chains, times = 10, 784, 8, 8, log_times(12 * 784, 784, count=30)
    rng = np.random.default_rng(0)
    spectra = [rng.standard_normal((N, N)) / np.sqrt(N) for _ in range(classes)]
    law = ClusterMixture(0.5 * rng.standard_normal((classes, N)), [half @ half.T + 0.1 * np.eye(N) for half in spectra])
    rule = network(np.ones((classes, K)), activation="relu", loss="cross-entropy", labels=np.arange(classes), bias=True)
    instance = Instance.from_inputs(law, rng.standard_normal((K, N)), rule=rule, learning_rate=0.1)
    call = partial(solve, instance, times, theory="mixture", chains=chains)
    seconds, steps = _seconds(call, 3), np.ceil(12 / 0.2)
    weights, covariances = rng.standard_normal((chains * K, N)), np.array([half @ half.T for half in spectra])
    products = _seconds(lambda: weights @ covariances, 3) * steps
    yield Row("mixture theory warm, ten classes, N = 784, K = 8, 8 chains", seconds, "products with their V", products)


def _batch() -> Iterator[Row]:
    """256 theories: 32 instances, each at 8 learning rates."""
    spectra = [spectrum(PRESET.problem.draw(seed), nodes=70) for seed in range(32)]
    rates = np.repeat(np.geomspace(0.05, 0.4, 8), 32)
    for instance in _instances():
        seconds = _seconds(_solving(solve_many, instance, spectra * 8, learning_rate=rates), 3) / 256
        limit = _right_hand_sides(instance, spectra[0]) / cores()
        yield Row(f"each of 256 theories, 70 nodes, {instance.activation.name}", seconds, "right-hand sides", limit)


def _large_instance() -> Iterator[Row]:
    """N = 20 000, D = 10 000: a solution without any eigendecomposition."""
    instance = next(_instances(input_dim=20_000, latent_dim=10_000))
    limit = _bare_product() * (10_000 * 10_000 * 20_000) / (STEPS * 500 * 1000)
    yield Row("theory of N = 20 000, D = 10 000", _once(lambda: solve(instance, PRESET.times)), "product FFᵀ", limit)


def _paper() -> Iterator[Row]:
    """The whole paper; its bare limit is one product for each source of samples, for all steps."""
    task = _first_task()
    limit = len(task.plan) * len(stream_of(task.instances).sources) * _bare_product()
    with tempfile.TemporaryDirectory() as folder:
        whole = partial(reproduce, PRESET.name, Path(folder) / "paper", progress=lambda stage, done: None)
        yield Row("the whole paper, figures and report", _once(whole), "products of its grid", limit)


FIRST_CALLS = """
import time, numpy as np, sgdlimit as sl
from sgdlimit.theory import solve_spectrum, spectrum
from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
preset = PRESETS["paper"]
instance = preset.problem.draw(0).replace(activation=ACTIVATION)
nodes = spectrum(instance)
for call in range(2):
    start = time.perf_counter()
    solve_spectrum(nodes, instance.student_output, instance.teacher_output, activation=ACTIVATION, learning_rate=0.2,
                   times=preset.times)
    print(time.perf_counter() - start)
"""


def _processes() -> Iterator[Row]:
    """What a new process waits for."""
    for name in ("erf", "relu"):
        command = [sys.executable, "-c", FIRST_CALLS.replace("ACTIVATION", repr(name))]
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"SGDLIMIT_CACHE_DIR": folder}
            printed = [subprocess.check_output(command, env=environment, text=True).split() for _ in range(4)]
        (ever, *first), warm = np.array(printed, float).T.tolist()
        limit = "the second call", statistics.median(warm)
        yield Row(f"theory, first call ever, {name}", ever, *limit)
        yield Row(f"theory, first call in a process, {name}", statistics.median(first), *limit)
    with tempfile.TemporaryDirectory() as folder:

        def process(*arguments: str) -> float:
            command = [sys.executable, *arguments]
            return _seconds(lambda: subprocess.run(command, cwd=folder, capture_output=True, check=True), 3)

        bare = "python alone", process("-c", "pass")
        yield Row("import sgdlimit", process("-c", "import sgdlimit"), *bare)
        yield Row("sgdlimit --help", process("-m", "sgdlimit", "--help"), *bare)
        yield Row("sgdlimit check digits", process("-m", "sgdlimit", "check", "digits"), *bare)
