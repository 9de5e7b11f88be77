"""Integrals of g(x) = max(x, 0): truncated moments of Gaussian orthants."""

from functools import lru_cache
from itertools import combinations, product
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float, Int

from ._base import Integrals
from ._kinks import bell, kink_pairs
from ._orthant import quadrant_probability, second_moments, uncorrelated_root

__all__ = ["ReLU"]


ALIKE = 1e-13
"""Fields with 1 − ρ below this are the same up to a factor; rounding alone leaves some 1e-16 a step."""


class _Directions(NamedTuple):
    """Local fields as deviations times unit normals.

    Fields that are the same up to a positive factor share the correlations of the first of them. Without that, rounding
    would tear identical students apart, since the noise that drives them apart grows like √(1 − ρ).
    """

    deviation: Float[Array, "n"]
    reciprocal: Float[Array, "n"]
    first: Int[Array, "n"]
    rho: Float[Array, "n n"]


def _directions(S: Float[Array, "n n"]) -> _Directions:
    """A field of zero variance gets 0 for its deviation, its reciprocal and its correlations."""
    variance = jnp.diagonal(S)
    positive = variance > 0
    root = jnp.sqrt(jnp.where(positive, variance, 1.0))
    deviation, reciprocal = jnp.where(positive, root, 0.0), jnp.where(positive, 1 / root, 0.0)
    rho = jnp.clip(S * reciprocal[:, None] * reciprocal, -1, 1)
    rho = jnp.where(np.eye(len(S), dtype=bool), 1.0, rho)
    first = jnp.argmax(1 - rho < ALIKE, axis=1)
    return _Directions(deviation, reciprocal, first, rho[first[:, None], first])


@jax.custom_jvp
def _arc_cosine_kernel(rho: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """E[max(x, 0) max(y, 0)] of unit normals, [√(1 − ρ²) + ρ (π/2 + asin ρ)]/(2π)."""
    return uncorrelated_root(rho) / (2 * jnp.pi) + rho * quadrant_probability(rho)


@_arc_cosine_kernel.defjvp
def _(primals, tangents):
    (rho,), (drho,) = primals, tangents
    return _arc_cosine_kernel(rho), quadrant_probability(rho) * drho  # Price's theorem: E[θ(x) θ(y)]


@lru_cache(maxsize=64)
def _index_sets(students: int, fields: int) -> tuple[list[Int[np.ndarray, "size count"]], Int[np.ndarray, "K K n n"]]:
    """Sets of distinct fields {k, l, a, b}, by size, and where the moment of (k, l, a, b) stands among theirs.

    θ² = θ, so E[θ_k θ_l g_a g_b] is the truncated second moment (a, b) of the *set* {k, l, a, b}, one to four fields,
    and all roles that the members of a set can play share its orthant probability.
    """
    sets, place, offset = [], {}, 0
    for size in range(1, 5):
        needed = min(2, max(1, size - 2))  # of four distinct fields k and l are two students
        members = [s for s in combinations(range(fields), size) if s[needed - 1] < students]
        if not members:
            continue
        for number, chosen in enumerate(members):
            for (i, a), (j, b) in product(enumerate(chosen), repeat=2):
                place[chosen, a, b] = offset + (i * size + j) * len(members) + number
        offset += size * size * len(members)
        sets.append(np.array(members).T)
    where = np.empty((students, students, fields, fields), dtype=np.int32)
    for k, l, a, b in np.ndindex(where.shape):  # noqa: E741
        where[k, l, a, b] = place[tuple(sorted({k, l, a, b})), a, b]
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

    @property
    def method(self) -> str:
        """Quadrature, of the orthants of four fields; all others are closed forms."""
        return "quadrature"

    @property
    def known_error(self) -> float:
        """Of the orthants."""
        return 5e-9

    def correlation(self, S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[g_a g_b] = s_a s_b [√(1 − ρ²) + ρ (π/2 + asin ρ)]/(2π), the arc-cosine kernel of Cho & Saul (2009)."""
        deviation, _, _, rho = _directions(S)
        return deviation[:, None] * deviation * _arc_cosine_kernel(rho)

    def correlation_around(self, mean: Float[Array, "n"], S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """Two ramps, each from where its mean puts the kink; a field that does not vary is its mean."""
        deviation, reciprocal, _, rho = _directions(S)
        h = jnp.where(reciprocal > 0, -mean * reciprocal, 0.0)
        both = deviation[:, None] * deviation * kink_pairs(h[:, None], h[None, :], rho).ramp_ramp
        alone = jnp.maximum(mean, 0)
        first = jnp.where(reciprocal > 0, deviation * (bell(h) - h * ndtr(-h)), alone)
        varies = (reciprocal[:, None] > 0) & (reciprocal > 0)
        return jnp.where(varies, both, first[:, None] * first)

    def gain(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[θ_k θ_a] = 1/4 + asin ρ_ka/(2π)."""
        return quadrant_probability(_directions(S).rho[:K])

    def curvature(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[δ(λ_k) g_a] = (s_a/s_k) √(1 − ρ_ka²)/(2π), which is 0 for a = k."""
        deviation, reciprocal, _, rho = _directions(S)
        return reciprocal[:K, None] * deviation * uncorrelated_root(rho[:K]) / (2 * jnp.pi)

    def quartic(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K K n n"]:
        """E[θ_k θ_l g_a g_b], truncated second moments of the fields in {k, l, a, b}."""
        deviation, _, first, rho = _directions(S)
        sets, where = _index_sets(K, len(S))
        k, a = first[:K], first
        place = jnp.asarray(where)[k[:, None, None, None], k[:, None, None], a[:, None], a]
        moments = [second_moments(rho[members[:, None], members[None]]).ravel() for members in sets]
        return deviation[:, None] * deviation * jnp.concatenate(moments)[place]
