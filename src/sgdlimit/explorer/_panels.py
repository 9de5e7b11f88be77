"""ε_g, Q, R and v against log t: four figures whose data follow the settings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import panel as pn
import xarray as xr
from bokeh.core.properties import expr, field
from bokeh.models import ColumnDataSource, CustomJSExpr, CustomJSTicker, CustomJSTickFormatter, HoverTool
from bokeh.plotting import figure

from ..plotting import color_of, entries
from ..trajectory import VARIABLES
from ._style import swatch, text

ERROR = "generalization_error"
QUANTITIES = {
    ERROR: "generalisation error ε_g",
    "Q": "overlap Q, student–student",
    "R": "overlap R, student–teacher",
    "v": "output weight v",
}
DASHES = {"conventional": "solid", "moment-matched": "8 4", "mixture": "2 3"}
MARKERS = {"conventional": "circle", "moment-matched": "triangle", "mixture": "square"}
PIN_COLORS = ("#8c6bb1", "#41ab5d", "#d6604d", "#4393c3", "#b8860b", "#c51b8a")
LINES, MARKS = ("xs", "ys", "color", "dash", "label"), ("x", "y", "low", "high", "color", "marker")
"""The columns of curves and of marks."""
FAR = 3
"""The axes do not follow marks that are more than this many times the range of the curves away from them."""
POINTS = 34
"""Output times at which SGD is marked."""

KEY = (
    '<p class="note">Lines: theory, <b>—</b> conventional (Σ<sub>C</sub> = I), <b>- -</b> moment-matched (the law\'s '
    "Σ<sub>C</sub>). Marks: mean over SGD runs with ±1 standard deviation, ○ Q and R measured with Σ<sub>C</sub> = I, "
    "△ with the law's.</p>"
)
"""What lines and marks mean, as HTML."""

LIGHT, DARK = ("#333333", "#e4e4e4"), ("#c8c8c8", "#3a3a3a")
"""The colours of axes and of grids."""
INKED = ("axis_line", "major_tick_line", "minor_tick_line", "major_label_text", "axis_label_text")


class Pinned(NamedTuple):
    """Curves kept for comparison."""

    label: str
    color: str
    theories: Mapping[str, xr.Dataset]


class Panels:
    """The four figures, each under its title and the names of its entries."""

    def __init__(self) -> None:
        axes = {"x_axis_type": "log", "x_axis_label": "time t = steps/N", "toolbar_location": "above"}
        self.figures = {name: plain_figure(270, log=name == ERROR, **axes) for name in QUANTITIES}
        self.legends = {name: text() for name in QUANTITIES}
        self.lines, self.pins = ({name: ColumnDataSource(_line_columns([])) for name in QUANTITIES} for _ in range(2))
        self.marks = {name: ColumnDataSource({key: [] for key in MARKS}) for name in QUANTITIES}
        for name, plot in self.figures.items():
            look: Any = {"xs": _rows("xs"), "ys": _rows("ys"), "line_color": "color", "line_dash": field("dash")}
            pins = plot.multi_line(**look, source=self.pins[name], line_width=1.4, line_alpha=0.8)
            lines = plot.multi_line(**look, source=self.lines[name], line_width=2.2)
            marks: Any = {"source": self.marks[name], "line_color": "color"}
            bars = plot.segment("x", "low", "x", "high", **marks, line_alpha=0.6)
            plot.scatter("x", "y", **marks, marker="marker", size=6, fill_color="color", fill_alpha=0.25)
            for extent, padding in ((plot.x_range, 0.024), (plot.y_range, 0.12)):
                extent.update(renderers=[pins, lines, bars], range_padding=padding)
            tooltips = [("", "@label"), ("t", "$x{0.000}"), ("", "$y{0.00000}")]
            plot.add_tools(HoverTool(renderers=[lines], tooltips=tooltips))
        self.area = pn.FlexBox(*(self._panel(name) for name in QUANTITIES), sizing_mode="stretch_width", margin=0)

    def _panel(self, name: str) -> pn.Column:
        plot = pn.pane.Bokeh(self.figures[name], sizing_mode="stretch_width", margin=0)
        title = text(f"<h3>{QUANTITIES[name]}</h3>", margin=(0, 4))
        return pn.Column(title, self.legends[name], plot, styles={"flex": "1 1 42%", "min-width": "280px"}, margin=2)

    def show_theories(self, theories: Mapping[str, xr.Dataset]) -> None:
        """Draw these theories and no others."""
        for name, source in self.lines.items():
            set_data(source, _line_columns(_curves(theories, name)))

    def show(self, theories: Mapping[str, xr.Dataset], sgd: xr.Dataset | None) -> None:
        """Draw theories and all that was measured of SGD."""
        self.show_theories(theories)
        self.show_sgd(sgd)

    def show_pins(self, pins: Sequence[Pinned]) -> None:
        """Draw what is pinned, each in one colour."""
        for name, source in self.pins.items():
            curves = [
                curve | {"color": pin.color, "label": f"{pin.label}: {curve['label']}"}
                for pin in pins
                for curve in _curves(pin.theories, name)
            ]
            set_data(source, _line_columns(curves))

    def show_sgd(self, sgd: xr.Dataset | None, theories: Sequence[str] | None = None) -> None:
        """Draw the runs so far: the mean over those that got there, ±1 standard deviation of two or more.

        Q and R are drawn as measured for each of ``theories``, by default for all. If they were measured for none of
        these, the first measurement is drawn.
        """
        measured = [] if sgd is None else [str(key) for key in sgd["overlaps"].values]
        measured = [name for name in measured if theories is None or name in theories] or measured[:1]
        for name, source in self.marks.items():
            # ε_g and v are the same, however Q and R are measured.
            shown = measured if name in ("Q", "R") else measured[:1]
            parts = [part for theory in shown for part in _marks(sgd, name, theory)]  # type: ignore[arg-type]
            marks = pd.concat(parts) if parts else pd.DataFrame(columns=MARKS)
            low, high = self._limits(name)
            marks.loc[(marks["y"] < low) | (marks["y"] > high), ["low", "high"]] = np.nan  # the axes follow the bars
            set_data(source, {key: marks[key].to_numpy() for key in MARKS})

    def _limits(self, name: str) -> tuple[float, float]:
        """Return the values between which the axis follows marks: where SGD diverges, the curves stay in view."""
        drawn = np.concatenate([np.ravel(source[name].data["ys"]) for source in (self.lines, self.pins)])
        if not np.any(np.isfinite(drawn)):
            return -np.inf, np.inf
        low, high = np.nanmin(drawn), np.nanmax(drawn)
        far = FAR * max(high - low, 0.1)
        return low - far, high + far

    def name_entries(self, K: int, M: int) -> None:
        """Write the names of the entries above the panels, in their colours."""
        sizes = {"student": K, "student_": K, "teacher": M}
        for name, legend in self.legends.items():
            if dims := VARIABLES[name].dims[1:]:
                blank = xr.DataArray(np.zeros([sizes[dim] for dim in dims]), dims=dims, name=name)
                names = [f"{label[0]}<sub>{label[1:]}</sub>" for label, _ in entries(blank)]
                legend.object = "".join(swatch(color_of(place), label) for place, label in enumerate(names))

    def restyle(self, dark: bool, also: Sequence[figure] = ()) -> None:
        """Colour the axes for a dark page or a light one."""
        ink, grid = DARK if dark else LIGHT
        for plot in (*self.figures.values(), *also):
            for axis in plot.axis:
                axis.update(**{f"{part}_color": ink for part in INKED})
            plot.grid.grid_line_color = grid


def plain_figure(height: int, *, log: bool, **options: Any) -> figure:
    """Make an empty figure in the look of the page, with a log y axis or a linear one."""
    plot = figure(
        height=height, min_width=280, sizing_mode="stretch_width", tools="pan,box_zoom,wheel_zoom,reset",
        active_scroll=None, active_drag=None, background_fill_alpha=0, border_fill_alpha=0, outline_line_color=None,
        y_axis_type="log" if log else "linear", **options,
    )  # fmt: skip
    plot.toolbar.logo, plot.toolbar.autohide = None, True
    if log:
        plot.yaxis.ticker = CustomJSTicker(major_code=MAJOR_TICKS, minor_code=MINOR_TICKS)
        plot.yaxis.formatter = CustomJSTickFormatter(code=TICK_LABEL)
    return plot


TICKS = """
const {start: low, end: high} = cb_data
if (!(low > 0 && high > low)) return []
const decades = Math.log10(high / low), first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high))
const multiples = (digits, by = 1) => {
  const found = []
  for (let k = by * Math.floor(first / by); k <= last; k += by) for (const d of digits) found.push(Number(`${d}e${k}`))
  return found.filter((tick) => tick >= low && tick <= high)
}
"""
MAJOR_TICKS = f"""{TICKS}
if (decades >= 3) return multiples([1], Math.ceil(decades / 8))
for (const digits of [[1, 2, 5], [1, 1.2, 1.5, 2, 3, 5, 7]]) {{
  const ticks = multiples(digits)
  if (ticks.length >= 3) return ticks
}}
const least = (high - low) / 6, scale = 10 ** Math.floor(Math.log10(least))
const step = scale * [1, 2, 5, 10].find((factor) => factor * scale >= least)
const even = []
for (let n = Math.ceil(low / step); n * step <= high; n += 1) even.push(Number((n * step).toPrecision(12)))
return even
"""
MINOR_TICKS = f"""{TICKS}
return decades > 9 ? [] : multiples([1, 2, 3, 4, 5, 6, 7, 8, 9])
"""
TICK_LABEL = """
const digits = (power) => String(power).replaceAll(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)])
const value = Number(tick.toPrecision(6)), wide = ticks.length > 1 && ticks[ticks.length - 1] >= 999 * ticks[0]
if (!wide && value >= 1e-4 && value < 1e5) return String(value)
const [factor, power] = value.toExponential().split("e")
return (factor === "1" ? "" : `${factor}·`) + `10${digits(Number(power))}`
"""
"""Ticks of a log axis by what of it is in view, chosen anew in the browser when data or zoom change that.

Three decades and more get powers of ten; less gets 1, 2, 5 × 10^k, or finer where fewer than three would be seen.
"""


def set_data(source: ColumnDataSource, columns: Mapping[str, Any]) -> None:
    """Replace what a source holds, unless it is empty and stays so."""
    if any(len(cast(Any, data)["color"]) for data in (source.data, columns)):
        source.data = dict(columns)  # type: ignore[assignment]


def _rows(column: str) -> Any:
    """Read curves that were sent as one array, which is many times faster than an array for each."""
    return expr(CustomJSExpr(args={"column": column}, code=ROWS))


ROWS = """
const curves = this.data[column]
if (curves.shape === undefined) return curves
const [count, length] = curves.shape, flat = new Float64Array(curves)
return Array.from({length: count}, (_, i) => flat.subarray(i * length, (i + 1) * length))
"""


def _curves(theories: Mapping[str, xr.Dataset], name: str) -> Iterator[dict[str, Any]]:
    """Give a row for each entry of each theory."""
    for theory, solved in theories.items():
        for place, (label, values) in enumerate(entries(solved[name])):
            yield {
                "xs": solved["time"].values,
                "ys": values.where(values > 0).values if name == ERROR else values.values,
                "color": color_of(place),
                "dash": DASHES[theory],
                "label": f"{'ε_g' if name == ERROR else label}, {theory} theory",
            }


def _line_columns(curves: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Turn rows into columns; a trajectory that ended early is filled up with NaN."""
    rows = list(curves)
    columns: dict[str, Any] = {key: [row[key] for row in rows] for key in LINES}
    return columns | {key: np.array(list(zip_longest(*columns[key], fillvalue=np.nan))).T for key in ("xs", "ys")}


def _marks(sgd: xr.Dataset, name: str, theory: str) -> Iterator[pd.DataFrame]:
    """Give the marks of each entry, for the runs as they were measured for a theory."""
    values = sgd[name].isel(time=np.unique(np.linspace(0, sgd.sizes["time"] - 1, POINTS).astype(int)))
    values = values.sel(overlaps=theory) if "overlaps" in values.dims else values
    stats = xr.concat([values.mean("run"), values.std("run", ddof=1).fillna(0)], "statistic")
    for place, (_, entry) in enumerate(entries(stats)):
        y, spread = entry.values
        low = np.maximum(y - spread, y / 10 if name == ERROR else -np.inf)
        columns = {"x": values["time"].values, "y": y, "low": low, "high": y + spread}
        yield pd.DataFrame(columns | {"color": color_of(place), "marker": MARKERS[theory]}).dropna()
