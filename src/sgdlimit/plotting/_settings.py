"""Results over settings: M of a sweep, phase diagrams, and the best schedule beside constant rates."""

import textwrap
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy import ndarray
from xarray import DataArray, Dataset

from ..comparison import mean_and_error, over_entries
from ..errors import ProblemError
from ..trajectory import is_error, variable
from ._draw import (
    DARK,
    SERIES,
    TIME,
    WIDTH,
    add_legend,
    chosen,
    draw,
    each,
    finish,
    key,
    new_figure,
    shade_key,
    styled,
    value_ticks,
)

MOST_CURVES = 2 * len(SERIES)
PANELS = 3.1
"""Height of the panels in inches; the height of the legend is added."""
MARGIN = 0.1
LONGEST_LABEL = 90
"""The longest line of the legend, in letters."""
LABELS = {
    "learning_rate": r"learning rate $\eta$",
    "latent_dim": "latent dimension $D$",
    "input_dim": "input dimension $N$",
    "student_scale": r"scale of the initial $W$",
    "student_output_scale": r"scale of the initial $v$",
    "student_alignment": "alignment of the initial $W$",
    "training_label_noise": r"label noise $\sigma$",
    "training_weight_decay": r"weight decay $\kappa$",
    "training_batch_size": "batch size $n$",
}
NONE = "#e4e4e4"
HATCHED = {"facecolor": "white", "edgecolor": "#808080", "hatch": "////", "lw": 0}
SMALLEST = 1e-6
"""Values below this one have its colour."""


@styled
def sweep_discrepancy(
    results: Dataset, x: str = "kl", *, quantities: Sequence[str] | None = None, along: str | None = None
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
        What to show M of; by default Q, R and v, or the parameters of another head.
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
    known = [str(name)[2:] for name in results if str(name).startswith("M_")]
    names = chosen(quantities, [name for name in known if not is_error(name)], known)
    kl = results["kl"]
    along = _followed(kl, x, along)
    M = over_entries(results[[f"M_{name}" for name in names]])
    curves = [str(dim) for dim in ("theory", *kl.dims) if dim in M.dims and dim not in ("instance", along)]
    settings = list(product(*(results[dim].values for dim in curves)))
    if len(settings) > MOST_CURVES:
        raise ProblemError(
            f"results: must make at most {MOST_CURVES} curves (got {len(settings)}, of {', '.join(curves)}). Choose "
            f"some first, as results.sel({curves[0]}={results[curves[0]].values[0]!r})."
        )
    kept = {"quantity", along, *curves}
    mean, error = mean_and_error(M, set(M.dims) - kept)
    across = kl.mean(set(kl.dims) - kept) if x == "kl" else results[along]
    places = across if across.dtype.kind in "iuf" else across.astype(str)
    drawn = Dataset({"M": mean, "error": error.fillna(0), "across": places})
    figure = new_figure(PANELS)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    handles = []
    for number, (setting, series) in enumerate(each(settings)):
        where = dict(zip(curves, setting, strict=True))
        name = ", ".join(f"{dim} {value}" for dim, value in where.items()) or "M"
        style = series._asdict() | {"mfc": series.color if number < len(SERIES) else "white"}  # the second five open
        handles.append(key(textwrap.fill(name, LONGEST_LABEL), **style))
        one = drawn.sel(where)
        for panel, M, error in zip(panels, one["M"], one["error"], strict=True):
            draw(panel, one["across"].values, M, error, name=name, bars=True, **style)
    for panel, name in zip(panels, names, strict=True):
        label = rf"$\mathcal{{M}}({variable(name).tex.strip('$')})$"
        panel.set(xlabel=r"$D_{\mathrm{KL}}$ [nats]" if x == "kl" else along, ylabel=label, yscale="log")
    finish(panels)
    # A legend in two columns if they are narrow enough, else in one; the figure grows by its height.
    for columns in (2, 1) if len(settings) > 1 else ():
        legend = figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        box = legend.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
        if box.width <= WIDTH - 2 * MARGIN or columns == 1:
            figure.set_figheight(PANELS + box.height + MARGIN)
            break
        legend.remove()
    return figure


def _followed(kl: DataArray, x: str, along: str | None) -> str:
    """The axis of the grid that a curve follows: the one asked for, or that along which D_KL changes most."""
    wide = [str(dim) for dim, size in kl.sizes.items() if size > 1 and dim != "instance"]
    field, axis = ("along", along) if x == "kl" else ("x", x)
    if axis in wide:
        return axis
    if axis is not None:
        choices = ", ".join(map(repr, wide if field == "along" else ["kl", *wide]))
        raise ProblemError(f"{field}: must be an axis with more than one value (got {axis!r}). Use {choices}.")
    kl = kl.mean(set(kl.dims) & {"instance"})
    if kl.max() > kl.min():
        return max(wide, key=lambda dim: float((kl.max(dim) - kl.min(dim)).max()))
    axes = ", ".join(["the grid", *map(repr, wide)])
    raise ProblemError(f"x: must vary (got 'kl', which is the same in all of these results). Use an axis of {axes}.")


@styled
def phase_diagram(diagram: Dataset) -> Figure:
    """Heat maps of the final error and of the time to leave the plateau; hatched cells diverge.

    Grey cells do not leave a plateau within the output times.

    Parameters
    ----------
    diagram
        From :func:`sgdlimit.theory.phase_diagram`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(3.3)
    panels = figure.subplots(1, 2)
    diverged = diagram["diverged"]
    y, x = map(str, diverged.dims)
    (x_edges, x_scale), (y_edges, y_scale) = (_cells(diagram[axis].values) for axis in (x, y))
    for panel, name, colours, label in (
        (panels[0], "final_error", "viridis", r"final $\epsilon_g$"),
        (panels[1], "plateau_exit", "magma", "time to leave the plateau"),
    ):
        values = diagram[name].where(~diverged).clip(SMALLEST).values
        shown = values[np.isfinite(values)]
        # Colours are logarithmic where values span more than a factor of three.
        norm = "log" if len(shown) and shown.max() > 3 * shown.min() else None
        panel.set_facecolor(NONE)
        mesh = panel.pcolormesh(x_edges, y_edges, values, cmap=colours, norm=norm, rasterized=True)
        if diverged.any():
            panel.pcolor(x_edges, y_edges, np.where(diverged, 0.0, np.nan), cmap="gray_r", **HATCHED)
        if len(shown):
            figure.colorbar(mesh, ax=panel, label=label, pad=0.02)
        panel.set(xscale=x_scale, yscale=y_scale, xlabel=LABELS.get(x, x), ylabel=LABELS.get(y, y))
        panel.tick_params(which="both", direction="out", top=False, right=False)
    finish(panels)
    handles = [shade_key("theory diverges", color=None, alpha=1, **HATCHED)] if diverged.any() else []
    if (~diagram["left_plateau"] & ~diverged).any():
        handles.append(shade_key("no plateau is left", color=NONE, alpha=1))
    if handles:
        add_legend(figure, handles)
    return figure


def _cells(at: ndarray) -> tuple[ndarray, str]:
    """Borders of the cells around values, half way between them on their scale; and the scale.

    It is logarithmic where values are more evenly spaced by factors than by steps.
    """
    if len(at) == 1:
        return np.add(at, [-0.5, 0.5]), "linear"
    if len(at) > 2 and at[0] > 0 and _unevenness(np.log(at)) < _unevenness(at):
        return np.exp(_borders(np.log(at))), "log"
    return _borders(at), "linear"


def _unevenness(at: ndarray) -> float:
    """The spread of the steps between values, over their mean."""
    steps = np.diff(at)
    return np.ptp(steps) / steps.mean()


def _borders(at: ndarray) -> ndarray:
    """Half way between values, and as far beyond the first and the last."""
    padded = np.pad(at, 1, mode="reflect", reflect_type="odd")
    return (padded[1:] + padded[:-1]) / 2


@styled
def optimal_schedule(study: Dataset) -> Figure:
    """η(t) and ε_g(t) with the best schedule, theory's best constant rate and SGD's.

    Lines are theory, points with bars SGD, the mean over runs ± one standard error. The third panel has the final
    errors with all constant rates, and with the schedule as a horizontal line.

    Parameters
    ----------
    study
        From :func:`sgdlimit.papers.optimal_schedule.schedule_against_constant`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(2.9)
    rate, error, final = panels = figure.subplots(1, 3)
    mean, stderr = mean_and_error(study["sgd"], "run")
    runs, study = study.sizes["run"], study.assign(sgd=mean, stderr=stderr.fillna(0))  # it is NaN of a single run
    t = study["time"].values

    def draw_both(panel, x, one, series, marked: Any = slice(None)):
        panel.plot(x, one["theory"], color=series.color, ls=series.linestyle)
        style = series._asdict() | {"linestyle": "", "ms": 3.5}
        draw(panel, x[marked], one["sgd"][marked], one["stderr"][marked], bars=True, **style)

    marked = np.unique(np.searchsorted(t, np.geomspace(max(t[0], t[-1] / 1e4), t[-1], 14)))
    names = {"schedule": "best schedule", study.attrs["theory_constant"]: "best constant rate"}
    handles = []
    for name, series in each(names):
        one = study.sel(rate=name)
        handles += rate.plot(t, one["learning_rate"], color=series.color, ls=series.linestyle, label=names[name])
        draw_both(error, t, one, series, marked)
    last = study.isel(time=-1)
    best, constants = last.sel(rate="schedule"), last.isel(rate=slice(1, None))
    eta = constants["learning_rate"].values
    draw_both(final, eta, constants, SERIES[1])
    theory, sgd, error_bar = (best[name].item() for name in ("theory", "sgd", "stderr"))
    final.axhline(theory, color=DARK)
    final.axhspan(sgd - error_bar, sgd + error_bar, color=DARK, alpha=0.2, lw=0)
    rate.set(xlabel=TIME, ylabel=r"learning rate $\eta(t)$", ylim=(0, None))
    error.set(xlabel=TIME, ylabel=r"generalisation error $\epsilon_g$", xscale="log", yscale="log")
    final.set(xlabel=r"constant rate $\eta$", ylabel=r"final $\epsilon_g$", xscale="log")
    value_ticks(final, eta, [f"{value:.2g}" for value in eta])
    finish(panels)
    add_legend(figure, handles, f"lines theory, points and band SGD (mean of {runs} runs ± standard error)")
    return figure
