"""Data from a file or by the name of a data set, as a table of numbers."""

import csv
import gzip
import os
import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy import ndarray
from pandas import DataFrame

from ..errors import ProblemError, nearest, shown
from ..resources import refuse_beyond_memory
from ._columns import Table, choose

NAMED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
"""Data sets that ship with scikit-learn."""

ARRAYS = (".npy", ".npz", ".npy.gz", "-ubyte", "-ubyte.gz")
TEXTS = (".csv", ".tsv", ".txt", ".dat", ".data")
READ = (*ARRAYS, ".parquet", *TEXTS, *(f"{suffix}.gz" for suffix in TEXTS))

CONVERT = {
    r"\.mat": 'np.save("data.npy", scipy.io.loadmat({path})["NAME"])',
    r"\.(pt|pth)": 'np.save("data.npy", torch.load({path}).numpy())',
    r"\.(h5|hdf5)": 'np.save("data.npy", h5py.File({path})["NAME"][:])',
    r"\.xlsx?": 'pd.read_excel({path}).to_csv("data.csv", index=False)',
    r"\.(feather|arrow)": 'pd.read_feather({path}).to_csv("data.csv", index=False)',
}
"""How files of other kinds are converted, in a line of Python."""

COPIES = 3  # of the samples in double precision: as read, checked, and prepared for the network
PER_BYTE = 4  # bytes of memory for a byte of text: "0," becomes a double, and is parsed from a copy
LONGEST = 16 << 20  # bytes of a line
MISSING = ("", "?", "na", "n/a", "nan", "null", "none")


def read_samples(source: str, *, columns: str = "", drop: str = "", labels: str = "", delimiter: str = "") -> Table:
    """Samples, one in each row, from a file or by name.

    Parameters
    ----------
    source
        The path of a table of text (``.csv``, ``.tsv``, ``.txt``, ``.dat``, ``.data``) or of a ``.npy`` file, also as
        ``.gz``; of a ``.parquet`` file; of a ``.npz`` file, as ``data.npz:name`` where it holds several arrays. Or one
        of :data:`NAMED`, without its constant columns. A file comes before a data set of its name. Arrays of more than
        two axes, such as images, are flattened.
    columns, drop
        The columns to use and the columns to leave out: headings, or numbers from 1 where there are none, separated by
        commas, and ``FIRST:LAST`` for all from one to another. By default all are used but an index in front.
    labels
        Where the labels are: the heading of a column, which is no input then; ``"target"`` of one of :data:`NAMED`; or
        a file of its own with one label in each row, also as ``labels.npz:name``.
    delimiter
        What separates the columns of a text, one character; found by itself if it is a comma, semicolon, tab, bar or
        space. Where it is no comma, numbers may have decimal commas.

    Raises
    ------
    ProblemError
        If there is no such file, it does not hold a table of numbers or more than the free memory, or a column by its
        heading holds labels.

    Examples
    --------
    >>> samples, columns, _ = read_samples("wine", drop="proline")
    >>> print(samples.shape, columns)
    (178, 12) Columns: 12 of 13 are used, 'alcohol' to 'od280/od315_of_diluted_wines'. Left out: 'proline' (--drop).
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            named = source in NAMED and not Path(source).exists()
            frame = _named(source, bool(labels)) if named else _file(source, delimiter)
            found = _labels(frame, source, labels, delimiter) if labels else None
    except ProblemError:
        raise
    except Exception as error:  # broken files make numpy, zipfile, zlib and pandas raise more kinds than can be listed
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ProblemError(
            f"DATA: {shown(source)} cannot be read ({_cut(reason)}). Give the path of a table as UTF-8 text, or of an "
            "array written with np.save(path, np.asarray(samples, dtype=float))."
        ) from None
    return choose(frame, columns, drop)._replace(labels=found)


def _labels(frame: DataFrame, source: str, labels: str, delimiter: str) -> ndarray:
    """The labels: a column, which is taken out of the table; another array of the archive; or a file of their own."""
    names = [str(name + 1) if isinstance(name, int) else name for name in frame.columns]
    if labels in names:
        return frame.pop(frame.columns[names.index(labels)]).to_numpy()
    archive, member = (*re.split(r"(?<=\.npz):", source, maxsplit=1), "")[:2]
    if member and labels.isidentifier():
        labels = f"{archive}:{labels}"
    if not Path(re.split(r"(?<=\.npz):", labels)[0]).is_file():
        fix = nearest(labels, names, f" The headings are {_cut(', '.join(names))}.")
        raise ProblemError(f"--labels: must be the heading of a column or a file (got {shown(labels)}).{fix}")
    content = _file(labels, delimiter, ndim=1)
    if content.shape[1] != 1 or len(content) != len(frame):
        raise ProblemError(
            f"--labels: must be one column of {len(frame)} labels (got {content.shape} in {shown(labels)}). Correct it."
        )
    return content.iloc[:, 0].to_numpy()


def _cut(reason: object) -> str:
    """What another library says, short and in one line."""
    return shown(" ".join(str(reason).split()))[1:-1].rstrip(".")


def _named(name: str, labelled: bool) -> DataFrame:
    """A data set of scikit-learn without its constant columns, with its labels as ``target`` if they are wanted."""
    try:
        from sklearn import datasets
    except ImportError:
        raise ProblemError(f"DATA: {name!r} needs scikit-learn. Run pip install 'sgdlimit[data]'.") from None
    found = getattr(datasets, f"load_{name}")(as_frame=True)
    frame = found.data.loc[:, found.data.max() > found.data.min()]
    if labelled:
        texts = getattr(found, "target_names", None)
        frame = frame.assign(target=found.target if texts is None else np.asarray(texts)[found.target])
    return frame


def _file(source: str, delimiter: str, ndim: int = 2) -> DataFrame:
    """What a file holds, with its headings as strings, or numbers from 0 as headings where it has none.

    An array must have at least ``ndim`` axes.
    """
    path, member = (*re.split(r"(?<=\.npz):", source, maxsplit=1, flags=re.IGNORECASE), "")[:2]
    lower = path.lower()
    for kind, line in CONVERT.items():
        if re.search(f"{kind}$", lower):
            line = line.format(open="gzip.open" if lower.endswith(".gz") else "open", path=shown(path))
            raise ProblemError(f"DATA: {shown(source)} is of a kind that is not read. Convert it in Python: {line}.")
    if not lower.endswith(READ):
        raise ProblemError(
            f"DATA: must be a file ({', '.join((*ARRAYS, '.parquet', *TEXTS))}) or one of {', '.join(NAMED)} (got "
            f"{shown(source)}). Give one of them."
        )
    if os.stat(path) and not os.path.isfile(path):
        raise ProblemError(f"DATA: {shown(path)} must be a regular file (got a folder, pipe or device). Name the file.")
    if lower.endswith(".parquet"):
        return _parquet(path)
    text = lower.removesuffix(".gz").endswith(TEXTS)
    with _opened(path, PER_BYTE if text else 0) as file:
        if text:
            return _text(file, path, delimiter.replace(r"\t", "\t"))
        if "-ubyte" in lower:
            array = _idx(file.read())
        else:
            array = _array(path if lower.endswith(".npy") else file, path, member)
    if array.dtype.kind not in "biuf" + "U" * (ndim == 1):
        raise ProblemError(f"DATA: must be real numbers (got {array.dtype} in {shown(source)}). Convert them.")
    if array.ndim < ndim or not array.size:
        raise ProblemError(
            f"DATA: must be of shape (count, D), a sample in each row (got {array.shape} in {shown(source)}). "
            "Reshape it."
        )
    _check_memory(path, array.size * 8 * COPIES)
    return DataFrame(array.reshape(len(array), -1))


def _check_memory(path: str, needed: int) -> None:
    refuse_beyond_memory("DATA", shown(path), needed, "Give fewer samples or columns.")


def _opened(path: str, per_byte: int) -> IO[bytes]:
    """A file whose content fits into memory; one that is compressed is read, because its size is not known before."""
    if not path.lower().endswith(".gz"):
        _check_memory(path, os.path.getsize(path) * per_byte)
        return open(path, "rb")
    content = BytesIO()
    with gzip.open(path) as file:
        while part := file.read(1 << 20):
            content.write(part)
            _check_memory(path, content.tell() * (per_byte or 1))
    content.seek(0)
    return content


def _array(file: str | IO[bytes], path: str, member: str) -> ndarray:
    """The array of a .npy file, or a member of a .npz archive: the one named, or the only one."""
    # Without pickles, and mapped: nothing is read before its size is known.
    content = np.load(file, mmap_mode="r" if isinstance(file, str) else None)
    if isinstance(content, ndarray):
        return content
    with content:
        names = content.files
        name = member or (names[0] if len(names) == 1 else "")
        if name not in names:
            raise ProblemError(
                f"DATA: must name one of the arrays {_cut(', '.join(map(repr, names)))} of {shown(path)} (got "
                f"{shown(member) if member else 'none'}). Write it as PATH.npz:NAME."
            )
        sizes = {info.filename: info.file_size for info in content.zip.infolist()}
        _check_memory(path, sizes.get(f"{name}.npy", sizes.get(name, 0)))
        array = content[name]
    if not isinstance(array, ndarray):
        raise ProblemError(f"DATA: {shown(name)} of {shown(path)} must be an array. Write it with np.savez.")
    return array


def _idx(content: bytes) -> ndarray:
    """An array as MNIST comes: two zero bytes, 8 for bytes, the number of axes, their sizes, and the entries."""
    zeros, kind, axes = content[:2], content[2], content[3]
    if zeros != b"\0\0" or kind != 8:
        raise ValueError("it is no idx file of bytes")
    sizes = np.frombuffer(content, ">u4", axes, 4)
    return np.frombuffer(content, "u1", offset=4 + 4 * axes).reshape(sizes)


def _parquet(path: str) -> DataFrame:
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ProblemError(f"DATA: {shown(path)} needs pyarrow. Run pip install 'sgdlimit[parquet]'.") from None
    with parquet.ParquetFile(path) as file:
        found = file.metadata
        groups = map(found.row_group, range(found.num_row_groups))
        stored = sum(group.total_byte_size for group in groups)
        _check_memory(path, stored + found.num_rows * found.num_columns * 8 * COPIES)
        frame = file.read().to_pandas()
    return frame.set_axis(frame.columns.map(str), axis=1)


def _text(file: IO[bytes], path: str, delimiter: str) -> DataFrame:
    """A table of text: its first lines give the delimiter and the headings, pandas reads the rest."""
    if len(delimiter) > 1:
        raise ProblemError(f"--delimiter: must be one character (got {shown(delimiter)}). Try ';' or '\\t'.")
    skipped, lines = 0, []
    while len(lines) < 2 and (line := file.readline(LONGEST).decode("utf-8-sig")):
        if len(line) >= LONGEST:
            raise ProblemError(f"DATA: {shown(path)} must have lines below {LONGEST >> 20} MiB. Give a table of text.")
        if line.strip() and (lines or not line.startswith("#")):
            lines.append(line.rstrip("\r\n"))
        else:
            skipped += not lines
    lines = lines or ["heading"]  # of an empty file, which holds no samples
    delimiter = delimiter or next((mark for mark in ";\t,| " if all(mark in line for line in lines)), ",")
    decimal = "," if delimiter != "," and re.search(r"\d,\d", lines[-1]) else "."
    rows = [next(csv.reader([line.strip(" ")], delimiter=delimiter, skipinitialspace=True)) for line in lines]
    headed = has_headings(*([cell.strip().replace(decimal, ".") for cell in row] for row in rows))
    file.seek(0)
    try:
        frame = pd.read_csv(
            file, header=None, skiprows=skipped + headed, sep=r"\s+" if delimiter == " " else delimiter,
            decimal=decimal, na_values=["?"], skipinitialspace=True, float_precision="round_trip", low_memory=False,
            encoding="utf-8-sig",
        ).dropna(how="all")  # fmt: skip
    except pd.errors.EmptyDataError:
        frame = DataFrame()
    if frame.empty:
        raise ProblemError(f"DATA: {shown(path)} holds no samples. Give one in each line.")
    width = frame.shape[1]
    if not headed:
        return frame
    headings = [heading.strip() for heading in rows[0]]
    if len(headings) == width - 1:  # of R, whose index has no heading, or lines that end with a delimiter
        headings.insert(width if frame.iloc[:, -1].isna().all() else 0, "")
    if len(headings) != width:
        raise ProblemError(
            f"DATA: {shown(path)} must have a heading for each of its {width} columns (got {len(headings)}). "
            "Correct it, or give the --delimiter."
        )
    return frame.set_axis(headings, axis=1)


def has_headings(first: list[str], second: list[str] | None = None) -> bool:
    """Whether the first line of a table holds its headings, to be told from the line below.

    Headings are words above numbers, or evenly spaced numbers, such as the 0, 1, 2, ... of pandas.

    Examples
    --------
    >>> has_headings(["label", "1x1"], ["5", "0"]), has_headings(["0", "1", "2"], ["0.3", "-1.2", "0.9"])
    (True, True)
    >>> has_headings(["5.1", "setosa"], ["4.9", "setosa"]), has_headings(["1", "?"], ["2", "4"])
    (False, False)
    """
    if second is None or all(map(_is_word, first)):
        return any(map(_is_word, first))
    pairs = [*zip(first, second, strict=False)][first[0] == "" :]  # without the heading of an index
    if any(_is_word(cell) and not _is_word(below) for cell, below in pairs):
        return True
    rows = [
        [_number(cell) for cell in row] for row in zip(*(pair for pair in pairs if not _is_word(pair[0])), strict=True)
    ]
    above, below = rows or ([], [])
    if above and above == list(range(len(above))) and (len(above) > 3 or any(value % 1 for value in below)):
        return True
    return len(above) > 3 and _evenly_spaced(above) and not _evenly_spaced(below)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(cell.lower(), np.nan)


def _is_word(cell: str) -> bool:
    return np.isnan(_number(cell)) and cell.lower() not in MISSING


def _evenly_spaced(values: list[float]) -> bool:
    steps = np.diff(values)
    return bool(steps[0] > 0 and np.allclose(steps, steps[0]))
