"""Where universality ends: the discrepancy M of the three theories against the block size B, standardised and not."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...comparison import AGREEMENT
from ...plotting import (
    ACTIVATION_LABELS,
    FLOOR,
    METRICS,
    SERIES,
    Series,
    diverged,
    instance_mean,
    keep,
    label_panels,
    log_ticks,
    named,
    new_figure,
    relative,
    relative_floor,
    styled,
    theory_floor,
)

__all__ = ["universality"]

THEORIES = {
    "conventional": (SERIES[0], r"conventional ($\Sigma_C = I$)"),
    "moment-matched": (SERIES[3], r"moment-matched (true $\Sigma_C$)"),
    "mixture": (SERIES[1], "mixture"),
}
DASHES = (0, (1.2, 1.2))
"""Of the smaller α; the largest has full lines."""


@styled
def universality(blocks: xr.Dataset, activation: str, *, spreads: Sequence[float] | None = None) -> Figure:
    """M over the scale of Q, R, v against the block size B for each theory and two α, un-standardised and standardised.

    M is relative to the mean |x| of SGD's Q, R or v as the theory measures it, for theories do so in different units.
    The mean over instances with a band of ±1 standard error. The grey line is the noise floor, Gaussian SGD against
    the conventional theory; the grey band reaches up to :data:`~sgdlimit.comparison.AGREEMENT` times it. A bar of the
    colour of the mixture theory is what the scatter between its own members makes of M for a single run, which adds to
    its noise floor. Markers are filled up to that factor times the floor, where theory holds, and hollow above. A
    theory has no marker where it does not apply. Runs that diverged, and theories that did, are left out of the means
    and counted in the title.

    Parameters
    ----------
    blocks
        ``M_Q`` (instance, activation, standardized, theory, spread, block_size, student, student_), ``M_R``, ``M_v``,
        the scales ``scale_Q`` …, the floors ``floor_Q`` and ``floor_scale_Q`` (instance, activation, …), and optionally
        ``noise_mixture_Q`` (instance, activation, standardized, spread, block_size, …), ``diverged`` and
        ``theory_diverged``.
    activation
        ``"relu"`` or ``"erf"``.
    spreads
        The α to show, at most two; by default the first above 0 and the last.

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen = keep(blocks, activation)
    if spreads is None:
        positive = [float(spread) for spread in chosen["spread"].values if spread > 0] or [0.0]
        spreads = sorted({positive[0], positive[-1]})
    kinds = [bool(value) for value in chosen["standardized"].values]
    figure = new_figure(1.9 + 2.2 * len(kinds))
    rows = figure.subplots(len(kinds), 3, sharex=True, sharey="col", squeeze=False)
    sizes = chosen["block_size"].values
    floors = {name: float(instance_mean(relative_floor(chosen, name))[0]) for name in METRICS}
    for standardized, panels in zip(kinds, rows, strict=True):
        for name, panel in zip(METRICS, panels, strict=True):
            floor = floors[name]
            panel.axhline(floor, color="#8a8a8a", lw=0.8, zorder=0.5)
            for spread in spreads:
                condition = chosen.sel(standardized=standardized, spread=spread)
                for theory in chosen["theory"].values:
                    one = condition.sel(theory=theory)
                    limit = AGREEMENT * theory_floor(one, str(theory), name).values
                    drawn = _draw(
                        panel, sizes, relative(one, name), limit, THEORIES[str(theory)][0], spread == max(spreads)
                    )
                    named(drawn, rf"{theory}, $\alpha={spread:g}$")
                if f"noise_mixture_{name}" in condition:
                    noise = relative(condition.sel(theory="mixture"), name, M="noise_mixture_")
                    color = THEORIES["mixture"][0].color
                    scatter = instance_mean(noise)[0].values
                    (drawn,) = panel.plot(sizes, scatter, ls="", marker="_", ms=11, mew=1.6, color=color, zorder=2.5)
                    named(drawn, rf"scatter of the mixture theory, $\alpha={spread:g}$")
            panel.set_xscale("log")
            panel.set_xticks(sizes, labels=_spaced(sizes))
            panel.set_xticks([], minor=True)
            panel.set_yscale("log")
            panel.set_ylabel(rf"$\mathcal{{M}}({name})\,/\,E|{name}|$")
    for name, panels in zip(METRICS, rows.T, strict=True):
        floor = floors[name]
        low, high = panels[0].get_ylim()
        low = min(low, floor / 1.5)
        panels[0].set_ylim(low, max(high, 1.2 * AGREEMENT * floor))
        for panel in panels:
            panel.axhspan(low, AGREEMENT * floor, color=FLOOR, lw=0, alpha=0.7, zorder=0)
        log_ticks(panels[0].yaxis)
        panels[-1].set_xlabel("block size $B$")
    titles = [text for kind in kinds for text in ("standardised" if kind else "un-standardised", "", "")]
    label_panels(list(rows.ravel()), titles)
    _legend(figure, chosen, activation, spreads)
    return figure


def _spaced(sizes: np.ndarray) -> list[str]:
    """Labels of the sizes that have room, from the largest down."""
    labels, last = [], np.inf
    for size in sizes[::-1]:
        room = size < last / 2.5
        labels.append(str(size) if room else "")
        last = size if room else last
    return labels[::-1]


def _draw(panel: Axes, sizes: np.ndarray, M: xr.DataArray, limit: np.ndarray, series: Series, full: bool) -> Line2D:
    """A curve with its band and markers; returns its line."""
    mean, error = (values.values for values in instance_mean(M))
    panel.fill_between(sizes, mean - error, mean + error, color=series.color, alpha=0.15, lw=0, zorder=1)
    (line,) = panel.plot(sizes, mean, color=series.color, ls="-" if full else DASHES, zorder=2)
    agrees, beyond, marker = mean < limit, mean >= limit, series.marker  # neither where there is no mean
    panel.plot(sizes[agrees], mean[agrees], marker, color=series.color, ms=5.5, zorder=3)
    panel.plot(sizes[beyond], mean[beyond], marker, mfc="white", mec=series.color, mew=1.2, ms=5.5, zorder=3)
    return line


def _legend(figure: Figure, chosen: xr.Dataset, activation: str, spreads: Sequence[float]) -> None:
    handles: list[Line2D | Patch] = []
    for theory in chosen["theory"].values:
        series, label = THEORIES[str(theory)]
        handles.append(Line2D([], [], color=series.color, marker=series.marker, label=label))
    if "noise_mixture_Q" in chosen:
        bar = {"color": THEORIES["mixture"][0].color, "ls": "", "marker": "_", "ms": 11, "mew": 1.6}
        handles.append(Line2D([], [], label="scatter between members of the mixture theory", **bar))
    handles += [
        Line2D([], [], color="black", ls="-" if spread == max(spreads) else DASHES, label=rf"$\alpha={spread:g}$")
        for spread in spreads
    ]
    handles.append(
        Patch(color=FLOOR, alpha=0.7, lw=0, label=rf"$\mathcal{{M}}$ < {AGREEMENT:g} × noise floor of Gaussian SGD")
    )
    handles.append(Line2D([], [], color="black", ls="", marker="s", mfc="white", label="hollow: beyond noise"))
    count = chosen.sizes["instance"]
    title = f"{ACTIVATION_LABELS[activation]}, mean of {count} instances ± standard error"
    lost = int((diverged(chosen) & (chosen["spread"] > 0)).sum()) if "diverged" in chosen else 0
    theories = int(chosen["theory_diverged"].sum()) if "theory_diverged" in chosen else 0
    if lost or theories:
        title += f"\ndiverged and left out: {lost} SGD runs, mixture theory {theories} times"
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=2, columnspacing=1.3)
