"""Clusters at a distance of order 1: nothing is fast, and their means are directions of the equations of motion.

With ã^i = √N a^i in the place of further teachers, s_ki = ⟨Γ_k ã^i⟩ is part of r, κ = ⟨ã φ⟩ and ⟨ã ã⟩ are parts of p,
and M_k^i = Σ w s_ki of R. The forces along them are e_ki = p_i E_i[δ_k], in the place of A:

    ds_kj = −η [Σ_i e_ki ⟨ã^i ã^j⟩ + Σ_n A_kn κ_jn + ω Σ_l H_kl s_lj]
    dr_km = −η [Σ_i e_ki κ_im + Σ_n A_kn p_nm + ω Σ_l H_kl r_lm]
    dq = −η (e sᵀ + A rᵀ + ω H q) − (same)ᵀ + η² ω G

So the one right-hand side serves, with averages over the clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from xarray import Dataset

from ...inputs import InputMoments, MixtureMoments
from ...instance import Instance
from ...rules import Averages, Forces, Moment, Rule
from .._averages import lower_root, sobol_normals
from .._compiled import call
from .._equations import Case
from .._integrate import Solver
from .._points import HIGHEST_LEVEL, SOLVER_SHARE
from .._solve import trajectories
from .._spectrum import spectrum_of
from ._chain import Clusters, averages_around, metrics_around, single

LOWEST_LEVEL = 12
"""Logarithm to base 2 of the fewest points, of each cluster."""

FAST = 0.01
"""Largest η A_ii E[δ²], the variance of M within the time of its relaxation, that these equations leave out."""


class Given(NamedTuple):
    """What does not move: the rule's own arrays, and the clusters."""

    rule: Any
    weights: Any
    kind: Any
    teacher_mean: Any


@final
@dataclass(frozen=True)
class ClusterPoints(Averages):
    """Averages of a rule over points in every cluster."""

    rule: Rule = field(compare=False, repr=False)
    digest: str
    teachers: int
    level: int = LOWEST_LEVEL
    method: ClassVar[str] = "quasi-Monte Carlo"

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

    def reaching(self, error: float) -> "ClusterPoints":
        """Take more points."""
        if not error > self.accuracy:
            return self
        level = self.level + np.ceil(np.log2(error / self.accuracy) / 0.7)
        return replace(self, level=int(min(level, HIGHEST_LEVEL)))

    def points(self, K: int, M: int) -> Sequence[Float32[np.ndarray, "dim point"]]:
        """Two sets of normals."""
        dim = K + self.teachers + self.rule.noise
        return [sobol_normals(dim, self.level, (seed,)).astype(np.float32) for seed in range(2)]

    def _around(self, at: Moment) -> tuple[Any, ...]:
        """Clusters, roots of the fields' covariance, their means, the head and what functions may ask for."""
        R, T = at.R[:, : self.teachers], at.T[: self.teachers, : self.teachers]
        roots = lower_root(jnp.block([[T, R.T], [R, at.Q]]))[None]
        means = single(at.R[:, self.teachers :].T[:, :, None])
        extras = single({"given": at.given.rule, "time": at.time}) | {"task": at.task}
        clusters = Clusters(at.given.weights, at.given.kind, single(at.given.teacher_mean)[:, :, None])
        return clusters, roots, means, single(at.head), extras

    def forces(self, at: Moment) -> Forces:
        """H, A with the forces along the means of the clusters, G and E[γ]."""
        clusters, roots, means, head, extras = self._around(at)
        forces, along, _ = averages_around(self.rule, clusters, roots, means, at.points, head, extras)
        A = jnp.concatenate([forces.A[0], along.T], axis=1)
        return Forces(forces.H[0], A, forces.G[0], forces.head)

    def metrics(self, at: Moment) -> dict[str, Any]:
        """The rule's metrics, without noise."""
        clusters, roots, means, head, extras = self._around(at)
        return metrics_around(self.rule, clusters, roots, means, at.points, head, extras)

    def permuted(self, case: Any, s: Any, t: Any) -> dict[str, Any] | None:
        """None: exchanges of units are not looked for."""
        return None


def solve_slow(
    instance: Instance,
    moments: MixtureMoments,
    rule: Rule,
    times: Float[ndarray, "time"],
    *,
    nodes: int | None,
    attrs: dict[str, Any],
) -> Dataset:
    """The trajectory of an instance whose clusters share a covariance, as an ensemble of one member."""
    K, M = len(instance.student), len(instance.teacher)
    solver = Solver(ClusterPoints(rule, rule.digest(K, M), M))
    found = trajectories(_case(instance, moments, rule, nodes), times, solver, attrs)
    R = found["R"].values
    found = found.drop_dims("teacher").assign(
        R=(("time", "student", "teacher"), R[:, :, :M]), mean_field=(("time", "student", "cluster"), R[:, :, M:])
    )
    found = found.expand_dims(run=1).assign_coords(run=[0])
    return found.assign(mode=("run", [0]), frozen=(("run", "student"), np.zeros((1, K), bool)))


def noise_of_means(instance: Instance, moments: MixtureMoments, rule: Rule) -> float:
    """The largest η A_ii E[δ_k²] at the initial weights: how far one sample after the other moves the mean fields."""
    W, M = instance.student, len(instance.teacher)
    Q, R = moments.averaged().overlaps(W)
    given = Given(rule.given, moments.weights, np.zeros(len(moments.weights), int), moments.teacher_mean)
    points = ClusterPoints(rule, "", M).points(len(W), M)[0]
    mean_fields = W @ moments.input_mean.T / np.sqrt(instance.input_dim)
    T = np.pad(moments.averaged().teacher_overlap, (0, len(moments.weights)))
    overlaps: Any = Q, np.hstack([R, mean_fields]), T
    at = Moment(overlaps[0], overlaps[1], overlaps[2], rule.head, given, (), 0, 0.0, points)
    averages = ClusterPoints(rule, rule.digest(len(W), M), M)
    (squares,) = call(squared_update, at, averages=averages)
    eta = instance.learning_rate / (1 - instance.training.momentum)
    return float(eta * moments.mean_overlap.diagonal().max() * squares.max())


def squared_update(at: Moment, *, averages: ClusterPoints) -> tuple[Any]:
    """E[δ_k²]."""
    return (jnp.diagonal(averages.forces(at).G),)


def _case(instance: Instance, moments: MixtureMoments, rule: Rule, nodes: int | None) -> Case:
    """An instance whose clusters share a covariance, with their means as further directions."""
    (only,), a, c = moments.kinds, moments.input_mean, len(moments.weights)
    cross = np.concatenate([only.cross, np.sqrt(instance.input_dim) * a.T], axis=1)
    Omega, M = np.diag(only.diagonal) + only.factor.T @ only.factor, len(instance.teacher)
    T = cross.T @ np.linalg.lstsq(Omega, cross, rcond=1e-10)[0] / instance.input_dim  # what the inputs explain
    T[:M, :M] = only.teacher_overlap
    spectrum = spectrum_of(InputMoments(only.diagonal, only.factor, cross, T), instance.student, nodes)
    given = Given(rule.given, moments.weights, np.zeros(c, int), moments.teacher_mean)
    return Case(spectrum, rule.head, given, instance.rates)
