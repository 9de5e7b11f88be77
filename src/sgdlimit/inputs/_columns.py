"""Which columns of a table are inputs."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pandas import DataFrame, Series, to_numeric

from ..errors import ProblemError, nearest, shown

ASIDE = re.compile(r"y|index|(.*[\W_])?(label|target|class|outcome|id)(e?s)?([\W_].*)?", re.IGNORECASE)
"""Headings of labels and of numbers of the samples."""

FEW = 20  # distinct values of labels, at most
SEEN = 1000  # samples that are looked at to find labels without a heading


CHOSEN = "inputs"
"""Name of the columns of a table whose headings need not be checked again."""


class Table(NamedTuple):
    """Samples, and a sentence that names their columns."""

    samples: DataFrame
    """Numbers, one sample in each row, under headings or numbers from 1."""
    columns: str
    labels: ndarray | None = None
    """A label for each sample, if they were asked for."""


def choose(frame: DataFrame, columns: str = "", drop: str = "") -> Table:
    """The columns of a table that are inputs: those asked for, or all except a leading index and empty ones.

    Parameters
    ----------
    frame
        A table whose headings are strings, or numbers from 0 where it has none, which the user counts from 1.
    columns, drop
        See :func:`sgdlimit.inputs.read_samples`.

    Raises
    ------
    ProblemError
        If a column that was not asked for is headed as labels are, does not hold numbers or has gaps; or none is left.
    """
    if frame.columns.dtype.kind == "i":
        frame.columns += 1
    names = list(frame.columns)
    headings = list(map(str, names))
    dropped = {*_places("--drop", drop, headings)}
    kept = [place for place in _places("--columns", columns, headings) or range(len(names)) if place not in dropped]
    left_out = {"--drop": dropped}
    if not columns:
        left_out["no entries"] = {*np.flatnonzero(frame.isna().to_numpy().all(axis=0)).tolist()}.difference(dropped)
        left_out["an index"] = {0}.difference(dropped) if _is_index(headings[0], frame.iloc[:, 0]) else set()
        kept = [place for place in kept if not any(place in places for places in left_out.values())]
        used = (headings[place] for place in kept)
        check_headings(used, "DATA", "Add --drop {}, or name in --columns what to use.")
    if not kept:
        raise ProblemError(f"DATA: must have columns that are used (got {len(names)}, left out). Leave out fewer.")
    samples, used = _numbers(frame.iloc[:, kept]), frame.columns[kept]
    text = f"Columns: {len(kept)} of {len(names)} are used, {_named(names, kept)}."
    without = [f"{_named(names, sorted(places))} ({reason})" for reason, places in left_out.items() if places]
    text += f" Left out: {', '.join(without)}." if without else ""
    return Table(DataFrame(samples, columns=used.rename(CHOSEN)), text + _like_labels(samples, list(used)))


def _places(option: str, wanted: str, headings: Sequence[str]) -> list[int]:
    """The columns that an option names: one heading, or several and ranges FIRST:LAST between commas."""
    places: dict[int, None] = {}
    for name in [wanted] if wanted and wanted in headings else filter(None, wanted.split(",")):
        first, _, last = (name, "", name) if name in headings else name.partition(":")
        for end in (first, last):
            if end not in headings:
                raise ProblemError(
                    f"{option}: must be headings, or FIRST:LAST (got {shown(name)}, and the headings are "
                    f"{_named(headings, range(len(headings)))}).{nearest(end, headings, ' Name one of them.')}"
                )
        start, stop = headings.index(first), len(headings) - headings[::-1].index(last)
        places |= dict.fromkeys(range(start, stop))
    return list(places)


def _named(headings: Sequence[object], places: Sequence[int]) -> str:
    """Columns by their headings; only the first and the last if there are many."""
    names = [shown(headings[place]) for place in places]
    whole = len(names) > 3 and places[-1] - places[0] == len(names) - 1
    if whole:
        return f"{names[0]} to {names[-1]}"
    return ", ".join(names if len(names) <= 6 else [*names[:3], "...", names[-1]])


def _is_index(heading: str, column: Series) -> bool:
    """Whether a first column is an index written by pandas or R, or counts the samples."""
    values = column.to_numpy()
    return heading in ("", "Unnamed: 0") or (
        len(values) > 2
        and values.dtype.kind in "iuf"
        and values[0] in (0, 1)
        and np.array_equal(values, np.arange(len(values)) + values[0])
    )


def check_headings(headings: Iterable[object], field: str, fix: str) -> None:
    """Refuse columns whose headings are those of labels or indices."""
    aside = [heading for heading in headings if isinstance(heading, str) and ASIDE.fullmatch(heading)]
    if aside:
        raise ProblemError(
            f"{field}: must not hold labels or indices (got {', '.join(map(shown, aside[:5]))} among the columns). "
            f"{fix.format(_joined(aside))} To learn labels, name them as labels."
        )


def _numbers(frame: DataFrame) -> Float[ndarray, "count D"]:
    """A table whose columns hold numbers without gaps."""
    names, wrong = list(frame.columns), {}
    texts = [place for place, dtype in enumerate(frame.dtypes) if dtype.kind not in "biuf"]
    for place in texts:
        column = frame.iloc[:, place]
        read: Any = to_numeric(column, errors="coerce") if column.dtype.kind == "O" else column.where(column.isna())
        bad = np.asarray(read.isna() & column.notna())
        if bad.any():
            wrong[names[place]] = bad.argmax(), str(column.iloc[bad.argmax()])
    for name, (sample, value) in wrong.items():
        raise ProblemError(
            f"DATA: columns must be numbers ({len(wrong)} of {len(names)} are not; {shown(name)} has "
            f"{shown(value)} in sample {sample + 1}). Add --drop {_joined(wrong)}, convert them or give --delimiter."
        )
    samples = (frame.apply(to_numeric) if texts else frame).to_numpy(dtype=float, na_value=np.nan)
    gaps = np.argwhere(~np.isfinite(samples))
    for sample, place in gaps[:1]:
        raise ProblemError(
            f"DATA: must be finite (got {len(gaps)} of {samples.size} entries empty, NaN or infinite, the first in "
            f"column {shown(names[place])}, sample {sample + 1}). Fill them in, or leave out such columns or samples."
        )
    return samples


def _joined(names: Iterable[object]) -> str:
    """The first few headings, in the form that an option reads."""
    return ",".join(str(name)[:100] for name in islice(names, 5))


def _like_labels(samples: Float[ndarray, "count D"], names: Sequence[object]) -> str:
    """A sentence if the first or last column looks like labels: few consecutive whole numbers, fewer than elsewhere."""
    seen = samples[:SEEN]
    distinct = [len(np.unique(column)) for column in seen.T]
    for place in (0, len(names) - 1):
        values, counts = np.unique(seen[:, place], return_counts=True)
        if (
            2 <= len(values) <= FEW
            and np.array_equal(values, values[0] + np.arange(len(values)))
            and values[0] % 1 == 0
            and counts.max() <= 0.75 * len(seen)
            and np.median(distinct) > len(values)
        ):
            return (
                f" Column {shown(names[place])} holds {len(values)} whole numbers only. If they are labels, add "
                f"--drop {names[place]}."
            )
    return ""
