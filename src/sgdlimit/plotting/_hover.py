"""What can be read off a figure on a page: where its panels are, how their axes are scaled, and the points drawn.

The values are those of the artists themselves, so the drawing is described in one place. A curve is found by its label:
that of the legend, or one given by :func:`named`, which no legend shows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["Curve", "Panel", "hover_panels", "named", "plain"]

HIDDEN = "_"  # what a label begins with that matplotlib's legends leave out
UNNAMED = "_child"  # labels that matplotlib gives itself
DIGITS = 4

SYMBOLS = {
    r"\epsilon": "ε", r"\alpha": "α", r"\eta": "η", r"\lambda": "λ", r"\nu": "ν", r"\omega": "ω", r"\pm": "±",
    r"\leq": "≤", r"\|": "‖", r"\sqrt": "√", r"\,": " ", r"\Sigma": "Σ", r"\times": "×",
}  # fmt: skip
SUBSCRIPTS = str.maketrans("0123456789,", "₀₁₂₃₄₅₆₇₈₉,")
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True)
class Curve:
    """The points of one curve, in the units of its panel."""

    name: str
    x: Float[np.ndarray, "point"]
    y: Float[np.ndarray, "point"]


@dataclass(frozen=True)
class Panel:
    """A pair of axes: its box in the picture, its scales, and its curves."""

    box: tuple[float, float, float, float]
    """Left, top, width and height, as shares of the picture's."""
    title: str
    x_label: str
    y_label: str
    x_scale: str
    """``"linear"`` or ``"log"``."""
    y_scale: str
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    curves: tuple[Curve, ...] = field(default=())

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the picture, as shares of its width and height from the upper left."""

        def share(value: float, scale: str, limits: tuple[float, float]) -> float:
            low, high = np.log(limits) if scale == "log" else limits
            return ((np.log(value) if scale == "log" else value) - low) / (high - low)

        left, top, width, height = self.box
        across = share(x, self.x_scale, self.x_limits)
        return left + width * across, top + height * (1 - share(y, self.y_scale, self.y_limits))


def named(artist: Any, name: str) -> Any:
    """Let a curve be read off under this name; legends do not show it."""
    artist.set_label(HIDDEN + name)
    return artist


def hover_panels(figure: Figure) -> list[Panel]:
    """The panels of a figure with the curves that have names, inset panels after those they lie on.

    Parameters
    ----------
    figure
        A figure that was drawn or saved whole, as :func:`sgdlimit.figures.save_figure` does, without being cropped.

    Returns
    -------
    list of Panel
        Those that have a named curve. Points that are not finite, or outside the panel, are left out.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> figure = Figure()
    >>> line = figure.subplots().plot([1, 2], [3, 4], label=r"$\\epsilon_g$")
    >>> [curve.name for curve in hover_panels(figure)[0].curves]
    ['ε_g']
    """
    axes: list[Axes] = []
    for one in figure.axes:
        axes += [one, *(child for child in one.child_axes if isinstance(child, Axes))]
    panels = [_panel(figure, one) for one in axes]
    return [panel for panel in panels if panel.curves]


def _panel(figure: Figure, axes: Axes) -> Panel:
    box = axes.get_window_extent().transformed(figure.transFigure.inverted())
    x_limits, y_limits = axes.get_xlim(), axes.get_ylim()
    bars = {
        id(bar.lines[0]): str(bar.get_label()) for bar in axes.containers if isinstance(bar, ErrorbarContainer)
    }  # whose label the line that it draws does not have
    curves = []
    for line in axes.lines:
        name = _name(line, bars.get(id(line), ""))
        if name and line.get_transform() == axes.transData:
            x, y = (np.asarray(values, float) for values in line.get_data())
            curves.append(_visible(Curve(name, x, y), x_limits, y_limits))
    return Panel(
        box=(float(box.x0), float(1 - box.y1), float(box.width), float(box.height)),
        title=plain(axes.get_title(loc="left")),
        x_label=plain(_shared_label(axes, "x")),
        y_label=plain(_shared_label(axes, "y")),
        x_scale=axes.get_xscale(),
        y_scale=axes.get_yscale(),
        x_limits=x_limits,
        y_limits=y_limits,
        curves=tuple(curve for curve in curves if len(curve.x)),
    )


def _shared_label(axes: Axes, which: str) -> str:
    """The label of an axis, or of the panel that it shares it with, or that stands to its left in the same row."""
    grouper = axes.get_shared_x_axes() if which == "x" else axes.get_shared_y_axes()
    for one in (axes, *grouper.get_siblings(axes), *(_in_row(axes) if which == "y" else [])):
        label = one.get_xlabel() if which == "x" else one.get_ylabel()
        if label:
            return label
    return ""


def _in_row(axes: Axes) -> list[Axes]:
    place = axes.get_subplotspec()
    figure = axes.get_figure()
    if place is None or figure is None:
        return []
    others = [(other.get_subplotspec(), other) for other in figure.axes]
    return [
        other
        for spec, other in others
        if spec is not None and spec.get_gridspec() is place.get_gridspec() and spec.rowspan == place.rowspan
    ]


def _name(line: Line2D, of_bar: str) -> str:
    label = of_bar if of_bar and not of_bar.startswith(UNNAMED) else str(line.get_label())
    if label.startswith(UNNAMED) or label == "_nolegend_":
        return ""
    return plain(label.removeprefix(HIDDEN))


def _visible(curve: Curve, x_limits: Sequence[float], y_limits: Sequence[float]) -> Curve:
    """The points that are to be seen, rounded."""
    inside = np.isfinite(curve.x) & np.isfinite(curve.y)
    for values, limits in ((curve.x, sorted(x_limits)), (curve.y, sorted(y_limits))):
        margin = 1e-9 * (limits[1] - limits[0])
        inside &= (values >= limits[0] - margin) & (values <= limits[1] + margin)
    return Curve(curve.name, _rounded(curve.x[inside], DIGITS + 1), _rounded(curve.y[inside], DIGITS))


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
