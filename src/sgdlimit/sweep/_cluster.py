"""Clusters of dask: the workers of a scheduler that runs already, or jobs of a batch system."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ProblemError
from ._engine import DaskEngine, handlers_kept
from ._workers import ENVIRONMENT

BATCH_SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}
TLS_OPTIONS = {"--tls-ca-file": ["tls_ca_file"]} | {
    f"--tls-{part}": [f"tls_{role}_{part}" for role in ("client", "scheduler", "worker")] for part in ("cert", "key")
}
CONNECT_SECONDS = 30

GONE_SECONDS = 60.0
"""A batch job has ended if it had no workers for this long. A worker that restarts takes about ten seconds."""


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
            f"--scheduler: must be where a scheduler answers (got {address!r}: {_one_line(error)}). Start one with "
            "`dask scheduler`, or correct the address or the TLS files."
        ) from None


def _security(files: Sequence[str | None]) -> Any:
    """Encryption and proof of identity. The files are checked first, because dask retries for long."""
    from distributed.security import Security

    given = {option: path for option, path in zip(TLS_OPTIONS, files, strict=False) if path is not None}
    for option, path in given.items():
        if not os.path.isfile(path):
            raise ProblemError(f"{option}: must be a file (got {path!r}). Give the path of a PEM file.")
    try:
        named = {name: os.path.abspath(path) for option, path in given.items() for name in TLS_OPTIONS[option]}
        security = Security(require_encryption=True, **named)
        if security.get_connection_args("client")["ssl_context"] is None:
            raise ValueError("no certificate")
    except (OSError, ValueError) as error:
        raise ProblemError(
            f"{', '.join(TLS_OPTIONS)}: must be usable for TLS (got {', '.join(given.values()) or 'nothing'}: "
            f"{_one_line(error)}). Give the PEM files of the authority, of a certificate that it signed, and of that "
            "certificate's key."
        ) from None
    return security


def batch_cluster(system: str, jobs: int, files: Sequence[str | None] = ()) -> DaskEngine:
    """Jobs of SLURM or PBS, as dask-jobqueue's configuration describes them (docs/clusters.md has an example).

    The scheduler runs in this process and listens on the network that the configuration names. A job whose time is
    over is submitted again.

    Parameters
    ----------
    system
        ``"slurm"`` or ``"pbs"``.
    jobs
        Number of jobs; work begins with the first.
    files
        PEM files as for :func:`running_scheduler`, which the jobs can read. Without them nothing is encrypted.

    Raises
    ------
    ProblemError
        If dask-jobqueue is not installed or not configured, a file is missing or of no use, or the batch system
        refuses.
    """
    try:
        with handlers_kept():
            import dask_jobqueue
    except ImportError:
        raise ProblemError(
            f"--cluster: {system!r} needs dask-jobqueue, which is not installed. Run pip install 'sgdlimit[cluster]'."
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
            f"--cluster: must have {' and '.join(lacking)} in ~/.config/dask/jobqueue.yaml (got none). Describe a job "
            "there: cores, memory, walltime, queue, and as interface the network between the nodes."
        )
    cluster, security = None, _security(files) if any(files) else None
    try:
        cluster = getattr(dask_jobqueue, BATCH_SYSTEMS[system])(
            processes=settings["processes"] or settings["cores"],
            scheduler_options=scheduler,
            security=security,
            job_script_prologue=[
                *(f"export {name}={value}" for name, value in ENVIRONMENT.items()),
                *(settings["job-script-prologue"] or []),
            ],
        )
        for _ in range(jobs):
            cluster.worker_spec.update(cluster.new_worker_spec())
        cluster.sync(cluster._correct_state)  # scale() would only log what goes wrong
        client = Client(cluster, set_as_default=False, timeout=CONNECT_SECONDS, security=security)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        if cluster is not None:
            for job in cluster.workers.values():
                job.status = Status.failed  # or close() is surprised that some did not begin
            cluster.close(timeout=10)
        raise ProblemError(
            f"--cluster: must give jobs (got none from {system!r}: {_one_line(error)}). Correct jobqueue.{system} in "
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
