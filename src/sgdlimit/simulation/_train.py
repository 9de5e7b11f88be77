"""One generator of trained blocks: simulations drain it, and live results are measured while it runs.

On the CPU there are two kinds of work for any number of threads: making blocks of products, and training on them in
order. Blocks are independent of each other and made ahead. A group of chains takes them one after the other. The result
of each piece does not depend on the thread or the time, so results have the same bits for any number of threads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice, product
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from .._jax import own_jax
from ._kernel import Block, Students, sgd_block
from ._sources import BLOCK
from ._stream import SIZE, Kept, Rows, Stream
from ._teacher import moving

Made = TypeVar("Made")


class Here(Executor):
    """Runs work at once, on the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Run the work; errors are raised here."""
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def workers(threads: int) -> Executor:
    """A pool of threads; one thread is the caller's."""
    return Here() if threads == 1 else ThreadPoolExecutor(threads, thread_name_prefix="sgdlimit")


def trained_blocks(
    streams: Sequence[Stream], output_samples: Int[ndarray, "time"], pool: Executor, *, threads: int, engine: str
) -> Iterator[tuple[int, Kept, int, float]]:
    """Train each run on its stream, block by block: one run after the other on the CPU, all at once by ``"jax"``.

    Yields a run, what is kept of it, the samples that it has taken, and the part of the whole work that is done.
    Weights are kept after ``output_samples``; the last of them ends the run.
    """
    total, lag = int(output_samples[-1]), 2 * (threads > 1 and engine == "numba")
    starts = range(0, total, BLOCK)
    groups = [streams] if engine == "jax" else [[stream] for stream in streams]
    # Room for so many blocks of products, reused in turn: while a run's last blocks train, those of the next are made.
    rooms: list[ndarray | None] = [None] * (1 if threads == 1 else threads + 3)

    def make(which) -> Any:
        number, (group, first) = which
        if engine == "jax":
            return _rows(group, first, None)
        place = number % len(rooms)
        products = rooms[place] = group[0].products(first, rooms[place])
        if engine == "numba":
            return group[0].block(first, min(BLOCK, total - first), products)
        return _rows(group, first, products)

    made = _ahead(pool, make, enumerate(product(groups, starts)), len(rooms) - lag)
    for number, group in enumerate(groups):
        kept, blocks = [_as_begun(stream, output_samples) for stream in group], islice(made, len(starts))
        if engine == "numba":
            training = _trained(blocks, group[0], kept[0], pool, 4 * threads, lag)
        else:
            training = _trained_by_blocks(blocks, group, kept, on_device=engine == "jax")
        for samples in training:
            for run, of_run in enumerate(kept, number):
                yield run, of_run, samples, (number + samples / total) / len(groups)


def _trained_by_blocks(
    blocks: Iterable[list[Rows]], streams: Sequence[Stream], kept: Sequence[Kept], *, on_device: bool
) -> Iterator[int]:
    """Train runs by :mod:`._blocks`; JAX's settings are left between blocks, when other code runs."""
    from ._blocks import formed, train

    joined = _joined(moving(streams, kept, blocks))
    training = train(streams, kept, formed(streams[0], joined) if on_device else joined)
    while True:
        with own_jax(accelerated=True):
            samples = next(training, None)
        if samples is None:
            break
        yield samples


def _trained(
    blocks: Iterable[Block], stream: Stream, kept: Kept, pool: Executor, groups: int, lag: int
) -> Iterator[int]:
    """Train one run; the samples taken are handed on when all groups of chains have taken a block.

    Groups may go on to the next ``lag`` blocks meanwhile, so that no thread waits for the slowest group.
    """
    students, chains = _students(stream, kept), len(stream.instances)
    bounds = np.linspace(0, chains, min(chains, groups) + 1, dtype=int)
    before: Sequence[Future | None] = [None] * (len(bounds) - 1)
    training = deque()

    def train(block, part, earlier):
        if earlier is not None:  # the group takes its blocks in order
            earlier.result()
        sgd_block(block, stream.chains, students, bounds[part], bounds[part + 1])

    def finished():
        block, parts = training.popleft()
        for part in parts:
            part.result()
        return block.first + len(block.noise)

    for block in blocks:
        before = [pool.submit(train, block, part, earlier) for part, earlier in enumerate(before)]
        training.append((block, before))
        if len(training) > lag:
            yield finished()
    while training:
        yield finished()


def _students(stream: Stream, kept: Kept) -> Students:
    """The students as they begin, in rows as wide as the products. Their output weights are kept in one array."""
    begun = kept.student[:, 0]
    student = np.zeros((*begun.shape[:2], stream.width), np.float32)
    student[:, :, : stream.input_dim] = begun
    seen = student.copy() if stream.chains.rates.batch_size > 1 else student[:, :0].copy()
    outputs = np.array([head["v"] for head in kept.heads])
    for head, output in zip(kept.heads, outputs, strict=True):
        head["v"] = output
    output = outputs[:, 0].copy()
    return Students(
        student, output, seen, output.copy(), kept.diverged_sample, kept.output_samples, kept.student, outputs
    )


def _as_begun(stream: Stream, output_samples: Int[ndarray, "time"]) -> Kept:
    """The weights kept of a run that has not begun: the initial weights at every time."""
    times = len(output_samples)
    student = np.array([instance.initial_student for instance in stream.instances], np.float32)
    heads = [{name: np.repeat(x[None], times, axis=0) for name, x in rule.head.items()} for rule in stream.rules]
    teachers = [np.repeat(i.teacher[None], times * i.training.moves_teacher, axis=0) for i in stream.instances]
    return Kept(np.full(len(student), -1), output_samples, np.repeat(student[:, None], times, axis=1), heads, teachers)


def _rows(streams: Sequence[Stream], first: int, products: ndarray | None) -> list[Rows]:
    """A block of samples of each condition, after room for those that the last update before it has left.

    Without products the inputs are latent vectors of all runs, to be multiplied elsewhere.
    """
    stream, made = streams[0], []
    latents = [each.latents(first).swapaxes(0, 1) for each in streams] if products is None else []
    for c, (rule, instance) in enumerate(zip(stream.rules, stream.instances, strict=True)):
        left, count = first % rule.samples, BLOCK + 2 * rule.samples + SIZE
        start, place = first - left, slice(left, left + BLOCK)

        def placed(parts, count=count, place=place):
            """Arrays of all runs, whose rows take a place among zeros."""
            whole = np.zeros((len(parts), count, *parts[0].shape[1:]), parts[0].dtype)
            whole[:, place] = parts
            return whole

        if c and (products is None or stream.chains.same_input[c]):
            inputs = made[-1].inputs
        elif products is None:
            inputs = placed(latents)
        else:
            # JAX takes arrays as they are where they begin at a multiple of 64 bytes, and copies others.
            room = np.empty(count * stream.input_dim + 16, np.float32)
            begin = -room.ctypes.data // 4 % 16
            inputs = room[begin : begin + room.size - 16].reshape(1, count, -1)
            inputs[:, place.stop :] = 0
            stream.form(c, products, inputs[0, place])
        if (given := stream.given_labels(start, count)) is not None:
            teacher = given[None]
        elif instance.training.moves_teacher:
            teacher = placed([each.latent(c, first) for each in streams])
        else:
            teacher = placed([each.sees(c, first, products) for each in streams])
        columns = rule.noise + len(instance.student) * (instance.rates.keep is not None)
        noise = np.stack([each.noise(start, count, columns) for each in streams])
        stop = (first + BLOCK) // rule.samples * rule.samples
        made.append(Rows(inputs, teacher, noise, start, stop))
    return made


def _joined(chunks: Iterable[list[Rows]]) -> Iterator[list[Rows]]:
    """Chunks that begin with the samples that the updates of the one before have left."""
    before = []
    for number, chunk in enumerate(chunks):
        for rows, old in zip(chunk, before, strict=bool(before)):
            left, end = number * BLOCK - rows.start, number * BLOCK - old.start
            for new_array, old_array in zip(rows[:2], old[:2], strict=True):
                if left:
                    new_array[:, :left] = old_array[:, end - left : end]
        before = chunk
        yield chunk


def _ahead(pool: Executor, make: Callable[[Any], Made], items: Iterable[Any], count: int) -> Iterator[Made]:
    """The results of each item, in order; ``count`` of them are made ahead."""
    waiting = iter(items)
    made = deque(pool.submit(make, item) for item in islice(waiting, count))
    while made:
        yield made.popleft().result()
        made.extend(pool.submit(make, item) for item in islice(waiting, 1))
