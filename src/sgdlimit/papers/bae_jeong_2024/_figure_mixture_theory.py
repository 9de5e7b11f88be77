"""How good the mixture theory is: against N, the step of integration and the ensemble, and its fluctuations."""

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plotting import (
    ACTIVATION_LABELS,
    DARK,
    SERIES,
    add_legend,
    draw,
    each,
    finish,
    key,
    keys,
    new_figure,
    styled,
    value_ticks,
)
from ._averages import METRICS, by_size

DASHED = {"ls": "--", "lw": 1}


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
    panels = figure.subplots(2, 2).ravel()
    _draw_sizes(panels[0], data)
    _draw_errors(panels[1], data, ("step", "step_error", "step_noise"), "what Monte Carlo alone makes")
    panels[1].set(xlabel=r"largest step, in units of $t$", ylabel="difference to the finest")
    low, high = panels[1].get_ylim()
    panels[1].set_ylim(low, 2 * high)  # room for the legend
    _draw_errors(panels[2], data, ("count", "ensemble_error", "ensemble_expected"), r"spread/$\sqrt{\mathrm{chains}}$")
    panels[2].set(xlabel="chains", ylabel="rms error of the mean")
    _draw_fluctuations(panels[3], data)
    attrs = data.attrs
    titles = [
        rf"one SGD run, $t \leq {attrs['sizes_time']:g}$",
        f"step of integration, {attrs['step_chains']} chains",
        "size of the ensemble",
        "fluctuations of the mean fields",
    ]
    finish(panels, titles)
    title = (
        f"{ACTIVATION_LABELS[attrs['activation']]}, two clusters, standardised, "
        rf"$\alpha = {attrs['spread']:g}$, $D/N = {attrs['latent_ratio']:g}$"
    )
    add_legend(figure, keys("${}$", METRICS, linestyle="-"), title)
    return figure


def _draw_sizes(panel: Axes, data: xr.Dataset) -> None:
    """M of single runs against N, with and without the term of order 1/N."""
    kinds = {
        "with the term of order $1/N$": (True, {"ls": "-"}),
        "without the term of order $1/N$": (False, {"ls": ":", "mfc": "white"}),
    }
    means, errors = by_size(data["M"])
    for name, series in each(METRICS):
        for label, (finite, style) in kinds.items():
            mean, error = (values.sel(quantity=name, finite_term=finite) for values in (means, errors))
            look = {"color": series.color, "marker": series.marker, **style}
            draw(panel, mean["size"], mean, error, bars=True, name=f"${name}$, {label}", **look)
    panel.set(xscale="log", yscale="log", xlabel="input dimension $N$", ylabel=r"$\mathcal{M}$, mean over instances")
    value_ticks(panel, means["size"].values)
    panel.legend(handles=[key(label, color=DARK, marker="o", **style) for label, (_, style) in kinds.items()])


def _draw_errors(panel: Axes, data: xr.Dataset, names: tuple[str, str, str], label: str) -> None:
    """An error against what controls it, as markers, and what chance alone makes of it, dashed."""
    x, error, chance = (data[name] for name in names)
    for name, series in each(METRICS):
        draw(panel, x, error.sel(quantity=name), name=f"${name}$", color=series.color, ls="", marker=series.marker)
        draw(panel, x, chance.sel(quantity=name), name=f"${name}$, {label}", color=series.color, **DASHED)
    panel.set(xscale="log", yscale="log")
    value_ticks(panel, x.values)
    panel.legend(handles=[key(label, **DASHED)])


def _draw_fluctuations(panel: Axes, data: xr.Dataset) -> None:
    """The spread of the mean fields against the learning rate, in theory and SGD."""
    rates = data["learning_rate"].values
    total = (data["spread"] ** 2).mean(["student", "cluster"]) ** 0.5
    panel.plot(rates, total.sel(source="theory"), color=SERIES[0].color, label="mixture theory")
    measured = total.sel(source="SGD").values
    error = measured * (data["ratio_stderr"] / data["ratio"]).values
    draw(panel, rates, measured, error, bars=True, ls="", marker="o", color=SERIES[1].color, label="SGD")
    panel.set(xscale="log", yscale="log", xlabel=r"learning rate $\eta$", ylabel="standard deviation of $M$")
    value_ticks(panel, rates)
    panel.legend()
