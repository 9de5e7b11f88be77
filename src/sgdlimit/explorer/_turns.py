"""Many simulations, few threads: each is advanced for a moment, then the next one.

Pages that stream at once share the cores evenly, and a page that is closed leaves its place.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from functools import cache
from typing import Any

from ..resources import cores, one_thread

SLICE = 0.03
"""Seconds for which one simulation is advanced."""
END = object()


class Turn:
    """A generator that :class:`Turns` advances until it ends, fails or is stopped.

    Parameters
    ----------
    items
        The generator.
    receive
        Called with the items of a moment, on one of the threads.
    """

    def __init__(self, items: Generator[Any], receive: Callable[[list[Any]], None]) -> None:
        self._items, self._receive = items, receive
        self._stopped = False
        self.ended = False
        """Whether it came to its end, or failed."""
        self.error: BaseException | None = None

    def stop(self) -> None:
        """Leave it where it is; nothing more is received."""
        self._stopped = True

    def advance(self) -> bool:
        """Take items for a moment and hand them on; return whether there may be more."""
        until, taken, item = time.monotonic() + SLICE, [], None
        try:
            while not self._stopped and time.monotonic() < until and (item := next(self._items, END)) is not END:
                taken.append(item)
            if self._stopped:
                self._items.close()
                return False
            self._receive(taken)
            self.ended = item is END
        except BaseException as error:  # whatever it is, the page hears of it and the other turns go on
            self.error, self.ended = error, True
        return not self.ended


class Turns:
    """Advances generators on a few threads, one after the other.

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

    def add(self, turn: Turn) -> Turn:
        """Begin to advance a generator."""
        with self._lock:
            self._waiting.append(turn)
            begin = self._working < self._threads
            self._working += begin
        if begin:
            threading.Thread(target=self._work, name="sgdlimit-turns", daemon=True).start()
        return turn

    @property
    def active(self) -> int:
        """How many generators are being advanced."""
        return len(self._waiting) + self._working

    def _work(self) -> None:
        """Advance whichever has waited longest, until none is left."""
        with one_thread():  # entered once for all turns, as it takes milliseconds
            while True:
                with self._lock:
                    if not self._waiting:
                        self._working -= 1
                        return
                    turn = self._waiting.popleft()
                if turn.advance():
                    self._waiting.append(turn)


@cache
def shared_turns() -> Turns:
    """Return the turns of this process; where there are several cores, one is left to the pages themselves."""
    return Turns(max(1, cores() - 1))
