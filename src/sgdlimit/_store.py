"""Zarr stores from anywhere, read as data: known codecs, chunks that were checked, none of a task that is not finished.

What zarr learns of a store passes through :class:`TrustedStore`, so a store that was tampered with or damaged cannot
run code, nor give numbers that were not written.
"""

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from .errors import ProblemError

__all__ = ["DamagedError", "TrustedStore", "base_store", "check_metadata", "intact"]

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
CODECS = frozenset(
    ("blosc", "bytes", "crc32c", "gzip", "lz4", "sharding_indexed", "transpose", "vlen-utf8", "zlib", "zstd")
)
"""What sgdlimit and xarray write. Others, which unpickle objects or are plugins, could run code."""

Request = tuple[str, BufferPrototype, ByteRequest | None]


class DamagedError(ProblemError):
    """A chunk or record of a store that is missing, cut short or not what was written."""


class TrustedStore(WrapperStore[Store]):
    """A store of which nothing but numbers and words is read.

    Parameters
    ----------
    store
        Where the bytes are.
    finished
        Says of the name of a chunk whether its task is finished: True or False, or None for what belongs to no task.
        By default nothing is known of tasks, and chunks have no checksum to be verified.
    explain
        Names a damaged chunk and what to do about it.
    """

    def __init__(
        self,
        store: Store,
        finished: Callable[[str], bool | None] | None = None,
        explain: Callable[[str, str], str] | None = None,
    ) -> None:
        super().__init__(store)
        self._finished, self._explain = finished, explain

    def _with_store(self, store: Store) -> "TrustedStore":
        return type(self)(store, self._finished, self._explain)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The bytes under a name, checked; None where there are none, or they are of a task that is not finished."""
        finished = None
        is_chunk = self._finished is not None and ("/c/" in f"{key}/" or "/c." in key) and not key.endswith(METADATA)
        if is_chunk and self._finished is not None:
            finished = self._finished(key)
            if finished is False:
                return None
        found = await self._store.get(key, prototype, byte_range)
        if key.rpartition("/")[2] in METADATA:
            if found is not None:
                check_metadata(found.to_bytes(), f"{self._store}/{key}")
        elif is_chunk and byte_range is None and not (found is not None and intact(found.to_bytes())):
            what = "is missing" if found is None else "is damaged"
            raise DamagedError(self._explain(key, what) if self._explain else f"{self._store}: {key} {what}")
        return found

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Parts of several, each checked as :meth:`get` does."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def _get_many(self, requests: Iterable[Request]) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for request in requests:
            yield request[0], await self.get(*request)


def intact(chunk: bytes) -> bool:
    """Whether the four bytes at the end of a chunk are the checksum of the others."""
    return len(chunk) > 4 and google_crc32c.value(chunk[:-4]) == int.from_bytes(chunk[-4:], "little")


def check_metadata(document: bytes, where: str) -> None:
    """Refuse metadata that ask for anything but known codecs.

    Raises
    ------
    ProblemError
        Naming the codec and the document.
    """
    try:
        names = set(_codecs(json.loads(document)))
    except ValueError:
        raise DamagedError(f"{where}: is not JSON; the store is damaged, restore it or begin anew") from None
    except RecursionError:
        raise DamagedError(f"{where}: is nested too deeply to be what was written; restore it or begin anew") from None
    for name in sorted(names - CODECS):
        raise ProblemError(
            f"{where}: asks for the codec {name[:80]!r}, which sgdlimit does not write and which could run code; "
            "the store is not opened"
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
