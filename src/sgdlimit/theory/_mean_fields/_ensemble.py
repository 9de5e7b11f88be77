"""Theory for mixtures: an ensemble of effective processes, from an instance to a trajectory."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int, UInt32
from numpy import ndarray
from numpy.typing import ArrayLike

from ...errors import DivergenceError, DivergenceWarning, ProblemError, shown
from ...inputs import MixtureMoments
from ...instance import Instance
from ...random import key_of
from ...resources import cores, one_thread, refuse_beyond_memory
from ...rules import Tables, codes_of
from ...settings import check_whole
from ...signatures import checked
from ...training import Rates
from ...trajectory import check_times, make_trajectory
from .._averages import integrals_for, sobol_normals
from .._exactness import ENSEMBLE
from .._quadrature import gauss_density, gauss_vectors, lanczos_steps
from ._chain import Clusters
from ._observed import frozen_units, modes, task_errors
from ._spectral import Grid, Kept, Nodes, at, run_chain
from ._stability import stability_edge
from ._weights import run_group

CHAINS = 32
LARGEST_STEP = 0.2
"""Largest step of integration, in units of t; see :func:`_time_grid`."""

LOG_POINTS = 14
GROUP = 8
"""Chains that share their matrix products; always the same ones, so that bits do not depend on the threads."""

PURPOSES, POINTS = range(3), 3
"""The last word of a key: of the fields, the clusters and the weights of each chain, and of the points for all."""


@checked
def solve_mixture(
    instance: Instance,
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
        Seed of the chains; the same seed gives the same bits, for any number of threads.
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
    instance.check_basic("mixture theory")
    times = check_times(times)
    threads = threads or cores()
    check_whole(1, chains=chains, threads=threads)
    check_whole(0, seed=seed)
    units = len(instance.student) + len(instance.teacher)
    refuse_beyond_memory("chains", chains, 8 * chains * len(times) * len(instance.student) * units)
    chains, seed = int(chains), int(seed)  # NumPy's have no place in attributes
    if not (np.ndim(largest_step) == 0 and 0 < largest_step <= 1):
        raise ProblemError(f"largest_step: must be above 0, up to 1 (got {shown(largest_step)}). Try 0.2.")
    grid = _time_grid(instance, times, float(largest_step))
    process = _Process.of(instance, grid, chains, seed, finite_size=bool(finite_size))
    run, starts = (_spectral if len(process.moments.kinds) == 1 else _by_weights)(process, nodes)
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        steps = min(pool.map(run, starts))

    attrs = instance.provenance(
        theory="mixture", kind="theory", seed=seed, chains=chains, largest_step=float(largest_step),
        finite_size=int(finite_size), **{package: version(package) for package in ("sgdlimit", "jax", "numba")},
    )  # fmt: skip
    missing = np.count_nonzero(grid.output[steps:] >= 0)
    if missing:
        attrs["diverged_at"] = float(times[-missing])
        message = (
            f"learning_rate: with {instance.learning_rate:g} the mean fields diverge before t={times[-missing]:g}. At "
            f"the initial weights they get unstable above about {stability_edge(instance, process.moments):.2g}. Use a "
            "smaller one."
        )
        if missing == len(times):
            raise DivergenceError(message)
        warnings.warn(message, DivergenceWarning, stacklevel=3)
    return _trajectory(process, times[: len(times) - missing], attrs)


class _Process(NamedTuple):
    """What all chains of an ensemble share, and how they begin, whichever way their slow variables are followed."""

    instance: Instance
    moments: MixtureMoments
    clusters: Clusters
    grid: Grid
    W: Float[ndarray, "K N"]
    """Initial weights, without their part along the means of the inputs if that part does not count."""
    start: tuple[Float[ndarray, "kind n n"], Float[ndarray, "K"], Float[ndarray, "K c"]]
    """S, v and M at the beginning."""
    keys: UInt32[ndarray, "chain 6"]
    """Keys of the random numbers of every chain, two words for each purpose."""
    places: Int[ndarray, "chain"]
    """Where each chain begins in the sequence of points: as far apart as possible."""
    kept: Kept

    @classmethod
    def of(cls, instance: Instance, grid: Grid, chains: int, seed: int, *, finite_size: bool) -> "_Process":
        """Set an ensemble up."""
        moments, W, v = instance.mixture_moments(), instance.student, instance.student_output
        a, rates, N = moments.input_mean, instance.rates, instance.input_dim
        M = W @ a.T / np.sqrt(N)
        if not finite_size:
            W = W - np.linalg.lstsq(a.T, W.T, rcond=1e-10)[0].T @ a
        overlaps = [(*kind.overlaps(W), kind.teacher_overlap) for kind in moments.kinds]
        start = np.stack([np.block([[Q, R], [R.T, T]]) for Q, R, T in overlaps]), v, M
        keys = [[key_of(seed, chain, purpose) for purpose in PURPOSES] for chain in range(chains)]
        shape = chains, grid.output.max(initial=0) + 1
        kept = Kept(*(np.broadcast_to(part, (*shape, *part.shape)).copy() for part in (*start, np.nan * v)))
        teacher = instance.teacher_activation or instance.activation
        (student_code, teacher_code), functions = codes_of([instance.activation, teacher])
        clusters = Clusters(
            moments.weights,
            np.minimum(np.cumsum(moments.weights) * 2.0**32, 2.0**32 - 1).astype(np.uint32),
            moments.kind,
            moments.mean_overlap,
            moments.teacher_mean,
            student_code,
            teacher_code,
            Tables.of(functions),
            teacher.jumps,
            sobol_normals(len(W) + len(instance.teacher), LOG_POINTS, ((seed, POINTS),)),
            N,
            rates.teacher_scale * np.atleast_2d(instance.teacher_output),
            Rates(*map(float, rates[:6]), batch_size=rates.batch_size),
            rates.weight_decay / N,
            finite_size,
        )
        places = (np.arange(chains) * 2**LOG_POINTS // chains) // 64 * 64
        keys = np.array(keys, np.uint32).reshape(chains, -1)
        return cls(instance, moments, clusters, grid, W, start, keys, places, kept)


def _time_grid(instance: Instance, times: Float[ndarray, "time"], largest_step: float) -> Grid:
    """Steps of min(largest, 0.02 t + 0.002), in whole steps of SGD, which end at outputs and where tasks change."""
    N = instance.input_dim
    outputs, switches = (np.rint(t * N).astype(int) for t in (times, instance.switch_times))
    if (np.diff(outputs) == 0).any():
        raise ProblemError(
            f"times: {len(np.unique(outputs))} of {len(times)} are different steps of SGD for N={N}. Use log_times."
        )
    edges = [0]
    for end in np.union1d(outputs, switches[switches < outputs[-1]]).tolist():
        while edges[-1] < end:
            count = max(1, round(N * min(largest_step, 0.02 * edges[-1] / N + 0.002)))
            edges.append(min(edges[-1] + count, end))
    first, ends, count = np.array(edges[:-1], int), edges[1:], np.diff(edges)
    factor = instance.training.factor((first + count / 2) / N)
    output = np.where(np.isin(ends, outputs), np.searchsorted(outputs, ends), -1)
    return Grid(first, count, factor, np.searchsorted(switches, first, side="right"), output)


Run = tuple[Callable[[int], int], range]
"""Runs the chains from one on and returns the steps that they take; and where all parts of the ensemble begin."""


def _spectral(process: _Process, nodes: int | None) -> Run:
    """All chains where the clusters share a covariance, in its spectrum."""
    (only,), W = process.moments.kinds, process.W
    vectors = np.concatenate([W, only.cross.T, process.moments.input_mean])
    steps = lanczos_steps(nodes, len(vectors), "K + M + c")
    omega, components = gauss_vectors(only, vectors, steps)
    gamma, phi, alpha = np.split(components, [len(W), len(process.instance.teacher) + len(W)])
    on_nodes = Nodes(np.maximum(omega, 0), phi, alpha, *gauss_density(only, steps))

    def run(chain):
        own, S, v, M = (array.copy() for array in (gamma, *process.start))
        keys, place, kept = process.keys[chain], process.places[chain], at(process.kept, chain)
        return run_chain(process.clusters, on_nodes, process.grid, keys, place, own, S, v, M, kept)

    return run, range(len(process.places))


def _by_weights(process: _Process, nodes: int | None) -> Run:
    """All chains where covariances differ between clusters, with the weights themselves, in groups."""
    if nodes is not None:
        raise ProblemError("nodes: clusters of different covariances have no spectrum. Leave it out.")

    def run(first):
        group = slice(first, first + GROUP)
        keys, places, kept = process.keys[group], process.places[group], at(process.kept, group)
        W, v, M = (np.repeat(array[None], len(places), axis=0) for array in (process.W, *process.start[1:]))
        return run_group(process.clusters, process.moments, process.grid, keys, places, W, v, M, kept)

    return run, range(0, len(process.places), GROUP)


def _trajectory(process: _Process, times: Float[ndarray, "time"], attrs: dict[str, Any]) -> xr.Dataset:
    """What was kept of the chains, with their errors, modes and frozen units."""
    instance, moments, clusters = process.instance, process.moments, process.clusters
    K, kept = len(process.W), at(process.kept, np.s_[:, : len(times)])
    integrals = integrals_for(instance.activation, instance.teacher_activation)
    S = np.tensordot(kept.S, moments.kind_weights, (2, 0))  # averaged over the kinds
    errors = task_errors(moments, kept, clusters.rates.student_scale * kept.v, clusters.v_teacher, integrals)
    task = np.searchsorted(instance.switch_times, times, side="right")
    variables = {"Q": S[..., :K, :K], "R": S[..., :K, K:], "v": kept.v, "mean_field": kept.M}
    apart, frozen = modes(times, *variables.values()), frozen_units(kept.activity)
    variables["generalization_error"] = errors[:, np.arange(len(times)), task]
    if errors.shape[2] > 1:
        variables["task_error"] = errors
    attrs |= {"exactness": str(ENSEMBLE), "integrals": integrals.method}
    attrs |= {"modes": int(apart.max()) + 1, "frozen_units": int(frozen.sum())}
    result = make_trajectory(times, attrs=attrs, leading={"run": np.arange(len(kept.v))}, **variables)
    return result.assign(mode=("run", apart), frozen=(("run", "student"), frozen))
