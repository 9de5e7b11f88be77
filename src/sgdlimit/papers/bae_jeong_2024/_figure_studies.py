"""Figures of the studies against N: how SGD approaches theory, and how good the mixture theory is."""

from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from xarray import DataArray, Dataset

from ...plotting import (
    ACTIVATION_LABELS,
    DARK,
    GREY,
    SERIES,
    TIME,
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

TITLES = {"instance": "theory of the instance", "infinite size": "theory of infinite size"}
DASHED = {"ls": "--", "lw": 1}
LOG = {"xscale": "log", "yscale": "log"}
KINDS: list[Any] = [
    (True, "with the term of order $1/N$", {"ls": "-"}),
    (False, "without the term of order $1/N$", {"ls": ":", "mfc": "white"}),
]


@styled
def finite_size(data: Dataset, *, quantity: str = "Q") -> Figure:
    """M against N for each theory with the fitted exponents, and √N · (SGD − theory) against time for every N.

    Error bars are ±1 standard error of the mean of the samples; full lines are the fits, dotted ones have the slope −½.
    Deviations that fall like N^(−1/2) lie on one curve in the lower row.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.finite_size`.
    quantity
        ``"Q"``, ``"R"`` or ``"v"``, for the lower row.

    Returns
    -------
    matplotlib.figure.Figure
    """
    theories = data["theory"].values
    figure = new_figure(5.8)
    panels = figure.subplots(2, len(theories), sharey="row", squeeze=False)
    for (upper, lower), theory in zip(panels.T, theories, strict=True):
        _draw_fall(upper, data.sel(theory=theory))
        mean = by_size(data["deviation"].sel(theory=theory, quantity=quantity) ** 2)[0]
        for curve, series in each((mean["size"] * mean) ** 0.5):
            size = int(curve["size"])
            label = f"$N={size}$ ({int((data['size'] == size).sum())})"
            lower.plot(data["time"], curve, color=series.color, ls=series.linestyle, label=label)
        lower.set(**LOG, xlabel=TIME)
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set(ylim=(low, 15 * high), ylabel=r"$\mathcal{M}$")  # room for the exponents, shared by the row
    panels[1, 0].set_ylabel(rf"$\sqrt{{N}}\,|{quantity}_\mathrm{{SGD}} - {quantity}_\mathrm{{theory}}|$, rms")
    panels[1, -1].legend(loc="lower right", title="(instances)")
    finish(panels, [TITLES[name] for name in theories] * 2)
    handles = keys(r"$\mathcal{{M}}({})$", data["quantity"].values, linestyle="-")
    title = f"{ACTIVATION_LABELS[data.attrs['activation']]}, Gaussian inputs, $D/N = {data.attrs['latent_ratio']:g}$"
    add_legend(figure, [*handles, key(r"$N^{-1/2}$", color=GREY, ls=":")], title)
    return figure


def _draw_fall(panel: Axes, data: Dataset) -> None:
    """M of each quantity against N with its fit, a line of slope −½, and the exponents."""
    lines, sizes = ["exponent of $N$"], np.unique(data["size"])
    means, errors = by_size(data["M"].pipe(np.log))  # of ln M, which is what is fitted
    for name, series in each(data["quantity"].values):
        one = data.sel(quantity=name)
        mean, error = (values.sel(quantity=name).values for values in (means, errors))
        bars = np.exp(mean) - np.exp(mean - error), np.exp(mean + error) - np.exp(mean)
        look = {"color": series.color, "marker": series.marker, "ls": ""}
        draw(panel, sizes, np.exp(mean), bars, bars=True, name=rf"$\mathcal{{M}}({name})$", **look)
        exponent, prefactor = float(one["exponent"]), float(one["prefactor"])
        fine = np.geomspace(sizes[0] / 1.15, sizes[-1] * 1.15, 2)
        panel.plot(fine, prefactor * fine**exponent, color=series.color)
        middle = prefactor * sizes[0] ** exponent
        panel.plot(fine, middle * np.sqrt(sizes[0] / fine), color=GREY, ls=":", zorder=0.5)
        lines.append(rf"${name}$: ${exponent:.2f} \pm {float(one['exponent_stderr']):.2f}$")
    panel.set(**LOG, xlabel="input dimension $N$")
    value_ticks(panel, sizes)
    corner = {"transform": panel.transAxes, "ha": "right", "va": "top"}
    panel.text(0.97, 0.97, "\n".join(lines), linespacing=1.4, **corner)


@styled
def mixture_theory(data: Dataset) -> Figure:
    """M against N with and without the finite-N term, error against step and chains, and fluctuations against η.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.mixture_theory`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, attrs = new_figure(6.2), data.attrs
    against_size, against_step, against_chains, against_rate = panels = figure.subplots(2, 2).ravel()
    means, errors = by_size(data["M"])
    for (name, series), (finite, label, style) in product(each(METRICS), KINDS):
        mean, error = (values.sel(quantity=name, finite_term=finite) for values in (means, errors))
        look = {"color": series.color, "marker": series.marker, **style}
        draw(against_size, mean["size"], mean, error, bars=True, name=f"${name}$, {label}", **look)
    against_size.set(**LOG, xlabel="input dimension $N$", ylabel=r"$\mathcal{M}$, mean over instances")
    value_ticks(against_size, means["size"].values)
    against_size.legend(handles=[key(label, color=DARK, marker="o", **style) for _, label, style in KINDS])
    _draw_errors(against_step, data["step_error"], data["step_noise"], "what Monte Carlo alone makes")
    low, high = against_step.get_ylim()  # twice as high, with room for the legend
    against_step.set(xlabel=r"largest step, in units of $t$", ylabel="difference to the finest", ylim=(low, 2 * high))
    label = r"spread/$\sqrt{\mathrm{chains}}$"
    _draw_errors(against_chains, data["ensemble_error"], data["ensemble_expected"], label)
    against_chains.set(xlabel="chains", ylabel="rms error of the mean")
    rates = data["learning_rate"].values
    theory, measured = (data["spread"] ** 2).mean(["student", "cluster"]).sel(source=["theory", "SGD"]).values ** 0.5
    against_rate.plot(rates, theory, color=SERIES[0].color, label="mixture theory")
    error = measured * (data["ratio_stderr"] / data["ratio"]).values
    draw(against_rate, rates, measured, error, bars=True, ls="", marker="o", color=SERIES[1].color, label="SGD")
    against_rate.set(**LOG, xlabel=r"learning rate $\eta$", ylabel="standard deviation of $M$")
    value_ticks(against_rate, rates)
    against_rate.legend()
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


def _draw_errors(panel: Axes, error: DataArray, chance: DataArray, label: str) -> None:
    """An error against what controls it, as markers, and what chance alone makes of it, dashed."""
    x = error[error.dims[0]]
    for name, series in each(METRICS):
        draw(panel, x, error.sel(quantity=name), name=f"${name}$", color=series.color, ls="", marker=series.marker)
        draw(panel, x, chance.sel(quantity=name), name=f"${name}$, {label}", color=series.color, **DASHED)
    panel.set(**LOG)
    value_ticks(panel, x.values)
    panel.legend(handles=[key(label, **DASHED)])
