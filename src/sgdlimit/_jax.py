"""JAX as this package runs it: on the CPU and in float64, whatever its user's settings.

A child of ``os.fork`` has none of the threads that JAX has started. It would wait for them for ever, so JAX is refused.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .errors import ProblemError

OFF = (
    "check_tracer_leaks", "debug_infs", "debug_nans", "disable_jit", "enable_checks", "no_execution", "no_tracing",
    "thread_guard",
)  # fmt: skip
SETTINGS = dict.fromkeys(OFF, False) | {
    "default_matmul_precision": None,
    "numpy_dtype_promotion": "standard",
    "numpy_rank_promotion": "allow",
    "transfer_guard": "allow",
}
"""Settings of a user that would change results, refuse correct code, or stop a program."""

_forked = False
"""Whether JAX has run in a parent of this process."""


def _in_child() -> None:
    global _forked
    bridge = sys.modules.get("jax._src.xla_bridge")
    _forked = _forked or (bridge is not None and bridge.backends_are_initialized())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


@contextmanager
def own_jax(*, accelerated: bool = False) -> Iterator[Any]:
    """JAX under this package's own settings for as long as the block lasts; gives the device that theory runs on.

    That is the CPU, unless JAX has none because ``JAX_PLATFORMS`` leaves it out. What is ``accelerated`` runs on the
    user's default device, in single precision.

    Raises
    ------
    ProblemError
        If this process was forked from one in which JAX had run.
    """
    import jax

    if _forked:
        raise ProblemError(
            "multiprocessing: must start processes by spawn where they use JAX (got a fork of a process that has used "
            "it). Use multiprocessing.get_context('spawn') or theory.solve_many."
        )
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
