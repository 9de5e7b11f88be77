"""Figures of the studies beyond the paper: SGD and the mixture theory against N, and the lemmas in numbers.

The figures of Lemmas V.1 and V.3 show the error of each, its order, and in grey where a condition or the lemma fails.
"""

from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from xarray import DataArray, Dataset

from ...plotting import (
    ACTIVATION_LABELS,
    DARK,
    FLOOR,
    GREY,
    SERIES,
    TIME,
    add_legend,
    draw,
    draw_marks,
    each,
    finish,
    key,
    keys,
    new_figure,
    shade,
    shade_key,
    styled,
    value_ticks,
)
from ._averages import METRICS, by_size
from ._beyond import SECOND_ORDER

TITLES = {"instance": "theory of the instance", "infinite size": "theory of infinite size"}
DASHED = {"ls": "--", "lw": 1}
LOG = {"xscale": "log", "yscale": "log"}
KINDS: list[Any] = [
    (True, "with the term of order $1/N$", {"ls": "-"}),
    (False, "without the term of order $1/N$", {"ls": ":", "mfc": "white"}),
]
NAMES = {"relu": "ReLU", "erf": "erf", "sign": "sgn", "cube": "$x^3$", "identity": "$x$", "square": "$x^2$"}
ORDERS = {0: ((0, (4, 1.6)), "as printed (21)"), 1: ("-", r"with $\epsilon\,E[u_1 f]\,E[u_2 g]$")}
CONSTRUCTIONS = {
    "combination": r"$u_2 = \epsilon u_1 + \sqrt{1-\epsilon^2}\,z$",
    "common noise": "common noise",
    "common component": "common component",
}
GUIDE = {"color": GREY, "lw": 0.9, "ls": ":", "zorder": 0.5}
HOLLOW = {"marker": "o", "mfc": "white", "ls": ""}


@styled
def finite_size(data: Dataset) -> Figure:
    """M against N for each theory with the fitted exponents, and √N · (SGD − theory) of Q against time for every N.

    Error bars are ±1 standard error of the mean of the samples; full lines are the fits, dotted ones have the slope −½.
    Deviations that fall like N^(−1/2) lie on one curve in the lower row.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.finite_size`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    theories = data["theory"].values
    figure = new_figure(5.8)
    panels = figure.subplots(2, len(theories), sharey="row")
    for (upper, lower), theory in zip(panels.T, theories, strict=True):
        _draw_fall(upper, data.sel(theory=theory))
        mean = by_size(data["deviation"].sel(theory=theory, quantity="Q") ** 2)[0]
        for curve, series in each((mean["size"] * mean) ** 0.5):
            size = int(curve["size"])
            label = f"$N={size}$ ({int((data['size'] == size).sum())})"
            lower.plot(data["time"], curve, color=series.color, ls=series.linestyle, label=label)
        lower.set(**LOG, xlabel=TIME)
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set(ylim=(low, 15 * high), ylabel=r"$\mathcal{M}$")  # room for the exponents, shared by the row
    panels[1, 0].set_ylabel(r"$\sqrt{N}\,|Q_\mathrm{SGD} - Q_\mathrm{theory}|$, rms")
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
        bars, label = np.diff(np.exp([mean - error, mean, mean + error]), axis=0), rf"$\mathcal{{M}}({name})$"
        draw(panel, sizes, np.exp(mean), bars, bars=True, name=label, color=series.color, marker=series.marker, ls="")
        exponent, prefactor = float(one["exponent"]), float(one["prefactor"])
        fine = np.geomspace(sizes[0] / 1.15, sizes[-1] * 1.15, 2)
        panel.plot(fine, prefactor * fine**exponent, color=series.color)
        middle = prefactor * sizes[0] ** exponent
        panel.plot(fine, middle * np.sqrt(sizes[0] / fine), color=GREY, ls=":", zorder=0.5)
        lines.append(rf"${name}$: ${exponent:.2f} \pm {float(one['exponent_stderr']):.2f}$")
    panel.set(**LOG, xlabel="input dimension $N$")
    value_ticks(panel, sizes)
    panel.text(0.97, 0.97, "\n".join(lines), transform=panel.transAxes, ha="right", va="top", linespacing=1.4)


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
    (against_size, against_step), (against_chains, against_rate) = panels = figure.subplots(2, 2)
    means, errors = by_size(data["M"])
    for (name, series), (finite, label, style) in product(each(METRICS), KINDS):
        mean, error = (values.sel(quantity=name, finite_term=finite) for values in (means, errors))
        style = {"color": series.color, "marker": series.marker, **style}
        draw(against_size, mean["size"], mean, error, bars=True, name=f"${name}$, {label}", **style)
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


@styled
def lemma_correlation(data: Dataset) -> Figure:
    """Lemma V.1: the error against ε at the middle α, and at one ε against the distance of the mixture from N(0, 1).

    Dashed is the lemma as printed, solid with the term of first order. Markers are filled where that leaves an error of
    second order, hollow where it does not. Beyond the grey edge the two variables cannot be correlated that way.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.function_correlation`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    spreads, epsilons, kl = (data[name].values for name in ("spread", "epsilon", "kl"))
    spread = spreads[len(spreads) // 2]
    middle = float(epsilons[np.argmin(abs(np.log(epsilons / 0.01)))])
    figure = new_figure(5.6)
    panels = figure.subplots(2, data.sizes["construction"], sharey="row")
    names = data["construction"].values
    pairs = {pair: ", ".join(NAMES[f] for f in pair.split(", ")) for pair in data["pair"].values}
    for (upper, lower), name in zip(panels.T, names, strict=True):
        chosen = data.sel(construction=name)
        for (pair, functions), series in each(pairs.items()):
            one = chosen.sel(pair=pair)
            for order, (style, which) in ORDERS.items():
                curve = one["remainder"].sel(order=order, spread=spread)
                draw(upper, epsilons, curve, name=f"{functions}, {which}", color=series.color, ls=style)
            second, curve = one["slope"].sel(order=1) > SECOND_ORDER, one["remainder"].sel(order=1)
            marks = curve.sel(spread=spread).values[::3]
            draw_marks(upper, epsilons[::3], marks, second.sel(spread=spread).values, series)
            curve = curve.sel(epsilon=middle).values
            draw(lower, kl, curve, name=functions, color=series.color)
            draw_marks(lower, kl, curve, second.values, series)
        for power, label, at in ((1, r"$\epsilon$", (2e-3, 1.5e-2)), (2, r"$\epsilon^2$", (1.4e-3, 8e-6))):
            upper.plot(epsilons, epsilons**power, **GUIDE)  # grey lines of slope 1 and 2, to read the orders by
            upper.text(*at, label, ha="center", va="center")
            lower.axhline(middle**power, **GUIDE)
            if lower is panels[1, 0]:
                lower.annotate(label, (kl[0], middle**power), (2, -3), textcoords="offset points", va="top")
        upper.axvspan(float(chosen["largest"].sel(spread=spread)), 1, color=FLOOR, lw=0, alpha=0.7, zorder=0)
        upper.set(
            **LOG, xlabel=r"$\epsilon = E\,u_1 u_2$", xlim=(epsilons[0] / 1.2, epsilons[-1] * 1.2), ylim=(1e-10, 2)
        )
        lower.set(**LOG, xlabel=r"$D_{\mathrm{KL}}(u_1\,\|\,\mathcal{N})$ [nats]")
    panels[0, 0].set_ylabel(rf"error of Lemma V.1, $\alpha = {spread:g}$")
    panels[1, 0].set_ylabel(rf"error to first order, $\epsilon = {middle:.2g}$")
    finish(panels, [CONSTRUCTIONS[name] for name in names])
    handles = [
        *keys("{}", pairs.values(), linestyle="-"),
        *(key(label, ls=style) for style, label in ORDERS.values()),
        key("a linear term is missing", **HOLLOW),
        shade_key(r"no such $\epsilon$"),
    ]
    title = f"$E f(u_1) g(u_2)$, mixture of {len(data.attrs['shape'])} components; $f$, $g$:"
    add_legend(figure, handles, title, ncols=4)
    return figure


@styled
def lemma_expectation(data: Dataset) -> Figure:
    """Lemma V.3: |E_P f − E_N f| of one coordinate against D_KL, and of a sum of D coordinates against D.

    Where the difference is not negligible the panel is grey: there the lemma's conclusion fails. Markers are filled
    where its condition on higher derivatives is met, and hollow where it is not.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.function_expectation`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, functions = new_figure(5.6), ("erf", "relu", "sign")
    panels = figure.subplots(2, len(functions), sharey="row")
    spreads = [float(a) for a in data["spread"].values if a > 0]
    shown = [spreads[k] for k in sorted({0, len(spreads) // 2, len(spreads) - 1})]
    counts, tolerance = data["count"].values, data.attrs["relative_tolerance"]
    scales = tolerance / data["tolerance"]
    differences, sums = (abs(data[name]) * scales for name in ("difference", "sum_difference"))
    for (upper, lower), f in zip(panels.T, functions, strict=True):
        for m, series in each(data["components"].values):
            kl, curve = data["kl"].sel(components=m).values, differences.sel(function=f, components=m).values
            draw(upper, kl, curve, name=f"m={m}", color=series.color, ls=series.linestyle)
            draw_marks(upper, kl, curve, data["condition"].sel(function=f, components=m).values, series)
        for spread, series in each(shown):
            curve = sums.sel(function=f, spread=spread)
            draw(lower, counts, curve, name=rf"$\alpha={spread:g}$", **series.line)
        for power, at in ((0.5, 0.25), (1.0, 0.02)):
            lower.plot(counts, at * counts**-power, **GUIDE)
        upper.set_xlabel(r"$D_{\mathrm{KL}}(P\,\|\,\mathcal{N})$ [nats]")
        lower.set(xlabel="coordinates in the sum, $D$", yscale="log")
        lower.set_xscale("log", base=2)
        value_ticks(lower, counts)
    for panel in panels.ravel():
        low, high = panel.get_ylim()
        high = max(high, 1.3 * tolerance)
        shade(panel, tolerance, high)
        panel.set_ylim(low, high)
    panels[0, 0].set_ylabel(r"$|E_P f - E_{\mathcal{N}} f|\,/\,\sqrt{E_{\mathcal{N}} f^2}$")
    panels[1, 0].set_ylabel(rf"the same for $U$, $m = {data.attrs['sum_components']}$")
    panels[1, -1].legend(handles=keys(r"$\alpha={:g}$", shown), loc="lower left")
    for power, at in (("-1/2", (16, 0.11)), ("-1", (2, 4e-3))):
        panels[1, 0].text(*at, f"$D^{{{power}}}$", ha="center", va="center")
    finish(panels, [f"$f$ = {NAMES[f]}" for f in functions] * 2)
    handles = keys("$m={}$", data["components"].values)
    handles += [key("condition not met", **HOLLOW), shade_key(f"conclusion fails: above {tolerance:.0%}")]
    add_legend(figure, handles, r"standardised mixtures; $f = x$ and $x^2$ agree exactly")
    return figure
