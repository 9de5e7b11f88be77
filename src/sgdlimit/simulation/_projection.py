"""From latent vectors to preactivations U = CF/√D and teacher fields ν = CW̃ᵀ/√D: the products that a stream takes."""

from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32

from ..inputs import FeatureTransform
from ..instance import Instance
from ..resources import one_thread
from ._transforms import gather, hadamard_product, scatter

__all__ = ["Projection", "StructuredProjection", "padded", "projection_of"]


def padded(columns: int) -> int:
    """The next multiple of a 512-bit register of float32. (A power of two, 1024, made the product 5 % slower.)"""
    return -(-columns // 16) * 16


class Projection:
    """[F, W̃ᵀ]/√D and columns of zeros, which takes latent vectors to preactivations and teacher fields.

    Normals z need not be multiplied with all of it: it is QR with Q orthogonal and R upper triangular, and zQ has the
    law of z. So their product is that of z with R, a fifth less work, and the latent vector it belongs to is zQᵀ.
    """

    LARGEST = 2048  # latent dimensions up to which the factorisation costs next to nothing
    PANEL = 128  # columns of the triangle that are multiplied at once

    def __init__(self, features: Float[np.ndarray, "D N"], teacher: Float[np.ndarray, "M D"]) -> None:
        latent_dim = len(features)
        used = np.hstack([features, teacher.T]) / np.sqrt(latent_dim)
        self._used = used
        self.latent_dim = latent_dim
        self.matrix: Float32[np.ndarray, "D width"] = np.zeros((latent_dim, padded(used.shape[1])), np.float32)
        self.matrix[:, : used.shape[1]] = used

    @property
    def nbytes(self) -> int:
        """Of the arrays held."""
        return 4 * self.matrix.nbytes  # itself, its triangle, and what they are made of in float64

    @cached_property
    def triangle(self) -> Float32[np.ndarray, "rank width"]:
        """R; in large latent dimensions the whole matrix."""
        latent_dim, columns = self._used.shape
        if latent_dim > self.LARGEST:
            return self.matrix
        with one_thread():
            R = np.linalg.qr(self._used, mode="r")
        triangle = np.zeros((len(R), self.matrix.shape[1]), np.float32)
        triangle[:, :columns] = R
        return triangle

    def shifts(self, locations: Float[np.ndarray, "condition D"]) -> Float32[np.ndarray, "condition width"]:
        """What subtracting locations from the latent does to the product."""
        shifts = np.zeros((len(locations), self.matrix.shape[1]), np.float32)
        moved = locations.any(axis=1)
        shifts[moved, : self._used.shape[1]] = -locations[moved] @ self._used
        return shifts

    def of_latent(self, latent: Float32[np.ndarray, "step D"], out: Float32[np.ndarray, "step width"]) -> None:
        """Write the product of latent vectors."""
        np.matmul(latent, self.matrix, out=out)

    def of_normals(self, normals: Float32[np.ndarray, "step D"], out: Float32[np.ndarray, "step width"]) -> None:
        """Write the product of isotropic latent vectors, in rotated coordinates."""
        triangle = self.triangle
        if triangle is self.matrix:
            return self.of_latent(normals, out)
        rank = len(triangle)
        for start in range(0, rank, self.PANEL):
            stop = min(start + self.PANEL, rank)
            np.matmul(normals[:, :stop], triangle[:stop, start:stop], out=out[:, start:stop])
        np.matmul(normals[:, :rank], triangle[:, rank:], out=out[:, rank:])
        return None

    def unrotated(self, normals: Float32[np.ndarray, "step D"]) -> Float32[np.ndarray, "step D"]:
        """The latent vectors zQᵀ whose product :meth:`of_normals` takes."""
        if self.triangle is self.matrix:
            return normals
        with one_thread():
            Q = np.linalg.qr(self._used, mode="complete").Q
        return (normals @ Q.T).astype(np.float32)


class StructuredProjection(Projection):
    """The same for features that are part of a fast transform, in N log N operations.

    Already at N = 256 that is faster than a matrix product; see docs/benchmarks.md.
    """

    def __init__(
        self,
        transform: FeatureTransform,
        features: Float[np.ndarray, "D N"],
        teacher: Float[np.ndarray, "M D"],
    ) -> None:
        self.transform, self.features, self.teacher = transform, features, teacher
        self.latent_dim, self.input_dim = features.shape
        root = np.sqrt(self.latent_dim)
        self._rows, self._columns = (
            transform.row_factors.astype(np.float32),
            (transform.column_factors / root).astype(np.float32),
        )
        self._teacher = np.ascontiguousarray((teacher.T / root).astype(np.float32))

    @property
    def nbytes(self) -> int:
        """Next to nothing."""
        return 0

    @cached_property
    def matrix(self) -> Float32[np.ndarray, "D width"]:  # type: ignore[override]
        """The dense matrix, for accelerators."""
        return Projection(self.features, self.teacher).matrix

    @property
    def triangle(self) -> Float32[np.ndarray, "D width"]:  # type: ignore[override]
        """The dense matrix: normals are not rotated."""
        return self.matrix

    def shifts(self, locations: Float[np.ndarray, "condition D"]) -> Float32[np.ndarray, "condition width"]:
        """See :meth:`Projection.shifts`."""
        N, M = self.input_dim, len(self.teacher)
        shifts = np.zeros((len(locations), padded(N + M)), np.float32)
        moved = locations.any(axis=1)
        shifts[moved, :N] = -locations[moved] @ self.features / np.sqrt(self.latent_dim)
        shifts[moved, N : N + M] = -locations[moved] @ self.teacher.T / np.sqrt(self.latent_dim)
        return shifts

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
            scatter(latent, transform.rows, self._rows, work)
            work = np.asarray(idct(work, axis=1, norm="ortho", overwrite_x=True))
            gather(work, transform.columns, self._columns * np.float32(np.sqrt(transform.size)), out)
        np.matmul(latent, self._teacher, out=out[:, N : N + len(self.teacher)])

    def of_normals(self, normals: Float32[np.ndarray, "step D"], out: Float32[np.ndarray, "step width"]) -> None:
        """Write the product of latent vectors."""
        self.of_latent(normals, out)

    def unrotated(self, normals: Float32[np.ndarray, "step D"]) -> Float32[np.ndarray, "step D"]:
        """The latent vectors themselves."""
        return normals


def projection_of(instance: Instance) -> Projection:
    """The fastest that the features allow."""
    if instance.transform is None:
        return Projection(instance.features, instance.teacher)
    return StructuredProjection(instance.transform, instance.features, instance.teacher)
