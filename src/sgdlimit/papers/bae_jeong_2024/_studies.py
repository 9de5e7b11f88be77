"""Studies against N that go beyond the paper: how fast SGD approaches theory, and how good the mixture theory is."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from xarray import DataArray, Dataset

from ...comparison import discrepancy, over_entries
from ...errors import DivergenceWarning, ProblemError
from ...instance import Instance
from ...problem import GaussianMixture
from ...simulation import simulate, simulate_together
from ...theory import marchenko_pastur, reduce, solve_mixture, solve_spectrum, spectrum
from ...trajectory import log_times
from ._averages import METRICS
from ._cases import LATENT_RATIO, SETTINGS, Progress, check_sizes, half_problem, over_sizes, power_law, stacked

NODES = 40
"""Nodes of every reduced spectrum, so that all are compiled once.

For t ≤ 10 they leave Q, R and v within 1e-9 of 100 nodes.
"""

LIMIT_NODES = 200  # of the law of Marchenko and Pastur, before it is reduced
QUANTITIES = [*METRICS, "generalization_error"]
TEST_SAMPLES = 1000
SPREAD = 9.0


def finite_size(
    instances: Mapping[int, int],
    *,
    time: float = 20.0,
    first_instance: int = 0,
    progress: Progress = lambda done: None,
) -> Dataset:
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

    def study(size, seed):
        """M and the deviations of one SGD run from both theories."""
        instance = half_problem(size).draw(seed)
        outputs = instance.student_output, instance.teacher_output
        Q, T = (W @ W.T / W.shape[1] for W in (instance.student, instance.teacher))
        spectra = spectrum(instance), marchenko_pastur(LATENT_RATIO, Q, T, nodes=LIMIT_NODES)
        solved = [solve_spectrum(reduce(nodes, NODES), *outputs, times=times, **SETTINGS) for nodes in spectra]
        theory = stacked(solved, theory=["instance", "infinite size"])[[*METRICS]]
        sgd = simulate(instance, times, seed=seed, test_samples=0, threads=1).squeeze("run", drop=True)
        deviation = np.sqrt(over_entries((theory - sgd) ** 2))
        return Dataset({"M": over_entries(discrepancy(theory, sgd)), "deviation": deviation})

    data = over_sizes(instances, first_instance, study, progress).transpose("theory", "quantity", "sample", "time")
    return data.assign(power_law(data["M"], data["size"])).assign_attrs(**SETTINGS, latent_ratio=LATENT_RATIO)


class MixtureStudy(NamedTuple):
    """Sizes of the study. The inputs are two clusters, standardised, D = N/2, K = M = 2."""

    sizes: Mapping[int, int] = {250: 16, 500: 12, 1000: 8}
    """Instances of each N, one SGD run each."""
    sizes_time: float = 5.0
    chains: int = 8
    """Chains of the theory of every instance."""
    steps: Sequence[float] = (0.4, 0.2, 0.1, 0.05, 0.025)
    """Largest steps of integration, in units of t; the others are compared with the smallest."""
    step_size: int = 500
    """N of the theory that is solved with several steps and ensembles."""
    step_time: float = 30.0
    step_chains: int = 64
    learning_rates: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.8)
    fluctuation_size: int = 500
    fluctuation_time: float = 20.0
    runs: int = 8
    """SGD runs, and as many chains of the theory, for the fluctuations at every learning rate."""

    def instance(self, size: int, seed: int) -> Instance:
        """Instance ``seed`` of two standardised clusters in ``size`` dimensions."""
        block = {"block_size": round(LATENT_RATIO * size), "standardize": True, "shared_means": False}
        return half_problem(size, latent=GaussianMixture(components=2, spread=SPREAD, **block)).draw(seed)


def mixture_theory(study: MixtureStudy, *, first_instance: int = 0, progress: Progress = lambda done: None) -> Dataset:
    """Errors and fluctuations of the mixture theory on two standardised clusters.

    Parameters
    ----------
    study
        Sizes, learning rates and ensembles.
    first_instance
        Seed of the first instance of each N; the others follow.
    progress
        Called with the fraction done.

    Returns
    -------
    xarray.Dataset
        Against N, of single SGD runs on ``sample`` instances with coordinates ``size`` and ``seed``, for theory with
        and without its term of order 1/N (``finite_term``): ``offset`` (finite_term, quantity, sample), SGD − theory
        averaged over the diagonal of Q, all entries of R and v, and times; SGD's noise averages out over samples.
        ``M`` (finite_term, quantity, sample), where it does not.

        Against the largest step of integration, ``step_error`` (step, quantity): the difference of the ensemble means
        to those with the smallest step, mean of absolute values over times and entries, and ``step_noise``, the
        same from the Monte Carlo errors of the differences alone. Chains of the same number share their random numbers,
        so those errors are of pairs.

        Against the number of chains, ``ensemble_error`` (count, quantity): root mean square deviation of the means of
        parts of the ensemble from its mean, and ``ensemble_expected``, spread/√count (less what the mean of all
        shares with its parts).

        Against η, the mean fields in the last half of the time: ``spread`` (source, learning_rate, student, cluster),
        the standard deviation over runs around their mean at the same time, in theory and SGD, and ``ratio`` of SGD's
        to theory's, of the root mean square over units and clusters, with ``ratio_stderr`` from the scatter of runs
        and chains.

    Raises
    ------
    ProblemError
        If a size is odd or not a multiple of the smallest, or there are fewer than two runs, chains or steps.
    """
    check_sizes("sizes", study.sizes)
    if min(study.runs, study.step_chains // 2, len(study.steps)) < 2:
        raise ProblemError(
            "runs, step_chains, steps: must be at least 2, 4 and 2 steps "
            f"(got {study.runs}, {study.step_chains} and {len(study.steps)}). Fewer leave nothing to compare."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", DivergenceWarning)  # bounded activations do not diverge, so it would be a bug
        parts = [_against_size(study, first_instance, lambda done: progress(0.5 * done))]
        for done, part in ((0.75, _precision), (1.0, _fluctuations)):
            parts.append(part(study, first_instance))
            progress(done)
    settings = {name: value for name, value in study._asdict().items() if np.isscalar(value)}
    return xr.merge(parts).assign_attrs(SETTINGS | settings, spread=SPREAD, latent_ratio=LATENT_RATIO)


def _against_size(study: MixtureStudy, first_instance: int, progress: Progress) -> Dataset:
    """Offset and M of a single run for every instance, from theory with and without its term of order 1/N."""
    smallest = min(study.sizes)
    times = log_times(round(study.sizes_time * smallest), smallest, 40)

    def one(size, seed):
        instance = study.instance(size, seed)
        run = simulate(instance, times, seed=seed, overlaps="mixture", test_samples=TEST_SAMPLES, threads=1)
        compared = []
        for finite in (False, True):
            chains = solve_mixture(instance, times, chains=study.chains, seed=seed, finite_size=finite, threads=1)
            theory, sgd = chains[QUANTITIES].mean("run"), run[QUANTITIES].isel(run=0)
            offset = (sgd - theory).mean("time")
            offset["Q"] = offset["Q"].where(offset["student"] == offset["student_"])
            compared.append(Dataset({"M": over_entries(discrepancy(theory, sgd)), "offset": _by_quantity(offset)}))
        return stacked(compared, finite_term=[False, True])

    return over_sizes(study.sizes, first_instance, one, progress)


def _by_quantity(dataset: Dataset, keep: str = "") -> DataArray:
    """Mean of each quantity over everything but one dimension, along (keep, quantity)."""
    means = dataset[QUANTITIES].mean({*dataset[QUANTITIES].dims} - {keep})
    return means.drop_attrs().to_dataarray("quantity").transpose(..., "quantity")


def _precision(study: MixtureStudy, seed: int) -> Dataset:
    """Error against the step of integration, and against the number of chains."""
    instance, chains = study.instance(study.step_size, seed), study.step_chains
    # Output times are few because a step of integration ends at each; the last ones are where the steps differ.
    times = np.rint(np.linspace(0, study.step_time, 13)[1:] * study.step_size) / study.step_size
    steps = sorted(study.steps, reverse=True)
    solved = [solve_mixture(instance, times, chains=chains, seed=seed, largest_step=step)[QUANTITIES] for step in steps]
    finest = solved.pop()
    pairs = stacked(solved, step=steps[:-1]) - finest
    counts = [2**k for k in range(int(np.log2(chains)))]
    share = DataArray(counts, coords=[("count", counts)])
    away = finest - finest.mean("run")
    # The deviation of the mean of each part of the ensemble from the mean of all, part by part.
    parts = [_by_quantity(away.coarsen(run=count, boundary="trim").mean() ** 2) for count in counts]
    return Dataset(
        {
            "step_error": _by_quantity(np.abs(pairs.mean("run")), "step"),
            "step_noise": _by_quantity(np.sqrt(2 / np.pi / chains) * pairs.std("run", ddof=1), "step"),
            "ensemble_error": np.sqrt(stacked(parts, count=counts)),
            "ensemble_expected": np.sqrt((1 / share - 1 / chains) * _by_quantity(finest.var("run", ddof=1))),
        }
    )


def _fluctuations(study: MixtureStudy, seed: int) -> Dataset:
    """Spread of the mean fields of theory and SGD in the last half of the time."""
    size, time, runs = study.fluctuation_size, study.fluctuation_time, study.runs
    times = np.unique(np.rint(np.linspace(time / 2, time, 400) * size)) / size
    base = study.instance(size, seed)
    conditions = [base.replace(learning_rate=rate) for rate in study.learning_rates]
    theories = [solve_mixture(instance, times, chains=runs, seed=seed) for instance in conditions]
    simulated = simulate_together(conditions, times, runs=runs, seed=seed, overlaps="mixture", test_samples=0)
    fields = [each["mean_field"] for each in (*theories, *simulated)]
    M = stacked(fields, source=["theory", "SGD"], learning_rate=study.learning_rates)
    # Around the mean of all runs at the same time, because what they all do is no fluctuation.
    squares = ((M - M.mean("run")) ** 2).mean("time") * runs / (runs - 1)
    by_run = squares.mean(["student", "cluster"])
    mean, error = by_run.mean("run"), by_run.std("run", ddof=1) / np.sqrt(runs)
    theory, sgd = mean.drop_vars("source")
    ratio = np.sqrt(sgd / theory)
    relative = np.sqrt(np.square(error / mean).sum("source"))
    return Dataset({"spread": np.sqrt(squares.mean("run")), "ratio": ratio, "ratio_stderr": ratio * relative / 2})
