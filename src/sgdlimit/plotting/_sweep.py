"""M of a sweep against D_KL or an axis of its grid, a curve for each of the other settings."""

import textwrap
from collections.abc import Sequence
from itertools import product
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from ..comparison import over_entries
from ..errors import ProblemError
from ..trajectory import VARIABLES
from ._draw import SERIES, draw, each, key, mean_and_error
from ._style import WIDTH, finish, new_figure, styled

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
        From :func:`sgdlimit.open_sweep`; what is not computed yet is left out. Choose the settings to compare before:
        ``results.sel(activation="erf")``.
    x
        ``"kl"`` or the name of an axis with more than one value.
    quantities
        Which of Q, R, v and generalization_error to show M of; by default Q, R and v.
    along
        With ``x="kl"`` the axis that a curve follows; by default the one along which D_KL changes most.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProblemError
        If an axis or quantity is not there, or there would be more than ten curves.
    """
    names = list(("Q", "R", "v") if quantities is None else [quantities] if isinstance(quantities, str) else quantities)
    missing = [name for name in names if f"M_{name}" not in results]
    if missing or not names:
        known = ", ".join(repr(str(name)[2:]) for name in results if str(name).startswith("M_"))
        raise ProblemError(f"quantities: there is no M of {missing or 'none'}; use some of {known}")
    grid = [str(dim) for dim in results["kl"].dims if dim != "instance"]
    along = _followed(results, x, grid, along)
    M = over_entries(results[[f"M_{name}" for name in names]])
    others = [dim for dim in ("theory", *grid) if dim in M.dims and dim != along]
    settings = list(product(*(results[dim].values for dim in others)))
    if len(settings) > MOST_CURVES:
        raise ProblemError(
            f"results: {len(settings)} curves, of {', '.join(others)}, are more than {MOST_CURVES}; choose some first, "
            f"as results.sel({others[0]}={results[others[0]].values[0]!r})"
        )
    mean, error = mean_and_error(M, [dim for dim in M.dims if dim not in ("quantity", along, *others)])
    figure = new_figure(PANELS)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    handles = []
    for number, (setting, series) in enumerate(each(settings)):
        where: dict[Any, Any] = dict(zip(others, setting, strict=True))
        name = ", ".join(f"{dim} {value}" for dim, value in where.items()) or "M"
        style = series._asdict() | {"mfc": series.color if number < len(SERIES) else "white"}  # the second five open
        handles.append(key(textwrap.fill(name, LONGEST_LABEL), **style))
        kl = results["kl"].sel({dim: where[dim] for dim in grid if dim in where})
        across = kl.mean([dim for dim in kl.dims if dim != along]) if x == "kl" else results[along]
        places = across.values if across.dtype.kind in "iuf" else across.values.astype(str)
        for panel, quantity in zip(panels, M["quantity"].values, strict=True):
            one = ({"quantity": quantity} | where,)
            draw(panel, places, mean.sel(*one), error.sel(*one).fillna(0), name=name, bars=True, **style)
    for panel, name in zip(panels, names, strict=True):
        label = rf"$\mathcal{{M}}({VARIABLES[name].tex.strip('$')})$"
        panel.set(xlabel=r"$D_{\mathrm{KL}}$ [nats]" if x == "kl" else along, ylabel=label, yscale="log")
    finish(panels)
    if len(settings) > 1:
        _add_legend(figure, handles)
    return figure


def _add_legend(figure: Figure, handles: list[Any]) -> None:
    """A legend in two columns if they are narrow enough; the figure grows by its height."""
    for columns in (2, 1):
        legend = figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        box = legend.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        if box.width <= WIDTH - 2 * MARGIN or columns == 1:
            figure.set_figheight(PANELS + box.height + MARGIN)
            return
        legend.remove()


def _followed(results: xr.Dataset, x: str, grid: list[str], along: str | None) -> str:
    """The axis of the grid that a curve follows: the one asked for, or that along which D_KL changes most."""
    wide = [dim for dim in grid if results.sizes[dim] > 1]
    field, axis = ("x", x) if x != "kl" else ("along", along)
    if axis is not None:
        if axis not in wide:
            choices = ", ".join(map(repr, wide if field == "along" else ["kl", *wide]))
            raise ProblemError(f"{field}: {axis!r} is no axis with more than one value; use {choices}")
        return axis
    kl = results["kl"].mean("instance") if "instance" in results["kl"].dims else results["kl"]
    spans = {dim: float((kl.max(dim) - kl.min(dim)).max()) for dim in wide}
    if not spans or not max(spans.values()) > 0:
        axes = f", {', '.join(map(repr, wide))}" if wide else ""
        raise ProblemError(f"x: 'kl' is the same in all of these results; use an axis of the grid{axes}")
    return max(spans, key=lambda dim: spans[dim])
