"""Trajectories against log time: lines for a theory, marks and bands for runs, every entry in a colour of its own."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import ProblemError
from ..trajectory import VARIABLES
from ._draw import DARK, add_legend, draw, each, key, shade_key
from ._style import TIME, finish, log_ticks, new_figure, styled

SATURATION_FACTOR = 2.0
"""Saturation begins where the theory's ε_g stays within this factor of its final value."""

QUANTITIES = ("generalization_error", "Q", "R", "v")
LABELS = {
    "generalization_error": r"generalisation error $\epsilon_g$",
    "task_error": r"generalisation error $\epsilon_g$",
    "Q": "overlap $Q$",
    "R": "overlap $R$",
    "v": "output weight $v$",
    "mean_field": "mean field",
}
SATURATED = "#ececec"
MARKS = 13  # symbols along a curve
MOST_ENTRIES = 8  # that a legend names
SYMBOLS: tuple[dict[str, Any], ...] = (
    {"ls": "", "marker": "o", "mfc": "white", "mew": 1.1, "ms": 4.5},
    {"ls": (0, (3.5, 1.6)), "lw": 1.1, "marker": "^", "mec": "white", "mew": 0.6, "ms": 5.5},
)
ENSEMBLE: dict[str, Any] = {"ls": (0, (1, 1)), "lw": 0.9}  # edges of the spread over an ensemble


class Runs(NamedTuple):
    """SGD runs to draw, and the place of their symbol among :data:`SYMBOLS`."""

    label: str
    data: xr.Dataset
    symbol: int = 0


@styled
def trajectory(
    first: xr.Dataset,
    runs: xr.Dataset | None = None,
    *,
    quantities: Sequence[str] | None = None,
    axes: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Quantities of a trajectory against log t, a panel for each, with SGD over it.

    Lines are the trajectory, circles SGD with a band of ±1 standard deviation over its runs. Where the trajectory has
    runs itself, lines are their mean and dotted lines ±1 standard deviation. The shaded region is saturation, from
    where the theory's ε_g stays within a factor :data:`SATURATION_FACTOR` of its final value. A teacher that changes
    never lets the error settle. t = 0 has no place on a logarithmic axis.

    Parameters
    ----------
    first
        A trajectory of :func:`sgdlimit.solve` or :func:`sgdlimit.simulate`.
    runs
        SGD to draw over it.
    quantities
        Variables to show; by default ε_g, Q, R and v, those that are there. Of several tasks the error of each.
    axes
        Axes to draw in, one for each quantity; by default a new figure, which has a legend.

    Returns
    -------
    matplotlib.figure.Figure
        The new figure, or that of the axes.

    Raises
    ------
    ProblemError
        If a quantity is not there, or there is not one pair of axes for each.
    """
    first = first.sel(time=first["time"] > 0)
    groups = []
    if runs is not None:
        runs = runs.sel(time=runs["time"] > 0)
        groups = [Runs("SGD", runs if "run" in runs.dims else runs.expand_dims("run"))]
    names = _names(first, runs, quantities)
    figure, panels = _own_panels(axes, len(names)) if axes is not None else new_panels(len(names))
    for panel, name in zip(panels, names, strict=True):
        draw_quantity(panel, name, first, groups)
        if axes is not None:
            panel.set_xlabel(TIME)
            log_ticks(panel)
    if axes is None:
        finish(panels)
        dynamics_legend(figure, [first], groups)
    return figure


def draw_quantity(panel: Axes, name: str, first: xr.Dataset, groups: Sequence[Runs], *, named: bool = True) -> None:
    """All entries of one variable on a log axis of time, with their names beside the panel if ``named``."""
    times = first["time"].values
    if (start := _saturation(first)) is not None:
        panel.axvspan(start, times[-1], color=SATURATED, lw=0)
    lines, labels = [], []
    for (entry, values), series in each(entries(first[name])):
        labels.append(_label(name, entry))
        lines.append(draw_line(panel, values, f"{labels[-1]}, {_kind(first)}", color=series.color, lw=1.5))
    for group in groups:
        marks = marks_along(group.data["time"].values)[group.symbol]
        for (entry, values), series in each(entries(group.data[name])):
            label = f"{_label(name, entry)}, {group.label}"
            draw_runs(panel, values, label, marks=marks, color=series.color, **SYMBOLS[group.symbol])
    scale = "log" if name.endswith("error") else "linear"
    panel.set(xscale="log", xlim=times[[0, -1]], yscale=scale, ylabel=LABELS.get(name, name))
    if len(lines) > MOST_ENTRIES:
        panel.set_title(f"{len(lines)} entries", loc="right", fontsize="medium")
    elif len(lines) > 1 and named:  # the entries by colour, beside the panel, where no curve runs
        panel.legend(lines, labels, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1.1, handletextpad=0.4)


def draw_line(panel: Axes, values: xr.DataArray, name: str = "", **style: Any) -> Line2D:
    """A trajectory as a line; of several the mean, with dotted lines ±1 standard deviation."""
    mean = values.mean("run") if "run" in values.dims else values
    if "run" in values.dims:
        for sign in (-1, 1):
            edge = mean + sign * values.std("run")
            draw(panel, edge["time"], edge, color=style["color"], zorder=2.5, **ENSEMBLE)
    return draw(panel, mean["time"], mean, name=name, zorder=3, **style)


def draw_runs(
    panel: Axes, runs: xr.DataArray, name: str = "", *, marks: Sequence[int] | slice, color: str, **symbol: Any
) -> None:
    """The mean over runs as symbols at some of the times, with a band of ±1 standard deviation."""
    mean, deviation = runs.mean("run"), runs.std("run")
    low, high = mean - deviation, mean + deviation
    panel.fill_between(mean["time"], low, high, color=color, alpha=0.3, lw=0, zorder=2)
    if symbol["ls"]:
        draw(panel, mean["time"], mean, name=name, markevery=marks, color=color, zorder=3.5, **symbol)
    else:
        draw(panel, mean["time"][marks], mean[marks], name=name, color=color, zorder=4, **symbol)


def entries(values: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    """The entries of an order parameter that differ, with their names: Q is symmetric.

    Examples
    --------
    >>> Q = xr.DataArray(np.eye(2)[None], dims=("time", "student", "student_"))
    >>> [name for name, _ in entries(Q)]
    ['Q0,0', 'Q0,1', 'Q1,1']
    """
    dims = [dim for dim in values.dims if dim in ("student", "student_", "teacher", "cluster", "task")]
    return [
        (f"{values.name or 'Q'}{','.join(map(str, place))}", values.isel(dict(zip(dims, place, strict=True))))
        for place in np.ndindex(*(values.sizes[dim] for dim in dims))
        if "student_" not in dims or place[0] <= place[1]
    ]


def marks_along(times: Float[np.ndarray, "time"]) -> tuple[list[int], list[int]]:
    """Where the circles and, halfway between them on the log scale, the triangles go."""
    wanted = np.geomspace(times[0], times[-1], 2 * MARKS + 1)[1:-1]
    nearest = np.abs(np.log(wanted)[:, None] - np.log(times)).argmin(axis=1).tolist()
    return sorted(set(nearest[::2])), sorted(set(nearest[1::2]) - set(nearest[::2]))


def saturation_time(times: Float[np.ndarray, "time"], generalization_error: Float[np.ndarray, "time"]) -> float:
    """First time from which ε_g stays within :data:`SATURATION_FACTOR` of its final value.

    Examples
    --------
    >>> saturation_time(np.array([1.0, 2.0, 3.0, 4.0]), np.array([8.0, 1.5, 3.0, 1.0]))
    4.0
    """
    final = generalization_error[-1]
    if not np.isfinite(final):  # it diverged
        return float(times[-1])
    low, high = final / SATURATION_FACTOR, final * SATURATION_FACTOR
    outside = (generalization_error > high) | (generalization_error < low)
    return float(times[np.flatnonzero(outside)[-1] + 1] if outside.any() else times[0])


def new_panels(count: int) -> tuple[Figure, list[Axes]]:
    """A new figure with panels that share the axis of time, in one or two rows."""
    rows = 1 if count < 3 else 2
    columns = -(-count // rows)
    figure = new_figure(3.2 if rows == 1 else 5.4)
    panels = figure.subplots(rows, columns, sharex=count == rows * columns, squeeze=False).ravel().tolist()
    for panel in panels[count:]:
        panel.remove()
    for panel in panels[count - columns : count]:
        panel.set_xlabel(TIME)
    return figure, panels[:count]


def dynamics_legend(
    figure: Figure, drawn: Sequence[xr.Dataset], groups: Sequence[Runs], setting: Sequence[str] = ()
) -> None:
    """What lines, symbols, bands and the shaded region are, under the settings and the number of runs."""
    members, kind, dark = drawn[-1].sizes.get("run", 1), _kind(drawn[-1]), {"color": DARK}
    title = list(setting)
    if members > 1:
        of = "runs" if kind == "SGD" else "chains"
        spread = rf"{kind} $\pm1$ standard deviation of {members} {of}"
        handles: list[Any] = [key(kind, **dark), key(spread, **dark, **ENSEMBLE)]
    else:
        handles = [key("theory (ODE)" if kind == "theory" else kind, **dark)]
    if groups:
        runs = groups[0].data.sizes["run"]
        lost = sum(int(group.data["v"].isnull().any(["time", "student"]).sum()) for group in groups)
        left_out = f", {lost} diverged and are left out from then on" if lost else ""
        title.append((f"SGD: mean of {runs} runs" if runs > 1 else "SGD: one run") + left_out)
        handles += [key(group.label, **dark, **SYMBOLS[group.symbol]) for group in groups]
        if runs > 1:
            handles.append(shade_key(r"$\pm1$ standard deviation over runs", color=DARK, alpha=0.3))
    if any(_saturation(first) is not None for first in drawn):
        label = rf"saturation: $\epsilon_g$ within ×{SATURATION_FACTOR:g} of its final value"
        handles.append(shade_key(label, color=SATURATED, alpha=1))
    add_legend(figure, handles, ",  ".join(title) or None, ncols=2 if members > 1 else 3)


def _saturation(first: xr.Dataset) -> float | None:
    """Where saturation of a theory begins; None where it has no error, or one that never changes or settles."""
    if _kind(first) == "SGD" or "task_error" in first or "generalization_error" not in first:
        return None
    error, times = first["generalization_error"], first["time"].values
    start = saturation_time(times, (error.mean("run") if "run" in error.dims else error).values)
    return start if start > times[0] else None


def _kind(first: xr.Dataset) -> str:
    return "SGD" if first.attrs.get("kind") == "simulation" else "theory"


def _label(name: str, entry: str) -> str:
    """The name of an entry in a figure."""
    index = entry.removeprefix(name)
    if name in ("task_error", "mean_field"):
        return f"{name.split('_')[0]} {index}"
    return f"${name}_{{{index}}}$" if index else VARIABLES[name].tex


def _names(first: xr.Dataset, runs: xr.Dataset | None, quantities: Sequence[str] | None) -> list[str]:
    """The variables to show, checked against those there are."""
    known = [str(name) for name in first if "time" in first[name].dims and (runs is None or name in runs)]
    if quantities is None:
        error = "task_error" if "task_error" in known else "generalization_error"
        chosen = [name for name in (error, "Q", "R", "v") if name in known]
    else:
        chosen = [quantities] if isinstance(quantities, str) else [str(name) for name in quantities]
    missing = [name for name in chosen if name not in known]
    if missing or not chosen:
        raise ProblemError(
            f"quantities: {', '.join(map(repr, missing)) or 'none'} cannot be shown here; use some of "
            f"{', '.join(map(repr, known)) or 'a trajectory, which has Q, R and v'}"
        )
    return chosen


def _own_panels(axes: Axes | Sequence[Axes], count: int) -> tuple[Figure, list[Axes]]:
    """The axes that the user gave, and their figure."""
    panels = [axes] if isinstance(axes, Axes) else list(np.ravel(np.asarray(axes, dtype=object)))
    if len(panels) != count or not all(isinstance(panel, Axes) for panel in panels):
        raise ProblemError(f"axes: {len(panels)} given for {count} quantities; give matplotlib axes, one for each")
    return panels[0].get_figure(root=True), panels  # type: ignore[return-value]
