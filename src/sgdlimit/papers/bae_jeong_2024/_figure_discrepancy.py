"""Figures 3, 5, S3 and S4: the discrepancy M (18)-(20) between theory and SGD against D_KL(P ‖ N) (16)."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ...comparison import mean_and_error
from ...plotting import (
    ACTIVATION_LABELS,
    SERIES,
    TIME,
    add_legend,
    draw,
    each,
    entries,
    finish,
    key,
    keys,
    new_figure,
    shade,
    shade_key,
    styled,
)
from ._averages import METRICS, diverged, entry_means, keep, relative

INSET_ROOM = 0.52  # share of the panel's height kept free for the inset
INSET_SGD = {"color": SERIES[1].color, "lw": 2.4, "alpha": 0.75}
INSET_THEORY = {"color": "black", "lw": 1.0, "ls": (0, (4, 2))}
SCALE = {"color": "black", "ls": ":", "lw": 1.1}


@styled
def discrepancy_against_kl(
    grid: xr.Dataset,
    activation: str,
    standardized: bool,
    *,
    theory: xr.Dataset | None = None,
    sgd: xr.Dataset | None = None,
) -> Figure:
    """M(Q), M(R) and M(v) against the mean D_KL of the un-standardised mixture, one curve for each m.

    Each point is the mean over the kept instances (and over matrix entries (20)) at one α, with a band of ±1 standard
    error. The grey band is the noise floor: M of SGD on Gaussian inputs. Standardised, a dotted line shows the mean
    scale E|Q|, E|R|, E|v|. Runs that diverged are left out of the means. A hollow marker says that there were some, and
    the number beside it in panel a how many; a cross at the top says that none was left. Un-standardised, where the
    data has it, a second row shows M of the mixture theory, full, beside M of the conventional theory, faint. Both are
    relative to the mean |x| of SGD's Q, R or v as the theory measures it, because the two do so in different units; its
    count includes theories that diverged.

    Parameters
    ----------
    grid
        ``M_Q`` (instance, activation, standardized, components, spread, student, student_), ``M_R``, ``M_v``, the
        scales ``scale_Q`` …, ``kl`` (instance, components, spread), the floors ``floor_Q`` (instance, activation, …)
        and optionally ``kept`` (instance, activation) and ``diverged``; for the second row ``M_mixture_Q``,
        ``scale_mixture_Q`` … (instance, activation, components, spread, …), ``mixture_diverged`` and
        ``floor_scale_Q``.
    activation
        ``"relu"`` or ``"erf"``.
    standardized
        Whether the mixtures are standardised (19).
    theory, sgd
        Example trajectories as for :func:`~sgdlimit.papers.bae_jeong_2024.example_dynamics`; given both, each panel
        gets an inset with the evolution of the last entry on a standardised (or un-standardised) mixture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen = keep(grid, activation).sel(standardized=standardized, drop=True)
    both = not standardized and "M_mixture_Q" in chosen
    inset = theory is not None and sgd is not None
    kl = mean_and_error(chosen["kl"])[0]
    lost = [diverged(chosen)]
    curves, floors = [entry_means(chosen, "M_")], [entry_means(chosen, "floor_")]
    if both:
        lost.append(lost[0] | chosen["mixture_diverged"])
        curves.append(relative(chosen, "M_mixture_", "scale_mixture_"))
        floors.append(relative(chosen, "floor_", "floor_scale_"))
    counts = [part.sum("instance") for part in lost]
    scales = entry_means(chosen, "scale_").mean([dim for dim in curves[0].dims if dim != "quantity"])
    figure = new_figure(5.4 if both else 3.9 if inset else 3.2)
    panels: Any = figure.subplots(1 + both, 3, squeeze=False, sharex="col")
    for row, column in np.ndindex(panels.shape):
        panel, name = panels[row, column], METRICS[column]
        M, floor = (values.sel(quantity=name) for values in (curves[row], floors[row]))
        drawn = _draw_floor(panel, floor)
        if row:
            drawn += _draw_faint(panel, kl, relative(chosen).sel(quantity=name))
        drawn += _draw_curves(panel, kl, M, counts[row] if name == "Q" else 0 * counts[row])
        if standardized:
            drawn.append(float(scales.sel(quantity=name)))
            panel.axhline(drawn[-1], **SCALE)
        _fit(panel, drawn, INSET_ROOM if inset else 0.0)
        if theory is not None and sgd is not None:
            law = "standardized mixture" if standardized else "mixture"
            _draw_inset(panel, theory[name].sel(activation=activation), sgd[name].sel(activation=activation, law=law))
        panel.set_ylabel(rf"$\mathcal{{M}}({name})" + (rf"\,/\,E|{name}|$" if row else "$"))
    for panel in panels[-1]:
        panel.set_xlabel(r"$D_{\mathrm{KL}}(P\,\|\,\mathcal{N})$ [nats]")
    finish(panels, ["conventional theory", "", "", "mixture theory", "faint: conventional"] if both else ())
    handles = [*keys("$m={}$", kl["components"].values), shade_key("noise floor", alpha=1)]
    if standardized:
        handles.append(key(r"mean scale $E|\cdot|$", **SCALE))
    if inset:
        handles += [key("inset: SGD", **INSET_SGD), key("inset: theory", **INSET_THEORY)]
    law = "standardised" if standardized else "un-standardised"
    title = (
        f"{ACTIVATION_LABELS[activation]}, {law} mixtures, mean of {chosen.sizes['instance']} instances "
        "± standard error"
    )
    totals = [int(count.sum()) for count in counts]
    if any(totals):
        where, more = ("a, d", f"; {totals[1]} with those where the mixture theory did") if both else ("a", "")
        title += f"\nhollow marker, number in {where}: runs that diverged and are left out ({totals[0]} in all{more})"
    add_legend(figure, handles, title, ncols=4 if inset else None)
    return figure


def _draw_floor(panel: Axes, floor: xr.DataArray) -> list[float]:
    """The noise floor ±1 standard error; returns the values drawn."""
    mean, error = (float(value.fillna(0)) for value in mean_and_error(floor))
    shade(panel, mean - error, mean + error, line=mean)
    return [mean - error, mean + error]


def _draw_faint(panel: Axes, kl: xr.DataArray, M: xr.DataArray) -> list[float]:
    """The conventional theory behind the curves of the mixture theory."""
    mean = mean_and_error(M)[0]
    for m, series in each(kl["components"].values):
        style = {"color": series.color, "ls": series.linestyle, "alpha": 0.35, "lw": 1.1}
        draw(panel, kl.sel(components=m), mean.sel(components=m), name=f"m={m}, conventional", **style)
    return mean.values.ravel().tolist()


def _draw_curves(panel: Axes, kl: xr.DataArray, M: xr.DataArray, lost: xr.DataArray) -> list[float]:
    """A curve with its band for each m; returns the values drawn, NaN where every run diverged."""
    means, errors = mean_and_error(M)
    some = M.isnull().any("instance") & means.notnull()
    across = panel.get_xaxis_transform()
    for m, series in each(kl["components"].values):
        x, mean, error, hollow, count = (values.sel(components=m).values for values in (kl, means, errors, some, lost))
        draw(panel, x, mean, error, name=f"m={m}", **series.line)
        panel.plot(x[hollow], mean[hollow], series.marker, mfc="white", mec=series.color, zorder=4)
        gone = np.isnan(mean)
        panel.plot(x[gone], np.full(gone.sum(), 0.96), "x", color=series.color, mew=1.4, transform=across)
        for at in np.flatnonzero(count):
            point, coordinates = ((x[at], 0.96), across) if gone[at] else ((x[at], mean[at]), "data")
            style = {"color": series.color, "fontsize": 8, "textcoords": "offset points"}
            panel.annotate(f"{count[at]:.0f}", point, xycoords=coordinates, xytext=(4, -8), **style)
    # A band that reaches to almost nothing on the log axis, as of two instances far apart, does not set its range.
    errors = errors.fillna(0)
    low, high = (means - errors).clip(min=means / 3), means + errors
    return [*low.values.ravel(), *high.values.ravel()]


def _fit(panel: Axes, drawn: list[float], room: float) -> None:
    """A log axis around the values drawn, whose upper ``room`` share lies above them."""
    positive = [value for value in drawn if value > 0]  # neither NaN nor a band that reaches below zero
    if not positive:
        panel.text(0.5, 0.2, "no instance kept", transform=panel.transAxes, ha="center")
        return
    low, high = min(positive) / 1.6, max(positive) * 1.5
    panel.set(yscale="log", ylim=(low, low * (high / low) ** (1 / (1 - room))))


def _draw_inset(panel: Axes, theory: xr.DataArray, sgd: xr.DataArray) -> None:
    """Evolution of the last entry: theory dashed, over the mean SGD run with a band of ±1 standard deviation."""
    entry, curve = entries(theory)[-1]
    label = rf"${entry[0]}_{{{entry[1:]}}}(t)$"
    runs = entries(sgd)[-1][1]
    times = curve["time"].values
    inset = panel.inset_axes((0.22, 1.06 - INSET_ROOM, 0.7, INSET_ROOM - 0.1))
    draw(inset, times, runs.mean("run").values, runs.std("run").values, name=f"{label}, SGD", **INSET_SGD)
    draw(inset, times, curve.values, name=f"{label}, theory", **INSET_THEORY)
    inset.set_xlabel(TIME).set_visible(False)  # for those who read values off
    inset.set_ylabel(label).set_visible(False)
    inset.set(xscale="log", xlim=times[[0, -1]])
    inset.xaxis.set_major_locator(LogLocator(numticks=4))
    inset.xaxis.set_minor_locator(NullLocator())
    low, high = inset.get_ylim()
    inset.set_ylim(low, high + 0.28 * (high - low))  # room for the label
    inset.yaxis.set_major_locator(MaxNLocator(3))
    inset.tick_params(labelsize=8, length=2, pad=2)
    inset.text(0.05, 0.95, label, transform=inset.transAxes, va="top", fontsize=9.5)
