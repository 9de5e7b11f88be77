"""One generator of trained blocks: simulations drain it, and live results are measured while it runs.

On the CPU there are two kinds of work for any number of threads: making blocks of products, and training on them in
order. Blocks are independent of each other and made ahead; a group of chains takes them one after the other. What each
piece computes does not depend on who does it or when, so results are the same bit for bit for any number of threads.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from ._kernel import Students, sgd_block
from ._sources import BLOCK
from ._stream import Stream


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
    ensemble = (initial_students(stream, output_samples) for stream in streams)
    total = int(output_samples[-1])
    if engine == "jax":
        from ._blocks import train_together

        runs = [*ensemble]
        latents = ahead(pool, lambda first: np.stack([stream.latents(first) for stream in streams]), total, 2)
        for samples in train_together(streams, runs, latents):
            for run, students in enumerate(runs):
                yield run, students, samples, samples / total
        return
    for run, (stream, students) in enumerate(zip(streams, ensemble, strict=True)):
        for samples in _trained(stream, students, pool, threads):
            yield run, students, samples, (run + samples / total) / len(streams)


def initial_students(stream: Stream, output_samples: Int[ndarray, "time"]) -> Students:
    """The students as they begin, in rows as wide as the products."""
    output = np.stack([i.student_output for i in stream.instances])
    chains, N, times = len(output), stream.input_dim, len(output_samples)
    student = np.zeros((*output.shape, stream.width), np.float32)
    student[:, :, :N] = [i.student for i in stream.instances]
    seen = student.copy() if stream.chains.rule.batch_size > 1 else student[:, :0].copy()
    kept_student, kept_output = (np.repeat(kept[:, None], times, axis=1) for kept in (student[:, :, :N], output))
    return Students(
        student, output, seen, output.copy(), np.full(chains, -1), output_samples, kept_student, kept_output
    )


def ahead(pool: Executor, make: Callable[[int], ndarray], total: int, count: int) -> Iterator[tuple[int, ndarray]]:
    """The first sample of each block and what is made of it; ``count`` blocks are in the making or made."""
    starts = range(0, total, BLOCK)
    made = deque(pool.submit(make, start) for start in starts[:count])
    for place, first in enumerate(starts):
        yield first, made.popleft().result()
        made.extend(pool.submit(make, start) for start in starts[place + count :][:1])


def _trained(stream: Stream, students: Students, pool: Executor, threads: int) -> Iterator[int]:
    """Train one run, and yield the number of samples after every block."""
    total, chains = int(students.output_samples[-1]), len(students.student)
    bounds = np.linspace(0, chains, min(chains, 4 * threads) + 1, dtype=int)
    # So many blocks of products are held, each in its turn.
    rooms: list[ndarray | None] = [None] * (1 if threads == 1 else threads + 2)

    def make(first: int) -> ndarray:
        place = first // BLOCK % len(rooms)
        rooms[place] = products = stream.products(first, rooms[place])
        return products

    for first, products in ahead(pool, make, total, len(rooms)):
        block = stream.block(first, min(BLOCK, total - first), products)
        list(pool.map(partial(sgd_block, block, stream.chains, students), bounds[:-1], bounds[1:]))
        yield min(first + BLOCK, total)
