"""Figures 2, 4, S1 and S2, and every figure by name.

Figures 2 and 4 are order parameters against time on Gaussian and mixture inputs, beside the theory. Figures S1 and S2
show what the latent law does to expectations of f, and how far it is from N(0, 1).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from xarray import Dataset

from ...comparison import mean_and_error
from ...plotting import (
    ACTIVATION_LABELS,
    QUANTITIES,
    TIME,
    Runs,
    add_legend,
    draw,
    draw_quantity,
    dynamics_legend,
    each,
    finish,
    key,
    new_figure,
    new_panels,
    shade_key,
    styled,
    trajectory,
)
from ._averages import Study
from ._captions import FIGURES
from ._figure_discrepancy import ERRORS, discrepancy_against_kl, universality
from ._figure_studies import finite_size, lemma_correlation, lemma_expectation, mixture_theory
from ._grids import case_name, trajectories_of

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
def example_dynamics(
    theory: Dataset, sgd: Dataset, activation: str, law: str, *, mixture: Dataset | None = None
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
    setting = [
        ACTIVATION_LABELS[activation],
        rf"$m={sgd.attrs['components']}$, $\alpha={sgd.attrs['spread']:g}$",
    ]
    gaussian, own = (sgd.sel(activation=activation, law=name) for name in ("gaussian", law))
    runs = Runs(f"SGD, {law.replace('ized', 'ised')}", own, 1)
    groups = [Runs("SGD, Gaussian", gaussian), runs]
    columns = [(theory.sel(activation=activation), groups)]
    panels: Any
    titles = []
    if mixture is None:
        figure, panels = new_panels(len(QUANTITIES))
    else:
        within = own.assign(Q=own["Q_mixture"], R=own["R_mixture"])
        columns.append((mixture.sel(activation=activation), [runs._replace(data=within)]))
        figure, titles = new_figure(8.4), ["conventional theory (ODE)", "mixture theory"]
        panels = figure.subplots(4, 2, sharex=True)
        for panel in panels[-1]:
            panel.set_xlabel(TIME)
        for left, right in panels[[0, 3]]:  # ε_g and v are the same for both theories
            right.sharey(left)
    for row, name in zip(np.reshape(panels, (4, -1)), QUANTITIES, strict=True):
        for panel, column in zip(row, columns, strict=True):
            draw_quantity(panel, name, *column, named=panel is row[-1])
        for panel in row[1:]:
            panel.yaxis.label.set_visible(False)  # for those who read values off
    finish(panels, titles)
    dynamics_legend(figure, [drawn for drawn, _ in columns], groups, setting)
    return figure


@styled
def sample_mean_law(data: Dataset) -> Figure:
    """Figure S1: histograms of sample means of f under the mixture P and under N(0, 1), with the exact E f marked.

    Parameters
    ----------
    data
        From :func:`~sgdlimit.papers.bae_jeong_2024._sample_means.sample_means`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(3.2)
    functions = data["function"].values
    panels = figure.subplots(1, len(functions))
    for panel, name in zip(panels, functions, strict=True):
        means, exact = data["sample_mean"].sel(function=name), data["expectation"].sel(function=name)
        edges = np.linspace(float(means.min()), float(means.max()), 46)
        if name == "sign":  # its means are whole multiples of 2/count: bins hold equally many of them
            step = 2 / data.attrs["count"]
            width = step * max(1, round((edges[1] - edges[0]) / step))
            edges = np.arange(edges[0] - step / 2, edges[-1] + width, width)
        for law, bars in BARS.items():
            heights = panel.hist(means.sel(law=law), bins=edges, density=True, **bars)[0]
            draw(panel, (edges[1:] + edges[:-1]) / 2, heights, name=LABELS[law], ls="")
            panel.axvline(float(exact.sel(law=law)), ymax=0.84, **EXACT[law])
        P, N = exact.values
        difference = rf"E_P f - E_{{\mathcal{{N}}}} f = {P - N:+.3f}"
        verdict = difference if abs(P - N) >= 1e-12 else r"E_P f = E_{\mathcal{N}} f"
        panel.text(0.5, 0.96, f"${verdict}$", transform=panel.transAxes, ha="center", va="top")
        panel.set(xlabel=r"sample mean of $f(x)$", ylim=(0, 1.25 * panel.get_ylim()[1]))
        panel.set_ylabel("probability density").set_visible(panel is panels[0])
    finish(panels, [FUNCTION_LABELS[name] for name in functions])
    handles = [
        shade_key(LABELS["mixture"], **BARS["mixture"]),
        key(EXACT_LABELS["mixture"], **EXACT["mixture"]),
        key(LABELS["normal"], color=BARS["normal"]["color"], lw=1.2, drawstyle="steps"),
        key(EXACT_LABELS["normal"], **EXACT["normal"]),
    ]
    title = (
        f"mixture of {data.sizes['component']} components; each mean is over {data.attrs['count']} samples, "
        f"{data.attrs['repeats']} means"
    )
    add_legend(figure, handles, title)
    return figure


@styled
def kl_against_spread(data: Dataset) -> Figure:
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
    panel.set(xlabel=r"range $\alpha$ of the component means", ylabel=r"$D_{\mathrm{KL}}(P\,\|\,\mathcal{N})$ [nats]")
    panel.legend(loc="upper left", title=f"mean of {data.sizes['instance']} instances {ERRORS}", alignment="left")
    return figure


def paper_figures(study: Study) -> dict[str, Callable[[], Figure]]:
    """Figures 2-5 and S1-S4, Figures 2 and 4 for erf as well, and beyond the paper, each drawn when called.

    Returns
    -------
    dict
        By name: ``figure_2``, ``figure_3``, …, ``figure_S4``, ``figure_2_erf``, ``figure_4_erf``,
        ``universality_relu``, ``universality_erf``, ``finite_size``, ``mixture_theory``, ``lemma_V1``, ``lemma_V3``;
        then ``left_out_SEED_ACTIVATION``. Those of an activation that was not computed are missing.
    """
    theory, sgd, grid, cases = study.examples_theory, study.examples_sgd, study.grid, study.cases
    figures: dict[str, Callable[[], Figure]] = {}
    for activation in study.activations:
        drawings = (
            partial(example_dynamics, theory, sgd, activation, "mixture", mixture=study.examples_mixture),
            partial(discrepancy_against_kl, grid, activation, False),
            partial(example_dynamics, theory, sgd, activation, "standardized mixture"),
            partial(discrepancy_against_kl, grid, activation, True, theory=theory, sgd=sgd),
            partial(universality, study.blocks, activation),
        )
        figures |= zip(FIGURES[activation], drawings, strict=True)
    figures |= {
        "figure_S1": partial(sample_mean_law, study.sample_means),
        "figure_S2": partial(kl_against_spread, grid),
        "finite_size": partial(finite_size, study.sizes),
        "mixture_theory": partial(mixture_theory, study.mixture),
        "lemma_V1": partial(lemma_correlation, study.correlations),
        "lemma_V3": partial(lemma_expectation, study.expectations),
    }
    left_out = map(case_name, cases["instance"].values, cases["activation"].values)
    return figures | {name: partial(trajectory, *trajectories_of(cases, k)) for k, name in enumerate(left_out)}
