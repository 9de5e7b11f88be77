"""What both pages are, on a server and in a notebook: settings on the left, results on the right."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any, ClassVar

import panel as pn
from bokeh.document import Document

from ._panels import Panels
from ._server import query, serve_pages
from ._session import Session
from ._style import INLINE, note, text


class Shown:
    """A page, or one output of a notebook.

    Parameters
    ----------
    target
        What the page shows first; a server makes the same page of it.
    """

    subtitle: ClassVar[str]
    settings: pn.Column
    results_area: pn.Column

    def __init__(self, target: Any) -> None:
        self._target = target
        self.panels = Panels()
        self.session = Session(self.panels.area)
        self.status = text()
        self.address_bar = pn.widgets.TextInput(visible=False)
        """What stands behind the path in the address. It is replaced, so that Back leaves the page."""
        self.address_bar.jscallback(value="history.replaceState({}, '', location.pathname + source.value)")

    def address(self) -> str:
        """Return what stands behind the ``?`` of the address: all that is on view."""
        raise NotImplementedError

    def write_address(self) -> None:
        """Keep the address up to date."""
        self.address_bar.value = f"?{address}" if (address := self.address()) else ""

    def say(self, words: str, link: str = "") -> None:
        """Say how the page is doing, with a link."""
        self.status.object = note(words, link)

    def restyle(self, dark: bool) -> None:
        """Colour the axes for a dark page or a light one."""
        self.panels.restyle(dark)

    def close(self) -> None:
        """Free what the page holds."""

    def __panel__(self) -> pn.viewable.Viewable:
        """Return what a notebook shows."""
        return Output(pn.Column(self.settings, width=320), self.results_area, sizing_mode="stretch_width")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.__panel__()._repr_mimebundle_(include, exclude)

    def show(self, *, port: int | None = None, browser: bool = True) -> None:
        """Open it in a browser, from a script or a terminal, until that is interrupted; as ``sgdlimit explore`` does.

        Parameters
        ----------
        port
            The port, by default the first free one from 5006 on.
        browser
            Whether to open a browser, or just to print the address.
        """
        self.serve(self._target, port=port, browser=browser, say=print)

    @classmethod
    def serve(cls, target: Any, *, title: str = "sgdlimit explorer", **options: Any) -> None:
        """Serve pages of a target; ``options`` are those of :func:`sgdlimit.explorer._server.serve_pages`."""
        pages = {path: lambda make=make: make(query())._template(title) for path, make in cls.pages(target).items()}
        serve_pages(pages, title=title, **options)

    @classmethod
    def pages(cls, target: Any) -> dict[str, Callable[[str], "Shown"]]:
        """Return what makes the page of each path from its address."""
        return {"/": lambda address: cls(target, address)}  # type: ignore[call-arg]

    def _template(self, title: str) -> pn.Template:
        """Put the page into its HTML, with a switch between light and dark."""
        pn.state.on_session_destroyed(lambda _: self.close())
        dark = pn.widgets.Toggle(label="Dark", value=False, stylesheets=INLINE, margin=0, width=70, tags=["dark-page"])
        dark.param.watch(lambda event: self.restyle(event.new), "value")
        dark.jscallback(value="document.documentElement.dataset.theme = source.active ? 'dark' : 'light'")
        parts = {"settings": self.settings, "results": self.results_area, "theme": dark, "address": self.address_bar}
        page: Any = _Page(files("sgdlimit.explorer").joinpath("page.html.j2").read_text("utf-8"), items=parts)
        page.title = title
        page.add_variable("subtitle", self.subtitle)
        return page


class Output(pn.Row):
    """What a notebook shows.

    Panel's page in a notebook sends back whatever is sent to it. To take in the points of all curves again takes more
    time than SGD does, so those are left out.
    """

    def _on_msg(self, ref: str, manager: Any, msg: Any) -> None:
        content = msg.get("content", {})
        if "events" in content:
            content["events"] = [event for event in content["events"] if event.get("attr") != "data"]
        super()._on_msg(ref, manager, msg)


class _Page(pn.Template):
    """A template whose models are counted once, not after each of its links: that is a third of the time it takes."""

    def server_doc(self, doc: Document, *args: Any, **kwargs: Any) -> Document:  # type: ignore[override]
        with doc.models.freeze():
            return super().server_doc(doc, *args, **kwargs)
