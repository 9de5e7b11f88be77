"""Generalisation error and the equations of motion of the order parameters.

Fields are λ_1..λ_K (students) and ν_1..ν_M (teachers), jointly N(0, S) with S = [[Q, R], [Rᵀ, T]]; c = (v, −ṽ) are the
signed output weights, so that the error of the network is Δ = Σ_a c_a g_a. By Price's theorem the two- and three-point
integrals of (S41)-(S47) of Bae & Jeong are derivatives of ε = E[Δ²]/2, which leaves no determinants:

    H_kl = v_k v_l E[g'_k g'_l] + δ_kl v_k E[Δ g''_k] = 2 sym ∂ε/∂Q
    A_km = −v_k ṽ_m E[g'_k g'_m] = ∂ε/∂R
    G_kl = v_k v_l E[Δ² g'_k g'_l]

and, on each node ω of the spectrum of the inputs,

    dr/dt = −η (ω H r + A p)
    dq/dt = −η (ω H q + A rᵀ) − η (...)ᵀ + η² ω G
    dv/dt = −η ∂ε/∂v,

the noise ω G on those nodes that carry the density of the eigenvalues (all, unless the spectrum is reduced).
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from sgdlimit.theory.integrals import Integrals

__all__ = ["Network", "Nodes", "State", "field_covariance", "forces", "generalization_error", "right_hand_side"]


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


class Network(NamedTuple):
    """What the teacher and the learning rule fix."""

    T: Float[Array, "M M"]
    v_teacher: Float[Array, "M"]
    learning_rate: Float[Array, ""]


def field_covariance(Q: Float[Array, "K K"], R: Float[Array, "K M"], T: Float[Array, "M M"]) -> Float[Array, "n n"]:
    """S = [[Q, R], [Rᵀ, T]], the covariance of (λ, ν)."""
    return jnp.block([[Q, R], [R.T, T]])


def generalization_error(S: Float[Array, "n n"], c: Float[Array, "n"], integrals: Integrals) -> Float[Array, ""]:
    """Generalisation error ε = E[Δ²]/2 = ½ Σ_ab c_a c_b E[g_a g_b], (S48)."""
    return c @ integrals.correlation(S) @ c / 2


def forces(
    S: Float[Array, "n n"], c: Float[Array, "n"], K: int, integrals: Integrals
) -> tuple[Float[Array, "K K"], Float[Array, "K M"], Float[Array, "K K"]]:
    """H = 2 sym ∂ε/∂Q, A = ∂ε/∂R and the noise G of the gradient."""
    v = c[:K]
    pull = v[:, None] * integrals.gain(S, K) * c
    H = pull[:, :K] + jnp.diag(v * (integrals.curvature(S, K) @ c))
    A = pull[:, K:]
    G = v[:, None] * v * (integrals.quartic(S, K) @ c @ c)
    return H, A, G


@eqx.filter_jit  # so that it is traced once, however often a solver's step calls it
def right_hand_side(state: State, nodes: Nodes, network: Network, integrals: Integrals) -> State:
    """Time derivative of the state."""
    q, r, Q, R, v = state
    omega, weight, p, noise = nodes
    eta = network.learning_rate
    S = field_covariance(Q, R, network.T)
    c = jnp.concatenate([v, -network.v_teacher])
    H, A, G = forces(S, c, len(v), integrals)

    pull = jnp.concatenate([H, A], axis=1)  # H ω q + A rᵀ as one product, the nodes riding along
    decay = jnp.tensordot(pull, jnp.concatenate([omega * q, jnp.swapaxes(r, 0, 1)]), 1)
    dq = -eta * (decay + jnp.swapaxes(decay, 0, 1)) + eta**2 * noise * omega * G[..., None]
    dr = -eta * jnp.tensordot(pull, jnp.concatenate([omega * r, p]), 1)
    dv = -eta * integrals.correlation(S)[: len(v)] @ c
    return State(dq, dr, dq @ (weight * omega), dr @ weight, dv)
