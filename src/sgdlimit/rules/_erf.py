"""Averages of g(x) = erf(x/√2), after Saad & Solla (1995)."""

from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from ._base import Covariance, Integrals, Means, Pairs, Quartets
from ._kinks import STEP, kink_pairs
from ._orthant import arcsine


@final
class Erf(Integrals):
    """Integrals of g(x) = erf(x/√2), with g' = √(2/π) exp(−x²/2).

    Examples
    --------
    >>> print(f"{Erf().correlation(jnp.eye(1), 1)[0, 0]:.6f}")  # (2/π) asin(1/2)
    0.333333
    """

    def correlation(self, S: Covariance, K: int, mean: Means | None = None) -> Covariance:
        """E[g_a g_b] = (2/π) asin(S_ab/√((1 + S_aa)(1 + S_bb))).

        erf(x/√2) is the mean of sign(x + w) over w ~ N(0, 1). Around a mean this leaves probabilities of two fields of
        variance 1 + S_aa.
        """
        a = 1 + jnp.diagonal(S)
        if mean is None:
            return (2 / jnp.pi) * arcsine(S / jnp.sqrt(a[:, None] * a))
        deviation = jnp.sqrt(a)
        h = -mean / deviation
        above = ndtr(-h)
        both = kink_pairs(h[:, None], h[None, :], S / (deviation[:, None] * deviation))[STEP][STEP]
        return 4 * both - 2 * above[:, None] - 2 * above + 1

    def gain(self, S: Covariance, K: int) -> Pairs:
        """E[g'_k g'_a] = (2/π)/√((1 + S_kk)(1 + S_aa) − S_ka²)."""
        a = 1 + jnp.diagonal(S)
        return (2 / jnp.pi) / jnp.sqrt(a[:K, None] * a - jnp.square(S[:K]))

    def curvature(self, S: Covariance, K: int) -> Pairs:
        """E[g''_k g_a] = −S_ka E[g'_k g'_a]/(1 + S_kk)."""
        return -S[:K] / (1 + jnp.diagonal(S)[:K, None]) * self.gain(S, K)

    def quartic(self, S: Covariance, K: int) -> Quartets:
        """E[g'_k g'_l g_a g_b] = E[g'_k g'_l] E[g_a g_b] with the second mean over fields tilted by g'_k g'_l.

        g'_k g'_l = (2/π) exp(−(λ_k² + λ_l²)/2) turns N(0, S) into another Gaussian, of covariance S minus its
        regression on (λ_k, λ_l) plus unit noises. The same as Saad & Solla's (2/π)² Λ_4^(−1/2) asin(Λ_0/√(Λ_1 Λ_2)).
        """
        k, l = np.triu_indices(K)  # noqa: E741
        place = np.zeros((K, K), dtype=int)
        place[k, l] = place[l, k] = np.arange(len(k))
        gain = self.gain(S, K)

        def tilted(k, l):  # noqa: E741
            a, b, c, x, y = 1 + S[k, k], 1 + S[l, l], S[k, l], S[k], S[l]
            cross = jnp.outer(x, y)
            regression = (b * jnp.outer(x, x) + a * jnp.outer(y, y) - c * (cross + cross.T)) / (a * b - c**2)
            return gain[k, l] * self.correlation(S - regression, K)

        return jax.vmap(tilted)(k, l)[place]
