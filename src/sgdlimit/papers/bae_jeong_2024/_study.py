"""The datasets of a reproduction, which figures, tables and the report are made from."""

from typing import NamedTuple

import xarray as xr


class Study(NamedTuple):
    """Every dataset by name; ``data/`` of a reproduction holds them as zarr stores."""

    grid: xr.Dataset
    """M, scales, floors and D_KL on all mixtures, see :func:`discrepancy_against_kl`."""
    blocks: xr.Dataset
    """M of each theory against the block size, see :func:`universality`."""
    examples_theory: xr.Dataset
    examples_sgd: xr.Dataset
    examples_mixture: xr.Dataset
    """Example trajectories of the conventional theory, SGD and the mixture theory, see :func:`example_dynamics`."""
    sample_means: xr.Dataset
    """See :func:`sample_mean_law`."""
    sizes: xr.Dataset
    """M against N, see :func:`finite_size`."""
    mixture: xr.Dataset
    """How good the mixture theory is, see :func:`mixture_theory`."""
    correlations: xr.Dataset
    expectations: xr.Dataset
    """The lemmas in numbers, see :func:`lemma_correlation` and :func:`lemma_expectation`."""
    cases: xr.Dataset
    """The instances left out of the means, with Gaussian SGD beside the equations."""

    @property
    def activations(self) -> list[str]:
        """The activations of the grid."""
        return self.grid["activation"].values.tolist()
