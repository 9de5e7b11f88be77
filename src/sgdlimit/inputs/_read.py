"""Data from a file or by the name of a data set, as an array of samples."""

import csv
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from ..errors import ProblemError

__all__ = ["NAMED", "read_samples"]

NAMED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
"""Data sets that ship with scikit-learn."""

FORMATS = (".npy", ".npz", ".csv")


def read_samples(source: str) -> Float[np.ndarray, "count D"]:
    """Samples, one in each row, from a file or by name.

    Parameters
    ----------
    source
        The path of a ``.npy`` or ``.csv`` file (comma-separated, with or without a line of headings), or of a ``.npz``
        file, as ``data.npz:name`` where it holds several arrays; or one of :data:`NAMED`, whose constant columns are
        left out. A file comes before a data set of its name. What has more than two axes, such as images, is flattened.

    Raises
    ------
    ProblemError
        If there is no such file, or what is in it is not a table of numbers.

    Examples
    --------
    >>> read_samples("digits").shape  # three of its 64 pixels are blank
    (1797, 61)
    """
    if source in NAMED and not Path(source).exists():
        return _named(source)
    path, _, member = source.partition(":") if ".npz:" in source.lower() else (source, "", "")
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ProblemError(
            f"DATA: {source!r} is neither a file ending in {', '.join(FORMATS)} nor a data set; "
            f"those known are {', '.join(NAMED)}"
        )
    try:
        array = {".npy": _npy, ".npz": lambda p: _npz(p, member), ".csv": _csv}[suffix](Path(path))
    except OSError as error:
        raise ProblemError(
            f"DATA: {path!r} cannot be read ({error.strerror or error}); give a file of samples"
        ) from None
    return _checked(array, source)


def _named(name: str) -> Float[np.ndarray, "count D"]:
    try:
        from sklearn import datasets
    except ImportError:
        raise ProblemError(
            f"DATA: {name!r} comes with scikit-learn, which is missing; pip install 'sgdlimit[data]'"
        ) from None
    samples = getattr(datasets, f"load_{name}")().data
    return samples[:, np.ptp(samples, axis=0) > 0]


def _npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise ProblemError(
            f"DATA: {str(path)!r} does not hold an array of numbers (objects are not read); "
            "write it with np.save(path, np.asarray(samples, dtype=float))"
        ) from None
    if not isinstance(array, np.ndarray):
        raise ProblemError(f"DATA: {str(path)!r} is an archive of arrays; let its name end in .npz")
    return array


def _npz(path: Path, member: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            chosen = names[0] if len(names) == 1 and not member else member
            array = archive[chosen] if chosen in names else None
    except (ValueError, EOFError, AttributeError, TypeError, BadZipFile):
        raise ProblemError(
            f"DATA: {str(path)!r} is no archive of arrays of numbers (objects are not read); write it with "
            "np.savez(path, samples=samples)"
        ) from None
    if array is None:
        what = f"has no array {member!r}" if member else f"holds {len(names)} arrays"
        raise ProblemError(
            f"DATA: {str(path)!r} {what}; choose one of {', '.join(map(repr, names))}, as in "
            f"{path}:{names[0] if names else 'samples'}"
        )
    return array


def _csv(path: Path) -> np.ndarray:
    """A table of numbers; a first line that holds none at all is its headings."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as lines:
            rows = [(number, row) for number, row in enumerate(csv.reader(lines), 1) if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ProblemError(f"DATA: {str(path)!r} is not a csv file ({error}); write it as UTF-8 text") from None
    if rows and not any(map(_is_number, rows[0][1])):
        rows = rows[1:]
    if not rows:
        raise ProblemError(f"DATA: {str(path)!r} holds no numbers; give a sample in each line, separated by commas")
    width = len(rows[0][1])
    for number, row in rows:
        if len(row) != width:
            raise ProblemError(
                f"DATA: line {number} of {str(path)!r} has {len(row)} columns where the first has {width}; correct it"
            )
        for column, text in enumerate(row, 1):
            if not _is_number(text):
                raise ProblemError(
                    f"DATA: line {number}, column {column} of {str(path)!r} is {text.strip()!r}, not a number; "
                    "leave out such columns or lines"
                )
    return np.array([[float(text) for text in row] for _, row in rows])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _checked(array: np.ndarray, source: str) -> Float[np.ndarray, "count D"]:
    if array.dtype.kind not in "biuf":
        raise ProblemError(f"DATA: {source!r} holds {array.dtype} where real numbers are needed; convert it")
    if array.ndim < 2:
        raise ProblemError(
            f"DATA: {source!r} has shape {array.shape}; give one of shape (count, D), a sample in each row"
        )
    return array.reshape(len(array), -1).astype(np.float64)
