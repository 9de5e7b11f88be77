"""The best learning-rate schedule beside constant rates: η(t), and the errors of theory and SGD."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ._draw import SERIES, add_legend, draw, each, key, mean_and_error
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
    t = study["time"].values
    mean, stderr = mean_and_error(study["sgd"], "run")
    marked = np.unique(np.searchsorted(t, np.geomspace(max(t[0], t[-1] / 1e4), t[-1], 14)).clip(0, len(t) - 1))
    names = {"schedule": "best schedule", study.attrs["theory_constant"]: "best constant rate"}
    for name, series in each(names):
        one, line, points = study.sel(rate=name), {"color": series.color, "ls": series.linestyle}, {"time": marked}
        rate.plot(t, one["learning_rate"], **line)
        error.plot(t, one["theory"], **line)
        sgd = (values.sel(rate=name).isel(points) for values in (mean, stderr))
        draw(error, t[marked], *sgd, bars=True, color=series.color, ls="", marker=series.marker, ms=3.5)

    scheduled, other = SERIES[:2]
    last, center, width = study.isel(time=-1), mean.isel(time=-1), stderr.isel(time=-1).fillna(0)
    constant = last["rate"].values[1:]
    eta = last["learning_rate"].sel(rate=constant).values
    final.plot(eta, last["theory"].sel(rate=constant), color=other.color, ls=other.linestyle)
    sgd = center.sel(rate=constant), width.sel(rate=constant)
    draw(final, eta, *sgd, bars=True, color=other.color, ls="", marker=other.marker, ms=3.5)
    final.axhline(float(last["theory"].sel(rate="schedule")), color=scheduled.color)
    at, around = float(center.sel(rate="schedule")), float(width.sel(rate="schedule"))
    final.axhspan(at - around, at + around, color=scheduled.color, alpha=0.2, lw=0)
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
