"""A stored sweep, to browse: M against D_KL or any axis, and the trajectories behind a point."""

import json
from collections.abc import Iterable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, TapTool
from panel.links import Callback

from ..errors import ProblemError, SweepError
from ..plotting import color_of
from ..sweep import Sweep, open_sweep
from ..trajectory import TASK, VARIABLES, error_of, is_error
from ._page import Explorer
from ._panels import KEY, plain_figure, shown
from ._shown import Shown
from ._style import alert, column, select, swatch, text
from ._view import DEFAULT, View, drawable

ALL, NONE, KL = "all", "none", "D_KL (nats)"
COLUMNS = ["x", "y", "floor", "kl", "color", "label"]
MOST_LISTED = 500
"""Points that the list for the keyboard holds; filters make it shorter."""

CHOOSE = """
const place = source.indices[0]
if (place !== undefined && place + 1 < list.options.length) list.value = list.options[place + 1]
"""
"""Run in the browser on a click, also in a notebook: it chooses the point in the list, below "none"."""

KEY_OF_POINTS = '<p class="note">A point: M, mean over runs and entries. Grey dash: the noise floor of its runs.</p>'
KEY_OF_MIXTURE = '<p class="note"><b>···</b> mixture theory, □ Q and R as covariances within the clusters.</p>'


def _scatter(source: Any) -> Any:
    """Make the figure of M, with a point and its noise floor for each row of a source."""
    plot: Any = plain_figure(340, log=True)
    floor = plot.scatter("x", "floor", source=source, marker="dash", size=9, line_color="#8a8a8a")
    floor.nonselection_glyph = None
    points = plot.scatter(
        "x", "y", source=source, size=9, line_color="color", fill_color="color", fill_alpha=0.35,
        nonselection_fill_alpha=0.15, nonselection_line_alpha=0.5, selection_fill_alpha=0.9,
    )  # fmt: skip
    tooltips = [("", "@label"), ("M", "@y{0.0000}"), ("floor", "@floor{0.0000}"), ("D_KL", "@kl{0.000}")]
    plot.add_tools(HoverTool(renderers=[points], tooltips=tooltips), TapTool(renderers=[points]))
    return plot


class SweepPage(Shown):
    """A page on one sweep.

    Parameters
    ----------
    path
        The store: a folder or an fsspec URL.
    address
        The query of the address: the choices by the names of the axes, ``measure``, ``theory``, ``against``,
        ``colours`` and ``point``.

    Raises
    ------
    ProblemError
        If there is no sweep, or nothing of it is computed yet.
    """

    subtitle = "A stored sweep: M against a setting, and the trajectories behind each point."
    beside: ClassVar = {"/explore": partial(Explorer, DEFAULT)}  # for the links

    def __init__(self, path: str | Path, address: str = "") -> None:
        super().__init__(str(path))
        stored = open_sweep(path)
        self.sweep = Sweep(**json.loads(stored.attrs["problem"]))
        completed = stored["completed"]
        if not completed.values.any():
            raise ProblemError(f"path: must be a sweep with a finished task (got {str(path)!r}). Run the sweep first.")
        self.axes = {str(axis): [*map(str, stored[axis].values)] for axis in completed.dims}
        """The values of each axis as text."""
        self.results = stored.assign_coords(self.axes)
        followed = sorted((str(name)[2:] for name in stored if str(name).startswith("M_")), key=is_error)
        self.measures = {
            f"M({VARIABLES[name].symbol if name in VARIABLES else name})": name
            for name in followed
            if not name.startswith(TASK)
        }
        self.points: dict[str, dict[str, str]] = {}
        """The points on view: their labels, and their values on the axes."""
        self.shown = NONE
        """The label of the point whose trajectories are drawn."""
        self._behind = "", ""
        several = [axis for axis, values in self.axes.items() if len(values) > 1]
        choices = {
            "measure": list(self.measures),
            "theory": stored["theory"].values.tolist(),
            "against": [KL, *(axis for axis in self.axes if np.issubdtype(stored[axis].dtype, np.number))],
            "colours": list(self.axes),
        }
        self.choices = {name: select(name.capitalize(), options) for name, options in choices.items()}
        self.choices["colours"].value = next((axis for axis in several if axis != "instance"), "instance")
        self.choices |= {axis: select(axis, [ALL, *self.axes[axis]]) for axis in several}
        self._at_first = {**self._chosen, "point": NONE}
        self.point = select("Point (or click one)", [NONE])
        self.point.param.watch(lambda event: self._show(event.new), "value")
        self.source: Any = ColumnDataSource(dict.fromkeys(COLUMNS, ()))
        Callback(self.source.selected, args={"list": self.point}, code={"indices": CHOOSE})
        self.source.selected.on_change("indices", self._clicked)
        self.scatter = self.panels.figures["M"] = _scatter(self.source)
        about = text(
            f"<h3>{escape(Path(self._target).name)}</h3>"
            "<p class='note'>{tasks_finished} of {tasks} tasks are finished.</p>".format_map(stored.attrs)
        )
        self.key, self.unknown = text(), text()
        key_of_curves = text(KEY + KEY_OF_MIXTURE * ("mixture" in choices["theory"]))
        self.settings = column(about, self.unknown, *self.choices.values(), self.point)
        self.results_area = column(shown(self.scatter), self.key, self.status, self.panels.area, key_of_curves)
        sizes, found = stored.sizes, self.sweep.followed
        v = found.get("v") or found["head_v"]
        self.panels.name_entries(sizes.get("student", 1), sizes.get("teacher", 1), v, error_of(found))
        self._open_address(address)
        for widget in self.choices.values():
            widget.param.watch(lambda _: self._plot(), "value")

    # --- address ------------------------------------------------------------------------------------------------------

    @property
    def _chosen(self) -> dict[str, str]:
        return {name: widget.value for name, widget in self.choices.items()}

    def address(self) -> str:
        """Return the query of the address: the choices, and the point that is shown."""
        chosen = {**self._chosen, "point": self.shown}
        return urlencode({name: value for name, value in chosen.items() if value != self._at_first[name]})

    def _open_address(self, address: str) -> None:
        """Choose what an address asks for; list what this sweep does not have."""
        asked, unknown = dict(parse_qsl(address)), []
        point = asked.pop("point", None)
        for name, value in asked.items():
            if name in self.choices and value in self.choices[name].options:
                self.choices[name].value = value
            else:
                unknown.append(f"{name} {value}")
        self._plot()
        if point in self.point.options:
            self.point.value = point
        elif point is not None:
            unknown.append(f"the point {point}")
        if unknown:
            self.unknown.object = alert(f"This sweep does not have what the address asks for: {', '.join(unknown)}.")

    # --- M ------------------------------------------------------------------------------------------------------------

    def _table(self, measure: str, theory: str, against: str, colours: str, **filters: str) -> Any:
        """Load M, its floor and D_KL of the points that the filters leave, with their values on the axes."""
        quantity = self.measures[measure]
        names = {f"M_{quantity}": "y", f"floor_{quantity}": "floor", "kl": "kl"}
        kept = {axis: [value] for axis, value in filters.items() if value != ALL}
        found = self.results[list(names.keys() & self.results.keys())].sel({"theory": theory, **kept})
        means = found.mean(set(found.dims).difference(self.axes)).to_dataframe(dim_order=list(self.axes))
        table = means.rename(columns=names).query("0 < y < inf").reset_index()
        table["x"] = table["kl" if against == KL else against].astype(float)
        table["color"] = [color_of(self.axes[colours].index(value)) for value in table[colours]]
        return table

    def _plot(self) -> None:
        """Draw the points that the filters leave; the chosen point stays chosen if it is among them."""
        chosen = self._chosen
        try:
            table = self._table(**chosen)
        except (ProblemError, SweepError, OSError) as error:  # a damaged chunk, named
            self.say(str(error))
            return
        points = table[list(self.axes)].to_dict("records")
        self.points = {", ".join(f"{axis} {value}" for axis, value in point.items()): point for point in points}
        labels = list(self.points)
        self.source.selected.indices = []
        self.source.data = table.assign(label=labels).reindex(columns=COLUMNS)
        self.scatter.xaxis.axis_label = chosen["against"]
        self.scatter.yaxis.axis_label = f"{chosen['measure']}, {chosen['theory']} theory"
        colours = chosen["colours"]
        entries = {
            color: escape(f"{colours} {value}") for color, value in zip(table["color"], table[colours], strict=True)
        }
        self.key.object = "".join(map(swatch, entries, entries.values())) + KEY_OF_POINTS
        shown, listed = self.shown, [NONE, *labels[:MOST_LISTED]]
        self.point.param.update(options=listed, value=shown if shown in listed else NONE)
        self._show(shown)

    # --- the trajectories behind a point ------------------------------------------------------------------------------

    def _clicked(self, _attr: str, _old: list[int], places: list[int]) -> None:
        if places and places[0] >= MOST_LISTED:  # the others are chosen in the list
            self._show([*self.points][places[0]])

    def _show(self, label: str) -> None:
        """Show the curves and numbers of the point with this label, if there is one, and a link to the explorer."""
        point, places, rest = self.points.get(label), [], len(self.points) - MOST_LISTED
        said = f"{len(self.points)} points." + f" The list leaves out {rest}; filter." * (rest > 0)
        if (shown := label if point else NONE) != self.shown:
            self.shown, self._behind = shown, self._draw_point(point)
        self.write_address()
        words, link = self._behind
        if point:
            number = [*self.points].index(label)
            places = [number]
            M = self.scatter.yaxis.axis_label.replace(", ", " of ")
            forms = {"y": M + " = {:.3g}", "floor": "noise floor = {:.3g}", "kl": "D_KL = {:.3g} nats"}
            values = {form: self.source.data[key][number] for key, form in forms.items()}
            known = ", ".join(form.format(value) for form, value in values.items() if np.isfinite(value))
            said += f" {label}: {known}. {words}"
        self.source.selected.indices = places
        self.say(said, link)

    def _draw_point(self, point: dict[str, str] | None) -> tuple[str, str]:
        """Draw the trajectories of a point; return a note about them, and a link to the explorer."""
        theories, sgd, words, link = {}, None, "", ""
        if point and "Q" not in self.results:
            words = "This sweep kept M alone: [run] trajectories = false. There is nothing to draw."
        elif point:
            try:
                here = self.results.sel(point).load()
            except (ProblemError, SweepError, OSError) as error:
                words = str(error)
            else:
                followed = [name for name in self.measures.values() if here[f"M_{name}"].notnull().any()]
                sgd = here[followed].rename(theory="overlaps")
                names = {f"theory_{name}": name for name in followed}
                curves = here[list(names)].rename(names).where(here["applies"] > 0).dropna("theory", how="all")
                theories = {str(name): curves.sel(theory=name) for name in curves["theory"].values}
                diverged, link = float(here["diverged_at"].max()), self._link(point, theories)
                words = f"SGD diverged at t = {diverged:.3g}." if np.isfinite(diverged) else ""
        self.panels.show(theories)
        self.panels.show_sgd(sgd, theories)
        return words, link

    def _link(self, point: dict[str, str], theories: Iterable[str]) -> str:
        """Link to the explorer with these settings, if it can show them."""
        _, *places = (self.axes[axis].index(value) for axis, value in point.items())
        problem, run, seed = self.sweep.condition(tuple(places)), self.sweep.run, int(point["instance"])
        try:
            view = View(problem=problem, seed=seed, time=run.time, runs=min(20, run.runs), theories=drawable(theories))
        except ProblemError:
            return ""
        return f'<a href="explore?{escape(view.to_query())}" target="_blank">Explore these settings</a>'
