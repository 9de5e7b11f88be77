"""Activation functions g of the hidden units: built-in ones by name, and any that JAX can trace.

What theory needs of an activation, its Gaussian averages, is in :mod:`sgdlimit.theory._integrals`.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ._functions import TracedFunction

__all__ = ["ACTIVATIONS", "TEACHER_ONLY", "Activation", "activation_named", "names_of", "student_activation"]

ACCURACY = 2e-3
HIGHEST_DEGREE = 4


class Activation:
    """An activation function g from one JAX function of a number: for the student, the teacher or both.

    Its derivative is found by differentiation, kinks and jumps by search. Theory averages polynomials of degree 4 and
    the built-in erf, ReLU and linear exactly, any other g numerically; SGD evaluates g from a table.

    Parameters
    ----------
    function
        Takes a JAX scalar and returns one; a branch is ``jnp.where(x > 0, ..., ...)``.
    name
        Its name in provenance; by default that of the function.
    kinks
        Where g or g' jumps. By default they are found: two closer than 0.006, or beyond 24, need to be given.
    accuracy
        Error allowed to the averages in the equations of motion where they have no closed form, relative to the
        average or to 1 where that is smaller. Theory takes points until it measures less, and reports what it measured
        as ``attrs["integral_error"]``.

    Raises
    ------
    ProblemError
        If JAX cannot trace the function, it is no scalar of a scalar, or values or slopes are not finite.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> swish = Activation(lambda x: x / (1 + jnp.exp(-x)), name="swish")
    >>> swish.value([0.0, 1.0]).round(4)
    array([0.    , 0.7311])
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        name: str | None = None,
        kinks: ArrayLike | None = None,
        accuracy: float = ACCURACY,
    ) -> None:
        traced = TracedFunction(function, "activation", name=name, kinks=kinks)
        self._set(traced.name, lambda: traced, accuracy)

    def _set(
        self,
        name: str,
        trace: Callable[[], TracedFunction],
        accuracy: float = ACCURACY,
        coefficients: tuple[float, ...] | None = None,
    ) -> None:
        if not (np.ndim(accuracy) == 0 and np.isreal(accuracy) and 0 < accuracy < 1):
            raise ProblemError(f"accuracy: {accuracy!r} is not between 0 and 1; try 2e-3")
        self.name, self._trace = name, trace
        self.accuracy, self.coefficients = float(accuracy), coefficients

    @classmethod
    def polynomial(cls, coefficients: Sequence[float], *, name: str | None = None) -> "Activation":
        """g(x) = Σ_j c_j x^j of degree ≤ 4, whose averages have closed forms.

        Parameters
        ----------
        coefficients
            c_0, c_1, ...
        name
            Its name in provenance.

        Examples
        --------
        >>> float(Activation.polynomial([-1, 0, 1]).value(3.0))  # the Hermite polynomial x² − 1
        8.0
        """
        c = np.atleast_1d(np.asarray(coefficients, dtype=np.float64))
        if c.ndim != 1 or not np.isfinite(c).all() or not 1 <= len(np.trim_zeros(c, "b")) <= HIGHEST_DEGREE + 1:
            raise ProblemError(
                f"coefficients: {coefficients!r} are not finite numbers of a polynomial of degree 0 to "
                f"{HIGHEST_DEGREE}; give c_0, c_1, ..., or a function for a higher degree"
            )
        return cls._of_polynomial(tuple(np.trim_zeros(c, "b").tolist()), name)

    @classmethod
    def _of_polynomial(cls, coefficients: tuple[float, ...], name: str | None = None) -> "Activation":
        def function(x):
            value = coefficients[-1] + 0 * x
            for c in coefficients[-2::-1]:
                value = value * x + c
            return value

        label = name or "polynomial" + str(list(coefficients))
        made = cls.__new__(cls)
        made._set(label, lambda: TracedFunction(function, "activation", name=label), coefficients=coefficients)
        return made

    @classmethod
    def _built_in(cls, name: str, function: Callable[[Any, Any, Any], Any]) -> "Activation":
        """From a function of (x, jax.numpy, jax.nn), so that JAX is imported when it is needed."""

        def trace() -> TracedFunction:
            import jax

            return TracedFunction(lambda x: function(x, jax.numpy, jax), "activation", name=name)

        made = cls.__new__(cls)
        made._set(name, trace)
        return made

    @cached_property
    def traced(self) -> TracedFunction:
        """g as a function that JAX traces, with its kinks and its table."""
        return self._trace()

    @property
    def code(self) -> int | None:
        """How the compiled kernels know it; None for a function that they know as a table."""
        return CODES.get(self.name) if ACTIVATIONS.get(self.name) is self else None

    def value(self, x: ArrayLike) -> np.ndarray:
        """g(x), elementwise."""
        known = KNOWN.get(self.name) if self.code is not None else None
        return known[0](np.asarray(x, dtype=np.float64)) if known else self.traced.value(x)

    def derivative(self, x: ArrayLike) -> np.ndarray:
        """g'(x), elementwise."""
        known = KNOWN.get(self.name) if self.code is not None else None
        return known[1](np.asarray(x, dtype=np.float64)) if known else self.traced.slope(x)

    @cached_property
    def digest(self) -> str:
        """Tells functions of different values apart, from one process to another."""
        if self.code is not None:
            return self.name
        table = self.traced.table
        x = np.linspace(-8.01, 8.0, 999)
        parts = (*table, self.traced.value(x), self.traced.slope(x), self.traced.curvature(x))
        return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Activation({self.name})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        if self is other:
            return True
        return self._key == other._key and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple:
        return self.name, self.accuracy, self.coefficients


def _erf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(x / np.sqrt(2))


def _erf_derivative(x: np.ndarray) -> np.ndarray:
    return np.sqrt(2 / np.pi) * np.exp(-np.square(x) / 2)


KNOWN = {
    "erf": (_erf, _erf_derivative),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "linear": (np.asarray, np.ones_like),
}
"""Value and derivative in NumPy."""

CODES = {"erf": 0, "relu": 1, "linear": 2}

ACTIVATIONS = {
    "erf": Activation._built_in("erf", lambda x, jnp, jax: jax.lax.erf(x / np.sqrt(2))),
    "relu": Activation._built_in("relu", lambda x, jnp, jax: jnp.where(x > 0, x, 0.0)),
    "linear": Activation._of_polynomial((0.0, 1.0), "linear"),
    "tanh": Activation._built_in("tanh", lambda x, jnp, jax: jnp.tanh(x)),
    "gelu": Activation._built_in("gelu", lambda x, jnp, jax: x * (1 + jax.lax.erf(x / np.sqrt(2))) / 2),
    "silu": Activation._built_in("silu", lambda x, jnp, jax: jax.nn.silu(x)),
    "softplus": Activation._built_in("softplus", lambda x, jnp, jax: jax.nn.softplus(x)),
    "leaky-relu": Activation._built_in("leaky-relu", lambda x, jnp, jax: jnp.where(x > 0, x, 0.01 * x)),
    "hard-sigmoid": Activation._built_in("hard-sigmoid", lambda x, jnp, jax: jnp.clip((x + 3) / 6, 0.0, 1.0)),
    "sign": Activation._built_in("sign", lambda x, jnp, jax: jnp.where(x > 0, 1.0, -1.0)),
    "hermite-2": Activation._of_polynomial((-1.0, 0.0, 1.0), "hermite-2"),
    "hermite-3": Activation._of_polynomial((0.0, -3.0, 0.0, 1.0), "hermite-3"),
    "hermite-4": Activation._of_polynomial((3.0, 0.0, -6.0, 0.0, 1.0), "hermite-4"),
    "quadratic": Activation._of_polynomial((0.0, 0.0, 1.0), "quadratic"),
}
"""By name; erf is erf(x/√2), hermite-n is He_n(x), the hard sigmoid clips (x + 3)/6, and sign is for teachers only."""


TEACHER_ONLY = ("sign",)
"""Names of those that jump, which SGD cannot train through."""


def activation_named(activation: str | Activation) -> Activation:
    """Look an activation up by its name; what is one already is left as it is.

    Parameters
    ----------
    activation
        ``"erf"`` for erf(x/√2), ``"relu"`` for max(x, 0), any other of :data:`ACTIVATIONS`, or an :class:`Activation`.

    Raises
    ------
    ProblemError
        If there is no activation of that name.
    """
    if isinstance(activation, Activation):
        return activation
    try:
        return ACTIVATIONS[activation]
    except (KeyError, TypeError):
        raise ProblemError(
            f"activation: {activation!r} is not known; use one of {', '.join(map(repr, ACTIVATIONS))}, or "
            "sgdlimit.Activation(g)"
        ) from None


def student_activation(activation: str | Activation) -> Activation:
    """An activation that SGD can train through.

    Raises
    ------
    ProblemError
        If there is none of that name, or it jumps.
    """
    found = activation_named(activation)
    if found.name in TEACHER_ONLY or (
        found.code is None and found.coefficients is None and found.traced.kinks.jumps.any()
    ):
        raise ProblemError(
            f"activation: {found.name!r} jumps, and SGD follows a derivative that does not see it; use it for the "
            "teacher only, with teacher_activation"
        )
    return found


def names_of(activation: str | Activation, teacher_activation: str | Activation | None) -> dict[str, str]:
    """Both activations as attributes of a trajectory; the teacher's only if it has one of its own."""
    names = {"activation": activation_named(activation).name}
    if teacher_activation is not None:
        names["teacher_activation"] = activation_named(teacher_activation).name
    return names
