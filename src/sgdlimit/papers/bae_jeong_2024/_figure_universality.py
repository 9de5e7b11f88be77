"""Where universality ends: the discrepancy M of the three theories against the block size B, standardised and not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ...comparison import AGREEMENT, mean_and_error
from ...plotting import (
    ACTIVATION_LABELS,
    SERIES,
    add_legend,
    draw,
    draw_marks,
    finish,
    key,
    new_figure,
    shade,
    shade_key,
    styled,
    value_ticks,
)
from ._averages import METRICS, diverged, keep, relative, relative_floor, theory_floor

THEORIES = {
    "conventional": (SERIES[0], r"conventional ($\Sigma_C = I$)"),
    "moment-matched": (SERIES[3], r"moment-matched (true $\Sigma_C$)"),
    "mixture": (SERIES[1], "mixture"),
}
DASHES = (0, (1.2, 1.2))
"""The line of the smaller α; the largest has full lines."""
SCATTER: dict[str, Any] = {"ls": "", "marker": "_", "ms": 11, "mew": 1.6, "color": THEORIES["mixture"][0].color}


@styled
def universality(blocks: xr.Dataset, activation: str, *, spreads: Sequence[float] | None = None) -> Figure:
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
    styles = {spread: "-" if spread == max(spreads) else DASHES for spread in spreads}
    kinds = chosen["standardized"].values.tolist()
    sizes = chosen["block_size"].values
    figure = new_figure(1.9 + 2.2 * len(kinds))
    panels: Any = figure.subplots(len(kinds), 3, sharex=True, sharey="col", squeeze=False)
    for spread, ls in styles.items():
        one = chosen.sel(spread=spread)
        for theory in map(str, chosen["theory"].values):
            (series, _), own = THEORIES[theory], one.sel(theory=theory)
            means, errors = mean_and_error(relative(own))
            limits = AGREEMENT * theory_floor(own, theory) + 0 * means
            for row, column in np.ndindex(panels.shape):
                panel, where = panels[row, column], {"standardized": kinds[row], "quantity": METRICS[column]}
                mean, error, limit = (values.sel(where).values for values in (means, errors, limits))
                draw(panel, sizes, mean, error, name=rf"{theory}, $\alpha={spread:g}$", color=series.color, ls=ls)
                draw_marks(panel, sizes, mean, mean < limit, series)
                if theory == "mixture" and "noise_mixture_Q" in own:
                    noise = mean_and_error(relative(own, "noise_mixture_"))[0].sel(where)
                    draw(panel, sizes, noise, name=rf"scatter of the mixture theory, $\alpha={spread:g}$", **SCATTER)
    floors = relative_floor(chosen)
    for name, column in zip(METRICS, panels.T, strict=True):
        floor = float(floors.sel(quantity=name))
        column[0].set(xscale="log", yscale="log")
        low, high = column[0].get_ylim()
        low = min(low, floor / 1.5)
        column[0].set_ylim(low, max(high, 1.2 * AGREEMENT * floor))
        for panel in column:
            shade(panel, low, AGREEMENT * floor, line=floor)
            panel.set_ylabel(rf"$\mathcal{{M}}({name})\,/\,E|{name}|$")
        value_ticks(column[-1], sizes, _spaced(sizes))
        column[-1].set_xlabel("block size $B$")
    finish(panels, [text for kind in kinds for text in ("standardised" if kind else "un-standardised", "", "")])
    handles = [
        key(label, color=series.color, marker=series.marker)
        for theory, (series, label) in THEORIES.items()
        if theory in chosen["theory"].values
    ]
    if "noise_mixture_Q" in chosen:
        handles.append(key("scatter between members of the mixture theory", **SCATTER))
    handles += [key(rf"$\alpha={spread:g}$", ls=ls) for spread, ls in styles.items()]
    handles += [
        shade_key(rf"$\mathcal{{M}}$ < {AGREEMENT:g} × noise floor of Gaussian SGD"),
        key("hollow: beyond noise", ls="", marker="s", mfc="white"),
    ]
    title = f"{ACTIVATION_LABELS[activation]}, mean of {chosen.sizes['instance']} instances ± standard error"
    lost = int((diverged(chosen) & (chosen["spread"] > 0)).sum()) if "diverged" in chosen else 0
    theories = int(chosen["theory_diverged"].sum()) if "theory_diverged" in chosen else 0
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
