"""The slow variables where all clusters have the same covariance V: weights in the eigenvectors of V.

On the nodes of a Gauss rule for V, the weights are the vectors Γ_k = W_k·e_j/√N, and with φ and α = a·e_j/√N

    dΓ_k = −η [Σ_l H_kl ω Γ_l + Σ_m A_km φ_m] dt + Σ_i α^i dy_ki/√N,

the last what the chain has pushed them by along the means of the inputs. It is of order 1/√N, and yet it makes M:
M_k^i = √N Γ_k·α^i. What the noise of the gradient adds from nothing has nodes of its own, with dq/dt of section 4 of
the equations of motion.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numba import njit
from numpy import ndarray

from ...rules import FAST
from ._chain import average_over_chain


class Nodes(NamedTuple):
    """What the inputs fix, on the nodes of V."""

    omega: Float[ndarray, "node"]
    phi: Float[ndarray, "M node"]
    alpha: Float[ndarray, "c node"]
    noise_omega: Float[ndarray, "s"]
    noise_weight: Float[ndarray, "s"]


class Grid(NamedTuple):
    """The steps of integration: whole numbers of steps of SGD."""

    first_step: Int[ndarray, "step"]
    steps: Int[ndarray, "step"]
    rate_factor: Float[ndarray, "step"]
    task: Int[ndarray, "step"]
    output: Int[ndarray, "step"]
    """Output time at the end of the step, or −1."""


class Kept(NamedTuple):
    """What is kept of the chains at the output times."""

    S: Float[ndarray, "chain time kind n n"]
    v: Float[ndarray, "chain time K"]
    M: Float[ndarray, "chain time K c"]
    activity: Float[ndarray, "chain time K"]
    """E g'(λ_k)², along the chain over the last step of integration."""


def at(kept: Kept, index: Any) -> Kept:
    """Some of the chains or times."""
    return Kept(*(values[index] for values in kept))


@njit(fastmath=FAST)
def _slope(nodes, clusters, eta, H, A, G, push, gamma, q, dgamma, dq):
    """Time derivatives of Γ and of the noise's q; push is dy/dt/√N."""
    K, M = A.shape
    decay = clusters.rates.weight_decay
    for k in range(K):
        for j in range(len(nodes.omega)):
            dgamma[k, j] = -eta * decay * gamma[k, j]
        for l in range(K):  # noqa: E741
            h = eta * H[k, l]
            for j in range(len(nodes.omega)):
                dgamma[k, j] -= h * nodes.omega[j] * gamma[l, j]
        for m in range(M):
            h = eta * A[k, m]
            for j in range(len(nodes.omega)):
                dgamma[k, j] -= h * nodes.phi[m, j]
        if clusters.pushed:
            for i in range(push.shape[1]):
                h = push[k, i]
                for j in range(len(nodes.omega)):
                    dgamma[k, j] += h * nodes.alpha[i, j]
        for l in range(k + 1):  # noqa: E741
            for j in range(len(nodes.noise_omega)):
                total = 2 * decay * q[k, l, j]
                for x in range(K):
                    total += nodes.noise_omega[j] * (H[k, x] * q[x, l, j] + H[l, x] * q[x, k, j])
                dq[k, l, j] = (eta * eta / clusters.rates.batch_size * G[k, l] * nodes.noise_omega[j]) - eta * total
                dq[l, k, j] = dq[k, l, j]


@njit(fastmath=FAST)
def _overlaps(nodes, gamma, q, S):
    """Q and R, in S = [[Q, R], [Rᵀ, T]]."""
    K = len(gamma)
    for k in range(K):
        for l in range(k + 1):  # noqa: E741
            total = 0.0
            for j in range(len(nodes.omega)):
                total += nodes.omega[j] * gamma[k, j] * gamma[l, j]
            for j in range(len(nodes.noise_omega)):
                total += nodes.noise_weight[j] * nodes.noise_omega[j] * q[k, l, j]
            S[k, l] = total
            S[l, k] = total
        for m in range(len(nodes.phi)):
            total = 0.0
            for j in range(len(nodes.omega)):
                total += nodes.phi[m, j] * gamma[k, j]
            S[k, K + m] = total
            S[K + m, k] = total


# Loops rather than whole arrays: numba compiles what checks their shapes for half a minute.


@njit(fastmath=FAST)
def _add(x, factor, y, result):
    """result = x + factor y, of arrays of any shape."""
    x, y, result = x.reshape(-1), y.reshape(-1), result.reshape(-1)
    for j in range(len(result)):
        result[j] = x[j] + factor * y[j]


@njit
def _mean_fields(gamma, alpha, N, M):
    """M_k^i = √N Γ_k·α^i."""
    for k in range(len(gamma)):
        for i in range(len(alpha)):
            total = 0.0
            for j in range(gamma.shape[1]):
                total += gamma[k, j] * alpha[i, j]
            M[k, i] = np.sqrt(N) * total


@njit(nogil=True, cache=True)
def run_chain(clusters, nodes, grid, keys, place, gamma, S, v, M, kept):
    """One effective process: the chain of the mean fields with the slow variables it drives.

    The chain of a step sees the order parameters in the middle of it, extrapolated from the step before; with the
    averages along the chain, a midpoint rule moves the slow variables. Both are of second order.

    Parameters
    ----------
    gamma, S, v, M
        Initial Γ (K, node), covariance of the fields (1, n, n), output weights (K,) and mean fields (K, c); moved.

    Returns
    -------
    int
        Number of steps of integration taken before a number was not finite.
    """
    N, v_teacher = clusters.input_dim, clusters.v_teacher
    K, units = len(v), v_teacher.shape[1]
    n = K + units
    q = np.zeros((K, K, len(nodes.noise_omega)))
    gamma_slope, q_slope = np.empty_like(gamma), np.empty_like(q)
    gamma_middle, q_middle = np.empty_like(gamma), np.empty_like(q)
    S_before, S_middle = np.zeros((1, n, n)), np.empty((1, n, n))
    c, v_slope = np.empty(n), np.zeros(K)
    push = np.empty((K, M.shape[1]))
    _overlaps(nodes, gamma, q, S[0])
    dt_before = 0.0
    for step in range(len(grid.steps)):
        dt = grid.steps[step] / N
        ahead = 0.5 * dt / dt_before if step > 0 else 0.0
        _add(S, -1.0, S_before, S_before)
        _add(S, ahead, S_before, S_middle)
        for k in range(K):
            c[k] = clusters.rates.student_scale * (v[k] + 0.5 * dt * v_slope[k])
        for m in range(units):
            c[K + m] = -v_teacher[grid.task[step], m]
        factor = grid.rate_factor[step]
        place, averages = average_over_chain(
            clusters, grid.first_step[step], grid.steps[step], factor, keys, S_middle, c, M, place
        )
        eta = clusters.rates.learning_rate * factor
        _add(averages.pushes, 1 / (dt * np.sqrt(N)) - 1, averages.pushes, push)
        H, A, G = averages.H[0], averages.A[0], averages.G[0]
        _slope(nodes, clusters, eta, H, A, G, push, gamma, q, gamma_slope, q_slope)
        _add(gamma, 0.5 * dt, gamma_slope, gamma_middle)
        _add(q, 0.5 * dt, q_slope, q_middle)
        _slope(nodes, clusters, eta, H, A, G, push, gamma_middle, q_middle, gamma_slope, q_slope)
        _add(gamma, dt, gamma_slope, gamma)
        _add(q, dt, q_slope, q)
        for k in range(K):
            rate = clusters.rates.output_rate * factor
            v_slope[k] = -rate * clusters.rates.student_scale * averages.error_gradient[k]
            v[k] += dt * v_slope[k]
        if clusters.pushed:
            _mean_fields(gamma, nodes.alpha, N, M)
        _add(S, 0.0, S, S_before)
        _overlaps(nodes, gamma, q, S[0])
        dt_before = dt
        if not np.isfinite(M.sum() + S.sum() + v.sum()):
            return step
        output = grid.output[step]
        if output >= 0:
            _add(S, 0.0, S, kept.S[output])
            _add(M, 0.0, M, kept.M[output])
            for k in range(K):
                kept.v[output, k] = v[k]
                kept.activity[output, k] = averages.activity[k]
    return len(grid.steps)
