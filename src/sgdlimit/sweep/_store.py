"""The store of a sweep: one zarr group with a chunk of every array for each task, and a record of each finished task.

A task counts once its record is there, which is written last; see :mod:`sgdlimit._store`. Tasks are deterministic, so
two processes that compute the same one write the same chunks.
"""

import json
import os
import socket
import time
import warnings
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr
import zarr
from filelock import FileLock, Timeout
from zarr.abc.store import Store
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.core.sync import sync
from zarr.storage import LocalStore, MemoryStore

from .._store import MALFORMED, RECORD, CheckedStore, DamagedError, base_store, digest, get, put
from ..errors import ProblemError
from ._plan import Plan
from ._provenance import provenance
from ._settings import Sweep, differences

LOCK = "writer.lock"
COMPRESSORS = ZstdCodec(level=3)
FLAT: Any = {"name": "default", "separator": "."}
"""Chunks of an array are files of one folder. By default each has a folder for itself within one for each dimension."""

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
        names = sync(_names(self._store, "tasks"))
        self.finished = {index for index in range(len(plan)) if f"{index}.json" in names}

    def record_of(self, key: str) -> str:
        """The record of the layout or of a finished task."""
        index = self.plan.task_of(key)
        return RECORD if index is None else _record_of(index) if index in self.finished else ""

    def place_of(self, name: str) -> str:
        """The record of a task counts in a store of this sweep only."""
        return name if name == RECORD else f"{self._sweep}/{name}"

    def complaint(self, key: str, what: str) -> DamagedError:
        """The error that says what is wrong with an object, which task it belongs to, and what to do about it."""
        index = self.plan.task_of(key)
        whose = "" if index is None else f" of task {index} ({self.plan.name(index)})"
        return DamagedError(f"store: {key} in {self.path}{whose} {what}. {REPAIR}")


class SweepStore(Tasks):
    """A store of a sweep: which tasks it has, and inside ``with`` a place to write others.

    Parameters
    ----------
    path
        A local path or an fsspec URL (``s3://bucket/name.zarr``). ``with`` makes the store, or continues it.
    plan
        What is to be stored.
    repair
        Whether ``with`` writes damaged metadata and coordinates again; ``repaired`` lists them.

    Raises
    ------
    ProblemError
        If the store is of other settings, which are named; if something else is there; if metadata or coordinates are
        damaged and ``repair`` is false; or, by ``with``, if another process is writing to a local folder.
    """

    def __init__(self, path: str | Path, plan: Plan, *, repair: bool = False) -> None:
        self.path, self.plan, self._repair = str(path), plan, repair
        self._look()

    def _look(self) -> None:
        """Find the finished tasks, and which objects of the layout are damaged; refuse what is not this sweep."""
        free = _is_free(base_store(self.path))  # asked first: a sweep that is begun meanwhile has its record first
        super().__init__(self.path, self.plan)
        names = map(_record_of, self.finished)
        known = self._repair and any(f"{name} is damaged" not in self.wrong(name) for name in names)
        record, different, self.repaired = {}, [], self.wrong()
        try:
            record = _record(self)
            if "sweep" in record:
                different = differences(self.plan.sweep.canonical(), record["sweep"])
            elif not free:
                raise ProblemError(
                    f"store: must be new, empty or a sweep (got {self.path!r}, which is no sweep; nothing is "
                    "overwritten). Name another --out."
                )
        except ProblemError:
            if not known:
                raise
        except MALFORMED:
            raise DamagedError(f"store: the settings in {self.path!r} cannot be read. Name another --out.") from None
        if different:
            raise ProblemError(
                f"store: {self.path!r} is of other settings ({_first(different, 5)}). Name another --out, or go back "
                "to those."
            )
        if self.repaired and not self._repair:
            raise self.complaint(*self.repaired[0].split(" ", 1))
        self._complete = bool(record.get("digests")) and not self.repaired

    def __enter__(self) -> Self:
        self._lock = None
        store = base_store(self.path, read_only=False)
        if isinstance(store, LocalStore):
            self._lock = _locked(store.root, self.path)
        try:
            self._look()  # again: another process may just have written
            self._store = store
            for left in Path(self.path).rglob("*.partial") if self._lock else ():
                left.unlink(missing_ok=True)  # by a process that was killed while it wrote a file
            self._layout = _layout(self.plan)
            if not self._complete:
                settings = {"sweep": self.plan.sweep.canonical(), **provenance(), "begun": _now()}
                for objects in ({}, self._layout):  # from the first record on the folder is this sweep's
                    put(store, objects, RECORD, RECORD, settings)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.release()

    def missing(self) -> list[int]:
        """Tasks that are not finished, in order."""
        return sorted({*range(len(self.plan))} - self.finished)

    def write(self, index: int, arrays: Mapping[str, np.ndarray], **record: Any) -> None:
        """Store a finished task; until this returns it does not exist.

        Parameters
        ----------
        index
            The task.
        arrays
            Its chunk of every array of the plan.
        record
            What else is to be known of it.

        Raises
        ------
        OSError
            If it cannot be written; the task is then missing, and nothing else is touched.
        """
        region, objects = self.plan.region(index), ChainMap({}, self._layout)
        group: Any = zarr.open_group(MemoryStore(objects), mode="r+", use_consolidated=False)
        for name, array in self.plan.template.items():
            group[name][tuple(region.get(dim, slice(None)) for dim in array.dims)] = arrays[str(name)]
        name = _record_of(index)
        record = {
            **provenance(), **record, "task": index, "settings": self.plan.name(index), "seed": self.plan.seed(index),
            "finished": _now(),
        }  # fmt: skip
        if get(self._store, name) is None:  # otherwise another process has finished the same task
            put(self._store, objects.maps[0], name, self.place_of(name), record)
        self.finished.add(index)

    def damage(self) -> dict[int, list[str]]:
        """Read every chunk of every finished task; for each damaged task, what is wrong with it."""
        found = {index: self.wrong(_record_of(index)) for index in sorted(self.finished)}
        return {index: wrong for index, wrong in found.items() if wrong}

    def settle_damage(self) -> list[str]:
        """Verify all tasks: say what is or was damaged; to repair them, forget those tasks, so that they are computed.

        Raises
        ------
        ProblemError
            If a task is damaged and repair is off.
        """
        found = self.damage()
        phrases = [f"task {index} ({self.plan.name(index)}): {', '.join(wrong)}" for index, wrong in found.items()]
        if phrases and not self._repair:
            raise ProblemError(
                f"store: {self.path!r} has {len(phrases)} damaged tasks, {_first(phrases, 3)}. Use --repair to compute "
                "them again."
            )
        for index in found:
            sync(self._store.delete(_record_of(index)))
        self.finished.difference_update(found)
        return [f"{wrong}, now repaired" for wrong in self.repaired] + phrases


def open_sweep(path: str | Path, *, records: bool = False) -> xr.Dataset:
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
    record = _record(CheckedStore(path))
    if "sweep" not in record or not record["digests"]:
        raise ProblemError(f"path: {str(path)!r} is no sweep. Give the store that `sgdlimit sweep` wrote.")
    try:
        plan = Plan(Sweep(**record["sweep"]))
    except MALFORMED as error:
        raise DamagedError(
            f"path: the settings in {str(path)!r} are not a sweep's ({error}). The store is damaged or of a newer "
            "version of sgdlimit."
        ) from None
    tasks = Tasks(path, plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset = xr.open_zarr(tasks, consolidated=False, chunks={})
    coords: dict[str, Any] = {}
    for name in map(str, plan.template.coords):
        coords[name] = dataset[name].copy(data=np.array(dataset[name].values.tolist()))
    completed = np.isin(np.arange(len(plan)), list(tasks.finished)).reshape(plan.grid_shape)
    tasks_of = [np.arange(plan.template.sizes[dim]) // chunk for dim, chunk in plan.chunks.items()]
    coords["completed"] = plan.sweep.dims, completed[np.ix_(*tasks_of)]
    dataset = dataset[list(plan.template)].assign_coords(coords)
    dataset.attrs = {name: value for name, value in record.items() if name not in ("sweep", "digests")} | {
        "problem": json.dumps(record["sweep"]), "tasks": len(plan), "tasks_finished": len(tasks.finished)
    }  # fmt: skip
    if records:
        dataset.attrs["records"] = [tasks.record(_record_of(index)) for index in sorted(tasks.finished)]
    return dataset


def _record(store: CheckedStore) -> dict[str, Any]:
    """The record of a sweep's layout; without ``sweep`` if there is none."""
    record = store.record()
    with suppress(FileNotFoundError):
        group = None if "sweep" in record else get(base_store(store.path), "zarr.json")
        if group is not None and b"sgdlimit_sweep" in group.to_bytes():
            raise ProblemError(
                f"path: {store.path!r} is a sweep of sgdlimit 0.1, which this version does not read. Open it with "
                "sgdlimit 0.1, or run the sweep again with another --out."
            )
    return record


def _layout(plan: Plan) -> dict[str, Buffer]:
    """What a store has before its first task: metadata of all arrays and coordinates, and the coordinates."""
    objects: dict[str, Buffer] = {}
    store, coordinates = MemoryStore(objects), plan.template.coords.to_dataset()
    encoding = {name: {"compressors": COMPRESSORS} for name in coordinates.variables}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of other readers, about strings
        coordinates.to_zarr(store, consolidated=False, encoding=encoding)
        group = zarr.open_group(store, mode="r+", use_consolidated=False)
        for name, array in plan.template.items():
            group.create_array(
                str(name),
                shape=array.shape,
                chunks=tuple(plan.chunks.get(dim, size) for dim, size in array.sizes.items()),
                dtype=array.dtype,
                fill_value=array.values.flat[0],
                compressors=COMPRESSORS,
                chunk_key_encoding=FLAT,
                dimension_names=map(str, array.dims),
                attributes=array.attrs,
            )
    return objects


def _locked(root: Path, path: str) -> FileLock:
    """A folder for one writer, as a courtesy: a second one would do the same work again."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProblemError(f"store: {path!r} cannot be written to ({error.strerror}). Name another.") from None
    lock = FileLock(root / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = (root / LOCK).read_text(encoding="utf-8")
        raise ProblemError(
            f"store: another process{who} is writing to {path}. Wait for it, end it, or give another --out."
        ) from None
    now = time.strftime("%H:%M:%S")
    (root / LOCK).write_text(f" (number {os.getpid()} on {socket.gethostname()}, since {now})", encoding="utf-8")
    return lock


async def _names(store: Store, folder: str) -> set[str]:
    """Names in a folder of a store."""
    return {name async for name in store.list_dir(folder)}


def _is_free(store: Store) -> bool:
    """Whether nothing is there but what a process leaves that is killed before it began."""
    if isinstance(store, LocalStore) and store.root.exists() and not store.root.is_dir():
        return False
    return all(name == LOCK or name.endswith(".partial") for name in sync(_names(store, "")))


def _first(phrases: Sequence[str], most: int) -> str:
    """The first of several phrases, and how many more there are."""
    return "; ".join(phrases[:most]) + (f"; and {len(phrases) - most} more" if len(phrases) > most else "")


def _record_of(index: int) -> str:
    """The name of a task's record."""
    return f"tasks/{index}.json"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
