"""Theory for mixtures: an ensemble of effective processes, from an instance to a trajectory."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from ...errors import DivergenceError, DivergenceWarning, ProblemError
from ...inputs import MixtureMoments
from ...random import key_of
from ...resources import cores, one_thread
from ...rules import FIRST_TABLE, Activation, Tables
from ...training import task_units
from ...trajectory import check_times, make_attrs, make_trajectory
from .._exactness import exactness_of_solution
from .._integrals import integrals_for
from .._spectrum import STEPS, gauss_density, gauss_vectors
from ._chain import Clusters
from ._error import task_errors
from ._modes import frozen_units, modes
from ._spectral import Grid, Kept, Nodes, Rates, run_chain
from ._stability import stability_edge
from ._weights import Covariances, run_group

if TYPE_CHECKING:
    from ...instance import Instance

__all__ = ["CHAINS", "LARGEST_STEP", "solve_mixture"]

CHAINS = 32
LARGEST_STEP = 0.2
"""Of integration, in units of t; see :func:`_time_grid`."""

LOG_POINTS = 14
GROUP = 8
"""Chains that share their matrix products; always the same ones, so that bits do not depend on the threads."""

FIELDS, CHOICES, WEIGHTS, POINTS = range(4)  # the last word of a key


def solve_mixture(
    instance: "Instance",
    times: ArrayLike,
    *,
    chains: int = CHAINS,
    seed: int = 0,
    largest_step: float = LARGEST_STEP,
    finite_size: bool = True,
    nodes: int | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Trajectories that theory predicts for inputs in Gaussian clusters, standardised or not (docs/mixture.md).

    The means of the inputs make mean fields M_k^i = W_k·a^i/√N, which move as fast as SGD steps: a Markov chain, with a
    step for a step of SGD. It drives the order parameters, which are those of the theory of Gaussian inputs with the
    covariances within the clusters. Every member of the ensemble is a chain with its own order parameters.

    Parameters
    ----------
    instance
        With a latent that has Gaussian components: :class:`sgdlimit.Gaussian`, :class:`sgdlimit.MixtureLaw` of up to
        64 clusters or with ``block_size=1``, :class:`sgdlimit.ClusterMixture`.
    times
        Output times t = step/N, shape (time,), increasing, from 0 on; rounded to whole steps of SGD.
    chains
        Members of the ensemble. Means over it have standard errors that fall like its square root.
    seed
        Of the chains; the same seed gives the same bits, for any number of threads.
    largest_step
        The largest step of integration, in units of t, after shorter ones from 0.002 on. The error is of second order.
    finite_size
        Whether the part of the weights along the means of the inputs, which makes M, counts in Q and R. It is of order
        1/N.
    nodes
        The most nodes of the spectrum, where all clusters share one; 14 (K + M + c + 1) by default.
    threads
        All cores by default.

    Returns
    -------
    xarray.Dataset
        A trajectory with a leading ``run`` dimension, of the chains. Q and R are means over the clusters; beside them
        ``mean_field`` M (run, time, student, cluster), ``frozen`` (run, student), units that have stopped to learn, and
        ``mode`` (run,), different for chains that have settled apart from each other; ``attrs["modes"]`` and
        ``attrs["frozen_units"]`` count them. See :func:`over_ensemble`. The generalisation error is that of a chain at
        the output time. Where the first chain diverges all are cut, ``attrs["diverged_at"]`` says when, and a
        DivergenceWarning names the learning rate at which the mean fields get unstable.

    Raises
    ------
    ProblemError
        If the law has no components or too many, or a setting cannot be used.
    DivergenceError
        If a chain diverges before the first output time.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> latent = sl.GaussianMixture(components=2, spread=9.0, block_size=50, standardize=True)
    >>> problem = sl.Problem(input_dim=100, latent_dim=50, student_units=2, teacher_units=2, activation="erf",
    ...                      learning_rate=0.2, latent=latent)
    >>> solve_mixture(problem.draw(seed=0), [0.1, 1.0], chains=4).mean_field.shape
    (4, 2, 2, 2)
    """
    times = check_times(times)
    for name, value, least in (("chains", chains, 1), ("seed", seed, 0), ("threads", threads or 1, 1)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise ProblemError(f"{name}: {value!r} is not a whole number ≥ {least}; give one")
    if not (np.ndim(largest_step) == 0 and np.isreal(largest_step) and 0 < largest_step <= 1):
        raise ProblemError(f"largest_step: {largest_step!r} is not a step of integration above 0, up to 1; try 0.2")
    moments = instance.mixture_moments()
    start = _Start.of(instance, moments, finite_size=finite_size)
    grid = _time_grid(instance, times, float(largest_step))
    clusters = _clusters(instance, moments, seed)
    process = _Process(instance, moments, start, clusters, _rates(instance), grid, seed)
    K, M = len(instance.student), len(instance.teacher)
    kept = Kept.empty(chains, len(times), len(moments.kinds), K, M, len(moments.weights))
    if round(times[0] * instance.input_dim) == 0:
        kept.S[:, 0], kept.v[:, 0], kept.M[:, 0] = start.field_covariance, instance.student_output, start.mean_field
    run = _spectral if len(moments.kinds) == 1 else _by_weights
    reached = run(process, kept, nodes, threads or cores())

    done = np.zeros(len(times), dtype=bool)
    done[: round(times[0] * instance.input_dim) == 0] = True
    outputs = grid.output[: int(reached.min())]
    done[outputs[outputs >= 0]] = True
    count = int(done.sum())
    attrs = instance.provenance(
        theory="mixture", kind="theory", seed=int(seed), chains=int(chains), largest_step=float(largest_step),
        finite_size=int(finite_size), **{package: version(package) for package in ("sgdlimit", "jax", "numba")},
    )  # fmt: skip
    if count < len(times):
        _say_diverged(instance, moments, times, count, attrs)
    return _trajectory(instance, moments, times[:count], kept.until(count), attrs)


@dataclass(frozen=True)
class _Start:
    """Where all chains begin."""

    weights: Float[np.ndarray, "K N"]
    """W, less its part along the means of the inputs if that is not to count."""
    mean_field: Float[np.ndarray, "K c"]
    field_covariance: Float[np.ndarray, "kind n n"]
    pushed: bool

    @classmethod
    def of(cls, instance: "Instance", moments: MixtureMoments, *, finite_size: bool) -> "_Start":
        W, a = instance.student, moments.input_mean
        mean_field = W @ a.T / np.sqrt(instance.input_dim)
        if not finite_size:
            W = W - np.linalg.lstsq(a.T, W.T, rcond=1e-10)[0].T @ a
        S = []
        for some in moments.kinds:
            Q, R = some.overlaps(W)
            S.append(np.block([[Q, R], [R.T, some.teacher_overlap]]))
        return cls(W, mean_field, np.stack(S), bool(finite_size))


class _Process(NamedTuple):
    """What all chains share, whichever way their slow variables are followed."""

    instance: "Instance"
    moments: MixtureMoments
    start: _Start
    clusters: Clusters
    rates: Rates
    grid: Grid
    seed: int


def _time_grid(instance: "Instance", times: Float[np.ndarray, "time"], largest_step: float) -> Grid:
    """Steps of min(largest, 0.02 t + 0.002), in whole steps of SGD, which end at outputs and where tasks change."""
    N = instance.input_dim
    outputs = np.rint(times * N).astype(np.int64)
    if (np.diff(outputs) == 0).any():
        raise ProblemError(
            f"times: {len(np.unique(outputs))} of {len(times)} are different steps of SGD for N={N}; use log_times"
        )
    switches = np.rint(instance.switch_times * N).astype(np.int64)
    firsts, counts, step = [], [], 0
    ends = np.union1d(outputs, switches[switches < outputs[-1]])
    for end in ends[ends > 0]:
        while step < end:
            count = max(1, round(N * min(largest_step, 0.02 * step / N + 0.002)))
            firsts.append(step)
            counts.append(min(count, int(end) - step))
            step += counts[-1]
    first, count = np.array(firsts, np.int64), np.array(counts, np.int64)
    at = np.full(outputs[-1] + 1, -1)
    at[outputs] = np.arange(len(outputs))
    return Grid(
        first,
        count,
        np.asarray(instance.training.factor((first + count / 2) / N), dtype=np.float64),
        np.searchsorted(switches, first, side="right"),
        at[first + count],
    )


def _clusters(instance: "Instance", moments: MixtureMoments, seed: int) -> Clusters:
    student = instance.activation
    teacher = student if instance.teacher_activation is None else instance.teacher_activation
    functions = [g for g in dict.fromkeys((student, teacher)) if g.code is None]

    def code(g: Activation) -> int:
        return g.code if g.code is not None else FIRST_TABLE + functions.index(g)

    training = instance.training
    return Clusters(
        weights=moments.weights,
        thresholds=np.minimum(np.cumsum(moments.weights) * 2.0**32, 2.0**32 - 1).astype(np.uint32),
        kind=moments.kind,
        mean_overlap=moments.mean_overlap,
        teacher_mean=moments.teacher_mean,
        activation=code(student),
        teacher_activation=code(teacher),
        tables=Tables.of([g.traced.table for g in functions]),
        teacher_jumps=teacher.code is None and bool(teacher.traced.kinks.jumps.any()),
        points=_points(len(instance.student) + len(instance.teacher), seed),
        learning_rate=instance.learning_rate,
        label_noise=float(training.label_noise),
        weight_decay=training.weight_decay / instance.input_dim,
        batch_size=training.batch_size,
    )


def _points(dim: int, seed: int) -> Float[np.ndarray, "dim point"]:
    """Normals: scrambled Sobol points."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    uniform = qmc.Sobol(dim, rng=np.random.default_rng([seed, POINTS])).random_base2(LOG_POINTS)
    return np.ascontiguousarray(ndtri(np.clip(uniform, 2.0**-64, 1 - 2.0**-53)).T)


def _rates(instance: "Instance") -> Rates:
    training, eta = instance.training, instance.learning_rate
    return Rates(
        eta,
        float(training.output_rate(eta)),
        float(training.output_scale(len(instance.student))),
        float(training.weight_decay),
        float(training.batch_size),
    )


def _teacher_weights(instance: "Instance") -> Float[np.ndarray, "task M"]:
    """ṽ of every task, normalised."""
    output = np.atleast_2d(instance.teacher_output)
    return instance.training.output_scale(task_units(instance.teacher_output)) * output


def _keys(seed: int, chains: int) -> Int[np.ndarray, "chain 4"]:
    keys = [[*key_of(seed, chain, FIELDS), *key_of(seed, chain, CHOICES)] for chain in range(chains)]
    return np.array(keys, np.uint32)


def _places(chains: int) -> Int[np.ndarray, "chain"]:
    """Where each chain begins in the sequence of points: as far apart as can be."""
    return (np.arange(chains) * 2**LOG_POINTS // chains) // 64 * 64


def _spectral(process: "_Process", kept: Kept, nodes: int | None, threads: int) -> Int[np.ndarray, "chain"]:
    """All chains where the clusters share a covariance, in its spectrum."""
    instance, moments, start, clusters, rates, grid, seed = process
    (only,) = moments.kinds
    K, M = len(instance.student), len(instance.teacher)
    vectors = np.concatenate([start.weights, only.cross.T, moments.input_mean])
    steps = STEPS if nodes is None else _steps(nodes, len(vectors))
    omega, components = gauss_vectors(only, vectors, steps)
    noise_omega, noise_weight = gauss_density(only, steps)
    phi, alpha = components[K : K + M].copy(), components[K + M :].copy()
    some = Nodes(np.maximum(omega, 0), phi, alpha, noise_omega, noise_weight, only.teacher_overlap, start.pushed)
    chains = len(kept.v)
    keys, places, v_teacher = _keys(seed, chains), _places(chains), _teacher_weights(instance)

    def run(chain: int) -> int:
        return run_chain(
            clusters, some, rates, instance.input_dim, grid, keys[chain], places[chain], components[:K].copy(),
            start.mean_field.copy(), instance.student_output.copy(), v_teacher, kept.of(chain),
        )  # fmt: skip

    with ThreadPoolExecutor(threads) as pool:
        return np.array(list(pool.map(run, range(chains))))


def _by_weights(process: "_Process", kept: Kept, nodes: int | None, threads: int) -> Int[np.ndarray, "chain"]:
    """All chains where covariances differ between clusters, with the weights themselves."""
    if nodes is not None:
        raise ProblemError("nodes: clusters of different covariances have no spectrum; leave it out")
    instance, moments, start, clusters, rates, grid, seed = process
    covariances = Covariances.of(moments, start.pushed)
    chains = len(kept.v)
    keys, places, v_teacher = _keys(seed, chains), _places(chains), _teacher_weights(instance)
    noise_keys = np.array([key_of(seed, chain, WEIGHTS) for chain in range(chains)], np.uint32)

    def run(first: int) -> int:
        some = slice(first, min(first + GROUP, chains))

        def copies(array: np.ndarray) -> np.ndarray:
            return np.repeat(array[None], some.stop - some.start, axis=0)

        return run_group(
            clusters, covariances, rates, instance.input_dim, grid, keys[some], noise_keys[some], places[some],
            copies(start.weights), copies(start.mean_field), copies(instance.student_output), v_teacher, kept.of(some),
        )  # fmt: skip

    with one_thread(), ThreadPoolExecutor(threads) as pool:
        return np.array(list(pool.map(run, range(0, chains, GROUP))))


def _steps(nodes: int, vectors: int) -> int:
    least = 2 * (vectors + 1)
    if not isinstance(nodes, int | np.integer) or nodes < least:
        raise ProblemError(
            f"nodes: {nodes!r} is not a whole number of at least 2(K + M + c + 1) = {least}; "
            f"try {STEPS * (vectors + 1)}"
        )
    return int(nodes) // (vectors + 1)


def _trajectory(
    instance: "Instance",
    moments: MixtureMoments,
    times: Float[np.ndarray, "time"],
    kept: Kept,
    attrs: dict[str, Any],
) -> xr.Dataset:
    K = len(instance.student)
    integrals = integrals_for(instance.activation, instance.teacher_activation)
    mean = np.tensordot(kept.S, moments.kind_weights, (2, 0))  # over the kinds
    errors = task_errors(
        moments, kept, instance.training.output_scale(K) * kept.v, _teacher_weights(instance), integrals
    )
    task = np.searchsorted(instance.switch_times, times, side="right")
    chains = len(kept.v)
    variables = {
        "Q": mean[..., :K, :K],
        "R": mean[..., :K, K:],
        "v": kept.v,
        "generalization_error": errors[:, np.arange(len(times)), task],
        "mean_field": kept.M,
    }
    if errors.shape[2] > 1:
        variables["task_error"] = errors
    attrs |= {"exactness": str(exactness_of_solution(instance, "mixture", integrals)), "integrals": integrals.method}
    result = make_trajectory(times, attrs=attrs, leading={"run": np.arange(chains)}, **variables)
    apart, frozen = modes(result), frozen_units(kept.activity)
    counts = {"modes": int(apart.max()) + 1, "frozen_units": int(frozen.sum())}
    return result.assign(mode=("run", apart), frozen=(("run", "student"), frozen)).assign_attrs(make_attrs(counts))


def _say_diverged(
    instance: "Instance",
    moments: MixtureMoments,
    times: Float[np.ndarray, "time"],
    count: int,
    attrs: dict[str, Any],
) -> None:
    edge = stability_edge(instance, moments)
    message = (
        f"learning_rate: with {instance.learning_rate:g} the mean fields diverge before t={times[count]:g}; at the "
        f"initial weights they get unstable above about {edge:.2g}, use a smaller one"
    )
    if count == 0:
        raise DivergenceError(message)
    attrs["diverged_at"] = float(times[count])
    warnings.warn(message, DivergenceWarning, stacklevel=4)
