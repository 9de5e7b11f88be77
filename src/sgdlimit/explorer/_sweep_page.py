"""A stored sweep, to browse: M against D_KL or any axis, and the trajectories behind a point."""

import json
from html import escape
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import numpy as np
import panel as pn
import xarray as xr
from bokeh.models import ColumnDataSource, HoverTool, TapTool
from bokeh.plotting import figure
from panel.links import Callback

from ..errors import ProblemError, SweepError
from ..plotting import color_of
from ..sweep import Sweep, open_sweep
from ._panels import KEY, QUANTITIES
from ._shown import Shown
from ._style import INLINE, text
from ._ticks import log_ticks
from ._view import View

__all__ = ["SweepPage", "opened"]

ALL = "all"
KL = "D_KL (nats)"
INSIDE = ("theory", "run", "time", "student", "student_", "teacher", "task")
MOST_LISTED = 500
"""Points that the list for the keyboard holds; filters make it shorter."""

CHOOSE = """
const place = source.indices[0]
if (place !== undefined && place + 1 < list.options.length) list.value = list.options[place + 1][0]
"""
"""What a click on a point does in the browser, in a notebook too: it chooses the point in the list, below "none"."""

KEY_OF_MIXTURE = '<p class="note"><b>···</b> mixture theory, □ Q and R as covariances within the clusters.</p>'

MEASURES = {f"M({name})": name for name in ("Q", "R", "v")} | {"M(ε_g)": "generalization_error"}


def opened(path: str | Path) -> tuple[xr.Dataset, Sweep]:
    """The results of a sweep, lazily, and its settings."""
    results = open_sweep(path)
    return results, Sweep(**json.loads(results.attrs["problem"]))


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

    def __init__(self, path: str | Path, address: str = "") -> None:
        super().__init__(str(path))
        self.results, self.sweep = opened(path)
        if not self.results["completed"].values.any():
            raise ProblemError(f"path: no task of {str(path)!r} is finished yet; run the sweep first")
        self.axes = [str(dim) for dim in self.results["completed"].dims]
        self.points: list[dict[str, int]] = []
        self.shown: dict[str, int] | None = None
        self._counted, self._behind, self._replacing = "", ("", ""), False
        self._build()
        self._open_address(address)
        for widget in self.choices.values():
            widget.param.watch(lambda _: self._plot(), "value")

    # --- what it consists of ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        labels = {str(axis): [str(value) for value in self.results[axis].values] for axis in self.axes}
        measures = [name for name, quantity in MEASURES.items() if f"M_{quantity}" in self.results]
        numeric = [str(axis) for axis in self.axes if np.issubdtype(self.results[axis].dtype, np.number)]
        several = [axis for axis, values in labels.items() if len(values) > 1]

        def select(name: str, options: list[str], value: str | None = None) -> pn.widgets.Select:
            made = pn.widgets.Select(label=name, options=options, value=value or options[0], stylesheets=INLINE)
            made.sizing_mode, made.margin = "stretch_width", (2, 4)
            return made

        self.measure = select("Measure", measures)
        self.theory = select("Theory", [str(name) for name in self.results["theory"].values])
        self.across = select("Against", [KL, *numeric])
        coloured = next((axis for axis in several if axis != "instance"), several[0] if several else "instance")
        self.colour = select("Colours", [str(axis) for axis in self.axes], coloured)
        self.filters = {axis: select(axis, [ALL, *values]) for axis, values in labels.items() if axis in several}
        self.choices = {
            "measure": self.measure, "theory": self.theory, "against": self.across, "colours": self.colour,
            **self.filters,
        }  # fmt: skip
        self._at_first = {name: widget.value for name, widget in self.choices.items()}
        self.point = pn.widgets.Select(label="Point (or click one)", options={"none": -1}, stylesheets=INLINE)
        self.point.sizing_mode, self.point.margin = "stretch_width", (2, 4)
        self.point.param.watch(lambda event: None if self._replacing else self._show(event.new), "value")
        self.source = ColumnDataSource({name: [] for name in ("x", "y", "floor", "kl", "color", "label")})
        Callback(cast(Any, self.source.selected), args={"list": self.point}, code={"indices": CHOOSE})
        self.source.selected.on_change("indices", lambda _attr, _old, new: self._clicked(new))
        self.scatter = figure(
            height=340, min_width=280, sizing_mode="stretch_width", tools="pan,box_zoom,wheel_zoom,reset",
            active_scroll=None, active_drag=None, background_fill_alpha=0, border_fill_alpha=0, y_axis_type="log",
        )  # fmt: skip
        self.scatter.toolbar.logo = None
        log_ticks(self.scatter)
        floor = self.scatter.scatter("x", "floor", source=self.source, marker="dash", size=9, line_color="#8a8a8a")
        points = self.scatter.scatter(
            "x", "y", source=self.source, size=9, line_color="color", fill_color="color", fill_alpha=0.35,
            nonselection_fill_alpha=0.15, nonselection_line_alpha=0.5, selection_fill_alpha=0.9,
        )  # fmt: skip
        floor.nonselection_glyph = None
        numbers = [("M", "@y{0.0000}"), ("floor", "@floor{0.0000}"), ("D_KL", "@kl{0.000}")]
        self.scatter.add_tools(HoverTool(renderers=[points], tooltips=[("", "@label"), *numbers]))
        self.scatter.add_tools(TapTool(renderers=[points]))
        self.key, self.about, self.status, self.key_of_curves, self.unknown = text(), text(), text(), text(), text()
        self.about.object = (
            f"<h3>{escape(Path(self._target).name)}</h3><p class='note'>{self.results.attrs['tasks_finished']} of "
            f"{self.results.attrs['tasks']} tasks are finished.</p>"
        )
        self.settings = pn.Column(
            self.about, self.unknown, *self.choices.values(), self.point,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self.results_area = pn.Column(
            pn.pane.Bokeh(self.scatter, sizing_mode="stretch_width", margin=0), self.key, self.status,
            pn.FlexBox(*self.plots.values(), sizing_mode="stretch_width", margin=0), self.key_of_curves,
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self.name_entries(*(self.results.sizes.get(dim, 1) for dim in ("student", "teacher")))
        self.key_of_curves.object = KEY + (KEY_OF_MIXTURE if "mixture" in self.results["theory"].values else "")

    # --- address ------------------------------------------------------------------------------------------------------

    def address(self) -> str:
        """What stands behind the ``?``: what was chosen, and the point that is shown."""
        chosen = {name: w.value for name, w in self.choices.items() if w.value != self._at_first[name]}
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
        if point is not None and self.shown is None:
            unknown.append(f"the point {point}")
        if unknown:
            said = f"This sweep has not what the address asks for: {', '.join(unknown)}."
            self.unknown.object = f'<p class="wrong" role="alert">{escape(said)}</p>'

    # --- M ------------------------------------------------------------------------------------------------------------

    def _chosen(self) -> xr.Dataset:
        """M, its floor and D_KL of the points that the filters leave, one dimension ``point``."""
        quantity = MEASURES[self.measure.value]
        names = {f"M_{quantity}": "M", f"floor_{quantity}": "floor", "kl": "kl"}
        found = self.results[[name for name in names if name in self.results]].sel(theory=self.theory.value)
        found = found.assign({f"place_{axis}": (axis, np.arange(self.results.sizes[axis])) for axis in self.axes})
        for axis, filter_ in self.filters.items():
            if filter_.value != ALL:
                found = found.isel({axis: [[str(value) for value in found[axis].values].index(filter_.value)]})
        averaged = found.map(lambda values: values.mean([dim for dim in values.dims if dim in INSIDE], skipna=True))
        averaged = averaged.rename({name: short for name, short in names.items() if name in averaged and name != short})
        return xr.broadcast(averaged)[0].compute().stack(point=self.axes)

    def _plot(self) -> None:
        try:
            chosen = self._chosen()
        except (ProblemError, SweepError, OSError) as error:  # a damaged chunk, named
            self._say(str(error))
            return
        kept = np.isfinite(chosen["M"].values) & (chosen["M"].values > 0)
        chosen = chosen.isel(point=np.flatnonzero(kept))
        self.points = [
            {axis: int(chosen[f"place_{axis}"].values[n]) for axis in self.axes} for n in range(chosen.sizes["point"])
        ]
        x = chosen["kl"].values if self.across.value == KL else chosen[self.across.value].values
        places = chosen[f"place_{self.colour.value}"].values.astype(int)
        self.source.selected.indices = []
        self.source.data = {
            "x": x.astype(float),
            "y": chosen["M"].values,
            "floor": chosen["floor"].values if "floor" in chosen else np.full(len(x), np.nan),
            "kl": chosen["kl"].values,
            "color": [color_of(place) for place in places],
            "label": [self._label(point) for point in self.points],
        }
        self.scatter.xaxis.axis_label = self.across.value
        self.scatter.yaxis.axis_label = f"{self.measure.value}, {self.theory.value} theory"
        axis = self.colour.value
        values = [str(value) for value in self.results[axis].values]
        self.key.object = (
            "".join(
                f'<span class="entry"><i style="background:{color_of(place)}"></i>{escape(axis)} '
                f"{escape(values[place])}</span>"
                for place in sorted(set(places))
            )
            + '<p class="note">A point: M, mean over runs and entries. Grey dash: the noise floor of its runs.</p>'
        )
        self._list_points()

    def _list_points(self) -> None:
        """The points that there are now; the one that was chosen stays so if it is among them."""
        listed = {self._label(point): number for number, point in enumerate(self.points[:MOST_LISTED])}
        rest = len(self.points) - len(listed)
        self._counted = f"{len(self.points)} points." + (f" The list leaves out {rest}; filter." if rest > 0 else "")
        number = self.points.index(self.shown) if self.shown in self.points else -1
        self._replacing = True  # what stands at a place of the list is another point now
        self.point.param.update(options={"none": -1} | listed, value=number if number < MOST_LISTED else -1)
        self._replacing = False
        self._show(number)

    def _label(self, point: dict[str, int]) -> str:
        return ", ".join(f"{axis} {self.results[axis].values[place]}" for axis, place in point.items())

    # --- the trajectories behind a point ------------------------------------------------------------------------------

    def _clicked(self, places: list[int]) -> None:
        if places and places[0] >= MOST_LISTED and self.points[places[0]] != self.shown:
            self._show(places[0])  # the others are chosen in the list

    def _show(self, number: int) -> None:
        before = self.shown
        self.shown = self.points[number] if 0 <= number < len(self.points) else None
        self.address_bar.value = f"?{address}" if (address := self.address()) else ""
        chosen = [] if self.shown is None else [number]
        if self.source.selected.indices != chosen:
            self.source.selected.indices = chosen
        if self.shown is None:
            self._draw({}, None)
            self._say(self._counted)
            return
        if self.shown != before:
            self._behind = self._draw_point(self.shown)
        note, link = self._behind
        self._say(f"{self._counted} {self._label(self.shown)}: {self._numbers(number)}. {note}", link)

    def _draw(self, theories: dict[str, xr.Dataset], sgd: xr.Dataset | None) -> None:
        self.panels.show_theories(theories)
        self.panels.show_sgd(sgd)

    def _draw_point(self, point: dict[str, int]) -> tuple[str, str]:
        """Draw the trajectories behind a point; what is to be said of them, and a link to the explorer."""
        if "v" not in self.results:
            return "This sweep kept M alone: [run] trajectories = false. There is nothing to draw.", ""
        try:
            here = self.results.isel(point).load()
        except (ProblemError, SweepError, OSError) as error:
            self._draw({}, None)
            return str(error), ""
        each = {str(name): here.sel(theory=name) for name in here["theory"].values}
        theories = {name: _theory(own) for name, own in each.items() if _applies(own)}
        sgd = here[["Q", "R", "v", "generalization_error"]].rename(theory="overlaps")
        self._draw(theories, sgd.transpose(..., "run", "time", "student", "student_", "teacher"))
        diverged = float(here["diverged_at"].max())
        note = f"SGD diverged at t = {diverged:.3g}." if np.isfinite(diverged) else ""
        return note, self._link(point, theories)

    def _numbers(self, number: int) -> str:
        """What the tooltip of a point says, in words: M, its noise floor and D_KL, where they are known."""
        data = cast(Any, self.source.data)
        found = {
            f"{self.measure.value} of {self.theory.value} theory": data["y"][number],
            "noise floor": data["floor"][number],
            "D_KL": data["kl"][number],
        }
        known = [f"{name} = {value:.3g}" for name, value in found.items() if np.isfinite(value)]
        return ", ".join(known) + (" nats" if np.isfinite(data["kl"][number]) else "")

    def _link(self, point: dict[str, int], theories: dict[str, xr.Dataset]) -> str:
        """To the explorer with these settings, where it can show them."""
        problem = self.sweep.condition(tuple(place for axis, place in point.items() if axis != "instance"))
        try:
            view = View(
                problem=problem,
                seed=int(self.results["instance"].values[point["instance"]]),
                time=self.sweep.run.time,
                runs=min(20, self.sweep.run.runs),
                theories=cast(Any, tuple(name for name in theories if name != "mixture") or ("conventional",)),
            )
        except ProblemError:
            return ""
        return f'<a href="explore?{escape(view.to_query())}" target="_blank">Explore these settings</a>'

    def _say(self, said: str, link: str = "") -> None:
        self.status.object = f'<p class="note" role="status">{escape(said)} {link}</p>'

    def restyle(self, dark: bool) -> None:
        """Colours of the axes, for a dark page or a light one."""
        self.panels.restyle(dark, also=[self.scatter])


def _applies(here: xr.Dataset) -> bool:
    return bool(here["applies"]) and bool(here["theory_v"].notnull().any())


def _theory(here: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({name: here[f"theory_{name}"] for name in QUANTITIES})
