"""The activations as the compiled loops evaluate them: without branches or library calls, so that they vectorise.

The loops choose by a number: numba does not cache functions that receive other functions. The functions themselves
stand in the file of their activation, and are compiled here because theory does without numba, which imports slowly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import njit

from . import _erf, _relu
from ._activation import Code
from ._functions import CELL_WIDTH, CELLS, TABLE_START, TracedFunction

FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Freedoms of compiled arithmetic: without "nnan" and "ninf", because divergence must be seen."""

erf_and_gauss = njit(inline="always")(_erf.erf_and_gauss)
relu_and_slope = njit(inline="always")(_relu.relu_and_slope)


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
        return value, _erf.SLOPE * gauss
    if activation == Code.RELU:
        return relu_and_slope(x)
    if activation == Code.LINEAR:
        return x, 1.0
    return tabulated(tables, activation - Code.TABLE, x)


@njit(fastmath=FAST)
def values_and_slopes(activation, x, first, stop, tables, value, slope):
    """g and g' of the numbers x[first:stop], into arrays: a loop for each activation, so that they vectorise."""
    if activation == Code.ERF:
        for p in range(first, stop):
            value[p], gauss = erf_and_gauss(x[p])
            slope[p] = _erf.SLOPE * gauss
    elif activation == Code.RELU:
        for p in range(first, stop):
            value[p], slope[p] = relu_and_slope(x[p])
    elif activation == Code.LINEAR:
        for p in range(first, stop):
            value[p], slope[p] = x[p], 1.0
    else:
        for p in range(first, stop):
            value[p], slope[p] = tabulated(tables, activation - Code.TABLE, x[p])
