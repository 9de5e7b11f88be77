"""Gaussian integrals of activation functions: closed forms where there are any, quadrature for the rest."""

from ..rules import Activation, Erf, Integrals, Linear, Polynomial, ReLU, activation_named, student_activation
from ._averages import Quadrature

__all__ = ["Erf", "Integrals", "Linear", "Polynomial", "Quadrature", "ReLU", "integrals_for"]

CLOSED: dict[str, Integrals] = {"erf": Erf(), "relu": ReLU(), "linear": Linear()}


def integrals_for(activation: str | Activation, teacher_activation: str | Activation | None = None) -> Integrals:
    """Integrals of the student's activation and the teacher's, which is the same by default.

    Raises
    ------
    ProblemError
        If there is no activation of that name, or the student's jumps.

    Examples
    --------
    >>> integrals_for("erf")
    Erf()
    >>> integrals_for("erf", "sign").method
    'quasi-Monte Carlo'
    """
    student = student_activation(activation)
    teacher = student if teacher_activation is None else activation_named(teacher_activation)
    if student is teacher and student.code is not None:
        return CLOSED[student.name]
    if student.coefficients is not None and teacher.coefficients is not None:
        return Polynomial(student.coefficients, teacher.coefficients)
    return Quadrature(student, teacher)
