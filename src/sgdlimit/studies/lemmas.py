"""The paper's Lemmas V.1 and V.3 (C.1) as numbers: how large their errors are, by exact quadrature.

Standardised mixtures, such as x = (α s + z)/√(1 + α²) with s = ±1 and z ~ N(0, 1), are sums of Gaussians,
so E f(m + s z) in closed form and one Gauss rule give every expectation to rounding, kinks and jumps included.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import erf, ndtr

from sgdlimit.inputs.latent import MixtureLaw

__all__ = ["PAIRS", "function_correlation", "function_expectation", "lemmas", "orders", "shared_component"]

Array = np.ndarray


def _relu_mean(m: Array, s: Array) -> Array:
    return m * ndtr(m / s) + s * np.exp(-np.square(m / s) / 2) / np.sqrt(2 * np.pi)


MEAN_OVER_NORMAL: dict[str, Callable[[Array, Array], Array]] = {
    "x³": lambda m, s: m**3 + 3 * m * s**2,
    "x²": lambda m, s: m**2 + s**2,
    "x⁴": lambda m, s: m**4 + 6 * m**2 * s**2 + 3 * s**4,
    "erf": lambda m, s: erf(m / np.sqrt(2 * (1 + s**2))),
    "relu": _relu_mean,
    "sign": lambda m, s: erf(m / (s * np.sqrt(2))),
    "|x|": lambda m, s: 2 * _relu_mean(m, s) - m,
}
"""h(m, s) = E f(x) for x ~ N(m, s²)."""

PAIRS = (("erf", "erf"), ("sign", "sign"), ("relu", "relu"), ("x³", "x³"), ("x²", "x²"), ("|x|", "|x|"))
EXPECTATIONS = ("erf", "sign", "relu", "x²", "|x|", "x⁴")
CONDITION_HOLDS = {"erf": False, "sign": True, "relu": True, "x²": True, "|x|": True, "x⁴": False}
"""Condition 2 of Lemma V.3: no derivative above the second at any x ≠ 0."""


def function_correlation(pair: tuple[str, str], spread: float, correlations: Sequence[float]) -> Array:
    """E f(u₁) g(u₂) − E f(u₁) E g(u₂), the error of Lemma V.1, for each ε = E u₁u₂, shape (correlation,).

    u₁ = (α s₁ + z₁)/√(1 + α²) and u₂ likewise, with independent signs and E z₁z₂ = ε(1 + α²): jointly non-Gaussian
    for α > 0, and correlated within the components only. ε must be below 1/(1 + α²).
    """
    f, g = (MEAN_OVER_NORMAL[name] for name in pair)
    scale = np.sqrt(1 + spread**2)
    nodes, weights = hermegauss(120)
    weights = weights / np.sqrt(2 * np.pi)
    errors = []
    for epsilon in correlations:
        # z₁ = √ρ y + √(1 − ρ) z and z₂ likewise: given y the fields are independent.
        rho = epsilon * scale**2
        deviation = np.sqrt(1 - rho) / scale
        given = [[h((sign * spread + np.sqrt(rho) * nodes) / scale, deviation) for sign in (-1, 1)] for h in (f, g)]
        first, second = np.mean(given, axis=1)
        # The covariance over y, not a difference of large numbers.
        errors.append(weights @ ((first - weights @ first) * (second - weights @ second)))
    return np.array(errors)


def shared_component(pair: tuple[str, str], spreads: Sequence[float]) -> Array:
    """E f(u₁) g(u₂) − E f(u₁) E g(u₂) at ε = 0 where the two draw their component together, shape (spread,).

    The components lie at (±α, 0) and (0, ±α), all standardised by √(1 + α²/2): E u₁u₂ = 0, and yet (21), which takes
    p_k p_l for the probability of a pair of components, does not hold. So it is in a clustered data set.
    """
    f, g = (MEAN_OVER_NORMAL[name] for name in pair)
    first, second = np.array([1.0, -1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0, -1.0])
    errors = []
    for spread in spreads:
        scale = np.sqrt(1 + spread**2 / 2)
        of_f, of_g = (h(spread * means / scale, 1 / scale) for h, means in ((f, first), (g, second)))
        errors.append(np.mean((of_f - of_f.mean()) * (of_g - of_g.mean())))
    return np.array(errors)


def function_expectation(name: str, spreads: Sequence[float]) -> Array:
    """E f(x) under the standardised mixture minus E f(x) under N(0, 1), the error of Lemma V.3, shape (spread,).

    One component in three has the mean 2α and the others −α before standardising: skewed, or odd functions would show
    no error at all.
    """
    h = MEAN_OVER_NORMAL[name]
    points, probabilities = np.array([2.0, -1.0]), np.array([1, 2]) / 3
    errors = []
    for spread in spreads:
        scale = np.sqrt(1 + 2 * spread**2)
        errors.append(probabilities @ h(spread * points / scale, 1 / scale) - h(np.zeros(()), np.ones(())))
    return np.array(errors)


def orders(study: xr.Dataset) -> xr.DataArray:
    """Order n of the error ∝ εⁿ of Lemma V.1 over the smallest decade of ε, shape (pair, spread)."""
    small = study["correlation_error"].where(study["epsilon"] <= 10 * study["epsilon"].min(), drop=True)
    logs = np.log(np.abs(small))
    slope = logs.assign_coords(epsilon=np.log(small["epsilon"])).polyfit("epsilon", 1)
    return slope["polyfit_coefficients"].sel(degree=1, drop=True)


def lemmas(spreads: Sequence[float] = (0.0, 1.0, 2.0), points: int = 25) -> xr.Dataset:
    """Errors of Lemmas V.1 and V.3 for several functions.

    Parameters
    ----------
    spreads
        α of the mixtures for Lemma V.1.
    points
        Number of ε from 1e-4 to 0.15 and of α from 0.05 to 9.

    Returns
    -------
    xarray.Dataset
        ``correlation_error`` (pair, spread, epsilon); ``shared_error`` (pair, alpha), at ε = 0 where components are
        shared; ``expectation_error`` (function, alpha), ``kl`` (alpha,), and ``condition`` (function,): whether
        condition 2 of Lemma V.3 holds.
    """
    epsilon, alpha = np.geomspace(1e-4, 0.15, points), np.geomspace(0.05, 9, points)
    laws = [MixtureLaw([2 * a, -a], weights=[1 / 3, 2 / 3], standardize=True) for a in alpha]
    return xr.Dataset(
        {
            "correlation_error": (
                ("pair", "spread", "epsilon"),
                [[function_correlation(pair, spread, epsilon) for spread in spreads] for pair in PAIRS],
            ),
            "shared_error": (("pair", "alpha"), [shared_component(pair, alpha) for pair in PAIRS]),
            "expectation_error": (("function", "alpha"), [function_expectation(name, alpha) for name in EXPECTATIONS]),
            "condition": ("function", [CONDITION_HOLDS[name] for name in EXPECTATIONS]),
            "kl": ("alpha", [float(law.kl_to_standard_normal()) for law in laws]),
        },
        coords={
            "pair": [", ".join(pair) for pair in PAIRS],
            "spread": list(spreads),
            "epsilon": epsilon,
            "function": list(EXPECTATIONS),
            "alpha": alpha,
        },
    )
