"""SGD on a page: a button streams it over the curves, another stops it, numbers settle below."""

import time
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import panel as pn
import xarray as xr

from ._panels import Panels
from ._session import Session
from ._streaming import Streamed, stream
from ._style import button, text
from ._turns import Turn, shared_turns
from ._view import View

__all__ = ["Running"]

PUSH = 0.2
"""Seconds between two pictures of SGD that a page is sent; more where many stream."""
NUMBERS = 1.0
"""The same of the numbers."""


class Running:
    """The run of a page, its buttons, and what is said about it.

    Parameters
    ----------
    session
        The page.
    panels
        Where points are drawn.
    view
        Gives the settings to run.
    """

    def __init__(self, session: Session, panels: Panels, view: Callable[[], View]) -> None:
        self._session, self._panels, self._view = session, panels, view
        self.streamed: Streamed | None = None
        self._turn: Turn | None = None
        self._theories: Mapping[str, xr.Dataset] = {}
        self._floor_theory: xr.Dataset | None = None
        self.run_button = button("Run SGD", self.run, color="primary")
        self.stop_button = button("Stop", self.stop, disabled=True)
        self.progress = pn.indicators.Progress(value=0, max=100, sizing_mode="stretch_width", margin=4, visible=False)
        self.status, self.numbers = text(), text()

    @property
    def theories(self) -> tuple[str, ...]:
        """Whose overlaps the run measures."""
        return self.streamed.view.theories if self.streamed else ()

    @property
    def runs(self) -> xr.Dataset | None:
        """The runs so far, if there are any."""
        return self.streamed.sgd if self.streamed else None

    @property
    def floor(self) -> xr.Dataset | None:
        """Those of the noise floor."""
        return self.streamed.floor if self.streamed else None

    def run(self) -> None:
        """Stream SGD on the settings that are on view."""
        self.stop()
        view = self._view()
        self.streamed = streamed = Streamed(view)
        pending, last = [False], {"push": 0.0, "numbers": 0.0}

        def receive(items: list[Any]) -> None:
            if not self._session.watched and self._turn is not None:
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
                numbers, last["numbers"] = self._numbers_of(streamed), now
            pending[0], last["push"] = True, now
            self._session.apply(lambda: show(numbers))

        def show(numbers: str | None) -> None:
            pending[0] = False
            if self.streamed is streamed:
                self._show(numbers)

        def finish(error: BaseException | None) -> None:
            self._session.apply(lambda: self._finished(streamed, error))

        # One of the two can be pressed at every moment, so that the keyboard has where to go.
        self.stop_button.disabled, self.run_button.disabled, self.progress.visible = False, True, True
        self.progress.value = 0
        self._say("SGD is running …")
        self._turn = shared_turns().add(stream(view), receive, finish)

    def compare(self, theories: Mapping[str, xr.Dataset], floor_theory: xr.Dataset | None) -> None:
        """The theories to give M of from now on; ``floor_theory`` is the one for the noise floor."""
        self._theories, self._floor_theory = theories, floor_theory
        self._show(self._numbers_of(self.streamed))
        if missing := [name for name in theories if self.streamed and name not in self.theories]:
            self._say(f"SGD was not measured for the {missing[0]} theory; run it again for that.")

    def _numbers_of(self, streamed: Streamed | None) -> str:
        return "" if streamed is None else streamed.numbers(self._theories, self._floor_theory)

    def _show(self, numbers: str | None) -> None:
        self._panels.show_sgd(self.runs, self._view().theories)
        if self.streamed:
            self.progress.value = int(100 * self.streamed.done)
        if numbers is not None:
            self.numbers.object = numbers

    def _finished(self, streamed: Streamed, error: BaseException | None) -> None:
        if self.streamed is not streamed:
            return
        self._idle()
        self._show(self._numbers_of(streamed))
        if error is not None:
            self._say(str(error))
        elif streamed.sgd is not None and "diverged_at" in streamed.sgd.attrs:
            self._say(f"SGD diverged at t = {streamed.sgd.attrs['diverged_at']:.3g}; lower η, learning_rate.")
        else:
            self._say("SGD is done.")

    def _idle(self) -> None:
        self._turn = None
        self.run_button.disabled, self.stop_button.disabled, self.progress.visible = False, True, False

    def stop(self) -> None:
        """Stop SGD where it is; its points stay."""
        if self._turn is not None:
            self._turn.stop()
            self._idle()
            self._show(self._numbers_of(self.streamed))
            self._say("SGD was stopped.")

    def forget(self) -> None:
        """Stop it, and take its points away: they belong to other settings, as do the theories."""
        self.stop()
        self.streamed, self._theories, self._floor_theory = None, {}, None
        self._say("")
        self._panels.show_sgd(None)
        self.numbers.object = ""

    def close(self) -> None:
        """End the run of a page that is no longer there."""
        if self._turn is not None:
            self._turn.stop()
            self._turn = None

    def _say(self, said: str) -> None:
        self.status.object = f'<span class="note" role="status">{escape(said)}</span>'
