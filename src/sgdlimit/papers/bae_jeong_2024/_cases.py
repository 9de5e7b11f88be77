"""What the studies share: cases stacked into one dataset, one case for each (size, seed), and power laws."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
from xarray import DataArray, Dataset

from ...errors import ProblemError
from ...problem import Problem
from ...resources import cores, one_thread

LATENT_RATIO = 0.5
SETTINGS = {"activation": "erf", "learning_rate": 0.2}
"""The studies against N use these."""

Progress = Callable[[float], None]
"""It is called with the fraction done."""


def half_problem(size: int, **settings: Any) -> Problem:
    """The problem of the studies against N: D = N/2 and K = M = 2."""
    latent_dim = round(LATENT_RATIO * size)
    return Problem(input_dim=size, latent_dim=latent_dim, student_units=2, teacher_units=2, **SETTINGS | settings)


def stacked(cases: Iterable[Any], **along: Iterable[Any]) -> Any:
    """Datasets or arrays along new dimensions, given for each combination of the labels, the last dimension fastest."""
    cases = list(cases)
    for dim, labels in reversed(along.items()):
        place = xr.IndexVariable(dim, [*labels])
        groups = [cases[first : first + place.size] for first in range(0, len(cases), place.size)]
        cases = [xr.concat(group, place, join="outer") for group in groups]
    return cases[0]


def check_sizes(name: str, instances: Mapping[int, int]) -> list[int]:
    """The sizes N in order.

    Raises
    ------
    ProblemError
        If a size is odd or not a multiple of the smallest, which sets the output times.
    """
    sizes = sorted(instances)
    if not sizes or any(size % sizes[0] or size % 2 for size in sizes):
        raise ProblemError(
            f"{name}: sizes must be even multiples of the smallest (got {sizes}). The smallest sets the output times."
        )
    return sizes


def over_sizes(
    instances: Mapping[int, int], first_instance: int, study: Callable[[int, int], Dataset], progress: Progress
) -> Dataset:
    """What ``study(size, seed)`` finds for every instance, along ``sample``; progress grows with the work, N³."""
    drawn = [(N, first_instance + number) for N in sorted(instances) for number in range(instances[N])]
    sizes, seeds = np.transpose(drawn)
    samples, work = [], np.cumsum(sizes**3)
    with one_thread(), ThreadPoolExecutor(cores()) as pool:
        for sample, done in zip(pool.map(study, *zip(*drawn, strict=True)), work / work[-1], strict=True):
            samples.append(sample)
            progress(float(done))
    return xr.concat(samples, dim="sample").assign_coords(size=("sample", sizes), seed=("sample", seeds))


def power_law(y: DataArray, x: DataArray) -> dict[str, DataArray]:
    """Least squares for ln y = ln prefactor + exponent · ln x along the dimension of x."""
    dim = x.dims
    x, y = xr.ufuncs.log(x), xr.ufuncs.log(y)
    centred = x - x.mean()
    square = centred @ centred
    exponent = y @ centred / square
    intercept = y.mean(dim) - exponent * x.mean()
    variance = ((y - intercept - exponent * x) ** 2).sum(dim) / (x.size - 2)
    prefactor = xr.ufuncs.exp(intercept)
    return {"exponent": exponent, "exponent_stderr": (variance / square) ** 0.5, "prefactor": prefactor}
