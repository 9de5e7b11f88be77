"""Gaussian mixtures (17) drawn block by block, standardised (19) or not, and their divergence from N(0, I) (16)."""

from itertools import product

import numpy as np
from jaxtyping import Float, Int
from numpy import exp, log, ndarray, pi, sqrt
from numpy.random import Generator
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..settings import numbers, probabilities
from ..signatures import checked
from ._law import MOST_CLUSTERS, Clusters, Divergence, LatentLaw, Matrix, Samples, Vector, constant_columns, unvaried

# The trapezoidal rule converges exponentially here: for components d apart the nearest singularity of the logarithm is
# π/d off the real axis, where the normal weight is below exp(−d²/8). At this step the error is under 1e-13 for any d.
_NODES = np.arange(-10, 10 + 1 / 32, 1 / 16)
_WEIGHTS = exp(-(_NODES**2) / 2) / sqrt(2 * pi) / 16
_FLAT = 1e-8  # means that vary less than this along a direction change I by less than 1e-15


FEWEST_BLOCKS, MOST_BLOCKS = 7, 50
"""Numbers of blocks whose main effects theory follows."""


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

    Attributes
    ----------
    location
        Subtracted from every sample: zero, or the mean it is standardised with.
    scale
        What every sample is then divided by: one, or the deviation it is standardised with.

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

    @checked
    def __init__(
        self, means: ArrayLike, *, weights: ArrayLike | None = None, block_size: int = 1, standardize: bool = False
    ) -> None:
        self.means = numbers("means", means)
        if self.means.ndim not in (1, 2) or self.means.size == 0:
            raise ProblemError(
                f"means: must be of shape (components,) or (components, latent_dim) (got {self.means.shape}). Reshape "
                "them."
            )
        self.components, *rest = self.means.shape
        self.dim = rest[0] if rest else None  # a scalar mixture fits any
        self.weights = probabilities("weights", weights, self.components)
        coordinates = self.dim or 1
        sizes = [size for size in range(1, coordinates + 1) if coordinates % size == 0]
        if block_size not in sizes:
            raise ProblemError(
                f"block_size: must be one of {sizes} for means of shape {self.means.shape} (got {block_size!r}). "
                "Larger blocks need means of shape (components, latent_dim)."
            )
        self.block_size, self.standardize = int(block_size), bool(standardize)
        self.location, self.scale = np.zeros(rest), np.ones(rest)
        if standardize:
            self.location = self.weights @ self.means
            self.scale = sqrt(1 + self.weights @ (self.means - self.location) ** 2)

    def __repr__(self) -> str:
        with np.printoptions(threshold=10, edgeitems=2, precision=6):
            settings = f"block_size={self.block_size}, standardize={self.standardize}"
            return f"MixtureLaw(means={self.means!r}, weights={self.weights!r}, {settings})"

    def standardized_from(self, samples: ArrayLike) -> "MixtureLaw":
        """The same law, standardised (19) with the mean and deviation of each coordinate of ``samples``.

        Parameters
        ----------
        samples
            Samples of this law as it is, un-standardised; at least two.
        """
        if self.standardize or self.location.any():
            raise ProblemError("standardize: must be False (got a law that is standardised already). Use it as it is.")
        samples = numbers("samples", samples, ("count", self.dim or "latent_dim"))
        if len(samples) < 2:
            raise ProblemError(f"samples: must be at least two (got {len(samples)}). Draw more with sample().")
        constant_columns("samples", unvaried(samples), fix="Draw them with sample().")
        law = MixtureLaw(self._rows(samples.shape[1]), weights=self.weights, block_size=self.block_size)
        law.location, law.scale = samples.mean(0), samples.std(0)
        return law

    def _rows(self, dim: int) -> Float[ndarray, "m D"]:
        """Means of every coordinate, also where all have the same."""
        return self.means.reshape(self.components, -1) + np.zeros(self.check_dim(dim))

    def _chosen(self, components: Int[ndarray, "n blocks"], dim: int) -> Float[ndarray, "n D"]:
        """Means of the components that the blocks chose."""
        return self._rows(dim)[np.repeat(components, dim // components.shape[1], 1), np.arange(dim)]

    def sample(self, rng: Generator, count: int, dim: int | None = None) -> Samples:
        """Draw ``count`` samples in R^dim."""
        dim = self.check_dim(dim)
        blocks = rng.choice(self.components, size=(count, dim // self.block_size), p=self.weights)
        return (rng.standard_normal((count, dim)) + self._chosen(blocks, dim) - self.location) / self.scale

    def mean(self, dim: int) -> Vector:
        """E C; zero when standardised with exact moments."""
        return (self.weights @ self.means - self.location) / self.scale + np.zeros(self.check_dim(dim))

    def covariance(self, dim: int) -> Matrix:
        """Σ_C: the identity plus the spread of the means within each block, divided by the scales."""
        centred = self._rows(dim) - self.weights @ self.means
        block = np.arange(dim) // self.block_size
        between = (centred.T * self.weights) @ centred * (block[:, None] == block)
        return (np.eye(dim) + between) / np.multiply.outer(self.scale, self.scale)

    def component_means(self, dim: int) -> Float[ndarray, "m D"]:
        """Mean of every coordinate in every component, (μ − location)/scale."""
        return (self._rows(dim) - self.location) / self.scale

    def choices(self, blocks: int) -> tuple[Int[ndarray, "n blocks"], Float[ndarray, "n"]]:
        """All choices of a component for every block, and their probabilities."""
        chosen = np.array(list(product(range(self.components), repeat=blocks)))
        return chosen, self.weights[chosen].prod(1)

    def has_many_blocks(self, dim: int) -> bool:
        """Whether theory follows main effects of the blocks, because there are too many clusters to list."""
        blocks = dim // self.block_size
        many = FEWEST_BLOCKS <= blocks <= MOST_BLOCKS and self.components**blocks > MOST_CLUSTERS
        return many and self.block_size > 1

    def clusters(self, dim: int) -> Clusters:
        """The clusters that choosing a component for every block makes, up to 64.

        Where every one of many coordinates chooses by itself, sums over them see one Gaussian cluster, with the mean
        and the deviation of the law.

        Raises
        ------
        ProblemError
            If there are more.
        """
        m = self.components
        size = self.block_size if m > 1 else dim
        blocks = dim // size
        if m**blocks <= MOST_CLUSTERS:
            choices, weights = self.choices(blocks)
            means = self._chosen(choices, dim)
            return Clusters(weights, means, np.ones_like(means)).rescaled(self.location, self.scale)
        if size == 1:
            return Clusters(np.ones(1), self.mean(dim)[None], sqrt(self.covariance(dim).diagonal())[None])
        raise ProblemError(
            f"block_size: must make at most {MOST_CLUSTERS} clusters for theory='mixture' (got {m}^{blocks}, {blocks} "
            f"blocks of {m} components), or {FEWEST_BLOCKS} to {MOST_BLOCKS} blocks and f = sign, erf or the identity. "
            "Use theory='moment-matched', standardised if the law has a mean."
        )

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> Divergence:
        """D_KL(law ‖ N(0, I)) (16) in nats: of one coordinate for a scalar mixture, else of the whole vector.

        With m_i = (μ_i − location)/scale the means and s_r = 1/scale_r the deviations within a component,

            D_KL = u − I,   u = Σ_i p_i |m_i|²/2 + ½ Σ_r (s_r² − 1 − 2 ln s_r),

        where I is the information that C carries about its components. It does not depend on location or scale. A
        block whose component means lie on a line (each coordinate by itself; any two components) is done by quadrature,
        to 1e-12, the others by Monte Carlo.

        Parameters
        ----------
        samples, seed
            Draws for each block and each component in the Monte Carlo part, at least 4, and its seed.

        Returns
        -------
        Divergence
            ``upper`` is u and ``lower`` is max(0, u − blocks · H(p)).

        Examples
        --------
        >>> MixtureLaw([3.0]).kl_to_standard_normal().value  # μ²/2
        4.5
        """
        p, rng = self.weights, np.random.default_rng(seed)
        centred, deviation = (self.means - self.location) / self.scale, 1 / self.scale
        upper = float((p @ centred**2 + deviation**2 - 1 - 2 * log(deviation)).sum()) / 2
        means = self._rows(self.dim or 1)
        blocks = np.split(means, means.shape[1] // self.block_size, 1)
        information, variance = np.sum([_information(block, p, samples, rng) for block in blocks], 0)
        # I adds up over independent blocks and lies between 0 and the entropy H(p) of each.
        lower = max(0.0, upper + len(blocks) * float(p @ log(p)))
        value = min(max(upper - float(information), lower), upper)  # noise or rounding may pass a bound
        return Divergence(value, float(sqrt(variance)), lower, upper)


def _information(
    means: Float[ndarray, "m B"], weights: Float[ndarray, "m"], samples: int, rng: Generator
) -> tuple[float, float]:
    """Information about its component in a sample of unit deviation, and the variance of the estimate.

    It depends on the sample only along the directions that the means span. Along one direction by quadrature, to 1e-12;
    along more by Monte Carlo.
    """
    left, length, _ = np.linalg.svd(means - weights @ means, full_matrices=False)
    spanned = length > max(_FLAT, 1e-13 * length[0])
    points = (left * length)[:, spanned]  # the means in coordinates of their own span, (m, rank)
    if points.shape[1] == 1:
        return float(_WEIGHTS @ _surprise(_NODES[:, None], points, weights)), 0.0
    if samples < 4:
        raise ProblemError(f"samples: must be at least 4 for a standard error (got {samples!r}). Try 20000.")
    z = rng.standard_normal((samples // 2, points.shape[1]))
    # Antithetic: for close components the odd part is most of the noise.
    draws = (_surprise(z, points, weights) + _surprise(-z, points, weights)) / 2
    return float(draws.mean()), float(draws.var(ddof=1) / len(draws))


def _surprise(
    z: Float[ndarray, "n rank"], points: Float[ndarray, "m rank"], weights: Float[ndarray, "m"]
) -> Float[ndarray, "n"]:
    """−Σ_i p_i ln Σ_j p_j exp(−z·d_ij − |d_ij|²/2), d_ij = μ_i − μ_j: every component visited with the same z."""
    exponents = (log(weights) - (d**2).sum(-1) / 2 - z @ d.T for d in points[:, None] - points)  # each (n, m)
    return -(weights @ [np.logaddexp.reduce(exponent, 1) for exponent in exponents])
