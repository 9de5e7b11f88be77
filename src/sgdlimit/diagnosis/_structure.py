"""What theories of Gaussian inputs assume, measured: the data's moments, and local fields along training.

Each statistic stands beside what it is for samples that are Gaussian.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri
from scipy.stats import zscore
from xarray import DataArray, Dataset

from ..inputs import LatentLaw, root_mean_square
from ..instance import Instance
from ..resources import one_thread

STATISTICS = ("excess_kurtosis", "kolmogorov_smirnov", "wasserstein")
"""Statistics of a variable less its mean, over its deviation: E x⁴ − 3, sup |F − Φ|, and ∫ |F⁻¹ − Φ⁻¹|."""


MOMENTS = ("mean", "deviation", "high")
"""What :func:`null` gives for each of the :data:`STATISTICS`; the last is the 99 % quantile of its magnitude."""
FIELDS, PROJECTIONS = 0, 1  # the last word of a generator's seed
PROJECTIONS_TRIED = 64
AT_ONCE = 1000  # samples
RANGE = 0.9  # share of the squared correlations that lies within the correlation range


def structure(instance: Instance, weights: DataArray, *, field_times: int, samples: int, seed: int) -> Dataset:
    """Moments of the data, and how Gaussian its projections and the local fields are.

    Parameters
    ----------
    instance
        The network and the law of the data.
    weights
        The student's W along training, dims (run, time, student, input).
    field_times
        Number of output times to look at.
    samples
        Fresh samples of the law.
    seed
        Seed of these samples.

    Returns
    -------
    xarray.Dataset
        ``fields`` (field_run, field_time, field, statistic) and ``field_mean`` (field_run, field_time, field), the mean
        over the deviation, of λ_k and ν_m; ``projections`` (projection, statistic) of random projections of the data;
        ``null`` (moment, statistic), the statistics of a Gaussian variable from sampling alone; and of the data's law
        ``mean``, ``covariance_distance``, ``eigenvalues``, ``partners`` and ``correlation_range``. For a finite data
        set ``carrying_rows`` (column) is the number of rows that make up a column's variance, (Σ d²)²/Σ d⁴ with the
        distances d from its mean.
    """
    law, K, M = instance.latent, weights.sizes["student"], len(instance.teacher)
    weights = weights.isel(time=np.unique(np.linspace(0, weights.sizes["time"] - 1, field_times).round().astype(int)))
    with one_thread():
        local, projected = _drawn(instance, weights.values, samples, seed)
        moments = _moments(law, instance.latent_dim)
    dims = ("field_run", "field_time", "field")
    return Dataset(
        {
            "fields": ((*dims, "statistic"), from_gaussian(local)),
            "field_mean": (dims, abs(local.mean(axis=-1)) / local.std(axis=-1)),
            "projections": (("projection", "statistic"), from_gaussian(projected)),
            "null": (("moment", "statistic"), null(samples, law.distinct_samples, seed=seed)),
            **moments,
        },
        coords={
            "field_time": weights["time"].values,
            "field": [f"lambda_{k}" for k in range(K)] + [f"nu_{m}" for m in range(M)],
            "statistic": list(STATISTICS),
            "moment": list(MOMENTS),
        },
        attrs={"field_samples": samples, "dropped_columns": law.headings[law.dropped].tolist()},
    )


def _drawn(
    instance: Instance, W: Float[ndarray, "run time K N"], samples: int, seed: int
) -> tuple[Float[ndarray, "run time field sample"], Float[ndarray, "projection sample"]]:
    """Local fields λ = XWᵀ/√N and ν = CW̃ᵀ/√D of fresh samples, and random projections of C."""
    D, N = instance.features.shape
    mean = instance.input_mean() if instance.centre else None
    rng = np.random.default_rng([seed, FIELDS])
    directions = np.random.default_rng([seed, PROJECTIONS]).standard_normal((D, PROJECTIONS_TRIED)).T
    local, projected = [], []
    # The inputs of all samples at once would not fit into memory.
    for start in range(0, samples, AT_ONCE):
        C = instance.latent.sample(rng, min(AT_ONCE, samples - start), D) / np.sqrt(D)
        X = instance.f.value(C @ instance.features) - (0.0 if mean is None else mean)
        student = np.tensordot(W, X, (-1, -1)) / np.sqrt(N)
        teacher = instance.teacher @ C.T
        local.append(np.concatenate([student, np.broadcast_to(teacher, W.shape[:2] + teacher.shape)], axis=2))
        projected.append(directions @ C.T)
    return np.concatenate(local, axis=-1), np.concatenate(projected, axis=-1)


def _moments(law: LatentLaw, D: int) -> dict[str, Any]:
    """How far the data's mean and covariance are from 0 and I, and how many coordinates go together.

    With ρ the correlations, a coordinate has Σ_j ρ_ij² − 1 partners on average. In a finite data set some of them, and
    of the spread of the eigenvalues, is the noise of a covariance of that many samples: ``partners_noise`` and
    ``largest_noise`` are the values for as many samples of independent coordinates.
    """
    mean, covariance = law.mean(D), law.covariance(D)
    deviation = np.sqrt(covariance.diagonal())
    squares = np.square(covariance / np.multiply.outer(deviation, deviation))
    np.fill_diagonal(squares, 0)
    by_lag = np.cumsum([*map(squares.trace, range(D))])
    count = law.distinct_samples or np.inf
    moments = {
        "mean": root_mean_square(mean / deviation),
        "covariance_distance": np.linalg.norm(covariance - np.eye(D)) / np.sqrt(D),
        "partners": squares.sum() / D,
        "partners_noise": (D - 1) / count,
        "largest_noise": (1 + np.sqrt(D / count)) ** 2,
        "correlation_range": float(np.searchsorted(by_lag, RANGE * by_lag[-1])),
        "eigenvalues": ("node", np.linalg.eigvalsh(covariance)),
    }
    samples = getattr(law, "samples", None)  # of a finite data set
    if samples is not None:
        moments["carrying_rows"] = "column", carrying_rows(samples - mean)
        moments["column"] = np.delete(law.headings, law.dropped) if len(law.headings) else 1 + np.arange(D)
    return moments


def carrying_rows(centred: Float[ndarray, "row column"]) -> Float[ndarray, "column"]:
    """The number of rows that make up a column's variance, (Σ d²)²/Σ d⁴; NaN where it is constant."""
    squares = centred**2
    with np.errstate(invalid="ignore"):
        return squares.sum(0) ** 2 / np.einsum("sc,sc->c", squares, squares)


def from_gaussian(samples: Float[ArrayLike, "*variable sample"]) -> Float[ndarray, "*variable statistic"]:
    """Distances of variables from the Gaussian of their mean and variance.

    Parameters
    ----------
    samples
        Shape (..., samples), at least two that differ.

    Returns
    -------
    np.ndarray
        The :data:`STATISTICS`, shape (..., 3): excess kurtosis, Kolmogorov–Smirnov and 1-Wasserstein distance, the last
        in units of the deviation.

    Examples
    --------
    >>> coin = np.tile([-1.0, 1.0], 5000)  # kurtosis 1, Φ(−1) below its first jump, 2 − √(8/π) + ... away
    >>> from_gaussian(coin).round(3)
    array([-2.   ,  0.341,  0.535])
    """
    x = np.sort(np.asarray(zscore(samples, axis=-1)))
    steps = np.arange(x.shape[-1] + 1) / x.shape[-1]
    below, quantiles = ndtr(x), ndtri((steps[1:] + steps[:-1]) / 2)
    kolmogorov_smirnov = np.maximum(steps[1:] - below, below - steps[:-1]).max(axis=-1)
    return np.stack([np.mean(x**4, axis=-1) - 3, kolmogorov_smirnov, abs(x - quantiles).mean(axis=-1)], axis=-1)


def null(count: int, distinct: int | None = None, *, seed: int = 0) -> Float[ndarray, "moment statistic"]:
    """What sampling alone makes of the statistics of 200 Gaussian variables: their :data:`MOMENTS`.

    Parameters
    ----------
    count
        Number of samples that a statistic is computed from.
    distinct
        Where these were drawn with replacement from a finite set, its size; None for fresh samples.
    seed
        Seed of their samples.

    Examples
    --------
    >>> bool(null(1000)[0, 1] < null(1000, distinct=100)[0, 1])
    True
    """
    rng = np.random.default_rng(seed)
    found = np.empty((200, len(STATISTICS)))
    for row in found:
        x = rng.standard_normal(distinct or count)
        row[:] = from_gaussian(x if distinct is None else x[rng.integers(distinct, size=count)])
    return np.stack([found.mean(axis=0), found.std(axis=0, ddof=1), np.quantile(abs(found), 0.99, axis=0)])
