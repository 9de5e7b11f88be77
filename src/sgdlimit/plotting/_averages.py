"""Means over matrix entries (20) and over instances, with their standard errors."""

import numpy as np
import xarray as xr

__all__ = [
    "METRICS",
    "diverged",
    "entry_mean",
    "instance_mean",
    "keep",
    "kept",
    "relative",
    "relative_floor",
    "theory_floor",
]

METRICS = ("Q", "R", "v")
ENTRIES = ("student", "student_", "teacher")


def kept(dataset: xr.Dataset, activation: str) -> xr.DataArray:
    """Which instances count for this activation, (instance,): all where the dataset does not say."""
    if "kept" in dataset:
        return dataset["kept"].sel(activation=activation, drop=True).astype(bool)
    return xr.ones_like(dataset["instance"], dtype=bool)


def keep(dataset: xr.Dataset, activation: str) -> xr.Dataset:
    """The part of a dataset that belongs to one activation and its kept instances."""
    chosen = dataset.sel(activation=activation, drop=True) if "activation" in dataset.dims else dataset
    return chosen.isel(instance=np.flatnonzero(kept(dataset, activation).values))


def diverged(dataset: xr.Dataset) -> xr.DataArray:
    """Whether an SGD run left the finite numbers, by instance and condition."""
    if "diverged" in dataset:
        return dataset["diverged"].astype(bool)
    return dataset["M_v"].isnull().any("student")


def entry_mean(values: xr.DataArray) -> xr.DataArray:
    """Mean over the entries of Q, R or v (20)."""
    return values.mean([dim for dim in ENTRIES if dim in values.dims], skipna=False)


def instance_mean(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean over instances and its standard error; NaN entries, diverged runs, are left out.

    The standard error is NaN where fewer than two instances are left.
    """
    count = values.count("instance")
    mean = values.sum("instance") / count.where(count > 0)
    squares = ((values - mean) ** 2).sum("instance")
    variance = squares / (count - 1).where(count > 1)
    return mean, (variance / count.where(count > 0)) ** 0.5


def relative(dataset: xr.Dataset, name: str, *, M: str = "M_", scale: str = "scale_") -> xr.DataArray:
    """M of Q, R or v over the mean |x| of SGD's, both means over entries: comparable between theories.

    Theories measure the same weights with covariances of their own, so that their Q and R differ in size.
    """
    return entry_mean(dataset[f"{M}{name}"]) / entry_mean(dataset[f"{scale}{name}"])


def relative_floor(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """The same of Gaussian SGD against the conventional theory."""
    return relative(dataset, name, M="floor_", scale="floor_scale_")


def theory_floor(condition: xr.Dataset, theory: str, name: str) -> xr.DataArray:
    """M over the scale that noise alone makes: that of Gaussian SGD, mean over instances.

    For the mixture theory the scatter between members of its ensemble adds to it, in quadrature: a single run does not
    average over the mean fields, whatever N.
    """
    floor = instance_mean(relative_floor(condition, name))[0]
    if theory != "mixture" or f"noise_mixture_{name}" not in condition:
        return floor
    scatter = instance_mean(relative(condition, name, M="noise_mixture_"))[0]
    return (floor**2 + scatter.fillna(0.0) ** 2) ** 0.5
