"""Means over matrix entries (20) of the studies' datasets, relative to the scale of Q, R and v, and which count."""

import numpy as np
import pandas as pd
import xarray as xr

from ...comparison import mean_and_error

METRICS = ("Q", "R", "v")


def keep(dataset: xr.Dataset, activation: str) -> xr.Dataset:
    """The part of a dataset that belongs to one activation and its kept instances: all, where it does not say."""
    chosen = dataset.sel(activation=activation, drop=True) if "activation" in dataset.dims else dataset
    return chosen.isel(instance=np.flatnonzero(chosen["kept"])) if "kept" in chosen else chosen


def diverged(dataset: xr.Dataset) -> xr.DataArray:
    """Whether an SGD run left the finite numbers, by instance and condition."""
    if "diverged" in dataset:
        return dataset["diverged"].astype(bool)
    return dataset["M_v"].isnull().any("student")


def entry_means(dataset: xr.Dataset, prefix: str) -> xr.DataArray:
    """Means over the entries of Q, R and v (20), along ``quantity``; NaN where an entry is."""
    entries = ("student", "student_", "teacher")
    variables = {name: dataset[prefix + name] for name in METRICS}
    means = {name: x.mean([dim for dim in entries if dim in x.dims], skipna=False) for name, x in variables.items()}
    return xr.Dataset(means).to_array("quantity")


def relative(dataset: xr.Dataset, M: str = "M_", scale: str = "scale_") -> xr.DataArray:
    """M of Q, R and v over the mean |x| of SGD's, both means over entries: comparable between theories.

    Theories measure the same weights with covariances of their own, so that their Q and R differ in size.
    """
    return entry_means(dataset, M) / entry_means(dataset, scale)


def relative_floor(dataset: xr.Dataset) -> xr.DataArray:
    """The relative M of Gaussian SGD against the conventional theory, mean over instances."""
    return mean_and_error(relative(dataset, "floor_", "floor_scale_"))[0]


def theory_floor(condition: xr.Dataset, theory: str) -> xr.DataArray:
    """M over the scale that noise alone makes: that of Gaussian SGD, mean over instances.

    For the mixture theory the scatter between members of its ensemble adds to it, in quadrature: a single run does not
    average over the mean fields, whatever N.
    """
    floor = relative_floor(condition)
    if theory != "mixture" or "noise_mixture_Q" not in condition:
        return floor
    scatter = mean_and_error(relative(condition, "noise_mixture_"))[0]
    return (floor**2 + scatter.fillna(0.0) ** 2) ** 0.5


def by_size(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean over the samples of each N, along ``size``, and its standard error."""
    sizes = np.unique(values["size"])
    groups = [mean_and_error(values.isel(sample=np.flatnonzero(values["size"] == size)), "sample") for size in sizes]
    place = pd.Index(sizes, name="size")
    return xr.concat([mean for mean, _ in groups], place), xr.concat([error for _, error in groups], place)
