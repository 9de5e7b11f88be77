"""Where universality ends: the discrepancy M of the three theories against the block size B, standardised and not."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sgdlimit.comparison import AGREEMENT
from sgdlimit.figures._averages import METRICS, diverged, entry_mean, instance_mean, keep
from sgdlimit.figures._style import ACTIVATION_LABELS, FLOOR, SERIES, Series, label_panels, log_ticks, new_figure, styled

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
    """M(Q), M(R), M(v) against the block size B for each theory and two α, un-standardised above, standardised below.

    The mean over instances with a band of ±1 standard error. The grey line is the noise floor, Gaussian SGD against the
    conventional theory; the grey band reaches up to :data:`~sgdlimit.comparison.AGREEMENT` times it. Markers are filled
    inside the band, where theory holds, and hollow above. A theory has no marker where it does not apply. Runs that
    diverged, and theories that did, are left out of the means and counted in the title.

    Parameters
    ----------
    blocks
        ``M_Q`` (instance, activation, standardized, theory, spread, block_size, student, student_), ``M_R``, ``M_v``,
        the floors ``floor_Q`` (instance, activation, …) and optionally ``diverged`` and ``theory_diverged``.
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
    figure = new_figure(2.0 + 2.1 * len(kinds))
    rows = figure.subplots(len(kinds), 3, sharex=True, sharey="col", squeeze=False)
    sizes = chosen["block_size"].values
    for standardized, panels in zip(kinds, rows, strict=True):
        for name, panel in zip(METRICS, panels, strict=True):
            floor = float(instance_mean(entry_mean(chosen[f"floor_{name}"]))[0])
            panel.axhline(floor, color="#8a8a8a", lw=0.8, zorder=0.5)
            for theory in chosen["theory"].values:
                for spread in spreads:
                    M = entry_mean(chosen[f"M_{name}"].sel(standardized=standardized, spread=spread, theory=theory))
                    full = spread == max(spreads)
                    _draw(panel, sizes, M, AGREEMENT * floor, THEORIES[str(theory)][0], full)
            panel.set_xscale("log")
            panel.set_xticks(sizes, labels=_spaced(sizes))
            panel.set_xticks([], minor=True)
            panel.set_yscale("log")
            panel.set_ylabel(rf"$\mathcal{{M}}({name})$")
    for name, panels in zip(METRICS, rows.T, strict=True):
        floor = float(instance_mean(entry_mean(chosen[f"floor_{name}"]))[0])
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


def _draw(panel: Axes, sizes: np.ndarray, M: xr.DataArray, limit: float, series: Series, full: bool) -> None:
    mean, error = (values.values for values in instance_mean(M))
    panel.fill_between(sizes, mean - error, mean + error, color=series.color, alpha=0.15, lw=0, zorder=1)
    panel.plot(sizes, mean, color=series.color, ls="-" if full else DASHES, zorder=2)
    agrees, marker = mean < limit, series.marker
    panel.plot(sizes[agrees], mean[agrees], marker, color=series.color, ms=5.5, zorder=3)
    panel.plot(sizes[~agrees], mean[~agrees], marker, mfc="white", mec=series.color, mew=1.2, ms=5.5, zorder=3)


def _legend(figure: Figure, chosen: xr.Dataset, activation: str, spreads: Sequence[float]) -> None:
    handles: list[Line2D | Patch] = []
    for theory in chosen["theory"].values:
        series, label = THEORIES[str(theory)]
        handles.append(Line2D([], [], color=series.color, marker=series.marker, label=label))
    handles += [
        Line2D([], [], color="black", ls="-" if spread == max(spreads) else DASHES, label=rf"$\alpha={spread:g}$")
        for spread in spreads
    ]
    handles.append(
        Patch(color=FLOOR, alpha=0.7, lw=0, label=rf"agreement: $\mathcal{{M}}$ < {AGREEMENT:g} × noise floor")
    )
    count = chosen.sizes["instance"]
    title = f"{ACTIVATION_LABELS[activation]}, mean of {count} instances ± standard error"
    lost = int((diverged(chosen) & (chosen["spread"] > 0)).sum()) if "diverged" in chosen else 0
    theories = int(chosen["theory_diverged"].sum()) if "theory_diverged" in chosen else 0
    if lost or theories:
        title += f"\ndiverged and left out: {lost} SGD runs, mixture theory {theories} times"
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=3, columnspacing=1.3)
