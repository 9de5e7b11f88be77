"""One look for every figure: fonts, sizes, and series that stay apart in grey and for the colour-blind."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = [
    "ACTIVATION_LABELS",
    "FLOOR",
    "SERIES",
    "TIME",
    "WIDTH",
    "Series",
    "label_panels",
    "log_ticks",
    "new_figure",
    "save_figure",
    "styled",
]

WIDTH = 7.0
"""Two journal columns, in inches."""
TIME = r"time $t$ = steps/$N$"
FLOOR = "#c9c9c9"
PNG_DPI = 200
ACTIVATION_LABELS = {"relu": "ReLU", "erf": "erf"}

_STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 10,
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


class Series(NamedTuple):
    """How one curve among several is drawn."""

    color: str
    linestyle: str | tuple[int, tuple[float, ...]]
    marker: str


SERIES = (
    Series("#16275c", "-", "o"),
    Series("#b0305c", (0, (5, 1.5)), "s"),
    Series("#1f9e89", (0, (4, 1.2, 1, 1.2)), "^"),
    Series("#e8a020", (0, (1.2, 1.2)), "D"),
    Series("#5b8fd6", (0, (6, 1.2, 1, 1.2, 1, 1.2)), "v"),
)
"""From dark to light (L* 18, 41, 59, 71, 59), each with its own dashes and marker."""

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the common style, and leave the user's matplotlib settings as they were."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(height: float) -> Figure:
    """An empty figure two columns wide; ``height`` in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)  # type: ignore[union-attr]
    return figure


def label_panels(axes: "list[Axes]", titles: "list[str] | None" = None) -> None:
    """Letter the panels (a), (b), … above their left edge, with an optional title beside the letter."""
    for number, panel in enumerate(axes):
        title = f"  {titles[number]}" if titles else ""
        panel.set_title(rf"$\bf{{{chr(ord('a') + number)}}}$" + title, loc="left", pad=5)


def log_ticks(axis: Axis) -> None:
    """Ticks for a log axis by its limits: every decade if it spans more than two, else 1, 2, 5 in plain numbers."""
    low, high = axis.get_view_interval()
    if np.log10(high / low) > 2:
        axis.set_major_locator(LogLocator(numticks=9))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, folder: Path, name: str, *, suffixes: Sequence[str] = (".png", ".pdf")) -> list[Path]:
    """Write ``name.png`` (200 dots per inch) and ``name.pdf`` into ``folder``, which is made if need be.

    Parameters
    ----------
    figure
        One that a function of :mod:`sgdlimit.figures` drew.
    folder, name
        Where, and under which name.
    suffixes
        The formats, of ``.png``, ``.pdf`` and ``.svg``.

    Returns
    -------
    list of Path
        The files in the order of ``suffixes``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}" for suffix in suffixes]
    layout, dpi = figure.get_layout_engine(), figure.dpi
    no_layout: dict[Any, Any] = {"figure.autolayout": False, "figure.constrained_layout.use": False}
    with mpl.rc_context(_STYLE | no_layout):
        try:
            figure.set_dpi(PNG_DPI)
            if layout is not None:
                layout.execute(figure)
            figure.set_layout_engine(None)  # with one, savefig draws twice: to arrange the panels, and to write them
            for path in paths:
                _write(figure, path)
        finally:
            figure.set_layout_engine(layout)
            figure.set_dpi(dpi)
    return paths


def _write(figure: Figure, path: Path) -> None:
    """One file, without the date, so that the same figure is the same file."""
    undated: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    figure.savefig(path, dpi=PNG_DPI, metadata=undated.get(path.suffix))
