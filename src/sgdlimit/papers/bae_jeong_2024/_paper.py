"""The paper's experiments as data: presets, their grids, and the example dynamics."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from xarray import Dataset

from ...errors import DivergenceWarning
from ...inputs import THEORIES, Gaussian, MixtureLaw
from ...problem import GaussianMixture, Problem
from ...simulation import simulate_together
from ...sweep import Sweep, SweepRun
from ...theory import solve, solve_mixture
from ...trajectory import log_times
from ._cases import Progress, half_problem, stacked
from ._studies import MixtureStudy

EXAMPLE = {"components": 2, "spread": 9.0}
"""The mixture of the example dynamics."""

BLOCK_STEP = 0.4
"""Largest step of the mixture theory's integration for blocks.

Steps of 0.1 and 0.4 differ by 0.0002 in the mean Q, a tenth of M of the quietest SGD run.
"""


class Preset(NamedTuple):
    """A size of the reproduction; everything but the grid is the paper's in all of them."""

    name: str
    instances: int
    components: tuple[int, ...]
    spreads: tuple[float, ...]
    block_instances: int
    block_spreads: tuple[float, ...] = (0.0, 3.0, 6.0, 9.0)
    block_sizes: tuple[int, ...] = (1, 5, 50, 500)
    activations: tuple[str, ...] = ("relu", "erf")
    example_runs: int = 10
    example_chains: int = 32
    chains: int = 8
    """Chains of the mixture theory that single SGD runs are compared with.

    The standard error of its mean Q is 0.001, a tenth of the noise of a run.
    """
    sizes: Mapping[int, int] = {250: 12, 500: 8, 1000: 8, 2000: 4}
    """Instances of each N in the finite-size study, and its last t."""
    sizes_time: float = 10.0
    mixture_study: MixtureStudy = MixtureStudy()
    steps: int = 100_000
    first_instance: int = 0
    problem: Problem = half_problem(1000, activation="relu")

    @property
    def times(self) -> np.ndarray:
        """The 200 distinct log-spaced output times, shape (200,)."""
        return log_times(self.steps, self.problem.input_dim, 200)

    def law(self, **mixture: Any) -> MixtureLaw:
        """The law that the first instance draws with these settings; its means are proportional to the spread."""
        law = self.problem.replace(latent=GaussianMixture(**mixture)).draw_latent(self.first_instance)
        assert isinstance(law, MixtureLaw)
        return law

    def work(self) -> dict[str, int]:
        """What the stages that grow with the preset have to do: numbers of SGD runs, or sums of N³."""
        sizes = {"finite size": self.sizes, "mixture theory": self.mixture_study.sizes}
        return {
            "grid": self.instances * (1 + 2 * len(self.components) * sum(map(bool, self.spreads))),
            "blocks": self.block_instances * (1 + 2 * len(self.block_sizes) * sum(map(bool, self.block_spreads))),
        } | {stage: sum(count * size**3 for size, count in counts.items()) for stage, counts in sizes.items()}

    def grid_sweep(self) -> Sweep:
        """Standardised and un-standardised mixtures of every m and α."""
        grid = {"components": self.components, "spread": self.spreads}
        run = {"instances": self.instances, "theories": ("conventional", "mixture"), "chains": self.chains}
        return self._sweep(grid, {"block_size": 1}, **run)

    def block_sweep(self) -> Sweep:
        """Mixtures of two components that blocks of coordinates draw together, each with means of its own."""
        grid = {"spread": self.block_spreads, "block_size": self.block_sizes}
        run = {"instances": self.block_instances, "theories": THEORIES, "chains": 8, "largest_step": BLOCK_STEP}
        return self._sweep(grid, {"components": 2, "shared_means": False}, **run)

    def _sweep(self, grid: Mapping[str, tuple], latent: Mapping[str, Any], **run: Any) -> Sweep:
        """Every law of the grid, standardised and not, under every activation."""
        problem = self.problem.model_dump(mode="json", exclude_none=True, exclude={"activation"})
        laws = {f"latent.{name}": values for name, values in {"standardize": (False, True), **grid}.items()}
        time, count = self.steps / self.problem.input_dim, len(self.times)
        return Sweep(
            problem=problem | {"latent": {"law": "gaussian-mixture", **latent}},
            grid={"activation": self.activations, **laws},
            run=SweepRun(first_instance=self.first_instance, time=time, count=count, test_samples=0, **run),
        )


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
        spreads=tuple(map(float, range(10))),
        block_instances=10,
        block_sizes=(1, 5, 20, 50, 250, 500),
        sizes={250: 24, 500: 16, 1000: 12, 2000: 8, 4000: 2},
        mixture_study=MixtureStudy(
            sizes={500: 48, 1000: 32, 2000: 16, 4000: 4}, sizes_time=10.0, step_chains=256, step_size=1000, runs=32
        ),
    ),
}
"""``paper`` is everything; ``quick`` has the same sizes and steps on a thinner grid."""


def examples(preset: Preset, progress: Progress) -> list[Dataset]:
    """The example dynamics of Figures 2 and 4: ten SGD runs under three laws, the ODE, and the theory of the mixture.

    Returns
    -------
    list of xarray.Dataset
        Conventional theory over (activation, time, ...); SGD over (activation, law, run, time, ...) with law in
        gaussian, mixture and standardized mixture, where ``Q_mixture`` and ``R_mixture`` are measured with the
        covariances of the mixture theory; and the mixture theory of the law mixture, an ensemble over (activation,
        run, time, ...). What diverged is NaN from then on.
    """
    seed, times, activations = preset.first_instance, preset.times, preset.activations
    mixture, standardized = (preset.law(**EXAMPLE, standardize=standardize) for standardize in (False, True))
    laws = {"gaussian": Gaussian(), "mixture": mixture, "standardized mixture": standardized}
    bare = [preset.problem.draw(seed).replace(activation=activation) for activation in activations]
    conditions = [instance.replace(latent=law) for instance in bare for law in laws.values()]
    settings = {"runs": preset.example_runs, "overlaps": ("conventional", "mixture"), "progress": progress}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        theory = [solve(instance, times) for instance in bare]
        simulated = simulate_together(conditions, times, seed=seed, **settings)
        ensembles = [
            solve_mixture(instance.replace(latent=mixture), times, chains=preset.example_chains) for instance in bare
        ]
    runs = stacked([run.drop_vars("mean_field") for run in simulated], activation=activations, law=laws)
    within = runs[["Q", "R"]].sel(overlaps="mixture", drop=True).rename(Q="Q_mixture", R="R_mixture")
    solved = (
        stacked(theory, activation=activations),
        runs.sel(overlaps="conventional", drop=True).assign(within),
        stacked(ensembles, activation=activations),
    )
    return [dataset.assign_attrs(**EXAMPLE, instance=seed) for dataset in solved]
