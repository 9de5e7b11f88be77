"""What a page is to the threads that work for it: whether it is still there, and how it is changed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import panel as pn

__all__ = ["Session"]

_solvers = ThreadPoolExecutor(2, thread_name_prefix="sgdlimit-theory")  # one may be compiling


class Session:
    """The browser's page that is being made, or a notebook's output.

    Parameters
    ----------
    outputs
        Gives what a notebook has to be told to draw again.
    """

    def __init__(self, outputs: Callable[[], list[Any]]) -> None:
        self._document, self._outputs = pn.state.curdoc, outputs

    @property
    def served(self) -> bool:
        """Whether a server sends the page."""
        return self._document is not None and self._document.session_context is not None

    @property
    def watched(self) -> bool:
        """Whether a browser is still there."""
        session = getattr(self._document.session_context, "session", None) if self.served else None  # type: ignore[union-attr]
        return session is None or session.connection_count > 0

    def submit(self, work: Callable[[], None]) -> None:
        """Work in the threads that solve theory for all pages; in a notebook at once."""
        if self.served:
            _solvers.submit(work)
        else:
            work()

    def apply(self, change: Callable[[], None]) -> None:
        """Change the page, from any thread."""
        if self.served:
            self._document.add_next_tick_callback(lambda: self._at_once(change))  # type: ignore[union-attr]
        else:
            change()
            pn.io.push_notebook(*self._outputs())

    def later(self, seconds: float, change: Callable[[], None]) -> None:
        """Change the page after a while; a notebook, which waits for its cells, never."""
        if self.served:
            self._document.add_timeout_callback(lambda: self._at_once(change), round(1000 * seconds))  # type: ignore[union-attr]

    def _at_once(self, change: Callable[[], None]) -> None:
        """One message, and one layout, for all that a change consists of."""
        with pn.io.hold(self._document):
            change()
