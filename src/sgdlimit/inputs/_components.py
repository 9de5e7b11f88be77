"""The Gaussian components of a law: what theory of clustered inputs starts from."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..resources import one_thread

__all__ = ["MOST_CLUSTERS", "Clusters", "independent_blocks"]

MOST_CLUSTERS = 64
"""What theory takes; laws of more are for moment-matched theory."""


@dataclass(frozen=True)
class Clusters:
    """The latent as a mixture Σ_i p_i N(m_i, Λ_i) of Gaussian clusters.

    Parameters
    ----------
    weights
        p, shape (c,), positive, summing to one.
    means
        m, shape (c, D).
    roots
        Λ^(1/2): deviations of independent coordinates, shape (c, D), or matrices L with Λ = L Lᵀ, shape (c, D, D).

    Raises
    ------
    ProblemError
        If shapes do not fit or the weights are no probabilities.
    """

    weights: Float[np.ndarray, "c"]
    means: Float[np.ndarray, "c D"]
    roots: Float[np.ndarray, "c D *D"]

    def __post_init__(self) -> None:
        c, D = self.means.shape
        if self.weights.shape != (c,) or (self.weights <= 0).any() or abs(self.weights.sum() - 1) > 1e-9:
            raise ProblemError(f"weights: {self.weights} are not {c} positive probabilities that add up to one")
        if self.roots.shape not in ((c, D), (c, D, D)):
            raise ProblemError(f"roots: shape {self.roots.shape} does not fit; give {(c, D)} or {(c, D, D)}")
        if c > MOST_CLUSTERS:
            raise ProblemError(
                f"theory: 'mixture' follows up to {MOST_CLUSTERS} clusters, and this law has {c}; use "
                "theory='moment-matched', standardised if it has a mean"
            )

    @classmethod
    def from_covariances(cls, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> "Clusters":
        """From the matrices Λ, shape (c, D, D), which may be singular.

        Raises
        ------
        ProblemError
            If one is not symmetric or has a negative eigenvalue.
        """
        p, m, covariance = (np.asarray(x, dtype=np.float64) for x in (weights, means, covariances))
        scale = np.abs(covariance).max()
        if not np.allclose(covariance, np.swapaxes(covariance, -1, -2), rtol=0, atol=1e-10 * scale):
            raise ProblemError("covariances: one is not symmetric; give (Λ + Λᵀ)/2")
        with one_thread():
            variances, directions = np.linalg.eigh(covariance)
        if variances.min() < -1e-10 * scale * covariance.shape[-1]:
            raise ProblemError(
                f"covariances: one has the eigenvalue {variances.min():.3g}, and a covariance has none below 0; "
                "correct it, or add a little to its diagonal"
            )
        return cls(p, m, directions * np.sqrt(np.maximum(variances, 0))[:, None, :])

    def rescaled(self, location: Float[np.ndarray, "*D"], scale: Float[np.ndarray, "*D"]) -> "Clusters":
        """Those of (C − location)/scale."""
        by_row = np.broadcast_to(scale, self.means.shape[1:])
        roots = self.roots / (by_row[:, None] if self.roots.ndim == 3 else by_row)
        return Clusters(self.weights, (self.means - location) / scale, roots)


def independent_blocks(
    weights: Float[np.ndarray, "m"], means: Float[np.ndarray, "m D"], block_size: int
) -> Clusters | None:
    """Clusters of unit deviation where every block of coordinates draws its component by itself; None if too many."""
    m, D = means.shape
    blocks = D // block_size
    if m > 1 and blocks * np.log(m) > np.log(MOST_CLUSTERS) + 1e-9:
        return None
    choices = np.array(list(product(range(m), repeat=blocks if m > 1 else 1)))
    chosen = np.repeat(choices, block_size if m > 1 else D, axis=1)  # the component of every coordinate
    roots = np.broadcast_to(np.ones(D), (len(choices), D))
    return Clusters(weights[choices].prod(axis=1), means[chosen, np.arange(D)], roots)
