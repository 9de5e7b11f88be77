"""Gauss quadrature of a spectrum, from vectors (Golub & Meurant, Matrices, Moments and Quadrature) or from traces.

For vectors x_1..x_d and a symmetric operator Ω, the matrix-valued measure Σ_τ (x_a·e_τ)(x_b·e_τ) δ(ω − ω_τ) over the
eigenvectors e_τ has a Gauss rule: the eigenvalues θ of Ω restricted to the Krylov space of the vectors, and their
components along its eigenvectors. With s steps of d vectors it has s·d nodes, and integrates polynomials up to the
degree 2s − 1 exactly. The block Lanczos algorithm finds it, see :func:`block_gauss`.

The density of the eigenvalues of a large matrix has one too, without its eigenvalues. Diagonalising 10⁴ × 10⁴ numbers
takes minutes, and random probes of the trace, as in stochastic Lanczos quadrature, err by 1/√(probes · N). Yet the rule
with s nodes only needs the traces of powers up to 2s − 1. :func:`trace_gauss` finds them exactly, to the rounding of
float32: Householder reflections, in blocks that are matrix products, leave a block tridiagonal matrix, whose s-th power
reaches no further than s blocks. So one vector can probe all blocks at a distance of 2s + 1 at once.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import eigh_tridiagonal

from ..inputs import InputMoments
from ..resources import one_thread
from ..settings import check_whole

Nodes = Float[ndarray, "n"]
Block = Float[ndarray, "N b"]

GaussRule = tuple[Nodes, Float[ndarray, "*d n"]]
"""Nodes, and their weights or the components of d vectors in them."""

BlockTridiagonal = tuple[Float[ndarray, "block b b"], Float[ndarray, "block b b"]]
"""The blocks on the diagonal and those below them, both with zeros at the end."""

DEPENDENT = 1e-10
"""Directions of a block that are shorter than this part of the longest are taken to lie in the span of the others."""

STEPS = 14
"""Steps of the Lanczos algorithm by default, (K + M + 1) nodes each; :func:`reduce` says how exact they are."""

LARGE = 3000
"""Rows of the largest matrix that is diagonalised; in a few seconds on one core."""

ROUNDING = 1e-8
"""Negative eigenvalues of a covariance up to this part of the largest are rounding."""

WIDTH = 128
"""Size of a block: as small as keeps the matrix products efficient."""

COLUMNS = 4096
"""Columns that are multiplied at a time, so that no copy of a whole root is made."""


def block_gauss(
    diagonal: Float[ndarray, "N"], block: Float[ndarray, "N d"], steps: int, factor: Float[ndarray, "r N"] | None = None
) -> GaussRule:
    """Nodes θ and components c of the Gauss rule x_a·h(Ω) x_b ≈ Σ_j c_aj h(θ_j) c_bj.

    Parameters
    ----------
    diagonal, factor
        The symmetric operator Ω = diag(diagonal) + factorᵀ factor.
    block
        x_1..x_d, as columns; they may depend on one another.
    steps
        Number s of blocks in the Krylov space. There are n ≤ s·d nodes; fewer if the space ends earlier, and then the
        rule is exact for every h.

    Examples
    --------
    The density of the eigenvalues 1, 2, 3 with four nodes asked for:

    >>> nodes, components = block_gauss(np.array([1.0, 2.0, 3.0]), np.full((3, 1), np.sqrt(1 / 3)), steps=4)
    >>> nodes.round(12), np.square(components[0]).round(3)
    (array([1., 2., 3.]), array([0.333, 0.333, 0.333]))
    """

    factor = np.zeros((0, len(block))) if factor is None else factor

    def image(block):
        return diagonal[:, None] * block + factor.T @ (factor @ block)

    with one_thread():
        newest = _orthonormal(block)
        basis, images = newest, [image(newest)]
        for _ in range(steps - 1):
            newest = _orthonormal(_off(basis, images[-1]), float(np.linalg.norm(images[-1])))
            if newest.shape[1] == 0:
                break
            newest = np.linalg.qr(_off(basis, newest))[0]
            basis = np.concatenate([basis, newest], axis=1)
            images.append(image(newest))
        restricted = basis.T @ np.concatenate(images, axis=1)
        nodes, modes = np.linalg.eigh((restricted + restricted.T) / 2)
        return nodes, (block.T @ basis) @ modes


def _orthonormal(block: Block, scale: float = 0.0) -> Float[ndarray, "N rank"]:
    """Orthonormal basis of the span of a block; lengths that are rounding next to the longest, or to a scale, are 0."""
    directions, lengths, _ = np.linalg.svd(block, full_matrices=False)
    return directions[:, lengths > DEPENDENT * max(scale, lengths.max(initial=0))]


def _off(basis: Float[ndarray, "N n"], block: Block) -> Block:
    """The part of a block orthogonal to a basis; the second pass removes the rounding of the first."""
    for _ in range(2):
        block = block - basis @ (basis.T @ block)
    return block


def jacobi_gauss(diagonal: Nodes, beside: Float[ndarray, "n-1"]) -> GaussRule:
    """Nodes and weights of mass 1, from the recurrence coefficients of the orthogonal polynomials (Golub & Welsch)."""
    nodes, modes = eigh_tridiagonal(diagonal, beside)
    return nodes, np.square(modes[0])


def block_tridiagonal(matrix: Float[ndarray, "n n"], width: int = WIDTH) -> BlockTridiagonal:
    """Reduce a symmetric matrix to block tridiagonal form by an orthogonal similarity; the matrix is overwritten.

    The reflections of a block are I − V T Vᵀ with T⁻¹ = diag(1/τ) + the upper triangle of VᵀV (Puglisi, 1992).

    Examples
    --------
    >>> matrix = np.random.default_rng(0).normal(size=(7, 7))
    >>> diagonal, below = block_tridiagonal(matrix + matrix.T, width=2)
    >>> diagonal.shape, below.shape
    ((4, 2, 2), (4, 2, 2))
    """
    diagonal, below = np.zeros((2, -(-len(matrix) // width), width, width))
    for D, L in zip(diagonal, below, strict=True):
        corner, panel = matrix[:width, :width], matrix[width:, :width]
        D[: len(corner), : len(corner)] = corner
        matrix = matrix[width:, width:]
        if len(panel) > width:
            with one_thread():
                reflectors, tau = np.linalg.qr(panel, mode="raw")
            V = np.tril(reflectors.T, -1) + np.eye(*panel.shape, dtype=panel.dtype)
            V[:, tau == 0] = 0
            T = np.linalg.inv(np.diag(1 / np.where(tau == 0, 1, tau)) + np.triu(V.T @ V, 1))
            X = matrix @ (V @ T)
            X -= V @ (T.T @ (V.T @ X) / 2)
            matrix -= np.concatenate([V, X], axis=1) @ np.concatenate([X, V], axis=1).T
            panel = np.triu(reflectors.T[:width])
        L[: len(panel), : len(corner)] = panel
    return diagonal, below


def trace_gauss(tridiagonal: BlockTridiagonal, size: int, zeros: int, steps: int) -> GaussRule:
    """Gauss rule Σ_j w_j h(θ_j) for the mean of h over the eigenvalues of a block tridiagonal matrix and some zeros.

    The Lanczos algorithm in the space of matrices X under the product tr XᵀY, from the identity.

    Parameters
    ----------
    tridiagonal
        Blocks as from :func:`block_tridiagonal`.
    size
        Rows of the matrix.
    zeros
        Number of further eigenvalues, all 0.
    steps
        Number s of nodes.

    Examples
    --------
    >>> blocks = block_tridiagonal(np.diag([1.0, 2.0, 3.0]), width=2)
    >>> nodes, weights = trace_gauss(blocks, size=3, zeros=1, steps=9)
    >>> nodes.round(9), weights.round(9)
    (array([0., 1., 2., 3.]), array([0.25, 0.25, 0.25, 0.25]))
    """
    # A block of zeros at the end has one entry for all further eigenvalues.
    diagonal, below = (np.pad(blocks, ((0, 1), (0, 0), (0, 0))) for blocks in tridiagonal)
    count, width, _ = diagonal.shape
    # Blocks of equal colour are 2s + 1 apart: what s products make of them does not meet.
    colours = min(2 * steps + 1, count)
    newest = np.zeros((count, width, colours, width))
    place, row = np.divmod(np.arange(size), width)
    newest[place, row, place % colours, row] = np.sqrt(1 / (size + zeros))
    newest[-1, 0, 0, 0] = np.sqrt(zeros / (size + zeros))
    newest = newest.reshape(count, width, -1)

    previous = np.zeros_like(newest)
    alpha, beta = [], [0.0]
    for _ in range(steps):
        image = diagonal @ newest
        for place, L in enumerate(below[:-1]):
            image[place + 1] += L @ newest[place]
            image[place] += L.T @ newest[place + 1]
        alpha.append(np.vdot(newest, image))
        for block, x, y in zip(image, newest, previous, strict=True):
            block -= alpha[-1] * x + beta[-1] * y
        beta.append(float(np.linalg.norm(image)))
        if beta[-1] <= DEPENDENT * np.abs(alpha).max():
            break
        previous, newest = newest, np.divide(image, beta[-1], out=image)
    return jacobi_gauss(np.array(alpha), np.array(beta[1 : len(alpha)]))


# --- of inputs with given moments ---


def smaller(moments: InputMoments) -> tuple[float, Float[ndarray, "s r"], Float[ndarray, "s"]]:
    """A shift, and the root and rest of a matrix: Ω − shift has the eigenvalues of diag(rest) + root rootᵀ, and zeros.

    That matrix is smaller than Ω where the diagonal is constant and the factor has fewer rows than columns.
    """
    diagonal, factor = moments.diagonal, moments.factor
    variance = (diagonal + np.einsum("an,an->n", factor, factor)).max()
    if np.ptp(diagonal) <= 1e-12 * variance and len(factor) < len(diagonal):
        return diagonal.mean(), factor, np.zeros(len(factor))
    return 0.0, factor.T, diagonal


def clipped(eigenvalues: Nodes) -> Nodes:
    """Eigenvalues that rounding made negative as 0."""
    rounded = (eigenvalues < 0) & (eigenvalues > -ROUNDING * eigenvalues.max())
    return np.where(rounded, 0, eigenvalues)


def gauss_vectors(moments: InputMoments, vectors: Float[ndarray, "d N"], steps: int) -> GaussRule:
    """Nodes θ, and some vectors in them: with x = Σ_j c_j e_j for each, x h(Ω) yᵀ/N is Σ_j c_j h(θ_j) c'_j.

    Up to polynomials h of the degree 2s − 1 for s ``steps``; polynomials of Ω up to degree s − 1, applied to the
    vectors, are represented too.
    """
    return block_gauss(moments.diagonal, vectors.T / np.sqrt(vectors.shape[1]), steps, moments.factor)


def gauss_density(moments: InputMoments, steps: int) -> GaussRule:
    """Nodes and weights of the Gauss rule with s ``steps`` for the density of the eigenvalues of Ω."""
    shift, root, rest = smaller(moments)
    size, N = len(root), len(moments.diagonal)
    if size > LARGE:
        matrix = np.diag(rest.astype(np.float32))
        for part in np.array_split(root, -(-root.shape[1] // COLUMNS), axis=1):
            single = part.astype(np.float32)
            matrix += single @ single.T
        omega, weights = trace_gauss(block_tridiagonal(matrix), size, N - size, steps)
        return np.maximum(shift + omega, 0), weights  # what float32 rounds below 0 is 0
    with one_thread():
        omega, weights = shift + np.linalg.eigvalsh(root @ root.T + np.diag(rest)), np.full(size, 1 / N)
    if size < N:
        omega, weights = np.append(omega, shift), np.append(weights, 1 - size / N)
    nodes, weights = thinned(clipped(omega), weights, steps)
    return clipped(nodes), weights


def thinned(omega: Float[ndarray, "nodes"], weights: Float[ndarray, "nodes"], steps: int) -> GaussRule:
    """The Gauss rule with s ``steps`` for a sum over nodes with weights."""
    nodes, amplitudes = block_gauss(omega, np.sqrt(weights)[:, None], steps)
    return nodes, np.square(amplitudes[0])


def lanczos_steps(nodes: int | None, vectors: int, counted: str = "K + M") -> int:
    """Steps of the Lanczos algorithm, for the overlaps of some vectors and for the noise."""
    if nodes is None:
        return STEPS
    check_whole(2 * (vectors + 1), f"2({counted} + 1) = ", nodes=nodes)
    return int(nodes) // (vectors + 1)
