"""The settings of a page as widgets, each with a line below it for a complaint about its value."""

from collections.abc import Callable, Mapping
from typing import Any

import param
from panel.widgets import CheckBoxGroup, EditableFloatSlider, EditableIntSlider, IntInput, Select

from ..errors import ProblemError
from ..inputs import NAMES
from ..rules import ACTIVATIONS, CLUSTERS, LABELS, LOSSES
from ..settings import flat
from ._style import INLINE, LOOK, alert, column, text
from ._view import MIXTURE_DEFAULTS, OWN_FIELDS, View

GATHERED = 5
"""Changes of a widget within this many milliseconds count as one. Panel's default of 50 would delay every new curve."""

AT_ONCE = ("learning_rate", "latent.spread", "time")
"""Sliders whose curves follow while they move; the others are read when you let go."""
LARGEST = 10**9
"""Numbers are cut to this size, because the range of a slider must be finite."""

STANDARDS = {"by exact moments": True, "by estimated moments": "estimated", "not": False}
LAWS = {"Gaussian": "gaussian", "Gaussian mixture": "gaussian-mixture"}
WIDGETS: dict[str, tuple[Any, ...]] = {
    "input_dim": (EditableIntSlider, "N, input dimension", 100, 2000, 100),
    "latent_dim": (EditableIntSlider, "D, latent dimension", 50, 1000, 50),
    "student_units": (EditableIntSlider, "K, student units", 1, 4),
    "teacher_units": (EditableIntSlider, "M, teacher units", 1, 4),
    "activation": (Select, "g, activation", list(ACTIVATIONS)),
    "nonlinearity": (Select, "f, nonlinearity of the manifold", list(NAMES)),
    "learning_rate": (EditableFloatSlider, "η, learning rate", 0.01, 1, 0.01, "0.000[000000]"),
    "loss": (Select, "Loss", list(LOSSES)),
    "labels": (Select, "Labels", [name for name in LABELS if name != CLUSTERS]),
    "latent.law": (Select, "Law of the latent", LAWS),
    "latent.components": (EditableIntSlider, "m, components", 1, 10),
    "latent.spread": (EditableFloatSlider, "α, range of the means", 0, 10, 0.5, "0.[00]"),
    "latent.block_size": (IntInput, "B, block size (divides D)"),
    "latent.standardize": (Select, "Standardised", STANDARDS),
    "time": (EditableFloatSlider, "last t", 1, 200, 1, "0.[00]"),
    "runs": (EditableIntSlider, "SGD runs", 1, 10),
    "seed": (IntInput, "seed"),
    "theories": (CheckBoxGroup, "Theories", ["conventional", "moment-matched"]),
}
"""The widget of each setting, its label, and the range, step and format of a slider or the choices of a list."""


class Fields:
    """Widgets by the names of the settings, which they read and write.

    Parameters
    ----------
    changed
        Called when a setting has been changed by hand.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed, self._quiet = changed, False
        self._rest: dict[str, Any] = {}
        self.widgets = {name: self._widget(name, *WIDGETS[name]) for name in OWN_FIELDS}
        self.messages = {name: text(margin=(0, 4)) for name in ("", *OWN_FIELDS)}
        """The complaint about each setting; under "" the complaints about settings without a widget."""
        self.rows = {name: column(widget, self.messages[name]) for name, widget in self.widgets.items()}

    def _widget(self, name: str, make: Any, label: str, *options: Any) -> Any:
        names = ("start", "end", "step", "format") if make in (EditableIntSlider, EditableFloatSlider) else ("options",)
        widget: Any = make(label=label, **LOOK, **dict(zip(names, options, strict=False)))
        throttled = hasattr(widget, "value_throttled") and name not in AT_ONCE
        widget.param.watch(self._by_hand, "value_throttled" if throttled else "value")
        if hasattr(widget, "fixed_start"):
            widget.fixed_start, widget.fixed_end = -LARGEST, LARGEST
        composed = (getattr(widget, part, None) for part in ("_label", "_value_edit", "_slider"))
        for part in filter(None, (widget, *composed)):
            part.stylesheets = INLINE
            part._debounce = GATHERED
            part.tags = [f"named {label}"]  # the page's script gives it to their handles and inputs
        return widget

    def _by_hand(self, event: Any) -> None:
        if not self._quiet:
            self._show_what_applies()
            self._changed()

    def values(self) -> dict[str, Any]:
        """Return the settings by name. They are not checked, except that no field is empty.

        Raises
        ------
        ProblemError
            If a field is empty.
        """
        shown = {name: widget.value for name, widget in self.widgets.items()}
        for name, value in shown.items():
            if value is None:
                raise ProblemError(f"{name}: must be a number (got nothing). Enter one.")
            if isinstance(value, float):  # a slider's second step from 0.2 is 0.22000000000000006
                shown[name] = float(f"{value:.10g}")
        return self._rest | shown

    def show(self, view: View) -> None:
        """Set the widgets to a view; settings that have no widget are kept as they are."""
        self._rest = {name: value for name, value in view.settings().items() if name not in OWN_FIELDS}
        values = MIXTURE_DEFAULTS | flat(view.problem.model_dump()) | view.model_dump(mode="json")
        self._quiet = True
        try:
            for name, widget in self.widgets.items():
                with param.edit_constant(widget):
                    for each in {"value", "value_throttled"} & {
                        *widget.param
                    }:  # else setting the old value again would be no change
                        setattr(widget, each, values[name])
        finally:
            self._quiet = False
        self._show_what_applies()
        self.explain({})

    def _show_what_applies(self) -> None:
        for name in MIXTURE_DEFAULTS:
            self.rows[name].visible = self.widgets["latent.law"].value == "gaussian-mixture"

    def explain(self, wrong: Mapping[str, str]) -> None:
        """Show each complaint below its field; complaints about fields that are not shown stand at the top."""
        if not wrong:  # a refused number has stretched the range of its slider
            for widget in self.widgets.values():
                if slider := getattr(widget, "_slider", None):
                    slider.param.update(start=min(widget.start, widget.value), end=max(widget.end, widget.value))
        said = {name: words for name, words in wrong.items() if name in self.rows and self.rows[name].visible}
        said[""] = " ".join(words for name, words in wrong.items() if name not in said)
        for name, message in self.messages.items():
            message.object = alert(said.get(name, ""))
