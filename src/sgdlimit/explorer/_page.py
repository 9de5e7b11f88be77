"""The page: settings lead to curves, a button to SGD, and what is on view can be pinned, taken away and shared."""

import tempfile
import time
from collections.abc import Callable
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import panel as pn
import xarray as xr

from ..errors import DivergenceError, ProblemError
from ..problem import load_problem
from . import _downloads as downloads
from ._address import as_far_as_it_will_do, by_field
from ._curves import Curves, curves
from ._fields import Fields
from ._panels import KEY
from ._pins import MOST_PINS, Pins
from ._running import Running
from ._schematic import schematic
from ._session import Session
from ._shown import Shown
from ._style import INLINE, button, dress, text
from ._view import DEFAULT, View

__all__ = ["Explorer"]

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

    def __init__(self, view: View = DEFAULT, address: str = "") -> None:
        super().__init__(view)
        self.view, self.curves = view, Curves()
        self._address = address
        self._session = Session(lambda: list(self.plots.values()))
        self.fields = Fields(self._changed)
        self.running = Running(self._session, self.panels, lambda: self.view)
        self.pins = Pins(self._session, self.panels, go_to=self.go_to, changed=self._write_address, say=self._say)
        self._asked = self._answered = 0
        self._shown = view  # whose curves are drawn
        self._build()
        self.fields.show(view)
        self._draw_model()
        if self._session.served:
            pn.state.onload(self._begin)  # what is done before a page is there is lost to it
        else:
            self._begin()

    def _begin(self) -> None:
        if self._address:
            self.open_address(self._address)
        if self._asked == 0:
            self._solve()

    # --- what it consists of ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        for widget in self.fields.widgets.values():
            dress(widget)
        for message in (*self.fields.messages.values(), self.fields.general, self.fields.others):
            message.stylesheets = INLINE
        self.drawing, self.status, self.notes = text(), text(), text()
        self.pin_button = button("Pin this setting", lambda: self.pins.add(self.view))
        self.downloads = [
            pn.widgets.FileDownload(
                callback=lambda make=make: self._taken(make), filename=f"sgdlimit.{ending}", label=label, auto=True,
                embed=False, margin=4, stylesheets=INLINE, width=110,
            )
            for ending, label, make in (
                ("png", "PNG", lambda: self._picture("png")),
                ("svg", "SVG", lambda: self._picture("svg")),
                ("nc", "NetCDF", self._netcdf),
                ("toml", "TOML", lambda: downloads.toml(self.view)),
            )
        ]  # fmt: skip
        self.upload = pn.widgets.FileInput(
            accept=".toml", multiple=False, label="Open a TOML", stylesheets=INLINE, margin=4,
            sizing_mode="stretch_width",
        )  # fmt: skip
        self.upload.param.watch(self._opened, "value")
        self.settings = pn.Column(
            self.drawing, self.fields.others, self.fields.general, *self.fields.rows.values(),
            pn.pane.HTML("<h3>Open a file of settings</h3>", stylesheets=INLINE, margin=(4, 4)), self.upload,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        running = self.running
        self.results_area = pn.Column(
            pn.FlexBox(running.run_button, running.stop_button, self.pin_button, *self.downloads, margin=0),
            self.status, running.status, running.progress, self.notes,
            pn.FlexBox(*self.plots.values(), sizing_mode="stretch_width", margin=0),
            pn.pane.HTML(KEY, stylesheets=INLINE, sizing_mode="stretch_width", margin=(0, 4)),
            running.numbers, self.pins.list, self.pins.buttons,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def close(self) -> None:
        """Free what the page holds; its run ends."""
        self._asked += 1
        self.running.close()

    # --- settings → curves --------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        try:
            view = View.from_settings(self.fields.values())
        except ProblemError as error:
            self.fields.explain(by_field(str(error)))
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
        only_shown = view.model_copy(update={"theories": self.view.theories}) == self.view
        self.view = view
        if not only_shown:
            self.running.forget()
        self._solve()

    def _solve(self) -> None:
        self._asked += 1
        asked, view = self._asked, self.view
        self._draw_model()
        self._session.later(PATIENCE, lambda: self._still(asked))

        def solve() -> None:
            if asked < self._asked:
                return
            begin = time.perf_counter()
            try:
                solved = curves(view)
                plain = view.model_copy(update={"theories": ("conventional",)})
                floor = solved.theories.get("conventional") or curves(plain).theories.get("conventional")
            except (ProblemError, DivergenceError) as error:
                self._session.apply(lambda message=str(error): self._failed(asked, message))
                return
            except Exception as error:  # a page says so and lives on
                message = f"{type(error).__name__}: {error}"
                self._session.apply(lambda: self._failed(asked, message))
                return
            took = time.perf_counter() - begin
            self._session.apply(lambda: self._solved(asked, view, solved, floor, took))

        self._session.submit(solve)

    def _still(self, asked: int) -> None:
        if self._answered < asked == self._asked:
            before = "; the curves are still those of the settings before" if self.curves.theories else ""
            self._say(f"Solving{before}. The first of a K, M or activation is compiled, some seconds …")

    def _solved(self, asked: int, view: View, solved: Curves, floor: xr.Dataset | None, took: float) -> None:
        if asked < self._asked:
            return
        self.curves, self._shown, self._answered = solved, view, asked
        self.panels.show_theories(solved.theories)
        self.notes.object = "".join(f'<p class="note" role="status">⚠ {escape(note)}</p>' for note in solved.notes)
        self._say(f"Theory in {took:.2f} s" if solved.theories or not self.view.theories else "No curve")
        self.running.compare(solved.theories, floor)

    def _failed(self, asked: int, message: str) -> None:
        if asked < self._asked:
            return
        self.curves, self._shown, self._answered = Curves(), self.view, asked
        self.fields.explain(by_field(message))
        self.panels.show_theories({})
        self._say("No theory for these settings.")

    def _draw_model(self) -> None:
        self.drawing.object = schematic(self.view)
        self.fields.name_others(self.view)
        self.name_entries(self.view.problem.student_units, self.view.problem.teacher_units)
        self._write_address()

    def _say(self, said: str) -> None:
        self.status.object = f'<span class="note" role="status">{escape(said)}</span>'

    # --- address, files -----------------------------------------------------------------------------------------------

    def address(self) -> str:
        """What stands behind the ``?``: the settings, and those that are pinned."""
        pins = urlencode([("pin", view.to_query()) for view in self.pins.views])
        settings = self.view.to_query()
        if not settings and self._target != DEFAULT:  # nothing would stand for what the page began with
            settings = urlencode({"seed": self.view.seed})
        return "&".join(part for part in (settings, pins) if part)

    def _write_address(self) -> None:
        if self._asked > 0:  # before, what it holds is still to be read
            self.address_bar.value = f"?{self.address()}" if self.address() else ""

    def open_address(self, query: str) -> None:
        """Show what an address holds; what is wrong with it is said beside the fields, which keep their values."""
        view, wrong = as_far_as_it_will_do(View.read_query(query))
        self.go_to(view)
        for pin in [pin for name, pin in parse_qsl(query.removeprefix("?")) if name == "pin"][:MOST_PINS]:
            try:
                self.pins.add(View.from_query(pin))
            except (ProblemError, TypeError) as error:
                wrong |= {"pin": f"A pinned setting of this address will not do: {error}"}
        self.fields.explain(wrong)

    def _opened(self, event: Any) -> None:
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
        self._say(f"Opened {name}." + " Mixture theory is not drawn here." * ("mixture" in run.theories))

    def _picture(self, ending: str) -> BytesIO:
        return downloads.picture(ending, self._shown, self.curves.theories, self.running.runs, self.pins.pinned)

    def _netcdf(self) -> BytesIO:
        sgd = {"sgd": self.running.runs, "noise_floor": self.running.floor}
        return downloads.netcdf(self._shown, self.curves.theories, sgd, self.pins.pinned)

    def _taken(self, make: Callable[[], BytesIO]) -> BytesIO:
        try:
            return make()
        except Exception as error:
            self._say(f"The file could not be made ({error}).")
            return BytesIO()
