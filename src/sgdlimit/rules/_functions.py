"""A user's function of one real variable as JAX code: values, slopes, kinks, and a table for compiled loops."""

import pickle
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from .._jax import own_jax
from ..errors import ProblemError, reason
from ..settings import numbers
from ..signatures import checked

REACH = 24.0
"""Kinks are looked for up to here."""

SEARCH_CELLS = 8192
OFFSET = 0.381966  # a node on a kink would have neither of its two slopes
SHARPEST = 1e-7
"""Relative change of value or slope that bisection down to rounding does not make smaller."""

TABLE_START, CELL_WIDTH, CELLS = -64.0 + OFFSET / 64, 1 / 64, 8192
"""A table has these cells, and one on either side of them for what lies outside."""

Values = Float[ndarray, "*shape"]
Function = Callable[..., Any]
"""A function in JAX code, of the user's or of ours."""


class Kinks(NamedTuple):
    """Where a function or its slope jumps."""

    positions: Float[ndarray, "kink"]
    jumps: Float[ndarray, "kink"]
    """g(κ+) − g(κ−)."""
    slope_jumps: Float[ndarray, "kink"]
    """g'(κ+) − g'(κ−)."""


class Portable:
    """A named object with functions that can be sent to another process, even lambdas and functions of a notebook."""

    name: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def __getstate__(self) -> Any:
        import cloudpickle

        return {"pickled": cloudpickle.dumps({name: x for name, x in vars(self).items() if name != "in_jax"})}

    def __setstate__(self, state: Any) -> None:
        vars(self).update(pickle.loads(state["pickled"]))


class TracedFunction(Portable):
    """A function g of one real variable given as JAX code.

    Parameters
    ----------
    function
        Takes a JAX scalar and returns one; no Python branches on its value.
    name
        Its name in provenance; by default the function's name.
    kinks
        Where g or g' jumps. By default they are found: two closer than 0.006, or beyond 24, need to be given.

    Raises
    ------
    ProblemError
        If JAX cannot trace the function, it does not return a scalar, or values or slopes are not finite.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> leaky = TracedFunction(lambda x: jnp.where(x > 0, x, 0.1 * x), name="leaky")
    >>> leaky.slope([-1.0, 2.0]), leaky.kinks.positions
    (array([0.1, 1. ]), array([0.]))
    """

    what = "activation"
    """Its name in errors."""
    _in_numpy: tuple[Function, ...] = ()
    """Value and slope without JAX, where they are known."""
    _given_kinks: Values | None = None

    @checked
    def __init__(
        self,
        function: Function,
        *,
        name: str | None = None,
        kinks: ArrayLike | None = None,
    ) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        if kinks is not None:
            self._given_kinks = np.sort(np.atleast_1d(numbers("kinks", kinks)))
        import jax

        with own_jax():
            try:
                # Not the function itself: JAX 0.10 ends the process if it is given one of NumPy's a second time.
                traced = jax.eval_shape(lambda x: self.function(x), jax.ShapeDtypeStruct((), np.float64))
            except Exception as error:  # whatever the user's code raises
                raise ProblemError(
                    f"{self.what}: {self.name!r} must be what JAX can trace (got {reason(error)}). Write it with "
                    "jax.numpy, and use jnp.where(x > 0, ...) for a branch."
                ) from None
        if getattr(traced, "shape", None) != () or not np.issubdtype(traced.dtype, np.floating):
            raise ProblemError(
                f"{self.what}: {self.name!r} must return a real number (got {traced}). Give one that does."
            )
        x = TABLE_START / 4 + 0.137 * np.arange(234)
        for called, values in (("", self.value(x)), ("the slope of ", self.slope(x))):
            for bad in np.flatnonzero(~np.isfinite(values))[:1]:
                raise ProblemError(
                    f"{self.what}: {called}{self.name!r} must be finite (got {values[bad]} at {x[bad]:.3g}). "
                    "Give a function with finite values and slopes."
                )

    def value(self, x: ArrayLike) -> Values:
        """g(x), float64."""
        return self._derivative(0, x)

    def slope(self, x: ArrayLike) -> Values:
        """g'(x) by differentiation, float64; JAX decides what it is on a kink."""
        return self._derivative(1, x)

    def curvature(self, x: ArrayLike) -> Values:
        """g''(x) off the kinks, float64."""
        return self._derivative(2, x)

    @cached_property
    def kinks(self) -> Kinks:
        """Where g or g' jumps within [−24, 24], and by how much."""
        positions = self._found_kinks() if self._given_kinks is None else self._given_kinks
        near = 1e-9 * np.maximum(1, np.abs(positions))

        def jump(of):
            right = of(positions + near)
            change = right - of(positions - near)
            return np.where(np.abs(change) > 1e-6 * (1 + np.abs(right)), change, 0.0)  # less is a smooth change

        return Kinks(positions, jump(self.value), jump(self.slope))

    @cached_property
    def table(self) -> Float[ndarray, "cell 4"]:
        """Cubics on cells, without the kinks: coefficients of powers of the distance from the left edge of each cell.

        Hermite interpolation on cells of 1/64 up to |x| = 64, to about 1e-9 for g'''' of order one. Beyond, the first
        and last cell continue a function that has become linear as a line. Any other gives NaN, which the simulation
        reports as divergence: local fields of 64 deviations do not occur before.
        """
        edges = TABLE_START + CELL_WIDTH * np.arange(CELLS + 1)
        value, slope = self.value(edges), self.slope(edges)
        for position, jump, slope_jump in zip(*self.kinks, strict=True):
            right = edges > position
            value = value - right * (jump + slope_jump * (edges - position))
            slope = slope - right * slope_jump
        rise, left, right = np.diff(value) / CELL_WIDTH, slope[:-1], slope[1:]
        curved = (3 * rise - 2 * left - right) / CELL_WIDTH, (left + right - 2 * rise) / CELL_WIDTH**2
        cells = np.pad(np.column_stack([value[:-1], left, *curved]), ((1, 1), (0, 0)), constant_values=np.nan)
        for cell, outwards in ((0, -1), (-1, 1)):
            beyond = self.slope(edges[cell] + outwards * np.array([0.0, 30.0, 1000.0]))
            if np.isfinite(beyond).all() and np.ptp(beyond) <= 1e-9 * (1 + np.abs(beyond[0])):
                cells[cell] = value[cell], slope[cell], 0, 0
        return cells

    def _derivative(self, order: int, x: ArrayLike) -> Values:
        x = np.asarray(x, float)
        if order < len(self._in_numpy):
            return np.asarray(self._in_numpy[order](x))
        import jax

        with own_jax(), jax.ensure_compile_time_eval():  # also while something else is traced
            return np.asarray(self.in_jax[order](x), float)

    @cached_property
    def in_jax(self) -> list[Function]:
        """g, g' and g'' as functions of JAX arrays, elementwise."""
        import jax

        slope = jax.grad(self.function)
        return [jax.jit(jax.numpy.vectorize(order)) for order in (self.function, slope, jax.grad(slope))]

    def _found_kinks(self) -> Float[ndarray, "kink"]:
        """Cells whose change of value or slope is left when they are halved down to rounding."""
        edges = np.linspace(-REACH, REACH, SEARCH_CELLS + 1) + OFFSET * 2 * REACH / SEARCH_CELLS
        found = []
        for of in (self.value, self.slope):
            left, width = edges[:-1], 2 * REACH / SEARCH_CELLS
            for _ in range(36):  # keep the half of each cell with the larger change
                width /= 2
                changes = np.abs(np.diff(of(left + width * np.arange(3)[:, None]), axis=0))
                left = left + width * (changes[0] <= changes[1])
            ends = of(np.stack([left, left + width]))
            found.append((left + width / 2)[np.abs(ends[1] - ends[0]) > SHARPEST * (1 + np.abs(ends[0]))])
        positions = np.sort(np.concatenate(found))
        rounded = np.round(positions, 6)
        positions = np.where(np.abs(positions - rounded) < 1e-9, rounded, positions)
        return positions[np.diff(positions, prepend=-np.inf) > 1e-8]
