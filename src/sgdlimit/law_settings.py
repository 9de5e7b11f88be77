"""Settings of the inputs of a problem, drawn later: laws, labelled clusters, spectra of variances, overlaps."""

from typing import Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    model_validator,
)

from .errors import ProblemError
from .inputs import ClusterMixture, MixtureLaw
from .settings import Settings, numbers, probabilities
from .training import Scale

Dimension = Annotated[StrictInt, Field(ge=1, le=10**6)]
Positive = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]


def _one_each(value: Any, info: ValidationInfo) -> Any:
    """Weights or labels, one for each component or cluster."""
    count = info.data.get("components", info.data.get("count"))
    if count and value is not None:
        if info.field_name == "weights":
            probabilities("weights", value, count)
        else:
            numbers("labels", value, (count,))
    return value


Weights = Annotated[tuple[float, ...] | None, AfterValidator(_one_each)]


class GaussianMixture(Settings):
    """A Gaussian mixture (17) whose means are drawn later, μ ~ U[−spread, spread).

    Parameters
    ----------
    components
        Number of components m.
    spread
        Bound α of the means.
    block_size
        B, dividing the latent dimension: coordinates that draw their component together. With 1 the law is one scalar
        mixture for all coordinates (unless ``shared_means`` is off); with D a clustered data set.
    standardize
        ``True`` standardises each coordinate with its exact moments (19), ``"estimated"`` with moments
        estimated from ``moment_samples`` samples, ``False`` leaves the mixture as it is.
    weights
        Probabilities of the components; uniform by default.
    shared_means
        Whether all coordinates have the same m means (only for block_size 1). Off, each has its own.
    """

    law: Literal["gaussian-mixture"] = "gaussian-mixture"
    components: StrictInt = Field(ge=1, le=10**4)
    spread: Scale
    block_size: Dimension = 1
    standardize: Literal[True, False, "estimated"] = True
    weights: Weights = None
    shared_means: StrictBool = True
    moment_samples: StrictInt = Field(default=10_000, ge=2, le=10**7)

    def draw(self, latent_dim: int, rng: Generator) -> MixtureLaw:
        """Draw the means; the same generator state gives proportional means for every spread."""
        scalar = self.block_size == 1 and self.shared_means
        means = self.spread * rng.uniform(-1, 1, size=(self.components,) if scalar else (self.components, latent_dim))
        law = MixtureLaw(means, weights=self.weights, block_size=self.block_size, standardize=self.standardize is True)
        if self.standardize == "estimated":
            return law.standardized_from(law.sample(rng, self.moment_samples, latent_dim))
        return law


class GaussianLatent(Settings):
    """The standard normal latent, as a setting."""

    law: Literal["gaussian"] = "gaussian"


class LabelledClusters(Settings):
    """Gaussian clusters N(μ_i, I) with a label each, whose means are drawn later.

    Parameters
    ----------
    count
        Number of clusters.
    mean_norm
        |μ_i|; the directions are random.
    weights
        Probabilities of the clusters; uniform by default.
    labels
        For ``Problem(labels="clusters")`` the label of each cluster: ±1 for one output, else the number of a class from
        0. By default the clusters take all labels in turn.
    label_noise
        Probability of a wrong label, up to 1/2.
    """

    law: Literal["clusters"] = "clusters"
    count: StrictInt = Field(ge=1, le=10**4)
    mean_norm: Scale
    weights: Weights = None
    labels: Annotated[tuple[StrictInt, ...] | None, AfterValidator(_one_each)] = None
    label_noise: StrictFloat = Field(default=0.0, ge=0, le=0.5)

    def draw(self, latent_dim: int, rng: Generator) -> ClusterMixture:
        """Draw the means; the same generator state gives proportional means for every norm."""
        means = rng.standard_normal((self.count, latent_dim))
        means *= self.mean_norm / np.linalg.norm(means, axis=1, keepdims=True)
        return ClusterMixture(
            means, np.broadcast_to(np.eye(latent_dim), (self.count, latent_dim, latent_dim)), weights=self.weights
        )

    def labels_for(self, outputs: int) -> list[int]:
        """The label of each cluster."""
        possible = [*range(outputs)] if outputs > 1 else [-1, 1]
        return [*(self.labels or (possible[i % len(possible)] for i in range(self.count)))]


class Covariance(Settings):
    """The covariance of inputs without a manifold: independent coordinates with variances ω.

    Parameters
    ----------
    exponent
        Of a power law, ω_j ∝ j^(−exponent) with the mean 1.
    eigenvalues
        In its place, the variances themselves: a few, as two levels, or all N.
    shares
        Part of the coordinates that has each of the eigenvalues; equal parts by default. They are rounded to whole
        numbers of coordinates.
    """

    exponent: Scale | None = None
    eigenvalues: tuple[Positive, ...] | None = Field(default=None, min_length=1)
    shares: tuple[float, ...] | None = None

    def variances(self, input_dim: int) -> Float[ndarray, "N"]:
        """ω of every coordinate."""
        if self.eigenvalues is None:
            variances = np.arange(1.0, input_dim + 1) ** -(self.exponent or 0.0)
            return variances / variances.mean()
        count = len(self.eigenvalues)
        ends = np.cumsum(probabilities("shares", self.shares, count))
        return np.array(self.eigenvalues)[
            np.searchsorted(ends, (np.arange(input_dim) + 0.5) / input_dim).clip(0, count - 1)
        ]

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.exponent is None) == (self.eigenvalues is None):
            raise ProblemError(
                "exponent: must be given, or eigenvalues (got both or neither). Use exponent=1.0 for a power law."
            )
        if self.eigenvalues is not None:
            probabilities("shares", self.shares, len(self.eigenvalues))
        return self


def _overlap(value: Any) -> Any:
    """An overlap as a number, which stands for its multiple of the identity, or as rows."""
    if value is None:
        return None
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim not in (0, 2) or not np.isfinite(array).all():
        raise ValueError("must be a number or a matrix", "Write 1.0 for the identity, or a list of rows.")
    return tuple(map(tuple, np.atleast_2d(array).tolist())) if array.ndim else float(array)


Overlap = Annotated[Any, BeforeValidator(_overlap)]
"""A matrix of overlaps, or a number that stands for its multiple of the identity."""
