"""The same SGD as :mod:`sgdlimit.simulation._kernel`, for accelerators: all runs and chains through one scan.

The host draws the latent vectors, so the same seed means the same samples; the device multiplies them.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int
from numpy import float32, ndarray

from ..inputs import Known, Nonlinearity
from ..rules import ACTIVATIONS, Activation
from ._kernel import Students
from ._sources import BLOCK
from ._stream import Stream

ROOT_HALF = float32(np.sqrt(0.5))

KNOWN = {
    "sign": lambda u: jnp.where(jnp.signbit(u), float32(-1), float32(1)),
    "erf": lambda u: lax.erf(u * ROOT_HALF),
    "identity": lambda u: u,
}
"""f by name; any other is JAX code already."""


class Setting(NamedTuple):
    """What a scan is compiled for."""

    N: int
    batch_size: int
    f: Known | Nonlinearity
    functions: tuple[Activation, ...]
    """Activations that are not built in, in the order of their codes."""


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
    noise: Float32[Array, ""]
    """A standard normal for the label."""
    factor: Float32[Array, ""]
    """What the schedule multiplies both rates with."""
    task: Int[Array, ""]


OF_RUNS, OF_CHAINS = Sample._make([None, 0, None, None]), Sample._make([None, None, 0, None])
"""Which of its parts differ between the runs, and between the chains of a run."""


def train_together(
    streams: Sequence[Stream],
    runs: Sequence[Students],
    latents: Iterable[tuple[int, Float32[ndarray, "run source sample D"]]],
) -> Iterator[int]:
    """Train all runs at once, each on its stream, and yield the number of samples after every block of latent vectors.

    The streams differ in their keys alone. Weights are kept at the output samples.
    """
    stream, output_samples = streams[0], runs[0].output_samples
    projection, rates = stream.projection, stream.chains.rates
    setting = Setting(stream.input_dim, rates.batch_size, stream.f, tuple(stream.functions))
    matrices = [
        jnp.asarray(projection.triangle if source.isotropic else projection.matrix) for source in stream.sources
    ]
    chains = stream.chains._replace(
        same_input=None, f=None, f_tables=None, tables=None, switch_samples=None, rates=rates._replace(batch_size=None)
    )
    chains, state = _single(chains), _state(runs)
    total, wanted = int(output_samples[-1]), int(output_samples[0] == 0)
    for first, drawn in latents:
        stop, products, samples = min(first + BLOCK, total), _products(drawn, matrices), _samples(streams, first)
        sample = first
        while sample < stop:
            # Compiled scans have sizes that are powers of two, the largest first.
            size = 1 << (min(stop, int(output_samples[wanted])) - sample).bit_length() - 1
            state = _advance(state, chains, products, samples, sample - first, size=size, setting=setting)
            sample += size
            if sample == output_samples[wanted]:
                student, output = np.asarray(state.updated()), np.asarray(state.students.output)
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


@jax.jit
def _products(
    latents: Float32[Array, "run source sample D"], matrices: Sequence[Float32[Array, "rank width"]]
) -> Float32[Array, "run source sample width"]:
    """What :meth:`Stream.products` makes for every run."""
    return jnp.stack(
        [
            jnp.matmul(latents[:, source, :, : len(matrix)], matrix, precision=lax.Precision.HIGHEST)
            for source, matrix in enumerate(matrices)
        ],
        axis=1,
    )


def _samples(streams: Sequence[Stream], first: int) -> Sample:
    """The samples of a block along the first axis; the noise has an axis of runs, the factors have one of chains."""
    chains, number = streams[0].chains, np.arange(first, first + BLOCK)
    blocks = [stream.block(first, BLOCK, np.empty(0, float32)) for stream in streams]
    noise = np.stack([block.noise for block in blocks], axis=1)
    task = np.searchsorted(chains.switch_samples, number, side="right")
    return Sample(*_single((number, noise, blocks[0].factors.T, task)))


@partial(jax.jit, static_argnames=("size", "setting"), donate_argnums=0)
def _advance(
    state: State,
    chains: Any,
    products: Float32[Array, "run source sample width"],
    samples: Sample,
    place: int,
    *,
    size: int,
    setting: Setting,
) -> State:
    """Take ``size`` samples from ``place`` in the block, with every chain of every run."""
    of_run = jax.vmap(partial(_step, setting), in_axes=(0, 0, None, OF_CHAINS))
    of_all = jax.vmap(of_run, in_axes=(None, 0, 0, OF_RUNS))

    def step(state, at):
        row = lax.dynamic_index_in_dim(products, at, axis=2, keepdims=False)
        return of_all(chains, state, row, jax.tree.map(lambda values: values[at], samples)), None

    return lax.scan(step, state, place + jnp.arange(size, dtype=jnp.int32))[0]


def _step(
    setting: Setting, chain: Any, state: State, products: Float32[Array, "source width"], sample: Sample
) -> State:
    """One sample of one chain: (S28, S29), as :func:`sgdlimit.simulation._kernel.sgd_block` takes it."""
    N, f, students, rates = setting.N, setting.f, state.students, chain.rates
    first, second = products[chain.sources[0]], products[chain.sources[1]]
    U = chain.gains * (first + chain.coefficients * second + chain.shifts)
    outputs = chain.teacher_output[sample.task]
    g, _ = _value_and_slope(chain.teacher_activations, U[N : N + len(outputs)], setting)
    label = jnp.sum(outputs * g) + rates.label_noise * sample.noise
    X = KNOWN[f.name](U[:N]) if isinstance(f, Known) else jnp.vectorize(f.function)(U[:N])
    X = jnp.pad(X - chain.centres if chain.centres.size else X, (0, len(U) - N))

    begins = sample.number % setting.batch_size == 0
    student, output = state.updated(), students.output
    seen_student, v = student, output
    if setting.batch_size > 1:
        seen_student = jnp.where(begins, student, students.seen_student)
        v = jnp.where(begins, output, students.seen_output)
    root = float32(np.sqrt(N))
    field = jnp.sum(seen_student * X, axis=-1) / root
    hidden, slope = _value_and_slope(chain.activations, field, setting)
    error = rates.student_scale * jnp.sum(v * hidden) - label
    going = students.diverged_sample < 0
    alive = going & jnp.isfinite(error)
    share = rates.student_scale * error / setting.batch_size
    rate, output_rate = sample.factor * rates.learning_rate, sample.factor * rates.output_rate
    decay = jnp.where(begins, rate * rates.weight_decay / N, 0)
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
        lambda x, g=g: tuple(jnp.asarray(order(x), x.dtype) for order in g.in_jax[:2])
        for g in (*known, *setting.functions)
    ]
    return lax.switch(code, branches, x)
