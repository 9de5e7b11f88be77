"""Gaussian averages of spikes δ(z − h), steps θ(z − h) and ramps max(z − h, 0) of two correlated unit normals."""

from math import tau

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

SPIKE, STEP, RAMP = range(3)
"""Kinds of kinks; each is the derivative of the next."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2

LEAST = 1e-10
"""Of √(1 − ρ²); what is closer to collinear counts as collinear."""

NOTHING = 1e-100

Values = Float[Array, "*shape"]


def bell(x: Values) -> Values:
    """The normal density."""
    return jnp.exp(-(x**2) / 2) / np.sqrt(tau)


def kink_pairs(
    h: Float[Array, "..."], k: Float[Array, "..."], rho: Float[Array, "..."]
) -> tuple[tuple[Values | float, ...], ...]:
    """Averages of a kink at h of one normal z times a kink at k of another z', by the kinds of the two kinks.

    Integration by parts reduces all of them to P(z > h, z' > k) and what is left of it at a threshold. The average of
    two spikes is not given (0): students do not jump, so it never occurs.
    """
    h, k, rho = jnp.broadcast_arrays(h, k, rho)
    rest = jnp.sqrt(jnp.maximum((1 - rho) * (1 + rho), LEAST**2))
    # Each threshold in the deviations that are left where the other normal is at its threshold.
    k_given_h, h_given_k = (jnp.clip(x / rest, -1e6, 1e6) for x in (k - rho * h, h - rho * k))
    at_h, at_k = bell(h), bell(k)
    both_at = rest * at_h * bell(k_given_h)

    step_step = _both_beyond(h, k, rho, rest)
    spike_step, step_spike = at_h * ndtr(-k_given_h), at_k * ndtr(-h_given_k)
    ramp_ramp = (rho + h * k) * step_step - k * spike_step - h * step_spike + both_at
    return (
        (0.0, spike_step, both_at + (rho * h - k) * spike_step),
        (step_spike, step_step, rho * spike_step + step_spike - k * step_step),
        (both_at + (rho * k - h) * step_spike, rho * step_spike + spike_step - h * step_step, ramp_ramp),
    )


def _both_beyond(h: Values, k: Values, rho: Values, rest: Values) -> Values:
    """P(z > h, z' > k) = P(z < −h, z' < −k), after Owen (1956)."""
    h, k = (jnp.where(x == 0, NOTHING, -x) for x in (h, k))
    one, other = jnp.stack([h, k]), jnp.stack([k, h])
    numerator, denominator = other - rho * one, one * rest
    sign = jnp.where(numerator * jnp.sign(denominator) >= 0, 1, -1)
    owen = sign * _owen(jnp.abs(one), jnp.abs(numerator), jnp.abs(denominator), jnp.abs(numerator) / rest)
    apart = jnp.where(jnp.sign(h) * jnp.sign(k) < 0, 0.5, 0.0)
    return jnp.clip(jnp.sum(ndtr(one) / 2 - owen, axis=0) - apart, 0, 1)


def _owen(h: Values, numerator: Values, denominator: Values, product: Values) -> Values:
    """Owen's T(h, a) for a = numerator/denominator ≥ 0 and h ≥ 0, where a h = product; from T(a h, 1/a) for a > 1."""
    small = numerator <= denominator
    a = jnp.minimum(numerator, denominator) / jnp.maximum(jnp.maximum(numerator, denominator), 1e-290)
    at = jnp.minimum(jnp.where(small, h, product), 100.0)
    square = 1 + jnp.square(a[..., None] * NODES)
    integral = a * ((jnp.exp(-(at**2)[..., None] * square / 2) / square) @ WEIGHTS) / tau
    of_h, of_product = ndtr(h), ndtr(product)
    return jnp.where(small, integral, (of_h + of_product) / 2 - of_h * of_product - integral)
