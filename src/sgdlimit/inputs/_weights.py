"""Weights with given overlaps, exact at finite N."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray, sqrt
from numpy.typing import ArrayLike

from ..errors import ProblemError, shown
from ..resources import one_thread
from ..settings import check_whole, numbers, probabilities
from ._moments import root_of

Rows = Float[ndarray, "n N"]
Overlap = Float[ndarray, "n n"]
Variances = Float[ndarray, "N"]


def with_overlap(rows: Rows, overlap: Overlap, variances: Variances, beside: Float[ndarray, "m N"]) -> Rows:
    """Rows A with A diag(variances) Aᵀ/N = overlap, and orthogonal to the rows ``beside`` them.

    Given rows are changed as little as possible, so that random rows stay random.
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


def weights_on_nodes(
    Q: ArrayLike, R: ArrayLike, T: ArrayLike, N: int, eigenvalues: ArrayLike, shares: ArrayLike | None, seed: int
) -> tuple[Rows, Float[ndarray, "M N"], Variances]:
    """W, W̃ and variances of independent inputs with given overlaps: see :meth:`sgdlimit.Instance.from_overlaps`.

    The teacher's weights are for inputs of variance 1.
    """
    check_whole(1, input_dim=N)
    check_whole(0, seed=seed)
    omega = numbers("eigenvalues", eigenvalues, ("nodes",))
    parts = N * probabilities("shares", shares, len(omega))
    counts = np.rint(parts).astype(int)
    if (omega <= 0).any() or abs(counts - parts).max() > 1e-6:
        raise ProblemError(
            f"eigenvalues, shares: must be positive, for whole numbers of {N} inputs (got {shown(omega.tolist())} for "
            f"{shown(parts.tolist())} inputs). Choose another input_dim."
        )
    shape = (len(omega), "K", "M") if np.ndim(R) > 2 or len(omega) > 1 else ("K", "M")
    r = numbers("R", R, shape)
    *nodes, K, M = r.shape
    q, p = numbers("Q", Q, (*nodes, K, K)), numbers("T", T, (*nodes, M, M))
    rng, students, teachers = np.random.default_rng(seed), [], []
    for node, count in enumerate(counts):
        at, rows, one = node if nodes else ..., rng.standard_normal((M + K, count)), np.ones(count)
        teachers.append(with_overlap(rows[:M], p[at], one, rows[:0]))
        students.append(student_with(rows[M:], q[at], r[at], teachers[-1], one))
    variances = np.repeat(omega, counts)
    return np.hstack(students), np.hstack(teachers) / sqrt(variances), variances
