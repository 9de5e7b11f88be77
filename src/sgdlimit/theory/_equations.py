"""The equations of motion of the order parameters: one right-hand side for every input, activation and option.

The local fields are λ_1..λ_K (students) and ν_1..ν_M (teachers), jointly N(0, S) with S = [[Q, R], [Rᵀ, T]]. With the
signed output weights c = (s_K v, −s_M ṽ) the error of the network is Δ = Σ_a c_a g_a. On each node ω of the inputs'
spectrum

    dr/dt = −η (ω H r + A p) − ηκ r
    dq/dt = −η (ω H q + A rᵀ) − ηκ q − (the same)ᵀ + η² ω G/n
    dv/dt = −η_v s_K E[Δ g],          Q = Σ w ω q,  R = Σ w r

Three matrices hold all averages:

    H_kl = c_k c_l E[g'_k g'_l] + δ_kl c_k E[Δ g''_k] = 2 sym ∂ε/∂Q
    A_km = c_k c_m E[g'_k g̃'_m] = ∂ε/∂R
    G_kl = c_k c_l (E[Δ² g'_k g'_l] + σ² E[g'_k g'_l])

By Price's theorem H and A are derivatives of ε = E[Δ²]/2, which replaces the determinants of the paper. The options of
training are the rate η_v of the output weights, the scales s, label noise σ, weight decay κ and batches of n samples; a
schedule multiplies η and η_v. A teacher that changes has the units of all tasks and other output weights in each.

Where the equations of Bae & Jeong are:

    ======  =============================================  ==========================================================
    (S41)   dr/dt                                          ``dr`` in :func:`right_hand_side`
    (S42)   Q = (c − b²) W + b² Σ                          ``dQ``, the sum Σ w ω q
    (S43)   dW/dt of W_kl = W_k·W_l/N                      ``dq``, summed with the weights w
    (S44)   Σ_kl = S_k·S_l/D, the students seen by F       Σ w (ρ/δ) q, not kept separately
    (S45)   its density σ(ρ)                               (ρ/δ) q on the nodes
    (S46)   dσ/dt                                          ``dq`` times ρ/δ
    (S47)   dv/dt                                          ``dv``
    (S48)   ε_g                                            :func:`generalization_error`
    ======  =============================================  ==========================================================

(S43) + (S46) → q: the paper follows two sums over the same directions, W with the weight 1 and Σ with the weight ρ/δ.
An eigenvector of FᵀF/N with the eigenvalue ρ has the input variance ω = (c − b²) + b² ρ/δ. So Q = Σ w ω q contains both
sums, and one equation for q on each node gives both: without a weight it is (S43), times ρ/δ it is (S46). The noise
agrees, because Σ w ω = c in (S43), and [(c − b²)ρ + b²ρ²/δ] = ρ ω in (S46).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..rules import Covariance, Integrals, Means, Scalar
from ..training import Rates
from ._spectrum import Spectrum


class Case(NamedTuple):
    """One network to solve for, checked: arrays and numbers that JAX may trace, batch and differentiate."""

    spectrum: Spectrum
    v: Any
    """Initial output weights, shape (K,)."""
    v_teacher: Any
    """ṽ, shape (M,) or (tasks, M)."""
    rates: Rates


class State(NamedTuple):
    """What moves: overlaps resolved over the spectrum (nodes last, where they vectorise), their sums, output weights.

    Q = Σ w ω q and R = Σ w r are linear in q and r, so a Runge-Kutta step keeps them exactly. Carrying them along lets
    output times be interpolated without the nodes.
    """

    q: Float[Array, "K K node"]
    r: Float[Array, "K M node"]
    Q: Float[Array, "K K"]
    R: Float[Array, "K M"]
    v: Float[Array, "K"]
    error: Scalar
    """ε as its derivative adds it up. Only its local error is of use: where ε is small it bounds the solver's steps."""


def start(case: Case) -> tuple[State, Case]:
    """The initial state of a case, and the case with the nodes last in its spectrum, where they vectorise."""
    (omega, weights, *products, T, noise), structure = jax.tree.flatten(jax.tree.map(jnp.asarray, case.spectrum))
    q, r, p = (jnp.moveaxis(array, 0, -1) for array in products)
    state = State(q, r, q @ (weights * omega), r @ weights, jnp.asarray(case.v), jnp.zeros(()))
    spectrum = structure.unflatten([omega, weights, q, r, p, T, noise])
    return state, case._replace(spectrum=spectrum, v_teacher=jnp.atleast_2d(case.v_teacher))


def task_at(rates: Rates, t: Scalar) -> Int[Array, ""] | int:
    """Number of the task at time t."""
    return 0 if rates.switch_times is None else jnp.searchsorted(rates.switch_times, t, side="right")


def field_covariance(Q: Float[Array, "K K"], R: Float[Array, "K M"], T: Float[Array, "M M"]) -> Covariance:
    """S = [[Q, R], [Rᵀ, T]], the covariance of (λ, ν)."""
    return jnp.block([[Q, R], [R.T, T]])


def signed_weights(rates: Rates, v: Float[Array, "K"], v_teacher: Float[Array, "M"]) -> Means:
    """The signed output weights c = (s_K v, −s_M ṽ)."""
    return jnp.concatenate([rates.student_scale * v, -rates.teacher_scale * v_teacher])


def generalization_error(S: Covariance, c: Means, K: int, integrals: Integrals) -> Scalar:
    """Generalisation error ε = E[Δ²]/2 = ½ Σ_ab c_a c_b E[g_a g_b], (S48)."""
    return c @ integrals.correlation(S, K) @ c / 2


def forces(
    S: Covariance,
    c: Means,
    K: int,
    integrals: Integrals,
    label_noise: Scalar | float = 0.0,
) -> tuple[Float[Array, "K K"], Float[Array, "K M"], Float[Array, "K K"]]:
    """H = 2 sym ∂ε/∂Q, A = ∂ε/∂R and the noise G of the gradient, which includes the noise on the labels."""
    v, gain = c[:K], integrals.gain(S, K)
    pull = v[:, None] * gain * c
    H = pull[:, :K] + jnp.diag(v * (integrals.curvature(S, K) @ c))
    A = pull[:, K:]
    G = v[:, None] * v * (integrals.noise(S, c, K) + label_noise**2 * gain[:, :K])
    return H, A, G


def schedule_at(rates: Rates, t: Scalar) -> Scalar | float:
    """Factor of the learning rates at time t."""
    return 1.0 if rates.schedule_times is None else jnp.interp(t, rates.schedule_times, rates.schedule_factors)


def fields_at(t: Scalar, state: State, case: Case) -> tuple[Covariance, Means]:
    """Covariance S of the local fields and signed output weights c at time t."""
    spectrum, _, v_teacher, rates = case
    S = field_covariance(state.Q, state.R, jnp.asarray(spectrum.teacher_overlap))
    return S, signed_weights(rates, state.v, v_teacher[task_at(rates, t)])


@eqx.filter_jit  # traced once for all the calls in a step of the solver
def right_hand_side(t: Scalar, state: State, case: Case, integrals: Integrals) -> State:
    """Time derivative of the state, with a case as from :func:`start`."""
    q, r, _, _, v, _ = state
    omega, weight, _, _, p, _, noise = jax.tree.leaves(case.spectrum)
    rates, K, factor = case.rates, len(v), schedule_at(case.rates, t)
    eta = rates.learning_rate * factor
    S, c = fields_at(t, state, case)
    H, A, G = forces(S, c, K, integrals, rates.label_noise)

    pull = jnp.concatenate([H, A], axis=1)  # H ω q + A rᵀ as one product, for all nodes at once
    decay = jnp.tensordot(pull, jnp.concatenate([omega * q, jnp.swapaxes(r, 0, 1)]), 1) + rates.weight_decay * q
    dq = -eta * (decay + jnp.swapaxes(decay, 0, 1))  # (S43), (S46), the drift of both
    dq += eta**2 / rates.batch_size * noise * omega * G[..., None]  # their noise
    dr = -eta * (jnp.tensordot(pull, jnp.concatenate([omega * r, p]), 1) + rates.weight_decay * r)  # (S41)
    dQ = dq @ (weight * omega)  # (S42)
    slope = rates.student_scale * (integrals.correlation(S, K)[:K] @ c)  # ∂ε/∂v
    dR, dv = dr @ weight, -rates.output_rate * factor * slope  # (S47)
    error = jnp.sum(H * dQ) / 2 + jnp.sum(A * dR) + slope @ dv
    return State(dq, dr, dQ, dR, dv, error)
