"""The reproducible stream of samples, made block by block and shared by all conditions on one instance.

A condition (a law, standardised or not, an activation) needs the preactivations U = CF/√D and the teacher's fields
ν = CW̃ᵀ/√D of its own latent C. Most laws are affine in a few *sources* that many conditions share: the normals z and,
for a mixture, the offsets μ̂ of unit spread, C = (z + α μ̂ − location)/scale. So the matrix products, which are the
cost of the whole computation, are taken once per source, and every condition is

    U = gain (products[first] + coefficient products[second] + shift).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from ..errors import ProblemError
from ..inputs import Nonlinearity
from ..instance import Instance, check_instance
from ..random import fill_normals, key_of
from ..resources import one_thread
from ..rules import Activation, Tables, codes_of
from ..training import LearningRule, Training
from ._kernel import Block, Inputs, Network, inputs_and_labels
from ._projection import Projection, padded, projection_of
from ._sources import BLOCK, LABELS, Source, condition_of, name_of

TRAINING, TEST = 0, 1
"""The last word of a stream's keys says what its samples are for."""


class Samples(NamedTuple):
    """Some samples in the order in which SGD takes them."""

    latent: Float32[np.ndarray, "sample D"]
    inputs: Float32[np.ndarray, "sample N"]
    labels: Float[np.ndarray, "sample"]

    @classmethod
    def joined(cls, parts: Sequence["Samples"]) -> "Samples":
        """Several as one."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


@dataclass(frozen=True)
class Stream:
    """The samples of all conditions, and everything else that does not change while they are trained on."""

    instances: Sequence[Instance]
    sources: Sequence[Source]
    projection: Projection | None
    """None where the sources are the inputs themselves."""
    locations: Float32[np.ndarray, "condition D"]
    """The shifts in latent space: shift = −location projection."""
    inputs: Inputs
    network: Network
    rule: LearningRule
    """The numbers of every condition, stacked; its batch size is common to all."""
    trainings: Sequence[Training]
    """Different options of training; the schedule of each is a row of the blocks' factors."""
    labels: Float[np.ndarray, "sample"]
    """Given labels y, or empty where the teacher labels."""
    keys: tuple[int, ...] = ()

    def with_keys(self, *keys: int) -> "Stream":
        """The same conditions under other random numbers."""
        return replace(self, keys=keys)

    @property
    def width(self) -> int:
        """Columns of the products: N preactivations, M teacher fields, and padding to whole vector registers."""
        return self.inputs.shifts.shape[1]

    @property
    def input_dim(self) -> int:
        """N."""
        return self.instances[0].input_dim

    @property
    def functions(self) -> list[Activation]:
        """Activations that are not built in, in the order of their codes."""
        return _coded(self.instances)[1]

    @cached_property
    def noisy(self) -> bool:
        """Whether a condition has label noise."""
        return bool(self.rule.label_noise.any())

    def empty_products(self) -> Float32[np.ndarray, "source step width"]:
        """Room for the products of one block."""
        return np.zeros((len(self.sources), BLOCK, self.width), np.float32)

    def fill_products(self, first: int, products: Float32[np.ndarray, "source step width"]) -> None:
        """Draw the latent vectors of a block and multiply them: one matrix product per source.

        Always a whole block, so that a shorter run has the bits of a longer one.
        """
        for source, product in zip(self.sources, products, strict=True):
            if self.projection is None:
                source.fill(self.keys, first, product)
            else:
                latent = np.empty((BLOCK, self.projection.latent_dim), np.float32)
                source.fill(self.keys, first, latent)
                (self.projection.of_normals if source.isotropic else self.projection.of_latent)(latent, product)

    def block(self, first: int, size: int, products: Float32[np.ndarray, "source step width"]) -> Block:
        """Products with what else the compiled loop needs of their samples."""
        steps = np.arange(first, first + size) // self.rule.batch_size
        factors = np.stack([training.factor(steps / self.input_dim) for training in self.trainings])
        noise = self.label_noise(first, size if self.noisy else 0)
        return Block(first, size, products, noise, self.labels[first : first + size], factors)

    def label_noise(self, first: int, count: int) -> Float[np.ndarray, "count"]:
        """Independent normals for the labels of some samples, the same for all conditions."""
        normals = np.empty((count, 1), np.float32)
        fill_normals(*key_of(*self.keys, LABELS), first, normals)
        return normals[:, 0].astype(np.float64)

    def samples(self, condition: int, *, first: int = 0, step: int = 1, end: int | None = None) -> Iterator[Samples]:
        """The samples of a condition, a block at a time.

        Of the blocks only ``first``, ``first + step``, …, which is how several readers share them. At ``end`` the
        stream ends, which cuts its last block short; by default it has no end.
        """
        products = self.empty_products()
        start = first * BLOCK
        while end is None or start < end:
            count = BLOCK if end is None else min(BLOCK, end - start)
            inputs = np.empty((count, self.input_dim), np.float32)
            tasks = np.empty((len(self.network.switch_samples) + 1, count))
            with one_thread():  # of BLAS, for the bits of the simulation
                self.fill_products(start, products)
                latent = self.latent(condition, start, count)
            inputs_and_labels(products, self.inputs, self.network, condition, inputs, tasks)
            task = np.searchsorted(self.network.switch_samples, np.arange(start, start + count), side="right")
            noise = self.rule.label_noise[condition] * self.label_noise(start, count)
            yield Samples(latent, inputs, tasks[task, range(count)] + noise)
            start += step * BLOCK

    def latent(self, condition: int, first: int, count: int) -> Float32[np.ndarray, "count D"]:
        """The latent vectors C themselves, of one condition; ``first`` is a multiple of the block."""
        parts = np.empty((2, count, self.locations.shape[1]), np.float32)
        for part, source in zip(parts, self.inputs.sources[condition], strict=True):
            self.sources[source].fill(self.keys, first, part)
            if self.sources[source].isotropic and self.projection is not None:
                part[:] = self.projection.unrotated(part)
        gain, coefficient = self.inputs.gains[condition], self.inputs.coefficients[condition]
        return gain * (parts[0] + coefficient * parts[1] - self.locations[condition])


def stream_of(instances: Sequence[Instance], given: Sequence[np.ndarray] = ()) -> Stream:
    """The stream that serves several instances on the same features and teacher.

    Parameters
    ----------
    instances
        Conditions: they differ in law, activation, learning rate or initial student, not in features and teacher.
    given
        Samples that all conditions take in order instead of drawing them: C of shape (steps, D), or inputs X of shape
        (steps, N) and labels y.

    Raises
    ------
    ProblemError
        If the instances cannot share a stream.
    """
    if not instances:
        raise ProblemError("instances: must not be empty. Give at least one.")
    _check_alike(instances)
    first = instances[0]
    projection = projection_of(first) if len(given) < 2 else None
    D = first.latent_dim if projection else first.input_dim
    conditions = [condition_of(instance.latent, D, given) for instance in instances]
    sources = {name_of(source): source for condition in conditions for source in condition[:2]}
    places = {name: place for place, name in enumerate(sources)}
    locations = np.array([condition.location for condition in conditions])
    chosen = np.array([[places[name_of(source)] for source in condition[:2]] for condition in conditions])
    scales = np.array([[condition.coefficient, condition.gain] for condition in conditions], np.float32)
    alike = np.column_stack([chosen, scales, locations.astype(np.float32)])
    f = first.f
    tables = [f] if isinstance(f, Nonlinearity) else []
    inputs = Inputs(
        sources=chosen,
        coefficients=scales[:, 0].copy(),
        gains=scales[:, 1].copy(),
        shifts=projection.shifts(locations) if projection else np.zeros((len(instances), padded(D)), np.float32),
        same_input=np.append(False, (alike[1:] == alike[:-1]).all(axis=1)),
        code=f.code if projection else -1,  # given inputs stay as they are
        tables=Tables.of(tables),
        centres=_centres(instances, given=projection is None),
    )
    trainings = list(dict.fromkeys(instance.training for instance in instances))
    rules = [instance.rule for instance in instances]
    numbers = np.array([rule[:6] for rule in rules], np.float64).T.copy()
    rule = LearningRule._make([*numbers, first.training.batch_size, None, None, None])
    return Stream(
        instances,
        list(sources.values()),
        projection,
        locations.astype(np.float32),
        inputs,
        _network(instances, rules, [trainings.index(instance.training) for instance in instances]),
        rule,
        trainings,
        given[1] if len(given) == 2 else np.empty(0),
    )


def _check_alike(instances: Sequence[Instance]) -> None:
    """Refuse what is no instance, and instances that cannot share products, batches and the loops of one kernel."""
    first = check_instance(instances[0])
    for instance in instances[1:]:
        check_instance(instance)
        for name in ("features", "teacher"):
            one, other = getattr(first, name), getattr(instance, name)
            if one is not other and not np.array_equal(one, other):
                raise ProblemError(
                    f"{name}: must be the same for instances simulated together (it differs). Simulate them one by one."
                )
    kinds = {
        (i.student.shape, i.teacher_output.shape, i.nonlinearity, i.centre, i.training.batch_size, *i.switch_times)
        for i in instances
    }
    if len(kinds) > 1:
        raise ProblemError(
            "instances: must have the same K, M, nonlinearity, centre, batch_size and switch_times (they differ). "
            "Simulate them apart."
        )


def _centres(instances: Sequence[Instance], given: bool) -> Float32[np.ndarray, "chain N"]:
    """The means that are subtracted from inputs that are not given; instances under one law share theirs."""
    laws = {id(i.latent): i for i in instances if i.centre and not given}
    means = {law: i.input_mean() for law, i in laws.items()}
    rows = [means.get(id(i.latent)) for i in instances]
    nothing = np.zeros(0 if all(row is None for row in rows) else instances[0].input_dim)
    return np.array([nothing if row is None else row for row in rows], np.float32)


def _coded(instances: Sequence[Instance]) -> tuple[list[int], list[Activation]]:
    """Codes of the students' activations, then of the teachers', and the activations that are not built in."""
    teachers = [i.teacher_activation or i.activation for i in instances]
    return codes_of([*(i.activation for i in instances), *teachers])


def _network(instances: Sequence[Instance], rules: Sequence[LearningRule], schedules: Sequence[int]) -> Network:
    """Activations as codes and tables, the teachers' outputs, and when tasks change."""
    codes, functions = _coded(instances)
    outputs = [rule.teacher_scale * np.atleast_2d(i.teacher_output) for i, rule in zip(instances, rules, strict=True)]
    first = instances[0]
    return Network(
        np.array(codes[: len(instances)]),
        np.array(codes[len(instances) :]),
        Tables.of(functions),
        np.stack(outputs),
        first.training.batch_size * first_step_from(first.switch_times, first.input_dim),
        np.array(schedules),
    )


def first_step_from(times: Float[np.ndarray, "*time"], input_dim: int) -> Int[np.ndarray, "*time"]:
    """The first step that is not before some times; step n is taken at the time n/N."""
    return np.ceil(np.asarray(times) * input_dim - 1e-6).astype(np.int64)
