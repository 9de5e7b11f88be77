"""M of a sweep against D_KL or an axis of its grid, a curve for each of the other settings."""

import textwrap
from collections.abc import Sequence
from itertools import product

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import ProblemError
from ._averages import METRICS, entry_mean
from ._hover import named
from ._style import SERIES, WIDTH, Series, label_panels, log_ticks, new_figure, styled

__all__ = ["sweep_discrepancy"]

MOST_CURVES = 2 * len(SERIES)
PANELS = 3.1
"""Height of the panels, in inches, to which that of the legend is added."""
MARGIN = 0.1
LONGEST_LABEL = 90
"""Letters that a line of the legend has room for."""


@styled
def sweep_discrepancy(
    results: xr.Dataset, x: str = "kl", *, quantities: Sequence[str] | None = None, along: str | None = None
) -> Figure:
    """M against D_KL or an axis of the grid: mean over instances and runs, bars of ±1 standard error.

    Parameters
    ----------
    results
        From :func:`sgdlimit.open_sweep`; what is not computed yet is left out. Settings that are not to be compared
        are chosen before: ``results.sel(activation="erf")``.
    x
        ``"kl"`` or the name of an axis with more than one value.
    quantities
        Of Q, R, v and generalization_error those whose M is shown; by default Q, R and v.
    along
        With ``x="kl"`` the axis that a curve follows; by default that along which D_KL changes most.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProblemError
        If an axis or quantity is not there, or there would be more than ten curves.
    """
    names = list(METRICS if quantities is None else [quantities] if isinstance(quantities, str) else quantities)
    missing = [name for name in names if f"M_{name}" not in results]
    if missing or not names:
        there = [str(name)[2:] for name in results if str(name).startswith("M_")]
        raise ProblemError(
            f"quantities: there is no M of {missing or 'none'}; use some of {', '.join(map(repr, there))}"
        )
    grid = [str(dim) for dim in results["kl"].dims if dim != "instance"]
    along = _followed(results, x, grid, along)
    others = [dim for dim in ("theory", *grid) if dim in results[f"M_{names[0]}"].dims and dim != along]
    settings = list(product(*(results[dim].values for dim in others)))
    if len(settings) > MOST_CURVES:
        raise ProblemError(
            f"results: {len(settings)} curves, of {', '.join(others)}, are more than {MOST_CURVES}; choose some first, "
            f"as results.sel({others[0]}={results[others[0]].values[0]!r})"
        )
    figure = new_figure(PANELS)
    panels = list(np.atleast_1d(figure.subplots(1, len(names))))
    for panel, name in zip(panels, names, strict=True):
        for number, setting in enumerate(settings):
            chosen = results[[f"M_{name}", "kl"]].sel(dict(zip(others, setting, strict=True)), drop=True)
            label = ", ".join(f"{dim} {value}" for dim, value in zip(others, setting, strict=True))
            _curve(panel, chosen[f"M_{name}"], chosen["kl"], x, along, number, label or "M")
        panel.set_xlabel(r"$D_{\mathrm{KL}}$ [nats]" if x == "kl" else along)
        panel.set_ylabel(rf"$\mathcal{{M}}({name})$" if len(name) == 1 else r"$\mathcal{M}(\epsilon_g)$")
        panel.set_yscale("log")
        log_ticks(panel.yaxis)
    label_panels(panels)
    if len(settings) > 1:
        _add_legend(figure, panels[0])
    return figure


def _add_legend(figure: Figure, panel: Axes) -> None:
    """The curves of a panel above it, in two columns if they are narrow enough; the figure grows by its height."""
    handles, labels = panel.get_legend_handles_labels()
    labels = [textwrap.fill(label, LONGEST_LABEL) for label in labels]
    for columns in (2, 1):
        legend = figure.legend(handles, labels, loc="outside upper center", ncols=columns)
        box = legend.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        if box.width <= WIDTH - 2 * MARGIN or columns == 1:
            break
        legend.remove()
    figure.set_figheight(PANELS + box.height + MARGIN)


def _followed(results: xr.Dataset, x: str, grid: list[str], along: str | None) -> str:
    """The axis of the grid that a curve follows."""
    wide = [dim for dim in grid if results.sizes[dim] > 1]
    if x != "kl" or along is not None:
        axis = x if x != "kl" else along
        if axis not in wide:
            raise ProblemError(
                f"{'x' if x != 'kl' else 'along'}: {axis!r} is no axis with more than one value; use "
                f"{', '.join(map(repr, ['kl', *wide] if x != 'kl' else wide))}"
            )
        return str(axis)
    kl = results["kl"].mean("instance") if "instance" in results["kl"].dims else results["kl"]
    spans = {dim: float((kl.max(dim) - kl.min(dim)).max()) for dim in wide}
    if not spans or not max(spans.values()) > 0:
        raise ProblemError(
            "x: 'kl' is the same in all of these results; use an axis of the grid"
            + (f", {', '.join(map(repr, wide))}" if wide else "")
        )
    return max(spans, key=lambda dim: spans[dim])


def _curve(panel: Axes, M: xr.DataArray, kl: xr.DataArray, x: str, along: str, number: int, label: str) -> None:
    samples = entry_mean(M)
    samples = samples.stack(sample=[dim for dim in samples.dims if dim != along])  # instances and runs
    count = samples.count("sample")
    mean = samples.mean("sample")
    error = (samples.std("sample", ddof=1) / count**0.5).where(count > 1, 0.0) if samples.sizes["sample"] > 1 else None
    dims = [dim for dim in kl.dims if dim != along]
    across = kl.mean(dims) if x == "kl" else kl[along]
    places = across.values if across.dtype.kind in "iuf" else np.array([str(value) for value in across.values])
    bars = None if error is None else error.values
    series: Series = SERIES[number % len(SERIES)]
    inside = series.color if number < len(SERIES) else "white"  # the second five have open marks
    drawn = panel.errorbar(
        places, mean.values, bars, color=series.color, ls=series.linestyle, marker=series.marker, mfc=inside, lw=1.2,
        capsize=2,
    )  # fmt: skip
    named(drawn.lines[0], label)
    drawn.set_label(label)
