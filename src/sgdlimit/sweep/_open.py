"""Reading a sweep: which of its tasks are finished, and their results as one dataset."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from xarray import Dataset, open_zarr
from zarr import open_group
from zarr.abc.store import Store
from zarr.core.sync import sync

from .._store import MALFORMED, RECORD, CheckedStore, DamagedError, digest
from ..errors import ProblemError
from ..settings import use_of
from ..signatures import checked
from ._plan import Plan
from ._settings import Sweep

REPAIR = "Run `sgdlimit sweep SWEEP.toml --repair` to write it again."


class Tasks(CheckedStore):
    """The store of a sweep to be read: its layout, and the chunks of the tasks that were finished when it was opened.

    Parameters
    ----------
    path, plan
        The store, and the sweep it is of.
    """

    def __init__(self, path: str | Path, plan: Plan) -> None:
        super().__init__(path)
        self.plan = plan
        self._sweep = digest(json.dumps(plan.sweep.canonical()).encode())
        names = sync(names_in(self._store, "tasks"))
        self.finished = {index for index in range(len(plan)) if f"{index}.json" in names}

    def record_of(self, key: str) -> str:
        """The record of the layout or of a finished task."""
        index = self.plan.task_of(key)
        return RECORD if index is None else record_of_task(index) if index in self.finished else ""

    def place_of(self, name: str) -> str:
        """The record of a task counts in a store of this sweep only."""
        return name if name == RECORD else f"{self._sweep}/{name}"

    def complaint(self, key: str, what: str) -> DamagedError:
        """The error that says what is wrong with an object, which task it belongs to, and what to do about it."""
        index = self.plan.task_of(key)
        whose = "" if index is None else f" of task {index} ({self.plan.name(index)})"
        return DamagedError(f"store: {key} in {self.path}{whose} {what}. {REPAIR}")


@checked
def open_sweep(path: str | Path, *, records: bool = False) -> Dataset:
    """The results of a sweep, complete or not, as one lazy dataset over its whole grid.

    Parameters
    ----------
    path
        The store: a local folder or an fsspec URL. It may be written to at the same time; tasks that finish later are
        there when it is opened again.
    records
        Whether ``attrs["records"]`` lists the record of every finished task: when, where, with which versions.

    Returns
    -------
    xarray.Dataset
        Over ``instance`` and the axes of the grid. Of SGD ``Q`` and ``R`` (theory, ..., run, time, entries), measured
        with the covariances of each theory, ``v`` and ``generalization_error``; of theory the same as ``theory_Q`` and
        so on; ``M_Q``, ``scale_Q`` (mean absolute value), ``floor_Q`` (M of SGD on Gaussian inputs), ``kl``,
        ``diverged_at``, ``applies``, and the boolean coordinate ``completed``. What is not computed yet, did not apply
        or diverged is NaN. Arrays are loaded from the store when they are used, chunk by chunk; a chunk that is damaged
        raises an error that names it.

    Raises
    ------
    ProblemError
        If there is no sweep at ``path``, or its metadata are damaged or ask for codecs that could run code.
    """
    record = CheckedStore(path).record()
    if "sweep" not in record or not record["digests"]:
        otherwise = "Give the store that `sgdlimit sweep` wrote."
        raise ProblemError(f"path: must be a stored sweep (got {str(path)!r}). {use_of(path, otherwise)}")
    try:
        plan = Plan(Sweep(**record["sweep"]))
    except MALFORMED as error:
        raise DamagedError(
            f"path: the settings in {str(path)!r} are not a sweep's ({error}). The store is damaged or of a newer "
            "version of sgdlimit."
        ) from None
    tasks = Tasks(path, plan)
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            group: Any = open_group(tasks, mode="r", use_consolidated=False)
            wrong = [name for name, array in plan.template.variables.items() if group[name].shape != array.shape]
            if wrong:  # found before xarray reads coordinates of any length
                raise ValueError(f"{wrong[0]} has the shape {group[wrong[0]].shape}")
            dataset = open_zarr(tasks, consolidated=False, chunks={})
        coords: dict[str, Any] = {
            str(name): dataset[name].copy(data=np.array(dataset[name].values.tolist())) for name in plan.template.coords
        }
    except ProblemError:
        raise
    except Exception as error:  # zarr raises many kinds where metadata were forged
        raise DamagedError(f"path: the arrays in {str(path)!r} are not its sweep's ({error}). {REPAIR}") from None
    completed = np.isin(np.arange(len(plan)), list(tasks.finished)).reshape(plan.grid_shape)
    tasks_of = [np.arange(plan.template.sizes[dim]) // chunk for dim, chunk in plan.chunks.items()]
    coords["completed"] = plan.sweep.dims, completed[np.ix_(*tasks_of)]
    dataset = dataset[list(plan.template)].assign_coords(coords)
    dataset.attrs = {name: value for name, value in record.items() if name not in ("sweep", "digests")} | {
        "problem": json.dumps(record["sweep"]), "tasks": len(plan), "tasks_finished": len(tasks.finished)
    }  # fmt: skip
    if records:
        dataset.attrs["records"] = [tasks.record(record_of_task(index)) for index in sorted(tasks.finished)]
    return dataset


async def names_in(store: Store, folder: str) -> set[str]:
    """Names in a folder of a store."""
    return {name async for name in store.list_dir(folder)}


def record_of_task(index: int) -> str:
    """The name of a task's record."""
    return f"tasks/{index}.json"
