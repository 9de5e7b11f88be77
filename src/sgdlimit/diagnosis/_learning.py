"""SGD on labelled data and on their surrogates, side by side with theory: the learning curves of a diagnosis."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from xarray import Dataset, concat

from ..errors import DivergenceWarning
from ..instance import Instance
from ..rules import Activation, activation_named, network
from ..settings import check_positive, check_whole
from ..signatures import checked
from ..simulation import Progress, metrics, simulate
from ..theory import solve
from ..training import PLAIN, Training
from ._labelled import Labelled
from ._ladder import Groups, Rows, Rung

Times = Float[ndarray, "time"]

DATA = "data"
"""The source that is no surrogate."""

ERRORS = ("error_rate", "loss")

OWN_SAMPLES = 2000
"""Fresh samples on which the error on a surrogate itself is measured."""


@dataclass(frozen=True)
class Network:
    """The network that learns labelled data, and how.

    Parameters
    ----------
    units, activation, loss
        K, g and ℓ, a name of :data:`sgdlimit.rules.LOSSES`: by default logistic for two classes, else cross-entropy.
    learning_rate
        η; a step moves weights by η/√N and the output weights and biases by η/N.
    student_scale, output_scale
        Standard deviations of the initial weights W and v.
    training
        Options of training, such as a schedule.
    label_noise
        Probability, up to 1/2, of a wrong label in training.
    """

    units: int = 8
    activation: str | Activation = "relu"
    loss: str | None = None
    learning_rate: float = 0.1
    student_scale: float = 0.5
    output_scale: float = 0.5
    training: Training = PLAIN
    label_noise: float = 0.0

    @checked
    def __post_init__(self) -> None:
        check_whole(1, units=self.units)
        check_positive(**{name: getattr(self, name) for name in ("learning_rate", "student_scale", "output_scale")})

    def instance(self, rung: Rung, classes: int, seed: int, weights: Any = None) -> Instance:
        """The network before it learns, on the law of a rung; ``weights`` are other shares of the classes."""
        N, outputs, law = rung.rows.shape[1], classes if classes > 2 else 1, rung.law
        if weights is not None:
            shares = np.bincount(rung.labels, law.weights)
            law = law.with_weights(law.weights * (np.asarray(weights) / shares)[rung.labels])
        W, v = (np.random.default_rng([seed, number]) for number in range(2))
        rule = network(
            self.output_scale * v.standard_normal((outputs, self.units)[outputs == 1 :]),
            np.zeros((1, outputs, 0)) if outputs > 1 else None,
            activation=self.activation,
            loss=self.loss or ("logistic" if outputs == 1 else "cross-entropy"),
            labels=rung.labels if outputs > 1 else 2 * rung.labels - 1,
            bias=True,
            label_noise=self.label_noise,
        )
        student = self.student_scale * W.standard_normal((self.units, N))
        return Instance.from_inputs(law, student, rule=rule, learning_rate=self.learning_rate, training=self.training)


def predicted(instance: Instance, times: Times, *, chains: int, seed: int) -> Dataset:
    """``error_rate`` and ``loss`` by mixture theory, dims (time,); NaN after it diverges."""
    with warnings.catch_warnings(action="ignore", category=DivergenceWarning):
        solved = solve(instance, times, "mixture", chains=chains, seed=seed)
    return solved[[*ERRORS]].mean("run").reindex(time=times)


def learning_curves(
    data: Labelled, rungs: list[Rung], net: Network, times: Times, *, runs: int, chains: int, seed: int,
    progress: Progress,
) -> Dataset:  # fmt: skip
    """SGD on each surrogate and on the data with the same initial weights and order of labels, and theory.

    Every run takes the training rows in an order of its own, again in another one after the last.
    """
    N, parts = data.train.shape[1], []
    orders = [
        _order(len(data.train), round(times[-1] * N), np.random.default_rng([seed, 1, run])) for run in range(runs)
    ]
    for number, rung in enumerate([*rungs, rungs[0]]):
        real, name = number == len(rungs), DATA if number == len(rungs) else rung.name
        instance, trained = net.instance(rung, len(data.classes), seed), []
        for run, order in enumerate(orders):
            rng = np.random.default_rng([seed, 2, number, run])
            rows = (data.train if real else rung.surrogate(rng))[order]
            with warnings.catch_warnings(action="ignore", category=DivergenceWarning):
                given = rows, rows, rung.group[order]
                sgd = simulate(instance, times, data=given, test_samples=0, keep_weights=True)
            trained.append(sgd[["W", "head_v", "head_b"]].reindex(time=times))
            progress((number + (run + 1) / runs) / (len(rungs) + 1))
        weights = concat(trained, "run").assign_coords(run=range(runs))
        found = _errors(instance.rule, rung, weights, data.test, data.test_class)
        own, group = rung.fresh(np.random.default_rng([seed, 3, number]), OWN_SAMPLES)
        measured = found if real else _errors(instance.rule, rung, weights, own, rung.labels[group])
        solved = measured.isel(run=0, drop=True) * np.nan
        if chains and not real:
            solved = predicted(instance, times, chains=chains, seed=seed)
        found = found.merge(measured.rename({each: f"own_{each}" for each in ERRORS}))
        found = found.merge(solved.rename({each: f"theory_{each}" for each in ERRORS}))
        found["confusion"] = ("label", "predicted"), _confusion(net, weights.isel(time=-1), data)
        parts.append(found.assign_coords(source=name))
    labels = {"label": data.classes, "predicted": data.classes, "samples": ("time", np.rint(times * N).astype(int))}
    return concat(parts, "source").assign_coords(labels)


def _order(count: int, steps: int, rng: np.random.Generator) -> Int[ndarray, "step"]:
    """All rows in a random order, and once more in another until there are enough."""
    return np.concatenate([rng.permutation(count) for _ in range(-(-steps // count))])[:steps]


def _errors(rule: Any, rung: Rung, weights: Dataset, inputs: Rows, classes: Groups) -> Dataset:
    """Error rate and loss on samples of known classes, dims (run, time); NaN where a run has diverged."""
    several = weights.stack(state=("run", "time")).transpose("state", ...)
    W, head = several["W"].values, {name: several[f"head_{name}"].values for name in rule.head}
    first = np.unique(rung.labels, return_index=True)[1]  # any group of a class has its label
    found = metrics(rule, _fields(W, inputs), first[classes, None], head, np.zeros(len(W), int), [0], False)
    finite = several["W"].notnull().all(["student", "input"])
    return Dataset({name: finite.copy(data=found[name]).where(finite) for name in ERRORS}).unstack("state")


def _confusion(net: Network, weights: Dataset, data: Labelled) -> Float[ndarray, "label predicted"]:
    """The part of the test samples of each class that is taken for each class; mean over runs."""
    g = activation_named(net.activation).value(_fields(weights["W"].values, data.test))
    outputs = np.einsum("r...k,rks->r...s", weights["head_v"], g) + weights["head_b"].values[..., None]
    guess = (outputs > 0).astype(int) if outputs.ndim == 2 else outputs.argmax(1)
    classes = np.arange(len(data.classes))
    return np.array([(guess[:, data.test_class == true, None] == classes).mean((0, 1)) for true in classes])


def _fields(W: Float[ndarray, "state K N"], X: Float[ndarray, "sample N"]) -> Float[ndarray, "state K sample"]:
    """λ = XWᵀ/√N of several networks."""
    return (W @ X.T.astype(np.float32) / np.sqrt(X.shape[1])).astype(np.float32)
