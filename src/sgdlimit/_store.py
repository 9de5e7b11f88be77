"""Zarr stores whose objects count once a record lists them, with the digest that every reader compares.

Writing: objects first, then on a local disk ``fsync``, then the record, which is one object and replaced atomically.
Reading: an object that no record lists does not exist; one that differs from its digest raises an error before anything
decodes it. A store that was forged with fitting digests can hold other numbers and nothing else: only regular files are
opened, only codecs that sgdlimit writes are used, and what would not fit into the memory is refused.
"""

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from glob import escape
from hashlib import blake2b
from math import prod
from pathlib import Path
from shutil import rmtree
from socket import gethostname
from stat import S_ISREG
from typing import Any
from uuid import uuid4

from numcodecs import Zstd
from psutil import pid_exists
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.buffer.core import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from .errors import ProblemError, shown
from .resources import available_bytes

RECORD = "record.json"
METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
CODECS = ("bytes", "vlen-utf8", "zstd")
"""The codecs that sgdlimit writes. Others unpickle objects, are plugins, or read beyond their buffer, as Blosc does."""

PLACES_OF_CODECS = ("codecs", "index_codecs", "compressor", "filters")
MALFORMED = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Errors that reading a malformed document raises."""

PROTOTYPE = default_buffer_prototype()

ALWAYS_FITS = 1 << 26
"""Bytes for which the free memory is not asked."""

ZSTD = bytes.fromhex("28b52ffd")
UNKNOWN = 1 << 64


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
        self.path = str(path)
        self._records: dict[str, dict[str, Any]] = {"": {"digests": {}}}
        self._texts = set[str]()

    def record_of(self, key: str) -> str:
        """The name of the record that would list an object."""
        return RECORD

    def place_of(self, name: str) -> str:
        """The place that a record's own digest includes, so that the record counts nowhere else."""
        return name

    def complaint(self, key: str, what: str) -> DamagedError:
        """The error that says what is wrong with an object, and what to do about it."""
        return DamagedError(f"path: {key} in {self.path!r} {what}. Restore it from a copy or compute it again.")

    async def _record(self, name: str) -> dict[str, Any]:
        """A record, read once, whose every bit must be as written. A record that does not exist lists nothing."""
        if name not in self._records:
            document = None
            with suppress(FileNotFoundError):  # there is no folder
                document = await self._read(name)
            self._records[name] = {"digests": {}} if document is None else self._parsed(name, document.to_bytes())
        return self._records[name]

    async def _read(self, key: str) -> Buffer | None:
        """An object, unchecked; None if it does not exist. A file that may never end is not opened."""
        if isinstance(self._store, LocalStore):
            with suppress(OSError):  # which reading it raises as well
                status = (self._store.root / key).stat()
                if not S_ISREG(status.st_mode):
                    raise self.complaint(key, "is no regular file")
                if not fits(status.st_size):
                    raise self.complaint(key, "is larger than the free memory")
        return await self._store.get(key, PROTOTYPE)

    def _parsed(self, name: str, document: bytes) -> dict[str, Any]:
        with suppress(*MALFORMED):
            record = json.loads(document)["record"]
            if _sealed(record, self.place_of(name)) == document and isinstance(record["digests"], dict):
                return record
        raise self.complaint(name, "is damaged")

    def record(self, name: str = RECORD) -> dict[str, Any]:
        """The content of a record; without ``digests`` if the record does not exist."""
        return sync(self._record(name))

    def wrong(self, name: str = RECORD) -> list[str]:
        """Read a record and all objects it lists. Return every damaged object, and what is wrong with it."""
        try:
            digests = self.record(name)["digests"]
        except DamagedError:
            return [f"{name} is damaged"]
        found = {key: sync(self._checked(key, expected))[1] for key, expected in digests.items()}
        return [f"{key} {what}" for key, what in found.items() if what]

    async def _checked(self, key: str, expected: str) -> tuple[Buffer | None, str]:
        """An object and what is wrong with it, in words; an empty string if it is as written."""
        try:
            found = await self._read(key)
        except DamagedError:
            return None, "is damaged"
        if found is None:
            return None, "is missing"
        return found, "" if digest(found.to_bytes()) == expected else "is damaged"

    async def get(self, key, prototype, byte_range=None):
        """An object, compared with its digest; None if no record lists it."""
        if byte_range is not None:
            raise ProblemError(f"path: {key} in {self.path!r} must be read as a whole, to be checked. Read all of it.")
        expected = (await self._record(self.record_of(key)))["digests"].get(key)
        if expected is None:
            return None
        found, what = await self._checked(key, expected)
        if found is None or what:
            raise self.complaint(key, what)
        content, is_text = found.to_bytes(), key.startswith(tuple(self._texts))
        if key.rpartition("/")[2] in METADATA:
            check_metadata(content, f"{self.path}/{key}")
            self._texts |= arrays_of_text(content, key)
        elif not fits((4 if is_text else 1) * declared_bytes(content)):
            raise self.complaint(key, "is larger than the free memory")
        elif is_text:
            strings = Zstd().decode(content) if content.startswith(ZSTD) else content
            if 4 * int.from_bytes(strings[:4], "little") > len(strings):  # the length of each takes four bytes
                raise self.complaint(key, "is damaged")
        return found

    async def get_partial_values(self, prototype, key_ranges):
        """Several objects, each checked as :meth:`get` does."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    _get_many = Store._get_many  # each by get(), where the parent asks the store inside

    async def list_dir(self, prefix):
        """Names that the record lists in a folder, so that an array without its folder is missed as well."""
        inside = f"{prefix}/".lstrip("/")
        keys = [key for key in (await self._record(RECORD))["digests"] if key.startswith(inside)]
        for name in dict.fromkeys(key.removeprefix(inside).partition("/")[0] for key in keys):
            yield name


def digest(content: bytes) -> str:
    """The digest of an object."""
    return blake2b(content, digest_size=16).hexdigest()


def fits(size: int) -> bool:
    """Whether so many bytes fit into the memory."""
    return size <= ALWAYS_FITS or size <= available_bytes()


def declared_bytes(content: bytes) -> int:
    """The size of an object once it is decoded: what a frame of zstd declares (RFC 8878, 3.1.1.1)."""
    if not content.startswith(ZSTD):
        return len(content)
    flags = content[4] if len(content) > 4 else 0
    single = flags >> 5 & 1
    width, start = (single, 2, 4, 8)[flags >> 6], 6 - single + (0, 1, 2, 4)[flags & 3]
    return int.from_bytes(content[start : start + width], "little") if width else UNKNOWN


def _sealed(record: Mapping[str, Any], place: str) -> bytes:
    """A record as bytes, with a digest of itself and its place."""
    content = json.dumps(record)
    return f'{{"digest": "{digest((place + content).encode())}", "record": {content}}}'.encode()


def put(store: Store, objects: Mapping[str, Buffer], key: str, place: str, record: Mapping[str, Any]) -> None:
    """Write objects, and when they are on the disk the record that makes them count."""
    digests = {name: digest(content.to_bytes()) for name, content in objects.items()}
    document = PROTOTYPE.buffer.from_bytes(_sealed({**record, "digests": digests}, place))
    try:
        for batch in (objects, {key: document}):
            sync(store._set_many(batch.items()))
            if isinstance(store, LocalStore):
                flush({store.root / part for name in batch for part in (name, *Path(name).parents)})
    except OSError as error:
        error.filename = error.filename or getattr(store, "root", store)  # a disk that is full does not say where
        raise


def put_folder(path: Path, objects: Mapping[str, Buffer]) -> None:
    """Make a folder of objects and their record, whole or not at all."""
    start = f".{path.name}.{gethostname()}."
    for left in path.parent.glob(f"{escape(start)}*.*.partial"):
        if not pid_exists(int(left.name.split(".")[-3])):  # of a process that was killed while it wrote
            rmtree(left, ignore_errors=True)
    partial = path.with_name(f"{start}{os.getpid()}.{uuid4().hex}.partial")
    try:
        put(LocalStore(partial), objects, RECORD, RECORD, {})
        partial.rename(path)
        flush([path.parent])
    finally:
        rmtree(partial, ignore_errors=True)


def flush(paths: Iterable[Path]) -> None:
    """Have files and folders on the disk, so that the order of writes survives a loss of power."""

    def each(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(each, paths))


def check_metadata(document: bytes, where: str) -> None:
    """Refuse metadata of formats 2 and 3 that ask for anything but known codecs, or chunks that do not fit.

    Raises
    ------
    ProblemError
        Naming the codec or the chunks, and the document.
    """
    names, sizes = set(), list[Any]()

    def note(table: dict[str, Any]) -> dict[str, Any]:
        """Gather what a table names as codecs, and its chunks; it is called for every table."""
        sizes.extend(part for part in map(table.get, ("chunks", "chunk_shape")) if isinstance(part, list))
        for part in map(table.get, PLACES_OF_CODECS):
            for codec in part if isinstance(part, list) else [part]:
                if isinstance(codec, dict):
                    names.update({str(codec[key]) for key in ("id", "name") if key in codec} or {"without a name"})
                elif isinstance(codec, str | list):
                    names.add(str(codec))
        return table

    try:
        json.loads(document, object_hook=note)
    except (RecursionError, ValueError):
        raise DamagedError(
            f"path: {where} must be metadata of zarr. Restore it from a copy or write it again."
        ) from None
    for name in sorted(names.difference(CODECS)):
        raise ProblemError(
            f"path: {where} asks for the codec {name[:80]!r}, which sgdlimit does not write and which could run code. "
            "Use a store that sgdlimit wrote."
        )
    for chunk in sizes:
        if not (all(type(size) is int and size > 0 for size in chunk) and fits(prod(chunk))):
            raise DamagedError(
                f"path: {where} must have chunks that fit into the memory (got {shown(chunk)}). Use a store that "
                "sgdlimit wrote."
            )


def arrays_of_text(document: bytes, key: str) -> set[str]:
    """Folders of the arrays of strings in metadata. Their chunks begin with the number of strings that is allocated."""
    found = json.loads(document)
    tables = {key: found, **found.get("metadata", {})}  # format 2 has those of all arrays together
    return {
        f"{name.rpartition('/')[0]}/"
        for name, table in tables.items()
        if "vlen-utf8" in str([table.get("codecs"), table.get("filters")])
    }


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
            f"store: {str(path)!r} cannot be opened ({error}). Correct the address or install its fsspec package."
        ) from None
