"""One generator of trained blocks: simulations drain it, and live results are measured while it runs.

On the CPU there are two kinds of work for any number of threads: making blocks of products, and training on them in
order. Blocks are independent of each other; a group of chains takes them one after the other. Training on the oldest
block that waits comes first, and the next block is made when there is none. What each piece computes does not depend
on who does it or when, so results are the same bit for bit for any number of threads.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from ..instance import Instance
from ._kernel import Students, sgd_block
from ._sources import BLOCK
from ._stream import Stream


class Trained(NamedTuple):
    """The students of one run after a block."""

    run: int
    students: Students
    samples: int
    """Samples that they have taken."""
    done: float
    """The part of the whole work that is done."""


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
    streams: Sequence[Stream], output_samples: Int[np.ndarray, "time"], pool: Executor, *, threads: int, engine: str
) -> Iterator[Trained]:
    """Train each run on its stream, block by block: one run after the other on the CPU, all at once by JAX.

    Weights are kept after ``output_samples``; the last of them ends the run.
    """
    ensemble = (initial_students(stream.instances, output_samples, stream.width) for stream in streams)
    total = int(output_samples[-1])
    if engine == "jax":
        from ._blocks import train_together

        runs = list(ensemble)
        for samples in train_together(streams, runs):
            for run, students in enumerate(runs):
                yield Trained(run, students, samples, samples / total)
        return
    for run, (stream, students) in enumerate(zip(streams, ensemble, strict=True)):
        for samples in _trained(stream, students, pool, threads):
            yield Trained(run, students, samples, (run + samples / total) / len(streams))


def initial_students(instances: Sequence[Instance], output_samples: Int[np.ndarray, "time"], width: int) -> Students:
    """The students as they begin, in rows of ``width``."""
    output = np.stack([i.student_output for i in instances])
    (chains, K), times, N = output.shape, len(output_samples), instances[0].input_dim
    student = np.zeros((chains, K, width), np.float32)
    student[:, :, :N] = [i.student for i in instances]
    kept_student, kept_output = np.empty((chains, times, K, N), np.float32), np.empty((chains, times, K))
    if output_samples[0] == 0:
        kept_student[:, 0], kept_output[:, 0] = student[:, :, :N], output
    seen = student.copy() if instances[0].training.batch_size > 1 else student[:, :0].copy()
    diverged = np.full(chains, -1)
    return Students(student, output, seen, output.copy(), diverged, output_samples, kept_student, kept_output)


def _trained(stream: Stream, students: Students, pool: Executor, threads: int) -> Iterator[int]:
    """Train one run, and yield the number of samples after every block.

    Only the caller's thread decides what is done next. One piece of work more than there are threads is handed out, so
    that no thread waits for the decision.
    """
    total, chains = int(students.output_samples[-1]), len(students.student)
    bounds = np.linspace(0, chains, min(chains, 4 * threads) + 1).astype(int)
    groups, blocks = len(bounds) - 1, -(-total // BLOCK)
    free = [stream.empty_products() for _ in range(min(blocks, threads + 2))]
    ready: dict[int, np.ndarray] = {}
    left: dict[int, int] = {}  # groups that have still to train on a ready block
    turn, idle = [0] * groups, set(range(groups))  # the block each group takes next
    finished: SimpleQueue[tuple[Future, int | None, int, np.ndarray]] = SimpleQueue()
    made = running = done = 0

    def train(group: int, block: int, products: np.ndarray) -> None:
        first = block * BLOCK
        samples = stream.block(first, min(BLOCK, total - first), products)
        sgd_block(samples, stream.inputs, stream.network, stream.rule, students, bounds[group], bounds[group + 1])

    def start(group: int | None, block: int, products: np.ndarray) -> None:
        if group is None:
            future = pool.submit(stream.fill_products, block * BLOCK, products)
        else:
            future = pool.submit(train, group, block, products)
        future.add_done_callback(lambda future: finished.put((future, group, block, products)))

    while done < blocks:
        while running < threads + (threads > 1):
            group = min((group for group in idle if turn[group] in ready), key=turn.__getitem__, default=None)
            if group is not None:
                idle.remove(group)
                start(group, turn[group], ready[turn[group]])
            elif free and made < blocks:
                start(None, made, free.pop())
                made += 1
            else:
                break
            running += 1
        future, group, block, products = finished.get()
        future.result()  # raises what the work raised
        running -= 1
        if group is None:
            ready[block], left[block] = products, groups
            continue
        idle.add(group)
        turn[group] += 1
        left[block] -= 1
        if left[block] == 0:
            free.append(ready.pop(block))
            done += 1
            yield min(done * BLOCK, total)
