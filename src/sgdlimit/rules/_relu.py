"""g(x) = max(x, 0): value and slope in compiled loops, and averages, which are truncated moments of orthants."""

from functools import cache
from itertools import groupby
from math import tau
from typing import ClassVar, final, no_type_check

import numpy as np
from jaxtyping import Int

from ._base import Covariance, Integrals, Means, Pairs, Quartets, normalised
from ._later import Array, jnp, kinks, orthant

ALIKE = 1e-13
"""Fields with 1 − ρ below this are the same up to a factor; rounding alone leaves some 1e-16 a step."""


def _directions(S: Covariance) -> tuple[Means, Means, Covariance, Int[Array, "n"]]:
    """Deviations, their reciprocals, correlations, and the first field in the same direction as each field.

    Fields that are the same up to a positive factor share the correlations of the first of them. Without that, rounding
    would tear identical students apart, since the noise that drives them apart grows like √(1 − ρ).
    """
    deviation, reciprocal, rho = normalised(S)
    first = jnp.argmax(1 - rho < ALIKE, axis=1)
    return deviation, reciprocal, rho[jnp.ix_(first, first)], first


@no_type_check  # at run time, because Numba compiles it
def relu_and_slope(x: float) -> tuple[float, float]:
    """g(x) and g'(x)."""
    return max(x, 0.0), (1.0 if x > 0 else 0.0)


@cache
def _index_sets(students: int, fields: int) -> tuple[list[Int[np.ndarray, "size count"]], Int[np.ndarray, "K K n n"]]:
    """Sets of distinct fields {k, l, a, b}, by size, and where the moment of (k, l, a, b) stands among theirs.

    θ² = θ, so E[θ_k θ_l g_a g_b] is the truncated second moment (a, b) of the *set* {k, l, a, b}, one to four fields,
    and all roles that the members of a set can play share its orthant probability.
    """
    where = np.empty((students, students, fields, fields), dtype=np.int32)
    chosen = {index: tuple(sorted({*index})) for index in np.ndindex(where.shape)}
    sets, offset = [], 0
    for size, same_size in groupby(sorted({*chosen.values()}, key=lambda members: (len(members), members)), key=len):
        number = {members: count for count, members in enumerate(same_size)}
        for index, members in chosen.items():
            if members in number:
                role = members.index(index[2]), members.index(index[3]), number[members]
                where[index] = offset + np.ravel_multi_index(role, (size, size, len(number)))
        sets.append(np.array([*number]).T)
        offset += size * size * len(number)
    return sets, where


@final
class ReLU(Integrals):
    """Integrals of g(x) = max(x, 0), with g' = θ(x) and g'' = δ(x).

    Exact but for the orthant probability of four fields, a smooth integral done to 5e-9 or better. At a field of zero
    variance E[g''_k g_a] is infinite; the 0 given there is the limit of what it multiplies in the equations of motion.

    Examples
    --------
    >>> print(f"{ReLU().correlation(jnp.eye(2), 1)[0, 1]:.6f}")  # (E max(x, 0))² = 1/(2π)
    0.159155
    """

    method: ClassVar[str] = "quadrature"
    """For orthants of four fields; all other averages are closed forms."""
    known_error: ClassVar[float] = 5e-9
    """Error of the orthants."""

    def correlation(self, S: Covariance, K: int, mean: Means | None = None) -> Covariance:
        """E[g_a g_b] = s_a s_b [√(1 − ρ²) + ρ (π/2 + asin ρ)]/(2π), the arc-cosine kernel of Cho & Saul (2009).

        Around a mean, it is the average of two ramps whose kinks the mean moves; a field that does not vary is its
        mean.
        """
        deviation, reciprocal, rho, _ = _directions(S)
        scale = deviation[:, None] * deviation
        if mean is None:
            return scale * orthant.arc_cosine_kernel(rho)
        varies = reciprocal > 0
        h = jnp.where(varies, -mean * reciprocal, 0.0)
        alone = jnp.where(varies, deviation * (kinks.bell(h) - h * kinks.ndtr(-h)), jnp.maximum(mean, 0))
        both = scale * kinks.kink_pairs(h[:, None], h[None, :], rho)[kinks.RAMP][kinks.RAMP]
        return jnp.where(varies[:, None] & varies, both, alone[:, None] * alone)

    def gain(self, S: Covariance, K: int) -> Pairs:
        """E[θ_k θ_a] = 1/4 + asin ρ_ka/(2π)."""
        return orthant.quadrant_probability(_directions(S)[2][:K])

    def curvature(self, S: Covariance, K: int) -> Pairs:
        """E[δ(λ_k) g_a] = (s_a/s_k) √(1 − ρ_ka²)/(2π), which is 0 for a = k."""
        deviation, reciprocal, rho, _ = _directions(S)
        return reciprocal[:K, None] * deviation * orthant.uncorrelated_root(rho[:K]) / tau

    def quartic(self, S: Covariance, K: int) -> Quartets:
        """E[θ_k θ_l g_a g_b], truncated second moments of the fields in {k, l, a, b}."""
        deviation, _, rho, first = _directions(S)
        sets, where = _index_sets(K, len(S))
        place = jnp.asarray(where)[jnp.ix_(first[:K], first[:K], first, first)]
        moments = [orthant.second_moments(rho[members[:, None], members[None]]).ravel() for members in sets]
        return deviation[:, None] * deviation * jnp.concatenate(moments)[place]
