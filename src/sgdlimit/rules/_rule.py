"""A learning rule: the update that follows from the local fields. Theory and SGD both use one function of the user's.

A student sees its input X only through its fields λ = XWᵀ/√N. The target depends only on the teacher's fields ν, and on
noise that is drawn afresh in each step. So the update determines all of learning:

    W_k ← W_k − (η/√N) δ_k X,    θ ← θ − (η_θ/N) γ,    (δ, γ) = update(λ, target, θ)

with the head θ: output weights, biases, or any other few numbers.
"""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from hashlib import sha256
from typing import Any

import numpy as np

from .._jax import own_jax
from ..errors import ProblemError, reason, shown, unknown_name
from ..settings import check_whole, numbers
from ..signatures import checked
from ._functions import Function, Portable

EXTRAS = ("noise", "given", "task", "time", "Q", "R", "T", "cluster")
"""What an update may ask for by naming it, but for the last; metrics the first three, and labels those and the last."""

TRIED = 64
"""Samples that must be finite, if there are not more clusters."""

ACCURACY = 2e-3
CLUSTERS = "clusters"


def _remembered(method: Function) -> Function:
    """A method of K and M that is called once for rules of the same functions and shapes, whatever their numbers.

    It runs in single precision, as SGD does.
    """

    def run(of):
        import jax

        with own_jax(), jax.enable_x64(False), jax.ensure_compile_time_eval():
            return method(*of.arguments)

    known = lru_cache(maxsize=64)(run)

    @wraps(method)
    def call(self, *units):
        shapes = tuple((name, np.shape(x)) for name, x in (self.head | self.given).items())
        functions = self.update, self.labels, *self.metrics.values()
        of = _Same((functions, shapes, *self.metrics, self.noise, self.samples, *units), (self, *units))
        try:
            return known(of)
        except TypeError:  # as of functions without a hash
            return run(of)

    return call


@dataclass(frozen=True)
class _Same:
    """The arguments of a method, equal to those for other rules of the same kind."""

    kind: tuple[Any, ...]
    arguments: tuple[Any, ...] = field(compare=False)


class Rule(Portable):
    """Your own learning rule, from JAX functions of few numbers.

    Parameters
    ----------
    update
        ``update(fields, target, head) -> (delta, change)``: δ of shape (K,), and what the head's arrays move against,
        as a dict like ``head``. It may also name ``noise`` (normals drawn afresh, shape (noise,)), ``given``, ``task``
        (its number), ``time`` t, and the overlaps ``Q``, ``R``, ``T`` of the moment.
    head
        All further parameters θ with their initial values: a dict of arrays, as ``{"v": ..., "b": 0.0}``.
    labels
        ``labels(teacher_fields) -> target``, an array of any shape; it may also name ``noise``, and ``cluster``, the
        number of the cluster that the latent was drawn from. The fields (M,) themselves by default. ``"clusters"``
        makes that number the target.
    given
        Arrays that do not move, by name, for functions that ask for ``given``. Other values compile nothing anew.
    noise
        How many independent standard normals each sample brings for ``update`` and ``labels``.
    samples
        How many samples one update sees: then fields are (samples, K), targets and noise likewise, and δ (samples, K).
    metrics
        What else to follow, by name: ``metric(fields, target, head) -> number``, averaged over inputs with noise 0. Of
        several tasks a trajectory also has ``task_...`` (time, task).
    accuracy
        Error allowed in theory's Q, R and head, a mean over time. Points are added until two independent sets of them
        agree so well; ``attrs["integral_error"]`` says how well.
    name
        Its name in provenance.

    Raises
    ------
    ProblemError
        If head is not a dict of arrays, or a setting cannot be used. Functions are tried when an instance is made.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> hebb = Rule(lambda fields, target, head: (-jnp.sign(target), {}))
    >>> hebb.learn(np.ones(1), np.ones(1), {})
    (Array([-1.], dtype=float32), {})
    """

    gradient = False
    """Whether δ and γ are the gradient of one function, so that H is symmetric."""
    prefix = "head_"
    """Prefix of the head's parameters in a trajectory."""

    @checked
    def __init__(
        self,
        update: Function,
        *,
        head: Mapping[str, Any] | None = None,
        labels: Function | str | None = None,
        given: Mapping[str, Any] | None = None,
        noise: int = 0,
        samples: int = 1,
        metrics: Mapping[str, Function] | None = None,
        accuracy: float = ACCURACY,
        name: str | None = None,
    ) -> None:
        if isinstance(labels, str) and labels != CLUSTERS:
            raise unknown_name("labels", labels, [CLUSTERS], ", or a function of the teacher's fields")
        if not 0 < accuracy < 1:
            raise ProblemError(f"accuracy: must be between 0 and 1 (got {accuracy!r}). Try 2e-3.")
        check_whole(0, noise=noise)
        check_whole(1, samples=samples)
        for metric in metrics or {}:
            if metric in ("Q", "R", "v") or metric.startswith(("head_", "task_")):
                raise ProblemError(f"metrics: must not be Q, R, v, head_... or task_... (got {metric!r}). Rename it.")
        self.update: Any = update
        self.asks_for_overlaps = not {"Q", "R", "T"}.isdisjoint(_asked(update))
        self.labels, self.metrics = labels, dict(metrics or {})
        self.asks_for_clusters = labels == CLUSTERS or (labels is not None and "cluster" in _asked(labels))
        self.head, self.given = _arrays("head", head or {}), _arrays("given", given or {})
        self.noise, self.samples, self.accuracy = int(noise), int(samples), float(accuracy)
        self.name = name or getattr(update, "__name__", type(update).__name__)

    @classmethod
    @checked
    def from_loss(cls, loss: Function, *, metrics: Mapping[str, Function] | None = None, **settings: Any) -> "Rule":
        """The rule that follows the gradient of a loss, which becomes the metric ``loss``.

        Parameters
        ----------
        loss
            ``loss(fields, target, head) -> number``; it may also name ``noise``, ``given`` and ``task``.
        metrics, **settings
            As for :class:`Rule`; samples are taken one by one.

        Examples
        --------
        >>> import jax.numpy as jnp
        >>> rule = Rule.from_loss(
        ...     lambda fields, target, head: jnp.log1p(jnp.exp(-target * (head["v"] @ jnp.tanh(fields)))),
        ...     head={"v": [1.0, -1.0]}, labels=lambda teacher_fields: jnp.sign(teacher_fields[0]))
        >>> list(rule.metrics), rule.head["v"]
        (['loss'], array([ 1., -1.]))
        """
        name = settings.pop("name", None) or getattr(loss, "__name__", "loss")
        made = cls(Gradient(loss), metrics={"loss": loss, **(metrics or {})}, name=name, **settings)
        made.gradient = True
        return made

    def target(self, teacher: Any, **extras: Any) -> Any:
        """The target of a sample, from the teacher's fields and what else labels name."""
        if self.labels is None or isinstance(self.labels, str):
            return teacher if self.labels is None else extras["cluster"]
        return _called(self.labels, (teacher,), extras)

    def target_seen(self, seen: Any, **extras: Any) -> Any:
        """The target from the teacher's fields, the last of which is the number of the cluster if labels ask for it."""
        if not self.asks_for_clusters:
            return self.target(seen, **extras)
        return self.target(seen[:-1], cluster=seen[-1].astype(int), **extras)

    def learn(self, fields: Any, target: Any, head: Any, **extras: Any) -> tuple[Any, Any]:
        """δ and γ of one update."""
        return _called(self.update, (fields, target, head), extras)

    def learn_from(self, fields: Any, target: Any, noise: Any, head: Any, **extras: Any) -> tuple[Any, Any]:
        """δ and γ of one update, of as many samples as it sees; all arrays have an axis of them."""
        import jax

        if self.samples == 1:
            fields, target, noise = jax.tree.map(lambda x: x[0], (fields, target, noise))
        return self.learn(fields, target, head, noise=noise, **extras)

    def measure(self, fields: Any, target: Any, head: Any, **extras: Any) -> dict[str, Any]:
        """The metrics of one sample."""
        return {name: _called(metric, (fields, target, head), extras) for name, metric in self.metrics.items()}

    @_remembered
    def check(self, K: int, M: int, clusters: int = 1) -> None:
        """Try the functions on normal fields of K student and M teacher units, in so many clusters.

        Raises
        ------
        ProblemError
            If one of them cannot be traced by JAX, or returns the wrong shapes or no finite numbers.
        """
        import jax

        fields, teacher, noise = self._drawn(K, M, max(TRIED, clusters))
        count = len(fields)
        cluster = np.arange(count * self.samples).reshape(count, -1) % clusters
        fixed = {"given": self.given, "task": 0}
        overlaps = {"time": 1.0, "Q": np.eye(K), "R": np.zeros((K, M)), "T": np.eye(M)}
        label = jax.vmap(lambda x, i, z: self.target(x, cluster=i, noise=z, **fixed))
        target = self._tried("labels", label, teacher, cluster, noise)
        first = jax.tree.map(lambda x: x[:, 0], (fields, target, noise))
        measured = {"loss": self.update.loss} if isinstance(self.update, Gradient) else {}
        for name, number in (measured | self.metrics).items():

            def metric(x, y, z, number=number):
                return _called(number, (x, y, self.head), {"noise": z, **fixed})

            value = self._tried(name, metric, *first)
            if np.shape(value) != (count,):
                got = value if value is None else f"the shape {np.shape(value)[1:]}"
                raise ProblemError(f"{name}: must return one number (got {got}). Use jnp.sum or jnp.mean.")

        def update(x, y, z):
            return self.learn_from(x, y, z, self.head, **fixed, **overlaps)

        result = self._tried("update", update, fields, target, noise)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)):
            raise ProblemError(
                f"update: must return δ and a dict for the head (got {shown(result)}). Return (delta, {{}}) for none."
            )
        shapes = np.shape(result[0])[1:], {key: np.shape(value)[1:] for key, value in result[1].items()}
        wanted = (self.samples, K)[self.samples == 1 :], {key: value.shape for key, value in self.head.items()}
        if shapes != wanted:
            raise ProblemError(
                f"update: must return δ and what the head moves against, of the shapes {wanted} (got {shapes}). Give "
                "zeros for what does not move."
            )

    def _drawn(self, K: int, M: int, count: int = TRIED) -> list[Any]:
        """Normal fields of students and teachers and the noise of some updates."""
        rng = np.random.default_rng(0)
        return [rng.standard_normal((count, self.samples, n)) for n in (K, M, self.noise)]

    def _tried(self, name: str, function: Function, *arguments: Any) -> Any:
        """What the user's function gives for some samples, if it is finite."""
        import jax

        count = len(arguments[0])
        try:
            values = jax.tree.map(np.asarray, jax.jit(jax.vmap(function))(*arguments))
            finite = [np.isfinite(x.astype(float)).reshape(count, -1).all(axis=1) for x in jax.tree.leaves(values)]
        except Exception as error:  # whatever the user's code raises
            raise ProblemError(
                f"{name}: must be a function that JAX can trace in the rule {self.name!r} (got {reason(error)}). Write "
                "it with jax.numpy, for fields (K,), the target of a sample and the head."
            ) from None
        wrong = count - int(np.all([np.ones(count), *finite], axis=0).sum())
        if wrong:
            raise ProblemError(
                f"{name}: must be finite in the rule {self.name!r} (got NaN or infinity for {wrong} of {count} "
                "samples of normal fields). Guard its roots, logarithms and divisions."
            )
        return values

    @_remembered
    def rests(self, K: int, M: int) -> bool:
        """Whether some targets teach the rule nothing, δ = 0, as right answers do a perceptron."""
        import jax

        if self.samples > 1:
            return False
        fields, teacher, noise = (x[:, 0] for x in self._drawn(K, M, 200))
        # With numbers that stand for any others.
        head, given = ({name: np.ones(np.shape(x)) for name, x in each.items()} for each in (self.head, self.given))
        fixed = {"given": given, "task": 0}
        overlaps = {"time": 1.0, "Q": np.eye(K), "R": np.zeros((K, M)), "T": np.eye(M)}

        @jax.jit
        @jax.vmap
        def rests(fields, teacher, noise):
            target = self.target(teacher, noise=noise, **fixed)
            delta, _ = self.learn(fields, target, head, noise=noise, **fixed, **overlaps)
            return jax.numpy.all(delta == 0)

        return bool((rests(fields, teacher, noise) != rests(fields, teacher[::-1], noise)).any())

    @_remembered
    def digest(self, K: int, M: int) -> str:
        """A digest that differs between rules that compute different things, and is the same in every process."""
        import jax

        def everything(fields, teacher, noise, cluster, head, extras):
            one = {"noise": noise[0], **extras}
            labels = self.target(teacher[0], cluster=cluster, **one)
            several = jax.tree.map(lambda x: jax.numpy.broadcast_to(x, (self.samples, *jax.numpy.shape(x))), labels)
            learned = self.learn_from(fields, several, noise, head, **extras)
            return labels, learned, self.measure(fields[0], labels, head, **one)

        extras = {"given": self.given, "task": 0, "time": 0.0, "Q": np.eye(K), "R": np.zeros((K, M)), "T": np.eye(M)}
        drawn = (x[0] for x in self._drawn(K, M, 1))
        made = jax.make_jaxpr(everything)(*drawn, 0, self.head, extras)
        text = re.sub(r" at 0x[0-9a-f]+", "", str(made.jaxpr))
        constants = [np.asarray(each).tobytes() for each in made.consts]
        return sha256(b"".join([text.encode(), *constants])).hexdigest()[:16]


@dataclass(frozen=True)
class Gradient:
    """The update that follows the gradient of a loss."""

    loss: Function

    def __call__(self, fields, target, head, noise=None, given=None, task=0):
        """The gradients with respect to the fields and to the head."""
        import jax

        extras = {"noise": noise, "given": given, "task": task}
        return jax.grad(lambda fields, head: self.value(fields, target, head, **extras), (0, 1))(fields, dict(head))

    def value(self, fields, target, head, **extras):
        """The loss itself."""
        return _called(self.loss, (fields, target, head), extras)


def _called(function: Function, arguments: tuple, extras: Mapping[str, Any]) -> Any:
    """A function of the user's, with the extras that it names."""
    return function(*arguments, **{name: extras[name] for name in _asked(function) if name in extras})


def _asked(function: Function) -> list[str]:
    """The extras that a function names."""
    try:
        return [name for name in inspect.signature(function).parameters if name in EXTRAS]
    except (TypeError, ValueError):  # as of NumPy's and JAX's own
        return []


def _arrays(field: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name."""
    if not all(isinstance(name, str) for name in arrays):
        raise ProblemError(f"{field}: must be a dict of arrays by name (got {shown(arrays)}). Try {{'v': v}}.")
    return {name: numbers(f"{field}[{name!r}]", value) for name, value in arrays.items()}
