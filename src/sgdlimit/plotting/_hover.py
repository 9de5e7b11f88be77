"""What can be read off a figure on a page: where its panels are, how their axes are scaled, and the points drawn.

The values are those of the artists themselves, so the drawing is described in one place. A curve is found by its label:
that of the legend, or one given by :func:`named`, which no legend shows.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HIDDEN = "_"  # what a label begins with that matplotlib's legends leave out
UNNAMED = ("_child", "_nolegend_")  # labels that matplotlib gives itself
DIGITS = 4

SYMBOLS = {
    r"\epsilon": "ε", r"\alpha": "α", r"\eta": "η", r"\lambda": "λ", r"\nu": "ν", r"\omega": "ω", r"\pm": "±",
    r"\leq": "≤", r"\|": "‖", r"\sqrt": "√", r"\,": " ", r"\Sigma": "Σ", r"\times": "×",
}  # fmt: skip
SUBSCRIPTS = str.maketrans("0123456789,", "₀₁₂₃₄₅₆₇₈₉,")
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


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

    def share(self, value: float) -> float:
        """Where a value lies between the limits, from 0 to 1."""
        low, high, at = np.log([self.low, self.high, value]) if self.log else (self.low, self.high, value)
        return float((at - low) / (high - low))


class Panel(NamedTuple):
    """A pair of axes: its box in the picture, its axes, and its curves."""

    title: str
    box: tuple[float, float, float, float]
    """Left, top, width and height, as shares of the picture's."""
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the picture, as shares of its width and height from the upper left."""
        left, top, width, height = self.box
        return left + width * self.x.share(x), top + height * (1 - self.y.share(y))


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
    box = axes.get_window_extent().transformed(figure.transFigure.inverted())
    place = axes.get_subplotspec()
    row = [
        other
        for other in figure.axes
        if place is not None and (spec := other.get_subplotspec()) is not None and spec.rowspan == place.rowspan
    ]
    x_axis = Axis(
        _label(Axes.get_xlabel, [axes, *axes.get_shared_x_axes().get_siblings(axes)]),
        axes.get_xscale() == "log",
        *axes.get_xlim(),
    )
    y_axis = Axis(
        _label(Axes.get_ylabel, [axes, *axes.get_shared_y_axes().get_siblings(axes), *row]),
        axes.get_yscale() == "log",
        *axes.get_ylim(),
    )
    curves = []
    for line in axes.lines:
        label = str(line.get_label())
        if label.startswith(UNNAMED) or line.get_transform() != axes.transData:
            continue
        x, y = (np.asarray(values, float) for values in line.get_data())
        seen = _inside(x, x_axis) & _inside(y, y_axis)
        if seen.any():
            name = plain(label.removeprefix(HIDDEN))
            curves.append(Curve(name, _rounded(x[seen], DIGITS + 1), _rounded(y[seen], DIGITS)))
    shares = (float(box.x0), float(1 - box.y1), float(box.width), float(box.height))
    return Panel(plain(axes.get_title(loc="left")), shares, x_axis, y_axis, tuple(curves))


def _label(read: Callable[[Axes], str], panels: list[Axes]) -> str:
    """The first label there is: of the axis, of one that it is shared with, or of the panel on its left."""
    return plain(next(filter(None, map(read, panels)), ""))


def _inside(values: np.ndarray, axis: Axis) -> np.ndarray:
    """Which values lie within the limits of an axis; NaN does not."""
    margin = 1e-9 * abs(axis.high - axis.low)
    return (values >= min(axis.low, axis.high) - margin) & (values <= max(axis.low, axis.high) + margin)


def _rounded(values: np.ndarray, digits: int) -> np.ndarray:
    return np.array([float(f"{value:.{digits}g}") for value in values])


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
    text = re.sub(r"_\{([0-9,]+)\}|_([0-9])", lambda found: (found[1] or found[2]).translate(SUBSCRIPTS), text)
    text = re.sub(r"\^\{(-?[0-9]+)\}|\^([0-9])", lambda found: (found[1] or found[2]).translate(SUPERSCRIPTS), text)
    return re.sub(r"\s+", " ", re.sub(r"[${}\\]", "", text)).strip()
