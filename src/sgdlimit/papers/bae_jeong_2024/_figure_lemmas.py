"""Lemmas V.1 and V.3 in numbers: the error of each, its order, and in grey where a condition or the lemma fails."""

import numpy as np
from matplotlib.figure import Figure
from xarray import Dataset

from ...plotting import (
    FLOOR,
    GREY,
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
from ._beyond import SECOND_ORDER

NAMES = {"relu": "ReLU", "erf": "erf", "sign": "sgn", "cube": "$x^3$", "identity": "$x$", "square": "$x^2$"}
ORDERS = {0: ((0, (4, 1.6)), "as printed (21)"), 1: ("-", r"with $\epsilon\,E[u_1 f]\,E[u_2 g]$")}
TITLES = {
    "combination": r"$u_2 = \epsilon u_1 + \sqrt{1-\epsilon^2}\,z$",
    "common noise": "common noise",
    "common component": "common component",
}
GUIDE = {"color": GREY, "lw": 0.9, "ls": ":", "zorder": 0.5}
HOLLOW = {"marker": "o", "mfc": "white", "ls": ""}


@styled
def lemma_correlation(data: Dataset, *, spread: float | None = None) -> Figure:
    """Lemma V.1: the error against ε at one α, and at one ε against the distance of the mixture from N(0, 1).

    Dashed is the lemma as printed, solid with the term of first order. Markers are filled where that leaves an error of
    second order, hollow where it does not. Beyond the grey edge the two variables cannot be correlated that way.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.function_correlation`.
    spread
        The α of the upper row; by default the middle one.

    Returns
    -------
    matplotlib.figure.Figure
    """
    spreads, epsilons, kl = (data[name].values for name in ("spread", "epsilon", "kl"))
    spread = float(spreads[len(spreads) // 2] if spread is None else spread)
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
        upper.set(xscale="log", yscale="log", xlabel=r"$\epsilon = E\,u_1 u_2$")
        upper.set(xlim=(epsilons[0] / 1.2, epsilons[-1] * 1.2), ylim=(1e-10, 2))
        lower.set(xscale="log", yscale="log", xlabel=r"$D_{\mathrm{KL}}(u_1\,\|\,\mathcal{N})$ [nats]")
    panels[0, 0].set_ylabel(rf"error of Lemma V.1, $\alpha = {spread:g}$")
    panels[1, 0].set_ylabel(rf"error to first order, $\epsilon = {middle:.2g}$")
    finish(panels, [TITLES[name] for name in names])
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
def lemma_expectation(data: Dataset, *, functions: tuple[str, ...] = ("erf", "relu", "sign")) -> Figure:
    """Lemma V.3: |E_P f − E_N f| of one coordinate against D_KL, and of a sum of D coordinates against D.

    Where the difference is not negligible the panel is grey: there the lemma's conclusion fails. Markers are filled
    where its condition on higher derivatives is met, and hollow where it is not.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.function_expectation`.
    functions
        The f to show.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(5.6)
    panels = figure.subplots(2, len(functions), sharey="row", squeeze=False)
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
