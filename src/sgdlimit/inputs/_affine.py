"""A law that is another one, shifted and rescaled."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ._components import Clusters
from ._divergence import Divergence
from ._latent import LatentLaw

__all__ = ["Affine"]


class Affine(LatentLaw):
    """The law of (C − location)/scale, C drawn from another law.

    Parameters
    ----------
    law
        The law of C.
    location
        What is subtracted, shape (D,) or a number.
    scale
        What is then divided by, shape (D,) or a number, positive.

    Examples
    --------
    >>> from sgdlimit.inputs._latent import MixtureLaw
    >>> law = MixtureLaw([[1.0, 2.0]])
    >>> Affine(law, law.mean(2), 2.0).mean(2)
    array([0., 0.])
    """

    def __init__(self, law: LatentLaw, location: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> None:
        self.law, self.dim = law, law.dim
        self.location, self.scale = np.asarray(location, dtype=np.float64), np.asarray(scale, dtype=np.float64)
        if not (np.isfinite(self.location).all() and np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise ProblemError(
                f"scale: {self.scale} or the location is no use; give finite ones, and positive deviations"
            )

    @property
    def distinct_samples(self) -> int | None:
        """As many as there are of C."""
        return self.law.distinct_samples

    @property
    def samples(self) -> Float[np.ndarray, "count D"]:
        """Of a finite set of samples, what becomes of them."""
        return (self.law.samples - self.location) / self.scale  # type: ignore[attr-defined]

    def reweighted(self, rng: np.random.Generator) -> "Affine":
        """Of the samples of C; shift and scale stay."""
        return Affine(self.law.reweighted(rng), self.location, self.scale)

    def sample(self, rng: np.random.Generator, count: int, dim: int | None = None) -> Float[np.ndarray, "count D"]:
        """Draw ``count`` independent samples."""
        return (self.law.sample(rng, count, dim) - self.location) / self.scale

    def mean(self, dim: int) -> Float[np.ndarray, "D"]:
        """(E C − location)/scale."""
        return (self.law.mean(dim) - self.location) / self.scale

    def covariance(self, dim: int) -> Float[np.ndarray, "D D"]:
        """Σ_C, divided by the scales."""
        scale = np.broadcast_to(self.scale, (dim,))
        return self.law.covariance(dim) / np.multiply.outer(scale, scale)

    def clusters(self, dim: int) -> Clusters:
        """Those of C, shifted and rescaled."""
        return self.law.clusters(dim).rescaled(self.location, self.scale)

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> Divergence:
        """Infinite for a finite set of points, else refused: that of C does not tell it."""
        if self.distinct_samples is not None:
            return Divergence(np.inf, 0.0, np.inf, np.inf)
        raise ProblemError(
            f"latent: the divergence of a shifted {type(self.law).__name__} is not known; standardise the law itself"
        )

    def __repr__(self) -> str:
        with np.printoptions(threshold=4, edgeitems=1, precision=4):
            return f"Affine({self.law!r}, location={self.location!s}, scale={self.scale!s})"
