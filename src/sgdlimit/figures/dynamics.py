"""Order parameters against time, theory beside SGD: Figures 2 and 4, and any problem of one's own."""

from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sgdlimit.figures._style import ACTIVATION_LABELS, SERIES, TIME, label_panels, log_ticks, new_figure, styled

__all__ = ["SATURATION_FACTOR", "example_dynamics", "saturation_time", "trajectory"]

SATURATION_FACTOR = 2.0
"""Saturation begins where the theory's ε_g stays within this factor of its final value."""

LAW_LABELS = {"gaussian": "Gaussian", "mixture": "mixture", "standardized mixture": "standardised mixture"}
SATURATED = "#ececec"
MARKS = 13  # symbols along a curve
MOST_ENTRIES = 8  # that a legend names
CIRCLE: dict[str, Any] = {"ls": "", "marker": "o", "mfc": "white", "mew": 1.1, "ms": 4.5}
TRIANGLE: dict[str, Any] = {"ls": (0, (3.5, 1.6)), "lw": 1.1, "marker": "^", "mec": "white", "mew": 0.6, "ms": 5.5}
SYMBOLS: tuple[dict[str, Any], ...] = (CIRCLE, TRIANGLE)


class Runs(NamedTuple):
    """SGD runs to draw with one symbol."""

    label: str
    data: xr.Dataset


class Curve(NamedTuple):
    """One entry of an order parameter: its theory, and the mean and deviation over each set of runs."""

    label: str
    theory: xr.DataArray
    sgd: list[tuple[xr.DataArray, xr.DataArray]]


@styled
def example_dynamics(theory: xr.Dataset, sgd: xr.Dataset, activation: str, law: str) -> Figure:
    """ε_g, Q, R and v against log t: lines for the theory, circles for Gaussian SGD, triangles for mixture SGD.

    Bands are ±1 standard deviation over runs. The shaded region is saturation, from where the theory's ε_g stays within
    a factor :data:`SATURATION_FACTOR` of its final value.

    Parameters
    ----------
    theory
        Trajectories with dims (activation, time, …), see :mod:`sgdlimit.trajectory`.
    sgd
        The same with dims (activation, law, run, time, …) and a law ``"gaussian"``.
    activation
        ``"relu"`` or ``"erf"``.
    law
        The mixture to show, ``"mixture"`` for Figure 2 or ``"standardized mixture"`` for Figure 4.

    Returns
    -------
    matplotlib.figure.Figure
    """
    setting = [ACTIVATION_LABELS.get(activation, activation)]
    if "components" in sgd.attrs and "spread" in sgd.attrs:
        setting.append(rf"$m={sgd.attrs['components']}$, $\alpha={sgd.attrs['spread']:g}$")
    chosen = sgd.sel(activation=activation)
    groups = [
        Runs(f"SGD, {label}", chosen.sel(law=key)) for key, label in LAW_LABELS.items() if key in ("gaussian", law)
    ]
    return _four_panels(theory.sel(activation=activation), groups, setting)


@styled
def trajectory(theory: xr.Dataset, runs: xr.Dataset) -> Figure:
    """ε_g, Q, R and v against log t of one problem: lines for the theory, circles for SGD.

    Bands are ±1 standard deviation over runs; the shaded region is as in :func:`example_dynamics`.

    Parameters
    ----------
    theory
        A trajectory from :func:`sgdlimit.solve`.
    runs
        Trajectories from :func:`sgdlimit.simulate`, with a ``run`` dimension.

    Returns
    -------
    matplotlib.figure.Figure
    """
    return _four_panels(theory, [Runs("SGD", runs)], [])


def _four_panels(theory: xr.Dataset, groups: list[Runs], setting: list[str]) -> Figure:
    figure = new_figure(5.4)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    times = theory["time"].values
    # A teacher that changes never lets the error settle.
    settles = "task_error" not in theory
    start = saturation_time(times, theory["generalization_error"].values) if settles else times[-1]
    labels = (r"generalisation error $\epsilon_g$", "overlap $Q$", "overlap $R$", "output weight $v$")
    error = "task_error" if "task_error" in theory else "generalization_error"  # of each task, where there are several
    for panel, name, label in zip(panels, (error, "Q", "R", "v"), labels, strict=True):
        panel.axvspan(start, times[-1], color=SATURATED, lw=0)
        curves = _curves(theory[name], [group.data[name] for group in groups])
        for curve, series in zip(curves, cycle(SERIES), strict=False):
            _draw(panel, curve, series.color)
        panel.set_xscale("log")
        panel.set_xlim(times[0], times[-1])
        log_ticks(panel.xaxis)
        panel.set_ylabel(label)
        if len(curves) > MOST_ENTRIES:
            panel.set_title(f"{len(curves)} entries", loc="right", fontsize="medium")
        elif len(curves) > 1:  # the entries by colour, beside the panel, where no curve runs
            panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.1, handletextpad=0.4)
    panels[0].set_yscale("log")
    log_ticks(panels[0].yaxis)
    label_panels(list(panels))
    for panel in panels[2:]:
        panel.set_xlabel(TIME)
    _source_legend(figure, groups, setting, settles)
    return figure


def saturation_time(
    times: Float[np.ndarray, "time"],
    generalization_error: Float[np.ndarray, "time"],
    factor: float = SATURATION_FACTOR,
) -> float:
    """First time from which ε_g stays within ``factor`` of its final value.

    Examples
    --------
    >>> saturation_time(np.array([1.0, 2.0, 3.0, 4.0]), np.array([8.0, 1.5, 3.0, 1.0]))
    4.0
    """
    final = generalization_error[-1]
    outside = (generalization_error > factor * final) | (generalization_error < final / factor)
    return float(times[np.flatnonzero(outside)[-1] + 1] if outside.any() else times[0])


def _curves(theory: xr.DataArray, groups: list[xr.DataArray]) -> list[Curve]:
    """Every distinct entry: Q is symmetric, so its lower triangle is left out."""
    entries = [dim for dim in theory.dims if dim != "time"]
    curves = []
    for index in np.ndindex(*(theory.sizes[dim] for dim in entries)):
        if theory.name == "Q" and index[0] > index[1]:
            continue
        entry = dict(zip(entries, index, strict=True))
        label = f"task {index[0]}" if "task" in entries else f"${theory.name}_{{{','.join(map(str, index))}}}$"
        sgd = [(runs.isel(entry).mean("run"), runs.isel(entry).std("run")) for runs in groups]
        curves.append(Curve(label, theory.isel(entry), sgd))
    return curves


def _draw(panel: Axes, curve: Curve, color: str) -> None:
    panel.plot(curve.theory["time"], curve.theory, color=color, lw=1.5, zorder=3, label=curve.label)
    for place, (mean, deviation) in enumerate(curve.sgd):
        times, marks = mean["time"].values, _marks(mean["time"].values)[place]
        panel.fill_between(times, mean - deviation, mean + deviation, color=color, alpha=0.3, lw=0, zorder=2 - place)
        if place == 0:
            panel.plot(times[marks], mean[marks], color=color, zorder=4, **CIRCLE)
        else:
            panel.plot(times, mean, color=color, markevery=marks, zorder=3.5, **TRIANGLE)


def _marks(times: Float[np.ndarray, "time"]) -> tuple[list[int], list[int]]:
    """Where the circles and, halfway between them on the log scale, the triangles go."""
    wanted = np.geomspace(times[0], times[-1], 2 * MARKS + 1)[1:-1]
    nearest = np.abs(np.log(wanted)[:, None] - np.log(times)).argmin(axis=1).tolist()
    return sorted(set(nearest[::2])), sorted(set(nearest[1::2]) - set(nearest[::2]))


def _source_legend(figure: Figure, groups: list[Runs], setting: list[str], settles: bool) -> None:
    dark = SERIES[0].color
    runs = groups[0].data.sizes["run"]
    lost = sum(int(group.data["v"].isnull().any(["time", "student"]).sum()) for group in groups)
    setting = [*setting, f"SGD: mean of {runs} runs" + f", {lost} diverged and are left out from then on" * (lost > 0)]
    symbols = [
        Line2D([], [], color=dark, label=group.label, **style) for group, style in zip(groups, SYMBOLS, strict=False)
    ]
    handles = [
        Line2D([], [], color=dark, lw=1.5, label="theory (ODE)"),
        *symbols,
        Patch(color=dark, alpha=0.3, lw=0, label=r"$\pm1$ standard deviation over runs"),
    ]
    if settles:
        label = rf"saturation: $\epsilon_g$ within ×{SATURATION_FACTOR:g} of its final value"
        handles.append(Patch(color=SATURATED, lw=0, label=label))
    figure.legend(handles=handles, title=",  ".join(setting), loc="outside upper center", ncols=3, columnspacing=1.4)
