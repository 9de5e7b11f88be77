"""What theory needs of an activation: Gaussian averages over the local fields."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ._later import Array, jax, jnp

Scalar = Float[Array, ""]
Covariance = Float[Array, "n n"]
Means = Float[Array, "n"]
Pairs = Float[Array, "K n"]
Quartets = Float[Array, "K K n n"]


@dataclass(frozen=True)
class Integrals(ABC):
    """Gaussian averages of activations over local fields (λ_1..λ_K, ν_1..ν_M) ~ N(0, S), with n = K + M.

    Indices k, l run over the K students and a, b over all n fields; the students come first in S, and g_a is the
    student's or the teacher's activation accordingly. Every method must hold at singular S and have finite derivatives
    there, because duplicated students, students equal to a teacher and zero weights all occur. Concrete classes are
    final.
    """

    method: ClassVar[str] = "closed form"
    """How the averages are computed."""
    known_error: ClassVar[float] = 0.0
    """Error of averages whose accuracy is fixed; 0 for closed forms."""

    @abstractmethod
    def correlation(self, S: Covariance, K: int, mean: Means | None = None) -> Covariance:
        """E[g_a g_b], of fields N(mean, S) if a mean is given."""

    @abstractmethod
    def gain(self, S: Covariance, K: int) -> Pairs:
        """E[g'_k g'_a]."""

    @abstractmethod
    def curvature(self, S: Covariance, K: int) -> Pairs:
        """E[g''_k g_a], in the sense of distributions for a kink."""

    def quartic(self, S: Covariance, K: int) -> Quartets:
        """E[g'_k g'_l g_a g_b]; a class gives this or the noise, and the other follows."""
        return jax.hessian(lambda c: self.noise(S, c, K))(jnp.zeros(len(S))) / 2

    def noise(self, S: Covariance, c: Means, K: int) -> Float[Array, "K K"]:
        """E[Δ² g'_k g'_l] with the error Δ = Σ_a c_a g_a of the network."""
        return self.quartic(S, K) @ c @ c

    @property
    def accuracy(self) -> float:
        """The allowed error; infinite if it is fixed."""
        return float("inf")

    @property
    def finest_tolerance(self) -> float:
        """The solver must not ask for a smaller local error: it would resolve the errors of the averages."""
        return 0.0

    def error(self, S: Covariance, c: Means, K: int) -> Scalar:
        """Estimated error of an average in the equations of motion, relative to max(1, |average|)."""
        return jnp.zeros(())

    def reaching(self, error: float) -> "Integrals":
        """Refine averages that have this error until they reach the accuracy, as far as possible."""
        return self


class Expansions(Integrals):
    """Integrals whose averages of two fields all come from expansions of the two functions."""

    @abstractmethod
    def average(
        self, S: Covariance, K: int, orders: tuple[int, int], rows: int, mean: Means | float = 0.0
    ) -> Float[Array, "{rows} n"]:
        """E[f_a h_b] for derivatives f and h of the given orders, and for the first fields a."""

    def correlation(self, S: Covariance, K: int, mean: Means | None = None) -> Covariance:
        """E[g_a g_b]."""
        return self.average(S, K, (0, 0), len(S), 0.0 if mean is None else mean)

    def gain(self, S: Covariance, K: int) -> Pairs:
        """E[g'_k g'_a]; the slope of a teacher that jumps has spikes."""
        return self.average(S, K, (1, 1), K)

    def curvature(self, S: Covariance, K: int) -> Pairs:
        """E[g''_k g_a], with a spike at every kink of g_k."""
        return self.average(S, K, (2, 0), K)


def normalised(S: Covariance, smallest: float = 0.0) -> tuple[Means, Means, Covariance]:
    """Deviations, their reciprocals and correlations of fields with covariance S.

    A field whose deviation is not above ``smallest`` gets that deviation, reciprocal 0 and correlations 0.
    """
    variance = jnp.diagonal(S)
    varies = variance > smallest**2
    root = jnp.sqrt(jnp.where(varies, variance, 1.0))
    reciprocal = jnp.where(varies, 1 / root, 0.0)
    rho = jnp.clip(S * reciprocal[:, None] * reciprocal, -1, 1)
    return jnp.where(varies, root, smallest), reciprocal, jnp.where(np.eye(len(S), dtype=bool), 1.0, rho)
