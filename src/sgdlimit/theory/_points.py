"""Averages of any learning rule: means over quasi-random points.

With S = L Lᵀ the fields are L z, z normal, and by Stein's lemma [H A] = E[δ (λ, ν)] S⁻¹ = E[δ zᵀ] L⁻¹, with no
derivative of δ. The points stay the same at all times, so that the right-hand side is smooth; two independent sets
give two trajectories, whose mean is the result and half of whose difference is its error.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from ..errors import ProblemError
from ..rules import Averages, Forces, Moment, Rule
from ..trajectory import on_tasks
from ._averages import SMALLEST, lower_root, single, sobol_normals, times_inverse

LOWEST_LEVEL = 14
"""Logarithm to base 2 of the fewest points of a set."""

NEAREST = 1e-5
"""Smallest σ of points that are placed near a teacher's ν = 0."""

WIDTH = 2.0
"""Points lie so many σ around it. Where that is 1 or more they stay where they are, and no label flips."""

SOLVER_SHARE = 1 / 20
"""Share of the requested accuracy that is left to a step of the solver."""

TRIED = 64
"""Samples on which two units are compared. Labels that are signs agree by chance on one."""


@dataclass(frozen=True)
class OfRule(Averages):
    """Averages of a rule over points, in single precision as SGD evaluates it."""

    rule: Rule = field(compare=False, repr=False)
    digest: str
    """Stands for the rule in the name of a program."""
    level: int = LOWEST_LEVEL
    method: ClassVar[str] = "quasi-Monte Carlo"
    highest: ClassVar[int] = 18

    @property
    def gradient(self) -> bool:  # type: ignore[override]
        """Whether H is symmetric."""
        return self.rule.gradient

    @property
    def prefix(self) -> str:  # type: ignore[override]
        """As of the rule."""
        return self.rule.prefix

    @property
    def accuracy(self) -> float:
        """The allowed error."""
        return self.rule.accuracy

    @property
    def finest_tolerance(self) -> float:
        """The right-hand side has steps where points cross a jump of δ."""
        return SOLVER_SHARE * self.rule.accuracy

    def metrics(self, at: Moment) -> dict[str, Any]:
        """The rule's metrics, on the present task and, of several, on each."""
        if at.rates.switch_times is None:
            return self.metrics_now(at)
        each = [self.metrics_now(at._replace(task=task)) for task in range(1 + len(at.rates.switch_times))]
        by_task = {name: jnp.stack([values[name] for values in each]) for name in self.rule.metrics}
        now = {name: values[at.task] for name, values in by_task.items()}
        return now | {on_tasks(name): values for name, values in by_task.items()}

    @abstractmethod
    def metrics_now(self, at: Moment) -> dict[str, Any]:
        """The rule's metrics on one task, without noise."""

    def permuted(self, case: Any, s: Any, t: Any) -> dict[str, Any] | None:
        """Where the head's entries go, if the update treats the units alike; found by trying it in every task."""
        units, teachers = np.eye(len(s)), np.eye(len(t))
        (delta, change), (moved, moved_change) = self.tried(case, (units, teachers), (units[:, s], teachers[:, t]))
        if not _alike(moved, delta[..., s]):
            return None
        found = {}
        for name, value in change.items():
            places = np.arange(value[0].size).reshape(value.shape[1:])
            of_units = [axis for axis, size in enumerate(places.shape) if size == len(s)]
            fits = [axis for axis in of_units if _alike(moved_change[name], value.take(s, axis + 1))]
            if not fits and not _alike(moved_change[name], value):
                return None
            found[name] = places.take(s, fits[-1]) if fits else places
        return found

    def tried(self, case: Any, *maps: Any) -> list[Any]:
        """δ and γ of samples in every task, with fields of students and teachers times each two of the matrices."""
        rule, rng, switches = self.rule, np.random.default_rng(1), case.rates.switch_times
        K, M = (len(x) for x in maps[0])
        tasks = 1 if switches is None else 1 + len(switches)
        fields, teacher, noise = (rng.standard_normal((TRIED, rule.samples, n)) for n in (K, M, rule.noise))
        number = rng.integers(0, self.clusters(case), (TRIED, rule.samples))
        overlaps = {"Q": np.eye(K), "R": np.zeros((K, M)), "T": np.eye(M)}

        def once(fields, teacher, number, noise, task):
            extras = {"given": self.given(case), "task": task, "time": 1.0}
            target = jax.vmap(lambda x, i, z: rule.target(x, cluster=i, noise=z, **extras))(teacher, number, noise)
            return rule.learn_from(fields, target, noise, case.head, **extras, **overlaps)

        def learn(fields, teacher):
            each = [jax.vmap(partial(once, task=task))(fields, teacher, number, noise) for task in range(tasks)]
            return jax.tree.map(lambda *x: np.concatenate(x), *each)

        with jax.enable_x64(False), jax.ensure_compile_time_eval():
            return [learn(fields @ x, teacher @ y) for x, y in maps]

    def given(self, case: Any) -> Any:
        """The rule's arrays that do not move."""
        return case.given

    def clusters(self, case: Any) -> int:
        """Number of clusters."""
        return 1


@final
@dataclass(frozen=True)
class Points(OfRule):
    """Averages over Gaussian fields around zero.

    Examples
    --------
    >>> hebb = Rule(lambda fields, target, head: (-jnp.sign(target), {}))
    >>> Points.of(hebb, 1, 1).points(1, 1)[0].shape
    (1, 2, 16384)
    """

    rare: bool = False
    """Whether δ is 0 for most samples when the student knows its teacher, as of a perceptron."""

    @classmethod
    def of(cls, rule: Rule, K: int, M: int) -> "Points":
        """For a network of K students and M teachers."""
        if rule.asks_for_clusters:
            raise ProblemError(
                "labels: must not ask for clusters in conventional and moment-matched theory (got the rule "
                f"{rule.name!r}). Use theory='mixture', or SGD."
            )
        if M == 0:
            raise ProblemError("teacher: must have a unit in theory (got none). Give one, which labels need not use.")
        return cls(rule, rule.digest(K, M), rare=rule.rests(K, M))

    def points(self, K: int, M: int) -> Sequence[Float32[np.ndarray, "sample dim point"]]:
        """Two sets of normals; several samples of an update have one after the other."""
        count, dim = self.rule.samples, K + M + self.rule.noise
        sets = (sobol_normals(count * dim, self.level, (seed,)) for seed in range(2))
        return [normals.reshape(count, dim, -1).astype(np.float32) for normals in sets]

    def forces(self, at: Moment) -> Forces:
        """H, A, G and E[γ]."""
        rule, K = self.rule, len(at.Q)
        L, normals, weights = self._normals(at)
        fields, target, head, extras = self._samples(at, L, normals)
        overlaps = single({"time": at.time, "Q": at.Q, "R": at.R, "T": at.T})
        n = len(L)

        def learn(fields, target, noise):
            if rule.samples == 1:
                fields, target, noise = jax.tree.map(lambda x: x[0], (fields, target, noise))
            delta, change = rule.learn(fields, target, head, **extras, noise=noise, **overlaps)
            return delta.reshape(-1, K), change

        with jax.enable_x64(False):
            found = jax.vmap(learn, -1, -1)(fields, target, normals[:, n:])
        # Once for all the averages: by itself, the compiler puts the update into each.
        delta, change = jax.lax.optimization_barrier(found)
        delta, normals = (jnp.swapaxes(x, 0, 1).reshape(x.shape[1], -1) for x in (delta, normals[:, :n]))
        weighted = delta * jnp.tile(weights, rule.samples)
        both = (weighted @ jnp.concatenate([normals, delta]).T).astype(float)
        pull = times_inverse(both[:, :n], L)
        A, H = pull[:, : n - K], pull[:, n - K :]
        if rule.gradient:  # where a field is fixed, H is not unique, and this one is not symmetric
            H = jnp.where(jnp.any(jnp.diagonal(L) <= SMALLEST), H, (H + H.T) / 2)
        return Forces(H, A, both[:, n:], jax.tree.map(lambda x: _mean(weights, x), change))

    def metrics_now(self, at: Moment) -> dict[str, Any]:
        """The rule's metrics on one task, without noise."""
        L, normals, weights = self._normals(at)
        normals = normals.at[:, len(L) :].set(0)
        fields, target, head, extras = self._samples(at, L, normals)
        extras["noise"] = jnp.zeros(self.rule.noise, jnp.float32)
        with jax.enable_x64(False):
            each = jax.vmap(lambda fields, target: self.rule.measure(fields, target, head, **extras), -1, -1)
            values = each(*jax.tree.map(lambda x: x[0], (fields, target)))
        return {name: _mean(weights, value) for name, value in values.items()}

    def keeps_apart(self, case: Any, K: int, M: int) -> bool:
        """Whether the update is the same for −ν, or turned over for −λ."""
        maps = [(a * np.eye(K), b * np.eye(M)) for a, b in ((1, 1), (1, -1), (-1, 1))]
        update, even, (odd, change) = self.tried(case, *maps)
        return any(all(jax.tree.leaves(jax.tree.map(_alike, update, other))) for other in (even, (-odd, change)))

    def unknown(self, at: Moment) -> Any:
        """Which part of the variance of each teacher's field the students do not know, shape (M,)."""
        K = len(at.Q)
        return 1 - jnp.sum(lower_root(at.S)[K:, :K] ** 2, axis=1) / jnp.diagonal(at.T)

    def _normals(self, at: Moment) -> tuple[Any, Any, Any]:
        """L with the teachers first, normals (sample, dim, point), and the weights of the points, which sum to 1.

        Where δ is rarely not 0, that is where a teacher's field ν_m is near 0 on the scale σ of what the students do
        not know of it. So each ν_m/√T_m is drawn from N(0, σ²) in a share of the points, and weighted.
        """
        L = lower_root(jnp.block([[at.T, at.R.T], [at.R, at.Q]]))
        normals, M, n = jnp.asarray(at.points), len(at.T), len(at.T) + len(at.Q)
        count = normals.shape[2]
        even = jnp.full(count, 1 / count, jnp.float32)
        if not self.rare:
            return L, normals, even
        sigma = jnp.clip(WIDTH * jnp.sqrt(jnp.clip(self.unknown(at), NEAREST**2)), max=1).astype(jnp.float32)[:, None]
        units = (L[:M] / jnp.linalg.norm(L[:M], axis=1, keepdims=True)).astype(jnp.float32)
        # Parts in order cover the space evenly; the last stays as it is.
        near = np.arange(M)[:, None] == np.arange(count) * (M + 1) // count

        def placed(normals):
            z = normals[0, :n]
            z = z + units.T @ (near * (sigma - 1) * (units @ z))
            ratios = jnp.exp(-((units @ z) ** 2) * (1 / sigma**2 - 1) / 2) / sigma
            return normals.at[0, :n].set(z), (M + 1) * even / (1 + jnp.sum(ratios, axis=0))

        return L, *jax.lax.cond(jnp.any(sigma < 1), placed, lambda normals: (normals, even), normals)

    def _samples(self, at: Moment, L: Any, normals: Any) -> tuple[Any, ...]:
        """Fields (sample, K, point), targets (sample, ..., point), the head, and what else functions may ask for."""
        M, n = len(at.T), len(L)
        head, given = single((at.head, at.given))
        extras = {"given": given, "task": at.task}
        both = L.astype(jnp.float32) @ normals[:, :n]
        with jax.enable_x64(False):  # the user's own constants are in single precision too
            labels = jax.vmap(lambda teacher, noise: self.rule.target(teacher, noise=noise, **extras))
            target = jax.vmap(labels, -1, -1)(both[:, :M], normals[:, n:])
        return both[:, M:], target, head, extras


def _alike(one: Any, other: Any) -> bool:
    """Whether two updates are the same to single precision."""
    return np.allclose(one, other, rtol=1e-4, atol=1e-5)


def _mean(weights: Any, values: Any) -> Any:
    """The weighted mean over points."""
    return (values.astype(jnp.float32) @ weights).astype(float)
