"""The divergence D_KL(P ‖ N(0, I)) (16) of a law P, and the information that a sample carries about its component."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# The trapezoidal rule converges exponentially here: for components d apart the nearest singularity of the logarithm is
# π/d off the real axis, where the normal weight is below exp(−d²/8). At this step the error is under 1e-13 for any d.
_NODES = np.arange(-10, 10 + 1 / 32, 1 / 16)
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.sqrt(2 * np.pi) / 16
_FLAT = 1e-8  # means that vary less than this along a direction change I by less than 1e-15


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


def component_information(
    means: Float[np.ndarray, "m B"], weights: Float[np.ndarray, "m"], samples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Information about its component in a sample of unit deviation, and the variance of the estimate.

    I = −Σ_i p_i E_z ln Σ_j p_j exp(−z·d_ij − |d_ij|²/2), d_ij = μ_i − μ_j, in which z matters only along the
    directions that the means span. Along one direction by quadrature, to 1e-12; along more by Monte Carlo.
    """
    left, length, _ = np.linalg.svd(means - weights @ means, full_matrices=False)
    spanned = length > max(_FLAT, 1e-13 * length[0])
    points = left[:, spanned] * length[spanned]  # the means in coordinates of their own span, (m, rank)
    rank, surprise = points.shape[1], _surprise(points, weights)
    if rank <= 1:
        return float(_WEIGHTS @ surprise(_NODES[:, None])) if rank else 0.0, 0.0
    z = rng.standard_normal((samples // 2, rank))
    draws = (surprise(z) + surprise(-z)) / 2  # antithetic: for close components the odd part is most of the noise
    return float(draws.mean()), float(draws.var(ddof=1) / len(draws))


def _surprise(
    points: Float[np.ndarray, "m rank"], weights: Float[np.ndarray, "m"]
) -> Callable[[Float[np.ndarray, "n rank"]], Float[np.ndarray, "n"]]:
    """z ↦ −Σ_i p_i ln Σ_j p_j exp(−z·d_ij − |d_ij|²/2), every component visited with the same z."""
    difference = points[:, None] - points  # d_ij, (m, m, rank)
    offset = np.log(weights) - np.square(difference).sum(axis=-1) / 2

    def surprise(z: Float[np.ndarray, "n rank"]) -> Float[np.ndarray, "n"]:
        total = np.zeros(len(z))
        for weight, d, start in zip(weights, difference, offset, strict=True):
            exponent = start - z @ d.T  # (n, m)
            peak = exponent.max(axis=1)
            total -= weight * (peak + np.log(np.exp(exponent - peak[:, None]).sum(axis=1)))
        return total

    return surprise
