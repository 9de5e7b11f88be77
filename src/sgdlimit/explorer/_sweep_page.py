"""A stored sweep, to browse: M against D_KL or any axis, and the trajectories behind a point."""

import json
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pandas as pd
import panel as pn
import xarray as xr
from bokeh.models import ColumnDataSource, HoverTool, TapTool
from panel.links import Callback

from ..errors import ProblemError, SweepError
from ..plotting import color_of
from ..sweep import Sweep, open_sweep
from ..trajectory import VARIABLES
from ._page import Explorer
from ._panels import KEY, QUANTITIES, plain_figure
from ._shown import Shown
from ._style import INLINE, column, swatch, text
from ._view import DEFAULT, View

ALL, KL = "all", "D_KL (nats)"
COLUMNS = ["x", "y", "floor", "kl", "color", "label"]
MOST_LISTED = 500
"""Points that the list for the keyboard holds; filters make it shorter."""

CHOOSE = """
const place = source.indices[0]
if (place !== undefined && place + 1 < list.options.length) list.value = list.options[place + 1][0]
"""
"""What a click on a point does in the browser, in a notebook too: it chooses the point in the list, below "none"."""

KEY_OF_POINTS = '<p class="note">A point: M, mean over runs and entries. Grey dash: the noise floor of its runs.</p>'
KEY_OF_MIXTURE = '<p class="note"><b>···</b> mixture theory, □ Q and R as covariances within the clusters.</p>'

MEASURES = {f"M({VARIABLES[name].symbol})": name for name in ("Q", "R", "v", "generalization_error")}


class SweepPage(Shown):
    """A page on one sweep.

    Parameters
    ----------
    path
        The store: a folder or an fsspec URL.
    address
        What stands behind the ``?`` of the address: what is chosen, by the names of the axes, ``measure``, ``theory``,
        ``against``, ``colours``, and ``point``.

    Raises
    ------
    ProblemError
        If there is no sweep, or nothing of it is computed yet.
    """

    subtitle = "A stored sweep: M against a setting, and the trajectories behind each point."

    def __init__(self, path: str | Path, address: str = "") -> None:
        super().__init__(str(path))
        self.results = open_sweep(path)
        self.sweep = Sweep(**json.loads(self.results.attrs["problem"]))
        if not self.results["completed"].values.any():
            raise ProblemError(f"path: no task of {str(path)!r} is finished yet. Run the sweep first.")
        self.axes = {str(axis): [str(x) for x in self.results[axis].values] for axis in self.results["completed"].dims}
        """The values of each axis, as they are written."""
        self.points: list[dict[str, int]] = []
        """The points on view, by their places along the axes."""
        self.shown: dict[str, int] | None = None
        self._counted, self._behind = "", ("", "")
        self._build_choices()
        self._build_plot()
        self._lay_out()
        self._open_address(address)
        for widget in self.choices.values():
            widget.param.watch(lambda _: self._plot(), "value")

    @classmethod
    def pages(cls, target: Any) -> dict[str, Callable[[str], Shown]]:
        """Serve the explorer beside it, for the links."""
        return super().pages(target) | {"/explore": partial(Explorer, DEFAULT)}

    # --- what it consists of ------------------------------------------------------------------------------------------

    def _build_choices(self) -> None:
        several = [axis for axis, values in self.axes.items() if len(values) > 1]
        numeric = [axis for axis in self.axes if np.issubdtype(self.results[axis].dtype, np.number)]
        choices = {
            "measure": [name for name, quantity in MEASURES.items() if f"M_{quantity}" in self.results],
            "theory": [str(name) for name in self.results["theory"].values],
            "against": [KL, *numeric],
            "colours": list(self.axes),
        }
        self.choices = {name: _select(name.capitalize(), options) for name, options in choices.items()}
        self.choices["colours"].value = [*(axis for axis in several if axis != "instance"), *several, "instance"][0]
        self.choices |= {axis: _select(axis, [ALL, *self.axes[axis]]) for axis in several}
        self._at_first = self._chosen()
        self.point = _select("Point (or click one)", {"none": -1})
        self.point.param.watch(lambda event: self._show(event.new), "value")

    def _build_plot(self) -> None:
        self.source = ColumnDataSource({name: [] for name in COLUMNS})
        Callback(cast(Any, self.source.selected), args={"list": self.point}, code={"indices": CHOOSE})
        self.source.selected.on_change("indices", self._clicked)
        self.scatter = plain_figure(340, log=True)
        floor = self.scatter.scatter("x", "floor", source=self.source, marker="dash", size=9, line_color="#8a8a8a")
        points = self.scatter.scatter(
            "x", "y", source=self.source, size=9, line_color="color", fill_color="color", fill_alpha=0.35,
            nonselection_fill_alpha=0.15, nonselection_line_alpha=0.5, selection_fill_alpha=0.9,
        )  # fmt: skip
        floor.nonselection_glyph = None
        tooltips = [("", "@label"), ("M", "@y{0.0000}"), ("floor", "@floor{0.0000}"), ("D_KL", "@kl{0.000}")]
        self.scatter.add_tools(HoverTool(renderers=[points], tooltips=tooltips), TapTool(renderers=[points]))

    def _lay_out(self) -> None:
        attrs = self.results.attrs
        about = text(
            f"<h3>{escape(Path(self._target).name)}</h3>"
            f"<p class='note'>{attrs['tasks_finished']} of {attrs['tasks']} tasks are finished.</p>"
        )
        self.key, self.unknown = text(), text()
        key_of_curves = text(KEY + KEY_OF_MIXTURE * ("mixture" in self.results["theory"].values))
        self.settings = column(about, self.unknown, *self.choices.values(), self.point)
        scatter = pn.pane.Bokeh(self.scatter, sizing_mode="stretch_width", margin=0)
        self.results_area = column(scatter, self.key, self.status, self.panels.area, key_of_curves)
        self.panels.name_entries(*(self.results.sizes.get(dim, 1) for dim in ("student", "teacher")))

    def restyle(self, dark: bool) -> None:
        """Colour the axes for a dark page or a light one."""
        self.panels.restyle(dark, also=[self.scatter])

    # --- address ------------------------------------------------------------------------------------------------------

    def _chosen(self) -> dict[str, str]:
        return {name: widget.value for name, widget in self.choices.items()}

    def address(self) -> str:
        """Return what stands behind the ``?``: what was chosen, and the point that is shown."""
        chosen = {name: value for name, value in self._chosen().items() if value != self._at_first[name]}
        return urlencode(chosen | ({"point": self._label(self.shown)} if self.shown else {}))

    def _open_address(self, address: str) -> None:
        """Choose what an address holds; what is not in this sweep is named, and left as it is."""
        asked, unknown = dict(parse_qsl(address)), []
        point = asked.pop("point", None)
        for name, value in asked.items():
            if name in self.choices and value in self.choices[name].options:
                self.choices[name].value = value
            else:
                unknown.append(f"{name} {value}")
        self._plot()
        if point is not None:
            self.point.value = cast(Any, self.point.options).get(point, -1)
            unknown += [] if self.shown else [f"the point {point}"]
        if unknown:
            words = f"This sweep does not have what the address asks for: {', '.join(unknown)}."
            self.unknown.object = f'<p class="wrong" role="alert">{escape(words)}</p>'

    # --- M ------------------------------------------------------------------------------------------------------------

    def _table(self) -> pd.DataFrame:
        """Load M, its floor and D_KL of the points that the filters leave, with their places along the axes."""
        chosen = self._chosen()
        quantity = MEASURES[chosen["measure"]]
        names = {f"M_{quantity}": "y", f"floor_{quantity}": "floor", "kl": "kl"}
        names = {name: short for name, short in names.items() if name in self.results}
        found = self.results[list(names)].sel(theory=chosen["theory"], drop=True)
        found = found.assign_coords({axis: np.arange(len(values)) for axis, values in self.axes.items()})
        filters = {axis: chosen[axis] for axis in self.axes if chosen.get(axis, ALL) != ALL}
        found = found.isel({axis: [self.axes[axis].index(value)] for axis, value in filters.items()})
        means = found.map(lambda values: values.mean([dim for dim in values.dims if dim not in self.axes]))
        table = means.rename(names).to_dataframe(dim_order=list(self.axes)).reset_index()
        return table.query("0 < y < inf")

    def _plot(self) -> None:
        """Draw the points there are now; the one that was chosen stays so if it is among them."""
        try:
            table = self._table()
        except (ProblemError, SweepError, OSError) as error:  # a damaged chunk, named
            self.say(str(error))
            return
        chosen = self._chosen()
        across, colours = chosen["against"], chosen["colours"]
        self.points = cast(Any, table[list(self.axes)]).to_dict("records")
        table["x"] = table["kl"] if across == KL else self.results[across].values[table[across]].astype(float)
        table["color"] = [color_of(place) for place in table[colours]]
        table["label"] = [self._label(point) for point in self.points]
        self.source.selected.indices = []
        columns = table.reindex(columns=COLUMNS)
        self.source.data = {name: columns[name].to_numpy() for name in COLUMNS}
        self.scatter.xaxis.axis_label = across
        self.scatter.yaxis.axis_label = f"{chosen['measure']}, {chosen['theory']} theory"
        entries = {color_of(place): f"{colours} {self.axes[colours][place]}" for place in sorted(set(table[colours]))}
        self.key.object = "".join(swatch(color, escape(name)) for color, name in entries.items()) + KEY_OF_POINTS
        listed = {label: place for place, label in enumerate(columns["label"][:MOST_LISTED])}
        rest = len(self.points) - len(listed)
        self._counted = f"{len(self.points)} points." + (f" The list leaves out {rest}; filter." if rest > 0 else "")
        number = next((n for n, point in enumerate(self.points) if point == self.shown), -1)
        self.point.param.update(options={"none": -1} | listed, value=number if number < MOST_LISTED else -1)
        self._show(number)

    def _label(self, point: dict[str, int]) -> str:
        return ", ".join(f"{axis} {self.axes[axis][place]}" for axis, place in point.items())

    # --- the trajectories behind a point ------------------------------------------------------------------------------

    def _clicked(self, _attr: str, _old: list[int], places: list[int]) -> None:
        if places and places[0] >= MOST_LISTED and self.points[places[0]] != self.shown:
            self._show(places[0])  # the others are chosen in the list

    def _show(self, number: int) -> None:
        """Show what is behind a point: curves, numbers and a link to the explorer; -1 is none."""
        before, self.shown = self.shown, self.points[number] if 0 <= number < len(self.points) else None
        self.write_address()
        self.source.selected.indices = [number] if self.shown else []
        if self.shown is None:
            self.panels.show({}, None)
            self.say(self._counted)
            return
        if self.shown != before:
            self._behind = self._draw_point(self.shown)
        words, link = self._behind
        self.say(f"{self._counted} {self._label(self.shown)}: {self._numbers(number)}. {words}", link)

    def _draw_point(self, point: dict[str, int]) -> tuple[str, str]:
        """Draw the trajectories behind a point; return what to say about them, and a link to the explorer."""
        if "v" not in self.results:
            return "This sweep kept M alone: [run] trajectories = false. There is nothing to draw.", ""
        try:
            here = self.results.isel(point).load()
        except (ProblemError, SweepError, OSError) as error:
            self.panels.show({}, None)
            return str(error), ""
        theories = {
            str(name): xr.Dataset({quantity: own[f"theory_{quantity}"] for quantity in QUANTITIES})
            for name in here["theory"].values
            if (own := here.sel(theory=name))["applies"] and own["theory_v"].notnull().any()
        }
        self.panels.show(theories, here[list(QUANTITIES)].rename(theory="overlaps"))
        diverged = float(here["diverged_at"].max())
        return f"SGD diverged at t = {diverged:.3g}." if np.isfinite(diverged) else "", self._link(point, theories)

    def _numbers(self, number: int) -> str:
        """Say what the tooltip of a point says: M, its noise floor and D_KL, where they are known."""
        data, chosen = cast(Any, self.source.data), self._chosen()
        names = {"y": f"{chosen['measure']} of {chosen['theory']} theory", "floor": "noise floor", "kl": "D_KL"}
        known = {key: data[key][number] for key in names if np.isfinite(data[key][number])}
        return ", ".join(f"{names[key]} = {known[key]:.3g}" for key in known) + " nats" * ("kl" in known)

    def _link(self, point: dict[str, int], theories: dict[str, xr.Dataset]) -> str:
        """Link to the explorer with these settings, if it can show them."""
        problem = self.sweep.condition(tuple(place for axis, place in point.items() if axis != "instance"))
        seed, run = int(self.axes["instance"][point["instance"]]), self.sweep.run
        shown: Any = tuple(name for name in theories if name != "mixture") or ("conventional",)
        try:
            view = View(problem=problem, seed=seed, time=run.time, runs=min(20, run.runs), theories=shown)
        except ProblemError:
            return ""
        return f'<a href="explore?{escape(view.to_query())}" target="_blank">Explore these settings</a>'


def _select(label: str, options: Any) -> pn.widgets.Select:
    return pn.widgets.Select(
        label=label, options=options, stylesheets=INLINE, sizing_mode="stretch_width", margin=(2, 4)
    )
