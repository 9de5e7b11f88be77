"""Threads and memory of the machine."""

import os
from contextlib import AbstractContextManager

import psutil
from threadpoolctl import threadpool_limits

LIBRARIES = 400 << 20  # bytes that Python, numpy, JAX and the compiled code take, measured


def one_thread() -> AbstractContextManager[object]:
    """Run LAPACK on one thread for a while.

    Its factorisations hand short pieces of work back and forth. For matrices of 500 rows two threads took at best three
    quarters of the time of one, and a hundred times as long while the second core was busy elsewhere.
    """
    return threadpool_limits(limits=1, user_api="blas")


def available_bytes() -> int:
    """Memory that is free without swapping."""
    return psutil.virtual_memory().available


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_sentence(needed: int) -> str:
    """The memory that a simulation needs, in words."""
    return (
        f"Memory: {needed / 2**30:.2f} GiB for the simulation, {LIBRARIES >> 20} MiB for the libraries; "
        f"{available_bytes() / 2**30:.1f} GiB are free"
    )
