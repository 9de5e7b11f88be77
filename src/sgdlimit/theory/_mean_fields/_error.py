"""The generalisation error of a chain: exact averages over the fields around its mean fields."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from ...inputs import MixtureMoments
from ...rules import Integrals
from .._compiled import call
from ._spectral import Kept

AT_ONCE = 512
"""States in one call of the compiled program."""


def errors_around(
    mean: Float[Array, "state n"],
    S: Float[Array, "state n n"],
    v: Float[Array, "state K"],
    v_teacher: Float[Array, "task M"],
    *,
    integrals: Integrals,
) -> tuple[Float[Array, "state task"]]:
    """ε = ½ Σ_ab c_a c_b E[g_a g_b] on each task, with c = (v, −ṽ) and fields ~ N(mean, S)."""

    def of_state(mean, S, v):
        c = jnp.concatenate([jnp.broadcast_to(v, (len(v_teacher), len(v))), -v_teacher], axis=1)
        return jnp.einsum("ta,ab,tb->t", c, integrals.correlation(S, len(v), mean), c) / 2

    return (jax.vmap(of_state)(mean, S, v),)


def task_errors(
    moments: MixtureMoments,
    kept: Kept,
    v: Float[ndarray, "chain time K"],
    v_teacher: Float[ndarray, "task M"],
    integrals: Integrals,
) -> Float[ndarray, "chain time task"]:
    """Σ_i p_i ε_i over the clusters, for normalised output weights."""
    chains, count, K = v.shape
    total = np.zeros((chains, count, len(v_teacher)))
    for i, (p, kind) in enumerate(zip(moments.weights, moments.kind, strict=True)):
        n_i = np.broadcast_to(moments.teacher_mean[i], (chains, count, v_teacher.shape[1]))
        mean = np.concatenate([kept.M[..., i], n_i], axis=2).reshape(chains * count, -1)
        S = kept.S[:, :, kind].reshape(chains * count, *kept.S.shape[3:])
        total += p * _in_parts(mean, S, v.reshape(-1, K), v_teacher, integrals).reshape(total.shape)
    return total


def _in_parts(mean: ndarray, S: ndarray, v: ndarray, v_teacher: ndarray, integrals: Integrals) -> ndarray:
    """As many calls of one program as it takes, the last filled up."""
    parts = []
    for start in range(0, len(v), AT_ONCE):
        place = np.minimum(np.arange(start, start + AT_ONCE), len(v) - 1)
        (part,) = call(errors_around, mean[place], S[place], v[place], v_teacher, integrals=integrals)
        parts.append(part)
    return np.concatenate(parts)[: len(v)]
