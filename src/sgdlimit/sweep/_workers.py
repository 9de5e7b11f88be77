"""Workers on this machine: processes of one thread, which only this process reaches, through pipes.

A pool of :mod:`concurrent.futures` would drop the tasks of all its workers when one of them is killed, leave workers
behind when this process is, and hang on a result that was cut short. Here each worker has pipes of its own.
"""

import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from types import ModuleType
from typing import Any, NamedTuple

from ._engine import Engine, Outcome, Stop, run_task
from ._plan import Plan

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    "PJRT_NPROC": "1", "MALLOC_TRIM_THRESHOLD_": "65536",
}  # fmt: skip
"""Settings of every worker. A task has one thread, also in XLA, because as many tasks run as there are cores. Memory
that a task frees returns to the system."""

MOST_LOST = 4
"""Workers that may be lost with a task before it counts as an error."""

KILLED = (
    f"{MOST_LOST} workers were killed computing it, as happens where memory is short. Use fewer --workers or a smaller "
    "run.conditions_per_task."
)

POLL_SECONDS = 0.1
"""Interval at which a stop without a signal is noticed."""


class Worker(NamedTuple):
    """A process that computes the tasks whose numbers it gets."""

    process: BaseProcess
    tasks: Connection
    outcomes: Connection


class LocalEngine(Engine):
    """Workers on this machine, each with one task at a time. No more of them start than there are tasks."""

    def outcomes(self, plan: Plan, indices: Sequence[int], stop: Stop) -> Iterator[Outcome]:
        """See :meth:`Engine.outcomes`.

        If a worker is killed, a new one computes its task; a task that loses four workers is an error.
        """
        waiting, lost = deque(indices), Counter[int]()
        workers: list[Worker] = []
        running: dict[Any, tuple[Worker, int]] = {}

        def give(worker: Worker | None) -> None:
            """Hand the next task to a worker, or to a new one."""
            if waiting and not stop.requested:
                if worker is None:
                    workers.append(worker := _worker(plan))
                index = waiting.popleft()
                running[worker.outcomes] = worker, index
                with suppress(OSError):  # of a worker just killed, whose end is noticed below
                    worker.tasks.send(index)

        try:
            for _ in range(self._count):
                give(None)
            while running and not stop.drop:
                for ready in wait(list(running), POLL_SECONDS):
                    worker, index = running.pop(ready)
                    try:
                        outcome = worker.outcomes.recv()
                    except (EOFError, OSError):  # it was killed, perhaps inside a message
                        worker, outcome = None, None
                        lost[index] += 1
                        if lost[index] < MOST_LOST:
                            waiting.appendleft(index)
                        else:
                            outcome = Outcome(index, None, 0.0, {}, KILLED)
                    give(worker)  # before the outcome is written, which takes time
                    if outcome is not None:
                        yield outcome
        finally:
            for worker in workers:
                worker.process.kill()
            for worker in workers:
                worker.process.join()
                worker.tasks.close()
                worker.outcomes.close()


def _worker(plan: Plan) -> Worker:
    """Start a worker. Its ends of the pipes are closed here, so that this process notices when it ends."""
    (its_tasks, tasks), (outcomes, its_outcomes) = (get_context("spawn").Pipe(duplex=False) for _ in range(2))
    process = start(_serve, plan, its_tasks, its_outcomes)
    its_tasks.close()
    its_outcomes.close()
    return Worker(process, tasks, outcomes)


def _serve(plan: Plan, tasks: Connection, outcomes: Connection) -> None:
    """Compute tasks for ever."""
    while True:
        outcomes.send(run_task(plan, tasks.recv()))


def start(function: Callable[..., object], *arguments: Any) -> BaseProcess:
    """Call a function in a new process of one thread, which ends with this one and is spared the terminal's Ctrl-C."""
    process = get_context("spawn").Process(target=_until_parent_ends, args=(function, *arguments), daemon=True)
    with _apart():
        process.start()
    return process


def _until_parent_ends(function: Callable[..., object], *arguments: Any) -> None:
    """Call a function; this process ends with the one that started it, however that ends."""

    def watch() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
    function(*arguments)


@contextmanager
def _apart() -> Iterator[None]:
    """Processes that begin here have ``ENVIRONMENT``, get no Ctrl-C, and do not run the user's program again."""
    resource_tracker.ensure_running()  # which otherwise unblocks the signal where it begins
    environment, program = dict(os.environ), sys.modules["__main__"]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(ENVIRONMENT)
    sys.modules["__main__"] = ModuleType("__main__")  # else a program needs `if __name__ == "__main__"`
    try:
        yield
    finally:
        sys.modules["__main__"] = program
        for name in ENVIRONMENT:
            del os.environ[name]
        os.environ.update(environment)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
