"""Threads and memory of the machine."""

import os
from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits

__all__ = ["LIBRARIES", "available_bytes", "cores", "memory_sentence", "one_thread"]

LIBRARIES = 400 << 20  # bytes that Python, numpy, JAX and the compiled code take, measured


def one_thread() -> AbstractContextManager[object]:
    """Run LAPACK on one thread for a while.

    Its factorisations hand short pieces of work back and forth; with the second core busy elsewhere, two threads took a
    hundred times as long as one for matrices of 500 rows, and at best three quarters of its time.
    """
    return threadpool_limits(limits=1, user_api="blas")


def available_bytes() -> int | None:
    """Memory that can be had without swapping, or None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
        return 1024 * found["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_sentence(needed: int) -> str:
    """What a simulation will take, in words."""
    available = available_bytes()
    free = "" if available is None else f"; {available / 2**30:.1f} GiB are free"
    return f"Memory: {needed / 2**30:.2f} GiB for the simulation, {LIBRARIES >> 20} MiB for the libraries{free}"
