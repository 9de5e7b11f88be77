"""Options of training beyond one constant learning rate, and the learning rule as numbers."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike
from pydantic import Field, StrictBool, StrictFloat, StrictInt, ValidationInfo, field_validator, model_validator

from .errors import ProblemError, shown
from .settings import Settings, numbers
from .signatures import checked

Scale = Annotated[StrictFloat, Field(ge=0, le=1e6)]
Positive = Annotated[StrictFloat, Field(gt=0, le=1e6)]
Share = Annotated[StrictFloat, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

EXCLUDED = (
    (
        "batch_fraction",
        ("batch_size", "momentum", "memory", "sphere", "gradient_flow", "adagrad", "teacher_drift", "teacher_turn"),
        "large batches have a map of their own, without it",
    ),
    ("memory", ("momentum", "weight_decay", "adagrad"), "the equations of second order have no such term"),
    ("sphere", ("weight_decay",), "the norms are fixed"),
    ("gradient_flow", ("batch_size", "label_noise", "adagrad"), "it has no noise, which the other one changes"),
    ("clip", ("polyak", "dropout"), "the length of a step would have two meanings"),
)
"""Options that exclude others, and why."""

OF_INSTANCE = {"clip", "polyak", "teacher_drift", "teacher_turn"}
"""Options that need more of an instance than its spectrum."""

BASIC = {"output_learning_rate", "output_normalization", "label_noise", "weight_decay", "batch_size", "schedule"}
"""Options that the fast loop of SGD has; all others need the loops of any rule."""

OF_CLUSTERS = BASIC | {"momentum", "clip", "polyak"}
"""Options that mixture theory has."""


class Schedule(Settings):
    """A learning rate that changes with time: η(t) = η · factor(t), a polygon through given points.

    Before the first point and after the last the factor stays constant. It multiplies the rates of both layers and the
    weight decay.

    Parameters
    ----------
    times
        Increasing times t = steps/N of the points, at least one.
    factors
        The factor at each of them, not negative.

    Examples
    --------
    >>> Schedule(times=(10.0, 50.0), factors=(1.0, 0.1)).factor([0.0, 30.0, 99.0]).round(3)
    array([1.  , 0.55, 0.1 ])
    """

    times: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(min_length=1)
    factors: tuple[Scale, ...] = Field(min_length=1)

    @field_validator("times")
    @classmethod
    def _increasing(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if (np.diff(value) <= 0).any():
            raise ProblemError(f"times: must increase (got {shown(list(value))}). Sort them, each once.")
        return value

    @field_validator("factors")
    @classmethod
    def _as_many(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        count = len(info.data.get("times", value))
        if len(value) != count:
            raise ProblemError(
                f"factors: must be one for each of {count} times (got {len(value)}). Give as many factors as times."
            )
        return value

    def factor(self, t: ArrayLike) -> Float[ndarray, "*t"]:
        """The factor at any times."""
        return np.asarray(np.interp(np.asarray(t), self.times, self.factors))

    @classmethod
    @checked
    def of(cls, factor: Callable[[ndarray], ArrayLike], times: ArrayLike) -> Self:
        """The polygon through a function at given times.

        Examples
        --------
        >>> Schedule.of(lambda t: 1 / (1 + t), [0.0, 1.0, 3.0]).factors
        (1.0, 0.5, 0.25)
        """
        points = numbers("times", times, ("points",))
        return cls(times=points.tolist(), factors=np.broadcast_to(factor(points), points.shape).tolist())


class Rates(NamedTuple):
    """The learning rule as numbers: what every equation and every loop uses of :class:`Training`.

    The fields are numbers and NumPy arrays; JAX may trace all of them.
    """

    learning_rate: Any
    """η."""
    output_rate: Any
    """η_v, the rate of the output weights."""
    student_scale: Any
    """s_K: the student's output is s_K Σ_k v_k g(λ_k)."""
    teacher_scale: Any
    """s_M, likewise of the teacher."""
    label_noise: Any
    """Standard deviation of the noise on the labels."""
    weight_decay: Any
    """κ."""
    batch_size: Any
    """Samples whose gradients a step averages."""
    schedule_times: Any = None
    """Corners of the schedule, shape (point,), or None."""
    schedule_factors: Any = None
    """Factor of both rates at each corner, shape (point,), or None."""
    switch_times: Any = None
    """When the next task begins, shape (tasks − 1,), or None where there is one task."""
    momentum: Any = 0.0
    """β."""
    memory: Any = None
    """γ of momentum β = 1 − γ/N, or None."""
    keep: Any = None
    """Probability that a hidden unit is kept, or None without dropout."""
    sphere: Any = None
    """0 where |W_k|² = N is kept, else None."""
    flow: Any = None
    """0 for gradient flow, without noise, else None."""
    norm: Any = None
    """Initial B of AdaGrad-Norm, or None."""
    fraction: Any = None
    """α of batches of αN samples, or None."""
    carry: Any = None
    """When inputs change, from where on the equations follow the initial weights along training; else None."""
    drift: Any = None
    """κ, the turn S (M, M) and the ends of p_mm (node,) and T_mm (M,) for a teacher that moves; else None."""


class Training(Settings):
    """Options of training beyond the learning rate; theory and SGD follow all of them.

    Parameters
    ----------
    output_learning_rate
        η_v of the output weights, v_k ← v_k − (η_v/N) g(λ_k) Δ; that of the first layer by default. With 0 the output
        weights stay fixed and only the first layer learns.
    output_normalization
        The output is ŷ = s_K Σ_k v_k g(λ_k), and the teacher's y = s_M Σ_m ṽ_m g(ν_m), with s_n = 1 for ``"1"``,
        1/n for ``"1/K"`` and 1/√n for ``"1/sqrt(K)"``. The gradients have the factor too.
    label_noise
        Standard deviation s of normal noise on the labels that SGD sees. The generalisation error is without it.
    weight_decay
        κ: each step shrinks the first layer, W ← (1 − ηκ/N) W.
    batch_size
        Samples n whose gradients a step averages. Time counts steps. To leading order the averaged gradient has the
        same mean and 1/n of the covariance: the theory's η² G becomes η² G/n and its drift stays.
    schedule
        A :class:`Schedule` for the learning rates; constant by default.
    dropout
        Probability that a hidden unit is left out of a step; the others' outputs are divided by 1 − dropout. Errors are
        those of the whole network.
    momentum
        β: W ← W − ηU with U ← βU + δX/√N, and likewise for the head. In the limit this is the rate η/(1 − β).
    memory
        γ of a momentum that lasts for a time 1/γ, β = 1 − γ/N, with W ← W − (η/N) U.
    sphere
        Whether each W_k has the norm |W_k|² = N, at the start, where it is scaled to it, and after each step.
    gradient_flow
        Whether learning is free of noise, as with small rates: without the term η² G. Theory only.
    adagrad
        AdaGrad-Norm: the initial B of b² = N·B, b² ← b² + |δ|²|X|²/N, by whose root √B both rates are divided.
    polyak
        Polyak's step (η_max, c, ℓ*): what moves W and the head has the factor min(η_max, (ℓ − ℓ*)/(c ω̄|δ|²)), with ℓ
        the loss of the sample and ω̄ the mean variance of the inputs.
    clip
        c: what moves W and the head has the factor min(1, c/√(ω̄|δ|² + |γ|²)).
    teacher_drift, teacher_turn
        A teacher that moves in each step, W̃ ← (1 − κ/N) W̃ + √(2κ/N) ζ with normal ζ, and W̃ ← e^(S/N) W̃ with an
        antisymmetric S of shape (M, M).
    batch_fraction
        α of batches of αN samples, whose gradients a step adds up: W ← W − (η/√N) Σ δ X. Time counts samples, t =
        samples/N, and between the steps nothing moves.

    Raises
    ------
    ProblemError
        Naming every wrong field with its value and a fix, and options that exclude each other.

    Examples
    --------
    >>> Training(output_learning_rate=0.0, batch_size=10).batch_size
    10
    """

    output_learning_rate: Scale | None = None
    output_normalization: Literal["1", "1/K", "1/sqrt(K)"] = "1"
    label_noise: Scale = 0.0
    weight_decay: Scale = 0.0
    batch_size: StrictInt = Field(default=1, ge=1, le=10**6)
    schedule: Schedule | None = None
    dropout: Share = 0.0
    momentum: Share = 0.0
    memory: Positive | None = None
    sphere: StrictBool = False
    gradient_flow: StrictBool = False
    adagrad: Positive | None = None
    polyak: tuple[Positive, Positive, Finite] | None = None
    clip: Positive | None = None
    teacher_drift: Scale = 0.0
    teacher_turn: tuple[tuple[Finite, ...], ...] | None = None
    batch_fraction: Positive | None = None

    @field_validator("teacher_turn")
    @classmethod
    def _antisymmetric(cls, value: Any) -> Any:
        size = len(value or ())
        if any(len(row) != size for row in value or ()) or np.any(np.add(value or 0, np.transpose(value or 0))):
            raise ValueError("must be a square matrix S with Sᵀ = −S", "Try [[0.0, 1.0], [-1.0, 0.0]].")
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        given = self.options()
        for name, others, reason in EXCLUDED:
            for other in given.intersection(others):
                if name in given:
                    raise ProblemError(
                        f"{name}: must not be given together with {other} (got both, but {reason}). Leave one out."
                    )
        return self

    def options(self) -> set[str]:
        """Names of the options that are not as in the paper."""
        return {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}

    @property
    def moves_teacher(self) -> bool:
        """Whether the teacher drifts or turns."""
        return self.teacher_drift > 0 or self.teacher_turn is not None

    def turn(self, M: int) -> Float[ndarray, "M M"]:
        """S, which is 0 for a teacher that does not turn."""
        return np.zeros((M, M)) if self.teacher_turn is None else np.array(self.teacher_turn)

    def factor(self, t: ArrayLike) -> Float[ndarray, "*t"]:
        """Factor of both rates at any times, from the schedule."""
        return np.ones(np.shape(t)) if self.schedule is None else self.schedule.factor(t)

    def rates(
        self, learning_rate: float, K: int, M: int, switch_times: Float[ndarray, "switches"] | None = None
    ) -> Rates:
        """These options as numbers, for K student units and M units of the teacher of one task."""
        student_scale, teacher_scale = (
            {"1": 1.0, "1/K": 1 / n, "1/sqrt(K)": n**-0.5}[self.output_normalization] for n in (K, M)
        )
        schedule = self.schedule
        return Rates(
            learning_rate,
            learning_rate if self.output_learning_rate is None else self.output_learning_rate,
            student_scale,
            teacher_scale,
            self.label_noise,
            self.weight_decay,
            self.batch_size,
            schedule and np.array(schedule.times),
            schedule and np.array(schedule.factors),
            None if switch_times is None or len(switch_times) == 0 else switch_times,
            self.momentum,
            self.memory,
            1 - self.dropout if self.dropout else None,
            0.0 if self.sphere else None,
            0.0 if self.gradient_flow else None,
            self.adagrad,
            self.batch_fraction,
            None,
            (self.teacher_drift, self.teacher_turn, None, None) if self.moves_teacher else None,
        )


def check_switch_times(values: ArrayLike) -> Float[ndarray, "switches"]:
    """Times at which the next task begins, as an array: finite, increasing, above 0."""
    times = numbers("switch_times", values).reshape(-1)
    if (np.diff(times, prepend=0.0) <= 0).any():
        raise ProblemError(
            f"switch_times: must increase from above 0 (got {shown(times.tolist())}). Sort them, each once."
        )
    return times


def task_units(teacher_output: Float[ndarray, "*tasks M"]) -> int:
    """Hidden units of the teacher of one task: all, or for several tasks the most that one of them uses."""
    if teacher_output.ndim == 1:
        return len(teacher_output)
    return int(np.count_nonzero(teacher_output, 1).max())


PLAIN = Training()
"""Training as in the paper: one sample a step, one constant rate for both layers."""
