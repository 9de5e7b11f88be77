"""How good the mixture theory is: its error against N, integration step and chains, its fluctuations against η."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from ...comparison import compare
from ...errors import DivergenceWarning, ProblemError
from ...instance import Instance
from ...problem import GaussianMixture, Problem
from ...resources import cores
from ...simulation import simulate, simulate_together
from ...theory import solve_mixture
from ...trajectory import log_times

__all__ = ["MixtureStudy", "mixture_theory"]

LATENT_RATIO = 0.5
QUANTITIES = ("Q", "R", "v", "generalization_error")
TEST_SAMPLES = 1000


@dataclass(frozen=True)
class MixtureStudy:
    """Sizes of the study. The inputs are two clusters, standardised, D = N/2, K = M = 2."""

    sizes: Mapping[int, int] = field(default_factory=lambda: {250: 16, 500: 12, 1000: 8})
    """Instances of each N, one SGD run each."""
    sizes_time: float = 5.0
    chains: int = 8
    """Of the theory of every instance."""
    steps: Sequence[float] = (0.4, 0.2, 0.1, 0.05, 0.025)
    """Largest steps of integration, in units of t; the last is what the others are compared with."""
    step_size: int = 500
    """N of the theory that is solved with several steps and ensembles."""
    step_time: float = 30.0
    step_chains: int = 64
    learning_rates: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.8)
    fluctuation_size: int = 500
    fluctuation_time: float = 20.0
    runs: int = 8
    """Of SGD, and as many chains of the theory, for the fluctuations at every learning rate."""
    spread: float = 9.0
    activation: str = "erf"
    learning_rate: float = 0.2

    def instance(self, size: int, seed: int) -> Instance:
        """Instance ``seed`` of two standardised clusters in ``size`` dimensions."""
        latent = round(LATENT_RATIO * size)
        law = GaussianMixture(components=2, spread=self.spread, block_size=latent, standardize=True, shared_means=False)
        return Problem(
            input_dim=size,
            latent_dim=latent,
            student_units=2,
            teacher_units=2,
            activation=self.activation,
            learning_rate=self.learning_rate,
            latent=law,
        ).draw(seed)


def mixture_theory(
    study: MixtureStudy, *, first_instance: int = 0, progress: Callable[[float], None] = lambda done: None
) -> xr.Dataset:
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
        averaged over the diagonal of Q, all entries of R and v, and times, of which SGD's noise averages out over
        samples; ``M`` (finite_term, quantity, sample), where it does not.

        Against the largest step of integration, ``step_error`` (step, quantity): the difference of the ensemble means
        to those with the smallest step, mean of absolute values over times and entries, and ``step_noise``, what the
        Monte Carlo errors of the differences would make of it. Chains of the same number share their random numbers,
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
        If a size is odd or no multiple of the smallest, or there are fewer than two runs, chains or steps.
    """
    sizes = sorted(study.sizes)
    if not sizes or any(size % sizes[0] or size % 2 for size in sizes):
        raise ProblemError(f"sizes: {sizes} must be even and multiples of the smallest, which sets the times")
    if min(study.runs, study.step_chains // 2, len(study.steps)) < 2:
        raise ProblemError(
            f"runs, step_chains, steps: {study.runs}, {study.step_chains} and {len(study.steps)} leave nothing to "
            "compare; give 2 runs, 4 chains and 2 steps or more"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", DivergenceWarning)  # bounded activations do not, so it would be a mistake
        against_size = _against_size(study, first_instance, lambda done: progress(0.5 * done))
        precision = _precision(study, first_instance)
        progress(0.75)
        fluctuations = _fluctuations(study, first_instance)
        progress(1.0)
    return xr.merge([against_size, precision, fluctuations]).assign_attrs(
        activation=study.activation,
        learning_rate=study.learning_rate,
        latent_ratio=LATENT_RATIO,
        spread=study.spread,
        sizes_time=study.sizes_time,
        chains=study.chains,
        step_size=study.step_size,
        step_time=study.step_time,
        step_chains=study.step_chains,
        fluctuation_size=study.fluctuation_size,
        fluctuation_time=study.fluctuation_time,
        runs=study.runs,
    )


def _against_size(study: MixtureStudy, first_instance: int, progress: Callable[[float], None]) -> xr.Dataset:
    sizes = sorted(study.sizes)
    times = log_times(round(study.sizes_time * sizes[0]), sizes[0], 40)
    drawn = [(size, seed) for size in sizes for seed in range(first_instance, first_instance + study.sizes[size])]
    work = np.cumsum([size**3 for size, _ in drawn])
    samples = []
    for (size, seed), done in zip(drawn, work, strict=True):
        instance = study.instance(size, seed)
        run = simulate(instance, times, seed=seed, overlaps="mixture", test_samples=TEST_SAMPLES)
        compared = []
        for finite in (False, True):
            theory = solve_mixture(instance, times, chains=study.chains, seed=seed, finite_size=finite)
            M = compare(theory, run)["M"].rename("M")
            compared.append(xr.merge([M, _offset(run.isel(run=0), theory.mean("run")).rename("offset")]))
        samples.append(xr.concat(compared, dim=xr.IndexVariable("finite_term", [False, True])))
        progress(float(done / work[-1]))
    return xr.concat(samples, dim="sample").assign_coords(
        size=("sample", [size for size, _ in drawn]), seed=("sample", [seed for _, seed in drawn])
    )


def _offset(sgd: xr.Dataset, theory: xr.Dataset) -> xr.DataArray:
    """SGD − theory, with its sign, averaged over times, the diagonal of Q, and all entries of the others."""
    means: list[xr.DataArray] = []
    for name in QUANTITIES:
        difference = (sgd[name] - theory[name]).mean("time")
        if name == "Q":
            same = difference["student"] == difference["student_"]
            difference = difference.where(same)
        means.append(difference.mean())
    return xr.concat(means, dim=xr.IndexVariable("quantity", list(QUANTITIES)))


def _precision(study: MixtureStudy, seed: int) -> xr.Dataset:
    """Error against the step of integration, and against the number of chains."""
    instance = study.instance(study.step_size, seed)
    # Few of them, for a step of integration ends at every one; the last are where the steps differ.
    times = np.rint(np.linspace(0, study.step_time, 13)[1:] * study.step_size) / study.step_size
    names = list(QUANTITIES)
    solved = {
        step: solve_mixture(instance, times, chains=study.step_chains, seed=seed, largest_step=step)[names]
        for step in sorted(study.steps, reverse=True)
    }
    finest = solved[min(study.steps)]
    errors, noises = [], []
    for step, ensemble in solved.items():
        if step == min(study.steps):
            continue
        pairs = ensemble - finest
        errors.append(_means_over_entries(np.abs(pairs.mean("run"))))
        noise = pairs.std("run", ddof=1) / np.sqrt(study.step_chains)
        noises.append(_means_over_entries(np.sqrt(2 / np.pi) * noise))
    steps = xr.IndexVariable("step", [step for step in solved if step != min(study.steps)])
    counts = [2**k for k in range(int(np.log2(study.step_chains)))]
    total, spread = finest.mean("run"), finest.std("run", ddof=1)
    deviation, expected = [], []
    for count in counts:
        parts = finest.isel(run=slice(study.step_chains // count * count)).coarsen(run=count).mean()
        deviation.append(_root_mean_square(parts - total))
        share = 1 / count - 1 / study.step_chains
        expected.append(_root_mean_square(spread * np.sqrt(share)))
    along = xr.IndexVariable("count", counts)
    return xr.Dataset(
        {
            "step_error": xr.concat(errors, dim=steps),
            "step_noise": xr.concat(noises, dim=steps),
            "ensemble_error": xr.concat(deviation, dim=along),
            "ensemble_expected": xr.concat(expected, dim=along),
        }
    )


def _means_over_entries(dataset: xr.Dataset) -> xr.DataArray:
    means: list[xr.DataArray] = [dataset[name].mean() for name in QUANTITIES]
    return xr.concat(means, dim=xr.IndexVariable("quantity", list(QUANTITIES)))


def _root_mean_square(dataset: xr.Dataset) -> xr.DataArray:
    return _means_over_entries(dataset**2) ** 0.5


def _fluctuations(study: MixtureStudy, seed: int) -> xr.Dataset:
    """Spread of the mean fields of theory and SGD in the last half of the time."""
    size, time = study.fluctuation_size, study.fluctuation_time
    times = np.unique(np.rint(np.linspace(time / 2, time, 400) * size)) / size
    base = study.instance(size, seed)
    conditions = [base.replace(learning_rate=rate) for rate in study.learning_rates]
    simulated = simulate_together(conditions, times, runs=study.runs, seed=seed, overlaps="mixture", test_samples=0)

    def solved(instance: Instance) -> xr.Dataset:
        return solve_mixture(instance, times, chains=study.runs, seed=seed, threads=1)

    with ThreadPoolExecutor(cores()) as pool:
        theories = list(pool.map(solved, conditions))
    rates = xr.IndexVariable("learning_rate", list(study.learning_rates))
    M = xr.concat(
        [
            xr.concat([theory["mean_field"] for theory in theories], dim=rates),
            xr.concat([run["mean_field"] for run in simulated], dim=rates),
        ],
        dim=xr.IndexVariable("source", ["theory", "SGD"]),
    )
    # Around the mean of all runs at the same time, for what they all do is no fluctuation.
    squares = ((M - M.mean("run")) ** 2).mean("time") * study.runs / (study.runs - 1)
    by_run = squares.mean(["student", "cluster"])
    mean, error = by_run.mean("run"), by_run.std("run", ddof=1) / np.sqrt(study.runs)
    ratio = np.sqrt(mean.sel(source="SGD", drop=True) / mean.sel(source="theory", drop=True))
    relative = np.sqrt(np.square(error / mean).sum("source"))
    return xr.Dataset({"spread": np.sqrt(squares.mean("run")), "ratio": ratio, "ratio_stderr": ratio * relative / 2})
