"""Gaussian orthants: probabilities and truncated moments of up to four correlated normal variables.

All in float64. For z ~ N(0, ρ) of n unit variables, let P_n = E[∏ θ(z_i)] and F = E[z zᵀ ∏ θ(z_i)]. Shifting the mean
of z by μ,

    F = ρ P_n + ρ D ρ,    D = ∂²P_n/∂μ∂μᵀ at μ = 0,

which is Stein's lemma applied twice. Off its diagonal, D_jk = ∂P_n/∂ρ_jk is the density of z_j = z_k = 0 times the
orthant probability of the rest given z_j = z_k = 0 (Plackett 1954); P_n does not change with the scale of z_j, so
Σ_k ρ_jk D_jk = 0 gives the diagonal. One formula serves every size and every pair of indices.

At a singular ρ single terms of D have no limit, but F = lim F(ρ + δ²) has. At ρ_jk = ±1 the terms of D_jk cancel up to
O(√(1 − ρ²)) and are dropped below :data:`TINY`; variables that z_j = z_k = 0 would fix are left with what noise of
variance :data:`NOISE` gives them. Derivatives follow the same rules, so that none is infinite. This moves F by up to
2e-7; rounding adds up to 1e-6 where three variables coincide or four lie in a plane, 1e-8 elsewhere.
"""

from collections.abc import Callable
from functools import reduce
from math import tau
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TINY = 1e-14
"""Conditional variance of a unit variable that counts as zero; rounding alone leaves some 1e-16."""

NOISE = 1e-11
"""Variance of the noise that tells variables in a plane apart."""

NODE_COUNT = 20
"""Gauss-Legendre nodes for P_4; graded as below they leave an error of at most 5e-9, singular ρ included."""

# ξ = 1 − (1 − u)⁴ crowds the nodes at ξ = 1, where a singular ρ makes the integrand behave like √(1 − ξ).
_u, _weights = np.polynomial.legendre.leggauss(NODE_COUNT)
_u, _weights = (1 + _u) / 2, _weights / 2
NODES, NODE_WEIGHTS = 1 - (1 - _u) ** 4, 4 * _weights * (1 - _u) ** 3

Values = Float[Array, "*shape"]
Six = Float[Array, "6 *batch"]
Matrices = Float[Array, "n n *batch"]


def _uncorrelated(rho: Values) -> Values:
    """Conditional variance 1 − ρ², without cancellation at |ρ| = 1."""
    return (1 - rho) * (1 + rho)


def uncorrelated_root(rho: Values) -> Values:
    """√(1 − ρ²), and 0 (so is the derivative) where ρ² is 1 to within TINY."""
    variance = _uncorrelated(rho)
    return variance * _reciprocal_root(variance)


def _reciprocal_root(variance: Values) -> Values:
    """1/√x, and 0 below TINY."""
    regular = variance > TINY
    return jnp.where(regular, jax.lax.rsqrt(jnp.where(regular, variance, 1.0)), 0.0)


@jax.custom_jvp
def arcsine(x: Values) -> Values:
    """Inverse sine asin(x) for |x| ≤ 1, with derivative 0 instead of ∞ at |x| = 1."""
    # By the half-angle formula, which XLA evaluates several times faster than its own asin.
    return 2 * jnp.arctan(x / (1 + jnp.sqrt(_uncorrelated(x))))


arcsine.defjvps(lambda dx, value, x: _reciprocal_root(_uncorrelated(x)) * dx)


def quadrant_probability(rho: Values) -> Values:
    """P_2 = 1/4 + asin ρ/(2π)."""
    return 1 / 4 + arcsine(rho) / tau


@jax.custom_jvp
def arc_cosine_kernel(rho: Values) -> Values:
    """E[max(x, 0) max(y, 0)] of unit normals, [√(1 − ρ²) + ρ (π/2 + asin ρ)]/(2π)."""
    return uncorrelated_root(rho) / tau + rho * quadrant_probability(rho)


# Price's theorem: E[θ(x) θ(y)].
arc_cosine_kernel.defjvps(lambda drho, value, rho: quadrant_probability(rho) * drho)


# --- four variables: the six correlations of the pairs i < j, first axis --------------------------------------------


def _places(n: int) -> np.ndarray:
    """Where the correlation of i and j stands among those of the pairs, and −1 for i = j."""
    places, (i, j) = np.full((n, n), -1), np.triu_indices(n, 1)
    places[i, j] = places[j, i] = np.arange(len(i))
    return places


PLACES = _places(4)
_i, _j = np.triu_indices(4, 1)
OTHERS = _k, _l = _i[::-1], _j[::-1]  # the others k < l of each pair: the pairs are in lexical order
# For each pair, where ij, ik, jl, il, jk and kl stand among the six.
ROLES = PLACES[[_i, _i, _j, _i, _j, _k], [_j, _k, _l, _l, _k, _l]]
# For each variable, its partner in the pairing {12}{34} and the other two: where their three pairs stand.
_partner, _left, _right = [1, 0, 3, 2], [2, 2, 0, 0], [3, 3, 1, 1]
TRIPLES = PLACES[[_left, _partner, _partner], [_right, _left, _right]]
SWAP_23, SWAP_24 = np.array([1, 0, 2, 3, 5, 4]), np.array([2, 1, 0, 5, 4, 3])


def _tightest_pairing(six: Six) -> Callable[[Six], Six]:
    """Relabelling (its own inverse) that makes {12}{34} the pairing with the largest ρ² + ρ'² inside its pairs."""
    pairing = jnp.argmax(jax.lax.stop_gradient(jnp.square(six[:3]) + jnp.square(six[:2:-1])), axis=0)
    return lambda six: jnp.where(pairing == 0, six, jnp.where(pairing == 1, six[SWAP_23], six[SWAP_24]))


def _quadrant_of_covariance(covariance: Values, product: Values) -> Values:
    """P_2 = 1/4 + asin(c/√p)/(2π) of two variables with covariance c and product of variances p."""
    # asin(c/√p) = atan(c/√(p − c²)): one root for two.
    left = jnp.maximum(product - covariance**2, TINY**2 * product + 1e-200)
    return 1 / 4 + jnp.arctan(covariance * jax.lax.rsqrt(left)) / tau


def _six_slopes(six: Six) -> Six:
    """∂P_4/∂ρ_ij = P_2(k, l | z_i = z_j = 0)/(2π√(1 − ρ_ij²))."""
    relabel = _tightest_pairing(six)
    six = relabel(six)
    free = _uncorrelated(six)
    ij, ik, jl, il, jk, kl = six[ROLES]
    # Regression coefficients on z_i and z_j, times 1 − ρ_ij², and the conditional covariance likewise.
    ki, kj, li, lj = ik - jk * ij, jk - ik * ij, il - jl * ij, jl - il * ij
    covariance = (kl - ik * il - jl * kj) * free + ij * kj * li
    # One determinant a triple, for all pairs in it: their terms cancel as the triple falls into a plane.
    inside, left, right = TRIPLES
    determinant = free[inside] * free[left] - jnp.square(six[right] - six[inside] * six[left])
    det_l, det_k = (jnp.maximum(determinant[left_out], 0) for left_out in OTHERS)
    # In a plane z_k and z_l would be fixed by z_i and z_j; they are what noise leaves them, to first order.
    noise = NOISE / jnp.maximum(free, NOISE)
    covariance += noise * (ki * li + kj * lj)
    product = (det_k + noise * (free**2 + ki**2 + kj**2)) * (det_l + noise * (free**2 + li**2 + lj**2))
    return relabel(_reciprocal_root(free) * _quadrant_of_covariance(covariance, product) / tau)


@jax.custom_jvp
def _probability_of_four(six: Six) -> Float[Array, "*batch"]:
    """P_4, by switching on the four correlations between two independent pairs together.

    Each contributes ∫ P_2(rest | z_i = z_j = 0) ds/(2π), s from 0 to asin ρ_ij, at the switch sin(s)/ρ_ij; in the
    variable tan(s/2) no sine is needed. The integrand is smooth inside, however collinear the variables, when the pairs
    are the tightest ones.
    """
    six = _tightest_pairing(six)(six)
    ij, ik, jl, il, jk, kl = six[ROLES[:, 1:5]][..., None]
    end = ij / (1 + jnp.sqrt(_uncorrelated(ij)))  # tan(s/2) where s = asin ρ
    half = NODES * end
    jacobian = 1 / (1 + half**2)
    switch = jacobian * (1 + end**2) * NODES
    free = jnp.square((1 - half**2) * jacobian)

    # Regression within the pairs leaves these of jk, il and kl; all three scale with the switch.
    jk_i, il_j = jk - ik * ij, il - jl * ij
    kl_ij = kl - ik * il - jl * jk_i
    variance_k = _uncorrelated(ik) * free - jnp.square(switch * jk_i)
    variance_l = _uncorrelated(jl) * free - jnp.square(switch * il_j)
    covariance = switch * (kl_ij * free + switch**2 * ij * jk_i * il_j)
    regular = (variance_k > TINY * free) & (variance_l > TINY * free)
    probability = _quadrant_of_covariance(
        jnp.where(regular, covariance, 0.0), jnp.where(regular, variance_k * variance_l, 1.0)
    )
    integrals = 2 * end[..., 0] * ((jacobian * probability) @ NODE_WEIGHTS)
    return quadrant_probability(six[0]) * quadrant_probability(six[5]) + jnp.sum(integrals, axis=0) / tau


_probability_of_four.defjvps(lambda dsix, value, six: jnp.sum(_six_slopes(six) * dsix, axis=0))


# --- any size up to four ---------------------------------------------------------------------------------------------


def orthant_probability(correlations: Float[Array, "pair *batch"], n: int) -> Float[Array, "*batch"]:
    """Orthant probability P_n = E[∏ θ(z_i)] of 1 ≤ n ≤ 4 normal variables.

    Parameters
    ----------
    correlations
        Those of the pairs i < j, in lexical order; singular correlation matrices are fine.

    Returns
    -------
    Array
        P_1 = 1/2, P_2 = 1/4 + asin ρ/(2π), P_3 = 1/8 + Σ asin ρ/(4π); P_4 to 5e-9, and to 1e-11 unless ρ is nearly
        singular.

    Examples
    --------
    >>> with jax.enable_x64(True):  # equicorrelated at 1/2: 1/(n + 1)
    ...     print(f"{orthant_probability(jnp.full(6, 0.5), 4):.6f}")
    0.200000
    """
    if n == 4:
        return _probability_of_four(correlations)
    return 2.0**-n + jnp.sum(arcsine(correlations), axis=0) / (2 ** (n - 1) * jnp.pi)


def second_moments(rho: Matrices) -> Matrices:
    """Truncated second moments F = E[z zᵀ ∏ θ(z_i)] of 1 ≤ n ≤ 4 normal variables, by F = ρ P_n + ρ D ρ.

    Parameters
    ----------
    rho
        Correlation matrices, positive semi-definite; singular ones are fine.

    Examples
    --------
    >>> with jax.enable_x64(True):  # (E[z θ(z)])² = 1/(2π)
    ...     print(f"{second_moments(jnp.eye(2))[0, 1]:.6f}")
    0.159155
    """
    n = len(rho)
    probability, pullback = jax.vjp(lambda pairs: orthant_probability(pairs, n), rho[np.triu_indices(n, 1)])
    (slopes,) = pullback(jnp.ones_like(probability))
    D = jnp.concatenate([slopes, jnp.zeros_like(rho[0, :1])])[_places(n)]  # but for its diagonal −Σ_k ρ_jk D_jk
    products = _product(rho, D)
    return rho * probability + _product(products - rho * jnp.einsum("jj...->j...", products), rho)


def _product(x: Matrices, y: Matrices) -> Matrices:
    # The matrices are tiny and the batch is last, where it vectorises; XLA's batched product would go one by one.
    return reduce(add, [x[:, i, None] * y[i] for i in range(len(x))])
