"""How the widgets and texts of a page look; the colours are variables that the page sets for light and dark."""

from collections.abc import Callable
from html import escape
from typing import Any

from panel import Column
from panel.pane import HTML
from panel.widgets import Button, Select

SHEET = """
:host {
  --ink: var(--sl-ink, inherit); --paper: var(--sl-paper, inherit); --line: var(--sl-line, #8888);
  color: var(--sl-ink, inherit); font-size: 14px;
}
.bk-input, select.bk-input, input.bk-input {
  background-color: var(--sl-field, transparent); color: var(--sl-ink, inherit); border-color: var(--sl-line, #888);
}
.bk-input-group > label, .bk-slider-title, label { color: var(--sl-ink, inherit); }
.bk-btn.bk-btn-default { background-color: var(--sl-field, transparent) !important;
  color: var(--sl-ink, inherit) !important; border: 1px solid var(--sl-line, #888) !important; }
:host .bk-btn a { color: inherit; text-decoration: none; }
.bk-spin-btn { background-color: transparent; }
.bk-slider-title, .bk-clearfix, .bk-clearfix * { color: var(--sl-ink, inherit) !important; }
.bk-btn:focus-visible, .bk-input:focus-visible, input:focus-visible, .noUi-handle:focus-visible, a:focus-visible,
button:focus-visible { outline: 3px solid #3a78c9; outline-offset: 1px; }
:host .bk-btn.bk-btn-primary { background-color: #2f6bb8; color: white; border-color: #2f6bb8; }
.bk-btn[disabled] { opacity: 0.5; }
.noUi-target { background: var(--sl-line, #ccc); }
.noUi-connect { background: #3a78c9 !important; }
.schematic { width: 100%; max-width: 380px; font: 12px sans-serif; }
.schematic text { fill: var(--sl-ink, currentColor); text-anchor: middle; }
.schematic .beside { text-anchor: start; }
.schematic .small { font-size: 11px; }
.schematic line { stroke: var(--sl-ink, #888); stroke-opacity: 0.22; stroke-width: 0.8; }
.schematic line.learned { stroke: #3a78c9; stroke-opacity: 0.7; }
.schematic line.teacher { stroke: #c8435a; stroke-opacity: 0.55; }
.schematic line.error { stroke-opacity: 0.8; stroke-dasharray: 3 3; }
.schematic circle.unit { fill: var(--sl-ink, #666); }
.schematic circle.student, .schematic .name-student { fill: #3a78c9; }
.schematic circle.teacher, .schematic .name-teacher { fill: #c8435a; }
.entry { margin-right: 0.8em; white-space: nowrap; }
.entry i { display: inline-block; width: 0.9em; height: 0.9em; border-radius: 2px; margin-right: 0.3em;
  vertical-align: -0.1em; }
.wide { overflow-x: auto; }
.bk-spin-btn { filter: var(--sl-icons, none); }
input::file-selector-button { background: var(--sl-field, transparent); color: var(--sl-ink, inherit);
  border: 1px solid var(--sl-line, #888); border-radius: 3px; }
progress { background: var(--sl-line, #ccc); border: 0; border-radius: 3px; }
progress::-webkit-progress-bar { background: var(--sl-line, #ccc); border-radius: 3px; }
table.numbers { border-collapse: collapse; font-size: 13px; }
table.numbers th, table.numbers td { padding: 2px 10px 2px 0; text-align: right; font-variant-numeric: tabular-nums; }
table.numbers th:first-child { text-align: left; }
table.numbers thead th { border-bottom: 1px solid var(--sl-line, #888); font-weight: 600; }
:host(.wrong), :host(.wrong) span, .wrong { color: var(--sl-wrong, #b3261e); font-size: 13px; }
.note { color: var(--sl-ink, inherit); font-size: 13px; margin: 2px 0; }
h2, h3 { font-size: 15px; margin: 4px 0; }
"""

INLINE = [SHEET]
LOOK: dict[str, Any] = {"stylesheets": INLINE, "sizing_mode": "stretch_width", "margin": (2, 4)}
"""The look of a widget or a text at its full width."""


def column(*contents: Any) -> Column:
    """Stack parts of a page at its full width."""
    return Column(*contents, sizing_mode="stretch_width", margin=0)


def button(label: str, action: Callable[[], None], **options: Any) -> Button:
    """Make a button in the look of the page."""
    return Button(label=label, on_click=lambda _: action(), margin=4, stylesheets=INLINE, **options)


def select(label: str, options: Any) -> Select:
    """Make a list to choose from."""
    return Select(label=label, options=options, **LOOK)


def text(html: str = "", **options: Any) -> HTML:
    """Make room for text in the look of the page."""
    return HTML(html, **LOOK | options)


def note(words: str, link: str = "") -> str:
    """Write a sentence, and a link, that screen readers announce."""
    return f'<p class="note" role="status">{escape(words)} {link}</p>' if words else ""


def alert(words: str) -> str:
    """Write what is wrong, which screen readers announce at once."""
    return f'<span class="wrong" role="alert">{escape(words)}</span>' if words else ""


def swatch(color: str, html: str = "") -> str:
    """Write what a colour stands for, as one entry of a legend."""
    return f'<span class="entry"><i style="background:{color}"></i>{html}</span>'
