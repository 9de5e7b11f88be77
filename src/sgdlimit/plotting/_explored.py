"""A view of the explorer for paper: several theories, SGD and pinned settings in four panels."""

from collections.abc import Mapping, Sequence

import xarray as xr
from matplotlib.figure import Figure

from ._draw import add_legend, key
from ._dynamics import LABELS, QUANTITIES, draw_line, draw_runs, entries, new_panels
from ._style import finish, styled

COLORS = (
    "#3a78c9", "#c8435a", "#1f9382", "#d08a1d", "#8a63b8", "#6f8f1f", "#c0559a", "#4fa3c7", "#a5683a", "#7d8896",
)  # fmt: skip
"""The colours of the entries, on a white page and on a dark one."""

LINES = {"conventional": "-", "moment-matched": "--", "mixture": ":"}
MARKERS = {"conventional": "o", "moment-matched": "^", "mixture": "s"}
EVERY = slice(None, None, 4)  # the output times that have a mark of SGD


@styled
def explored(
    theories: Mapping[str, xr.Dataset],
    sgd: xr.Dataset | None,
    label: str,
    pinned: Sequence[tuple[str, str, Mapping[str, xr.Dataset]]] = (),
) -> Figure:
    """ε_g, Q, R and v against log t: lines for theories, marks and bands for SGD runs, thin lines for pins.

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
    figure, panels = new_panels(len(QUANTITIES))
    measured = [] if sgd is None else [str(name) for name in sgd["overlaps"].values]
    for panel, name in zip(panels, QUANTITIES, strict=True):
        for solved, color, width in [*((solved, color, 0.9) for _, color, solved in pinned), (theories, "", 1.4)]:
            for theory, dataset in solved.items():
                for place, (_, values) in enumerate(entries(dataset[name])):
                    draw_line(panel, values, color=color or color_of(place), ls=LINES[theory], lw=width)
        for theory in measured if sgd is not None and "overlaps" in sgd[name].dims else measured[:1]:
            runs = sgd.sel(overlaps=theory)[name]  # type: ignore[union-attr]
            for place, (_, values) in enumerate(entries(runs)):
                style = {"ls": "", "marker": MARKERS[theory], "mfc": "white", "mew": 1.0}
                draw_runs(panel, values, marks=EVERY, color=color_of(place), **style)
        panel.set(xscale="log", ylabel=LABELS[name])
    panels[0].set_yscale("log")
    finish(panels)
    handles = [key(f"{theory} theory", color=COLORS[0], ls=LINES[theory]) for theory in theories]
    if sgd is not None:
        runs = f"mean of {sgd.sizes['run']} runs" if sgd.sizes["run"] > 1 else "one run"
        handles.append(key(f"SGD, {runs}", color=COLORS[0], ls="", marker="o"))
    handles += [key(pin, color=color, lw=0.9) for pin, color, _ in pinned]
    add_legend(figure, handles, label, ncols=1 if pinned else 3)
    return figure


def color_of(place: int) -> str:
    """The colour of an entry."""
    return COLORS[place % len(COLORS)]
