"""The activations as the compiled loops evaluate them: without branches or library calls, so that they vectorise.

The loops choose by a number: numba does not cache functions that receive other functions. Numba is slow to import, and
so is JAX. Therefore the loops stand apart from the averages, and theory imports one and SGD the other.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import njit

from ._activation import Code
from ._functions import CELL_WIDTH, CELLS, TABLE_START, TracedFunction

FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Freedoms of compiled arithmetic: without "nnan" and "ninf", because divergence must be seen."""

LOG2_E = 1 / math.log(2)
LN2 = math.log(2)
SLOPE = math.sqrt(2 / math.pi)
EXP_COEFFICIENTS = tuple(1 / math.factorial(k) for k in reversed(range(10)))
# erfc(z) = t P(t) exp(−z²), t = 1/(1 + 0.4 z), P fitted at the Chebyshev points of t in (0, 1].
ERFC_COEFFICIENTS = (
    0.01809663344145,
    -0.1031263254241,
    0.2262902740853,
    -0.2204021399024,
    0.08448854836834,
    -0.04746998614114,
    0.02319663686286,
    0.06690225668818,
    0.1215119662414,
    0.1715403241085,
    0.2076201089193,
    0.2256758697436,
    0.2256758332947,
)


@njit(inline="always")
def erf_and_gauss(x: float) -> tuple[float, float]:
    """erf(x/√2) and exp(−x²/2), to 1e-9: what the float32 sums that x comes from are worth a hundred times over."""
    square = min(0.5 * x * x, 700.0)
    n = np.floor(0.5 - square * LOG2_E)
    rest = -square - n * LN2
    gauss = 0.0
    for c in EXP_COEFFICIENTS:
        gauss = gauss * rest + c
    exponent = np.int64(np.int32(n)) + np.int64(1023)
    gauss *= np.int64(exponent << np.int64(52)).view(np.float64)  # 2ⁿ, whose bits are its exponent's
    t = 1 / (1 + 0.4 * math.sqrt(0.5) * abs(x))
    tail = 0.0
    for c in ERFC_COEFFICIENTS:
        tail = tail * t + c
    return math.copysign(1 - tail * t * gauss, x), gauss


class Tables(NamedTuple):
    """Functions stacked for a compiled loop."""

    coefficients: Float[np.ndarray, "function cell 4"]
    """Coefficients of the cubic on each cell, see :attr:`TracedFunction.table`."""
    kinks: Float[np.ndarray, "function kink 3"]
    """Position, jump and slope jump."""

    @classmethod
    def of(cls, functions: Sequence[TracedFunction]) -> "Tables":
        """Stack any number of functions; kinks that one lacks lie at infinity, where no field passes them."""
        kinks = [np.column_stack(g.kinks) for g in functions]
        filled = np.tile([np.inf, 0.0, 0.0], (len(kinks), max(map(len, kinks), default=0), 1))
        for place, own in zip(filled, kinks, strict=True):
            place[: len(own)] = own
        return cls(np.array([g.table for g in functions]).reshape(-1, CELLS + 2, 4), filled)


@njit(inline="always")
def smooth_part(tables, function, x):
    """g(x) and g'(x) of a function in :class:`Tables`, without its kinks."""
    place = (x - TABLE_START) / CELL_WIDTH
    cell = int(min(max(place, -1.0), float(CELLS))) + 1 if place >= 0 else 0
    rest = x - (TABLE_START + CELL_WIDTH * min(max(cell - 1, 0), CELLS))
    c = tables.coefficients[function, cell]
    value = c[0] + rest * (c[1] + rest * (c[2] + rest * c[3]))
    return value, c[1] + rest * (2 * c[2] + rest * 3 * c[3])


@njit
def tabulated(tables, function, x):
    """g(x) and g'(x) of a function in :class:`Tables`."""
    value, slope = smooth_part(tables, function, x)
    for k in range(tables.kinks.shape[1]):
        beyond = x - tables.kinks[function, k, 0]
        if beyond > 0:
            value += tables.kinks[function, k, 1] + tables.kinks[function, k, 2] * beyond
            slope += tables.kinks[function, k, 2]
    return value, slope


@njit(inline="always")
def activation_and_slope(activation, x, tables):
    """g(x) and g'(x)."""
    if activation == Code.ERF:
        value, gauss = erf_and_gauss(x)
        return value, SLOPE * gauss
    if activation == Code.RELU:
        return max(x, 0.0), (1.0 if x > 0 else 0.0)
    if activation == Code.LINEAR:
        return x, 1.0
    return tabulated(tables, activation - Code.TABLE, x)


@njit(fastmath=FAST)
def values_and_slopes(activation, x, first, stop, tables, value, slope):
    """g and g' of the numbers x[first:stop], into arrays: a loop for each activation, so that they vectorise."""
    if activation == Code.ERF:
        for p in range(first, stop):
            value[p], gauss = erf_and_gauss(x[p])
            slope[p] = SLOPE * gauss
    elif activation == Code.RELU:
        for p in range(first, stop):
            value[p], slope[p] = max(x[p], 0.0), (1.0 if x[p] > 0 else 0.0)
    elif activation == Code.LINEAR:
        for p in range(first, stop):
            value[p], slope[p] = x[p], 1.0
    else:
        for p in range(first, stop):
            value[p], slope[p] = tabulated(tables, activation - Code.TABLE, x[p])
