"""The command `sgdlimit sweep`: from a TOML file to a store, with its reports on the way."""

import json
import os
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import current_process
from pathlib import Path

from xarray import Dataset

from ..errors import AccuracyWarning, ProblemError, SweepError
from ..resources import cores
from ..signatures import checked
from ..simulation import Progress
from ._cost import Cost, cost, refuse_disk, refuse_memory
from ._engine import Engine, Outcome
from ._open import open_sweep
from ._plan import Plan
from ._run import Summary, run_sweep
from ._settings import Sweep
from ._store import SweepStore
from ._workers import LocalEngine

PAYS = 60.0
"""Seconds of work on one core from which workers are started, each of which takes some ten to import and compile. On
two cores they never pay: this process alone computes as many tasks in a minute."""


@dataclass(frozen=True)
class Where:
    """Where tasks are computed, by the options of the command line; see :mod:`sgdlimit.sweep._cluster`.

    Raises
    ------
    ProblemError
        If options contradict each other.
    """

    workers: int | None = None
    scheduler: str | None = None
    cluster: str | None = None
    jobs: int = 1
    files: tuple[str | None, ...] = ()
    """PEM files for TLS: of the authority, of the certificate, and of its key."""

    def __post_init__(self) -> None:
        given = {"--workers": self.workers, "--scheduler": self.scheduler, "--cluster": self.cluster}
        names, address = [name for name, value in given.items() if value is not None], self.scheduler
        if len(names) > 1:
            raise ProblemError(f"{names[1]}: must not be given with {names[0]} (got {given[names[1]]!r}). Remove one.")
        if address is not None and not address.startswith(("tcp://", "tls://")):
            raise ProblemError(f"--scheduler: must be an address (got {address!r}). Write it as tcp://127.0.0.1:8786.")
        if any(self.files) and not (self.cluster or str(address).startswith("tls://")):
            raise ProblemError(
                "--tls-ca-file, --tls-cert, --tls-key: must come with --cluster or a scheduler at tls:// (got "
                f"{address!r}). Give its --scheduler tls://..."
            )

    @property
    def open_to_others(self) -> bool:
        """Whether a scheduler is used that does not ask who connects."""
        return str(self.scheduler).startswith("tcp://") or bool(self.cluster and not any(self.files))

    def workers_here(self, found: Cost) -> int:
        """Processes on this machine beside this one; 0 where this one does all, or others do, or it may start none."""
        if self.scheduler or self.cluster:
            return 0
        pays = cores() > 2 and found.tasks > 1 and found.seconds > PAYS and not current_process().daemon
        return pays * min(cores(), found.tasks) if self.workers is None else self.workers

    def engine(self, found: Cost, part: Progress) -> Engine:
        """The engine, started."""
        from . import _cluster as cluster

        if self.scheduler:
            return cluster.running_scheduler(self.scheduler, self.files)
        if self.cluster:
            return cluster.batch_cluster(self.cluster, self.jobs, self.files)
        count = self.workers_here(found)
        return LocalEngine(count) if count else Engine(progress=part)


def sweep_from_file(
    settings: Path,
    out: str | None,
    where: Where,
    *,
    dry_run: bool,
    max_failures: int,
    verify: bool,
    repair: bool,
    log: Path | None,
    say: Callable[[str], None],
    progress: Callable[[str, float, str], None],
) -> Summary | None:
    """Run the sweep of a TOML file, or resume it.

    Parameters
    ----------
    settings
        The file.
    out
        Path or URL of the store; ``results/NAME.zarr`` by default.
    where
        Where to compute.
    dry_run
        Only report what it will cost.
    max_failures, log
        See :func:`sgdlimit.sweep.run_sweep`; the log lies beside a local store by default.
    verify, repair
        First read all that is stored: stop at damage, or compute it again.
    say
        Called with each message.
    progress
        Called with a stage, the fraction of it that is done, and a note.

    Returns
    -------
    Summary
        With its ``text``; None after a dry run.

    Raises
    ------
    ProblemError
        If the settings, the store or the cluster cannot be used.
    SweepError
        After too many failures.
    """
    default = f"results/{settings.stem}.zarr"
    plan, path = Plan(Sweep.from_toml(settings)), out or default
    if log is not None:
        _check_log(log)
    store = SweepStore(path, plan, repair=repair)
    missing = store.missing()
    refuse_disk(plan, len(missing), path)
    if store.finished:
        say(f"{path}: {len(store.finished)} of {len(plan)} tasks are there already.")
    found = cost(plan, missing)
    if missing:
        say(f"To do: {found}")
    refuse_memory(found.memory, where.workers_here(found) or 1)
    if where.open_to_others:
        say("There is no TLS: whoever reaches the scheduler can run code on it and its workers. Give --tls-cert.")
    if dry_run:
        return None

    def report(summary: Summary, outcome: Outcome | None) -> None:
        progress("tasks", summary.finished / summary.total, f"{summary.finished}/{summary.total} {summary.pace}")
        if outcome is not None and outcome.error:
            say(f"failed: {summary.failures[-1]}")

    with store:
        for damage in store.settle_damage() if verify or repair else ():
            say(f"Damaged: {damage}")
        summary = Summary(len(plan), len(store.finished))
        if not summary.complete:
            with where.engine(found, lambda done: progress("this task", done, "")) as engine:
                if engine.link:
                    say(f"Dashboard: {engine.link}")
                if not engine.parallel:
                    say("There are no workers yet. Work begins with the first.")
                summary = run_sweep(store, engine, max_failures=max_failures, log=log or _beside(path), report=report)
    lines = [f"{summary.finished} of {summary.total} tasks are in {path}."]
    if summary.diverged:
        lines.append(f"{summary.diverged} conditions diverged: NaN from diverged_at on.")
    lines += [summary.accuracy] if summary.notes else []
    lines += [f"Failed: {failure}" for failure in summary.failures]
    if summary.complete:
        lines.append(f"Open it with sl.open_sweep({json.dumps(path, ensure_ascii=False)}).")
    else:
        again = shlex.join(["sgdlimit", "sweep", str(settings), *(() if path == default else ("--out", path))])
        lines.append(f"{'Interrupted. ' if summary.interrupted else ''}To go on: {again}")
    summary.text = "\n".join(lines)
    return summary


@checked
def compute_sweep(
    sweep: Sweep,
    path: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    max_failures: int = 3,
    progress: Progress = lambda done: None,
) -> Dataset:
    """Run a sweep, or resume it, and open its results.

    Parameters
    ----------
    sweep
        The grid and how to run it.
    path
        The store: a local path or an fsspec URL.
    workers
        Processes on this machine; 0 for this one alone. By default one for each core, if there are more than two and
        the work lasts more than a minute.
    scheduler
        Address of a dask scheduler to use instead. One at ``tcp://`` does not ask who connects: whoever reaches it can
        run code on it and on its workers.
    max_failures
        Number of tasks that end with an error after which the sweep stops.
    progress
        Called with the fraction done.

    Returns
    -------
    xarray.Dataset
        See :func:`open_sweep`.

    Raises
    ------
    ProblemError
        If the store is of other settings, or another process writes to it.
    SweepError
        If it was interrupted, tasks failed, or the folder was moved; the same call goes on from there.

    Warns
    -----
    AccuracyWarning
        If theory is not accurate in a task that was computed now; the ``notes`` of its record say why.

    Examples
    --------
    >>> import tempfile
    >>> sweep = Sweep(problem={"input_dim": 60, "latent_dim": 30, "student_units": 2, "teacher_units": 2,
    ...                        "activation": "erf"},
    ...               grid={"learning_rate": [0.1, 0.2]}, run={"instances": 2, "time": 2.0, "count": 10})
    >>> results = compute_sweep(sweep, tempfile.mkdtemp() + "/rates.zarr")
    >>> results["M_Q"].sel(theory="conventional").mean(["instance", "run", "student", "student_"]).dims
    ('learning_rate',)
    """
    plan, where = Plan(sweep), Where(workers=workers, scheduler=scheduler)
    with SweepStore(path, plan) as store:
        if missing := store.missing():
            with where.engine(
                cost(plan, missing), lambda done: progress((len(store.finished) + done) / len(plan))
            ) as engine:
                summary = run_sweep(
                    store,
                    engine,
                    max_failures=max_failures,
                    log=_beside(str(path)),
                    report=lambda summary, outcome: progress(summary.finished / summary.total),
                )
            if not summary.complete:
                why = "interrupted" if summary.interrupted else f"failed at {'; '.join(summary.failures)}"
                raise SweepError(f"{why}; {summary.finished} of {summary.total} tasks are in {path}")
            if summary.notes:
                warnings.warn(summary.accuracy, AccuracyWarning, stacklevel=2)
    return open_sweep(path)


def _beside(path: str) -> Path | None:
    """The log of a local store."""
    return None if "://" in path else Path(os.path.abspath(path).removesuffix(".zarr") + ".log.jsonl")


def _check_log(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        raise ProblemError(
            f"--log: must be a file to write to (got {str(path)!r}: {error.strerror}). Name another."
        ) from None
