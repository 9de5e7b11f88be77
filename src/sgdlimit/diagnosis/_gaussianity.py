"""How far samples are from Gaussian, beside what the same statistics give for samples that are Gaussian."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

STATISTICS = ("excess_kurtosis", "kolmogorov_smirnov", "wasserstein")
"""Statistics of a variable less its mean, over its deviation: E x⁴ − 3, sup |F − Φ|, and ∫ |F⁻¹ − Φ⁻¹|."""


class Null(NamedTuple):
    """What sampling alone makes of the :data:`STATISTICS` where the variable is Gaussian; each shape (statistic,)."""

    mean: Float[np.ndarray, "statistic"]
    deviation: Float[np.ndarray, "statistic"]
    high: Float[np.ndarray, "statistic"]
    """99 % quantile of its magnitude."""


def from_gaussian(samples: Float[ArrayLike, "sample *variable"]) -> Float[np.ndarray, "statistic *variable"]:
    """Distances of variables from the Gaussian of their mean and variance.

    Parameters
    ----------
    samples
        Shape (samples, ...), at least two that differ.

    Returns
    -------
    np.ndarray
        The :data:`STATISTICS`, shape (3, ...): excess kurtosis, Kolmogorov–Smirnov and 1-Wasserstein distance, the last
        in units of the deviation.

    Examples
    --------
    >>> coin = np.tile([-1.0, 1.0], 5000)  # kurtosis 1, Φ(−1) below its first jump, 2 − √(8/π) + ... away
    >>> from_gaussian(coin).round(3)
    array([-2.   ,  0.341,  0.535])
    """
    x = np.array(samples, dtype=np.float64)
    count = len(x)
    x -= x.mean(axis=0)
    x /= np.sqrt(np.mean(np.square(x), axis=0))
    kurtosis = np.mean(x**4, axis=0) - 3
    x.sort(axis=0)
    column = (slice(None),) + (None,) * (x.ndim - 1)
    steps = np.arange(count + 1)[column] / count
    expected = ndtr(x)
    kolmogorov_smirnov = np.maximum(steps[1:] - expected, expected - steps[:-1]).max(axis=0)
    quantiles = ndtri((np.arange(count) + 0.5) / count)[column]
    return np.stack([kurtosis, kolmogorov_smirnov, np.abs(x - quantiles).mean(axis=0)])


def null(count: int, distinct: int | None = None, *, repetitions: int = 200, seed: int = 0) -> Null:
    """The same statistics of Gaussian variables: their mean, deviation and 99 % quantile over repetitions.

    Parameters
    ----------
    count
        Number of samples that a statistic is computed from.
    distinct
        Where these were drawn with replacement from a finite set, its size; None for fresh samples.
    repetitions
        Gaussian variables tried.
    seed
        Seed of their samples.

    Examples
    --------
    >>> bool(null(1000).mean[1] < null(1000, distinct=100).mean[1])
    True
    """
    rng = np.random.default_rng(seed)
    found = np.empty((repetitions, len(STATISTICS)))
    for row in found:
        x = rng.standard_normal(count if distinct is None else distinct)
        row[:] = from_gaussian(x if distinct is None else x[rng.integers(distinct, size=count)])
    return Null(found.mean(axis=0), found.std(axis=0, ddof=1), np.quantile(np.abs(found), 0.99, axis=0))
