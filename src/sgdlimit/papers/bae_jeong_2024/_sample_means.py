"""Figure S1 as data: sample means of f(x) under a mixture P and under N(0, 1), with the exact expectations."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy.special import erf, ndtr

from ...errors import ProblemError
from ...inputs import MixtureLaw

__all__ = ["sample_means"]

Array = np.ndarray

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "erf": lambda x: erf(x / np.sqrt(2)),
    "relu": lambda x: np.maximum(x, 0),
    "sign": np.sign,
}
MEAN_OVER_NORMAL: dict[str, Callable[[Array, Array], Array]] = {
    "erf": lambda m, s: erf(m / np.sqrt(2 * (1 + s**2))),
    "relu": lambda m, s: m * ndtr(m / s) + s * np.exp(-(m**2) / (2 * s**2)) / np.sqrt(2 * np.pi),
    "sign": lambda m, s: erf(m / (s * np.sqrt(2))),
}
"""E f(x) for x ~ N(m, s²), in closed form."""


def sample_means(law: MixtureLaw, count: int = 1000, repeats: int = 2000, seed: int = 0) -> xr.Dataset:
    """Means of ``count`` values of f(x), drawn ``repeats`` times, for f = erf(x/√2), ReLU and sign.

    Lemma C.1 of the paper has E f(x) alike under P and under N(0, 1). The exact expectations say how far that holds.

    Parameters
    ----------
    law
        A scalar mixture, usually standardised.
    count
        Number n of values in one mean.
    repeats
        Number of means drawn for each law.
    seed
        Seed of the draws.

    Returns
    -------
    xarray.Dataset
        ``sample_mean`` (function, law, repeat) and ``expectation`` (function, law), with the laws ``"mixture"`` and
        ``"normal"``; ``means`` and ``weights`` (component,) of the mixture as drawn. Attributes: ``count``,
        ``repeats``, ``seed``, and ``deviation``, that within a component.

    Raises
    ------
    ProblemError
        If the law is not a scalar mixture, or if count or repeats are not positive.

    Examples
    --------
    >>> data = sample_means(MixtureLaw(np.array([-9.0, 9.0]), standardize=True), count=100, repeats=10)
    >>> data["expectation"].sel(function="relu").values.round(3)
    array([0.497, 0.399])
    """
    if law.means.ndim != 1:
        raise ProblemError(f"law: its means have shape {law.means.shape}; give a scalar mixture, means of shape (m,)")
    if min(count, repeats) < 1:
        raise ProblemError(f"count, repeats: {count!r}, {repeats!r} must both be at least 1")
    rng = np.random.default_rng(seed)
    draws = {
        "mixture": law.sample(rng, count * repeats, dim=1).reshape(repeats, count),
        "normal": rng.standard_normal((repeats, count)),
    }
    points, deviation = (law.means - law.location) / law.scale, 1 / law.scale
    sampled = [[f(x).mean(axis=1) for x in draws.values()] for f in FUNCTIONS.values()]
    exact = [[law.weights @ E(points, deviation), E(np.zeros(()), np.ones(()))] for E in MEAN_OVER_NORMAL.values()]
    return xr.Dataset(
        {
            "sample_mean": (("function", "law", "repeat"), np.array(sampled), {"long_name": "sample mean of f(x)"}),
            "expectation": (("function", "law"), np.array(exact), {"long_name": "E f(x), closed form"}),
            "means": ("component", points),
            "weights": ("component", law.weights),
        },
        coords={"function": list(FUNCTIONS), "law": list(draws)},
        attrs={"count": count, "repeats": repeats, "seed": seed, "deviation": float(deviation)},
    )
