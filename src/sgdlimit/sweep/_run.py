"""Run a sweep: compute what its store lacks, report on the way, and stop at any moment when asked to."""

import json
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter, strftime
from typing import Any

import numpy as np
from dask.utils import format_time

from ..errors import SweepError
from ._engine import Engine, Outcome, Stop, handlers_kept
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
    notes: list[str] = field(default_factory=list)
    """Warnings about the accuracy of the tasks just computed."""
    interrupted: bool = False
    started: float = field(default_factory=monotonic)
    text: str = ""
    """The summary in words."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.finished == self.total

    @property
    def accuracy(self) -> str:
        """In how many of the tasks just computed theory misses the requested accuracy, and why in the first."""
        return f"Theory is not accurate in {len(self.notes)} of {self.computed} tasks, first in {self.notes[0]}"

    @property
    def pace(self) -> str:
        """Rate, time left, and what diverged or failed."""
        words = []
        if self.computed:
            each = (monotonic() - self.started) / self.computed
            words = [f"{60 / each:.3g} a minute", f"{format_time((self.total - self.finished) * each)} left"]
        words += [f"{self.diverged} diverged"] if self.diverged else []
        words += [f"{len(self.failures)} failed"] if self.failures else []
        return ", ".join(words)


def run_sweep(
    store: SweepStore,
    engine: Engine,
    *,
    max_failures: int = 3,
    log: Path | None = None,
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
        File that gets a line of JSON for every event.
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
    asked, missing = stop or Stop(), store.missing()
    summary = Summary(len(store.plan), len(store.finished))

    def note(event: str, **what: Any) -> None:
        """Add a line of JSON to the log, if there is one."""
        if log is not None:
            now = strftime("%Y-%m-%dT%H:%M:%S%z")
            with suppress(OSError), log.open("a", encoding="utf-8") as file:  # which does not stop the sweep
                file.write(json.dumps({"time": now, "event": event, **what}, default=str) + "\n")

    note("begin", store=store.path, tasks=summary.total, missing=len(missing), parallel=engine.parallel)
    report(summary, None)

    def interrupt(number: int, frame: object) -> None:
        """Ctrl-C, and what a batch system sends before it kills, ask for a stop instead of raising an exception."""
        asked.requested |= number == signal.SIGTERM  # there is little time
        asked.ask()
        if asked.drop:  # once more ends it wherever it is
            signal.signal(number, before[number])
        note("interrupt", signal=signal.Signals(number).name, drop=asked.drop)

    try:
        with handlers_kept() as before:
            for number in before:
                signal.signal(number, interrupt)
            for outcome in engine.outcomes(store.plan, missing, asked):
                _take(outcome, store, summary, note)
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
        summary.interrupted = asked.requested and not summary.complete
        note("end", finished=summary.finished, failures=len(summary.failures), interrupted=summary.interrupted)
    return summary


def _take(outcome: Outcome, store: SweepStore, summary: Summary, note: Callable[..., None]) -> None:
    """Store the results of a task, or note its error."""
    name = store.plan.name(outcome.index)
    what = {"task": outcome.index, "settings": name}
    if outcome.arrays is None:
        summary.failures.append(f"{name}: {outcome.error}")
        note("failure", **what, error=outcome.error, **outcome.where)
        return
    lost = [outcome.arrays["diverged_at"], *outcome.arrays["theory_diverged_at"]]
    record: dict[str, Any] = {
        "seconds": round(outcome.seconds, 3),
        "diverged": int(np.isfinite(lost).any(axis=0).sum()),
    }
    if outcome.notes:
        record["notes"] = outcome.notes
        summary.notes.append(f"{name}: {' '.join(outcome.notes)}")
    start = perf_counter()
    store.write(outcome.index, outcome.arrays, **record, **outcome.where)
    summary.finished += 1
    summary.computed += 1
    summary.diverged += record["diverged"]
    record |= {"written_in": round(perf_counter() - start, 3), "host": outcome.where.get("host", "")}
    note("task", **what, **record)
