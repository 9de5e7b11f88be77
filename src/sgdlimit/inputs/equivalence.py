"""Gaussian equivalence: the second moments of inputs and teacher fields (paper, II.C)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from sgdlimit.errors import ProblemError
from sgdlimit.inputs.latent import Gaussian
from sgdlimit.inputs.manifold import nonlinearity_named
from sgdlimit.linalg import one_thread

if TYPE_CHECKING:
    from sgdlimit.instance import Instance

__all__ = ["THEORIES", "InputMoments", "input_moments"]

THEORIES = ("conventional", "moment-matched")
"""Σ_C = I, and the true Σ_C."""


@dataclass(frozen=True)
class InputMoments:
    """Covariances of the input X and the teacher's local fields ν, as diagonal plus low rank.

    Ω = Cov[X] = diag(diagonal) + factorᵀ factor, φ = √N Cov[X, ν], T = Cov[ν] = W̃ Σ_C W̃ᵀ/D.
    """

    diagonal: Float[np.ndarray, "N"]
    factor: Float[np.ndarray, "r N"]
    cross: Float[np.ndarray, "N M"]
    teacher_overlap: Float[np.ndarray, "M M"]

    def overlaps(
        self, weights: Float[np.ndarray, "*batch K N"]
    ) -> tuple[Float[np.ndarray, "*batch K K"], Float[np.ndarray, "*batch K M"]]:
        """Order parameters Q = WΩWᵀ/N (9) and R = Wφ/N (10) of student weights W, in float64."""
        weights = np.asarray(weights, dtype=np.float64)
        size = weights.shape[-1]
        projected = weights @ self.factor.T  # (..., K, r)
        Q = (weights * self.diagonal) @ np.swapaxes(weights, -1, -2) + projected @ np.swapaxes(projected, -1, -2)
        R = weights @ self.cross
        return Q / size, R / size


def input_moments(instance: "Instance", theory: str = "conventional") -> InputMoments:
    """Second moments of X = f(CF/√D) and ν = CW̃ᵀ/√D by Gaussian equivalence, (9)-(11) for any f and any Σ_C.

    With σ_i² = F_iᵀΣ_C F_i/D and a_i, b_i, c_i the coefficients (12) of f at σ_i,
    Ω = diag(c − a² − b²σ²) + diag(b) FᵀΣ_C F/D diag(b) and φ_m = √N diag(b) FᵀΣ_C W̃_m/D.

    Parameters
    ----------
    instance
        The network, its features and its latent law.
    theory
        ``"conventional"`` takes Σ_C = I whatever the law; ``"moment-matched"`` takes the law's own covariance.

    Raises
    ------
    ProblemError
        If the theory is not known, or is moment-matched and the law has a mean: an uncentred input has an eigenvalue
        of order N and no limiting equations.
    """
    if theory not in THEORIES:
        raise ProblemError(f"theory: {theory!r} is not known; use one of {', '.join(map(repr, THEORIES))}")
    features, teacher = instance.features, instance.teacher
    latent_dim, input_dim = features.shape
    root = features  # Σ_C^(1/2) F, with which FᵀΣ_C F = rootᵀ root
    teacher_root = teacher
    if theory == "moment-matched" and not isinstance(instance.latent, Gaussian):
        mean = instance.latent.mean(latent_dim)
        covariance = instance.latent.covariance(latent_dim)
        if np.abs(mean).max() > 0.05 * np.sqrt(covariance.diagonal().min()):
            raise ProblemError(
                f"theory: 'moment-matched' needs a centred latent, but this law has means up to "
                f"{np.abs(mean).max():.3g}, which no Gaussian theory can follow; use standardize=True, "
                "or theory='conventional'"
            )
        with one_thread():
            lower = np.linalg.cholesky(covariance)
        root, teacher_root = lower.T @ features, teacher @ lower
    deviation = np.sqrt(np.square(root).sum(axis=0) / latent_dim)
    a, b, c = nonlinearity_named(instance.nonlinearity).hermite(deviation)
    factor = root * (b / np.sqrt(latent_dim))
    return InputMoments(
        diagonal=c - a**2 - b**2 * deviation**2,
        factor=factor,
        cross=np.sqrt(input_dim / latent_dim) * factor.T @ teacher_root.T,
        teacher_overlap=teacher_root @ teacher_root.T / latent_dim,
    )
