"""Weights with given overlaps, exactly so at finite N."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray, sqrt

from ..errors import ProblemError
from ..resources import one_thread
from ._moments import root_of

Rows = Float[ndarray, "n N"]
Overlap = Float[ndarray, "n n"]
Variances = Float[ndarray, "N"]


def with_overlap(rows: Rows, overlap: Overlap, variances: Variances, beside: Float[ndarray, "m N"]) -> Rows:
    """Rows A with A diag(variances) Aᵀ/N = overlap, and orthogonal to the rows ``beside`` them.

    Given rows are changed as little as that needs: random ones stay random.
    """
    n, N = rows.shape
    if len(beside) + n > N:
        raise ProblemError(f"input_dim: must be at least {len(beside) + n} for these overlaps (got {N}). Use more.")
    scale = sqrt(variances / N)
    with one_thread():
        basis, triangle = np.linalg.qr((np.concatenate([beside, rows]) * scale).T)
        sizes, directions = np.linalg.eigh(overlap)
        basis = basis.T[len(beside) :] * np.where(triangle.diagonal() < 0, -1, 1)[len(beside) :, None]
        return (directions * sqrt(np.maximum(sizes, 0))) @ directions.T @ basis / scale


def student_with(
    rows: Rows, Q: Overlap, R: Float[ndarray, "n M"], teacher: Float[ndarray, "M N"], variances: Variances
) -> Rows:
    """Students W with W diag(variances) Wᵀ/N = Q and the overlaps R with a teacher, as :func:`with_overlap` has them.

    Raises
    ------
    ProblemError
        If Q, R and the teacher's own overlaps are no covariance.
    """
    T = (teacher * variances) @ teacher.T / rows.shape[1]
    root_of("Q, R, T", np.block([[Q, R], [R.T, T]]))
    towards = R @ np.linalg.pinv(T, rcond=1e-12, hermitian=True)
    return towards @ teacher + with_overlap(rows, Q - towards @ R.T, variances, teacher)
