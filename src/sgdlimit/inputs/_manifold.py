"""The hidden manifold X = f(CF/√D) (1): the nonlinearity f and its Hermite coefficients (12)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..errors import unknown_name
from ..rules import TracedFunction
from ._hermite import Coefficients, hermite_coefficients

Array = np.ndarray

TABULATED = 3
"""The code by which the compiled kernels know any f that they evaluate by its table."""


@dataclass(frozen=True)
class Known:
    """An odd function f, known to the kernels and in closed form.

    ``hermite(σ, h)`` gives, for U = h + σz with z ~ N(0, 1), the coefficients a = E f(U), b = E[z f(U)]/σ and
    c = E f(U)² of (12), here for any mean h, zero by default, and any variance σ² of U.
    """

    name: str
    code: int
    """Number under which the compiled kernels know it."""
    value: Callable[[Array], Array]
    hermite: Callable[..., Coefficients]


class Nonlinearity(TracedFunction):
    """Your own function f that folds the latent space into the input space, X = f(U), as JAX code.

    Quadrature between its kinks gives its Hermite coefficients. Where E f(U) is not zero, theory needs centred inputs,
    see ``centre`` of :class:`sgdlimit.Instance`.

    Parameters
    ----------
    function
        Takes a JAX scalar and returns one; no Python branches on its value.
    name
        Its name in provenance, by default the function's.
    kinks
        Where f or f' jumps; found by default. Give kinks that are closer than 0.006 or beyond 24.

    Raises
    ------
    ProblemError
        If JAX cannot trace the function, or values or slopes are not finite.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> f = Nonlinearity(lambda u: jnp.clip(u, -1, 1), name="clip")
    >>> a, b, c = f.hermite(np.array([1.0]))
    >>> b.round(6)  # the probability of |z| < 1
    array([0.682689])
    """

    code = TABULATED

    def __init__(
        self, function: Callable[[Any], Any], *, name: str | None = None, kinks: ArrayLike | None = None
    ) -> None:
        super().__init__(function, "nonlinearity", name=name, kinks=kinks)

    def hermite(self, deviation: Float[Array, "*shape"], mean: ArrayLike = 0.0) -> Coefficients:
        """The coefficients a = E f(U), b = E[z f(U)]/σ and c = E f(U)² of (12) for U = h + σz, to a relative 1e-10."""
        return hermite_coefficients(self.value, deviation, self.kinks.positions, self.name, mean)


def _erf(u: Array) -> Array:
    from scipy.special import erf

    return erf(np.asarray(u) / np.sqrt(2))


def _sign_hermite(deviation: Array, mean: ArrayLike = 0.0) -> Coefficients:
    z = np.asarray(mean) / deviation
    return Coefficients(_erf(z), np.sqrt(2 / np.pi) / deviation * np.exp(-np.square(z) / 2), np.ones(np.shape(z)))


def _erf_hermite(deviation: Array, mean: ArrayLike = 0.0) -> Coefficients:
    """With erf(u/√2) the mean of sign(u + w) over w ~ N(0, 1); E f² is a bivariate probability, Owen's T."""
    from scipy.special import owens_t

    wider: Array = np.sqrt(1 + np.square(deviation))
    a, b, _ = _sign_hermite(wider, mean)
    beyond: Any = owens_t(np.asarray(mean) / wider, 1 / np.sqrt(1 + 2 * np.square(deviation)))
    return Coefficients(a, b, 1 - 8 * beyond)


def _identity_hermite(deviation: Array, mean: ArrayLike = 0.0) -> Coefficients:
    a = mean + 0 * np.asarray(deviation)
    return Coefficients(a, np.ones(a.shape), np.square(a) + np.square(deviation))


NONLINEARITIES = {
    "sign": Known("sign", 0, lambda u: np.copysign(1.0, u), _sign_hermite),
    "erf": Known("erf", 1, _erf, _erf_hermite),
    "identity": Known("identity", 2, np.asarray, _identity_hermite),
}
"""sign(u), erf(u/√2) and u, by name."""

TRACED: dict[str, tuple[Callable[[Any, Any], Any], list[float]]] = {
    "tanh": (lambda u, jax: jax.numpy.tanh(u), []),
    "relu": (lambda u, jax: jax.nn.relu(u), [0.0]),
    "leaky-relu": (lambda u, jax: jax.numpy.where(u > 0, u, 0.01 * u), [0.0]),
    "softplus": (lambda u, jax: jax.nn.softplus(u), []),
    "sigmoid": (lambda u, jax: jax.nn.sigmoid(u), []),
    "gelu": (lambda u, jax: jax.nn.gelu(u, approximate=False), []),
    "abs": (lambda u, jax: jax.numpy.abs(u), [0.0]),
    "square": (lambda u, jax: jax.numpy.square(u), []),
    "cube": (lambda u, jax: u**3, []),
    "sin": (lambda u, jax: jax.numpy.sin(u), []),
}
"""The other functions f and their kinks. They get JAX as an argument, so that it is imported when one is used."""

NAMES = (*NONLINEARITIES, *TRACED)
"""All names of f."""


@lru_cache
def _traced(name: str) -> Nonlinearity:
    import jax

    function, kinks = TRACED[name]
    return Nonlinearity(lambda u: function(u, jax), name=name, kinks=kinks)


def nonlinearity_named(nonlinearity: str | Nonlinearity) -> Known | Nonlinearity:
    """The nonlinearity f of a name. A :class:`Nonlinearity` is returned as it is.

    Parameters
    ----------
    nonlinearity
        One of :data:`NAMES`: ``"sign"``, ``"erf"`` for erf(u/√2), ``"identity"``, ``"tanh"``, ``"relu"``,
        ``"leaky-relu"`` of slope 0.01, ``"softplus"``, ``"sigmoid"``, ``"gelu"``, ``"abs"``, ``"square"``, ``"cube"``,
        ``"sin"``; or a :class:`Nonlinearity`.

    Raises
    ------
    ProblemError
        If there is no nonlinearity of that name.

    Examples
    --------
    >>> nonlinearity_named("sign").value(np.array([-0.3, 2.0]))
    array([-1.,  1.])
    """
    if isinstance(nonlinearity, Nonlinearity):
        return nonlinearity
    if nonlinearity in TRACED:
        return _traced(nonlinearity)
    if nonlinearity in NONLINEARITIES:
        return NONLINEARITIES[nonlinearity]
    raise unknown_name("nonlinearity", nonlinearity, NAMES, " or Nonlinearity(function)")
