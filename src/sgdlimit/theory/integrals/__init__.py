"""Gaussian integrals of activation functions, one class per activation."""

from sgdlimit.errors import ProblemError
from sgdlimit.theory.integrals._base import Integrals
from sgdlimit.theory.integrals._erf import Erf
from sgdlimit.theory.integrals._linear import Linear
from sgdlimit.theory.integrals._relu import ReLU

__all__ = ["Erf", "Integrals", "Linear", "ReLU", "integrals_for"]

INTEGRALS: dict[str, Integrals] = {"erf": Erf(), "relu": ReLU(), "linear": Linear()}


def integrals_for(name: str) -> Integrals:
    """Integrals of the activation of that name.

    Raises
    ------
    ProblemError
        If theory has no integrals for it.

    Examples
    --------
    >>> integrals_for("erf")
    Erf()
    """
    try:
        return INTEGRALS[name]
    except (KeyError, TypeError):
        raise ProblemError(
            f"activation: {name!r} has no integrals; use one of {', '.join(map(repr, INTEGRALS))}"
        ) from None
