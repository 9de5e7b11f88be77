"""A view of the explorer for paper: several theories, SGD and pinned settings in four panels."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ._dynamics import LABELS
from ._style import TIME, label_panels, log_ticks, new_figure, styled

__all__ = ["COLORS", "color_of", "entries", "explored"]

COLORS = (
    "#3a78c9", "#c8435a", "#1f9382", "#d08a1d", "#8a63b8", "#6f8f1f", "#c0559a", "#4fa3c7", "#a5683a", "#7d8896",
)  # fmt: skip
"""Of the entries, on a white page and on a dark one."""

LINES = {"conventional": "-", "moment-matched": "--", "mixture": ":"}
MARKERS = {"conventional": "o", "moment-matched": "^", "mixture": "s"}
EVERY = 4  # output times from one mark of SGD to the next


@styled
def explored(
    theories: Mapping[str, xr.Dataset],
    sgd: xr.Dataset | None,
    label: str,
    pinned: Sequence[tuple[str, str, Mapping[str, xr.Dataset]]] = (),
) -> Figure:
    """ε_g, Q, R and v against log t: lines for theories, marks for the mean over SGD runs, thin lines for pins.

    Parameters
    ----------
    theories
        Trajectories by the name of the theory.
    sgd
        Runs with dimensions (overlaps, run, time, ...), NaN where a run has not got to.
    label
        The settings, for the title.
    pinned
        Label, colour and theories of each pinned setting.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn = new_figure(5.6)
    panels = drawn.subplots(2, 2, sharex=True).ravel()
    names = ("generalization_error", "Q", "R", "v")
    for panel, name, axis_label in zip(panels, names, LABELS, strict=True):
        for _, color, solved in pinned:
            for theory, dataset in solved.items():
                for _, values in entries(dataset[name]):
                    panel.plot(dataset["time"], values, color=color, ls=LINES[theory], lw=0.9)
        for theory, dataset in theories.items():
            for place, (_, values) in enumerate(entries(dataset[name])):
                panel.plot(dataset["time"], values, color=color_of(place), ls=LINES[theory])
        if sgd is not None:
            _marks(panel, sgd, name)
        panel.set_ylabel(axis_label)
        panel.set_xscale("log")
    panels[0].set_yscale("log")
    log_ticks(panels[0].yaxis)
    label_panels(list(panels))
    for panel in panels[2:]:
        panel.set_xlabel(TIME)
    dark = COLORS[0]
    handles = [Line2D([], [], color=dark, ls=LINES[theory], label=f"{theory} theory") for theory in theories]
    if sgd is not None:
        runs = sgd.sizes["run"]
        handles.append(
            Line2D(
                [],
                [],
                color=dark,
                ls="",
                marker="o",
                label=f"SGD, {'one run' if runs == 1 else f'mean of {runs} runs'}",
            )
        )
    handles += [Line2D([], [], color=color, lw=0.9, label=pin) for pin, color, _ in pinned]
    drawn.legend(handles=handles, title=label, loc="outside upper center", ncols=1 if pinned else 3)
    return drawn


def entries(values: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    """The entries of an order parameter that differ, with their names: Q is symmetric.

    Examples
    --------
    >>> Q = xr.DataArray(np.eye(2)[None], dims=("time", "student", "student_"))
    >>> [name for name, _ in entries(Q)]
    ['Q00', 'Q01', 'Q11']
    """
    dims = [dim for dim in values.dims if dim in ("student", "student_", "teacher")]
    places = np.ndindex(*(values.sizes[dim] for dim in dims))
    symmetric = "student_" in dims
    return [
        (f"{values.name or 'Q'}{''.join(str(i) for i in place)}", values.isel(dict(zip(dims, place, strict=True))))
        for place in places
        if not symmetric or place[0] <= place[1]
    ]


def color_of(place: int) -> str:
    """The colour of an entry."""
    return COLORS[place % len(COLORS)]


def _marks(panel, sgd: xr.Dataset, name: str) -> None:
    every = sgd.isel(time=slice(None, None, EVERY))
    for number, theory in enumerate(str(key) for key in sgd["overlaps"].values):
        values = every[name]
        if "overlaps" in values.dims:
            values = values.sel(overlaps=theory)
        elif number > 0:
            continue
        for place, (_, entry) in enumerate(entries(values.mean("run"))):
            panel.plot(every["time"], entry, MARKERS[theory], color=color_of(place), mfc="white", mew=1.0)
