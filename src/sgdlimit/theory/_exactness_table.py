"""The tables of ``docs/exactness.md``: how exactly each law, pair of activations and option of training is treated."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from ..errors import ProblemError
from ..inputs import ClusterMixture, Empirical, Gaussian, LatentLaw, MixtureLaw
from ..instance import Instance
from ..problem import Problem
from ..training import Training
from ._exactness import refused
from ._theories import THEORIES, exactness

OPTIONS: Mapping[str, str] = {
    "output_learning_rate": "exact",
    "output_normalization": "exact",
    "label_noise": "exact; refused together with labels that are given",
    "weight_decay": "exact",
    "batch_size": "exact in the limit; products of batch means, O(1/N), are left out as everywhere",
    "schedule": "exact; the solver steps onto every corner",
    "switch_times": "exact; the solver steps onto every change; refused together with labels that are given",
}
"""What each option of training, and a teacher that changes, does to a cell of the table: nothing, or it is refused."""

COLUMNS = {
    "erf": {"activation": "erf"},
    "ReLU": {"activation": "relu"},
    "polynomial up to degree 4": {"activation": "hermite-3"},
    "any other, here tanh": {"activation": "tanh"},
    "erf, teacher sign": {"activation": "erf", "teacher_activation": "sign"},
    "sign": {"activation": "sign"},
}
"""Pairs of activations."""


class OwnLaw(LatentLaw):
    """Uniform coordinates: a law that a user would write."""

    def sample(self, rng, count, dim=None):
        return rng.uniform(-np.sqrt(3), np.sqrt(3), (count, self.check_dim(dim)))

    def mean(self, dim):
        return np.zeros(dim)

    def covariance(self, dim):
        return np.eye(dim)

    def kl_to_standard_normal(self, *, samples=20_000, seed=0):
        raise ProblemError("latent: the divergence of this law is not known")


def _rows() -> dict[str, Callable[..., Instance]]:
    """Input laws, as what makes a small instance of each with given activations."""
    rng = np.random.default_rng(0)
    N, D = 20, 10
    problem = Problem(input_dim=N, latent_dim=D, student_units=1, teacher_units=1, activation="erf", learning_rate=0.1)
    one = problem.draw(seed=0)
    samples, inputs = rng.normal(size=(400, D)), rng.normal(size=(400, N))
    network = rng.normal(size=(1, N)), [1.0], rng.normal(size=(1, N)), [1.0]
    means = rng.normal(size=(2, D))
    clusters = ClusterMixture(means, np.tile(np.eye(D), (2, 1, 1)), standardize=True)
    changes = {
        "Gaussian latent": {"latent": Gaussian()},
        "mixture of each coordinate, standardised": {"latent": MixtureLaw([-3.0, 3.0], standardize=True)},
        "mixture of each coordinate, not standardised": {"latent": MixtureLaw([-1.0, 3.0])},
        "mixture of blocks or clusters, standardised": {"latent": MixtureLaw(means, block_size=5, standardize=True)},
        "clusters with covariances of their own, standardised": {"latent": clusters},
        "samples as latent (400)": {"latent": Empirical(samples, standardize=True)},
        "your own law": {"latent": OwnLaw()},
        "your own f, or tanh, softplus, ...": {"nonlinearity": "tanh"},
        "f with a mean, centred": {"nonlinearity": "relu"},
        "f with a mean, not centred": {"nonlinearity": "relu", "centre": False},
    }
    given = partial(Instance.from_inputs, learning_rate=0.1)
    return {name: partial(one.replace, **change) for name, change in changes.items()} | {
        "independent or correlated Gaussian inputs": partial(
            Instance.from_covariance, np.eye(N), *network, learning_rate=0.1
        ),
        "samples as inputs (400), standardised": partial(given, inputs, *network, standardize=True),
        "samples as inputs (400), with a mean": partial(given, 3 + inputs, *network),
    }


def document() -> str:
    """The tables, made by asking for every cell."""
    lines = ["| inputs | theory | " + " | ".join(COLUMNS) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    reasons: dict[str, int] = {}
    for name, make in _rows().items():
        for theory in THEORIES:
            cells = []
            for functions in COLUMNS.values():
                try:
                    cell = exactness(make(**functions), theory)
                except ProblemError as error:
                    cell = refused(error)
                if cell.kind == "refused":
                    cells.append(f"refused [{reasons.setdefault(cell.because, len(reasons) + 1)}]")
                else:
                    cells.append(str(cell))
            lines.append(f"| {name} | {theory} | " + " | ".join(cells) + " |")
    assert {*Training.model_fields, "switch_times"} == set(OPTIONS)
    lines += ["", *(f"[{number}] {reason}.  " for reason, number in reasons.items()), ""]
    lines += [
        "| option | in the equations |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in OPTIONS.items()),
    ]
    return "\n".join(lines) + "\n"
