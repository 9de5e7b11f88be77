"""SGD against the bare product of its latent vectors with the features."""

import warnings

import numpy as np

from sgdlimit.errors import DivergenceWarning
from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
from sgdlimit.simulation import simulate, simulate_together
from sgdlimit.sweep import Plan
from sgdlimit.sweep._task import Conditions

PAPER = PRESETS["paper"]


class BareProduct:
    """The limit: a float32 product of 4096 latent vectors with the features, on all cores."""

    def setup(self):
        """Draw both."""
        rng = np.random.default_rng(0)
        D, N = PAPER.problem.latent_dim, PAPER.problem.input_dim
        self.latent = rng.standard_normal((4096, D), dtype=np.float32)
        self.features = rng.standard_normal((D, N), dtype=np.float32)
        self.out = np.empty((4096, N), np.float32)

    def time_run(self):
        """As many blocks as a run of 100·N steps has."""
        for _ in range(PAPER.steps // 4096):
            np.matmul(self.latent, self.features, out=self.out)


class OneRun:
    """One run of the paper's size."""

    params = ("erf", "relu")
    param_names = ("activation",)

    def setup(self, activation):
        """Draw an instance and compile."""
        self.instance = PAPER.problem.draw(0).replace(activation=activation)
        simulate(self.instance, [1.0])

    def time_run(self, activation):
        """Sampling, training and measuring."""
        simulate(self.instance, PAPER.times)

    def peakmem_run(self, activation):
        """Memory, which does not grow with the steps."""
        simulate(self.instance, PAPER.times)


class Grid:
    """All runs of the paper's grid on one instance."""

    timeout = 600
    number = repeat = 1

    def setup(self):
        """Draw the conditions and compile."""
        plan = Plan(PAPER.grid_sweep())
        self.conditions = Conditions(plan, 0).instances
        simulate(self.conditions[0], [1.0])

    def time_grid(self):
        """Train and measure every condition."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            simulate_together(self.conditions, PAPER.times, test_samples=0)

    def peakmem_grid(self):
        """Memory of the same."""
        self.time_grid()
