"""Continual learning: how much a new teacher makes the student forget, and how much earlier tasks help."""

import json

import numpy as np
import xarray as xr

from .errors import ProblemError
from .signatures import checked


@checked
def forgetting_and_transfer(trajectory: xr.Dataset, metric: str = "task_error") -> xr.Dataset:
    """Forgetting of each task that ended, and transfer to each task that began later.

    Parameters
    ----------
    trajectory
        Trajectory of theory or SGD with a teacher that changes: it has ``task_error`` (…, time, task) and
        ``attrs["switch_times"]``. Other dimensions (run, case) are kept.
    metric
        What to take for ε: of a learning rule by name ``"task_loss"`` or ``"task_error_rate"``.

    Returns
    -------
    xarray.Dataset
        Along ``task``: ``forgetting``, ε_j at the end of training minus ε_j when task j ended, NaN for the last task;
        and ``transfer``, ε_j of the initial student minus ε_j when task j began, NaN for the first: how much the
        earlier tasks helped. Each error is taken at the last output time up to the change.

    Raises
    ------
    ProblemError
        If the trajectory has one task only, or ends before the last change.

    Examples
    --------
    >>> times, errors = [0.0, 5.0, 9.0], [[1.0, 1.0], [0.1, 0.7], [0.4, 0.2]]
    >>> one = xr.Dataset({"task_error": (("time", "task"), errors)}, {"time": times}, {"switch_times": "[5.0]"})
    >>> measured = forgetting_and_transfer(one)
    >>> measured.forgetting.values.round(3), measured.transfer.values.round(3)
    (array([0.3, nan]), array([nan, 0.3]))
    """
    if metric not in trajectory or "switch_times" not in trajectory.attrs:
        raise ProblemError(
            f"trajectory: must have a teacher that changes, and {metric!r} (got {', '.join(map(str, trajectory))}). "
            "Give one of an instance with switch_times, or the metric 'task_loss' of a learning rule."
        )
    switches = np.array(json.loads(trajectory.attrs["switch_times"]))
    times = trajectory["time"].values
    if not times[0] <= switches[0] or not switches[-1] <= times[-1]:
        raise ProblemError(
            f"trajectory: must begin before the first change of teacher, {switches[0]:g}, and reach the last, "
            f"{switches[-1]:g} (got times from {times[0]:g} to {times[-1]:g}). Ask for more."
        )
    error = trajectory[metric].drop_vars("time")
    of_task = xr.DataArray(np.arange(error.sizes["task"]), dims="task")
    at = np.searchsorted(times, switches, side="right") - 1
    ended, began = (error.isel(time=("task", places), task=of_task) for places in (np.append(at, -1), np.append(0, at)))
    return xr.Dataset(
        {
            "forgetting": (error.isel(time=-1) - ended).where(of_task < len(switches)),
            "transfer": (error.isel(time=0) - began).where(of_task > 0),
        }
    )
