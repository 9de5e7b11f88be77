"""Where universality holds and where it ends: the discrepancy M against the block size B of standardised mixtures."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sgdlimit.comparison import AGREEMENT
from sgdlimit.figures._averages import METRICS, diverged, entry_mean, instance_mean, keep
from sgdlimit.figures._style import ACTIVATION_LABELS, FLOOR, SERIES, label_panels, log_ticks, new_figure, styled

__all__ = ["universality"]

STYLES = {
    "conventional": ("-", r"conventional ($\Sigma_C = I$)"),
    "moment-matched": ((0, (3.5, 1.6)), r"moment-matched (true $\Sigma_C$)"),
}


@styled
def universality(blocks: xr.Dataset, activation: str, *, spreads: Sequence[float] | None = None) -> Figure:
    """M(Q), M(R), M(v) against the block size B for each theory and several α.

    The mean over instances with a band of ±1 standard error. The grey line is the noise floor, Gaussian SGD against the
    same theory; the grey band reaches up to :data:`~sgdlimit.comparison.AGREEMENT` times it. Markers are filled inside
    the band, where universality holds, and hollow above.

    Parameters
    ----------
    blocks
        ``M_Q`` (instance, activation, theory, spread, block_size, student, student_), ``M_R``, ``M_v`` and the floors
        ``floor_Q`` (instance, activation, …).
    activation
        ``"relu"`` or ``"erf"``.
    spreads
        The α to show; by default up to four of those in the data, evenly spaced, with the first above 0 and the last.

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen = keep(blocks, activation)
    if spreads is None:
        positive = [float(spread) for spread in chosen["spread"].values if spread > 0] or [0.0]
        spreads = [positive[k] for k in sorted(set(np.linspace(0, len(positive) - 1, 4).round().astype(int)))]
    figure = new_figure(3.5)
    panels = figure.subplots(1, 3)
    sizes = chosen["block_size"].values
    for name, panel in zip(METRICS, panels, strict=True):
        floor = float(instance_mean(entry_mean(chosen[f"floor_{name}"]))[0])
        panel.axhline(floor, color="#8a8a8a", lw=0.8, zorder=0.5)
        for spread, series in zip(spreads, cycle(SERIES), strict=False):
            for theory in chosen["theory"].values:
                M = entry_mean(chosen[f"M_{name}"].sel(spread=spread, theory=theory))
                mean, error = (values.values for values in instance_mean(M))
                style = STYLES[str(theory)][0]
                panel.fill_between(sizes, mean - error, mean + error, color=series.color, alpha=0.15, lw=0, zorder=1)
                panel.plot(sizes, mean, color=series.color, ls=style, zorder=2)
                _mark(panel, sizes, mean, mean < AGREEMENT * floor, series.color, series.marker)
        panel.set_xscale("log")
        panel.set_xticks(sizes, labels=[str(size) for size in sizes])
        panel.set_xticks([], minor=True)
        panel.set_yscale("log")
        low, high = panel.get_ylim()
        panel.axhspan(low, AGREEMENT * floor, color=FLOOR, lw=0, alpha=0.7, zorder=0)
        panel.set_ylim(low, max(high, 1.2 * AGREEMENT * floor))
        log_ticks(panel.yaxis)
        panel.set_xlabel("block size $B$")
        panel.set_ylabel(rf"$\mathcal{{M}}({name})$")
    label_panels(list(panels))
    _legend(figure, chosen, activation, spreads)
    return figure


def _mark(panel: Axes, sizes: np.ndarray, mean: np.ndarray, agrees: np.ndarray, color: str, marker: str) -> None:
    panel.plot(sizes[agrees], mean[agrees], marker, color=color, ms=5.5, zorder=3)
    panel.plot(sizes[~agrees], mean[~agrees], marker, mfc="white", mec=color, mew=1.2, ms=5.5, zorder=3)


def _legend(figure: Figure, chosen: xr.Dataset, activation: str, spreads: Sequence[float]) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=series.color, marker=series.marker, label=rf"$\alpha={spread:g}$")
        for spread, series in zip(spreads, cycle(SERIES), strict=False)
    ]
    handles.append(
        Patch(color=FLOOR, alpha=0.7, lw=0, label=rf"agreement: $\mathcal{{M}}$ < {AGREEMENT:g} × noise floor")
    )
    if len(handles) % 2:  # the two theories share a column
        handles.append(Line2D([], [], ls="", label=" "))
    for theory in chosen["theory"].values:
        style, label = STYLES[str(theory)]
        handles.append(Line2D([], [], color="black", ls=style, label=label))
    count = chosen.sizes["instance"]
    title = f"{ACTIVATION_LABELS[activation]}, standardised mixtures, mean of {count} instances ± standard error"
    lost = int(diverged(chosen).sum())
    if lost:
        title += f"; {lost} diverged runs left out"
    figure.legend(
        handles=handles, title=title, loc="outside upper center", ncols=(len(handles) + 1) // 2, columnspacing=1.3
    )
