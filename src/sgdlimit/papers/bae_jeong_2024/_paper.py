"""The paper's experiments as data: presets, the grid, the example dynamics, and the rule for leaving instances out."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from ...comparison import over_entries
from ...errors import DivergenceError, DivergenceWarning
from ...inputs import THEORIES, Gaussian, LatentLaw, MixtureLaw
from ...instance import Instance
from ...problem import GaussianMixture, Problem
from ...simulation import simulate_together
from ...sweep import Sweep, SweepRun
from ...theory import solve, solve_mixture
from ...trajectory import log_times
from ._mixture_theory import MixtureStudy

__all__ = ["PRESETS", "Preset", "examples", "floors_of", "grid", "kept_instances", "train"]

Progress = Callable[[str, float], None]

QUANTITIES = ("Q", "R", "v")
BLOCK_STEP = 0.4
"""Of the mixture theory's integration for blocks: steps of 0.1 and 0.4 differ by 0.0002 in the mean Q, a tenth of M of
the quietest SGD run."""

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

    def grid_sweep(self) -> Sweep:
        """Standardised and un-standardised mixtures of every m and α."""
        grid = {"latent.components": self.components, "latent.spread": self.spreads}
        return self._sweep(self.instances, {"block_size": 1}, grid, ("conventional", "mixture"), chains=self.chains)

    def block_sweep(self) -> Sweep:
        """Mixtures of two components that blocks of coordinates draw together, each with means of its own."""
        latent = {"components": 2, "shared_means": False}
        grid = {"latent.spread": self.block_spreads, "latent.block_size": self.block_sizes}
        return self._sweep(self.block_instances, latent, grid, THEORIES, chains=8, largest_step=BLOCK_STEP)

    def _sweep(
        self, instances: int, latent: Mapping[str, Any], grid: Mapping[str, tuple], theories: Sequence[str], **run: Any
    ) -> Sweep:
        problem = self.problem.model_dump(mode="json", exclude_none=True, exclude={"activation", "latent"})
        return Sweep(
            problem={**problem, "latent": {"law": "gaussian-mixture", **latent}},
            grid={"activation": self.activations, "latent.standardize": (False, True), **grid},
            run=SweepRun(
                instances=instances,
                first_instance=self.first_instance,
                time=self.steps / self.problem.input_dim,
                count=len(self.times),
                theories=tuple(theories),
                test_samples=0,
                **run,
            ),
        )

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


def grid(results: xr.Dataset) -> xr.Dataset:
    """M against α for every m, standardised or not, for every instance: Figures 3, 5, S2-S4, Tables I and II.

    Parameters
    ----------
    results
        Of the sweep :meth:`Preset.grid_sweep`. All conditions of an instance share its noise; with spread 0 every
        mixture is the Gaussian, so those entries are the noise floor itself.

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
    results = results.squeeze("run", drop=True).rename(standardize="standardized")
    conventional = results.sel(theory="conventional", drop=True)
    raw = results.sel(standardized=False, drop=True)
    within = raw.sel(theory="mixture", drop=True)
    found = floors_of(results, ["standardized", "components", "spread"])
    for name in QUANTITIES:
        found |= {f"M_{name}": conventional[f"M_{name}"], f"scale_{name}": conventional[f"scale_{name}"]}
        found |= {f"M_mixture_{name}": within[f"M_{name}"], f"scale_mixture_{name}": within[f"scale_{name}"]}
        found[f"noise_mixture_{name}"] = raw[f"noise_{name}"]
    dataset = xr.Dataset(found).assign(
        kl=raw["kl"].isel(activation=0, drop=True),
        diverged=results["diverged_at"].notnull(),
        mixture_diverged=within["theory_diverged_at"].notnull(),
    )
    dataset = dataset.drop_vars("completed", errors="ignore")
    return dataset.assign(kept_instances(dataset)).assign_attrs(agreement_of_gaussian=AGREEMENT_OF_GAUSSIAN)


def floors_of(results: xr.Dataset, laws: Sequence[str]) -> dict[str, xr.DataArray]:
    """``floor_*`` and ``floor_scale_*`` of Gaussian SGD, which is the same for every law."""
    first = results.isel(dict.fromkeys(laws, 0), drop=True)
    return {f"{kind}_{name}": first[f"{kind}_{name}"] for kind in ("floor", "floor_scale") for name in QUANTITIES}


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
            _ensemble(instance.replace(latent=laws["mixture"]), preset.times, preset.example_chains)
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


def _ensemble(instance: Instance, times: np.ndarray, chains: int) -> xr.Dataset:
    """The mixture theory of an example, without output times where it diverges before the first."""
    try:
        return solve_mixture(instance, times, chains=chains)
    except DivergenceError:
        start = solve_mixture(instance, [0.0], chains=chains)
        return start.isel(time=slice(0)).assign_attrs(diverged_at=float(times[0]))
