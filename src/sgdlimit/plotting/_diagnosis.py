"""What a diagnosis found: M of each theory beside its floor, trajectories, and the local fields along training."""

from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..comparison import AGREEMENT
from ..diagnosis import judge, margins
from ._style import FLOOR, SERIES, TIME, label_panels, log_ticks, new_figure, styled

__all__ = ["diagnosis"]

QUANTITIES = {"Q": "$Q$", "R": "$R$", "v": "$v$", "generalization_error": r"$\epsilon_g$"}
STATISTICS = {
    "kolmogorov_smirnov": "Kolmogorov–Smirnov",
    "wasserstein": "1-Wasserstein",
    "excess_kurtosis": "excess kurtosis",
}
LINES = ((0, (3.5, 1.6)), "-", (0, (4, 1, 1, 1)))  # of the theories, from the simplest
MARKS = 13


@styled
def diagnosis(data: xr.Dataset) -> Figure:
    """M over its floor for each theory; ε_g, R and v of theory and SGD; how far the local fields are from Gaussian.

    Parameters
    ----------
    data
        See :attr:`sgdlimit.Diagnosis.data`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(5.6)
    panels = figure.subplots(2, 3).ravel()
    theories = [str(name) for name in data["theory"].values if not data["M_runs"].sel(theory=name).isnull().all()]
    _draw_margins(panels[0], data, theories)
    for panel, name in zip(panels[1:4], ("generalization_error", "v", "R"), strict=True):
        _draw_trajectory(panel, data, name, theories)
    _draw_fields(panels[4], data)
    _draw_spectrum(panels[5], data)
    label_panels(list(panels))
    _legend(figure, data, theories)
    return figure


def _draw_margins(panel: Axes, data: xr.Dataset, theories: list[str]) -> None:
    found = margins(data)
    place = np.arange(len(QUANTITIES))
    heights = []
    for number, (name, series) in enumerate(zip(theories, SERIES, strict=False)):
        one = found.sel(theory=name, quantity=list(QUANTITIES))
        ratio, error = one["M"] / one["floor"], one["M_stderr"] / one["floor"]
        x = place + 0.24 * (number - (len(theories) - 1) / 2)
        panel.errorbar(x, ratio, 2 * error, color=series.color, ls="", marker=series.marker, ms=5.5, capsize=2, lw=1)
        gaussian = one["gaussian"] / one["floor"]
        panel.plot(x, gaussian, ls="", marker="_", color=series.color, ms=9, mew=1.2, alpha=0.6)
        heights += [*ratio.values, *gaussian.values]
    panel.set_yscale("log")
    low, high = 0.6 * min(1.0, *heights), 1.8 * max(AGREEMENT, *heights)
    panel.axhspan(low, AGREEMENT, color=FLOOR, alpha=0.7, lw=0, zorder=0)
    panel.axhline(1, color="#8a8a8a", lw=0.8, zorder=0.5)
    panel.set_ylim(low, high)
    log_ticks(panel.yaxis)
    panel.set_xticks(place, list(QUANTITIES.values()))
    panel.set_xlim(-0.5, len(QUANTITIES) - 0.5)
    panel.set_ylabel(r"$\mathcal{M}$ / noise floor")


def _draw_trajectory(panel: Axes, data: xr.Dataset, name: str, theories: list[str]) -> None:
    """The diagonal entries: SGD as circles and bands, theories as lines."""
    times = data["time"].values
    marks = np.unique(np.abs(np.log(np.geomspace(times[0], times[-1], MARKS))[:, None] - np.log(times)).argmin(axis=1))
    for number, theory in enumerate(theories):
        one = data[[f"{name}_theory", f"{name}_sgd"]].sel(theory=theory)
        units = range(min(data.sizes["student"], data.sizes["teacher"])) if name != "generalization_error" else [0]
        for unit in units:
            entry = {"v": {"student": unit}, "R": {"student": unit, "teacher": unit}}.get(name, {})
            color = SERIES[number].color
            curve, runs = one[f"{name}_theory"].isel(entry), one[f"{name}_sgd"].isel(entry)
            panel.plot(times, curve, color=color, ls=LINES[number % len(LINES)], lw=1.5, zorder=3)
            if number and name != "R":  # SGD's v and ε_g do not depend on the theory it is measured by
                continue
            mean, deviation = runs.mean("run"), runs.std("run")
            shade = "black" if name != "R" else color
            panel.fill_between(times, mean - deviation, mean + deviation, color=shade, alpha=0.2, lw=0, zorder=1)
            panel.plot(times[marks], mean[marks], color=shade, ls="", marker="o", mfc="white", mew=1.0, ms=4, zorder=4)
    panel.set_xscale("log")
    panel.set_xlim(times[0], times[-1])
    log_ticks(panel.xaxis)
    panel.set_xlabel(TIME)
    labels = {"v": "output weights $v_k$", "R": "overlaps $R_{kk}$", "generalization_error": r"error $\epsilon_g$"}
    panel.set_ylabel(labels[name])
    if name == "generalization_error":
        panel.set_yscale("log")
        log_ticks(panel.yaxis)


def _draw_fields(panel: Axes, data: xr.Dataset) -> None:
    """Statistics of the fields, mean over runs and fields, in units of what sampling makes of Gaussian ones."""
    fields = abs(data["fields"]).mean(["run", "field"]) / data["null"].sel(moment="high")
    times = data["field_time"].values
    for name, series in zip(STATISTICS, cycle(SERIES[3:]), strict=False):
        panel.plot(times, fields.sel(statistic=name), color=series.color, ls=series.linestyle, marker=series.marker)
    low, high = 0.6 * min(1.0, float(fields.min())), 1.6 * max(2.0, float(fields.max()))
    panel.axhspan(low, 1, color=FLOOR, alpha=0.7, lw=0, zorder=0)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(times[0] / 1.3, times[-1] * 1.3)
    panel.set_ylim(low, high)
    log_ticks(panel.xaxis)
    log_ticks(panel.yaxis)
    panel.set_xlabel(TIME)
    panel.set_ylabel(r"$\lambda, \nu$ from Gaussian / noise")


def _draw_spectrum(panel: Axes, data: xr.Dataset) -> None:
    eigenvalues = data["eigenvalues"].values[::-1]
    positive = eigenvalues[eigenvalues > 1e-12 * eigenvalues[0]]
    panel.plot(np.arange(1, len(positive) + 1), positive, color=SERIES[0].color, marker=".", ms=3, lw=0.8)
    panel.axhline(1, color="#8a8a8a", lw=0.8)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_ylim(min(0.5, positive[-1] / 1.3), max(2.0, 1.3 * positive[0]))
    log_ticks(panel.yaxis)
    panel.set_xlabel("rank")
    panel.set_ylabel(r"eigenvalue of $\Sigma_C$")


def _legend(figure: Figure, data: xr.Dataset, theories: list[str]) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=series.color, ls=LINES[number % len(LINES)], marker=series.marker, label=name)
        for number, (name, series) in enumerate(zip(theories, SERIES, strict=False))
    ]
    handles += [
        Line2D([], [], color="black", ls="", marker="o", mfc="white", label=f"SGD, {data.sizes['run']} runs"),
        Line2D([], [], color="black", ls="", marker="_", ms=9, label=r"(a) same on the inputs it assumes"),
        Patch(color=FLOOR, alpha=0.7, lw=0, label=rf"(a) agreement: $\mathcal{{M}}$ ≤ {AGREEMENT:g} × noise floor"),
    ]
    handles += [
        Line2D([], [], color=series.color, ls=series.linestyle, marker=series.marker, label=label)
        for label, series in zip(STATISTICS.values(), cycle(SERIES[3:]), strict=False)
    ]
    handles.append(Patch(color=FLOOR, alpha=0.7, lw=0, label="(e) by sampling alone, 99 %"))
    title = f"verdict: {judge(data).verdict};  bars: ±2 standard errors,  bands: ±1 deviation over runs"
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=3, columnspacing=1.4)
