"""Data from a file or by the name of a data set, as an array of samples."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from ..errors import ProblemError

NAMED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
"""Data sets that ship with scikit-learn."""

NO_ARRAY = (ValueError, EOFError, AttributeError, TypeError, BadZipFile)  # what numpy raises for files of other kinds


def read_samples(source: str) -> Float[ndarray, "count D"]:
    """Samples, one in each row, from a file or by name.

    Parameters
    ----------
    source
        The path of a ``.npy`` or ``.csv`` file (comma-separated, with or without a line of headings), or of a ``.npz``
        file, as ``data.npz:name`` where it holds several arrays; or one of :data:`NAMED`, without its constant columns.
        A file comes before a data set of its name. Arrays of more than two axes, such as images, are flattened.

    Raises
    ------
    ProblemError
        If there is no such file, or it does not hold a table of numbers.

    Examples
    --------
    >>> read_samples("digits").shape  # three of its 64 pixels are blank
    (1797, 61)
    """
    if source in NAMED and not Path(source).exists():
        try:
            from sklearn import datasets
        except ImportError:
            raise ProblemError(f"DATA: {source!r} needs scikit-learn. Run pip install 'sgdlimit[data]'.") from None
        samples = getattr(datasets, f"load_{source}")().data
        return samples[:, np.ptp(samples, 0) > 0]
    path, _, member = source.partition(":") if ".npz:" in source.lower() else (source, "", "")
    suffix = Path(path).suffix.lower()
    if suffix not in (".npy", ".npz", ".csv"):
        raise ProblemError(f"DATA: must be a .npy, .npz or .csv file, or one of {', '.join(NAMED)} (got {source!r}).")
    try:
        array = _table(path) if suffix == ".csv" else _array(path, member, archive=suffix == ".npz")
    except OSError as error:
        raise ProblemError(
            f"DATA: {path!r} cannot be read ({error.strerror or error}). Give a file of samples."
        ) from None
    if array.dtype.kind not in "biuf":
        raise ProblemError(f"DATA: must be real numbers (got {array.dtype} in {source!r}). Convert them.")
    if array.ndim < 2:
        raise ProblemError(
            f"DATA: must be of shape (count, D), a sample in each row (got {array.shape} in {source!r})."
        )
    return array.reshape(len(array), -1).astype(float)


def _array(path: str, member: str, archive: bool) -> ndarray:
    """The array of a .npy file, or a member of a .npz archive: the one named, or the only one."""
    try:
        content = np.load(path)  # without pickles
        if not archive:
            return content[...]
        with content:
            names = content.files
            chosen = member or names[0] if len(names) == 1 else member
            if chosen in names:
                return content[chosen]
    except NO_ARRAY:
        raise ProblemError(
            f"DATA: {path!r} must hold arrays of numbers (objects are not read). Write it with "
            f"{'np.savez(path, samples=samples)' if archive else 'np.save(path, np.asarray(samples, dtype=float))'}."
        ) from None
    raise ProblemError(
        f"DATA: must name one of the arrays {', '.join(map(repr, names))} of {path} (got {member!r}). For example "
        f"{path}:{next(iter(names), 'samples')}."
    )


def _table(path: str) -> Float[ndarray, "count D"]:
    """A table of numbers. A first line without any number is its headings."""
    options = {"header": None, "dtype": str, "keep_default_na": False, "skip_blank_lines": False}
    try:
        cells = pd.read_csv(path, encoding="utf-8-sig", **options).fillna("")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ProblemError(
            f"DATA: {path!r} is not a csv file ({str(error).strip()}). Write it as UTF-8 text."
        ) from None
    cells = cells[(cells != "").any(axis=1)]
    wrong = cells.apply(pd.to_numeric, errors="coerce").isna() & ~cells.isin(["nan", "NaN"])
    if len(cells) and wrong.iloc[0].all():
        cells, wrong = cells[1:], wrong[1:]
    if cells.empty:
        raise ProblemError(f"DATA: {path!r} holds no numbers. Give a sample in each line, separated by commas.")
    for row, column in np.argwhere(wrong.to_numpy())[:1]:
        raise ProblemError(
            f"DATA: line {cells.index[row] + 1}, column {column + 1} of {path!r} must be a number (got "
            f"{cells.iloc[row, column]!r}). Leave out such columns or lines."
        )
    return cells.to_numpy(dtype=float)
