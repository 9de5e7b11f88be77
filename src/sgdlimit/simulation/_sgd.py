"""Online SGD on fresh samples, measured as order parameters."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32, Int
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from ..errors import ProblemError
from ..inputs import THEORIES, InputMoments
from ..instance import Instance, check_instance
from ..resources import available_bytes, cores
from ..trajectory import check_times
from ._chains import Chains, train
from ._measure import Mapper, Measurement, TestProducts, combine_runs, measure
from ._memory import needed_bytes, refuse_what_does_not_fit
from ._samples import TRAINING, samples_in_block
from ._stream import Stream, stream_of

__all__ = ["moments_of", "predicted_bytes", "simulate", "simulate_together", "whole_steps"]

TEST = 1  # the last word of a stream's keys, as TRAINING
KEPT_INPUTS_LIMIT = 2 << 30  # bytes


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
    data: tuple[ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
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
    data: tuple[ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
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
    if not instances:
        raise ProblemError("instances: is empty; give at least one")
    for instance in instances:
        check_instance(instance)
    if data is not None and runs != 1:
        raise ProblemError(f"runs: {runs} runs on given data would all be the same run; use runs=1")
    for name, value, least in (("runs", runs, 1), ("seed", seed, 0), ("test_samples", test_samples, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise ProblemError(f"{name}: {value!r} is not a whole number ≥ {least}; give one")
    threads = cores() if threads is None else threads
    if not isinstance(threads, int | np.integer) or threads < 1:
        raise ProblemError(f"threads: {threads!r} is not a positive whole number; give one, or None for all cores")
    engine = _engine(engine)
    measured_as = _measured_as(overlaps, len(instances))
    times = check_times(times)
    output_steps = whole_steps(times, instances[0].input_dim)
    kinds = {
        (
            i.student.shape,
            i.teacher_output.shape,
            i.nonlinearity,
            i.centre,
            i.training.batch_size,
            i.switch_times.tobytes(),
        )
        for i in instances
    }
    if len(kinds) > 1:
        raise ProblemError(
            "instances: differ in K, M, nonlinearity, centre, batch_size or switch_times; simulate those apart"
        )
    samples = int(output_steps[-1]) * instances[0].training.batch_size
    if keep_inputs:
        _refuse_large(runs, samples, instances[0])
    given = GivenSamples.read(data, instances, samples)
    drawn = stream_of(instances)
    needed = needed_bytes(
        drawn,
        output_times=len(times),
        student_units=len(instances[0].student),
        input_dim=instances[0].input_dim,
        test_samples=test_samples,
        threads=threads,
        runs_at_once=runs if engine == "jax" else 1,
    )
    if keep_weights:
        needed += 4 * runs * len(instances) * len(times) * instances[0].student.size
    refuse_what_does_not_fit(needed, available_bytes())
    moments = moments_of(instances, measured_as)
    input_means = _input_means(instances, measured_as)

    measured: list[list[Measurement]] = [[] for _ in instances]
    kept: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in instances]
    weights: list[list[Float32[np.ndarray, "time K N"]]] = [[] for _ in instances]
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        stream = given.stream(instances, drawn)
        streams = [stream.with_keys(seed, run, TRAINING) for run in range(runs)]
        for run, chains in enumerate(
            _trained(instances, output_steps, streams, given.labels, threads, engine, progress)
        ):
            tests = TestProducts(drawn.with_keys(seed, run, TEST), test_samples, pool.map)

            def measured_chain(index: int, mapper: Mapper, chains: Chains = chains, tests: TestProducts = tests):
                test_set = tests.test_set(chains, index, mapper) if test_samples else None
                return measure(
                    chains, index, instances[index], moments[index], input_means[index], test_set, times, mapper
                )

            # Each thread takes chains, or where there are too few, output times.
            if len(instances) >= threads:
                done = pool.map(lambda index: measured_chain(index, map), range(len(instances)))
            else:
                done = (measured_chain(index, pool.map) for index in range(len(instances)))
            for some, measurement in zip(measured, done, strict=True):
                some.append(measurement)
            for index in range(len(instances) if keep_inputs else 0):
                kept[index].append(_kept_inputs(chains, index, streams[run], given))
            for index in range(len(instances) if keep_weights else 0):
                weights[index].append(chains.kept_student[index])
    provenance = {
        "kind": "simulation",
        "exactness": "Monte Carlo: SGD in single precision, the generalisation error on test_samples, with its error",
        "seed": int(seed),
        "engine": engine,
        "test_samples": int(test_samples),
        "data": "drawn" if data is None else "given",
    }
    attrs = [
        instance.provenance(**provenance, **({} if data is not None else _reuse(instance, samples)))
        for instance in instances
    ]
    trajectories = [
        combine_runs(some, times, names, some_attrs)
        for some, names, some_attrs in zip(measured, measured_as, attrs, strict=True)
    ]
    if keep_inputs:
        dims = {"C": ("run", "step", "latent"), "X": ("run", "step", "input"), "y": ("run", "step")}
        for place, samples in enumerate(kept):
            stacked = {
                name: (dims[name], np.stack(arrays))
                for name, arrays in zip(dims, zip(*samples, strict=True), strict=True)
            }
            trajectories[place] = trajectories[place].assign(stacked)
    for place, some in enumerate(weights if keep_weights else ()):
        reached = trajectories[place].sizes["time"]
        W = np.stack([student[:reached] for student in some])
        trajectories[place] = trajectories[place].assign(W=(("run", "time", "student", "input"), W))
    return trajectories


def _reuse(instance: Instance, samples: int) -> dict[str, float]:
    """What a trajectory says of samples that were not all fresh ones."""
    distinct = instance.latent.distinct_samples
    return {} if distinct is None else {"distinct_samples": distinct, "epochs": samples / distinct}


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
        student_units=len(instances[0].student),
        input_dim=instances[0].input_dim,
        test_samples=test_samples,
        threads=cores(),
        runs_at_once=runs if _engine("auto") == "jax" else 1,
    )


def _engine(name: str) -> str:
    """The engine to use; ``auto`` imports JAX only where a plugin for an accelerator is installed."""
    if name not in ("auto", "numba", "jax"):
        raise ProblemError(f"engine: {name!r} is not known; use 'auto', 'numba' or 'jax'")
    if name != "auto":
        return name
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu")
    if not any(find_spec(plugin) for plugin in plugins):
        return "numba"
    import jax

    return "numba" if jax.default_backend() == "cpu" else "jax"


def _trained(
    instances: Sequence[Instance],
    output_steps: Int[np.ndarray, "time"],
    streams: Sequence[Stream],
    labels: Float[np.ndarray, "step"],
    threads: int,
    engine: str,
    progress: Callable[[float], None] | None,
) -> Iterator[Chains]:
    """The trained chains of each run: one run after the other on the CPU, all at once by JAX."""

    def report(fraction: float) -> None:
        if progress is not None:
            progress(fraction)

    if engine == "jax":
        from ._blocks import train_together

        ensemble = [Chains.start(instances, output_steps, stream) for stream in streams]
        train_together(ensemble, streams, labels, report)
        yield from ensemble
        return
    for run, stream in enumerate(streams):
        chains = Chains.start(instances, output_steps, stream)
        train(chains, stream, labels, threads, lambda f, run=run: report((run + f) / len(streams)))
        yield chains


def _measured_as(overlaps: object, count: int) -> list[str | tuple[str, ...]]:
    """The theory or theories of each instance, checked."""
    own = isinstance(overlaps, list) and len(overlaps) == count and not any(isinstance(x, str) for x in overlaps)
    each = overlaps if own and isinstance(overlaps, list) else [overlaps] * count
    checked = []
    for names in each:
        several = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
        if not several or len(set(several)) < len(several) or not set(several) <= set(THEORIES):
            raise ProblemError(
                f"overlaps: {overlaps!r} will not do; use {' or '.join(map(repr, THEORIES))}, or several in a tuple"
            )
        checked.append(names if isinstance(names, str) else several)
    return checked


def moments_of(instances: Sequence[Instance], measured_as: Sequence[str | tuple[str, ...]]) -> list[list[InputMoments]]:
    """What Q and R of each instance are measured with; instances that share features and teacher share them."""
    known: dict[tuple, InputMoments] = {}

    def shared(instance: Instance, theory: str) -> InputMoments:
        law = None if theory == "conventional" else id(instance.latent)
        key = (theory, id(instance.features), id(instance.teacher), law)
        if key not in known:
            known[key] = instance.moments(theory)
        return known[key]

    return [
        [shared(instance, theory) for theory in ([names] if isinstance(names, str) else names)]
        for instance, names in zip(instances, measured_as, strict=True)
    ]


def _input_means(
    instances: Sequence[Instance], measured_as: Sequence[str | tuple[str, ...]]
) -> Sequence[Float[np.ndarray, "c N"] | None]:
    """The means a of the inputs in each cluster, where mean fields are asked for; instances of one law share them."""
    known: dict[tuple, Float[np.ndarray, "c N"]] = {}

    def means(instance: Instance) -> Float[np.ndarray, "c N"]:
        key = (id(instance.features), id(instance.teacher), id(instance.latent))
        if key not in known:
            known[key] = instance.mixture_moments().input_mean
        return known[key]

    return [
        means(instance) if names == "mixture" or (not isinstance(names, str) and "mixture" in names) else None
        for instance, names in zip(instances, measured_as, strict=True)
    ]


@dataclass(frozen=True)
class GivenSamples:
    """Samples to take in order instead of drawing: latent vectors, or inputs with their labels."""

    latent: Float[np.ndarray, "sample D"] | None
    inputs: Float[np.ndarray, "sample N"] | None
    labels: Float[np.ndarray, "sample"]

    @classmethod
    def read(cls, data: Sequence[ArrayLike] | None, instances: Sequence[Instance], samples: int) -> "GivenSamples":
        """Check ``data`` of :func:`simulate` against the instances and the number of samples."""
        instance = instances[0]
        if data is None:
            return cls(None, None, np.empty(0))
        if not isinstance(data, tuple) or len(data) not in (1, 3):
            raise ProblemError("data: is not (C,) or (C, X, y); give a tuple of one or three arrays")
        if len(data) == 3 and (len(instance.switch_times) or any(i.training.label_noise for i in instances)):
            raise ProblemError(
                "data: holds labels y, to which no noise is added and which no other task replaces; give (C,), or "
                "label_noise=0 without switch_times"
            )
        shapes = {"C": (samples, instance.latent_dim), "X": (samples, instance.input_dim), "y": (samples,)}
        arrays = []
        for (name, shape), value in zip(shapes.items(), data, strict=False):
            try:
                array = np.asarray(value).astype(np.float64 if name == "y" else np.float32, casting="same_kind")
            except (TypeError, ValueError):
                raise ProblemError(f"data: {name} is not an array of real numbers; give one of shape {shape}") from None
            if array.ndim != len(shape) or array.shape[1:] != shape[1:] or len(array) < samples:
                raise ProblemError(
                    f"data: {name} has shape {array.shape} where the last output time needs at least {shape}; "
                    "give more samples or earlier times"
                )
            if not np.isfinite(array).all():
                raise ProblemError(f"data: {name} holds NaN or infinite entries; remove those samples")
            arrays.append(array)
        if len(arrays) == 1:
            return cls(arrays[0], None, np.empty(0))
        return cls(arrays[0], arrays[1], arrays[2])

    def stream(self, instances: Sequence[Instance], drawn: Stream) -> Stream:
        """The stream that hands them on, or ``drawn`` where nothing is given."""
        if self.inputs is not None:
            return Stream.of_inputs(self.inputs, len(instances))
        return drawn if self.latent is None else stream_of(instances, self.latent)


def _kept_inputs(
    chains: Chains, index: int, stream: Stream, given: GivenSamples
) -> tuple[Float32[np.ndarray, "sample D"], Float32[np.ndarray, "sample N"], Float[np.ndarray, "sample"]]:
    """Samples of one chain, made once more: C, X and y with its noise."""
    samples = chains.samples
    if given.inputs is not None:
        assert given.latent is not None
        return given.latent[:samples], given.inputs[:samples], given.labels[:samples]
    products = stream.empty_products()
    starts = range(0, samples, Stream.BLOCK)
    blocks = [
        samples_in_block(chains, index, stream, start, min(Stream.BLOCK, samples - start), products) for start in starts
    ]
    latent, inputs, labels = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return latent, inputs, labels


def whole_steps(times: Float[np.ndarray, "time"], input_dim: int) -> Int[np.ndarray, "time"]:
    """The steps of output times, or a ProblemError."""
    steps = np.rint(times * input_dim).astype(np.int64)
    off = np.abs(times * input_dim - steps)
    if off.max() > 1e-6 or (np.diff(steps) <= 0).any() or steps[-1] < 1:
        worst = times[int(np.argmax(off))]
        raise ProblemError(
            f"times: {worst:.6g} is not a whole number of SGD steps for input_dim {input_dim}, or no step is taken; "
            "use log_times(...) or np.rint(times * N) / N"
        )
    return steps


def _refuse_large(runs: int, samples: int, instance: Instance) -> None:
    wanted = runs * samples * (4 * (instance.input_dim + instance.latent_dim) + 8)
    if wanted > KEPT_INPUTS_LIMIT:
        raise ProblemError(
            f"keep_inputs: {wanted / 2**30:.1f} GiB of samples would be kept, the limit is "
            f"{KEPT_INPUTS_LIMIT >> 30} GiB; use fewer runs or earlier times"
        )
