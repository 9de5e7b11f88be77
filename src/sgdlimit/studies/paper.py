"""The paper's experiments as data: presets, the grid, the example dynamics, and the rule for leaving instances out."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from sgdlimit.comparison import discrepancy, magnitude, over_entries
from sgdlimit.errors import DivergenceError, DivergenceWarning
from sgdlimit.inputs.latent import Gaussian, LatentLaw, MixtureLaw
from sgdlimit.instance import Instance
from sgdlimit.problem import GaussianMixture, Problem
from sgdlimit.resources import cores, one_thread
from sgdlimit.simulation import simulate_together
from sgdlimit.studies.mixture_theory import MixtureStudy
from sgdlimit.theory import solve, solve_mixture
from sgdlimit.trajectory import log_times

__all__ = [
    "PRESETS",
    "Preset",
    "arranged",
    "discrepancies",
    "examples",
    "grid",
    "grid_conditions",
    "kept_instances",
    "mixture_means",
    "over_chains",
    "train",
]

Progress = Callable[[str, float], None]

KEPT_INSTANCES = 10
AGREEMENT_OF_GAUSSIAN = 0.1
"""The paper drops instances whose Gaussian SGD is "significantly different" from the ODE, without a number. Here: M(Q)
of Gaussian SGD, averaged over entries, above a tenth of the mean |Q|."""


@dataclass(frozen=True)
class Preset:
    """A size of the reproduction; everything but the grid is the paper's in all of them."""

    name: str
    instances: int
    components: tuple[int, ...]
    spreads: tuple[float, ...]
    block_instances: int
    block_spreads: tuple[float, ...] = (0.0, 3.0, 6.0, 9.0)
    block_sizes: tuple[int, ...] = (1, 5, 20, 500)
    activations: tuple[str, ...] = ("relu", "erf")
    example_components: int = 2
    example_spread: float = 9.0
    example_runs: int = 10
    example_chains: int = 32
    chains: int = 8
    """Of the mixture theory that single SGD runs are compared with. The standard error of its mean Q is 0.001, a tenth
    of the noise of a run."""
    sizes: Mapping[int, int] = field(default_factory=lambda: {250: 12, 500: 8, 1000: 8, 2000: 4})
    """Instances of each N in the finite-size study, and its last t."""
    sizes_time: float = 10.0
    mixture_study: MixtureStudy = field(default_factory=MixtureStudy)
    lemma_components: tuple[int, ...] = (2, 3, 5)
    steps: int = 100_000
    first_instance: int = 0
    problem: Problem = field(
        default=Problem(
            input_dim=1000, latent_dim=500, student_units=2, teacher_units=2, activation="relu", learning_rate=0.2
        )
    )

    @property
    def times(self) -> np.ndarray:
        """The 200 distinct log-spaced output times, shape (200,)."""
        return log_times(self.steps, self.problem.input_dim, 200)

    def gaussian_instances(self, seed: int) -> dict[str, Instance]:
        """Instance ``seed`` with Gaussian latent under each activation, on the same arrays."""
        instance = self.problem.draw(seed)
        return {activation: instance.replace(activation=activation) for activation in self.activations}

    def law(self, seed: int, latent: GaussianMixture) -> LatentLaw:
        """The law of instance ``seed``; its means are proportional to the spread."""
        return self.problem.model_copy(update={"latent": latent}).draw_latent(seed)

    def mean_shapes(self) -> dict[int, np.ndarray]:
        """Component means of the first instance's scalar mixtures at α = 1, shape (m,) for each m."""
        laws = {
            m: self.law(self.first_instance, GaussianMixture(components=m, spread=1.0, standardize=False))
            for m in self.lemma_components
        }
        return {m: law.means for m, law in laws.items() if isinstance(law, MixtureLaw)}


PRESETS = {
    "quick": Preset(
        "quick",
        instances=2,
        components=(2, 5),
        spreads=(0.0, 3.0, 6.0, 9.0),
        block_instances=2,
        block_spreads=(0.0, 3.0, 9.0),
    ),
    "paper": Preset(
        "paper",
        instances=20,
        components=(2, 3, 4, 5),
        spreads=tuple(float(a) for a in range(10)),
        block_instances=KEPT_INSTANCES,
        block_sizes=(1, 5, 20, 250, 500),
        sizes={250: 24, 500: 16, 1000: 12, 2000: 8, 4000: 2},
        mixture_study=MixtureStudy(
            sizes={500: 48, 1000: 32, 2000: 16, 4000: 4}, sizes_time=10.0, step_chains=256, step_size=1000, runs=32
        ),
    ),
}
"""``paper`` is everything; ``quick`` has the same sizes and steps on a thinner grid."""


def grid(preset: Preset, progress: Progress) -> xr.Dataset:
    """M against α for every m, standardised or not, for every instance: Figures 3, 5, S2-S4, Tables I and II.

    All conditions of an instance share its noise. With spread 0 every mixture is the Gaussian, so those entries are the
    noise floor itself.

    Returns
    -------
    xarray.Dataset
        ``M_*``, against the conventional theory, and ``scale_*`` (mean |x|) of Q, R, v over (instance, activation,
        standardized, components, spread) and entries; ``floor_*`` and ``floor_scale_*`` of Gaussian SGD, ``kl`` of the
        un-standardised scalar mixture, ``diverged``, and ``kept`` with its ``reason``. For un-standardised mixtures
        also ``M_mixture_*``, against the mixture theory, of SGD measured with its covariances, over (instance,
        activation, components, spread) and entries, NaN where SGD or theory diverged; ``scale_mixture_*``;
        ``noise_mixture_*``, what the scatter between members of the theory's ensemble alone makes of M, NaN where
        theory diverged; and ``mixture_diverged``, whether it did.
    """
    count = preset.instances
    parts = [
        _grid_of_instance(preset, preset.first_instance + place, lambda f, p=place: progress("grid", (p + f) / count))
        for place in range(count)
    ]
    seeds = [preset.first_instance + place for place in range(count)]
    dataset = xr.concat(parts, dim=xr.IndexVariable("instance", seeds))
    return dataset.assign(kept_instances(dataset)).assign_attrs(
        preset=preset.name, agreement_of_gaussian=AGREEMENT_OF_GAUSSIAN, problem=preset.problem.model_dump_json()
    )


def grid_conditions(preset: Preset, seed: int) -> tuple[list[Instance], dict[tuple[str, bool, int, float], int]]:
    """All conditions of the grid on one instance, which share its features and noise.

    Returns
    -------
    list of Instance
        The Gaussian under each activation first: the noise floor.
    dict
        Which of them each (activation, standardized, components, spread) is; with spread 0, the Gaussian.
    """
    bare = preset.gaussian_instances(seed)
    conditions = list(bare.values())
    place = {}
    for standardized, m, spread in product((False, True), preset.components, preset.spreads):
        latent = GaussianMixture(components=m, spread=spread, block_size=1, standardize=standardized)
        law = preset.law(seed, latent)
        for index, activation in enumerate(preset.activations):
            place[activation, standardized, m, spread] = len(conditions) if spread > 0 else index
            if spread > 0:
                conditions.append(bare[activation].replace(latent=law))
    return conditions, place


def _grid_of_instance(preset: Preset, seed: int, progress: Callable[[float], None]) -> xr.Dataset:
    shape = {
        "activation": list(preset.activations),
        "standardized": [False, True],
        "components": list(preset.components),
        "spread": list(preset.spreads),
    }
    conditions, place = grid_conditions(preset, seed)
    trajectories = train(conditions, preset, seed, progress, test_samples=0, overlaps=("conventional", "mixture"))
    theories = {
        instance.activation.name: solve(instance, preset.times) for instance in conditions[: len(preset.activations)]
    }

    by_chain = over_chains(trajectories, preset.times)
    theory_of_chain = [theories[instance.activation.name] for instance in conditions]
    conventional = over_chains(theory_of_chain, preset.times)
    stacked = discrepancies(conventional, by_chain.sel(overlaps="conventional", drop=True))

    index = arranged(place, shape)
    floors = xr.Dataset({f"floor_{name}": stacked[f"M_{name}"] for name in ("Q", "R", "v")})
    floors = floors.assign({f"floor_scale_{name}": stacked[f"scale_{name}"] for name in ("Q", "R", "v")})
    floors = floors.isel(chain=xr.DataArray(range(len(theories)), dims="activation"))
    mixtures = [
        [conditions[place[preset.activations[0], False, m, a]] for a in preset.spreads] for m in preset.components
    ]
    kl = [[float(mixture.latent.kl_to_standard_normal()) for mixture in row] for row in mixtures]
    within = _mixture_discrepancies(
        conditions, conventional, by_chain.sel(overlaps="mixture", drop=True), index.sel(standardized=False), preset
    )
    return stacked.isel(chain=index).merge(floors).merge(within).assign(kl=(("components", "spread"), kl))


def _mixture_discrepancies(
    conditions: Sequence[Instance], conventional: xr.Dataset, sgd: xr.Dataset, index: xr.DataArray, preset: Preset
) -> xr.Dataset:
    """``M_mixture_*`` and so on of the conditions at ``index``; with spread 0 the theory is the conventional one."""
    wanted = sorted(set(index.values.ravel()) - set(range(len(preset.activations))))
    theory = conventional.copy(deep=True)
    lost, noise = np.zeros(len(conditions), dtype=bool), xr.Dataset()
    if wanted:
        means, noises = mixture_means([conditions[chain] for chain in wanted], preset.times, chains=preset.chains)
        lost[wanted] = means["diverged"].values
        for name in ("Q", "R", "v"):
            theory[name].values[wanted] = means[name].values
        placed = noises.assign_coords(chain=wanted).reindex(chain=range(len(conditions)), fill_value=0.0)
        noise = placed.rename({name: f"noise_mixture_{name}" for name in placed}).drop_vars("chain")
    found = discrepancies(theory, sgd).drop_vars("diverged")
    named = {name: str(name).replace("_", "_mixture_", 1) for name in found}
    data = found.rename(named).merge(noise)
    return data.assign(mixture_diverged=("chain", lost)).isel(chain=index.drop_vars("standardized"))


def mixture_means(
    instances: Sequence[Instance], times: np.ndarray, *, chains: int | Sequence[int], largest_step: float = 0.2
) -> tuple[xr.Dataset, xr.Dataset]:
    """The mixture theory of several instances along ``chain``, at the same time on all cores.

    Parameters
    ----------
    instances
        To solve.
    times
        Output times, shape (time,).
    chains
        Members of the ensemble, for all instances or for each.
    largest_step
        Of integration.

    Returns
    -------
    xarray.Dataset
        Means of Q, R, v over the ensemble, NaN after theory diverged, which ``diverged`` says.
    xarray.Dataset
        Q, R, v without time: what the scatter between members alone makes of the M of one SGD run, NaN where theory
        diverged.
    """
    counts = [chains] * len(instances) if isinstance(chains, int) else list(chains)

    def solved(instance: Instance, count: int) -> xr.Dataset:
        try:
            return solve_mixture(instance, times, chains=count, largest_step=largest_step, threads=1)
        except DivergenceError:  # before the first output
            nothing = solve(instance, times[:1]).map(lambda x: x * np.nan).expand_dims(run=count)
            return nothing.assign_attrs(diverged_at=float(times[0]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        with one_thread(), ThreadPoolExecutor(cores()) as pool:
            ensembles = [some[["Q", "R", "v"]] for some in pool.map(solved, instances, counts)]
    means = over_chains([ensemble.mean("run", keep_attrs=True) for ensemble in ensembles], times)
    return means, xr.concat([_scatter(ensemble) for ensemble in ensembles], dim="chain")


def _scatter(ensemble: xr.Dataset) -> xr.Dataset:
    """Mean |x − mean of n members| over time, of a member x that is not among the n."""
    count = ensemble.sizes["run"]
    if count < 2 or "diverged_at" in ensemble.attrs:
        return ensemble.isel(run=0, time=0, drop=True) * np.nan
    # Of one among them the variance is smaller, by 1 − 1/n against 1 + 1/n.
    return np.abs(ensemble - ensemble.mean("run")).mean(["run", "time"]) * np.sqrt((count + 1) / (count - 1))


def over_chains(trajectories: Sequence[xr.Dataset], times: np.ndarray) -> xr.Dataset:
    """Single runs or theories along a new dimension ``chain``, NaN after a divergence, with a flag ``diverged``."""
    data: dict[str, tuple] = {}
    for name in ("Q", "R", "v"):
        dims = [dim for dim in trajectories[0][name].dims if dim != "run"]
        sizes = [len(times) if dim == "time" else trajectories[0].sizes[dim] for dim in dims]
        values = np.full((len(trajectories), *sizes), np.nan)
        for chain, trajectory in enumerate(trajectories):
            array = trajectory[name].squeeze("run") if "run" in trajectory.dims else trajectory[name]
            reached = (slice(None),) * dims.index("time") + (slice(array.sizes["time"]),)
            values[chain][reached] = array.values
        data[name] = (("chain", *dims), values)
    diverged = ["diverged_at" in trajectory.attrs for trajectory in trajectories]
    labels = trajectories[0].drop_vars(["run", "time"], errors="ignore").coords
    return xr.Dataset(data, coords=labels).assign_coords(time=times).assign(diverged=("chain", diverged))


def discrepancies(theory: xr.Dataset, sgd: xr.Dataset) -> xr.Dataset:
    """``M_*`` and ``scale_*`` (mean |x|) of stacked chains, NaN where SGD diverged, which ``diverged`` says."""
    M, scale = discrepancy(theory, sgd), magnitude(sgd)
    named = M.rename({name: f"M_{name}" for name in M}).merge(scale.rename({name: f"scale_{name}" for name in scale}))
    return named.where(~sgd["diverged"]).assign(diverged=sgd["diverged"])


def arranged(place: Mapping[tuple, int], shape: Mapping[str, list]) -> xr.DataArray:
    """Which chain each condition of a grid is, over the grid's dimensions: what to take from a stack of chains."""
    chains = [place[condition] for condition in product(*shape.values())]
    sizes = [len(values) for values in shape.values()]
    return xr.DataArray(np.reshape(chains, sizes), coords=dict(shape), dims=list(shape))


def train(
    conditions: Sequence[Instance], preset: Preset, seed: int, progress: Callable[[float], None], **options: Any
) -> list[xr.Dataset]:
    """Simulate conditions together; those that diverge are left cut, for the study to record them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        return simulate_together(conditions, preset.times, seed=seed, progress=progress, **options)


def kept_instances(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """The paper's selection: of the instances whose Gaussian SGD and ODE agree, the first ten.

    Parameters
    ----------
    dataset
        With ``floor_Q`` and ``scale_Q`` over (instance, activation, ...).

    Returns
    -------
    dict
        ``kept`` and ``reason``, both (instance, activation): why an instance fell, or that it was kept.
    """
    floor = over_entries(dataset[["floor_Q"]]).isel(quantity=0, drop=True)
    gaussian = dataset[["scale_Q"]].isel(standardized=0, components=0).sel(spread=0.0, drop=True)
    share = (floor / over_entries(gaussian).isel(quantity=0, drop=True)).transpose("instance", "activation")
    agrees = share <= AGREEMENT_OF_GAUSSIAN
    kept = agrees & (agrees.cumsum("instance") <= KEPT_INSTANCES)
    verdict = xr.where(
        kept,
        "kept",
        xr.where(
            agrees, f"not needed, {KEPT_INSTANCES} that agree came before", "dropped, Gaussian SGD and ODE differ"
        ),
    )
    reason = [
        [f"{text}: M(Q) of Gaussian SGD is {value:.3f} of mean |Q|" for text, value in zip(*row, strict=True)]
        for row in zip(verdict.values, share.values, strict=True)
    ]
    return {"kept": kept, "reason": share.copy(data=reason), "gaussian_share": share}


def examples(preset: Preset, progress: Progress) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """The example dynamics of Figures 2 and 4: ten SGD runs under three laws, the ODE, and the theory of the mixture.

    Returns
    -------
    tuple of xarray.Dataset
        Conventional theory over (activation, time, ...); SGD over (activation, law, run, time, ...) with law in
        gaussian, mixture and standardized mixture, where ``Q_mixture`` and ``R_mixture`` are measured with the
        covariances of the mixture theory; and the mixture theory of the law mixture, an ensemble over (activation,
        run, time, ...). What diverged is NaN from then on.
    """
    seed = preset.first_instance
    mixture = {"components": preset.example_components, "spread": preset.example_spread}
    laws = {"gaussian": Gaussian()} | {
        name: preset.law(seed, GaussianMixture(**mixture, block_size=1, standardize=standardize))
        for name, standardize in (("mixture", False), ("standardized mixture", True))
    }
    bare = preset.gaussian_instances(seed)
    theory = [solve(instance, preset.times) for instance in bare.values()]
    conditions = [instance.replace(latent=law) for instance in bare.values() for law in laws.values()]
    runs = [
        _both_overlaps(run)
        for run in train(
            conditions,
            preset,
            seed,
            lambda f: progress("examples", f),
            runs=preset.example_runs,
            overlaps=("conventional", "mixture"),
        )
    ]
    activations = xr.IndexVariable("activation", list(preset.activations))
    by_activation = [
        xr.concat(some, dim=xr.IndexVariable("law", list(laws)), join="outer")
        for some in (runs[i : i + len(laws)] for i in range(0, len(runs), len(laws)))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        ensembles = [
            solve_mixture(instance.replace(latent=laws["mixture"]), preset.times, chains=preset.example_chains)
            for instance in bare.values()
        ]
    attrs = mixture | {"instance": seed}
    return (
        xr.concat(theory, dim=activations, join="outer").assign_attrs(attrs),
        xr.concat(by_activation, dim=activations, join="outer").assign_attrs(attrs),
        xr.concat(ensembles, dim=activations, join="outer").assign_attrs(attrs),
    )


def _both_overlaps(run: xr.Dataset) -> xr.Dataset:
    """Q and R as conventional theory has them, and ``Q_mixture`` and ``R_mixture``."""
    own = {f"{name}_mixture": run[name].sel(overlaps="mixture", drop=True) for name in ("Q", "R")}
    return run.drop_vars("mean_field").sel(overlaps="conventional", drop=True).assign(own)
