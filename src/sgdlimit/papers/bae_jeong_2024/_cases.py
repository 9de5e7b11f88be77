"""What the studies share: cases stacked into one dataset, one case for each (size, seed), and power laws."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ...errors import ProblemError
from ...problem import Problem

LATENT_RATIO = 0.5

Progress = Callable[[float], None]
"""Gets the fraction done."""


def half_problem(size: int, **settings: Any) -> Problem:
    """The problem of the studies against N: D = N/2 and K = M = 2."""
    return Problem(input_dim=size, latent_dim=round(LATENT_RATIO * size), student_units=2, teacher_units=2, **settings)


def stacked(cases: Iterable[Any], **along: Sequence[Any]) -> Any:
    """Datasets or arrays along new dimensions, given for each combination of the labels, the last dimension fastest."""
    cases = list(cases)
    for dim, labels in reversed(along.items()):
        groups = [cases[first : first + len(labels)] for first in range(0, len(cases), len(labels))]
        cases = [xr.concat(group, xr.IndexVariable(dim, list(labels)), join="outer") for group in groups]
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
    instances: Mapping[int, int], first_instance: int, study: Callable[[int, int], xr.Dataset], progress: Progress
) -> xr.Dataset:
    """What ``study(size, seed)`` finds for every instance, along ``sample``; progress grows with the work, N³."""
    drawn = [(N, first_instance + number) for N in sorted(instances) for number in range(instances[N])]
    work = np.cumsum([size**3 for size, _ in drawn])
    samples = []
    for (size, seed), done in zip(drawn, work / work[-1], strict=True):
        samples.append(study(size, seed))
        progress(float(done))
    sizes, seeds = np.transpose(drawn)
    return xr.concat(samples, dim="sample").assign_coords(size=("sample", sizes), seed=("sample", seeds))


def power_law(y: xr.DataArray, x: xr.DataArray) -> dict[str, xr.DataArray]:
    """Least squares for ln y = ln prefactor + exponent · ln x along the dimension of x."""
    dim = x.dims
    x, y = xr.ufuncs.log(x), xr.ufuncs.log(y)
    centred = x - x.mean()
    exponent = y @ centred / (centred @ centred)
    intercept = y.mean(dim) - exponent * x.mean()
    variance = ((y - intercept - exponent * x) ** 2).sum(dim) / (x.size - 2)
    return {
        "exponent": exponent,
        "exponent_stderr": (variance / (centred @ centred)) ** 0.5,
        "prefactor": xr.ufuncs.exp(intercept),
    }
