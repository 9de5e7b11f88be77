"""Checks of what users give, each with the error that names the field."""

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ProblemError


def check_array(name: str, values: ArrayLike, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Finite numbers in float64, of a shape if one is given."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ProblemError(f"{name}: is not an array of numbers; give finite numbers") from None
    if shape is not None and array.shape != shape:
        raise ProblemError(f"{name}: shape {array.shape} does not fit; give {shape}")
    if not np.isfinite(array).all():
        raise ProblemError(f"{name}: {array[~np.isfinite(array)][0]} is not finite; give finite numbers")
    return array


def check_positive(**values: float) -> None:
    """Positive numbers, by their names."""
    for name, value in values.items():
        if not (np.ndim(value) == 0 and np.isreal(value) and 0 < value < np.inf):
            raise ProblemError(f"{name}: {value!r} is not a positive number; give a small one, such as 0.2 or 1e-8")


def check_whole(name: str, value: int, least: int, remedy: str = "give one", formula: str = "") -> int:
    """A whole number that is not too small; the formula stands before the least one."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ProblemError(f"{name}: {value!r} is not a whole number of at least {formula}{least}; {remedy}")
    return int(value)
