"""Inputs whose law changes with the task: what a student has learned, in the eigenvectors of the next covariance.

Overlaps on the eigenvalues of one covariance say nothing about another, unless the two commute. But on each eigenvalue
the weights are Γ = α Γ₀ + β φ + N(0, n), with matrices that the equations of motion follow,

    dα/dt = −η ωH α,    dβ/dt = −η (ωH β + A),    dn/dt = −η ωH n − (the same)ᵀ + η² ω G.

So the weights are known up to noise that is independent in all directions, and turn into any other basis.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ..errors import ProblemError
from ..inputs import InputMoments
from ..instance import Instance
from ..resources import one_thread
from ..settings import check_positive
from ..signatures import checked
from ._integrate import Solver, order_parameters
from ._quadrature import LARGE, clipped
from ._spectrum import Spectrum
from ._theories import Theory, averages_of, case_of, spectrum, theory_of

CARRIED = {"memory", "sphere", "weight_decay", "adagrad", "teacher_drift", "teacher_turn", "batch_fraction"}
"""Options for which these equations do not exist."""


@checked
def hand_over(
    first: Instance, second: Instance, at: float, *, theory: str | Theory = "conventional"
) -> tuple[Spectrum, dict[str, Any]]:
    """Inputs of a second law, as seen by a student that has learned on a first law until the time ``at``.

    Parameters
    ----------
    first, second
        Instances of one network. The student of the second one is not used.
    at
        Time t = steps/N at which the inputs change.
    theory
        As for :func:`sgdlimit.solve`.

    Returns
    -------
    Spectrum, dict
        The start for :func:`solve_spectrum`, with a time that begins at 0, and the head, such as {"v": (K,)}. Each
        eigenvalue of the second covariance is a node. The error on the first task later on needs W itself.

    Raises
    ------
    ProblemError
        If sizes differ or are too large, or an option of training has no such equations.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> W, teacher = rng.normal(size=(2, 2, 50))
    >>> one, other = (Instance.from_covariance(np.diag(x), W, [1, 1], teacher, [1, 1], activation="erf",
    ...                                        learning_rate=0.5) for x in (np.linspace(1, 2, 50), np.ones(50)))
    >>> inputs, head = hand_over(one, other, 1.0)
    >>> inputs.overlap.shape, head["v"].shape
    ((50, 2, 2), (2,))
    """
    check_positive(at=at)
    N = first.input_dim
    if first.student.shape != second.student.shape or N > LARGE:
        sizes = first.student.shape, second.student.shape
        raise ProblemError(f"second: must have a student of the same shape, with up to {LARGE} inputs (got {sizes}).")
    if lacking := first.training.options() & CARRIED:
        raise ProblemError(f"{min(lacking)}: has no equations where inputs change. Leave it out.")
    case = case_of(first, spectrum(first, theory), theory)
    case = case._replace(rates=case.rates._replace(carry=0.0))
    found = order_parameters(case, np.array([float(at)]), Solver(averages_of(first)))
    if found.reached == 0:
        raise ProblemError(
            f"learning_rate: must be smaller (got {first.learning_rate:g}, which diverges before t={at:g}). Try half."
        )
    one, other = (theory_of(theory).moments(instance) for instance in (first, second))
    (before, modes), (after, new_modes) = _modes(one), _modes(other)
    node = abs(before[:, None] - case.spectrum.eigenvalues).argmin(axis=1)
    alpha, beta, noise = (found.metrics[name][-1][..., node] for name in ("alpha", "beta", "n"))
    mean = np.einsum("kjt,jt->kt", alpha, first.student @ modes) + np.einsum("kmt,mt->kt", beta, one.cross.T @ modes)
    turn = modes.T @ new_modes
    mean, phi = mean @ turn, other.cross.T @ new_modes
    student = np.einsum("kt,lt->tkl", mean, mean) + np.einsum("klt,tu->ukl", noise, turn**2)
    overlap, teacher = np.einsum("kt,mt->tkm", mean, phi), np.einsum("mt,nt->tmn", phi, phi)
    nodes = clipped(after), np.full(N, 1 / N), student, overlap, teacher, other.teacher_overlap
    return Spectrum(*nodes), {name: value[-1] for name, value in found.head.items()}


def _modes(moments: InputMoments) -> tuple[Float[ndarray, "N"], Float[ndarray, "N N"]]:
    """Eigenvalues and eigenvectors of Ω."""
    with one_thread():
        return np.linalg.eigh(np.diag(moments.diagonal) + moments.factor.T @ moments.factor)
