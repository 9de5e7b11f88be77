"""Laws that come from data: the samples themselves, or Gaussian clusters fitted to them."""

from copy import copy
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import log, ndarray, sqrt
from numpy.random import Generator
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..resources import one_thread
from ..settings import check_whole, numbers, probabilities
from ..signatures import checked
from ._columns import CHOSEN, check_headings
from ._law import (
    Clusters,
    Columns,
    Divergence,
    Labels,
    LatentLaw,
    Matrix,
    Samples,
    Vector,
    constant_columns,
    listed,
    unvaried,
)

ALIKE = 1e-10  # 1 − |correlation| of columns that are copies of each other


def _varying(samples: ArrayLike, drop_constant: bool) -> tuple[Samples, Labels, Columns]:
    """Samples whose squares are finite, the labels of all columns, and places of those left out as constant."""
    columns = getattr(samples, "columns", ())
    if getattr(columns, "name", "") != CHOSEN:
        check_headings(columns, "samples", "Leave {} out.")
    array = numbers("samples", samples, ("count", "latent_dim"))
    largest = abs(array).max()
    if largest and not 1e-100 <= largest <= 1e100:
        raise ProblemError(f"samples: must be of size 1e-100 to 1e100 (got {largest:g}). Divide them by a constant.")
    places, headings = list(range(array.shape[1])), list(columns)
    # Where there are no headings, pandas counts from 0.
    labels = np.array(places) + 1 if headings in ([], places) else np.array(headings)
    dropped = constant_columns("samples", unvaried(array), labels, drop=drop_constant)
    return np.delete(array, dropped, 1) if len(dropped) else array, labels, dropped


class _Points(LatentLaw):
    """Points with given probabilities. Subclasses may add a distribution around each."""

    means: Samples
    weights: Float[ndarray, "count"]

    def mean(self, dim: int) -> Vector:
        """Σ p_i μ_i over the points μ."""
        self.check_dim(dim)
        return self.weights @ self.means

    def covariance(self, dim: int) -> Matrix:
        """Σ p_i μ_i μ_iᵀ less that of the mean."""
        centred = self.means - self.mean(dim)
        return (self.weights * centred.T) @ centred


class Empirical(_Points):
    """The empirical distribution of given samples: every draw is one of them, with replacement.

    Its mean and covariance are exact for the inputs of SGD. Theory assumes fresh samples. After more steps than there
    are samples SGD has used some twice, and its weights depend on them. The attributes ``distinct_samples`` and
    ``epochs`` of a simulation report it.

    Parameters
    ----------
    samples
        Shape (count, D), more samples than coordinates. Errors name the columns of a table of pandas by its headings.
    standardize
        Subtract the mean and divide by the deviation, coordinate by coordinate (19). Inputs with a mean have no
        limiting equations, and moment-matched theory refuses them.
    drop_constant
        Leave out constant columns instead of refusing them; the attribute ``dropped`` has their places from 0.

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

    @checked
    def __init__(self, samples: ArrayLike, *, standardize: bool = False, drop_constant: bool = False) -> None:
        # Theory inverts the covariance: constant columns, too few rows and copies of columns would make it singular.
        array, self.headings, self.dropped = _varying(samples, drop_constant)
        count, dim = array.shape
        if count <= dim:
            raise ProblemError(
                f"samples: must be at least {dim + 1} for a covariance of {dim} coordinates that can be inverted (got "
                f"{count}). Give {10 * dim} for eigenvalues good to a third, or the transpose if columns are samples."
            )
        copies = np.argwhere(np.triu(1 - abs(np.corrcoef(array.T).reshape(dim, dim)) < ALIKE, 1))
        if len(copies):
            pair = listed(np.delete(self.headings, self.dropped)[copies[0]])
            raise ProblemError(
                f"samples: must have coordinates that differ (got copies of each other, up to scale: {pair}). Remove "
                "one of each such pair."
            )
        self.standardize = bool(standardize)
        self._set(array, np.full(count, 1 / count))

    def _set(self, array: Samples, weights: Float[ndarray, "count"]) -> None:
        if self.standardize:
            array = array - weights @ array
            array = array / sqrt(weights @ array**2)
        array.setflags(write=False)
        self.samples = self.means = array
        self.weights = weights
        self.distinct_samples, self.dim = array.shape

    def reweighted(self, rng: Generator) -> "Empirical":
        """The same samples with random probabilities, standardised again if they were.

        A smooth bootstrap: unlike drawing with replacement it keeps every sample, and so every rare feature.
        """
        other, weights = copy(self), rng.standard_exponential(self.distinct_samples)
        other._set(self.samples, weights / weights.sum())
        return other

    def sample(self, rng: Generator, count: int, dim: int | None = None) -> Samples:
        """Draw ``count`` of them, with replacement."""
        self.check_dim(dim)
        return rng.choice(self.samples, count, p=self.weights if np.ptp(self.weights) else None)  # equal: faster

    def __repr__(self) -> str:
        """Numbers of samples and coordinates."""
        return f"Empirical({len(self.samples)} samples of {self.dim} coordinates{', standardized' * self.standardize})"


class ClusterMixture(_Points):
    """The mixture Σ_i p_i N(μ_i, Σ_i): one component for the whole latent vector.

    Parameters
    ----------
    means
        μ, shape (m, D).
    covariances
        Σ, shape (m, D, D), positive definite.
    weights
        p, shape (m,), positive, summing to one; uniform by default.
    standardize
        Subtract the mixture's mean and divide by its deviation, coordinate by coordinate (19), with the exact moments.

    Raises
    ------
    ProblemError
        If shapes do not fit, weights are no probabilities, or a covariance is not positive definite.

    Examples
    --------
    >>> law = ClusterMixture([[-2.0, 0.0], [2.0, 0.0]], [np.eye(2), 4 * np.eye(2)])
    >>> law.mean(2), law.covariance(2)
    (array([0., 0.]), array([[6.5, 0. ], [0. , 2.5]]))
    """

    @checked
    def __init__(
        self, means: ArrayLike, covariances: ArrayLike, *, weights: ArrayLike | None = None, standardize: bool = False
    ) -> None:
        self.means = numbers("means", means, ("components", "latent_dim"))
        self.components, self.dim = m, dim = self.means.shape
        full = numbers("covariances", covariances, (m, dim, dim))
        self.weights, self.standardize = probabilities("weights", weights, m), bool(standardize)
        if not np.allclose(full, full.mT, rtol=1e-9, atol=1e-12):
            raise ProblemError("covariances: must be symmetric (got Σ that is not). Give (Σ + Σᵀ)/2.")
        try:
            with one_thread():
                self.roots = np.linalg.cholesky(full)  # lower triangular L with Σ = L Lᵀ, (m, D, D)
        except np.linalg.LinAlgError:
            smallest = np.linalg.eigvalsh(full)[:, 0]
            worst = int(smallest.argmin())
            raise ProblemError(
                f"covariances: must be positive definite (got an eigenvalue of {smallest[worst]:.3g} in cluster "
                f"{worst}). Add a little to its diagonal."
            ) from None
        if standardize:
            location, scale = self.mean(dim), sqrt(np.diag(self.covariance(dim)))
            self.means = (self.means - location) / scale
            self.roots = self.roots / scale[:, None]

    @classmethod
    @checked
    def from_sklearn(cls, fitted: Any, *, standardize: bool = False, drop_constant: bool = False) -> "ClusterMixture":
        """The law of a fitted ``sklearn.mixture.GaussianMixture``, of any ``covariance_type``.

        The fit adds its ``reg_covar`` to every variance, also to that of a constant column. Standardised, such a column
        would be noise. A column counts as constant where most of its variance is ``reg_covar``, or with
        spherical covariances where all clusters have the same mean.

        Raises
        ------
        ProblemError
            If it is not fitted, or was fitted to constant columns, unless ``drop_constant`` leaves these out.
        """
        if not hasattr(fitted, "means_"):
            raise ProblemError(f"fitted: must be fitted (got a {type(fitted).__name__}). Call its fit(samples) first.")
        covariances, (m, dim) = fitted.covariances_, fitted.means_.shape
        if fitted.covariance_type in ("diag", "spherical"):  # variances of every coordinate, or one for all
            covariances = covariances.reshape(m, -1, 1) * np.eye(dim)
        full = np.broadcast_to(covariances, (m, dim, dim))
        weights, means = fitted.weights_, fitted.means_
        between = weights @ (means - weights @ means) ** 2
        flat = between + weights @ full.diagonal(axis1=1, axis2=2) < 2 * getattr(fitted, "reg_covar", 0.0)
        if fitted.covariance_type == "spherical" and m > 1:  # whose one variance is that of all columns
            flat = sqrt(between) <= 1e-12 * abs(means).max(0)
        dropped = constant_columns("fitted", flat, drop=drop_constant)
        means, full = np.delete(means, dropped, 1), np.delete(np.delete(full, dropped, 1), dropped, 2)
        law = cls(means, full, weights=weights, standardize=standardize)
        law.headings, law.dropped = 1 + np.arange(dim), dropped
        return law

    @classmethod
    @checked
    def fit(
        cls, samples: ArrayLike, components: int, *, seed: int = 0, drop_constant: bool = False
    ) -> "ClusterMixture":
        """Fit Gaussian clusters to samples by expectation maximisation (scikit-learn).

        Each cluster has its own covariance, or all share one, whichever has the smaller Bayesian information criterion.
        The fitted law has the mean and covariance of the samples.

        Parameters
        ----------
        samples
            Shape (count, D).
        components
            Number of clusters, at most half the number of samples.
        seed
            Seed of the start of the fit.
        drop_constant
            Leave out constant columns instead of refusing them.

        Raises
        ------
        ProblemError
            If scikit-learn is not installed, a column is constant, or there are too many clusters.
        """
        try:
            from sklearn.mixture import GaussianMixture
        except ImportError:
            raise ProblemError("clusters: fitting needs scikit-learn. Run pip install 'sgdlimit[data]'.") from None
        check_whole(0, seed=seed)
        array, labels, dropped = _varying(samples, drop_constant)
        if not 1 <= components <= len(array) // 2:
            raise ProblemError(
                f"clusters: must be a whole number from 1 to {len(array) // 2}, half the samples (got {components!r}). "
                "Try 2."
            )
        scale = array.std(0)
        array = array / scale  # what the fit adds to every variance is a thousandth of it, whatever the units
        fitted = (
            GaussianMixture(int(components), covariance_type=kind, random_state=seed, reg_covar=1e-3).fit(array)
            for kind in ("full", "tied")  # others change the covariance of the whole
        )
        law = cls.from_sklearn(min(fitted, key=lambda mixture: mixture.bic(array)))
        law.means, law.roots = law.means * scale, law.roots * scale[:, None]
        law.headings, law.dropped = labels, dropped
        return law

    def sample(self, rng: Generator, count: int, dim: int | None = None) -> Samples:
        """Draw ``count`` independent samples."""
        dim = self.check_dim(dim)
        component, z = self.clusters_chosen(rng, count), rng.standard_normal((count, dim))
        samples = self.means[component]
        for i in range(self.components):
            samples[component == i] += z[component == i] @ self.roots[i].T
        return samples

    def with_weights(self, weights: ArrayLike) -> "ClusterMixture":
        """The same components with other weights."""
        other = copy(self)
        other.weights = probabilities("weights", weights, self.components)
        return other

    def clusters_chosen(self, rng: Generator, count: int) -> Int[ndarray, "count"]:
        """Numbers of the components."""
        return rng.choice(self.components, size=count, p=self.weights)

    def covariance(self, dim: int) -> Matrix:
        """Σ p_i (Σ_i + μ_i μ_iᵀ) less that of the mean."""
        within = np.einsum("i,iab,icb->ac", self.weights, self.roots, self.roots, optimize=True)
        return within + super().covariance(dim)

    def clusters(self, dim: int) -> Clusters:
        """The components, each with its covariance."""
        self.check_dim(dim)
        return Clusters(self.weights, self.means, self.roots)

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> Divergence:
        """D_KL(law ‖ N(0, I)) (16), in nats, by Monte Carlo with its standard error.

        The bounds are Σ p_i D_KL(N(μ_i, Σ_i) ‖ N(0, I)), by convexity, and that less the entropy H(p), the most that
        components can tell.
        """
        C = self.sample(np.random.default_rng(seed), samples)
        _, log_determinants = np.linalg.slogdet(self.roots)
        parts = zip(self.means, self.roots, strict=True)
        distances = np.array([(np.linalg.solve(root, (C - mean).T) ** 2).sum(0) for mean, root in parts])
        log_terms = (log(self.weights) - log_determinants)[:, None] - distances / 2
        ratios = np.logaddexp.reduce(log_terms) + (C**2).sum(1) / 2
        squares = (self.roots**2).sum((1, 2)) + (self.means**2).sum(1)
        upper = float(self.weights @ (squares - C.shape[1] - 2 * log_determinants)) / 2
        lower = max(0.0, upper + float(self.weights @ log(self.weights)))
        return Divergence(float(ratios.mean()), float(ratios.std() / sqrt(samples)), lower, upper)

    def __repr__(self) -> str:
        """Numbers of components and coordinates."""
        components = f"{self.components} components in {self.dim} dimensions"
        return f"ClusterMixture({components}{', standardized' * self.standardize})"
