"""Figures 2 and 4: order parameters against time on Gaussian and mixture inputs, beside the theory."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ...plotting import (
    ACTIVATION_LABELS,
    QUANTITIES,
    TIME,
    Runs,
    draw_quantity,
    dynamics_legend,
    finish,
    new_figure,
    new_panels,
    styled,
)

LAW_LABELS = {"gaussian": "Gaussian", "mixture": "mixture", "standardized mixture": "standardised mixture"}


@styled
def example_dynamics(
    theory: xr.Dataset, sgd: xr.Dataset, activation: str, law: str, *, mixture: xr.Dataset | None = None
) -> Figure:
    """ε_g, Q, R and v against log t: lines for the theory, circles for Gaussian SGD, triangles for mixture SGD.

    Bands are ±1 standard deviation over runs. The shaded region is saturation, from where the theory's ε_g stays within
    a factor :data:`~sgdlimit.plotting.SATURATION_FACTOR` of its final value. With the mixture theory given, a second
    column shows it beside the same runs, with its Q and R, which are covariances within the clusters; dotted lines are
    ±1 standard deviation over its ensemble.

    Parameters
    ----------
    theory
        Trajectories with dims (activation, time, …), see :mod:`sgdlimit.trajectory`.
    sgd
        The same with dims (activation, law, run, time, …) and a law ``"gaussian"``.
    activation
        ``"relu"`` or ``"erf"``.
    law
        The mixture to show, ``"mixture"`` for Figure 2 or ``"standardized mixture"`` for Figure 4.
    mixture
        The mixture theory of this law, with dims (activation, run, time, …); ``sgd`` then has ``Q_mixture`` and
        ``R_mixture``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    setting = [ACTIVATION_LABELS.get(activation, activation)]
    if "components" in sgd.attrs and "spread" in sgd.attrs:
        setting.append(rf"$m={sgd.attrs['components']}$, $\alpha={sgd.attrs['spread']:g}$")
    chosen = sgd.sel(activation=activation)
    groups = [
        Runs(f"SGD, {LAW_LABELS[name]}", chosen.sel(law=name), place) for place, name in enumerate(("gaussian", law))
    ]
    columns = [(theory.sel(activation=activation), groups)]
    panels: Any
    if mixture is None:
        figure, panels = new_panels(len(QUANTITIES))
        titles: list[str] = []
    else:
        own = groups[1].data.assign(Q=groups[1].data["Q_mixture"], R=groups[1].data["R_mixture"])
        columns.append((mixture.sel(activation=activation), [groups[1]._replace(data=own)]))
        figure, titles = new_figure(8.4), ["conventional theory (ODE)", "mixture theory"]
        panels = figure.subplots(4, 2, sharex=True)
        for panel in panels[-1]:
            panel.set_xlabel(TIME)
        for row in (0, 3):  # ε_g and v are the same for both theories
            panels[row, 1].sharey(panels[row, 0])
    for row, name in zip(np.reshape(panels, (4, -1)), QUANTITIES, strict=True):
        for panel, (drawn, runs) in zip(row, columns, strict=True):
            draw_quantity(panel, name, drawn, runs, named=panel is row[-1])
        for panel in row[1:]:
            panel.set_ylabel("")
    finish(panels, titles)
    dynamics_legend(figure, [drawn for drawn, _ in columns], groups, setting)
    return figure
