"""The slow variables where clusters have different covariances V_i, which no basis diagonalises: the weights.

    dW_k = −η Σ_i p_i [Σ_l H^i_kl V_i W_l + Σ_m A^i_km φ^i_m] dt + η Σ_i (p_i V_i ⊗ G^i)^(1/2) dB^i + Σ_i a^i dy_ki/√N

with independent B^i, in steps of dt. Kinds of clusters take the place of clusters. The products with V are in single
precision, which the noise of the weights forgives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numba import njit
from numpy import ndarray

from ...inputs import MixtureMoments
from ...random import fill_normals
from ._chain import Clusters, average_over_chain, cholesky, empty_averages
from ._spectral import Grid, Kept

LARGEST = 1e30
"""Weights beyond it have diverged."""


@dataclass(frozen=True)
class Covariances:
    """V = diag(diagonal) + factorᵀ factor, φ and T of every kind."""

    diagonal: Float32[ndarray, "kind N"]
    factor: Sequence[Float32[ndarray, "r N"]]
    phi: Float32[ndarray, "kind M N"]
    teacher_overlap: Float[ndarray, "kind M M"]
    alpha: Float32[ndarray, "c N"]
    """The means of the inputs a."""
    pushed: bool

    @classmethod
    def of(cls, moments: MixtureMoments, pushed: bool) -> "Covariances":
        """Those of the kinds of clusters."""
        kinds, single = moments.kinds, np.float32
        return cls(
            np.stack([some.diagonal for some in kinds]).astype(single),
            [some.factor.astype(single) for some in kinds],
            np.stack([some.cross.T for some in kinds]).astype(single),
            np.stack([some.teacher_overlap for some in kinds]),
            moments.input_mean.astype(single),
            pushed,
        )


@njit(cache=True)
def _noise_roots(G, roots):
    """(p G)^(1/2) of every chain and kind; the averages have their p already."""
    for chain in range(G.shape[0]):
        for kind in range(G.shape[1]):
            cholesky(G[chain, kind], roots[chain, kind])


@np.errstate(over="ignore", invalid="ignore")  # divergence is seen at the end of a step
def run_group(
    clusters: Clusters,
    covariances: Covariances,
    grid: Grid,
    keys: ndarray,
    noise_keys: ndarray,
    places: ndarray,
    W: Float[ndarray, "chain K N"],
    M: Float[ndarray, "chain K c"],
    v: Float[ndarray, "chain K"],
    kept: Kept,
) -> int:
    """Effective processes of some chains, in step with each other; as :func:`run_chain` for a spectrum.

    The forces are those in the middle of a step, and so are V W and S, both extrapolated from the step before.

    Returns
    -------
    int
        Number of steps of integration taken before a number of any chain was not finite.
    """
    chains, K, N = W.shape
    kinds, units = covariances.phi.shape[:2]
    n = K + units
    averages = [empty_averages(kinds, K, units, M.shape[2]) for _ in range(chains)]
    S_before: ndarray | None = None
    products_before: ndarray | None = None
    v_slope, dt_before = np.zeros_like(v), 0.0
    roots = np.empty((chains, kinds, K, K))
    c = np.empty((chains, n))
    products = _products(covariances, W)  # V W, (kind, chain, K, N)
    S = _field_covariances(covariances, W, products)
    for step, (first, steps, factor, task, output) in enumerate(zip(*grid, strict=True)):
        dt = steps / N
        if S_before is None or products_before is None:
            S_middle, middle = S, products
        else:
            ahead = 0.5 * dt / dt_before
            S_middle, middle = S + ahead * (S - S_before), products + np.float32(ahead) * (products - products_before)
        c[:, :K], c[:, K:] = clusters.output_scale * (v + 0.5 * dt * v_slope), -clusters.v_teacher[task]
        for chain in range(chains):
            places[chain] = average_over_chain(
                clusters, first, steps, factor, keys[chain], S_middle[chain], c[chain], M[chain], places[chain],
                averages[chain],
            )  # fmt: skip
        eta = clusters.learning_rate * factor
        H, A, G = (np.stack([getattr(some, name) for some in averages]) for name in ("H", "A", "G"))
        _noise_roots(G, roots)
        change = -eta * dt * np.einsum("cqkl,qcln->ckn", H, middle, optimize=True)
        change -= eta * dt * np.einsum("cqkm,qmn->ckn", A, covariances.phi, optimize=True)
        scale = eta * np.sqrt(dt / clusters.batch_size)
        for kind, noise in enumerate(_noises(covariances, noise_keys, step, chains, K)):
            change += scale * np.einsum("ckl,cln->ckn", roots[:, kind], noise)
        if covariances.pushed:
            pushes = np.stack([some.pushes for some in averages]) / np.sqrt(N)
            change += pushes @ covariances.alpha
        W += change - eta * dt * clusters.weight_decay * W
        gradient = np.stack([some.error_gradient for some in averages])
        v_slope = -clusters.output_rate * factor * clusters.output_scale * gradient
        v += dt * v_slope
        if covariances.pushed:
            M[:] = W @ covariances.alpha.T / np.sqrt(N)
        S_before, products_before, dt_before = S, products, dt
        products = _products(covariances, W)
        S = _field_covariances(covariances, W, products)
        # Beyond single precision there are no products with V any more: that is divergence, too.
        if not (np.abs(W).max() < LARGEST and np.isfinite(M).all() and np.isfinite(v).all() and np.isfinite(S).all()):
            return step
        if output >= 0:
            kept.S[:, output] = S
            kept.v[:, output], kept.M[:, output] = v, M
            kept.activity[:, output] = [some.activity for some in averages]
    return len(grid.steps)


def _products(covariances: Covariances, W: Float[ndarray, "chain K N"]) -> Float32[ndarray, "kind chain K N"]:
    """V W of every kind."""
    chains, K, N = W.shape
    rows = W.reshape(-1, N).astype(np.float32)
    products = [
        rows * diagonal + (rows @ factor.T) @ factor
        for diagonal, factor in zip(covariances.diagonal, covariances.factor, strict=True)
    ]
    return np.stack(products).reshape(-1, chains, K, N)


def _noises(
    covariances: Covariances, keys: ndarray, step: int, chains: int, K: int
) -> "list[Float32[ndarray, 'chain K N']]":
    """Normal vectors of covariance V of every kind, for every unit of every chain."""
    noises = []
    for kind, (diagonal, factor) in enumerate(zip(covariances.diagonal, covariances.factor, strict=True)):
        N, r = len(diagonal), len(factor)
        normals = np.empty((chains, K, N + r), np.float32)
        for chain in range(chains):
            first = (step * len(covariances.factor) + kind) * K
            fill_normals(keys[chain, 0], keys[chain, 1], first, normals[chain])
        noises.append(np.sqrt(np.maximum(diagonal, 0)) * normals[:, :, :N] + normals[:, :, N:] @ factor)
    return noises


def _field_covariances(
    covariances: Covariances, W: Float[ndarray, "chain K N"], products: Float32[ndarray, "kind chain K N"]
) -> Float[ndarray, "chain kind n n"]:
    """S = [[Q, R], [Rᵀ, T]] of every kind."""
    chains, K, N = W.shape
    kinds, units = covariances.phi.shape[:2]
    S = np.empty((chains, kinds, K + units, K + units))
    for kind in range(kinds):
        Q = W @ np.swapaxes(products[kind], -1, -2) / N
        S[:, kind, :K, :K] = (Q + np.swapaxes(Q, -1, -2)) / 2
        S[:, kind, :K, K:] = W @ covariances.phi[kind].T / N
        S[:, kind, K:, :K] = np.swapaxes(S[:, kind, :K, K:], -1, -2)
        S[:, kind, K:, K:] = covariances.teacher_overlap[kind]
    return S
