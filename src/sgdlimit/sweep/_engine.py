"""Where tasks are computed: in this process, or by the workers of a dask cluster, local or not."""

import itertools
import time
import traceback
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import ProblemError
from ..resources import cores
from ._plan import Plan
from ._provenance import provenance
from ._task import compute

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["DaskEngine", "Engine", "InProcess", "Outcome", "Stop"]

WAITING = 1
"""Tasks handed to the scheduler for each thread of the workers, beyond the one it computes."""


@dataclass
class Stop:
    """Asks an engine to end: to begin no more tasks, and then to drop those that run."""

    requested: bool = False
    drop: bool = False
    on_change: list[Callable[[], None]] = field(default_factory=list)

    def ask(self) -> None:
        """The first time for no more tasks, the second time to drop those that run."""
        self.drop = self.requested
        self.requested = True
        for call in self.on_change:
            call()


@dataclass(frozen=True)
class Outcome:
    """A task that is done: its arrays, or what went wrong."""

    index: int
    arrays: dict[str, np.ndarray] | None
    seconds: float
    where: dict[str, str]
    error: str = ""


class Engine(ABC):
    """Computes tasks of a plan, in any order."""

    @abstractmethod
    def outcomes(self, plan: Plan, indices: Iterable[int], stop: Stop) -> Iterator[Outcome]:
        """What comes of each task, as it is done; after a stop only that of tasks that had begun."""

    @property
    @abstractmethod
    def parallel(self) -> int:
        """How many tasks run at the same time."""

    @property
    def link(self) -> str | None:
        """Where the cluster's dashboard is."""
        return None

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what it holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InProcess(Engine):
    """One task after the other, each with all cores."""

    def __init__(self, progress: Callable[[int, float], None] = lambda index, done: None) -> None:
        self._progress = progress

    @property
    def parallel(self) -> int:
        """One."""
        return 1

    def outcomes(self, plan: Plan, indices: Iterable[int], stop: Stop) -> Iterator[Outcome]:
        """See :meth:`Engine.outcomes`."""
        for index in indices:
            if stop.requested:
                return

            def report(done: float, index: int = index) -> None:
                if stop.drop:
                    raise KeyboardInterrupt
                self._progress(index, done)

            try:
                outcome = run_task(plan, index, cores(), report)
            except KeyboardInterrupt:
                if stop.requested:
                    return
                raise
            yield outcome


def run_task(
    plan: Plan, index: int, threads: int = 1, progress: Callable[[float], None] = lambda done: None
) -> Outcome:
    """Compute a task here; an error is an outcome too."""
    start = time.perf_counter()
    try:
        arrays, error = compute(plan, index, threads=threads, progress=progress), ""
    except Exception as problem:
        text = str(problem) or type(problem).__name__
        if not isinstance(problem, ProblemError):  # ours, and unexpected: say where
            place = traceback.extract_tb(problem.__traceback__)[-1]
            text = f"{type(problem).__name__}: {text} ({place.filename.rpartition('sgdlimit')[2]}, line {place.lineno})"
        arrays, error = None, text
    return Outcome(index, arrays, time.perf_counter() - start, provenance(), error)


class DaskEngine(Engine):
    """The workers of a dask cluster, each thread of them a task at a time; results come home to be written.

    Parameters
    ----------
    client
        Connected to the scheduler.
    close
        What to do in the end: whatever was started for this sweep is to be ended.
    renew
        Called now and then while tasks run: replaces workers that are gone.
    """

    def __init__(
        self,
        client: "Client",
        close: Callable[[], object] = lambda: None,
        renew: Callable[[], object] = lambda: None,
    ) -> None:
        self.client: Any = client  # whose methods are coroutines or not, by how it was made
        self._close, self._renew = close, renew

    @property
    def parallel(self) -> int:
        """Threads of all workers there are now."""
        return sum(self.client.nthreads().values())

    @property
    def link(self) -> str | None:
        """Address of the dashboard."""
        return self.client.dashboard_link or None

    def close(self) -> None:
        """End what was started for the sweep."""
        self._close()

    def outcomes(self, plan: Plan, indices: Iterable[int], stop: Stop) -> Iterator[Outcome]:
        """See :meth:`Engine.outcomes`.

        A worker that is lost has its tasks computed by another one; a task that loses four workers is an error.

        Raises
        ------
        ConnectionError
            If the scheduler is lost.
        """
        from distributed import CancelledError

        name = f"sgdlimit-{uuid.uuid4().hex[:8]}"
        waiting = iter(indices)
        running: dict[Future[Any], int] = {}
        only_begun = False
        try:
            while True:
                if not stop.requested:
                    room = max(1, (1 + WAITING) * self.parallel) - len(running)
                    for index in itertools.islice(waiting, max(0, room)):
                        key = f"{name}-{index}"
                        running[self.client.submit(run_task, plan, index, 1, key=key, pure=False)] = index
                elif not only_begun and not stop.drop:
                    with suppress(OSError):  # of a worker just lost; asked again
                        self._cancel_waiting(running)
                        only_begun = True
                if not running or stop.drop:
                    return
                for future in self._done(running):
                    index = running.pop(future)
                    outcome = self._outcome(future, index)
                    future.release()
                    yield outcome
        except (CancelledError, OSError) as error:  # by the scheduler, or the connection
            raise ConnectionError("the scheduler is lost") from error
        finally:
            if running and self.client.status == "running":
                self.client.cancel(list(running), force=True)

    def _done(self, running: "dict[Future[Any], int]") -> "list[Future[Any]]":
        """Those that are done, after half a second at the latest."""
        from distributed import TimeoutError, wait

        with suppress(TimeoutError), self.client.as_current():
            wait(list(running), timeout=0.5, return_when="FIRST_COMPLETED")
        if self.client.status != "running":
            raise ConnectionError
        self._renew()
        return [future for future in running if future.done()]

    def _outcome(self, future: "Future[Any]", index: int) -> Outcome:
        from distributed import CancelledError

        try:
            return future.result()
        except (CancelledError, OSError):
            raise
        except Exception as problem:
            return Outcome(index, None, 0.0, {}, f"{type(problem).__name__}: {problem}")

    def _cancel_waiting(self, running: "dict[Future[Any], int]") -> None:
        """Take back what no worker has begun."""
        begun = {key for tasks in self.client.call_stack().values() for key in tasks}
        idle = [future for future in running if future.key not in begun and not future.done()]
        for future in idle:
            del running[future]
        if idle:
            self.client.cancel(idle)
