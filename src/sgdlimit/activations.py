"""Activation functions g of the hidden units: value and derivative.

What theory needs of an activation, its Gaussian integrals, is in :mod:`sgdlimit.theory.integrals` under the same name.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sgdlimit.errors import ProblemError

__all__ = ["ACTIVATIONS", "Activation", "activation_named"]


@dataclass(frozen=True)
class Activation:
    """An activation function g with its derivative g', both acting elementwise on arrays of local fields.

    Examples
    --------
    >>> float(activation_named("relu").value(-1.0))
    0.0
    """

    name: str
    code: int
    """How the compiled kernels know it."""
    value: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]


def _erf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(np.asarray(x) / np.sqrt(2))


def _erf_derivative(x: np.ndarray) -> np.ndarray:
    return np.sqrt(2 / np.pi) * np.exp(-np.square(x) / 2)


ACTIVATIONS = {
    "erf": Activation("erf", 0, _erf, _erf_derivative),
    "relu": Activation("relu", 1, lambda x: np.maximum(x, 0), lambda x: np.where(np.asarray(x) > 0, 1.0, 0.0)),
    "linear": Activation("linear", 2, np.asarray, np.ones_like),
}
"""erf(x/√2), max(x, 0) and x, by name."""


def activation_named(name: str) -> Activation:
    """Look an activation up by its name.

    Parameters
    ----------
    name
        ``"erf"`` for erf(x/√2), ``"relu"`` for max(x, 0), ``"linear"`` for x.

    Raises
    ------
    ProblemError
        If there is no activation of that name.
    """
    try:
        return ACTIVATIONS[name]
    except (KeyError, TypeError):
        raise ProblemError(
            f"activation: {name!r} is not known; use one of {', '.join(map(repr, ACTIVATIONS))}"
        ) from None
