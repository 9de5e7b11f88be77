"""Programs that are traced and compiled once, and kept on disk for the processes to come.

A program is kept whole, because tracing it again would take a second, and without touching any setting of JAX. It must
not call Python back: see how :mod:`sgdlimit.theory._integrate` avoids that.

The folder is ``$SGDLIMIT_CACHE_DIR``, or else ``$XDG_CACHE_HOME/sgdlimit`` or ``~/.cache/sgdlimit``; set to nothing,
the variable turns the cache off. If anything is wrong with the folder or a file in it, the program is compiled as
without it. Kept programs are machine code: they are loaded from files and folders that only this user can write.
"""

import gzip
import os
import pickle
import platform
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from threading import Lock
from typing import Any

import jax
import numpy as np
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from jaxlib.lapack import prepare_lapack_call

from .._jax import own_jax
from ..resources import cores

ON_DISK = 100 << 20
"""Bytes of the programs on disk, 0.2 to 2 MB each; those not used for longest go first."""

IN_MEMORY = 25 << 20
"""Bytes of the programs of a process, 1 to 3 MB each, as they are written; loaded they take 8 to 20 times as many.

They also take 500 memory maps for each megabyte, of which Linux allows a process 65530.
"""

QUICKLY = {"xla_cpu_use_fusion_emitters": False}
"""XLA's older fused loops compile in two thirds of the time; only large closed forms run slower in them."""

PACKAGES = ("sgdlimit", "jax", "jaxlib", "equinox", "diffrax", "lineax", "optimistix", "numpy")

Program = Callable[..., tuple]


def call(function: Program, *arguments: Any, **static: Any) -> Any:
    """The tuple ``function(*arguments, **static)`` in float64, compiled once for equal shapes and equal ``static``.

    The function has a name in :mod:`sgdlimit.theory`, because its program is known by the sources there and in rules.
    """
    leaves, tree = jax.tree.flatten(arguments)
    leaves = [*map(np.asarray, leaves)]
    # These settings hold within this block only; a user's own JAX code keeps its precision.
    with own_jax() as device:
        shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
        program = (function, tree, shapes, tuple(static.items()), device)
        try:
            results = _program(*program)(*leaves)
        except jax.errors.JaxRuntimeError:  # a kept program may load and yet not run
            results = _program(*program, anew=True)(*leaves)
        return jax.tree.map(np.asarray, results)


_making: defaultdict[tuple, Lock] = defaultdict(Lock)
_programs: dict[tuple, tuple[Program, int]] = {}
"""Programs of this process and their sizes, the last one made at the end."""


def _program(function: Program, tree: Any, shapes: tuple, static: tuple, device: Any, *, anew: bool = False) -> Program:
    """A program from memory, from the disk, or compiled and kept there. Threads may enter at the same time."""

    key = function, tree, shapes, static, device
    with _making[key]:  # of several threads one compiles
        made = None if anew else _programs.get(key)
        if made is None:
            known, on_cpu = (function.__module__, function.__qualname__, *key[1:4]), device.platform == "cpu"
            path = _path(known) if on_cpu else None
            made = None if anew or path is None else _load(path, device)
            if made is None:
                closed = any(getattr(value, "method", None) == "closed form" for _, value in static)
                program = _compile(
                    lambda *leaves: function(*tree.unflatten(leaves), **dict(static)),
                    shapes,
                    {} if closed or not on_cpu else QUICKLY,
                )
                made = program, _store(path, program)
            _programs[key] = made
            while len(kept := list(_programs)) > 1 and sum(size for _, size in list(_programs.values())) > IN_MEMORY:
                _programs.pop(kept[0], None)
        return made[0]


def _compile(flat: Callable, shapes: tuple, options: dict[str, Any]) -> jax.stages.Compiled:
    return jax.jit(flat).lower(*shapes).compile(compiler_options=options)


# --- on disk: errors here stay silent ---


def _sources() -> str:
    house = Path(__file__).parents[1]
    files = sorted(file for room in ("rules", "theory") for file in (house / room).rglob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


IMPORTED = _sources()


def _ours(info: os.stat_result) -> bool:
    """Whether only this user can write a file or a folder; on Windows, users have folders of their own."""
    return not hasattr(os, "getuid") or (info.st_uid == os.getuid() and not info.st_mode & 0o022)


def _path(program: tuple) -> Path | None:
    """Where a program is kept, under a name that stands for all it depends on; None if it cannot be kept."""
    chosen = os.environ.get("SGDLIMIT_CACHE_DIR")
    with suppress(Exception):
        import llvmlite.binding as llvm

        settings = jax.config.values
        # JAX cannot write again what it read from its own cache; and edited sources may differ from the running ones.
        if chosen == "" or settings["jax_compilation_cache_dir"] or _sources() != IMPORTED:
            return None
        folder = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sgdlimit")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
        if not (S_ISDIR(info.st_mode) and _ours(info)):
            return None
        processor = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), cores()
        machine = platform.system(), platform.machine(), processor, os.environ.get("XLA_FLAGS")
        versions = platform.python_version(), *map(version, PACKAGES)
        dependencies = program, IMPORTED, versions, machine, sorted(settings.items())
        return folder / f"{sha256(repr(dependencies).encode()).hexdigest()}.program"
    return None


def _load(path: Path, device: Any) -> tuple[Program, int] | None:
    """A program that this user kept under this name, and its size. Damaged files do not decompress."""
    no_link = getattr(os, "O_NOFOLLOW", 0)
    with suppress(Exception), open(path, "rb", opener=lambda name, flags: os.open(name, flags | no_link)) as file:
        info = os.fstat(file.fileno())
        if S_ISREG(info.st_mode) and info.st_nlink == 1 and _ours(info):
            content = gzip.decompress(file.read())
            if b"lapack" in content:  # tracing it would initialise LAPACK, without which it crashes
                prepare_lapack_call("syevd_ffi", np.dtype(float))
            name, kept = pickle.loads(content)
            if name == path.name:
                program = deserialize_and_load(*kept, execution_devices=[device])
                with suppress(OSError):
                    os.utime(path)
                return program, len(content)
    return None


def _store(path: Path | None, program: jax.stages.Compiled) -> int:
    """Keep a program, which appears whole or not at all, and remove those not used for longest; gives its size."""
    size = 0
    with suppress(Exception):
        content = pickle.dumps((path and path.name, serialize(program)))
        size = len(content)
        if path:
            with tempfile.TemporaryDirectory(dir=path.parent) as draft:
                file = Path(draft, path.name)
                file.touch(0o600)
                file.write_bytes(gzip.compress(content, compresslevel=1))
                os.replace(file, path)
            left = ON_DISK
            for old in sorted(path.parent.glob(f"*{path.suffix}"), key=os.path.getmtime, reverse=True):
                left -= old.stat().st_size
                if left < 0:
                    old.unlink(missing_ok=True)
    return size
