"""Means over matrix entries (20) of the studies' datasets, relative to the scale of Q, R and v, and which count."""

import numpy as np
from xarray import DataArray, Dataset

from ...comparison import mean_and_error
from ._cases import stacked

METRICS = ("Q", "R", "v")


def keep(dataset: Dataset, activation: str) -> Dataset:
    """The part of a dataset that belongs to one activation and its kept instances: all, where it does not say."""
    chosen = dataset.sel(activation=activation, drop=True)
    return chosen.isel(instance=np.flatnonzero(chosen["kept"])) if "kept" in chosen else chosen


def diverged(dataset: Dataset) -> DataArray:
    """Whether an SGD run left the finite numbers, by instance and condition."""
    return dataset["diverged"] if "diverged" in dataset else dataset["M_v"].isnull().any("student")


def entry_means(dataset: Dataset, prefix: str = "") -> DataArray:
    """Means over the entries of Q, R and v (20), along ``quantity``; NaN where an entry is."""
    variables = dataset[[prefix + name for name in METRICS]]
    means = variables.mean(["student", "student_", "teacher"], skipna=False)
    return means.to_dataarray("quantity").assign_coords(quantity=[*METRICS])


def relative(dataset: Dataset, M: str = "M_", scale: str = "scale_") -> DataArray:
    """M of Q, R and v over the mean |x| of SGD's, both means over entries: comparable between theories.

    Theories measure the same weights with covariances of their own, so that their Q and R differ in size.
    """
    return entry_means(dataset, M) / entry_means(dataset, scale)


def relative_floor(dataset: Dataset) -> DataArray:
    """The relative M of Gaussian SGD against the conventional theory, mean over instances."""
    return mean_and_error(relative(dataset, "floor_", "floor_scale_"))[0]


def theory_floor(blocks: Dataset) -> DataArray:
    """M over the scale that noise alone makes in each theory: that of Gaussian SGD, mean over instances.

    For the mixture theory the scatter between members of its ensemble adds to it, in quadrature: a single run does not
    average over the mean fields, whatever N.
    """
    scatter = mean_and_error(relative(blocks, "noise_mixture_"))[0].fillna(0.0) * (blocks["theory"] == "mixture")
    return (relative_floor(blocks) ** 2 + scatter**2) ** 0.5


def by_size(values: DataArray) -> tuple[DataArray, DataArray]:
    """Mean over the samples of each N, along ``size``, and its standard error."""
    both = values.groupby("size").map(lambda group: stacked(mean_and_error(group, "sample"), of=["mean", "error"]))
    mean, error = both.transpose("of", "size", ...)
    return mean, error
