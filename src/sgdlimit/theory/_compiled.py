"""Programs that are traced and compiled once, and kept on disk for the processes to come.

A program is kept whole, because tracing it again would take a second, and without touching any setting of JAX. It must
not call Python back: see how :mod:`sgdlimit.theory._solve` avoids that.

The folder is ``$SGDLIMIT_CACHE_DIR``, or else ``$XDG_CACHE_HOME/sgdlimit`` or ``~/.cache/sgdlimit``; set to nothing,
the variable turns the cache off. Whatever is wrong with the folder or a file in it, the program is compiled as without
it. Kept programs are machine code, so only the user's own files are loaded.
"""

import hashlib
import os
import pickle
import platform
import tempfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.serialize_executable import deserialize_and_load, serialize

KEPT = 256
"""Programs on disk, a fifth of a megabyte each; those not used for longest go first."""

IN_MEMORY = 48
"""Programs in a process, which Linux allows 65530 memory maps; one takes 300 to 600, and with 105 none is left."""


def call(
    function: Callable[..., tuple], *arguments: Any, static: Mapping[str, Any], **keywords: Any
) -> tuple[np.ndarray, ...]:
    """The tuple ``function(*arguments, **keywords, **static)`` in float64, compiled once for equal shapes.

    The function has a name in :mod:`sgdlimit.theory`, because its program is known by the sources there and in rules.
    """
    leaves, tree = jax.tree.flatten((arguments, keywords))
    leaves = [np.asarray(leaf) for leaf in leaves]
    # Float64 holds within this block only; a user's own JAX code keeps its precision.
    with jax.enable_x64(True), jax.disable_jit(False):
        shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
        (device,) = jax.device_put(0.0).devices()
        program = (function, tree, shapes, tuple(static.items()), device)
        try:
            return _run(_program(*program), leaves)
        except jax.errors.JaxRuntimeError:  # a kept program may load and yet not run
            return _run(_program(*program, anew=True), leaves)


def _run(program: Callable[..., tuple], leaves: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(result) for result in program(*leaves))


@lru_cache(maxsize=IN_MEMORY)
def _program(
    function: Callable, tree: Any, shapes: tuple, static: tuple, device: Any, anew: bool = False
) -> Callable[..., tuple]:
    def flat(*leaves):
        arguments, keywords = tree.unflatten(leaves)
        return tuple(function(*arguments, **keywords, **dict(static)))

    if device.platform != "cpu":
        return jax.jit(flat)
    path = _path((function.__module__, function.__qualname__, tree, shapes, static))
    if path and not anew and (kept := _load(path, device)):
        return kept
    program = _compile(flat, shapes)
    if path:
        _store(path, program)
    return program


def _compile(flat: Callable, shapes: tuple) -> jax.stages.Compiled:
    return jax.jit(flat).lower(*shapes).compile()


# --- on disk: nothing that goes wrong here may be seen ---------------------------------------------------------------


def _sources() -> str:
    house = Path(__file__).parents[1]
    files = sorted(file for room in ("rules", "theory") for file in (house / room).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


IMPORTED = _sources()


def _path(program: tuple) -> Path | None:
    """Where a program is kept, under a name that stands for all it depends on; None if it cannot be kept."""
    chosen = os.environ.get("SGDLIMIT_CACHE_DIR")
    with suppress(Exception):
        import llvmlite.binding as llvm

        settings = jax.config.values
        if chosen == "" or settings["jax_compilation_cache_dir"]:  # what JAX read from its cache it cannot write again
            return None
        folder = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sgdlimit")
        packages = ("sgdlimit", "jax", "jaxlib", "equinox", "diffrax", "lineax", "optimistix", "numpy")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        machine = (
            platform.system(),
            platform.machine(),
            llvm.get_host_cpu_name(),
            llvm.get_host_cpu_features().flatten(),
            cores,
        )
        versions = platform.python_version(), [version(package) for package in packages]
        dependencies = program, IMPORTED, versions, machine, os.environ.get("XLA_FLAGS"), sorted(settings.items())
        name = hashlib.sha256(repr(dependencies).encode()).hexdigest()
        if _sources() == IMPORTED:  # what runs may not be what an edited file says
            return folder / f"{name}.program"
    return None


def _load(path: Path, device: Any) -> Callable[..., tuple] | None:
    with suppress(Exception), path.open("rb") as file:
        digest, content = file.read(32), file.read()
        if digest == _digest(path, content) and os.fstat(file.fileno()).st_uid == getattr(os, "getuid", int)():
            program = deserialize_and_load(*pickle.loads(zlib.decompress(content)), execution_devices=[device])
            with suppress(OSError):
                os.utime(path)
            return program
    return None


def _store(path: Path, program: jax.stages.Compiled) -> None:
    with suppress(Exception):
        content = zlib.compress(pickle.dumps(serialize(program)), level=1)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
        try:
            with open(handle, "wb") as file:
                file.write(_digest(path, content) + content)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        by_age = sorted(path.parent.glob(f"*{path.suffix}"), key=lambda file: file.stat().st_mtime)
        for old in by_age[:-KEPT]:
            old.unlink(missing_ok=True)


def _digest(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + content).digest()
