"""g(x) = erf(x/√2): value and slope in compiled loops, NumPy and JAX, and averages after Saad & Solla (1995)."""

import math
from typing import final, no_type_check

import numpy as np

from ._base import Covariance, Integrals, Means, Pairs, Quartets
from ._later import Array, jax, jnp, kinks, orthant

LOG2_E = 1 / math.log(2)
LN2 = math.log(2)
SLOPE = math.sqrt(2 / math.pi)
EXP_COEFFICIENTS = tuple(1 / math.factorial(k) for k in reversed(range(10)))
# erfc(z) = t P(t) exp(−z²), t = 1/(1 + 0.4 z), P fitted at the Chebyshev points of t in (0, 1].
ERFC_COEFFICIENTS = (
    0.01809663344145,
    -0.1031263254241,
    0.2262902740853,
    -0.2204021399024,
    0.08448854836834,
    -0.04746998614114,
    0.02319663686286,
    0.06690225668818,
    0.1215119662414,
    0.1715403241085,
    0.2076201089193,
    0.2256758697436,
    0.2256758332947,
)


@no_type_check  # at run time, because Numba compiles it
def erf_and_gauss(x: float) -> tuple[float, float]:
    """erf(x/√2) and exp(−x²/2), to 1e-9: what the float32 sums that x comes from are worth a hundred times over."""
    square = min(0.5 * x * x, 700.0)
    n = np.floor(0.5 - square * LOG2_E)
    rest = -square - n * LN2
    gauss = 0.0
    for c in EXP_COEFFICIENTS:
        gauss = gauss * rest + c
    exponent = np.int64(np.int32(n)) + np.int64(1023)
    gauss *= np.int64(exponent << np.int64(52)).view(np.float64)  # 2ⁿ, whose bits are its exponent's
    t = 1 / (1 + 0.4 * math.sqrt(0.5) * abs(x))
    tail = 0.0
    for c in ERFC_COEFFICIENTS:
        tail = tail * t + c
    return math.copysign(1 - tail * t * gauss, x), gauss


def value(x: np.ndarray) -> np.ndarray:
    """g(x) without JAX."""
    from scipy.special import erf

    return erf(x / np.sqrt(2))


def slope(x: np.ndarray) -> np.ndarray:
    """g'(x) without JAX."""
    return SLOPE * np.exp(-np.square(x) / 2)


def in_jax(x: Array) -> Array:
    """g(x)."""
    return jax.lax.erf(x / np.sqrt(2))


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
            return (2 / jnp.pi) * orthant.arcsine(S / jnp.sqrt(a[:, None] * a))
        deviation = jnp.sqrt(a)
        h = -mean / deviation
        above = kinks.ndtr(-h)
        both = kinks.kink_pairs(h[:, None], h[None, :], S / (deviation[:, None] * deviation))[kinks.STEP][kinks.STEP]
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
