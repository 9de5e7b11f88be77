"""Feature matrices F of the hidden manifold, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ..errors import ProblemError, unknown_name


def _gaussian(D: int, N: int, rng: np.random.Generator) -> Float[np.ndarray, "D N"]:
    return rng.standard_normal((D, N))


def _orthogonal(D: int, N: int, rng: np.random.Generator) -> Float[np.ndarray, "D N"]:
    basis, triangle = np.linalg.qr(rng.standard_normal((max(D, N), min(D, N))))
    basis *= np.where(triangle.diagonal() < 0, -1, 1) * np.sqrt(max(D, N))  # the signs make it uniform (Mezzadri 2007)
    return basis.T if D < N else basis


@dataclass(frozen=True)
class FeatureTransform:
    """Features that are part of an orthogonal transform, F_ij = row_factors_i H[rows_i, columns_j] column_factors_j.

    It allows products CF without a matrix.
    """

    kind: Literal["hadamard", "dct", "identity"]
    """H: Hadamard's matrix, √n times the orthonormal cosine transform, or the identity."""
    size: int
    """n."""
    rows: Int[np.ndarray, "D"]
    row_factors: Float[np.ndarray, "D"]
    columns: Int[np.ndarray, "N"]
    column_factors: Float[np.ndarray, "N"]

    @property
    def shape(self) -> tuple[int, int]:
        """(D, N)."""
        return len(self.rows), len(self.columns)

    @classmethod
    def scaled_identity(cls, size: int, scale: float) -> "FeatureTransform":
        """F = scale · I."""
        places = np.arange(size)
        return cls("identity", size, places, np.ones(size), places, np.full(size, scale))

    @classmethod
    def draw(cls, kind: Literal["hadamard", "dct"], D: int, N: int, rng: np.random.Generator) -> "FeatureTransform":
        """D random rows and N random columns (all of the longer side) of a transform, with random signs."""
        size = max(D, N)
        rows, columns = rng.permutation(size)[:D], rng.permutation(size)[:N]
        return cls(kind, size, rows, rng.choice([-1.0, 1.0], size=D), columns, rng.choice([-1.0, 1.0], size=N))

    def dense(self) -> Float[np.ndarray, "D N"]:
        """F itself."""
        matrix = np.eye(self.size)
        if self.kind == "hadamard":
            from scipy.linalg import hadamard

            matrix = hadamard(self.size).astype(float)
        elif self.kind == "dct":
            from scipy.fft import dct

            matrix = np.sqrt(self.size) * np.asarray(dct(matrix, axis=0, norm="ortho"))
        return self.row_factors[:, None] * matrix[self.rows][:, self.columns] * self.column_factors


FEATURES: dict[str, Callable[[int, int, np.random.Generator], Float[np.ndarray, "D N"] | FeatureTransform]] = {
    "gaussian": _gaussian,
    "orthogonal": _orthogonal,
    "hadamard": lambda D, N, rng: FeatureTransform.draw("hadamard", D, N, rng),
    "dct": lambda D, N, rng: FeatureTransform.draw("dct", D, N, rng),
    "identity": lambda D, N, rng: FeatureTransform.scaled_identity(D, np.sqrt(D)),
}
"""How each kind of F is drawn."""


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
            f"features: 'hadamard' needs the larger dimension to be a power of two, such as {below} or {2 * below} "
            f"{given}. 'dct' takes any size."
        )
    if kind == "identity" and latent_dim != input_dim:
        raise ProblemError(f"features: 'identity' needs equal dimensions {given}.")


def draw_features(
    kind: str, latent_dim: int, input_dim: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "D N"], FeatureTransform | None]:
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
        Where the random numbers come from.

    Returns
    -------
    features
        F, shape (D, N).
    transform
        The same as a fast transform, for the last three kinds.

    Raises
    ------
    ProblemError
        If the kind is not known, or has no matrix of that size.

    Examples
    --------
    >>> F, transform = draw_features("hadamard", 2, 4, np.random.default_rng(0))
    >>> F @ F.T
    array([[4., 0.],
           [0., 4.]])
    """
    check_features(kind, latent_dim, input_dim)
    drawn = FEATURES[kind](latent_dim, input_dim, rng)
    return (drawn.dense(), drawn) if isinstance(drawn, FeatureTransform) else (drawn, None)
