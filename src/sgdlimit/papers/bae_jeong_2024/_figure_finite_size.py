"""How SGD approaches theory as N grows: M against N with its exponent, and the deviations on one curve."""

from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...plotting import ACTIVATION_LABELS, SERIES, TIME, label_panels, log_ticks, named, new_figure, styled

__all__ = ["finite_size"]

TITLES = {"instance": "theory of the instance", "infinite size": "theory of infinite size"}


@styled
def finite_size(data: xr.Dataset, *, quantity: str = "Q") -> Figure:
    """M against N for each theory with the fitted exponents, and √N · (SGD − theory) against time for every N.

    Error bars are ±1 standard error of the mean of the samples; full lines are the fits, dotted ones have the slope −½.
    Deviations that fall like N^(−1/2) lie on one curve in the lower row.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.finite_size`.
    quantity
        ``"Q"``, ``"R"`` or ``"v"``, for the lower row.

    Returns
    -------
    matplotlib.figure.Figure
    """
    theories = [str(name) for name in data["theory"].values]
    sizes = np.unique(data["size"])
    figure = new_figure(5.8)
    panels = figure.subplots(2, len(theories), sharey="row", squeeze=False)
    for (upper, lower), theory in zip(panels.T, theories, strict=True):
        _fall(upper, data.sel(theory=theory), sizes)
        for series, size in zip(cycle(SERIES), sizes, strict=False):
            several = data["deviation"].sel(theory=theory, quantity=quantity).where(data["size"] == size, drop=True)
            curve = (size * (several**2).mean("sample")) ** 0.5
            label = f"$N={size}$ ({several.sizes['sample']})"
            lower.plot(data["time"], curve, color=series.color, ls=series.linestyle, label=label)
        lower.set_xscale("log")
        lower.set_yscale("log")
        lower.set_xlabel(TIME)
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set_ylim(low, 15 * high)  # room for the exponents, shared by the row
    for panel in panels[1]:
        log_ticks(panel.yaxis)
    panels[0, 0].set_ylabel(r"$\mathcal{M}$")
    panels[1, 0].set_ylabel(rf"$\sqrt{{N}}\,|{quantity}_\mathrm{{SGD}} - {quantity}_\mathrm{{theory}}|$, rms")
    panels[1, -1].legend(loc="lower right", title="(instances)")
    label_panels(list(panels.ravel()), [TITLES.get(name, name) for name in theories] * 2)
    handles = [
        Line2D([], [], color=series.color, marker=series.marker, label=rf"$\mathcal{{M}}({name})$")
        for name, series in zip(data["quantity"].values, cycle(SERIES), strict=False)
    ]
    handles.append(Line2D([], [], color="#8a8a8a", ls=":", label=r"$N^{-1/2}$"))
    title = f"{ACTIVATION_LABELS[data.attrs['activation']]}, Gaussian inputs, $D/N = {data.attrs['latent_ratio']:g}$"
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=len(handles))
    return figure


def _fall(panel: Axes, data: xr.Dataset, sizes: np.ndarray) -> None:
    fine = np.geomspace(sizes[0] / 1.15, sizes[-1] * 1.15, 2)
    lines = []
    for name, series in zip(data["quantity"].values, cycle(SERIES), strict=False):
        one = data.sel(quantity=name)
        groups = [np.log(one["M"].values[data["size"].values == size]) for size in sizes]
        means = np.array([group.mean() for group in groups])  # of ln M, which is what is fitted
        errors = np.array([group.std(ddof=1) / np.sqrt(len(group)) if len(group) > 1 else 0.0 for group in groups])
        bars = np.exp(means) - np.exp(means - errors), np.exp(means + errors) - np.exp(means)
        drawn = panel.errorbar(sizes, np.exp(means), bars, fmt=series.marker, color=series.color, lw=1, capsize=2)
        named(drawn, rf"$\mathcal{{M}}({name})$")
        exponent, prefactor = float(one["exponent"]), float(one["prefactor"])
        panel.plot(fine, prefactor * fine**exponent, color=series.color)
        middle = prefactor * sizes[0] ** exponent
        panel.plot(fine, middle * np.sqrt(sizes[0] / fine), color="#8a8a8a", ls=":", zorder=0.5)
        lines.append(rf"${name}$: ${exponent:.2f} \pm {float(one['exponent_stderr']):.2f}$")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(sizes, labels=[str(size) for size in sizes])
    panel.set_xticks([], minor=True)
    panel.set_xlabel("input dimension $N$")
    panel.text(
        0.97,
        0.97,
        "\n".join(["exponent of $N$", *lines]),
        transform=panel.transAxes,
        ha="right",
        va="top",
        linespacing=1.4,
    )
