"""Learning curves on labelled data beside those on their surrogates."""

from itertools import cycle
from typing import Any

from matplotlib.figure import Figure
from xarray import Dataset

from ._draw import GREY, add_legend, draw, each, finish, key, new_figure, shade_key, styled

DATA = "data"
MARKED = 12
"""Output times of the data that have a mark."""


@styled
def labelled(data: Dataset) -> Figure:
    """Test error against samples: the data as points, each rung as a line; and each surrogate with its theory.

    Parameters
    ----------
    data
        See :attr:`sgdlimit.diagnosis.LabelledDiagnosis.data`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(3.6)
    tested, own = panels = figure.subplots(1, 2, sharex=True, sharey=True)
    samples, errors = data["samples"].values, data["error_rate"].mean("run")
    rungs = list(each([str(source) for source in data["source"].values if source != DATA]))
    theory = bool(data["theory_error_rate"].notnull().any())
    steps = cycle((0.0, 0.03, 0.06, 0.09))
    for name, series in rungs:
        style = {"color": series.color, "ls": series.linestyle}
        draw(tested, samples, errors.sel(source=name), name=name, **style)
        runs = data["own_error_rate"].sel(source=name)
        draw(own, samples, runs.mean("run"), runs.std("run"), name=name, lw=0.7, **style)
        if theory:
            solved = data["theory_error_rate"].sel(source=name)
            draw(own, samples, solved, name=f"{name}, theory", color=series.color, lw=4, alpha=0.35)
        height, left = next(steps), float(data["left"].sel(source=name))
        if left > 0:
            tested.axvline(left, ymax=0.12 - height, color=series.color, lw=1.5)
            tested.plot(left, 0.12 - height, "v", color=series.color, transform=tested.get_xaxis_transform(), ms=5)
    real = data["error_rate"].sel(source=DATA)
    every = slice(None, None, max(1, len(samples) // MARKED))
    spread = real.std("run")
    draw(
        tested, samples[every], real.mean("run")[every], spread[every], name=DATA, bars=True,
        color="black", ls="", marker="o", mfc="white", zorder=3,
    )  # fmt: skip
    handles: list[Any] = [key(name, color=series.color, ls=series.linestyle) for name, series in rungs]
    handles.append(key(f"SGD on the data, {data.sizes['run']} runs", ls="", marker="o", mfc="white"))
    if "curve" in data:
        tested.plot(data["curve_samples"], data["curve"], "x", color=GREY, ms=5, zorder=4)
        handles.append(key("your curve", ls="", marker="x", color=GREY))
    handles.append(key("(a) rung is left", ls="", marker="v", ms=5))
    handles.append(shade_key("±1 deviation over runs"))
    if theory:
        handles.append(key("(b) thick: theory, thin: SGD", lw=4, alpha=0.35))
    tested.set(xscale="log", xlabel="samples seen", ylabel="error rate", ylim=(0, None))
    own.set(xlabel="samples seen")
    finish(panels, ["on the held-out test set", "on fresh samples of each surrogate"])
    add_legend(figure, handles, ncols=3)
    return figure
