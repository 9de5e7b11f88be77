"""Phase diagrams as heat maps: final error and time to leave the plateau over two settings."""

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from ._draw import add_legend, shade_key
from ._style import finish, new_figure, styled

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
def phase_diagram(diagram: xr.Dataset) -> Figure:
    """Heat maps of the final error and of the time to leave the plateau; hatched cells diverge.

    Cells in plain grey are not seen to leave a plateau.

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
    y, x = map(str, diagram["diverged"].dims)
    diverged = diagram["diverged"].values
    scales = ["log" if _is_log(diagram[axis].values) else "linear" for axis in (x, y)]
    edges = [_edges(diagram[axis].values) for axis in (x, y)]
    for panel, name, colours, label in (
        (panels[0], "final_error", "viridis", r"final $\epsilon_g$"),
        (panels[1], "plateau_exit", "magma", "time to leave the plateau"),
    ):
        values = np.where(diverged | ~np.isfinite(diagram[name]), np.nan, diagram[name])
        panel.set_facecolor(NONE)
        mesh = panel.pcolormesh(*edges, values, cmap=colours, norm=_norm(values), rasterized=True)
        if diverged.any():
            panel.pcolor(*edges, np.where(diverged, 0.0, np.nan), cmap="gray_r", **HATCHED)
        if np.isfinite(values).any():
            figure.colorbar(mesh, ax=panel, label=label, pad=0.02)
        panel.set(xscale=scales[0], yscale=scales[1], xlabel=LABELS.get(x, x), ylabel=LABELS.get(y, y))
        panel.tick_params(which="both", direction="out", top=False, right=False)
    finish(panels)
    handles = [shade_key("theory diverges", color=None, alpha=1, **HATCHED)] if diverged.any() else []
    if (~diagram["left_plateau"] & ~diagram["diverged"]).any():
        handles.append(shade_key("no plateau is left", color=NONE, alpha=1))
    if handles:
        add_legend(figure, handles)
    return figure


def _norm(values: np.ndarray) -> Normalize | None:
    """Logarithmic colours where values span more than a factor of three."""
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
    """Borders of the cells around values, half way between them on their scale."""
    if _is_log(at):
        return np.exp(_edges(np.log(at)))
    if len(at) == 1:
        return at[0] + np.array([-0.5, 0.5])
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
