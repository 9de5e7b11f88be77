"""One look for every figure: fonts, sizes, panels with letters, log axes with readable ticks, and the files."""

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

WIDTH = 7.0
"""Two journal columns, in inches."""
TIME = r"time $t$ = steps/$N$"
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

styled = mpl.rc_context(_STYLE)
"""Decorator: draw in the common style, and leave the user's matplotlib settings as they were."""


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, by default two columns wide; in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)  # type: ignore[union-attr]
    return figure


def finish(panels: Any, titles: Iterable[str] = ()) -> None:
    """Letter an array of panels (a), (b), … with a title beside the letter, and set the ticks of their log axes."""
    for letter, panel, title in zip(ascii_lowercase, np.ravel(panels), chain(titles, repeat("")), strict=False):
        panel.set_title(rf"$\bf{{{letter}}}$  {title}".rstrip(), loc="left", pad=5)
        log_ticks(panel)


def log_ticks(panel: Axes) -> None:
    """Ticks of log axes by their limits: every decade if they span more than two, else 1, 2, 5 in plain numbers.

    Axes whose ticks were chosen keep them.
    """
    for axis in (panel.xaxis, panel.yaxis):
        if isinstance(axis.get_major_locator(), LogLocator):
            low, high = axis.get_view_interval()
            wide = np.log10(high / low) > 2
            axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=9))
            if not wide:
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def value_ticks(panel: Axes, values: Iterable[Any], labels: Sequence[str] | None = None) -> None:
    """A tick of the x axis at each value, and nowhere else."""
    values = list(values)
    panel.set_xticks(values, labels=labels or [f"{value:.5g}" for value in values])
    panel.set_xticks([], minor=True)


def save_figure(figure: Figure, folder: Path, name: str, *, suffixes: Sequence[str] = (".png", ".pdf")) -> list[Path]:
    """Write ``name.png`` (200 dots per inch) and ``name.pdf`` into ``folder``, which is made if need be.

    Parameters
    ----------
    figure
        A figure that a function of :mod:`sgdlimit.plotting` drew.
    folder, name
        The folder, and the name of the files without their ending.
    suffixes
        The formats: ``.png``, ``.pdf`` or ``.svg``.

    Returns
    -------
    list of Path
        The files in the order of ``suffixes``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}" for suffix in suffixes]
    undated: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    layout, dpi = figure.get_layout_engine(), figure.dpi
    no_layout: dict[Any, Any] = {"figure.autolayout": False, "figure.constrained_layout.use": False}
    with mpl.rc_context(_STYLE | no_layout):
        try:
            figure.set_dpi(PNG_DPI)
            if layout is not None:
                layout.execute(figure)
            figure.set_layout_engine(None)  # with one, savefig draws twice: to arrange the panels, and to write them
            for path in paths:  # without the date, so that the same figure is the same file
                figure.savefig(path, dpi=PNG_DPI, metadata=undated.get(path.suffix))
        finally:
            figure.set_layout_engine(layout)
            figure.set_dpi(dpi)
    return paths
