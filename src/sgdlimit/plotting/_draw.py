"""The parts of every figure: its style, lettered panels, series that stay apart, curves, legends and files."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, repeat
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator
from numpy import ndarray

from ..errors import ProblemError
from ._hover import named

WIDTH = 7.0
"""Two journal columns, in inches."""
TIME = r"time $t$ = steps/$N$"
PNG_DPI = 200
ACTIVATION_LABELS = {"relu": "ReLU", "erf": "erf"}
FLOOR = "#c9c9c9"
GREY = "#8a8a8a"

styled = rc_context(
    {
        "font.family": "STIXGeneral",
        "mathtext.fontset": "stix",
        "font.size": 10,
        "axes.labelsize": 11,
        "axes.titlesize": 11,
        "legend.fontsize": 9.5,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "axes.linewidth": 0.7,
        "errorbar.capsize": 2,
        "figure.constrained_layout.w_pad": 0.06,
        "figure.constrained_layout.h_pad": 0.05,
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
    }  # type: ignore[arg-type]
)
"""Decorator: draw in the common style, and leave the user's matplotlib settings as they were."""


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, by default two columns wide; in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def finish(panels: Any, titles: Iterable[str] = ()) -> None:
    """Letter an array of panels (a), (b), … with a title beside the letter, and set the ticks of their log axes."""
    for letter, panel, title in zip(ascii_lowercase, np.ravel(panels), chain(titles, repeat("")), strict=False):
        panel.set_title(rf"$\bf{{{letter}}}$  {title}".rstrip(), loc="left", pad=5)
        log_ticks(panel)


NARROW = 0.25
"""Part of a figure's width below which an axis has few labels, or they would touch."""


def log_ticks(panel: Axes) -> None:
    """Ticks of log axes by their limits: every decade if they span more than two, else 1, 2, 5 in plain numbers.

    Axes whose ticks were chosen keep them.
    """
    for axis in (panel.xaxis, panel.yaxis):
        if isinstance(axis.get_major_locator(), LogLocator):
            low, high = axis.get_view_interval()
            wide = high > 100 * low
            narrow = axis is panel.xaxis and panel.get_position().width < NARROW
            axis.set_major_locator(LogLocator(subs=[1.0] if wide else [1.0, 2.0, 5.0], numticks=4 if narrow else 9))
            if not wide:
                axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter("")


def value_ticks(panel: Axes, values: Sequence[Any] | ndarray, labels: Sequence[str] | None = None) -> None:
    """A tick of the x axis at each value, and nowhere else."""
    panel.set_xticks(values, labels=labels or [f"{value:.5g}" for value in values])
    panel.set_xticks([], minor=True)


class Series(NamedTuple):
    """How one curve among several is drawn."""

    color: str
    linestyle: str | tuple[int, tuple[float, ...]]
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """As options of matplotlib's ``plot``, with markers edged in white."""
        return self._asdict() | {"mec": "white", "mew": 0.5}


SERIES = (
    Series("#16275c", "-", "o"),
    Series("#b0305c", (0, (5, 1.5)), "s"),
    Series("#1f9e89", (0, (4, 1.2, 1, 1.2)), "^"),
    Series("#e8a020", (0, (1.2, 1.2)), "D"),
    Series("#5b8fd6", (0, (6, 1.2, 1, 1.2, 1, 1.2)), "v"),
)
"""From dark to light (L* 18, 41, 59, 71, 59), each with its own dashes and marker."""

DARK = SERIES[0].color


def each(values: Iterable[Any]) -> Iterator[tuple[Any, Series]]:
    """Every value with the look of its curve."""
    return zip(values, cycle(SERIES), strict=False)


def draw(panel: Axes, x: Any, y: Any, error: Any = None, *, name: str = "", bars: bool = False, **style: Any) -> Line2D:
    """A curve with a band of ±``error``, or with ``bars``. A page shows its values at the pointer under ``name``.

    ``style`` goes to matplotlib's ``plot``.
    """
    if bars:
        container = panel.errorbar(x, y, error, **{"lw": 1.2, **style})
        line, name = container.lines[0], name or str(style.get("label", ""))
    else:
        (line,) = panel.plot(x, y, **style)
        if error is not None:
            panel.fill_between(x, y - error, y + error, color=line.get_color(), alpha=0.2, lw=0, zorder=1)
    return named(line, name) if name else line


def draw_marks(panel: Axes, x: ndarray, y: ndarray, filled: ndarray, series: Series) -> None:
    """The points of a curve, filled where ``filled`` and hollow elsewhere."""
    for part, face in ((filled, series.color), (~filled, "white")):
        shown = part & np.isfinite(y)
        panel.plot(x[shown], y[shown], series.marker, zorder=3, mfc=face, mec=series.color, mew=1.2, ms=5.2)


def shade(panel: Axes, low: float, high: float, line: float | None = None) -> None:
    """A grey band behind the curves, where noise explains M or a claim fails, and a line at one value."""
    panel.axhspan(low, high, color=FLOOR, alpha=0.7, lw=0, zorder=0)
    if line is not None:
        panel.axhline(line, color=GREY, lw=0.8, zorder=0.5)


def key(label: str, **style: Any) -> Line2D:
    """An entry of a legend for a kind of line or marker."""
    return Line2D([], [], label=label, **{"color": "black", **style})


def keys(form: str, values: Iterable[Any], **style: Any) -> list[Any]:
    """Entries of a legend for the series of some values, such as ``"$m={}$"``."""
    return [key(form.format(value), **series.line | style) for value, series in each(values)]


def shade_key(label: str, **style: Any) -> Patch:
    """An entry of a legend for a grey band."""
    return Patch(label=label, **{"color": FLOOR, "alpha": 0.7, "lw": 0, **style})


def add_legend(figure: Figure, handles: list[Any], title: str = "", ncols: int | None = None) -> None:
    """A legend above the panels, by default in one row."""
    figure.legend(
        handles=handles, title=title, loc="outside upper center", ncols=ncols or len(handles), columnspacing=1.3
    )


def chosen(quantities: Sequence[str] | None, default: Sequence[str], known: Sequence[str]) -> list[str]:
    """The quantities to show, which must be among the known ones."""
    names = np.atleast_1d(default if quantities is None else quantities).tolist()
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        got, there = (", ".join(map(repr, some)) or "none" for some in (wrong, known))
        raise ProblemError(f"quantities: must be in the dataset (got {got}). Use some of {there}.")
    return names


@styled
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
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder, f"{name}{suffix}") for suffix in suffixes]
    layout, dpi = figure.get_layout_engine(), figure.dpi
    try:
        figure.set_dpi(PNG_DPI)
        if layout is not None:
            layout.execute(figure)
        figure.set_layout_engine("none")  # with one, savefig draws twice: to arrange the panels, and to write them
        for path in paths:  # without the date, so that the same figure is the same file
            undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix)
            figure.savefig(path, dpi=PNG_DPI, metadata=undated)
    finally:
        figure.set_layout_engine(layout)
        figure.set_dpi(dpi)
    return paths
