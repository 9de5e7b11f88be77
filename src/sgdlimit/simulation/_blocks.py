"""The same SGD as :mod:`sgdlimit.simulation._kernel`, for accelerators: whole ensembles through one scan.

Every chain of every stream (conditions × runs × instances) takes a step at the same time. Samples come from the same
counters, so the same seed means the same samples as on the CPU, up to the rounding of a logarithm.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int, UInt32

from ..inputs import TABULATED
from ..random import KEY_PARITY, key_of
from ..rules import ERF, FIRST_TABLE, RELU, Activation
from ._chains import Chains
from ._kernel import ERF_INPUT, SIGN, Rules
from ._stream import COMPONENTS, NORMALS, Normals, Offsets, RescaledMixture, Source, Stream

__all__ = ["train_together"]


class Conditions(NamedTuple):
    """What does not change while training, for every chain of every stream (batch)."""

    sources: Int[Array, "batch chain 2"]
    coefficients: Float32[Array, "batch chain"]
    shifts: Float32[Array, "batch chain width"]
    gains: Float32[Array, "batch chain"]
    activations: Int[Array, "batch chain"]
    teacher_activations: Int[Array, "batch chain"]
    teacher_outputs: Float32[Array, "batch chain task M"]
    rules: Rules
    centres: Float32[Array, "batch chain N"]
    """No columns where there is nothing to subtract."""


class Students(NamedTuple):
    """What a step changes. The update of a step waits for the next one: W is read and written once a step."""

    student: Float32[Array, "batch chain K width"]
    output: Float32[Array, "batch chain K"]
    pending: Float32[Array, "batch chain K"]
    shrink: Float32[Array, "batch chain"]
    """What the waiting update multiplies W with: weight decay."""
    row: Float32[Array, "batch chain width"]
    gradient: Float32[Array, "batch chain K width"]
    """Of the samples of an unfinished batch; empty for batches of one."""
    output_gradient: Float32[Array, "batch chain K"]
    diverged_sample: Int[Array, "batch chain"]


class Samples(NamedTuple):
    """What a block brings: products, and for each sample its label if given, noise, rate factors and task."""

    products: Float32[Array, "batch source sample width"]
    targets: Float32[np.ndarray, "sample"]
    noise: Float32[np.ndarray, "batch sample"]
    factors: Float32[np.ndarray, "schedule sample"]
    tasks: Int[np.ndarray, "sample"]


def train_together(
    chains: Sequence[Chains],
    streams: Sequence[Stream],
    labels: Float[np.ndarray, "step"],
    report: Callable[[float], None],
) -> None:
    """Train the chains of several streams at once, keeping their weights at the output steps.

    What :func:`sgdlimit.simulation.train` does for one stream, to float32 accuracy. All streams have as many
    sources and conditions, and all chains the same shapes and output steps.
    """
    one = chains[0]
    output_samples, N = one.batch_size * one.output_steps, one.kept_student.shape[3]
    conditions, students = _conditions(chains, streams), _students(chains)
    make = _maker(streams)
    noisy = bool(one.rules.label_noise.any())
    wanted = int(output_samples[0] == 0)
    for start in range(0, one.samples, Stream.BLOCK):
        stop = min(start + Stream.BLOCK, one.samples)
        targets = np.zeros(Stream.BLOCK, np.float32)
        targets[: stop - start] = labels[start:stop] if len(labels) else 0
        noise = [stream.label_noise(start, Stream.BLOCK) if noisy else np.zeros(Stream.BLOCK) for stream in streams]
        steps = np.arange(start, start + Stream.BLOCK) // one.batch_size
        samples = Samples(
            make(start),
            targets,
            np.array(noise, np.float32),
            one.factors(start, Stream.BLOCK).astype(np.float32),
            np.searchsorted(one.switch_steps, steps, side="right").astype(np.int32),
        )
        sample = start
        while sample < stop:
            until = min(stop, int(output_samples[wanted]))
            for size in _powers_of_two(until - sample):
                students = _advance(
                    students, conditions, samples, sample - start, sample,
                    size=size, N=N, nonlinearity=one.applied.code, function=one.function, labelled=len(labels) > 0,
                    batch_size=one.batch_size, functions=tuple(one.functions),
                )  # fmt: skip
                sample += size
            if sample == output_samples[wanted]:
                students = _keep(students, chains, wanted, N)
                wanted += 1
        report(stop / one.samples)
    for batch, some in enumerate(chains):
        some.diverged_sample[:] = np.asarray(students.diverged_sample[batch])


def _conditions(chains: Sequence[Chains], streams: Sequence[Stream]) -> Conditions:
    def stacked(arrays: list[np.ndarray]) -> Array:
        array = np.stack(arrays)
        return jnp.asarray(array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int32))

    return Conditions(
        stacked([s.chosen for s in streams]),
        stacked([s.coefficients for s in streams]),
        stacked([s.shifts for s in streams]),
        stacked([s.gains for s in streams]),
        stacked([c.activations for c in chains]),
        stacked([c.teacher_activations for c in chains]),
        stacked([c.teacher_output for c in chains]),
        Rules(*cast(Any, [stacked(list(values)) for values in zip(*(c.rules for c in chains), strict=True)])),
        stacked([c.applied.centres for c in chains]),
    )


def _students(chains: Sequence[Chains]) -> Students:
    student = jnp.asarray(np.stack([c.student for c in chains]))
    output = jnp.asarray(np.stack([c.output for c in chains]).astype(np.float32))
    row = jnp.zeros((*student.shape[:2], student.shape[3]), jnp.float32)
    gradient = jnp.asarray(np.stack([c.gradient for c in chains]))
    shrink, diverged = jnp.ones(student.shape[:2], jnp.float32), jnp.full(student.shape[:2], -1, jnp.int32)
    return Students(student, output, jnp.zeros_like(output), shrink, row, gradient, jnp.zeros_like(output), diverged)


def _powers_of_two(number: int) -> list[int]:
    """Sizes of the compiled scans that a number of steps is put together from, largest first."""
    return [1 << bit for bit in reversed(range(number.bit_length())) if number >> bit & 1]


def _keep(students: Students, chains: Sequence[Chains], wanted: int, N: int) -> Students:
    students = _flush(students)
    student, output = np.asarray(students.student), np.asarray(students.output)
    for batch, some in enumerate(chains):
        some.kept_student[:, wanted] = student[batch, :, :, :N]
        some.kept_output[:, wanted] = output[batch]
    return students


@partial(jax.jit, donate_argnums=0)
def _flush(students: Students) -> Students:
    """Apply the update that waits."""
    return students._replace(
        student=_updated(students), pending=jnp.zeros_like(students.pending), shrink=jnp.ones_like(students.shrink)
    )


def _updated(students: Students) -> Float32[Array, "batch chain K width"]:
    """W with the update that waits."""
    return students.shrink[..., None, None] * students.student - students.pending[..., None] * students.row[:, :, None]


def _g(activation: Int[Array, "..."], x: Float[Array, "..."], functions: tuple[Activation, ...]) -> Float[Array, "..."]:
    value = jnp.where(activation == RELU, jnp.maximum(x, 0), x)
    value = jnp.where(activation == ERF, lax.erf(x * np.float32(np.sqrt(0.5))), value)
    for place, function in enumerate(functions):
        value = jnp.where(activation == FIRST_TABLE + place, function.traced.in_jax(0)(x), value)
    return value


def _g_prime(
    activation: Int[Array, "..."], x: Float[Array, "..."], functions: tuple[Activation, ...]
) -> Float[Array, "..."]:
    slope = jnp.where(activation == RELU, jnp.float32(x > 0), 1.0)
    slope = jnp.where(activation == ERF, np.float32(np.sqrt(2 / np.pi)) * jnp.exp(-x * x / 2), slope)
    for place, function in enumerate(functions):
        slope = jnp.where(activation == FIRST_TABLE + place, function.traced.in_jax(1)(x), slope)
    return slope


@partial(
    jax.jit,
    static_argnames=("size", "N", "nonlinearity", "function", "labelled", "batch_size", "functions"),
    donate_argnums=0,
)
def _advance(
    students: Students,
    conditions: Conditions,
    samples: Samples,
    place: int,
    first_sample: int,
    *,
    size: int,
    N: int,
    nonlinearity: int,
    function: Callable[[Any], Any] | None,
    labelled: bool,
    batch_size: int,
    functions: tuple[Activation, ...],
) -> Students:
    """Take ``size`` samples from ``place`` in the block: (S28, S29) for every chain at once."""
    sources, coefficients, shifts, gains, activations, teacher_activations, teacher_outputs, rules, centres = conditions
    M = teacher_outputs.shape[3]
    root = np.float32(np.sqrt(N))
    g_of, teacher_g, scale = activations[..., None], teacher_activations[..., None], rules.output_scale[..., None]

    def step(students: Students, s: Array) -> tuple[Students, None]:
        at = place + s
        row = lax.dynamic_index_in_dim(samples.products, at, axis=2, keepdims=False)  # (batch, source, width)
        first = jnp.take_along_axis(row, sources[..., :1], axis=1)
        second = jnp.take_along_axis(row, sources[..., 1:], axis=1)
        U = gains[..., None] * (first + coefficients[..., None] * second + shifts)  # (batch, chain, width)
        if labelled:
            y = jnp.asarray(samples.targets)[at]
        else:
            weights = jnp.take(teacher_outputs, jnp.asarray(samples.tasks)[at], axis=2)
            y = jnp.sum(weights * _g(teacher_g, U[..., N : N + M], functions), axis=-1)
            y += rules.label_noise * jnp.asarray(samples.noise)[:, at, None]
        X = U
        if nonlinearity == SIGN:
            X = jnp.where(jnp.signbit(U), np.float32(-1), np.float32(1))
        elif nonlinearity == ERF_INPUT:
            X = lax.erf(U * np.float32(np.sqrt(0.5)))
        elif nonlinearity == TABULATED and function is not None:
            X = jnp.vectorize(function)(U)
        if centres.shape[-1]:
            X = X[..., :N] - centres
            X = jnp.pad(X, ((0, 0), (0, 0), (0, U.shape[-1] - N)))
        X = jnp.where(jnp.arange(X.shape[-1]) < N, X, 0)
        W = _updated(students)
        field = jnp.sum(W * X[:, :, None], axis=-1) / root  # (batch, chain, K)
        v, hidden = students.output, _g(g_of, field, functions)
        error = scale[..., 0] * jnp.sum(v * hidden, axis=-1) - y
        alive = (students.diverged_sample < 0) & jnp.isfinite(error)
        diverged = jnp.where((students.diverged_sample < 0) & ~alive, first_sample + s, students.diverged_sample)
        error = jnp.where(alive, error, 0)[..., None]
        of_output = scale * jnp.where(alive[..., None], hidden, 0) * error / batch_size
        of_student = scale * jnp.where(alive[..., None], v * error * _g_prime(g_of, field, functions), 0) / batch_size
        factor = jnp.asarray(samples.factors)[rules.schedule, at]
        rate, output_rate = factor * rules.learning_rate, (factor * rules.output_rate)[..., None]
        shrink = jnp.where(alive, 1 - rate * rules.weight_decay / N, 1)
        if batch_size == 1:
            v = v - output_rate / N * of_output
            pending = rate[..., None] / root * of_student
            return students._replace(
                student=W, output=v, pending=pending, shrink=shrink, row=X, diverged_sample=diverged
            ), None
        ends = (first_sample + s + 1) % batch_size == 0
        gradient = students.gradient + of_student[..., None] * X[:, :, None]
        output_gradient = students.output_gradient + of_output
        trained = shrink[..., None, None] * W - (rate / root)[..., None, None] * gradient
        return students._replace(
            student=jnp.where(ends, trained, W),
            output=jnp.where(ends, v - output_rate / N * output_gradient, v),
            gradient=jnp.where(ends, 0, gradient),
            output_gradient=jnp.where(ends, 0, output_gradient),
            diverged_sample=diverged,
        ), None

    return lax.scan(step, students, jnp.arange(size, dtype=jnp.int32))[0]


# Samples, from the same counters as sgdlimit.random


def _maker(streams: Sequence[Stream]) -> Callable[[int], Float32[Array, "batch source step width"]]:
    """What makes the products of a block: on the device where it can draw the sources, else here."""
    sources = [source for stream in streams for source in stream.sources]
    if streams[0].projection is None or not all(isinstance(source, ON_DEVICE) for source in sources):

        def on_host(start: int) -> Array:
            blocks = []
            for stream in streams:
                blocks.append(stream.empty_products())
                stream.fill_products(start, blocks[-1])
            return jnp.asarray(np.stack(blocks))

        return on_host

    described = [[_on_device(source) for source in stream.sources] for stream in streams]
    kinds = tuple(kind for kind, _ in described[0])
    arrays = jax.tree.map(
        lambda *some: jnp.asarray(np.stack(some)), *[[arrays for _, arrays in row] for row in described]
    )
    keys = jnp.asarray(np.array([[key_of(*s.keys, purpose) for purpose in (NORMALS, COMPONENTS)] for s in streams]))
    projections = [stream.projection for stream in streams if stream.projection is not None]
    matrices = jnp.asarray(np.stack([projection.matrix for projection in projections]))
    triangles = jnp.asarray(np.stack([projection.triangle for projection in projections]))
    return lambda start: _products(keys, np.uint32(start), arrays, matrices, triangles, kinds=kinds)


ON_DEVICE = (Normals, Offsets, RescaledMixture)


def _on_device(source: Source) -> tuple[tuple[str, int], dict[str, Any]]:
    """A source of :data:`ON_DEVICE` as a static kind and arrays."""
    if isinstance(source, Offsets):
        return ("offsets", source.block_size), {"means": source.means, "thresholds": source.thresholds}
    if isinstance(source, RescaledMixture):
        offsets = {"means": source.offsets.means, "thresholds": source.offsets.thresholds}
        return ("rescaled", source.offsets.block_size), offsets | {"inverse_scale": source.inverse_scale}
    return ("normals", 1), {}


@partial(jax.jit, static_argnames="kinds")
def _products(
    keys: UInt32[Array, "batch 2 2"],
    first_step: UInt32[Array, ""],
    arrays: list[dict[str, Array]],
    matrices: Float32[Array, "batch D width"],
    triangles: Float32[Array, "batch rank width"],
    *,
    kinds: tuple[tuple[str, int], ...],
) -> Float32[Array, "batch source step width"]:
    of_one = partial(_products_of_one, kinds=kinds)
    return jax.vmap(of_one, in_axes=(0, None, 0, 0, 0))(keys, first_step, arrays, matrices, triangles)


def _products_of_one(
    keys: UInt32[Array, "2 2"],
    first_step: UInt32[Array, ""],
    arrays: list[dict[str, Array]],
    matrix: Float32[Array, "D width"],
    triangle: Float32[Array, "rank width"],
    kinds: tuple[tuple[str, int], ...],
) -> Float32[Array, "source step width"]:
    z = _normals(keys[0], first_step, len(matrix))
    products = []
    for (kind, block_size), source in zip(kinds, arrays, strict=True):
        if kind == "normals":
            products.append(jnp.matmul(z[:, : len(triangle)], triangle, precision=lax.Precision.HIGHEST))
            continue
        latent = _offsets(keys[1], first_step, source["means"], source["thresholds"], block_size)
        if kind == "rescaled":
            latent = z * source["inverse_scale"] + latent
        products.append(jnp.matmul(latent, matrix, precision=lax.Precision.HIGHEST))
    return jnp.stack(products)


def _words(
    key: UInt32[Array, "2"], first_step: UInt32[Array, ""], count: int
) -> tuple[UInt32[Array, "step count"], UInt32[Array, "step count"]]:
    """Threefry-2x32-20 on the counters (i, step): see :func:`sgdlimit.random.threefry2x32`."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(KEY_PARITY))
    step = first_step + jnp.arange(Stream.BLOCK, dtype=jnp.uint32)
    x0 = jnp.broadcast_to(jnp.arange(count, dtype=jnp.uint32), (Stream.BLOCK, count)) + keys[0]
    x1 = jnp.broadcast_to(step[:, None], (Stream.BLOCK, count)) + keys[1]
    for group in range(5):
        for bits in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x0 = x0 + x1
            x1 = ((x1 << bits) | (x1 >> (32 - bits))) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def _normals(key: UInt32[Array, "2"], first_step: UInt32[Array, ""], dim: int) -> Float32[Array, "step D"]:
    a, b = _words(key, first_step, (dim + 1) // 2)
    uniform = a.astype(jnp.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
    radius = jnp.sqrt(-2 * jnp.log(uniform))
    angle = lax.bitcast_convert_type(b, jnp.int32).astype(jnp.float32) * np.float32(2 * np.pi * 2.0**-32)
    return jnp.concatenate([radius * jnp.cos(angle), radius * jnp.sin(angle)], axis=1)[:, :dim]


def _offsets(
    key: UInt32[Array, "2"],
    first_step: UInt32[Array, ""],
    means: Float32[Array, "m D"],
    thresholds: UInt32[Array, "m-1"],
    block_size: int,
) -> Float32[Array, "step D"]:
    blocks = means.shape[1] // block_size
    words = jnp.concatenate(_words(key, first_step, (blocks + 1) // 2), axis=1)[:, :blocks]
    words = jnp.repeat(words, block_size, axis=1)
    drawn = jnp.broadcast_to(means[0], (Stream.BLOCK, means.shape[1]))
    for threshold, mean, previous in zip(thresholds, means[1:], means[:-1], strict=True):
        drawn = drawn + (mean - previous) * (words >= threshold).astype(jnp.float32)
    return drawn
