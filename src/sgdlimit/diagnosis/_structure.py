"""What theories of Gaussian inputs take for granted, measured: the data's moments, and local fields along training."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from ..inputs import LatentLaw, nonlinearity_named
from ..instance import Instance
from ..resources import one_thread
from ._gaussianity import STATISTICS, from_gaussian, null

__all__ = ["structure"]

FIELDS, PROJECTIONS = 0, 1  # the last word of a generator's seed
PROJECTIONS_TRIED = 64
AT_ONCE = 1000  # samples
RANGE = 0.9  # share of the squared correlations that lies within the correlation range


def structure(instance: Instance, weights: xr.DataArray, *, field_times: int, samples: int, seed: int) -> xr.Dataset:
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
        ``fields`` (run, field_time, field, statistic) and ``field_mean`` (run, field_time, field), the mean over the
        deviation, of λ_k and ν_m; ``projections`` (projection, statistic) of random projections of the data; ``null``
        (moment, statistic), what sampling alone makes of a Gaussian variable; and of the data's law ``mean``,
        ``covariance_distance``, ``eigenvalues``, ``partners`` and ``correlation_range``.
    """
    law, D = instance.latent, instance.latent_dim
    chosen = np.unique(np.linspace(0, weights.sizes["time"] - 1, field_times).round().astype(int))
    some = weights.isel(time=chosen)
    with one_thread():
        local, projected = _drawn(instance, some.values, samples, seed)
    scale = local.std(axis=0)
    K, M = weights.sizes["student"], len(instance.teacher)
    names = [rf"lambda_{k}" for k in range(K)] + [rf"nu_{m}" for m in range(M)]
    noise = null(samples, law.distinct_samples, seed=seed)
    dims = ("run", "field_time", "field")
    data = xr.Dataset(
        {
            "fields": ((*dims, "statistic"), np.moveaxis(from_gaussian(local), 0, -1)),
            "field_mean": (dims, np.abs(local.mean(axis=0)) / scale),
            "projections": (("projection", "statistic"), from_gaussian(projected).T),
            "null": (("moment", "statistic"), np.stack(noise)),
        },
        coords={
            "field_time": some["time"].values,
            "field": names,
            "statistic": list(STATISTICS),
            "moment": list(noise._fields),
        },
        attrs={"field_samples": samples},
    )
    return data.merge(_moments(law, D))


def _drawn(
    instance: Instance, W: Float[np.ndarray, "run time K N"], samples: int, seed: int
) -> tuple[Float[np.ndarray, "sample run time field"], Float[np.ndarray, "sample projection"]]:
    """Local fields λ = XWᵀ/√N and ν = CW̃ᵀ/√D of fresh samples, and random projections of C."""
    D, N = instance.features.shape
    f = nonlinearity_named(instance.nonlinearity).value
    centre = instance.input_mean() if instance.centre else None
    rng = np.random.default_rng([seed, FIELDS])
    directions = np.random.default_rng([seed, PROJECTIONS]).standard_normal((D, PROJECTIONS_TRIED)) / np.sqrt(D)
    rows = W.reshape(-1, N).T / np.sqrt(N)
    K, M = W.shape[2], len(instance.teacher)
    local = np.empty((samples, *W.shape[:2], K + M))
    projected = np.empty((samples, PROJECTIONS_TRIED))
    for start in range(0, samples, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, samples))
        C = instance.latent.sample(rng, part.stop - start, D)
        X = f(C @ instance.features / np.sqrt(D)) - (0.0 if centre is None else centre)
        local[part, ..., :K] = (X @ rows).reshape(len(C), *W.shape[:3])
        local[part, ..., K:] = (C @ instance.teacher.T / np.sqrt(D))[:, None, None]
        projected[part] = C @ directions
    return local, projected


def _moments(law: LatentLaw, D: int) -> xr.Dataset:
    """How far the data's mean and covariance are from 0 and I, and how many coordinates go together.

    With ρ the correlations, a coordinate has Σ_j ρ_ij² − 1 partners on average. In a finite data set some of them, and
    of the spread of the eigenvalues, is the noise of a covariance of that many samples: ``partners_noise`` and
    ``largest_noise`` are what as many samples of independent coordinates would show.
    """
    mean, covariance = law.mean(D), law.covariance(D)
    deviation = np.sqrt(covariance.diagonal())
    squares = np.square(covariance / np.multiply.outer(deviation, deviation))
    np.fill_diagonal(squares, 0)
    lag = np.abs(np.subtract.outer(np.arange(D), np.arange(D)))
    by_lag = np.bincount(lag.ravel(), squares.ravel(), minlength=D).cumsum()
    count = law.distinct_samples
    with one_thread():
        eigenvalues = np.linalg.eigvalsh(covariance)
    scalars = {
        "mean": np.sqrt(np.mean(np.square(mean / deviation))),
        "covariance_distance": np.linalg.norm(covariance - np.eye(D)) / np.sqrt(D),
        "partners": squares.sum() / D,
        "partners_noise": 0.0 if count is None else (D - 1) / count,
        "largest_noise": 1.0 if count is None else (1 + np.sqrt(D / count)) ** 2,
        "correlation_range": float(np.searchsorted(by_lag, RANGE * by_lag[-1])),
    }
    return xr.Dataset({**scalars, "eigenvalues": ("node", eigenvalues)})
