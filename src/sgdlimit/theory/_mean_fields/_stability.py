"""The learning rate at which a step along the inputs overshoots."""

import numpy as np

from ...inputs import MixtureMoments
from ...instance import Instance
from ...signatures import checked

SAMPLES = 4096


@checked
def stability_edge(instance: Instance, moments: MixtureMoments | None = None) -> float:
    """The learning rate above which the mean fields get unstable at the initial weights.

    A step on an input X changes the output there by −η Δ Σ_k v_k² g'(λ_k)² |X|²/N, to first order in η; for η beyond 2
    over that sum it overshoots by more than the error itself. The cluster with the smallest rate counts, with
    its mean of g'². Bounded activations saturate before they diverge.

    Parameters
    ----------
    instance
        A network on inputs in clusters.
    moments
        Those of its inputs, where they are known already.

    Returns
    -------
    float

    Examples
    --------
    A linear unit on inputs with |X|² = N:

    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=100, latent_dim=50, student_units=1, teacher_units=1, activation="linear",
    ...                      learning_rate=0.2, output_weights="equal")
    >>> round(stability_edge(problem.draw(seed=0)), 6)
    2.0
    """
    moments = moments or instance.mixture_moments()
    v = instance.rates.student_scale * instance.student_output
    W, N = instance.student, instance.input_dim
    z = np.random.default_rng(0).standard_normal((SAMPLES, len(W)))
    largest = 0.0
    for a, kind, A in zip(moments.input_mean, moments.kind, np.diag(moments.mean_overlap), strict=True):
        inside = moments.kinds[kind]
        variances, directions = np.linalg.eigh(inside.overlaps(W)[0])
        fields = z @ (directions * np.sqrt(np.maximum(variances, 0))).T + W @ a / np.sqrt(N)
        norm = A + inside.diagonal.mean() + np.square(inside.factor).sum() / N
        largest = max(largest, float(norm * (v**2 @ np.square(instance.activation.derivative(fields)).mean(axis=0))))
    return 2 / largest if largest > 0 else np.inf
