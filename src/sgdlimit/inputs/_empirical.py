"""A law that is a set of samples: data of one's own as the latent."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ._divergence import Divergence
from ._latent import LatentLaw

__all__ = ["Empirical"]

ALIKE = 1e-10  # 1 − |correlation| of columns that are copies of each other


class Empirical(LatentLaw):
    """The empirical distribution of given samples: every draw is one of them, with replacement.

    Its mean and covariance are exact for what SGD sees. Theory is for fresh samples: once SGD has taken more steps than
    there are samples it sees some again, and what it learns of them is no longer independent of them. A simulation says
    so in its attributes, ``distinct_samples`` and ``epochs``.

    Parameters
    ----------
    samples
        Shape (count, D), more samples than coordinates.
    standardize
        Subtract the mean and divide by the deviation, coordinate by coordinate (19). A mean that is left has no
        limiting equations, and moment-matched theory refuses it.

    Raises
    ------
    ProblemError
        If entries are not finite, a coordinate is constant or a copy of another one, or there are too few samples for a
        covariance that can be inverted.

    Examples
    --------
    >>> law = Empirical(np.random.default_rng(0).normal(size=(500, 3)) + 5, standardize=True)
    >>> bool(np.allclose(law.mean(3), 0)), bool(np.allclose(law.covariance(3).diagonal(), 1))
    (True, True)
    >>> law
    Empirical(500 samples of 3 coordinates, standardized)
    """

    def __init__(self, samples: ArrayLike, *, standardize: bool = False) -> None:
        try:
            array = np.array(samples, dtype=np.float64)
        except (TypeError, ValueError):
            raise ProblemError("samples: they are not an array of numbers; give one of shape (count, D)") from None
        if array.ndim != 2 or array.size == 0:
            raise ProblemError(f"samples: shape {array.shape} will not do; give (count, D), a sample in each row")
        if not np.isfinite(array).all():
            rows = np.flatnonzero(~np.isfinite(array).all(axis=1))
            raise ProblemError(
                f"samples: {len(rows)} of {len(array)} hold NaN or infinite entries, the first in row {rows[0]}; "
                "remove those rows, or fill them in"
            )
        count, dim = array.shape
        deviation = array.std(axis=0)
        constant = np.flatnonzero(deviation <= 1e-12 * np.abs(array).max(axis=0))
        if len(constant):
            raise ProblemError(
                f"samples: {len(constant)} of {dim} coordinates are constant, the first is {constant[0]}; "
                "remove them, e.g. samples[:, samples.std(axis=0) > 0]"
            )
        if count <= dim:
            raise ProblemError(
                f"samples: {count} samples of {dim} coordinates have a covariance that cannot be inverted; "
                f"give at least {dim + 1}, and {10 * dim} for eigenvalues good to a third"
            )
        copies = np.argwhere(np.triu(1 - np.abs(np.corrcoef(array.T).reshape(dim, dim)) < ALIKE, 1))
        if len(copies):
            one, other = copies[0]
            raise ProblemError(
                f"samples: coordinate {other} is a copy of coordinate {one}, up to scale; remove one of each such pair"
            )
        self._set(array, bool(standardize), np.full(count, 1 / count))

    def _set(self, array: Float[np.ndarray, "count D"], standardize: bool, weights: Float[np.ndarray, "count"]) -> None:
        if standardize:
            array = array - weights @ array
            array = array / np.sqrt(weights @ np.square(array))
        array.setflags(write=False)
        self.samples, self.standardize, self.weights, self.dim = array, standardize, weights, array.shape[1]

    @property
    def distinct_samples(self) -> int:
        """Number of samples there are."""
        return len(self.samples)

    def reweighted(self, rng: np.random.Generator) -> "Empirical":
        """The same samples with random probabilities, uniform among all; standardised with their moments, if these are.

        What the bootstrap does by drawing with replacement, but no sample is lost, nor what only a few of them have.
        """
        weights = rng.standard_exponential(len(self.samples))
        other = object.__new__(Empirical)
        other._set(self.samples, self.standardize, weights / weights.sum())
        return other

    def sample(self, rng: np.random.Generator, count: int, dim: int | None = None) -> Float[np.ndarray, "count D"]:
        """Draw ``count`` of them, with replacement."""
        self.check_dim(dim)
        if np.ptp(self.weights) == 0:
            return self.samples[rng.integers(len(self.samples), size=count)]
        return self.samples[rng.choice(len(self.samples), size=count, p=self.weights)]

    def mean(self, dim: int) -> Float[np.ndarray, "D"]:
        """Their mean."""
        self.check_dim(dim)
        return self.weights @ self.samples

    def covariance(self, dim: int) -> Float[np.ndarray, "D D"]:
        """Their covariance."""
        self.check_dim(dim)
        centred = self.samples - self.mean(dim)
        return (self.weights * centred.T) @ centred

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> Divergence:
        """Infinite: a finite set of points has no density."""
        return Divergence(np.inf, 0.0, np.inf, np.inf)

    def __repr__(self) -> str:
        """Numbers of samples and coordinates."""
        count, dim = self.samples.shape
        return f"Empirical({count} samples of {dim} coordinates{', standardized' if self.standardize else ''})"
