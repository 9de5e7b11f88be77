"""Hermite coefficients (12) of any function, by quadrature between its kinks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from ..errors import ProblemError

REACH = 14.0
"""Deviations of the range of integration; the normal density leaves 1e-43 beyond."""

TOLERANCE = 1e-12
"""Change of the coefficients, relative to E f², when all panels are halved."""

MOST_PANELS = 2**14
VALUES_AT_ONCE = 2**22
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


class Coefficients(NamedTuple):
    """Coefficients (12) of f at U = h + σz, z ~ N(0, 1)."""

    a: Float[ndarray, "*shape"]
    """E f(U)."""
    b: Float[ndarray, "*shape"]
    """E[z f(U)]/σ."""
    c: Float[ndarray, "*shape"]
    """E f(U)²."""


def hermite_coefficients(
    function: Callable[[ndarray], ndarray],
    deviation: Float[ndarray, "*shape"],
    kinks: Float[ndarray, "kink"],
    name: str,
    mean: ArrayLike = 0.0,
) -> Coefficients:
    """The coefficients a, b, c of (12) for each deviation σ and mean h, to a relative 1e-10 of √c, √c/σ and c.

    Gauss-Legendre quadrature on panels that end at the kinks, halved until nothing changes.

    Parameters
    ----------
    function
        f, of arrays.
    deviation
        σ > 0.
    kinks
        Where f or f' jumps.
    name
        The function's name in errors.
    mean
        h, whose shape fits σ.

    Raises
    ------
    ProblemError
        If f grows too fast for its moments to exist, or varies too fast to be integrated.

    Examples
    --------
    >>> a, b, c = hermite_coefficients(lambda u: np.maximum(u, 0), np.array(2.0), np.zeros(1), "relu")
    >>> np.allclose([a * np.sqrt(2 * np.pi), b, c], [2, 0.5, 2], rtol=1e-12)
    True
    """
    deviation, mean = np.broadcast_arrays(np.asarray(deviation, np.float64), np.asarray(mean, np.float64))
    pairs, places = np.unique(np.stack([deviation.ravel(), mean.ravel()]), axis=1, return_inverse=True)
    sigma, h = pairs
    panels, coarse = 16, np.full((3, 1), np.inf)
    while True:
        fine = _integrals(function, sigma, h, kinks, panels, name)
        scale = np.stack([np.sqrt(fine[2]), np.sqrt(fine[2]), fine[2]])
        if (np.abs(fine - coarse) <= TOLERANCE * scale).all():
            break
        if panels >= MOST_PANELS:
            raise ProblemError(
                f"nonlinearity: {name!r} varies too fast for its Hermite coefficients. Smooth it, or give its kinks."
            )
        panels, coarse = 2 * panels, fine
    a, b, c = fine[:, places.reshape(deviation.shape)]
    return Coefficients(a, b / deviation, c)


def _integrals(
    function: Callable[[ndarray], ndarray],
    deviation: Float[ndarray, "s"],
    mean: Float[ndarray, "s"],
    kinks: Float[ndarray, "kink"],
    panels: int,
    name: str,
) -> Float[ndarray, "3 s"]:
    """E f, E z f and E f² for each deviation and mean."""
    grid = np.linspace(-REACH, REACH, panels + 1)
    results = np.empty((3, len(deviation)))
    at_once = max(1, VALUES_AT_ONCE // (len(NODES) * (panels + len(kinks))))
    for start in range(0, len(deviation), at_once):
        part = slice(start, start + at_once)
        sigma, h = deviation[part, None], mean[part, None]
        # Every deviation has its own panels: the common grid, cut once more at the kinks seen from its mean.
        ends = np.clip((kinks - h) / sigma, -REACH, REACH)
        ends = np.sort(np.hstack([np.broadcast_to(grid, (len(sigma), len(grid))), ends]), axis=1)
        half = np.diff(ends)[:, :, None] / 2
        z = (ends[:, :-1, None] + half) + half * NODES
        weight = half * WEIGHTS * np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)
        with np.errstate(over="ignore", invalid="ignore"):
            values = function(h[:, :, None] + sigma[:, :, None] * z)
            squares = weight * np.square(values)
        largest = squares.max()
        if not np.isfinite(largest) or squares[:, [0, -1]].max() > 1e-14 * largest:
            raise ProblemError(
                f"nonlinearity: {name!r} grows too fast for E f(U)² to exist. Give one that grows slower."
            )
        results[:, part] = [x.sum(axis=(1, 2)) for x in (weight * values, weight * z * values, squares)]
    return results
