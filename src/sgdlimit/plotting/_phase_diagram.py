"""Phase diagrams as heat maps: final error and time to leave the plateau over two settings."""

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ._style import label_panels, log_ticks, new_figure, styled

__all__ = ["phase_diagram"]

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
DIVERGED = "white"
SMALLEST = 1e-6
"""Values below this one have its colour."""


@styled
def phase_diagram(diagram: xr.Dataset) -> Figure:
    """Heat maps of the final error and of the time to leave the plateau; hatched cells diverge.

    Cells in plain grey are not seen to leave a plateau.

    Parameters
    ----------
    diagram
        Of :func:`sgdlimit.theory.phase_diagram`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(3.3)
    panels = figure.subplots(1, 2)
    y, x = diagram["diverged"].dims
    diverged = diagram["diverged"].values
    for panel, name, colours, label in (
        (panels[0], "final_error", "viridis", r"final $\epsilon_g$"),
        (panels[1], "plateau_exit", "magma", "time to leave the plateau"),
    ):
        values = diagram[name].where(np.isfinite(diagram[name]) & ~diagram["diverged"]).values
        edges = [_edges(diagram[axis].values) for axis in (x, y)]
        panel.set_facecolor(NONE)
        mesh = panel.pcolormesh(*edges, np.ma.masked_invalid(values), cmap=colours, norm=_norm(values), rasterized=True)
        if diverged.any():
            hatched = np.ma.masked_where(~diverged, np.zeros(diverged.shape))
            panel.pcolor(*edges, hatched, facecolor=DIVERGED, edgecolor="#808080", hatch="////", lw=0, cmap="gray_r")
        if np.isfinite(values).any():
            figure.colorbar(mesh, ax=panel, label=label, pad=0.02)
        for set_scale, axis, at in (
            (panel.set_xscale, panel.xaxis, diagram[x].values),
            (panel.set_yscale, panel.yaxis, diagram[y].values),
        ):
            if _is_log(at):
                set_scale("log")
                log_ticks(axis)
        panel.set_xlabel(LABELS.get(str(x), str(x)))
        panel.set_ylabel(LABELS.get(str(y), str(y)))
        panel.tick_params(which="both", direction="out", top=False, right=False)
    label_panels(list(panels))
    _legend(figure, diagram)
    return figure


def _legend(figure: Figure, diagram: xr.Dataset) -> None:
    handles = []
    if bool(diagram["diverged"].any()):
        handles.append(Patch(facecolor=DIVERGED, edgecolor="#808080", hatch="////", lw=0, label="theory diverges"))
    if bool((~diagram["left_plateau"] & ~diagram["diverged"]).any()):
        handles.append(Patch(color=NONE, label="no plateau is left"))
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _norm(values: np.ndarray) -> Normalize | None:
    shown = np.maximum(values[np.isfinite(values)], SMALLEST)
    wide = len(shown) > 0 and shown.max() > 3 * shown.min()
    return LogNorm(shown.min(), shown.max(), clip=True) if wide else None


def _is_log(at: np.ndarray) -> bool:
    """Whether values are more evenly spaced by factors than by steps."""
    if len(at) < 3 or at[0] <= 0:
        return False
    steps, factors = np.diff(at), np.diff(np.log(at))
    return bool(np.ptp(factors) / factors.mean() < np.ptp(steps) / steps.mean())


def _edges(at: np.ndarray) -> np.ndarray:
    """Borders of the cells around values, half way between them."""
    if _is_log(at):
        return np.exp(_edges_between(np.log(at)))
    return _edges_between(np.asarray(at, dtype=np.float64))


def _edges_between(at: np.ndarray) -> np.ndarray:
    if len(at) == 1:
        return at[0] + np.array([-0.5, 0.5])
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
