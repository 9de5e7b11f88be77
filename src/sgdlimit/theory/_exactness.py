"""How exactly equations are evaluated: exact to rounding, by quadrature or Monte Carlo with an error, or refused.

The whole is as good as its worst part. None of this says whether real inputs obey the equations: see
:func:`sgdlimit.diagnose`.
"""

from typing import NamedTuple

import numpy as np

from ..errors import ProblemError
from ..inputs import Known
from ..instance import Instance
from ..rules import Averages

KINDS = ("exact", "quadrature", "Monte Carlo", "refused")
"""From best to worst."""

HERMITE_ERROR = 1e-10
"""Relative error of the Hermite coefficients of a user's own f."""


class Exactness(NamedTuple):
    """A kind of evaluation, and its error."""

    kind: str
    """One of :data:`KINDS`."""
    error: float
    """Relative; 0 where exact, NaN where refused."""
    because: str
    """The source of the error, or the reason of the refusal."""

    def __str__(self) -> str:
        if self.kind == "exact":
            return self.kind
        return f"{self.kind}: {self.because}" if np.isnan(self.error) else f"{self.kind}, error {self.error:.0e}"


ENSEMBLE = Exactness("Monte Carlo", np.nan, "an ensemble, with its spread")


def refused(error: ProblemError) -> Exactness:
    """The exactness of a theory that is refused with an error."""
    return Exactness("refused", np.nan, str(error).split(". ")[0])


def exactness_of_averages(integrals: Averages) -> Exactness:
    """Exactness of the Gaussian averages of a pair of activations; for quasi-Monte Carlo the error that is allowed."""
    if integrals.method == "closed form":
        return Exactness("exact", 0.0, "")
    error = integrals.known_error if np.isinf(integrals.accuracy) else integrals.accuracy
    return Exactness("quadrature" if integrals.method == "quadrature" else "Monte Carlo", error, "averages over fields")


def exactness_of_instance(instance: Instance, theory: str, integrals: Averages) -> Exactness:
    """The worst of the averages and of Ω, φ and T: closed forms, quadrature for your own f, covariances of samples."""
    parts, count = [exactness_of_averages(integrals)], instance.latent.distinct_samples
    if not isinstance(instance.f, Known):
        parts.append(Exactness("quadrature", HERMITE_ERROR, "Hermite coefficients of f"))
    if theory != "conventional" and count is not None:
        parts.append(Exactness("Monte Carlo", float(np.sqrt(2 / count)), f"covariance of {count} samples"))
    return max(parts, key=lambda part: (KINDS.index(part.kind), part.error))
