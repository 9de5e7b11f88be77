"""Figures of the discrepancy M (18)-(20) between theory and SGD.

Figures 3, 5, S3 and S4 show it against D_KL(P ‖ N) (16), those of universality against the block size.
"""

from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from xarray import DataArray, Dataset

from ...comparison import AGREEMENT, mean_and_error
from ...plotting import (
    ACTIVATION_LABELS,
    SERIES,
    TIME,
    add_legend,
    draw,
    draw_marks,
    each,
    entries,
    finish,
    key,
    keys,
    new_figure,
    shade,
    shade_key,
    styled,
    value_ticks,
)
from ._averages import METRICS, entry_means, keep, relative, relative_floor, theory_floor
from ._findings import LAWS

INSET_ROOM = 0.52  # share of the panel's height kept free for the inset
INSET_SGD = {"color": SERIES[1].color, "lw": 2.4, "alpha": 0.75}
INSET_THEORY = {"color": "black", "lw": 1.0, "ls": (0, (4, 2))}
SCALE = {"color": "black", "ls": ":", "lw": 1.1}
THEORIES = {
    "conventional": (SERIES[0], r"conventional ($\Sigma_C = I$)"),
    "moment-matched": (SERIES[3], r"moment-matched (true $\Sigma_C$)"),
    "mixture": (SERIES[1], "mixture"),
}
DASHES = (0, (1.2, 1.2))
"""The line of the smaller α; the largest has full lines."""
SCATTER: dict[str, Any] = {"ls": "", "marker": "_", "ms": 11, "mew": 1.6, "color": THEORIES["mixture"][0].color}
ERRORS = "± standard error"


@styled
def discrepancy_against_kl(
    grid: Dataset,
    activation: str,
    standardized: bool,
    *,
    theory: Dataset | None = None,
    sgd: Dataset | None = None,
) -> Figure:
    """M(Q), M(R) and M(v) against the mean D_KL of the un-standardised mixture, one curve for each m.

    Each point is the mean over the kept instances (and over matrix entries (20)) at one α, with a band of ±1 standard
    error. The grey band is the noise floor: M of SGD on Gaussian inputs. Standardised, a dotted line shows the mean
    scale E|Q|, E|R|, E|v|. Runs that diverged are left out of the means. A hollow marker shows that there were some,
    and the number beside it in panel a how many; a cross at the top shows that none was left. Un-standardised, a second
    row shows M of the mixture theory, full, beside M of the conventional theory, faint. Both are relative to the mean
    |x| of SGD's Q, R or v as the theory measures it, because theories measure in different units; its count includes
    theories that diverged.

    Parameters
    ----------
    grid
        ``M_Q`` (instance, activation, standardized, components, spread, student, student_), ``M_R``, ``M_v``, the
        scales ``scale_Q`` …, ``kl`` (instance, components, spread), the floors ``floor_Q`` (instance, activation, …),
        ``kept`` (instance, activation) and ``diverged``; for the second row ``M_mixture_Q``, ``scale_mixture_Q`` …
        (instance, activation, components, spread, …), ``mixture_diverged`` and ``floor_scale_Q``.
    activation
        ``"relu"`` or ``"erf"``.
    standardized
        Whether the mixtures are standardised (19).
    theory, sgd
        Example trajectories as for ``example_dynamics``; given both, each panel
        gets an inset with the evolution of the last entry on a standardised mixture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen, law = keep(grid, activation, standardized=standardized), LAWS[standardized]
    kl, lost = chosen["kl"].mean("instance"), chosen["diverged"]
    scales = entry_means(chosen, "scale_").groupby("quantity").mean(...)
    # For each row of panels M, its noise floor, which runs diverged, and the curves of another theory behind.
    rows: list[Any] = [(entry_means(chosen, "M_"), entry_means(chosen, "floor_"), lost, None)]
    titles, where, more = [], "a", ""
    if not standardized:
        lost = lost | chosen["mixture_diverged"]
        M, floor = relative(chosen, "M_mixture_", "scale_mixture_"), relative(chosen, "floor_", "floor_scale_")
        rows.append((M, floor, lost, relative(chosen).mean("instance")))
        titles, where = ["conventional theory", "", "", "mixture theory", "faint: conventional"], "a, d"
        more = f"; {int(lost.sum())} with those where the mixture theory did"
    insets = []
    if theory is not None and sgd is not None:
        insets = [theory.sel(activation=activation), sgd.sel(activation=activation, law="standardized mixture")]
    figure = new_figure(5.4 if titles else 3.9 if insets else 3.2)
    panels: Any = figure.subplots(len(rows), 3, squeeze=False, sharex="col")
    for row, column in np.ndindex(panels.shape):
        panel, name, (M, floor, gone, behind) = panels[row, column], METRICS[column], rows[row]
        drawn = _draw_curves(panel, kl, gone.sum("instance") * (name == "Q"), name, M, floor, behind)
        if standardized:
            drawn.append(scales.sel(quantity=name))
            panel.axhline(drawn[-1], **SCALE)
        _fit(panel, drawn, INSET_ROOM if insets else 0.0)
        if insets:
            _draw_inset(panel, *(part[name] for part in insets))
        panel.set_ylabel(rf"$\mathcal{{M}}({name})" + (rf"\,/\,E|{name}|$" if row else "$"))
        panels[-1, column].set_xlabel(r"$D_{\mathrm{KL}}(P\,\|\,\mathcal{N})$ [nats]")
    finish(panels, titles)
    handles = [*keys("$m={}$", kl["components"].values), shade_key("noise floor", alpha=1)]
    if standardized:
        handles.append(key(r"mean scale $E|\cdot|$", **SCALE))
    if insets:
        handles += [key("inset: SGD", **INSET_SGD), key("inset: theory", **INSET_THEORY)]
    title = f"{ACTIVATION_LABELS[activation]}, {law} mixtures, mean of {chosen.sizes['instance']} instances {ERRORS}"
    if lost.any():
        total = int(rows[0][2].sum())
        title += f"\nhollow marker, number in {where}: runs that diverged and are left out ({total} in all{more})"
    add_legend(figure, handles, title, ncols=4 if insets else None)
    return figure


def _draw_curves(
    panel: Axes, kl: DataArray, lost: DataArray, name: str, M: DataArray, floor: DataArray, behind: DataArray | None
) -> list[Any]:
    """A curve of one quantity with its band for each m, over the noise floor and the curves of another theory.

    Returns the values drawn, NaN where every run diverged.
    """
    mean, error = (float(value.fillna(0)) for value in mean_and_error(floor.sel(quantity=name)))
    shade(panel, mean - error, mean + error, line=mean)
    drawn: list[Any] = [mean - error, mean + error]
    if behind is not None:
        drawn.append(behind.sel(quantity=name))
        for m, series in each(kl["components"].values):
            style = {"color": series.color, "ls": series.linestyle, "alpha": 0.35, "lw": 1.1}
            draw(panel, kl.sel(components=m), drawn[-1].sel(components=m), name=f"m={m}, conventional", **style)
    M = M.sel(quantity=name)
    means, errors = mean_and_error(M)
    partly = M.isnull().any("instance") & means.notnull()
    across = panel.get_xaxis_transform()
    for m, series in each(kl["components"].values):
        x, mean, error, hollow, count = (y.sel(components=m).values for y in (kl, means, errors, partly, lost))
        draw(panel, x, mean, error, name=f"m={m}", **series.line)
        panel.plot(x[hollow], mean[hollow], series.marker, mfc="white", mec=series.color, zorder=4)
        gone = np.isnan(mean)
        panel.plot(x[gone], np.full(gone.sum(), 0.96), "x", color=series.color, mew=1.4, transform=across)
        for at in np.flatnonzero(count):
            y, coordinates = (0.96, across) if gone[at] else (mean[at], "data")
            place = (x[at], y), (4, -8), coordinates, "offset points"
            panel.annotate(f"{count[at]:.0f}", *place, color=series.color, fontsize=8)
    # A band that reaches to almost nothing on the log axis, as of two instances far apart, does not set its range.
    errors = errors.fillna(0)
    return [*drawn, (means - errors).clip(min=means / 3), means + errors]


def _fit(panel: Axes, drawn: list[Any], room: float) -> None:
    """A log axis around the values drawn, whose upper ``room`` share lies above them."""
    values = np.concatenate([*map(np.ravel, drawn)])
    positive = values[values > 0]  # neither NaN nor a band that reaches below zero
    if not positive.size:
        panel.text(0.5, 0.2, "no instance kept", transform=panel.transAxes, ha="center")
        return
    low, high = positive.min() / 1.6, positive.max() * 1.5
    panel.set(yscale="log", ylim=(low, low * (high / low) ** (1 / (1 - room))))


def _draw_inset(panel: Axes, theory: DataArray, sgd: DataArray) -> None:
    """Evolution of the last entry: theory dashed, over the mean SGD run with a band of ±1 standard deviation."""
    (entry, curve), (_, runs) = entries(theory)[-1], entries(sgd)[-1]
    label, times = rf"${entry[0]}_{{{entry[1:]}}}(t)$", curve["time"].values
    inset = panel.inset_axes((0.22, 1.06 - INSET_ROOM, 0.7, INSET_ROOM - 0.1))
    draw(inset, times, runs.mean("run").values, runs.std("run").values, name=f"{label}, SGD", **INSET_SGD)
    draw(inset, times, curve.values, name=f"{label}, theory", **INSET_THEORY)
    inset.set_xlabel(TIME).set_visible(False)  # for those who read values off
    inset.set_ylabel(label).set_visible(False)
    low, high = inset.get_ylim()
    inset.set(xscale="log", xlim=times[[0, -1]], ylim=(low, high + 0.28 * (high - low)))  # room for the label
    inset.xaxis.set_major_locator(LogLocator(numticks=4))
    inset.yaxis.set_major_locator(MaxNLocator(3))
    inset.minorticks_off()
    inset.tick_params(labelsize=8, length=2, pad=2)
    inset.text(0.05, 0.95, label, transform=inset.transAxes, va="top", fontsize=9.5)


@styled
def universality(blocks: Dataset, activation: str) -> Figure:
    """M over the scale of Q, R, v against the block size B for each theory and two α, un-standardised and standardised.

    M is relative to the mean |x| of SGD's Q, R or v as the theory measures it, because theories do so in different
    units. Curves are the mean over instances with a band of ±1 standard error. The grey line is the noise floor,
    Gaussian SGD against the conventional theory; the grey band reaches up to :data:`~sgdlimit.comparison.AGREEMENT`
    times it. A bar in the colour of the mixture theory is what the scatter between its own members makes of M for a
    single run, which adds to its noise floor. Markers are filled up to that factor times the floor, where theory holds,
    and hollow above. A theory has no marker where it does not apply. Runs and theories that diverged are left out of
    the means and counted in the title.

    Parameters
    ----------
    blocks
        ``M_Q`` (instance, activation, standardized, theory, spread, block_size, student, student_), ``M_R``, ``M_v``,
        the scales ``scale_Q`` …, the floors ``floor_Q`` and ``floor_scale_Q`` (instance, activation, …),
        ``noise_mixture_Q`` (instance, activation, standardized, spread, block_size, …), ``diverged`` and
        ``theory_diverged``.
    activation
        ``"relu"`` or ``"erf"``. The first α above 0 and the last are shown.

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen = keep(blocks, activation)
    positive = [float(spread) for spread in chosen["spread"].values if spread > 0] or [0.0]
    styles = {positive[0]: DASHES, positive[-1]: "-"}
    kinds, sizes = chosen["standardized"].values.tolist(), chosen["block_size"].values
    (means, errors), floors = mean_and_error(relative(chosen)), relative_floor(chosen)
    holds, noise = means < AGREEMENT * theory_floor(chosen), relative(chosen, "noise_mixture_").mean("instance")
    figure = new_figure(1.9 + 2.2 * len(kinds))
    panels: Any = figure.subplots(len(kinds), 3, sharex=True, sharey="col", squeeze=False)
    for (spread, ls), theory, (row, column) in product(
        styles.items(), chosen["theory"].values, np.ndindex(panels.shape)
    ):
        place = {"spread": spread, "theory": theory, "standardized": kinds[row], "quantity": METRICS[column]}
        mean, error, filled = (values.sel(place).values for values in (means, errors, holds))
        panel, series = panels[row, column], THEORIES[theory][0]
        label = rf"$\alpha={spread:g}$"
        draw(panel, sizes, mean, error, name=f"{theory}, {label}", color=series.color, ls=ls)
        draw_marks(panel, sizes, mean, filled, series)
        if theory == "mixture":
            draw(panel, sizes, noise.sel(place), name=f"scatter of the mixture theory, {label}", **SCATTER)
    for name, column in zip(METRICS, panels.T, strict=True):
        floor, last = float(floors.sel(quantity=name)), column[-1]
        last.set(xscale="log", yscale="log", xlabel="block size $B$")
        low, high = last.get_ylim()
        low = min(low, floor / 1.5)
        last.set_ylim(low, max(high, 1.2 * AGREEMENT * floor))
        for panel in column:
            shade(panel, low, AGREEMENT * floor, line=floor)
            panel.set_ylabel(rf"$\mathcal{{M}}({name})\,/\,E|{name}|$")
        value_ticks(last, sizes, _spaced(sizes))
    finish(panels, [text for kind in kinds for text in (LAWS[kind], "", "")])
    drawn = [THEORIES[theory] for theory in chosen["theory"].values]
    handles = [
        *(key(label, color=series.color, marker=series.marker) for series, label in drawn),
        key("scatter between members of the mixture theory", **SCATTER),
        *(key(rf"$\alpha={spread:g}$", ls=ls) for spread, ls in styles.items()),
        shade_key(rf"$\mathcal{{M}}$ < {AGREEMENT:g} × noise floor of Gaussian SGD"),
        key("hollow: beyond noise", ls="", marker="s", mfc="white"),
    ]
    title = f"{ACTIVATION_LABELS[activation]}, mean of {chosen.sizes['instance']} instances {ERRORS}"
    lost, theories = int((chosen["diverged"] & (chosen["spread"] > 0)).sum()), int(chosen["theory_diverged"].sum())
    if lost or theories:
        title += f"\ndiverged and left out: {lost} SGD runs, mixture theory {theories} times"
    add_legend(figure, handles, title, ncols=2)
    return figure


def _spaced(sizes: np.ndarray) -> list[str]:
    """Labels of the sizes that have room, from the largest down."""
    labels, last = [], np.inf
    for size in sizes[::-1]:
        room = size < last / 2.5
        labels.append(str(size) if room else "")
        last = size if room else last
    return labels[::-1]
