"""Infinite size: the spectrum of the hidden manifold for N, D → ∞ at a fixed δ = D/N.

For a Gaussian feature matrix the eigenvalues of the input covariance Ω = ω₀ + b² FᵀF/D follow the law of Marchenko and
Pastur, and nothing of the instance is left but its order parameters (paper, S40).
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..inputs import Nonlinearity, nonlinearity_named
from ..settings import check_positive, check_whole, numbers
from ..signatures import checked
from ._quadrature import jacobi_gauss
from ._spectrum import Spectrum, check_covariance


@checked
def marchenko_pastur(
    latent_ratio: float,
    student_overlap: ArrayLike,
    teacher_overlap: ArrayLike,
    *,
    nonlinearity: str | Nonlinearity = "sign",
    nodes: int = 64,
) -> Spectrum:
    """Spectrum of the hidden manifold of infinite size with Gaussian features, Σ_C = I and random initial weights.

    With x = ω − ω₀, ω₀ = c − a² − b² from the coefficients (12) of f at unit variance, and
    ω± = ω₀ + b² (1/√δ ± 1)², the eigenvalues have the density (δ/b²) √((ω₊ − ω)(ω − ω₋))/(2πx) of mass min(1, δ) and,
    for δ < 1, the mass 1 − δ at ω₀. The teacher has p = x T/δ, the students q = W Wᵀ/N and r = 0: initial weights that
    do not know the teacher overlap with it by O(1/√N) only. An instance of size N differs by O(1/√N).

    Parameters
    ----------
    latent_ratio
        δ = D/N, positive.
    student_overlap
        Initial W Wᵀ/N, shape (K, K): the variance of the weights times the identity, if they are drawn independently.
    teacher_overlap
        T = W̃ W̃ᵀ/D, shape (M, M).
    nonlinearity
        f of the manifold, by name or a :class:`sgdlimit.Nonlinearity`; inputs are centred, X = f(U) − E f(U).
    nodes
        Nodes of the Gauss rule for the density; a polynomial in ω up to the degree 2·nodes − 1 is integrated exactly.

    Raises
    ------
    ProblemError
        If the ratio is not positive, an overlap is not a covariance, f is not known, or ``nodes`` is no positive whole
        number.

    Notes
    -----
    The density is that of the smaller Gram matrix of F, whose orthogonal polynomials have constant recurrence
    coefficients but for the first: with y = min(δ, 1/δ) and in units of its mean 1, (1 + y, 1 + y, ...) but 1 on
    the diagonal and √y beside it. The eigenvalues of that matrix are the nodes (Golub & Welsch 1969).

    Examples
    --------
    >>> limit = marchenko_pastur(0.5, np.eye(2), np.eye(2))
    >>> limit.Q.round(12)  # E X² = 1 for f = sign
    array([[1., 0.],
           [0., 1.]])
    >>> limit.eigenvalues[-1], limit.weights[-1]  # 1 − 2/π for the directions that F does not reach
    (np.float64(0.363...), np.float64(0.5))
    """
    check_positive(latent_ratio=latent_ratio)
    check_whole(1, nodes=nodes)
    q0, T = _overlap("student_overlap", student_overlap), _overlap("teacher_overlap", teacher_overlap)
    a, b, c = map(float, nonlinearity_named(nonlinearity).hermite(np.ones(())))
    delta = float(latent_ratio)
    omega_0 = max(c - a**2 - b**2, 0.0)

    y = min(delta, 1 / delta)
    s, weights = jacobi_gauss(np.append(1.0, np.full(nodes - 1, 1 + y)), np.full(nodes - 1, np.sqrt(y)))
    x = b**2 * max(1.0, 1 / delta) * np.maximum(s, 0)  # Tr FᵀF/D = N is shared by min(N, D) eigenvalues
    weights = min(1.0, delta) * weights
    if delta < 1:
        x, weights = np.append(x, 0.0), np.append(weights, 1 - delta)
    n, K, M = len(x), len(q0), len(T)
    return Spectrum(
        eigenvalues=omega_0 + x,
        weights=weights,
        student=np.broadcast_to(q0, (n, K, K)),
        overlap=np.zeros((n, K, M)),
        teacher=x[:, None, None] * T / delta,
        teacher_overlap=T,
    )


def _overlap(name: str, value: ArrayLike) -> Float[np.ndarray, "d d"]:
    """The overlap of every pair of units, checked."""
    array = numbers(name, value, 2 * np.shape(value)[:1] or ("d", "d"))
    check_covariance(f"{name}: the matrix", array)
    return array
