"""Programs that are traced and compiled once, and kept on disk for the processes to come.

A program is kept whole, because tracing it again would take a second, and without touching any setting of JAX. It must
not call Python back: see how :mod:`sgdlimit.theory._integrate` avoids that.

The folder is ``$SGDLIMIT_CACHE_DIR``, or else ``$XDG_CACHE_HOME/sgdlimit`` or ``~/.cache/sgdlimit``; set to nothing,
the variable turns the cache off. Whatever is wrong with the folder or a file in it, the program is compiled as without
it. Kept programs are machine code, so only the user's own files are loaded.
"""

import gzip
import os
import pickle
import platform
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.serialize_executable import deserialize_and_load, serialize

from ..resources import cores

KEPT = 256
"""Programs on disk, a fifth of a megabyte each; those not used for longest go first."""

IN_MEMORY = 48
"""Programs in a process, which Linux allows 65530 memory maps; one takes 300 to 600, and with 105 none is left."""

PACKAGES = ("sgdlimit", "jax", "jaxlib", "equinox", "diffrax", "lineax", "optimistix", "numpy")

Program = Callable[..., tuple]


def call(function: Program, *arguments: Any, **static: Any) -> tuple[np.ndarray, ...]:
    """The tuple ``function(*arguments, **static)`` in float64, compiled once for equal shapes and equal ``static``.

    The function has a name in :mod:`sgdlimit.theory`, because its program is known by the sources there and in rules.
    """
    leaves, tree = jax.tree.flatten(arguments)
    leaves = [np.asarray(leaf) for leaf in leaves]
    # Float64 holds within this block only; a user's own JAX code keeps its precision.
    with jax.enable_x64(True), jax.disable_jit(False):
        shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
        (device,) = jax.device_put(0.0).devices()
        program = (function, tree, shapes, tuple(static.items()), device)
        try:
            results = _program(*program)(*leaves)
        except jax.errors.JaxRuntimeError:  # a kept program may load and yet not run
            results = _program(*program, anew=True)(*leaves)
        return tuple(map(np.asarray, results))


@lru_cache(maxsize=IN_MEMORY)
def _program(function: Program, tree: Any, shapes: tuple, static: tuple, device: Any, anew: bool = False) -> Program:
    """A program from the disk, or compiled and kept there."""

    def flat(*leaves):
        return tuple(function(*tree.unflatten(leaves), **dict(static)))

    if device.platform != "cpu":
        return jax.jit(flat)
    path = _path((function.__module__, function.__qualname__, tree, shapes, static))
    program = _load(path, device) if path and not anew else None
    if program is None:
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
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


IMPORTED = _sources()


def _path(program: tuple) -> Path | None:
    """Where a program is kept, under a name that stands for all it depends on; None if it cannot be kept."""
    chosen = os.environ.get("SGDLIMIT_CACHE_DIR")
    with suppress(Exception):
        import llvmlite.binding as llvm

        settings = jax.config.values
        # What JAX read from its cache it cannot write again, and what runs may not be what an edited file says.
        if chosen == "" or settings["jax_compilation_cache_dir"] or _sources() != IMPORTED:
            return None
        folder = chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sgdlimit"
        processor = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), cores()
        machine = platform.system(), platform.machine(), processor, os.environ.get("XLA_FLAGS")
        versions = platform.python_version(), *map(version, PACKAGES)
        dependencies = program, IMPORTED, versions, machine, sorted(settings.items())
        return Path(folder, f"{sha256(repr(dependencies).encode()).hexdigest()}.program")
    return None


def _load(path: Path, device: Any) -> Program | None:
    """A program that was kept by this user under this name; what is damaged does not decompress."""
    with suppress(Exception), path.open("rb") as file:
        if os.fstat(file.fileno()).st_uid == getattr(os, "getuid", int)():
            name, kept = pickle.loads(gzip.decompress(file.read()))
            if name == path.name:
                program = deserialize_and_load(*kept, execution_devices=[device])
                with suppress(OSError):
                    os.utime(path)
                return program
    return None


def _store(path: Path, program: jax.stages.Compiled) -> None:
    """Keep a program, which appears whole or not at all, and remove those not used for longest."""
    with suppress(Exception):
        content = gzip.compress(pickle.dumps((path.name, serialize(program))), compresslevel=1)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as draft:
            file = Path(draft, path.name)
            file.touch(0o600)
            file.write_bytes(content)
            os.replace(file, path)
        for old in sorted(path.parent.glob(f"*{path.suffix}"), key=os.path.getmtime)[:-KEPT]:
            old.unlink(missing_ok=True)
