"""Gaussian equivalence: the second moments of inputs and teacher fields (paper, II.C), and those within clusters.

Within cluster i the preactivation U is Gaussian with mean h^i = m_i F/√D and covariance FᵀΛ_iF/D. So X is
a^i = E f(h^i + σz) plus a centred rest. Gaussian equivalence with the Hermite coefficients of f at h^i gives its
covariances V_i and φ^i. The teacher's fields have the mean n^i = W̃m_i/√D. Theories that see no clusters assume one at
the origin.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray, sqrt

from ..errors import ProblemError
from ..resources import one_thread
from ..settings import numbers
from ._law import MOST_CLUSTERS, Clusters, Gaussian, LatentLaw, Matrix, Vector
from ._manifold import Coefficients, Known, Nonlinearity

InputVector = Float[ndarray, "N"]
Features = Float[ndarray, "D N"]

TheoryName = Literal["conventional", "moment-matched", "mixture"]
"""Theories by the moments that they use: those for Σ_C = I, for the true Σ_C, and within the clusters of the law."""

THEORIES: tuple[TheoryName, ...] = get_args(TheoryName)

GAUSSIAN_THEORIES = THEORIES[:2]

NO_MEAN = 1e-10
"""Means of the inputs below this part of their deviation are rounding errors of the quadrature."""

EQUAL = 1e-8
"""Clusters whose covariances agree to this part of their scale are of one kind. Quadrature errs by 1e-10."""


@dataclass(frozen=True)
class InputMoments:
    """Covariances of the input X and the teacher's local fields ν, as diagonal plus low rank.

    Ω = Cov[X] = diag(diagonal) + factorᵀ factor, φ = √N Cov[X, ν], T = Cov[ν] = W̃ Σ_C W̃ᵀ/D.
    """

    diagonal: InputVector
    factor: Float[ndarray, "r N"]
    cross: Float[ndarray, "N M"]
    teacher_overlap: Float[ndarray, "M M"]

    @cached_property
    def _single_factor(self) -> Float32[ndarray, "r N"]:
        return self.factor.astype(np.float32)

    def overlaps(
        self, weights: Float[ndarray, "*batch K N"]
    ) -> tuple[Float[ndarray, "*batch K K"], Float[ndarray, "*batch K M"]]:
        """Order parameters Q = WΩWᵀ/N (9) and R = Wφ/N (10) of student weights W.

        Weights in single precision are projected in single precision, which costs Q a relative 1e-7, and summed in
        double.
        """
        size = weights.shape[-1]
        factor = self._single_factor if weights.dtype == np.float32 else self.factor
        projected = weights @ factor.T  # (..., K, r), one product for each W, whose bits do not depend on its company
        weights, projected = weights.astype(float), projected.astype(float)
        Q = (weights * self.diagonal) @ weights.mT + projected @ projected.mT
        return Q / size, weights @ self.cross / size


@dataclass(frozen=True)
class MixtureMoments:
    """Means of the inputs and of the teacher's fields in each of c clusters, and covariances within them.

    Clusters with the same covariances, such as two on opposite sides of the origin, are of one kind.
    """

    weights: Float[ndarray, "c"]
    """p."""
    input_mean: Float[ndarray, "c N"]
    """a^i."""
    teacher_mean: Float[ndarray, "c M"]
    """n^i."""
    kind: Int[ndarray, "c"]
    kinds: tuple[InputMoments, ...]
    """V, φ and T of each kind."""
    blocks: int = 1
    """Blocks of coordinates that choose among as many of these clusters each; their means add up."""

    @cached_property
    def mean_overlap(self) -> Float[ndarray, "c c"]:
        """A_ij = a^i·a^j/N."""
        return self.input_mean @ self.input_mean.T / self.input_mean.shape[1]

    @cached_property
    def kind_weights(self) -> Float[ndarray, "kind"]:
        """Probability of each kind."""
        return np.bincount(self.kind, self.weights) / self.blocks

    @property
    def mean_square(self) -> float:
        """E|X|²/N."""
        within = [kind.diagonal.mean() + np.square(kind.factor).sum() / len(kind.diagonal) for kind in self.kinds]
        return float(self.weights @ self.mean_overlap.diagonal() + self.kind_weights @ within)

    def averaged(self) -> InputMoments:
        """Σ p_i V_i, Σ p_i φ^i and Σ p_i T^i."""
        if len(self.kinds) == 1:
            return self.kinds[0]
        diagonal, cross, teacher_overlap = (
            np.tensordot(self.kind_weights, [getattr(kind, name) for kind in self.kinds], 1)
            for name in ("diagonal", "cross", "teacher_overlap")
        )
        with one_thread():
            pairs = zip(self.kind_weights, self.kinds, strict=True)
            low_rank = np.asarray(sum(p * (kind.factor.T @ kind.factor) for p, kind in pairs))
        return InputMoments(diagonal, root_of("latent", low_rank, smallest=1e-13), cross, teacher_overlap)


def assumed_clusters(law: LatentLaw, dim: int, theory: TheoryName) -> Clusters:
    """The clusters of the latent that a theory assumes; all but ``"mixture"`` assume one around zero.

    Parameters
    ----------
    law, dim
        Law and dimension of the latent.
    theory
        ``"conventional"`` assumes Σ_C = I whatever the law; ``"moment-matched"`` uses the law's own covariance;
        ``"mixture"`` the components of the law.

    Raises
    ------
    ProblemError
        If the theory is moment-matched and the law has a mean: inputs with a mean have an eigenvalue of order N and no
        limiting equations. If it is that of the mixture and the law has no Gaussian components, or more than 64.
    """
    if theory == "conventional":
        law = Gaussian()
    if theory == "mixture" or isinstance(law, Gaussian):
        clusters = law.clusters(dim)
        if len(clusters.weights) > MOST_CLUSTERS:
            raise ProblemError(
                f"latent: must have at most {MOST_CLUSTERS} clusters for theory='mixture' (got {len(clusters.weights)})"
                ". Use theory='moment-matched', standardised if the law has a mean, or SGD alone."
            )
        return clusters
    mean, covariance = _moments_of(law, dim)
    if not is_centred(mean, covariance):
        raise ProblemError(
            f"theory: must have a centred latent for 'moment-matched' (got means up to {abs(mean).max():.3g}, which no "
            "Gaussian theory can follow). Use standardize=True, for given inputs centre=True, or "
            "theory='conventional'."
        )
    try:
        with one_thread():
            root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # coordinates depend on each other, as those of data may
        root = root_of("latent", covariance, smallest=-np.inf).T
    return Clusters(np.ones(1), np.zeros((1, dim)), root[None])


def moments_within(
    features: Features,
    teacher: Float[ndarray, "M D"],
    f: Known | Nonlinearity,
    clusters: Clusters,
    subtracted: InputVector | float = 0.0,
) -> MixtureMoments:
    """Moments of X = f(CF/√D) and ν = CW̃ᵀ/√D within clusters by Gaussian equivalence, (9)-(11) for any f and any Λ.

    With σ_j² = F_jᵀΛF_j/D and a_j, b_j, c_j the coefficients (12) of f at σ_j and the cluster's mean of U_j,
    V = diag(c − a² − b²σ²) + diag(b) FᵀΛF/D diag(b) and φ_m = √N diag(b) FᵀΛW̃_m/D.

    Parameters
    ----------
    features, teacher
        F and W̃.
    f, clusters
        The nonlinearity, and the latent as clusters.
    subtracted
        What is subtracted from all inputs, see :func:`input_mean`.
    """
    both = features, teacher.T
    h, teacher_mean = (clusters.means @ columns / sqrt(len(features)) for columns in both)
    means, kind, kinds, seen = [], [], [], []
    previous = root = teacher_root = deviation = np.empty(0)
    for i, half in enumerate(clusters.roots):
        # Neighbours often share their covariance, and with it all that does not depend on the mean.
        if not np.array_equal(half, previous):
            root, teacher_root = (half[:, None] * x if half.ndim == 1 else half.T @ x for x in both)
            previous, deviation = half, preactivation_deviation(root)
        coefficients = a, b, c = f.hermite(deviation, h[i])
        means.append(a - subtracted)
        slope = np.stack([b, c - a**2])
        # The kind of an earlier cluster with the same covariances, else a new one.
        within = EQUAL * abs(slope).max()
        alike = [np.allclose(slope, s, rtol=0, atol=within) and np.array_equal(root, r) for s, r in seen]
        if not any(alike):
            kinds.append(moments_of(root, teacher_root.T, deviation, coefficients))
            seen.append((slope, root))
        kind.append([*alike, True].index(True))
    return MixtureMoments(np.array(clusters.weights), np.stack(means), teacher_mean, np.array(kind), tuple(kinds))


def preactivation_deviation(root: Features) -> InputVector:
    """σ_i of the preactivations CF/√D, with root = Σ_C^(1/2) F.

    Raises
    ------
    ProblemError
        If one is not positive and finite.
    """
    deviation = sqrt(np.einsum("di,di->i", root, root) / len(root))  # without a copy of the squares
    if not 0 < deviation.min() <= deviation.max() < np.inf:
        raise ProblemError(
            f"features: column {np.argmin(np.nan_to_num(deviation, posinf=-1, nan=-1))} must give a preactivation of "
            f"positive deviation (got {deviation.min():g}). Remove columns of zeros and values beyond 1e150."
        )
    return deviation


def moments_of(
    root: Features,
    teacher_root: Float[ndarray, "M D"],
    deviation: InputVector,
    coefficients: Coefficients,
) -> InputMoments:
    """Covariances (9)-(11), with root = Σ_C^(1/2) F, teacher_root = W̃ Σ_C^(1/2) and the coefficients (12) of f."""
    (D, N), (a, b, c) = root.shape, coefficients
    diagonal, factor = c - a**2 - b**2 * deviation**2, root * (b / sqrt(D))
    return InputMoments(diagonal, factor, sqrt(N / D) * factor.T @ teacher_root.T, teacher_root @ teacher_root.T / D)


def is_centred(mean: Vector, covariance: Matrix) -> bool:
    """Whether a mean is small enough for equations that assume zero: 0.05 deviations in every coordinate."""
    return bool(abs(mean).max() <= 0.05 * sqrt(max(covariance.diagonal().min(), 0)))


def input_mean(features: Features, f: Known | Nonlinearity, law: LatentLaw) -> InputVector | None:
    """The mean that f itself gives inputs of a centred latent: E f(U), U ~ N(0, σ²) with σ_i² = F_iᵀΣ_C F_i/D.

    None where it is zero, as for every odd f. The mean of the latent itself is not included.
    """
    if isinstance(f, Known):
        return None
    _, covariance = _moments_of(law, len(features))
    variance = np.einsum("di,di->i", features, covariance @ features) / len(features)
    a, _, c = f.hermite(sqrt(np.maximum(variance, np.finfo(float).tiny)))
    return None if abs(a).max() <= NO_MEAN * sqrt(c.max()) else a


def root_of(name: str, covariance: Matrix, smallest: float = 1e-12) -> Float[ndarray, "r D"]:
    """A matrix A with AᵀA = covariance, a row for each eigenvalue above ``smallest`` of the largest.

    Raises
    ------
    ProblemError
        If the matrix is not symmetric or has a negative eigenvalue.
    """
    if not np.allclose(covariance, covariance.T, rtol=1e-9, atol=1e-10 * abs(covariance).max()):
        raise ProblemError(f"{name}: must have a symmetric covariance Σ (got another one). Give (Σ + Σᵀ)/2.")
    with one_thread():
        variances, directions = np.linalg.eigh(covariance)
    if variances[0] < -1e-10 * variances[-1] * len(variances):
        raise ProblemError(
            f"{name}: must have a covariance without negative eigenvalues (got {variances[0]:.3g}). Correct it, or add "
            "a little to its diagonal."
        )
    kept = variances > smallest * variances[-1]
    return sqrt(np.maximum(variances[kept], 0))[:, None] * directions[:, kept].T


def root_mean_square(values: InputVector) -> float:
    """√(Σ x_i²/N)."""
    return float(sqrt(np.mean(values**2)))


def _moments_of(law: LatentLaw, dim: int) -> tuple[Vector, Matrix]:
    """Mean and covariance of a law, checked because the law may be a user's own."""
    name = f"latent: {type(law).__name__}"
    mean = numbers(f"{name}.mean", law.mean(dim), (dim,))
    covariance = numbers(f"{name}.covariance", law.covariance(dim), (dim, dim))
    if not np.allclose(covariance, covariance.T, rtol=1e-9, atol=1e-12):
        raise ProblemError(f"{name}.covariance: must be symmetric (got Σ that is not). Give (Σ + Σᵀ)/2.")
    return mean, covariance
