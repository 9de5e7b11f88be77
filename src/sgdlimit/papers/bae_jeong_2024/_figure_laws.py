"""Figures S1 and S2: what the latent law does to expectations of f, and how far it is from N(0, 1)."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ...comparison import mean_and_error
from ...plotting import add_legend, draw, each, finish, key, named, new_figure, shade_key, styled

FUNCTION_LABELS = {
    "erf": r"$f(x) = \mathrm{erf}(x/\sqrt{2})$",
    "relu": r"$f(x) = \max(x, 0)$",
    "sign": r"$f(x) = \mathrm{sgn}\,x$",
}
LABELS = {"mixture": "mixture $P$", "normal": r"$\mathcal{N}(0, 1)$"}
EXACT_LABELS = {"mixture": r"exact $E_P f$", "normal": r"exact $E_{\mathcal{N}} f$"}
BARS = {
    "mixture": {"color": "#e8a020", "alpha": 0.55, "lw": 0},
    "normal": {"color": "#16275c", "histtype": "step", "lw": 1.2},
}
EXACT = {"mixture": {"color": "#8a5a00", "lw": 1.3}, "normal": {"color": "#16275c", "lw": 1.3, "ls": (0, (4, 2))}}


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
    panels = figure.subplots(1, len(functions), squeeze=False)[0]
    for panel, name in zip(panels, functions, strict=True):
        means, exact = data["sample_mean"].sel(function=name), data["expectation"].sel(function=name)
        edges = np.linspace(float(means.min()), float(means.max()), 46)
        if name == "sign":  # its means are whole multiples of 2/count: bins hold equally many of them
            step = 2 / data.attrs["count"]
            width = step * max(1, round((edges[1] - edges[0]) / step))
            edges = np.arange(edges[0] - step / 2, edges[-1] + width, width)
        for law, bars in BARS.items():
            heights = panel.hist(means.sel(law=law), bins=edges, density=True, **bars)[0]
            named(panel.plot((edges[1:] + edges[:-1]) / 2, heights, ls="")[0], LABELS[law])
            panel.axvline(float(exact.sel(law=law)), ymax=0.84, **EXACT[law])
        difference = float(exact.sel(law="mixture") - exact.sel(law="normal"))
        verdict = r"E_P f = E_{\mathcal{N}} f"
        if abs(difference) >= 1e-12:
            verdict = rf"E_P f - E_{{\mathcal{{N}}}} f = {difference:+.3f}"
        panel.text(0.5, 0.96, f"${verdict}$", transform=panel.transAxes, ha="center", va="top")
        panel.set(xlabel=r"sample mean of $f(x)$", ylim=(0, 1.25 * panel.get_ylim()[1]))
    panels[0].set_ylabel("probability density")
    finish(panels, [FUNCTION_LABELS.get(name, name) for name in functions])
    handles = [
        shade_key(LABELS["mixture"], **BARS["mixture"]),
        key(EXACT_LABELS["mixture"], **EXACT["mixture"]),
        key(LABELS["normal"], color=BARS["normal"]["color"], lw=1.2, drawstyle="steps"),
        key(EXACT_LABELS["normal"], **EXACT["normal"]),
    ]
    components, size = data.sizes["component"], data.attrs["count"]
    title = f"mixture of {components} components; each mean is over {size} samples, {data.attrs['repeats']} means"
    add_legend(figure, handles, title)
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
    figure = new_figure(3.4, width=4.4)
    panel = figure.subplots()
    spread = data["spread"].values
    mean, error = mean_and_error(data["kl"])
    for m, series in each(data["components"].values):
        draw(panel, spread, mean.sel(components=m), error.sel(components=m), label=f"$m={m}$", **series.line)
    fine = np.linspace(spread.min(), spread.max(), 100)
    panel.plot(fine, fine**2 / 6, "k:", lw=1.1, label=r"$\alpha^2/6$, mean upper bound")
    panel.set_xlabel(r"range $\alpha$ of the component means")
    panel.set_ylabel(r"$D_{\mathrm{KL}}(P\,\|\,\mathcal{N})$ [nats]")
    title = f"mean of {data.sizes['instance']} instances ± standard error"
    panel.legend(loc="upper left", title=title, alignment="left")
    return figure
