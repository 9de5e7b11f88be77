"""Averages of polynomials: Wick sums."""

from dataclasses import dataclass
from functools import cache
from itertools import combinations, zip_longest
from typing import final

import numpy as np
from jaxtyping import Float, Int
from scipy.special import comb, factorial

from ._base import Covariance, Expansions, Means, Quartets
from ._later import Array, jnp

PAIRS = tuple(combinations(range(4), 2))

Coefficients = tuple[float, ...]
Powers = Float[Array, "power n"]
"""Coefficients of the Wick powers :x^r: for every field."""


@cache
def _pairings(
    highest: tuple[int, int, int, int],
) -> tuple[Int[np.ndarray, "4 term"], Int[np.ndarray, "6 term"], Float[np.ndarray, "term"]]:
    """Ways to contract four Wick powers completely: E[∏ :x_i^(r_i):] = Σ ∏ r_i! ∏ S_ij^(m_ij)/m_ij!.

    Returns the orders r, the contractions m and the weights of the terms.
    """
    counts = [min(highest[i], highest[j]) + 1 for i, j in PAIRS]
    contractions = np.indices(counts).reshape(len(PAIRS), -1)
    orders = np.stack([contractions[[i in pair for pair in PAIRS]].sum(axis=0) for i in range(4)])
    fits = np.less_equal(orders.T, highest).all(axis=1)
    orders, contractions = orders[:, fits], contractions[:, fits]
    return orders, contractions, factorial(orders).prod(axis=0) / factorial(contractions).prod(axis=0)


@final
@dataclass(frozen=True)
class Polynomial(Expansions):
    """Integrals of polynomials g(x) = Σ_j c_j x^j, one for the students and one for the teachers, exact.

    Examples
    --------
    >>> print(Polynomial((0.0, 0.0, 1.0), (0.0, 0.0, 1.0)).correlation(jnp.eye(2), 1))  # E x⁴ = 3, (E x²)² = 1
    [[3. 1.]
     [1. 3.]]
    """

    student: Coefficients
    teacher: Coefficients

    def _wick(self, S: Covariance, K: int, order: int, mean: Means | float = 0.0) -> Powers:
        """Coefficients of g, g' or g'' of every field in the Wick powers :(x − mean)^r:, which are E[g⁽ʳ⁾]/r!."""
        both = np.array([*zip_longest(self.student, self.teacher, fillvalue=0.0)])
        g = np.repeat(np.polynomial.polynomial.polyder(both, order), [K, len(S) - K], axis=1)
        moments = [jnp.ones(len(S)), mean * jnp.ones(len(S))]
        for power in range(1, len(g)):
            moments.append(mean * moments[power] + power * jnp.diagonal(S) * moments[power - 1])
        degrees = range(len(g))
        return jnp.stack([sum(comb(j, r) * g[j] * moments[j - r] for j in degrees[r:]) for r in degrees])

    def average(
        self, S: Covariance, K: int, orders: tuple[int, int], rows: int, mean: Means | float = 0.0
    ) -> Float[Array, "{rows} n"]:
        """E[f_a h_b] = Σ_r r! f_ar h_br S_ab^r."""
        f, h = (self._wick(S, K, order, mean) for order in orders)
        total = jnp.zeros_like(S[:rows])
        for r in reversed(range(min(len(f), len(h)))):
            total = total * S[:rows] + factorial(r) * f[r][:rows, None] * h[r]
        return total

    def quartic(self, S: Covariance, K: int) -> Quartets:
        """E[g'_k g'_l g_a g_b], over all ways to contract the four Wick powers."""
        g = self._wick(S, K, 0)
        slope = self._wick(S, K, 1)[: max(1, len(self.student) - 1), :K]  # nothing above the student's degree
        orders, contractions, ways = _pairings((*[len(slope) - 1] * 2, *[len(g) - 1] * 2))
        powers = jnp.stack([S**m for m in range(contractions.max() + 1)])
        fields = [slice(K)] * 2 + [slice(None)] * 2
        return jnp.einsum(
            "t,tk,tl,ta,tb,tkl,tka,tkb,tla,tlb,tab->klab",
            ways,
            *(factor[order] for factor, order in zip((slope, slope, g, g), orders, strict=True)),
            *(powers[m][:, fields[i], fields[j]] for (i, j), m in zip(PAIRS, contractions, strict=True)),
        )
