"""Networks by name as learning rules: two layers, a loss or another rule, and the labels of a teacher or of clusters.

A new loss is one line of :data:`LOSSES`. The predictions are ŷ = s_K v g(λ) + b, a number or a vector of P outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ProblemError, shown, unknown_name
from ..settings import numbers
from ..signatures import checked
from . import _erf
from ._activation import Activation, activation_named, student_activation
from ._later import jax, jnp
from ._rule import CLUSTERS, Rule


class Loss(NamedTuple):
    """A loss of a network by name."""

    of: Callable[[Any, Any], Any]
    """ℓ(ŷ, target), a number."""
    targets: Literal["numbers", "signs", "classes"] = "numbers"
    """What it compares ŷ with: any numbers (classes as 0 and 1, for each output), ±1, or the number of the class."""


LOSSES = {
    "squared": Loss(lambda y, target: jnp.sum((y - target) ** 2) / 2),
    "absolute": Loss(lambda y, target: jnp.sum(jnp.abs(y - target))),
    "huber": Loss(lambda y, target: jnp.sum(_huber(y - target))),
    "correlation": Loss(lambda y, target: 1 - jnp.sum(y * target)),
    "logistic": Loss(lambda y, target: jnp.sum(jax.nn.softplus(-y * target)), "signs"),
    "hinge": Loss(lambda y, target: jnp.sum(jax.nn.relu(1 - y * target)), "signs"),
    "exponential": Loss(lambda y, target: jnp.sum(jnp.exp(-y * target)), "signs"),
    "cross-entropy": Loss(lambda y, target: -jax.nn.log_softmax(y)[target], "classes"),
}  # fmt: skip
"""By name."""

LABELS = ("teacher", "sign", "argmax", CLUSTERS)

UNIT_RULES = {
    "hebb": lambda margin: 1.0,
    "perceptron": lambda margin: jnp.where(margin > 0, 0.0, 1.0),
    "adatron": lambda margin: jnp.maximum(-margin, 0.0),
}
"""Rules without a loss, δ_k = −v_k σ f(σŷ) with the sign σ that a label has: f by name. The head does not move."""

RULES = ("gradient", "dfa", *UNIT_RULES)


def check_network(*, activation: str | Activation, loss: str, outputs: int, bias: bool, labels: str, rule: str) -> None:
    """Refuse names that are not known, and combinations of known ones that have no meaning.

    Raises
    ------
    ProblemError
        Naming the field that does not fit the others.
    """
    for field, name, known in (("loss", loss, LOSSES), ("labels", labels, LABELS), ("rule", rule, RULES)):
        if name not in list(known):
            raise unknown_name(field, name, known, ", or sl.Rule for your own" if field == "rule" else "")
    if rule not in UNIT_RULES:
        student_activation(activation)
    targets, several = LOSSES[loss].targets, outputs > 1
    if labels == "argmax" and not several:
        raise ProblemError("outputs: must be at least 2 for labels 'argmax' (got 1). Give one for each class.")
    if rule in UNIT_RULES:
        if several or labels not in ("sign", CLUSTERS):
            raise ProblemError(
                f"rule: must have one output and labels 'sign' or 'clusters' for {rule!r} (got {outputs} and "
                f"{labels!r}). Use rule 'gradient'."
            )
        for field, given, default in (("loss", loss, "squared"), ("bias", bias, False)):
            if given != default:
                raise ProblemError(f"{field}: must be left out with rule {rule!r} (got {given!r}). Remove it.")
    classes = labels == "argmax" or (several and labels == CLUSTERS)
    if targets == "classes" and not classes:
        raise ProblemError(
            f"loss: must have at least 2 outputs and labels 'argmax' or 'clusters' for 'cross-entropy' (got {outputs} "
            f"and {labels!r}). Use 'logistic' for signs."
        )
    if targets == "signs" and (classes or labels == "teacher"):
        fix = "Use 'cross-entropy'." if classes else "Use labels 'sign', or loss 'squared'."
        raise ProblemError(f"loss: must have labels that are signs for {loss!r} (got labels {labels!r}). {fix}")


@checked
def network(
    student_output: ArrayLike,
    teacher_output: ArrayLike | None = None,
    *,
    activation: str | Activation,
    teacher_activation: str | Activation | None = None,
    loss: str = "squared",
    labels: str | ArrayLike = "teacher",
    rule: str = "gradient",
    bias: bool = False,
    feedback: ArrayLike | None = None,
    student_scale: float = 1.0,
    teacher_scale: float = 1.0,
    label_noise: float = 0.0,
) -> Rule:
    """The learning rule of a two-layer network, by names.

    Parameters
    ----------
    student_output
        Initial v: shape (K,) for one output, (P, K) for P; with a head of its own for each task, (tasks, K) or
        (tasks, P, K), of which only that of the present task moves.
    teacher_output
        ṽ of each task, shape (tasks, M) for one output, (tasks, P, M) for P; none with labels of clusters.
    activation, teacher_activation
        g of the student, and of the teacher if it has another one. That of a student may jump, as ``"sign"``, where the
        rule is no gradient.
    loss
        One of :data:`sgdlimit.rules.LOSSES`.
    labels
        ``"teacher"``, its outputs; ``"sign"`` of them; ``"argmax"``, the number of the largest; or an array with the
        label of each cluster of the inputs: ±1 for one output, else the number of a class.
    rule
        ``"gradient"`` of the loss; ``"dfa"``, direct feedback alignment; ``"perceptron"``, ``"hebb"`` or ``"adatron"``,
        δ_k = −v_k σ f(σŷ) with the label σ = ±1 and f(x) = θ(−x), 1 or max(−x, 0).
    bias
        Whether the outputs have biases, which start at 0.
    feedback
        For ``"dfa"`` the fixed weights in the place of v on the way back, of the shape of one head.
    student_scale, teacher_scale
        s_K and s_M, factors of the outputs of student and teacher.
    label_noise
        Standard deviation of noise on the teacher's outputs, before their sign or argmax is taken; of clusters the
        probability, up to 1/2, of a wrong label. Metrics are without it.

    Returns
    -------
    Rule
        With the head ``v`` and, if there are biases, ``b``; with the metrics ``loss``, unless the rule has none, and,
        for labels that are signs or classes, ``error_rate``.

    Raises
    ------
    ProblemError
        If a combination has no meaning, or shapes do not fit.

    Examples
    --------
    >>> rule = network([1.0, -1.0], [[1.0, 1.0]], activation="erf", loss="logistic", labels="sign", bias=True)
    >>> list(rule.head), list(rule.metrics)
    (['v', 'b'], ['loss', 'error_rate'])
    """
    v = numbers("student_output", student_output)
    v_teacher = numbers("teacher_output", np.zeros((1, *v.shape[:-1], 0)) if teacher_output is None else teacher_output)
    P = 1 if v_teacher.ndim == 2 else v_teacher.shape[1]
    own = v.ndim == v_teacher.ndim
    if v.shape[own:-1] != v_teacher.shape[1:-1] or (own and len(v) != len(v_teacher)):
        raise ProblemError(
            f"student_output: must be of the shape of one head, or have one for each task (got {v.shape} with "
            f"teacher_output {v_teacher.shape}). Give (K,) with (tasks, M), or (P, K) with (tasks, P, M)."
        )
    kind = labels if isinstance(labels, str) else CLUSTERS
    if teacher_output is None and kind != CLUSTERS:
        raise ProblemError(f"teacher_output: must be given for labels {kind!r} (got none). Give the shape (tasks, M).")
    check_network(activation=activation, loss=loss, outputs=P, bias=bias, labels=kind, rule=rule)
    if (feedback is None) != (rule != "dfa"):
        raise ProblemError(f"feedback: must be given with rule 'dfa' alone (got rule {rule!r}). Give both or neither.")
    given: dict[str, Any] = {"student_scale": student_scale, "label_noise": label_noise}
    if kind == CLUSTERS:
        given["labels"] = _labels_of_clusters(labels, P, label_noise)
    else:
        given["teacher_output"] = teacher_scale * v_teacher
    if feedback is not None:
        given["feedback"] = numbers("feedback", feedback, v.shape[own:])
    g = activation_named(activation)
    g_teacher = g if teacher_activation is None else activation_named(teacher_activation)
    two_layers = _two_layers(g, g_teacher, loss, kind, rule, P, own, label_noise > 0)
    settings: dict[str, Any] = {
        "head": {"v": v} | ({"b": np.zeros(v.shape[:-1])} if bias else {}),
        "labels": CLUSTERS if kind == CLUSTERS else two_layers.label_of_teacher,
        "noise": two_layers.noisy * (1 if kind == CLUSTERS else P),
        "given": given,
        "metrics": {} if kind == "teacher" else {"error_rate": two_layers.error_rate},
        "name": f"{g.name}, {loss if rule == 'gradient' else rule}",
    }
    if rule in UNIT_RULES:
        return Rule(two_layers.of_units, **settings)
    made = Rule.from_loss(two_layers.loss_of, **settings)
    if rule == "dfa":
        made.update, made.gradient = two_layers.with_feedback, False
    return made


def squared_network(
    activation: Activation,
    teacher_activation: Activation,
    student_output: ArrayLike,
    teacher_output: ArrayLike,
    **scales: Any,
) -> Rule:
    """The network whose averages have closed forms, as a rule: ŷ = s_K Σ v_k g(λ_k), and the squared loss Δ²/2."""
    rule = network(
        student_output, teacher_output, activation=activation, teacher_activation=teacher_activation, **scales
    )
    rule.metrics = {"generalization_error": rule.metrics["loss"]}
    if rule.head["v"].ndim == 1:
        rule.prefix = ""
    return rule


@dataclass(frozen=True)
class _TwoLayers:
    """The functions of a network's rule. What differs from instance to instance is in ``given``."""

    g: Activation
    g_teacher: Activation
    loss: str
    labels: str
    rule: str
    outputs: int
    own_heads: bool
    noisy: bool

    @property
    def classes(self) -> bool:
        """Whether labels are numbers of classes."""
        return self.labels == "argmax" or (self.labels == CLUSTERS and self.outputs > 1)

    def output(self, fields, head, given, task):
        """ŷ = s_K v g(λ) + b with the head of the task."""
        head = {name: x[task] for name, x in head.items()} if self.own_heads else head
        return given["student_scale"] * (head["v"] @ self.g.in_jax[0](fields)) + head.get("b", 0.0)

    def label_of_teacher(self, teacher_fields, noise, given, task):
        """The target."""
        y = given["teacher_output"][task] @ self.g_teacher.in_jax[0](teacher_fields)
        if self.noisy:
            y = y + given["label_noise"] * noise.reshape(y.shape)
        return jnp.argmax(y) if self.classes else y if self.labels == "teacher" else _sign(y)

    def label(self, target, noise, given):
        """The label of a target, which is the number of a cluster or the label itself."""
        if self.labels != CLUSTERS:
            return target
        found = jnp.asarray(given["labels"])[jnp.asarray(target, int)]  # given targets are no integers
        if self.noisy:  # below 1, this is uniform, and the label is wrong
            chance = (1 + _erf.in_jax(noise[0])) / 2 / given["label_noise"]
            others = self.outputs - 1
            wrong = (found + 1 + jnp.floor(chance * others)) % self.outputs if others else -found
            found = jnp.where(chance < 1, wrong, found)
        return found.astype(int) if self.classes else found

    def compare(self, y, label):
        """ℓ(ŷ, label)."""
        loss = LOSSES[self.loss]
        one_hot = self.classes and loss.targets == "numbers"
        return loss.of(y, jax.nn.one_hot(label, self.outputs) if one_hot else label)

    def loss_of(self, fields, target, head, noise, given, task):
        """The loss of a sample."""
        return self.compare(self.output(fields, head, given, task), self.label(target, noise, given))

    def error_rate(self, fields, target, head, noise, given, task):
        """Which part of the outputs is wrong."""
        y = self.output(fields, head, given, task)
        return jnp.mean((jnp.argmax(y) if self.classes else _sign(y)) != self.label(target, noise, given))

    def of_units(self, fields, target, head, noise, given, task):
        """The update of a rule without a loss, δ_k = −v_k σ f(σŷ)."""
        sign = self.label(target, noise, given)
        strength = UNIT_RULES[self.rule](sign * self.output(fields, head, given, task))
        v = head["v"][task] if self.own_heads else head["v"]
        return -sign * strength * v, {"v": jnp.zeros_like(head["v"])}

    def with_feedback(self, fields, target, head, noise, given, task):
        """Direct feedback alignment (Nøkland 2016): the gradient, but with fixed weights in the place of v for δ."""
        y, back = jax.vjp(lambda head: self.output(fields, head, given, task), head)
        error = jax.grad(self.compare)(y, self.label(target, noise, given))
        fixed = head | {"v": jnp.broadcast_to(given["feedback"], head["v"].shape)}
        _, to_fields = jax.vjp(lambda fields: self.output(fields, fixed, given, task), fields)
        return to_fields(error)[0], back(error)[0]


_two_layers = lru_cache(maxsize=64)(_TwoLayers)
"""Methods are equal only where they belong to one object."""


def _sign(y):
    return jnp.where(y > 0, 1.0, -1.0)


def _huber(error):
    return jnp.where(abs(error) < 1, error**2 / 2, abs(error) - 0.5)


def _labels_of_clusters(labels, outputs: int, label_noise: float):
    """The label of each cluster, if they fit the outputs."""
    found = numbers("labels", labels, ("clusters",))
    possible = np.arange(outputs) if outputs > 1 else np.array([-1, 1])
    if not np.isin(found, possible).all():
        raise ProblemError(
            f"labels: must be of {possible.tolist()} for clusters (got {shown(found.tolist())}). Correct them."
        )
    if not 0 <= label_noise <= 0.5:
        raise ProblemError(f"label_noise: must be a probability up to 1/2 for clusters (got {label_noise}). Try 0.1.")
    return found
