"""Activation functions g of the hidden units: built-in ones by name, and any that JAX can trace."""

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import cached_property, reduce
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ProblemError, shown, unknown_name
from ..settings import numbers
from ..signatures import checked
from . import _erf
from ._base import Integrals
from ._functions import Function, TracedFunction
from ._later import jax, jnp
from ._relu import ReLU

ACCURACY = 2e-3
HIGHEST_DEGREE = 4


class Code(IntEnum):
    """How compiled loops know an activation or the nonlinearity of the inputs; TABLE + n is the function in table n.

    Only inputs have a loop for the sign: as a teacher's activation it is in a table.
    """

    SIGN = -1
    ERF = 0
    RELU = 1
    LINEAR = 2
    TABLE = 3


class Activation(TracedFunction):
    """An activation function g from one JAX function of a number: for the student, the teacher or both.

    Its derivative is found by differentiation, kinks and jumps by search. Theory averages polynomials up to degree 4
    and the built-in erf, ReLU and linear exactly, any other g numerically. SGD evaluates g from a table.

    Parameters
    ----------
    function
        Takes a JAX scalar and returns one; a branch is ``jnp.where(x > 0, ..., ...)``.
    name
        Its name in provenance; by default the function's name.
    kinks
        Where g or g' jumps. By default they are found: two closer than 0.006, or beyond 24, need to be given.
    accuracy
        Error allowed in the averages in the equations of motion that have no closed form, relative to
        max(1, abs(average)). Theory takes points until it measures less, and reports the measured error as
        ``attrs["integral_error"]``.

    Raises
    ------
    ProblemError
        If JAX cannot trace the function, it does not return a scalar, or values or slopes are not finite.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> swish = Activation(lambda x: x / (1 + jnp.exp(-x)), name="swish")
    >>> swish.value([0.0, 1.0]).round(4)
    array([0.    , 0.7311])
    """

    code: Code = Code.TABLE
    averages: Callable[[], Integrals] | None = None
    """Closed forms of its averages, where student and teacher have them in common."""
    coefficients: tuple[float, ...] | None = None
    """Coefficients of a polynomial, the lowest power first."""

    @checked
    def __init__(
        self,
        function: Function,
        *,
        name: str | None = None,
        kinks: ArrayLike | None = None,
        accuracy: float = ACCURACY,
    ) -> None:
        if not 0 < accuracy < 1:
            raise ProblemError(f"accuracy: must be between 0 and 1 (got {accuracy!r}). Try 2e-3.")
        super().__init__(function, name=name, kinks=kinks)
        self.accuracy = float(accuracy)

    @classmethod
    def _unchecked(cls, name: str, function: Function, **known: Any) -> "Activation":
        """An activation that is known to be fine, so that JAX is imported only when it is used."""
        activation = cls.__new__(cls)
        vars(activation).update(known, name=name, function=function, accuracy=ACCURACY)
        return activation

    @classmethod
    @checked
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
        c = tuple(np.trim_zeros(numbers("coefficients", coefficients, ("powers",)), "b").tolist())
        if not 1 <= len(c) <= HIGHEST_DEGREE + 1:
            raise ProblemError(
                f"coefficients: must be of a polynomial of degree 0 to {HIGHEST_DEGREE} (got {shown(coefficients)}). "
                "Give c_0, c_1, ..., or a function for a higher degree."
            )
        return cls._unchecked(
            name or f"polynomial{list(c)}",
            lambda x: reduce(lambda value, c_j: value * x + c_j, reversed(c), 0 * x),
            coefficients=c,
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        named = ACTIVATIONS.get(self.name) is self
        return (activation_named, (self.name,)) if named else super().__reduce_ex__(protocol)

    def derivative(self, x: ArrayLike) -> np.ndarray:
        """g'(x), elementwise."""
        return self.slope(x)

    @cached_property
    def jumps(self) -> bool:
        """Whether g itself jumps, so that SGD cannot train through it."""
        return self.code is Code.TABLE and self.coefficients is None and bool(self.kinks.jumps.any())

    @cached_property
    def digest(self) -> str:
        """A digest that differs between functions of different values, and is the same in every process."""
        if self.code is not Code.TABLE:
            return self.name
        x = np.linspace(-8.01, 8.0, 999)
        parts = self.table, np.column_stack(self.kinks), self.value(x), self.slope(x), self.curvature(x)
        return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Activation) and self._key == other._key and self.digest == other.digest
        )

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple:
        return self.name, self.accuracy, self.coefficients


ACTIVATIONS = {
    "erf": Activation._unchecked(
        "erf", _erf.in_jax, code=Code.ERF, averages=_erf.Erf, _in_numpy=(_erf.value, _erf.slope)
    ),
    "relu": Activation._unchecked(
        "relu",
        lambda x: jnp.where(x > 0, x, 0.0),
        code=Code.RELU,
        averages=ReLU,
        _in_numpy=(lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    ),
    "linear": Activation._unchecked(
        "linear", lambda x: x, code=Code.LINEAR, coefficients=(0.0, 1.0), _in_numpy=(np.asarray, np.ones_like)
    ),
    **{
        g: Activation._unchecked(g, function)
        for g, function in {
            "tanh": lambda x: jnp.tanh(x),
            "gelu": lambda x: x * (1 + _erf.in_jax(x)) / 2,
            "silu": lambda x: jax.nn.silu(x),
            "softplus": lambda x: jax.nn.softplus(x),
            "leaky-relu": lambda x: jnp.where(x > 0, x, 0.01 * x),
            "hard-sigmoid": lambda x: jnp.clip((x + 3) / 6, 0.0, 1.0),
            "sign": lambda x: jnp.where(x > 0, 1.0, -1.0),
        }.items()
    },
    **{
        g: Activation.polynomial(coefficients, name=g)
        for g, coefficients in {
            "hermite-2": (-1, 0, 1),
            "hermite-3": (0, -3, 0, 1),
            "hermite-4": (3, 0, -6, 0, 1),
            "quadratic": (0, 0, 1),
        }.items()
    },
}
"""By name; erf is erf(x/√2), hermite-n is He_n(x), the hard sigmoid clips (x + 3)/6. No gradient goes through sign."""


def activation_named(activation: str | Activation) -> Activation:
    """Look an activation up by its name; an :class:`Activation` is returned as it is.

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
    if activation not in list(ACTIVATIONS):
        raise unknown_name("activation", activation, ACTIVATIONS, ", or sl.Activation(g) for your own function g")
    return ACTIVATIONS[activation]


def student_activation(activation: str | Activation) -> Activation:
    """An activation that SGD can train through.

    Raises
    ------
    ProblemError
        If there is none of that name, or it jumps.
    """
    student = activation_named(activation)
    if student.name == "sign" or student.jumps:
        raise ProblemError(
            f"activation: must not jump where a student follows its derivative (got {student.name!r}). Use it for the "
            "teacher, with teacher_activation, or with a rule that is no gradient, such as 'perceptron'."
        )
    return student


def names_of(activation: str | Activation, teacher_activation: str | Activation | None) -> dict[str, str]:
    """Both activations as attributes of a trajectory; the teacher's only if it has its own."""
    both = {"activation": activation, "teacher_activation": teacher_activation}
    return {key: activation_named(g).name for key, g in both.items() if g is not None}


def codes_of(activations: Sequence[Activation]) -> tuple[list[int], list[Activation]]:
    """Codes of activations in compiled loops, and the functions that these loops need tables of."""
    tabulated = [g for g in dict.fromkeys(activations) if g.code is Code.TABLE]
    return [int(g.code) + (tabulated.index(g) if g in tabulated else 0) for g in activations], tabulated
