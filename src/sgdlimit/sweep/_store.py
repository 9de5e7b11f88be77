"""The store of a sweep: one zarr group with a chunk of every array for each task, and a record of those finished.

A task is written chunk by chunk and counts once its record is there, which is one object and the last to be written.
Whatever has no record does not exist for readers, so nothing half-written is ever read.
"""

import json
import os
import time
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer.core import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, MemoryStore

from .._store import DamagedError, TrustedStore, base_store, check_metadata, intact
from ..errors import ProblemError
from ._lock import WriterLock
from ._plan import Plan
from ._provenance import provenance
from ._settings import Sweep, differences

__all__ = ["Damage", "SweepStore", "missing_tasks", "open_sweep"]

FORMAT = 1
TASKS, WRITER = "tasks", "writer"
MARK = "sgdlimit_sweep"
"""The attribute that holds the settings; it is written when all arrays are there."""

BEGUN = {"sgdlimit_sweep_begun": FORMAT}
LAYOUT, SEAL = "sgdlimit_layout", "sgdlimit_seal"
"""Attributes with the checksums of all metadata and coordinates, and with that of the attributes themselves."""

OURS = b"sgdlimit_"

COMPRESSORS = (ZstdCodec(level=3), Crc32cCodec())
FLAT: Any = {"name": "default", "separator": "."}
"""Chunks of an array are files of one folder. By default each has a folder for itself within one for each dimension."""

EVERY_CHUNK = {"array.write_empty_chunks": True}
"""Chunks without a number in them are written too: one that is not there was lost."""

Damage = Mapping[int, Sequence[str]]
"""For each damaged task, what is wrong with it."""


class SweepStore:
    """A store that this process writes to, and no other one.

    Parameters
    ----------
    path
        A local path or an fsspec URL (``s3://bucket/name.zarr``). It is created, or continued if it is of the same
        settings.
    plan
        What is to be stored.
    repair
        Whether metadata and coordinates that are damaged are written again; ``repaired`` lists them.

    Raises
    ------
    ProblemError
        If another process writes to it, or it is of other settings, which are named, or something else is there, or
        its metadata or coordinates are damaged and are not to be repaired.
    """

    def __init__(self, path: str | Path, plan: Plan, *, repair: bool = False) -> None:
        self.path, self.plan, self._of_sweep = str(path), plan, _sweep_checksum(plan)
        self._store = base_store(path, read_only=False)
        self._root = Path(path) if isinstance(self._store, LocalStore) else None
        _attributes(base_store(path), self.path, plan, repair)
        if self._root is not None:
            _make_folder(self._root)
        self._lock = WriterLock(self._root, self._read_lease, self._write_lease, self.path)
        try:
            self._discard_partial_files()
            attributes = _attributes(self._store, self.path, plan, repair)  # which another process may just have made
            self.repaired = _damaged_layout(self._store, attributes)
            if self.repaired and not repair:
                raise DamagedError(_damaged(self.repaired[0], self.path))
            if MARK not in attributes or self.repaired:
                self._create()
            with zarr.config.set(EVERY_CHUNK):
                group = zarr.open_group(TrustedStore(self._store), mode="r+", use_consolidated=False)
                self._arrays: dict[str, Any] = {name: group[name] for name in plan.variables}
            self.finished = _finished(self._store, plan)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let other processes write to it."""
        self._lock.release()

    def __enter__(self) -> "SweepStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def missing(self) -> list[int]:
        """Tasks that are not finished, in order."""
        return [index for index in range(len(self.plan)) if index not in self.finished]

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
        self._lock.check()
        region = self.plan.region(index)
        for name, variable in self.plan.variables.items():
            place = tuple(region.get(dim, slice(None)) for dim in variable.dims)
            self._arrays[name][place] = arrays[name]
        keys = {name: self.plan.chunk_key(name, index) for name in self.plan.variables}
        checksums = {name: _checksum(_read(self._store, key)) for name, key in keys.items()}
        self._to_disk(keys.values())
        attributes = {
            **provenance(), **record, "task": index, "settings": self.plan.name(index), "seed": self._seed(index),
            "sweep": self._of_sweep, "finished": _now(), "checksums": checksums,
        }  # fmt: skip
        key = _record_key(index)
        _write_group(self._store, key, attributes)
        self._to_disk([key])
        self.finished.add(index)

    def _seed(self, index: int) -> int:
        return self.plan.sweep.run.first_instance + self.plan.region(index)["instance"].start

    def damage(self) -> Damage:
        """Read every chunk of every finished task, and say which are not what was written."""
        found: dict[int, list[str]] = {}
        for index in sorted(self.finished):
            wrong = _damage_of(self._store, self.plan, index, self.path)
            if wrong:
                found[index] = wrong
        return found

    def forget(self, index: int) -> None:
        """Take back that a task is finished, for it to be computed once more."""
        self._lock.check()
        sync(self._store.delete(_record_key(index)))
        self.finished.discard(index)

    def _create(self) -> None:
        """Coordinates, arrays without values, and last the settings; what an earlier attempt left is written over."""
        if _read(self._store, "zarr.json") is None:
            _write_group(self._store, "zarr.json", BEGUN)
        layout = _layout(self.plan)
        for key, document in layout.items():
            _write(self._store, key, document)
        _write_group(self._store, f"{TASKS}/zarr.json", {})
        self._to_disk([*layout, f"{TASKS}/zarr.json"])
        checksums = {key: _checksum(document) for key, document in layout.items()}
        settings = {LAYOUT: checksums, MARK: json.dumps(self.plan.sweep.canonical())}
        _write_group(self._store, "zarr.json", {**BEGUN, **provenance(), "begun": _now(), **settings})
        self._to_disk(["zarr.json"])
        if self._root is not None:
            with suppress(OSError):  # of a folder that may be entered and not listed
                _flush(self._root.absolute().parent)

    def _discard_partial_files(self) -> None:
        """What a process left that was killed while it wrote a file."""
        if self._root is not None:
            for path in self._root.rglob("*.partial"):
                with suppress(FileNotFoundError):
                    path.unlink()

    def _to_disk(self, keys: Any) -> None:
        """Make a local disk hold what was written, so that the order survives a loss of power."""
        if self._root is None:
            return
        paths = [self._root / key for key in keys]
        folders = {folder for path in paths for folder in path.parents if self._root in (folder, *folder.parents)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(_flush, paths))
            list(pool.map(_flush, folders))

    def _read_lease(self) -> Mapping[str, Any] | None:
        with suppress(ProblemError):  # cut short by a loss of power: nobody's
            return _read_attributes(self._store, f"{WRITER}/zarr.json", self.path) or None
        return None

    def _write_lease(self, lease: Mapping[str, Any] | None) -> None:
        if lease is None:
            sync(self._store.delete(f"{WRITER}/zarr.json"))
        else:
            _write_group(self._store, f"{WRITER}/zarr.json", lease)


def missing_tasks(path: str | Path, plan: Plan, *, repair: bool = False) -> list[int]:
    """The tasks that a store has not, in order: all where there is none yet.

    Raises
    ------
    ProblemError
        If the store is of other settings, or something else is there, or it is damaged and is not to be repaired.
    """
    store = base_store(path)
    done: set[int] = set()
    _attributes(store, str(path), plan, repair)
    with suppress(FileNotFoundError):
        done = _finished(store, plan)
    return [index for index in range(len(plan)) if index not in done]


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
    store = base_store(path)
    attributes = None
    with suppress(FileNotFoundError, NotADirectoryError):
        attributes = _read_attributes(store, "zarr.json", str(path))
    if attributes is None or MARK not in attributes:
        raise ProblemError(f"path: {str(path)!r} is no sweep; give the store that `sgdlimit sweep` wrote")
    for key in _damaged_layout(store, attributes):
        raise DamagedError(_damaged(key, str(path)))
    try:
        plan = Plan(Sweep(**json.loads(attributes[MARK])))
    except (ProblemError, RecursionError, TypeError, ValueError) as error:
        raise DamagedError(
            f"path: the settings in {str(path)!r} are no sweep's ({error}); the store is damaged or of a newer version"
        ) from None
    done = _finished(store, plan)
    explain = _Explanation(plan, str(path))
    trusted = _Results(store, _Finished(plan, done), explain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset = xr.open_zarr(trusted, consolidated=False, chunks={})
    labels = {str(name): dataset[name].load() for name in plan.template().variables}
    for name, label in labels.items():
        if label.dtype.kind not in "biuf":
            labels[name] = label.copy(data=np.array(label.values.tolist()))
    dataset = dataset[list(plan.variables)].assign_coords(labels)
    completed = np.zeros(plan.sweep.shape, dtype=bool)
    for index in done:
        completed[tuple(plan.region(index).values())] = True
    dataset = dataset.assign_coords(completed=(plan.sweep.dims, completed))
    attrs: dict[str, Any] = {str(k): v for k, v in dataset.attrs.items() if k not in (MARK, LAYOUT, SEAL, *BEGUN)}
    attrs |= {"problem": attributes[MARK], "tasks": len(plan), "tasks_finished": len(done)}
    if records:
        attrs["records"] = [_read_record(store, index, str(path)) for index in sorted(done)]
    dataset.attrs = attrs
    return dataset


class _Results(TrustedStore):
    """A store without what comes and goes: records, and the lease of the process that writes."""

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for name in super().list_dir(prefix):
            if prefix or name not in (TASKS, WRITER):
                yield name


class _Finished:
    """Whether the task that a chunk belongs to is finished."""

    def __init__(self, plan: Plan, done: set[int]) -> None:
        self.plan, self.done = plan, done

    def __call__(self, key: str) -> bool | None:
        index = task_of_chunk(self.plan, key)
        return None if index is None else index in self.done


class _Explanation:
    """Names a damaged chunk and what to do about it."""

    def __init__(self, plan: Plan, path: str) -> None:
        self.plan, self.path = plan, path

    def __call__(self, key: str, what: str) -> str:
        index = task_of_chunk(self.plan, key)
        whose = "" if index is None else f" of task {index} ({self.plan.name(index)})"
        return f"store: {key} in {self.path}{whose} {what}; `sgdlimit sweep SWEEP.toml --repair` computes it again"


def task_of_chunk(plan: Plan, key: str) -> int | None:
    """The task whose chunk of an array lies under a key; None for a coordinate."""
    name, _, places = key.partition("/c.")
    if name not in plan.variables:
        return None
    numbers = dict(zip(plan.variables[name].dims, map(int, places.split(".")), strict=True))
    return int(np.ravel_multi_index([numbers[dim] for dim in plan.sweep.dims], plan.grid_shape))


def _attributes(store: Store, path: str, plan: Plan, repair: bool) -> Mapping[str, Any]:
    """Those of a store that is a sweep with this plan; none of one that is still to be made, or made again.

    Raises
    ------
    ProblemError
        If something else is there, or it is damaged.
    """
    if isinstance(store, LocalStore) and not store.root.exists():
        return {}
    try:
        attributes = _read_attributes(store, "zarr.json", path)
        if attributes is None:
            if sync(_is_empty(store)):
                return {}
            # It may have been begun since it was read, and then this is the first thing that was written.
            attributes = _read_attributes(store, "zarr.json", path) or {}
        if MARK in attributes:
            _check_same(attributes, plan, path)
            return attributes
        if attributes.items() >= BEGUN.items():
            return {}
        raise ProblemError(f"store: {path!r} is there and is no sweep; nothing is overwritten, name another --out")
    except ProblemError as error:
        damaged = isinstance(error, DamagedError) or _read(store, "zarr.json") is None
        if repair and damaged and _records_are_of(store, plan, path):
            return {}
        raise


def _records_are_of(store: Store, plan: Plan, path: str) -> bool:
    """Whether there are records of finished tasks, and all that can be read are of these settings."""
    found = set()
    for index in _finished(store, plan):
        with suppress(DamagedError):
            found.add(_read_record(store, index, path).get("sweep"))
    return found == {_sweep_checksum(plan)}


def _check_same(attributes: Mapping[str, Any], plan: Plan, path: str) -> None:
    try:
        different = differences(plan.sweep.canonical(), json.loads(attributes[MARK]))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        raise DamagedError(f"store: the settings in {path!r} cannot be read; restore it, or name another") from None
    if different:
        shown = "; ".join(different[:5]) + (f"; and {len(different) - 5} more" if len(different) > 5 else "")
        raise ProblemError(f"store: {path!r} is of other settings ({shown}); name another --out, or go back to those")


def _layout(plan: Plan) -> dict[str, bytes]:
    """What a store has before its first task: metadata of all arrays and coordinates, and the coordinates."""
    objects: dict[str, Any] = {}
    store, coordinates = MemoryStore(objects), plan.template()
    with warnings.catch_warnings(), zarr.config.set(EVERY_CHUNK):
        warnings.simplefilter("ignore", UserWarning)  # of other readers, about strings
        coordinates.to_zarr(
            store, consolidated=False,
            encoding={str(name): {"compressors": COMPRESSORS} for name in coordinates.variables},
        )  # fmt: skip
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    for name, variable in plan.variables.items():
        group.create_array(
            name,
            shape=tuple(plan.sizes[dim] for dim in variable.dims),
            chunks=plan.chunk_shape(name),
            dtype=variable.dtype,
            fill_value=np.nan if variable.dtype == "float64" else 0,
            compressors=COMPRESSORS,
            chunk_key_encoding=FLAT,
            dimension_names=variable.dims,
            attributes={"long_name": variable.long_name},
        )
    return {key: buffer.to_bytes() for key, buffer in objects.items() if key != "zarr.json"}


def _damaged_layout(store: Store, attributes: Mapping[str, Any]) -> list[str]:
    """Which metadata and coordinates are not what was written."""
    return [key for key, checksum in attributes.get(LAYOUT, {}).items() if _checksum(_read(store, key)) != checksum]


def _damage_of(store: Store, plan: Plan, index: int, path: str) -> list[str]:
    """What is wrong with the record and chunks of a task."""
    try:
        checksums = _read_record(store, index, path)["checksums"]
    except (ProblemError, KeyError):
        return [f"{_record_key(index)} is damaged"]
    wrong = []
    for name in plan.variables:
        key = plan.chunk_key(name, index)
        chunk = _read(store, key)
        if chunk is None:
            wrong.append(f"{key} is missing")
        elif not intact(chunk):
            wrong.append(f"{key} is damaged")
        elif _checksum(chunk) != checksums.get(name):
            wrong.append(f"{key} is not what was written")
    return wrong


def _record_key(index: int) -> str:
    return f"{TASKS}/{index}/zarr.json"


def _finished(store: Store, plan: Plan) -> set[int]:
    """Tasks whose record is there."""

    async def keys() -> set[str]:
        return {key async for key in store.list_prefix(f"{TASKS}/")}

    found = sync(keys())
    return {index for index in range(len(plan)) if _record_key(index) in found}


async def _is_empty(store: Store) -> bool:
    """Whether nothing is there, or only what a process leaves that is killed before it began."""
    if isinstance(store, LocalStore) and not store.root.is_dir():
        return False
    async for key in store.list_prefix(""):
        if not key.startswith(f"{WRITER}/") and not key.endswith(".partial"):
            return False
    return True


def _read(store: Store, key: str) -> bytes | None:
    found = sync(store.get(key, default_buffer_prototype()))
    return None if found is None else found.to_bytes()


def _write(store: Store, key: str, document: bytes) -> None:
    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(document)))


def _read_attributes(store: Store, key: str, path: str) -> dict[str, Any] | None:
    """Those of a group that :func:`_write_group` wrote, or of another one; None where there is none."""
    document = _read(store, key)
    if document is None:
        return None
    try:
        check_metadata(document, f"{path}/{key}")
    except DamagedError:
        raise DamagedError(_damaged(key, path)) from None
    parsed = json.loads(document)
    attributes = parsed.get("attributes") if isinstance(parsed, dict) else None
    attributes = attributes if isinstance(attributes, dict) else {}
    if OURS in document and parsed != _group({k: v for k, v in attributes.items() if k != SEAL}):
        raise DamagedError(_damaged(key, path))
    return attributes


def _read_record(store: Store, index: int, path: str) -> dict[str, Any]:
    found = _read_attributes(store, _record_key(index), path)
    if not found or SEAL not in found:
        raise DamagedError(_damaged(_record_key(index), path))
    return found


def _write_group(store: Store, key: str, attributes: Mapping[str, Any]) -> None:
    """The metadata of a zarr group, one object that is written whole."""
    _write(store, key, json.dumps(_group(attributes), indent=1).encode())


def _group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a group, sealed."""
    seal = _checksum(json.dumps(attributes, sort_keys=True).encode())
    return {"zarr_format": 3, "node_type": "group", "attributes": {**attributes, SEAL: seal}}


def _damaged(key: str, path: str) -> str:
    return f"store: {key} in {path} is damaged; `sgdlimit sweep SWEEP.toml --repair` writes it again"


def _sweep_checksum(plan: Plan) -> str:
    return _checksum(json.dumps(plan.sweep.canonical()).encode())


def _checksum(chunk: bytes | None) -> str:
    return "" if chunk is None else blake2b(chunk, digest_size=16).hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProblemError(f"store: {str(path)!r} cannot be written to ({error.strerror}); name another") from None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
