"""Gaussian averages of steps θ(x − κ), ramps max(x − κ, 0) and spikes δ(x − κ) of two correlated fields.

In units of the deviations: z and z' are unit normals of correlation ρ, and h, k their thresholds κ/σ.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

__all__ = ["Correlated", "bell", "ramp_ramp", "spike_ramp", "spike_step", "step_ramp", "step_step"]

NODES, NODE_WEIGHTS = ((x + 1) / 2 if i == 0 else x / 2 for i, x in enumerate(np.polynomial.legendre.leggauss(24)))
LEAST = 1e-10
"""Of √(1 − ρ²); what is closer to collinear counts as collinear."""

NOTHING = 1e-100

Values = Float[Array, "*shape"]


class Correlated(NamedTuple):
    """A correlation ρ and √(1 − ρ²)."""

    rho: Values
    rest: Values

    @classmethod
    def of(cls, rho: Values) -> "Correlated":
        return cls(rho, jnp.sqrt(jnp.maximum((1 - rho) * (1 + rho), LEAST**2)))


def bell(x: Values) -> Values:
    """The normal density."""
    return jnp.exp(-jnp.square(x) / 2) / np.sqrt(2 * np.pi)


def _owen(h: Values, numerator: Values, denominator: Values, product: Values) -> Values:
    """Owen's T(h, a) for a = numerator/denominator ≥ 0 and h ≥ 0, where a h = product."""
    small = numerator <= denominator
    a = jnp.where(small, numerator, denominator) / jnp.maximum(jnp.where(small, denominator, numerator), 1e-290)
    at = jnp.where(small, h, product)
    square = 1 + jnp.square(a[..., None] * NODES)
    integrand = jnp.exp(-jnp.minimum(jnp.square(at), 1e4)[..., None] * square / 2) / square
    integral = a * (integrand @ NODE_WEIGHTS) / (2 * np.pi)
    of_h, of_product = ndtr(h), ndtr(product)
    return jnp.where(small, integral, (of_h + of_product) / 2 - of_h * of_product - integral)


def step_step(h: Values, k: Values, pair: Correlated) -> Values:
    """P(z > h, z' > k), after Owen (1956)."""
    h, k = (-jnp.where(x == 0, -NOTHING, x) for x in jnp.broadcast_arrays(h, k))  # P(z < h, z' < k) is as large

    def part(h, k):
        numerator, denominator = k - pair.rho * h, h * pair.rest
        positive = numerator * jnp.sign(denominator) >= 0
        numerator, denominator = jnp.abs(numerator), jnp.abs(denominator)
        return jnp.where(positive, 1, -1) * _owen(jnp.abs(h), numerator, denominator, numerator / pair.rest)

    apart = jnp.where(jnp.sign(h) * jnp.sign(k) < 0, 0.5, 0.0)
    return jnp.clip((ndtr(h) + ndtr(k)) / 2 - part(h, k) - part(k, h) - apart, 0, 1)


def _given(h: Values, k: Values, pair: Correlated) -> Values:
    """Threshold of z' in its own deviations where z = h."""
    return jnp.clip((k - pair.rho * h) / pair.rest, -1e6, 1e6)


def spike_step(h: Values, k: Values, pair: Correlated) -> Values:
    """E[δ(z − h) θ(z' − k)]."""
    return bell(h) * ndtr(-_given(h, k, pair))


def spike_ramp(h: Values, k: Values, pair: Correlated) -> Values:
    """E[δ(z − h) max(z' − k, 0)]."""
    t = _given(h, k, pair)
    return bell(h) * (pair.rest * bell(t) + (pair.rho * h - k) * ndtr(-t))


def step_ramp(h: Values, k: Values, pair: Correlated) -> Values:
    """E[θ(z − h) max(z' − k, 0)]."""
    return pair.rho * spike_step(h, k, pair) + spike_step(k, h, pair) - k * step_step(h, k, pair)


def ramp_ramp(h: Values, k: Values, pair: Correlated) -> Values:
    """E[max(z − h, 0) max(z' − k, 0)]."""
    both = pair.rest * bell(h) * bell(_given(h, k, pair))
    alone = k * spike_step(h, k, pair) + h * spike_step(k, h, pair)
    return (pair.rho + h * k) * step_step(h, k, pair) - alone + both
