"""Gauss quadrature of a spectrum by the block Lanczos algorithm (Golub & Meurant, Matrices, Moments and Quadrature).

For vectors x_1..x_d and a symmetric operator Ω, the matrix-valued measure Σ_τ (x_a·e_τ)(x_b·e_τ) δ(ω − ω_τ) over the
eigenvectors e_τ has a Gauss rule: the eigenvalues θ of Ω restricted to the Krylov space of the vectors, and their
components along its eigenvectors. With s steps of d vectors it has s·d nodes, and integrates polynomials up to the
degree 2s − 1 exactly.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Operator = Callable[[Float[ndarray, "N b"]], Float[ndarray, "N b"]]
"""The product of a symmetric matrix with a block of vectors."""

GaussRule = tuple[Float[ndarray, "n"], Float[ndarray, "*d n"]]
"""Nodes, and their weights or the components of d vectors in them."""

DEPENDENT = 1e-10
"""Directions of a block that are shorter than this part of the longest are taken to lie in the span of the others."""


def block_gauss(apply: Operator, block: Float[ndarray, "N d"], steps: int) -> GaussRule:
    """Nodes θ and components c of the Gauss rule x_a·h(Ω) x_b ≈ Σ_j c_aj h(θ_j) c_bj.

    Parameters
    ----------
    apply
        The product with the symmetric operator Ω.
    block
        x_1..x_d, as columns; they may depend on one another.
    steps
        Number s of blocks in the Krylov space. There are n ≤ s·d nodes; fewer if the space ends earlier, and then the
        rule is exact for every h.

    Examples
    --------
    The density of the eigenvalues 1, 2, 3 with four nodes asked for:

    >>> eigenvalues = np.array([[1.0], [2.0], [3.0]])
    >>> nodes, components = block_gauss(lambda x: eigenvalues * x, np.full((3, 1), np.sqrt(1 / 3)), steps=4)
    >>> nodes.round(12), np.square(components[0]).round(3)
    (array([1., 2., 3.]), array([0.333, 0.333, 0.333]))
    """
    newest = _orthonormal(block)
    basis, images = newest, [apply(newest)]
    for _ in range(steps - 1):
        newest = _orthonormal(_off(basis, images[-1]), float(np.linalg.norm(images[-1])))
        if newest.shape[1] == 0:
            break
        newest = np.linalg.qr(_off(basis, newest))[0]
        basis = np.concatenate([basis, newest], axis=1)
        images.append(apply(newest))
    restricted = basis.T @ np.concatenate(images, axis=1)
    nodes, modes = np.linalg.eigh((restricted + restricted.T) / 2)
    return nodes, (block.T @ basis) @ modes


def _orthonormal(block: Float[ndarray, "N d"], scale: float = 0.0) -> Float[ndarray, "N b"]:
    """Orthonormal basis of the span of a block; lengths that are rounding next to the longest, or to a scale, are 0."""
    directions, lengths, _ = np.linalg.svd(block, full_matrices=False)
    return directions[:, lengths > DEPENDENT * max(scale, lengths.max(initial=0))]


def _off(basis: Float[ndarray, "N n"], block: Float[ndarray, "N b"]) -> Float[ndarray, "N b"]:
    """The part of a block orthogonal to a basis; the second pass removes the rounding of the first."""
    for _ in range(2):
        block = block - basis @ (basis.T @ block)
    return block
