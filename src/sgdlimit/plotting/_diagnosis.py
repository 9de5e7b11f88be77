"""What a diagnosis found: M of each theory beside its floor, trajectories, and the local fields along training."""

from itertools import cycle
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..comparison import AGREEMENT
from ..diagnosis import judge, margins
from ..trajectory import VARIABLES
from ._draw import GREY, SERIES, Series, add_legend, draw, each, key, shade, shade_key
from ._dynamics import SYMBOLS, draw_line, draw_runs, marks_along
from ._style import TIME, finish, new_figure, styled, value_ticks

QUANTITIES = ("Q", "R", "v", "generalization_error")
STATISTICS = {
    "kolmogorov_smirnov": ("Kolmogorov–Smirnov", SERIES[3]),
    "wasserstein": ("1-Wasserstein", SERIES[4]),
    "excess_kurtosis": ("excess kurtosis", Series("#555555", (0, (1, 1)), "X")),
}
LINES = ((0, (3.5, 1.6)), "-", (0, (4, 1, 1, 1)))  # of the theories, from the simplest
SHOWN = {"generalization_error": r"error $\epsilon_g$", "v": "output weights $v_k$", "R": "overlaps $R_{kk}$"}


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
    theories = data["M_runs"].dropna("theory", how="all")["theory"].values.tolist()
    _draw_margins(panels[0], data, theories)
    for panel, name in zip(panels[1:4], SHOWN, strict=True):
        _draw_trajectory(panel, data, name, theories)
    _draw_fields(panels[4], data)
    _draw_spectrum(panels[5], data)
    finish(panels)
    _add_legend(figure, data, theories)
    return figure


def _draw_margins(panel: Axes, data: xr.Dataset, theories: list[str]) -> None:
    """M of each theory over its noise floor with bars of two standard errors, and a dash on the inputs it assumes."""
    found = margins(data).sel(theory=theories, quantity=list(QUANTITIES))
    ratios = found[["M", "M_stderr", "gaussian"]] / found["floor"]
    places = np.arange(len(QUANTITIES))
    for number, (name, series) in enumerate(each(theories)):
        one, x = ratios.sel(theory=name), places + 0.24 * (number - (len(theories) - 1) / 2)
        style: dict[str, Any] = {"color": series.color, "ls": ""}
        draw(panel, x, one["M"], 2 * one["M_stderr"], bars=True, marker=series.marker, ms=5.5, lw=1, **style)
        panel.plot(x, one["gaussian"], marker="_", ms=9, mew=1.2, alpha=0.6, **style)
    heights = ratios[["M", "gaussian"]].to_array()
    low, high = 0.6 * min(1.0, float(heights.min())), 1.8 * max(AGREEMENT, float(heights.max()))
    shade(panel, low, AGREEMENT, line=1)
    panel.set(yscale="log", ylim=(low, high), xlim=(-0.5, places[-1] + 0.5), ylabel=r"$\mathcal{M}$ / noise floor")
    value_ticks(panel, places, [VARIABLES[name].tex for name in QUANTITIES])


def _draw_trajectory(panel: Axes, data: xr.Dataset, name: str, theories: list[str]) -> None:
    """The diagonal entries: SGD as circles and bands, theories as lines."""
    times, units = data["time"].values, range(min(data.sizes["student"], data.sizes["teacher"]))
    marks = marks_along(times)[0]
    for (theory, series), dashes in zip(each(theories), cycle(LINES), strict=False):
        one = data.sel(theory=theory)
        for unit in [0] if name == "generalization_error" else units:
            entry = dict.fromkeys(("student", "teacher"), unit)
            curve, runs = (one[f"{name}_{of}"].isel(entry, missing_dims="ignore") for of in ("theory", "sgd"))
            draw_line(panel, curve, color=series.color, ls=dashes, lw=1.5)
            if name == "R" or theory == theories[0]:  # SGD's v and ε_g do not depend on the theory it is measured by
                color = series.color if name == "R" else "black"
                draw_runs(panel, runs, marks=marks, color=color, **SYMBOLS[0])
    scale = "log" if name == "generalization_error" else "linear"
    panel.set(xscale="log", xlim=times[[0, -1]], yscale=scale, xlabel=TIME, ylabel=SHOWN[name])


def _draw_fields(panel: Axes, data: xr.Dataset) -> None:
    """Statistics of the fields, mean over runs and fields, in units of what sampling makes of Gaussian ones."""
    fields = abs(data["fields"]).mean(["run", "field"]) / data["null"].sel(moment="high")
    times = data["field_time"].values
    for name, (_, series) in STATISTICS.items():
        draw(panel, times, fields.sel(statistic=name), **series._asdict())
    low, high = 0.6 * min(1.0, float(fields.min())), 1.6 * max(2.0, float(fields.max()))
    shade(panel, low, 1)
    panel.set(xscale="log", yscale="log", xlim=(times[0] / 1.3, times[-1] * 1.3), ylim=(low, high))
    panel.set(xlabel=TIME, ylabel=r"$\lambda, \nu$ from Gaussian / noise")


def _draw_spectrum(panel: Axes, data: xr.Dataset) -> None:
    """The eigenvalues of the covariance from the largest, beside 1, which is what conventional theory assumes."""
    eigenvalues = data["eigenvalues"].values[::-1]
    positive = eigenvalues[eigenvalues > 1e-12 * eigenvalues[0]]
    panel.plot(np.arange(1, len(positive) + 1), positive, color=SERIES[0].color, marker=".", ms=3, lw=0.8)
    panel.axhline(1, color=GREY, lw=0.8)
    limits = min(0.5, positive[-1] / 1.3), max(2.0, 1.3 * positive[0])
    panel.set(xscale="log", yscale="log", ylim=limits, xlabel="rank", ylabel=r"eigenvalue of $\Sigma_C$")


def _add_legend(figure: Figure, data: xr.Dataset, theories: list[str]) -> None:
    handles = [
        *(
            key(name, color=series.color, ls=dashes, marker=series.marker)
            for (name, series), dashes in zip(each(theories), cycle(LINES), strict=False)
        ),
        key(f"SGD, {data.sizes['run']} runs", **SYMBOLS[0]),
        key("(a) same on the inputs it assumes", ls="", marker="_", ms=9),
        shade_key(rf"(a) agreement: $\mathcal{{M}}$ ≤ {AGREEMENT:g} × noise floor"),
        *(key(label, **series._asdict()) for label, series in STATISTICS.values()),
        shade_key("(e) by sampling alone, 99 %"),
    ]
    title = f"verdict: {judge(data).verdict};  bars: ±2 standard errors,  bands: ±1 deviation over runs"
    add_legend(figure, handles, title, ncols=3)
