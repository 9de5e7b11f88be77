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

PART = 1024
"""Choices at a time."""


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
    c = len(h)
    gram, slopes, mean_slope, diagonal = np.zeros((c + N, c + N)), np.zeros((N, N)), np.zeros(N), np.zeros(N)
    with one_thread():
        for first in range(0, len(chosen), PART):  # all at once would take gigabytes
            part = slice(first, first + PART)
            where = (chosen[part, :, None] == np.arange(m)).reshape(-1, c).astype(float)
            share, values = weights[part], f.hermite(deviation, where @ h)
            both, slope = (x * sqrt(share)[:, None] for x in (np.hstack([where, values.a]), values.b))
            gram += both.T @ both
            slopes += slope.T @ slope
            mean_slope += share @ values.b
            diagonal += share @ (values.c - values.a**2 - values.b**2 * deviation**2)
        chances, sums = gram[:c, :c], gram[:c, c:]  # E of 1_i 1_j and of 1_i a, 1_i where a block chooses i
        mean = sums[:m].sum(axis=0)
        centred = sums - chances.diagonal()[:, None] * mean
        effects = centred / chances.diagonal()[:, None]
        with_effects = effects.T @ centred
        rest = gram[c:, c:] - np.outer(mean, mean) - with_effects - with_effects.T + effects.T @ chances @ effects
        low_rank = rest + slopes * (root.T @ root / D)
    cross = sqrt(N) / D * (root * mean_slope).T @ teacher_root.T
    within = InputMoments(
        diagonal, root_of("latent", low_rank, smallest=1e-13), cross, teacher_root @ teacher_root.T / D
    )
    effects[:m] += mean - subtracted
    return MixtureMoments(np.tile(law.weights, blocks), effects, n, np.zeros(len(n), int), (within,), blocks)
