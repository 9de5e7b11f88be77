"""Run a sweep: compute what its store lacks, report on the way, and stop at any moment when asked to."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dask.utils import format_time

from ..errors import SweepError
from ._engine import Engine, Outcome, Stop
from ._store import SweepStore


@dataclass
class Summary:
    """How far a sweep has come."""

    total: int
    finished: int
    computed: int = 0
    diverged: int = 0
    """Conditions of the tasks just computed in which SGD or a theory diverged."""
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False
    started: float = field(default_factory=time.monotonic)
    text: str = ""
    """All of it in words."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.finished == self.total

    @property
    def pace(self) -> str:
        """Rate, time left, and what diverged or failed."""
        words = []
        if self.computed:
            each = (time.monotonic() - self.started) / self.computed
            words = [f"{60 / each:.3g} a minute", f"{format_time((self.total - self.finished) * each)} left"]
        words += [f"{self.diverged} diverged"] if self.diverged else []
        words += [f"{len(self.failures)} failed"] if self.failures else []
        return ", ".join(words)


class Log:
    """A line of JSON for everything that happens, in a file beside the store."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __call__(self, event: str, **what: Any) -> None:
        """Add a line; a log that cannot be written does not stop the sweep."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **what}, default=str)
        if self._path is not None:
            with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def run_sweep(
    store: SweepStore,
    engine: Engine,
    *,
    max_failures: int = 3,
    log: Callable[..., None] = Log(None),  # noqa: B008 - it holds nothing
    report: Callable[[Summary, Outcome | None], None] = lambda summary, outcome: None,
    stop: Stop | None = None,
) -> Summary:
    """Compute the tasks that are missing in a store.

    Parameters
    ----------
    store
        The store, inside its ``with``.
    engine
        Computes the tasks.
    max_failures
        Number of tasks that end with an error after which the sweep stops. They are tried again when it is continued.
        A divergence is not an error; it is recorded in the results.
    log
        Gets every event.
    report
        Called in the beginning and after every task.
    stop
        Can be asked to stop from elsewhere; Ctrl-C asks it too.

    Returns
    -------
    Summary
        What was done; ``interrupted`` after a stop.

    Raises
    ------
    SweepError
        After too many failures, naming their settings, or if the scheduler is lost.
    OSError
        If the store cannot be written to.
    """
    stop, missing = stop or Stop(), store.missing()
    summary = Summary(len(store.plan), len(store.finished))
    log("begin", store=store.path, tasks=summary.total, missing=len(missing), parallel=engine.parallel)
    report(summary, None)
    try:
        with _interrupts_ask(stop, log):
            for outcome in engine.outcomes(store.plan, missing, stop):
                _take(outcome, store, summary, log)
                report(summary, outcome)
                if outcome.error and len(summary.failures) >= max_failures:
                    raise SweepError(
                        f"{len(summary.failures)} of {summary.computed + len(summary.failures)} tasks ended with an "
                        f"error, the last at {summary.failures[-1]}; {summary.finished} of {summary.total} are stored"
                    )
    except ConnectionError as error:
        raise SweepError(
            f"{error}; {summary.finished} of {summary.total} tasks are stored, the same command goes on from there"
        ) from None
    finally:
        summary.interrupted = stop.requested and not summary.complete
        log("end", finished=summary.finished, failures=len(summary.failures), interrupted=summary.interrupted)
    return summary


def _take(outcome: Outcome, store: SweepStore, summary: Summary, log: Callable[..., None]) -> None:
    """Store the results of a task, or note its error."""
    what = {"task": outcome.index, "settings": store.plan.name(outcome.index)}
    if outcome.arrays is None:
        summary.failures.append(f"{what['settings']}: {outcome.error}")
        log("failure", **what, error=outcome.error, **outcome.where)
        return
    lost = [outcome.arrays["diverged_at"], *outcome.arrays["theory_diverged_at"]]
    record = {"seconds": round(outcome.seconds, 3), "diverged": int(np.isfinite(lost).any(axis=0).sum())}
    start = time.perf_counter()
    store.write(outcome.index, outcome.arrays, **record, **outcome.where)
    summary.finished += 1
    summary.computed += 1
    summary.diverged += record["diverged"]
    written = round(time.perf_counter() - start, 3)
    log("task", **what, **record, written_in=written, host=outcome.where.get("host", ""))


@contextmanager
def _interrupts_ask(stop: Stop, log: Callable[..., None]) -> Iterator[None]:
    """Let Ctrl-C, and what a batch system sends before it kills, ask for a stop instead of raising an exception."""
    before: dict[int, Any] = {}

    def ask(number: int, frame: object) -> None:
        stop.requested |= number == signal.SIGTERM  # there is little time
        stop.ask()
        if stop.drop:  # once more ends it wherever it is
            signal.signal(number, before[number])
        log("interrupt", signal=signal.Signals(number).name, drop=stop.drop)

    if threading.current_thread() is threading.main_thread():
        before |= {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
