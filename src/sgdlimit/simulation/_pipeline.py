"""Two kinds of work, any number of threads: making blocks of products, and training on them in order.

Blocks are independent of each other; a group of chains must take them one after the other. A thread prefers to train on
the oldest block that waits, and makes the next block when there is none. What each piece computes does not depend on
who does it or when, so results are the same bit for bit for any number of threads.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

__all__ = ["run_pipeline"]


def run_pipeline(
    *,
    blocks: int,
    groups: int,
    threads: int,
    empty: Callable[[], np.ndarray],
    make: Callable[[int, np.ndarray], None],
    train: Callable[[int, int, np.ndarray], None],
    progress: Callable[[int], None],
) -> None:
    """Make ``blocks`` blocks and train every group on each, in order.

    Parameters
    ----------
    empty
        Makes a buffer for one block; ``threads + 2`` of them are ever in use.
    make
        ``make(block, buffer)`` fills a buffer.
    train
        ``train(group, block, buffer)`` trains one group on a block; never called twice at once for one group.
    progress
        Called with the number of finished blocks.
    """
    state = threading.Condition()
    free = [empty() for _ in range(min(blocks, threads + 2))]
    ready: dict[int, np.ndarray] = {}
    left: dict[int, int] = {}  # groups that have still to train on a ready block
    turn = [0] * groups  # the block each group takes next
    busy = [False] * groups
    made = done = 0
    failed = False

    def next_training() -> int | None:
        waiting = [g for g in range(groups) if not busy[g] and turn[g] in ready]
        return min(waiting, key=lambda g: turn[g], default=None)

    def stop() -> None:
        nonlocal failed
        with state:
            failed = True
            state.notify_all()

    def finish(group: int | None, block: int, buffer: np.ndarray) -> None:
        nonlocal done
        with state:
            if group is None:
                ready[block], left[block] = buffer, groups
            else:
                busy[group] = False
                turn[group] += 1
                left[block] -= 1
                if left[block] == 0:
                    free.append(ready.pop(block))
                    done += 1
                    progress(done)
            state.notify_all()

    def work() -> None:
        nonlocal made
        while True:
            with state:
                while True:
                    if failed or done == blocks:
                        return
                    group = next_training()
                    if group is not None:
                        busy[group] = True
                        block, buffer = turn[group], ready[turn[group]]
                        break
                    if free and made < blocks:
                        block, buffer = made, free.pop()
                        made += 1
                        break
                    state.wait()
            try:
                if group is None:
                    make(block, buffer)
                else:
                    train(group, block, buffer)
                finish(group, block, buffer)
            except BaseException:  # the progress that is asked for may end it too
                stop()
                raise

    if threads == 1:
        work()
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="sgdlimit") as pool:
        workers = [pool.submit(work) for _ in range(threads)]
        try:
            for worker in workers:
                worker.result()
        except BaseException:  # Ctrl-C among them, which this thread alone gets
            stop()
            raise
