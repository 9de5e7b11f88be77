"""The slow variables where clusters have different covariances V_i, which no basis diagonalises: the weights.

    dW_k = −η Σ_i p_i [Σ_l H^i_kl V_i W_l + Σ_m A^i_km φ^i_m] dt + η Σ_i (p_i V_i ⊗ G^i)^(1/2) dB^i + Σ_i a^i dy_ki/√N

with independent B^i, in steps of dt. Kinds of clusters take the place of clusters. The products with V are in single
precision, which the noise of the weights forgives.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32
from numba import njit
from numpy import ndarray

from ...inputs import MixtureMoments
from ...random import fill_normals
from ._chain import Averages, Clusters, average_over_chain, cholesky
from ._spectral import Grid, Kept

LARGEST = 1e30
"""Weights beyond it have diverged."""

Covariance = tuple[Float32[ndarray, "N"], Float32[ndarray, "r N"]]
"""V = diag(diagonal) + factorᵀ factor of a kind of clusters."""


@njit(nogil=True, cache=True)
def _average(*arguments):
    """The chain compiled into a caller, as it is for a spectrum: it has the same bits as there."""
    return average_over_chain(*arguments)


@np.errstate(over="ignore", invalid="ignore")  # divergence is seen at the end of a step
def run_group(
    clusters: Clusters,
    moments: MixtureMoments,
    grid: Grid,
    keys: ndarray,
    places: ndarray,
    W: Float[ndarray, "chain K N"],
    v: Float[ndarray, "chain K"],
    M: Float[ndarray, "chain K c"],
    kept: Kept,
) -> int:
    """Effective processes of some chains, in step with each other; as :func:`run_chain` for a spectrum.

    The forces are those in the middle of a step, and so are V W and S, both extrapolated from the step before.

    Returns
    -------
    int
        Number of steps of integration taken before a number of any chain was not finite.
    """
    single, rates = np.float32, clusters.rates
    V = [(kind.diagonal.astype(single), kind.factor.astype(single)) for kind in moments.kinds]
    phi = np.stack([kind.cross.T for kind in moments.kinds]).astype(single)
    T = np.stack([kind.teacher_overlap for kind in moments.kinds])
    alpha, root = moments.input_mean.astype(single), np.sqrt(clusters.input_dim)
    v_slope, dt_before = np.zeros_like(v), np.inf
    products = products_before = _products(V, W)
    S = S_before = _field_covariances(W, products, phi, T)
    for step, (first, steps, factor, task, output) in enumerate(zip(*grid, strict=True)):
        dt = steps / clusters.input_dim
        ahead = 0.5 * dt / dt_before
        S_middle, middle = S + ahead * (S - S_before), products + single(ahead) * (products - products_before)
        v_middle, v_teacher = rates.student_scale * (v + 0.5 * dt * v_slope), clusters.v_teacher[task]
        each = []
        for chain in range(len(v)):
            c = np.append(v_middle[chain], -v_teacher)
            places[chain], of_chain = _average(
                clusters, first, steps, factor, keys[chain], S_middle[chain], c, M[chain], places[chain]
            )
            each.append(of_chain)
        averages = Averages(*map(np.stack, zip(*each, strict=True)))
        eta = rates.learning_rate * factor
        change = -eta * dt * np.einsum("cqkl,qcln->ckn", averages.H, middle, optimize=True)
        change -= eta * dt * np.einsum("cqkm,qmn->ckn", averages.A, phi, optimize=True)
        roots = np.empty_like(averages.G)  # (p G)^(1/2); the averages have their p already
        for index in np.ndindex(roots.shape[:2]):
            cholesky(averages.G[index], roots[index])
        scale = eta * np.sqrt(dt / rates.batch_size)
        for kind, covariance in enumerate(V):
            noise = _noise(covariance, keys[:, 4:], step * len(V) + kind, W.shape[1])
            change += scale * np.einsum("ckl,cln->ckn", roots[:, kind], noise)
        if clusters.pushed:
            change += averages.pushes / root @ alpha
        W += change - eta * dt * rates.weight_decay * W
        v_slope = -rates.output_rate * factor * rates.student_scale * averages.error_gradient
        v += dt * v_slope
        if clusters.pushed:
            M[:] = W @ alpha.T / root
        S_before, products_before, dt_before = S, products, dt
        products = _products(V, W)
        S = _field_covariances(W, products, phi, T)
        # Beyond single precision there are no products with V any more: that is divergence, too.
        if not (np.abs(W).max() < LARGEST and all(np.isfinite(values).all() for values in (M, v, S))):
            return step
        if output >= 0:
            for values, now in zip(kept, (S, v, M, averages.activity), strict=True):
                values[:, output] = now
    return len(grid.steps)


def _products(V: Sequence[Covariance], W: Float[ndarray, "chain K N"]) -> Float32[ndarray, "kind chain K N"]:
    """V W of every kind, in one product for all chains."""
    rows = W.reshape(-1, W.shape[2]).astype(np.float32)
    return np.stack([rows * diagonal + (rows @ factor.T) @ factor for diagonal, factor in V]).reshape(-1, *W.shape)


def _noise(V: Covariance, keys: ndarray, number: int, K: int) -> Float32[ndarray, "chain K N"]:
    """Normal vectors of covariance V for every unit of every chain; the number tells steps and kinds apart."""
    diagonal, factor = V
    r, N = factor.shape
    normals = np.empty((len(keys), K, N + r), np.float32)
    for key, rows in zip(keys, normals, strict=True):
        fill_normals(key[0], key[1], number * K, rows)
    return np.sqrt(np.maximum(diagonal, 0)) * normals[:, :, :N] + normals[:, :, N:] @ factor


def _field_covariances(
    W: Float[ndarray, "chain K N"],
    products: Float32[ndarray, "kind chain K N"],
    phi: Float32[ndarray, "kind M N"],
    T: Float[ndarray, "kind M M"],
) -> Float[ndarray, "chain kind n n"]:
    """S = [[Q, R], [Rᵀ, T]] of every kind."""
    N = W.shape[2]
    Q, R = W @ products.mT / N, W @ phi.mT[:, None] / N
    T = np.broadcast_to(T[:, None], (*R.shape[:2], *T.shape[1:]))
    return np.block([[(Q + Q.mT) / 2, R], [R.mT, T]]).swapaxes(0, 1).copy()
