"""The tables of ``docs/exactness.md``: how exactly each law, pair of activations and option of training is treated."""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from sgdlimit.errors import ProblemError
from sgdlimit.inputs import THEORIES, ClusterMixture, Empirical, Gaussian, LatentLaw, MixtureLaw
from sgdlimit.instance import Instance
from sgdlimit.problem import Problem
from sgdlimit.theory import exactness
from sgdlimit.theory._exactness import refused
from sgdlimit.training import OF_CLUSTERS, Training

OPTIONS: Mapping[str, str] = {
    "output_learning_rate": "exact",
    "output_normalization": "exact",
    "label_noise": "exact; refused together with labels that are given",
    "weight_decay": "exact",
    "batch_size": "exact in the limit; products of batch means, O(1/N), are left out as everywhere",
    "dropout": "exact; over all masks of up to ten hidden units",
    "momentum": "exact in the limit: the rate η/(1 − β)",
    "memory": "exact; equations of second order; refused together with weight decay, momentum or AdaGrad-Norm",
    "sphere": "exact; refused together with weight decay",
    "gradient_flow": "exact; refused in SGD",
    "adagrad": "exact; refused together with memory or gradient flow",
    "polyak": "over points (Monte Carlo); needs a loss",
    "clip": "over points (Monte Carlo); refused together with Polyak's step or dropout",
    "teacher_drift": "exact, with all eigenvalues",
    "teacher_turn": "exact",
    "batch_fraction": "exact; a map with steps of α; refused together with what moves between the steps",
    "schedule": "exact; the solver steps onto every corner",
    "switch_times": "exact; the solver steps onto every change; refused together with labels that are given",
    "later_latents": "exact in moment-matched theory, but for errors on the inputs of other tasks where covariances "
    "do not commute; refused together with f that is not odd, labels of clusters, memory, the sphere, weight decay, "
    "AdaGrad-Norm, large batches and a teacher that moves; mixture theory refuses it",
}
"""What each option of training, and a teacher that changes, does to a cell of the table: nothing, or it is refused."""

LATER = "; mixture theory refuses it"
"""Of options that only the equations of Gaussian inputs have."""

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
        """As of any law."""
        return rng.uniform(-np.sqrt(3), np.sqrt(3), (count, self.check_dim(dim)))

    def mean(self, dim):
        """Zero."""
        return np.zeros(dim)

    def covariance(self, dim):
        """The identity."""
        return np.eye(dim)


def _rows() -> dict[str, Instance]:
    """Input laws, each as a small instance."""
    rng = np.random.default_rng(0)
    N, D = 20, 10
    settings: dict[str, Any] = {"activation": "erf", "learning_rate": 0.1}
    one = Problem(input_dim=N, latent_dim=D, student_units=1, teacher_units=1, **settings).draw(seed=0)
    samples, inputs = rng.normal(size=(400, D)), rng.normal(size=(400, N))
    network = rng.normal(size=(1, N)), [1.0], rng.normal(size=(1, N)), [1.0]
    means = rng.normal(size=(2, D))
    clusters = ClusterMixture(means, np.tile(np.eye(D), (2, 1, 1)), standardize=True)
    laws = {
        "Gaussian latent": Gaussian(),
        "mixture of each coordinate, standardised": MixtureLaw([-3.0, 3.0], standardize=True),
        "mixture of each coordinate, not standardised": MixtureLaw([-1.0, 3.0]),
        "mixture of blocks or clusters, standardised": MixtureLaw(means, block_size=5, standardize=True),
        "clusters with covariances of their own, standardised": clusters,
        "samples as latent (400)": Empirical(samples, standardize=True),
        "your own law": OwnLaw(),
    }
    return {name: one.replace(latent=law) for name, law in laws.items()} | {
        "your own f, or tanh, softplus, ...": one.replace(nonlinearity="tanh"),
        "f with a mean, centred": one.replace(nonlinearity="relu"),
        "f with a mean, not centred": one.replace(nonlinearity="relu", centre=False),
        "independent or correlated Gaussian inputs": Instance.from_covariance(np.eye(N), *network, **settings),
        "samples as inputs (400), standardised": Instance.from_inputs(inputs, *network, standardize=True, **settings),
        "samples as inputs (400), with a mean": Instance.from_inputs(3 + inputs, *network, **settings),
    }


def document() -> str:
    """The tables, made by asking for every cell."""

    def cell(instance, functions, theory):
        try:
            return str(exactness(instance.replace(**functions), theory))
        except ProblemError as error:
            return str(refused(error))

    rows = [
        [name, theory, *(cell(instance, functions, theory) for functions in COLUMNS.values())]
        for (name, instance), theory in product(_rows().items(), THEORIES)
    ]
    rows = [["inputs", "theory", *COLUMNS], ["---"] * len(rows[0]), *rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = ""
    for number, reason in enumerate(dict.fromkeys(re.findall(r"refused: ([^|]*) \|", table)), 1):
        table = table.replace(f"refused: {reason} |", f"refused [{number}] |")
        notes += f"[{number}] {reason}.  \n"
    assert {*Training.model_fields, "switch_times", "later_latents"} == set(OPTIONS)
    lacking = set(Training.model_fields) - OF_CLUSTERS
    options = "\n".join(f"| `{name}` | {what}{LATER * (name in lacking)} |" for name, what in OPTIONS.items())
    return f"{table}\n\n{notes}\n| option | in the equations |\n|---|---|\n{options}\n"


if __name__ == "__main__":
    print(document())
