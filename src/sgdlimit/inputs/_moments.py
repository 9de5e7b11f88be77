"""Gaussian equivalence: the second moments of inputs and teacher fields (paper, II.C)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from ..errors import ProblemError
from ..resources import one_thread
from ..settings import numbers
from ._hermite import Coefficients
from ._law import Gaussian, LatentLaw
from ._manifold import Known, Nonlinearity

TheoryName = Literal["conventional", "moment-matched", "mixture"]
"""Theories by the moments that they use: those for Σ_C = I, for the true Σ_C, and within the clusters of the law."""

THEORIES: tuple[TheoryName, ...] = get_args(TheoryName)

GAUSSIAN_THEORIES = THEORIES[:2]

NO_MEAN = 1e-10
"""Means of the inputs below this part of their deviation are rounding errors of the quadrature."""


@dataclass(frozen=True)
class InputMoments:
    """Covariances of the input X and the teacher's local fields ν, as diagonal plus low rank.

    Ω = Cov[X] = diag(diagonal) + factorᵀ factor, φ = √N Cov[X, ν], T = Cov[ν] = W̃ Σ_C W̃ᵀ/D.
    """

    diagonal: Float[ndarray, "N"]
    factor: Float[ndarray, "r N"]
    cross: Float[ndarray, "N M"]
    teacher_overlap: Float[ndarray, "M M"]

    @cached_property
    def _single_factor(self) -> Float32[ndarray, "r N"]:
        return self.factor.astype(np.float32)

    def overlaps(
        self, weights: Float[ndarray, "*batch K N"]
    ) -> tuple[Float[ndarray, "*batch K K"], Float[ndarray, "*batch K M"]]:
        """Order parameters Q = WΩWᵀ/N (9) and R = Wφ/N (10) of student weights W.

        Weights in single precision are projected in single precision, which costs Q a relative 1e-7, and summed in
        double.
        """
        size = weights.shape[-1]
        single = weights.dtype == np.float32
        factor = self._single_factor if single else self.factor
        projected = weights @ factor.T  # (..., K, r), one product for each W, whose bits do not depend on its company
        weights, projected = np.asarray(weights, np.float64), np.asarray(projected, np.float64)
        Q = (weights * self.diagonal) @ np.swapaxes(weights, -1, -2) + projected @ np.swapaxes(projected, -1, -2)
        R = weights @ self.cross
        return Q / size, R / size


def input_moments(
    features: Float[ndarray, "D N"],
    teacher: Float[ndarray, "M D"],
    f: Known | Nonlinearity,
    law: LatentLaw,
    theory: str = "conventional",
) -> InputMoments:
    """Second moments of X = f(CF/√D) and ν = CW̃ᵀ/√D by Gaussian equivalence, (9)-(11) for any f and any Σ_C.

    With σ_i² = F_iᵀΣ_C F_i/D and a_i, b_i, c_i the coefficients (12) of f at σ_i,
    Ω = diag(c − a² − b²σ²) + diag(b) FᵀΣ_C F/D diag(b) and φ_m = √N diag(b) FᵀΣ_C W̃_m/D. These covariances do not
    contain the mean a of the inputs, see :func:`input_mean`.

    Parameters
    ----------
    features, teacher
        F and W̃.
    f, law
        The nonlinearity and the law of the latent.
    theory
        ``"conventional"`` assumes Σ_C = I whatever the law; ``"moment-matched"`` uses the law's own covariance.

    Raises
    ------
    ProblemError
        If the theory is moment-matched and the law has a mean. Inputs with a mean have an eigenvalue of order N and no
        limiting equations.
    """
    root = features  # Σ_C^(1/2) F, with which FᵀΣ_C F = rootᵀ root
    teacher_root = teacher
    if theory == "moment-matched" and not isinstance(law, Gaussian):
        mean, covariance = _moments_of(law, len(features))
        if not is_centred(mean, covariance):
            raise ProblemError(
                f"theory: 'moment-matched' needs a centred latent (got means up to {np.abs(mean).max():.3g}, which no "
                "Gaussian theory can follow). Use standardize=True, for given inputs centre=True, or "
                "theory='conventional'."
            )
        try:
            with one_thread():
                half = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:  # coordinates depend on each other, as those of data may
            half = root_of("latent", covariance, smallest=-np.inf).T
        root, teacher_root = half.T @ features, teacher @ half
    deviation = preactivation_deviation(root)
    return moments_of(root, teacher_root, deviation, f.hermite(deviation))


def preactivation_deviation(root: Float[ndarray, "D N"]) -> Float[ndarray, "N"]:
    """σ_i of the preactivations CF/√D, with root = Σ_C^(1/2) F.

    Raises
    ------
    ProblemError
        If one is not positive and finite.
    """
    deviation = np.sqrt(np.einsum("di,di->i", root, root) / len(root))  # without a copy of the squares
    if not (np.isfinite(deviation).all() and deviation.min() > 0):
        raise ProblemError(
            f"features: column {np.argmin(np.nan_to_num(deviation, posinf=-1, nan=-1))} must give a preactivation of "
            f"positive deviation (got {deviation.min():g}). Remove columns of zeros and values beyond 1e150."
        )
    return deviation


def moments_of(
    root: Float[ndarray, "D N"],
    teacher_root: Float[ndarray, "M D"],
    deviation: Float[ndarray, "N"],
    coefficients: Coefficients,
) -> InputMoments:
    """Covariances (9)-(11), with root = Σ_C^(1/2) F, teacher_root = W̃ Σ_C^(1/2) and the coefficients (12) of f."""
    D, N = root.shape
    a, b, c = coefficients
    factor = root * (b / np.sqrt(D))
    return InputMoments(
        diagonal=c - a**2 - b**2 * deviation**2,
        factor=factor,
        cross=np.sqrt(N / D) * factor.T @ teacher_root.T,
        teacher_overlap=teacher_root @ teacher_root.T / D,
    )


def is_centred(mean: Float[ndarray, "D"], covariance: Float[ndarray, "D D"]) -> bool:
    """Whether a mean is small enough for equations that assume zero: 0.05 deviations in every coordinate."""
    return bool(np.abs(mean).max() <= 0.05 * np.sqrt(max(covariance.diagonal().min(), 0)))


def input_mean(features: Float[ndarray, "D N"], f: Known | Nonlinearity, law: LatentLaw) -> Float[ndarray, "N"] | None:
    """The mean that f itself gives inputs of a centred latent: E f(U), U ~ N(0, σ²) with σ_i² = F_iᵀΣ_C F_i/D.

    None where it is zero, as for every odd f. The mean of the latent itself is not included.
    """
    if isinstance(f, Known):
        return None
    carried = features
    if not isinstance(law, Gaussian):
        carried = _moments_of(law, len(features))[1] @ features
    variance = np.einsum("di,di->i", features, carried) / len(features)
    a, _, c = f.hermite(np.sqrt(np.maximum(variance, np.finfo(float).tiny)))
    return None if np.abs(a).max() <= NO_MEAN * np.sqrt(c.max()) else a


def root_of(name: str, covariance: Float[ndarray, "D D"], smallest: float = 1e-12) -> Float[ndarray, "r D"]:
    """A matrix A with AᵀA = covariance, a row for each eigenvalue above ``smallest`` of the largest.

    Raises
    ------
    ProblemError
        If the matrix is not symmetric or has a negative eigenvalue.
    """
    if not np.allclose(covariance, covariance.T, rtol=1e-9, atol=1e-10 * np.abs(covariance).max()):
        raise ProblemError(f"{name}: must have a symmetric covariance Σ. Give (Σ + Σᵀ)/2.")
    with one_thread():
        variances, directions = np.linalg.eigh(covariance)
    if variances[0] < -1e-10 * variances[-1] * len(variances):
        raise ProblemError(
            f"{name}: must have a covariance without negative eigenvalues (got {variances[0]:.3g}). Correct it, or add "
            "a little to its diagonal."
        )
    kept = variances > smallest * variances[-1]
    return np.sqrt(np.maximum(variances[kept], 0))[:, None] * directions[:, kept].T


def root_mean_square(values: Float[ndarray, "N"]) -> float:
    """√(Σ x_i²/N)."""
    return float(np.sqrt(np.mean(np.square(values))))


def _moments_of(law: LatentLaw, dim: int) -> tuple[Float[ndarray, "D"], Float[ndarray, "D D"]]:
    """Mean and covariance of a law, checked because the law may be a user's own."""
    name = f"latent: {type(law).__name__}"
    mean = numbers(f"{name}.mean", law.mean(dim), (dim,))
    covariance = numbers(f"{name}.covariance", law.covariance(dim), (dim, dim))
    if not np.allclose(covariance, covariance.T, rtol=1e-9, atol=1e-12):
        raise ProblemError(f"{name}.covariance: must be symmetric. Give (Σ + Σᵀ)/2.")
    return mean, covariance
