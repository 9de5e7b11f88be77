"""Checks of what users give, each with the error that names the field."""

import numpy as np

from ..errors import ProblemError, shown


def check_positive(**values: float) -> None:
    """Positive numbers, by their names."""
    for name, value in values.items():
        if not (np.ndim(value) == 0 and np.isreal(value) and 0 < value < np.inf):
            raise ProblemError(f"{name}: must be a positive number (got {shown(value)}). Try 0.2 or 1e-8.")


def check_whole(name: str, value: int, least: int, remedy: str = "", formula: str = "") -> int:
    """A whole number that is not too small; the formula stands before the least one."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ProblemError(f"{name}: must be a whole number of at least {formula}{least} (got {shown(value)}).{remedy}")
    return int(value)
