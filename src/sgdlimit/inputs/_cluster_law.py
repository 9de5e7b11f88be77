"""A law of Gaussian clusters with covariances of their own, such as one fitted to data."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..resources import one_thread
from ..settings import numbers, probabilities
from ._divergence import Divergence
from ._law import Clusters, LatentLaw


class ClusterMixture(LatentLaw):
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

    def __init__(
        self, means: ArrayLike, covariances: ArrayLike, *, weights: ArrayLike | None = None, standardize: bool = False
    ) -> None:
        self.means: Float[ndarray, "m D"] = numbers("means", means, ("components", "latent_dim"))
        self.components, self.dim = m, dim = self.means.shape
        full = numbers("covariances", covariances, (m, dim, dim))
        self.weights, self.standardize = probabilities("weights", weights, m), bool(standardize)
        if not np.allclose(full, np.swapaxes(full, 1, 2), rtol=1e-9, atol=1e-12):
            raise ProblemError("covariances: must be symmetric. Give (Σ + Σᵀ)/2.")
        try:
            with one_thread():
                roots = np.linalg.cholesky(full)
        except np.linalg.LinAlgError:
            raise ProblemError("covariances: must be positive definite. Add a little to their diagonals.") from None
        self.roots: Float[ndarray, "m D D"] = roots
        """Lower triangular L with Σ = L Lᵀ."""
        if standardize:
            location, scale = self.mean(dim), np.sqrt(np.diag(self.covariance(dim)))
            self.means, self.roots = (self.means - location) / scale, roots / scale[:, None]

    @classmethod
    def from_sklearn(cls, fitted: Any, *, standardize: bool = False) -> "ClusterMixture":
        """The law of a fitted ``sklearn.mixture.GaussianMixture``, of any ``covariance_type``.

        Raises
        ------
        ProblemError
            If it is not fitted.
        """
        if not hasattr(fitted, "means_"):
            raise ProblemError(f"fitted: must be fitted (got a {type(fitted).__name__}). Call its fit(samples) first.")
        means, given = np.asarray(fitted.means_), np.asarray(fitted.covariances_)
        m, dim = means.shape
        if fitted.covariance_type in ("full", "tied"):
            covariances = np.broadcast_to(given, (m, dim, dim))
        else:  # variances of every coordinate, or one for all
            covariances = given.reshape(m, -1, 1) * np.eye(dim)
        return cls(means, covariances, weights=fitted.weights_, standardize=standardize)

    @classmethod
    def fit(cls, samples: ArrayLike, components: int, *, seed: int = 0) -> "ClusterMixture":
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

        Raises
        ------
        ProblemError
            If scikit-learn is not installed, or there are too many clusters.
        """
        try:
            from sklearn.mixture import GaussianMixture
        except ImportError:
            raise ProblemError("clusters: fitting needs scikit-learn. Run pip install 'sgdlimit[data]'.") from None
        array = numbers("samples", samples, ("count", "latent_dim"))
        if not isinstance(components, int | np.integer) or not 1 <= components <= len(array) // 2:
            raise ProblemError(
                f"clusters: must be a whole number from 1 to {len(array) // 2}, half the samples (got {components!r})."
            )
        fitted = [
            GaussianMixture(int(components), covariance_type=kind, random_state=seed, reg_covar=1e-3).fit(array)
            for kind in ("full", "tied")  # others change the covariance of the whole
        ]
        return cls.from_sklearn(min(fitted, key=lambda mixture: mixture.bic(array)))

    def sample(self, rng: np.random.Generator, count: int, dim: int | None = None) -> Float[ndarray, "count D"]:
        """Draw ``count`` independent samples."""
        dim = self.check_dim(dim)
        component, z = rng.choice(self.components, size=count, p=self.weights), rng.standard_normal((count, dim))
        samples = self.means[component]
        for i in range(self.components):
            samples[component == i] += z[component == i] @ self.roots[i].T
        return samples

    def mean(self, dim: int) -> Float[ndarray, "D"]:
        """Σ p_i μ_i."""
        self.check_dim(dim)
        return self.weights @ self.means

    def covariance(self, dim: int) -> Float[ndarray, "D D"]:
        """Σ p_i (Σ_i + μ_i μ_iᵀ) less that of the mean."""
        centred = self.means - self.mean(dim)
        within = np.einsum("i,iab,icb->ac", self.weights, self.roots, self.roots, optimize=True)
        return within + (self.weights * centred.T) @ centred

    def clusters(self, dim: int) -> Clusters:
        """The components, each with its covariance."""
        self.check_dim(dim)
        return Clusters(self.weights, self.means, self.roots)

    def kl_to_standard_normal(self, *, samples: int = 20_000, seed: int = 0) -> Divergence:
        """D_KL(law ‖ N(0, I)) (16), in nats, by Monte Carlo with its standard error.

        The bounds are Σ p_i D_KL(N(μ_i, Σ_i) ‖ N(0, I)), by convexity, and that less the entropy H(p), the most that
        components can tell.
        """
        assert self.dim is not None
        C = self.sample(np.random.default_rng(seed), samples)
        log_determinants = np.log(np.diagonal(self.roots, axis1=1, axis2=2)).sum(axis=1)
        log_terms = np.empty((self.components, samples))
        for i in range(self.components):
            z = np.linalg.solve(self.roots[i], (C - self.means[i]).T)
            log_terms[i] = np.log(self.weights[i]) - np.square(z).sum(axis=0) / 2 - log_determinants[i]
        ratios = np.logaddexp.reduce(log_terms, axis=0) + np.square(C).sum(axis=1) / 2
        squares = np.square(self.roots).sum(axis=(1, 2)) + np.square(self.means).sum(axis=1)
        upper = float(self.weights @ (squares - self.dim - 2 * log_determinants)) / 2
        lower = max(0.0, upper + float(self.weights @ np.log(self.weights)))
        return Divergence(float(ratios.mean()), float(ratios.std() / np.sqrt(samples)), lower, upper)

    def __repr__(self) -> str:
        """Numbers of components and coordinates."""
        what = f"{self.components} components in {self.dim} dimensions"
        return f"ClusterMixture({what}{', standardized' if self.standardize else ''})"
