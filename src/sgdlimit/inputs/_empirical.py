"""A law that is a set of samples: your data as the latent."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..settings import numbers
from ._law import LatentLaw

ALIKE = 1e-10  # 1 − |correlation| of columns that are copies of each other


class Empirical(LatentLaw):
    """The empirical distribution of given samples: every draw is one of them, with replacement.

    Its mean and covariance are exact for the inputs of SGD. Theory assumes fresh samples. After more steps than there
    are samples SGD has used some twice, and its weights depend on them. The attributes ``distinct_samples`` and
    ``epochs`` of a simulation report it.

    Parameters
    ----------
    samples
        Shape (count, D), more samples than coordinates.
    standardize
        Subtract the mean and divide by the deviation, coordinate by coordinate (19). Inputs with a mean have no
        limiting equations, and moment-matched theory refuses them.

    Raises
    ------
    ProblemError
        If entries are not finite, a coordinate is constant or a copy of another one, or there are too few samples for
        an invertible covariance.

    Examples
    --------
    >>> law = Empirical(np.random.default_rng(0).normal(size=(500, 3)) + 5, standardize=True)
    >>> bool(np.allclose(law.mean(3), 0)), bool(np.allclose(law.covariance(3).diagonal(), 1))
    (True, True)
    >>> law
    Empirical(500 samples of 3 coordinates, standardized)
    """

    def __init__(self, samples: ArrayLike, *, standardize: bool = False) -> None:
        array = numbers("samples", samples, ("count", "latent_dim"))
        count, dim = array.shape
        constant = np.flatnonzero(array.std(axis=0) <= 1e-12 * np.abs(array).max(axis=0))
        if len(constant):
            raise ProblemError(
                f"samples: must vary in every coordinate ({len(constant)} of {dim} are constant, the first is "
                f"{constant[0]}). Keep samples[:, samples.std(axis=0) > 0]."
            )
        if count <= dim:
            raise ProblemError(
                f"samples: must be at least {dim + 1} for a covariance of {dim} coordinates that can be inverted (got "
                f"{count}). Give {10 * dim} for eigenvalues good to a third."
            )
        copies = np.argwhere(np.triu(1 - np.abs(np.corrcoef(array.T).reshape(dim, dim)) < ALIKE, 1))
        if len(copies):
            first, copy = copies[0]
            raise ProblemError(
                f"samples: must have coordinates that differ ({copy} is a copy of {first}, up to scale). Remove one of "
                "each such pair."
            )
        self._set(array, bool(standardize), np.full(count, 1 / count))

    def _set(self, array: Float[ndarray, "count D"], standardize: bool, weights: Float[ndarray, "count"]) -> None:
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
        """The same samples with random probabilities, standardised again if they were.

        A smooth bootstrap: unlike drawing with replacement it keeps every sample, and so every rare feature.
        """
        weights = rng.standard_exponential(len(self.samples))
        other = object.__new__(Empirical)
        other._set(self.samples, self.standardize, weights / weights.sum())
        return other

    def sample(self, rng: np.random.Generator, count: int, dim: int | None = None) -> Float[ndarray, "count D"]:
        """Draw ``count`` of them, with replacement."""
        self.check_dim(dim)
        if np.ptp(self.weights) == 0:
            return self.samples[rng.integers(len(self.samples), size=count)]
        return self.samples[rng.choice(len(self.samples), size=count, p=self.weights)]

    def mean(self, dim: int) -> Float[ndarray, "D"]:
        """Their mean."""
        self.check_dim(dim)
        return self.weights @ self.samples

    def covariance(self, dim: int) -> Float[ndarray, "D D"]:
        """Their covariance."""
        self.check_dim(dim)
        centred = self.samples - self.mean(dim)
        return (self.weights * centred.T) @ centred

    def __repr__(self) -> str:
        """Numbers of samples and coordinates."""
        count, dim = self.samples.shape
        return f"Empirical({count} samples of {dim} coordinates{', standardized' if self.standardize else ''})"
