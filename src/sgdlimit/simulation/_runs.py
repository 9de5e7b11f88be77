"""Online SGD on fresh samples, measured as order parameters: when it is done, or while it runs."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike
from xarray import Dataset

from ..errors import DivergenceError, ProblemError
from ..inputs import GAUSSIAN_THEORIES, THEORIES
from ..instance import Instance
from ..resources import cores, one_thread
from ..settings import check_whole
from ..signatures import checked
from ..trajectory import check_times
from ._measure import Record, records_of
from ._read import (
    BY_BLOCKS,
    Data,
    check_engine,
    check_overlaps,
    predicted_bytes,
    read_data,
    refuse_memory,
    whole_steps,
)
from ._sources import BLOCK
from ._stream import TEST, TRAINING, Kept, Samples, check_labels, stream_of
from ._train import Here, trained_blocks, workers

EXACTNESS = "Monte Carlo: SGD in single precision, the generalisation error on test_samples, with its error"

Times = Float[ArrayLike, "time"]
Progress = Callable[[float], None]
Overlaps = str | Sequence[str] | Sequence[Sequence[str]]


@checked
def simulate(
    instance: Instance,
    times: Times,
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
    progress: Progress | None = None,
) -> Dataset:
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


@checked
def simulate_together(
    instances: Sequence[Instance],
    times: Times,
    *,
    runs: int = 1,
    seed: int = 0,
    overlaps: Overlaps = "conventional",
    test_samples: int = 4000,
    keep_inputs: bool = False,
    keep_weights: bool = False,
    data: Data | None = None,
    threads: int | None = None,
    engine: str = "auto",
    progress: Progress | None = None,
) -> list[Dataset]:
    """Train several students on common random numbers: conditions that share features, teacher and noise.

    The instances may differ in law, activation, learning rate and initial student. They share the latent noise and its
    product with the features, which is nearly all of the cost, and their differences lose the common noise.

    Parameters and errors are those of :func:`simulate`, and ``overlaps`` may also be a list with a tuple of names for
    each instance; one dataset for each instance is returned.
    """
    threads = cores() if threads is None else threads
    check_whole(1, threads=threads)
    kept, records = "CXy" * keep_inputs + "W" * keep_weights, []
    with one_thread(), workers(threads) as pool:
        for done, measured in _recorded(
            instances, times, runs=runs, seed=seed, overlaps=overlaps, test_samples=test_samples, kept=kept, data=data,
            pool=pool, threads=threads, engine=engine,
        ):  # fmt: skip
            if progress is not None:
                progress(done)
            records = measured or records
    return [record.whole() for record in records]


def _recorded(
    instances: Sequence[Instance],
    times: Times,
    *,
    runs: int,
    seed: int,
    overlaps: Overlaps,
    test_samples: int,
    pool: Executor,
    engine: str,
    threads: int = 1,
    kept: str = "",
    data: Data | None = None,
    live: bool = False,
) -> Iterator[tuple[float, list[Record] | None]]:
    """Train and measure, at the end of each run or ``live``, at every output time that was reached.

    Yields the part of the work that is done after every block and, where something was measured, all records.
    ``kept`` are letters of :data:`sgdlimit.simulation._measure.KEPT`.
    """
    check_whole(1, runs=runs)
    check_whole(0, seed=seed, test_samples=test_samples)
    if data is not None and runs != 1:
        raise ProblemError(f"runs: must be 1 on given data, or all runs would be the same (got {runs}). Use runs=1.")
    for instance in instances if "X" in kept else ():
        check_labels(instance)
    engine, times = check_engine(engine, instances), check_times(times)
    overlaps = check_overlaps(overlaps, len(instances), GAUSSIAN_THEORIES if live else THEORIES)
    drawn = stream_of(instances)
    output_samples = whole_steps(times, drawn.input_dim, drawn.times_a_step) * drawn.samples_a_step
    samples = int(output_samples[-1])
    needed = predicted_bytes(
        instances, times, runs=runs, test_samples=test_samples, threads=threads, engine=engine, keep_weights="W" in kept
    )
    refuse_memory(needed, ("X" in kept) * runs * samples * (4 * (drawn.input_dim + instances[0].latent_dim) + 8))
    given = read_data(data, instances, samples)
    stream = stream_of(instances, given[1:] or given) if given else drawn
    streams = [stream.with_keys(seed, run, TRAINING) for run in range(runs)]
    records = records_of(instances, overlaps, times, runs)
    for record in records:
        distinct = None if given else record.instance.latent.distinct_samples
        reuse = {} if distinct is None else {"distinct_samples": distinct, "epochs": samples / distinct}
        record.attrs = record.instance.provenance(
            kind="simulation", exactness=EXACTNESS, seed=seed, engine=engine, test_samples=test_samples,
            data="given" if given else "drawn", **reuse,
        )  # fmt: skip
    by_law = [*zip(*(instance.of_tasks() for instance in instances), strict=True)]
    laws = [stream_of(each) for each in by_law] if by_law[1:] else [drawn]
    reached, tests = [0] * runs, [np.empty((1, 0, 0), np.float32)] * len(laws)
    for run, students, trained, done in trained_blocks(streams, output_samples, pool, threads=threads, engine=engine):
        until = int(np.searchsorted(output_samples, trained, side="right"))
        if until == reached[run] or not (live or until == len(times)):
            yield done, None
            continue
        streams_of_tests = [law.with_keys(seed, run, TEST) for law in laws]
        if reached[run] == 0 < test_samples:
            blocks = [pool.map(law.products, range(0, test_samples, BLOCK)) for law in streams_of_tests]
            tests = [np.concatenate([*each], axis=1)[:, :test_samples].copy() for each in blocks]
        for record in records:
            record.measure(run, [*zip(streams_of_tests, tests, strict=True)], students, until, pool)
            if not live:
                _keep(record, run, students, kept, streams[run].samples(record.condition, end=samples), given)
        reached[run] = until
        yield done, records


def _keep(
    record: Record, run: int, students: Kept, kept: str, drawn: Iterator[Samples], given: Sequence[ndarray]
) -> None:
    """Keep weights and inputs of a whole run, which must have reached an output time."""
    if record.reached[run] == 0:
        raise DivergenceError(
            f"learning_rate: {record.instance.learning_rate:g} makes SGD diverge before the first output time "
            f"{record.times[0]:g}. Lower it."
        )
    extra = {"W": students.student[record.condition]} if "W" in kept else {}
    if "X" in kept:
        extra |= zip("CXy", Samples(*given) if len(given) == 3 else Samples.joined([*drawn]), strict=True)
    for name, array in extra.items():
        record.kept.setdefault(name, []).append(array)


@checked
def simulate_live(
    instances: Sequence[Instance],
    times: Times,
    *,
    runs: int = 1,
    seed: int = 0,
    overlaps: Sequence[str] = ("conventional",),
    test_samples: int = 1000,
) -> Iterator[tuple[float, list[Dataset] | None]]:
    """Train as :func:`~sgdlimit.simulation.simulate_together` on the caller's thread, and yield results meanwhile.

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
        trajectory of each instance so far, with dimensions (run, overlaps, time, ...) of the runs begun. It is NaN at
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
    engine = BY_BLOCKS if any(instance.beyond_basic for instance in instances) else "numba"
    for done, records in _recorded(
        instances, times, runs=runs, seed=seed, overlaps=tuple(overlaps), test_samples=test_samples, pool=Here(),
        engine=engine, live=True,
    ):  # fmt: skip
        yield done, None if records is None else [record.so_far() for record in records]
