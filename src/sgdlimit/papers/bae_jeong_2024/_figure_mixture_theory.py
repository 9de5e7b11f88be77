"""How good the mixture theory is: against N, the step of integration and the ensemble, and its fluctuations."""

from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...plotting import ACTIVATION_LABELS, SERIES, label_panels, log_ticks, named, new_figure, styled

__all__ = ["mixture_theory"]

SHOWN = ("Q", "R", "v")
LABELS = {"Q": "$Q$", "R": "$R$", "v": "$v$"}


@styled
def mixture_theory(data: xr.Dataset) -> Figure:
    """M against N with and without the finite-N term, error against step and chains, and fluctuations against η.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.mixture_theory`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(6.2)
    panels = figure.subplots(2, 2)
    _sizes(panels[0, 0], data)
    _steps(panels[0, 1], data)
    _ensembles(panels[1, 0], data)
    _fluctuations(panels[1, 1], data)
    attrs = data.attrs
    label_panels(
        list(panels.ravel()),
        [
            rf"one SGD run, $t \leq {attrs['sizes_time']:g}$",
            f"step of integration, {attrs['step_chains']} chains",
            "size of the ensemble",
            "fluctuations of the mean fields",
        ],
    )
    handles = [
        Line2D([], [], color=series.color, marker=series.marker, label=LABELS[name])
        for name, series in zip(SHOWN, cycle(SERIES), strict=False)
    ]
    title = (
        f"{ACTIVATION_LABELS[attrs['activation']]}, two clusters, standardised, "
        rf"$\alpha = {attrs['spread']:g}$, $D/N = {attrs['latent_ratio']:g}$"
    )
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=len(handles))
    return figure


def _sizes(panel: Axes, data: xr.Dataset) -> None:
    sizes = np.unique(data["size"])
    for name, series in zip(SHOWN, cycle(SERIES), strict=False):
        for finite, style in ((True, "-"), (False, ":")):
            M = data["M"].sel(quantity=name, finite_term=finite)
            groups = [M.values[data["size"].values == size] for size in sizes]
            means = [group.mean() for group in groups]
            errors = [group.std(ddof=1) / np.sqrt(len(group)) if len(group) > 1 else 0.0 for group in groups]
            face = series.color if finite else "white"
            drawn = panel.errorbar(
                sizes, means, errors, color=series.color, ls=style, lw=1.2, marker=series.marker, mfc=face, capsize=2
            )
            named(drawn, f"{LABELS[name]}, {'with' if finite else 'without'} the term of order 1/N")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(sizes, labels=[str(size) for size in sizes])
    panel.set_xticks([], minor=True)
    log_ticks(panel.yaxis)
    panel.set_xlabel("input dimension $N$")
    panel.set_ylabel(r"$\mathcal{M}$, mean over instances")
    dark = SERIES[0].color
    panel.legend(
        handles=[
            Line2D([], [], color=dark, marker="o", label="with the term of order $1/N$"),
            Line2D([], [], color=dark, ls=":", marker="o", mfc="white", label="without it"),
        ],
        loc="best",
    )


def _steps(panel: Axes, data: xr.Dataset) -> None:
    steps = data["step"].values
    for name, series in zip(SHOWN, cycle(SERIES), strict=False):
        one = data.sel(quantity=name)
        (drawn,) = panel.plot(steps, one["step_error"], color=series.color, ls="", marker=series.marker)
        named(drawn, LABELS[name])
        (drawn,) = panel.plot(steps, one["step_noise"], color=series.color, ls="--", lw=1)
        named(drawn, f"{LABELS[name]}, Monte Carlo alone")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(steps, labels=[f"{step:g}" for step in steps])
    panel.set_xticks([], minor=True)
    log_ticks(panel.yaxis)
    panel.set_xlabel(r"largest step, in units of $t$")
    panel.set_ylabel("difference to the finest")
    low, high = panel.get_ylim()
    panel.set_ylim(low, 2 * high)  # room for the legend
    panel.legend(
        handles=[Line2D([], [], color="black", ls="--", lw=1, label="what Monte Carlo alone makes")], loc="best"
    )


def _ensembles(panel: Axes, data: xr.Dataset) -> None:
    counts = data["count"].values
    for name, series in zip(SHOWN, cycle(SERIES), strict=False):
        one = data.sel(quantity=name)
        (drawn,) = panel.plot(counts, one["ensemble_error"], color=series.color, ls="", marker=series.marker)
        named(drawn, LABELS[name])
        (drawn,) = panel.plot(counts, one["ensemble_expected"], color=series.color, ls="--", lw=1)
        named(drawn, f"{LABELS[name]}, spread/√chains")
    panel.set_xscale("log", base=2)
    panel.set_xticks(counts, labels=[str(count) for count in counts])
    panel.set_yscale("log")
    log_ticks(panel.yaxis)
    panel.set_xlabel("chains")
    panel.set_ylabel("rms error of the mean")
    panel.legend(
        handles=[Line2D([], [], color="black", ls="--", lw=1, label=r"spread/$\sqrt{\mathrm{chains}}$")], loc="best"
    )


def _fluctuations(panel: Axes, data: xr.Dataset) -> None:
    rates = data["learning_rate"].values
    total = (data["spread"] ** 2).mean(["student", "cluster"]) ** 0.5
    panel.plot(rates, total.sel(source="theory"), color=SERIES[0].color, label="mixture theory")
    measured = total.sel(source="SGD").values
    error = measured * (data["ratio_stderr"] / data["ratio"]).values
    panel.errorbar(rates, measured, error, fmt="o", color=SERIES[1].color, capsize=3, label="SGD")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(rates, labels=[f"{rate:g}" for rate in rates])
    panel.set_xticks([], minor=True)
    log_ticks(panel.yaxis)
    panel.set_xlabel(r"learning rate $\eta$")
    panel.set_ylabel("standard deviation of $M$")
    panel.legend(loc="best")
