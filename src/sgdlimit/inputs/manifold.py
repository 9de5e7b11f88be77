"""The hidden manifold X = f(CF/√D) (1): the nonlinearity f and its Hermite coefficients (12)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sgdlimit.errors import ProblemError

__all__ = ["NONLINEARITIES", "Nonlinearity", "nonlinearity_named"]

Array = np.ndarray


@dataclass(frozen=True)
class Nonlinearity:
    """The function f that folds the latent space into the input space, X = f(U).

    ``hermite(σ)`` gives, for U = σz with z ~ N(0, 1), the coefficients a = E f(U), b = E[z f(U)]/σ and c = E f(U)²
    of (12), here for any variance σ² of U.
    """

    name: str
    code: int
    """How the compiled kernels know it."""
    value: Callable[[Array], Array]
    hermite: Callable[[Float[Array, "N"]], tuple[Float[Array, "N"], Float[Array, "N"], Float[Array, "N"]]]


def _erf(u: Array) -> Array:
    from scipy.special import erf

    return erf(np.asarray(u) / np.sqrt(2))


NONLINEARITIES = {
    "sign": Nonlinearity(
        "sign",
        0,
        lambda u: np.copysign(1.0, u),
        lambda s: (0 * s, np.sqrt(2 / np.pi) / s, 1 + 0 * s),
    ),
    "erf": Nonlinearity(
        "erf",
        1,
        _erf,
        lambda s: (0 * s, np.sqrt(2 / np.pi / (1 + s**2)), 2 / np.pi * np.arcsin(s**2 / (1 + s**2))),
    ),
    "identity": Nonlinearity("identity", 2, np.asarray, lambda s: (0 * s, 1 + 0 * s, s**2)),
}
"""sign(u), erf(u/√2) and u, by name."""


def nonlinearity_named(name: str) -> Nonlinearity:
    """Look a nonlinearity f up by its name.

    Parameters
    ----------
    name
        ``"sign"``, ``"erf"`` for erf(u/√2), or ``"identity"``.

    Raises
    ------
    ProblemError
        If there is no nonlinearity of that name.

    Examples
    --------
    >>> nonlinearity_named("sign").value(np.array([-0.3, 2.0]))
    array([-1.,  1.])
    """
    try:
        return NONLINEARITIES[name]
    except (KeyError, TypeError):
        raise ProblemError(
            f"nonlinearity: {name!r} is not known; use one of {', '.join(map(repr, NONLINEARITIES))}"
        ) from None
