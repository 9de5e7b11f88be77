"""Figures 3, 5, S3 and S4: the discrepancy M (18)-(20) between theory and SGD against D_KL(P ‖ N) (16)."""

from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from ...plotting import (
    ACTIVATION_LABELS,
    FLOOR,
    METRICS,
    SERIES,
    TIME,
    Series,
    diverged,
    entry_mean,
    instance_mean,
    keep,
    label_panels,
    named,
    new_figure,
    relative,
    relative_floor,
    styled,
)

__all__ = ["discrepancy_against_kl"]

INSET_ROOM = 0.52  # share of the panel's height kept free for the inset


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
    scale E|Q|, E|R|, E|v|. Runs that diverged are left out of the means: a hollow marker says that there were some, and
    the number beside it in panel a how many; a cross at the top, that none was left. Un-standardised, where the data
    has it, a second row shows M of the mixture theory, full, beside that of the conventional theory, faint, both
    relative to the mean |x| of SGD's Q, R or v as the theory measures it, for the two do so in different units; its
    count has theories that diverged as well.

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
        Example trajectories as for :func:`~sgdlimit.figures.example_dynamics`; given both, each panel gets an inset
        with the evolution of the last entry on a standardised (or un-standardised) mixture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen = keep(grid, activation).sel(standardized=standardized, drop=True)
    lost = diverged(chosen).sum("instance")
    inset = theory is not None and sgd is not None
    both = not standardized and "M_mixture_Q" in chosen
    figure = new_figure(5.4 if both else 3.9 if inset else 3.2)
    rows = figure.subplots(1 + both, 3, squeeze=False, sharex="col")
    for name, panel in zip(METRICS, rows[0], strict=True):
        drawn: list[float] = [*_draw_floor(panel, entry_mean(chosen[f"floor_{name}"]))]
        M, kl = entry_mean(chosen[f"M_{name}"]), instance_mean(chosen["kl"])[0]
        drawn += _draw_curves(panel, kl, M, lost if name == "Q" else None)
        if standardized:
            scale = float(entry_mean(chosen[f"scale_{name}"]).mean())
            panel.axhline(scale, color="black", ls=":", lw=1.1)
            drawn.append(scale)
        _fit(panel, drawn, INSET_ROOM if inset else 0.0)
        if theory is not None and sgd is not None:
            law = "standardized mixture" if standardized else "mixture"
            _draw_inset(panel, theory.sel(activation=activation)[name], sgd.sel(activation=activation, law=law)[name])
        panel.set_ylabel(rf"$\mathcal{{M}}({name})$")
    gone = (diverged(chosen) | chosen["mixture_diverged"]).sum("instance") if both else lost
    for name, panel in zip(METRICS, rows[1] if both else (), strict=False):
        drawn = [*_draw_floor(panel, relative_floor(chosen, name))]
        kl = instance_mean(chosen["kl"])[0]
        drawn += _draw_curves(panel, kl, relative(chosen, name), None, faint=True)
        own = relative(chosen, name, M="M_mixture_", scale="scale_mixture_")
        drawn += _draw_curves(panel, kl, own, gone if name == "Q" else None)
        _fit(panel, drawn, 0.0)
        panel.set_ylabel(rf"$\mathcal{{M}}({name})\,/\,E|{name}|$")
    for panel in rows[-1]:
        panel.set_xlabel(r"$D_{\mathrm{KL}}(P\,\|\,\mathcal{N})$ [nats]")
    titles = ["conventional theory", "", "", "mixture theory", "faint: conventional", ""] if both else None
    label_panels(list(rows.ravel()), titles)
    _legend(figure, chosen, activation, standardized, [int(lost.sum())] + [int(gone.sum())] * both, inset)
    return figure


def _draw_floor(panel: Axes, floor: xr.DataArray) -> tuple[float, float]:
    mean, error = (float(value) for value in instance_mean(floor))
    low, high = mean - np.nan_to_num(error), mean + np.nan_to_num(error)
    panel.axhspan(low, high, color=FLOOR, lw=0, zorder=0)
    panel.axhline(mean, color="#8a8a8a", lw=0.8, zorder=0.5)
    return low, high


def _draw_curves(
    panel: Axes, kl: xr.DataArray, M: xr.DataArray, lost: xr.DataArray | None, *, faint: bool = False
) -> list[float]:
    """A curve for each m; returns the values drawn."""
    drawn = []
    for series, components in zip(cycle(SERIES), M["components"].values, strict=False):
        one = M.sel(components=components)
        x = kl.sel(components=components).values
        if faint:
            mean = instance_mean(one)[0].values
            (line,) = panel.plot(x, mean, color=series.color, ls=series.linestyle, alpha=0.35, lw=1.1, zorder=2)
            named(line, f"m={components}, conventional")
            drawn += list(mean)
        else:
            drawn += _draw_curve(
                panel, x, one, series, None if lost is None else lost.sel(components=components).values
            )
    return drawn


def _fit(panel: Axes, drawn: list[float], room: float) -> None:
    positive = [value for value in drawn if value > 0]  # neither NaN nor a band that reaches below zero
    if positive:
        _set_limits(panel, min(positive) / 1.6, max(positive) * 1.5, room)
    else:
        panel.text(0.5, 0.2, "no instance kept", transform=panel.transAxes, ha="center")


def _draw_curve(panel: Axes, kl: np.ndarray, M: xr.DataArray, series: Series, lost: np.ndarray | None) -> list[float]:
    """One curve with its band; returns the values drawn, NaN where every run diverged."""
    mean, error = (values.values for values in instance_mean(M))
    partial = (M.isnull().any("instance") & M.notnull().any("instance")).values
    color = series.color
    panel.fill_between(kl, mean - error, mean + error, color=color, alpha=0.2, lw=0, zorder=1)
    (line,) = panel.plot(
        kl, mean, color=color, ls=series.linestyle, marker=series.marker, mec="white", mew=0.5, zorder=3
    )
    named(line, f"m={int(M['components'])}")
    panel.plot(kl[partial], mean[partial], color=color, ls="", marker=series.marker, mfc="white", mec=color, zorder=4)
    gone, across = np.isnan(mean), panel.get_xaxis_transform()
    panel.plot(kl[gone], np.full(gone.sum(), 0.96), "x", color=color, mew=1.4, transform=across)
    for x, y, count in zip(kl, mean, lost if lost is not None else [], strict=False):
        if count:
            position = (x, 0.96) if np.isnan(y) else (x, y)
            panel.annotate(
                f"{count:.0f}",
                position,
                xycoords=across if np.isnan(y) else "data",
                xytext=(4, -8),
                textcoords="offset points",
                color=color,
                fontsize=8,
            )
    # A band that reaches to almost nothing on the log axis, as of two instances far apart, does not set its range.
    return [*np.maximum(mean - np.nan_to_num(error), mean / 3), *(mean + np.nan_to_num(error))]


def _set_limits(panel: Axes, low: float, high: float, room: float) -> None:
    """A log axis whose upper ``room`` share lies above ``high`` and bears no ticks."""
    panel.set_yscale("log")
    panel.set_ylim(low, low * (high / low) ** (1 / (1 - room)))
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    wide = high / low > 50
    major = np.outer(powers, (1,) if wide else (1, 2, 5)).ravel()
    major = major[(major >= low) & (major <= high)]
    minor = np.outer(powers, np.arange(1, 10)).ravel()
    labels = [f"$10^{{{np.log10(tick):.0f}}}$" if wide else f"{tick:g}" for tick in major]
    panel.set_yticks(major, labels=labels)
    panel.set_yticks(minor[(minor >= low) & (minor <= high)], minor=True)
    panel.yaxis.set_minor_formatter(NullFormatter())


def _draw_inset(panel: Axes, theory: xr.DataArray, sgd: xr.DataArray) -> None:
    """Evolution of the last entry: theory dashed, over the mean SGD run with a band of ±1 standard deviation."""
    entries = [dim for dim in theory.dims if dim != "time"]
    last = dict.fromkeys(entries, -1)
    label = rf"${theory.name}_{{{','.join(str(theory.sizes[dim] - 1) for dim in entries)}}}(t)$"
    times = theory["time"].values
    runs = sgd.isel(last)
    mean, deviation = runs.mean("run").values, runs.std("run").values
    inset = panel.inset_axes((0.22, 1.06 - INSET_ROOM, 0.7, INSET_ROOM - 0.1))
    color = SERIES[1].color
    inset.fill_between(times, mean - deviation, mean + deviation, color=color, alpha=0.3, lw=0)
    (line,) = inset.plot(times, mean, color=color, lw=2.4, alpha=0.75)
    named(line, f"{label}, SGD")
    (line,) = inset.plot(times, theory.isel(last).values, color="black", lw=1.0, ls=(0, (4, 2)))
    named(line, f"{label}, theory")
    inset.set_xlabel(TIME).set_visible(False)  # for whoever reads values off
    inset.set_ylabel(label).set_visible(False)
    inset.set_xscale("log")
    inset.set_xlim(times[0], times[-1])
    inset.xaxis.set_major_locator(LogLocator(numticks=4))
    inset.xaxis.set_minor_locator(NullLocator())
    low, high = inset.get_ylim()
    inset.set_ylim(low, high + 0.28 * (high - low))  # room for the label
    inset.yaxis.set_major_locator(MaxNLocator(3))
    inset.tick_params(labelsize=8, length=2, pad=2)
    inset.text(0.05, 0.95, label, transform=inset.transAxes, va="top", fontsize=9.5)


def _legend(
    figure: Figure, chosen: xr.Dataset, activation: str, standardized: bool, lost: list[int], inset: bool
) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=s.color, ls=s.linestyle, marker=s.marker, mec="white", mew=0.5, label=f"$m={m}$")
        for s, m in zip(cycle(SERIES), chosen["components"].values, strict=False)
    ]
    handles.append(Patch(color=FLOOR, lw=0, label="noise floor"))
    if standardized:
        handles.append(Line2D([], [], color="black", ls=":", lw=1.1, label=r"mean scale $E|\cdot|$"))
    law = "standardised" if standardized else "un-standardised"
    count = chosen.sizes["instance"]
    title = f"{ACTIVATION_LABELS[activation]}, {law} mixtures, mean of {count} instances ± standard error"
    if inset:
        handles.append(Line2D([], [], color=SERIES[1].color, lw=2.4, alpha=0.75, label="inset: SGD"))
        handles.append(Line2D([], [], color="black", lw=1.0, ls=(0, (4, 2)), label="inset: theory"))
    if any(lost):
        panels = "a" if len(lost) == 1 else "a, d"
        title += f"\nhollow marker, number in {panels}: runs that diverged and are left out ({lost[0]} in all"
        title += ")" if len(lost) == 1 else f"; {lost[1]} with those where the mixture theory did)"
    figure.legend(
        handles=handles, title=title, loc="outside upper center", ncols=4 if inset else len(handles), columnspacing=1.3
    )
