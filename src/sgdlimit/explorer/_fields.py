"""The settings of a page as widgets, each with room below it for what is wrong with its value."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import panel as pn
import param

from ..errors import ProblemError
from ..inputs import NAMES
from ..rules import ACTIVATIONS, TEACHER_ONLY
from ._style import INLINE, column, note, parts, text
from ._view import MIXTURE_DEFAULTS, OWN_FIELDS, View, flat

GATHERED = 5
"""Milliseconds in which changes of a widget are taken together; Panel's own 50 would delay every new curve."""

AT_ONCE = ("learning_rate", "latent.spread", "time")
"""Sliders whose curves are there before the next pixel; the others wait for a hand to let go."""
LARGEST = 10**9
"""Numbers are cut to this, because a slider cannot have a range without end."""

whole, real = pn.widgets.EditableIntSlider, pn.widgets.EditableFloatSlider
number, choice = pn.widgets.IntInput, pn.widgets.Select
STUDENTS = [name for name in ACTIVATIONS if name not in TEACHER_ONLY]
LAWS = {"Gaussian": "gaussian", "Gaussian mixture": "gaussian-mixture"}
WIDGETS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "input_dim": (whole, "N, input dimension", {"start": 100, "end": 2000, "step": 100}),
    "latent_dim": (whole, "D, latent dimension", {"start": 50, "end": 1000, "step": 50}),
    "student_units": (whole, "K, student units", {"start": 1, "end": 4}),
    "teacher_units": (whole, "M, teacher units", {"start": 1, "end": 4}),
    "activation": (choice, "g, activation", {"options": STUDENTS}),
    "nonlinearity": (choice, "f, nonlinearity of the manifold", {"options": list(NAMES)}),
    "learning_rate": (real, "η, learning rate", {"start": 0.01, "end": 1, "step": 0.01, "format": "0.000[000000]"}),
    "latent.law": (choice, "Law of the latent", {"options": LAWS}),
    "latent.components": (whole, "m, components", {"start": 1, "end": 10}),
    "latent.spread": (real, "α, range of the means", {"start": 0, "end": 10, "step": 0.5, "format": "0.[00]"}),
    "latent.block_size": (number, "B, block size (divides D)", {}),
    "latent.standardize": (pn.widgets.Checkbox, "standardised", {}),
    "time": (real, "last t", {"start": 1, "end": 200, "step": 1, "format": "0.[00]"}),
    "runs": (whole, "SGD runs", {"start": 1, "end": 10}),
    "seed": (number, "seed", {}),
    "theories": (pn.widgets.CheckBoxGroup, "Theories", {"options": ["conventional", "moment-matched"]}),
}


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
        self.widgets = {name: self._widget(name) for name in OWN_FIELDS}
        self.messages = {name: _alert() for name in OWN_FIELDS}
        self.general, self.others = _alert(), text(margin=(0, 4))
        self.rows = {name: column(widget, self.messages[name]) for name, widget in self.widgets.items()}

    def _widget(self, name: str) -> Any:
        make, label, options = WIDGETS[name]
        widget = make(label=label, sizing_mode="stretch_width", margin=(2, 4), **options)
        throttled = hasattr(widget, "value_throttled") and name not in AT_ONCE
        widget.param.watch(self._by_hand, "value_throttled" if throttled else "value")
        if hasattr(widget, "fixed_start"):
            widget.fixed_start, widget.fixed_end = -LARGEST, LARGEST
        for part in parts(widget):
            part.stylesheets = INLINE
            part._debounce = GATHERED
            part.tags = [f"named {label}"]  # the page's script gives it to their handles and inputs
        return widget

    def _by_hand(self, event: Any) -> None:
        if not self._quiet:
            self._show_what_applies()
            self._changed()

    def values(self) -> dict[str, Any]:
        """Return the settings by their names, unchecked, except that there is a value in each field.

        Raises
        ------
        ProblemError
            If a field is empty.
        """
        shown = {name: _as_meant(widget.value) for name, widget in self.widgets.items()}
        for name, value in shown.items():
            if value is None:
                raise ProblemError(f"{name}: must be a number (got nothing). Enter one.")
        return self._rest | shown | {"theories": tuple(shown["theories"])}

    def show(self, view: View) -> None:
        """Set the widgets to a view; settings that have no widget are kept beside them."""
        self._rest = {name: value for name, value in flat(view.settings()).items() if name not in OWN_FIELDS}
        values = MIXTURE_DEFAULTS | flat(view.problem.model_dump()) | view.model_dump() | {"theories": [*view.theories]}
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
        """Name the settings of a view that have no field and are not the default."""
        self.others.object = note(f"Also set: {', '.join(view.others)}.") if view.others else ""

    def _show_what_applies(self) -> None:
        for name in MIXTURE_DEFAULTS:
            self.rows[name].visible = self.widgets["latent.law"].value == "gaussian-mixture"

    def explain(self, wrong: Mapping[str, str]) -> None:
        """Say below each field what is wrong with it, and at the top what concerns no field that is shown."""
        if not wrong:
            self._restore_ranges()
        elsewhere = [words for name, words in wrong.items() if name not in self.rows or not self.rows[name].visible]
        complaints = {message: wrong.get(name, "") for name, message in self.messages.items()}
        for message, words in (complaints | {self.general: " ".join(elsewhere)}).items():
            message.object = f'<span role="alert">{escape(words)}</span>' if words else ""
            message.visible = bool(words)

    def _restore_ranges(self) -> None:
        """Give the sliders back their ranges, where a number that was refused has stretched them."""
        for widget in self.widgets.values():
            if slider := getattr(widget, "_slider", None):
                slider.param.update(start=min(widget.start, widget.value), end=max(widget.end, widget.value))


def _alert() -> pn.pane.HTML:
    return text(css_classes=["wrong"], margin=(0, 4), visible=False)


def _as_meant(value: Any) -> Any:
    """Undo the rounding of a slider, whose second step from 0.2 is 0.22000000000000006."""
    return float(f"{value:.10g}") if isinstance(value, float) else value
