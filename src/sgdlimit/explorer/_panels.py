"""ε_g, Q, R and v against log t: one set of glyphs, whose data follow the settings."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import xarray as xr
from bokeh.core.properties import expr
from bokeh.models import ColumnDataSource, CustomJSExpr, HoverTool, Range1d
from bokeh.plotting import figure

from ..plotting import color_of, entries
from ._ticks import log_ticks

__all__ = ["DASHES", "KEY", "PIN_COLORS", "QUANTITIES", "Panels", "Pinned"]

QUANTITIES = {
    "generalization_error": "generalisation error ε_g",
    "Q": "overlap Q, student–student",
    "R": "overlap R, student–teacher",
    "v": "output weight v",
}
DASHES = {"conventional": "solid", "moment-matched": [8, 4], "mixture": [2, 3]}
MARKERS = {"conventional": "circle", "moment-matched": "triangle", "mixture": "square"}
PIN_COLORS = ("#8c6bb1", "#41ab5d", "#d6604d", "#4393c3", "#b8860b", "#c51b8a")
FAR = 3
"""Of marks: beyond so many times the range of the curves they are not followed."""
POINTS = 34
"""Output times at which SGD is marked."""

KEY = (
    '<p class="note">Lines: theory, <b>—</b> conventional (Σ<sub>C</sub> = I), <b>- -</b> moment-matched (the law\'s '
    "Σ<sub>C</sub>). Marks: mean over SGD runs with ±1 standard deviation, ○ Q and R measured with Σ<sub>C</sub> = I, "
    "△ with the law's.</p>"
)
"""What lines and marks mean, as HTML."""

LIGHT = {"ink": "#333333", "grid": "#e4e4e4"}
DARK = {"ink": "#c8c8c8", "grid": "#3a3a3a"}


class Pinned(NamedTuple):
    """Curves kept for comparison."""

    label: str
    color: str
    theories: Mapping[str, xr.Dataset]


class Panels:
    """The four figures, and what is drawn in them."""

    def __init__(self) -> None:
        self._bounds: dict[str, tuple[float, ...]] = {}
        self.figures = {name: _figure(name) for name in QUANTITIES}
        self._theory = {name: {theory: _curves() for theory in DASHES} for name in QUANTITIES}
        self._pins = {name: {theory: _curves() for theory in DASHES} for name in QUANTITIES}
        self._sgd = {name: {theory: _points() for theory in DASHES} for name in QUANTITIES}
        for name, plot in self.figures.items():
            curves = {"xs": _rows("xs"), "ys": _rows("ys"), "line_color": "color"}
            for theory, dash in DASHES.items():
                source = self._pins[name][theory]
                plot.multi_line(**curves, source=source, line_dash=dash, line_width=1.4, line_alpha=0.8)
            lines = [
                plot.multi_line(**curves, source=self._theory[name][theory], line_dash=dash, line_width=2.2)
                for theory, dash in DASHES.items()
            ]
            for theory, marker in MARKERS.items():
                source = self._sgd[name][theory]
                plot.segment("x", "low", "x", "high", source=source, line_color="color", line_alpha=0.6)
                plot.scatter(
                    "x", "y", source=source, marker=marker, size=6, line_color="color", fill_color="color",
                    fill_alpha=0.25,
                )  # fmt: skip
            plot.add_tools(
                HoverTool(
                    renderers=list[Any](lines), tooltips=[("", "@label"), ("t", "$x{0.000}"), ("", "$y{0.00000}")]
                )
            )

    def show_theories(self, theories: Mapping[str, xr.Dataset]) -> None:
        """Draw the theories; those that are not given go."""
        for name, sources in self._theory.items():
            for theory, source in sources.items():
                shown = {theory: theories[theory]} if theory in theories else {}
                if not shown and len(source.data["xs"]) == 0:
                    continue
                cast(Any, source).data = _multi_line(shown, name)
        self._fit()

    def show_pins(self, pins: Sequence[Pinned]) -> None:
        """Draw what is pinned, each in one colour."""
        for name, sources in self._pins.items():
            for theory, source in sources.items():
                every: dict[str, list] = {key: [] for key in ("xs", "ys", "color", "label")}
                for pin in pins:
                    if theory in pin.theories:
                        drawn = _multi_line({theory: pin.theories[theory]}, name, pin.color, f"{pin.label}: ")
                        for key, values in drawn.items():
                            every[key] += list(values)
                cast(Any, source).data = every
        self._fit()

    def show_sgd(self, sgd: xr.Dataset | None, theories: Sequence[str] | None = None) -> None:
        """Draw the runs so far: their mean over those that got there, ±1 standard deviation of two or more.

        Of the overlaps that were measured, those for ``theories``; all by default, and the first where there is none.
        """
        measured = [] if sgd is None else [str(key) for key in sgd["overlaps"].values]
        if theories is not None:
            measured = [name for name in measured if name in theories] or measured[:1]
        for name, sources in self._sgd.items():
            for theory, source in sources.items():
                # ε_g and v are the same, however Q and R are measured.
                shown = theory in measured and (name in ("Q", "R") or theory == measured[0])
                if sgd is not None and shown:
                    values = sgd[name]
                    values = values.sel(overlaps=theory) if "overlaps" in values.dims else values
                    cast(Any, source).data = _scatter(values)
                elif len(source.data["x"]) > 0:
                    cast(Any, source).data = dict(_points().data)
        self._fit(widen=True)

    def legend(self, name: str, K: int, M: int) -> str:
        """The names of the entries of a quantity in their colours, as HTML."""
        if name == "generalization_error":
            return ""
        shapes = {"Q": ("student", "student_"), "R": ("student", "teacher"), "v": ("student",)}
        sizes = [M if dim == "teacher" else K for dim in shapes[name]]
        names = [label for label, _ in entries(xr.DataArray(np.zeros(sizes), dims=shapes[name], name=name))]
        spans = [
            f'<span class="entry"><i style="background:{color_of(place)}"></i>{label[0]}<sub>{label[1:]}</sub></span>'
            for place, label in enumerate(names)
        ]
        return "".join(spans)

    def _fit(self, widen: bool = False) -> None:
        """Ranges that show all there is; with ``widen``, only where something has left them."""
        for name, plot in self.figures.items():
            lines = [*self._theory[name].values(), *self._pins[name].values()]
            marks = list(self._sgd[name].values())
            x = _finite([*(x for s in lines for x in s.data["xs"]), *(s.data["x"] for s in marks)])
            logarithmic = name == "generalization_error"
            drawn = _finite([y for s in lines for y in s.data["ys"]])
            y = np.append(drawn, _near(_finite([s.data[key] for s in marks for key in ("low", "high")]), drawn))
            y = y[y > 0] if logarithmic else y
            if len(x) == 0 or len(y) == 0:
                continue
            bounds = (x.min(), x.max(), y.min(), y.max())
            known = self._bounds.get(name)
            if widen and known and bounds[2] >= known[2] and bounds[3] <= known[3]:
                continue
            self._bounds[name] = bounds
            _set(plot.x_range, bounds[0] / 1.15, bounds[1] * 1.15)
            if logarithmic:
                factor = max((bounds[3] / bounds[2]) ** 0.06, 1.05)
                _set(plot.y_range, bounds[2] / factor, bounds[3] * factor)
            else:
                margin = max(0.06 * (bounds[3] - bounds[2]), 0.02)
                _set(plot.y_range, bounds[2] - margin, bounds[3] + margin)

    def restyle(self, dark: bool, also: Sequence[figure] = ()) -> None:
        """Colours of axes, for a dark page or a light one."""
        colors = DARK if dark else LIGHT
        for plot in (*self.figures.values(), *also):
            for axis in plot.axis:
                axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = colors["ink"]
                axis.major_label_text_color = axis.axis_label_text_color = colors["ink"]
            plot.grid.grid_line_color = colors["grid"]
            plot.outline_line_color = colors["grid"]


def _near(marks: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """The marks that are not so far from the curves that these could no longer be seen, as where SGD diverges."""
    if len(curves) == 0:
        return marks
    low, high = curves.min(), curves.max()
    far = FAR * max(high - low, 0.1)
    return marks[(marks > low - far) & (marks < high + far)]


def _finite(arrays: Sequence[Any]) -> np.ndarray:
    values = np.concatenate([np.asarray(array, float) for array in arrays]) if arrays else np.empty(0)
    return values[np.isfinite(values)]


def _set(extent: Any, start: float, end: float) -> None:
    extent.update(start=float(start), end=float(end), reset_start=float(start), reset_end=float(end))


def _figure(name: str):
    plot = figure(
        x_range=Range1d(start=1e-3, end=100), y_range=Range1d(start=0.1, end=1),
        x_axis_type="log", y_axis_type="log" if name == "generalization_error" else "linear",
        x_axis_label="time t = steps/N", height=270, min_width=280, sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset", active_scroll=None, active_drag=None, toolbar_location="above",
        background_fill_alpha=0, border_fill_alpha=0,
    )  # fmt: skip
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    if name == "generalization_error":
        log_ticks(plot)
    return plot


def _curves() -> ColumnDataSource:
    return ColumnDataSource({"xs": [], "ys": [], "color": [], "label": []})


def _points() -> ColumnDataSource:
    return ColumnDataSource({"x": [], "y": [], "low": [], "high": [], "color": []})


def _rows(column: str) -> Any:
    """A column of curves of one length is sent as one array, which is many times faster than an array for each."""
    return expr(CustomJSExpr(args={"column": column}, code=ROWS))


ROWS = """
const curves = this.data[column]
if (curves.shape === undefined) return curves
const [count, length] = curves.shape, flat = new Float64Array(curves)
return Array.from({length: count}, (_, i) => flat.subarray(i * length, (i + 1) * length))
"""


def _multi_line(
    theories: Mapping[str, xr.Dataset], name: str, color: str | None = None, prefix: str = ""
) -> dict[str, Any]:
    """Columns with a row for each entry of each theory; the theories have the same times."""
    xs, ys, colors, labels = [], [], [], []
    for theory, solved in theories.items():
        for place, (label, values) in enumerate(entries(solved[name])):
            xs.append(solved["time"].values)
            ys.append(np.where(values > 0, values, np.nan) if name == "generalization_error" else values.values)
            colors.append(color or color_of(place))
            labels.append(f"{prefix}{'ε_g' if name == 'generalization_error' else label}, {theory} theory")
    return {"xs": np.array(xs), "ys": np.array(ys), "color": colors, "label": labels}


def _scatter(values: xr.DataArray) -> dict[str, np.ndarray]:
    times = values["time"].values
    marked = np.unique(np.linspace(0, len(times) - 1, POINTS).astype(int))
    columns: dict[str, list] = {"x": [], "y": [], "low": [], "high": [], "color": []}
    for place, (_, entry) in enumerate(entries(values)):
        runs = entry.transpose("run", "time").values[:, marked]
        count = np.isfinite(runs).sum(axis=0)
        here = count > 0
        runs, x, count = runs[:, here], times[marked][here], count[here]
        mean = np.nanmean(runs, axis=0)
        spread = np.where(count > 1, np.sqrt(np.nansum((runs - mean) ** 2, axis=0) / np.maximum(count - 1, 1)), 0.0)
        low = mean - spread
        if values.name == "generalization_error":
            low = np.maximum(low, mean / 10)
        for key, column in (("x", x), ("y", mean), ("low", low), ("high", mean + spread)):
            columns[key].append(column)
        columns["color"].append(np.full(len(x), color_of(place), dtype=object))
    return {key: np.concatenate(parts) for key, parts in columns.items()}
