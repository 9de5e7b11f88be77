"""The spectrum of the inputs: the one small object that carries every input model to the theory.

With ω_τ the eigenvalues of the input covariance Ω and Γ_kτ, φ_mτ the weights W_k and the cross covariance φ_m in its
eigenvectors, the theory needs the products q = Γ_k Γ_l, r = Γ_k φ_m and p = φ_m φ_n on each eigenvalue. Equal
eigenvalues make one node, with the mean of the products and the summed weight.

The equations are linear in (q, r, p, G) on each node, with coefficients that are smooth in ω. So the sums over
eigenvalues are integrals that a few Gauss nodes do, and their two parts can have nodes of their own: what grows out of
the initial (q, r, p), and what the noise G of the gradient adds from nothing, in proportion to the density of the
eigenvalues. :func:`reduce` makes such a spectrum.
"""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..inputs import InputMoments
from ..resources import one_thread
from ..settings import numbers
from ._checks import check_whole
from ._density import block_tridiagonal, gram, trace_gauss
from ._quadrature import GaussRule, Operator, block_gauss

ROUNDING = 1e-8
"""Negative eigenvalues of a covariance up to this part of the largest are rounding."""

SINGULAR = 1e-13
"""Variances below this part of the largest are rounding in products that were computed in float64."""

STEPS = 14
"""Steps of the Lanczos algorithm by default, (K + M + 1) nodes each; :func:`reduce` says how exact they are."""

LARGE = 3000
"""Rows of the largest matrix that is diagonalised; in a few seconds on one core."""

FEWEST_NODES = 64
"""Nodes of a padded spectrum at least. A solution takes 5 ms with them, and 2 with a program for one node alone."""

EQUAL = 1e-13
"""Neighbouring eigenvalues closer than this part of the largest are one: float64 does not tell them apart."""

RANK_TOLERANCE = 1e-10
"""Directions with less variance than this part of the largest are merged with those of none."""


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
    noise
        Share of the gradient noise ω G that a node takes, shape (n,), not negative: 1 by default; 0 on nodes that
        carry initial overlaps alone, whose weights are no part of the density of the eigenvalues.

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

    eigenvalues: Float[ndarray, "n"]
    weights: Float[ndarray, "n"]
    student: Float[ndarray, "n K K"]
    overlap: Float[ndarray, "n K M"]
    teacher: Float[ndarray, "n M M"]
    teacher_overlap: Float[ndarray, "M M"]
    noise: Float[ndarray, "n"]

    def __init__(
        self,
        eigenvalues: ArrayLike,
        weights: ArrayLike,
        student: ArrayLike,
        overlap: ArrayLike,
        teacher: ArrayLike,
        teacher_overlap: ArrayLike,
        noise: ArrayLike | None = None,
    ) -> None:
        n, K, M = numbers("overlap", overlap, ("n", "K", "M")).shape  # to which all other shapes have to fit
        given = (eigenvalues, weights, student, overlap, teacher, teacher_overlap)
        given += (np.ones(n) if noise is None else noise,)
        shapes = (n,), (n,), (n, K, K), (n, K, M), (n, M, M), (M, M), (n,)
        for field, values, shape in zip(type(self).__annotations__, given, shapes, strict=True):
            array = numbers(field, values, shape)
            if len(shape) == 1 and array.min() < 0:
                raise ProblemError(f"{field}: must not be negative (got {array.min()}). Clip rounding errors to 0.")
            setattr(self, field, array)
        check_covariance("student, overlap, teacher: [[q, r], [rᵀ, p]]", self.products)
        check_covariance("teacher_overlap", self.teacher_overlap)
        # Cov[X, ν] is a covariance if T is at least what linear regression of ν on X explains.
        seen = self.eigenvalues > ROUNDING * self.eigenvalues.max()
        explained = np.einsum("t,tmn->mn", self.weights[seen] / self.eigenvalues[seen], self.teacher[seen])
        name = "teacher_overlap, teacher: T − Σ w p/ω"
        check_covariance(name, self.teacher_overlap - explained, self.teacher_overlap)

    @property
    def products(self) -> Float[ndarray, "n d d"]:
        """[[q, r], [rᵀ, p]] on every node, d = K + M."""
        return np.block([[self.student, self.overlap], [np.swapaxes(self.overlap, 1, 2), self.teacher]])

    @property
    def Q(self) -> Float[ndarray, "K K"]:
        """Student-student overlap Q = Σ w ω q, (9)."""
        return np.einsum("t,tkl->kl", self.weights * self.eigenvalues, self.student)

    @property
    def R(self) -> Float[ndarray, "K M"]:
        """Student-teacher overlap R = Σ w r, (10)."""
        return np.einsum("t,tkm->km", self.weights, self.overlap)


def padded(spectrum: Spectrum) -> Spectrum:
    """The same with nodes that carry nothing (ω = w = q = r = p = 0), so that many spectra have one shape.

    There are 64 nodes or (4, 5, 6, 7) × 2^k of them, at most a quarter more than before.

    Examples
    --------
    >>> one = Spectrum([1.0], [1.0], [[[2.0]]], [[[0.5]]], [[[1.0]]], [[1.0]])
    >>> len(padded(one).weights), padded(one).Q, padded(one).R
    (64, array([[2.]]), array([[0.5]]))
    """
    n = len(spectrum.weights)
    step = 1 << max(n - 1, 1).bit_length() >> 3
    missing = FEWEST_NODES - n if n <= FEWEST_NODES else -n % step

    def longer(array: ndarray) -> ndarray:
        return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))

    return jax.tree.map(lambda array: array if array is spectrum.teacher_overlap else longer(array), spectrum)


def check_covariance(
    name: str, matrices: Float[ndarray, "*batch d d"], reference: Float[ndarray, "*batch d d"] | None = None
) -> None:
    """Refuse with a ProblemError what is not symmetric or has an eigenvalue below 0 by more than rounding."""
    scale = np.abs(matrices if reference is None else reference).max()
    if not np.allclose(matrices, np.swapaxes(matrices, -1, -2), rtol=0, atol=ROUNDING * scale):
        raise ProblemError(f"{name} must be symmetric. Give (x + xᵀ)/2.")
    smallest = np.linalg.eigvalsh(matrices).min()
    if smallest < -ROUNDING * scale:
        raise ProblemError(
            f"{name} must be a covariance (got the eigenvalue {smallest:.3g}, below 0). Check its entries."
        )


def spectrum_of(moments: InputMoments, student_weights: Float[ArrayLike, "K N"], nodes: int | None = None) -> Spectrum:
    """Spectrum of inputs with given second moments, seen by given student weights.

    Parameters
    ----------
    moments
        Ω = diag(diagonal) + factorᵀ factor, φ and T. With a constant diagonal (f = sign) only an (r, r) matrix is
        diagonalised, and the remaining N − r equal eigenvalues make one node. So do others that are equal up to
        rounding, as those of independent inputs or orthogonal features; otherwise there are N nodes.
    student_weights
        W, shape (K, N).
    nodes
        The most nodes to keep, see :func:`reduce`; all by default, up to 3000 distinct eigenvalues. Nodes of the
        reduced spectrum come without the eigenvectors of Ω.

    Raises
    ------
    ProblemError
        If shapes disagree, a number is not finite, or ``nodes`` is too small.

    Examples
    --------
    >>> moments = InputMoments(np.ones(3), np.zeros((1, 3)), np.ones((3, 1)), np.eye(1))
    >>> spectrum_of(moments, np.ones((2, 3))).R
    array([[1.],
           [1.]])
    """
    diagonal, factor, cross = (numbers(name, getattr(moments, name)) for name in ("diagonal", "factor", "cross"))
    N = len(diagonal)
    W = numbers("student_weights", student_weights, ("K", N))

    vectors = np.concatenate([W, cross.T])  # (K + M, N)
    K, thin = len(W), _is_thin(moments)
    if nodes is not None or (len(factor) if thin else N) > LARGE:
        steps = lanczos_steps(nodes, len(vectors))
        overlaps, noise = gauss_vectors(moments, vectors, steps), gauss_density(moments, steps)
        return _gauss_spectrum(K, overlaps, noise, moments.teacher_overlap)
    if thin:
        resolved = _thin_nodes(diagonal.mean(), factor, vectors)
    else:
        with one_thread():
            eigenvalues, basis = np.linalg.eigh(factor.T @ factor + np.diag(diagonal))
        resolved = eigenvalues, np.full(N, 1 / N), _products(vectors @ basis)
    return _spectrum(K, *_merged(*resolved), moments.teacher_overlap)


def _spectrum(
    K: int,
    eigenvalues: Float[ndarray, "n"],
    weights: Float[ndarray, "n"],
    products: Float[ndarray, "n d d"],
    teacher_overlap: Float[ndarray, "M M"],
    noise: ArrayLike | None = None,
) -> Spectrum:
    """A spectrum of products [[q, r], [rᵀ, p]], with eigenvalues that rounding may have made negative."""
    student, overlap, teacher = products[:, :K, :K], products[:, :K, K:], products[:, K:, K:]
    return Spectrum(_clipped(eigenvalues), weights, student, overlap, teacher, teacher_overlap, noise)


def _clipped(eigenvalues: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    """Eigenvalues that rounding made negative as 0."""
    rounded = (eigenvalues < 0) & (eigenvalues > -ROUNDING * eigenvalues.max())
    return np.where(rounded, 0, eigenvalues)


def _merged(
    eigenvalues: Float[ndarray, "n"], weights: Float[ndarray, "n"], products: Float[ndarray, "n d d"]
) -> tuple[Float[ndarray, "m"], Float[ndarray, "m"], Float[ndarray, "m d d"]]:
    """One node for eigenvalues that are equal up to rounding: independent inputs, orthogonal features."""
    order = np.argsort(eigenvalues, kind="stable")
    gaps = np.diff(eigenvalues[order])
    starts = np.append(0, np.flatnonzero(gaps > EQUAL * np.abs(eigenvalues).max()) + 1)
    if len(starts) == len(eigenvalues):
        return eigenvalues, weights, products
    totals = np.add.reduceat(weights[order], starts)

    def mean(values: ndarray) -> ndarray:
        weighted = np.add.reduceat(np.einsum("t,t...->t...", weights, values)[order], starts)
        return np.einsum("t,t...->t...", 1 / totals, weighted)

    return mean(eigenvalues), totals, mean(products)


def _products(projections: Float[ndarray, "d n"]) -> Float[ndarray, "n d d"]:
    """Products of every two vectors on every node."""
    return np.einsum("at,bt->tab", projections, projections)


def _thin_nodes(
    common: float, factor: Float[ndarray, "r N"], vectors: Float[ndarray, "d N"]
) -> tuple[Float[ndarray, "n"], Float[ndarray, "n"], Float[ndarray, "n d d"]]:
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


def reduce(spectrum: Spectrum, nodes: int | None = None) -> Spectrum:
    """The same inputs and overlaps on fewer nodes, by Gauss quadrature.

    With s steps of the Lanczos algorithm, (K + M)s nodes carry what grows out of the initial overlaps, and s nodes the
    noise of the gradient; both integrate polynomials in ω up to the degree 2s − 1 exactly, Q and R at t = 0 among them.

    Parameters
    ----------
    spectrum
        A spectrum with any number of nodes n.
    nodes
        The most nodes to keep, at least 2(K + M + 1), by default 14(K + M + 1). For the paper's K = M = 2, η = 0.2 and
        t ≤ 100, 50 leave Q, R and v within 1e-6 of all 501, and the default of 70 within 1e-5 where correlated
        latents widen the spectrum; longer times and larger η need more.

    Raises
    ------
    ProblemError
        If ``nodes`` is too small.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> moments = InputMoments(np.ones(60), rng.normal(size=(30, 60)) / 6, rng.normal(size=(60, 1)) / 100, np.eye(1))
    >>> full = spectrum_of(moments, rng.normal(size=(1, 60)))
    >>> small = reduce(full, nodes=12)
    >>> len(full.eigenvalues), len(small.eigenvalues), np.allclose(full.Q, small.Q)
    (31, 12, True)
    """
    _, K, M = spectrum.overlap.shape
    steps = lanczos_steps(nodes, K + M)
    omega, weights, products = spectrum.eigenvalues, spectrum.weights, spectrum.products
    variances, modes = np.linalg.eigh(weights[:, None, None] * products)
    variances = np.where(variances > SINGULAR * variances.max(axis=1, keepdims=True), variances, 0)
    roots = np.sqrt(variances)[:, :, None] * np.swapaxes(modes, 1, 2)  # w products = rootsᵀ roots
    overlaps = block_gauss(_diagonal(np.repeat(omega, K + M)), np.concatenate(roots), steps)
    return _gauss_spectrum(K, overlaps, _thinned(omega, weights * spectrum.noise, steps), spectrum.teacher_overlap)


def gauss_vectors(moments: InputMoments, vectors: Float[ndarray, "d N"], steps: int) -> GaussRule:
    """Nodes θ, and some vectors in them: with x = Σ_j c_j e_j for each, x h(Ω) yᵀ/N is Σ_j c_j h(θ_j) c'_j.

    Up to polynomials h of the degree 2s − 1 for s ``steps``; polynomials of Ω up to degree s − 1, applied to the
    vectors, are represented too.
    """
    diagonal, factor = moments.diagonal, moments.factor

    def multiply(block: Float[ndarray, "N b"]) -> Float[ndarray, "N b"]:
        return diagonal[:, None] * block + factor.T @ (factor @ block)

    with one_thread():
        return block_gauss(multiply, vectors.T / np.sqrt(len(diagonal)), steps)


def gauss_density(moments: InputMoments, steps: int) -> GaussRule:
    """Nodes and weights of the Gauss rule with s ``steps`` for the density of the eigenvalues of Ω."""
    diagonal, factor = moments.diagonal, moments.factor
    N, thin = len(diagonal), _is_thin(moments)
    # Ω = shift + a matrix that has N − size eigenvalues 0 beside those of a smaller one.
    size, shift = (len(factor), diagonal.mean()) if thin else (N, 0.0)
    if size > LARGE:
        matrix = gram(factor if thin else factor.T)
        if not thin:
            matrix[np.diag_indices(N)] += diagonal
        omega, weights = trace_gauss(block_tridiagonal(matrix), N - size, steps)
        return np.maximum(shift + omega, 0), weights  # what float32 rounds below 0 is 0
    with one_thread():
        matrix = factor @ factor.T if thin else factor.T @ factor + np.diag(diagonal)
        omega, weights = shift + np.linalg.eigvalsh(matrix), np.full(size, 1 / N)
        if thin:
            omega, weights = np.append(omega, shift), np.append(weights, 1 - size / N)
        nodes, weights = _thinned(_clipped(omega), weights, steps)
    return _clipped(nodes), weights


def _thinned(omega: Float[ndarray, "nodes"], weights: Float[ndarray, "nodes"], steps: int) -> GaussRule:
    """The Gauss rule with s ``steps`` for a sum over nodes with weights."""
    nodes, amplitudes = block_gauss(_diagonal(omega), np.sqrt(weights)[:, None], steps)
    return nodes, np.square(amplitudes[0])


def _is_thin(moments: InputMoments) -> bool:
    """Whether the diagonal is constant and the factor has fewer rows than columns."""
    diagonal, factor = moments.diagonal, moments.factor
    variance = (diagonal + np.einsum("an,an->n", factor, factor)).max()
    return bool(np.ptp(diagonal) <= 1e-12 * variance and len(factor) < len(diagonal))


def lanczos_steps(nodes: int | None, vectors: int, counted: str = "K + M") -> int:
    """Steps of the Lanczos algorithm, for the overlaps of some vectors and for the noise."""
    if nodes is None:
        return STEPS
    least, remedy = 2 * (vectors + 1), f" Try {STEPS * (vectors + 1)}."
    return check_whole("nodes", nodes, least, remedy, f"2({counted} + 1) = ") // (vectors + 1)


def _diagonal(values: Float[ndarray, "n"]) -> Operator:
    return lambda block: values[:, None] * block


def _gauss_spectrum(
    K: int,
    overlaps: GaussRule,
    noise: GaussRule,
    teacher_overlap: Float[ndarray, "M M"],
) -> Spectrum:
    """Spectrum of the Gauss rules for Σ w h(ω) (q, r, p), without noise, and for Σ w h(ω), with nothing but noise."""
    (theta, components), (omega, weights) = overlaps, noise
    n, s, d = len(theta), len(omega), len(components)
    # The weights of nodes without noise are free: equal ones, which leave the products of order one.
    products = np.concatenate([n * _products(components), np.zeros((s, d, d))])
    nodes, weights = np.concatenate([theta, omega]), np.concatenate([np.full(n, 1 / max(n, 1)), weights])
    return _spectrum(K, nodes, weights, products, teacher_overlap, noise=np.repeat([0.0, 1.0], [n, s]))
