"""Where tasks are computed: in this process, or by the workers of a dask cluster."""

import signal
import threading
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any, Self

import numpy as np

from ..errors import AccuracyWarning, ProblemError
from ..resources import cores
from ..simulation import Progress
from ._plan import Plan
from ._provenance import provenance
from ._task import compute


@dataclass
class Stop:
    """Asks an engine to end: first to begin no more tasks, then to drop the tasks that run."""

    requested: bool = False
    drop: bool = False

    def ask(self) -> None:
        """Ask once more."""
        self.drop = self.requested
        self.requested = True


@contextmanager
def handlers_kept() -> Iterator[dict[int, Any]]:
    """Let signals have other handlers for a while; in threads, which cannot set any, there is nothing to keep."""
    main = threading.current_thread() is threading.main_thread()
    before: dict[int, Any] = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if main}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Outcome:
    """A finished task: its arrays, or what went wrong."""

    index: int
    arrays: dict[str, np.ndarray] | None
    seconds: float
    where: dict[str, str]
    error: str = ""
    notes: tuple[str, ...] = ()
    """Warnings about its accuracy."""


class Engine:
    """Computes tasks of a plan: this one in this process, one after the other, each with all cores.

    Parameters
    ----------
    count
        How many tasks run at the same time.
    progress
        Called with the fraction of a task that is done.
    """

    link: str | None = None
    """Address of the cluster's dashboard."""

    def __init__(self, count: int = 1, progress: Progress = lambda done: None) -> None:
        self._count, self._progress = count, progress

    @property
    def parallel(self) -> int:
        """How many tasks run at the same time."""
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what was started for the sweep."""

    def outcomes(self, plan: Plan, indices: Sequence[int], stop: Stop) -> Iterator[Outcome]:
        """Yield the outcome of each task when it is done, in any order; after a stop only of tasks that had begun."""

        def report(done: float) -> None:
            if stop.drop:
                raise KeyboardInterrupt
            self._progress(done)

        for index in indices:
            try:
                if not stop.requested:
                    yield run_task(plan, index, cores(), report)
            except KeyboardInterrupt:
                if not stop.requested:
                    raise


def run_task(plan: Plan, index: int, threads: int = 1, progress: Progress = lambda done: None) -> Outcome:
    """Compute a task here; an error is an outcome too."""
    start, arrays, text = perf_counter(), None, ""
    with warnings.catch_warnings(record=True, action="always", category=AccuracyWarning) as caught:
        try:
            arrays = compute(plan, index, threads=threads, progress=progress)
        except Exception as error:
            text = str(error) or type(error).__name__
            if not isinstance(error, ProblemError):  # unexpected: name the place in our code
                place = traceback.extract_tb(error.__traceback__)[-1]
                file = place.filename.rpartition("sgdlimit")[2]
                text = f"{type(error).__name__}: {text} ({file}, line {place.lineno})"
    notes = []
    for each in caught:
        if issubclass(each.category, AccuracyWarning):
            notes.append(str(each.message))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return Outcome(index, arrays, perf_counter() - start, provenance(), text, tuple(dict.fromkeys(notes)))


class DaskEngine(Engine):
    """The workers of a dask cluster, a task at a time for each of their threads. Results return to be written here.

    Parameters
    ----------
    client
        A ``distributed.Client``, connected to the scheduler.
    cluster
        What was started for this sweep, and stops with it.
    renew
        Called now and then while tasks run: replaces workers that are gone.
    """

    def __init__(self, client: Any, cluster: Any = None, renew: Callable[[], object] = lambda: None) -> None:
        self.client, self._cluster, self._renew = client, cluster, renew
        self.link = client.dashboard_link or None

    @property
    def parallel(self) -> int:
        """Threads of all workers at present."""
        return sum(self.client.nthreads().values())

    def __exit__(self, *_: object) -> None:
        self.client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=10)

    def outcomes(self, plan: Plan, indices: Sequence[int], stop: Stop) -> Iterator[Outcome]:
        """See :meth:`Engine.outcomes`.

        All tasks are handed to the scheduler, which holds back what no worker is free for. If a worker is lost,
        another one computes its tasks; a task that loses four workers is an error.

        Raises
        ------
        ConnectionError
            If the scheduler is lost.
        """
        from distributed import CancelledError, as_completed

        name = f"sgdlimit-{uuid.uuid4().hex[:8]}"
        keys = [f"{name}-{index}" for index in indices]
        futures = self.client.map(lambda index: run_task(plan, index), indices, key=keys, pure=False)
        running, only_begun, done = set(futures), False, as_completed(futures, loop=self.client.loop)
        try:
            while running and not stop.drop:
                if stop.requested and not only_begun:
                    with suppress(OSError):  # of a worker just lost; asked again
                        begun = {key for tasks in self.client.call_stack().values() for key in tasks}
                        waiting = {future for future in running if future.key not in begun and not future.done()}
                        running -= waiting
                        self.client.cancel(list(waiting))
                        only_begun = True
                if self.client.status != "running":
                    raise ConnectionError
                self._renew()
                if not done.has_ready():
                    sleep(0.05)
                elif (future := next(done)) in running:
                    running.remove(future)
                    error, index = future.exception(), int(future.key.rpartition("-")[2])
                    if isinstance(error, OSError):
                        raise error
                    failed = Outcome(index, None, 0.0, {}, f"{type(error).__name__}: {error}")
                    outcome = failed if error else future.result()
                    future.release()
                    yield outcome
        except (CancelledError, OSError) as error:  # by the scheduler, or the connection
            raise ConnectionError("the scheduler is lost") from error
        finally:
            if running and self.client.status == "running":
                self.client.cancel(list(running), force=True)
