"""What theory needs of an activation: Gaussian averages over the local fields."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["Integrals"]


class Integrals(eqx.Module):
    """Gaussian averages of activations over local fields (λ_1..λ_K, ν_1..ν_M) ~ N(0, S), with n = K + M.

    Indices k, l run over the K students and a, b over all n fields; the students come first in S, and g_a is the
    student's or the teacher's activation accordingly. Every method must hold at singular S and have finite derivatives
    there, for duplicated students, students equal to a teacher and zero weights all occur. Concrete classes are final.
    """

    @abstractmethod
    def correlation(self, S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[g_a g_b]."""

    @abstractmethod
    def correlation_around(self, mean: Float[Array, "n"], S: Float[Array, "n n"], K: int) -> Float[Array, "n n"]:
        """E[g_a g_b] of fields with a mean, N(mean, S)."""

    @abstractmethod
    def gain(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g'_k g'_a]."""

    @abstractmethod
    def curvature(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g''_k g_a], in the sense of distributions for a kink."""

    @abstractmethod
    def quartic(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K K n n"]:
        """E[g'_k g'_l g_a g_b]."""

    def noise(self, S: Float[Array, "n n"], c: Float[Array, "n"], K: int) -> Float[Array, "K K"]:
        """E[Δ² g'_k g'_l] with the error Δ = Σ_a c_a g_a of the network."""
        return self.quartic(S, K) @ c @ c

    @property
    def method(self) -> str:
        """How the averages are done."""
        return "closed form"

    @property
    def known_error(self) -> float:
        """Error of averages whose accuracy is fixed, 0 for closed forms."""
        return 0.0

    @property
    def accuracy(self) -> float:
        """The error that is allowed; infinite where it is fixed."""
        return float("inf")

    @property
    def finest_tolerance(self) -> float:
        """Local error of the solver below which it would see how the averages are done."""
        return 0.0

    def error(self, S: Float[Array, "n n"], c: Float[Array, "n"], K: int) -> Float[Array, ""]:
        """Estimated error of an average in the equations of motion, relative to it or to 1 where it is smaller."""
        return jnp.zeros(())

    def reaching(self, error: float) -> "Integrals":
        """The same, so much finer that what had this error has the accuracy, as far as that can be had."""
        return self
