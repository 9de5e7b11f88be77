"""Gaussian equivalence within each cluster, for inputs of a mixture that no single Gaussian describes.

Within cluster i the preactivation U is Gaussian with mean h^i = m_i F/√D and covariance FᵀΛ_iF/D. So X is
a^i = E f(h^i + σz) plus a centred rest. Gaussian equivalence with the Hermite coefficients of f at h^i gives its
covariances V_i and φ^i. The teacher's fields have the mean n^i = W̃m_i/√D.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from ..resources import one_thread
from ._law import LatentLaw
from ._manifold import Known, Nonlinearity
from ._moments import InputMoments, input_mean, moments_of, preactivation_deviation, root_of

EQUAL = 1e-8
"""Clusters whose covariances agree to this part of their scale are of one kind. Quadrature errs by 1e-10."""


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

    @cached_property
    def mean_overlap(self) -> Float[ndarray, "c c"]:
        """A_ij = a^i·a^j/N."""
        return self.input_mean @ self.input_mean.T / self.input_mean.shape[1]

    @cached_property
    def kind_weights(self) -> Float[ndarray, "kind"]:
        """Probability of each kind."""
        return np.bincount(self.kind, self.weights, minlength=len(self.kinds))

    def averaged(self) -> InputMoments:
        """Σ p_i V_i, Σ p_i φ^i and Σ p_i T^i."""
        if len(self.kinds) == 1:
            return self.kinds[0]

        def mean(name: str) -> ndarray:
            return np.tensordot(self.kind_weights, np.stack([getattr(kind, name) for kind in self.kinds]), 1)

        low_rank = np.zeros((self.input_mean.shape[1],) * 2)
        with one_thread():
            for p, kind in zip(self.kind_weights, self.kinds, strict=True):
                low_rank += p * (kind.factor.T @ kind.factor)
        factor = root_of("latent", low_rank, smallest=1e-13)
        return InputMoments(mean("diagonal"), factor, mean("cross"), mean("teacher_overlap"))


def mixture_moments(
    features: Float[ndarray, "D N"],
    teacher: Float[ndarray, "M D"],
    f: Known | Nonlinearity,
    law: LatentLaw,
    centre: bool = True,
) -> MixtureMoments:
    """Moments of the inputs and the teacher's fields within the clusters of a law.

    Parameters
    ----------
    features, teacher
        F and W̃.
    f, law
        The nonlinearity and the law of the latent.
    centre
        Whether the mean of f is subtracted from the inputs, see :func:`input_mean`.

    Raises
    ------
    ProblemError
        If the law has no Gaussian components, or more than 64 clusters.
    """
    D = len(features)
    clusters = law.clusters(D)
    own_mean = input_mean(features, f, law) if centre else None
    preactivation_mean = clusters.means @ features / np.sqrt(D)  # h^i
    means, kind, kinds, seen = [], [], [], []
    root = teacher_root = deviation = np.empty(0)
    for i, half in enumerate(clusters.roots):
        # Neighbours often share their covariance, and with it all that does not depend on the mean.
        if i == 0 or not np.array_equal(half, clusters.roots[i - 1]):
            root, teacher_root = _through(half, features), _through(half, teacher.T).T
            deviation = preactivation_deviation(root)
        coefficients = a, b, c = f.hermite(deviation, preactivation_mean[i])
        means.append(a if own_mean is None else a - own_mean)
        slope = np.stack([b, c - np.square(a)])
        # The kind of an earlier cluster with the same covariances, else a new one.
        scale = EQUAL * np.abs(slope).max()
        alike = (np.abs(slope - other).max() <= scale and np.array_equal(root, its_root) for other, its_root in seen)
        k = next((k for k, same in enumerate(alike) if same), len(kinds))
        if k == len(kinds):
            kinds.append(moments_of(root, teacher_root, deviation, coefficients))
            seen.append((slope, root))
        kind.append(k)
    teacher_mean = clusters.means @ teacher.T / np.sqrt(D)
    return MixtureMoments(np.array(clusters.weights), np.stack(means), teacher_mean, np.array(kind), tuple(kinds))


def _through(half: Float[ndarray, "D *D"], columns: Float[ndarray, "D n"]) -> Float[ndarray, "D n"]:
    """Lᵀ columns, with Λ = L Lᵀ."""
    return half[:, None] * columns if half.ndim == 1 else half.T @ columns
