"""How fast SGD approaches theory as the network grows: M against N, for theory of the instance and of infinite size."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from ...comparison import discrepancy, over_entries
from ...errors import ProblemError
from ...instance import Instance
from ...problem import Problem
from ...simulation import simulate
from ...theory import marchenko_pastur, reduce, solve_many, spectrum
from ...trajectory import log_times

__all__ = ["finite_size"]

LATENT_RATIO = 0.5
QUANTITIES = ["Q", "R", "v"]
NODES = 40
"""Of every spectrum, so that all are compiled once. For t ≤ 10 they leave Q, R and v within 1e-9 of 100 nodes."""

LIMIT_NODES = 200  # of the law of Marchenko and Pastur, before it is reduced


def finite_size(
    instances: Mapping[int, int],
    *,
    time: float = 20.0,
    activation: str = "erf",
    learning_rate: float = 0.2,
    first_instance: int = 0,
    progress: Callable[[float], None] = lambda done: None,
) -> xr.Dataset:
    """M of single SGD runs on Gaussian inputs for several N at D = N/2 and K = M = 2, with the exponent of its fall.

    Each run is compared with the theory of its own instance, from its F, W and W̃, and with that of infinite size, which
    knows its overlaps W Wᵀ/N and W̃ W̃ᵀ/D only: the random R at t = 0, which it takes for 0, and what F adds to Q are
    O(1/√N).

    Parameters
    ----------
    instances
        How many instances there are of each N; every N even and a multiple of the smallest.
    time
        Last t = steps/N.
    activation, learning_rate
        Of the problem.
    first_instance
        Seed of the first instance of each size; the others follow.
    progress
        Called with the fraction done.

    Returns
    -------
    xarray.Dataset
        ``M`` (theory, quantity, sample), averaged over entries, and ``deviation`` (theory, quantity, sample, time),
        the root mean square of SGD − theory over entries, with coordinates ``size`` and ``seed`` of the samples; the
        least-squares fit M ≈ prefactor · N^exponent: ``exponent``, its standard error ``exponent_stderr`` from the
        scatter of the samples, and ``prefactor``, (theory, quantity).

    Raises
    ------
    ProblemError
        If there are fewer than two sizes or three instances, or a size is no multiple of the smallest or is odd.

    Examples
    --------
    >>> data = finite_size({20: 2, 40: 2}, time=1.0)
    >>> dict(data["M"].sizes)
    {'theory': 2, 'quantity': 3, 'sample': 4}
    """
    sizes = sorted(instances)
    if len(sizes) < 2 or min(instances.values()) < 1 or sum(instances.values()) < 3:
        raise ProblemError(
            f"instances: {dict(instances)} give no scatter about a line; use two sizes and more instances"
        )
    if any(size % sizes[0] or size % 2 for size in sizes):
        raise ProblemError(
            f"instances: the sizes {sizes} must be even and multiples of {sizes[0]}, which sets the times"
        )
    times = log_times(round(time * sizes[0]), sizes[0], 60)
    drawn = [
        (size, seed, _problem(size, activation, learning_rate).draw(seed))
        for size in sizes
        for seed in range(first_instance, first_instance + instances[size])
    ]
    theories = {"instance": _solved([spectrum(one) for *_, one in drawn], drawn, times)}
    theories["infinite size"] = _solved([_limit(one) for *_, one in drawn], drawn, times)
    work = np.cumsum([size**3 for size, *_ in drawn])
    runs: list[xr.Dataset] = []
    for (_, seed, one), done in zip(drawn, work, strict=True):
        runs.append(simulate(one, times, seed=seed, test_samples=0)[QUANTITIES].squeeze("run", drop=True))
        progress(float(done / work[-1]))
    sgd = xr.concat(runs, dim="sample")
    M, deviation = [], []
    for theory in theories.values():
        M.append(over_entries(discrepancy(theory, sgd)))
        deviation.append(np.sqrt(over_entries((theory - sgd) ** 2)))
    along = xr.IndexVariable("theory", list(theories))
    data = xr.Dataset({"M": xr.concat(M, dim=along), "deviation": xr.concat(deviation, dim=along)})
    data = data.assign_coords(
        size=("sample", [size for size, *_ in drawn]), seed=("sample", [seed for _, seed, _ in drawn])
    )
    return data.assign(_power_law(data["M"])).assign_attrs(
        activation=activation, learning_rate=learning_rate, latent_ratio=LATENT_RATIO
    )


def _problem(size: int, activation: str, learning_rate: float) -> Problem:
    return Problem(
        input_dim=size,
        latent_dim=round(LATENT_RATIO * size),
        student_units=2,
        teacher_units=2,
        activation=activation,
        learning_rate=learning_rate,
    )


def _limit(instance: Instance):
    W, teacher = instance.student, instance.teacher
    return marchenko_pastur(
        LATENT_RATIO, W @ W.T / instance.input_dim, teacher @ teacher.T / instance.latent_dim, nodes=LIMIT_NODES
    )


def _solved(spectra, drawn, times: np.ndarray) -> xr.Dataset:
    instances = [one for *_, one in drawn]
    return solve_many(
        [reduce(each, NODES) for each in spectra],
        np.stack([one.student_output for one in instances]),
        np.stack([one.teacher_output for one in instances]),
        activation=instances[0].activation,
        learning_rate=instances[0].learning_rate,
        times=times,
    )[QUANTITIES].rename(case="sample")


def _power_law(M: xr.DataArray) -> dict[str, xr.DataArray]:
    """Least squares for ln M = ln prefactor + exponent · ln N over the samples."""
    x, y = xr.ufuncs.log(M["size"]), xr.ufuncs.log(M)
    centred = x - x.mean()
    exponent = (centred * y).sum("sample") / (centred**2).sum()
    intercept = y.mean("sample") - exponent * x.mean()
    residual = y - intercept - exponent * x
    variance = (residual**2).sum("sample") / (M.sizes["sample"] - 2)
    return {
        "exponent": exponent,
        "exponent_stderr": (variance / (centred**2).sum()) ** 0.5,
        "prefactor": xr.ufuncs.exp(intercept),
    }
