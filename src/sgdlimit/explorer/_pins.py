"""Settings whose curves stay on view beside those of others."""

from collections.abc import Callable
from html import escape

import panel as pn

from ..errors import DivergenceError, ProblemError
from ._curves import curves
from ._panels import PIN_COLORS, Pinned
from ._shown import Shown
from ._style import button, swatch, text
from ._view import View

MOST_PINS = len(PIN_COLORS)


class Pins:
    """The pinned settings of a page, with a button to go to each and one to let it go.

    Parameters
    ----------
    page
        The page, which draws them and keeps them in its address.
    go_to
        Called with the view to show.
    """

    def __init__(self, page: Shown, go_to: Callable[[View], None]) -> None:
        self._page, self._go_to = page, go_to
        self.pinned: dict[View, Pinned] = {}
        """The curves of each setting, in the order in which they were pinned."""
        self.list, self.buttons = text(), pn.FlexBox(margin=0)

    def add(self, view: View) -> None:
        """Solve a setting and pin it."""
        if view in self.pinned:
            self._page.say("This setting is pinned already.")
        elif len(self.pinned) == MOST_PINS:
            self._page.say(f"{MOST_PINS} settings are pinned, the most that can be told apart. Remove one first.")
        else:
            self._page.session.submit(lambda: self._solve(view))

    def _solve(self, view: View) -> None:
        apply = self._page.session.apply
        try:
            theories = curves(view).theories
        except (ProblemError, DivergenceError) as error:
            apply(lambda message=str(error): self._page.say(message))
            return

        def pin() -> None:
            free = [color for color in PIN_COLORS if color not in {pin.color for pin in self.pinned.values()}]
            if free and view not in self.pinned:  # else the button was pressed again meanwhile
                self.pinned[view] = Pinned(view.label, free[0], theories)
                self._show()

        apply(pin)

    def remove(self, view: View) -> None:
        """Let a setting go."""
        self._page.say("")
        del self.pinned[view]
        self._show()

    def _show(self) -> None:
        """Draw the pinned curves and list the settings, each with its buttons."""
        self._page.panels.show_pins(list(self.pinned.values()))
        items, buttons = [], []
        for number, (view, pin) in enumerate(self.pinned.items(), 1):
            items.append(f"<li>{swatch(pin.color)}{number}. {escape(pin.label)}</li>")
            buttons.append(button(f"Go to {number}", lambda view=view: self._go_to(view)))
            buttons.append(button(f"Unpin {number}", lambda view=view: self.remove(view)))
        self.list.object = f"<h3>Pinned</h3><ul>{''.join(items)}</ul>" if items else ""
        self.buttons.objects = buttons
        self._page.write_address()
