"""Trajectories against log time: lines for a theory, marks and bands for runs, every entry in a colour of its own."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy import ndarray
from xarray import DataArray, Dataset

from ..errors import ProblemError
from ..trajectory import TASK, followed, is_entry, is_error, on_tasks, variable
from ._draw import DARK, SERIES, TIME, add_legend, chosen, draw, finish, key, log_ticks, new_figure, shade_key, styled

SATURATION_FACTOR = 2.0
"""In saturation the theory's ε_g stays within this factor of its final value."""

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
FLAT, LEAST = 1e-5, 0.1
"""What moves by less than this part of its size, or of the least size, does not move; it is drawn within ±10 %."""
SYMBOLS: tuple[dict[str, Any], ...] = (
    {"ls": "", "marker": "o", "mfc": "white", "mew": 1.1, "ms": 4.5, "zorder": 4},
    {"ls": (0, (3.5, 1.6)), "lw": 1.1, "marker": "^", "mec": "white", "mew": 0.6, "ms": 5.5, "zorder": 3.5},
)
COLORS = tuple(series.color for series in SERIES)
ENSEMBLE: dict[str, Any] = {"ls": (0, (1, 1)), "lw": 0.9}  # edges of the spread over an ensemble


class Runs(NamedTuple):
    """SGD runs to draw, and the place of their symbol among :data:`SYMBOLS`."""

    label: str
    data: Dataset
    symbol: int = 0


@styled
def trajectory(
    first: Dataset,
    runs: Dataset | None = None,
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
        Variables to show. By default ε_g, Q, R and v, if the dataset has them; of several tasks the error on each.
    axes
        Axes to draw in, one for each quantity; by default a new figure, which has a legend.

    Returns
    -------
    matplotlib.figure.Figure
        The new figure, or the figure of the axes.

    Raises
    ------
    ProblemError
        If a quantity is not there, or there is not one pair of axes for each.
    """
    first, *others = (each.sel(time=each["time"] > 0) for each in (first, runs) if each is not None)
    groups = [Runs("SGD", each) for each in others]
    known = [str(name) for name, x in first.items() if "time" in x.dims and x.size and all(name in y for y in others)]
    order = [name for name in followed(first) if name in known and on_tasks(name) not in known]
    default = sorted(order, key=lambda name: not is_error(name))  # errors first
    names = chosen(quantities, default, known)
    if axes is None:
        figure, panels = new_panels(len(names))
    else:
        panels = np.ravel(np.array(axes, dtype=object)).tolist()
        if len(panels) != len(names) or not all(isinstance(panel, Axes) for panel in panels):
            raise ProblemError(
                f"axes: must be matplotlib axes, one for each of {len(names)} quantities (got {len(panels)}). Give "
                "as many as quantities."
            )
        figure = panels[0].get_figure(root=True)
        for panel in panels:
            panel.set_xlabel(TIME)
    for panel, name in zip(panels, names, strict=True):
        draw_quantity(panel, name, first, groups)
        log_ticks(panel)
    if axes is None:
        finish(panels)
        dynamics_legend(figure, [first], groups)
    return figure


def draw_quantity(panel: Axes, name: str, first: Dataset, groups: Sequence[Runs], *, named: bool = True) -> None:
    """All entries of one variable on a log axis of time, with their names beside the panel if ``named``."""
    times = first["time"].values
    if start := _saturation(first):
        panel.axvspan(start, times[-1], color=SATURATED, lw=0)
    lines = draw_entries(panel, first[name], _kind(first), lw=1.5)
    for label, data, symbol in groups:
        draw_entries(panel, data[name], label, marks=marks_along(data["time"].values)[symbol], **SYMBOLS[symbol])
    scale = "log" if name.endswith("error") else "linear"
    panel.set(xscale="log", xlim=times[[0, -1]], yscale=scale, ylabel=LABELS.get(name, variable(name).long_name))
    low, high = panel.get_ylim()
    size = max(abs(low), abs(high), LEAST)
    if scale == "linear" and high - low < FLAT * size:  # rounding would fill the panel
        panel.set_ylim(low - size / 10, high + size / 10)
    if len(lines) > MOST_ENTRIES:
        panel.set_title(f"{len(lines)} entries, dark to light", loc="right", fontsize="medium")
    elif len(lines) > 1 and named:  # the entries by colour, beside the panel, where no curve runs
        panel.legend(
            lines.values(),
            lines,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            handlelength=1.1,
            handletextpad=0.4,
        )


def draw_entries(
    panel: Axes,
    values: DataArray,
    name: str = "",
    *,
    marks: Int[ndarray, "mark"] | slice | None = None,
    colors: Sequence[Any] = (),
    **style: Any,
) -> dict[str, Line2D]:
    """The entries of a variable, each in a colour of its own; returns their curves by their labels.

    By default many entries have colours from dark to light.

    A trajectory is a line; of several it is the mean, with dotted lines ±1 standard deviation. With ``marks``, places
    along time, it is the mean over runs as symbols there, with a band of ±1 standard deviation.
    """
    time, lines, parts = values["time"], {}, entries(values)
    if not colors:
        colors = (
            COLORS if len(parts) <= len(COLORS) else colormaps["viridis"](np.linspace(0, 0.92, len(parts))).tolist()
        )
    shown, every = (slice(None), marks) if style.get("ls", "-") else (marks, None)
    for (entry, curve), color in zip(parts, cycle(colors), strict=False):
        if "run" in curve.dims:
            curve, deviation = curve.mean("run"), curve.std("run")
            edges = curve - deviation, curve + deviation
            if marks is None:
                panel.plot(time, np.transpose(edges), color=color, zorder=2.5, **ENSEMBLE)
            else:
                panel.fill_between(time, *edges, color=color, alpha=0.3, lw=0, zorder=2)
        label = _label(str(values.name), entry)
        look = {"color": color, "zorder": 3, "markevery": every} | style
        lines[label] = draw(panel, time[shown], curve[shown], name=name and f"{label}, {name}", **look)
    return lines


def entries(values: DataArray) -> list[tuple[str, DataArray]]:
    """The entries of an order parameter that differ, with their names: Q is symmetric.

    Examples
    --------
    >>> Q = DataArray(np.eye(2)[None], dims=("time", "student", "student_"))
    >>> [name for name, _ in entries(Q)]
    ['Q0,0', 'Q0,1', 'Q1,1']
    """
    dims = [dim for dim in values.dims if dim == "cluster" or is_entry(dim)]
    return [
        (f"{values.name or 'Q'}{','.join(map(str, place))}", values.isel(dict(zip(dims, place, strict=True))))
        for place in np.ndindex(*(values.sizes[dim] for dim in dims))
        if "student_" not in dims or place[0] <= place[1]
    ]


def marks_along(times: Float[ndarray, "time"]) -> tuple[Int[ndarray, "circle"], Int[ndarray, "triangle"]]:
    """Where the circles and, halfway between them on the log scale, the triangles go."""
    logs = np.log(times)
    wanted = np.linspace(logs[0], logs[-1], 2 * MARKS + 1)[1:-1]
    nearest = abs(wanted[:, None] - logs).argmin(axis=1)
    circles = np.unique(nearest[::2])
    return circles, np.setdiff1d(nearest[1::2], circles)


def saturation_time(times: Float[ndarray, "time"], generalization_error: Float[ndarray, "time"]) -> float:
    """First time from which ε_g stays within :data:`SATURATION_FACTOR` of its final value.

    Examples
    --------
    >>> saturation_time(np.array([1.0, 2.0, 3.0, 4.0]), np.array([8.0, 1.5, 3.0, 1.0]))
    4.0
    """
    final = generalization_error[-1]
    low, high = final / SATURATION_FACTOR, final * SATURATION_FACTOR
    outside = (generalization_error > high) | (generalization_error < low) | ~np.isfinite(final)  # where it diverged
    return float(times[np.append(True, outside[:-1])][-1])


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
    figure: Figure, drawn: Sequence[Dataset], groups: Sequence[Runs], setting: Sequence[str] = ()
) -> None:
    """What lines, symbols, bands and the shaded region are, under the settings and the number of runs."""
    members, kind, title = drawn[-1].sizes.get("run", 1), _kind(drawn[-1]), list(setting)
    lines = {"theory (ODE)" if kind == "theory" and members == 1 else kind: {}}
    shades = {}
    if members > 1:
        lines[rf"{kind} $\pm1$ standard deviation of {members} {'runs' if kind == 'SGD' else 'chains'}"] = ENSEMBLE
    if groups:
        runs = groups[0].data.sizes.get("run", 1)
        lost = sum(int(group.data["Q"].isnull().any(["time", "student", "student_"]).sum()) for group in groups)
        left_out = f", {lost} diverged and are left out from then on" if lost else ""
        title.append((f"SGD: mean of {runs} runs" if runs > 1 else "SGD: one run") + left_out)
        lines |= {group.label: SYMBOLS[group.symbol] for group in groups}
        if runs > 1:
            shades[r"$\pm1$ standard deviation over runs"] = {"color": DARK, "alpha": 0.3}
    if any(map(_saturation, drawn)):
        shades[rf"saturation: $\epsilon_g$ within ×{SATURATION_FACTOR:g} of its final value"] = {"color": SATURATED}
    handles = [key(label, color=DARK, **look) for label, look in lines.items()]
    handles += [shade_key(label, **{"alpha": 1} | look) for label, look in shades.items()]
    add_legend(figure, handles, ",  ".join(title), ncols=2 if members > 1 else 3)


def _saturation(first: Dataset) -> float | None:
    """Where saturation of a theory begins; None where it has no error, or one that never changes or settles."""
    if _kind(first) == "SGD" or "task_error" in first or "generalization_error" not in first:
        return None
    error, times = first["generalization_error"], first["time"].values
    start = saturation_time(times, error.mean(set(error.dims) - {"time"}).values)
    return start if start > times[0] else None


def _kind(first: Dataset) -> str:
    return "SGD" if first.attrs.get("kind") == "simulation" else "theory"


def _label(name: str, entry: str) -> str:
    """The name of an entry in a figure."""
    index = entry.removeprefix(name)
    if name.startswith(TASK) or name == "mean_field":
        return f"{name.split('_')[0]} {index}"
    return f"${variable(name).symbol}_{{{index}}}$" if index else variable(name).tex
