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
from ..resources import one_thread, refuse_beyond_memory
from ..settings import numbers
from ._quadrature import (
    LARGE,
    ROUNDING,
    GaussRule,
    Nodes,
    block_gauss,
    clipped,
    gauss_density,
    gauss_vectors,
    lanczos_steps,
    smaller,
    thinned,
)

Products = Float[ndarray, "n d d"]

SINGULAR = 1e-13
"""Variances below this part of the largest are rounding in products that were computed in float64."""

FEWEST_NODES = 64
"""Nodes of a padded spectrum at least. A solution takes 5 ms with them, and 2 with a program for one node alone."""

NODES_PER_E_FOLD = 12
"""Density of the nodes of an interpolated spectrum; the error is exp(−12 π)."""

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

    eigenvalues: Nodes
    weights: Nodes
    student: Float[ndarray, "n K K"]
    overlap: Float[ndarray, "n K M"]
    teacher: Float[ndarray, "n M M"]
    teacher_overlap: Float[ndarray, "M M"]
    noise: Nodes

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
        sizes = dict(zip("nKM", numbers("overlap", overlap, tuple("nKM")).shape, strict=True))  # which all others fit
        given = [eigenvalues, weights, student, overlap, teacher, teacher_overlap]
        given.append(np.ones(sizes["n"]) if noise is None else noise)
        for (field, hint), values in zip(type(self).__annotations__.items(), given, strict=True):
            shape = tuple(sizes[axis] for axis in hint.dim_str.split())
            array = numbers(field, values, shape)
            if len(shape) == 1 and array.min() < 0:
                raise ProblemError(f"{field}: must not be negative (got {array.min()}). Clip rounding errors to 0.")
            setattr(self, field, array)
        check_covariance("student, overlap, teacher: [[q, r], [rᵀ, p]]", self.products)
        check_covariance("teacher_overlap: the matrix", self.teacher_overlap)
        # Cov[X, ν] is a covariance if T is at least what linear regression of ν on X explains.
        largest = self.eigenvalues.max() or 1
        variances = np.where(self.eigenvalues > ROUNDING * largest, self.eigenvalues, ROUNDING**0.5 * largest)
        explained = np.einsum("t,tmn->mn", self.weights / variances, self.teacher)
        name = "teacher_overlap, teacher: T − Σ w p/ω"
        check_covariance(name, self.teacher_overlap - explained, self.teacher_overlap)

    @property
    def products(self) -> Products:
        """[[q, r], [rᵀ, p]] on every node, d = K + M."""
        return np.block([[self.student, self.overlap], [self.overlap.mT, self.teacher]])

    @property
    def Q(self) -> Float[ndarray, "K K"]:
        """Student-student overlap Q = Σ w ω q, (9)."""
        return np.einsum("t,tkl->kl", self.weights * self.eigenvalues, self.student)

    @property
    def R(self) -> Float[ndarray, "K M"]:
        """Student-teacher overlap R = Σ w r, (10)."""
        return np.einsum("t,tkm->km", self.weights, self.overlap)

    @property
    def variance(self) -> float:
        """Mean variance of the inputs ω̄ = Σ w ω."""
        return float(np.sum(self.weights * self.noise * self.eigenvalues))


def padded(spectrum: Spectrum) -> Spectrum:
    """The spectrum with added nodes that carry nothing (ω = w = q = r = p = 0), so that many spectra have one shape.

    There are 64 nodes or (4, 5, 6, 7) × 2^k of them, at most a quarter more than before.

    Examples
    --------
    >>> one = Spectrum([1.0], [1.0], [[[2.0]]], [[[0.5]]], [[[1.0]]], [[1.0]])
    >>> len(padded(one).weights), padded(one).Q, padded(one).R
    (64, array([[2.]]), array([[0.5]]))
    """
    n = len(spectrum.weights)
    missing = FEWEST_NODES - n if n <= FEWEST_NODES else -n % (1 << (n - 1).bit_length() >> 3)

    def longer(array):
        more = 0 if array is spectrum.teacher_overlap else missing
        return np.pad(array, [(0, more)] + [(0, 0)] * (array.ndim - 1))

    return jax.tree.map(longer, spectrum)


def interpolated(spectrum: Spectrum, spread: float) -> Spectrum:
    """A spectrum of fewer nodes with the same Q and R, until eigenvalues relax that are 1/spread of the largest.

    Q and R are linear in the (q, r, p, G) of the nodes, with coefficients that are analytic in
    x = ln(1 + spread ω/ω_max): exp(−ωt), for example, is of the form exp(−exp(x)). So a coefficient is interpolated
    from its values at n Chebyshev points in x, with an error that falls like exp(−n π/x_max). These points are the new
    nodes. Each has the sum of the old nodes' data, weighted with its Lagrange polynomial, which may be negative. The
    coefficients of r and p are of the order of 1/√ω and 1/ω, so that r/√ω and p/ω are summed.

    Examples
    --------
    >>> omega, ones = np.geomspace(1e-6, 1, 3000), np.ones((3000, 1, 1))
    >>> full = Spectrum(omega, omega / 3000, ones, 0 * ones, 0 * ones, [[1.0]])
    >>> small = interpolated(full, 1e8)
    >>> len(small.weights), np.allclose(full.Q, small.Q, rtol=1e-12)
    (221, True)
    """
    (omega, weights, *products, T, noise), structure = jax.tree.flatten(spectrum)
    x_max = np.log1p(spread)
    if len(omega) <= NODES_PER_E_FOLD * x_max:
        return spectrum
    n = int(NODES_PER_E_FOLD * x_max)
    angles, scale = (np.arange(n) + 0.5) * np.pi / n, spread / omega.max()
    x, at = np.log1p(scale * omega), x_max * np.sin(angles / 2) ** 2
    # Lagrange's polynomials by the barycentric formula, which rounding does not harm; 0 would be divided by.
    apart = np.subtract.outer(at, x)
    parts = ((-1) ** np.arange(n) * np.sin(angles))[:, None] / np.where(apart == 0, 1e-300, apart)
    sums = n * weights * parts / parts.sum(axis=0)
    ratios = np.exp(np.subtract.outer(at, x) / 2)  # √(ω/ω_i), of eigenvalues that are not too small
    products = [np.tensordot(sums * ratios**power, values, 1) for power, values in enumerate(products)]
    return structure.unflatten([np.expm1(at) / scale, np.full(n, 1 / n), *products, T, sums @ noise])


def check_covariance(
    name: str, matrices: Float[ndarray, "*batch d d"], reference: Float[ndarray, "*batch d d"] | None = None
) -> None:
    """Refuse matrices that are not symmetric, or have an eigenvalue below 0 by more than rounding."""
    rounding = ROUNDING * abs(matrices if reference is None else reference).max()
    if not np.allclose(matrices, matrices.mT, rtol=0, atol=rounding):
        raise ProblemError(f"{name} must be symmetric (got a matrix that is not). Give (x + xᵀ)/2.")
    smallest = np.linalg.eigvalsh(matrices).min()
    if smallest < -rounding:
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
    diagonal, _, cross = (numbers(name, getattr(moments, name)) for name in ("diagonal", "factor", "cross"))
    N = len(diagonal)
    W = numbers("student_weights", student_weights, ("K", N))
    vectors = np.concatenate([W, cross.T])  # (K + M, N)
    K, T = len(W), moments.teacher_overlap
    # The averages E[g'_k g'_l g_a g_b] and a factor 2 for what they are made from.
    refuse_beyond_memory("student_units", K, 16 * (K * len(vectors)) ** 2)
    if nodes is not None or len(smaller(moments)[1]) > LARGE:
        steps = lanczos_steps(nodes, len(vectors))
        return _gauss_spectrum(K, gauss_vectors(moments, vectors, steps), gauss_density(moments, steps), T)
    return _spectrum(K, *node_means(moments, vectors), T)


def node_means(
    moments: InputMoments, vectors: Float[ndarray, "d N"], pairs: str = "at,bt->tab"
) -> tuple[Nodes, Nodes, ndarray]:
    """Eigenvalues ω of Ω, their weights, and means of products of the vectors' components on every node.

    The products are summed as ``pairs`` says: of every two vectors, or with ``"at,at->t"`` the squares of all.
    """
    shift, root, rest = smaller(moments)
    factor, N = moments.factor, len(moments.diagonal)
    with one_thread():
        variances, modes = np.linalg.eigh(root @ root.T + np.diag(rest))
    if len(root) == N:
        projections = vectors @ modes
    else:
        # Directions of no variance have no well-defined vector factorᵀ mode/√variance; they belong to the others.
        kept = variances > RANK_TOLERANCE * max(variances.max(initial=0), shift)
        variances = variances[kept]
        projections = (vectors @ factor.T) @ modes[:, kept] / np.sqrt(variances)
    omega, weights = shift + variances, np.full(len(variances), 1 / N)
    products = np.einsum(pairs, projections, projections)
    if others := N - len(variances):  # they are one node
        outside = (np.einsum(pairs.replace(">t", ">"), vectors, vectors) - products.sum(axis=0)) / others
        omega, weights = np.append(omega, shift), np.append(weights, others / N)
        products = np.append(products, outside[None], axis=0)

    # Eigenvalues that are equal up to rounding are one node: of independent inputs or orthogonal features.
    order = np.argsort(omega, kind="stable")
    apart = np.diff(omega[order]) > EQUAL * abs(omega).max()
    if not apart.all():
        groups = np.split(order, np.flatnonzero(apart) + 1)
        omega, products = (
            np.stack([np.average(values[group], axis=0, weights=weights[group]) for group in groups])
            for values in (omega, products)
        )
        weights = np.array([weights[group].sum() for group in groups])
    return omega, weights, products


def _spectrum(
    K: int, eigenvalues: Nodes, weights: Nodes, products: Products, T: Float[ndarray, "M M"], noise: Nodes | None = None
) -> Spectrum:
    """A spectrum of products [[q, r], [rᵀ, p]], with eigenvalues that rounding may have made negative."""
    student, overlap, teacher = products[:, :K, :K], products[:, :K, K:], products[:, K:, K:]
    return Spectrum(clipped(eigenvalues), weights, student, overlap, teacher, T, noise)


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
    roots = np.sqrt(variances)[:, :, None] * modes.mT  # w products = rootsᵀ roots
    overlaps = block_gauss(np.repeat(omega, K + M), np.concatenate(roots), steps)
    return _gauss_spectrum(K, overlaps, thinned(omega, weights * spectrum.noise, steps), spectrum.teacher_overlap)


def _gauss_spectrum(
    K: int, overlaps: GaussRule, noise: tuple[Float[ndarray, "s"], Float[ndarray, "s"]], T: Float[ndarray, "M M"]
) -> Spectrum:
    """Spectrum of the Gauss rules for Σ w h(ω) (q, r, p), without noise, and for Σ w h(ω), with nothing but noise."""
    (theta, components), (omega, weights) = overlaps, noise
    n, s, d = len(theta), len(omega), len(components)
    # The weights of nodes without noise are free: equal ones, which leave the products of order one.
    products = np.concatenate([n * np.einsum("at,bt->tab", components, components), np.zeros((s, d, d))])
    weights = np.append(np.full(n, 1 / max(n, 1)), weights)
    return _spectrum(K, np.append(theta, omega), weights, products, T, np.repeat([0.0, 1.0], [n, s]))
