"""The form of every result: a labelled trajectory of order parameters.

Theory and simulation both return an :class:`xarray.Dataset` with dimensions ``time``, ``student``, ``student_`` and
``teacher`` (a simulation has ``run`` first) and the variables of :data:`VARIABLES`, all float64.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from numcodecs import Zstd
from numpy.typing import ArrayLike
from zarr.storage import MemoryStore

from ._store import RECORD, CheckedStore, put_folder
from .errors import ProblemError, shown
from .resources import refuse_beyond_memory
from .settings import numbers, plain, use_of
from .signatures import checked

if TYPE_CHECKING:
    from .plotting import TrajectoryAccessor


class Variable(NamedTuple):
    """An order parameter as every dataset, figure and table names it."""

    dims: tuple[str, ...]
    """Dimensions, without those of runs, overlaps or a grid."""
    long_name: str
    symbol: str
    """In plain text, as ``"ε_g"``."""

    @property
    def tex(self) -> str:
        """The symbol for Matplotlib; words stay words."""
        word = len(self.symbol) > 1 and self.symbol.isascii()
        return self.symbol if word else "$" + self.symbol.replace("ε", r"\epsilon") + "$"


VARIABLES = {
    "Q": Variable(("time", "student", "student_"), "student-student overlap Q", "Q"),
    "R": Variable(("time", "student", "teacher"), "student-teacher overlap R", "R"),
    "v": Variable(("time", "student"), "output weight v", "v"),
    "generalization_error": Variable(("time",), "generalisation error", "ε_g"),
    "task_error": Variable(("time", "task"), "generalisation error on each task", "ε_g"),
    "mean_field": Variable(("time", "student", "cluster"), "mean field of a student in a cluster, W·a/√N", "W·a/√N"),
}
"""The order parameters (9), (10) and (S48) by name. Only a teacher that changes has a ``task_...``, and only inputs
in clusters have a ``mean_field``."""


HEAD, TASK = "head_", "task_"
"""Before the name of a parameter of a rule's head, and of a metric on each task."""


def on_tasks(metric: str) -> str:
    """Name of a metric on each task, as ``task_error`` and ``task_loss``."""
    return TASK + metric.removeprefix("generalization_")


def variable(name: str, axes: int = 1) -> Variable:
    """The description of a variable: one of :data:`VARIABLES`, or a parameter of a rule's head, or a rule's metric.

    ``axes`` counts those of a parameter, with the time.
    """
    if name in VARIABLES:
        return VARIABLES[name]
    if name.startswith(HEAD):
        return Variable(("time", *(f"{name}_{axis}" for axis in range(axes - 1))), name[len(HEAD) :], name[len(HEAD) :])
    words = name.removeprefix(TASK).replace("_", " ")
    if name.startswith(TASK):
        return Variable(("time", "task"), f"{words} on each task", words)
    return Variable(("time",), words, words)


def followed(trajectory: xr.Dataset) -> list[str]:
    """Names of the variables that theory and SGD follow in time: Q, R, the head and errors, unless they are empty.

    Mean fields change with single steps.
    """
    others = ("mean_field", "W", "C", "X", "y")
    moving = {str(name): x for name, x in trajectory.data_vars.items() if "time" in x.dims and name not in others}
    names = [name for name, x in moving.items() if all(x.sizes[dim] for dim in x.dims if dim != "time")]
    return sorted((name for name in names if not name.endswith(("_stderr", "_bias"))), key=[*VARIABLES, *names].index)


def is_error(name: str) -> bool:
    """Whether a variable is an error or another metric."""
    return name not in ("Q", "R", "v") and not name.startswith(HEAD)


def error_of(names: Iterable[str]) -> str:
    """Name of the error among those of a trajectory: ε_g, or of another rule its loss or else its first metric.

    Raises
    ------
    ProblemError
        If the rule has no metric.
    """
    metrics = [name for name in names if is_error(name) and not name.startswith(TASK)]
    if not metrics:
        raise ProblemError(
            "metrics: must follow an error (got none). Give the rule one, as Rule(..., metrics={'loss': ...})."
        )
    return next((name for name in ("generalization_error", "loss") if name in metrics), metrics[0])


def is_entry(dim: Any) -> bool:
    """Whether a dimension counts entries of an order parameter or of a rule's head."""
    return dim in ("student", "student_", "teacher", "task") or str(dim).startswith(HEAD)


@checked
def log_times(steps: int, input_dim: int, count: int = 200) -> np.ndarray:
    """Distinct log-spaced output times, from the first SGD step to the last.

    Rounding to whole steps merges early points; points are added until ``count`` distinct ones are left (or every
    step is taken).

    Parameters
    ----------
    steps
        Number of SGD steps, at least 1.
    input_dim
        Input dimension N; a step takes the time 1/N.
    count
        Number of output times, at least 1.

    Returns
    -------
    np.ndarray
        Times t = step/N, shape (min(count, steps),), increasing, ending at steps/N.

    Raises
    ------
    ProblemError
        If an argument is not a positive integer.

    Examples
    --------
    >>> log_times(steps=1000, input_dim=10, count=4)
    array([  0.1,   1. ,  10. , 100. ])
    """
    for name, value in (("steps", steps), ("input_dim", input_dim), ("count", count)):
        most = 10**7 if name == "count" else 10**15
        if not 1 <= value <= most:
            raise ProblemError(f"{name}: must be a whole number from 1 to {most:g} (got {value}). Try 200.")
    wanted = min(int(count), int(steps))
    if wanted == steps:
        return np.arange(1, wanted + 1) / input_dim
    points, rounds, distinct = wanted, 0, np.array([steps])
    while len(distinct) < wanted:
        distinct = np.unique(np.rint(np.geomspace(1, steps, points)).astype(np.int64))
        rounds += 1
        points += max(1, wanted - len(distinct), points // 8 * (rounds > 100))  # nearly every step takes long
    # One addition can reveal several new steps: thin the excess evenly, keeping both ends.
    return distinct[np.rint(np.linspace(0, len(distinct) - 1, wanted)).astype(np.int64)] / input_dim


def check_times(times: ArrayLike) -> np.ndarray:
    """Output times as a float64 array, shape (time,): finite, non-negative and increasing.

    Raises
    ------
    ProblemError
        If they are not.
    """
    array = np.array(numbers("times", times, ("time",)))
    if array[0] < 0 or (np.diff(array) <= 0).any():
        raise ProblemError(f"times: must increase from 0 or later (got {shown(array.tolist())}). Sort them, each once.")
    return array


def make_trajectory(
    times: ArrayLike,
    *,
    attrs: Mapping[str, Any] | None = None,
    leading: Mapping[str, ArrayLike] | None = None,
    **variables: ArrayLike,
) -> xr.Dataset:
    """Label arrays as a trajectory.

    Parameters
    ----------
    times
        Output times t = step/N, shape (time,).
    attrs
        Provenance; anything that is not a string or a number is stored as JSON.
    leading
        Labels of the axes that come before those, outermost first: ``run``, ``overlaps``. A variable may have all, the
        first ones or none; without labels it may have ``run``.
    **variables
        ``Q`` (time, K, K), ``R`` (time, K, M), ``v`` (time, K), ``generalization_error`` (time,), ``task_error``
        (time, task), ``mean_field`` (time, K, c); ``head_*`` (time, ...), metrics (time,) and ``task_*`` (time, task)
        of a rule, by name; and their standard errors under the same names with ``_stderr``.

    Returns
    -------
    xarray.Dataset
        With the dimensions of :data:`VARIABLES`, float64.
    """
    before = list(leading or ("run",))
    data = {}
    for name, values in variables.items():
        array = np.asarray(values, float)
        quantity = name.removesuffix("_stderr")
        dims, long_name, _ = variable(quantity, array.ndim - len(before))
        if name != quantity:
            long_name = f"standard error of the {long_name}"
        data[name] = ((*before[: array.ndim - len(dims)], *dims), array, {"long_name": long_name})
    time = "time", np.asarray(times, float), {"long_name": "time t = steps/N"}
    return xr.Dataset(data, {**(leading or {}), "time": time}, make_attrs(attrs or {}))


def make_attrs(attrs: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Attributes that a store can hold: all but strings and numbers become JSON."""
    try:
        return {
            name: each if isinstance(each, str | int | float) else json.dumps(each)
            for name, each in plain(attrs).items()
        }
    except (TypeError, ValueError, RecursionError):
        raise ProblemError(
            f"attrs: must be strings, numbers or lists and tables of them (got {shown(attrs)}). Remove the others."
        ) from None


@checked
def save(dataset: xr.Dataset, path: "str | os.PathLike[str]") -> None:
    """Write a dataset as a zarr store; an existing path is refused.

    Raises
    ------
    ProblemError
        If something is already at ``path``, or nothing can be written there.
    """
    path = Path(path)
    if path.exists():
        raise ProblemError(f"path: must be new (got {str(path)!r}, and nothing is overwritten). Choose another name.")
    # Version 3 of the format has no specification of fixed-length strings, which label the dimensions of a study.
    objects: dict[str, Any] = {}
    encoding = {name: {"compressors": Zstd(level=3)} for name in dataset.variables}
    dataset.drop_encoding().to_zarr(MemoryStore(objects), consolidated=True, zarr_format=2, encoding=encoding)
    try:
        put_folder(path, objects)
    except OSError as error:
        raise ProblemError(
            f"path: must be a place to write to (got {str(path)!r}: {error.strerror or error}). Name another."
        ) from None


@checked
def load(path: "str | os.PathLike[str]") -> xr.Dataset:
    """Read a dataset written by :func:`save`.

    Raises
    ------
    ProblemError
        If there is none at ``path``, if any part of it is missing or damaged, or if it does not fit into the memory.
    """
    where = os.fspath(path)
    try:
        store = CheckedStore(where)
        record = store.record()
        if "sweep" in record or not record["digests"]:
            otherwise = f"Give a folder with the {RECORD} that save() writes last, or read it unchecked with xarray."
            raise ProblemError(f"path: must be a stored trajectory (got {where!r}). {use_of(where, otherwise)}")
        size = sum(
            array.nbytes for _, array in zarr.open_group(store, mode="r", use_consolidated=True, zarr_format=2).arrays()
        )
        refuse_beyond_memory("path", repr(where), size, "Free some memory.")
        return xr.open_zarr(store, consolidated=True, zarr_format=2).load()
    except ProblemError:
        raise
    except Exception as error:  # zarr raises many kinds where metadata were forged
        raise ProblemError(
            f"path: must be a stored trajectory (got {where!r}: {error}). "
            f"{use_of(where, 'Give a folder written by save().')}"
        ) from None


@xr.register_dataset_accessor("sgd")
def _accessor(dataset: xr.Dataset) -> "TrajectoryAccessor":
    """``dataset.sgd``, which draws and compares; it is imported when it is first used."""
    from .plotting import TrajectoryAccessor

    return TrajectoryAccessor(dataset)
