"""The store of a sweep: one zarr group with a chunk of every array for each task, and a record of those finished.

A task is written chunk by chunk and counts once its record is there, which is one object and the last to be written.
Whatever has no record does not exist for readers, so nothing half-written is ever read.
"""

import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
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
from zarr.storage import LocalStore

from sgdlimit.errors import ProblemError
from sgdlimit.sweep.lock import WriterLock
from sgdlimit.sweep.plan import Plan
from sgdlimit.sweep.provenance import provenance
from sgdlimit.sweep.settings import Sweep, differences
from sgdlimit.sweep.trusted import DamagedError, TrustedStore, base_store, check_metadata, intact

__all__ = ["Damage", "SweepStore", "missing_tasks", "open_sweep"]

FORMAT = 1
TASKS, WRITER = "tasks", "writer"
MARK = "sgdlimit_sweep"
"""The attribute that holds the settings; it is written when all arrays are there."""

BEGUN = {"sgdlimit_sweep_begun": FORMAT}

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

    Raises
    ------
    ProblemError
        If another process writes to it, or it is of other settings, which are named, or something else is there.
    """

    def __init__(self, path: str | Path, plan: Plan) -> None:
        self.path, self.plan = str(path), plan
        self._store = base_store(path, read_only=False)
        self._root = Path(path) if isinstance(self._store, LocalStore) else None
        attributes = _attributes(self._store, self.path, plan)
        if self._root is not None:
            _make_folder(self._root)
        self._lock = WriterLock(self._root, self._read_lease, self._write_lease, self.path)
        try:
            self._discard_partial_files()
            if MARK not in attributes:
                self._create()
            with zarr.config.set(EVERY_CHUNK):
                group = zarr.open_group(TrustedStore(self._store), mode="r+", use_consolidated=False)
                self._arrays: dict[str, Any] = {name: group[name] for name in plan.variables}
            self.finished = set(_finished(self._store))
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
            "finished": _now(), "checksums": checksums,
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
        _write_group(self._store, "zarr.json", BEGUN)
        self.write_coordinates()
        group = zarr.open_group(self._store, mode="r+", use_consolidated=False)
        for name, variable in self.plan.variables.items():
            group.create_array(
                name,
                shape=tuple(self.plan.sizes[dim] for dim in variable.dims),
                chunks=self.plan.chunk_shape(name),
                dtype=variable.dtype,
                fill_value=np.nan if variable.dtype == "float64" else 0,
                compressors=COMPRESSORS,
                chunk_key_encoding=FLAT,
                dimension_names=variable.dims,
                attributes={"long_name": variable.long_name},
                overwrite=True,
            )
        _write_group(self._store, f"{TASKS}/zarr.json", {})
        settings = json.dumps(self.plan.sweep.canonical())
        _write_group(self._store, "zarr.json", {**BEGUN, **provenance(), "begun": _now(), MARK: settings})
        if self._root is not None:
            self._to_disk([str(path.relative_to(self._root)) for path in self._root.rglob("*") if path.is_file()])

    def write_coordinates(self) -> None:
        """The labels of all dimensions, which follow from the settings."""
        coordinates = self.plan.template()
        with warnings.catch_warnings(), zarr.config.set(EVERY_CHUNK):
            warnings.simplefilter("ignore", UserWarning)  # of other readers, about strings
            coordinates.to_zarr(
                self._store, mode="a", consolidated=False,
                encoding={str(name): {"compressors": COMPRESSORS} for name in coordinates.variables},
            )  # fmt: skip

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
            found = _read_json(self._store, f"{WRITER}/zarr.json", self.path)
            return None if found is None else found.get("attributes") or None
        return None

    def _write_lease(self, lease: Mapping[str, Any] | None) -> None:
        if lease is None:
            sync(self._store.delete(f"{WRITER}/zarr.json"))
        else:
            _write_group(self._store, f"{WRITER}/zarr.json", lease)


def missing_tasks(path: str | Path, plan: Plan) -> list[int]:
    """The tasks that a store has not, in order: all where there is none yet.

    Raises
    ------
    ProblemError
        If the store is of other settings, or something else is there.
    """
    store = base_store(path)
    done: set[int] = set()
    with suppress(FileNotFoundError, NotADirectoryError):
        if MARK in _attributes(store, str(path), plan):
            done = set(_finished(store))
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
    found = None
    with suppress(FileNotFoundError, NotADirectoryError):
        found = _read_json(store, "zarr.json", str(path))
    attributes = (found or {}).get("attributes", {})
    if MARK not in attributes:
        raise ProblemError(f"path: {str(path)!r} is no sweep; give the store that `sgdlimit sweep` wrote")
    try:
        plan = Plan(Sweep(**json.loads(attributes[MARK])))
    except (ProblemError, TypeError, ValueError) as error:
        raise DamagedError(
            f"path: the settings in {str(path)!r} are no sweep's ({error}); the store is damaged or of a newer version"
        ) from None
    done = set(_finished(store))
    explain = _Explanation(plan, str(path))
    trusted = TrustedStore(store, _Finished(plan, done), explain)
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
    attrs: dict[str, Any] = {str(k): v for k, v in dataset.attrs.items() if k not in (MARK, *BEGUN)}
    attrs |= {"problem": attributes[MARK], "tasks": len(plan), "tasks_finished": len(done)}
    if records:
        attrs["records"] = [_read_json(store, _record_key(i), str(path))["attributes"] for i in sorted(done)]  # type: ignore[index]
    return dataset.assign_attrs(attrs)


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


def _attributes(store: Store, path: str, plan: Plan) -> Mapping[str, Any]:
    """Those of a store that is a sweep with this plan, or is still to be made.

    Raises
    ------
    ProblemError
        If something else is there.
    """
    found = _read_json(store, "zarr.json", path)
    attributes = (found or {}).get("attributes", {})
    if MARK in attributes:
        _check_same(attributes, plan, path)
    elif not (sync(_is_empty(store, path)) if found is None else attributes.items() >= BEGUN.items()):
        raise ProblemError(f"store: {path!r} is there and is no sweep; nothing is overwritten, name another --out")
    return attributes


def _check_same(attributes: Mapping[str, Any], plan: Plan, path: str) -> None:
    try:
        there = json.loads(attributes[MARK])
        different = differences(plan.sweep.canonical(), there)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise DamagedError(f"store: the settings in {path!r} cannot be read; restore it, or name another") from None
    if different:
        shown = "; ".join(different[:5]) + (f"; and {len(different) - 5} more" if len(different) > 5 else "")
        raise ProblemError(f"store: {path!r} is of other settings ({shown}); name another --out, or go back to those")


def _damage_of(store: Store, plan: Plan, index: int, path: str) -> list[str]:
    """What is wrong with the record and chunks of a task."""
    try:
        record = _read_json(store, _record_key(index), path)
        checksums = record["attributes"]["checksums"]  # type: ignore[index]
        assert isinstance(checksums, dict)
    except (ProblemError, KeyError, TypeError, AssertionError):
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


def _finished(store: Store) -> Iterator[int]:
    """Tasks whose record is there."""

    async def keys() -> list[str]:
        return [key async for key in store.list_prefix(f"{TASKS}/")]

    for key in sync(keys()):
        number = key.removeprefix(f"{TASKS}/").removesuffix("/zarr.json")
        if number.isdigit() and key == _record_key(int(number)):
            yield int(number)


async def _is_empty(store: Store, path: str) -> bool:
    if isinstance(store, LocalStore):
        folder = Path(path)
        return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    async for _ in store.list_prefix(""):
        return False
    return True


def _read(store: Store, key: str) -> bytes | None:
    found = sync(store.get(key, default_buffer_prototype()))
    return None if found is None else found.to_bytes()


def _read_json(store: Store, key: str, path: str) -> dict[str, Any] | None:
    document = _read(store, key)
    if document is None:
        return None
    check_metadata(document, f"{path}/{key}")
    parsed = json.loads(document)
    if not isinstance(parsed, dict):
        raise DamagedError(f"{path}/{key}: is not what was written; the store is damaged, restore it or begin anew")
    return parsed


def _write_group(store: Store, key: str, attributes: Mapping[str, Any]) -> None:
    """The metadata of a zarr group, one object that is written whole."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    buffer = default_buffer_prototype().buffer.from_bytes(json.dumps(document, indent=1).encode())
    sync(store.set(key, buffer))


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
