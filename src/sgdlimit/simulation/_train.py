"""One generator of trained blocks: simulations drain it, and live results are measured while it runs.

On the CPU there are two kinds of work for any number of threads: making blocks of products, and training on them in
order. Blocks are independent of each other and made ahead; a group of chains takes them one after the other. What each
piece computes does not depend on who does it or when, so results are the same bit for bit for any number of threads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from .._jax import own_jax
from ._kernel import Block, Students, sgd_block
from ._sources import BLOCK
from ._stream import Stream

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
) -> Iterator[tuple[int, Students, int, float]]:
    """Train each run on its stream, block by block: one run after the other on the CPU, all at once by JAX.

    Yields a run, its students, the samples that they have taken, and the part of the whole work that is done. Weights
    are kept after ``output_samples``; the last of them ends the run.
    """
    total = int(output_samples[-1])
    starts = range(0, total, BLOCK)
    if engine == "jax":
        from ._blocks import train_together

        runs = [initial_students(stream, output_samples) for stream in streams]
        latents = ahead(pool, lambda first: np.stack([stream.latents(first) for stream in streams]), starts, 2)
        training = train_together(streams, runs, zip(starts, latents, strict=True))
        while True:
            with own_jax(accelerated=True):  # left between blocks, when other code runs
                samples = next(training, None)
            if samples is None:
                return
            for run, students in enumerate(runs):
                yield run, students, samples, samples / total
    # So many blocks of products are held, each in its turn: while a run's last ones train, the next run's are made.
    rooms: list[ndarray | None] = [None] * (1 if threads == 1 else threads + 3)

    def make(which):
        number, (stream, first) = which
        place = number % len(rooms)
        rooms[place] = products = stream.products(first, rooms[place])
        return stream.block(first, min(BLOCK, total - first), products)

    lag = 2 * (threads > 1)
    made = ahead(pool, make, enumerate((stream, first) for stream in streams for first in starts), len(rooms) - lag)
    for run, stream in enumerate(streams):
        students = initial_students(stream, output_samples)
        for block in _trained(islice(made, len(starts)), stream, students, pool, 4 * threads, lag):
            samples = block.first + len(block.noise)
            yield run, students, samples, (run + samples / total) / len(streams)


def _trained(
    blocks: Iterable[Block], stream: Stream, students: Students, pool: Executor, groups: int, lag: int
) -> Iterator[Block]:
    """Train one run; each block is handed on when all groups of chains have taken it.

    Groups may go on to the next ``lag`` blocks meanwhile, so that no thread waits for the slowest group.
    """
    chains = len(students.student)
    bounds = np.linspace(0, chains, min(chains, groups) + 1, dtype=int)
    before: Sequence[Future | None] = [None] * (len(bounds) - 1)
    training = deque()

    def train(block, part, earlier):
        if earlier is not None:  # the group takes its blocks in order
            earlier.result()
        sgd_block(block, stream.chains, students, bounds[part], bounds[part + 1])

    for block in blocks:
        before = [pool.submit(train, block, part, earlier) for part, earlier in enumerate(before)]
        training.append((block, before))
        if len(training) > lag:
            yield _finished(*training.popleft())
    for block, parts in training:
        yield _finished(block, parts)


def _finished(block: Block, parts: Sequence[Future]) -> Block:
    """Wait until all groups have trained on the block."""
    for part in parts:
        part.result()
    return block


def initial_students(stream: Stream, output_samples: Int[ndarray, "time"]) -> Students:
    """The students as they begin, in rows as wide as the products."""
    output = np.stack([i.student_output for i in stream.instances])
    chains, N, times = len(output), stream.input_dim, len(output_samples)
    student = np.zeros((*output.shape, stream.width), np.float32)
    student[:, :, :N] = [i.student for i in stream.instances]
    seen = student.copy() if stream.chains.rates.batch_size > 1 else student[:, :0].copy()
    kept_student, kept_output = (np.repeat(kept[:, None], times, axis=1) for kept in (student[:, :, :N], output))
    return Students(
        student, output, seen, output.copy(), np.full(chains, -1), output_samples, kept_student, kept_output
    )


def ahead(pool: Executor, make: Callable[[Any], Made], items: Iterable[Any], count: int) -> Iterator[Made]:
    """What is made of each item, in order; ``count`` are in the making or made."""
    waiting = iter(items)
    made = deque(pool.submit(make, item) for item in islice(waiting, count))
    while made:
        yield made.popleft().result()
        made.extend(pool.submit(make, item) for item in islice(waiting, 1))
