"""Lemmas V.1 and V.3 (C.1) of the paper in numbers: what they leave out, exactly, and where their conditions fail."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import gammaln

from ...errors import ProblemError
from ...inputs import MixtureLaw
from ._sample_means import FUNCTIONS as SAMPLED
from ._sample_means import MEAN_OVER_NORMAL as SAMPLED_MEANS

__all__ = ["CONSTRUCTIONS", "TOLERANCE", "Pair", "function_correlation", "function_expectation"]

Array = np.ndarray

FUNCTIONS: dict[str, Callable[[Array], Array]] = SAMPLED | {
    "identity": lambda x: x,
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
}
MEAN_OVER_NORMAL: dict[str, Callable[[Array, Array], Array]] = SAMPLED_MEANS | {
    "identity": lambda m, s: m + 0 * s,
    "square": lambda m, s: m**2 + s**2,
    "cube": lambda m, s: m**3 + 3 * m * s**2,
}
"""E f(x) for x ~ N(m, s²), in closed form."""

THIRD_DERIVATIVE = dict.fromkeys(FUNCTIONS, 0.0) | {"erf": np.sqrt(2 / np.pi), "cube": 6.0}
"""|f'''(0)|, from either side where f has a kink or a step; for these f it leads the terms that Lemma V.3 neglects."""

TOLERANCE = 0.05
"""A difference between expectations of f is called negligible up to this part of √(E f²) under N(0, 1)."""

FUNCTION_PAIRS = (("relu", "relu"), ("erf", "relu"), ("sign", "sign"), ("cube", "relu"))
EPSILONS = tuple(np.geomspace(1e-3, 0.3, 13).tolist())
STRONGEST = 0.95  # correlation within a component; at 1 the two variables are one
_FAR = 9.0  # the normal density beyond it is below rounding
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(120)


class Pair(NamedTuple):
    """The law of (u1, u2): a mixture of bivariate Gaussians."""

    weights: Float[np.ndarray, "n"]
    means: Float[np.ndarray, "n 2"]
    deviations: Float[np.ndarray, "n 2"]
    correlation: Float[np.ndarray, "n"]
    """Within each component."""

    def product_mean(self, f: str, g: str) -> float:
        """E f(u1) g(u2): over u2 in closed form, over u1 by quadrature, to rounding."""
        slope = self.deviations[:, 1] * self.correlation
        rest = self.deviations[:, 1] * np.sqrt(1 - self.correlation**2)
        x, z, density = _quadrature(self.means[:, 0], self.deviations[:, 0])
        given = MEAN_OVER_NORMAL[g](self.means[:, 1, None] + slope[:, None] * z, rest[:, None])
        return float(self.weights @ (FUNCTIONS[f](x) * given * density).sum(axis=1))

    def mean(self, f: str, which: int) -> float:
        """E f(u) of one variable, in closed form."""
        return float(self.weights @ MEAN_OVER_NORMAL[f](self.means[:, which], self.deviations[:, which]))

    def moment(self, f: str, which: int) -> float:
        """E u f(u) of one variable."""
        x, _, density = _quadrature(self.means[:, which], self.deviations[:, which])
        return float(self.weights @ (x * FUNCTIONS[f](x) * density).sum(axis=1))


def _quadrature(means: Array, deviations: Array) -> tuple[Array, Array, Array]:
    """Points x of N(m, s²), z = (x − m)/s and weights, shape (n, 240): Gauss-Legendre on either side of x = 0."""
    kink = np.clip(-means / deviations, -_FAR, _FAR)[:, None]
    z = np.concatenate([(kink + _FAR) / 2 * (_NODES + 1) - _FAR, (_FAR - kink) / 2 * (_NODES + 1) + kink], axis=1)
    weights = np.concatenate([(kink + _FAR) / 2 * _WEIGHTS, (_FAR - kink) / 2 * _WEIGHTS], axis=1)
    x = means[:, None] + deviations[:, None] * z
    return x, z, weights * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def _combination(points: Array, s: float, p: Array, epsilon: float) -> Pair:
    """u2 = ε u1 + √(1 − ε²) z with a Gaussian z: u1 a latent coordinate C_r, u2 a preactivation U_i that it enters."""
    deviation = np.sqrt(epsilon**2 * s**2 + 1 - epsilon**2)
    ones = np.ones_like(points)
    return Pair(
        p,
        np.stack([points, epsilon * points], axis=1),
        np.stack([s * ones, deviation * ones], axis=1),
        epsilon * s / deviation * ones,
    )


def _common_noise(points: Array, s: float, p: Array, epsilon: float) -> Pair:
    """Components drawn independently, and Gaussian noise within them that is correlated."""
    first, second = np.repeat(points, len(points)), np.tile(points, len(points))
    return Pair(
        np.outer(p, p).ravel(),
        np.stack([first, second], axis=1),
        np.full((len(first), 2), s),
        np.full(len(first), epsilon / s**2),
    )


def _common_component(points: Array, s: float, p: Array, epsilon: float) -> Pair:
    """Both variables have one component in common with the probability ε/(1 − s²), else independent ones."""
    share = epsilon / (1 - s**2)
    independent = _common_noise(points, s, p, 0.0)
    return independent._replace(weights=((1 - share) * np.outer(p, p) + share * np.diag(p)).ravel())


class Construction(NamedTuple):
    """A way to correlate two standardised mixture variables weakly."""

    pair: Callable[[Array, float, Array, float], Pair]
    largest: Callable[[float], float]
    """Largest ε for a deviation s within the components."""


CONSTRUCTIONS = {
    "combination": Construction(_combination, lambda s: STRONGEST),
    "common noise": Construction(_common_noise, lambda s: STRONGEST * s**2),
    "common component": Construction(_common_component, lambda s: 1 - s**2),
}


def function_correlation(shape: ArrayLike, spreads: Sequence[float], epsilons: ArrayLike = EPSILONS) -> xr.Dataset:
    """Lemma V.1: what E f(u1) g(u2) differs from its approximation by, against ε = E u1 u2 and the distance from N.

    To order 0 the approximation is Σ p_k p_l ⟨f⟩_k ⟨g⟩_l (21). To order 1 it has + ε E[u1 f(u1)] E[u2 g(u2)], the
    next term for Gaussian variables, which makes the covariances of the equivalent Gaussian model.

    Parameters
    ----------
    shape
        Component means at α = 1, shape (m,); u1 is the standardised mixture with the means α·shape.
    spreads
        The α, positive.
    epsilons
        The ε in (0, 1), increasing.

    Returns
    -------
    xarray.Dataset
        ``remainder`` (order, construction, pair, spread, epsilon), the absolute error, and its ``slope`` without
        epsilon: d ln remainder / d ln ε over the four smallest ε. ``largest`` (construction, spread) is the ε beyond
        which the construction does not exist and the remainder is NaN. ``kl`` (spread) of u1.

    Raises
    ------
    ProblemError
        If a spread or an ε is out of range, or the means do not vary.

    Examples
    --------
    >>> data = function_correlation([-1.0, 0.2, 0.9], [3.0])
    >>> data["slope"].sel(pair="relu, relu", construction="combination", spread=3).values.round(1)
    array([1., 2.])
    """
    epsilons, points = np.asarray(epsilons, dtype=float), _means(shape)
    if not (len(epsilons) >= 4 and epsilons[0] > 0 and (np.diff(epsilons) > 0).all() and epsilons[-1] < 1):
        raise ProblemError(f"epsilons: {epsilons.tolist()} are not four or more increasing numbers in (0, 1)")
    if not min(spreads) > 0:
        raise ProblemError(f"spreads: {list(spreads)} must be positive; without spread there are no components")
    laws = [MixtureLaw(a * points, standardize=True) for a in spreads]
    shape_ = (2, len(CONSTRUCTIONS), len(FUNCTION_PAIRS), len(spreads), len(epsilons))
    remainder = np.full(shape_, np.nan)
    largest = np.empty((len(CONSTRUCTIONS), len(spreads)))
    for a, law in enumerate(laws):
        standardised, s = (law.means - law.location) / law.scale, float(1 / law.scale)
        for c, construction in enumerate(CONSTRUCTIONS.values()):
            largest[c, a] = construction.largest(s)
            for e in np.flatnonzero(epsilons <= largest[c, a]):
                pair = construction.pair(standardised, s, law.weights, epsilons[e])
                for n, (f, g) in enumerate(FUNCTION_PAIRS):
                    remainder[:, c, n, a, e] = _remainders(pair, f, g, epsilons[e])
    with np.errstate(divide="ignore"):
        logs = np.log(remainder[..., :4])
    centred = np.log(epsilons[:4]) - np.log(epsilons[:4]).mean()
    dims = ("order", "construction", "pair", "spread", "epsilon")
    return xr.Dataset(
        {
            "remainder": (dims, remainder, {"long_name": "error of Lemma V.1"}),
            "slope": (dims[:-1], logs @ centred / (centred @ centred)),
            "largest": (("construction", "spread"), largest),
            "kl": ("spread", [float(law.kl_to_standard_normal()) for law in laws]),
        },
        coords={
            "order": [0, 1],
            "construction": list(CONSTRUCTIONS),
            "pair": [f"{f}, {g}" for f, g in FUNCTION_PAIRS],
            "spread": list(spreads),
            "epsilon": epsilons,
        },
        attrs={"shape": points.tolist()},
    )


def _remainders(pair: Pair, f: str, g: str, epsilon: float) -> tuple[float, float]:
    difference = pair.product_mean(f, g) - pair.mean(f, 0) * pair.mean(g, 1)
    return abs(difference), abs(difference - epsilon * pair.moment(f, 0) * pair.moment(g, 1))


def function_expectation(
    shapes: Mapping[int, ArrayLike], spreads: Sequence[float], counts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128)
) -> xr.Dataset:
    """Lemma V.3: E f under a standardised mixture less E f under N(0, 1), in closed form, with the lemma's condition.

    The same for the sum U = D^(−1/2) Σ C_r over D independent coordinates of the mixture, which is what f meets in the
    hidden manifold.

    Parameters
    ----------
    shapes
        Component means at α = 1 for each number m of components, shape (m,).
    spreads
        The α, not negative.
    counts
        The D; ``sum_difference`` is that of the largest m up to three.

    Returns
    -------
    xarray.Dataset
        ``difference`` and ``higher_order``, E|x|³ |f'''(0)|/6, over (function, components, spread);
        ``condition``, whether the latter is negligible, and ``holds``, whether the former is, up to the ``tolerance``
        (function). ``kl`` (components, spread). ``sum_difference`` (function, spread, count), of
        ``attrs["sum_components"]`` components.

    Raises
    ------
    ProblemError
        If a spread is negative, a count is not positive, or every mixture has more than three components.

    Examples
    --------
    >>> data = function_expectation({2: [-1.0, 1.0]}, [9.0])
    >>> data["difference"].sel(function=["relu", "square"]).values.ravel().round(3) + 0.0
    array([0.098, 0.   ])
    """
    if not min(spreads) >= 0:
        raise ProblemError(f"spreads: {list(spreads)} must not be negative")
    if min(counts) < 1:
        raise ProblemError(f"counts: {list(counts)} must be at least 1")
    small = [m for m, shape in shapes.items() if len(_means(shape)) <= 3]
    if not small:
        raise ProblemError("shapes: sums of more than three components have too many terms; add one of two or three")
    laws = {m: [MixtureLaw(a * _means(shape), standardize=True) for a in spreads] for m, shape in shapes.items()}
    normal = np.array([float(E(np.zeros(()), np.ones(()))) for E in MEAN_OVER_NORMAL.values()])
    difference = np.array([[_expectations(law, 1) - normal for law in row] for row in laws.values()])
    sums = np.array([[_expectations(law, D) - normal for D in counts] for law in laws[max(small)]])
    third = np.array([[_third_absolute_moment(law) for law in row] for row in laws.values()])
    x, _, density = _quadrature(np.zeros(1), np.ones(1))
    tolerance = np.array([TOLERANCE * np.sqrt((np.square(f(x)) * density).sum()) for f in FUNCTIONS.values()])
    higher = np.array(list(THIRD_DERIVATIVE.values()))[:, None, None] * third / 6
    dims = ("function", "components", "spread")
    data = xr.Dataset(
        {
            "difference": (dims, np.moveaxis(difference, -1, 0)),
            "higher_order": (dims, higher),
            "tolerance": ("function", tolerance),
            "kl": (dims[1:], [[float(law.kl_to_standard_normal()) for law in row] for row in laws.values()]),
            "sum_difference": (("function", "spread", "count"), np.moveaxis(sums, -1, 0)),
        },
        coords={
            "function": list(FUNCTIONS),
            "components": list(shapes),
            "spread": list(spreads),
            "count": list(counts),
        },
        attrs={"sum_components": max(small), "relative_tolerance": TOLERANCE},
    )
    return data.assign(
        condition=data["higher_order"] <= data["tolerance"], holds=abs(data["difference"]) <= data["tolerance"]
    )


def _means(shape: ArrayLike) -> Array:
    points = np.asarray(shape, dtype=float)
    if points.ndim != 1 or not np.ptp(points) > 0:
        raise ProblemError(f"shape: {points.tolist()} is not a vector of means that differ; give shape (m,), m ≥ 2")
    return points


def _expectations(law: MixtureLaw, count: int) -> Array:
    """E f(U) for every f, U the scaled sum of D = count coordinates: a mixture over how many have which component."""
    points, s, m = (law.means - law.location) / law.scale, 1 / law.scale, law.components
    bars = np.array(list(combinations(range(count + m - 1), m - 1))).reshape(-1, m - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, count + m - 1)))
    members = np.diff(edges, axis=1) - 1
    weights = np.exp(gammaln(count + 1) - gammaln(members + 1).sum(axis=1) + members @ np.log(law.weights))
    U = members @ points / np.sqrt(count)
    return np.array([weights @ E(U, s) for E in MEAN_OVER_NORMAL.values()])


def _third_absolute_moment(law: MixtureLaw) -> float:
    points = (law.means - law.location) / law.scale
    x, _, density = _quadrature(points, np.full(len(points), 1 / law.scale))
    return float(law.weights @ (np.abs(x) ** 3 * density).sum(axis=1))
