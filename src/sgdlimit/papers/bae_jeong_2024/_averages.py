"""The datasets of a reproduction, and means of M over matrix entries (20), relative to the scale of Q, R and v."""

from typing import Any, NamedTuple

from xarray import DataArray, Dataset

METRICS = ("Q", "R", "v")


class Study(NamedTuple):
    """Every dataset by name; ``data/`` of a reproduction holds them as zarr stores."""

    grid: Dataset
    """M, scales, floors and D_KL on all mixtures, see :func:`discrepancy_against_kl`."""
    blocks: Dataset
    """M of each theory against the block size, see :func:`universality`."""
    examples_theory: Dataset
    examples_sgd: Dataset
    examples_mixture: Dataset
    """Example trajectories of the conventional theory, SGD and the mixture theory, see :func:`example_dynamics`."""
    sample_means: Dataset
    """See :func:`sample_mean_law`."""
    sizes: Dataset
    """M against N, see :func:`finite_size`."""
    mixture: Dataset
    """How good the mixture theory is, see :func:`mixture_theory`."""
    correlations: Dataset
    expectations: Dataset
    """The lemmas in numbers, see :func:`lemma_correlation` and :func:`lemma_expectation`."""
    cases: Dataset
    """The instances left out of the means, with Gaussian SGD beside the equations."""

    @property
    def activations(self) -> list[str]:
        """The activations of the grid."""
        return self.grid["activation"].values.tolist()


def keep(dataset: Dataset, activation: str, **law: Any) -> Dataset:
    """Select an activation, a law and the kept instances; all instances if the dataset has no selection."""
    chosen = dataset.sel(activation=activation, **law, drop=True)
    return chosen.isel(instance=chosen.get("kept", slice(None)))


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
    """M over the scale from noise alone, for each theory: M of Gaussian SGD, mean over instances.

    For the mixture theory the scatter between members of its ensemble adds to it, in quadrature: a single run does not
    average over the mean fields, whatever N.
    """
    scatter = relative(blocks, "noise_mixture_").mean("instance").fillna(0.0) * (blocks["theory"] == "mixture")
    return (relative_floor(blocks) ** 2 + scatter**2) ** 0.5


def by_size(values: DataArray) -> tuple[DataArray, DataArray]:
    """Mean over the samples of each N, along ``size``, and its standard error."""
    groups = values.groupby("size")
    return groups.mean(), groups.std(ddof=1) / groups.count() ** 0.5
