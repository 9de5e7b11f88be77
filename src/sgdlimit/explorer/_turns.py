"""Many simulations in few threads: each advances for a moment, then the next one.

Pages that stream at once share the cores evenly, and a closed page frees its place.
"""

import time
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from threading import Semaphore, Thread
from typing import Any

from ..resources import cores, one_thread

SLICE = 0.03
"""Seconds for which one simulation is advanced."""

THREADS = Semaphore(max(1, cores() - 1))
"""So many threads advance the turns of this process. Of several cores one is left to the pages."""
WAITING: deque["Turn"] = deque()
ACTIVE: set["Turn"] = set()
"""The turns that have not ended."""


class Turn:
    """A generator that advances for a moment at a time, until it ends, fails or is stopped.

    Parameters
    ----------
    items
        The generator.
    """

    def __init__(self, items: Generator[Any]) -> None:
        self._items = items
        self.latest: Any = None
        """The latest item."""
        self.stopped = False
        """Set it to stop the generator."""
        self.ended = False
        """Whether it has ended or failed."""
        self.error: BaseException | None = None

    def start(self) -> None:
        """Wait for a thread; the thread ends when nothing waits."""
        ACTIVE.add(self)
        WAITING.append(self)
        Thread(target=_work, name="sgdlimit-turns", daemon=True).start()

    def advance(self) -> bool:
        """Take items for a moment; return whether there may be more."""
        until = time.monotonic() + SLICE
        try:
            while not self.stopped and time.monotonic() < until:
                self.latest = next(self._items)
        except StopIteration:
            self.ended = True
        except BaseException as error:  # of any kind: the page reports it and the other turns go on
            self.error, self.ended = error, True
        if self.stopped:
            self._items.close()
        return not (self.stopped or self.ended)


def _work() -> None:
    """When a thread is free, advance the turn that has waited longest, until none waits."""
    # One BLAS thread is set once for all turns, as it takes milliseconds.
    with THREADS, one_thread(), suppress(IndexError):
        while True:
            turn = WAITING.popleft()
            if turn.advance():
                WAITING.append(turn)
            else:
                ACTIVE.discard(turn)
