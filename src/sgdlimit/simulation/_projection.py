"""From latent vectors to preactivations U = CF/√D and teacher fields ν = CW̃ᵀ/√D: the products that a stream takes."""

from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float32
from numba import njit
from numpy import float32, ndarray

from ..inputs import FeatureTransform
from ..resources import one_thread

TILE = 16
"""Numbers of float32 in a vector register; Hadamard's transform takes so many latent vectors side by side."""

FAST = {"reassoc", "contract", "nsz", "arcp", "nnan", "ninf"}

Latents = Float32[ndarray, "step D"]
Products = Float32[ndarray, "step width"]


class Projection:
    """[F, W̃ᵀ]/√D and columns of zeros, which takes latent vectors to preactivations and teacher fields.

    Normals z need not be multiplied with all of it. It is QR with Q orthogonal and R upper triangular, and zQ has the
    law of z. So the product is z with R, a fifth less work, and the latent vector it belongs to is zQᵀ.

    Features that are part of a fast transform take N log N operations. Already at N = 256 that is faster than a matrix
    product (docs/benchmarks.md), so normals are not rotated, and the dense matrix is for accelerators.
    """

    LARGEST = 2048  # latent dimensions up to which the factorisation costs next to nothing
    PANEL = 128  # columns of the triangle that are multiplied at once

    def __init__(
        self,
        features: Float[ndarray, "D N"],
        teacher: Float[ndarray, "M D"],
        transform: FeatureTransform | None = None,
    ) -> None:
        self.features, self.teacher, self.transform = features, teacher, transform
        # The next multiple of a 512-bit register of float32. (A power of two, 1024, made the product 5 % slower.)
        self.width = -(-(features.shape[1] + len(teacher)) // TILE) * TILE
        self.rotates = transform is None and len(features) <= self.LARGEST

    @property
    def exact(self) -> Float[ndarray, "D columns"]:
        """[F, W̃ᵀ]/√D in double precision."""
        exact = np.hstack([self.features, self.teacher.T])
        exact /= np.sqrt(len(self.features))  # in place: these are the largest arrays of a run
        return exact

    def _padded(self, array: Float[ndarray, "row column"]) -> Float32[ndarray, "row width"]:
        padded = np.zeros((len(array), self.width), float32)
        padded[:, : array.shape[1]] = array
        return padded

    @cached_property
    def matrix(self) -> Float32[ndarray, "D width"]:
        """The whole matrix."""
        return self._padded(self.exact)

    @cached_property
    def triangle(self) -> Float32[ndarray, "rank width"]:
        """R, which normals are multiplied with; the whole matrix where they are not rotated."""
        if not self.rotates:
            return self.matrix
        with one_thread():
            return self._padded(np.asarray(np.linalg.qr(self.exact, mode="r")))

    @cached_property
    def rotation(self) -> Float[ndarray, "D D"]:
        """Q, whose transpose takes isotropic latent vectors back."""
        with one_thread():
            return np.linalg.qr(self.exact, mode="complete").Q

    def shifts(self, locations: Float[ndarray, "condition D"]) -> Float32[ndarray, "condition width"]:
        """What subtracting locations from the latent does to the product."""
        if not locations.any():
            return np.zeros((len(locations), self.width), float32)
        return self._padded(-locations @ self.exact)

    def multiply(self, latent: Latents, out: Products, *, isotropic: bool = False) -> None:
        """Write the product of latent vectors; isotropic ones are in rotated coordinates."""
        transform = self.transform
        if transform is None:
            matrix, panels = self.matrix, [0]
            if isotropic and self.rotates:
                matrix = self.triangle
                panels = [*range(0, len(matrix), self.PANEL), len(matrix)]
            for start, stop in pairwise([*panels, self.width]):
                rows = stop if stop < self.width else len(matrix)
                np.matmul(latent[:, :rows], matrix[:rows, start:stop], out=out[:, start:stop])
            return
        N, root = transform.shape[1], np.sqrt(len(self.features))
        rows, columns, teacher = (
            np.ascontiguousarray(factors, float32)
            for factors in (transform.row_factors, transform.column_factors / root, self.teacher.T / root)
        )
        if transform.kind == "identity":
            np.multiply(latent, rows * columns, out=out[:, :N])
        elif transform.kind == "hadamard":
            hadamard_product(latent, transform.rows, rows, transform.columns, columns, transform.size, out)
        else:
            from scipy.fft import idct

            work = np.zeros((len(latent), transform.size), float32)
            work[:, transform.rows] = latent * rows
            work = np.asarray(idct(work, axis=1, norm="ortho", overwrite_x=True))
            np.multiply(work[:, transform.columns], columns * float32(np.sqrt(transform.size)), out=out[:, :N])
        np.matmul(latent, teacher, out=out[:, N : N + len(self.teacher)])

    def unrotated(self, normals: Latents) -> Latents:
        """The latent vectors zQᵀ whose product isotropic ones give."""
        return (normals @ self.rotation.T).astype(float32) if self.rotates else normals


@njit(nogil=True, fastmath=FAST, cache=True)
def hadamard_product(latent, rows, row_factors, columns, column_factors, size, out):
    """out[:, :N] = CF, F = diag(row factors) H[rows][:, columns] diag(column factors), H Hadamard's matrix."""
    count, D = latent.shape
    work = np.empty((size, TILE), float32)
    for first in range(0, count, TILE):
        tile = min(TILE, count - first)
        work[:] = 0
        for j in range(D):
            place, factor = rows[j], row_factors[j]
            for t in range(tile):
                work[place, t] = factor * latent[first + t, j]
        _butterflies(work.reshape(-1))
        for j in range(len(columns)):
            place, factor = columns[j], column_factors[j]
            for t in range(tile):
                out[first + t, j] = factor * work[place, t]


@njit(fastmath=FAST)
def _butterflies(work):
    """Hadamard's transform of a power of two of rows of TILE numbers, in place; two levels at a time."""
    half = TILE
    while 4 * half <= len(work):
        for start in range(0, len(work), 4 * half):
            for i in range(start, start + half):
                j, k, m = i + half, i + 2 * half, i + 3 * half
                a, b, c, d = work[i], work[j], work[k], work[m]
                work[i], work[j], work[k], work[m] = (
                    (a + b) + (c + d),
                    (a - b) + (c - d),
                    (a + b) - (c + d),
                    (a - b) - (c - d),
                )
        half *= 4
    if half < len(work):
        for i in range(half):
            a, b = work[i], work[i + half]
            work[i], work[i + half] = a + b, a - b
