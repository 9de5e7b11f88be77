"""What an ensemble shows beside its mean: chains that settle apart from each other, and units that stop to learn."""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from ...errors import ProblemError

APART = 5.0
"""Two groups of chains are apart if the gap between them is this many times the spread within both, and in time."""

FROZEN = 1e-3
"""A unit is frozen when E g'(λ)² is below this part of what it was at the beginning."""


def modes(trajectory: xr.Dataset) -> Int[np.ndarray, "run"]:
    """Numbers of the modes that the members of an ensemble are in, by their means over the last half of the time.

    Members are split where one of Q, R, v or M leaves a gap of five times the spread, over members and in time, on
    either side of it; with 32 members around one mode that happens once in 10⁵ ensembles.
    """
    count = trajectory.sizes["run"]
    if count < 4 or trajectory.sizes["time"] < 2:
        return np.zeros(count, dtype=int)
    late = trajectory.isel(time=trajectory["time"].values >= trajectory["time"].values[-1] / 2)
    names = [name for name in ("Q", "R", "v", "mean_field") if name in late]
    values = np.concatenate([late[name].values.reshape(count, late.sizes["time"], -1) for name in names], axis=2)
    level, in_time = values.mean(axis=1), values.std(axis=1).mean(axis=0)
    scale = np.abs(level).max(axis=0)
    sides = []
    for x, time_spread in zip(level.T, np.maximum(in_time, 1e-6 * scale), strict=True):
        order = np.argsort(x)
        gaps = np.diff(x[order])
        cut = int(gaps.argmax()) + 1
        low, high = x[order[:cut]], x[order[cut:]]
        within = np.sqrt((np.square(low - low.mean()).sum() + np.square(high - high.mean()).sum()) / (count - 2))
        if gaps[cut - 1] > APART * max(within, time_spread):
            sides.append(x >= high.min())
    if not sides:
        return np.zeros(count, dtype=int)
    _, label = np.unique(np.stack(sides, axis=1), axis=0, return_inverse=True)
    return label.reshape(-1)


def frozen_units(activity: Float[np.ndarray, "run time K"]) -> Bool[np.ndarray, "run K"]:
    """Units whose slope has vanished in every cluster: a ReLU below its threshold, an erf that is saturated.

    ``activity`` is E g'(λ_k)², NaN at the initial condition.
    """
    some = activity[:, np.isfinite(activity).all(axis=(0, 2))]
    if some.shape[1] < 2:
        return np.zeros((len(activity), activity.shape[2]), dtype=bool)
    return some[:, -1] < FROZEN * some.max(axis=1)


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
    return (
        moving.mean("run")
        .merge(spread.rename({name: f"{name}_spread" for name in spread}))
        .merge((spread / np.sqrt(count)).rename({name: f"{name}_stderr" for name in spread}))
        .assign_attrs(trajectory.attrs)
    )
