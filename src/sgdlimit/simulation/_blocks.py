"""The same SGD as :mod:`sgdlimit.simulation._kernel`, for accelerators: all runs and chains through one scan.

Samples come from the same counters, so the same seed means the same samples as on the CPU, up to the rounding of a
logarithm.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Bool, Float, Float32, Int, UInt32

from ..inputs import Known, Nonlinearity
from ..random import key_of
from ..rules import ACTIVATIONS, Activation
from ..training import LearningRule
from ._kernel import Students
from ._sources import BLOCK, COMPONENTS, NORMALS, Mixture
from ._stream import Stream

ROOT_HALF = np.float32(np.sqrt(0.5))

KNOWN: dict[str, Callable[[Array], Array]] = {
    "sign": lambda u: jnp.where(jnp.signbit(u), np.float32(-1), np.float32(1)),
    "erf": lambda u: lax.erf(u * ROOT_HALF),
    "identity": lambda u: u,
}
"""f by name; any other is JAX code already."""


class Setting(NamedTuple):
    """What a scan is compiled for."""

    N: int
    batch_size: int
    f: Known | Nonlinearity | None
    """None for given inputs, which stay as they are."""
    functions: tuple[Activation, ...]
    """Activations that are not built in, in the order of their codes."""
    labelled: bool


Chain = tuple[Any, Any, LearningRule]
"""Inputs and Network of the kernel and the rule: what does not change while a chain trains, the same in every run."""


class State(NamedTuple):
    """What a sample changes. Its update waits for the next one, so W is read and written once a sample."""

    students: Any
    """Students of the kernel, in single precision, without what is kept."""
    pending: Float32[Array, "*chain K"]
    shrink: Float32[Array, "*chain"]
    """What the waiting update multiplies W with: weight decay."""
    row: Float32[Array, "*chain width"]

    def updated(self) -> Float32[Array, "*chain K width"]:
        """W with the update that waits."""
        decayed = self.shrink[..., None, None] * self.students.student
        return decayed - self.pending[..., None] * self.row[..., None, :]


class Sample(NamedTuple):
    """What a sample brings besides its products."""

    number: Int[Array, ""]
    begins: Bool[Array, ""]
    """Whether it is the first of a batch."""
    label: Float32[Array, ""]
    """If given."""
    noise: Float32[Array, ""]
    factors: Float32[Array, "schedule"]
    task: Int[Array, ""]


def train_together(streams: Sequence[Stream], runs: Sequence[Students]) -> Iterator[int]:
    """Train all runs at once, each on its stream, and yield the number of samples after every block.

    The streams differ in their keys alone. Weights are kept at the output samples.
    """
    stream, output_samples = streams[0], runs[0].output_samples
    f = stream.instances[0].f if stream.projection else None
    batch_size, labelled = int(stream.rule.batch_size), len(stream.labels) > 0
    setting = Setting(stream.input_dim, batch_size, f, tuple(stream.functions), labelled)
    inputs = stream.inputs._replace(same_input=None, code=None, tables=None)
    network = stream.network._replace(tables=None, switch_samples=None)
    chains = _single((inputs, network, stream.rule._replace(batch_size=None)))
    state, make = _state(runs), _maker(streams)
    total, wanted = int(output_samples[-1]), int(output_samples[0] == 0)
    for first in range(0, total, BLOCK):
        stop, products = min(first + BLOCK, total), make(first)
        samples = _samples(streams, first)
        sample = first
        while sample < stop:
            until = min(stop, int(output_samples[wanted]))
            # Compiled scans have sizes that are powers of two, the largest first.
            while sample < until:
                size = 1 << (until - sample).bit_length() - 1
                state = _advance(state, chains, products, samples, sample - first, size=size, setting=setting)
                sample += size
            if sample == output_samples[wanted]:
                state = _flush(state)
                student, output = np.asarray(state.students.student), np.asarray(state.students.output)
                for run, students in enumerate(runs):
                    students.kept_student[:, wanted] = student[run, :, :, : setting.N]
                    students.kept_output[:, wanted] = output[run]
                wanted += 1
        for students, diverged in zip(runs, np.asarray(state.students.diverged_sample), strict=True):
            students.diverged_sample[:] = diverged
        yield stop


def _single(arrays: Any) -> Any:
    """Arrays in single precision, on the device."""
    return jax.tree.map(lambda x: jnp.array(x, jnp.float32 if x.dtype.kind == "f" else jnp.int32), arrays)


def _state(runs: Sequence[Students]) -> State:
    """All chains of all runs as they begin, along the first two axes."""
    moving = [run._replace(output_samples=None, kept_student=None, kept_output=None) for run in runs]
    students = _single(jax.tree.map(lambda *parts: np.stack(parts), *moving))
    shrink = jnp.ones(students.diverged_sample.shape, jnp.float32)
    return State(students, jnp.zeros_like(students.output), shrink, jnp.zeros_like(students.student[:, :, 0]))


def _samples(streams: Sequence[Stream], first: int) -> Sample:
    """The samples of a block along the first axis; the noise has an axis of runs."""
    stream, number = streams[0], np.arange(first, first + BLOCK)
    block = stream.block(first, BLOCK, np.empty(0, np.float32))
    label, noise = np.zeros(BLOCK), np.zeros((BLOCK, len(streams)))
    label[: len(block.labels)] = block.labels
    if stream.noisy:
        noise[:] = np.transpose([each.label_noise(first, BLOCK) for each in streams])
    task = np.searchsorted(stream.network.switch_samples, number, side="right")
    begins = number % stream.rule.batch_size == 0
    return Sample(*_single((number, begins, label, noise, block.factors.T, task)))


@partial(jax.jit, donate_argnums=0)
def _flush(state: State) -> State:
    """Apply the update that waits."""
    students = state.students._replace(student=state.updated())
    return State(students, jnp.zeros_like(state.pending), jnp.ones_like(state.shrink), state.row)


@partial(jax.jit, static_argnames=("size", "setting"), donate_argnums=0)
def _advance(
    state: State,
    chains: Chain,
    products: Float32[Array, "run source sample width"],
    samples: Sample,
    place: int,
    *,
    size: int,
    setting: Setting,
) -> State:
    """Take ``size`` samples from ``place`` in the block, with every chain of every run."""
    of_run = jax.vmap(partial(_step, setting), in_axes=(0, 0, None, None))
    of_all = jax.vmap(of_run, in_axes=(None, 0, 0, Sample._make([None, None, None, 0, None, None])))

    def step(state: State, at: Array) -> tuple[State, None]:
        row = lax.dynamic_index_in_dim(products, at, axis=2, keepdims=False)
        return of_all(chains, state, row, jax.tree.map(lambda values: values[at], samples)), None

    return lax.scan(step, state, place + jnp.arange(size, dtype=jnp.int32))[0]


def _step(
    setting: Setting, chain: Chain, state: State, products: Float32[Array, "source width"], sample: Sample
) -> State:
    """One sample of one chain: (S28, S29), as :func:`sgdlimit.simulation._kernel.sgd_block` takes it."""
    inputs, network, rule = chain
    N, f, students = setting.N, setting.f, state.students
    first, second = products[inputs.sources[0]], products[inputs.sources[1]]
    U = inputs.gains * (first + inputs.coefficients * second + inputs.shifts)
    label = sample.label
    if not setting.labelled:
        outputs = network.teacher_output[sample.task]
        g, _ = _value_and_slope(network.teacher_activations, U[N : N + len(outputs)], setting)
        label = jnp.sum(outputs * g) + rule.label_noise * sample.noise
    X = U[:N] if f is None else KNOWN[f.name](U[:N]) if isinstance(f, Known) else jnp.vectorize(f.function)(U[:N])
    X = jnp.pad(X - inputs.centres if inputs.centres.size else X, (0, len(U) - N))

    student, output = state.updated(), students.output
    seen_student, v = student, output
    if setting.batch_size > 1:
        seen_student = jnp.where(sample.begins, student, students.seen_student)
        v = jnp.where(sample.begins, output, students.seen_output)
    root = np.float32(np.sqrt(N))
    field = jnp.sum(seen_student * X, axis=-1) / root
    hidden, slope = _value_and_slope(network.activations, field, setting)
    error = rule.student_scale * jnp.sum(v * hidden) - label
    going = students.diverged_sample < 0
    alive = going & jnp.isfinite(error)
    share = rule.student_scale * error / setting.batch_size
    factor = sample.factors[network.schedules]
    rate, output_rate = factor * rule.learning_rate, factor * rule.output_rate
    decay = jnp.where(sample.begins, rate * rule.weight_decay / N, 0)
    students = students._replace(
        student=student,
        output=output - jnp.where(alive, output_rate / N * hidden * share, 0),
        seen_output=v,
        diverged_sample=jnp.where(going & ~alive, sample.number, students.diverged_sample),
    )
    if setting.batch_size > 1:
        students = students._replace(seen_student=seen_student)
    return State(students, jnp.where(alive, rate / root * v * slope * share, 0), jnp.where(alive, 1 - decay, 1), X)


def _value_and_slope(
    code: Int[Array, ""], x: Float[Array, "*shape"], setting: Setting
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """g(x) and g'(x) of the activation that the kernels know by this code."""
    known = [ACTIVATIONS[name] for name in ("erf", "relu", "linear")]
    branches = [
        lambda x, g=g: tuple(jnp.asarray(g.in_jax[order](x), x.dtype) for order in (0, 1))
        for g in (*known, *setting.functions)
    ]
    return lax.switch(code, branches, x)


# Samples, from the same counters as sgdlimit.random


def _maker(streams: Sequence[Stream]) -> Callable[[int], Float32[Array, "run source sample width"]]:
    """What makes the products of a block: on the device where it can draw the sources, else here."""
    stream = streams[0]
    mixtures = [source for source in stream.sources if isinstance(source, Mixture)]
    if stream.projection is None or len(mixtures) < len(stream.sources):

        def on_host(first: int) -> Array:
            products = np.stack([each.empty_products() for each in streams])
            for each, room in zip(streams, products, strict=True):
                each.fill_products(first, room)
            return jnp.asarray(products)

        return on_host

    keys = jnp.array([[key_of(*each.keys, purpose) for purpose in (NORMALS, COMPONENTS)] for each in streams])
    matrices = jnp.asarray(stream.projection.matrix), jnp.asarray(stream.projection.triangle)
    arrays = [jax.tree.map(jnp.asarray, source._replace(block_size=None)) for source in mixtures]
    block_sizes = tuple(source.block_size for source in mixtures)
    return lambda first: _products(keys, np.uint32(first), arrays, *matrices, block_sizes=block_sizes)


@partial(jax.jit, static_argnames="block_sizes")
def _products(
    keys: UInt32[Array, "run 2 2"],
    first: UInt32[Array, ""],
    sources: Sequence[Mixture],
    matrix: Float32[Array, "D width"],
    triangle: Float32[Array, "rank width"],
    *,
    block_sizes: tuple[int, ...],
) -> Float32[Array, "run source sample width"]:
    """What :meth:`Stream.fill_products` makes for every run."""

    def of_run(keys: UInt32[Array, "2 2"]) -> Float32[Array, "source sample width"]:
        z = _normals(keys[0], first, len(matrix))
        factors = []
        for source, block_size in zip(sources, block_sizes, strict=True):
            if source.isotropic:
                factors.append((z[:, : len(triangle)], triangle))
                continue
            offsets = _offsets(keys[1], first, source, block_size)
            factors.append((offsets if source.scale is None else z * source.scale + offsets, matrix))
        return jnp.stack([jnp.matmul(*pair, precision=lax.Precision.HIGHEST) for pair in factors])

    return jax.vmap(of_run)(keys)


def _words(key: UInt32[Array, "2"], first: UInt32[Array, ""], count: int) -> UInt32[Array, "2 sample count"]:
    """Threefry-2x32-20 on the counters (i, step): see :func:`sgdlimit.random.threefry2x32`."""
    step = first + jnp.arange(BLOCK, dtype=jnp.uint32)
    counters = jnp.broadcast_arrays(jnp.arange(count, dtype=jnp.uint32), step[:, None])
    return threefry_2x32((key[0], key[1]), jnp.stack(counters))


def _normals(key: UInt32[Array, "2"], first: UInt32[Array, ""], dim: int) -> Float32[Array, "sample D"]:
    """Standard normals by Box and Muller: see :func:`sgdlimit.random.fill_normals`."""
    a, b = _words(key, first, (dim + 1) // 2)
    uniform = a.astype(jnp.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
    radius = jnp.sqrt(-2 * jnp.log(uniform))
    angle = lax.bitcast_convert_type(b, jnp.int32).astype(jnp.float32) * np.float32(2 * np.pi * 2.0**-32)
    return jnp.concatenate([radius * jnp.cos(angle), radius * jnp.sin(angle)], axis=1)[:, :dim]


def _offsets(
    key: UInt32[Array, "2"], first: UInt32[Array, ""], source: Mixture, block_size: int
) -> Float32[Array, "sample D"]:
    """The mean of the component that each block of coordinates drew: see :func:`sgdlimit.random.fill_offsets`."""
    means, D = cast(Any, source.means), cast(Any, source.means).shape[1]
    blocks = D // block_size
    words = jnp.concatenate(list(_words(key, first, (blocks + 1) // 2)), axis=1)[:, :blocks]
    component = jnp.searchsorted(cast(Any, source.thresholds), words, side="right")
    return means[jnp.repeat(component, block_size, axis=1), jnp.arange(D)]
