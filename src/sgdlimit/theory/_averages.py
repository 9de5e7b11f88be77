"""Integrals of any two activations, with an error estimate.

An activation is a smooth function and steps and ramps at its kinks, g = s + Σ_i d_i θ(x − κ_i) + e_i max(x − κ_i, 0).
Averages over two fields x = σz, y = σ'z' of correlation ρ are sums over Hermite coefficients (Mehler's formula),

    E[f(x) h(y)] = Σ_j f_j h_j ρ^j,    f_j = E[f(σz) He_j(z)]/√j!,

which fall off fast when one of the two is smooth; those of two kinks have closed forms, see ``_kinks``. What is left
out after J terms is at most √((E f² − Σ f_j²)(E h² − Σ h_j²)), whatever ρ. Averages over all fields, of the noise, are
means over quasi-random points, randomised several times over; their spread is the error.
"""

from functools import lru_cache
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from ..rules import Activation, Integrals, KinkPairs, bell, kink_pairs

__all__ = ["Quadrature"]

ORDERS = 96
"""Hermite coefficients kept, J."""

GRID = (np.arange(512) + 0.5) / 512 * 21 - 10.5
"""Trapezoidal nodes for them, in deviations: exact to rounding for J of this size."""

SMALLEST = 1e-12
"""Deviation that counts as none."""

ALIKE = 1e-13
RANDOMISATIONS = 8
HIGHEST_LEVEL = 15
"""Logarithm to base 2 of the most points of one randomisation."""


def _normalized_hermite(x: np.ndarray) -> Float[np.ndarray, "x order"]:
    """He_j(x)/√j!."""
    values = [np.ones_like(x), x]
    for j in range(1, ORDERS - 1):
        values.append((x * values[j] - np.sqrt(j) * values[j - 1]) / np.sqrt(j + 1))
    return np.stack(values, axis=-1)


WEIGHTS = (GRID[1] - GRID[0]) * np.exp(-(GRID**2) / 2) / np.sqrt(2 * np.pi)
PROJECTION = WEIGHTS[:, None] * _normalized_hermite(GRID)


def _spike_coefficients(h: Float[Array, "*shape"]) -> Float[Array, "*shape order"]:
    """E[δ(z − h) He_j(z)]/√j!."""
    if h.size == 0:
        return jnp.zeros((*h.shape, ORDERS))

    h = jnp.clip(h, -40, 40)  # beyond there is nothing left, but powers of h overflow when derivatives are taken

    def following(before, j):
        last, here = before
        return (here, (h * here - jnp.sqrt(j) * last) / jnp.sqrt(j + 1)), here

    start = jnp.zeros_like(h), bell(h)
    values = jax.lax.scan(following, start, jnp.arange(ORDERS, dtype=h.dtype))[1]
    return jnp.moveaxis(values, 0, -1)


def _step_and_ramp_coefficients(
    h: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape order"], Float[Array, "*shape order"]]:
    """Those of θ(z − h) and max(z − h, 0): each is the integral of the one before."""
    above, roots = ndtr(-h), np.sqrt(np.arange(1, ORDERS))
    steps = jnp.concatenate([above[..., None], _spike_coefficients(h)[..., :-1] / roots], axis=-1)
    ramps = jnp.concatenate([(bell(h) - h * above)[..., None], steps[..., :-1] / roots], axis=-1)
    return steps, ramps


def _weighted(weights: Float[Array, "n kink"], coefficients: Float[Array, "n kink order"]) -> Float[Array, "n order"]:
    return jnp.einsum("nk,nkj->nj", weights, coefficients)


class _Kinks(NamedTuple):
    """Kinks of every field, as many for each, in deviations; steps of nothing where there are fewer."""

    positions: Float[Array, "n kink"]
    h: Float[Array, "n kink"]
    steps: Float[Array, "n kink"]
    ramps: Float[Array, "n kink"]


class _Fields(NamedTuple):
    """The fields in deviations and correlations, and what is known of each one's g."""

    mean: Float[Array, "n"]
    sigma: Float[Array, "n"]
    reciprocal: Float[Array, "n"]
    """1/σ, and 0 for a field that does not vary: the limit of what spikes are multiplied with."""
    rho: Float[Array, "n n"]
    kinks: _Kinks


def _sum(
    first: tuple[Float[Array, "k order"], Float[Array, "k order"]],
    second: tuple[Float[Array, "n order"], Float[Array, "n order"]],
    rho: Float[Array, "k n"],
) -> Float[Array, "k n"]:
    """Σ_j f_j h_j ρ^j of two functions, each a smooth part and kinks, without the part of two kinks."""
    (f, at_f), (h, at_h) = first, second
    products = (f + at_f)[:, None] * (h + at_h) - at_f[:, None] * at_h
    return jnp.sum(products * rho[..., None] ** np.arange(ORDERS), axis=-1)


def _root(S: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """L with L Lᵀ = S, of any rank: a field that those before it fix adds no column, so copies stay copies."""
    columns = []
    # A field that does not vary lies on either side of a kink at 0 as often as on the other.
    left = S + jnp.diag(jnp.where(jnp.diagonal(S) > SMALLEST**2, 0.0, SMALLEST**2))
    variance = jnp.diagonal(left)
    for j in range(len(S)):
        pivot = left[j, j]
        varies = pivot > 1e-12 * variance[j]
        column = jnp.where(varies, left[:, j] / jnp.sqrt(jnp.where(varies, pivot, 1.0)), 0.0)
        columns.append(column)
        left = left - column[:, None] * column
    return jnp.stack(columns, axis=1)


@lru_cache(maxsize=8)
def _points(dim: int, level: int) -> Float[np.ndarray, "dim point"]:
    """Normals: scrambled Sobol points, one randomisation after the other."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    sets = [qmc.Sobol(dim, rng=seed).random_base2(level) for seed in range(RANDOMISATIONS)]
    return np.ascontiguousarray(ndtri(np.clip(np.concatenate(sets), 2.0**-64, 1 - 2.0**-53)).T)


@final
class Quadrature(Integrals):
    """Integrals of any activation of the students and any of the teachers.

    Examples
    --------
    >>> from sgdlimit.rules._activation import activation_named
    >>> erf = activation_named("erf")
    >>> with jax.enable_x64(True):
    ...     print(f"{Quadrature(erf, erf).correlation(jnp.eye(1), 1)[0, 0]:.6f}")  # (2/π) asin(1/2)
    0.333333
    """

    student: Activation = eqx.field(static=True)
    teacher: Activation = eqx.field(static=True)
    level: int = eqx.field(static=True, default=10)
    """Logarithm to base 2 of the points of one randomisation."""

    def __repr__(self) -> str:
        functions = f"{self.student.name}:{self.student.digest}, {self.teacher.name}:{self.teacher.digest}"
        return f"Quadrature({functions}, level={self.level})"

    @property
    def method(self) -> str:
        """How the averages are done."""
        return "quasi-Monte Carlo"

    @property
    def accuracy(self) -> float:
        """The error that is allowed."""
        return min(self.student.accuracy, self.teacher.accuracy)

    @property
    def finest_tolerance(self) -> float:
        """With a kink in g' the noise has steps where points cross it."""
        return 1e-6 if len(self.student.traced.kinks.positions) else 0.0

    def reaching(self, error: float) -> Integrals:
        """The same with more points, of which the error is taken for a power −0.7."""
        if not error > self.accuracy:
            return self
        more = int(np.ceil(np.log2(error / self.accuracy) / 0.7)) if np.isfinite(error) else HIGHEST_LEVEL
        return Quadrature(self.student, self.teacher, min(self.level + more, HIGHEST_LEVEL))

    # --- two fields ---

    def correlation(self, S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[g_a g_b]."""
        return self.correlation_around(jnp.zeros(len(S)), S, K)

    def correlation_around(self, mean: Float[Array, "n"], S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[g_a g_b] of fields with a mean, which moves the function under the normal density."""
        fields = self._fields(S, K, mean)
        g = self._smooth(fields, 0, K), self._kinked(fields)
        total = _sum(g, g, fields.rho)
        if self._has_kinks:
            x, y, pairs = self._pairs(fields)
            ramps_x, ramps_y = x.ramps * fields.sigma[:, None, None, None], y.ramps * fields.sigma[:, None, None]
            of_step = x.steps * (y.steps * pairs.step_step + ramps_y * pairs.step_ramp)
            of_ramp = ramps_x * (y.steps * pairs.ramp_step + ramps_y * pairs.ramp_ramp)
            total += jnp.sum(of_step + of_ramp, axis=(2, 3))
        return total

    def gain(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g'_k g'_a]; the slope of a teacher that jumps has spikes."""
        fields = self._fields(S, K)
        smooth, kinked = self._smooth(fields, 1, K), self._kinked_slope(fields)
        total = _sum((smooth[:K], kinked[:K]), (smooth, kinked), fields.rho[:K])
        if self._has_kinks:
            x, y, pairs = self._pairs(fields)
            spikes_y = y.steps * fields.reciprocal[:, None, None]
            of_step = x.ramps * (y.ramps * pairs.step_step + spikes_y * pairs.step_spike)
            total += jnp.sum(of_step, axis=(2, 3))[:K]
        return total

    def curvature(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g''_k g_a], with a spike at every kink of g_k."""
        fields = self._fields(S, K)
        bend = self._smooth(fields, 2, K)[:K], self._spikes(fields)[:K]
        total = _sum(bend, (self._smooth(fields, 0, K), self._kinked(fields)), fields.rho[:K])
        if self._has_kinks:
            x, y, pairs = self._pairs(fields)
            spikes_x, ramps_y = (
                x.ramps * fields.reciprocal[:, None, None, None],
                y.ramps * fields.sigma[:, None, None],
            )
            of_spike = spikes_x * (y.steps * pairs.spike_step + ramps_y * pairs.spike_ramp)
            total += jnp.sum(of_spike, axis=(2, 3))[:K]
        return total

    @property
    def _has_kinks(self) -> bool:
        return any(len(activation.traced.kinks.positions) for activation in (self.student, self.teacher))

    def _fields(self, S: Float[Array, "n n"], K: int, mean: Float[Array, "n"] | float = 0.0) -> _Fields:
        mean = mean * jnp.ones(len(S))
        variance = jnp.diagonal(S)
        varies = variance > SMALLEST**2
        sigma = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1.0)), SMALLEST)
        reciprocal = jnp.where(varies, 1 / sigma, 0.0)
        rho = jnp.clip(S * reciprocal[:, None] * reciprocal, -1, 1)
        rho = jnp.where(1 - jnp.abs(rho) < ALIKE, jnp.sign(rho), rho)
        rho = jnp.where(np.eye(len(S), dtype=bool), 1.0, rho)
        traced = [self.student.traced.kinks] * K + [self.teacher.traced.kinks] * (len(S) - K)
        most = max(len(kinks.positions) for kinks in traced)
        padded = [[np.pad(values, (0, most - len(values))) for values in kinks] for kinks in traced]
        positions, steps, ramps = (jnp.asarray(np.array(part)) for part in zip(*padded, strict=True))
        h = (positions - mean[:, None]) / sigma[:, None]
        return _Fields(mean, sigma, reciprocal, rho, _Kinks(positions, h, steps, ramps))

    def _smooth_values(self, fields: _Fields, order: int, K: int) -> Float[Array, "n node"]:
        """s, s' or s'' of every field at the nodes."""
        positions, _, steps, ramps = fields.kinks
        x = fields.mean[:, None] + fields.sigma[:, None] * GRID
        for k in range(positions.shape[1]):  # on a kink there is no slope
            position = positions[:, k : k + 1]
            near = 1e-9 * jnp.maximum(1, jnp.abs(position))
            x = jnp.where(jnp.abs(x - position) < near, position - near, x)
        value = jnp.concatenate([self.student.traced.in_jax(order)(x[:K]), self.teacher.traced.in_jax(order)(x[K:])])
        for k in range(positions.shape[1]):
            distance = x - positions[:, k : k + 1]
            step, ramp = steps[:, k : k + 1], ramps[:, k : k + 1]
            value = value - (distance > 0) * (step + ramp * distance if order == 0 else ramp * (order == 1))
        return value

    def _smooth(self, fields: _Fields, order: int, K: int) -> Float[Array, "n order"]:
        return self._smooth_values(fields, order, K) @ PROJECTION

    def _kinked(self, fields: _Fields) -> Float[Array, "n order"]:
        """Hermite coefficients of the steps and ramps."""
        kinks = fields.kinks
        steps, ramps = _step_and_ramp_coefficients(kinks.h)
        return _weighted(kinks.steps, steps) + _weighted(fields.sigma[:, None] * kinks.ramps, ramps)

    def _kinked_slope(self, fields: _Fields) -> Float[Array, "n order"]:
        """Of their slopes, spikes and steps."""
        kinks = fields.kinks
        steps, _ = _step_and_ramp_coefficients(kinks.h)
        spikes = _spike_coefficients(kinks.h)
        return _weighted(kinks.ramps, steps) + _weighted(fields.reciprocal[:, None] * kinks.steps, spikes)

    def _spikes(self, fields: _Fields) -> Float[Array, "n order"]:
        """Of the second derivatives of the ramps."""
        return _weighted(fields.reciprocal[:, None] * fields.kinks.ramps, _spike_coefficients(fields.kinks.h))

    def _pairs(self, fields: _Fields) -> tuple[_Kinks, _Kinks, KinkPairs]:
        """Kinks of two fields, (n, n, kink of the one, kink of the other), and averages of the two."""
        x = _Kinks(*(part[:, None, :, None] for part in fields.kinks))
        y = _Kinks(*(part[None, :, None, :] for part in fields.kinks))
        return x, y, kink_pairs(x.h, y.h, fields.rho[..., None, None])

    # --- all fields ---

    def quartic(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K K n n"]:
        """E[g'_k g'_l g_a g_b]."""
        g, slope = self._at_points(S, K)
        pairs = (slope[:, None] * slope).reshape(K * K, -1) @ (g[:, None] * g).reshape(len(S) ** 2, -1).T
        return pairs.reshape(K, K, len(S), len(S)) / g.shape[1]

    def noise(self, S: Float[Array, "n n"], c: Float[Array, "n"], K: int) -> Float[Array, "K K"]:
        """E[Δ² g'_k g'_l]."""
        return jnp.mean(self._noises(S, c, K), axis=0)

    def _noises(self, S: Float[Array, "n n"], c: Float[Array, "n"], K: int) -> Float[Array, "randomisation K K"]:
        g, slope = self._at_points(S, K)
        gradient = ((c @ g) * slope).reshape(K, RANDOMISATIONS, -1)
        return jnp.einsum("krp,lrp->rkl", gradient, gradient) / gradient.shape[2]

    def _at_points(self, S: Float[Array, "n n"], K: int) -> tuple[Float[Array, "n point"], Float[Array, "K point"]]:
        fields = _root(S) @ _points(len(S), self.level)
        student, teacher = self.student.traced, self.teacher.traced
        g = jnp.concatenate([student.in_jax(0)(fields[:K]), teacher.in_jax(0)(fields[K:])])
        return g, student.in_jax(1)(fields[:K])

    # --- errors ---

    def error(self, S: Float[Array, "n n"], c: Float[Array, "n"], K: int) -> Float[Array, ""]:
        """The largest of the standard error of the noise and the bounds on what Hermite sums leave out."""
        noises = self._noises(S, c, K)
        spread = jnp.std(noises, axis=0, ddof=1) / np.sqrt(RANDOMISATIONS)
        of_noise = jnp.max(spread / jnp.maximum(1, jnp.abs(jnp.mean(noises, axis=0))))
        return jnp.maximum(of_noise, self._left_out(S, K))

    def _left_out(self, S: Float[Array, "n n"], K: int) -> Float[Array, ""]:
        """The largest bound on what Hermite sums leave out of the functions f, h that are averaged together."""
        fields = self._fields(S, K)
        kinked = self._kinked(fields), self._kinked_slope(fields), self._spikes(fields)
        rest, kink_size, whole_size = [], [], []
        for order in range(3):
            values = self._smooth_values(fields, order, K)
            coefficients = values @ PROJECTION
            whole, kept = jnp.square(values) @ WEIGHTS, jnp.sum(jnp.square(coefficients), axis=1)
            rest.append(jnp.max(jnp.sqrt(jnp.maximum(whole - kept, 1e-18 * whole + 1e-30))))
            whole_size.append(jnp.max(jnp.linalg.norm(coefficients + kinked[order], axis=1)))
            kink_size.append(jnp.max(jnp.linalg.norm(kinked[order], axis=1)))
        bounds = [
            rest[f] * (rest[h] + kink_size[h]) / jnp.maximum(1, whole_size[f] * whole_size[h])
            for f, h in [(0, 0), (1, 1), (0, 2), (2, 0)]
        ]
        return jnp.max(jnp.stack(bounds))
