"""The datasets of a reproduction, which figures, tables and the report are made from."""

from typing import NamedTuple

from xarray import Dataset


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
