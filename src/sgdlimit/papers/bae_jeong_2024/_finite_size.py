"""How fast SGD approaches theory as the network grows: M against N, for theory of the instance and of infinite size."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from ...comparison import discrepancy, over_entries
from ...errors import ProblemError
from ...instance import Instance
from ...simulation import simulate
from ...theory import Spectrum, marchenko_pastur, reduce, solve_spectrum, spectrum
from ...trajectory import log_times
from ._cases import LATENT_RATIO, Progress, check_sizes, half_problem, over_sizes, power_law, stacked

QUANTITIES = ["Q", "R", "v"]
NODES = 40
"""Nodes of every reduced spectrum, so that all are compiled once.

For t ≤ 10 they leave Q, R and v within 1e-9 of 100 nodes.
"""

LIMIT_NODES = 200  # of the law of Marchenko and Pastur, before it is reduced


def finite_size(
    instances: Mapping[int, int],
    *,
    time: float = 20.0,
    activation: str = "erf",
    learning_rate: float = 0.2,
    first_instance: int = 0,
    progress: Progress = lambda done: None,
) -> xr.Dataset:
    """M of single SGD runs on Gaussian inputs for several N at D = N/2 and K = M = 2, with the exponent of its fall.

    Each run is compared with the theory of its own instance, from its F, W and W̃, and with the theory of infinite size.
    The latter uses the overlaps W Wᵀ/N and W̃ W̃ᵀ/D only. It assumes R = 0 at t = 0 and neglects what F adds to Q; both
    are O(1/√N).

    Parameters
    ----------
    instances
        How many instances there are of each N; every N even and a multiple of the smallest.
    time
        Last t = steps/N.
    activation, learning_rate
        Activation and learning rate of the problem.
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
        If there are fewer than two sizes or three instances, or a size is odd or not a multiple of the smallest.

    Examples
    --------
    >>> data = finite_size({20: 2, 40: 2}, time=1.0)
    >>> dict(data["M"].sizes)
    {'theory': 2, 'quantity': 3, 'sample': 4}
    """
    sizes = check_sizes("instances", instances)
    if len(sizes) < 2 or min(instances.values()) < 1 or sum(instances.values()) < 3:
        raise ProblemError(
            f"instances: must be at least three of at least two sizes (got {dict(instances)}). Fewer give no scatter."
        )
    times = log_times(round(time * sizes[0]), sizes[0], 60)
    settings = {"activation": activation, "learning_rate": learning_rate}

    def study(size: int, seed: int) -> xr.Dataset:
        """M and the deviations of one SGD run from both theories."""
        instance = half_problem(size, **settings).draw(seed)
        outputs = instance.student_output, instance.teacher_output
        spectra = {"instance": spectrum(instance), "infinite size": _limit(instance)}
        solved = [solve_spectrum(reduce(nodes, NODES), *outputs, times=times, **settings) for nodes in spectra.values()]
        theory = stacked([one[QUANTITIES] for one in solved], theory=list(spectra))
        sgd = simulate(instance, times, seed=seed, test_samples=0)[QUANTITIES].squeeze("run", drop=True)
        M, deviation = over_entries(discrepancy(theory, sgd)), np.sqrt(over_entries((theory - sgd) ** 2))
        return xr.Dataset({"M": M, "deviation": deviation})

    data = over_sizes(instances, first_instance, study, progress).transpose("theory", "quantity", "sample", "time")
    return data.assign(power_law(data["M"], data["size"])).assign_attrs(**settings, latent_ratio=LATENT_RATIO)


def _limit(instance: Instance) -> Spectrum:
    """The spectrum of infinite size with the initial overlaps of an instance."""
    W, teacher = instance.student, instance.teacher
    return marchenko_pastur(
        LATENT_RATIO, W @ W.T / instance.input_dim, teacher @ teacher.T / instance.latent_dim, nodes=LIMIT_NODES
    )
