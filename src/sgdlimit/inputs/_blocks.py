"""Mixtures of many blocks, too many for a list of clusters and too few for a Gaussian latent: main effects.

Every block b of coordinates chooses a component i_b. X is the sum Σ_b g_b(i_b) of main effects, g_b(i) = E[X | i_b = i]
− E X, and of a rest, which is taken as Gaussian with its exact covariance; ν has the means Σ_b n_b(i_b), n_b(i) =
W̃_b m_i,b/√D. Given all components, Gaussian equivalence holds as for clusters, so that

    Cov ξ = Cov r + E[b bᵀ] ∘ FᵀΛF/D + diag(E[c − a² − b² σ²]),    r = a − E a − Σ_b g_b,    φ = √N diag(E b) FᵀΛW̃ᵀ/D

with the coefficients a, b, c of f at the mean of the preactivation that the components make.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray, sqrt

from ..resources import one_thread
from ._manifold import Known
from ._mixture_law import MixtureLaw
from ._moments import Features, InputMoments, InputVector, MixtureMoments, preactivation_deviation, root_of

LISTED = 4096
"""The most choices of components that are listed; else as many times five are drawn."""


def moments_of_blocks(
    features: Features, teacher: Float[ndarray, "M D"], f: Known, law: MixtureLaw, subtracted: InputVector | float = 0.0
) -> MixtureMoments:
    """Main effects of the components of every block, and the second moments of the rest.

    Parameters are those of :func:`moments_within`. The mean of all inputs is part of the first block's effects.
    """
    (D, N), m = features.shape, law.components
    means, scale, blocks = law.component_means(D), np.broadcast_to(law.scale, D), D // law.block_size
    root, teacher_root = features / scale[:, None], teacher / scale
    deviation = preactivation_deviation(root)
    by_block = means.reshape(m, blocks, -1).transpose(1, 0, 2)
    h, n = (
        (by_block @ columns.reshape(blocks, law.block_size, -1)).reshape(blocks * m, -1) / sqrt(D)
        for columns in (features, teacher.T)
    )
    if m**blocks <= LISTED:
        chosen, weights = law.choices(blocks)
    else:
        chosen = np.random.default_rng(0).choice(m, size=(5 * LISTED, blocks), p=law.weights)
        weights = np.full(len(chosen), 1 / len(chosen))
    where = (chosen[:, :, None] == np.arange(m)).reshape(len(chosen), -1).astype(float)
    with one_thread():
        a, b, c = f.hermite(deviation, where @ h)
        mean = weights @ a
        effects = (where * weights[:, None]).T @ a / (weights @ where)[:, None] - mean
        rest = (a - mean - where @ effects) * sqrt(weights)[:, None]
        slopes = b * sqrt(weights)[:, None]
        low_rank = rest.T @ rest + (slopes.T @ slopes) * (root.T @ root / D)
    diagonal = weights @ (c - a**2 - b**2 * deviation**2)
    cross = sqrt(N) / D * (root * (weights @ b)).T @ teacher_root.T
    within = InputMoments(
        diagonal, root_of("latent", low_rank, smallest=1e-13), cross, teacher_root @ teacher_root.T / D
    )
    effects[:m] += mean - subtracted
    return MixtureMoments(np.tile(law.weights, blocks), effects, n, np.zeros(len(n), int), (within,), blocks)
