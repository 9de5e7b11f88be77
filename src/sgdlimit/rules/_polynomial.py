"""Integrals of polynomials: Wick sums."""

from functools import lru_cache
from itertools import product
from math import comb, factorial
from typing import NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._base import Integrals

__all__ = ["Polynomial"]

Coefficients = tuple[float, ...]
PAIRS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def _derivative(coefficients: Coefficients) -> Coefficients:
    return tuple(j * c for j, c in enumerate(coefficients))[1:] or (0.0,)


def _shifted(coefficients: Coefficients, mean: Float[Array, "n"]) -> list[Float[Array, "n"]]:
    """Coefficients of g(mean + x) in powers of x."""
    degree = range(len(coefficients))
    return [sum((coefficients[j] * comb(j, i) * mean ** (j - i) for j in degree[i:]), 0 * mean) for i in degree]


def _wick(
    coefficients: Coefficients | list[Float[Array, "n"]], variance: Float[Array, "n"]
) -> Float[Array, "degree+1 n"]:
    """Coefficients of the Wick powers :x^r:, by x^j = Σ_i j!/(i! (j − 2i)! 2^i) S^i :x^(j−2i):."""
    wick = [jnp.zeros_like(variance)] * len(coefficients)
    for j, c in enumerate(coefficients):
        for i in range(j // 2 + 1):
            ways = factorial(j) / (factorial(i) * factorial(j - 2 * i) * 2**i)
            wick[j - 2 * i] = wick[j - 2 * i] + c * ways * variance**i
    return jnp.stack(wick)


class _Pairings(NamedTuple):
    """Ways to contract four Wick powers completely: E[∏ :x_i^(r_i):] = Σ ∏ r_i! ∏ S_ij^(m_ij)/m_ij!."""

    orders: Int[np.ndarray, "4 term"]
    contractions: Int[np.ndarray, "6 term"]
    ways: Float[np.ndarray, "term"]


@lru_cache(maxsize=64)
def _pairings(highest: tuple[int, int, int, int]) -> _Pairings:
    terms = []
    for m in product(*(range(min(highest[i], highest[j]) + 1) for i, j in PAIRS)):
        orders = [sum(number for number, pair in zip(m, PAIRS, strict=True) if i in pair) for i in range(4)]
        if all(order <= most for order, most in zip(orders, highest, strict=True)):
            ways = np.prod([factorial(order) for order in orders]) / np.prod([factorial(number) for number in m])
            terms.append((orders, m, float(ways)))
    orders, contractions, ways = zip(*terms, strict=True)
    return _Pairings(np.array(orders).T, np.array(contractions).T, np.array(ways))


@final
class Polynomial(Integrals):
    """Integrals of polynomials g(x) = Σ_j c_j x^j, one for the students and one for the teachers, exact.

    Examples
    --------
    >>> print(Polynomial((0.0, 0.0, 1.0), (0.0, 0.0, 1.0)).correlation(jnp.eye(2), 1))  # E x⁴ = 3, (E x²)² = 1
    [[3. 1.]
     [1. 3.]]
    """

    student: Coefficients
    teacher: Coefficients

    def _values(self, variance: Float[Array, "n"], K: int, order: int = 0) -> Float[Array, "degree+1 n"]:
        """Wick coefficients of g or g' of every field, by order of the Wick power."""
        student, teacher = self.student, self.teacher
        for _ in range(order):
            student, teacher = _derivative(student), _derivative(teacher)
        parts = _wick(student, variance[:K]), _wick(teacher, variance[K:])
        most = max(map(len, parts))
        return jnp.concatenate([jnp.pad(part, ((0, most - len(part)), (0, 0))) for part in parts], axis=1)

    def _pair(self, x: Float[Array, "r k"], y: Float[Array, "q n"], S: Float[Array, "k n"]) -> Float[Array, "k n"]:
        """Σ_r r! x_r y_r S^r."""
        total = jnp.zeros_like(S)
        for r in reversed(range(min(len(x), len(y)))):
            total = total * S + factorial(r) * x[r][:, None] * y[r]
        return total

    def correlation(self, S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[g_a g_b]."""
        g = self._values(jnp.diagonal(S), K)
        return self._pair(g, g, S)

    def correlation_around(self, mean: Float[Array, "n"], S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """The same of the polynomials in the distance from the mean."""
        variance = jnp.diagonal(S)
        parts = [
            _wick(_shifted(c, mean[some]), variance[some])
            for c, some in ((self.student, slice(K)), (self.teacher, slice(K, None)))
        ]
        most = max(map(len, parts))
        g = jnp.concatenate([jnp.pad(part, ((0, most - len(part)), (0, 0))) for part in parts], axis=1)
        return self._pair(g, g, S)

    def gain(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g'_k g'_a]."""
        slope = self._values(jnp.diagonal(S), K, 1)
        return self._pair(slope[:, :K], slope, S[:K])

    def curvature(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g''_k g_a]."""
        variance = jnp.diagonal(S)
        bend = _wick(_derivative(_derivative(self.student)), variance[:K])
        return self._pair(bend, self._values(variance, K), S[:K])

    def quartic(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K K n n"]:
        """E[g'_k g'_l g_a g_b], over all ways to contract the four Wick powers."""
        g, n = self._values(jnp.diagonal(S), K), len(S)
        slope = _wick(_derivative(self.student), jnp.diagonal(S)[:K])
        orders, contractions, ways = _pairings((*[len(slope) - 1] * 2, *[len(g) - 1] * 2))
        indices = np.meshgrid(range(K), range(K), range(n), range(n), indexing="ij")
        total = jnp.asarray(ways)[:, None, None, None, None]
        for factor, order, index in zip((slope, slope, g, g), orders, indices, strict=True):
            total = total * factor[order][:, index]
        for (i, j), power in zip(PAIRS, contractions, strict=True):
            between = S[indices[i], indices[j]]
            powers = jnp.stack([between**m for m in range(power.max() + 1)])
            total = total * powers[power]
        return jnp.sum(total, axis=0)
