"""Zarr stores whose objects count once a record lists them, with the digest that every reader compares.

Writing: objects first, then on a local disk ``fsync``, then the record, which is one object and replaced atomically.
Reading: an object that no record lists does not exist; one that differs from its digest raises an error. Metadata may
ask only for codecs that sgdlimit writes, so nothing in a store can run code.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from hashlib import blake2b
from pathlib import Path
from shutil import rmtree
from typing import Any, Self
from uuid import uuid4

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.core.buffer.core import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore

from .errors import ProblemError

RECORD = "record.json"
METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
CODECS = frozenset(("blosc", "bytes", "vlen-utf8", "zstd"))
"""The codecs that sgdlimit and xarray write. Others, which unpickle objects or are plugins, could run code."""


class DamagedError(ProblemError):
    """An object of a store that is missing or differs from what was written."""


class CheckedStore(WrapperStore[Store]):
    """A store to be read: only objects that a record lists exist, and each is compared with its digest.

    Parameters
    ----------
    path
        A local path or an fsspec URL.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(base_store(path))
        self.path, self._records = str(path), {}

    def _with_store(self, store: Store) -> Self:
        other = copy(self)
        other._store = store
        return other

    def record_of(self, key: str) -> str | None:
        """The name of the record that would list an object; None if the object does not exist."""
        return RECORD

    def place_of(self, name: str) -> str:
        """What a record's own digest includes, so that it counts nowhere else."""
        return name

    def complaint(self, key: str, what: str) -> str:
        """What is wrong with an object, and what to do about it."""
        return f"path: {key} in {self.path!r} {what}; restore it from a copy or compute it again"

    async def _record(self, name: str) -> dict[str, Any]:
        """A record, read once."""
        if name not in self._records:
            document = None
            with suppress(FileNotFoundError):  # there is no folder
                document = await self._store.get(name, default_buffer_prototype())
            self._records[name] = {} if document is None else self._parsed(name, document.to_bytes())
        return self._records[name]

    def _parsed(self, name: str, document: bytes) -> dict[str, Any]:
        """A record from its bytes, of which every bit must be what was written."""
        try:
            record = json.loads(document)["record"]
            if _sealed(record, self.place_of(name)) == document and isinstance(record["digests"], dict):
                return record
        except (LookupError, RecursionError, TypeError, ValueError):
            pass
        raise DamagedError(self.complaint(name, "is damaged"))

    def record(self, name: str = RECORD) -> dict[str, Any]:
        """What a record holds; nothing if there is none."""
        return sync(self._record(name))

    def damage(self, name: str = RECORD) -> dict[str, str]:
        """Read a record and all objects it lists; for each that is not what was written, what is wrong."""
        try:
            digests = self.record(name).get("digests", {})
        except DamagedError:
            return {name: "is damaged"}
        found = {key: _wrong(get(self._store, key), expected) for key, expected in digests.items()}
        return {key: wrong for key, wrong in found.items() if wrong}

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """An object, compared with its digest; None if no record lists it."""
        if byte_range is not None:
            raise ProblemError(f"path: part of {key} in {self.path!r} cannot be checked; read all of it")
        name = self.record_of(key)
        expected = None if name is None else (await self._record(name)).get("digests", {}).get(key)
        if expected is None:
            return None
        found = await self._store.get(key, prototype)
        if wrong := _wrong(found, expected):
            raise DamagedError(self.complaint(key, wrong))
        if found is not None and key.rpartition("/")[2] in METADATA:
            check_metadata(found.to_bytes(), f"{self.path}/{key}")
        return found

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Several objects, each checked as :meth:`get` does."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for request in requests:
            yield request[0], await self.get(*request)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """What the record lists there: an array whose folder is gone is missed as well."""
        inside = f"{prefix}/".lstrip("/")
        keys = (await self._record(RECORD)).get("digests", {})
        for name in dict.fromkeys(key.removeprefix(inside).partition("/")[0] for key in keys if key.startswith(inside)):
            yield name


class UncheckedStore(CheckedStore):
    """A dataset that version 0.1 saved, which has no record and so is read unchecked."""

    async def _record(self, name: str) -> dict[str, Any]:
        if name not in self._records:
            objects = {key: await self._store.get(key, default_buffer_prototype()) async for key in self._store.list()}
            digests = {key: digest(content.to_bytes()) for key, content in objects.items() if content is not None}
            self._records[name] = {"digests": digests}
        return self._records[name]


def digest(content: bytes) -> str:
    """The digest of an object."""
    return blake2b(content, digest_size=16).hexdigest()


def _wrong(found: Buffer | None, expected: str) -> str:
    """What is wrong with an object, in words; nothing if it is what was written."""
    if found is None:
        return "is missing"
    return "" if digest(found.to_bytes()) == expected else "is damaged"


def _sealed(record: Mapping[str, Any], place: str) -> bytes:
    """A record as bytes, with a digest of itself and its place."""
    content = json.dumps(record)
    return f'{{"digest": "{digest((place + content).encode())}", "record": {content}}}'.encode()


def get(store: Store, key: str) -> Buffer | None:
    """An object as it is; None if there is none."""
    return sync(store.get(key, default_buffer_prototype()))


def encoded(write: Callable[[MemoryStore], object]) -> dict[str, Buffer]:
    """The objects that a call writes to a store."""
    objects: dict[str, Buffer] = {}
    write(MemoryStore(objects))
    return objects


def put(store: Store, objects: Mapping[str, Buffer], key: str, place: str, record: Mapping[str, Any]) -> None:
    """Write objects, and when they are on the disk the record that makes them count."""
    digests = {name: digest(content.to_bytes()) for name, content in objects.items()}
    document = default_buffer_prototype().buffer.from_bytes(_sealed({**record, "digests": digests}, place))

    async def write(batch: Mapping[str, Buffer]) -> None:
        await asyncio.gather(*(store.set(name, content) for name, content in batch.items()))

    for batch in (objects, {key: document}):
        sync(write(batch))
        if isinstance(store, LocalStore):
            flush({*batch, *(str(folder) for name in batch for folder in Path(name).parents)}, store.root)


def put_folder(path: Path, objects: Mapping[str, Buffer]) -> None:
    """Make a folder of objects and their record: it is there whole or not at all."""
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        put(LocalStore(partial), objects, RECORD, RECORD, {})
        partial.rename(path)
        flush(["."], path.parent)
    finally:
        rmtree(partial, ignore_errors=True)


def flush(names: Iterable[str], root: Path) -> None:
    """Have files and folders on the disk, so that the order of writes survives a loss of power."""

    def each(name: str) -> None:
        descriptor = os.open(root / name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(each, names))


def check_metadata(document: bytes, where: str) -> None:
    """Refuse metadata that ask for anything but known codecs.

    Raises
    ------
    ProblemError
        Naming the codec and the document.
    """
    try:
        names = set(_codecs(json.loads(document)))
    except (RecursionError, ValueError):
        raise DamagedError(f"path: {where} is not metadata of zarr; restore it from a copy or write it again") from None
    for name in sorted(names - CODECS):
        raise ProblemError(
            f"path: {where} asks for the codec {name[:80]!r}, which sgdlimit does not write and which could run code; "
            "use a store that sgdlimit wrote"
        )


def _codecs(parsed: Any, inside: bool = False) -> Iterator[str]:
    """All that could name a codec, compressor or filter in metadata of formats 2 and 3, wherever it stands."""
    if isinstance(parsed, list):
        for part in parsed:
            yield from _codecs(part, inside)
    elif isinstance(parsed, dict):
        if inside:
            yield from {str(parsed[key]) for key in ("id", "name") if key in parsed} or {"without a name"}
        for key, part in parsed.items():
            yield from _codecs(part, key in ("codecs", "index_codecs", "compressor", "filters"))
    elif isinstance(parsed, str) and inside:
        yield parsed


def base_store(path: str | Path, *, read_only: bool = True) -> Store:
    """The store at a local path or an fsspec URL, which holds "://".

    Raises
    ------
    ProblemError
        If the URL's protocol is not known, or what it needs is not installed.
    """
    if "://" not in str(path):
        return LocalStore(Path(path), read_only=read_only)
    try:
        options = {"auto_mkdir": True} if str(path).startswith(("file://", "local://")) else None
        return FsspecStore.from_url(str(path), storage_options=options, read_only=read_only)
    except (ImportError, ValueError) as error:
        raise ProblemError(
            f"store: {str(path)!r} cannot be opened ({error}); correct the address or install its fsspec package"
        ) from None
