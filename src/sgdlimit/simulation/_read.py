"""Checks of the arguments of a simulation."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike

from .._jax import own_jax
from ..errors import ProblemError, unknown_name
from ..instance import Instance
from ..resources import available_bytes, cores
from ..settings import numbers
from ..trajectory import check_times
from ._measure import TIMES_AT_ONCE
from ._sources import BLOCK
from ._stream import stream_of

KEPT_INPUTS_LIMIT = 2 << 30  # bytes
ENGINES = ("auto", "numba", "jax")
BY_BLOCKS = "blocks"
"""The engine of rules on the CPU, which ``auto`` chooses."""

Data = tuple[ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike]


def check_engine(name: str, instances: Sequence[Instance]) -> str:
    """The engine to use: for any rule ``"jax"``, all runs at once, or on the CPU ``"blocks"``, one by one.

    ``auto`` imports JAX only where a plugin for an accelerator is installed.
    """
    if name not in (*ENGINES, BY_BLOCKS):
        raise unknown_name("engine", name, ENGINES)
    for instance in instances:
        if instance.training.gradient_flow:
            raise ProblemError(
                "training.gradient_flow: must be False in SGD, which has noise (got True). Leave it out."
            )
        rule = instance.rule
        if instance.training.moves_teacher and rule and (rule.asks_for_overlaps or rule.asks_for_clusters):
            raise ProblemError(
                f"rule: must not ask for Q, R, T or clusters where the teacher moves in SGD (got {rule.name!r}). Leave "
                "out teacher_drift and teacher_turn."
            )
    beyond = dict.fromkeys(each for instance in instances for each in instance.beyond_basic)
    if name == "numba" and beyond:
        raise ProblemError(f"engine: must be 'auto' or 'jax' for {', '.join(beyond)} (got 'numba'). Use one of them.")
    if name != "auto":
        return name
    on_cpu = BY_BLOCKS if beyond else "numba"
    if not any(map(find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu"))):
        return on_cpu
    import jax

    with own_jax(accelerated=True):
        return on_cpu if jax.default_backend() == "cpu" else "jax"


def check_overlaps(overlaps: Any, count: int, allowed: Sequence[str]) -> Sequence[str | tuple[str, ...]]:
    """The theory or theories that each of several instances is measured with."""
    own = isinstance(overlaps, list) and len(overlaps) == count and not any(isinstance(x, str) for x in overlaps)
    checked = []
    for names in overlaps if own else [overlaps] * count:
        several = (names,) if isinstance(names, str) else tuple(names)
        if not several or len(set(several)) < len(several) or not set(several) <= set(allowed):
            raise ProblemError(
                f"overlaps: must be {' or '.join(map(repr, allowed))}, or several in a tuple (got {overlaps!r}). "
                "Use one of them."
            )
        checked.append(names if isinstance(names, str) else several)
    return checked


def whole_steps(times: Float[ndarray, "time"], input_dim: int, unit: int = 1) -> Int[ndarray, "time"]:
    """The steps of output times, which may be rounded to single precision, or a ProblemError.

    A step takes the time ``unit``/N.
    """
    steps = np.rint(times * input_dim).astype(np.int64)
    off = np.abs(times * input_dim - steps)
    if (off > 1e-6 + 6e-8 * steps).any() or (np.diff(steps) <= 0).any() or steps[-1] < 1:
        raise ProblemError(
            f"times: must be whole numbers of SGD steps, at least one, over input_dim {input_dim} (got "
            f"{times[int(np.argmax(off))]:.6g}). Use log_times(...) or np.rint(times * N) / N."
        )
    if (steps % unit).any():
        raise ProblemError(
            f"times: must be whole batches of {unit} samples, of the time {unit / input_dim:g} (got "
            f"{times[int(np.argmax(steps % unit > 0))]:.6g}). Use np.arange(1, n) * batch_fraction."
        )
    return steps // unit


def read_data(data: Data | None, instances: Sequence[Instance], samples: int) -> list[ndarray]:
    """Given samples as arrays, as many as are taken: none, [C], or [C, X, y]."""
    if data is None:
        return []
    if not isinstance(data, tuple) or len(data) not in (1, 3):
        raise ProblemError(f"data: must be (C,) or (C, X, y) (got a {type(data).__name__}). Give a tuple of arrays.")
    instance = instances[0]
    changes = len(instance.switch_times) or any(i.training.label_noise or i.training.moves_teacher for i in instances)
    if len(data) == 3 and changes:
        raise ProblemError(
            "data: must be (C,) where labels are noisy, or tasks or teachers change (got labels y). Leave X and y out, "
            "or use label_noise=0 and a teacher that stays."
        )
    shapes = {"C": (instance.latent_dim,), "X": (instance.input_dim,), "y": ()}
    arrays = []
    for (name, shape), value in zip(shapes.items(), data, strict=False):
        array = numbers(f"data: {name}", value, ("samples", *shape))
        if len(array) < samples:
            raise ProblemError(
                f"data: {name} must have {samples} samples up to the last output time (got {len(array)}). "
                "Give more samples or earlier times."
            )
        arrays.append(array[:samples] if name == "y" else array[:samples].astype(np.float32))
    return arrays


def predicted_bytes(
    instances: Sequence[Instance],
    times: Float[ArrayLike, "time"],
    *,
    runs: int = 1,
    test_samples: int = 4000,
    threads: int | None = None,
    engine: str = "auto",
    keep_weights: bool = False,
) -> int:
    """Bytes that :func:`simulate_together` will hold: products, students, weights kept at the output times, a test set.

    They do not grow with the number of steps. The results grow with that of runs, and so do the students where all are
    trained at once or their weights are kept.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=1000, latent_dim=500, student_units=2, teacher_units=2,
    ...                      activation="erf", learning_rate=0.2)
    >>> predicted_bytes([problem.draw(seed=0)], sl.log_times(100_000, 1000)) < 2**28
    True
    """
    stream, threads, times = stream_of(instances), threads or cores(), check_times(times)
    D, (K, N) = instances[0].latent_dim, instances[0].student.shape
    block = 4 * BLOCK * stream.width * len(stream.sources)
    weights = 4 * len(instances) * K * N * len(times)
    students = weights + 4 * len(instances) * K * stream.width + block
    # The test set's products and inputs, and for each thread the local fields of some output times.
    test_set = -(-test_samples // BLOCK) * block * (1 + len(instances[0].later_latents))
    test_set += 4 * test_samples * (N + TIMES_AT_ONCE * K * threads)
    matrices = (4 + 8) * D * N + (16 * D * stream.width if instances[0].transform is None else 0)
    engine = check_engine(engine, instances)
    at_once = runs if engine == "jax" else 1
    working = (threads + 2) * block + 4 * BLOCK * D * threads + test_set + matrices
    if engine != "numba":  # inputs of chunks, which are kept until they are trained on
        working += (threads + 4) * at_once * len(instances) * 4 * (BLOCK + 2 * stream.rules[0].samples) * N
    moving = 8 * instances[0].teacher.size * (len(times) + 2 * BLOCK) + 4 * BLOCK * D * (threads + 4)
    working += at_once * moving * sum(instance.training.moves_teacher for instance in instances)
    results = runs * len(instances) * (1000 + 8 * len(times) * K * (K + len(instances[0].teacher) + 2))
    return students * at_once + working + weights * runs * keep_weights + results


def refuse_memory(needed: int, of_inputs: int) -> None:
    """Refuse a simulation that needs more than the free memory, or keeps more inputs than the limit."""
    free = available_bytes()
    if of_inputs > KEPT_INPUTS_LIMIT:
        raise ProblemError(
            f"keep_inputs: must not keep more than {KEPT_INPUTS_LIMIT >> 30} GiB of samples (got "
            f"{of_inputs / 2**30:.1f} GiB). Use fewer runs or earlier times."
        )
    if needed > free:
        raise ProblemError(
            f"times, runs, test_samples: must fit into {free / 2**30:.1f} GiB of free memory (got "
            f"{needed / 2**30:.1f} GiB). Ask for fewer runs, output times, conditions or test_samples, or a "
            "smaller input_dim or student_units."
        )
