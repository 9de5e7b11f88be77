"""Threads and memory of the machine."""

import os
import re
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
from threadpoolctl import threadpool_limits

from .errors import ProblemError

LIBRARIES = 400 << 20  # bytes that Python, numpy, JAX and the compiled code take, measured


def one_thread() -> AbstractContextManager[object]:
    """Run LAPACK on one thread for a while.

    Its factorisations hand short pieces of work back and forth. For matrices of 500 rows two threads took at best three
    quarters of the time of one, and a hundred times as long while the second core was busy elsewhere.
    """
    return threadpool_limits(limits=1, user_api="blas")


def available_bytes(system: Path = Path("/")) -> int:
    """Memory that this process may still take: the free memory without swapping, or less in a container or batch job.

    Control groups of both versions and the variables of SLURM are read, for a group all those above it.
    """
    free = [psutil.virtual_memory().available]
    for line in _text(system / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        folder, names = system / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        if "memory" in controllers.split(","):
            folder, names = folder / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        elif controllers:
            continue
        group = folder / path.lstrip("/")
        for above in (group, *group.parents)[: len(group.parts) - len(folder.parts) + 1]:
            limit, used = (_text(above / name).strip() for name in names[:2])
            if limit.isdecimal() and used.isdecimal():
                cached = re.search(rf"^{names[2]} (\d+)", _text(above / "memory.stat"), re.MULTILINE)
                free.append(int(limit) - int(used) + int(cached[1] if cached else 0))
    texts = (os.environ.get(name, "") for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"))
    of_node, of_core, count = (int(text) if text.isdecimal() else 0 for text in texts)
    if job := of_node or of_core * count:  # 0 of a node without limits
        free.append((job << 20) - psutil.Process().memory_info().rss)
    return max(0, min(free))


def _text(path: Path) -> str:
    """The contents of a system file; empty if it is not available."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_beyond_memory(field: str, given: object, needed: float, fix: str = "Make it smaller.") -> None:
    """Refuse a setting or a file that makes arrays for which the memory does not suffice.

    Raises
    ------
    ProblemError
        With what is needed and what is free.
    """
    free = available_bytes()
    if needed > free:
        raise ProblemError(
            f"{field}: must fit into {free / 2**30:.1f} GiB of free memory (got {given}, which needs "
            f"{needed / 2**30:.1f} GiB). {fix}"
        )


def memory_sentence(needed: int) -> str:
    """The memory that a simulation needs, in words."""
    return (
        f"Memory: {needed / 2**30:.2f} GiB for the simulation, {LIBRARIES >> 20} MiB for the libraries; "
        f"{available_bytes() / 2**30:.1f} GiB are free"
    )
