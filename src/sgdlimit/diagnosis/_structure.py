"""What theories of Gaussian inputs assume, measured: the data's moments, and local fields along training."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from ..inputs import LatentLaw
from ..instance import Instance
from ..resources import one_thread
from ._gaussianity import STATISTICS, from_gaussian, null

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
        (moment, statistic), the statistics of a Gaussian variable from sampling alone; and of the data's law ``mean``,
        ``covariance_distance``, ``eigenvalues``, ``partners`` and ``correlation_range``.
    """
    law, K, M = instance.latent, weights.sizes["student"], len(instance.teacher)
    chosen = np.unique(np.linspace(0, weights.sizes["time"] - 1, field_times).round().astype(int))
    weights = weights.isel(time=chosen)
    with one_thread():
        local, projected = _drawn(instance, weights.values, samples, seed)
        moments = _moments(law, instance.latent_dim)
    noise = null(samples, law.distinct_samples, seed=seed)
    dims = ("run", "field_time", "field")
    data = xr.Dataset(
        {
            "fields": (("statistic", *dims), from_gaussian(local)),
            "field_mean": (dims, np.abs(local.mean(axis=0)) / local.std(axis=0)),
            "projections": (("statistic", "projection"), from_gaussian(projected)),
            "null": (("moment", "statistic"), np.stack(noise)),
        },
        coords={
            "field_time": weights["time"].values,
            "field": [rf"lambda_{k}" for k in range(K)] + [rf"nu_{m}" for m in range(M)],
            "statistic": list(STATISTICS),
            "moment": list(noise._fields),
        },
        attrs={"field_samples": samples},
    )
    return data.transpose(..., "statistic").merge(moments)


def _drawn(
    instance: Instance, W: Float[np.ndarray, "run time K N"], samples: int, seed: int
) -> tuple[Float[np.ndarray, "sample run time field"], Float[np.ndarray, "sample projection"]]:
    """Local fields λ = XWᵀ/√N and ν = CW̃ᵀ/√D of fresh samples, and random projections of C."""
    D, N = instance.features.shape
    mean = instance.input_mean() if instance.centre else None
    rng = np.random.default_rng([seed, FIELDS])
    directions = np.random.default_rng([seed, PROJECTIONS]).standard_normal((D, PROJECTIONS_TRIED))
    rows = W.reshape(-1, N).T / np.sqrt(N)
    local, projected = [], []
    # The inputs of all samples at once would not fit into memory.
    for start in range(0, samples, AT_ONCE):
        C = instance.latent.sample(rng, min(AT_ONCE, samples - start), D)
        X = instance.f.value(C @ instance.features / np.sqrt(D)) - (0.0 if mean is None else mean)
        student = (X @ rows).reshape(len(C), *W.shape[:3])
        teacher = np.broadcast_to((C @ instance.teacher.T)[:, None, None], (*student.shape[:3], len(instance.teacher)))
        local.append(np.concatenate([student, teacher / np.sqrt(D)], axis=-1))
        projected.append(C @ (directions / np.sqrt(D)))
    return np.concatenate(local), np.concatenate(projected)


def _moments(law: LatentLaw, D: int) -> xr.Dataset:
    """How far the data's mean and covariance are from 0 and I, and how many coordinates go together.

    With ρ the correlations, a coordinate has Σ_j ρ_ij² − 1 partners on average. In a finite data set some of them, and
    of the spread of the eigenvalues, is the noise of a covariance of that many samples: ``partners_noise`` and
    ``largest_noise`` are the values for as many samples of independent coordinates.
    """
    mean, covariance = law.mean(D), law.covariance(D)
    deviation = np.sqrt(covariance.diagonal())
    squares = np.square(covariance / np.multiply.outer(deviation, deviation))
    np.fill_diagonal(squares, 0)
    lag = np.abs(np.subtract.outer(np.arange(D), np.arange(D)))
    by_lag = np.bincount(lag.ravel(), squares.ravel(), minlength=D).cumsum()
    count = law.distinct_samples
    scalars = {
        "mean": np.sqrt(np.mean(np.square(mean / deviation))),
        "covariance_distance": np.linalg.norm(covariance - np.eye(D)) / np.sqrt(D),
        "partners": squares.sum() / D,
        "partners_noise": 0.0 if count is None else (D - 1) / count,
        "largest_noise": 1.0 if count is None else (1 + np.sqrt(D / count)) ** 2,
        "correlation_range": float(np.searchsorted(by_lag, RANGE * by_lag[-1])),
    }
    return xr.Dataset({**scalars, "eigenvalues": ("node", np.linalg.eigvalsh(covariance))})
