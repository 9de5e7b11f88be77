"""A server of pages on this machine alone."""

import logging
import socket
import warnings
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import panel as pn
from bokeh.server.urls import per_app_patterns
from panel.io.server import WSHandler
from tornado.websocket import WebSocketClosedError

from ..errors import DivergenceWarning, ProblemError

HOST = "127.0.0.1"
PORTS = range(5006, 5106)


def serve_pages(
    pages: Mapping[str, Callable[[], pn.Template]],
    *,
    title: str,
    port: int | None,
    browser: bool,
    say: Callable[[str], None],
) -> None:
    """Serve pages on this machine until that is interrupted.

    Parameters
    ----------
    pages
        Makes the page of each path.
    title
        Title of the pages.
    port
        The port, by default the first free one from 5006 on.
    browser
        Whether to open a browser.
    say
        Called with the address.

    Raises
    ------
    ProblemError
        If the port is taken.
    """
    logging.getLogger("asyncio").addFilter(_is_no_closed_page)
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", DivergenceWarning)  # the pages say it themselves
    per_app_patterns[:] = [(route[0], _Prompt) if route[1] is WSHandler else route for route in per_app_patterns]
    port = _free_port(PORTS if port is None else [port])
    server: Any = pn.serve(
        dict(pages), port=port, address=HOST, show=False, start=False, title=title, verbose=False,
        websocket_origin=[f"{HOST}:{port}", f"localhost:{port}"],
        check_unused_sessions=1000, unused_session_lifetime=8000,
    )  # fmt: skip
    server.start()
    address = f"http://{HOST}:{port}/"
    say(f"Explorer: {address}  (Ctrl-C ends it)")
    if browser:
        webbrowser.open(address)
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        server.stop()


def query() -> str:
    """Return what stands behind the ``?`` of the address that a page is asked for."""
    return urlencode(pn.state.session_args or {}, doseq=True)


def _free_port(ports: Sequence[int]) -> int:
    """Return the first port that nobody listens on."""
    reason = ""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return port
            except OSError as error:
                reason = str(error.strerror)
    if len(ports) == 1:
        raise ProblemError(f"--port: {ports[0]} is not free ({reason}). Choose another port, or leave it out.")
    raise ProblemError(f"--port: none from {ports[0]} to {ports[-1]} is free. Choose one.")


def _is_no_closed_page(record: logging.LogRecord) -> bool:
    """Keep the terminal free of what was on its way to a page that was closed."""
    return not (record.exc_info and isinstance(record.exc_info[1], WebSocketClosedError))


class _Prompt(WSHandler):
    """A connection that does not wait until a message is worth sending: that takes 0.04 s, twice for each new curve."""

    def open(self, *args: Any, **kwargs: Any) -> None:
        self.set_nodelay(True)
        super().open(*args, **kwargs)
