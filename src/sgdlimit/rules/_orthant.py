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
from itertools import combinations
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["arcsine", "orthant_probability", "quadrant_probability", "second_moments", "uncorrelated_root"]

TINY = 1e-14
"""Conditional variance of a unit variable that counts as zero; rounding alone leaves some 1e-16."""

NOISE = 1e-11
"""Variance of the noise by which variables in a plane are told apart."""

NODE_COUNT = 20
"""Gauss-Legendre nodes for P_4; graded as below they leave an error of at most 5e-9, singular ρ included."""


def _graded_nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    # ξ = 1 − (1 − u)⁴ crowds the nodes at ξ = 1, where a singular ρ makes the integrand behave like √(1 − ξ).
    u, weights = np.polynomial.legendre.leggauss(count)
    u, weights = (1 + u) / 2, weights / 2
    return 1 - (1 - u) ** 4, 4 * weights * (1 - u) ** 3


NODES, NODE_WEIGHTS = _graded_nodes(NODE_COUNT)


def _uncorrelated(rho: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Conditional variance 1 − ρ², without cancellation at |ρ| = 1."""
    return (1 - rho) * (1 + rho)


def uncorrelated_root(rho: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """√(1 − ρ²), and 0 (so is the derivative) where ρ² is 1 to within TINY."""
    variance = _uncorrelated(rho)
    return variance * _reciprocal_root(variance)


def _reciprocal_root(variance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1/√x, and 0 below TINY."""
    regular = variance > TINY
    return jnp.where(regular, jax.lax.rsqrt(jnp.where(regular, variance, 1.0)), 0.0)


@jax.custom_jvp
def arcsine(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Inverse sine asin(x) for |x| ≤ 1, with derivative 0 instead of ∞ at |x| = 1."""
    # By the half-angle formula, which XLA evaluates several times faster than its own asin.
    return 2 * jnp.arctan(x / (1 + jnp.sqrt(_uncorrelated(x))))


@arcsine.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return arcsine(x), _reciprocal_root(_uncorrelated(x)) * dx


def quadrant_probability(rho: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """P_2 = 1/4 + asin ρ/(2π)."""
    return 1 / 4 + arcsine(rho) / (2 * jnp.pi)


# --- four variables: the six correlations in the order of PAIRS, first axis -----------------------------------------

PAIRS = tuple(combinations(range(4), 2))


def _place(i: int, j: int) -> int:
    return PAIRS.index((min(i, j), max(i, j)))


# For each pair ij and the others k < l, where ij, ik, jl, il, jk and kl stand among the six; and k and l themselves.
OTHERS = np.array([sorted({0, 1, 2, 3} - set(pair)) for pair in PAIRS]).T
ROLES = np.array(
    [
        [_place(*pair) for pair in ((i, j), (i, k), (j, l), (i, l), (j, k), (k, l))]
        for (i, j), (k, l) in zip(PAIRS, OTHERS.T, strict=True)  # noqa: E741
    ]
).T
# For each variable, the other three as its tightest pairing {12}{34} has them: the pair among them, then the other two.
TRIPLES = np.array([[_place(*pair) for pair in triple] for triple in (
    ((2, 3), (1, 2), (1, 3)), ((2, 3), (0, 2), (0, 3)), ((0, 1), (0, 3), (1, 3)), ((0, 1), (0, 2), (1, 2))
)]).T  # fmt: skip
SWAP_23, SWAP_24 = np.array([1, 0, 2, 3, 5, 4]), np.array([2, 1, 0, 5, 4, 3])


def _tightest_pairing(
    six: Float[Array, "6 *batch"],
) -> Callable[[Float[Array, "6 *batch"]], Float[Array, "6 *batch"]]:
    """Relabelling (its own inverse) that makes {12}{34} the pairing with the largest ρ² + ρ'² inside its pairs."""
    strength = jax.lax.stop_gradient(jnp.square(six[:3]) + jnp.square(six[:2:-1]))
    pairing = jnp.argmax(strength, axis=0)

    def relabel(six):
        return jnp.where(pairing == 0, six, jnp.where(pairing == 1, six[SWAP_23], six[SWAP_24]))

    return relabel


def _quadrant_of_covariance(
    covariance: Float[Array, "*shape"], product: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """P_2 = 1/4 + asin(c/√p)/(2π) of two variables with covariance c and product of variances p."""
    # asin(c/√p) = atan(c/√(p − c²)): one root for two.
    left = jnp.maximum(product - jnp.square(covariance), TINY**2 * product + 1e-200)
    return 1 / 4 + jnp.arctan(covariance * jax.lax.rsqrt(left)) / (2 * jnp.pi)


def _six_slopes(six: Float[Array, "6 *batch"]) -> Float[Array, "6 *batch"]:
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
    return relabel(_reciprocal_root(free) * _quadrant_of_covariance(covariance, product) / (2 * jnp.pi))


@jax.custom_jvp
def _probability_of_four(six: Float[Array, "6 *batch"]) -> Float[Array, "*batch"]:
    """P_4, by switching on the four correlations between two independent pairs together.

    Each contributes ∫ P_2(rest | z_i = z_j = 0) ds/(2π), s from 0 to asin ρ_ij, at the switch sin(s)/ρ_ij; in the
    variable tan(s/2) no sine is needed. The integrand is smooth inside, however collinear the variables, when the pairs
    are the tightest ones.
    """
    six = _tightest_pairing(six)(six)
    ij, ik, jl, il, jk, kl = six[ROLES[:, 1:5]][..., None]
    end = ij / (1 + jnp.sqrt(_uncorrelated(ij)))  # tan(s/2) where s = asin ρ
    half = NODES * end
    jacobian = 1 / (1 + jnp.square(half))
    switch = jacobian * (1 + jnp.square(end)) * NODES
    free = jnp.square((1 - jnp.square(half)) * jacobian)

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
    return quadrant_probability(six[0]) * quadrant_probability(six[5]) + jnp.sum(integrals, axis=0) / (2 * jnp.pi)


@_probability_of_four.defjvp
def _(primals, tangents):
    (six,), (dsix,) = primals, tangents
    return _probability_of_four(six), jnp.sum(_six_slopes(six) * dsix, axis=0)


# --- any size up to four ---------------------------------------------------------------------------------------------


def orthant_probability(rho: Float[Array, "n n *batch"]) -> Float[Array, "*batch"]:
    """Orthant probability P_n = E[∏ θ(z_i)] of 1 ≤ n ≤ 4 normal variables.

    Parameters
    ----------
    rho
        Correlation matrices, positive semi-definite; singular ones are fine.

    Returns
    -------
    Array
        P_1 = 1/2, P_2 = 1/4 + asin ρ/(2π), P_3 = 1/8 + Σ asin ρ/(4π); P_4 to 5e-9, and to 1e-11 unless ρ is nearly
        singular.

    Examples
    --------
    >>> with jax.enable_x64(True):  # equicorrelated at 1/2: 1/(n + 1)
    ...     print(f"{orthant_probability((jnp.eye(4) + 1) / 2):.6f}")
    0.200000
    """
    n = len(rho)
    if n == 1:
        return jnp.full(rho.shape[2:], 1 / 2)
    correlations = rho[np.triu_indices(n, 1)]
    if n == 2:
        return quadrant_probability(correlations[0])
    if n == 3:
        return 1 / 8 + jnp.sum(arcsine(correlations), axis=0) / (4 * jnp.pi)
    return _probability_of_four(correlations)


def _slopes(rho: Float[Array, "n n *batch"]) -> Float[Array, "n n *batch"]:
    """D = ∂²P_n/∂μ∂μᵀ."""
    n = len(rho)
    upper = np.triu_indices(n, 1)
    correlations = rho[upper]
    if n == 4:
        slopes = _six_slopes(correlations)
    else:  # one variable left has the probability 1/2, none left 1
        slopes = _reciprocal_root(_uncorrelated(correlations)) / (2 * jnp.pi) / 2 ** max(0, n - 2)
    D = [[jnp.zeros(rho.shape[2:])] * n for _ in range(n)]
    for i, j, slope in zip(*upper, slopes, strict=True):
        D[i][j] = D[j][i] = slope
    for i in range(n):
        D[i][i] = -reduce(add, [rho[i, j] * D[i][j] for j in range(n)])
    return jnp.stack([jnp.stack(row) for row in D])


def second_moments(rho: Float[Array, "n n *batch"]) -> Float[Array, "n n *batch"]:
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
    return rho * orthant_probability(rho) + _product(_product(rho, _slopes(rho)), rho)


def _product(x: Float[Array, "n n *batch"], y: Float[Array, "n n *batch"]) -> Float[Array, "n n *batch"]:
    # The matrices are tiny and the batch is last, where it vectorises; XLA's batched product would go one by one.
    return reduce(add, [x[:, i, None] * y[None, i] for i in range(len(x))])
