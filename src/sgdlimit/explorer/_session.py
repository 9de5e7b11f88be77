"""What a page is to the threads that work for it: whether it is still there, and how it is changed."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import panel as pn

_solvers = ThreadPoolExecutor(2, thread_name_prefix="sgdlimit-theory")  # one may be compiling


class Session:
    """The browser's page that is being made, or a notebook's output.

    Parameters
    ----------
    output
        What a notebook has to be told to draw again.
    """

    def __init__(self, output: pn.viewable.Viewable) -> None:
        self._document: Any = pn.state.curdoc
        self._output = output
        self.served = bool(self._document and self._document.session_context)
        """Whether a server sends the page."""

    @property
    def watched(self) -> bool:
        """Whether a browser is still there."""
        session = getattr(self._document.session_context, "session", None) if self.served else None
        return session is None or session.connection_count > 0

    def submit(self, work: Callable[[], None]) -> None:
        """Work in the threads that solve theory for all pages, or at once in a notebook."""
        if self.served:
            _solvers.submit(work)
        else:
            work()

    def apply(self, change: Callable[[], None]) -> None:
        """Change the page, from any thread."""
        if self.served:
            self._document.add_next_tick_callback(lambda: self._at_once(change))
        else:
            change()
            pn.io.push_notebook(self._output)

    def later(self, seconds: float, change: Callable[[], None]) -> None:
        """Change the page after a while."""
        if self.served:
            self._document.add_timeout_callback(lambda: self._at_once(change), round(1000 * seconds))
        else:
            timer = threading.Timer(seconds, lambda: self.apply(change))
            timer.daemon = True
            timer.start()

    def _at_once(self, change: Callable[[], None]) -> None:
        """Send all parts of a change as one message, so that the page is laid out once."""
        with pn.io.hold(self._document):
            change()
