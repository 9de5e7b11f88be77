"""Run a sweep: what is missing in its store is computed, reported as it goes, and can be interrupted at any moment."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ProblemError, SweepError
from ._cost import duration
from ._engine import Engine, Outcome, Stop
from ._store import SweepStore

__all__ = ["Log", "Summary", "run_sweep", "settle_damage"]


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
            rate = self.computed / (time.monotonic() - self.started)
            words = [f"{60 * rate:.3g} a minute", f"{duration((self.total - self.finished) / rate)} left"]
        words += [f"{self.diverged} diverged"] if self.diverged else []
        words += [f"{len(self.failures)} failed"] if self.failures else []
        return ", ".join(words)


class Log:
    """A line of JSON for everything that happens, in a file beside the store."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __call__(self, event: str, **what: Any) -> None:
        """Add a line; a log that cannot be written does not stop the sweep."""
        if self._path is None:
            return
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **what}, default=str)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError:
            self._path = None


def run_sweep(
    store: SweepStore,
    engine: Engine,
    *,
    max_failures: int = 3,
    log: Log | None = None,
    report: Callable[[Summary, Outcome | None], None] = lambda summary, outcome: None,
    stop: Stop | None = None,
) -> Summary:
    """Compute the tasks that are missing in a store.

    Parameters
    ----------
    store
        Of the sweep.
    engine
        Computes the tasks.
    max_failures
        After how many tasks that end with an error to stop. They are tried again when the sweep is continued. What
        diverges is no error; it is recorded in the results.
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
    plan, log, stop = store.plan, log or Log(None), stop or Stop()
    missing = store.missing()
    summary = Summary(len(plan), len(store.finished))
    log("begin", store=store.path, tasks=len(plan), missing=len(missing), parallel=engine.parallel)
    report(summary, None)
    try:
        with _interrupts_ask(stop, log):
            for outcome in engine.outcomes(plan, missing, stop):
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


def _take(outcome: Outcome, store: SweepStore, summary: Summary, log: Log) -> None:
    """Store what came of a task, or note the error."""
    name = store.plan.name(outcome.index)
    if outcome.arrays is None:
        summary.failures.append(f"{name}: {outcome.error}")
        log("failure", task=outcome.index, settings=name, error=outcome.error, **outcome.where)
        return
    lost = [np.isfinite(outcome.arrays["diverged_at"]), *np.isfinite(outcome.arrays["theory_diverged_at"])]
    diverged = int(np.any(lost, axis=0).sum())
    start = time.perf_counter()
    store.write(outcome.index, outcome.arrays, seconds=round(outcome.seconds, 3), diverged=diverged, **outcome.where)
    summary.finished += 1
    summary.computed += 1
    summary.diverged += diverged
    log(
        "task", task=outcome.index, settings=name, seconds=round(outcome.seconds, 3), diverged=diverged,
        written_in=round(time.perf_counter() - start, 3), host=outcome.where.get("host", ""),
    )  # fmt: skip


@contextmanager
def _interrupts_ask(stop: Stop, log: Log) -> Iterator[None]:
    """Let Ctrl-C, and what a batch system sends before it kills, ask for a stop instead of raising an exception."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        if number == signal.SIGTERM:  # there is little time
            stop.requested = True
        stop.ask()
        if stop.drop:  # once more ends it wherever it is
            signal.signal(number, before[number])
        log("interrupt", signal=signal.Signals(number).name, drop=stop.drop)

    before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def settle_damage(store: SweepStore, *, repair: bool) -> list[str]:
    """Verify a store: what is or was damaged, in words; to repair it the tasks concerned are taken for missing.

    Raises
    ------
    ProblemError
        If something is damaged and is not to be repaired.
    """
    found = store.damage()
    phrases = [f"task {index} ({store.plan.name(index)}): {', '.join(wrong)}" for index, wrong in found.items()]
    if phrases and not repair:
        more = f"; and {len(phrases) - 3} more" if len(phrases) > 3 else ""
        raise ProblemError(
            f"store: {store.path!r} has {len(phrases)} damaged tasks, {'; '.join(phrases[:3])}{more}; --repair "
            "computes them again"
        )
    if repair:
        for index in found:
            store.forget(index)
    return [f"{key} (now repaired)" for key in store.repaired] + phrases
