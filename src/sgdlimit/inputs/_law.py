"""Laws of the latent sample C ∈ R^D: the base class, the standard normal law, and shifted and rescaled laws."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from numpy.random import Generator
from numpy.typing import ArrayLike

from ..errors import ProblemError, shown
from ..settings import numbers

Samples = Float[ndarray, "count D"]
Vector = Float[ndarray, "D"]
Matrix = Float[ndarray, "D D"]
Columns = Int[ndarray, "some"]
Labels = Shaped[ndarray, "columns"]

MOST_CLUSTERS = 64
"""The most that mixture theory follows."""


def unvaried(samples: Samples) -> Bool[ndarray, "D"]:
    """Which columns have the same value in every row, up to rounding."""
    return samples.std(0) <= 1e-12 * abs(samples).max(0)


def constant_columns(
    name: str,
    constant: Bool[ndarray, "D"],
    labels: Labels | None = None,
    *,
    drop: bool = False,
    fix: str = "To leave them out, give drop_constant=True to diagnose or the law, or --drop-constant to check.",
) -> Columns:
    """Places of the columns that are constant. Divided by its deviation, such a column would become NaN or noise.

    The labels stand for columns in the error; by default they are numbers from 1.

    Raises
    ------
    ProblemError
        If some are, and not to be dropped, or all.
    """
    places = np.flatnonzero(constant)
    if len(places) and (constant.all() or not drop):
        named = places + 1 if labels is None else labels[places]
        fix = "Give data that vary." if constant.all() else fix
        raise ProblemError(
            f"{name}: must vary in every column (got {len(places)} constant of {len(constant)}: {listed(named)}). {fix}"
        )
    return places


def listed(labels: Labels) -> str:
    """The first ten columns for a message, by heading or by number from 1, and how many more there are."""
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    return ", ".join(map(shown, labels[:10].tolist())) + more + ", counted from 1" * (labels.dtype.kind == "i")


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
        If shapes do not fit.
    """

    weights: Float[ndarray, "c"]
    means: Float[ndarray, "c D"]
    roots: Float[ndarray, "c rows *columns"]

    def __post_init__(self) -> None:
        c, D = self.means.shape
        if self.weights.shape != (c,) or self.roots.shape not in ((c, D), (c, D, D)):
            raise ProblemError(f"roots: must be of shape {(c, D)} or {(c, D, D)} (got {self.roots.shape}).")

    def rescaled(self, location: Float[ndarray, "..."], scale: Float[ndarray, "..."]) -> "Clusters":
        """The clusters of (C − location)/scale."""
        roots = self.roots / (scale[..., None] if self.roots.ndim == 3 else scale)
        return Clusters(self.weights, (self.means - location) / scale, roots)


class Divergence(NamedTuple):
    """A Kullback–Leibler divergence in nats, with its standard error and rigorous bounds.

    The standard error is 0 where the value was found by quadrature.

    Examples
    --------
    >>> float(Divergence(1.5, 0.0, 1.0, 2.0))
    1.5
    """

    value: float
    standard_error: float
    lower: float
    upper: float

    def __float__(self) -> float:
        return self.value


class LatentLaw(ABC):
    """Base class for laws of the latent C. Subclass it for your own law.

    ``dim`` is the latent dimension D where the law fixes one, else None (it fits any).
    """

    dim: int | None = None
    distinct_samples: int | None = None
    """Number of samples to draw from; None where every draw is a fresh one, as theory assumes."""
    dropped: Columns = np.arange(0)
    """Places of the constant columns of the data that were left out, counted from 0."""
    headings: Labels = dropped
    """Headings of all columns of the data, or their numbers from 1."""

    def clusters(self, dim: int) -> Clusters:
        """The Gaussian components that ``theory="mixture"`` starts from, for laws that have some.

        Raises
        ------
        ProblemError
            If the law has none, or too many.
        """
        raise ProblemError(
            f"latent: must have Gaussian components for theory='mixture' (got {type(self).__name__}). Fit some, "
            "ClusterMixture.from_sklearn(fitted), or use theory='moment-matched'."
        )

    def clusters_chosen(self, rng: Generator, count: int) -> Int[ndarray, "count"]:
        """Numbers of the clusters that ``sample`` takes with the same generator.

        Raises
        ------
        ProblemError
            If the law does not tell.
        """
        raise ProblemError(
            f"latent: must be a mixture for labels of its clusters (got {type(self).__name__}). Use "
            "sl.ClusterMixture(means, covariances)."
        )

    def reweighted(self, rng: Generator) -> "LatentLaw":
        """A finite set of samples with random probabilities, as for a bootstrap.

        Raises
        ------
        ProblemError
            If the law is no finite set of samples.
        """
        raise ProblemError(
            f"latent: must be a finite set of samples (got {shown(self)}). Use solve(instance, times) for other laws."
        )

    @abstractmethod
    def sample(self, rng: Generator, count: int, dim: int | None = None) -> Samples:
        """Draw ``count`` independent samples; ``dim`` is needed where the law fits any D."""

    @abstractmethod
    def mean(self, dim: int) -> Vector:
        """E C."""

    @abstractmethod
    def covariance(self, dim: int) -> Matrix:
        """Σ_C = Cov C."""

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> Divergence:
        """D_KL(law ‖ N(0, I)) (16), in nats: infinite for a finite set of points.

        Raises
        ------
        ProblemError
            If the law does not know it.
        """
        if self.distinct_samples is None:
            raise ProblemError(f"latent: must be a law whose divergence is known (got {self!r}). Use a mixture.")
        return Divergence(np.inf, 0.0, np.inf, np.inf)

    def check_dim(self, dim: int | None) -> int:
        """The latent dimension to use: the one asked for, which must fit the law.

        Raises
        ------
        ProblemError
            If none is given and the law fits any, or if they differ.
        """
        size = self.dim if dim is None else dim
        if size is None:
            raise ProblemError(
                "dim: must be given for a law that fits any (got none). Try sample(rng, count, dim=500)."
            )
        if self.dim not in (None, size):
            raise ProblemError(f"latent: must have latent_dim {size} coordinates (got a law of {self.dim}).")
        return size


@dataclass(frozen=True)
class Gaussian(LatentLaw):
    """The standard normal latent C ~ N(0, I) of the hidden manifold model.

    Examples
    --------
    >>> Gaussian().sample(np.random.default_rng(0), 4, dim=3).shape
    (4, 3)
    """

    law: Literal["gaussian"] = "gaussian"

    def sample(self, rng: Generator, count: int, dim: int | None = None) -> Samples:
        """Draw ``count`` samples in R^dim."""
        return rng.standard_normal((count, self.check_dim(dim)))

    def mean(self, dim: int) -> Vector:
        """Zero."""
        return np.zeros(dim)

    def covariance(self, dim: int) -> Matrix:
        """The identity."""
        return np.eye(dim)

    def clusters(self, dim: int) -> Clusters:
        """One, around zero."""
        return Clusters(np.ones(1), np.zeros((1, dim)), np.ones((1, dim)))

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> Divergence:
        """Zero, exactly."""
        return Divergence(0.0, 0.0, 0.0, 0.0)


class Affine(LatentLaw):
    """The law of (C − location)/scale, C drawn from another law.

    Parameters
    ----------
    law
        The law of C.
    location
        Subtracted from C: shape (D,) or a number.
    scale
        Divides the difference: shape (D,) or a number, positive.

    Examples
    --------
    >>> law = Affine(Gaussian(), -1.0, 2.0)
    >>> law.mean(2), law.covariance(2).diagonal()
    (array([0.5, 0.5]), array([0.25, 0.25]))
    """

    def __init__(self, law: LatentLaw, location: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> None:
        self.law, self.dim, self.distinct_samples = law, law.dim, law.distinct_samples
        self.dropped, self.headings = law.dropped, law.headings
        self.location, self.scale = numbers("location", location), numbers("scale", scale)
        if (self.scale <= 0).any():
            raise ProblemError(f"scale: must be positive (got {shown(self.scale)}). Give deviations.")

    @property
    def samples(self) -> Samples:
        """The samples of C, shifted and rescaled, where C is drawn from a finite set."""
        return (self.law.samples - self.location) / self.scale  # type: ignore[attr-defined]

    def reweighted(self, rng: Generator) -> "Affine":
        """The samples of C with random probabilities; shift and scale stay."""
        return Affine(self.law.reweighted(rng), self.location, self.scale)

    def sample(self, rng: Generator, count: int, dim: int | None = None) -> Samples:
        """Draw ``count`` independent samples."""
        return (self.law.sample(rng, count, dim) - self.location) / self.scale

    def mean(self, dim: int) -> Vector:
        """(E C − location)/scale."""
        return (self.law.mean(dim) - self.location) / self.scale

    def covariance(self, dim: int) -> Matrix:
        """Σ_C, divided by the scales."""
        return self.law.covariance(dim) / np.multiply.outer(self.scale, self.scale)

    def clusters(self, dim: int) -> Clusters:
        """The clusters of C, shifted and rescaled."""
        return self.law.clusters(dim).rescaled(self.location, self.scale)

    def clusters_chosen(self, rng: Generator, count: int) -> Int[ndarray, "count"]:
        """Those of C."""
        return self.law.clusters_chosen(rng, count)

    def __repr__(self) -> str:
        with np.printoptions(threshold=4, edgeitems=1, precision=4):
            return f"Affine({self.law!r}, location={self.location!s}, scale={self.scale!s})"
