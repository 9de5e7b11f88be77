"""The reproducible stream of samples, made block by block and shared by all conditions on one instance.

A condition (a law, standardised or not, and an activation) needs the preactivations U = CF/√D and the teacher's fields
ν = CW̃ᵀ/√D of its own latent C. Most laws are affine in a few *sources* that many conditions share: the normals z and,
for a mixture, the offsets μ̂ of unit spread, C = (z + α μ̂ − location)/scale. So the matrix products, which are the
cost of the whole computation, are taken once per source. Every condition is

    U = gain (products[first] + coefficient products[second] + shift).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count, takewhile
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped
from numpy import float32, ndarray
from numpy.typing import ArrayLike

from .._jax import own_jax
from ..errors import ProblemError
from ..inputs import FeatureTransform, Known, Nonlinearity, nonlinearity_named
from ..instance import Instance
from ..random import fill_normals, key_of
from ..resources import one_thread
from ..rules import Rule, Tables, codes_of
from ..training import Rates
from ._kernel import Block, Chains, inputs_and_labels
from ._projection import Projection
from ._sources import BLOCK, LABELS, Source, clusters_drawn, condition_of

TRAINING, TEST = 0, 1
"""The last word of a stream's keys says what its samples are for."""


SIZE = 8
"""Samples of a block of any rule; more where a single update sees more.

For so few numbers XLA compiles the loop over updates into one function, which takes a quarter less time than for 16.
"""

Products = Float32[ndarray, "source step width"]


class Samples(NamedTuple):
    """Some samples in the order in which SGD takes them."""

    latent: Float32[ndarray, "sample D"]
    inputs: Float32[ndarray, "sample N"]
    labels: Float[ndarray, "sample *target"]

    @classmethod
    def joined(cls, parts: Sequence["Samples"]) -> "Samples":
        """Several as one."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


class Rows(NamedTuple):
    """Consecutive samples as blocks of any rule take them, with an axis of runs in front; the last ones are padding."""

    inputs: Any
    """X (run, row, N), or for accelerators latent vectors (run, row, source, D)."""
    teacher: Any
    """What a rule makes its targets of (run, row, ...): :meth:`Stream.sees`, or given targets.

    Latent vectors (run, row, D) while the fields of a teacher that moves are not known.
    """
    noise: Any
    """Normals for the rule, and for masks of the hidden units (run, row, columns)."""
    start: int
    """Number of the first sample."""
    stop: int
    """Number of the first sample after the last whole update."""


class Kept(NamedTuple):
    """Weights of a run that are kept at the output samples."""

    diverged_sample: Int[ndarray, "chain"]
    """The sample at which a chain left the finite numbers, else −1."""
    output_samples: Int[ndarray, "time"]
    """Samples after which weights are kept."""
    student: Float32[ndarray, "chain time K N"]
    heads: Sequence[dict[str, Float[ndarray, "time ..."]]]
    """Parameters by name, of each chain; the output weights are ``v``."""
    teachers: Sequence[Float[ndarray, "time M D"]]
    """W̃ of each chain, with no times where it does not move."""


@dataclass(frozen=True)
class Stream:
    """The samples of all conditions, and all that stays the same during training."""

    instances: Sequence[Instance]
    sources: Sequence[Source]
    projection: Projection
    locations: Float32[ndarray, "condition D"]
    """The shifts in latent space: shift = −location projection."""
    f: Known | Nonlinearity
    chains: Chains
    labels: Shaped[ndarray, "sample *target"]
    """Given labels y, or empty where the teacher labels."""
    samples_a_step: int
    """Samples of the updates that a step averages."""
    times_a_step: int
    """Time of a step in units of 1/N: more than 1 for batches of αN samples."""
    keys: tuple[int, ...] = ()

    def with_keys(self, *keys: int) -> "Stream":
        """The same conditions under other random numbers."""
        return replace(self, keys=keys)

    @property
    def width(self) -> int:
        """Columns of the products: N preactivations, M teacher fields, and padding to whole vector registers."""
        return self.chains.shifts.shape[1]

    @property
    def input_dim(self) -> int:
        """N."""
        return self.instances[0].input_dim

    @property
    def teacher_units(self) -> int:
        """M."""
        return self.chains.teacher_output.shape[2]

    def time(self, numbers: Any) -> Any:
        """Times at which the steps begin that samples, by their numbers, belong to."""
        return numbers // self.samples_a_step * self.times_a_step / self.input_dim

    def task(self, numbers: ArrayLike) -> Int[ndarray, "*sample"]:
        """Tasks that samples, by their numbers, belong to."""
        return np.asarray(np.searchsorted(self.chains.switch_samples, numbers, side="right"))

    @cached_property
    def rules(self) -> list[Rule]:
        """The learning rule of each condition, also where the network has a compiled loop."""
        return [instance.as_rule(1.0 if instance.closed_form else _variance(instance)) for instance in self.instances]

    def latents(self, first: int) -> Float32[ndarray, "source step D"]:
        """Draw the latent vectors of a block from every source."""
        latents = np.empty((len(self.sources), BLOCK, self.locations.shape[1]), float32)
        for source, latent in zip(self.sources, latents, strict=True):
            source.fill(self.keys, first, latent)
        return latents

    def products(self, first: int, out: Products | None = None) -> Products:
        """Draw the latent vectors of a block and multiply them: one matrix product per source.

        Always a whole block, so that a shorter run has the bits of a longer one.
        """
        latents = self.latents(first)
        out = np.zeros((*latents.shape[:2], self.width), float32) if out is None else out
        for source, latent, product in zip(self.sources, latents, out, strict=True):
            self.projection.multiply(latent, product, isotropic=source.isotropic)
        return out

    def block(self, first: int, size: int, products: Float32[ndarray, "..."]) -> Block:
        """Products with the noise and the factors that the compiled loop needs for their samples."""
        noise = self.given_labels(first, size)
        if noise is None:
            noisy = self.chains.rates.label_noise.any()
            noise = self.noise(first, size, 1)[:, 0].astype(float) if noisy else np.zeros(size)
        return Block(first, products, noise, self.factors(np.arange(first, first + size)))

    def factors(self, numbers: Int[ndarray, "sample"]) -> Float[ndarray, "condition sample"]:
        """Factors of the rates at some samples, from the schedules."""
        return np.array([instance.training.factor(self.time(numbers)) for instance in self.instances])

    def given_labels(self, first: int, count: int) -> Shaped[ndarray, "count *target"] | None:
        """Given labels of some samples, zero after the last; None where the teacher labels."""
        if not len(self.labels):
            return None
        part = self.labels[first : first + count]
        return np.concatenate([part, np.zeros((count - len(part), *part.shape[1:]), part.dtype)])

    def noise(self, first: int, count: int, columns: int, purpose: int = LABELS) -> Float32[ndarray, "count columns"]:
        """Independent normals for some samples, the same for all conditions."""
        normals = np.empty((count, columns), float32)
        fill_normals(*key_of(*self.keys, purpose), first, normals)
        return normals

    def clusters(self, condition: int, first: int, count: int) -> Int[ndarray, "count"]:
        """Numbers of the clusters that some latent vectors come from, from the start of a block."""
        law, D, blocks = self.instances[condition].latent, self.locations.shape[1], range(first, first + count, BLOCK)
        return np.concatenate([clusters_drawn(law, D, self.keys, start) for start in blocks])[:count]

    def teacher(self, condition: int, products: Products) -> Float32[ndarray, "step M"]:
        """The teacher's fields."""
        columns = slice(self.input_dim, self.input_dim + self.teacher_units)
        return self._affine(condition, products[:, :, columns], self.chains.shifts[condition, columns])

    def latent(self, condition: int, first: int) -> Float32[ndarray, "step D"]:
        """The latent vectors C themselves, of one condition and a whole block."""
        turned = [
            self.projection.unrotated(latent) if source.isotropic else latent
            for source, latent in zip(self.sources, self.latents(first), strict=True)
        ]
        return self._affine(condition, turned, -self.locations[condition])

    def _affine(self, condition: int, of_sources: Any, shift: Any) -> Any:
        """The latent or field of a condition from those of the sources: gain (first + coefficient second + shift)."""
        chains, (first, second) = self.chains, self.chains.sources[condition]
        mixed = of_sources[first] + chains.coefficients[condition] * of_sources[second]
        return chains.gains[condition] * (mixed + shift)

    def sees(self, condition: int, first: int, products: Products | None) -> Float32[ndarray, "step columns"]:
        """What a rule makes its targets of, from the start of a block: see :meth:`~sgdlimit.Rule.target_seen`.

        Without products the teacher's fields are missing.
        """
        count = BLOCK if products is None else products.shape[1]
        seen = np.zeros((count, 0), float32) if products is None else self.teacher(condition, products)
        if not self.rules[condition].asks_for_clusters:
            return seen
        return np.column_stack([seen, self.clusters(condition, first, count).astype(float32)])

    def form(self, condition: int, products: Products, inputs: Float32[ndarray, "step N"]) -> None:
        """Write the inputs."""
        inputs_and_labels(products, self.chains, condition, inputs, np.empty((0, len(inputs))))

    def formed(
        self, condition: int, products: Products, count: int
    ) -> tuple[Float32[ndarray, "count N"], Float[ndarray, "task count"]]:
        """The first inputs of a block as one condition sees them, and their labels without noise in every task."""
        inputs = np.empty((count, self.input_dim), float32)
        labels = np.empty((len(self.chains.switch_samples) + 1, count))
        inputs_and_labels(products, self.chains, condition, inputs, labels)
        return inputs, labels

    def samples(self, condition: int, *, first: int = 0, step: int = 1, end: float = np.inf) -> Iterator[Samples]:
        """The samples of a condition, a block at a time.

        Blocks ``first``, ``first + step``, … are drawn, so that several readers can share them. The stream stops at
        ``end``, which cuts its last block short; by default it never stops.
        """
        for start in takewhile(lambda start: start < end, count(first * BLOCK, step * BLOCK)):
            size = int(min(BLOCK, end - start))
            task = self.task(np.arange(start, start + size))
            with one_thread():  # of BLAS, for the bits of the simulation
                products = self.products(start)
                inputs, labels = self.formed(condition, products, size)
                latent = self.latent(condition, start)[:size]
            if self.instances[condition].rule is None:
                noise = self.chains.rates.label_noise[condition] * self.noise(start, size, 1)[:, 0]
                labels = labels[task, range(size)] + noise
            else:
                labels = self._targets(condition, self.sees(condition, start, products[:, :size]), start, task)
            yield Samples(latent, inputs, labels)

    def _targets(
        self, condition: int, teacher: Shaped[ndarray, "sample ..."], first: int, task: Int[ndarray, "sample"]
    ) -> Float[ndarray, "sample *target"]:
        """Targets of a rule for some samples."""
        import jax

        rule = self.rules[condition]

        def target(teacher, noise, task):
            given = jax.tree.map(partial(jax.numpy.asarray, dtype="float32"), rule.given)
            return rule.target_seen(teacher, noise=noise, given=given, task=task)

        with own_jax(accelerated=True):
            noise = self.noise(first, len(task), rule.noise)
            return np.asarray(jax.vmap(target)(teacher, noise, task), float)


def stream_of(instances: Sequence[Instance], given: Sequence[ndarray] = ()) -> Stream:
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
        raise ProblemError("instances: must be at least one (got none). Give some.")
    first, (samples, units) = _check_alike(instances), _step(instances[0])
    f, features, teacher, transform = first.f, first.features, first.teacher, first.transform
    if len(given) == 2:  # inputs that stay as they are
        transform = FeatureTransform.scaled_identity(first.input_dim, np.sqrt(first.input_dim))
        f, features, teacher = nonlinearity_named("identity"), transform.dense(), np.zeros((0, first.input_dim))
    projection = Projection(features, teacher, transform)
    # Step n is taken at the time n/N; a task begins with the first step that is not before its time.
    switches = samples * np.ceil(first.switch_times * first.input_dim / units - 1e-6).astype(np.int64)
    conditions = [
        condition_of((i.latent, *i.later_latents), switches.tolist(), len(features), given) for i in instances
    ]
    firsts, seconds, coefficients, gains, exact = zip(*conditions, strict=True)
    sources = {source.name: source for source in firsts + seconds}
    places = {name: place for place, name in enumerate(sources)}
    chosen = np.array([[places[source.name] for source in side] for side in zip(firsts, seconds, strict=True)])
    coefficients, gains = np.array([coefficients, gains], float32)
    exact = np.array(exact)
    locations = exact.astype(float32)
    alike = np.column_stack([chosen, coefficients, gains, locations])
    teachers = [instance.teacher_activation or instance.activation for instance in instances]
    codes, functions = codes_of([*(instance.activation for instance in instances), *teachers])
    activations, teacher_activations = np.array(codes).reshape(2, -1)
    numbers = np.array([instance.rates[:6] for instance in instances], float).T.copy()
    rates = Rates(*numbers, batch_size=first.training.batch_size)
    outputs = np.array([np.atleast_2d(i.teacher_output) for i in instances]) * rates.teacher_scale[:, None, None]
    labels = np.empty(0)
    if len(given) == 2:  # in the place of a teacher without units and of its noise
        labels, outputs, rates = given[1], outputs[:, :, :0], rates._replace(label_noise=np.ones(len(instances)))
    chains = Chains(
        sources=chosen,
        coefficients=coefficients,
        gains=gains,
        shifts=projection.shifts(exact),
        same_input=np.append(False, (alike[1:] == alike[:-1]).all(axis=1)),
        f=int(f.code),
        f_tables=Tables.of([f] if isinstance(f, Nonlinearity) else []),
        centres=_centres(instances, given=len(given) == 2),
        activations=activations,
        teacher_activations=teacher_activations,
        tables=Tables.of(functions),
        teacher_output=outputs,
        switch_samples=switches,
        rates=rates,
    )
    return Stream(instances, [*sources.values()], projection, locations, f, chains, labels, samples, units)


def check_labels(instance: Instance) -> None:
    """Refuse to give out labels of a teacher that moves, because only training knows where it is."""
    if instance.training.moves_teacher:
        raise ProblemError(
            "training: must not move the teacher where labels are kept or given out (got teacher_drift or "
            "teacher_turn). Leave them out."
        )


def _step(instance: Instance) -> tuple[int, int]:
    """Samples of a step, and its time in units of 1/N."""
    training, samples = instance.training, 1 if instance.rule is None else instance.rule.samples
    if training.batch_fraction is None:
        return samples * training.batch_size, 1
    units = max(1, round(training.batch_fraction * instance.input_dim))
    return samples * units, units


def _variance(instance: Instance) -> float:
    """Mean variance of the inputs."""
    moments = instance.moments()
    return float(np.mean(moments.diagonal + np.sum(moments.factor**2, axis=0)))


def _check_alike(instances: Sequence[Instance]) -> Instance:
    """The first, if all can share products, batches and the loops of one kernel."""
    first = instances[0]
    for instance in instances:
        for name in ("features", "teacher"):
            one, other = getattr(first, name), getattr(instance, name)
            if one is not other and not np.array_equal(one, other):
                raise ProblemError(
                    f"{name}: must be the same for instances simulated together (got another). Simulate them one by "
                    "one."
                )
    kinds = {
        (
            i.student.shape,
            i.teacher_output.shape,
            i.nonlinearity,
            i.centre,
            _step(i),
            len(i.later_latents),
            *i.switch_times,
        )
        for i in instances
    }
    if len(kinds) > 1:
        raise ProblemError(
            "instances: must have the same K, M, nonlinearity, centre, samples a step, switch_times and number of "
            "later_latents (got others). "
            "Simulate them apart."
        )
    return first


def _centres(instances: Sequence[Instance], given: bool) -> Float32[ndarray, "chain N"]:
    """The means that are subtracted from inputs that are not given; instances under one law share theirs."""
    laws = {id(i.latent): i for i in instances if i.centre and not given}
    means = {law: mean for law, i in laws.items() if (mean := i.input_mean()) is not None}
    none = np.zeros(instances[0].input_dim if means else 0)
    return np.array([means.get(id(i.latent), none) for i in instances], float32)
