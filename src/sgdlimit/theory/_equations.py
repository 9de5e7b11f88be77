"""Generalisation error and the equations of motion of the order parameters.

Fields are λ_1..λ_K (students) and ν_1..ν_M (teachers), jointly N(0, S) with S = [[Q, R], [Rᵀ, T]]; c = (v, −ṽ) are the
signed output weights, so that the error of the network is Δ = Σ_a c_a g_a. By Price's theorem the two- and three-point
integrals of (S41)-(S47) of Bae & Jeong are derivatives of ε = E[Δ²]/2, which leaves no determinants:

    H_kl = v_k v_l E[g'_k g'_l] + δ_kl v_k E[Δ g''_k] = 2 sym ∂ε/∂Q, Q_kl and Q_lk apart
    A_km = −v_k ṽ_m E[g'_k g'_m] = ∂ε/∂R
    G_kl = v_k v_l E[Δ² g'_k g'_l]

and, on each node ω of the spectrum of the inputs,

    dr/dt = −η (ω H r + A p)
    dq/dt = −η (ω H q + A rᵀ) − η (...)ᵀ + η² ω G
    dv/dt = −η ∂ε/∂v,

the noise ω G on those nodes that carry the density of the eigenvalues (all, unless the spectrum is reduced).

Options of training change little of this. Output weights that are normalised enter c and dv with their factor s; a rate
η_v of their own replaces η in dv; a schedule multiplies both rates by factor(t). Label noise of deviation σ adds
σ² v_k v_l E[g'_k g'_l] to G, weight decay κ adds κ to ωH, and a mini-batch of n samples has the noise G/n. A teacher
that changes is one with all tasks' units, whose output weights change.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..rules import Integrals

__all__ = [
    "Network",
    "Nodes",
    "Rule",
    "State",
    "field_covariance",
    "forces",
    "generalization_error",
    "right_hand_side",
]


class State(NamedTuple):
    """What moves: overlaps resolved over the spectrum (nodes last, where they vectorise), their sums, output weights.

    Q = Σ w ω q and R = Σ w r are linear in q and r, so a Runge-Kutta step keeps them exactly; carrying them along lets
    output times be interpolated without touching the nodes.
    """

    q: Float[Array, "K K node"]
    r: Float[Array, "K M node"]
    Q: Float[Array, "K K"]
    R: Float[Array, "K M"]
    v: Float[Array, "K"]


class Nodes(NamedTuple):
    """What the inputs fix: eigenvalues ω, their weights, the teacher's p, and how much of the noise a node takes."""

    omega: Float[Array, "node"]
    weight: Float[Array, "node"]
    p: Float[Array, "M M node"]
    noise: Float[Array, "node"] | float = 1.0


class Rule(NamedTuple):
    """The learning rule, as numbers that may be traced: what :class:`sgdlimit.Training` says, and when tasks change."""

    output_rate: Float[Array, ""] | float = 1.0
    """η_v/η."""
    student_scale: Float[Array, ""] | float = 1.0
    teacher_scale: Float[Array, ""] | float = 1.0
    label_noise: Float[Array, ""] | float = 0.0
    weight_decay: Float[Array, ""] | float = 0.0
    batch_size: Float[Array, ""] | float = 1.0
    schedule_times: Float[Array, "point"] | Float[np.ndarray, "point"] | None = None
    schedule_factors: Float[Array, "point"] | Float[np.ndarray, "point"] | None = None
    switch_times: Float[Array, "tasks-1"] | Float[np.ndarray, "tasks-1"] | None = None

    def rate_factor(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """factor(t) of the schedule."""
        if self.schedule_times is None or self.schedule_factors is None:
            return jnp.ones(())
        return jnp.interp(t, self.schedule_times, self.schedule_factors)

    def task(self, t: Float[Array, ""]) -> Int[Array, ""] | int:
        """Number of the task at time t."""
        return 0 if self.switch_times is None else jnp.searchsorted(self.switch_times, t, side="right")


class Network(NamedTuple):
    """What the teacher and the learning rule fix."""

    T: Float[Array, "M M"]
    v_teacher: Float[Array, "M"] | Float[Array, "tasks M"]
    learning_rate: Float[Array, ""]
    rule: Rule = Rule()

    def output_weights(self, v: Float[Array, "K"], v_teacher: Float[Array, "M"]) -> Float[Array, "n"]:
        """The signed output weights c = (s_K v, −s_M ṽ)."""
        return jnp.concatenate([self.rule.student_scale * v, -self.rule.teacher_scale * v_teacher])

    def teacher_at(self, t: Float[Array, ""]) -> Float[Array, "M"]:
        """ṽ of the task at time t."""
        return jnp.atleast_2d(self.v_teacher)[self.rule.task(t)]


def field_covariance(Q: Float[Array, "K K"], R: Float[Array, "K M"], T: Float[Array, "M M"]) -> Float[Array, "n n"]:
    """S = [[Q, R], [Rᵀ, T]], the covariance of (λ, ν)."""
    return jnp.block([[Q, R], [R.T, T]])


def generalization_error(
    S: Float[Array, "n n"], c: Float[Array, "n"], K: int, integrals: Integrals
) -> Float[Array, ""]:
    """Generalisation error ε = E[Δ²]/2 = ½ Σ_ab c_a c_b E[g_a g_b], (S48)."""
    return c @ integrals.correlation(S, K) @ c / 2


def forces(
    S: Float[Array, "n n"],
    c: Float[Array, "n"],
    K: int,
    integrals: Integrals,
    label_noise: Float[Array, ""] | float = 0.0,
) -> tuple[Float[Array, "K K"], Float[Array, "K M"], Float[Array, "K K"]]:
    """H = 2 sym ∂ε/∂Q, A = ∂ε/∂R and the noise G of the gradient, that of the labels included."""
    v, gain = c[:K], integrals.gain(S, K)
    pull = v[:, None] * gain * c
    H = pull[:, :K] + jnp.diag(v * (integrals.curvature(S, K) @ c))
    A = pull[:, K:]
    G = v[:, None] * v * (integrals.noise(S, c, K) + label_noise**2 * gain[:, :K])
    return H, A, G


@eqx.filter_jit  # so that it is traced once, however often a solver's step calls it
def right_hand_side(t: Float[Array, ""], state: State, nodes: Nodes, network: Network, integrals: Integrals) -> State:
    """Time derivative of the state."""
    q, r, Q, R, v = state
    omega, weight, p, noise = nodes
    rule, K = network.rule, len(v)
    eta = network.learning_rate * rule.rate_factor(t)
    S = field_covariance(Q, R, network.T)
    c = network.output_weights(v, network.teacher_at(t))
    H, A, G = forces(S, c, K, integrals, rule.label_noise)

    pull = jnp.concatenate([H, A], axis=1)  # H ω q + A rᵀ as one product, the nodes riding along
    decay = jnp.tensordot(pull, jnp.concatenate([omega * q, jnp.swapaxes(r, 0, 1)]), 1) + rule.weight_decay * q
    dq = -eta * (decay + jnp.swapaxes(decay, 0, 1)) + eta**2 / rule.batch_size * noise * omega * G[..., None]
    dr = -eta * (jnp.tensordot(pull, jnp.concatenate([omega * r, p]), 1) + rule.weight_decay * r)
    dv = -eta * rule.output_rate * rule.student_scale * (integrals.correlation(S, K)[:K] @ c)
    return State(dq, dr, dq @ (weight * omega), dr @ weight, dv)
