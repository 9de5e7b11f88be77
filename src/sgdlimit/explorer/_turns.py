"""Many simulations, few threads: each is advanced for a moment, then the next one.

Pages that stream at once share the cores evenly, and one that is closed leaves its place.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ..resources import cores, one_thread

__all__ = ["Turn", "Turns", "shared_turns"]

SLICE = 0.03
"""Seconds that one is advanced for."""


class Turn:
    """An iterator that is advanced by :class:`Turns`, until it ends, fails or is stopped."""

    def __init__(
        self,
        items: Iterator[Any],
        receive: Callable[[list[Any]], None],
        finish: Callable[[BaseException | None], None],
    ) -> None:
        self._items, self._receive, self._finish = items, receive, finish
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Leave it where it is; nothing more is received."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopped.is_set()

    def advance(self) -> bool:
        """Take items for a moment and hand them on; whether there may be more."""
        try:
            more = self._take()
            if not more and not self.stopped:
                self._finish(None)
        except BaseException as error:  # whatever it is, the page is told and the other turns go on
            with suppress(Exception):
                self._finish(error)
            return False
        return more

    def _take(self) -> bool:
        until, taken, more = time.monotonic() + SLICE, [], True
        try:
            while not self.stopped and time.monotonic() < until:
                taken.append(next(self._items))
        except StopIteration:
            more = False
        if self.stopped:
            self._items.close()  # type: ignore[attr-defined]
            return False
        self._receive(taken)
        return more


class Turns:
    """Advances iterators on a few threads, one after the other.

    Parameters
    ----------
    threads
        Number of threads; they end when there is nothing to do.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._waiting: deque[Turn] = deque()
        self._lock = threading.Lock()
        self._working = 0

    def add(
        self,
        items: Iterator[Any],
        receive: Callable[[list[Any]], None],
        finish: Callable[[BaseException | None], None],
    ) -> Turn:
        """Begin to advance an iterator.

        Parameters
        ----------
        receive
            Called with the items of a moment, on one of the threads.
        finish
            Called at the end, with the error if there was one; not if it was stopped.
        """
        turn = Turn(items, receive, finish)
        with self._lock:
            self._waiting.append(turn)
            begin = self._working < self._threads
            self._working += begin
        if begin:
            threading.Thread(target=self._work, name="sgdlimit-turns", daemon=True).start()
        return turn

    @property
    def active(self) -> int:
        """How many are being advanced."""
        with self._lock:
            return len(self._waiting) + self._working

    def _work(self) -> None:
        with one_thread():
            while True:
                with self._lock:
                    if not self._waiting:
                        self._working -= 1
                        return
                    turn = self._waiting.popleft()
                if turn.advance():
                    with self._lock:
                        self._waiting.append(turn)


_SHARED: list[Turns] = []


def shared_turns() -> Turns:
    """Those of this process: a core is left to the pages themselves where there are several."""
    if not _SHARED:
        _SHARED.append(Turns(max(1, cores() - 1)))
    return _SHARED[0]
