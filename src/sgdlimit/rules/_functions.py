"""A function of one real variable that a user brings as JAX code: values, slopes, kinks, a table for compiled loops."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..errors import ProblemError

__all__ = ["CELLS", "CELL_WIDTH", "TABLE_START", "Kinks", "Table", "TracedFunction"]

REACH = 24.0
"""Kinks are looked for up to here."""

SEARCH_CELLS = 8192
OFFSET = 0.381966  # a node on a kink would have neither of its two slopes
SHARPEST = 1e-7
"""A change of value or slope, relative to what is around it, that no bisection down to rounding makes smaller."""

TABLE_START, CELL_WIDTH, CELLS = -64.0 + OFFSET / 64, 1 / 64, 8192
"""A table has these cells, and one on either side of them for what lies outside."""

Values = Float[np.ndarray, "*shape"]


class Kinks(NamedTuple):
    """Where a function or its slope jumps."""

    positions: Float[np.ndarray, "kink"]
    jumps: Float[np.ndarray, "kink"]
    """g(κ+) − g(κ−)."""
    slope_jumps: Float[np.ndarray, "kink"]
    """g'(κ+) − g'(κ−)."""


class Table(NamedTuple):
    """A function as a compiled loop evaluates it: cubics on cells, and the kinks apart."""

    coefficients: Float[np.ndarray, "cell 4"]
    """Of powers of the distance from the left edge of each cell; the first and last cell are what lies outside."""
    kinks: Float[np.ndarray, "kink 3"]
    """Position, jump, slope jump."""


class TracedFunction:
    """A function g of one real variable given as JAX code.

    Parameters
    ----------
    function
        Takes a JAX scalar and returns one; no Python branches on its value.
    what
        What it is, for errors: ``"activation"`` or ``"nonlinearity"``.
    name
        Its name in provenance; by default that of the function.
    kinks
        Where g or g' jumps. By default they are found: two closer than 0.006, or beyond 24, need to be given.

    Raises
    ------
    ProblemError
        If JAX cannot trace the function, it is no scalar of a scalar, or values or slopes are not finite.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> leaky = TracedFunction(lambda x: jnp.where(x > 0, x, 0.1 * x), "activation", name="leaky")
    >>> leaky.slope([-1.0, 2.0]), leaky.kinks.positions
    (array([0.1, 1. ]), array([0.]))
    """

    def __init__(
        self, function: Callable[[Any], Any], what: str, *, name: str | None = None, kinks: ArrayLike | None = None
    ) -> None:
        self.function, self.what = function, what
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._given_kinks = None if kinks is None else np.sort(np.atleast_1d(np.asarray(kinks, dtype=np.float64)))
        self._check()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def value(self, x: ArrayLike) -> Values:
        """g(x), float64."""
        return self._derivative(0, x)

    def slope(self, x: ArrayLike) -> Values:
        """g'(x) by differentiation, float64; on a kink what JAX makes of it."""
        return self._derivative(1, x)

    def curvature(self, x: ArrayLike) -> Values:
        """g''(x) off the kinks, float64."""
        return self._derivative(2, x)

    def in_jax(self, order: int) -> Callable[[Any], Any]:
        """g (order 0), g' or g'' as a function of JAX arrays, elementwise."""
        return self._compiled[order]

    @cached_property
    def kinks(self) -> Kinks:
        """Where g or g' jumps within [−24, 24], and by how much."""
        positions = self._found_kinks() if self._given_kinks is None else self._given_kinks
        near = 1e-9 * np.maximum(1, np.abs(positions))
        jumps = self.value(positions + near) - self.value(positions - near)
        slope_jumps = self.slope(positions + near) - self.slope(positions - near)
        # What the function changes by in passing is no jump.
        jumps = np.where(np.abs(jumps) > 1e-6 * (1 + np.abs(self.value(positions + near))), jumps, 0.0)
        slope_jumps = np.where(np.abs(slope_jumps) > 1e-6 * (1 + np.abs(self.slope(positions + near))), slope_jumps, 0)
        return Kinks(positions, jumps, slope_jumps)

    @cached_property
    def table(self) -> Table:
        """Cubic Hermite interpolation on cells of 1/64 up to |x| = 64, to about 1e-9 for g'''' of order one.

        Beyond, a function that has become linear goes on as a line; any other gives NaN, which the simulation reports
        as divergence: local fields of 64 deviations do not occur before.
        """
        edges = TABLE_START + CELL_WIDTH * np.arange(CELLS + 1)
        value, slope = self._smooth_part(edges)
        rise = (value[1:] - value[:-1]) / CELL_WIDTH
        coefficients = np.full((CELLS + 2, 4), np.nan)
        coefficients[1:-1] = np.column_stack(
            [
                value[:-1],
                slope[:-1],
                (3 * rise - 2 * slope[:-1] - slope[1:]) / CELL_WIDTH,
                (slope[:-1] + slope[1:] - 2 * rise) / CELL_WIDTH**2,
            ]
        )
        for cell, edge, outwards in ((0, 0, -1), (-1, -1, 1)):
            beyond = self.slope(edges[edge] + outwards * np.array([0.0, 30.0, 1000.0]))
            if np.isfinite(beyond).all() and np.ptp(beyond) <= 1e-9 * (1 + np.abs(beyond[0])):
                coefficients[cell] = value[edge], slope[edge], 0, 0
        return Table(coefficients, np.column_stack(self.kinks))

    def _smooth_part(self, x: Values) -> tuple[Values, Values]:
        """What is left of g and g' without the jumps."""
        value, slope = self.value(x), self.slope(x)
        for position, jump, slope_jump in zip(*self.kinks, strict=True):
            right = x > position
            value = value - right * (jump + slope_jump * (x - position))
            slope = slope - right * slope_jump
        return value, slope

    def _derivative(self, order: int, x: ArrayLike) -> Values:
        import jax

        with jax.enable_x64(True), jax.ensure_compile_time_eval():  # also while something else is traced
            return np.asarray(self._compiled[order](np.asarray(x, dtype=np.float64)), dtype=np.float64)

    @cached_property
    def _compiled(self) -> list[Callable]:
        import jax
        import jax.numpy as jnp

        orders = [self.function]
        for _ in range(2):
            orders.append(jax.grad(orders[-1]))
        return [jax.jit(jnp.vectorize(one)) for one in orders]

    def _check(self) -> None:
        import jax

        try:
            with jax.enable_x64(True):
                # Not the function itself: JAX 0.10 ends the process if it is given one of NumPy's a second time.
                traced = jax.eval_shape(lambda x: self.function(x), jax.ShapeDtypeStruct((), np.float64))
        except Exception as error:  # whatever the user's code raises
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ProblemError(
                f"{self.what}: {self.name!r} cannot be traced by JAX ({reason}); write it with jax.numpy, "
                "jnp.where(x > 0, ...) for a branch"
            ) from None
        if getattr(traced, "shape", None) != () or not np.issubdtype(traced.dtype, np.floating):
            raise ProblemError(
                f"{self.what}: {self.name!r} makes {traced} of a real number; give a function that returns one"
            )
        x = TABLE_START / 4 + 0.137 * np.arange(-100, 333)
        x = x[np.abs(x) < 16]
        for order, called in enumerate(("", "the slope of ")):
            values = self._derivative(order, x)
            if not np.isfinite(values).all():
                bad = int(np.argmax(~np.isfinite(values)))
                raise ProblemError(
                    f"{self.what}: {called}{self.name!r} is {values[bad]} at {x[bad]:.3g}; give a function with finite "
                    "values and slopes"
                )

    def _found_kinks(self) -> Float[np.ndarray, "kink"]:
        """Cells whose change of value or slope is left when they are halved down to rounding."""
        edges = np.linspace(-REACH, REACH, SEARCH_CELLS + 1) + OFFSET * 2 * REACH / SEARCH_CELLS
        found = []
        for of in (self.value, self.slope):
            left, right = edges[:-1].copy(), edges[1:].copy()
            at_left, at_right = of(left), of(right)
            for _ in range(36):
                middle = (left + right) / 2
                at_middle = of(middle)
                to_left = np.abs(at_middle - at_left) > np.abs(at_right - at_middle)
                left, at_left = np.where(to_left, left, middle), np.where(to_left, at_left, at_middle)
                right, at_right = np.where(to_left, middle, right), np.where(to_left, at_middle, at_right)
            sharp = np.abs(at_right - at_left) > SHARPEST * (1 + np.abs(at_left))
            found.append((left + right)[sharp] / 2)
        positions = np.sort(np.concatenate(found))
        rounded = np.round(positions, 6)
        positions = np.where(np.abs(positions - rounded) < 1e-9, rounded, positions)
        return positions[np.append(True, np.diff(positions) > 1e-8)] if len(positions) else positions
