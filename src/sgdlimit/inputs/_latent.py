"""Laws of the latent sample C ∈ R^D: the Gaussian and Gaussian mixtures (17), standardised (19) or not."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ._components import MOST_CLUSTERS, Clusters, independent_blocks

if TYPE_CHECKING:
    from ._divergence import Divergence

__all__ = ["Gaussian", "LatentLaw", "MixtureLaw"]


class LatentLaw(ABC):
    """What a law of the latent C must offer. Subclass it to bring your own.

    ``dim`` is the latent dimension D where the law fixes one, else None (it fits any).
    """

    dim: int | None = None

    @property
    def distinct_samples(self) -> int | None:
        """How many samples there are to draw from; None where every draw is a fresh one, as theory assumes."""
        return None

    def clusters(self, dim: int) -> Clusters:
        """The Gaussian components, for laws that have some: what ``theory="mixture"`` starts from.

        Raises
        ------
        ProblemError
            If the law has none, or too many.
        """
        raise ProblemError(
            f"latent: {type(self).__name__} has no Gaussian components, which theory='mixture' starts from; fit some, "
            "ClusterMixture.from_sklearn(fitted), or use theory='moment-matched'"
        )

    def reweighted(self, rng: np.random.Generator) -> "LatentLaw":
        """For a finite set of samples: the same with random probabilities, as for a bootstrap."""
        raise NotImplementedError

    @abstractmethod
    def sample(self, rng: np.random.Generator, count: int, dim: int | None = None) -> Float[np.ndarray, "count D"]:
        """Draw ``count`` independent samples; ``dim`` is needed where the law fits any D."""

    @abstractmethod
    def mean(self, dim: int) -> Float[np.ndarray, "D"]:
        """E C."""

    @abstractmethod
    def covariance(self, dim: int) -> Float[np.ndarray, "D D"]:
        """Σ_C = Cov C."""

    @abstractmethod
    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> "Divergence":
        """D_KL(law ‖ N(0, I)) (16), in nats."""

    def check_dim(self, dim: int | None) -> int:
        """The latent dimension to use: the one asked for, which must fit the law.

        Raises
        ------
        ProblemError
            If none is given and the law fits any, or if they differ.
        """
        if dim is None and self.dim is None:
            raise ProblemError("dim: this law fits any latent dimension; say which, e.g. sample(rng, count, dim=500)")
        if dim is not None and self.dim is not None and dim != self.dim:
            raise ProblemError(f"latent: the law has {self.dim} coordinates where latent_dim is {dim}; make them equal")
        return self.dim if dim is None else dim  # type: ignore[return-value]


@dataclass(frozen=True)
class Gaussian(LatentLaw):
    """The standard normal latent C ~ N(0, I) of the hidden manifold model.

    Examples
    --------
    >>> Gaussian().sample(np.random.default_rng(0), 4, dim=3).shape
    (4, 3)
    """

    law: Literal["gaussian"] = "gaussian"

    def sample(self, rng: np.random.Generator, count: int, dim: int | None = None) -> Float[np.ndarray, "count D"]:
        """Draw ``count`` samples in R^dim."""
        return rng.standard_normal((count, self.check_dim(dim)))

    def mean(self, dim: int) -> Float[np.ndarray, "D"]:
        """Zero."""
        return np.zeros(dim)

    def covariance(self, dim: int) -> Float[np.ndarray, "D D"]:
        """The identity."""
        return np.eye(dim)

    def clusters(self, dim: int) -> Clusters:
        """One, around zero."""
        return Clusters(np.ones(1), np.zeros((1, dim)), np.ones((1, dim)))

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> "Divergence":
        """Zero, exactly."""
        from ._divergence import Divergence

        return Divergence(0.0, 0.0, 0.0, 0.0)


class MixtureLaw(LatentLaw):
    """A Gaussian mixture with m components of unit deviation (17), drawn block by block.

    The D coordinates fall into D/block_size blocks; each block draws its component i with probability ``weights[i]``
    independently, and C_r = (μ_ir + z_r − location_r)/scale_r with z ~ N(0, I).

    Parameters
    ----------
    means
        μ: shape (m,) for one scalar mixture shared by all coordinates (block_size 1 only), else (m, D).
    weights
        p: shape (m,), positive, summing to one; uniform by default.
    block_size
        B, dividing D. ``1``: every coordinate draws its own component; ``D``: one component for the whole vector,
        a clustered data set.
    standardize
        Standardise each coordinate (19) with its exact mean and deviation. For moments estimated from samples see
        :meth:`standardized_from`.

    Raises
    ------
    ProblemError
        If shapes do not fit, weights are no probabilities, or block_size does not divide D.

    Examples
    --------
    >>> law = MixtureLaw([-3.0, 3.0], standardize=True)
    >>> law.mean(2), law.covariance(2).diagonal()
    (array([0., 0.]), array([1., 1.]))
    """

    means: Float[np.ndarray, "m *D"]
    weights: Float[np.ndarray, "m"]
    location: Float[np.ndarray, "*D"]
    """Subtracted from every sample: zero, or the mean it is standardised with."""
    scale: Float[np.ndarray, "*D"]
    """What every sample is then divided by: one, or the deviation it is standardised with."""

    def __init__(
        self,
        means: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        block_size: int = 1,
        standardize: bool = False,
    ) -> None:
        if not isinstance(standardize, bool | np.bool_):
            raise ProblemError(
                f"standardize: {standardize!r} is neither True nor False; for moments estimated from samples use "
                "MixtureLaw(...).standardized_from(samples)"
            )
        means = _finite("means", means)
        if means.ndim not in (1, 2) or means.size == 0:
            raise ProblemError(
                f"means: shape {means.shape} is not (components,) or (components, latent_dim); reshape them"
            )
        components = len(means)
        weights = np.full(components, 1 / components) if weights is None else _finite("weights", weights)
        if weights.shape != (components,):
            raise ProblemError(
                f"weights: shape {weights.shape} does not fit {components} components; give one weight each"
            )
        if (weights <= 0).any() or abs(weights.sum() - 1) > 1e-9:
            raise ProblemError(f"weights: {weights.tolist()} must be positive and sum to 1; divide them by their sum")
        if not isinstance(block_size, int | np.integer) or block_size < 1:
            raise ProblemError(
                f"block_size: {block_size!r} is not a positive whole number; give a divisor of latent_dim"
            )
        if means.ndim == 1 and block_size != 1:
            raise ProblemError(
                f"means: shape {means.shape} is a scalar mixture, which needs block_size 1; "
                f"for block_size {block_size} give means of shape (components, latent_dim)"
            )
        if means.ndim == 2 and means.shape[1] % block_size:
            raise ProblemError(
                f"block_size: {block_size} does not divide latent_dim {means.shape[1]}; "
                f"use one of {_divisors(means.shape[1])}"
            )
        location, scale = np.zeros(means.shape[1:]), np.ones(means.shape[1:])
        if standardize:
            location = weights @ means
            scale = np.sqrt(1 + weights @ np.square(means - location))
        self.means, self.weights, self.block_size, self.standardize = means, weights, int(block_size), bool(standardize)
        self.location, self.scale = location, scale

    def __repr__(self) -> str:
        with np.printoptions(threshold=10, edgeitems=2, precision=6):
            settings = f"block_size={self.block_size}, standardize={self.standardize}"
            return f"MixtureLaw(means={self.means!r}, weights={self.weights!r}, {settings})"

    @property
    def components(self) -> int:
        """Number of components m."""
        return len(self.means)

    @property
    def dim(self) -> int | None:  # type: ignore[override]
        """Latent dimension D, or None for a scalar mixture, which fits any."""
        return self.means.shape[1] if self.means.ndim == 2 else None

    def standardized_from(self, samples: ArrayLike) -> "MixtureLaw":
        """The same law, standardised (19) with the mean and deviation of each coordinate of ``samples``.

        Parameters
        ----------
        samples
            Samples of this law as it is, un-standardised; at least two.
        """
        if self.standardize or np.any(self.location != 0):
            raise ProblemError(
                "standardize: this law is standardised already; start from MixtureLaw(..., standardize=False)"
            )
        samples = _finite("samples", samples)
        if samples.ndim != 2 or len(samples) < 2:
            raise ProblemError(
                f"samples: shape {samples.shape} is not (count ≥ 2, latent_dim); draw more with sample()"
            )
        dim = self.check_dim(samples.shape[1])
        means = np.broadcast_to(self.means.reshape(self.components, -1), (self.components, dim))
        law = MixtureLaw(means, weights=self.weights, block_size=self.block_size)
        law.location, law.scale = samples.mean(axis=0), samples.std(axis=0)
        return law

    def sample(self, rng: np.random.Generator, count: int, dim: int | None = None) -> Float[np.ndarray, "count D"]:
        """Draw ``count`` samples in R^dim."""
        dim = self.check_dim(dim)
        blocks = rng.choice(self.components, size=(count, dim // self.block_size), p=self.weights)
        chosen = np.repeat(blocks, self.block_size, axis=1)  # the component of every coordinate
        offset = self.means[chosen] if self.means.ndim == 1 else self.means[chosen, np.arange(dim)]
        return (rng.standard_normal((count, dim)) + offset - self.location) / self.scale

    def mean(self, dim: int) -> Float[np.ndarray, "D"]:
        """E C; zero when standardised with exact moments."""
        self.check_dim(dim)
        return np.broadcast_to((self.weights @ self.means - self.location) / self.scale, (dim,)).copy()

    def covariance(self, dim: int) -> Float[np.ndarray, "D D"]:
        """Σ_C: the identity plus the spread of the means within each block, divided by the scales."""
        self.check_dim(dim)
        centred = np.broadcast_to(
            (self.means - self.weights @ self.means).reshape(self.components, -1), (self.components, dim)
        )
        block = np.arange(dim) // self.block_size
        between = (centred.T * self.weights) @ centred * (block[:, None] == block)
        return (np.eye(dim) + between) / np.multiply.outer(*[np.broadcast_to(self.scale, (dim,))] * 2)

    def clusters(self, dim: int) -> Clusters:
        """The clusters that choosing a component for every block makes, up to 64.

        Where every one of many coordinates chooses by itself, sums over them see one Gaussian cluster, with the mean
        and the deviation of the law.

        Raises
        ------
        ProblemError
            If there are more.
        """
        self.check_dim(dim)
        means = np.broadcast_to(self.means.reshape(self.components, -1), (self.components, dim))
        found = independent_blocks(self.weights, means, self.block_size)
        if found is not None:
            return found.rescaled(self.location, self.scale)
        if self.block_size == 1:
            return Clusters(np.ones(1), self.mean(dim)[None], np.sqrt(self.covariance(dim).diagonal())[None])
        raise ProblemError(
            f"block_size: {dim // self.block_size} blocks that choose among {self.components} components make "
            f"{self.components}^{dim // self.block_size} clusters, and theory='mixture' follows up to "
            f"{MOST_CLUSTERS}; use theory='moment-matched', standardised if the law has a mean"
        )

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> "Divergence":
        """D_KL(law ‖ N(0, I)) (16) in nats, of one coordinate for a scalar mixture, else of the whole vector.

        By quadrature for block_size 1; by Monte Carlo with ``samples`` draws and its standard error otherwise.
        """
        from ._divergence import mixture_kl

        return mixture_kl(self, samples=samples, seed=seed)


def _finite(name: str, values: ArrayLike) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ProblemError(f"{name}: {values!r} is not an array of numbers; give one") from None
    if not np.isfinite(array).all():
        raise ProblemError(
            f"{name}: holds {np.count_nonzero(~np.isfinite(array))} NaN or infinite entries; remove them"
        )
    return array


def _divisors(number: int) -> str:
    return ", ".join(str(k) for k in range(1, number + 1) if number % k == 0)
