"""Beyond the paper: the approach to infinite size, and the errors of Lemmas V.1 and V.3."""

from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from sgdlimit.figures._style import FLOOR, SERIES, TIME, label_panels, new_figure, styled

__all__ = ["finite_size_scaling", "lemma_errors"]


@styled
def finite_size_scaling(study: xr.Dataset, exponents: xr.Dataset) -> Figure:
    """√N M against N, flat where M ∝ N^(−1/2), and the collapse of √N times the deviation against t.

    Parameters
    ----------
    study
        ``M`` (size, instance, theory, quantity) and ``deviation`` (size, theory, quantity, time).
    exponents
        ``exponent`` and ``stderr`` (theory, quantity).

    Returns
    -------
    matplotlib.figure.Figure
        One row for each theory: its own instance's above, that of infinite size below.
    """
    figure = new_figure(4.8)
    theories = study["theory"].values
    panels = figure.subplots(len(theories), 2)
    sizes = study["size"].values
    for theory, (left, right) in zip(theories, panels, strict=True):
        for quantity, series in zip(study["quantity"].values, SERIES, strict=False):
            scaled = study["size"] ** 0.5 * study["M"].sel(theory=theory, quantity=quantity)
            error = scaled.std("instance", ddof=1) / np.sqrt(scaled.sizes["instance"])
            fit = exponents.sel(theory=theory, quantity=quantity)
            label = rf"${quantity}$: $N^{{{float(fit['exponent']):.2f} \pm {float(fit['stderr']):.2f}}}$"
            style = {"color": series.color, "marker": series.marker, "ls": series.linestyle}
            left.errorbar(sizes, scaled.mean("instance"), error, label=label, capsize=2, **style)
        for size, series in zip(sizes, cycle(SERIES), strict=False):
            curve = np.sqrt(size) * study["deviation"].sel(size=size, theory=theory, quantity="Q")
            right.plot(study["time"], curve, color=series.color, ls=series.linestyle, label=f"$N={size}$")
        left.set(xscale="log", yscale="log", xlabel="$N$", ylabel=r"$\sqrt{N}\,\mathcal{M}$")
        left.set_xticks(sizes, labels=[str(size) for size in sizes])
        left.set_xticks([], minor=True)
        left.margins(y=0.35)
        right.set(xscale="log", yscale="log", xlabel=TIME, ylabel=r"$\sqrt{N}$ × deviation of $Q$")
        left.legend()
        right.legend()
    label_panels(list(panels.flat), [f"theory of {theory}" for theory in theories for _ in range(2)])
    return figure


@styled
def lemma_errors(study: xr.Dataset) -> Figure:
    """Error of Lemma V.1 against ε, and at ε = 0 against α where components are shared; of Lemma V.3 against D_KL.

    Dashed with hollow markers in c: functions that do not fulfil condition 2 of Lemma V.3. Grey: an error above 0.01.

    Parameters
    ----------
    study
        ``correlation_error`` (pair, spread, epsilon), ``shared_error`` (pair, alpha), ``expectation_error`` (function,
        alpha), ``kl`` (alpha,), ``condition`` (function,).

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(3.8)
    left, middle, right = figure.subplots(1, 3)
    for pair, series in zip(study["pair"].values, cycle(SERIES), strict=False):
        for spread, dashes in zip((study["spread"].values[0], study["spread"].values[-1]), ("-", ":"), strict=True):
            error = np.abs(study["correlation_error"].sel(pair=pair, spread=spread))
            label = f"{pair}" if dashes == "-" else None
            left.plot(study["epsilon"], error, color=series.color, ls=dashes, label=label)
    left.set(xscale="log", yscale="log", xlabel=r"$\epsilon = E\,u_1u_2$", ylabel="|error of Lemma V.1|")
    left.legend(title=rf"solid $\alpha={study['spread'].values[0]:g}$, dotted {study['spread'].values[-1]:g}")
    for pair, series in zip(study["pair"].values, cycle(SERIES), strict=False):
        error = np.abs(study["shared_error"].sel(pair=pair))
        if error.max() > 1e-12:  # for odd functions it is 0 by symmetry
            middle.plot(study["alpha"], error, color=series.color, label=str(pair))
    middle.set(xscale="log", yscale="log", xlabel=r"$\alpha$", ylabel="|error of Lemma V.1|", ylim=(1e-9, 10))
    middle.legend(title=r"$\epsilon=0$, components shared")
    for function, series in zip(study["function"].values, cycle(SERIES), strict=False):
        chosen = study.sel(function=function)
        error = np.abs(chosen["expectation_error"])
        holds = bool(chosen["condition"])
        style = {"ls": "-"} if holds else {"ls": "--", "marker": series.marker, "mfc": "white", "markevery": 4}
        right.plot(
            study["kl"], np.maximum(error, 1e-16), color=series.color, label=str(function).replace("⁴", "$^4$"), **style
        )
    right.set(xscale="log", yscale="log", xlabel=r"$D_{KL}$", ylabel="|error of Lemma V.3|", ylim=(1e-9, 10))
    for panel in (left, middle, right):
        panel.set_ylim(1e-9, 10)
        panel.axhspan(0.01, 10, color=FLOOR, alpha=0.5, lw=0)
    right.legend()
    label_panels([left, middle, right])
    return figure
