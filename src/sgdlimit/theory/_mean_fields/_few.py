"""Clusters at a distance of order 1: nothing is fast, and their means are directions of the equations of motion.

With ã^i = √N a^i in the place of further teachers, s_ki = ⟨Γ_k ã^i⟩ is part of r, κ = ⟨ã φ⟩ and ⟨ã ã⟩ are parts of p,
and M_k^i = Σ w s_ki of R. The forces along them are e_ki = p_i E_i[δ_k], in the place of A:

    ds_kj = −η [Σ_i e_ki ⟨ã^i ã^j⟩ + Σ_n A_kn κ_jn + ω Σ_l H_kl s_lj]
    dr_km = −η [Σ_i e_ki κ_im + Σ_n A_kn p_nm + ω Σ_l H_kl r_lm]
    dq = −η (e sᵀ + A rᵀ + ω H q) − (same)ᵀ + η² ω G

So the one right-hand side serves, with averages over the clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from xarray import Dataset

from ...inputs import InputMoments, MixtureMoments
from ...instance import Instance
from ...rules import Forces, Moment, Rule
from .._averages import lower_root, single, sobol_normals
from .._compiled import call
from .._equations import Case
from .._integrate import Solver
from .._points import OfRule
from .._solve import trajectories
from .._spectrum import spectrum_of
from ._chain import Clusters, averages_around, metrics_around

LOWEST_LEVEL = 12
"""Logarithm to base 2 of the fewest points, of each cluster."""

FAST = 0.01
"""Largest η A_ii E[δ²], the variance of M within the time of its relaxation, that these equations leave out."""


class Given(NamedTuple):
    """What does not move: the rule's own arrays, and the clusters."""

    rule: Any
    clusters: Clusters


@final
@dataclass(frozen=True)
class ClusterPoints(OfRule):
    """Averages over the fields in every cluster."""

    teachers: int = 0
    level: int = LOWEST_LEVEL

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
        clusters = at.given.clusters
        return clusters._replace(teacher_mean=single(clusters.teacher_mean)), roots, means, single(at.head), extras

    def forces(self, at: Moment) -> Forces:
        """H, A with the forces along the means of the clusters, G and E[γ]."""
        clusters, roots, means, head, extras = self._around(at)
        forces, along = averages_around(self.rule, clusters, roots, means, at.points, head, extras)
        A = jnp.concatenate([forces.A[0], along.T], axis=1)
        return Forces(forces.H[0], A, forces.G[0], forces.head)

    def metrics_now(self, at: Moment) -> dict[str, Any]:
        """The rule's metrics on one task, without noise."""
        clusters, roots, means, head, extras = self._around(at)
        return metrics_around(self.rule, clusters, roots, means, at.points, head, extras)

    def permuted(self, case: Any, s: Any, t: Any) -> dict[str, Any] | None:
        """Of students alone: clusters are not exchanged."""
        stays = (t == np.arange(len(t))).all()
        return super().permuted(case, s, t[: self.teachers]) if stays else None

    def given(self, case: Any) -> Any:
        """The rule's arrays that do not move."""
        return case.given.rule

    def clusters(self, case: Any) -> int:
        """Number of clusters."""
        return len(case.given.clusters.weights)


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
    solver = Solver(ClusterPoints(rule, rule.digest(K, M), teachers=M))
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
    within = moments.averaged()
    Q, R = within.overlaps(W)
    averages = ClusterPoints(rule, rule.digest(len(W), M), teachers=M)
    means = np.hstack([R, W @ moments.input_mean.T / np.sqrt(instance.input_dim)])
    overlaps: Any = Q, means, np.pad(within.teacher_overlap, (0, len(moments.weights)))
    points = averages.points(len(W), M)[0]
    at = Moment(overlaps[0], overlaps[1], overlaps[2], rule.head, _given(moments, rule), (), 0, 0.0, points)
    (squares,) = call(squared_update, at, averages=averages)
    eta = instance.learning_rate / (1 - instance.training.momentum)
    return float(eta * moments.mean_overlap.diagonal().max() * squares.max())


def squared_update(at: Moment, *, averages: ClusterPoints) -> tuple[Any]:
    """E[δ_k²]."""
    return (jnp.diagonal(averages.forces(at).G),)


def _case(instance: Instance, moments: MixtureMoments, rule: Rule, nodes: int | None) -> Case:
    """An instance whose clusters share a covariance, with their means as further directions."""
    (only,), a = moments.kinds, moments.input_mean
    cross = np.concatenate([only.cross, np.sqrt(instance.input_dim) * a.T], axis=1)
    Omega, M = np.diag(only.diagonal) + only.factor.T @ only.factor, len(instance.teacher)
    T = cross.T @ np.linalg.lstsq(Omega, cross, rcond=1e-10)[0] / instance.input_dim  # what the inputs explain
    T[:M, :M] = only.teacher_overlap
    spectrum = spectrum_of(InputMoments(only.diagonal, only.factor, cross, T), instance.student, nodes)
    return Case(spectrum, rule.head, _given(moments, rule), instance.rates)


def _given(moments: MixtureMoments, rule: Rule) -> Given:
    """What does not move."""
    return Given(rule.given, Clusters(moments.weights, moments.kind, moments.teacher_mean[:, :, None]))
