"""What an ensemble shows: its errors, chains that settle apart from each other, units that stop to learn, its mean."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray
from scipy.special import ndtri

from ...errors import ProblemError
from ...inputs import MixtureMoments
from ...instance import Instance
from ...rules import Activation, Integrals
from ...trajectory import on_tasks
from .._averages import lower_root, single
from .._compiled import call
from ._chain import Kept, Law, Setting, clusters_of, metrics_around

AT_ONCE = 512
"""States in one call of the compiled program."""

METRIC_POINTS = 512
"""Points for a state and a cluster."""

QUANTILES = 32
"""Fields of a unit in a cluster that tell its slope."""

APART = 5.0
"""Two groups of chains are apart if the gap between them is this many times the spread within both, and in time."""

FROZEN = 1e-3
"""A unit is frozen when E g'(λ)² is below this part of what it was at the beginning."""


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
    moments: MixtureMoments, kept: Kept, instance: Instance, integrals: Integrals
) -> Float[ndarray, "chain time task"]:
    """Σ_i p_i ε_i over the clusters, for normalised output weights."""
    v_teacher = instance.rates.teacher_scale * np.atleast_2d(instance.teacher_output)
    K, units = len(instance.student), v_teacher.shape[1]
    M, v = np.moveaxis(kept.M, 3, 0), instance.rates.student_scale * kept.head["v"]
    order = np.roll(np.arange(K + units), K)  # the students first
    S = np.moveaxis(kept.S[..., order, :][..., order], 2, 0)[moments.kind]
    n_i = np.broadcast_to(moments.teacher_mean[:, None, None], (*M.shape[:3], units))
    states = np.concatenate([M, n_i], axis=3), S, np.broadcast_to(v, M.shape)
    (errors,) = _in_parts(errors_around, *(array.reshape(-1, *array.shape[3:]) for array in states),
                          fixed=(v_teacher,), integrals=integrals)  # fmt: skip
    return np.tensordot(moments.weights, errors.reshape(*M.shape[:3], -1), 1)


def _in_parts(function: Any, *states: Any, fixed: tuple[Any, ...], **static: Any) -> Any:
    """What a program gives for any number of states: as many calls as it takes, the last filled up."""
    count, parts = len(jax.tree.leaves(states)[0]), []
    for start in range(0, count, AT_ONCE):
        place = np.minimum(np.arange(start, start + AT_ONCE), count - 1)
        parts.append(call(function, *jax.tree.map(lambda x, place=place: x[place], states), *fixed, **static))
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)


def metrics_of(
    setting: Setting, law: Law, kept: Kept, times: Float[ndarray, "time"], task: Int[ndarray, "time"], tasks: int
) -> dict[str, Float[ndarray, "chain time *task"]]:
    """The metrics of a rule in every state that was kept, without noise, and of several tasks on each."""
    shape = kept.M.shape[:2]

    def at(task):
        several = kept.S, kept.head, kept.M, *(np.broadcast_to(x, shape) for x in (task.astype(np.int32), times))
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), several)
        places = (np.arange(len(flat[2])) * METRIC_POINTS % law.points.shape[1]).astype(np.int32)
        found = _in_parts(measured, *flat, places, fixed=(law, setting.rule.given), setting=setting)[0]
        return {name: values.reshape(shape) for name, values in found.items()}

    if tasks == 1:
        return at(task)
    each = [at(np.full_like(task, s)) for s in range(tasks)]
    by_task = {name: np.stack([values[name] for values in each], axis=2) for name in each[0]}
    now = {name: values[:, range(len(times)), task] for name, values in by_task.items()}
    return now | {on_tasks(name): values for name, values in by_task.items()}


def measured(
    S: Any, head: Any, M: Any, task: Any, time: Any, place: Any, law: Law, given: Any, *, setting: Setting
) -> tuple[dict[str, Any]]:
    """The metrics of states, each from points of its own."""

    def of_state(S, head, M, task, time, place):
        z = law.points[:, (place + np.arange(METRIC_POINTS)) % law.points.shape[1]]
        extras = single({"given": given, "time": time}) | {"task": task}
        designs, means = law.designs, single(M).T[:, :, None]
        if setting.blocks > 1:
            designs = designs[:, (place + np.arange(METRIC_POINTS)) % designs.shape[1]]
            means = (single(M) @ designs)[None]
        clusters = clusters_of(law, setting.blocks, designs)
        return metrics_around(setting.rule, clusters, jax.vmap(lower_root)(S), means, z, single(head), extras)

    return (jax.vmap(of_state)(S, head, M, task, time, place),)


def modes(times: Float[ndarray, "time"], *values: Float[ndarray, "run time ..."]) -> Int[ndarray, "run"]:
    """Numbers of the modes that the members of an ensemble are in, by their means over the last half of the time.

    Members are split where one of the values, Q, R, v or M, leaves a gap of five times the spread, over members and in
    time, on either side of it; with 32 members around one mode that happens once in 10⁵ ensembles.
    """
    count, late = len(values[0]), times >= times[-1] / 2
    if count < 4 or len(times) < 2:
        return np.zeros(count, int)
    flat = np.concatenate([array[:, late].reshape(count, late.sum(), -1) for array in values], axis=2)
    level, in_time = flat.mean(axis=1), flat.std(axis=1).mean(axis=0)
    sides = [np.zeros(count, bool)]
    for x, time_spread in zip(level.T, np.maximum(in_time, 1e-6 * abs(level).max(axis=0)), strict=True):
        ordered = np.sort(x)
        gaps = np.diff(ordered)
        cut = int(gaps.argmax()) + 1
        squares = cut * ordered[:cut].var() + (count - cut) * ordered[cut:].var()
        if gaps[cut - 1] > APART * max(np.sqrt(squares / (count - 2)), time_spread):
            sides.append(x >= ordered[cut])
    return np.unique(np.stack(sides, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def slopes_of(activation: Activation, moments: MixtureMoments, kept: Kept) -> Float[ndarray, "chain time K"]:
    """E g'(λ_k)²."""
    K = kept.M.shape[2]
    z = ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)
    variance = np.diagonal(kept.S, axis1=3, axis2=4)[..., -K:]
    slopes = np.zeros(kept.M.shape[:3])
    for weight, kind, mean in zip(moments.weights, moments.kind, np.moveaxis(kept.M, 3, 0), strict=True):
        fields = mean[..., None] + np.sqrt(np.maximum(variance[:, :, kind], 0))[..., None] * z
        slopes += weight * np.mean(activation.derivative(fields) ** 2, axis=3)
    return slopes


def frozen_units(activity: Float[ndarray, "run time K"]) -> Bool[ndarray, "run K"]:
    """Units whose slope has vanished in every cluster: a ReLU below its threshold, an erf that is saturated.

    ``activity`` is E g'(λ_k)², or for a rule the unit's part in Σ_k E[δ_k²], which is NaN at the initial condition.
    """
    return activity[:, -1] < FROZEN * np.fmax.reduce(activity, axis=1)  # fmax ignores NaN


def over_ensemble(trajectory: xr.Dataset) -> xr.Dataset:
    """Mean, spread and standard error over the members of an ensemble, or over runs of SGD.

    Parameters
    ----------
    trajectory
        With a ``run`` dimension.

    Returns
    -------
    xarray.Dataset
        Every variable's mean over ``run``, and with ``_spread`` and ``_stderr`` its standard deviation and the standard
        error of its mean; both NaN for a single member.

    Raises
    ------
    ProblemError
        If there is no ``run`` dimension.

    Examples
    --------
    >>> runs = xr.Dataset({"v": (("run", "time"), [[1.0, 2.0], [3.0, 2.0]])})
    >>> over_ensemble(runs)["v_spread"].values.round(3)
    array([1.414, 0.   ])
    """
    if "run" not in trajectory.dims:
        raise ProblemError(f"trajectory: must have a dimension run (got {list(trajectory.dims)}). Give an ensemble.")
    moving = trajectory[[name for name in trajectory if "time" in trajectory[name].dims]]
    count = trajectory.sizes["run"]
    spread = moving.std("run", ddof=1) if count > 1 else moving.isel(run=0, drop=True) * np.nan
    over = moving.mean("run")
    for name in moving:
        over[f"{name}_spread"], over[f"{name}_stderr"] = spread[name], spread[name] / np.sqrt(count)
    return over.assign_attrs(trajectory.attrs)
