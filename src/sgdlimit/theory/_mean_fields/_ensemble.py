"""Theory for mixtures: an ensemble of effective processes, from an instance to a trajectory."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import zip_longest
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.special import ndtri

from ...errors import DivergenceError, DivergenceWarning, ProblemError, shown
from ...inputs import MixtureMoments
from ...instance import Instance
from ...random import fill_normals, key_of
from ...resources import cores, one_thread, refuse_beyond_memory
from ...rules import Rule
from ...settings import check_whole
from ...signatures import checked
from ...training import OF_CLUSTERS, Rates
from ...trajectory import check_times, make_trajectory
from .._averages import integrals_for, sobol_normals
from .._compiled import call
from .._exactness import ENSEMBLE
from .._quadrature import gauss_density, gauss_vectors, lanczos_steps
from ._chain import Kept, Law, Member, Setting, Steps, advance, begin
from ._few import FAST, noise_of_means, solve_slow
from ._observed import frozen_units, metrics_of, modes, task_errors
from ._stability import stability_edge

CHAINS = 32
LARGEST_STEP = 0.2
"""Largest step of integration, in units of t; see :func:`_time_grid`."""

LOG_POINTS = 14
GROUP = 16
"""Chains in one call of the program, half as many where covariances differ; always the same ones, so that bits do not
depend on the threads, and as many, so that one program does for all ensembles."""

WINDOW, STEPS = 8192, 128
"""The most samples, and steps of integration, in one call."""

ROW = 256
"""Samples whose normals are a row of the generator."""

NOISE = 1 << 24
"""The most normals for the noise of the weights in one call."""

FOR_FIELDS, FOR_WEIGHTS, FOR_POINTS = 0, 2, 3
"""The last word of a key."""


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
    fast: bool | None = None,
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
    fast
        Whether the mean fields are followed step by step. With ``False``, for clusters of one covariance, they are part
        of the equations of motion, which is right where their means are of order 1 and one sample moves M by little.
        By default, η A_ii E[δ²] decides, for rules other than the squared loss; ``attrs["mean_fields"]`` says which.

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
    threads = threads or cores()
    check_whole(1, chains=chains, threads=threads)
    check_whole(0, seed=seed)
    units = len(instance.student) + len(instance.teacher)
    refuse_beyond_memory("chains", chains, 8 * chains * len(times) * len(instance.student) * units)
    chains, seed = int(chains), int(seed)  # NumPy's have no place in attributes
    if not (np.ndim(largest_step) == 0 and 0 < largest_step <= 1):
        raise ProblemError(f"largest_step: must be above 0, up to 1 (got {shown(largest_step)}). Try 0.2.")
    moments = instance.mixture_moments()
    rule, shared = rule_of(instance, moments), len(moments.kinds) == 1
    slow = fast is None and not instance.closed_form and shared and moments.blocks == 1
    noise = noise_of_means(instance, moments, rule) if slow else 0.0
    if fast is False and not shared:
        raise ProblemError("fast: must be true where clusters have different covariances. Leave it out.")
    if fast is False or 0 < noise < FAST:
        more = {"mean_fields": "slow: equations of motion", "mean_field_noise": noise}
        attrs = instance.provenance(theory="mixture", kind="theory", seed=seed, chains=1, **more)
        return solve_slow(instance, moments, rule, times, nodes=nodes, attrs=attrs)
    steps, task, output = _time_grid(instance, times, float(largest_step))
    process = _Process.of(
        instance, moments, rule, steps, task, output, seed, finite_size=bool(finite_size), nodes=nodes
    )
    size = GROUP if shared else GROUP // 2
    members = np.arange(-(-chains // size) * size).reshape(-1, size)  # the last may be too many
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(process.run, members))
    reached = min(steps for _, steps in parts)
    kept = jax.tree.map(lambda *x: np.concatenate(x)[:chains], *(part for part, _ in parts))

    attrs = instance.provenance(
        theory="mixture", kind="theory", mean_fields="fast: chains", seed=seed, chains=chains,
        largest_step=float(largest_step), finite_size=int(finite_size),
        **{package: version(package) for package in ("sgdlimit", "jax", "numba")},
    )  # fmt: skip
    missing = np.count_nonzero(output[reached:] >= 0)
    if missing:
        attrs["diverged_at"] = float(times[-missing])
        edge = (
            ""
            if instance.rule or moments.blocks > 1
            else (
                " At the initial weights they get unstable above about "
                f"{stability_edge(instance, process.moments):.2g}."
            )
        )
        message = (
            f"learning_rate: with {instance.learning_rate:g} the mean fields diverge before t={times[-missing]:g}."
            f"{edge} Use a smaller one."
        )
        if missing == len(times):
            raise DivergenceError(message)
        warnings.warn(message, DivergenceWarning, stacklevel=3)
    return _trajectory(process, kept, times[: len(times) - missing], attrs)


def rule_of(instance: Instance, moments: MixtureMoments | None = None) -> Rule:
    """The learning rule of an instance, if the theory has all that it and its training need.

    Raises
    ------
    ProblemError
        Naming what the theory lacks.
    """
    for name in sorted(instance.training.options() - OF_CLUSTERS):
        raise ProblemError(f"{name}: mixture theory does not have it. Leave it out, or use another theory.")
    rule = instance.as_rule(1.0 if moments is None else moments.mean_square)
    if rule.samples > 1:
        raise ProblemError(f"samples: must be 1 for mixture theory (got {rule.samples}). Use another theory, or SGD.")
    if instance.rule is not None and instance.rule.asks_for_overlaps:
        raise ProblemError("update: must not ask for Q, R or T in mixture theory. Use another theory, or SGD.")
    return rule


class _Process(NamedTuple):
    """What all chains of an ensemble share, and how they begin."""

    instance: Instance
    moments: MixtureMoments
    setting: Setting
    law: Law
    rates: Rates
    start: tuple[Any, ...]
    """Γ, q, head and M."""
    S: Float[ndarray, "kind n n"]
    """Covariance of the fields at the beginning, teachers first."""
    steps: Steps
    task: Int[ndarray, "step"]
    output: Int[ndarray, "step"]
    """Output time at the end of each step, or −1."""
    seed: int

    @classmethod
    def of(
        cls, instance: Instance, moments: MixtureMoments, rule: Rule, steps: Steps, task: Int[ndarray, "step"],
        output: Int[ndarray, "step"], seed: int, *, finite_size: bool, nodes: int | None,
        by_weights: bool | None = None,
    ) -> "_Process":  # fmt: skip
        """Set an ensemble up."""
        W, a, N = instance.student, moments.input_mean, instance.input_dim
        K, M = len(W), len(instance.teacher)
        mean_fields = W @ a.T / np.sqrt(N)
        if not finite_size:
            W = W - np.linalg.lstsq(a.T, W.T, rcond=1e-10)[0].T @ a
        drawn = len(moments.kinds) > 1 if by_weights is None else by_weights
        gamma, on_coordinates = (_as_they_are if drawn else _on_nodes)(moments, W, nodes)
        points = sobol_normals(K + M + rule.noise, LOG_POINTS, ((seed, FOR_POINTS),))
        of_a_block = moments.weights[: len(moments.weights) // moments.blocks]
        law = Law(
            moments.weights,
            ndtri(np.minimum(np.cumsum(of_a_block)[:-1], 1)).astype(np.float32),
            moments.kind.astype(np.int32),
            moments.mean_overlap.astype(np.float32),
            moments.teacher_mean.astype(np.float32),
            **on_coordinates,
            teacher_overlap=np.stack([kind.teacher_overlap for kind in moments.kinds]),
            points=points.astype(np.float32),
            designs=_designs(moments, of_a_block, seed),
            root_size=np.sqrt(N),
            pushed=float(finite_size),
        )
        rates = instance.rates._replace(schedule_times=None, schedule_factors=None, switch_times=None)
        setting = Setting(
            rule, rule.digest(K, M), instance.activation if instance.rule is None else None, rates.batch_size,
            int(steps.length.max(initial=1)), rates.momentum > 0, drawn, moments.blocks,
        )  # fmt: skip
        q = np.zeros((K, K, law.noise_nodes.shape[1]))
        each = ((*kind.overlaps(W), kind.teacher_overlap) for kind in moments.kinds)
        S = np.stack([np.block([[T, R.T], [R, Q]]) for Q, R, T in each])
        return cls(
            instance, moments, setting, law, rates, (gamma, q, rule.head, mean_fields), S, steps, task, output, seed
        )

    def run(self, chains: Int[ndarray, "chain"]) -> tuple[Kept, int]:
        """What is kept of some chains at the output times, and the steps before a number of one was not finite."""
        count, taken, outputs = len(chains), 0, self.output.max(initial=0) + 1
        start = jax.tree.map(lambda x: np.repeat(np.asarray(x, float)[None], count, axis=0), self.start)
        members = Member(*call(begin, *start, self.law))
        S = np.repeat(self.S[None], count, axis=0)
        now = Kept(S, members.head, members.M, np.full((count, len(self.instance.student)), np.nan))
        kept = jax.tree.map(lambda x: np.repeat(x[:, None], outputs, axis=1), now)
        # Random numbers are made while the program runs on those before.
        with ThreadPoolExecutor(1) as ahead:
            windows = self._windows(count)
            drawn = ahead.submit(self._drawn, chains, *windows[0]) if windows else None
            for window, after in zip_longest(windows, windows[1:]):
                assert drawn is not None
                numbers = drawn.result()
                drawn = after and ahead.submit(self._drawn, chains, *after)
                first, stop = window
                members, of_steps = call(
                    advance, members, *numbers, self._part(first, stop), np.int32(stop - first),
                    np.int32(self.task[first]), self.law,
                    self.setting.rule.given, self.rates, setting=self.setting,
                )  # fmt: skip
                ends = np.flatnonzero(self.output[first:stop] >= 0)
                for all_, part in zip(jax.tree.leaves(kept), jax.tree.leaves(of_steps), strict=True):
                    all_[:, self.output[first:stop][ends]] = part[:, ends]
                finite = [np.isfinite(x[:, : stop - first]).all(axis=(0, *range(2, x.ndim)))
                          for x in jax.tree.leaves(of_steps._replace(activity=np.zeros((1, STEPS))))]  # fmt: skip
                taken += int(np.argmin([*np.all(finite, axis=0), False]))
                if taken < stop:
                    break
        return kept, taken

    def _most(self, count: int) -> int:
        """The most steps of integration in one call, of so many chains."""
        x = self.law.diagonal.shape[1] + self.law.factor.shape[1]
        size = count * len(self.instance.student) * x * len(self.law.diagonal)
        return min(STEPS, max(1, NOISE // size)) if self.setting.drawn else STEPS

    def _windows(self, count: int) -> list[tuple[int, int]]:
        """Steps of integration that one call takes."""
        windows, first, total = [], 0, len(self.steps.length)
        ends = np.cumsum(self.steps.length)
        while first < total:
            begun = ends[first] - self.steps.length[first]
            stop = int(np.searchsorted(ends, begun + self._samples // self.setting.batch, side="right"))
            same_task = int(np.searchsorted(self.task, self.task[first], side="right"))
            stop = max(first + 1, min(stop, same_task, first + self._most(count)))
            windows.append((first, stop))
            first = stop
        return windows

    @property
    def _samples(self) -> int:
        """Samples of a window."""
        return max(WINDOW, self.setting.most * self.setting.batch)

    def _part(self, first: int, stop: int) -> Steps:
        """Some steps, filled up, with the places of their samples in a window."""
        part = self.steps._replace(first=(self.steps.first - self.steps.first[first]) * self.setting.batch)
        return Steps(*(np.pad(x[first:stop], (0, STEPS - (stop - first))) for x in part))

    def _drawn(self, chains: Int[ndarray, "chain"], first: int, stop: int) -> tuple[Any, Any]:
        """The random numbers of some steps: for samples, and for the noise of the weights."""
        K, x, r = len(self.instance.student), self.law.diagonal.shape[1], self.law.factor.shape[1]
        batch, dim, most = self.setting.batch, len(self.law.points) + self.setting.blocks, self.setting.most
        begin, last = (int(x) * batch for x in (self.steps.first[first], self.steps.first[stop - 1] + most))
        # A row of the generator is as long as it vectorises well.
        row, rows = begin // ROW, -(-last // ROW) - begin // ROW
        normals = np.zeros((len(chains), dim, self._samples + most * batch), np.float32)
        noise = None
        if self.setting.drawn:
            noise = np.zeros((len(chains), self._most(len(chains)), len(self.law.diagonal), K, x + r), np.float32)
        drawn = np.empty((rows, ROW * dim), np.float32)
        for i, chain in enumerate(chains.tolist()):
            fill_normals(*key_of(self.seed, chain, FOR_FIELDS), row, drawn)
            some = drawn.reshape(rows, dim, ROW).swapaxes(0, 1).reshape(dim, -1)[:, begin - row * ROW :]
            normals[i, :, : some.shape[1]] = some[:, : normals.shape[2]]
            if noise is not None:
                of_weights = noise[i, : stop - first].reshape(-1, x + r)
                fill_normals(*key_of(self.seed, chain, FOR_WEIGHTS), first * len(self.law.diagonal) * K, of_weights)
        return normals, noise


def _time_grid(
    instance: Instance, times: Float[ndarray, "time"], largest_step: float
) -> tuple[Steps, Int[ndarray, "step"], Int[ndarray, "step"]]:
    """Steps of min(largest, 0.05 t + 0.01), in whole steps of SGD, which end at outputs and where tasks change."""
    N = instance.input_dim
    outputs, switches = (np.rint(t * N).astype(int) for t in (times, instance.switch_times))
    if (np.diff(outputs) == 0).any():
        raise ProblemError(
            f"times: {len(np.unique(outputs))} of {len(times)} are different steps of SGD for N={N}. Use log_times."
        )
    edges = [0]
    for end in np.union1d(outputs, switches[switches < outputs[-1]]).tolist():
        while edges[-1] < end:
            count = max(1, round(N * min(largest_step, 0.05 * edges[-1] / N + 0.01)))
            edges.append(min(edges[-1] + count, end))
    first, ends, count = np.array(edges[:-1], int), edges[1:], np.diff(edges)
    middle = (first + count / 2) / N
    before = np.append(np.inf, count[:-1])
    task = np.searchsorted(switches, first, side="right")
    steps = Steps(first, count, count / 2 / before, instance.training.factor(middle), middle)
    output = np.where(np.isin(ends, outputs), np.searchsorted(outputs, ends), -1)
    return Steps(*(x.astype(np.int32 if x.dtype.kind == "i" else float) for x in steps)), task, output


def _on_nodes(moments: MixtureMoments, W: Float[ndarray, "K N"], nodes: int | None) -> tuple[ndarray, dict[str, Any]]:
    """Γ, and what belongs to it, where all clusters share a covariance: on the nodes of its spectrum."""
    (only,), a = moments.kinds, moments.input_mean
    vectors = np.concatenate([W, only.cross.T, a])
    steps = lanczos_steps(nodes, len(vectors), "K + M + c")
    omega, components = gauss_vectors(only, vectors, steps)
    gamma, phi, alpha = np.split(components, [len(W), len(vectors) - len(a)])
    return gamma, {
        "diagonal": np.maximum(omega, 0)[None], "factor": np.zeros((1, 0, len(omega)), np.float32), "cross": phi[None],
        "alpha": alpha, "noise_nodes": np.stack(gauss_density(only, steps)),
    }  # fmt: skip


def _as_they_are(
    moments: MixtureMoments, W: Float[ndarray, "K N"], nodes: int | None
) -> tuple[ndarray, dict[str, Any]]:
    """Γ, and what belongs to it, where no basis makes all covariances diagonal: the weights."""
    if nodes is not None:
        raise ProblemError("nodes: clusters of different covariances have no spectrum. Leave it out.")
    root, most = np.sqrt(W.shape[1]), max(len(kind.factor) for kind in moments.kinds)
    factors = [np.pad(kind.factor, ((0, most - len(kind.factor)), (0, 0))) for kind in moments.kinds]
    return W / root, {
        "diagonal": np.stack([np.maximum(kind.diagonal, 0) for kind in moments.kinds]),
        "factor": np.stack(factors).astype(np.float32),
        "cross": np.stack([kind.cross.T for kind in moments.kinds]) / root,
        "alpha": moments.input_mean / root, "noise_nodes": np.zeros((2, 0)),
    }  # fmt: skip


def _designs(moments: MixtureMoments, weights: Float[ndarray, "m"], seed: int) -> Float32[ndarray, "c design"]:
    """Choices of all blocks, if there are several."""
    if moments.blocks == 1:
        return np.zeros((len(weights), 0), np.float32)
    chosen = np.random.default_rng(seed).choice(len(weights), (moments.blocks, 1, 2**LOG_POINTS), p=weights)
    where = chosen == np.arange(len(weights))[:, None]
    return where.reshape(len(moments.weights), -1).astype(np.float32)


def _trajectory(process: _Process, kept: Kept, times: Float[ndarray, "time"], attrs: dict[str, Any]) -> xr.Dataset:
    """What was kept of the chains, with their errors, modes and frozen units."""
    instance, moments, rule = process.instance, process.moments, process.setting.rule
    M, kept = len(instance.teacher), jax.tree.map(lambda x: x[:, : len(times)], kept)
    S = np.tensordot(kept.S, moments.kind_weights, (2, 0))  # averaged over the kinds
    task = np.searchsorted(instance.switch_times, times, side="right")
    variables = {"Q": S[..., M:, M:], "R": S[..., M:, :M]}
    variables |= {rule.prefix + name: value for name, value in kept.head.items()}
    variables["mean_field"] = kept.M
    apart, frozen = modes(times, *variables.values()), frozen_units(kept.activity)
    if instance.rule is None and instance.student_output.ndim == 1 and moments.blocks == 1:
        integrals = integrals_for(instance.activation, instance.teacher_activation)
        errors = task_errors(process.moments, kept, instance, integrals)
        variables["generalization_error"] = errors[:, np.arange(len(times)), task]
        if errors.shape[2] > 1:
            variables["task_error"] = errors
        attrs["integrals"] = integrals.method
    else:
        variables |= metrics_of(process.setting, process.law, kept, times, task)
        attrs["integrals"] = "quasi-Monte Carlo"
    attrs |= {"exactness": str(ENSEMBLE), "modes": int(apart.max()) + 1, "frozen_units": int(frozen.sum())}
    result = make_trajectory(times, attrs=attrs, leading={"run": np.arange(len(kept.M))}, **variables)
    return result.assign(mode=("run", apart), frozen=(("run", "student"), frozen))
