"""Where pages come from: a notebook's cell, or a server on this machine alone."""

import logging
import socket
import warnings
import webbrowser
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import panel as pn
from bokeh.document import Document
from bokeh.server.urls import per_app_patterns
from panel.io.server import WSHandler
from tornado.websocket import WebSocketClosedError

from ..errors import DivergenceWarning, ProblemError
from ..problem import Problem, load_problem
from ._page import Explorer
from ._shown import Shown
from ._style import INLINE
from ._view import DEFAULT, View

if TYPE_CHECKING:
    from ._sweep_page import SweepPage

__all__ = ["explore", "serve"]

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 5006, 100
SUBTITLE = "Theory and SGD of a two-layer network, student and teacher, on structured inputs."
SUBTITLE_OF_SWEEP = "A stored sweep: M against a setting, and the trajectories behind each point."


def explore(
    problem: "Problem | str | Path | None" = None,
    *,
    seed: int = 0,
    time: float = 100.0,
    runs: int = 3,
    theories: str | tuple[str, ...] = ("conventional",),
) -> "Explorer | SweepPage":
    """The explorer, in a notebook: theory follows the settings, SGD is streamed over it.

    Parameters
    ----------
    problem
        What is shown first, the paper's network by default; the path of a TOML file with settings, of which seed, time,
        runs and theories are taken too; or the path of a stored sweep, to browse it.
    seed
        Of the instance and of the noise.
    time
        The last t.
    runs
        SGD runs.
    theories
        ``"conventional"``, ``"moment-matched"`` or both.

    Returns
    -------
    Explorer
        Shown as the last value of a cell; elsewhere ``.show()`` opens it in a browser.

    Raises
    ------
    ProblemError
        If a setting will not do, or is more than is drawn while one waits.
    """
    pn.extension(inline=True)
    if isinstance(problem, str | Path) and str(problem).endswith(".toml"):
        return Explorer(View.of_file(*load_problem(problem)))
    if isinstance(problem, str | Path):
        from ._sweep_page import SweepPage

        return SweepPage(problem)
    if problem is not None and not isinstance(problem, Problem):
        raise ProblemError(f"problem: {problem!r} is neither a Problem nor the path of a sweep; give one of them")
    chosen = (theories,) if isinstance(theories, str) else tuple(theories)
    settings: dict[str, Any] = {"seed": seed, "time": time, "runs": runs, "theories": chosen}
    return Explorer(View(problem=problem or DEFAULT.problem, **settings))


def serve(target: str | View | None, *, port: int | None, browser: bool, say: Callable[[str], None]) -> None:
    """Serve the explorer on this machine until it is interrupted.

    Parameters
    ----------
    target
        A stored sweep, a TOML file of settings, a view, or nothing.
    port
        The port; by default the first free one from 5006 on.
    browser
        Whether to open a browser.
    say
        Given the address.

    Raises
    ------
    ProblemError
        If the port is taken, or the target is neither a sweep nor settings.
    """
    make, title, subtitle = _maker(target)
    port = _free_port(port)

    def page() -> pn.Template:
        return _template(make(_address()), title, subtitle)

    def explorer() -> pn.Template:
        return _template(Explorer(DEFAULT, _address()), "sgdlimit explorer", SUBTITLE)

    _leave_out_closed_pages()
    _send_at_once()
    warnings.simplefilter("ignore", DivergenceWarning)  # the pages say it themselves
    server: Any = pn.serve(
        {"/": page, "/explore": explorer}, port=port, address=HOST, show=False,
        websocket_origin=[f"{HOST}:{port}", f"localhost:{port}"],
        start=False, title=title, verbose=False, check_unused_sessions=1000, unused_session_lifetime=8000,
    )  # fmt: skip
    address = f"http://{HOST}:{port}/"
    server.start()
    say(f"Explorer: {address}  (Ctrl-C ends it)")
    if browser:
        webbrowser.open(address)
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        server.stop()


def _leave_out_closed_pages() -> None:
    """Keep what was on its way to a page that was closed out of the terminal."""

    def closed(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], WebSocketClosedError))

    logging.getLogger("asyncio").addFilter(closed)
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)


class _Prompt(WSHandler):
    """A connection that does not wait until a message is worth sending: that takes 0.04 s, twice for each new curve."""

    def open(self, *args: Any, **kwargs: Any) -> None:
        self.set_nodelay(True)
        super().open(*args, **kwargs)


def _send_at_once() -> None:
    per_app_patterns[:] = [(route[0], _Prompt) if route[1] is WSHandler else route for route in per_app_patterns]


def _address() -> str:
    """What stands behind the ``?`` of the address that a page is asked for."""
    given = pn.state.session_args or {}
    pairs = [(name, value.decode("utf-8", "replace")) for name, values in given.items() for value in values]
    return urlencode(pairs)


def _maker(target: str | View | None) -> tuple[Callable[[str], Any], str, str]:
    if target is None:
        return lambda address: Explorer(DEFAULT, address), "sgdlimit explorer", SUBTITLE
    if isinstance(target, View):
        return lambda address: Explorer(target, address), "sgdlimit explorer", SUBTITLE
    name = Path(target).name
    if target.endswith(".toml"):
        view = View.of_file(*load_problem(target))
        return lambda address: Explorer(view, address), f"sgdlimit: {name}", SUBTITLE
    from ._sweep_page import SweepPage

    SweepPage(target)  # what is wrong with it is said before there is a page
    return lambda address: SweepPage(target, address), f"sgdlimit: {name}", SUBTITLE_OF_SWEEP


class _Page(pn.Template):
    """A template whose models are counted once, not after each of its links: that is a third of the time it takes."""

    def server_doc(self, doc: Document | None = None, *args: Any, **kwargs: Any) -> Document:
        doc = doc or pn.state.curdoc
        assert doc is not None
        with doc.models.freeze():
            return super().server_doc(doc, *args, **kwargs)


def _template(shown: Shown, title: str, subtitle: str) -> pn.Template:
    pn.state.on_session_destroyed(lambda _: shown.close())
    source = files("sgdlimit.explorer").joinpath("page.html.j2").read_text(encoding="utf-8")
    template: Any = _Page(source)
    dark = pn.widgets.Toggle(label="Dark", value=False, stylesheets=INLINE, margin=0, width=70, tags=["dark-page"])
    dark.param.watch(lambda event: shown.restyle(event.new), "value")
    dark.jscallback(value="document.documentElement.dataset.theme = source.active ? 'dark' : 'light'")
    template.add_panel("settings", shown.settings)
    template.add_panel("results", shown.results_area)
    template.add_panel("theme", dark)
    template.add_panel("address", shown.address_bar)
    template.add_variable("subtitle", subtitle)
    template.title = title
    return template


def _free_port(asked: int | None) -> int:
    for port in [asked] if asked is not None else range(FIRST_PORT, FIRST_PORT + PORTS):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                if asked is not None:
                    raise ProblemError(
                        f"--port: {port} cannot be had ({error.strerror}); name another, or leave it out"
                    ) from None
                continue
            return probe.getsockname()[1]
    raise ProblemError(f"--port: none from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free; name one")
