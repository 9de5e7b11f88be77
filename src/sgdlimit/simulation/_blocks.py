"""SGD of any learning rule, by blocks of samples, on the CPU and on accelerators.

For the B samples of a block, one product each gives the Gram matrix XXᵀ/N and the fields WXᵀ/√N of the weights W that
the block begins with. What the updates make of W is a combination of these weights and the samples,

    W = Σ_j w_j e_j,    (e_j) = (W, X_1/√N, ..., X_B/√N),

so that the rule runs on K (1 + B) numbers. An update subtracts η δ from the coefficient of its sample, and the field of
a later sample is Σ_j w_j e_j·X/√N. One more product gives the weights after the block. This is SGD sample by sample,
to rounding. Momentum and the gradients of an unfinished batch are further weights e_j.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int

from ..inputs import Known
from ..rules import Rule
from ._stream import SIZE, Kept, Rows, Stream


@dataclass(frozen=True)
class Setting:
    """The rule for which a program is compiled, and whether it reads given targets."""

    rule: Rule = field(compare=False, repr=False)
    digest: str
    """Stands for the rule."""
    given: bool
    """Whether the targets are given."""

    @property
    def size(self) -> int:
        """Samples of a block."""
        return self.rule.samples * max(1, SIZE // self.rule.samples)


class Fixed(NamedTuple):
    """Arrays that stay the same while a condition is trained."""

    given: Any
    rates: Any
    """The numbers of training, without schedule and tasks."""
    moments: Any
    """Diagonal, factor, cross and T of :class:`~sgdlimit.inputs.InputMoments` if the rule asks for overlaps."""


Weights = tuple[Any, Any]
"""W, or its coefficients, and a head."""


class State(NamedTuple):
    """Weights and sums that each sample changes."""

    weights: Weights
    momentum: Weights | None
    """U and V, the decaying sums of past gradients."""
    batch: Weights | None
    """The mean gradient of a batch so far."""
    square: Any
    """B of AdaGrad-Norm, or None."""
    diverged: Int[Array, ""]
    """The first row of the block in which a run left the finite numbers, or −1."""


class Clock(NamedTuple):
    """Task, factor of the rates, time and end of a batch, for each row of a chunk."""

    task: Int[Array, "row"]
    factor: Float32[Array, "row"]
    """Factor of both rates, from the schedule."""
    time: Float32[Array, "row"]
    ends: Bool[Array, "row"]
    """Whether a batch ends with this sample."""


def train(streams: Sequence[Stream], kept: Sequence[Kept], chunks: Iterable[Sequence[Rows]]) -> Iterator[int]:
    """Train every condition on streams that differ only in their keys, and yield the samples taken after every chunk.

    Weights are kept at the output samples.
    """
    stream, outputs = streams[0], kept[0].output_samples
    settings, fixed, begun = zip(*(_begun(stream, c, len(kept)) for c in range(len(stream.rules))), strict=True)
    states, wanted, total = [*begun], int(outputs[0] == 0), int(outputs[-1])
    for chunk in chunks:
        start = sample = chunk[0].start
        stop = max(sample, min(chunk[0].stop, total))
        numbers = np.arange(start, start + chunk[0].inputs.shape[1])
        # Made by NumPy, whose calls take a fraction of the time of JAX's.
        task = stream.task(numbers).astype(np.int32)
        factors, time = (x.astype(np.float32) for x in (stream.factors(numbers), stream.time(numbers)))
        ends = (numbers + 1) % stream.samples_a_step == 0
        arrays = [jax.device_put(rows[:3]) for rows in chunk]
        while sample < stop:
            end = min(stop, int(outputs[wanted]))
            for c, setting in enumerate(settings):
                part = sample - start, end - start
                clock = Clock._make((task, factors[c], time, ends))
                states[c] = _advance(states[c], arrays[c], clock, fixed[c], *part, setting=setting)
            sample = end
            if sample == outputs[wanted]:
                for c, state in enumerate(states):
                    _keep(state.weights, kept, c, wanted)
                wanted += 1
        for c, state in enumerate(states):
            for of_run, row in zip(kept, np.asarray(state.diverged), strict=True):  # waits until the chunk is done
                if of_run.diverged_sample[c] < 0 <= row:
                    of_run.diverged_sample[c] = start + row
        yield stop


def _begun(stream: Stream, c: int, runs: int) -> tuple[Setting, Fixed, State]:
    """The initial state of a condition, with an axis of runs."""
    rule, instance, single = stream.rules[c], stream.instances[c], partial(jnp.asarray, dtype=jnp.float32)
    rates = instance.rates._replace(schedule_times=None, schedule_factors=None, switch_times=None, fraction=None)
    rates = rates._replace(weight_decay=rates.weight_decay * stream.times_a_step)
    moments = None
    if rule.asks_for_overlaps:
        within = instance.moments()
        moments = within.diagonal, within.factor, within.cross, within.teacher_overlap
    weights = single(instance.initial_student), jax.tree.map(single, rule.head)
    zero = jax.tree.map(jnp.zeros_like, weights)
    state = State(
        weights,
        None if rates.momentum == 0 and rates.memory is None else zero,
        None if stream.samples_a_step == rule.samples else zero,
        None if rates.norm is None else single(rates.norm),
        jnp.asarray(-1),
    )
    setting = Setting(rule, rule.digest(len(instance.student), len(instance.teacher)), len(stream.labels) > 0)
    state = jax.tree.map(lambda x: jnp.repeat(x[None], runs, axis=0), state)
    return setting, jax.tree.map(single, Fixed(rule.given, rates, moments)), state


def _keep(weights: Weights, kept: Sequence[Kept], c: int, place: int) -> None:
    """Keep the weights of all runs at an output time."""
    W, head = jax.tree.map(np.asarray, weights)
    for run, of_run in enumerate(kept):
        of_run.student[c, place] = W[run]
        for name, values in of_run.heads[c].items():
            values[place] = head[name][run]


@partial(jax.jit, static_argnames="setting")
def _advance(state: State, arrays, clock: Clock, fixed: Fixed, first, stop, *, setting: Setting) -> State:
    """Take the rows from ``first`` to ``stop`` of a chunk, in all runs."""
    rule, size = setting.rule, setting.size

    def of_run(state, inputs, teacher, noise):
        def label(teacher, noise, task):
            return rule.target_seen(teacher, noise=noise, given=fixed.given, task=task)

        target = teacher if setting.given else jax.vmap(label)(teacher, noise[:, : rule.noise], clock.task)

        def block(i, state):
            begin = first + i * size
            part = partial(lax.dynamic_slice_in_dim, start_index=begin, slice_size=size)
            samples = jax.tree.map(part, (target, noise, clock))
            count = jnp.minimum(size, stop - begin) // rule.samples
            return _block(setting, fixed, state, part(inputs), samples, begin, count)

        return lax.fori_loop(0, (stop - first + size - 1) // size, block, state)

    return jax.vmap(of_run)(state, *arrays)


def _block(setting: Setting, fixed: Fixed, state: State, X: Float32[Array, "sample N"], samples, row, count) -> State:
    """Take ``count`` updates on the samples of a block, which begins at this row of the chunk."""
    n, rates, exact = setting.rule.samples, fixed.rates, lax.Precision.HIGHEST
    size, N = X.shape
    X = X / np.float32(np.sqrt(N))
    several = [weights[0] for weights in state[:3] if weights is not None]
    V, m, K = jnp.stack(several, axis=1), len(several), len(several[0])
    gram = jnp.matmul(X, X.T, precision=exact)
    onto = jnp.einsum("bn,kmn->bkm", X, V, precision=exact)
    own = None if rates.sphere is None else jnp.einsum("kmn,kln->kml", V, V, precision=exact)
    overlaps = {} if fixed.moments is None else _overlaps(V[:, 0], *fixed.moments)

    def norms(w):
        """|W_k|² from the coefficients of W."""
        on_weights = jnp.einsum("kml,kl->km", own, w[:, :m]) + jnp.einsum("bkm,kb->km", onto, w[:, m:])
        on_samples = jnp.einsum("bkm,km->kb", onto, w[:, :m]) + w[:, m:] @ gram
        return jnp.sum(w[:, :m] * on_weights, axis=1) + jnp.sum(w[:, m:] * on_samples, axis=1)

    def update(u, state):
        """One update: the gradient by the coefficients of its samples, then a step."""
        at = u * n
        part = partial(lax.dynamic_slice_in_dim, start_index=at, slice_size=n)
        target, noise, clock = jax.tree.map(part, samples)
        w = state.weights[0]
        fields = jnp.sum(part(onto) * w[:, :m], axis=-1) + jnp.sum(part(gram)[:, None] * w[:, m:], axis=-1)
        delta, change = _learned(setting, fixed, fields, target, noise, state.weights[1], clock, overlaps)
        gradient = lax.dynamic_update_slice(jnp.zeros((K, m + size)), delta.T, (0, m + at)), change
        if rates.norm is not None:
            squares = jnp.sum(delta @ delta.T * lax.dynamic_slice(gram, (at, at), (n, n)))
            state = state._replace(square=state.square + squares / N / rates.batch_size**2)
        if state.batch is None:
            return _step(rates, state, gradient, clock.factor[0], N, norms)
        batch = jax.tree.map(lambda a, g: a + g / rates.batch_size, state.batch, gradient)
        after = state._replace(batch=jax.tree.map(jnp.zeros_like, batch))
        after, before = _step(rates, after, batch, clock.factor[0], N, norms), state._replace(batch=batch)
        return jax.tree.map(lambda x, y: jnp.where(clock.ends[-1], x, y), after, before)

    units = iter(jnp.repeat(jnp.eye(m, m + size)[:, None], K, axis=1))
    as_coefficients = State._make([*(w and (next(units), w[1]) for w in state[:3]), *state[3:]])
    ended = lax.fori_loop(0, count, update, as_coefficients)

    def whole(weights):
        """Weights from their coefficients."""
        w, head = weights
        return jnp.matmul(w[:, m:], X, precision=exact) + jnp.sum(w[:, :m, None] * V, axis=1), head

    finite = jnp.isfinite(sum(jnp.sum(x) for x in jax.tree.leaves(ended.weights)))
    diverged = jnp.where((state.diverged < 0) & ~finite, row, state.diverged)
    return State._make([*(w and whole(w) for w in ended[:3]), ended.square, diverged])


def _learned(setting: Setting, fixed: Fixed, fields, target, noise, head, clock: Clock, overlaps):
    """δ of an update, shape (samples, K), and γ, the change of the head."""
    rule, keep, own, kept = setting.rule, fixed.rates.keep, noise[:, : setting.rule.noise], None
    if keep is not None:  # a mask for each update
        kept = jnp.where(noise[0, rule.noise :] < jax.scipy.special.ndtri(keep), 1 / keep, 0)
        head = head | {"v": head["v"] * kept}
    extras = {"given": fixed.given, "task": clock.task[0], "time": clock.time[0], **overlaps}
    delta, change = rule.learn_from(fields, target, own, head, **extras)
    if kept is not None:
        change = change | {"v": change["v"] * kept}
    return jnp.reshape(delta, (rule.samples, -1)), dict(change)


def _step(rates, state: State, gradient: Weights, factor, N: int, norms) -> State:
    """Move the weights against a gradient, with the options of training."""
    (w, head), momentum = state.weights, state.momentum
    if rates.norm is not None:
        factor = factor / jnp.sqrt(state.square)
    gradient = gradient[0] + rates.weight_decay / N * w, gradient[1]
    if momentum is not None:
        beta = rates.momentum if rates.memory is None else 1 - rates.memory / N
        gradient = momentum = jax.tree.map(lambda u, g: beta * u + g, momentum, gradient)
        factor = factor if rates.memory is None else factor / N
    w = w - factor * rates.learning_rate * gradient[0]
    head = jax.tree.map(lambda x, g: x - factor * rates.output_rate / N * g, head, gradient[1])
    if rates.sphere is not None:
        w = w * jnp.sqrt(N / norms(w))[:, None]
    return state._replace(weights=(w, head), momentum=momentum)


def _overlaps(W, diagonal, factor, cross, T):
    """Q, R and T of the weights that a block begins with."""
    N, projected = W.shape[1], W @ factor.T
    return {"Q": ((W * diagonal) @ W.T + projected @ projected.T) / N, "R": W @ cross / N, "T": T}


KNOWN = {
    "sign": lambda u: jnp.where(jnp.signbit(u), np.float32(-1), np.float32(1)),
    "erf": lambda u: lax.erf(u * np.float32(np.sqrt(0.5))),
    "identity": lambda u: u,
}
"""f by name; any other is JAX code already."""


def formed(stream: Stream, chunks: Iterable[Sequence[Rows]]) -> Iterator[Sequence[Rows]]:
    """Chunks whose inputs are latent vectors (run, row, source, D), multiplied and put through f on the device."""
    projection, chains = stream.projection, stream.chains
    matrices = [jnp.asarray(projection.triangle if each.isotropic else projection.matrix) for each in stream.sources]
    of_conditions = chains.sources, chains.coefficients, chains.gains, chains.shifts, chains.centres
    parts = [jax.tree.map(jnp.asarray, part) for part in zip(*of_conditions, strict=True)]
    for chunk in chunks:
        products = _products(jnp.asarray(chunk[0].inputs), matrices)
        yield [
            _labelled(stream, c, rows, *_formed(products, *part, f=stream.f, N=stream.input_dim))
            for c, (rows, part) in enumerate(zip(chunk, parts, strict=True))
        ]


def _labelled(stream: Stream, c: int, rows: Rows, X: Any, columns: Any) -> Rows:
    """A chunk with its inputs, and with the teacher's fields, which are the first of the columns after them."""
    if len(stream.labels) or stream.instances[c].training.moves_teacher:
        return rows._replace(inputs=X)
    teacher = jnp.concatenate([columns[..., : stream.teacher_units], rows.teacher], axis=2)
    return rows._replace(inputs=X, teacher=teacher)


@jax.jit
def _products(
    latents: Float32[Array, "run row source D"], matrices: Sequence[Float32[Array, "rank width"]]
) -> Float32[Array, "run row source width"]:
    """The products of :meth:`Stream.products`, for every run."""
    each = zip(jnp.moveaxis(latents, 2, 0), matrices, strict=True)
    return jnp.stack([jnp.matmul(C[..., : len(F)], F, precision=lax.Precision.HIGHEST) for C, F in each], axis=2)


@partial(jax.jit, static_argnames=("f", "N"))
def _formed(products, sources, coefficient, gain, shifts, centre, *, f, N):
    """Inputs X (run, row, N) of a condition, and the columns after them, which begin with the teacher's fields."""
    U = gain * (products[:, :, sources[0]] + coefficient * products[:, :, sources[1]] + shifts)
    X = KNOWN[f.name](U[..., :N]) if isinstance(f, Known) else jnp.vectorize(f.function)(U[..., :N])
    return X - centre if centre.size else X, U[..., N:]
