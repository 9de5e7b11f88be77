"""The store of a sweep: one zarr group with a chunk of every array for each task, and a record of each finished task.

A task counts once its record is there, which is written last; see :mod:`sgdlimit._store`. Tasks are deterministic, so
two processes that compute the same one write the same chunks.
"""

import os
import socket
import time
import warnings
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from os.path import samestat
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from filelock import FileLock, Timeout
from zarr.abc.store import Store
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.core.sync import sync
from zarr.storage import LocalStore, MemoryStore

from .._store import MALFORMED, RECORD, DamagedError, base_store, put
from ..errors import ProblemError, SweepError
from ._open import Tasks, names_in, record_of_task
from ._plan import Plan
from ._provenance import provenance
from ._settings import differences

LOCK = "writer.lock"
COMPRESSORS = ZstdCodec(level=3)
FLAT: Any = {"name": "default", "separator": "."}
"""Chunks of an array are files of one folder. By default each has a folder for itself within one for each dimension."""


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
        record, different, self.repaired = {}, [], self.wrong()
        try:
            record = self.record()
            if "sweep" in record:
                different = differences(self.plan.sweep.canonical(), record["sweep"])
            elif not free:
                raise ProblemError(
                    f"store: must be new, empty or a sweep (got {self.path!r}, which is no sweep; nothing is "
                    "overwritten). Name another --out."
                )
        except ProblemError:
            names = map(record_of_task, self.finished)
            if not (self._repair and any(f"{name} is damaged" not in self.wrong(name) for name in names)):
                raise
        except MALFORMED:
            raise DamagedError(f"store: the settings in {self.path!r} cannot be read. Name another --out.") from None
        if different:
            raise ProblemError(
                f"store: must be of the same settings (got {self.path!r}, where {_first(different, 5)}). Name another "
                "--out, or go back to those."
            )
        if self.repaired and not self._repair:
            raise self.complaint(*self.repaired[0].split(" ", 1))
        self._complete = bool(record.get("digests")) and not self.repaired

    def __enter__(self) -> Self:
        self._lock = self._folder = None
        store = base_store(self.path, read_only=False)
        if isinstance(store, LocalStore):
            self._lock, self._folder = _locked(store.root, self.path), os.stat(store.root)
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
        SweepError
            If the folder is no longer the one that ``with`` opened.
        """
        self._check_folder()
        region, objects = self.plan.region(index), ChainMap({}, self._layout)
        group: Any = zarr.open_group(MemoryStore(objects), mode="r+", use_consolidated=False)
        for name, array in self.plan.template.items():
            group[name][tuple(region.get(dim, slice(None)) for dim in array.dims)] = arrays[str(name)]
        name = record_of_task(index)
        try:
            if sync(self._read(name)) is None:  # otherwise another process has finished the same task
                put(self._store, objects.maps[0], name, self.place_of(name), {
                    **provenance(), **record, "task": index, "settings": self.plan.name(index),
                    "seed": self.plan.seed(index), "finished": _now(),
                })  # fmt: skip
        finally:
            self._check_folder()
        self.finished.add(index)

    def _check_folder(self) -> None:
        """Stop where a local folder was moved or removed: nothing that is written there now would count."""
        with suppress(FileNotFoundError, NotADirectoryError):
            if self._folder is None or (
                os.stat(f"{self.path}/{RECORD}") and samestat(self._folder, os.stat(self.path))
            ):
                return
        raise SweepError(
            f"store: {self.path!r} was moved or removed while the sweep wrote to it, with {len(self.finished)} of "
            f"{len(self.plan)} tasks in it. Move it back, and run the same command to go on."
        )

    def damage(self) -> dict[int, list[str]]:
        """Read every chunk of every finished task. Return for each damaged task what is wrong with it."""
        found = {index: self.wrong(record_of_task(index)) for index in sorted(self.finished)}
        return {index: wrong for index, wrong in found.items() if wrong}

    def settle_damage(self) -> list[str]:
        """Verify all tasks and report damage. With repair, forget the damaged tasks, so that they are computed again.

        Raises
        ------
        ProblemError
            If a task is damaged and repair is off.
        """
        found = self.damage()
        phrases = [f"task {index} ({self.plan.name(index)}): {', '.join(wrong)}" for index, wrong in found.items()]
        if phrases and not self._repair:
            raise ProblemError(
                f"store: must be whole (got {len(phrases)} damaged tasks in {self.path!r}, {_first(phrases, 3)}). Use "
                "--repair to compute them again."
            )
        for index in found:
            sync(self._store.delete(record_of_task(index)))
        self.finished.difference_update(found)
        return [f"{wrong}, now repaired" for wrong in self.repaired] + phrases


def _layout(plan: Plan) -> dict[str, Buffer]:
    """The objects of a store before its first task: metadata of all arrays and coordinates, and the coordinates."""
    objects: dict[str, Buffer] = {}
    store, coordinates = MemoryStore(objects), plan.template.coords.to_dataset()
    encoding = {name: {"compressors": COMPRESSORS} for name in coordinates.variables}
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of other readers, about strings
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
        raise ProblemError(
            f"store: must be a place to write to (got {path!r}: {error.strerror}). Name another."
        ) from None
    lock = FileLock(root / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = (root / LOCK).read_text(encoding="utf-8")
        raise ProblemError(
            f"store: must have one writer (got another process{who} at {path}). Wait for it, end it, or give another "
            "--out."
        ) from None
    who = f" (number {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')})"
    (root / LOCK).write_text(who, encoding="utf-8")
    return lock


def _is_free(store: Store) -> bool:
    """Whether a place is empty, but for what a process leaves if it is killed at its very beginning."""
    if isinstance(store, LocalStore) and store.root.exists() and not store.root.is_dir():
        return False
    return all(name == LOCK or name.endswith(".partial") for name in sync(names_in(store, "")))


def _first(phrases: Sequence[str], most: int) -> str:
    """The first of several phrases, and how many more there are."""
    return "; ".join(phrases[:most]) + (f"; and {len(phrases) - most} more" if len(phrases) > most else "")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
