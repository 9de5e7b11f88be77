"""A trajectory as it is, of theory or of SGD, with SGD over it if wanted, in axes of one's own if wanted."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import ProblemError
from ._dynamics import CIRCLE, ENSEMBLE, LABELS, Runs, draw_entries
from ._style import SERIES, TIME, label_panels, log_ticks, new_figure, styled

__all__ = ["QUANTITIES", "order_parameters"]

QUANTITIES = ("generalization_error", "Q", "R", "v")
_LABELS = dict(zip(QUANTITIES, LABELS, strict=True)) | {"task_error": LABELS[0], "mean_field": "mean field"}


@styled
def order_parameters(
    first: xr.Dataset,
    runs: xr.Dataset | None = None,
    *,
    quantities: Sequence[str] | None = None,
    axes: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Quantities of a trajectory against log t, a panel for each; its mean and standard deviation where it has runs.

    Parameters
    ----------
    first
        A trajectory of :func:`sgdlimit.solve` or :func:`sgdlimit.simulate`, drawn as lines; with a ``run`` dimension
        the mean, and dotted ±1 standard deviation. t = 0 has no place on a logarithmic axis.
    runs
        SGD to draw over it, as circles with a band of ±1 standard deviation.
    quantities
        Variables to show; by default ε_g, Q, R and v, those that are there.
    axes
        Where to draw, one for each quantity; by default a new figure, which has a legend.

    Returns
    -------
    matplotlib.figure.Figure
        That of the axes.

    Raises
    ------
    ProblemError
        If a quantity is not there, or axes are not one for each.
    """
    first = first.sel(time=first["time"] > 0)
    runs = None if runs is None else runs.sel(time=runs["time"] > 0)
    names = _names(first, runs, quantities)
    figure, panels = _panels(axes, len(names))
    what = "SGD" if first.attrs.get("kind") == "simulation" else "theory"
    groups = [] if runs is None else [Runs("SGD", runs if "run" in runs.dims else runs.expand_dims("run"))]
    for panel, name in zip(panels, names, strict=True):
        drawn = [group._replace(data=group.data[name]) for group in groups]
        draw_entries(panel, first[name], drawn, first["time"].values, what=what)
        panel.set_ylabel(_LABELS.get(name, name))
        panel.set_xlabel(TIME)
        if name.endswith("error"):
            panel.set_yscale("log")
            log_ticks(panel.yaxis)
    if axes is None:
        label_panels(panels)
        _legend(figure, first, what, runs)
    return figure


def _names(first: xr.Dataset, runs: xr.Dataset | None, quantities: Sequence[str] | None) -> list[str]:
    there = [str(name) for name in first if "time" in first[name].dims and (runs is None or name in runs)]
    if quantities is None:
        chosen = [name for name in QUANTITIES if name in there]
    else:
        chosen = [quantities] if isinstance(quantities, str) else [str(name) for name in quantities]
    missing = [name for name in chosen if name not in there]
    if missing or not chosen:
        raise ProblemError(
            f"quantities: {', '.join(map(repr, missing)) or 'none'} cannot be shown here; use some of "
            f"{', '.join(map(repr, there)) or 'a trajectory, which has Q, R and v'}"
        )
    return chosen


def _panels(axes: Axes | Sequence[Axes] | None, count: int) -> tuple[Figure, list[Axes]]:
    if axes is None:
        rows = 1 if count < 3 else 2
        figure = new_figure(3.2 if rows == 1 else 5.4)
        panels = list(np.atleast_1d(figure.subplots(rows, -(-count // rows))).ravel())
        for panel in panels[count:]:
            panel.remove()
        return figure, panels[:count]
    panels = [axes] if isinstance(axes, Axes) else list(np.ravel(np.asarray(axes, dtype=object)))
    if len(panels) != count or not all(isinstance(panel, Axes) for panel in panels):
        raise ProblemError(f"axes: {len(panels)} given for {count} quantities; give matplotlib axes, one for each")
    figure = panels[0].figure
    return (figure if isinstance(figure, Figure) else figure.figure), panels  # type: ignore[return-value]


def _legend(figure: Figure, first: xr.Dataset, what: str, runs: xr.Dataset | None) -> None:
    dark = SERIES[0].color
    several = first.sizes.get("run", 1)
    handles = [Line2D([], [], color=dark, label=what if several == 1 else f"{what}, mean of {several} runs")]
    if several > 1:
        handles.append(Line2D([], [], color=dark, label=r"$\pm1$ standard deviation", **ENSEMBLE))
    if runs is not None:
        count = runs.sizes.get("run", 1)
        handles.append(
            Line2D([], [], color=dark, label="SGD" if count == 1 else f"SGD, mean of {count} runs", **CIRCLE)
        )
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
