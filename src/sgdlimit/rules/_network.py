"""Networks by name as learning rules: two layers with an activation, a loss, and labels that a teacher gives."""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ._activation import Activation
from ._rule import Rule


def squared_network(
    activation: Activation,
    teacher_activation: Activation,
    student_output: Float[ndarray, "K"],
    teacher_output: Float[ndarray, "task M"],
    *,
    student_scale: float = 1.0,
    teacher_scale: float = 1.0,
    label_noise: float = 0.0,
) -> Rule:
    """The network whose averages have closed forms, as a rule: ŷ = s_K Σ v_k g(λ_k), and the squared loss Δ²/2."""

    def labels(teacher_fields: Any, noise: Any, given: Any, task: Any) -> Any:
        clean = given["teacher_output"][task] @ teacher_activation.in_jax[0](teacher_fields)
        return clean + given["label_noise"] * noise[0]

    def generalization_error(fields: Any, target: Any, head: Any, given: Any) -> Any:
        return (given["student_scale"] * (head["v"] @ activation.in_jax[0](fields)) - target) ** 2 / 2

    rule = Rule.from_loss(
        generalization_error,
        head={"v": student_output},
        labels=labels,
        noise=1,
        given={
            "teacher_output": teacher_scale * np.asarray(teacher_output),
            "student_scale": student_scale,
            "label_noise": label_noise,
        },
        name=activation.name,
    )
    rule.metrics = {"generalization_error": generalization_error}
    return rule
