"""Several theories beside SGD: a view of the explorer for paper, and what a diagnosis found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from xarray import DataArray, Dataset

from ..comparison import AGREEMENT
from ..diagnosis import judge, margins
from ..trajectory import HEAD, error_of, followed, is_error, variable
from ._draw import (
    GREY,
    SERIES,
    TIME,
    Series,
    add_legend,
    draw,
    finish,
    key,
    new_figure,
    shade,
    shade_key,
    styled,
    value_ticks,
)
from ._dynamics import LABELS, QUANTITIES, SYMBOLS, draw_entries, marks_along, new_panels

PAGE_COLORS = (
    "#3a78c9", "#c8435a", "#1f9382", "#d08a1d", "#8a63b8", "#6f8f1f", "#c0559a", "#4fa3c7", "#a5683a", "#7d8896",
)  # fmt: skip
"""The colours of entries in the explorer, on a white page and on a dark one."""
LINES = {"conventional": "-", "moment-matched": "--", "mixture": ":"}
MARKERS = {"conventional": "o", "moment-matched": "^", "mixture": "s"}
EVERY = slice(None, None, 4)  # the output times that have a mark of SGD in a view of the explorer
STATISTICS = {
    "kolmogorov_smirnov": ("Kolmogorov–Smirnov", SERIES[3]),
    "wasserstein": ("1-Wasserstein", SERIES[4]),
    "excess_kurtosis": ("excess kurtosis", Series("#555555", (0, (1, 1)), "X")),
}
DASHES = ((0, (3.5, 1.6)), "-", (0, (4, 1, 1, 1)))  # of the theories of a diagnosis, from the simplest
SHOWN = {"generalization_error": r"error $\epsilon_g$", "v": "output weights $v_k$", "R": "overlaps $R_{kk}$"}


def on_page(trajectory: Dataset) -> dict[str, str]:
    """What the explorer shows in each of its panels: of other losses and rules their error and output weights."""
    errors = [*filter(is_error, followed(trajectory))]
    return {
        "generalization_error": error_of(errors) if errors else "",
        "Q": "Q",
        "R": "R",
        "v": "v" if "v" in trajectory else "head_v",
    }


@styled
def explored(
    theories: Mapping[str, Dataset],
    sgd: Dataset | None,
    label: str,
    pinned: Sequence[tuple[str, str, Mapping[str, Dataset]]] = (),
) -> Figure:
    """ε_g, Q, R and v against log t: lines for theories, marks and bands for SGD runs, thin lines for pins.

    Parameters
    ----------
    theories
        Trajectories by the name of the theory.
    sgd
        Runs with dimensions (overlaps, run, time, ...), NaN at times that a run has not reached.
    label
        The settings, for the title.
    pinned
        Label, colour and theories of each pinned setting.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, panels = new_panels(len(QUANTITIES))
    measured = [] if sgd is None else sgd["overlaps"].values.tolist()
    for panel, name in zip(panels, QUANTITIES, strict=True):
        found = name
        for _, color, solved in [*pinned, ("", "", theories)]:
            colors, width = ([color], 0.9) if color else (PAGE_COLORS, 1.4)
            for theory, dataset in solved.items():
                draw_entries(panel, dataset[found := on_page(dataset)[name]], colors=colors, ls=LINES[theory], lw=width)
        # ε_g and v are the same, however Q and R are measured.
        for theory in measured if name in ("Q", "R") else measured[:1]:
            runs: Any = sgd.sel(overlaps=theory)[on_page(sgd)[name]]  # type: ignore[arg-type, union-attr]
            symbol = SYMBOLS[0] | {"marker": MARKERS[theory], "mew": 1.0}
            draw_entries(panel, runs, colors=PAGE_COLORS, marks=EVERY, **symbol)
        panel.set(xscale="log", ylabel=LABELS.get(found, variable(found).long_name))
    panels[0].set_yscale("log")
    finish(panels)
    handles = [key(f"{theory} theory", color=PAGE_COLORS[0], ls=LINES[theory]) for theory in theories]
    if sgd is not None:
        runs = f"mean of {sgd.sizes['run']} runs" if sgd.sizes["run"] > 1 else "one run"
        handles.append(key(f"SGD, {runs}", color=PAGE_COLORS[0], ls="", marker="o"))
    handles += [key(pin, color=color, lw=0.9) for pin, color, _ in pinned]
    add_legend(figure, handles, label, ncols=1 if pinned else 3)
    return figure


def color_of(place: int) -> str:
    """The colour of an entry in the explorer, on a white page and on a dark one."""
    return PAGE_COLORS[place % len(PAGE_COLORS)]


@styled
def diagnosis(data: Dataset) -> Figure:
    """M over its floor for each theory; ε_g, R and v of theory and SGD; how far the local fields are from Gaussian.

    Parameters
    ----------
    data
        See :attr:`sgdlimit.Diagnosis.data`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(5.6)
    ratios, *curves, fields, spectrum = panels = figure.subplots(2, 3).ravel()
    names = data["M_runs"].dropna("theory", how="all")["theory"].values.tolist()
    theories = {name: look._replace(linestyle=ls) for name, look, ls in zip(names, SERIES, DASHES, strict=False)}
    _draw_margins(ratios, data, theories)
    followed = [str(name).removesuffix("_theory") for name in data if str(name).endswith("_theory")]
    head = next((name for name in reversed(followed) if name == "v" or name.startswith(HEAD)), "Q")
    for panel, name in zip(curves, (error_of(followed), head, "R"), strict=True):
        _draw_diagonal(panel, data, name, theories)
    _draw_fields(fields, data)
    _draw_spectrum(spectrum, data)
    finish(panels)
    handles = [
        *(key(name, **series._asdict()) for name, series in theories.items()),
        key(f"SGD, {data.sizes['run']} runs", **SYMBOLS[0]),
        key("(a) same on the inputs it assumes", ls="", marker="_", ms=9),
        shade_key(rf"(a) agreement: $\mathcal{{M}}$ ≤ {AGREEMENT:g} × noise floor"),
        *(key(label, **series._asdict()) for label, series in STATISTICS.values()),
        shade_key("(e) by sampling alone, 99 %"),
    ]
    title = f"verdict: {judge(data).verdict};  bars: ±2 standard errors,  bands: ±1 deviation over runs"
    add_legend(figure, handles, title, ncols=3)
    return figure


def _draw_margins(panel: Axes, data: Dataset, theories: Mapping[str, Series]) -> None:
    """M of each theory over its noise floor with bars of two standard errors, and a dash on the inputs it assumes."""
    found = margins(data).sel(theory=list(theories))
    names = data["quantity"].values.tolist()
    places = np.arange(len(names))
    for number, (name, series) in enumerate(theories.items()):
        one, x = found.sel(theory=name), places + 0.24 * (number - (len(theories) - 1) / 2)
        style = series._asdict() | {"linestyle": "", "ms": 5.5}
        draw(panel, x, one["ratio"], 2 * one["M_stderr"] / one["floor"], bars=True, lw=1, **style)
        panel.plot(x, one["own"], "_", color=series.color, ms=9, mew=1.2, alpha=0.6)
    heights = found[["ratio", "own"]].to_dataarray()
    low, high = 0.6 * min(1.0, float(heights.min())), 1.8 * max(AGREEMENT, float(heights.max()))
    shade(panel, low, AGREEMENT, line=1)
    panel.set(yscale="log", ylim=(low, high), xlim=(-0.5, places[-1] + 0.5), ylabel=r"$\mathcal{M}$ / noise floor")
    value_ticks(panel, places, [variable(name).tex for name in names])


def _draw_diagonal(panel: Axes, data: Dataset, name: str, theories: Mapping[str, Series]) -> None:
    """The diagonal entries: SGD as circles and bands, theories as lines."""
    times = data["time"].values
    units = DataArray(range(min(data.sizes["student"], data.sizes["teacher"])), dims="student")
    diagonal = data[[f"{name}_theory", f"{name}_sgd"]].isel(student=units, teacher=units, missing_dims="ignore")
    for theory, series in theories.items():
        curves, runs = (values.rename(name) for values in diagonal.sel(theory=theory).values())
        draw_entries(panel, curves, colors=[series.color], ls=series.linestyle, lw=1.5)
        if name == "R" or theory == "conventional":  # SGD's v and ε_g do not depend on the theory it is measured by
            color = series.color if name == "R" else "black"
            draw_entries(panel, runs, colors=[color], marks=marks_along(times)[0], **SYMBOLS[0])
    scale = "log" if name == "generalization_error" else "linear"
    panel.set(
        xscale="log", xlim=times[[0, -1]], yscale=scale, xlabel=TIME, ylabel=SHOWN.get(name, variable(name).long_name)
    )


def _draw_fields(panel: Axes, data: Dataset) -> None:
    """Statistics of the fields, mean over runs and fields, in units of what sampling makes of Gaussian ones."""
    fields = abs(data["fields"]).mean(["field_run", "field"]) / data["null"].sel(moment="high")
    times = data["field_time"].values
    for name, (_, series) in STATISTICS.items():
        draw(panel, times, fields.sel(statistic=name), **series._asdict())
    low, high = 0.6 * min(1.0, float(fields.min())), 1.6 * max(2.0, float(fields.max()))
    shade(panel, low, 1)
    panel.set(xscale="log", yscale="log", xlim=(times[0] / 1.3, times[-1] * 1.3), ylim=(low, high))
    panel.set(xlabel=TIME, ylabel=r"$\lambda, \nu$ from Gaussian / noise")


def _draw_spectrum(panel: Axes, data: Dataset) -> None:
    """The eigenvalues of the covariance from the largest, beside 1, which is what conventional theory assumes."""
    eigenvalues = data["eigenvalues"].values[::-1]
    positive = eigenvalues[eigenvalues > 1e-12 * eigenvalues[0]]
    panel.loglog(np.arange(len(positive)) + 1, positive, color=SERIES[0].color, marker=".", ms=3, lw=0.8)
    panel.axhline(1, color=GREY, lw=0.8)
    limits = min(0.5, positive[-1] / 1.3), max(2.0, 1.3 * positive[0])
    panel.set(ylim=limits, xlabel="rank", ylabel=r"eigenvalue of $\Sigma_C$")
