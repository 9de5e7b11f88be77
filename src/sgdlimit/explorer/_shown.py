"""The base of both pages, for a notebook and for a server that only this machine can reach."""

import logging
import socket
import sys
import threading
import warnings
import webbrowser
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import Any, ClassVar
from urllib.parse import urlencode

import panel as pn
from bokeh.document import Document
from bokeh.server.urls import per_app_patterns
from panel.io.server import WSHandler
from tornado.websocket import WebSocketClosedError

from ..errors import DivergenceWarning, ProblemError
from ._gate import guard
from ._panels import Panels
from ._style import INLINE, note, text

HOST = "127.0.0.1"
PORTS = range(5006, 5106)

_solvers = ThreadPoolExecutor(2, thread_name_prefix="sgdlimit-theory")  # one may be compiling


class Shown(ABC):
    """A page, or one output of a notebook.

    Parameters
    ----------
    target
        What the page shows first. A server makes each of its pages of the same target.
    """

    subtitle: ClassVar[str]
    beside: ClassVar[dict[str, Any]] = {}
    """By path, functions that make further pages from the query of their address."""
    settings: pn.Column
    results_area: pn.Column

    def __init__(self, target: Any) -> None:
        self._target = target
        self._document: Any = pn.state.curdoc
        """The Bokeh document of a page on a server; None in a notebook."""
        self.panels, self.status = Panels(), text()
        self.address_bar = pn.widgets.TextInput(visible=False)
        """The query of the address. It replaces the old one, so that Back leaves the page."""
        self.address_bar.jscallback(value="history.replaceState({}, '', location.pathname + source.value)")

    @abstractmethod
    def address(self) -> str:
        """Return the query of the address, which holds all that is on view."""

    def write_address(self) -> None:
        """Keep the address up to date."""
        self.address_bar.value = f"?{address}" if (address := self.address()) else ""

    def say(self, words: str, link: str = "") -> None:
        """Show the state of the page in a sentence, with a link."""
        self.status.object = note(words, link)

    # --- threads ------------------------------------------------------------------------------------------------------

    @property
    def watched(self) -> bool:
        """Whether a browser is still there."""
        session = getattr(self._document and self._document.session_context, "session", None)
        return not session or session.connection_count > 0

    def work(self, compute: Callable[[], Any], show: Callable[[Any], None]) -> None:
        """Compute something in a thread, then show it; in a notebook at once."""
        if self._document:
            _solvers.submit(compute).add_done_callback(lambda done: self.apply(lambda: show(done.result())))
        else:
            self.apply(lambda: show(compute()))

    def apply(self, change: Callable[[], None], seconds: float = 0) -> None:
        """Change the page: as soon as possible, from any thread, or after so many seconds."""
        if self._document:
            at_once = pn.io.hold(self._document)(
                change
            )  # one message for all changes, so that the page is laid out once
            if seconds:
                self._document.add_timeout_callback(at_once, round(1000 * seconds))
            else:
                self._document.add_next_tick_callback(at_once)
        elif seconds:
            timer = threading.Timer(seconds, self.apply, [change])
            timer.daemon = True
            timer.start()
        else:
            change()
            pn.io.push_notebook(self.panels.area)

    # --- in a notebook and on a server --------------------------------------------------------------------------------

    def __panel__(self) -> pn.viewable.Viewable:
        """Return what a notebook shows."""
        return Output(pn.Column(self.settings, width=320), self.results_area, sizing_mode="stretch_width")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.__panel__()._repr_mimebundle_(include, exclude)

    def show(self, *, port: int | None = None, browser: bool = True) -> None:
        """Open the page in a browser until the script is interrupted, as ``sgdlimit explore`` does.

        Parameters
        ----------
        port
            The port, by default the first free one from 5006 on.
        browser
            Whether to open a browser, or just to print the address.
        """
        serve_pages(type(self), self._target, title="sgdlimit explorer", port=port, browser=browser)

    def template(self) -> pn.Template:
        """Put the page into its HTML, with a switch between light and dark."""
        dark = pn.widgets.Toggle(label="Dark", stylesheets=INLINE, margin=0, width=70, tags=["dark-page"])
        dark.param.watch(lambda event: self.panels.restyle(event.new), "value")
        dark.jscallback(value="document.documentElement.dataset.theme = source.active ? 'dark' : 'light'")
        parts = {"settings": self.settings, "results": self.results_area, "theme": dark, "address": self.address_bar}
        page = _Page(files("sgdlimit.explorer").joinpath("page.html.j2").read_text("utf-8"), items=parts)
        page.add_variable("subtitle", self.subtitle)
        return page


def serve_pages(page: type[Shown], target: Any, *, title: str, port: int | None, browser: bool) -> None:
    """Serve pages of a target on this machine until interrupted. The address is printed on standard error.

    Parameters
    ----------
    page, target
        The kind of page, and what it shows first.
    title
        Title of the pages.
    port, browser
        As for :meth:`Shown.show`.

    Raises
    ------
    ProblemError
        If the port is taken.
    """
    logging.getLogger("asyncio").addFilter(_is_no_closed_page)
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", DivergenceWarning)  # the pages report it themselves
    per_app_patterns[:] = [(route[0], _Prompt) if route[1] is WSHandler else route for route in per_app_patterns]
    pages: dict[str, Any] = {
        path: lambda make=make: make(urlencode(pn.state.session_args or {}, doseq=True)).template()
        for path, make in {"/": partial(page, target), **page.beside}.items()
    }
    reason = ""
    for number in PORTS if port is None else [port]:
        try:
            with socket.create_server((HOST, number)):
                break
        except OSError as error:
            reason = str(error.strerror).partition(" (")[0]
    else:
        taken = port or f"every port from {PORTS[0]} to {PORTS[-1]}"
        raise ProblemError(f"--port: must be free (got {taken}: {reason}). Choose another port, or leave it out.")
    hosts = [f"{host}:{number}" for host in (HOST, "localhost")]
    server: Any = pn.serve(
        pages, port=number, address=HOST, show=False, start=False, title=title, verbose=False,
        websocket_origin=hosts, check_unused_sessions=1000, unused_session_lifetime=8000,
    )  # fmt: skip
    token, ticket = guard(server._tornado, set(hosts), f"sgdlimit-{number}")
    server.start()
    print(f"Explorer: http://{hosts[0]}/?token={token}  (Ctrl-C ends it)", file=sys.stderr, flush=True)
    if browser:
        webbrowser.open(f"http://{hosts[0]}/?token={ticket}")
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        server.stop()


def _is_no_closed_page(record: logging.LogRecord) -> bool:
    """Keep messages that were on their way to a closed page off the terminal."""
    return not (record.exc_info and isinstance(record.exc_info[1], WebSocketClosedError))


class _Prompt(WSHandler):
    """A connection without Nagle's algorithm, which delays each new curve twice by 0.04 s."""

    def open(self, *args: Any, **kwargs: Any) -> None:
        self.set_nodelay(True)
        super().open(*args, **kwargs)


class Output(pn.Row):
    """What a notebook shows.

    In a notebook Panel's page sends all data back. Reading the points of all curves again would take longer than SGD,
    so they are left out.
    """

    def _on_msg(self, ref: str, manager: Any, msg: Any) -> None:
        content = msg.get("content", {})
        if "events" in content:
            content["events"] = [event for event in content["events"] if event.get("attr") != "data"]
        super()._on_msg(ref, manager, msg)


class _Page(pn.Template):
    """A template that counts its models once, not after each link, which saves a third of its time."""

    def server_doc(self, doc: Document, *args: Any, **kwargs: Any) -> Document:  # type: ignore[override]
        with doc.models.freeze():
            return super().server_doc(doc, *args, **kwargs)
