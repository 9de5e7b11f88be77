"""The explorer page: settings give curves, a button runs SGD, and the view can be pinned, downloaded and shared."""

import tempfile
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import panel as pn
import xarray as xr

from ..errors import ProblemError
from ..plotting import explored
from ..problem import load_problem
from ..trajectory import error_of
from ._curves import Curves, curves
from ._fields import Fields
from ._panels import KEY, PIN_COLORS, Pinned
from ._running import Streaming
from ._schematic import schematic
from ._style import INLINE, LOOK, button, column, note, swatch, text
from ._view import DEFAULT, View, as_far_as_possible, by_field

FILE_BYTES = 1 << 20
PATIENCE = 0.4
"""Seconds after which a page reports that it is still solving."""


class Explorer(Streaming):
    """One page, or one output of a notebook.

    Parameters
    ----------
    view
        What it shows first.
    address
        The query of the address, after the ``?``. It takes precedence over ``view``.
    """

    subtitle = "Theory and SGD of a two-layer network, student and teacher, on structured inputs."

    def __init__(self, view: View = DEFAULT, address: str = "") -> None:
        super().__init__(view)
        self.fields = Fields(self._changed)
        self.pinned: dict[View, Pinned] = {}
        """The curves of each pinned view, in the order of pinning."""
        self.drawing, self.others, self.notes, self.pins = text(), text(margin=(0, 4)), text(), text()
        self.pin_buttons = pn.FlexBox(margin=0)
        self.upload = pn.widgets.FileInput(accept=".toml", label="Open a TOML", **LOOK)
        self.upload.param.watch(self._opened, "value")
        self.settings = column(
            self.drawing, self.others, self.fields.messages[""], *self.fields.rows.values(),
            text("<h3>Open a file of settings</h3>"), self.upload,
        )  # fmt: skip
        downloads = [
            pn.widgets.FileDownload(
                callback=partial(self.file, ending), filename=f"sgdlimit.{ending}", label=label, margin=4,
                stylesheets=INLINE, width=110,
            )
            for ending, label in {"png": "PNG", "svg": "SVG", "nc": "NetCDF", "toml": "TOML"}.items()
        ]  # fmt: skip
        pin = button("Pin this setting", lambda: self.pin(self.view))
        self.results_area = column(
            pn.FlexBox(self.run_button, self.stop_button, pin, *downloads, margin=0),
            self.status, self.run_status, self.progress, self.notes,
            self.panels.area, text(KEY, margin=(0, 4)), self.numbers, self.pins, self.pin_buttons,
        )  # fmt: skip
        self.fields.show(view)
        self._draw_model()
        pn.state.onload(lambda: self._begin(address))  # a page does not get what was done before it was loaded

    def _begin(self, address: str) -> None:
        """Show the view of an address. Complaints appear beside the fields, which keep their values."""
        view, wrong = as_far_as_possible(address) if address else (self.view, {})
        self.fields.show(view)
        self._become(view)
        for pin in parse_qs(address.removeprefix("?")).get("pin", [])[: len(PIN_COLORS)]:
            try:
                self.pin(View.from_query(pin))
            except (ProblemError, TypeError) as error:
                wrong["pin"] = f"A pinned setting of this address is wrong: {error}"
        if wrong:
            self.fields.explain(wrong)

    # --- settings → curves --------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        try:
            view = View.from_settings(self.fields.values())
        except ProblemError as error:
            self.fields.explain(by_field(*map(str, error.args)))
            return
        self.fields.explain({})
        if view != self.view:
            self._become(view)

    def go_to(self, view: View) -> None:
        """Show another view."""
        self.fields.show(view)
        if view != self.view:
            self._become(view)

    def _become(self, view: View) -> None:
        """Switch to new settings. The runs of SGD stay if only the theories shown have changed."""
        if view.replace(theories=self.view.theories) != self.view:
            self.forget()
        self.view = view
        self._draw_model()
        self.write_address()
        self.apply(lambda: self._still(view), PATIENCE)
        self.work(lambda: curves(view) if view is self.view else Curves(), self._solved)

    def _still(self, view: View) -> None:
        if view is self.view is not self.curves.view:
            before = "; the curves are still those of the previous settings" if self.curves.theories else ""
            self.say(f"Solving{before}. The first of a K, M or activation is compiled, which takes some seconds …")

    def _solved(self, solved: Curves) -> None:
        """Show the curves of a view, unless the view has changed meanwhile."""
        if solved.view is self.view:
            self.curves = solved
            self.panels.show(solved.theories, self.pinned.values())
            self.notes.object = "".join(note(f"⚠ {words}") for words in solved.notes)
            curve = solved.theories or not self.view.theories
            self.say(f"Theory in {solved.seconds:.2f} s" if curve else "No curve")
            self.compare()

    def _draw_model(self) -> None:
        """Draw the model and name the entries before theory is solved; list the settings that have no field."""
        others = ", ".join(self.view.others)
        self.drawing.object = schematic(self.view)
        self.others.object = note(others and f"Also set: {others}.")
        problem = self.view.problem
        head = problem.followed()
        v, *_ = head.values()
        self.panels.name_entries(problem.student_units, problem.teacher_units, v, error_of(head))

    # --- pins ---------------------------------------------------------------------------------------------------------

    def pin(self, view: View) -> None:
        """Solve a setting and keep its curves on view."""
        if view in self.pinned:
            self.say("This setting is pinned already.")
        elif len(self.pinned) == len(PIN_COLORS):
            self.say(f"{len(PIN_COLORS)} settings are pinned, the most that can be told apart. Remove one first.")
        else:
            self.work(lambda: curves(view), self._pin)

    def _pin(self, solved: Curves) -> None:
        view, used = solved.view, {pin.color for pin in self.pinned.values()}
        free = [color for color in PIN_COLORS if color not in used]
        if view not in self.pinned and free:  # unless the button was pressed twice
            self.pinned[view] = Pinned(view.label, free[0], solved.theories)
            self._show_pins()

    def unpin(self, view: View) -> None:
        """Remove a pinned view."""
        self.say("")
        del self.pinned[view]
        self._show_pins()

    def _show_pins(self) -> None:
        """Draw the pinned curves and list the settings, each with its buttons."""
        self.panels.show(self.curves.theories, self.pinned.values())
        items, buttons = "", []
        for number, (view, pin) in enumerate(self.pinned.items(), 1):
            items += f"<li>{swatch(pin.color)}{number}. {escape(pin.label)}</li>"
            buttons.append(button(f"Go to {number}", lambda view=view: self.go_to(view)))
            buttons.append(button(f"Unpin {number}", lambda view=view: self.unpin(view)))
        self.pins.object = items and f"<h3>Pinned</h3><ul>{items}</ul>"
        self.pin_buttons.objects = buttons
        self.write_address()

    # --- address, files -----------------------------------------------------------------------------------------------

    def address(self) -> str:
        """Return the query of the address: the settings and the pinned views."""
        settings = self.view.to_query()
        if not settings and self._target != DEFAULT:  # an empty query would mean what the page began with
            settings = f"seed={self.view.seed}"
        return "&".join(filter(None, (settings, urlencode([("pin", view.to_query()) for view in self.pinned]))))

    def _opened(self, event: Any) -> None:
        """Show the settings of a file."""
        if event.new is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "settings.toml"
            path.write_bytes(event.new[: FILE_BYTES + 1])
            name = self.upload.filename or "the file"
            self.upload.clear()  # so that the same file can be opened again
            try:
                problem, run = load_problem(path)
                self.go_to(View.of_file(problem, run))
            except ProblemError as error:
                self.fields.explain({"": str(error).replace(str(path), name)})
            else:
                self.say(f"Opened {name}." + " Mixture theory is not drawn here." * ("mixture" in run.theories))

    def file(self, ending: str) -> BytesIO:
        """Write the view to a file: ``"png"``, ``"svg"``, ``"nc"`` or ``"toml"``."""
        view, theories, pins = self.curves.view or self.view, self.curves.theories, list(self.pinned.values())
        _, sgd, floor = self.streamed
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"view.{ending}"
                if ending == "toml":
                    path.write_text(self.view.to_toml(), "utf-8")
                elif ending == "nc":  # a group for each theory, SGD, its noise floor, and each pin
                    parts = {f"theory/{name}": solved for name, solved in theories.items()}
                    for number, pin in enumerate(pins, 1):
                        parts |= {f"pinned/{number}/{name}": solved for name, solved in pin.theories.items()}
                    parts |= {name: runs for name, runs in (("sgd", sgd), ("noise_floor", floor)) if runs}
                    parts["/"] = xr.Dataset(attrs={"settings": view.to_toml(), "label": view.label})
                    xr.DataTree.from_dict(parts).to_netcdf(path, engine="h5netcdf")
                else:
                    explored(theories, sgd, view.label, pins).savefig(path, dpi=200)
                return BytesIO(path.read_bytes())
        except Exception as error:
            self.say(f"The file could not be made ({error}).")
            return BytesIO()
