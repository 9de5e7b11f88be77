"""Integrals of g(x) = erf(x/√2), after Saad & Solla (1995)."""

from typing import final

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from ._base import Integrals
from ._kinks import kink_pairs
from ._orthant import arcsine

__all__ = ["Erf"]


def _determinant(S: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """(1 + S_aa)(1 + S_bb) − S_ab², never below 1."""
    a = 1 + jnp.diagonal(S)
    return a[:, None] * a - jnp.square(S)


def _correlation(S: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    a = 1 + jnp.diagonal(S, axis1=-2, axis2=-1)
    return (2 / jnp.pi) * arcsine(S / jnp.sqrt(a[..., :, None] * a[..., None, :]))


@final
class Erf(Integrals):
    """Integrals of g(x) = erf(x/√2), with g' = √(2/π) exp(−x²/2).

    Examples
    --------
    >>> print(f"{Erf().correlation(jnp.eye(1), 1)[0, 0]:.6f}")  # (2/π) asin(1/2)
    0.333333
    """

    def correlation(self, S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[g_a g_b] = (2/π) asin(S_ab/√((1 + S_aa)(1 + S_bb)))."""
        return _correlation(S)

    def correlation_around(self, mean: Float[Array, "n"], S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """erf(x/√2) is the mean of sign(x + w) over w ~ N(0, 1): probabilities of two fields of variance 1 + S_aa."""
        deviation = jnp.sqrt(1 + jnp.diagonal(S))
        h = -mean / deviation
        rho = S / (deviation[:, None] * deviation)
        above = ndtr(-h)
        both = kink_pairs(h[:, None], h[None, :], rho).step_step
        return 4 * both - 2 * above[:, None] - 2 * above + 1

    def gain(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g'_k g'_a] = (2/π)/√((1 + S_kk)(1 + S_aa) − S_ka²)."""
        return (2 / jnp.pi) / jnp.sqrt(_determinant(S)[:K])

    def curvature(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g''_k g_a] = −S_ka E[g'_k g'_a]/(1 + S_kk)."""
        return -S[:K] / (1 + jnp.diagonal(S)[:K, None]) * self.gain(S, K)

    def quartic(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K K n n"]:
        """E[g'_k g'_l g_a g_b] = E[g'_k g'_l] E[g_a g_b] with the second mean over fields tilted by g'_k g'_l.

        g'_k g'_l = (2/π) exp(−(λ_k² + λ_l²)/2) turns N(0, S) into another Gaussian, of covariance S minus its
        regression on (λ_k, λ_l) plus unit noises. The same as Saad & Solla's (2/π)² Λ_4^(−1/2) asin(Λ_0/√(Λ_1 Λ_2)).
        """
        k, l = np.triu_indices(K)  # noqa: E741
        position = np.zeros((K, K), dtype=int)
        position[k, l] = position[l, k] = np.arange(len(k))
        variance = 1 + jnp.diagonal(S)
        x, y = S[k, :, None] * S[l, None, :], S[l, :, None] * S[k, None, :]
        xx, yy = S[k, :, None] * S[k, None, :], S[l, :, None] * S[l, None, :]
        a, b, c = (z[:, None, None] for z in (variance[k], variance[l], S[k, l]))
        determinant = _determinant(S)[k, l][:, None, None]
        tilted = S - (b * xx + a * yy - c * (x + y)) / determinant
        return ((2 / jnp.pi) / jnp.sqrt(determinant) * _correlation(tilted))[position]
