"""ε_g, Q, R and v against log t: four figures whose data follow the settings."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import panel as pn
from bokeh.core.properties import expr, field
from bokeh.models import ColumnDataSource, CustomJSExpr, CustomJSTicker, CustomJSTickFormatter, HoverTool
from bokeh.plotting import figure
from xarray import DataArray, Dataset, concat

from ..plotting import color_of, entries, on_page
from ..trajectory import variable
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
LINES, MARKS = ("xs", "ys", "color", "dash", "width", "alpha", "label"), ("x", "y", "low", "high", "color", "marker")
"""The columns of curves and of marks."""
TOOLTIPS = [("", "@label"), ("t", "$x{0.000}"), ("", "$y{0.00000}")]
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
    """Curves of a pinned view in its own colour. Without label and colour they are the curves on view."""

    label: str
    color: str
    theories: Mapping[str, Dataset]


class Panels:
    """The four figures, each under its title and the names of its entries."""

    def __init__(self) -> None:
        self.area = pn.FlexBox(sizing_mode="stretch_width", margin=0)
        self.figures: dict[str, Any] = {}
        self.titles, self.legends, self.lines, self.marks = {}, {}, {}, {}
        # Each figure draws one source of lines and one of marks, so that new curves are one message to the browser.
        for name, title in QUANTITIES.items():
            plot = self.figures[name] = plain_figure(
                270, log=name == ERROR, x_axis_type="log", x_axis_label="time t = steps/N", toolbar_location="above"
            )
            self.lines[name], self.marks[name] = (ColumnDataSource(dict.fromkeys(keys, ())) for keys in (LINES, MARKS))
            look: Any = {key: expr(CustomJSExpr(args={"column": key}, code=ROWS)) for key in ("xs", "ys")}
            look |= {f"line_{key}": field(key) for key in ("color", "dash", "width", "alpha")}
            lines = plot.multi_line(**look, source=self.lines[name])
            plot.add_tools(HoverTool(renderers=[lines], tooltips=TOOLTIPS))
            look = {"source": self.marks[name], "line_color": "color"}
            bars = plot.segment("x", "low", "x", "high", **look, line_alpha=0.6)
            plot.scatter("x", "y", **look, marker="marker", size=6, fill_color="color", fill_alpha=0.25)
            plot.x_range.update(renderers=[lines, bars], range_padding=0.024)
            plot.y_range.update(renderers=[lines, bars], range_padding=0.12)
            self.legends[name] = text()
            self.titles[name] = text(f"<h3>{title}</h3>", margin=(0, 4))
            parts = self.titles[name], self.legends[name], shown(plot)
            self.area.append(pn.Column(*parts, styles={"flex": "1 1 42%", "min-width": "280px"}, margin=2))

    def show(self, theories: Mapping[str, Dataset], pins: Iterable[Pinned] = ()) -> None:
        """Draw a curve for each entry of each theory, and thinner ones in the colour of each pin.

        A trajectory that ended early is padded with NaN.
        """
        for name, source in self.lines.items():
            rows = [
                (
                    solved["time"].values,
                    (values.where(values > 0) if name == ERROR else values).values,
                    color or color_of(place),
                    DASHES[theory],
                    *((1.4, 0.8) if color else (2.2, 1.0)),
                    f"{label and f'{label}: '}{variable(found).symbol if name == ERROR else entry}, {theory} theory",
                )
                for label, color, group in (*pins, Pinned("", "", theories))
                for theory, solved in group.items()
                if (found := on_page(solved)[name]) in solved
                for place, (entry, values) in enumerate(entries(solved[found].rename(name)))
            ]
            columns: Any = pd.DataFrame(rows, columns=LINES).to_dict("list")
            for key in ("xs", "ys"):
                columns[key] = np.array(list(zip_longest(*columns[key], fillvalue=np.nan))).T
            source.data = columns

    def show_sgd(self, sgd: Dataset | None, theories: Iterable[str]) -> None:
        """Draw the runs so far: their mean at each time and, of two or more, ±1 standard deviation.

        Q and R are drawn as measured for each of ``theories``. If they were measured for none of these, the first
        measurement is drawn.
        """
        measured = [] if sgd is None else sgd["overlaps"].values.tolist()
        measured = [name for name in measured if name in theories] or measured[:1]
        for name, source in self.marks.items():
            # ε_g and v are the same, however Q and R are measured.
            parts = [part for theory in measured[: None if name in "QR" else 1] for part in _marks(sgd, name, theory)]
            marks = pd.concat(parts) if parts else pd.DataFrame(columns=MARKS)
            # The axes follow the bars. Where SGD diverges, the curves stay in view.
            drawn = np.ravel(self.lines[name].data["ys"])
            if len(drawn := drawn[np.isfinite(drawn)]):
                far = FAR * max(np.ptp(drawn), 0.1)
                marks.loc[~marks["y"].between(drawn.min() - far, drawn.max() + far), ["low", "high"]] = np.nan
            if len(marks) or len(source.data["x"]):
                source.data = {key: marks[key].to_numpy() for key in MARKS}

    def name_entries(self, K: int, M: int, v: tuple[int, ...], error: str = ERROR) -> None:
        """Write the names of the error and of the entries above the panels, in their colours."""
        self.titles[ERROR].object = f"<h3>{QUANTITIES.get(error, variable(error).long_name)}</h3>"
        for name, sizes in {"Q": (K, K), "R": (K, M), "v": v}.items():
            dims = variable("head_v" if name == "v" else name, 1 + len(sizes)).dims[1:]
            blank = DataArray(np.zeros(sizes), dims=dims, name=name)
            self.legends[name].object = "".join(
                swatch(color_of(place), f"{name}<sub>{label[1:]}</sub>")
                for place, (label, _) in enumerate(entries(blank))
            )

    def restyle(self, dark: bool) -> None:
        """Colour the axes for a dark page or a light one."""
        ink, grid = DARK if dark else LIGHT
        for plot in self.figures.values():
            for part in INKED:
                setattr(plot.axis, f"{part}_color", ink)
            plot.grid.grid_line_color = grid


def shown(plot: figure) -> pn.pane.Bokeh:
    """Put a figure on a page at its full width."""
    return pn.pane.Bokeh(plot, sizing_mode="stretch_width", margin=0)


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


ROWS = """
const curves = this.data[column]
if (curves.shape === undefined) return curves
const [count, length] = curves.shape, flat = new Float64Array(curves)
return Array.from({length: count}, (_, i) => flat.subarray(i * length, (i + 1) * length))
"""
"""Reads curves that were sent as one array, which is many times faster than an array for each."""


def _marks(sgd: Any, name: str, theory: str) -> Iterator[pd.DataFrame]:
    """Yield the marks of each entry, with Q and R as measured for a theory."""
    if (found := on_page(sgd)[name]) not in sgd:
        return
    values = sgd[found].isel(time=np.unique(np.linspace(0, sgd.sizes["time"] - 1, POINTS).astype(int)))
    values = values.sel(overlaps=theory) if "overlaps" in values.dims else values
    y, spread = values.mean("run"), values.std("run", ddof=1).fillna(0)
    low = (y - spread).clip(y / 10 if name == ERROR else -np.inf)
    parts: Any = concat([y, low, y + spread], "statistic")
    for place, (_, entry) in enumerate(entries(parts)):
        marks = pd.DataFrame(entry.values.T, columns=["y", "low", "high"])
        yield marks.assign(x=values["time"], color=color_of(place), marker=MARKERS[theory]).dropna()
