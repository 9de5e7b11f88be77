"""The settings of a page as widgets, each with room beside it for what is wrong with its value."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import panel as pn
import param

from ..errors import ProblemError
from ..inputs import NAMES
from ..rules import ACTIVATIONS, TEACHER_ONLY
from ._style import parts
from ._view import OF_MIXTURE, View, flat

__all__ = ["MIXTURE", "MIXTURE_DEFAULTS", "Fields"]

GAUSSIAN, MIXTURE = "gaussian", "gaussian-mixture"
MIXTURE_DEFAULTS = {
    "latent.components": 2, "latent.spread": 9.0, "latent.block_size": 1, "latent.standardize": True,
}  # fmt: skip

GATHERED = 5
"""Milliseconds in which changes of a widget are taken together; Panel's own 50 would delay every new curve."""

AT_ONCE = ("learning_rate", "latent.spread", "time")
"""Sliders whose curves are there before the next pixel; the others wait for a hand to let go."""
LARGEST = 10**9
"""What a number is cut to: a slider cannot have a range without end."""


class Fields:
    """Widgets by the names of the settings, which they read and write.

    Parameters
    ----------
    changed
        Called when a setting has been changed by hand.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        whole, real = pn.widgets.EditableIntSlider, pn.widgets.EditableFloatSlider
        students = [name for name in ACTIVATIONS if name not in TEACHER_ONLY]
        self.widgets: dict[str, Any] = {
            "input_dim": whole(label="N, input dimension", start=100, end=2000, step=100),
            "latent_dim": whole(label="D, latent dimension", start=50, end=1000, step=50),
            "student_units": whole(label="K, student units", start=1, end=4),
            "teacher_units": whole(label="M, teacher units", start=1, end=4),
            "activation": pn.widgets.Select(label="g, activation", options=students),
            "nonlinearity": pn.widgets.Select(label="f, nonlinearity of the manifold", options=list(NAMES)),
            "learning_rate": real(label="η, learning rate", start=0.01, end=1.0, step=0.01, format="0.000[000000]"),
            "latent.law": pn.widgets.Select(
                label="Law of the latent", options={"Gaussian": GAUSSIAN, "Gaussian mixture": MIXTURE}
            ),
            "latent.components": whole(label="m, components", start=1, end=10),
            "latent.spread": real(label="α, range of the means", start=0.0, end=10.0, step=0.5, format="0.[00]"),
            "latent.block_size": pn.widgets.IntInput(label="B, block size (divides D)", step=1),
            "latent.standardize": pn.widgets.Checkbox(label="standardised"),
            "time": real(label="last t", start=1.0, end=200.0, step=1.0, format="0.[00]"),
            "runs": whole(label="SGD runs", start=1, end=10),
            "seed": pn.widgets.IntInput(label="seed", step=1),
            "theories": pn.widgets.CheckBoxGroup(
                label="Theories", options=["conventional", "moment-matched"], inline=False
            ),
        }
        self.messages = {name: pn.pane.HTML("", css_classes=["wrong"]) for name in self.widgets}
        self.general = pn.pane.HTML("", css_classes=["wrong"])
        self.others = pn.pane.HTML("", margin=(0, 4))
        self._rest: dict[str, Any] = {}
        self._changed, self._quiet = changed, False
        for name, widget in self.widgets.items():
            throttled = hasattr(widget, "value_throttled") and name not in AT_ONCE
            widget.param.watch(self._by_hand, "value_throttled" if throttled else "value")
            if _is_slider(widget):
                widget.fixed_start, widget.fixed_end = -LARGEST, LARGEST
            for part in parts(widget):
                part._debounce = GATHERED
                part.tags = [f"named {widget.label}"]  # the page's script gives it to their handles and inputs
            widget.sizing_mode = "stretch_width"
            widget.margin = (2, 4)
            self.messages[name].margin = (0, 4)
            self.messages[name].visible = False
        self.general.visible = False
        self.rows = {
            name: pn.Column(widget, self.messages[name], sizing_mode="stretch_width", margin=0)
            for name, widget in self.widgets.items()
        }

    def _by_hand(self, event: Any) -> None:
        if not self._quiet:
            self._show_what_applies()
            self._changed()

    def values(self) -> dict[str, Any]:
        """The settings by their names, as they stand: none of them is checked, but that it is there.

        Raises
        ------
        ProblemError
            If a field is empty.
        """
        for name, widget in self.widgets.items():
            if widget.value is None:
                raise ProblemError(f"{name}: it is empty; give a number")
        shown = {name: _as_meant(widget.value) for name, widget in self.widgets.items()}
        shown["theories"] = tuple(shown["theories"])
        if shown["latent.law"] == GAUSSIAN:
            for name in OF_MIXTURE:
                del shown[name]
        rest = self._rest if shown["latent.law"] == MIXTURE else _without_law(self._rest)
        return rest | shown

    def show(self, view: View) -> None:
        """Set the widgets to a view; settings that have no widget are kept beside them."""
        settings = flat(view.settings())
        self._rest = {name: value for name, value in settings.items() if name not in self.widgets}
        values = MIXTURE_DEFAULTS | settings | {"theories": list(view.theories)}
        values |= flat({"latent": view.problem.latent.model_dump()})
        values |= {"nonlinearity": view.problem.nonlinearity}
        self._quiet = True
        try:
            for name, widget in self.widgets.items():
                widget.value = values[name]
                if hasattr(widget, "value_throttled"):  # or what it was before would be no change
                    with param.edit_constant(widget):
                        widget.value_throttled = values[name]
        finally:
            self._quiet = False
        self._show_what_applies()
        self.explain({})

    def name_others(self, view: View) -> None:
        """Say which settings of a view have no field and are not the default."""
        also = ", ".join(view.others)
        self.others.object = f'<p class="note">Also set: {escape(also)}</p>' if also else ""
        self.others.visible = bool(also)

    def _restore_ranges(self) -> None:
        """The sliders as they were, where a number that would not do has stretched them."""
        for widget in filter(_is_slider, self.widgets.values()):
            widget._slider.param.update(start=min(widget.start, widget.value), end=max(widget.end, widget.value))

    def _show_what_applies(self) -> None:
        for name in OF_MIXTURE:
            self.rows[name].visible = self.widgets["latent.law"].value == MIXTURE

    def explain(self, wrong: Mapping[str, str]) -> None:
        """Say beside each field what is wrong with it, and elsewhere what concerns no field."""
        if not wrong:
            self._restore_ranges()
        # What concerns a field that is not shown is said at the top.
        seen = [name for name, row in self.rows.items() if row.visible]
        elsewhere = [text for name, text in wrong.items() if name not in seen]
        for name, message in self.messages.items():
            _say(message, wrong.get(name, ""))
        _say(self.general, " ".join(elsewhere))


def _is_slider(widget: Any) -> bool:
    return hasattr(widget, "_slider")


def _as_meant(value: Any) -> Any:
    """Without the rounding of a slider, whose second step from 0.2 is 0.22000000000000006."""
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _without_law(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not name.startswith("latent.")}


def _say(pane: pn.pane.HTML, text: str) -> None:
    pane.object = f'<span role="alert">{escape(text)}</span>' if text else ""
    pane.visible = bool(text)
