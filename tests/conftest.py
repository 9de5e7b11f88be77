"""The suite keeps compiled programs for itself and its next run, its workers share them, and compile them cheaply.

They are known by the code and the versions they were compiled from, so none that is out of date is used. What theory
compiles is optimised little here: four fifths of the time are saved, the last bits differ, and no test rests on those.
``XLA_FLAGS= make test`` compiles as the users' machines do.
"""
# ruff: noqa: E402 (shapes are checked in modules that are imported after the hook is installed)

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from numba.core.dispatcher import Dispatcher

from shapes import check_shapes

check_shapes()
gc.disable()  # until the tests are collected: a third of the time that their imports take

from browser import browser, contexts, open_page, screenshots
from sgdlimit.cli import main
from sgdlimit.resources import cores
from slow import entry

if os.name == "posix":
    import fcntl

__all__ = ["browser", "command", "contexts", "open_page", "screenshots"]

FOLDER = "SGDLIMIT_TEST_PROGRAMS"  # workers inherit it from the process that starts them

MOST_BYTES = 500 << 20
"""After which what earlier runs compiled is thrown away."""

if FOLDER not in os.environ:
    kept = Path(__file__).parents[1] / ".pytest_cache" / "sgdlimit-programs"
    if not os.access(kept.parents[1], os.W_OK):  # a checkout that may only be read
        kept = Path(tempfile.mkdtemp(prefix="sgdlimit-programs-"))
        atexit.register(shutil.rmtree, kept, ignore_errors=True)
    if sum(file.stat().st_size for file in kept.glob("*")) > MOST_BYTES:
        shutil.rmtree(kept)
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ[FOLDER] = str(kept)
os.environ["SGDLIMIT_CACHE_DIR"] = os.environ[FOLDER]
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the workers have the cores already
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)


class OneAtATime:
    """A lock that the threads of all workers share."""

    def __init__(self, path: Path) -> None:
        self._path, self._threads, self._depth = path, threading.RLock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold it; a thread that does may enter again."""
        with self._threads:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._file = self._path.open("w")
                    if os.name == "posix":  # elsewhere each worker compiles for itself
                        fcntl.flock(self._file, fcntl.LOCK_EX)
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._file.close()


def pytest_configure() -> None:
    """Let one worker compile a kernel of SGD, half a minute for all of them, and the others wait and load it."""
    one_at_a_time, compile_kernel = OneAtATime(Path(os.environ[FOLDER]) / "kernels.lock"), Dispatcher.compile

    def compile_once(self: Dispatcher, sig: Any) -> Any:
        with one_at_a_time():
            return compile_kernel(self, sig)

    Dispatcher.compile = compile_once


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in the table of slow tests."""
    for item in items:
        if entry(item.nodeid):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Leave what was imported to itself when the garbage of the tests is collected."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)  # without xdist it is nobody's
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for browsers, servers and workers that they have started."""
    return cores() + 1


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command line in this process and an empty folder, and gives what a process of its own would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr("sys.argv", ["sgdlimit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), printed.out, printed.err)

    return run
