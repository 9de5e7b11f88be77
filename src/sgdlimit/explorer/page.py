"""The page: settings lead to curves, a button to SGD, and what is on view can be pinned, taken away and shared."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html import escape
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlencode

import panel as pn
import xarray as xr

from sgdlimit.errors import DivergenceError, ProblemError
from sgdlimit.explorer import downloads
from sgdlimit.explorer.address import as_far_as_it_will_do, by_field
from sgdlimit.explorer.curves import Curves, curves
from sgdlimit.explorer.fields import Fields
from sgdlimit.explorer.panels import PIN_COLORS, QUANTITIES, Panels, Pinned
from sgdlimit.explorer.schematic import schematic
from sgdlimit.explorer.streaming import Streamed, stream
from sgdlimit.explorer.style import INLINE, dress
from sgdlimit.explorer.turns import Turn, shared_turns
from sgdlimit.explorer.view import DEFAULT, View
from sgdlimit.problem import load_problem

__all__ = ["Explorer"]

PUSH = 0.2
"""Seconds between two pictures of SGD that a page is sent; more where many stream."""
NUMBERS = 1.0
"""The same of the numbers."""
MOST_PINS = len(PIN_COLORS)
FILE_BYTES = 1 << 20
TITLES = {"generalization_error": "Generalisation error", "Q": "Q", "R": "R", "v": "v"}

_solvers = ThreadPoolExecutor(1, thread_name_prefix="sgdlimit-theory")


class Explorer:
    """One page, or one output of a notebook.

    Parameters
    ----------
    view
        What it shows first.
    address
        What stands behind the ``?`` of the address, if anything does; it goes before ``view``.
    """

    def __init__(self, view: View = DEFAULT, address: str = "") -> None:
        self.view, self.curves = view, Curves()
        self._address = address
        self.panels, self.fields = Panels(), Fields(self._changed)
        self._document, self._location = pn.state.curdoc, pn.state.location
        self._asked = 0
        self._pins: list[tuple[View, Pinned]] = []
        self._streamed: Streamed | None = None
        self._turn: Turn | None = None
        self._floor_theory: xr.Dataset | None = None
        self._build()
        self.fields.show(view)
        self._draw_model()
        if self._served:
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
        def button(name: str, action: Callable[[Any], None], **options: Any) -> pn.widgets.Button:
            made = pn.widgets.Button(label=name, margin=4, stylesheets=INLINE, **options)
            made.on_click(action)
            return made

        def text(**options: Any) -> pn.pane.HTML:
            return pn.pane.HTML("", stylesheets=INLINE, sizing_mode="stretch_width", margin=(2, 4), **options)

        for widget in self.fields.widgets.values():
            dress(widget)
        for message in (*self.fields.messages.values(), self.fields.general):
            message.stylesheets = INLINE
        self.drawing, self.status, self.sgd_status, self.notes = (text() for _ in range(4))
        self.numbers, self.pin_list = text(), text()
        self.run_button = button("Run SGD", self._run, color="primary")
        self.stop_button = button("Stop", lambda _: self.stop(), disabled=True)
        self.pin_button = button("Pin this setting", lambda _: self._pin(self.view))
        self.progress = pn.indicators.Progress(value=0, max=100, sizing_mode="stretch_width", margin=4, visible=False)
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
            accept=".toml",
            multiple=False,
            label="Open a TOML",
            stylesheets=INLINE,
            margin=4,
            sizing_mode="stretch_width",
        )
        self.upload.param.watch(self._opened, "value")
        self.pin_buttons = pn.FlexBox(margin=0)
        self.legends = {name: text() for name in QUANTITIES}
        self.plots = {
            name: pn.Column(
                pn.pane.HTML(f"<h3>{escape(title)}</h3>", stylesheets=INLINE, margin=(0, 4)),
                self.legends[name],
                pn.pane.Bokeh(self.panels.figures[name], sizing_mode="stretch_width", margin=0),
                styles={"flex": "1 1 42%", "min-width": "280px"},
                margin=2,
            )
            for name, title in TITLES.items()
        }
        names = list(self.fields.rows)
        rows = [self.fields.rows[name] for name in names]
        self.settings = pn.Column(
            self.drawing, self.fields.general, *rows,
            pn.pane.HTML("<h3>Open a file of settings</h3>", stylesheets=INLINE, margin=(4, 4)), self.upload,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self.results_area = pn.Column(
            pn.FlexBox(self.run_button, self.stop_button, self.pin_button, *self.downloads, margin=0),
            self.status, self.sgd_status, self.progress, self.notes,
            pn.FlexBox(*self.plots.values(), sizing_mode="stretch_width", margin=0),
            pn.pane.HTML(KEY, stylesheets=INLINE, sizing_mode="stretch_width", margin=(0, 4)),
            self.numbers, self.pin_list, self.pin_buttons,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip

    def __panel__(self) -> pn.viewable.Viewable:
        """What a notebook shows."""
        return pn.Row(pn.Column(self.settings, width=320), self.results_area, sizing_mode="stretch_width")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.__panel__()._repr_mimebundle_(include, exclude)

    def show(self, **options: Any) -> Any:
        """Open it in a browser, from a script or a terminal; options are those of ``panel.Viewable.show``."""
        return self.__panel__().show(**options)

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

    def _become(self, view: View) -> None:
        only_shown = view.model_copy(update={"theories": self.view.theories}) == self.view
        self.view = view
        if not only_shown or set(view.theories) != set(self._measured()):
            self._forget_sgd()
        self._solve()

    def _measured(self) -> tuple[str, ...]:
        return self._streamed.view.theories if self._streamed else ()

    def _solve(self) -> None:
        self._asked += 1
        asked, view = self._asked, self.view
        self._draw_model()
        if asked == 1:
            self._say("Solving; the first of a shape is compiled, some seconds …")

        def solve() -> None:
            if asked < self._asked:
                return
            begin = time.perf_counter()
            try:
                solved = curves(view)
                plain = view.model_copy(update={"theories": ("conventional",)})
                floor = solved.theories.get("conventional") or curves(plain).theories.get("conventional")
            except (ProblemError, DivergenceError) as error:
                self._apply(lambda message=str(error): self._failed(message))
                return
            except Exception as error:  # a page says so and lives on
                message = f"{type(error).__name__}: {error}"
                self._apply(lambda: self._failed(message))
                return
            took = time.perf_counter() - begin
            self._apply(lambda: self._solved(asked, solved, floor, took))

        self._submit(solve)

    def _solved(self, asked: int, solved: Curves, floor: xr.Dataset | None, took: float) -> None:
        if asked < self._asked:
            return
        self.curves, self._floor_theory = solved, floor
        self.panels.show_theories(solved.theories)
        self.notes.object = "".join(f'<p class="note" role="status">⚠ {escape(note)}</p>' for note in solved.notes)
        self._say(f"Theory in {took:.2f} s" if solved.theories or not self.view.theories else "No curve")
        self._show_numbers()

    def _failed(self, message: str) -> None:
        wrong = by_field(message)
        self.fields.explain(wrong)
        self.panels.show_theories({})
        self._say("No theory for these settings.")

    def _draw_model(self) -> None:
        self.drawing.object = schematic(self.view)
        for name, legend in self.legends.items():
            problem = self.view.problem
            legend.object = self.panels.legend(name, problem.student_units, problem.teacher_units)
        self._write_address()

    def _say(self, text: str) -> None:
        self.status.object = f'<span class="note" role="status">{escape(text)}</span>'

    def _say_of_sgd(self, text: str) -> None:
        self.sgd_status.object = f'<span class="note" role="status">{escape(text)}</span>'

    # --- SGD ----------------------------------------------------------------------------------------------------------

    def _run(self, _: Any = None) -> None:
        self.stop()
        view, streamed = self.view, Streamed(self.view)
        self._streamed = streamed
        pending, last = [False], {"push": 0.0, "numbers": 0.0}

        def receive(items: list[Any]) -> None:
            if not self._watched and self._turn is not None:
                self._turn.stop()
            for done, sgd, floor in items:
                streamed.done = done
                if sgd is not None:
                    streamed.sgd, streamed.floor = sgd, floor
            crowd = max(1.0, shared_turns().active / 2)
            now = time.monotonic()
            if not items or pending[0] or now - last["push"] < PUSH * crowd:
                return
            numbers = None
            if now - last["numbers"] > NUMBERS * crowd:
                numbers, last["numbers"] = self._numbers(streamed), now
            pending[0], last["push"] = True, now
            self._apply(lambda: show(numbers))

        def show(numbers: str | None) -> None:
            pending[0] = False
            if self._streamed is streamed:
                self._show_sgd(numbers)

        def finish(error: BaseException | None) -> None:
            self._apply(lambda: self._finished(streamed, error))

        self.run_button.disabled, self.stop_button.disabled, self.progress.visible = True, False, True
        self.progress.value = 0
        self._say_of_sgd("SGD is running …")
        self._turn = shared_turns().add(stream(view), receive, finish)

    def _show_sgd(self, numbers: str | None = None) -> None:
        streamed = self._streamed
        self.panels.show_sgd(streamed.sgd if streamed else None)
        if streamed:
            self.progress.value = int(100 * streamed.done)
        if numbers is not None:
            self.numbers.object = numbers

    def _show_numbers(self) -> None:
        self.numbers.object = self._numbers(self._streamed)

    def _numbers(self, streamed: Streamed | None) -> str:
        return "" if streamed is None else streamed.numbers(self.curves.theories, self._floor_theory)

    def _finished(self, streamed: Streamed, error: BaseException | None) -> None:
        if self._streamed is not streamed:
            return
        self._idle()
        self._show_sgd(self._numbers(streamed))
        if error is not None:
            self._say_of_sgd(str(error))
        elif streamed.sgd is not None and "diverged_at" in streamed.sgd.attrs:
            self._say_of_sgd(f"SGD diverged at t = {streamed.sgd.attrs['diverged_at']:.3g}; lower η, learning_rate.")
        else:
            self._say_of_sgd("SGD is done.")

    def _idle(self) -> None:
        self._turn = None
        self.run_button.disabled, self.stop_button.disabled, self.progress.visible = False, True, False

    def stop(self) -> None:
        """Stop SGD where it is; its points stay."""
        if self._turn is not None:
            self._turn.stop()
            self._idle()
            self._show_sgd(self._numbers(self._streamed))
            self._say_of_sgd("SGD was stopped.")

    def _forget_sgd(self) -> None:
        self.stop()
        self._streamed = None
        self._say_of_sgd("")
        self.panels.show_sgd(None)
        self.numbers.object = ""

    def close(self) -> None:
        """Free what the page holds; its run ends."""
        self._asked += 1
        if self._turn is not None:
            self._turn.stop()
            self._turn = None

    # --- pins ---------------------------------------------------------------------------------------------------------

    def _pin(self, view: View) -> None:
        if len(self._pins) == MOST_PINS or any(view == pinned for pinned, _ in self._pins):
            self._say(
                "This setting is pinned already."
                if len(self._pins) < MOST_PINS
                else f"{MOST_PINS} settings are pinned, the most that are told apart; remove one first."
            )
            return

        def solve() -> None:
            try:
                solved = curves(view)
            except (ProblemError, DivergenceError) as error:
                self._apply(lambda message=str(error): self._say(message))
                return
            self._apply(lambda: add(solved))

        def add(solved: Curves) -> None:
            taken = {pin.color for _, pin in self._pins}
            color = next((color for color in PIN_COLORS if color not in taken), PIN_COLORS[0])
            self._pins.append((view, Pinned(view.label, color, solved.theories)))
            self._show_pins()

        self._submit(solve)

    def _show_pins(self) -> None:
        self.panels.show_pins([pin for _, pin in self._pins])
        items = "".join(
            f'<li><span class="entry"><i style="background:{pin.color}"></i></span>{number}. {escape(pin.label)}</li>'
            for number, (_, pin) in enumerate(self._pins, 1)
        )
        self.pin_list.object = f"<h3>Pinned</h3><ul>{items}</ul>" if items else ""
        buttons = []
        for number, (view, _) in enumerate(self._pins, 1):
            show = pn.widgets.Button(label=f"Go to {number}", stylesheets=INLINE, margin=4)
            show.on_click(lambda _, view=view: self.go_to(view))
            remove = pn.widgets.Button(label=f"Unpin {number}", stylesheets=INLINE, margin=4)
            remove.on_click(lambda _, view=view: self._unpin(view))
            buttons += [show, remove]
        self.pin_buttons.objects = buttons
        self._write_address()

    def _unpin(self, view: View) -> None:
        self._pins = [(pinned, pin) for pinned, pin in self._pins if pinned != view]
        self._show_pins()

    def go_to(self, view: View) -> None:
        """Show another view."""
        self.fields.show(view)
        if view != self.view:
            self._become(view)

    # --- address, files -----------------------------------------------------------------------------------------------

    def address(self) -> str:
        """What stands behind the ``?``: the settings, and those that are pinned."""
        pins = urlencode([("pin", view.to_query()) for view, _ in self._pins])
        return "&".join(part for part in (self.view.to_query(), pins) if part)

    def _write_address(self) -> None:
        if self._location is not None and self._asked > 0:  # before, what it holds is still to be read
            self._location.search = f"?{self.address()}" if self.address() else ""

    def open_address(self, query: str) -> None:
        """Show what an address holds; what is wrong with it is said beside the fields, which keep their values."""
        view, wrong = as_far_as_it_will_do(View.read_query(query))
        self.go_to(view)
        for text in [text for name, text in parse_qsl(query.removeprefix("?")) if name == "pin"][:MOST_PINS]:
            try:
                self._pin(View.from_query(text))
            except (ProblemError, TypeError) as error:
                wrong |= {"pin": f"A pinned setting of this address will not do: {error}"}
        self.fields.explain(wrong)

    def _opened(self, event: Any) -> None:
        if not event.new:
            return
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "settings.toml"
            path.write_bytes(event.new[: FILE_BYTES + 1])
            try:
                view = View.of_file(*load_problem(path))
            except ProblemError as error:
                message = str(error).replace(str(path), self.upload.filename or "the file")
                self.fields.explain({"": message})
                return
        self.go_to(view)
        self._say(f"Opened {self.upload.filename}.")

    def _shown_sgd(self) -> xr.Dataset | None:
        return self._streamed.sgd if self._streamed else None

    def _picture(self, ending: str) -> BytesIO:
        pins = [pin for _, pin in self._pins]
        return downloads.picture(ending, self.view, self.curves.theories, self._shown_sgd(), pins)

    def _netcdf(self) -> BytesIO:
        sgd = {"sgd": self._shown_sgd(), "noise_floor": self._streamed.floor if self._streamed else None}
        return downloads.netcdf(self.view, self.curves.theories, sgd, [pin for _, pin in self._pins])

    def _taken(self, make: Callable[[], BytesIO]) -> BytesIO:
        try:
            return make()
        except Exception as error:
            self._say(f"The file could not be made ({error}).")
            return BytesIO()

    # --- threads ------------------------------------------------------------------------------------------------------

    @property
    def _served(self) -> bool:
        return self._document is not None and self._document.session_context is not None

    def _submit(self, work: Callable[[], None]) -> None:
        if self._served:
            _solvers.submit(work)
        else:  # a notebook's own cell
            work()

    @property
    def _watched(self) -> bool:
        """Whether a browser is still there."""
        session = getattr(self._document.session_context, "session", None) if self._served else None  # type: ignore[union-attr]
        return session is None or session.connection_count > 0

    def _apply(self, change: Callable[[], None]) -> None:
        """Change the page, from any thread."""
        if self._served:
            self._document.add_next_tick_callback(lambda: self._at_once(change))  # type: ignore[union-attr]
        else:
            change()
            pn.io.push_notebook(*self.plots.values())

    def _at_once(self, change: Callable[[], None]) -> None:
        """One message, and one layout, for all that a change consists of."""
        with pn.io.hold(self._document):
            change()

    def restyle(self, dark: bool) -> None:
        """Colours of the axes, for a dark page or a light one."""
        self.panels.restyle(dark)


KEY = (
    '<p class="note">Lines: theory, <b>—</b> conventional (Σ<sub>C</sub> = I), <b>- -</b> moment-matched (the law\'s '
    "Σ<sub>C</sub>). Marks: mean over SGD runs with ±1 standard deviation, ○ Q and R measured with Σ<sub>C</sub> = I, "
    "△ with the law's.</p>"
)
