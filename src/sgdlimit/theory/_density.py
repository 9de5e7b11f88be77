"""The density of eigenvalues of a large symmetric matrix: its Gauss rule without its eigenvalues.

Diagonalising 10⁴ × 10⁴ numbers takes minutes, and random probes of the trace, as in stochastic Lanczos quadrature, err
by 1/√(probes · N). Yet the rule with s nodes only needs the traces of powers up to 2s − 1, and those come exactly, to
the rounding of float32: Householder reflections, in blocks that are matrix products, leave a block tridiagonal matrix,
whose s-th power reaches no further than s blocks. So one vector can probe all blocks at a distance of 2s + 1 at once.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ..resources import one_thread
from ._quadrature import DEPENDENT, GaussRule

WIDTH = 128
"""Size of a block: as small as keeps the matrix products efficient."""

BlockTridiagonal = tuple[list[Float[ndarray, "b b"]], list[Float[ndarray, "a b"]]]
"""The blocks on the diagonal and those below them."""


def gram(factor: Float[ndarray, "r N"], columns: int = 4096) -> Float[ndarray, "r r"]:
    """The product factor factorᵀ in float32, some columns at a time: no copy of the whole factor is made."""
    product = np.zeros((len(factor), len(factor)), dtype=np.float32)
    for start in range(0, factor.shape[1], columns):
        part = factor[:, start : start + columns].astype(np.float32)
        product += part @ part.T
    return product


def block_tridiagonal(matrix: Float[ndarray, "n n"], width: int = WIDTH) -> BlockTridiagonal:
    """Reduce a symmetric matrix to block tridiagonal form by an orthogonal similarity; the matrix is overwritten.

    The reflections of a block are I − V T Vᵀ with T⁻¹ = diag(1/τ) + the upper triangle of VᵀV (Puglisi, 1992).

    Examples
    --------
    >>> matrix = np.random.default_rng(0).normal(size=(7, 7))
    >>> diagonal, below = block_tridiagonal(matrix + matrix.T, width=2)
    >>> [len(block) for block in diagonal]
    [2, 2, 2, 1]
    """
    diagonal, below = [], []
    while len(matrix) > 2 * width:
        with one_thread():
            reflectors, tau = np.linalg.qr(matrix[width:, :width], mode="raw")
        below.append(np.triu(reflectors.T[:width]))
        diagonal.append(matrix[:width, :width].copy())
        V = np.tril(reflectors.T, -1) + np.eye(len(matrix) - width, width, dtype=matrix.dtype)
        V[:, tau == 0] = 0
        T = np.linalg.inv(np.diag(1 / np.where(tau == 0, 1, tau)) + np.triu(V.T @ V, 1))
        matrix = matrix[width:, width:]
        X = matrix @ (V @ T)
        X -= V @ (T.T @ (V.T @ X) / 2)
        matrix -= np.concatenate([V, X], axis=1) @ np.concatenate([X, V], axis=1).T
    if len(matrix) > width:
        below.append(matrix[width:, :width])
        diagonal.append(matrix[:width, :width])
        matrix = matrix[width:, width:]
    return [*diagonal, matrix], below


def trace_gauss(tridiagonal: BlockTridiagonal, zeros: int, steps: int) -> GaussRule:
    """Gauss rule Σ_j w_j h(θ_j) for the mean of h over the eigenvalues of a block tridiagonal matrix and some zeros.

    The Lanczos algorithm in the space of matrices X under the product tr XᵀY, from the identity.

    Parameters
    ----------
    tridiagonal
        Blocks as from :func:`block_tridiagonal`.
    zeros
        Number of further eigenvalues, all 0.
    steps
        Number s of nodes.

    Examples
    --------
    >>> nodes, weights = trace_gauss(([np.diag([1.0, 2.0]), np.diag([3.0])], [np.zeros((1, 2))]), zeros=1, steps=9)
    >>> nodes.round(9), weights.round(9)
    (array([0., 1., 2., 3.]), array([0.25, 0.25, 0.25, 0.25]))
    """
    diagonal, below = ([np.asarray(block, dtype=np.float64) for block in blocks] for blocks in tridiagonal)
    sizes = [len(block) for block in diagonal]
    count = sum(sizes) + zeros
    # Blocks of equal colour are 2s + 1 apart: what s products make of them does not meet.
    colours = min(2 * steps + 1, len(sizes))
    newest = [np.zeros((size, colours, max(sizes))) for size in sizes]
    for place, (size, block) in enumerate(zip(sizes, newest, strict=True)):
        block[:, place % colours, :size] = np.eye(size)
    newest = [block.reshape(len(block), -1) / np.sqrt(count) for block in newest]
    atom = np.sqrt(zeros / count)  # a multiple of the identity on the zeros

    previous, previous_atom = [np.zeros_like(block) for block in newest], 0.0
    alpha, beta = [], [0.0]
    for _ in range(steps):
        image = [D @ block for D, block in zip(diagonal, newest, strict=True)]
        for place, L in enumerate(below):
            image[place + 1] += L @ newest[place]
            image[place] += L.T @ newest[place + 1]
        alpha.append(_dot(newest, image))
        for block, x, y in zip(image, newest, previous, strict=True):
            block -= alpha[-1] * x + beta[-1] * y
        image_atom = -alpha[-1] * atom - beta[-1] * previous_atom
        beta.append(float(np.sqrt(_dot(image, image) + image_atom**2)))
        if beta[-1] <= DEPENDENT * max(map(abs, alpha)):
            break
        previous, previous_atom = newest, atom
        newest, atom = [np.divide(block, beta[-1], out=block) for block in image], image_atom / beta[-1]
    jacobi = np.diag(alpha) + np.diag(beta[1 : len(alpha)], -1)
    nodes, modes = np.linalg.eigh(jacobi)  # its lower triangle
    return nodes, np.square(modes[0])


def _dot(x: list[Float[ndarray, "b n"]], y: list[Float[ndarray, "b n"]]) -> float:
    return float(sum(np.vdot(a, b) for a, b in zip(x, y, strict=True)))
