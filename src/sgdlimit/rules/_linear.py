"""Integrals of g(x) = x."""

from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._base import Integrals

__all__ = ["Linear"]


@final
class Linear(Integrals):
    """Integrals of g(x) = x: Wick sums, with g' = 1 and g'' = 0.

    Examples
    --------
    >>> print(Linear().gain(jnp.eye(2), 1))
    [[1. 1.]]
    """

    def correlation(self, S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[λ_a λ_b] = S_ab."""
        return S

    def correlation_around(self, mean: Float[Array, "n"], S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[λ_a λ_b] = S_ab and the product of the means."""
        return S + mean[:, None] * mean

    def gain(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[1] = 1."""
        return jnp.ones_like(S[:K])

    def curvature(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[0] = 0."""
        return jnp.zeros_like(S[:K])

    def quartic(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K K n n"]:
        """E[λ_a λ_b] = S_ab."""
        return jnp.broadcast_to(S, (K, K, *S.shape))
