"""Online SGD on fresh samples, measured as order parameters: when it is done, or while it runs."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from ..errors import DivergenceError, DivergenceWarning, ProblemError
from ..inputs import GAUSSIAN_THEORIES
from ..instance import Instance
from ..resources import available_bytes, cores
from ..trajectory import check_times
from ._measure import Measurement, Ruler, rulers_of, test_sets
from ._read import (
    Data,
    check_engine,
    check_overlaps,
    check_whole,
    needed_bytes,
    read_data,
    refuse_what_does_not_fit,
    whole_steps,
)
from ._stream import TEST, TRAINING, Samples, Stream, stream_of
from ._train import Here, trained_blocks, workers

KEPT_INPUTS_LIMIT = 2 << 30  # bytes

KEPT = {
    "C": ("run", "step", "latent"),
    "X": ("run", "step", "input"),
    "y": ("run", "step"),
    "W": ("run", "time", "student", "input"),
}
"""Dimensions of what a trajectory keeps besides order parameters."""


def simulate(
    instance: Instance,
    times: Float[ArrayLike, "time"],
    *,
    runs: int = 1,
    seed: int = 0,
    overlaps: str | Sequence[str] = "conventional",
    test_samples: int = 4000,
    keep_inputs: bool = False,
    keep_weights: bool = False,
    data: Data | None = None,
    threads: int | None = None,
    engine: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Train the student by online SGD, a fresh sample a step, and measure its order parameters.

    Parameters
    ----------
    instance
        The network, the teacher and the law of the latent.
    times
        Output times t = step/N, increasing; each a whole number of steps. 0 is the initial condition.
    runs
        Repetitions with fresh samples from the same initial weights.
    seed
        Seed of the samples. The same seed gives the same bits for any number of threads.
    overlaps
        With which covariances Q = WΩWᵀ/N and R = Wφ/N are measured: ``"conventional"`` (Σ_C = I),
        ``"moment-matched"`` (the law's Σ_C) or ``"mixture"`` (those within the law's clusters, averaged), which adds
        ``mean_field``, W·a/√N with the mean a of the inputs in each cluster. A sequence of names adds a leading
        ``overlaps`` dimension.
    test_samples
        Fresh samples of the law on which the generalisation error is measured; 0 leaves it out.
    keep_inputs
        Keep every sample: variables ``C``, ``X`` and ``y`` with a ``step`` dimension, of samples where a step takes
        a batch of them.
    data
        Samples to take in order instead of drawing them: ``(C,)`` of shape (steps, D), or ``(C, X, y)`` with the
        inputs (steps, N) and labels (steps,), where C is only handed on. A batch takes several.
    threads
        Number of threads; all cores by default.
    engine
        ``"numba"``, the CPU kernel; ``"jax"``, all runs and conditions through one scan, for accelerators, to
        float32 accuracy on the same samples; ``"auto"``, jax where there is an accelerator.
    progress
        Called with the fraction done.

    Returns
    -------
    xarray.Dataset
        A trajectory with a leading ``run`` dimension. A run that diverges cuts all runs at its last finite output
        time, ``attrs["diverged_at"]`` says when, and a DivergenceWarning is given.

    Raises
    ------
    ProblemError
        If times are not whole steps in order, arrays do not fit, or the memory does not suffice: it does not grow with
        the number of steps, but with that of output times.
    DivergenceError
        If SGD diverges before the first output time.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=200, latent_dim=100, student_units=2, teacher_units=2,
    ...                      activation="erf", learning_rate=0.2)
    >>> sl.simulate(problem.draw(seed=0), sl.log_times(1000, 200, 10), runs=3, seed=1)["Q"].shape
    (3, 10, 2, 2)
    """
    return simulate_together(
        [instance],
        times,
        runs=runs,
        seed=seed,
        overlaps=overlaps,
        test_samples=test_samples,
        keep_inputs=keep_inputs,
        keep_weights=keep_weights,
        data=data,
        threads=threads,
        engine=engine,
        progress=progress,
    )[0]


def simulate_together(
    instances: Sequence[Instance],
    times: Float[ArrayLike, "time"],
    *,
    runs: int = 1,
    seed: int = 0,
    overlaps: str | Sequence[str] | Sequence[Sequence[str]] = "conventional",
    test_samples: int = 4000,
    keep_inputs: bool = False,
    keep_weights: bool = False,
    data: Data | None = None,
    threads: int | None = None,
    engine: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> list[xr.Dataset]:
    """Train several students on common random numbers: conditions that share features, teacher and noise.

    The instances may differ in law, activation, learning rate and initial student. They share the latent noise and its
    product with the features, which is nearly all of the cost, and their differences lose the common noise.

    Parameters and errors are those of :func:`simulate`, and ``overlaps`` may also be a list with a tuple of names for
    each instance; one dataset for each instance is returned.
    """
    for name, value, least in (("runs", runs, 1), ("seed", seed, 0), ("test_samples", test_samples, 0)):
        check_whole(name, value, least)
    if data is not None and runs != 1:
        raise ProblemError(f"runs: must be 1 on given data, or all runs would be the same (got {runs}). Use runs=1.")
    threads = cores() if threads is None else threads
    check_whole("threads", threads, 1)
    engine, times = check_engine(engine), check_times(times)
    overlaps = check_overlaps(overlaps, len(instances))
    drawn = stream_of(instances)
    steps, batch_size = whole_steps(times, drawn.input_dim), instances[0].training.batch_size
    samples = int(steps[-1]) * batch_size
    if keep_inputs:
        _refuse_large(runs, samples, instances[0])
    arrays = read_data(data, instances, samples)
    needed = needed_bytes(
        drawn, output_times=len(times), test_samples=test_samples, threads=threads,
        runs_at_once=runs if engine == "jax" else 1, weights=runs if keep_weights else 0,
    )  # fmt: skip
    refuse_what_does_not_fit(needed, available_bytes())
    rulers = rulers_of(instances, overlaps, times)
    stream = stream_of(instances, arrays[1:] or arrays) if arrays else drawn
    streams = [stream.with_keys(seed, run, TRAINING) for run in range(runs)]
    measured: list[list[Measurement]] = [[] for _ in instances]
    kept: list[list[dict[str, np.ndarray]]] = [[] for _ in instances]
    with threadpool_limits(limits=1, user_api="blas"), workers(threads) as pool:
        for trained in trained_blocks(streams, steps * batch_size, pool, threads=threads, engine=engine):
            if progress is not None:
                progress(trained.done)
            if trained.samples < samples:
                continue
            tests = test_sets(drawn.with_keys(seed, trained.run, TEST), test_samples, pool)

            def measure(ruler: Ruler, pool: Executor, students=trained.students, tests=tests) -> Measurement:
                return ruler.measure(stream, students, tests(ruler.condition, pool) if test_samples else None, pool)

            # Each thread takes a chain, or where there are too few, output times.
            if len(instances) >= threads:
                results = pool.map(lambda ruler: measure(ruler, Here()), rulers)
            else:
                results = (measure(ruler, pool) for ruler in rulers)
            for condition, measurement in enumerate(results):
                if measurement.reached == 0:
                    raise DivergenceError(
                        f"learning_rate: {instances[condition].learning_rate:g} makes SGD diverge before the first "
                        f"output time {times[0]:g}. Lower it."
                    )
                measured[condition].append(measurement)
                weights = {"W": trained.students.kept_student[condition]} if keep_weights else {}
                inputs = _inputs(streams[trained.run], condition, samples, arrays) if keep_inputs else {}
                kept[condition].append(inputs | weights)
    provenance = {
        "kind": "simulation",
        "exactness": "Monte Carlo: SGD in single precision, the generalisation error on test_samples, with its error",
        "seed": int(seed),
        "engine": engine,
        "test_samples": int(test_samples),
        "data": "drawn" if data is None else "given",
    }
    return [
        _whole(ruler, results, also, ruler.instance.provenance(**provenance, **_reuse(ruler.instance, samples, data)))
        for ruler, results, also in zip(rulers, measured, kept, strict=True)
    ]


def _whole(
    ruler: Ruler, runs: Sequence[Measurement], kept: Sequence[dict[str, np.ndarray]], attrs: dict[str, Any]
) -> xr.Dataset:
    """The trajectory of whole runs with what was kept of them, cut to the shortest run; a cut is reported."""
    diverged = [run.diverged_at for run in runs if run.diverged_at is not None]
    if diverged:
        attrs = attrs | {"diverged_at": min(diverged)}
        warnings.warn(
            f"learning_rate: {ruler.instance.learning_rate:g} makes SGD diverge at t = {min(diverged):.4g} "
            f"({len(diverged)} of {len(runs)} runs). The trajectory is cut there. Lower the rate.",
            DivergenceWarning,
            stacklevel=4,
        )
    trajectory = ruler.trajectory([[run] for run in runs], attrs)
    trajectory = trajectory.assign({name: (KEPT[name], np.stack([run[name] for run in kept])) for name in kept[0]})
    return trajectory.isel(time=slice(min(run.reached for run in runs)))


def _inputs(
    stream: Stream, condition: int, samples: int, given: Sequence[np.ndarray]
) -> dict[str, Float[np.ndarray, "sample ..."]]:
    """The samples that one run of a condition has taken, made once more."""
    taken = given if len(given) == 3 else Samples.joined(list(stream.samples(condition, end=samples)))
    return {name: array[:samples] for name, array in zip("CXy", taken, strict=True)}


def _reuse(instance: Instance, samples: int, data: Data | None) -> dict[str, float]:
    """What a trajectory says of samples that were not all fresh ones."""
    distinct = instance.latent.distinct_samples if data is None else None
    return {} if distinct is None else {"distinct_samples": distinct, "epochs": samples / distinct}


def _refuse_large(runs: int, samples: int, instance: Instance) -> None:
    """Refuse to keep more inputs than the memory is for."""
    wanted = runs * samples * (4 * (instance.input_dim + instance.latent_dim) + 8)
    if wanted > KEPT_INPUTS_LIMIT:
        raise ProblemError(
            f"keep_inputs: must not keep more than {KEPT_INPUTS_LIMIT >> 30} GiB of samples (got "
            f"{wanted / 2**30:.1f} GiB). Use fewer runs or earlier times."
        )


def simulate_live(
    instances: Sequence[Instance],
    times: Float[ArrayLike, "time"],
    *,
    runs: int = 1,
    seed: int = 0,
    overlaps: Sequence[str] = ("conventional",),
    test_samples: int = 1000,
) -> Iterator[tuple[float, list[xr.Dataset] | None]]:
    """What :func:`~sgdlimit.simulation.simulate_together` does, handed out as it goes, on the caller's thread.

    Parameters
    ----------
    instances
        Conditions on the same features and teacher, which share their noise.
    times, runs, seed, test_samples
        See :func:`~sgdlimit.simulation.simulate`. The same seed trains to the same weights, bit for bit where BLAS
        keeps to one thread (:func:`sgdlimit.resources.one_thread`).
    overlaps
        ``"conventional"``, ``"moment-matched"`` or both, a leading dimension of Q and R.

    Yields
    ------
    tuple
        After every block of steps, the part of the work that is done. Where output times were reached, also the
        trajectory of each instance so far, with dimensions (overlaps, run, time, ...) of the runs begun. It is NaN at
        times that a run has not reached, or after it diverged; ``attrs["diverged_at"]`` is the first such time.

    Raises
    ------
    ProblemError
        If times are not whole steps in order, or instances do not share features and teacher.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=200, latent_dim=100, student_units=2, teacher_units=2, activation="erf",
    ...                      learning_rate=0.2)
    >>> live = simulate_live([problem.draw(seed=0)], sl.log_times(2000, 200, 10))
    >>> done, first = next(live)
    >>> round(done, 2), int(first[0]["v"].notnull().all("student").sum())
    (0.26, 8)
    """
    times, here = check_times(times), Here()
    names = check_overlaps(tuple(overlaps), len(instances), GAUSSIAN_THEORIES)
    drawn = stream_of(instances)
    output_samples = whole_steps(times, drawn.input_dim) * instances[0].training.batch_size
    rulers = rulers_of(instances, names, times)
    streams = [drawn.with_keys(seed, run, TRAINING) for run in range(runs)]
    measured: list[list[list[Measurement]]] = [[] for _ in rulers]
    reached, tests = 0, []
    for trained in trained_blocks(streams, output_samples, here, threads=1, engine="numba"):
        if trained.run == len(measured[0]):  # a run begins
            make = test_sets(drawn.with_keys(seed, trained.run, TEST), test_samples, here)
            tests = [make(ruler.condition, here) for ruler in rulers]
            reached = 0
            for so_far in measured:
                so_far.append([])
        until = int(np.searchsorted(output_samples, trained.samples, side="right"))
        if until == reached:
            yield trained.done, None
            continue
        for ruler, test_set, so_far in zip(rulers, tests, measured, strict=True):
            new = ruler.measure(drawn, trained.students, test_set, here, first=reached, until=until)
            so_far[-1].append(new)
        reached = until
        yield trained.done, [_so_far(*each) for each in zip(rulers, measured, strict=True)]


def _so_far(ruler: Ruler, runs: Sequence[Sequence[Measurement]]) -> xr.Dataset:
    """The trajectory of the runs begun, and when the first of them diverged."""
    diverged = [
        float(ruler.times[sum(part.reached for part in parts)]) for parts in runs if parts[-1].diverged_at is not None
    ]
    attrs = ruler.instance.provenance(kind="simulation", **({"diverged_at": min(diverged)} if diverged else {}))
    return ruler.trajectory(runs, attrs)


def predicted_bytes(
    instances: Sequence[Instance], times: Float[ArrayLike, "time"], *, runs: int = 1, test_samples: int = 4000
) -> int:
    """Bytes that :func:`simulate_together` will hold, with the engine and threads it would choose itself.

    They do not grow with the number of steps, and with that of runs only where all are trained at once.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=1000, latent_dim=500, student_units=2, teacher_units=2,
    ...                      activation="erf", learning_rate=0.2)
    >>> predicted_bytes([problem.draw(seed=0)], sl.log_times(100_000, 1000)) < 2**28
    True
    """
    return needed_bytes(
        stream_of(instances),
        output_times=len(check_times(times)),
        test_samples=test_samples,
        threads=cores(),
        runs_at_once=runs if check_engine("auto") == "jax" else 1,
    )
