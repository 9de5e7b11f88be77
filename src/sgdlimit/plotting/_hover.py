"""What can be read off a figure on a page: where its panels are, how their axes are scaled, and the points drawn.

The values come from the artists themselves, so a drawing is described in one place. A curve is found by its label in
the legend, or by the label that :func:`named` gives, which no legend shows.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure

HIDDEN = "_"  # what a label begins with that matplotlib's legends leave out
UNNAMED = ("_child", "_nolegend_")  # labels that matplotlib gives itself

SYMBOLS = {
    r"\epsilon": "ε", r"\alpha": "α", r"\eta": "η", r"\lambda": "λ", r"\nu": "ν", r"\omega": "ω", r"\pm": "±",
    r"\leq": "≤", r"\|": "‖", r"\sqrt": "√", r"\,": " ", r"\Sigma": "Σ", r"\times": "×",
}  # fmt: skip


class Curve(NamedTuple):
    """The points of one curve, in the units of its panel."""

    name: str
    x: Float[np.ndarray, "point"]
    y: Float[np.ndarray, "point"]


class Axis(NamedTuple):
    """The label of an axis, whether it is logarithmic, and its limits."""

    label: str
    log: bool
    low: float
    high: float


class Panel(NamedTuple):
    """A pair of axes: its box in the picture, its axes, and its curves."""

    title: str
    box: tuple[float, float, float, float]
    """Left, top, width and height, as shares of the picture's."""
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]


def named(artist: Any, name: str) -> Any:
    """Let a curve be read off under this name; legends do not show it."""
    artist.set_label(HIDDEN + name)
    return artist


def hover_panels(figure: Figure) -> list[Panel]:
    """The panels of a figure with the curves that have names, inset panels after those they lie on.

    Parameters
    ----------
    figure
        A figure that was drawn or saved whole, as :func:`sgdlimit.plotting.save_figure` does, without being cropped.

    Returns
    -------
    list of Panel
        The panels that have a named curve. Points that are not finite, or outside the panel, are left out.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> figure = Figure()
    >>> line = figure.subplots().plot([1, 2], [3, 4], label=r"$\\epsilon_g$")
    >>> [curve.name for curve in hover_panels(figure)[0].curves]
    ['ε_g']
    """
    axes = [part for outer in figure.axes for part in (outer, *outer.child_axes) if isinstance(part, Axes)]
    return [panel for panel in (_panel(figure, part) for part in axes) if panel.curves]


def _panel(figure: Figure, axes: Axes) -> Panel:
    """One pair of axes with its named curves in data units."""
    # Before the curves: asking for the view is what makes matplotlib scale it.
    x_axis = _axis(axes.xaxis, [other.xaxis for other in axes.get_shared_x_axes().get_siblings(axes)])
    y_axis = _axis(axes.yaxis, [other.yaxis for other in axes.get_shared_y_axes().get_siblings(axes)])
    curves = []
    for line in axes.lines:
        label = str(line.get_label())
        if label.startswith(UNNAMED) or line.get_transform() != axes.transData:
            continue
        points = np.asarray(line.get_xydata())
        # As shares of the panel, where its edges are 0 and 1; NaN is not within.
        within = abs((axes.transData - axes.transAxes).transform(points) - 0.5) <= 0.5 + 1e-9
        if (seen := within.all(axis=1)).any():
            x, y = np.char.mod([["%.5g"], ["%.4g"]], points[seen].T).astype(float)
            curves.append(Curve(plain(label.removeprefix(HIDDEN)), x, y))
    left, bottom, width, height = axes.get_window_extent().transformed(figure.transFigure.inverted()).bounds
    return Panel(
        plain(axes.get_title(loc="left")),
        (left, 1 - bottom - height, width, height),
        x_axis,
        y_axis,
        tuple(curves),
    )


def _axis(axis: XAxis | YAxis, others: Sequence[XAxis | YAxis]) -> Axis:
    """An axis with the first label there is: its own, or of one that it is shared with."""
    label = next(filter(None, (each.get_label_text() for each in (axis, *others))), "")
    return Axis(plain(label), axis.get_scale() == "log", *axis.get_view_interval())


def plain(text: str) -> str:
    r"""A label without the markup of formulas.

    Examples
    --------
    >>> plain(r"$\mathcal{M}(Q)\,/\,E|Q|$"), plain(r"$Q_{0,1}$"), plain(r"time $t$ = steps/$N$")
    ('M(Q) / E|Q|', 'Q₀,₁', 'time t = steps/N')
    """
    text = re.sub(r"\\(?:mathcal|mathrm|bf|mathbf)\s*", "", text)
    for command, symbol in SYMBOLS.items():
        text = text.replace(command, symbol)
    for sign, digits in (("_", "₀₁₂₃₄₅₆₇₈₉,-"), (r"\^", "⁰¹²³⁴⁵⁶⁷⁸⁹,⁻")):
        raised = str.maketrans("0123456789,-", digits)
        text = re.sub(
            sign + r"(?:\{([\d,-]+)\}|(\d))",
            lambda found, raised=raised: (found[1] or found[2]).translate(raised),
            text,
        )
    return re.sub(r"\s+", " ", re.sub(r"[${}\\]", "", text)).strip()
