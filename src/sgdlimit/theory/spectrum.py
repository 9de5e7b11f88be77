"""The spectrum of the inputs: the one small object that carries every input model to the theory.

With ω_τ the eigenvalues of the input covariance Ω and Γ_kτ, φ_mτ the weights W_k and the cross covariance φ_m in its
eigenvectors, the theory needs the products q = Γ_k Γ_l, r = Γ_k φ_m and p = φ_m φ_n on each eigenvalue. Equal
eigenvalues make one node, with the mean of the products and the summed weight.
"""

import equinox as eqx
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from sgdlimit.errors import ProblemError
from sgdlimit.inputs.equivalence import InputMoments, input_moments
from sgdlimit.instance import Instance, check_instance
from sgdlimit.resources import one_thread

__all__ = ["Spectrum", "spectrum", "spectrum_of"]

ROUNDING = 1e-8
"""Negative eigenvalues of a covariance up to this part of the largest are rounding."""


RANK_TOLERANCE = 1e-10
"""Directions with less variance than this part of the largest are merged with those of none."""


def _float64(array: ArrayLike) -> np.ndarray:
    return np.asarray(array, dtype=np.float64)


class Spectrum(eqx.Module):
    """Order parameters resolved over the eigenvalues of the input covariance.

    Parameters
    ----------
    eigenvalues
        ω, shape (n,), not negative.
    weights
        Share of the N eigenvalues in each node, shape (n,), not negative. 1/N each, unless merged.
    student
        q = ⟨Γ_k Γ_l⟩, shape (n, K, K).
    overlap
        r = ⟨Γ_k φ_m⟩, shape (n, K, M).
    teacher
        p = ⟨φ_m φ_n⟩, shape (n, M, M).
    teacher_overlap
        T = E[ν_m ν_n], shape (M, M).

    Raises
    ------
    ProblemError
        If shapes disagree, a number is not finite, or [[q, r], [rᵀ, p]] or T is not a covariance.

    Examples
    --------
    Independent normal inputs are the one node ω = 1:

    >>> one = Spectrum([1.0], [1.0], [[[2.0]]], [[[0.5]]], [[[1.0]]], [[1.0]])
    >>> one.Q, one.R
    (array([[2.]]), array([[0.5]]))
    """

    eigenvalues: Float[np.ndarray, "n"] = eqx.field(converter=_float64)
    weights: Float[np.ndarray, "n"] = eqx.field(converter=_float64)
    student: Float[np.ndarray, "n K K"] = eqx.field(converter=_float64)
    overlap: Float[np.ndarray, "n K M"] = eqx.field(converter=_float64)
    teacher: Float[np.ndarray, "n M M"] = eqx.field(converter=_float64)
    teacher_overlap: Float[np.ndarray, "M M"] = eqx.field(converter=_float64)

    def __check_init__(self):
        if self.overlap.ndim != 3 or 0 in self.overlap.shape:
            raise ProblemError(f"overlap: shape {self.overlap.shape} is not (n, K, M); give r on every node")
        n, K, M = self.overlap.shape
        shapes = {
            "eigenvalues": (n,),
            "weights": (n,),
            "student": (n, K, K),
            "overlap": (n, K, M),
            "teacher": (n, M, M),
            "teacher_overlap": (M, M),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ProblemError(f"{name}: shape {array.shape} does not fit overlap {(n, K, M)}; give {shape}")
            if not np.all(np.isfinite(array)):
                bad = array[~np.isfinite(array)][0]
                raise ProblemError(f"{name}: {bad} is not a number theory can start from; give finite values")
        for name in ("eigenvalues", "weights"):
            smallest = getattr(self, name).min()
            if smallest < 0:
                raise ProblemError(f"{name}: {smallest} is negative; clip rounding errors to 0")
        joint = np.block([[self.student, self.overlap], [np.swapaxes(self.overlap, 1, 2), self.teacher]])
        _check_covariance("student, overlap, teacher: [[q, r], [rᵀ, p]]", joint)
        _check_covariance("teacher_overlap", self.teacher_overlap)
        # Cov[X, ν] is a covariance if T is at least what linear regression of ν on X explains.
        seen = self.eigenvalues > ROUNDING * self.eigenvalues.max()
        explained = np.einsum("t,tmn->mn", self.weights[seen] / self.eigenvalues[seen], self.teacher[seen])
        _check_covariance(
            "teacher_overlap, teacher: T − Σ w p/ω", self.teacher_overlap - explained, self.teacher_overlap
        )

    @property
    def Q(self) -> Float[np.ndarray, "K K"]:
        """Student-student overlap Q = Σ w ω q, (9)."""
        return np.einsum("t,tkl->kl", self.weights * self.eigenvalues, self.student)

    @property
    def R(self) -> Float[np.ndarray, "K M"]:
        """Student-teacher overlap R = Σ w r, (10)."""
        return np.einsum("t,tkm->km", self.weights, self.overlap)


def _check_covariance(
    name: str, matrices: Float[np.ndarray, "*batch d d"], reference: Float[np.ndarray, "*batch d d"] | None = None
) -> None:
    scale = np.abs(matrices if reference is None else reference).max()
    if not np.allclose(matrices, np.swapaxes(matrices, -1, -2), rtol=0, atol=ROUNDING * scale):
        raise ProblemError(f"{name} is not symmetric; give (x + xᵀ)/2")
    smallest = np.linalg.eigvalsh(matrices).min()
    if smallest < -ROUNDING * scale:
        raise ProblemError(
            f"{name} has the eigenvalue {smallest:.3g}; a covariance has none below 0, check its entries"
        )


def spectrum_of(moments: InputMoments, student_weights: Float[ArrayLike, "K N"]) -> Spectrum:
    """Spectrum of inputs with given second moments, seen by given student weights.

    Parameters
    ----------
    moments
        Ω = diag(diagonal) + factorᵀ factor, φ and T. With a constant diagonal (f = sign) only an (r, r) matrix is
        diagonalised, and the remaining N − r equal eigenvalues make one node; otherwise there are N nodes.
    student_weights
        W, shape (K, N).

    Raises
    ------
    ProblemError
        If shapes disagree or a number is not finite.

    Examples
    --------
    >>> moments = InputMoments(np.ones(3), np.zeros((1, 3)), np.ones((3, 1)), np.eye(1))
    >>> spectrum_of(moments, np.ones((2, 3))).R
    array([[1.],
           [1.]])
    """
    diagonal, factor, cross = (_float64(a) for a in (moments.diagonal, moments.factor, moments.cross))
    W = _float64(student_weights)
    N = len(diagonal)
    if W.ndim != 2 or W.shape[1] != N:
        raise ProblemError(f"student_weights: shape {W.shape} does not fit N={N} inputs; give (K, {N})")
    for name, array in (("diagonal", diagonal), ("factor", factor), ("cross", cross), ("student_weights", W)):
        if not np.all(np.isfinite(array)):
            raise ProblemError(f"{name}: {array[~np.isfinite(array)][0]} is not finite; check the inputs it comes from")

    vectors = np.concatenate([W, cross.T])  # (K + M, N)
    variance = (diagonal + np.square(factor).sum(axis=0)).max()
    if np.ptp(diagonal) <= 1e-12 * variance and len(factor) < N:
        eigenvalues, weights, products = _thin_nodes(diagonal.mean(), factor, vectors)
    else:
        omega = (factor.T @ factor) + np.diag(diagonal)
        with one_thread():
            eigenvalues, basis = np.linalg.eigh(omega)
        weights = np.full(N, 1 / N)
        products = _products(vectors @ basis)
    K = len(W)
    rounded = (eigenvalues < 0) & (eigenvalues > -ROUNDING * eigenvalues.max())
    return Spectrum(
        eigenvalues=np.where(rounded, 0, eigenvalues),
        weights=weights,
        student=products[:, :K, :K],
        overlap=products[:, :K, K:],
        teacher=products[:, K:, K:],
        teacher_overlap=moments.teacher_overlap,
    )


def _products(projections: Float[np.ndarray, "d n"]) -> Float[np.ndarray, "n d d"]:
    return np.einsum("at,bt->tab", projections, projections)


def _thin_nodes(
    common: float, factor: Float[np.ndarray, "r N"], vectors: Float[np.ndarray, "d N"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n d d"]]:
    """Nodes of Ω = common + factorᵀ factor: one per direction in the range of the factor, one for all the others."""
    N = factor.shape[1]
    with one_thread():
        variances, modes = np.linalg.eigh(factor @ factor.T)
    # Directions of no variance have no well-defined vector factorᵀ mode/√variance; they belong to the others.
    kept = variances > RANK_TOLERANCE * max(variances.max(initial=0), common)
    variances = variances[kept]
    inside = _products((vectors @ factor.T) @ modes[:, kept] / np.sqrt(variances))
    others = N - len(variances)
    outside = (vectors @ vectors.T - inside.sum(axis=0)) / others
    return (
        np.append(common + variances, common),
        np.append(np.full(len(variances), 1 / N), others / N),
        np.concatenate([inside, outside[None]]),
    )


def spectrum(instance: Instance, theory: str = "conventional") -> Spectrum:
    """Spectrum of the inputs and initial weights of an instance.

    Parameters
    ----------
    instance
        A :class:`sgdlimit.Instance`.
    theory
        ``"conventional"`` takes the latent covariance for the identity, ``"moment-matched"`` takes the true one.

    Raises
    ------
    ProblemError
        If the theory is not known, or does not apply to the law of the latent.

    Examples
    --------
    >>> from sgdlimit import Problem
    >>> problem = Problem(input_dim=20, latent_dim=5, student_units=2, teacher_units=3, activation="erf",
    ...                   learning_rate=0.2)
    >>> spectrum(problem.draw(seed=0)).overlap.shape  # 5 eigenvalues above 1 − 2/π, and 15 copies of it
    (6, 2, 3)
    """
    check_instance(instance)
    return spectrum_of(input_moments(instance, theory), instance.student)
