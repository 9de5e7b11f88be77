"""One writer for a store: a lock of the operating system where there is one, else a lease that is renewed."""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ProblemError, SweepError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["WriterLock"]

RENEWED = 20.0
"""Seconds between two renewals of a lease."""

EXPIRED = 90.0
"""Seconds after which a lease that was not renewed is nobody's; clocks of the machines may differ by a minute."""


class WriterLock:
    """Held while a process writes to a store; it ends with the process, however that ends.

    On a local disk the folder is locked, which the system undoes when the process dies. A store elsewhere has a lease
    in it: who writes, and when that was last said. Two processes that begin within the same second could both read that
    nobody does; the one whose lease was overwritten finds out before it writes a task, and stops.

    Parameters
    ----------
    path
        The local folder, or None where the store is elsewhere.
    read, write
        The lease in the store, None where there is none.
    name
        Of the store, for messages.

    Raises
    ------
    ProblemError
        If another process holds it.
    """

    def __init__(
        self,
        path: Path | None,
        read: Callable[[], Mapping[str, Any] | None],
        write: Callable[[Mapping[str, Any] | None], None],
        name: str,
    ) -> None:
        self._read, self._write, self._name = read, write, name
        self._me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        self._file: int | None = None
        self._stop = threading.Event()
        self._lost = False
        self._renewing: threading.Thread | None = None
        if path is not None and fcntl is not None:
            self._file = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._file)
                raise ProblemError(self._refusal(self._read())) from None
            except OSError:  # a network disk without locks
                os.close(self._file)
                self._file = None
        if self._file is None:
            holder = self._read()
            if holder is not None and time.time() - holder.get("seen", 0) < EXPIRED:
                raise ProblemError(f"{self._refusal(holder)}; if it is dead, try again after {EXPIRED:.0f} seconds")
        try:
            self._say()
        except BaseException:
            self._unlock()
            raise
        if self._file is None:
            self._renewing = threading.Thread(target=self._renew, daemon=True)
            self._renewing.start()

    def check(self) -> None:
        """Make sure that the store is still this process's.

        Raises
        ------
        SweepError
            If another process has taken it.
        """
        if self._file is None and not self._lost:
            holder = self._read()
            self._lost = holder is not None and {k: holder.get(k) for k in self._me} != self._me
        if self._lost:
            raise SweepError(f"{self._refusal(self._read())}; what it had not stored yet is left to the other one")

    def release(self) -> None:
        """Let others write."""
        self._stop.set()
        if self._renewing is not None:
            self._renewing.join()
        with suppress(OSError, SweepError):  # a lost disk, or another's by now; the lock itself ends all the same
            self.check()
            self._write(None)
        self._unlock()

    def _unlock(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _say(self) -> None:
        self._write({**self._me, "seen": time.time()})

    def _renew(self) -> None:
        while not self._stop.wait(RENEWED):
            try:
                self.check()
                self._say()
            except SweepError:
                return
            except OSError:  # tried again; a task is not written without a check
                continue

    def _refusal(self, holder: Mapping[str, Any] | None) -> str:
        who = "another process"
        if holder is not None:
            since = time.strftime("%H:%M:%S", time.localtime(holder.get("since", 0)))
            who += f" (number {holder.get('pid')} on {holder.get('host')}, since {since})"
        return f"store: {who} is writing to {self._name}; wait for it, end it, or give another --out"
