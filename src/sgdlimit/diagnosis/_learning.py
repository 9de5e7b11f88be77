"""SGD on labelled data and on their surrogates, side by side with theory: the learning curves of a diagnosis."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from xarray import Dataset

from ..errors import DivergenceError, DivergenceWarning
from ..instance import Instance
from ..rules import Activation, activation_named, network
from ..settings import check_positive, check_whole
from ..signatures import checked
from ..simulation import Progress, metrics, simulate
from ..theory import solve
from ..training import PLAIN, Training
from ._labelled import Labelled
from ._ladder import Rung

DATA = "data"
"""The source that is no surrogate."""

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
        check_positive(
            learning_rate=self.learning_rate, student_scale=self.student_scale, output_scale=self.output_scale
        )

    def instance(self, rung: Rung, classes: int, seed: int, weights: Any = None) -> Instance:
        """The network before it learns, on the law of a rung; ``weights`` are other shares of the classes."""
        N, outputs, law = rung.rows.shape[1], classes if classes > 2 else 1, rung.law
        if weights is not None:
            shares = np.bincount(rung.labels, law.weights)
            law = law.with_weights(law.weights * (np.asarray(weights) / shares)[rung.labels])
        W, v = (np.random.default_rng([seed, number]) for number in range(2))
        shape = (outputs, self.units)[outputs == 1 :]
        rule = network(
            self.output_scale * v.standard_normal(shape),
            np.zeros((1, outputs, 0)) if outputs > 1 else None,
            activation=self.activation,
            loss=self.loss or ("logistic" if outputs == 1 else "cross-entropy"),
            labels=rung.labels if outputs > 1 else 2 * rung.labels - 1,
            bias=True,
            label_noise=self.label_noise,
        )
        student = self.student_scale * W.standard_normal((self.units, N))
        return Instance.from_inputs(
            law, student, rule=rule, learning_rate=self.learning_rate, training=self.training
        )


def predicted(instance: Instance, times: Float[ndarray, "time"], *, chains: int, seed: int) -> Dataset:
    """``error_rate`` and ``loss`` by mixture theory, dims (time,); NaN after it diverges."""
    with warnings.catch_warnings(action="ignore", category=DivergenceWarning):
        solved = solve(instance, times, "mixture", chains=chains, seed=seed)
    return solved[["error_rate", "loss"]].mean("run").reindex(time=times)


def learning_curves(
    data: Labelled, rungs: list[Rung], net: Network, times: Float[ndarray, "time"], *, runs: int, chains: int,
    seed: int, progress: Progress,
) -> Dataset:  # fmt: skip
    """SGD on each surrogate and on the data with the same initial weights and order of labels, and theory.

    Every run takes the training rows in an order of its own, again in another one after the last.
    """
    N, steps = data.train.shape[1], round(times[-1] * data.train.shape[1])
    orders = [_order(len(data.train), steps, np.random.default_rng([seed, 1, run])) for run in range(runs)]
    sources, parts, theories, confusions = [*(rung.name for rung in rungs), DATA], [], [], []
    for number, rung in enumerate([*rungs, rungs[0]]):
        real = number == len(rungs)
        instance, done = net.instance(rung, len(data.classes), seed), []
        for run, order in enumerate(orders):
            rng = np.random.default_rng([seed, 2, number, run])
            rows = data.train if real else rung.surrogate(rng)
            own = None if real else rung.fresh(rng, OWN_SAMPLES)
            done.append(_trained(instance, rows[order], rung.group[order], times, data, own, rung.labels, net))
            progress((number + (run + 1) / runs) / len(sources))
        curves, confusion = zip(*done, strict=True)
        parts.append(curves)
        confusions.append(np.mean(confusion, axis=0))
        empty = Dataset({name: ("time", np.full(len(times), np.nan)) for name in ("error_rate", "loss")})
        theories.append(empty if real or not chains else predicted(instance, times, chains=chains, seed=seed))
    found = {
        name: (("source", "run", "time"), np.array([[curve[name] for curve in curves] for curves in parts]))
        for name in parts[0][0]
    }
    found |= {
        f"theory_{name}": (("source", "time"), np.array([theory[name].values for theory in theories]))
        for name in ("error_rate", "loss")
    }
    found["confusion"] = ("source", "label", "predicted"), np.array(confusions)
    labels = {"label": data.classes, "predicted": data.classes}
    coords = {"source": sources, "run": np.arange(runs), "time": times, "samples": ("time", np.rint(times * N))}
    return Dataset(found, coords | labels)


def _order(count: int, steps: int, rng: np.random.Generator) -> Int[ndarray, "step"]:
    """All rows in a random order, and once more in another until there are enough."""
    return np.concatenate([rng.permutation(count) for _ in range(-(-steps // count))])[:steps]


def _trained(
    instance: Any, X: Float[ndarray, "step N"], group: Int[ndarray, "step"], times: Float[ndarray, "time"],
    data: Labelled, own: Any, labels: Int[ndarray, "group"], net: Network,
) -> tuple[dict[str, Float[ndarray, "time"]], Float[ndarray, "label predicted"]]:  # fmt: skip
    """Error rate and loss of a run on the test set and on its own kind of samples, and the final confusion matrix."""
    empty = {name: np.full(len(times), np.nan) for name in ("error_rate", "loss", "own_error_rate", "own_loss")}
    classes = len(data.classes)
    try:
        with warnings.catch_warnings(action="ignore", category=DivergenceWarning):
            sgd = simulate(instance, times, data=(X, X, group), test_samples=0, keep_weights=True)
    except DivergenceError:
        return empty, np.full((classes, classes), np.nan)
    rule = instance.rule
    head = {name: sgd[f"head_{name}"].values[0] for name in rule.head}
    group_of_class = np.array([np.flatnonzero(labels == number)[0] for number in range(classes)])
    tested = data.test, group_of_class[data.test_class]
    for prefix, (inputs, groups) in {"": tested, "own_": own or tested}.items():
        fields = _fields(sgd["W"].values[0], inputs)
        measured = metrics(rule, fields, groups, head, np.zeros(len(fields), int), [0], False)
        for name in ("error_rate", "loss"):
            empty[prefix + name][: len(fields)] = measured[name]
    g = activation_named(net.activation).value(_fields(sgd["W"].values[0, -1:], data.test)[0])
    outputs = np.atleast_2d(head["v"][-1]) @ g + np.reshape(head["b"][-1], (-1, 1))
    guess = outputs.argmax(0) if len(outputs) > 1 else (outputs[0] > 0).astype(int)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (data.test_class, guess), 1)
    return empty, confusion / confusion.sum(1, keepdims=True)


def _fields(W: Float[ndarray, "time K N"], X: Float[ndarray, "sample N"]) -> Float[ndarray, "time K sample"]:
    """λ = XWᵀ/√N at every output time."""
    return (W @ X.T.astype(np.float32) / np.sqrt(X.shape[1])).astype(np.float32)
