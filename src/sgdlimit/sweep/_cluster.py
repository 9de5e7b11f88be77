"""Clusters: workers on this machine, those of a scheduler that runs already, or jobs of a batch system."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from ..errors import ProblemError
from ..resources import cores
from ._engine import DaskEngine

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    "PJRT_NPROC": "1", "MALLOC_TRIM_THRESHOLD_": "65536",
}  # fmt: skip
"""Settings of every worker: a task has one thread, XLA's included, as many tasks run as there are cores, and
memory that they free goes back to the system."""

SELDOM = {
    "distributed.admin.tick.interval": "1s", "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s", "distributed.worker.profile.enabled": False,
}  # fmt: skip
"""How often dask looks at itself: by default it took 7 % of a core here and 4 % in each idle worker, now 1 %."""

BATCH_SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}
CONNECT_SECONDS = 30

GONE_SECONDS = 60.0
"""After which a batch job without workers has ended: a worker that is started anew takes some ten."""


def local_cluster(workers: int | None = None) -> DaskEngine:
    """Workers on this machine, a process of one thread for each core, which listen on the loopback address only.

    Parameters
    ----------
    workers
        How many; one for each core by default.
    """
    from dask import config
    from distributed import Client, LocalCluster

    count = cores() if workers is None else workers
    environment = {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in ENVIRONMENT.items()}
    with config.set(environment | SELDOM), _interrupts_left_to_this_thread():
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        )
        client = Client(cluster, set_as_default=False)

    def close() -> None:
        client.close(timeout=5)
        cluster.close(timeout=10)

    return DaskEngine(client, close)


def running_scheduler(
    address: str, *, ca_file: str | None = None, certificate: str | None = None, key: str | None = None
) -> DaskEngine:
    """The workers of a scheduler.

    Parameters
    ----------
    address
        ``tcp://host:port``, or ``tls://host:port`` with the files below.
    ca_file, certificate, key
        PEM files: the authority that signed the scheduler's certificate, and this client's own certificate and key.
        What is not given is taken from dask's own configuration.

    Raises
    ------
    ProblemError
        If there is no scheduler, or a file is missing or of no use.
    """
    from distributed import Client

    if not address.startswith(("tcp://", "tls://")):
        raise ProblemError(f"--scheduler: {address!r} is no address; give one such as tcp://127.0.0.1:8786")
    files = {"--tls-ca-file": ca_file, "--tls-cert": certificate, "--tls-key": key}
    security = None
    if address.startswith("tls://"):
        security = _security(files)
    elif any(files.values()):
        name = next(name for name, value in files.items() if value)
        raise ProblemError(f"{name}: {files[name]!r} is of no use with {address!r}; give an address with tls://")
    try:
        client = Client(address, timeout=CONNECT_SECONDS, security=security, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:
        raise ProblemError(
            f"--scheduler: no scheduler answers at {address!r} ({_one_line(error)}); start one with "
            "`dask scheduler`, or correct the address or the TLS files"
        ) from None
    return DaskEngine(client, lambda: client.close(timeout=5))


def _security(files: Mapping[str, str | None]) -> Any:
    """What encrypts and proves who one is, by option; the files are looked into first, for dask retries for long."""
    from distributed.security import Security

    for name, path in files.items():
        if path is not None and not Path(path).is_file():
            raise ProblemError(f"{name}: {path!r} is no file; give the path of a PEM file")
    ca_file, certificate, key = files.values()
    options = {"tls_ca_file": ca_file, "tls_client_cert": certificate, "tls_client_key": key}
    security = Security(require_encryption=True, **{name: path for name, path in options.items() if path is not None})
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except (OSError, ValueError) as error:
        context = None
        reason = f" ({_one_line(error)})"
    else:
        reason = ""
    if context is None:
        named = ", ".join(f"{name} {path}" for name, path in files.items() if path) or "none are given"
        raise ProblemError(
            f"--tls-ca-file, --tls-cert, --tls-key: {named}: are of no use for TLS{reason}; give the PEM files of the "
            "authority, of a certificate it signed, and of that certificate's key"
        )
    return security


def batch_cluster(system: str, jobs: int) -> DaskEngine:
    """Jobs of SLURM or PBS, of the size that dask-jobqueue's configuration says (docs/clusters.md has an example).

    The scheduler runs in this process and listens on the network that the configuration names. Jobs that end, as they
    do when their time is over, are asked for again.

    Parameters
    ----------
    system
        ``"slurm"`` or ``"pbs"``.
    jobs
        How many to ask for; work begins with the first.

    Raises
    ------
    ProblemError
        If dask-jobqueue is not installed or not configured, or the batch system refuses.
    """
    try:
        dask_jobqueue = import_dask_jobqueue()
    except ImportError:
        raise ProblemError(
            f"--cluster: {system!r} needs dask-jobqueue; install it with pip install 'sgdlimit[cluster]'"
        ) from None
    from dask import config
    from distributed import Client
    from distributed.core import Status

    settings = config.get(f"jobqueue.{system}")
    scheduler = {"dashboard_address": "127.0.0.1:0", **(settings["scheduler-options"] or {})}
    lacking = [name for name in ("cores", "memory") if settings[name] is None]
    if settings["interface"] is None and not {"host", "interface"} & scheduler.keys():
        lacking.append("interface")
    if lacking:
        raise ProblemError(
            f"--cluster: {system!r} needs {' and '.join(f'jobqueue.{system}.{name}' for name in lacking)} in "
            "~/.config/dask/jobqueue.yaml; say there what a job is: cores, memory, walltime, queue, and as interface "
            "the network between the nodes"
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
            f"--cluster: {system!r} gives no jobs ({_one_line(error)}); describe them under jobqueue.{system} in "
            "~/.config/dask/jobqueue.yaml: cores, memory, walltime, queue, interface"
        ) from None

    def close() -> None:
        client.close(timeout=5)
        cluster.close(timeout=10)

    return DaskEngine(client, close, JobsThatEnd(cluster, jobs))


def import_dask_jobqueue() -> Any:
    """The module, without the handlers of signals that it sets when it is imported."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    import dask_jobqueue

    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)
    return dask_jobqueue


class JobsThatEnd:
    """Asks for a batch job again once all its workers are gone; those that wait in the queue are left there.

    Parameters
    ----------
    cluster
        Of dask-jobqueue, which itself does so only for jobs of one process.
    jobs
        How many there are to be.
    """

    def __init__(self, cluster: Any, jobs: int) -> None:
        self._cluster, self._jobs = cluster, jobs
        self._seen: dict[str, float] = {}

    def __call__(self) -> None:
        """To be called now and then."""
        self._cluster.sync(self._replace)

    async def _replace(self) -> None:
        cluster, now = self._cluster, time.monotonic()
        for worker in cluster.scheduler_info["workers"].values():
            name = str(worker["name"])
            self._seen[name if name in cluster.worker_spec else name.rpartition("-")[0]] = now
        gone = [name for name, seen in self._seen.items() if now - seen > GONE_SECONDS]
        for name in gone:
            del self._seen[name]
            if name in cluster.workers:
                await cluster.workers.pop(name).close()
        if gone:
            cluster.scale(jobs=self._jobs)


def _one_line(error: Exception) -> str:
    """What went wrong: of a command that failed, what it said."""
    text = str(error) or type(error).__name__
    said = text.partition("stderr:\n")[2].strip() or text
    return " ".join(said.split()).rstrip(".")


@contextmanager
def _interrupts_left_to_this_thread() -> Iterator[None]:
    """Threads that begin here, and the processes they start now or later, are spared the Ctrl-C of the terminal."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which otherwise unblocks the signal where it begins
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
