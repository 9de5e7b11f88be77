"""Lemmas V.1 and V.3 (C.1) of the paper in numbers: the exact size of what they leave out, and where they fail."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from numpy.polynomial.legendre import leggauss
from numpy.typing import ArrayLike
from scipy.stats import multinomial
from xarray import DataArray, Dataset

from ...inputs import MixtureLaw
from ._cases import power_law, stacked
from ._sample_means import FUNCTIONS, components_of

Array = np.ndarray

TOLERANCE = 0.05
"""A difference between expectations of f is called negligible up to this part of √(E f²) under N(0, 1)."""

FUNCTION_PAIRS = ("relu, relu", "erf, relu", "sign, sign", "cube, relu")
EPSILONS = np.geomspace(1e-3, 0.3, 13)
SMALLEST = 4  # the number of ε from which the slope is taken
STRONGEST = 0.95  # correlation within a component; at 1 the two variables are one
_FAR = 9.0  # the normal density beyond it is below rounding
_NODES, _WEIGHTS = (x[:, None] for x in leggauss(120))


class Pair(NamedTuple):
    """The law of (u1, u2): a mixture of bivariate Gaussians, whose widths may be the same in all components."""

    weights: Float[Array, "n"]
    means: Float[Array, "n 2"]
    deviations: Float[Array, "*n 2"]
    correlation: Float[Array, "n"] | float
    """Within each component."""

    def average(self, which: int, integrand: Callable[[Array, Array], Array]) -> float:
        """The mean of integrand(x, z) for x = m + s z, one variable: Gauss-Legendre on either side of x = 0."""
        means, deviations = self.means[:, which], self.deviations[..., which]
        kink = np.clip(-means / deviations, -_FAR, _FAR)
        below, above = (kink + _FAR) / 2, (_FAR - kink) / 2
        z = np.concatenate([below * (_NODES + 1) - _FAR, above * (_NODES + 1) + kink])  # (240, n)
        density = np.concatenate([below * _WEIGHTS, above * _WEIGHTS]) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        return float((integrand(means + deviations * z, z) * density).sum(axis=0) @ self.weights)

    def product_mean(self, f: str, g: str) -> float:
        """E f(u1) g(u2): over u2 in closed form, over u1 by quadrature, to rounding."""
        value, normal_mean = FUNCTIONS[f].value, FUNCTIONS[g].normal_mean
        mean, deviation, rho = self.means[:, 1], self.deviations[..., 1], self.correlation
        left = deviation * np.sqrt(1 - rho**2)
        return self.average(0, lambda x, z: value(x) * normal_mean(mean + deviation * rho * z, left))

    def mean(self, f: str, which: int) -> float:
        """E f(u) of one variable, in closed form."""
        return float(self.weights @ FUNCTIONS[f].normal_mean(self.means[:, which], self.deviations[..., which]))

    def moment(self, f: str, which: int) -> float:
        """E u f(u) of one variable."""
        return self.average(which, lambda x, z: x * FUNCTIONS[f].value(x))


def _combination(points: Array, s: float, p: Array, epsilon: float) -> Pair:
    """u2 = ε u1 + √(1 − ε²) z with a Gaussian z: u1 a latent coordinate C_r, u2 a preactivation U_i that it enters."""
    deviation = np.sqrt(epsilon**2 * s**2 + 1 - epsilon**2)
    means = np.multiply.outer(points, [1, epsilon])
    return Pair(p, means, np.array([s, deviation]), epsilon * s / deviation)


def _common_noise(points: Array, s: float, p: Array, epsilon: float) -> Pair:
    """Components are drawn independently; the Gaussian noise within them is correlated."""
    return Pair(np.outer(p, p).ravel(), np.array([*product(points, points)]), np.array([s, s]), epsilon / s**2)


def _common_component(points: Array, s: float, p: Array, epsilon: float) -> Pair:
    """Both variables share one component with the probability ε/(1 − s²); otherwise theirs are independent."""
    share = epsilon / (1 - s**2)
    weights = (1 - share) * np.outer(p, p) + share * np.diag(p)
    return _common_noise(points, s, p, 0.0)._replace(weights=weights.ravel())


class Construction(NamedTuple):
    """A way to correlate two standardised mixture variables weakly."""

    pair: Callable[..., Pair]
    largest: Callable[[float], float]
    """Largest ε for a deviation s within the components."""


CONSTRUCTIONS = {
    "combination": Construction(_combination, lambda s: STRONGEST),
    "common noise": Construction(_common_noise, lambda s: STRONGEST * s**2),
    "common component": Construction(_common_component, lambda s: 1 - s**2),
}


def function_correlation(shape: ArrayLike, spreads: Sequence[float]) -> Dataset:
    """Lemma V.1: the error of its approximation of E f(u1) g(u2), against ε = E u1 u2 and the distance from N.

    To order 0 the approximation is Σ p_k p_l ⟨f⟩_k ⟨g⟩_l (21). Order 1 adds ε E[u1 f(u1)] E[u2 g(u2)], the
    next term for Gaussian variables, which makes the covariances of the equivalent Gaussian model.

    Parameters
    ----------
    shape
        Component means at α = 1, shape (m,); u1 is the standardised mixture with the means α·shape.
    spreads
        The α, positive.

    Returns
    -------
    xarray.Dataset
        ``remainder`` (order, construction, pair, spread, epsilon), the absolute error, and its ``slope`` without
        epsilon: d ln remainder / d ln ε over the four smallest ε. ``largest`` (construction, spread) is the ε beyond
        which the construction does not exist and the remainder is NaN. ``kl`` (spread) of u1.

    Examples
    --------
    >>> data = function_correlation([-1.0, 0.2, 0.9], [3.0])
    >>> data["slope"].sel(pair="relu, relu", construction="combination", spread=3).values.round(1)
    array([1., 2.])
    """
    laws = _laws(shape, spreads)
    coords = {"order": [0, 1], "construction": list(CONSTRUCTIONS), "pair": list(FUNCTION_PAIRS), "epsilon": EPSILONS}
    order, construction, pair, epsilon = Dataset(coords=coords).coords.values()
    remainder = _each(_remainder, order, construction, pair, laws, epsilon)
    start = remainder.isel(epsilon=slice(SMALLEST))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = power_law(start, start["epsilon"])["exponent"]
    data = {
        "remainder": remainder.assign_attrs(long_name="error of Lemma V.1"),
        "slope": slope,
        "largest": _each(lambda name, law: CONSTRUCTIONS[name].largest(components_of(law)[1]), construction, laws),
        "kl": _each(_divergence, laws),
    }
    return Dataset(data, coords, {"shape": np.asarray(shape, dtype=float).tolist()})


def _remainder(order: int, construction: str, functions: str, law: MixtureLaw, epsilon: float) -> float:
    """What the approximation of this order leaves out; NaN where there is no such pair of variables."""
    points, s = components_of(law)
    build, largest = CONSTRUCTIONS[construction]
    if epsilon > largest(s):
        return np.nan
    pair, (f, g) = build(points, s, law.weights, epsilon), functions.split(", ")
    next_term = order * epsilon * pair.moment(f, 0) * pair.moment(g, 1)
    return abs(pair.product_mean(f, g) - pair.mean(f, 0) * pair.mean(g, 1) - next_term)


def function_expectation(shapes: Mapping[int, ArrayLike], spreads: Sequence[float]) -> Dataset:
    """Lemma V.3: E f under a standardised mixture less E f under N(0, 1), in closed form, with the lemma's condition.

    The dataset holds the same for the sum U = D^(−1/2) Σ C_r over D independent coordinates of the mixture. This sum is
    the argument of f in the hidden manifold.

    Parameters
    ----------
    shapes
        Component means at α = 1 for each number m of components, shape (m,).
    spreads
        The α, not negative.

    Returns
    -------
    xarray.Dataset
        ``difference`` and ``higher_order``, E|x|³ |f'''(0)|/6, over (function, components, spread);
        ``condition``, whether ``higher_order`` is negligible, and ``holds``, whether ``difference`` is, up to the
        ``tolerance`` (function). ``kl`` (components, spread). ``sum_difference`` (function, spread, count), of
        ``attrs["sum_components"]`` components, the largest m up to three.

    Examples
    --------
    >>> data = function_expectation({2: [-1.0, 1.0]}, [9.0])
    >>> data["difference"].sel(function=["relu", "square"]).values.ravel().round(3) + 0.0
    array([0.098, 0.   ])
    """
    small = max(m for m in shapes if m <= 3)  # sums of mixtures of more components have too many terms
    laws = stacked([_laws(shape, spreads) for shape in shapes.values()], components=shapes)
    D, f = Dataset(coords={"count": 2 ** np.arange(8), "function": list(FUNCTIONS)}).coords.values()
    third = _each(lambda name: FUNCTIONS[name].third_derivative, f)
    normal = Pair(np.ones(1), np.zeros((1, 2)), np.ones(2), 0.0)
    data = Dataset(
        {
            "difference": _each(_difference, f, laws, 1),
            "higher_order": third * _each(_third_absolute_moment, laws) / 6,
            # A small part of √(E f²) under N(0, 1).
            "tolerance": TOLERANCE
            * _each(lambda name: normal.average(0, lambda x, z: FUNCTIONS[name].value(x) ** 2), f) ** 0.5,
            "kl": _each(_divergence, laws),
            "sum_difference": _each(_difference, f, laws.sel(components=small, drop=True), D),
        },
        attrs={"sum_components": small, "relative_tolerance": TOLERANCE},
    )
    return data.assign(
        condition=data["higher_order"] <= data["tolerance"], holds=abs(data["difference"]) <= data["tolerance"]
    )


def _laws(shape: ArrayLike, spreads: Sequence[float]) -> DataArray:
    """The standardised mixtures of one shape as objects, over ``spread``."""
    laws = [MixtureLaw(np.multiply(spread, shape), standardize=True) for spread in spreads]
    return DataArray(laws, coords=[("spread", list(spreads))])


def _each(call: Callable[..., Any], *arrays: Any) -> DataArray:
    """Call a function of scalars for all combinations of the entries of arrays."""
    return xr.apply_ufunc(call, *arrays, vectorize=True)


@cache
def _occupations(count: int, m: int) -> Int[Array, "state m"]:
    """How many of ``count`` coordinates may have which of m components."""
    first = np.indices((count + 1,) * (m - 1)).reshape(m - 1, -1)
    occupations = np.vstack([first, count - first.sum(axis=0)]).T
    return occupations[occupations[:, -1] >= 0]


def _difference(f: str, law: MixtureLaw, count: int) -> float:
    """E f(U) − E f(N(0, 1)), U the scaled sum of D = count coordinates: a mixture over their occupations."""
    (points, s), members, E = components_of(law), _occupations(count, law.components), FUNCTIONS[f].normal_mean
    weights = multinomial.pmf(members, count, law.weights)
    return weights @ E(members @ points / np.sqrt(count), s) - E(0.0, 1.0)


def _divergence(law: MixtureLaw) -> float:
    """D_KL(law ‖ N(0, 1)) in nats."""
    return float(law.kl_to_standard_normal())


def _third_absolute_moment(law: MixtureLaw) -> float:
    """E|x|³."""
    return _combination(*components_of(law), law.weights, 0.0).average(0, lambda x, z: abs(x) ** 3)
