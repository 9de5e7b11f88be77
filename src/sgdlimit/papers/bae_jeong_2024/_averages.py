"""Means over matrix entries (20) of the studies' datasets, relative to the scale of Q, R and v, and which count."""

from typing import Any

import numpy as np
from xarray import DataArray, Dataset

METRICS = ("Q", "R", "v")


def keep(dataset: Dataset, activation: str, **law: Any) -> Dataset:
    """The part of a dataset for one activation, law and the kept instances: all of them, where it does not say."""
    chosen = dataset.sel(activation=activation, **law, drop=True)
    return chosen.isel(instance=chosen.get("kept", slice(None)))


def diverged(dataset: Dataset) -> DataArray:
    """Whether an SGD run left the finite numbers, by instance and condition."""
    return dataset.get("diverged", dataset["M_v"].isnull().any("student"))


def entry_means(dataset: Dataset, prefix: str = "") -> DataArray:
    """Means over the entries of Q, R and v (20), along ``quantity``; NaN where an entry is."""
    means = dataset[[prefix + name for name in METRICS]].mean(["student", "student_", "teacher"], skipna=False)
    return means.to_dataarray("quantity").assign_coords(quantity=[*METRICS])


def relative(dataset: Dataset, M: str = "M_", scale: str = "scale_") -> DataArray:
    """M of Q, R and v over the mean |x| of SGD's, both means over entries: comparable between theories.

    Theories measure the same weights with covariances of their own, so that their Q and R differ in size.
    """
    return entry_means(dataset, M) / entry_means(dataset, scale)


def relative_floor(dataset: Dataset) -> DataArray:
    """The relative M of Gaussian SGD against the conventional theory, mean over instances."""
    return relative(dataset, "floor_", "floor_scale_").mean("instance")


def theory_floor(blocks: Dataset) -> DataArray:
    """M over the scale that noise alone makes in each theory: that of Gaussian SGD, mean over instances.

    For the mixture theory the scatter between members of its ensemble adds to it, in quadrature: a single run does not
    average over the mean fields, whatever N.
    """
    scatter = relative(blocks, "noise_mixture_").mean("instance").fillna(0.0) * (blocks["theory"] == "mixture")
    return np.hypot(relative_floor(blocks), scatter)


def by_size(values: DataArray) -> tuple[DataArray, DataArray]:
    """Mean over the samples of each N, along ``size``, and its standard error."""
    groups = values.groupby("size")
    return groups.mean(), groups.std(ddof=1) / groups.count() ** 0.5
