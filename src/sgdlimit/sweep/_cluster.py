"""Clusters: workers on this machine, those of a scheduler that runs already, or jobs of a batch system."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from ..errors import ProblemError
from ._engine import DaskEngine, handlers_kept

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    "PJRT_NPROC": "1", "MALLOC_TRIM_THRESHOLD_": "65536",
}  # fmt: skip
"""Settings of every worker. A task has one thread, also in XLA, because as many tasks run as there are cores. Memory
that a task frees returns to the system."""

SELDOM = {
    "distributed.admin.tick.interval": "1s", "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s", "distributed.worker.profile.enabled": False,
}  # fmt: skip
"""How often dask monitors itself. Its defaults took 7 % of a core here and 4 % in each idle worker; these take 1 %."""

BATCH_SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}
TLS_OPTIONS = {"--tls-ca-file": "tls_ca_file", "--tls-cert": "tls_client_cert", "--tls-key": "tls_client_key"}
CONNECT_SECONDS = 30

GONE_SECONDS = 60.0
"""A batch job has ended if it had no workers for this long. A worker that restarts takes about ten seconds."""


def local_cluster(workers: int) -> DaskEngine:
    """Workers on this machine: processes of one thread, which listen on the loopback address only.

    Parameters
    ----------
    workers
        Number of processes.
    """
    from dask import config
    from distributed import Client, LocalCluster

    environment = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in ENVIRONMENT.items()}
    with config.set(environment | SELDOM), _interrupts_left_to_this_thread():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        )
        return DaskEngine(Client(cluster, set_as_default=False), cluster)


def running_scheduler(address: str, files: Sequence[str | None] = ()) -> DaskEngine:
    """The workers of a scheduler.

    Parameters
    ----------
    address
        ``tcp://host:port``, or ``tls://host:port`` with the files below.
    files
        PEM files: the authority that signed the scheduler's certificate, and this client's own certificate and key.
        Dask's own configuration gives those that are None.

    Raises
    ------
    ProblemError
        If there is no scheduler, or a file is missing or of no use.
    """
    from distributed import Client

    security = _security(files) if address.startswith("tls://") else None
    try:
        return DaskEngine(Client(address, timeout=CONNECT_SECONDS, security=security, set_as_default=False))
    except (OSError, TypeError, ValueError) as error:
        raise ProblemError(
            f"--scheduler: no scheduler answers at {address!r} ({_one_line(error)}). Start one with `dask scheduler`, "
            "or correct the address or the TLS files."
        ) from None


def _security(files: Sequence[str | None]) -> Any:
    """Encryption and proof of identity. The files are checked first, because dask retries for long."""
    from distributed.security import Security

    given = {option: path for option, path in zip(TLS_OPTIONS, files, strict=False) if path is not None}
    for option, path in given.items():
        if not Path(path).is_file():
            raise ProblemError(f"{option}: must be a file (got {path!r}). Give the path of a PEM file.")
    try:
        security = Security(require_encryption=True, **{TLS_OPTIONS[option]: path for option, path in given.items()})
        if security.get_connection_args("client")["ssl_context"] is None:
            raise ValueError("no certificate")
    except (OSError, ValueError) as error:
        raise ProblemError(
            f"{', '.join(TLS_OPTIONS)}: must be usable for TLS (got {', '.join(given.values()) or 'nothing'}: "
            f"{_one_line(error)}). Give the PEM files of the authority, of a certificate that it signed, and of that "
            "certificate's key."
        ) from None
    return security


def batch_cluster(system: str, jobs: int) -> DaskEngine:
    """Jobs of SLURM or PBS, as dask-jobqueue's configuration describes them (docs/clusters.md has an example).

    The scheduler runs in this process and listens on the network that the configuration names. A job whose time is
    over is submitted again.

    Parameters
    ----------
    system
        ``"slurm"`` or ``"pbs"``.
    jobs
        Number of jobs; work begins with the first.

    Raises
    ------
    ProblemError
        If dask-jobqueue is not installed or not configured, or the batch system refuses.
    """
    try:
        with handlers_kept():
            import dask_jobqueue
    except ImportError:
        raise ProblemError(
            f"--cluster: {system!r} needs dask-jobqueue. Install it with pip install 'sgdlimit[cluster]'."
        ) from None
    from dask import config
    from distributed import Client
    from distributed.core import Status

    settings = config.get(f"jobqueue.{system}")
    scheduler = {"dashboard_address": "127.0.0.1:0", **(settings["scheduler-options"] or {})}
    needed = ["cores", "memory"] if {"host", "interface"} & scheduler.keys() else ["cores", "memory", "interface"]
    lacking = [f"jobqueue.{system}.{name}" for name in needed if settings[name] is None]
    if lacking:
        raise ProblemError(
            f"--cluster: {system!r} needs {' and '.join(lacking)} in ~/.config/dask/jobqueue.yaml. Describe a job "
            "there: cores, memory, walltime, queue, and as interface the network between the nodes."
        )
    cluster = None
    try:
        cluster = getattr(dask_jobqueue, BATCH_SYSTEMS[system])(
            processes=settings["processes"] or settings["cores"],
            scheduler_options=scheduler,
            job_script_prologue=[
                *(f"export {name}={value}" for name, value in ENVIRONMENT.items()),
                *(settings["job-script-prologue"] or []),
            ],
        )
        for _ in range(jobs):
            cluster.worker_spec.update(cluster.new_worker_spec())
        cluster.sync(cluster._correct_state)  # scale() would only log what goes wrong
        client = Client(cluster, set_as_default=False, timeout=CONNECT_SECONDS)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        if cluster is not None:
            for job in cluster.workers.values():
                job.status = Status.failed  # or close() is surprised that some did not begin
            cluster.close(timeout=10)
        raise ProblemError(
            f"--cluster: {system!r} gives no jobs ({_one_line(error)}). Correct jobqueue.{system} in "
            "~/.config/dask/jobqueue.yaml: cores, memory, walltime, queue, interface."
        ) from None
    return DaskEngine(client, cluster, _renewal(cluster, jobs))


def _renewal(cluster: Any, jobs: int) -> Callable[[], object]:
    """Submits a batch job again once all its workers are gone; a job that waits in the queue stays there.

    Dask-jobqueue itself does so only for jobs of one process.
    """
    last_seen: dict[str, float] = {}

    async def replace() -> None:
        now = time.monotonic()
        for worker in cluster.scheduler_info["workers"].values():
            name = str(worker["name"])
            last_seen[name if name in cluster.worker_spec else name.rpartition("-")[0]] = now
        gone = [name for name, seen in last_seen.items() if now - seen > GONE_SECONDS]
        for name in gone:
            del last_seen[name]
            if name in cluster.workers:
                await cluster.workers.pop(name).close()
        if gone:
            cluster.scale(jobs=jobs)

    return lambda: cluster.sync(replace)


def _one_line(error: Exception) -> str:
    """What went wrong; if a command failed, its standard error."""
    text = str(error) or type(error).__name__
    return " ".join((text.partition("stderr:\n")[2].strip() or text).split()).rstrip(".")


@contextmanager
def _interrupts_left_to_this_thread() -> Iterator[None]:
    """Threads that begin here, and processes that they start, do not get the terminal's Ctrl-C."""
    resource_tracker.ensure_running()  # which otherwise unblocks the signal where it begins
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
