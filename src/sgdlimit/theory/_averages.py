"""Gaussian averages of a student's and a teacher's activation: closed forms, or quadrature with an error estimate.

For quadrature, an activation is a smooth function plus steps and ramps at its kinks,
g = s + Σ_i d_i θ(x − κ_i) + e_i max(x − κ_i, 0).
Averages over two fields x = σz, y = σ'z' of correlation ρ are sums over Hermite coefficients (Mehler's formula),

    E[f(x) h(y)] = Σ_j f_j h_j ρ^j,    f_j = E[f(σz) He_j(z)]/√j!,

which fall off fast when one of the two is smooth; those of two kinks have closed forms, see ``kink_pairs``. What is
left out after J terms is at most √((E f² − Σ f_j²)(E h² − Σ h_j²)), whatever ρ. Averages over all fields, which the
noise needs, are means over quasi-random points. The points are randomised several times over; the spread of these
means is the error.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product, zip_longest
from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from ..rules import (
    RAMP,
    STEP,
    Activation,
    Covariance,
    Expansions,
    Integrals,
    Means,
    Polynomial,
    Scalar,
    activation_named,
    bell,
    kink_pairs,
    normalised,
    student_activation,
)

ORDERS = 96
"""Hermite coefficients kept, J."""

GRID = (np.arange(512) + 0.5) / 512 * 21 - 10.5
"""Trapezoidal nodes for them, in deviations: exact to rounding for J of this size."""

WEIGHTS = (GRID[1] - GRID[0]) * np.exp(-(GRID**2) / 2) / np.sqrt(2 * np.pi)

SMALLEST = 1e-12
"""Deviation that counts as none."""

ALIKE = 1e-13
RANDOMISATIONS = 8

Kinks = Float[Array, "n kink"]


PROJECTION = WEIGHTS[:, None] * np.polynomial.hermite_e.hermevander(GRID, ORDERS - 1)
PROJECTION /= np.sqrt(np.cumprod([1.0, *range(1, ORDERS)]))  # He_j/√j!
"""Function values at the nodes times this are the coefficients f_j."""


def _kink_coefficients(h: Kinks) -> tuple[Float[Array, "n kink order"], ...]:
    """Hermite coefficients of spikes, steps and ramps at z = h; each kind is the integral of the one before."""
    clipped = jnp.clip(h, -40, 40)  # beyond there is nothing left, but powers of h overflow when derivatives are taken

    def following(before, j):
        last, here = before
        return (here, (clipped * here - jnp.sqrt(j) * last) / jnp.sqrt(j + 1)), here

    def integral(first, of):
        return jnp.concatenate([first[..., None], of[..., :-1] / np.sqrt(np.arange(1, ORDERS))], axis=-1)

    start = jnp.zeros_like(h), bell(clipped)
    spikes = jnp.moveaxis(jax.lax.scan(following, start, jnp.arange(ORDERS, dtype=h.dtype))[1], 0, -1)
    steps = integral(ndtr(-h), spikes)
    return spikes, steps, integral(bell(h) - h * ndtr(-h), steps)


class _Expansion(NamedTuple):
    """A derivative of every field's g."""

    values: Float[Array, "n node"]
    """Its smooth part at the nodes."""
    smooth: Float[Array, "n order"]
    kinked: Float[Array, "n order"]
    kinks: dict[int, Kinks]
    """Weights of the kinks, by kind."""


def lower_root(S: Covariance) -> Covariance:
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


def times_inverse(x: Any, L: Any) -> Any:
    """x L⁻¹. A field that those before it fix has no column in L, and takes no part."""
    columns: list[Any] = [0.0] * len(L)
    for j in reversed(range(len(L))):
        varies = L[j, j] > SMALLEST
        rest = x[:, j] - sum(columns[i] * L[i, j] for i in range(j + 1, len(L)))
        columns[j] = jnp.where(varies, rest / jnp.where(varies, L[j, j], 1.0), 0.0)
    return jnp.stack(columns, axis=1)


def single(numbers: Any) -> Any:
    """Arrays in single precision."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), numbers)


@lru_cache(maxsize=8)
def sobol_normals(dim: int, level: int, seeds: Iterable[Any]) -> Float[np.ndarray, "dim point"]:
    """Normals: 2^level scrambled Sobol points for each seed, one randomisation after the other."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    sets = [qmc.Sobol(dim, rng=seed).random_base2(level) for seed in seeds]
    return np.ascontiguousarray(ndtri(np.clip(np.concatenate(sets), 2.0**-64, 1 - 2.0**-53)).T)


@final
@dataclass(frozen=True, repr=False)
class Quadrature(Expansions):
    """Integrals of any activation of the students and any of the teachers.

    Examples
    --------
    >>> erf = activation_named("erf")
    >>> with jax.enable_x64(True):
    ...     correlation = jax.jit(Quadrature(erf, erf).correlation, static_argnums=1)(jnp.eye(1), 1)
    >>> print(f"{correlation[0, 0]:.6f}")  # (2/π) asin(1/2)
    0.333333
    """

    student: Activation
    teacher: Activation
    level: int = 10
    """Logarithm to base 2 of the points of one randomisation."""
    method: ClassVar[str] = "quasi-Monte Carlo"
    highest: ClassVar[int] = 15

    def __repr__(self) -> str:
        functions = f"{self.student.name}:{self.student.digest}, {self.teacher.name}:{self.teacher.digest}"
        return f"Quadrature({functions}, level={self.level})"

    @property
    def accuracy(self) -> float:
        """The allowed error."""
        return min(self.student.accuracy, self.teacher.accuracy)

    @property
    def finest_tolerance(self) -> float:
        """With a kink in g' the noise has steps where points cross it."""
        return 1e-6 if len(self.student.kinks.positions) else 0.0

    # --- two fields ---

    def average(
        self, S: Covariance, K: int, orders: tuple[int, int], rows: int, mean: Means | float = 0.0
    ) -> Float[Array, "{rows} n"]:
        """E[f_a h_b] of two derivatives: Mehler's sums, and closed forms where two kinks meet."""
        rho, at, (f, h) = self._expansions(S, K, orders, mean)
        rho, at_f = rho[:rows, :, None], f.kinked[:rows, None]
        products = (f.smooth[:rows, None] + at_f) * (h.smooth + h.kinked) - at_f * h.kinked
        total = jnp.sum(products * rho ** np.arange(ORDERS), axis=-1)
        pairs = kink_pairs(at[:rows, None, :, None], at[:, None, :], rho[..., None])
        for (one, x), (other, y) in product(f.kinks.items(), h.kinks.items()):
            total += jnp.sum(x[:rows, None, :, None] * y[:, None, :] * pairs[one][other], axis=(2, 3))
        return total

    def _expansions(
        self, S: Covariance, K: int, orders: Iterable[int], mean: Means | float = 0.0
    ) -> tuple[Covariance, Kinks, list[_Expansion]]:
        """Correlations of the fields, kinks of each g in deviations from the mean, and derivatives of each g."""
        sigma, reciprocal, rho = normalised(S, SMALLEST)
        rho = jnp.where(1 - jnp.abs(rho) < ALIKE, jnp.sign(rho), rho)
        # As many kinks for each field; steps and ramps are 0 where its g has fewer.
        both = [np.transpose(g.kinks) for g in (self.student, self.teacher)]
        padded = np.array([*zip_longest(*both, fillvalue=np.zeros(3))]).reshape(-1, 2, 3)
        positions, steps, ramps = jnp.asarray(np.repeat(padded, [K, len(S) - K], axis=1).T[:, :, None])
        sigma, reciprocal, mean = (array[:, None] for array in (sigma, reciprocal, mean * jnp.ones(len(S))))
        at = (positions[:, 0] - mean) / sigma
        coefficients = _kink_coefficients(at)
        x = mean + sigma * GRID
        beyond = x[..., None] - positions
        near = 1e-9 * jnp.maximum(1, jnp.abs(positions))
        off = jnp.where(jnp.abs(beyond) < near, -near, beyond)
        x += jnp.sum(off - beyond, axis=-1)  # on a kink there is no slope

        def expansion(order):
            passed = jnp.sum((off > 0) * (steps + ramps * off, ramps, 0.0)[order], axis=-1)
            values = self._values(x, K, order) - passed
            # Each derivative makes ramps steps and steps spikes, and divides by σ. Students have no steps.
            scales = sigma, 1.0, reciprocal
            kinks = {RAMP - order: scales[order] * ramps[:, 0]}
            if order < 2:
                kinks[STEP - order] = scales[order + 1] * steps[:, 0]
            kinked = [jnp.einsum("nk,nkj->nj", weight, coefficients[kind]) for kind, weight in kinks.items()]
            return _Expansion(values, values @ PROJECTION, sum(kinked, jnp.zeros(())), kinks)

        return rho, at, [*map(expansion, orders)]

    def _values(self, fields: Float[Array, "n x"], K: int, order: int = 0) -> Float[Array, "n x"]:
        """g, g' or g'' of every field."""
        return jnp.concatenate([self.student.in_jax[order](fields[:K]), self.teacher.in_jax[order](fields[K:])])

    # --- all fields ---

    def noise(self, S: Covariance, c: Means, K: int) -> Float[Array, "K K"]:
        """E[Δ² g'_k g'_l]."""
        return jnp.mean(self._noises(S, c, K), axis=0)

    def _noises(self, S: Covariance, c: Means, K: int) -> Float[Array, "randomisation K K"]:
        """E[Δ² g'_k g'_l] from each randomisation of the quasi-random points."""
        fields = lower_root(S) @ sobol_normals(len(S), self.level, range(RANDOMISATIONS))
        gradient = (c @ self._values(fields, K)) * self.student.in_jax[1](fields[:K])
        gradient = gradient.reshape(K, RANDOMISATIONS, -1)
        return jnp.einsum("krp,lrp->rkl", gradient, gradient) / gradient.shape[2]

    # --- errors ---

    def spread(self, S: Covariance, c: Means, K: int) -> Scalar:
        """The largest of the standard error of the noise and the bounds on what Hermite sums leave out."""
        noises = self._noises(S, c, K)
        spread = jnp.std(noises, axis=0, ddof=1) / np.sqrt(RANDOMISATIONS)
        of_noise = jnp.max(spread / jnp.maximum(1, jnp.abs(jnp.mean(noises, axis=0))))

        *_, expansions = self._expansions(S, K, range(3))
        values, smooth, kinked = map(jnp.stack, zip(*(each[:3] for each in expansions), strict=True))
        square = values**2 @ WEIGHTS
        rest = jnp.sqrt(jnp.maximum(square - jnp.sum(smooth**2, axis=2), 1e-18 * square + 1e-30)).max(axis=1)
        kinks, whole = (jnp.linalg.norm(part, axis=2).max(axis=1) for part in (kinked, smooth + kinked))
        f, h = np.array([(0, 0), (1, 1), (0, 2), (2, 0)]).T  # the derivatives that are averaged together
        left_out = rest[f] * (rest[h] + kinks[h]) / jnp.maximum(1, whole[f] * whole[h])
        return jnp.maximum(of_noise, left_out.max())


def integrals_for(activation: str | Activation, teacher_activation: str | Activation | None = None) -> Integrals:
    """Integrals of the student's activation and the teacher's, which is the same by default.

    Raises
    ------
    ProblemError
        If there is no activation of that name, or the student's jumps.

    Examples
    --------
    >>> integrals_for("erf")
    Erf()
    >>> integrals_for("erf", "sign").method
    'quasi-Monte Carlo'
    """
    student = student_activation(activation)
    teacher = student if teacher_activation is None else activation_named(teacher_activation)
    if student.averages and student.averages is teacher.averages:
        return student.averages()
    if student.coefficients is not None and teacher.coefficients is not None:
        return Polynomial(student.coefficients, teacher.coefficients)
    return Quadrature(student, teacher)
