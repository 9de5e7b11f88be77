"""A law of Gaussian clusters with covariances of their own, such as one fitted to data."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..resources import one_thread
from ._components import Clusters
from ._divergence import Divergence
from ._latent import LatentLaw

__all__ = ["ClusterMixture"]


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
        means, covariances = _numbers("means", means), _numbers("covariances", covariances)
        if means.ndim != 2 or means.size == 0:
            raise ProblemError(f"means: shape {means.shape} will not do; give (m, D), a component in each row")
        m, dim = means.shape
        if covariances.shape != (m, dim, dim):
            raise ProblemError(f"covariances: shape {covariances.shape} does not fit the means; give {(m, dim, dim)}")
        p = np.full(m, 1 / m) if weights is None else _numbers("weights", weights)
        if p.shape != (m,) or (p <= 0).any() or abs(p.sum() - 1) > 1e-9:
            raise ProblemError(f"weights: {p} are not {m} positive probabilities that add up to one; correct them")
        if not np.allclose(covariances, np.swapaxes(covariances, 1, 2), rtol=1e-9, atol=1e-12):
            raise ProblemError("covariances: one is not symmetric; give (Σ + Σᵀ)/2")
        try:
            with one_thread():
                roots = np.linalg.cholesky(covariances)
        except np.linalg.LinAlgError:
            raise ProblemError("covariances: one is not positive definite; add a little to its diagonal") from None
        self.dim, self.components, self.weights, self.standardize = dim, m, p, bool(standardize)
        self.means: Float[np.ndarray, "m D"] = means
        self.roots: Float[np.ndarray, "m D D"] = roots
        """Lower triangular L with Σ = L Lᵀ."""
        if standardize:
            location, scale = self.mean(dim), np.sqrt(np.diag(self.covariance(dim)))
            self.means, self.roots = (means - location) / scale, roots / scale[:, None]

    @classmethod
    def from_sklearn(cls, fitted: Any, *, standardize: bool = False) -> "ClusterMixture":
        """The law of a fitted ``sklearn.mixture.GaussianMixture``, of any ``covariance_type``.

        Raises
        ------
        ProblemError
            If it is not fitted.
        """
        missing = [name for name in ("means_", "covariances_", "weights_") if not hasattr(fitted, name)]
        if missing:
            raise ProblemError(f"fitted: a {type(fitted).__name__} without {missing[0]}; call its fit(samples) first")
        means, covariances = np.asarray(fitted.means_), np.asarray(fitted.covariances_)
        m, dim = means.shape
        full = {
            "full": lambda: covariances,
            "tied": lambda: np.broadcast_to(covariances, (m, dim, dim)),
            "diag": lambda: covariances[:, :, None] * np.eye(dim),
            "spherical": lambda: covariances[:, None, None] * np.eye(dim),
        }[fitted.covariance_type]()
        return cls(means, full, weights=np.asarray(fitted.weights_), standardize=standardize)

    @classmethod
    def fit(cls, samples: ArrayLike, components: int, *, seed: int = 0) -> "ClusterMixture":
        """Fit Gaussian clusters to samples by expectation maximisation (scikit-learn).

        Covariances are of one's own or common to all, whichever has the least Bayesian information criterion. Mean and
        covariance of the whole are those of the samples.

        Parameters
        ----------
        samples
            Shape (count, D).
        components
            Clusters to fit, up to half as many as samples.
        seed
            Of where the fit begins.

        Raises
        ------
        ProblemError
            If scikit-learn is not installed, or the number of clusters will not do.
        """
        try:
            from sklearn.mixture import GaussianMixture
        except ImportError:
            raise ProblemError(
                "clusters: to fit some needs scikit-learn, which is missing; pip install 'sgdlimit[data]'"
            ) from None
        array = _numbers("samples", samples)
        if not isinstance(components, int | np.integer) or not 1 <= components <= len(array) // 2:
            raise ProblemError(
                f"clusters: {components!r} is no number of clusters for {len(array)} samples; give a few"
            )
        fitted = [
            GaussianMixture(int(components), covariance_type=kind, random_state=seed, reg_covar=1e-3).fit(array)
            for kind in ("full", "tied")  # others change the covariance of the whole
        ]
        return cls.from_sklearn(min(fitted, key=lambda one: one.bic(array)))

    def sample(self, rng: np.random.Generator, count: int, dim: int | None = None) -> Float[np.ndarray, "count D"]:
        """Draw ``count`` independent samples."""
        dim = self.check_dim(dim)
        component, z = rng.choice(self.components, size=count, p=self.weights), rng.standard_normal((count, dim))
        samples = self.means[component]
        for i in range(self.components):
            samples[component == i] += z[component == i] @ self.roots[i].T
        return samples

    def mean(self, dim: int) -> Float[np.ndarray, "D"]:
        """Σ p_i μ_i."""
        self.check_dim(dim)
        return self.weights @ self.means

    def covariance(self, dim: int) -> Float[np.ndarray, "D D"]:
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
        entropy = float(-self.weights @ np.log(self.weights))
        return Divergence(
            float(ratios.mean()), float(ratios.std() / np.sqrt(samples)), max(0.0, upper - entropy), upper
        )

    def __repr__(self) -> str:
        """Numbers of components and coordinates."""
        what = f"{self.components} components in {self.dim} dimensions"
        return f"ClusterMixture({what}{', standardized' if self.standardize else ''})"


def _numbers(name: str, values: ArrayLike) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ProblemError(f"{name}: it is not an array of numbers; give one") from None
    if not np.isfinite(array).all():
        raise ProblemError(
            f"{name}: holds {np.count_nonzero(~np.isfinite(array))} NaN or infinite entries; fill them in"
        )
    return array
