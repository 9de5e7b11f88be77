"""Settings whose curves stay on view beside those of others."""

from collections.abc import Callable
from html import escape

import panel as pn

from ..errors import DivergenceError, ProblemError
from ._curves import Curves, curves
from ._panels import PIN_COLORS, Panels, Pinned
from ._session import Session
from ._style import button, text
from ._view import View

__all__ = ["MOST_PINS", "Pins"]

MOST_PINS = len(PIN_COLORS)


class Pins:
    """The pinned settings of a page, with a button to go to each and one to let it go.

    Parameters
    ----------
    session
        The page.
    panels
        Where they are drawn.
    go_to
        Called with the view to show.
    changed
        Called when there is one more, or less.
    say
        Tells the reader why a setting is not pinned.
    """

    def __init__(
        self,
        session: Session,
        panels: Panels,
        *,
        go_to: Callable[[View], None],
        changed: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._session, self._panels, self._go_to, self._changed, self._say = session, panels, go_to, changed, say
        self._pins: list[tuple[View, Pinned]] = []
        self.list, self.buttons = text(), pn.FlexBox(margin=0)

    @property
    def views(self) -> list[View]:
        """The settings, in the order in which they were pinned."""
        return [view for view, _ in self._pins]

    @property
    def pinned(self) -> list[Pinned]:
        """Their curves."""
        return [pin for _, pin in self._pins]

    def add(self, view: View) -> None:
        """Pin a setting."""
        if view in self.views:
            self._say("This setting is pinned already.")
            return
        if len(self._pins) == MOST_PINS:
            self._say(f"{MOST_PINS} settings are pinned, the most that are told apart; remove one first.")
            return

        def solve() -> None:
            try:
                solved = curves(view)
            except (ProblemError, DivergenceError) as error:
                self._session.apply(lambda message=str(error): self._say(message))
                return
            self._session.apply(lambda: self._add(view, solved))

        self._session.submit(solve)

    def _add(self, view: View, solved: Curves) -> None:
        if view in self.views or len(self._pins) == MOST_PINS:  # pressed again while it was solved
            return
        taken = {pin.color for pin in self.pinned}
        color = next(color for color in PIN_COLORS if color not in taken)
        self._pins.append((view, Pinned(view.label, color, solved.theories)))
        self._show()

    def remove(self, view: View) -> None:
        """Let a setting go."""
        self._say("")
        self._pins = [(pinned, pin) for pinned, pin in self._pins if pinned != view]
        self._show()

    def _show(self) -> None:
        self._panels.show_pins(self.pinned)
        items = "".join(
            f'<li><span class="entry"><i style="background:{pin.color}"></i></span>{number}. {escape(pin.label)}</li>'
            for number, pin in enumerate(self.pinned, 1)
        )
        self.list.object = f"<h3>Pinned</h3><ul>{items}</ul>" if items else ""
        self.buttons.objects = [
            made
            for number, view in enumerate(self.views, 1)
            for made in (
                button(f"Go to {number}", lambda view=view: self._go_to(view)),
                button(f"Unpin {number}", lambda view=view: self.remove(view)),
            )
        ]
        self._changed()
