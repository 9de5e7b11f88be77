"""Feature matrices F of the hidden manifold, by name."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from sgdlimit.errors import ProblemError

__all__ = ["FEATURES", "check_features", "draw_features"]


def _gaussian(D: int, N: int, rng: np.random.Generator) -> Float[np.ndarray, "D N"]:
    return rng.standard_normal((D, N))


def _orthogonal(D: int, N: int, rng: np.random.Generator) -> Float[np.ndarray, "D N"]:
    basis, triangle = np.linalg.qr(rng.standard_normal((max(D, N), min(D, N))))
    basis *= np.where(triangle.diagonal() < 0, -1, 1) * np.sqrt(max(D, N))  # the signs make it uniform (Mezzadri 2007)
    return basis.T if D < N else basis


def _hadamard(D: int, N: int, rng: np.random.Generator) -> Float[np.ndarray, "D N"]:
    from scipy.linalg import hadamard

    return _subsampled(hadamard(max(D, N)).astype(float), D, N, rng)


def _dct(D: int, N: int, rng: np.random.Generator) -> Float[np.ndarray, "D N"]:
    from scipy.fft import dct

    size = max(D, N)
    return _subsampled(np.sqrt(size) * np.asarray(dct(np.eye(size), axis=0, norm="ortho")), D, N, rng)


def _identity(D: int, N: int, rng: np.random.Generator) -> Float[np.ndarray, "D N"]:
    return np.sqrt(D) * np.eye(D)


def _subsampled(
    transform: Float[np.ndarray, "n n"], D: int, N: int, rng: np.random.Generator
) -> Float[np.ndarray, "D N"]:
    """D random rows and N random columns (all of the longer side) of an orthogonal transform, with random signs."""
    chosen = transform[rng.permutation(len(transform))[:D]][:, rng.permutation(len(transform))[:N]]
    return rng.choice([-1.0, 1.0], size=(D, 1)) * chosen * rng.choice([-1.0, 1.0], size=N)


FEATURES: dict[str, Callable[[int, int, np.random.Generator], Float[np.ndarray, "D N"]]] = {
    "gaussian": _gaussian,
    "orthogonal": _orthogonal,
    "hadamard": _hadamard,
    "dct": _dct,
    "identity": _identity,
}
"""How each kind of F is drawn."""


def check_features(kind: str, latent_dim: int, input_dim: int) -> None:
    """Refuse kinds of F that are not known, or that there are none of in some size.

    Raises
    ------
    ProblemError
        Naming the setting and the sizes that would do.
    """
    if kind not in FEATURES:
        raise ProblemError(f"features: {kind!r} is not known; use one of {', '.join(map(repr, FEATURES))}")
    size = max(latent_dim, input_dim)
    if kind == "hadamard" and size & (size - 1):
        below = 1 << (size.bit_length() - 1)
        raise ProblemError(
            f"features: 'hadamard' needs the larger of latent_dim {latent_dim} and input_dim {input_dim} to be a power "
            f"of two, such as {below} or {2 * below}; 'dct' takes any size"
        )
    if kind == "identity" and latent_dim != input_dim:
        raise ProblemError(
            f"features: 'identity' needs latent_dim {latent_dim} and input_dim {input_dim} to be equal; make them so"
        )


def draw_features(kind: str, latent_dim: int, input_dim: int, rng: np.random.Generator) -> Float[np.ndarray, "D N"]:
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

    Raises
    ------
    ProblemError
        If the kind is not known, or has no matrix of that size.

    Examples
    --------
    >>> F = draw_features("hadamard", 2, 4, np.random.default_rng(0))
    >>> F @ F.T
    array([[4., 0.],
           [0., 4.]])
    """
    check_features(kind, latent_dim, input_dim)
    return FEATURES[kind](latent_dim, input_dim, rng)
