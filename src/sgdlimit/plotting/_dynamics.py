"""Order parameters against time, theory beside SGD: Figures 2 and 4, and any problem of one's own."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ._hover import named
from ._style import ACTIVATION_LABELS, SERIES, TIME, label_panels, log_ticks, new_figure, styled

__all__ = ["SATURATION_FACTOR", "draw_entries", "example_dynamics", "saturation_time", "trajectory"]

SATURATION_FACTOR = 2.0
"""Saturation begins where the theory's ε_g stays within this factor of its final value."""

LAW_LABELS = {"gaussian": "Gaussian", "mixture": "mixture", "standardized mixture": "standardised mixture"}
SATURATED = "#ececec"
MARKS = 13  # symbols along a curve
MOST_ENTRIES = 8  # that a legend names
CIRCLE: dict[str, Any] = {"ls": "", "marker": "o", "mfc": "white", "mew": 1.1, "ms": 4.5}
TRIANGLE: dict[str, Any] = {"ls": (0, (3.5, 1.6)), "lw": 1.1, "marker": "^", "mec": "white", "mew": 0.6, "ms": 5.5}
SYMBOLS: tuple[dict[str, Any], ...] = (CIRCLE, TRIANGLE)
ENSEMBLE: dict[str, Any] = {"ls": (0, (1, 1)), "lw": 0.9}  # edges of the spread of a theory's ensemble
LABELS = (r"generalisation error $\epsilon_g$", "overlap $Q$", "overlap $R$", "output weight $v$")


class Runs(NamedTuple):
    """SGD runs to draw with one symbol: all that is known of them, or one quantity."""

    label: str
    data: Any


class Curve(NamedTuple):
    """One entry of an order parameter: its theory, and the mean and deviation over each set of runs."""

    label: str
    theory: xr.DataArray
    sgd: list[tuple[xr.DataArray, xr.DataArray]]
    spread: xr.DataArray | None = None
    """Standard deviation over the ensemble, of a theory that is one."""


@styled
def example_dynamics(
    theory: xr.Dataset, sgd: xr.Dataset, activation: str, law: str, *, mixture: xr.Dataset | None = None
) -> Figure:
    """ε_g, Q, R and v against log t: lines for the theory, circles for Gaussian SGD, triangles for mixture SGD.

    Bands are ±1 standard deviation over runs. The shaded region is saturation, from where the theory's ε_g stays within
    a factor :data:`SATURATION_FACTOR` of its final value. With the mixture theory given, a second column shows it
    beside the same runs, with its Q and R, which are covariances within the clusters; dotted lines are ±1 standard
    deviation over its ensemble.

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
    mixture
        The mixture theory of this law, with dims (activation, run, time, …); ``sgd`` then has ``Q_mixture`` and
        ``R_mixture``.

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
    if mixture is None:
        return _four_panels(theory.sel(activation=activation), groups, setting)
    own = groups[-1].data
    own = own.assign(Q=own["Q_mixture"], R=own["R_mixture"])
    ensemble = mixture.sel(activation=activation)
    return _two_theories(theory.sel(activation=activation), ensemble, groups, Runs(groups[-1].label, own), setting)


@styled
def trajectory(theory: xr.Dataset, runs: xr.Dataset) -> Figure:
    """ε_g, Q, R and v against log t of one problem: lines for the theory, circles for SGD.

    Bands are ±1 standard deviation over runs, dotted lines over the ensemble of a theory that is one; the shaded region
    is as in :func:`example_dynamics`.

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
    of_theory = theory["generalization_error"]
    middle = of_theory.mean("run") if "run" in theory.dims else of_theory
    start = saturation_time(times, middle.values) if settles else times[-1]
    error = "task_error" if "task_error" in theory else "generalization_error"  # of each task, where there are several
    for panel, name, label in zip(panels, (error, "Q", "R", "v"), LABELS, strict=True):
        panel.axvspan(start, times[-1], color=SATURATED, lw=0)
        draw_entries(panel, theory[name], [group._replace(data=group.data[name]) for group in groups], times)
        panel.set_ylabel(label)
    panels[0].set_yscale("log")
    log_ticks(panels[0].yaxis)
    label_panels(list(panels))
    for panel in panels[2:]:
        panel.set_xlabel(TIME)
    _source_legend(figure, groups, setting, settles, [_ensemble_line(theory)] if "run" in theory.dims else [])
    return figure


def _two_theories(
    theory: xr.Dataset, ensemble: xr.Dataset, groups: list[Runs], own: Runs, setting: list[str]
) -> Figure:
    """The conventional theory on the left, the mixture theory on the right, each with SGD's overlaps as it has them."""
    figure = new_figure(8.4)
    panels = figure.subplots(4, 2, sharex=True)
    times = theory["time"].values
    start = saturation_time(times, theory["generalization_error"].values)
    for (left, right), name, label in zip(panels, ("generalization_error", "Q", "R", "v"), LABELS, strict=True):
        left.axvspan(start, times[-1], color=SATURATED, lw=0)
        draw_entries(
            left, theory[name], [group._replace(data=group.data[name]) for group in groups], times, entries=False
        )
        draw_entries(right, ensemble[name], [own._replace(data=own.data[name])], times, first_symbol=len(groups) - 1)
        left.set_ylabel(label)
        if name == "generalization_error":
            for panel in (left, right):
                panel.set_yscale("log")
        if name in ("generalization_error", "v"):  # the same for both theories
            limits = np.array([left.get_ylim(), right.get_ylim()])
            for panel in (left, right):
                panel.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        if name == "generalization_error":
            for panel in (left, right):
                log_ticks(panel.yaxis)
    label_panels(list(panels.ravel()), ["conventional theory (ODE)", "mixture theory", *[""] * 6])
    for panel in panels[-1]:
        panel.set_xlabel(TIME)
    _source_legend(figure, groups, setting, True, [_ensemble_line(ensemble)])
    return figure


def _ensemble_line(ensemble: xr.Dataset) -> Line2D:
    label = rf"theory $\pm1$ standard deviation of {ensemble.sizes['run']} chains"
    return Line2D([], [], color=SERIES[0].color, label=label, **ENSEMBLE)


def draw_entries(
    panel: Axes,
    theory: xr.DataArray,
    groups: list[Runs],
    times: np.ndarray,
    *,
    entries: bool = True,
    first_symbol: int = 0,
    what: str = "theory",
) -> None:
    """All entries of one order parameter on a log axis of time, named beside the panel; ``what`` is drawn as lines."""
    curves = _curves(theory, [group.data for group in groups])
    labels = [group.label for group in groups]
    lines = [
        _draw(panel, curve, labels, series.color, first_symbol, what)
        for curve, series in zip(curves, cycle(SERIES), strict=False)
    ]
    panel.set_xscale("log")
    panel.set_xlim(times[0], times[-1])
    log_ticks(panel.xaxis)
    if len(curves) > MOST_ENTRIES:
        panel.set_title(f"{len(curves)} entries", loc="right", fontsize="medium")
    elif len(curves) > 1 and entries:  # the entries by colour, beside the panel, where no curve runs
        names = [curve.label for curve in curves]
        panel.legend(lines, names, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.1, handletextpad=0.4)


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
    if not np.isfinite(final):  # it diverged
        return float(times[-1])
    outside = (generalization_error > factor * final) | (generalization_error < final / factor)
    return float(times[np.flatnonzero(outside)[-1] + 1] if outside.any() else times[0])


def _curves(theory: xr.DataArray, groups: list[xr.DataArray]) -> list[Curve]:
    """Every distinct entry: Q is symmetric, so its lower triangle is left out."""
    entries = [dim for dim in theory.dims if dim not in ("time", "run")]
    curves = []
    for index in np.ndindex(*(theory.sizes[dim] for dim in entries)):
        if theory.name == "Q" and index[0] > index[1]:
            continue
        entry = dict(zip(entries, index, strict=True))
        label = f"${theory.name}_{{{','.join(map(str, index))}}}$" if entries else r"$\epsilon_g$"
        label = f"task {index[0]}" if "task" in entries else label
        sgd = [(runs.isel(entry).mean("run"), runs.isel(entry).std("run")) for runs in groups]
        one, spread = theory.isel(entry), None
        if "run" in theory.dims:
            one, spread = one.mean("run"), one.std("run")
        curves.append(Curve(label, one, sgd, spread))
    return curves


def _draw(panel: Axes, curve: Curve, labels: list[str], color: str, first_symbol: int, what: str) -> Line2D:
    """Theory, its spread and all runs of one entry; returns the line of the theory."""
    (line,) = panel.plot(curve.theory["time"], curve.theory, color=color, lw=1.5, zorder=3)
    named(line, f"{curve.label}, {what}")
    if curve.spread is not None:
        for edge in (curve.theory - curve.spread, curve.theory + curve.spread):
            panel.plot(edge["time"], edge, color=color, zorder=2.5, **ENSEMBLE)
    for place, ((mean, deviation), label) in enumerate(zip(curve.sgd, labels, strict=True), first_symbol):
        times, marks = mean["time"].values, _marks(mean["time"].values)[place]
        panel.fill_between(times, mean - deviation, mean + deviation, color=color, alpha=0.3, lw=0, zorder=2 - place)
        if place == 0:
            (drawn,) = panel.plot(times[marks], mean[marks], color=color, zorder=4, **CIRCLE)
        else:
            (drawn,) = panel.plot(times, mean, color=color, markevery=marks, zorder=3.5, **TRIANGLE)
        named(drawn, f"{curve.label}, {label}")
    return line


def _marks(times: Float[np.ndarray, "time"]) -> tuple[list[int], list[int]]:
    """Where the circles and, halfway between them on the log scale, the triangles go."""
    wanted = np.geomspace(times[0], times[-1], 2 * MARKS + 1)[1:-1]
    nearest = np.abs(np.log(wanted)[:, None] - np.log(times)).argmin(axis=1).tolist()
    return sorted(set(nearest[::2])), sorted(set(nearest[1::2]) - set(nearest[::2]))


def _source_legend(
    figure: Figure, groups: list[Runs], setting: list[str], settles: bool, further: Sequence[Line2D] = ()
) -> None:
    dark = SERIES[0].color
    runs = groups[0].data.sizes["run"]
    lost = sum(int(group.data["v"].isnull().any(["time", "student"]).sum()) for group in groups)
    which = f"SGD: mean of {runs} runs" if runs > 1 else "SGD: one run"
    setting = [*setting, which + f", {lost} diverged and are left out from then on" * (lost > 0)]
    symbols = [
        Line2D([], [], color=dark, label=group.label, **style) for group, style in zip(groups, SYMBOLS, strict=False)
    ]
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=dark, lw=1.5, label="theory" if further else "theory (ODE)"),
        *further,
        *symbols,
    ]
    if runs > 1:
        handles.append(Patch(color=dark, alpha=0.3, lw=0, label=r"$\pm1$ standard deviation over runs"))
    if settles:
        label = rf"saturation: $\epsilon_g$ within ×{SATURATION_FACTOR:g} of its final value"
        handles.append(Patch(color=SATURATED, lw=0, label=label))
    figure.legend(
        handles=handles,
        title=",  ".join(setting),
        loc="outside upper center",
        ncols=2 if further else 3,
        columnspacing=1.4,
    )
