"""JAX as this package runs it: on the CPU and in float64, whatever its user's settings, and in a forked process too.

A child of ``os.fork`` has none of the threads that JAX has started, and waits for them for ever. There JAX starts anew,
which is enough to run programs that are on disk. To compile, XLA needs a thread that it starts once and for all: it
aborts in a child, so compiling is refused.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .errors import ProblemError

SETTINGS = {
    "check_tracer_leaks": False,
    "debug_infs": False,
    "debug_nans": False,
    "default_matmul_precision": None,
    "disable_jit": False,
    "enable_checks": False,
    "no_execution": False,
    "no_tracing": False,
    "numpy_dtype_promotion": "standard",
    "numpy_rank_promotion": "allow",
    "thread_guard": False,
    "transfer_guard": "allow",
}
"""What changes results, refuses code that is right, or stops a program."""

_starting = threading.Lock()
_forked = _started = False
"""Whether JAX has run in a parent of this process, and whether it has started anew since."""


def _in_child() -> None:
    global _starting, _forked, _started
    bridge = sys.modules.get("jax._src.xla_bridge")
    _starting, _started = threading.Lock(), False
    _forked = _forked or (bridge is not None and bridge.backends_are_initialized())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


@contextmanager
def own_jax(*, accelerated: bool = False, compiles: bool = True) -> Iterator[Any]:
    """JAX under this package's own settings for as long as the block lasts; gives the device that theory runs on.

    That is the CPU, unless JAX has none because ``JAX_PLATFORMS`` leaves it out. What is ``accelerated`` runs on the
    user's default device, in single precision.

    Raises
    ------
    ProblemError
        If the block ``compiles`` and this process was forked from one in which JAX had run.
    """
    import jax

    if _forked:
        if compiles:
            raise ProblemError(
                "multiprocessing: must start processes by spawn where JAX has to compile (got a fork of a process that "
                "has used JAX). Use multiprocessing.get_context('spawn'), or compute such a case before the fork."
            )
        with _starting:
            if not _started:
                _start_anew()
    with ExitStack() as stack:
        for name, value in SETTINGS.items():
            stack.enter_context(getattr(jax, name)(value))
        stack.enter_context(jax.enable_x64(not accelerated))
        try:
            device = jax.local_devices(backend="cpu")[0]
        except RuntimeError:
            device = jax.local_devices()[0]
        if not accelerated:
            stack.enter_context(jax.default_device(device))
        yield device


def _start_anew() -> None:
    """Forget what JAX had in the parent. An accelerator of the parent's cannot be used from a child."""
    global _started
    import jax
    from jax.extend import backend

    before = backend.backends()
    for client in before.values():
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))  # its end would wait for its threads
    backend.clear_backends()
    if len(before) > 1:
        jax.config.update("jax_platforms", "cpu")
    _started = True
