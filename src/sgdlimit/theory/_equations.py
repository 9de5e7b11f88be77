"""The equations of motion of the order parameters: one right-hand side for every input, learning rule and option.

The local fields are λ_1..λ_K (students) and ν_1..ν_M (teachers), jointly N(0, S) with S = [[Q, R], [Rᵀ, T]]. A rule
moves W by −(η/√N) δ X and its head θ by −(η_θ/N) γ. On each node ω of the inputs' spectrum

    dr/dt = −η (ω H r + A p) − ηκ r
    dq/dt = −η (ω H q + A rᵀ) − ηκ q − (the same)ᵀ + η² ω G/n
    dθ/dt = −η_θ E[γ],          Q = Σ w ω q,  R = Σ w r

with [H A] = E[δ (λ, ν)] S⁻¹ and G = E[δ δᵀ], which the rule's :class:`~sgdlimit.rules.Averages` give: closed forms for
the squared loss of one output (:class:`~sgdlimit.rules.Integrals`), points for any other rule. The options of training
are the rate η_θ of the head, weight decay κ and batches of n samples, which a step averages; a schedule multiplies η
and η_θ. A teacher that changes has the units of all tasks and other output weights in each. Further options:

* dropout averages H, A, G and E[γ] over the masks of the hidden units;
* weights on the sphere subtract what would change their norm, x_k = Σ w dq_kk/2;
* gradient flow leaves η² G out;
* with AdaGrad-Norm, dB/dt = ω̄ tr G/n, ω̄ = Σ w ω, and both rates are divided by √B;
* fixed momentum β divides both rates by 1 − β;
* momentum with a memory of 1/γ makes U, the sum of past δ X, a second set of weights: c = ⟨ΓΥ⟩, s = ⟨ΥΥ⟩, u = ⟨Υφ⟩;
* a teacher that drifts or turns moves p and T;
* where inputs change later, α, β and n follow what became of the initial weights, Γ = α Γ₀ + β φ + N(0, n);
* batches of αN samples take finite steps, :func:`batch_step`.

Where the equations of Bae & Jeong are:

    ======  =============================================  ==========================================================
    (S41)   dr/dt                                          ``dr`` in :func:`right_hand_side`
    (S42)   Q = (c − b²) W + b² Σ                          ``dQ``, the sum Σ w ω q
    (S43)   dW/dt of W_kl = W_k·W_l/N                      ``dq``, summed with the weights w
    (S44)   Σ_kl = S_k·S_l/D, the students seen by F       Σ w (ρ/δ) q, not kept separately
    (S45)   its density σ(ρ)                               (ρ/δ) q on the nodes
    (S46)   dσ/dt                                          ``dq`` times ρ/δ
    (S47)   dv/dt                                          ``dv``
    (S48)   ε_g                                            ``generalization_error`` of ``Integrals.metrics``
    ======  =============================================  ==========================================================

(S43) + (S46) → q: the paper follows two sums over the same directions, W with the weight 1 and Σ with the weight ρ/δ.
An eigenvector of FᵀF/N with the eigenvalue ρ has the input variance ω = (c − b²) + b² ρ/δ. So Q = Σ w ω q contains both
sums, and one equation for q on each node gives both: without a weight it is (S43), times ρ/δ it is (S46). The noise
agrees, because Σ w ω = c in (S43), and [(c − b²)ρ + b²ρ²/δ] = ρ ω in (S46).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from ..rules import Averages, Forces, Moment, Scalar
from ..training import Rates
from ._spectrum import Spectrum


class Case(NamedTuple):
    """One network to solve for, checked: arrays and numbers that JAX may trace, batch and differentiate."""

    spectrum: Spectrum
    head: Any
    """Initial further parameters, as {"v": output weights (K,)}."""
    given: Any
    """Arrays that do not move, such as ṽ of the shape (tasks, M)."""
    rates: Rates
    points: Any = ()
    """The points that averages without closed forms are means over."""


class State(NamedTuple):
    """All that moves: overlaps resolved over the spectrum (nodes last, where they vectorise), their sums, the head.

    Q = Σ w ω q and R = Σ w r are linear in q and r, so a Runge-Kutta step keeps them exactly. Carrying them along lets
    output times be interpolated without the nodes.
    """

    q: Float[Array, "K K node"]
    r: Float[Array, "K M node"]
    Q: Float[Array, "K K"]
    R: Float[Array, "K M"]
    head: dict[str, Any]
    error: Scalar
    """ε as its derivative adds it up. Only its local error is of use: where ε is small it bounds the solver's steps."""
    more: dict[str, Any]
    """Variables that options of training add, by their names in the equations."""


def start(case: Case) -> tuple[State, Case]:
    """The initial state of a case, and the case with the nodes last in its spectrum, where they vectorise."""
    (omega, weights, *products, T, noise), structure = jax.tree.flatten(jax.tree.map(jnp.asarray, case.spectrum))
    q, r, p = (jnp.moveaxis(array, 0, -1) for array in products)
    rates, more = case.rates, {}
    no_q, no_r = jnp.zeros_like(q), jnp.zeros_like(r)
    if rates.sphere is not None:
        norm = jnp.sqrt(jnp.diagonal(q @ weights))[:, None, None]
        q, r = q / (norm * transposed(norm)), r / norm
    if rates.memory is not None:
        more |= {"c": no_q, "s": no_q, "u": no_r}
        more["V"] = jax.tree.map(lambda x: jnp.zeros(jnp.shape(x)), case.head)
    if rates.norm is not None:
        more["B"] = jnp.asarray(rates.norm, float)
    if rates.carry is not None:
        more |= {"alpha": no_q + np.eye(len(q))[..., None], "beta": no_r, "n": no_q}
    if rates.drift is not None:
        more |= {"p": p, "T": T}
        kappa, turn, p_end, T_end = rates.drift
        p_end = jnp.pad(p_end, (0, len(omega) - len(p_end))) * np.eye(len(T))[..., None]
        rates = rates._replace(drift=(kappa, turn, p_end, jnp.diag(T_end)))
    head = jax.tree.map(jnp.asarray, case.head)
    state = State(q, r, q @ (weights * omega), r @ weights, head, jnp.zeros(()), more)
    return state, case._replace(spectrum=structure.unflatten([omega, weights, q, r, p, T, noise]), rates=rates)


def transposed(x: Float[Array, "K L *node"]) -> Float[Array, "L K *node"]:
    """Each node's matrix transposed."""
    return jnp.swapaxes(x, 0, 1)


def both(x: Float[Array, "K K *node"]) -> Float[Array, "K K *node"]:
    """A matrix and its transpose."""
    return x + transposed(x)


def task_at(rates: Rates, t: Scalar) -> Int[Array, ""] | int:
    """Number of the task at time t."""
    return 0 if rates.switch_times is None else jnp.searchsorted(rates.switch_times, t, side="right")


def schedule_at(rates: Rates, t: Scalar) -> Scalar | float:
    """Factor of the learning rates at time t, from the schedule and from momentum."""
    factor = 1.0 if rates.schedule_times is None else jnp.interp(t, rates.schedule_times, rates.schedule_factors)
    return factor / (1 - rates.momentum)


def moment_at(t: Scalar, state: State, case: Case) -> Moment:
    """The network at time t, as averages see it."""
    T = state.more.get("T", jnp.asarray(case.spectrum.teacher_overlap))
    return Moment(state.Q, state.R, T, state.head, case.given, case.rates, task_at(case.rates, t), t, case.points)


def network_at(Q: ArrayLike, R: ArrayLike, T: ArrayLike, v: ArrayLike, v_teacher: ArrayLike, rates: Rates) -> Moment:
    """A network with one output that learns one task, as averages see it."""
    Q, R, T, v, v_teacher = map(jnp.asarray, (Q, R, T, v, v_teacher))
    return Moment(Q, R, T, {"v": v}, v_teacher[None], rates, 0, 0.0, ())


def forces_at(at: Moment, averages: Averages) -> Forces:
    """H, A, G and E[γ], over all masks of the hidden units where they drop out."""
    keep = at.rates.keep
    if keep is None:
        return averages.forces(at)
    masks = np.indices([2] * len(at.Q)).reshape(len(at.Q), -1).T

    def masked(mask):
        kept = mask / keep
        forces = averages.forces(at._replace(head=at.head | {"v": at.head["v"] * kept}))
        chance = jnp.prod(jnp.where(mask, keep, 1 - keep))
        return jax.tree.map(lambda x: chance * x, forces._replace(head=forces.head | {"v": forces.head["v"] * kept}))

    return jax.tree.map(lambda x: x.sum(0), jax.lax.map(masked, jnp.asarray(masks)))


@eqx.filter_jit  # traced once for all the calls in a step of the solver
def right_hand_side(t: Scalar, state: State, case: Case, averages: Averages) -> State:
    """Time derivative of the state, with a case as from :func:`start`."""
    q, r, *_, more = state
    omega, weight, _, _, p, _, noise = jax.tree.leaves(case.spectrum)
    p, rates, factor = more.get("p", p), case.rates, schedule_at(case.rates, t)
    if rates.norm is not None:
        factor = factor / jnp.sqrt(more["B"])
    eta, forces = rates.learning_rate * factor, forces_at(moment_at(t, state, case), averages)
    along = _drift_of(forces, omega)
    spread = noise * omega * forces.G[..., None] / rates.batch_size if rates.flow is None else 0.0

    moved = {}
    if rates.memory is None:
        dq = eta**2 * spread  # the noise of (S43), (S46)
        dq -= eta * both(along(q, transposed(r)) + rates.weight_decay * q)  # their drift
        dr = -eta * (along(r, p) + rates.weight_decay * r)  # (S41)
        dhead = jax.tree.map(lambda change: -rates.output_rate * factor * change, forces.head)  # (S47)
    else:
        c, s, u, V, gamma = more["c"], more["s"], more["u"], more["V"], rates.memory
        dq, dr = -eta * both(c), -eta * u
        moved["c"] = transposed(along(q, transposed(r))) - eta * s - gamma * c
        moved["s"] = both(along(c, transposed(u))) - 2 * gamma * s + spread
        moved["u"] = along(r, p) - gamma * u
        moved["V"] = jax.tree.map(lambda V, change: change - gamma * V, V, forces.head)
        dhead = jax.tree.map(lambda V: -rates.output_rate * factor * V, V)
    if rates.sphere is not None:
        x = jnp.diagonal(dq @ weight)[:, None, None] / 2
        dq, dr = dq - (x + transposed(x)) * q, dr - x * r
        if rates.memory is not None:
            moved["c"] -= x * more["c"]
    if rates.norm is not None:
        moved["B"] = (weight * noise) @ omega * jnp.trace(forces.G) / rates.batch_size
    if rates.carry is not None:
        none, unit = jnp.zeros_like(transposed(r)), np.eye(len(p))[..., None] * jnp.ones_like(p)
        moved["alpha"], moved["beta"] = -eta * along(more["alpha"], none), -eta * along(more["beta"], unit)
        moved["n"] = eta**2 * spread - eta * both(along(more["n"], none))
    if rates.drift is not None:
        kappa, turn, p_end, T_end = rates.drift

        def follow(x):  # overlaps with a teacher that moves
            return jnp.einsum("kmx,nm->knx", x, turn) - kappa * x

        dr += follow(r)
        if rates.memory is not None:
            moved["u"] += follow(more["u"])
        moved["p"] = both(jnp.tensordot(turn, p, 1)) - 2 * kappa * (p - p_end)
        moved["T"] = both(turn @ more["T"]) - 2 * kappa * (more["T"] - T_end)
    dQ, dR = dq @ (weight * omega), dr @ weight  # (S42)
    error = jnp.sum(forces.H * dQ) / 2 + jnp.sum(forces.A * dR)
    error += sum(jnp.sum(change * dhead[name]) for name, change in forces.head.items())
    return State(dq, dr, dQ, dR, dhead, error, moved)


def batch_step(t: Scalar, state: State, case: Case, averages: Averages) -> State:
    """The state after a batch of αN samples from time t on, at whose start the forces are taken.

    Γ' = Γ − h [(ωH + κ) Γ + A φ] with h = ηα, and the noise η²α ωG: the square of the drift counts.
    """
    q, r, *_ = state
    omega, weight, _, _, p, _, noise = jax.tree.leaves(case.spectrum)
    rates, factor, forces = case.rates, schedule_at(case.rates, t), forces_at(moment_at(t, state, case), averages)
    eta, alpha, along = rates.learning_rate * factor, rates.fraction, _drift_of(forces, omega)

    def moved(x, y):  # ⟨Γ' a⟩ from ⟨Γ a⟩ and ⟨φ a⟩
        return x - eta * alpha * (along(x, y) + rates.weight_decay * x)

    r_after, mixed = moved(r, p), moved(q, transposed(r))
    q_after = moved(transposed(mixed), transposed(r_after)) + eta**2 * alpha * noise * omega * forces.G[..., None]
    head = jax.tree.map(lambda x, change: x - rates.output_rate * factor * alpha * change, state.head, forces.head)
    return State(q_after, r_after, q_after @ (weight * omega), r_after @ weight, head, state.error, state.more)


def _drift_of(forces: Forces, omega: Float[Array, "node"]) -> Callable[[Any, Any], Any]:
    """H ω x + A y as one product, for all nodes at once."""
    pull = jnp.concatenate([forces.H, forces.A], axis=1)
    return lambda x, y: jnp.tensordot(pull, jnp.concatenate([omega * x, y]), 1)
