"""Feature matrices F of the hidden manifold, by name."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator

from ..errors import ProblemError, unknown_name

FEATURES = ("gaussian", "orthogonal", "hadamard", "dct", "identity")


@dataclass(frozen=True)
class FeatureTransform:
    """Features that are part of an orthogonal transform, F_ij = row_factors_i H[rows_i, columns_j] column_factors_j.

    It allows products CF without a matrix.
    """

    kind: str
    """H: ``"hadamard"``, ``"dct"`` (√n times the orthonormal cosine transform) or ``"identity"``."""
    size: int
    """n."""
    rows: Int[ndarray, "D"]
    row_factors: Float[ndarray, "D"]
    columns: Int[ndarray, "N"]
    column_factors: Float[ndarray, "N"]

    @property
    def shape(self) -> tuple[int, int]:
        """(D, N)."""
        return len(self.rows), len(self.columns)

    @classmethod
    def scaled_identity(cls, size: int, scale: float | Float[ndarray, "N"]) -> "FeatureTransform":
        """F = scale · I, or diag(scale)."""
        places = np.arange(size)
        return cls("identity", size, places, np.ones(size), places, np.full(size, scale))

    def dense(self) -> Float[ndarray, "D N"]:
        """F as a matrix."""
        matrix = np.eye(self.size)
        if self.kind == "hadamard":
            from scipy.linalg import hadamard

            matrix = hadamard(self.size)
        elif self.kind == "dct":
            from scipy.fft import dct

            matrix = np.sqrt(self.size) * np.asarray(dct(matrix, axis=0, norm="ortho"))
        return self.row_factors[:, None] * matrix[self.rows][:, self.columns] * self.column_factors


def check_features(kind: str, latent_dim: int, input_dim: int) -> None:
    """Refuse kinds of F that are not known or do not exist in some size.

    Raises
    ------
    ProblemError
        Naming the setting and the sizes that fit.
    """
    if kind not in FEATURES:
        raise unknown_name("features", kind, FEATURES)
    size, given = max(latent_dim, input_dim), f"(got latent_dim {latent_dim} and input_dim {input_dim})"
    if kind == "hadamard" and size & (size - 1):
        below = 1 << (size.bit_length() - 1)
        raise ProblemError(
            f"features: must have a power of two as larger dimension for 'hadamard', such as {below} or {2 * below} "
            f"{given}. Use 'dct', which takes any size."
        )
    if kind == "identity" and latent_dim != input_dim:
        raise ProblemError(f"features: must have equal dimensions for 'identity' {given}. Make them equal.")


def draw_features(
    kind: str, latent_dim: int, input_dim: int, rng: Generator
) -> tuple[Float[ndarray, "D N"], FeatureTransform | None]:
    """Draw a feature matrix F whose columns have the squared length D on average.

    Parameters
    ----------
    kind
        ``"gaussian"``: independent N(0, 1) entries. ``"orthogonal"``: uniformly random with orthogonal rows (D ≤ N) or
        columns (D ≥ N). ``"hadamard"`` and ``"dct"``: random rows and columns of the Hadamard matrix or the discrete
        cosine transform, with random signs, orthogonal too. ``"identity"``: √D times the identity, X = f(C).
    latent_dim, input_dim
        D and N.
    rng
        Source of the random numbers.

    Returns
    -------
    features
        F, shape (D, N).
    transform
        F as a fast transform, for the last three kinds.

    Raises
    ------
    ProblemError
        If the kind is not known or does not exist in that size.

    Examples
    --------
    >>> F, transform = draw_features("hadamard", 2, 4, np.random.default_rng(0))
    >>> F @ F.T
    array([[4., 0.],
           [0., 4.]])
    """
    check_features(kind, latent_dim, input_dim)
    shape = latent_dim, input_dim
    size = max(shape)
    if kind == "gaussian":
        return rng.standard_normal(shape), None
    if kind == "orthogonal":
        basis, triangle = np.linalg.qr(rng.standard_normal((size, min(shape))))
        # The signs make it uniform (Mezzadri 2007).
        basis *= np.where(triangle.diagonal() < 0, -1, 1) * np.sqrt(size)
        return basis.T if latent_dim < input_dim else basis, None
    if kind == "identity":
        transform = FeatureTransform.scaled_identity(size, np.sqrt(size))
    else:
        rows, columns = (rng.permutation(size)[:length] for length in shape)
        row_signs, column_signs = (rng.choice([-1.0, 1.0], length) for length in shape)
        transform = FeatureTransform(kind, size, rows, row_signs, columns, column_signs)
    return transform.dense(), transform
