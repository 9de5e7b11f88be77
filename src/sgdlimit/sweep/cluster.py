"""Clusters: workers on this machine, those of a scheduler that runs already, or jobs of a batch system."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sgdlimit.errors import ProblemError
from sgdlimit.resources import cores
from sgdlimit.sweep.engine import DaskEngine

__all__ = ["batch_cluster", "local_cluster", "running_scheduler"]

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""What each worker is told: a task has one thread, and as many tasks run as there are cores."""

BATCH_SYSTEMS = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}
CONNECT_SECONDS = 30


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
    environment = {f"distributed.nanny.pre-spawn-environ.{name}": "1" for name in THREADS}
    environment["distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"] = "65536"
    with config.set(environment), _ignoring_interrupts():
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

    Raises
    ------
    ProblemError
        If there is no scheduler, or a file is missing.
    """
    from distributed import Client
    from distributed.security import Security

    if not address.startswith(("tcp://", "tls://")):
        raise ProblemError(f"--scheduler: {address!r} is no address; give one such as tcp://127.0.0.1:8786")
    files = {"--tls-ca-file": ca_file, "--tls-cert": certificate, "--tls-key": key}
    secure = address.startswith("tls://")
    security: Any = None
    if secure:
        options = {"tls_ca_file": ca_file, "tls_client_cert": certificate, "tls_client_key": key}
        given = {name: value for name, value in options.items() if value is not None}
        security = Security(require_encryption=True, **given)
    elif any(files.values()):
        name = next(name for name, value in files.items() if value)
        raise ProblemError(f"{name}: {files[name]!r} is of no use with {address!r}; give an address with tls://")
    try:
        client = Client(address, timeout=CONNECT_SECONDS, security=security, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:
        raise ProblemError(
            f"--scheduler: no scheduler answers at {address!r} ({str(error) or type(error).__name__}); start one with "
            "`dask scheduler`, or correct the address or the TLS files"
        ) from None
    return DaskEngine(client, lambda: client.close(timeout=5))


def batch_cluster(system: str, jobs: int) -> DaskEngine:
    """Jobs of SLURM or PBS, of the size that dask-jobqueue's configuration says (docs/clusters.md has an example).

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
        import dask_jobqueue
    except ImportError:
        raise ProblemError(
            f"--cluster: {system!r} needs dask-jobqueue; install it with pip install 'sgdlimit[cluster]'"
        ) from None
    from distributed import Client

    prologue = [f"export {name}=1" for name in THREADS]
    try:
        cluster = getattr(dask_jobqueue, BATCH_SYSTEMS[system])(job_script_prologue=prologue)
        cluster.scale(jobs=jobs)
        client = Client(cluster, set_as_default=False, timeout=CONNECT_SECONDS)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ProblemError(
            f"--cluster: {system!r} gives no jobs ({error}); describe them under jobqueue.{system} in "
            "~/.config/dask/jobqueue.yaml: cores, processes, memory, walltime, queue"
        ) from None

    def close() -> None:
        client.close(timeout=5)
        cluster.close(timeout=10)

    return DaskEngine(client, close)


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Processes started here leave Ctrl-C, which the terminal sends to all of them, to this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
