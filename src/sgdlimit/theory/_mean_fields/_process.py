"""The chains of an ensemble from their law to what is kept of them: random numbers are made while the program runs."""

from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from scipy.special import ndtri

from ...errors import ProblemError
from ...inputs import MixtureMoments
from ...instance import Instance
from ...random import fill_normals, key_of
from ...rules import ACTIVATIONS, Rule
from ...training import Rates
from .._averages import sobol_normals
from .._compiled import call
from .._quadrature import gauss_density, gauss_vectors, lanczos_steps
from ._chain import POINTS, STATES, Kept, Law, Member, Setting, Steps, advance, begin

LOG_POINTS = 14
WINDOW, STEPS = 8192, 128
"""The most samples, and steps of integration, in one call."""

ROW = 256
"""Samples whose normals are a row of the generator."""

NOISE = 1 << 24
"""The most normals for the noise of the weights in one call."""

FOR_FIELDS, FOR_WEIGHTS, FOR_POINTS = 0, 2, 3
"""The last word of a key."""


class Process(NamedTuple):
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
    ) -> "Process":  # fmt: skip
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
        plain = instance.rule is None and instance.activation in ACTIVATIONS.values()
        setting = Setting(
            rule, rule.digest(K, M), plain, rates.batch_size,
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
        size = count * len(self.instance.student) * self._directions * len(self.law.diagonal)
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
    def _directions(self) -> int:
        """Normals for the noise of a unit's weights from one kind of clusters."""
        kinds, x = self.law.diagonal.shape
        return (x if np.any(self.law.diagonal) else 0) + len(self.law.factor) // kinds

    @property
    def _samples(self) -> int:
        """Samples of a window."""
        return max(WINDOW, self.setting.most * self.setting.batch)

    def _part(self, first: int, stop: int) -> Steps:
        """Some steps, filled up, with the places of their samples in a window."""
        begins, length, *others = (np.pad(x[first:stop], (0, STEPS - (stop - first))) for x in self.steps)
        places = (begins - self.steps.first[first]) * self.setting.batch
        return Steps(places.astype(np.int32), length.astype(np.int32), *others)

    def _drawn(self, chains: Int[ndarray, "chain"], first: int, stop: int) -> tuple[Any, Any]:
        """The random numbers of some steps: for samples, and for the noise of the weights."""
        K, directions = len(self.instance.student), self._directions
        batch, dim, most = self.setting.batch, len(self.law.points) + self.setting.blocks, self.setting.most
        begin, last = (int(x) * batch for x in (self.steps.first[first], self.steps.first[stop - 1] + most))
        last += STATES * POINTS
        # A row of the generator is as long as it vectorises well.
        row, rows = begin // ROW, -(-last // ROW) - begin // ROW
        normals = np.zeros((len(chains), dim, self._samples + most * batch + STATES * POINTS), np.float32)
        noise = None
        if self.setting.drawn:
            noise = np.zeros((len(chains), self._most(len(chains)), len(self.law.diagonal), K, directions), np.float32)
        drawn = np.empty((rows, ROW * dim), np.float32)
        for i, chain in enumerate(chains.tolist()):
            fill_normals(*key_of(self.seed, chain, FOR_FIELDS), row, drawn)
            some = drawn.reshape(rows, dim, ROW).swapaxes(0, 1).reshape(dim, -1)[:, begin - row * ROW :]
            normals[i, :, : some.shape[1]] = some[:, : normals.shape[2]]
            if noise is not None:
                of_weights = noise[i, : stop - first].reshape(-1, directions)
                fill_normals(*key_of(self.seed, chain, FOR_WEIGHTS), first * len(self.law.diagonal) * K, of_weights)
        return normals, noise


def time_grid(
    instance: Instance, times: Float[ndarray, "time"], largest_step: float
) -> tuple[Steps, Int[ndarray, "step"], Int[ndarray, "step"]]:
    """Steps of min(largest, 0.05 t + 0.01), in whole steps of SGD, which end at outputs and where tasks change."""
    N = instance.input_dim
    outputs, switches = (np.rint(t * N).astype(int) for t in (times, instance.switch_times))
    if (np.diff(outputs) == 0).any():
        raise ProblemError(
            f"times: must be different steps of SGD for N={N} (got {len(np.unique(outputs))} in {len(times)}). Use "
            "log_times."
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
    return steps, task, output


def _on_nodes(moments: MixtureMoments, W: Float[ndarray, "K N"], nodes: int | None) -> tuple[ndarray, dict[str, Any]]:
    """Γ, and what belongs to it, where all clusters share a covariance: on the nodes of its spectrum."""
    (only,), a = moments.kinds, moments.input_mean
    vectors = np.concatenate([W, only.cross.T, a])
    steps = lanczos_steps(nodes, len(vectors), "K + M + c")
    omega, components = gauss_vectors(only, vectors, steps)
    gamma, phi, alpha = np.split(components, [len(W), len(vectors) - len(a)])
    return gamma, {
        "diagonal": np.maximum(omega, 0)[None], "factor": np.zeros((0, len(omega)), np.float32),
        "factor_T": np.zeros((len(omega), 0), np.float32), "cross": phi[None],
        "alpha": alpha, "noise_nodes": np.stack(gauss_density(only, steps)),
    }  # fmt: skip


def _as_they_are(
    moments: MixtureMoments, W: Float[ndarray, "K N"], nodes: int | None
) -> tuple[ndarray, dict[str, Any]]:
    """Γ, and what belongs to it, where no basis makes all covariances diagonal: the weights."""
    if nodes is not None:
        raise ProblemError(
            f"nodes: must be left out where clusters have different covariances (got {nodes}). Remove it."
        )
    root, most = np.sqrt(W.shape[1]), max(len(kind.factor) for kind in moments.kinds)
    factors = [np.pad(kind.factor, ((0, most - len(kind.factor)), (0, 0))) for kind in moments.kinds]
    factor = np.concatenate(factors).astype(np.float32)
    return W / root, {
        "diagonal": np.stack([np.maximum(kind.diagonal, 0) for kind in moments.kinds]),
        "factor": factor, "factor_T": factor.T.copy(),
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
