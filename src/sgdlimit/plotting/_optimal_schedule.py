"""The best learning-rate schedule beside constant rates: η(t), and the errors of theory and SGD."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ._draw import SERIES, Series, add_legend, draw, each, key, mean_and_error
from ._style import TIME, finish, new_figure, styled, value_ticks


@styled
def optimal_schedule(study: xr.Dataset) -> Figure:
    """η(t) and ε_g(t) with the best schedule, theory's best constant rate and SGD's.

    Lines are theory, points with bars SGD, the mean over runs ± one standard error. The third panel has the final
    errors with all constant rates, and with the schedule as a horizontal line.

    Parameters
    ----------
    study
        From :func:`sgdlimit.papers.optimal_schedule.schedule_against_constant`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(2.9)
    rate, error, final = panels = figure.subplots(1, 3)
    t, constants = study["time"].values, study["rate"].values[1:]
    mean, stderr = mean_and_error(study["sgd"], "run")
    stderr = stderr.fillna(0)  # of a single run

    def draw_both(panel: Axes, x: np.ndarray, where: dict[str, Any], series: Series, marked: Any) -> None:
        theory, points, bars = (values.sel(where) for values in (study["theory"], mean, stderr))
        panel.plot(x, theory, color=series.color, ls=series.linestyle)
        style = {"color": series.color, "ls": "", "marker": series.marker, "ms": 3.5}
        draw(panel, x[marked], points[marked], bars[marked], bars=True, **style)

    marked = np.unique(np.searchsorted(t, np.geomspace(max(t[0], t[-1] / 1e4), t[-1], 14)).clip(0, len(t) - 1))
    names = {"schedule": "best schedule", study.attrs["theory_constant"]: "best constant rate"}
    for name, series in each(names):
        eta = study["learning_rate"].sel(rate=name)
        rate.plot(t, eta, color=series.color, ls=series.linestyle)
        draw_both(error, t, {"rate": name}, series, marked)
    eta = study["learning_rate"].sel(rate=constants, time=t[-1]).values
    draw_both(final, eta, {"rate": constants, "time": t[-1]}, SERIES[1], slice(None))
    best = {"rate": "schedule", "time": t[-1]}
    at, around, color = float(mean.sel(best)), float(stderr.sel(best)), SERIES[0].color
    final.axhline(float(study["theory"].sel(best)), color=color)
    final.axhspan(at - around, at + around, color=color, alpha=0.2, lw=0)
    rate.set(xlabel=TIME, ylabel=r"learning rate $\eta(t)$")
    rate.set_ylim(bottom=0)
    error.set(xlabel=TIME, ylabel=r"generalisation error $\epsilon_g$", xscale="log", yscale="log")
    final.set(xlabel=r"constant rate $\eta$", ylabel=r"final $\epsilon_g$", xscale="log")
    value_ticks(final, eta, [f"{value:.2g}" for value in eta])
    finish(panels)
    handles = [key(names[name], color=series.color, ls=series.linestyle) for name, series in each(names)]
    title = f"lines theory, points and band SGD (mean of {study.sizes['run']} runs ± standard error)"
    add_legend(figure, handles, title)
    return figure
