"""What a page is on a server and in a notebook alike: settings on the left, results on the right."""

from typing import Any

import panel as pn

from ._panels import QUANTITIES, Panels
from ._style import INLINE, text

__all__ = ["Shown"]


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


class Shown:
    """A page, or one output of a notebook.

    Parameters
    ----------
    target
        What :func:`sgdlimit.explorer.serve` makes the same page of.
    """

    settings: pn.Column
    results_area: pn.Column

    def __init__(self, target: Any) -> None:
        self._target = target
        self.panels = Panels()
        self.legends = {name: text() for name in QUANTITIES}
        self.plots = {
            name: pn.Column(
                pn.pane.HTML(f"<h3>{title}</h3>", stylesheets=INLINE, margin=(0, 4)), self.legends[name],
                pn.pane.Bokeh(self.panels.figures[name], sizing_mode="stretch_width", margin=0),
                styles={"flex": "1 1 42%", "min-width": "280px"}, margin=2,
            )
            for name, title in QUANTITIES.items()
        }  # fmt: skip
        """The panels of the trajectories, each under its title and the names of its entries."""
        self.address_bar = pn.widgets.TextInput(visible=False)
        """What stands behind the path in the address; it is replaced, so that Back leaves the page."""
        self.address_bar.jscallback(value="history.replaceState({}, '', location.pathname + source.value)")

    def __panel__(self) -> pn.viewable.Viewable:
        """What a notebook shows."""
        settings = pn.Column(self.settings, width=320)
        return Output(settings, self.results_area, sizing_mode="stretch_width")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.__panel__()._repr_mimebundle_(include, exclude)

    def show(self, *, port: int | None = None, browser: bool = True) -> None:
        """Open it in a browser, from a script or a terminal, until that is interrupted; as ``sgdlimit explore`` does.

        Parameters
        ----------
        port
            The first free one from 5006 on by default.
        browser
            Whether to open a browser, or just to print the address.
        """
        from ._explore import serve

        serve(self._target, port=port, browser=browser, say=print)

    def name_entries(self, K: int, M: int) -> None:
        """Write the names of the entries above the panels, in their colours."""
        for name, legend in self.legends.items():
            legend.object = self.panels.legend(name, K, M)

    def restyle(self, dark: bool) -> None:
        """Colours of the axes, for a dark page or a light one."""
        self.panels.restyle(dark)

    def close(self) -> None:
        """Free what the page holds."""
