"""From latent vectors to preactivations U = CF/√D and teacher fields ν = CW̃ᵀ/√D: the products that a stream takes."""

from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32
from numba import njit

from ..inputs import FeatureTransform
from ..instance import Instance
from ..resources import one_thread

TILE = 16
"""Hadamard's transform takes so many latent vectors side by side: one vector register of float32."""

FAST = {"reassoc", "contract", "nsz", "arcp", "nnan", "ninf"}


def padded(columns: int) -> int:
    """The next multiple of a 512-bit register of float32. (A power of two, 1024, made the product 5 % slower.)"""
    return -(-columns // 16) * 16


class Projection:
    """[F, W̃ᵀ]/√D and columns of zeros, which takes latent vectors to preactivations and teacher fields.

    Normals z need not be multiplied with all of it. It is QR with Q orthogonal and R upper triangular, and zQ has the
    law of z. So the product is z with R, a fifth less work, and the latent vector it belongs to is zQᵀ.
    """

    LARGEST = 2048  # latent dimensions up to which the factorisation costs next to nothing
    PANEL = 128  # columns of the triangle that are multiplied at once

    def __init__(self, features: Float[np.ndarray, "D N"], teacher: Float[np.ndarray, "M D"]) -> None:
        self.features, self.teacher = features, teacher
        self.latent_dim, self.input_dim = features.shape
        self.width = padded(self.input_dim + len(teacher))

    @property
    def rotates(self) -> bool:
        """Whether normals are multiplied with the triangle."""
        return self.latent_dim <= self.LARGEST

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays it holds, and of what they are made from."""
        return 16 * self.latent_dim * self.width

    @property
    def exact(self) -> Float[np.ndarray, "D columns"]:
        """[F, W̃ᵀ]/√D in double precision."""
        return np.hstack([self.features, self.teacher.T]) / np.sqrt(self.latent_dim)

    @cached_property
    def matrix(self) -> Float32[np.ndarray, "D width"]:
        """The whole matrix."""
        return self._padded(self.exact)

    @cached_property
    def triangle(self) -> Float32[np.ndarray, "rank width"]:
        """R; in large latent dimensions the whole matrix."""
        if not self.rotates:
            return self.matrix
        with one_thread():
            return self._padded(np.asarray(np.linalg.qr(self.exact, mode="r")))

    def _padded(self, array: Float[np.ndarray, "row column"]) -> Float32[np.ndarray, "row width"]:
        wide = np.zeros((len(array), self.width), np.float32)
        wide[:, : array.shape[1]] = array
        return wide

    def shifts(self, locations: Float[np.ndarray, "condition D"]) -> Float32[np.ndarray, "condition width"]:
        """What subtracting locations from the latent does to the product."""
        shifts = np.zeros((len(locations), self.width), np.float32)
        moved = locations.any(axis=1)
        if moved.any():
            shifts[moved] = self._padded(-locations[moved] @ self.exact)
        return shifts

    def of_latent(self, latent: Float32[np.ndarray, "step D"], out: Float32[np.ndarray, "step width"]) -> None:
        """Write the product of latent vectors."""
        np.matmul(latent, self.matrix, out=out)

    def of_normals(self, normals: Float32[np.ndarray, "step D"], out: Float32[np.ndarray, "step width"]) -> None:
        """Write the product of isotropic latent vectors, in rotated coordinates."""
        if not self.rotates:
            return self.of_latent(normals, out)
        triangle = self.triangle
        rank = len(triangle)
        for start in range(0, rank, self.PANEL):
            stop = min(start + self.PANEL, rank)
            np.matmul(normals[:, :stop], triangle[:stop, start:stop], out=out[:, start:stop])
        np.matmul(normals[:, :rank], triangle[:, rank:], out=out[:, rank:])
        return None

    def unrotated(self, normals: Float32[np.ndarray, "step D"]) -> Float32[np.ndarray, "step D"]:
        """The latent vectors zQᵀ whose product :meth:`of_normals` takes."""
        if not self.rotates:
            return normals
        with one_thread():
            Q = np.linalg.qr(self.exact, mode="complete").Q
        return (normals @ Q.T).astype(np.float32)


class StructuredProjection(Projection):
    """The same for features that are part of a fast transform, in N log N operations.

    Already at N = 256 that is faster than a matrix product; see docs/benchmarks.md.
    """

    LARGEST = 0  # normals are not rotated; the dense matrix is for accelerators

    def __init__(
        self, transform: FeatureTransform, features: Float[np.ndarray, "D N"], teacher: Float[np.ndarray, "M D"]
    ) -> None:
        super().__init__(features, teacher)
        self.transform = transform
        root = np.sqrt(self.latent_dim)
        self._rows, self._columns, self._teacher = (
            np.ascontiguousarray(factors, np.float32)
            for factors in (transform.row_factors, transform.column_factors / root, teacher.T / root)
        )

    @property
    def nbytes(self) -> int:
        """Next to nothing."""
        return 0

    def of_latent(self, latent: Float32[np.ndarray, "step D"], out: Float32[np.ndarray, "step width"]) -> None:
        """Write the product of latent vectors."""
        transform, N = self.transform, self.input_dim
        if transform.kind == "identity":
            np.multiply(latent, self._rows * self._columns, out=out[:, :N])
        elif transform.kind == "hadamard":
            hadamard_product(latent, transform.rows, self._rows, transform.columns, self._columns, transform.size, out)
        else:
            from scipy.fft import idct

            work = np.zeros((len(latent), transform.size), np.float32)
            work[:, transform.rows] = latent * self._rows
            work = np.asarray(idct(work, axis=1, norm="ortho", overwrite_x=True))
            factors = self._columns * np.float32(np.sqrt(transform.size))
            np.multiply(work[:, transform.columns], factors, out=out[:, :N])
        np.matmul(latent, self._teacher, out=out[:, N : N + len(self.teacher)])


def projection_of(instance: Instance) -> Projection:
    """The fastest projection that the features allow."""
    if instance.transform is None:
        return Projection(instance.features, instance.teacher)
    return StructuredProjection(instance.transform, instance.features, instance.teacher)


@njit(nogil=True, fastmath=FAST, cache=True)
def hadamard_product(latent, rows, row_factors, columns, column_factors, size, out):
    """out[:, :N] = CF, F = diag(row factors) H[rows][:, columns] diag(column factors), H Hadamard's matrix."""
    count, D = latent.shape
    N = len(columns)
    work = np.empty((size, TILE), np.float32)
    for first in range(0, count, TILE):
        tile = min(TILE, count - first)
        work[:] = 0
        for j in range(D):
            place, factor = rows[j], row_factors[j]
            for t in range(tile):
                work[place, t] = factor * latent[first + t, j]
        _butterflies(work)
        for j in range(N):
            place, factor = columns[j], column_factors[j]
            for t in range(tile):
                out[first + t, j] = factor * work[place, t]


@njit(fastmath=FAST)
def _butterflies(work):
    """Hadamard's transform along the first axis, whose length is a power of two, in place; two levels at a time."""
    size = work.shape[0]
    half = 1
    while 4 * half <= size:
        for start in range(0, size, 4 * half):
            for i in range(start, start + half):
                for t in range(TILE):
                    a, b, c, d = work[i, t], work[i + half, t], work[i + 2 * half, t], work[i + 3 * half, t]
                    work[i, t], work[i + half, t] = (a + b) + (c + d), (a - b) + (c - d)
                    work[i + 2 * half, t], work[i + 3 * half, t] = (a + b) - (c + d), (a - b) - (c - d)
        half *= 4
    if half < size:
        for i in range(half):
            for t in range(TILE):
                a, b = work[i, t], work[i + half, t]
                work[i, t], work[i + half, t] = a + b, a - b
