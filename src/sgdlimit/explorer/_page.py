"""The page: settings lead to curves, a button to SGD, and what is on view can be pinned, taken away and shared."""

import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import panel as pn
import xarray as xr

from ..errors import DivergenceError, ProblemError
from ..plotting import explored
from ..problem import load_problem
from ._curves import Curves, curves
from ._fields import Fields
from ._panels import KEY
from ._pins import MOST_PINS, Pins
from ._running import Running
from ._schematic import schematic
from ._shown import Shown
from ._style import INLINE, button, column, note, text
from ._view import DEFAULT, View, as_far_as_possible, by_field

FILE_BYTES = 1 << 20
PATIENCE = 0.4
"""Seconds after which a page says that it is still solving."""


class Explorer(Shown):
    """One page, or one output of a notebook.

    Parameters
    ----------
    view
        What it shows first.
    address
        What stands behind the ``?`` of the address, if anything does; it goes before ``view``.
    """

    subtitle = "Theory and SGD of a two-layer network, student and teacher, on structured inputs."

    def __init__(self, view: View = DEFAULT, address: str = "") -> None:
        super().__init__(view)
        self.view, self.curves = view, Curves()
        self.fields = Fields(self._changed)
        self.running = Running(self, lambda: self.view)
        self.pins = Pins(self, self.go_to)
        self._begun = False
        self._solving: View | None = None
        self._shown = view  # whose curves are drawn
        self._build()
        self.fields.show(view)
        self._draw_model()
        if self.session.served:
            pn.state.onload(lambda: self._begin(address))  # what is done before a page is there is lost to it
        else:
            self._begin(address)

    def _begin(self, address: str) -> None:
        """Show what an address holds. Errors appear beside the fields, which keep their values."""
        self._begun = True
        view, wrong = as_far_as_possible(View.read_query(address)) if address else (self.view, {})
        self.fields.show(view)
        self._become(view)
        for pin in parse_qs(address.removeprefix("?")).get("pin", [])[:MOST_PINS]:
            try:
                self.pins.add(View.from_query(pin))
            except (ProblemError, TypeError) as error:
                wrong["pin"] = f"A pinned setting of this address is wrong: {error}"
        if wrong:
            self.fields.explain(wrong)

    # --- what it consists of ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.drawing, self.notes = text(), text()
        self.upload = pn.widgets.FileInput(
            accept=".toml", label="Open a TOML", stylesheets=INLINE, margin=4, sizing_mode="stretch_width"
        )
        self.upload.param.watch(self._opened, "value")
        self.settings = column(
            self.drawing, self.fields.others, self.fields.general, *self.fields.rows.values(),
            text("<h3>Open a file of settings</h3>", margin=4), self.upload,
        )  # fmt: skip
        downloads = [
            pn.widgets.FileDownload(
                callback=lambda ending=ending: self.file(ending), filename=f"sgdlimit.{ending}", label=label, auto=True,
                embed=False, margin=4, stylesheets=INLINE, width=110,
            )
            for ending, label in {"png": "PNG", "svg": "SVG", "nc": "NetCDF", "toml": "TOML"}.items()
        ]  # fmt: skip
        running, pin = self.running, button("Pin this setting", lambda: self.pins.add(self.view))
        self.results_area = column(
            pn.FlexBox(running.run_button, running.stop_button, pin, *downloads, margin=0),
            self.status, running.status, running.progress, self.notes,
            self.panels.area, text(KEY, margin=(0, 4)), running.numbers, self.pins.list, self.pins.buttons,
        )  # fmt: skip

    def close(self) -> None:
        """Free what the page holds; its run ends."""
        self.running.close()

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
        """Take up new settings; the runs of SGD stay where nothing but the theories shown is new."""
        if view.model_copy(update={"theories": self.view.theories}) != self.view:
            self.running.forget()
        self.view = self._solving = view
        self._draw_model()
        self.session.later(PATIENCE, lambda: self._still(view))
        self.session.submit(lambda: self._solve(view))

    def _solve(self, view: View) -> None:
        """Solve settings in another thread, unless there are newer ones."""
        if view is self.view:
            begin = time.perf_counter()
            try:
                solved = curves(view)
            except (ProblemError, DivergenceError) as error:
                solved = Curves(failure=str(error))
            except Exception as error:  # the page reports it and goes on
                solved = Curves(failure=f"{type(error).__name__}: {error}")
            took = time.perf_counter() - begin
            self.session.apply(lambda: self._solved(view, solved, took))

    def _still(self, view: View) -> None:
        if view is self._solving:
            before = "; the curves are still those of the previous settings" if self.curves.theories else ""
            self.say(f"Solving{before}. The first of a K, M or activation is compiled, which takes some seconds …")

    def _solved(self, view: View, solved: Curves, took: float) -> None:
        """Show the curves of settings, unless there are newer ones."""
        if view is not self.view:
            return
        self.curves, self._shown, self._solving = solved, view, None
        self.panels.show_theories(solved.theories)
        self.notes.object = "".join(note(f"⚠ {words}") for words in solved.notes)
        if solved.failure:
            self.fields.explain(by_field(solved.failure))
            self.say("No theory for these settings.")
        else:
            self.say(f"Theory in {took:.2f} s" if solved.theories or not view.theories else "No curve")
        self.running.compare(solved)

    def _draw_model(self) -> None:
        """Show what the settings say before they are solved."""
        self.drawing.object = schematic(self.view)
        self.fields.name_others(self.view)
        self.panels.name_entries(self.view.problem.student_units, self.view.problem.teacher_units)
        self.write_address()

    # --- address, files -----------------------------------------------------------------------------------------------

    def address(self) -> str:
        """Return what stands behind the ``?``: the settings, and those that are pinned."""
        pins = [("pin", view.to_query()) for view in self.pins.pinned]
        settings = self.view.to_query()
        if not settings and self._target != DEFAULT:  # nothing would stand for what the page began with
            settings = urlencode({"seed": self.view.seed})
        return "&".join(filter(None, (settings, urlencode(pins))))

    def write_address(self) -> None:
        """Keep the address up to date, once what it held has been read."""
        if self._begun:
            super().write_address()

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
                view = View.of_file(problem, run)
            except ProblemError as error:
                self.fields.explain({"": str(error).replace(str(path), name)})
                return
        self.go_to(view)
        self.say(f"Opened {name}." + " Mixture theory is not drawn here." * ("mixture" in run.theories))

    def file(self, ending: str) -> BytesIO:
        """Make a file of what is on view: ``"png"``, ``"svg"``, ``"nc"`` or ``"toml"``."""
        try:
            return BytesIO(self._bytes(ending))
        except Exception as error:
            self.say(f"The file could not be made ({error}).")
            return BytesIO()

    def _bytes(self, ending: str) -> bytes:
        if ending == "toml":
            return self.view.to_toml().encode()
        if ending == "nc":
            return self._netcdf()
        pins = list(self.pins.pinned.values())
        drawn = explored(self.curves.theories, self.running.datasets["sgd"], self._shown.label, pins)
        drawn.savefig(file := BytesIO(), format=ending, dpi=200)
        return file.getvalue()

    def _netcdf(self) -> bytes:
        """Write all that is shown as one NetCDF-4 file: a group for each theory, SGD, its noise floor, and each pin."""
        pins = {f"pinned/{number}": pin.theories for number, pin in enumerate(self.pins.pinned.values(), 1)}
        tables = {"theory": self.curves.theories, **pins}
        groups = {f"/{table}/{name}": theory for table, group in tables.items() for name, theory in group.items()}
        groups |= {f"/{name}": dataset for name, dataset in self.running.datasets.items() if dataset is not None}
        groups["/"] = xr.Dataset(attrs={"settings": self._shown.to_toml(), "label": self._shown.label})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "view.nc"
            xr.DataTree.from_dict(groups).to_netcdf(path, engine="h5netcdf")
            return path.read_bytes()
