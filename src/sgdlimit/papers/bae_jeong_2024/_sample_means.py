"""Figure S1 as data: sample means of f(x) under a mixture P and under N(0, 1), with the exact expectations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import erf, ndtr
from xarray import Dataset

from ...inputs import MixtureLaw

Array = np.ndarray


class Function(NamedTuple):
    """A function f of one variable, and what the lemmas need to know about it."""

    value: Callable[[Array], Array]
    normal_mean: Callable[[Any, Any], Any]
    """E f(x) for x ~ N(m, s²), in closed form."""
    third_derivative: float = 0.0
    """|f'''(0)|, from either side where f has a kink or a step; it leads the terms that Lemma V.3 neglects."""


FUNCTIONS = {
    "erf": Function(
        lambda x: erf(x / np.sqrt(2)), lambda m, s: erf(m / np.sqrt(2 * (1 + s**2))), float(np.sqrt(2 / np.pi))
    ),
    "relu": Function(
        lambda x: np.maximum(x, 0),
        lambda m, s: m * ndtr(m / s) + s * np.exp(-(m**2) / (2 * s**2)) / np.sqrt(2 * np.pi),
    ),
    "sign": Function(np.sign, lambda m, s: erf(m / (s * np.sqrt(2)))),
    "identity": Function(lambda x: x, lambda m, s: m + 0 * s),
    "square": Function(lambda x: x**2, lambda m, s: m**2 + s**2),
    "cube": Function(lambda x: x**3, lambda m, s: m**3 + 3 * m * s**2, 6.0),
}
SAMPLED = ("erf", "relu", "sign")
"""The functions of Figure S1."""


def components_of(law: MixtureLaw) -> tuple[Array, float]:
    """Means of the components, shape (m,), and the deviation within each, of a scalar mixture as it is drawn."""
    return (law.means - law.location) / law.scale, float(1 / law.scale)


def sample_means(law: MixtureLaw, count: int = 1000, repeats: int = 2000, seed: int = 0) -> Dataset:
    """Means of ``count`` values of f(x), drawn ``repeats`` times, for f = erf(x/√2), ReLU and sign.

    Lemma C.1 of the paper states that E f(x) is the same under P and under N(0, 1). The exact expectations show how
    accurate that is.

    Parameters
    ----------
    law
        A scalar mixture, usually standardised.
    count
        Number n of values in one mean.
    repeats
        Number of means drawn for each law.
    seed
        Seed of the draws.

    Returns
    -------
    xarray.Dataset
        ``sample_mean`` (function, law, repeat) and ``expectation`` (function, law), with the laws ``"mixture"`` and
        ``"normal"``; ``means`` and ``weights`` (component,) of the mixture as drawn. Attributes: ``count``,
        ``repeats``, ``seed``, and ``deviation``, the deviation within a component.

    Examples
    --------
    >>> data = sample_means(MixtureLaw(np.array([-9.0, 9.0]), standardize=True), count=100, repeats=10)
    >>> data["expectation"].sel(function="relu").values.round(3)
    array([0.497, 0.399])
    """
    rng = np.random.default_rng(seed)
    draws = {
        "mixture": law.sample(rng, count * repeats, dim=1).reshape(repeats, count),
        "normal": rng.standard_normal((repeats, count)),
    }
    points, deviation = components_of(law)
    functions = [FUNCTIONS[name] for name in SAMPLED]
    sampled = [[f.value(x).mean(axis=1) for x in draws.values()] for f in functions]
    exact = [[law.weights @ f.normal_mean(points, deviation), f.normal_mean(0.0, 1.0)] for f in functions]
    return Dataset(
        {
            "sample_mean": (("function", "law", "repeat"), np.array(sampled), {"long_name": "sample mean of f(x)"}),
            "expectation": (("function", "law"), np.array(exact), {"long_name": "E f(x), closed form"}),
            "means": ("component", points),
            "weights": ("component", law.weights),
        },
        coords={"function": list(SAMPLED), "law": list(draws)},
        attrs={"count": count, "repeats": repeats, "seed": seed, "deviation": deviation},
    )
