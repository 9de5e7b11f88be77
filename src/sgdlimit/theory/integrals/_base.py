"""What theory needs of an activation: Gaussian averages over the local fields."""

from abc import abstractmethod

import equinox as eqx
from jaxtyping import Array, Float

__all__ = ["Integrals"]


class Integrals(eqx.Module):
    """Gaussian averages of an activation over local fields (λ_1..λ_K, ν_1..ν_M) ~ N(0, S), with n = K + M.

    Indices k, l run over the K students and a, b over all n fields; the students come first in S. Every method must
    hold at singular S and have finite derivatives there, for duplicated students, students equal to a teacher and
    zero weights all occur. Concrete classes are final.
    """

    @abstractmethod
    def correlation(self, S: Float[Array, "n n"]) -> Float[Array, "n n"]:
        """E[g_a g_b]."""

    @abstractmethod
    def gain(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g'_k g'_a]."""

    @abstractmethod
    def curvature(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K n"]:
        """E[g''_k g_a], in the sense of distributions for a kink."""

    @abstractmethod
    def quartic(self, S: Float[Array, "n n"], K: int) -> Float[Array, "K K n n"]:
        """E[g'_k g'_l g_a g_b]."""
