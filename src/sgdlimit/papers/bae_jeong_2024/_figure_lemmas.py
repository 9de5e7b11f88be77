"""Lemmas V.1 and V.3 in numbers: the error of each, its order, and in grey where a condition or the lemma fails."""

from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...plotting import FLOOR, SERIES, label_panels, log_ticks, named, new_figure, styled
from ._findings import SECOND_ORDER

__all__ = ["lemma_correlation", "lemma_expectation"]

NAMES = {"relu": "ReLU", "erf": "erf", "sign": "sgn", "cube": "$x^3$", "identity": "$x$", "square": "$x^2$"}
ORDERS = {0: ((0, (4, 1.6)), "as printed (21)"), 1: ("-", r"with $\epsilon\,E[u_1 f]\,E[u_2 g]$")}
TITLES = {
    "combination": r"$u_2 = \epsilon u_1 + \sqrt{1-\epsilon^2}\,z$",
    "common noise": "common noise",
    "common component": "common component",
}


@styled
def lemma_correlation(data: xr.Dataset, *, spread: float | None = None) -> Figure:
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
    spreads, epsilons = data["spread"].values, data["epsilon"].values
    spread = float(spreads[len(spreads) // 2] if spread is None else spread)
    middle = float(epsilons[np.argmin(abs(np.log(epsilons / 0.01)))])
    figure = new_figure(5.6)
    panels = figure.subplots(2, data.sizes["construction"], sharey="row")
    for (upper, lower), name in zip(panels.T, data["construction"].values, strict=True):
        chosen = data.sel(construction=name)
        at_spread, at_epsilon = chosen.sel(spread=spread), chosen.sel(epsilon=middle)
        second = chosen["slope"].sel(order=1) > SECOND_ORDER
        for pair, series in zip(data["pair"].values, cycle(SERIES), strict=False):
            functions = ", ".join(NAMES[f] for f in str(pair).split(", "))
            for order, (style, which) in ORDERS.items():
                curve = at_spread["remainder"].sel(order=order, pair=pair)
                (drawn,) = upper.plot(epsilons, curve, color=series.color, ls=style)
                named(drawn, f"{functions}, {which}")
            curve = at_spread["remainder"].sel(order=1, pair=pair).values[::3]
            _mark(upper, epsilons[::3], curve, np.full(len(curve), bool(second.sel(pair=pair, spread=spread))), series)
            curve = at_epsilon["remainder"].sel(order=1, pair=pair).values
            (drawn,) = lower.plot(data["kl"], curve, color=series.color)
            named(drawn, functions)
            _mark(lower, data["kl"].values, curve, second.sel(pair=pair).values, series)
        _decades(upper, epsilons)
        upper.axvspan(float(at_spread["largest"]), 1, color=FLOOR, lw=0, alpha=0.7, zorder=0)
        lower.axhline(middle, color="#8a8a8a", lw=0.9, ls=":")
        lower.axhline(middle**2, color="#8a8a8a", lw=0.9, ls=":")
        upper.set_xlabel(r"$\epsilon = E\,u_1 u_2$")
        lower.set_xlabel(r"$D_{\mathrm{KL}}(u_1\,\|\,\mathcal{N})$ [nats]")
        lower.set_xscale("log")
        lower.set_yscale("log")
    for level, label in ((middle, r"$\epsilon$"), (middle**2, r"$\epsilon^2$")):
        panels[1, 0].annotate(label, (data["kl"].values[0], level), (2, -3), textcoords="offset points", va="top")
    panels[0, 0].set_ylabel(rf"error of Lemma V.1, $\alpha = {spread:g}$")
    panels[1, 0].set_ylabel(rf"error to first order, $\epsilon = {middle:.2g}$")
    label_panels(
        list(panels.ravel()), [TITLES.get(str(name), str(name)) for name in data["construction"].values] + [""] * 3
    )
    _correlation_legend(figure, data)
    return figure


def _decades(panel: Axes, epsilons: np.ndarray) -> None:
    """Log axes with grey lines of slope 1 and 2 to read the orders by."""
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(epsilons[0] / 1.2, epsilons[-1] * 1.2)
    panel.set_ylim(1e-10, 2)
    for power, label, at in ((1, r"$\epsilon$", (2e-3, 1.5e-2)), (2, r"$\epsilon^2$", (1.4e-3, 8e-6))):
        panel.plot(epsilons, epsilons**power, color="#8a8a8a", lw=0.9, ls=":", zorder=0.5)
        panel.text(*at, label, ha="center", va="center")


def _mark(panel: Axes, x: np.ndarray, y: np.ndarray, good: np.ndarray, series) -> None:
    for some, face in ((good, series.color), (~good, "white")):
        panel.plot(x[some], y[some], series.marker, mfc=face, mec=series.color, mew=1.1, ms=5, zorder=3)


def _correlation_legend(figure: Figure, data: xr.Dataset) -> None:
    handles: list[Line2D | Patch] = [
        Line2D(
            [], [], color=series.color, marker=series.marker, label=", ".join(NAMES[f] for f in str(pair).split(", "))
        )
        for pair, series in zip(data["pair"].values, cycle(SERIES), strict=False)
    ]
    handles += [Line2D([], [], color="black", ls=style, label=label) for style, label in ORDERS.values()]
    handles += [
        Line2D([], [], color="black", marker="o", mfc="white", ls="", label="a linear term is missing"),
        Patch(color=FLOOR, alpha=0.7, lw=0, label=r"no such $\epsilon$"),
    ]
    title = f"$E f(u_1) g(u_2)$, mixture of {len(data.attrs['shape'])} components; $f$, $g$:"
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=4, columnspacing=1.3)


@styled
def lemma_expectation(data: xr.Dataset, *, functions: tuple[str, ...] = ("erf", "relu", "sign")) -> Figure:
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
    for (upper, lower), f in zip(panels.T, functions, strict=True):
        chosen = data.sel(function=f)
        scale = data.attrs["relative_tolerance"] / float(chosen["tolerance"])
        for series, m in zip(cycle(SERIES), data["components"].values, strict=False):
            curve, kl = abs(chosen["difference"].sel(components=m).values) * scale, data["kl"].sel(components=m).values
            (drawn,) = upper.plot(kl, curve, color=series.color, ls=series.linestyle)
            named(drawn, f"m={m}")
            _mark(upper, kl, curve, chosen["condition"].sel(components=m).values, series)
        for series, spread in zip(cycle(SERIES), shown, strict=False):
            curve = abs(chosen["sum_difference"].sel(spread=spread).values) * scale
            (drawn,) = lower.plot(
                data["count"],
                curve,
                color=series.color,
                marker=series.marker,
                ls=series.linestyle,
                mec="white",
                mew=0.5,
            )
            named(drawn, rf"$\alpha={spread:g}$")
        counts = data["count"].values
        for power, at in ((0.5, 0.25), (1.0, 0.02)):
            lower.plot(counts, at * counts**-power, color="#8a8a8a", lw=0.9, ls=":", zorder=0.5)
        upper.set_xlabel(r"$D_{\mathrm{KL}}(P\,\|\,\mathcal{N})$ [nats]")
        lower.set_xlabel("coordinates in the sum, $D$")
        lower.set_xscale("log", base=2)
        lower.set_xticks(counts, labels=[str(D) for D in counts])
        lower.set_yscale("log")
    for row in panels:
        for panel in row:
            _shade(panel, data.attrs["relative_tolerance"])
    for panel in panels[1]:
        log_ticks(panel.yaxis)
    panels[0, 0].set_ylabel(r"$|E_P f - E_{\mathcal{N}} f|\,/\,\sqrt{E_{\mathcal{N}} f^2}$")
    panels[1, 0].set_ylabel(rf"the same for $U$, $m = {data.attrs['sum_components']}$")
    label_panels(list(panels.ravel()), [f"$f$ = {NAMES[f]}" for f in functions] * 2)
    _expectation_legends(figure, panels, data, shown)
    return figure


def _shade(panel: Axes, tolerance: float) -> None:
    low, high = panel.get_ylim()
    high = max(high, 1.3 * tolerance)
    panel.axhspan(tolerance, high, color=FLOOR, lw=0, alpha=0.7, zorder=0)
    panel.set_ylim(low, high)


def _expectation_legends(figure: Figure, panels: np.ndarray, data: xr.Dataset, shown: list[float]) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=series.color, ls=series.linestyle, marker=series.marker, label=f"$m={m}$")
        for m, series in zip(data["components"].values, cycle(SERIES), strict=False)
    ]
    handles += [
        Line2D([], [], color="black", marker="o", mfc="white", ls="", label="condition not met"),
        Patch(color=FLOOR, alpha=0.7, lw=0, label=f"conclusion fails: above {data.attrs['relative_tolerance']:.0%}"),
    ]
    title = r"standardised mixtures; $f = x$ and $x^2$ agree exactly"
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=len(handles), columnspacing=1.3)
    sums = [
        Line2D([], [], color=series.color, ls=series.linestyle, marker=series.marker, label=rf"$\alpha={spread:g}$")
        for spread, series in zip(shown, cycle(SERIES), strict=False)
    ]
    panels[1, -1].legend(handles=sums, loc="lower left")
    for power, at in ((r"-1/2", (16, 0.11)), (r"-1", (2, 4e-3))):
        panels[1, 0].text(*at, f"$D^{{{power}}}$", ha="center", va="center")
