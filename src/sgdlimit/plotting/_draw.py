"""What figures are made of: series that stay apart, curves with their errors, marks, shaded regions and legends."""

from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ._hover import named

FLOOR = "#c9c9c9"
GREY = "#8a8a8a"


class Series(NamedTuple):
    """How one curve among several is drawn."""

    color: str
    linestyle: str | tuple[int, tuple[float, ...]]
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """As options of matplotlib's ``plot``, with markers edged in white."""
        return {**self._asdict(), "mec": "white", "mew": 0.5}


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


def mean_and_error(values: xr.DataArray, dims: Any = "instance") -> tuple[xr.DataArray, xr.DataArray]:
    """Mean over instances (or other dimensions) and its standard error; NaN entries, diverged runs, are left out.

    The standard error is NaN where fewer than two values are left.
    """
    count = values.count(dims)
    mean = values.sum(dims) / count.where(count > 0)
    squares = ((values - mean) ** 2).sum(dims)
    variance = squares / (count - 1).where(count > 1)
    return mean, (variance / count.where(count > 0)) ** 0.5


def draw(panel: Axes, x: Any, y: Any, error: Any = None, *, name: str = "", bars: bool = False, **style: Any) -> Line2D:
    """A curve with a band of ±``error``, or with ``bars``; its values can be read off the page under ``name``.

    ``style`` is that of matplotlib's ``plot``.
    """
    if bars:
        container = panel.errorbar(x, y, error, **{"lw": 1.2, "capsize": 2, **style})
        line, name = container.lines[0], name or str(style.get("label", ""))
    else:
        (line,) = panel.plot(x, y, **style)
        if error is not None:
            panel.fill_between(x, y - error, y + error, color=line.get_color(), alpha=0.2, lw=0, zorder=1)
    return named(line, name) if name else line


def draw_marks(panel: Axes, x: np.ndarray, y: np.ndarray, filled: np.ndarray, series: Series) -> None:
    """The points of a curve, filled where ``filled`` and hollow elsewhere."""
    for part, face in ((filled, series.color), (~filled, "white")):
        shown = part & np.isfinite(y)
        style = {"mfc": face, "mec": series.color, "mew": 1.2, "ms": 5.2}
        panel.plot(x[shown], y[shown], series.marker, zorder=3, **style)


def shade(panel: Axes, low: float, high: float, line: float | None = None) -> None:
    """A grey band behind the curves, what noise explains or where a claim fails, with a line at a value in it."""
    panel.axhspan(low, high, color=FLOOR, alpha=0.7, lw=0, zorder=0)
    if line is not None:
        panel.axhline(line, color=GREY, lw=0.8, zorder=0.5)


def key(label: str, **style: Any) -> Line2D:
    """An entry of a legend for a kind of line or marker."""
    return Line2D([], [], label=label, **{"color": "black", **style})


def keys(form: str, values: Iterable[Any], **style: Any) -> list[Any]:
    """Entries of a legend for the series of some values, such as ``"$m={}$"``."""
    return [key(form.format(value), **(series.line | style)) for value, series in each(values)]


def shade_key(label: str, **style: Any) -> Patch:
    """An entry of a legend for a grey band."""
    return Patch(label=label, **{"color": FLOOR, "alpha": 0.7, "lw": 0, **style})


def add_legend(figure: Figure, handles: list[Any], title: str | None = None, ncols: int | None = None) -> None:
    """A legend above the panels, by default in one row."""
    columns = ncols or max(len(handles), 1)
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=columns, columnspacing=1.3)
