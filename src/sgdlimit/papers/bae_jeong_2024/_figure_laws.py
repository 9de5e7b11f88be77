"""Figures S1 and S2: what the latent law does to expectations of f, and how far it is from N(0, 1)."""

from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...plotting import SERIES, instance_mean, label_panels, named, new_figure, styled

__all__ = ["kl_against_spread", "sample_mean_law"]

FUNCTION_LABELS = {
    "erf": r"$f(x) = \mathrm{erf}(x/\sqrt{2})$",
    "relu": r"$f(x) = \max(x, 0)$",
    "sign": r"$f(x) = \mathrm{sgn}\,x$",
}
MIXTURE, EXACT, NORMAL = "#e8a020", "#8a5a00", "#16275c"


@styled
def sample_mean_law(data: xr.Dataset) -> Figure:
    """Figure S1: histograms of sample means of f under the mixture P and under N(0, 1), with the exact E f marked.

    Parameters
    ----------
    data
        From :func:`sgdlimit.papers.bae_jeong_2024.sample_means`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(3.2)
    functions = [str(name) for name in data["function"].values]
    panels = np.atleast_1d(figure.subplots(1, len(functions)))
    for panel, name in zip(panels, functions, strict=True):
        means = data["sample_mean"].sel(function=name)
        edges = np.linspace(float(means.min()), float(means.max()), 46)
        if name == "sign":  # its means are whole multiples of 2/count: bins hold equally many of them
            step = 2 / data.attrs["count"]
            width = step * max(1, round((edges[1] - edges[0]) / step))
            edges = np.arange(edges[0] - step / 2, edges[-1] + width, width)
        middles = (edges[1:] + edges[:-1]) / 2
        heights = panel.hist(means.sel(law="mixture"), bins=edges, density=True, color=MIXTURE, alpha=0.55, lw=0)[0]
        named(panel.plot(middles, heights, ls="")[0], "mixture $P$")
        heights = panel.hist(means.sel(law="normal"), bins=edges, density=True, histtype="step", color=NORMAL, lw=1.2)[
            0
        ]
        named(panel.plot(middles, heights, ls="")[0], r"$\mathcal{N}(0, 1)$")
        panel.set_ylim(0, 1.25 * panel.get_ylim()[1])
        exact = data["expectation"].sel(function=name)
        panel.axvline(float(exact.sel(law="mixture")), ymax=0.84, color=EXACT, ls="-", lw=1.3)
        panel.axvline(float(exact.sel(law="normal")), ymax=0.84, color=NORMAL, ls=(0, (4, 2)), lw=1.3)
        difference = float(exact.sel(law="mixture") - exact.sel(law="normal"))
        verdict = (
            r"$E_P f = E_{\mathcal{N}} f$"
            if abs(difference) < 1e-12
            else rf"$E_P f - E_{{\mathcal{{N}}}} f = {difference:+.3f}$"
        )
        panel.text(0.5, 0.96, verdict, transform=panel.transAxes, ha="center", va="top")
        panel.set_xlabel(r"sample mean of $f(x)$")
    panels[0].set_ylabel("probability density")
    label_panels(list(panels), [FUNCTION_LABELS.get(name, name) for name in functions])
    handles = [
        Patch(color=MIXTURE, alpha=0.55, lw=0, label="mixture $P$"),
        Line2D([], [], color=EXACT, lw=1.3, label=r"exact $E_P f$"),
        Line2D([], [], color=NORMAL, lw=1.2, drawstyle="steps", label=r"$\mathcal{N}(0, 1)$"),
        Line2D([], [], color=NORMAL, ls=(0, (4, 2)), lw=1.3, label=r"exact $E_{\mathcal{N}} f$"),
    ]
    components, size = data.sizes["component"], data.attrs["count"]
    title = f"mixture of {components} components; each mean is over {size} samples, {data.attrs['repeats']} means"
    figure.legend(handles=handles, title=title, loc="outside upper center", ncols=4)
    return figure


@styled
def kl_against_spread(data: xr.Dataset) -> Figure:
    """Figure S2: D_KL(P ‖ N) of the un-standardised scalar mixture against α, a curve for each m.

    The mean over instances with a band of ±1 standard error; the dotted line is α²/6, the mean of the upper bound
    Σp_i μ_i²/2 over μ ~ U[−α, α).

    Parameters
    ----------
    data
        With ``kl`` (instance, components, spread).

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(3.4)
    figure.set_size_inches(4.4, 3.4)
    panel = figure.subplots()
    spread = data["spread"].values
    for series, components in zip(cycle(SERIES), data["components"].values, strict=False):
        mean, error = (values.values for values in instance_mean(data["kl"].sel(components=components)))
        panel.fill_between(spread, mean - error, mean + error, color=series.color, alpha=0.2, lw=0)
        panel.plot(
            spread,
            mean,
            color=series.color,
            ls=series.linestyle,
            marker=series.marker,
            mec="white",
            mew=0.5,
            label=f"$m={components}$",
        )
    fine = np.linspace(spread.min(), spread.max(), 100)
    panel.plot(fine, fine**2 / 6, color="black", ls=":", lw=1.1, label=r"$\alpha^2/6$, mean upper bound")
    panel.set_xlabel(r"range $\alpha$ of the component means")
    panel.set_ylabel(r"$D_{\mathrm{KL}}(P\,\|\,\mathcal{N})$ [nats]")
    title = f"mean of {data.sizes['instance']} instances ± standard error"
    panel.legend(loc="upper left", title=title, alignment="left")
    return figure
