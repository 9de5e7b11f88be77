"""The best learning-rate schedule beside constant rates: η(t), and the errors of theory and SGD."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ._style import SERIES, TIME, label_panels, log_ticks, new_figure, styled

__all__ = ["optimal_schedule"]


@styled
def optimal_schedule(study: xr.Dataset) -> Figure:
    """η(t) and ε_g(t) with the best schedule, theory's best constant rate and SGD's.

    Lines are theory, points with bars SGD, the mean over runs ± one standard error. The third panel has the final
    errors with all constant rates, and with the schedule as a horizontal line.

    Parameters
    ----------
    study
        Of :func:`sgdlimit.papers.schedule_against_constant`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(2.9)
    panels = figure.subplots(1, 3)
    t, runs = study["time"].values, study.sizes["run"]
    mean, error = study["sgd"].mean("run"), study["sgd"].std("run", ddof=1) / np.sqrt(max(runs, 1))
    shown = {"schedule": "best schedule", study.attrs["theory_constant"]: "best constant rate"}
    marked = np.unique(np.searchsorted(t, np.geomspace(max(t[0], t[-1] / 1e4), t[-1], 14)).clip(0, len(t) - 1))
    for (name, label), series in zip(shown.items(), SERIES, strict=False):
        one = study.sel(rate=name)
        panels[0].plot(t, one["learning_rate"], color=series.color, ls=series.linestyle, label=label)
        panels[1].plot(t, one["theory"], color=series.color, ls=series.linestyle)
        panels[1].errorbar(
            t[marked],
            mean.sel(rate=name)[marked],
            error.sel(rate=name)[marked],
            fmt=series.marker,
            color=series.color,
            ms=3.5,
        )
    panels[0].set_xlabel(TIME)
    panels[0].set_ylabel(r"learning rate $\eta(t)$")
    panels[0].set_ylim(bottom=0)
    panels[1].set_xlabel(TIME)
    panels[1].set_ylabel(r"generalisation error $\epsilon_g$")
    panels[1].set_xscale("log")
    panels[1].set_yscale("log")
    log_ticks(panels[1].yaxis)

    constants = study.isel(rate=slice(1, None), time=-1)
    eta = constants["learning_rate"].values
    scheduled, other = SERIES[:2]
    panels[2].plot(eta, constants["theory"], color=other.color, ls=other.linestyle)
    panels[2].errorbar(
        eta,
        mean.isel(rate=slice(1, None), time=-1),
        error.isel(rate=slice(1, None), time=-1),
        fmt=other.marker,
        color=other.color,
        ms=3.5,
    )
    last = study.sel(rate="schedule").isel(time=-1)
    panels[2].axhline(float(last["theory"]), color=scheduled.color)
    center, width = (float(x.sel(rate="schedule").isel(time=-1)) for x in (mean, error))
    panels[2].axhspan(center - width, center + width, color=scheduled.color, alpha=0.2, lw=0)
    panels[2].set_xscale("log")
    panels[2].set_xticks(eta, labels=[f"{rate:.2g}" for rate in eta])
    panels[2].set_xticks([], minor=True)
    panels[2].set_xlabel(r"constant rate $\eta$")
    panels[2].set_ylabel(r"final $\epsilon_g$")
    label_panels(list(panels))
    handles, labels = panels[0].get_legend_handles_labels()
    title = f"lines theory, points and band SGD (mean of {runs} runs ± standard error)"
    figure.legend(handles, labels, title=title, loc="outside upper center", ncols=2)
    return figure
