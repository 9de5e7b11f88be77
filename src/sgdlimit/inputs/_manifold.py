"""The hidden manifold X = f(CF/√D) (1): the nonlinearity f and its Hermite coefficients (12)."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import exp, ndarray, pi, sqrt
from numpy.typing import ArrayLike

from ..errors import ProblemError, unknown_name
from ..rules import ACTIVATIONS, Code, TracedFunction

Values = Float[ndarray, "*shape"]

REACH = 14.0
"""Deviations of the range of integration; the normal density leaves 1e-43 beyond."""

TOLERANCE = 1e-12
"""Change of the coefficients, relative to E f², when all panels are halved."""

PANELS = [2**power for power in range(4, 15)]
VALUES_AT_ONCE = 2**22
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


class Coefficients(NamedTuple):
    """Coefficients (12) of f at U = h + σz, z ~ N(0, 1)."""

    a: Values
    """E f(U)."""
    b: Values
    """E[z f(U)]/σ."""
    c: Values
    """E f(U)²."""


class Known(NamedTuple):
    """An odd function f, known to the kernels and in closed form.

    ``hermite(σ, h)`` gives, for U = h + σz with z ~ N(0, 1), the coefficients a = E f(U), b = E[z f(U)]/σ and
    c = E f(U)² of (12), here for any mean h, zero by default, and any variance σ² of U.
    """

    name: str
    code: Code
    """Number under which the compiled kernels know it."""
    value: Callable[[ndarray], ndarray]
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

    what, code = "nonlinearity", Code.TABLE

    def hermite(self, deviation: Values, mean: ArrayLike = 0.0) -> Coefficients:
        """The coefficients a = E f(U), b = E[z f(U)]/σ and c = E f(U)² of (12) for U = h + σz.

        Gauss-Legendre quadrature on panels that end at the kinks, halved until nothing changes, to a relative 1e-10 of
        √c, √c/σ and c.

        Parameters
        ----------
        deviation
            σ > 0.
        mean
            h, whose shape fits σ.

        Raises
        ------
        ProblemError
            If f grows too fast for its moments to exist, or varies too fast to be integrated.

        Examples
        --------
        >>> a, b, c = nonlinearity_named("relu").hermite(np.array(2.0))
        >>> np.allclose([a * np.sqrt(2 * np.pi), b, c], [2, 0.5, 2], rtol=1e-12)
        True
        """
        given = np.array(np.broadcast_arrays(deviation, mean), float)
        pairs, places = np.unique(given.reshape(2, -1), axis=1, return_inverse=True)
        coarse = np.inf
        for panels in PANELS:
            at_once = max(1, VALUES_AT_ONCE // (len(NODES) * (panels + len(self.kinks.positions))))
            starts = range(0, pairs.shape[1], at_once)
            fine = np.hstack([self._integrals(pairs[:, i : i + at_once, None, None], panels) for i in starts])
            if (abs(fine - coarse) <= TOLERANCE * fine[2] ** [[0.5], [0.5], [1]]).all():
                a, b, c = fine[:, places.reshape(given.shape[1:])]
                return Coefficients(a, b / given[0], c)
            coarse = fine
        raise ProblemError(
            f"nonlinearity: must vary slowly enough for Hermite coefficients (got {self.name!r}). Smooth it, or give "
            "its kinks."
        )

    def _integrals(self, pairs: Float[ndarray, "2 s 1 1"], panels: int) -> Float[ndarray, "3 s"]:
        """E f, E z f and E f² for each deviation and mean."""
        sigma, h = pairs
        # Every deviation has its own panels: a common grid, cut once more at the kinks seen from its mean.
        kinks = np.clip((self.kinks.positions[:, None] - h) / sigma, -REACH, REACH)
        ends = np.sort(np.hstack([np.linspace(-REACH, REACH, panels + 1)[:, None] + 0 * h, kinks]), 1)
        half = np.diff(ends, axis=1) / 2
        z = ends[:, :-1] + half + half * NODES
        weight = half * WEIGHTS * exp(-(z**2) / 2) / sqrt(2 * pi)
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.value(h + sigma * z)
            squares = weight * values**2
        largest = squares.max()
        if not np.isfinite(largest) or squares[:, [0, -1]].max() > 1e-14 * largest:
            raise ProblemError(
                f"nonlinearity: must grow slowly enough for E f(U)² to exist (got {self.name!r}). Give another one."
            )
        return np.stack([x.sum((1, 2)) for x in (weight * values, weight * z * values, squares)])


erf = ACTIVATIONS["erf"].value


def _sign_hermite(deviation: ndarray, mean: ArrayLike = 0.0) -> Coefficients:
    z = np.asarray(mean) / deviation
    return Coefficients(erf(z), sqrt(2 / pi) / deviation * exp(-(z**2) / 2), np.ones_like(z))


def _erf_hermite(deviation: ndarray, mean: ArrayLike = 0.0) -> Coefficients:
    """With erf(u/√2) the mean of sign(u + w) over w ~ N(0, 1); E f² is a bivariate probability, Owen's T."""
    from scipy.special import owens_t

    wider: ndarray = sqrt(1 + deviation**2)
    a, b, _ = _sign_hermite(wider, mean)
    return Coefficients(a, b, 1 - 8 * owens_t(np.asarray(mean) / wider, 1 / sqrt(1 + 2 * deviation**2)))


def _identity_hermite(deviation: ndarray, mean: ArrayLike = 0.0) -> Coefficients:
    a: ndarray = mean + 0 * deviation
    return Coefficients(a, np.ones_like(a), a**2 + deviation**2)


NONLINEARITIES = {
    "sign": Known("sign", Code.SIGN, partial(np.copysign, 1.0), _sign_hermite),
    "erf": Known("erf", Code.ERF, erf, _erf_hermite),
    "identity": Known("identity", Code.LINEAR, np.asarray, _identity_hermite),
}
"""sign(u), erf(u/√2) and u, by name."""

NAMES = (
    *NONLINEARITIES, "tanh", "relu", "leaky-relu", "softplus", "sigmoid", "gelu", "abs", "square", "cube", "sin",
)  # fmt: skip
"""All names of f."""


@cache
def _traced(name: str) -> Nonlinearity:
    """A function that the kernels do not know. JAX is imported when one is used."""
    from jax import nn, numpy as jnp

    function = {
        "tanh": jnp.tanh,
        "relu": nn.relu,
        "leaky-relu": lambda u: jnp.where(u > 0, u, 0.01 * u),
        "softplus": nn.softplus,
        "sigmoid": nn.sigmoid,
        "gelu": partial(nn.gelu, approximate=False),
        "abs": jnp.abs,
        "square": jnp.square,
        "cube": lambda u: u**3,
        "sin": jnp.sin,
    }[name]
    return Nonlinearity(function, name=name, kinks=[0.0] if name in ("relu", "leaky-relu", "abs") else [])


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
    if nonlinearity not in NAMES:
        raise unknown_name("nonlinearity", nonlinearity, NAMES, ", or sl.Nonlinearity(f) for your own function f")
    return NONLINEARITIES.get(nonlinearity) or _traced(nonlinearity)
