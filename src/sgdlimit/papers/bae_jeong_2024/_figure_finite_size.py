"""How SGD approaches theory as N grows: M against N with its exponent, and the deviations on one curve."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plotting import (
    ACTIVATION_LABELS,
    GREY,
    TIME,
    add_legend,
    draw,
    each,
    finish,
    key,
    keys,
    new_figure,
    styled,
    value_ticks,
)
from ._averages import by_size

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
    figure = new_figure(5.8)
    panels = figure.subplots(2, len(theories), sharey="row", squeeze=False)
    for (upper, lower), theory in zip(panels.T, theories, strict=True):
        _draw_fall(upper, data.sel(theory=theory))
        mean = by_size(data["deviation"].sel(theory=theory, quantity=quantity) ** 2)[0]
        for size, series in each(mean["size"].values):
            label = f"$N={size}$ ({int((data['size'] == size).sum())})"
            curve = (size * mean.sel(size=size)) ** 0.5
            lower.plot(data["time"], curve, color=series.color, ls=series.linestyle, label=label)
        lower.set(xscale="log", yscale="log", xlabel=TIME)
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set(ylim=(low, 15 * high), ylabel=r"$\mathcal{M}$")  # room for the exponents, shared by the row
    panels[1, 0].set_ylabel(rf"$\sqrt{{N}}\,|{quantity}_\mathrm{{SGD}} - {quantity}_\mathrm{{theory}}|$, rms")
    panels[1, -1].legend(loc="lower right", title="(instances)")
    finish(panels, [TITLES.get(name, name) for name in theories] * 2)
    handles = keys(r"$\mathcal{{M}}({})$", data["quantity"].values, linestyle="-")
    title = f"{ACTIVATION_LABELS[data.attrs['activation']]}, Gaussian inputs, $D/N = {data.attrs['latent_ratio']:g}$"
    add_legend(figure, [*handles, key(r"$N^{-1/2}$", color=GREY, ls=":")], title)
    return figure


def _draw_fall(panel: Axes, data: xr.Dataset) -> None:
    """M of each quantity against N with its fit, a line of slope −½, and the exponents."""
    lines, sizes = ["exponent of $N$"], np.unique(data["size"])
    for name, series in each(data["quantity"].values):
        one = data.sel(quantity=name)
        mean, error = (values.values for values in by_size(one["M"].pipe(np.log)))  # of ln M, which is what is fitted
        bars = np.exp(mean) - np.exp(mean - error), np.exp(mean + error) - np.exp(mean)
        label = rf"$\mathcal{{M}}({name})$"
        draw(panel, sizes, np.exp(mean), bars, bars=True, name=label, color=series.color, marker=series.marker, ls="")
        exponent, prefactor = float(one["exponent"]), float(one["prefactor"])
        fine = np.geomspace(sizes[0] / 1.15, sizes[-1] * 1.15, 2)
        panel.plot(fine, prefactor * fine**exponent, color=series.color)
        middle = prefactor * sizes[0] ** exponent
        panel.plot(fine, middle * np.sqrt(sizes[0] / fine), color=GREY, ls=":", zorder=0.5)
        lines.append(rf"${name}$: ${exponent:.2f} \pm {float(one['exponent_stderr']):.2f}$")
    panel.set(xscale="log", yscale="log", xlabel="input dimension $N$")
    value_ticks(panel, sizes)
    corner = {"transform": panel.transAxes, "ha": "right", "va": "top"}
    panel.text(0.97, 0.97, "\n".join(lines), linespacing=1.4, **corner)
