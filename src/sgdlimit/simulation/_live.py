"""SGD to look at while it runs: trained a block of steps at a time, measured at every output time it reaches."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..instance import Instance, check_instance
from ..trajectory import check_times, make_trajectory
from ._chains import Chains, train_block
from ._measure import Measurement, TestProducts, measure
from ._sgd import TEST, TRAINING, moments_of, whole_steps
from ._stream import stream_of

__all__ = ["simulate_live"]


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
        As for :func:`~sgdlimit.simulation.simulate`; the same seed trains to the same weights, bit for bit where
        BLAS keeps to one thread, :func:`sgdlimit.resources.one_thread`.
    overlaps
        ``"conventional"``, ``"moment-matched"`` or both, a leading dimension of Q and R.

    Yields
    ------
    tuple
        After every block of steps, the part of the work that is done, and, where output times were reached, for each
        instance the trajectory so far: dimensions (overlaps, run, time, ...) of the runs begun, NaN where they have
        not got to, or diverged. ``attrs["diverged_at"]`` is then the first time that happened.

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
    (0.25, 8)
    """
    for instance in instances:
        check_instance(instance)
    times = check_times(times)
    output_steps = whole_steps(times, instances[0].input_dim)
    if set(overlaps) - {"conventional", "moment-matched"} or not overlaps:
        raise ProblemError(f"overlaps: {overlaps!r} will not do; use 'conventional', 'moment-matched' or both")
    moments = moments_of(instances, [tuple(overlaps)] * len(instances))
    drawn = stream_of(instances)
    measured: list[list[list[Measurement]]] = [[] for _ in instances]
    for run in range(runs):
        stream = drawn.with_keys(seed, run, TRAINING)
        chains = Chains.start(instances, output_steps, stream)
        tests = TestProducts(drawn.with_keys(seed, run, TEST), test_samples, map)
        test_sets = [tests.test_set(chains, index, map) for index in range(len(instances))]
        products = stream.empty_products()
        for runs_so_far in measured:
            runs_so_far.append([])
        reached = 0
        for block in range(chains.blocks):
            stream.fill_products(block * stream.BLOCK, products)
            train_block(chains, stream, np.empty(0), block, products)
            trained = min((block + 1) * stream.BLOCK, chains.samples) // chains.batch_size
            until = int(np.searchsorted(output_steps, trained, side="right"))
            done = (run + (block + 1) / chains.blocks) / runs
            if until == reached:
                yield done, None
                continue
            for index, instance in enumerate(instances):
                if chains.finite_outputs(index, until) > reached:
                    measured[index][run].append(
                        measure(
                            chains, index, instance, moments[index], None, test_sets[index], times, map,
                            outputs=(reached, until),
                        )
                    )  # fmt: skip
            reached = until
            at = [_diverged_at(chains, index, until, times) for index in range(len(instances))]
            yield done, [_so_far(*each, times, overlaps) for each in zip(instances, measured, at, strict=True)]


def _diverged_at(chains: Chains, index: int, until: int, times: Float[np.ndarray, "time"]) -> float | None:
    reached = chains.finite_outputs(index, until)
    return None if reached == until else float(times[reached])


def _so_far(
    instance: Instance,
    runs: Sequence[Sequence[Measurement]],
    diverged_at: float | None,
    times: Float[np.ndarray, "time"],
    overlaps: Sequence[str],
) -> xr.Dataset:
    K, M = len(instance.student), len(instance.teacher)
    shapes = {"Q": (len(overlaps), K, K), "R": (len(overlaps), K, M), "v": (K,), "generalization_error": ()}
    variables = {}
    for name, shape in shapes.items():
        over_time = len(shape) > 2  # Q and R have the overlaps first
        lengths = (shape[0], len(times), *shape[1:]) if over_time else (len(times), *shape)
        array = np.full((len(runs), *lengths), np.nan)
        for values, run in zip(array, runs, strict=True):
            if run:
                so_far = np.concatenate([part.variables[name] for part in run], axis=1 if over_time else 0)
                values[(slice(None), slice(so_far.shape[1])) if over_time else slice(len(so_far))] = so_far
        variables[name] = array
    attrs = instance.provenance(kind="simulation", overlaps=list(overlaps), runs=len(runs))
    if diverged_at is not None:
        attrs["diverged_at"] = diverged_at
    return make_trajectory(
        times, leading={"run": np.arange(len(runs)), "overlaps": list(overlaps)}, attrs=attrs, **variables
    )
