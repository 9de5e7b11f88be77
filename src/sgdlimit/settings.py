"""Settings and arrays that are checked when they are given, with complaints that name field, value and fix."""

import re
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ProblemError, closest, nearest, shown

MOST_BYTES, MOST_PARTS = 1 << 20, 30
"""Limits of a file of settings: its length, and the parts of a name in it such as ``training.schedule.times``."""

MOST_COMPLAINTS = 20

LAW_TAGS = ("gaussian", "gaussian-mixture", "clusters")  # pydantic puts them into the place of an error

RULE = "{rule} (got {given}). "
IN_RANGE = RULE + "Give a number in that range."
NO_TABLE = "must be a table of settings (got {given}). In TOML write it as [{name}]."
COMPLAINTS = {
    "missing": "must be given (got nothing). Give it a value.",
    "extra": "must not be in this table, which has no such setting (got {given}).{near}",
    "greater": IN_RANGE,
    "less": IN_RANGE,
    "finite": RULE + "Write a finite number.",
    "int": RULE + "Write a whole number.",
    "float": "must be a number (got {given}). Write it without quotes.",
    "bool": RULE + "Write true or false.",
    "string": RULE + "Write it in quotes.",
    "literal": RULE + "Use one of them.",
    "tuple": "must be a list (got {given}). Write it in brackets.",
    "too": RULE + "Give more values.",
    "dict": NO_TABLE,
    "model": NO_TABLE,
    "union": "must be a law (got {given}). Use Gaussian(), GaussianMixture(...) or LabelledClusters(...), in TOML a "
    'table with law = "gaussian", "gaussian-mixture" or "clusters".',
}
"""Rule and fix for pydantic's kinds of complaint, by the first word. RULE stands for the rule that pydantic gives."""


class Settings(BaseModel):
    """Settings that cannot be changed, whose errors name every wrong field with its value and a fix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**plain(values))
        except ValidationError as error:
            raise ProblemError(*_complaints(error, list(type(self).model_fields))) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise ProblemError(f"{name}: must not be assigned (got {shown(value)}). Use replace({name}=...), which copies.")

    def replace(self, **changes: Any) -> Self:
        """A copy with other settings, checked as new ones are.

        Examples
        --------
        >>> from sgdlimit import Training
        >>> noisy = Training(batch_size=2).replace(label_noise=0.1)
        >>> noisy.batch_size, noisy.label_noise
        (2, 0.1)
        """
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | changes)


def plain(value: Any) -> Any:
    """A setting whose numbers and arrays of NumPy, pandas or JAX became numbers and lists of Python.

    Examples
    --------
    >>> plain({"batch_size": np.int64(2), "schedule": {"times": np.arange(3)}})
    {'batch_size': 2, 'schedule': {'times': [0, 1, 2]}}
    """
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(inner) for inner in value]
    return np.asarray(value).tolist() if hasattr(value, "__array__") else value


def _complaints(error: ValidationError, fields: list[str]) -> list[str]:
    """All complaints as sentences, typos first. A field that is missing because its name has a typo is not named."""
    complaints = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    typos = [each["loc"][-1] for each in complaints if each["type"] == "extra_forbidden"]
    meant = [(match,) for name in typos for match in closest(name, fields)]
    sentences = [
        sentence
        for each in complaints
        if each["type"] != "missing" or each["loc"] not in meant
        for sentence in _explained(each, fields)
    ]
    more = len(sentences) - MOST_COMPLAINTS
    return sentences[:MOST_COMPLAINTS] + [f"{more} more complaints: correct these first."] * (more > 0)


def _explained(complaint: Mapping[str, Any], fields: list[str]) -> list[str]:
    """One complaint of pydantic as sentences: several where the setting is a table with several mistakes."""
    name = ".".join(str(part) for part in complaint["loc"] if part not in LAW_TAGS)
    name = name if name.isprintable() and len(name) <= 100 else shown(name)
    words = COMPLAINTS.get(complaint["type"].partition("_")[0], RULE + "Correct it.")
    rule = re.sub(r"^\w+ should", "must", re.split(", got| after", complaint["msg"])[0])
    if complaint["type"] == "value_error":  # from a validator of ours, or from the settings of an inner table
        error = complaint["ctx"]["error"]
        if isinstance(error, ProblemError) or len(error.args) == 1:
            prefix = f"{name}." if name else ""
            return [str(said) if str(said).startswith(f"{name}: ") else f"{prefix}{said}" for said in error.args]
        rule, fix = error.args  # of one field, whose name and value are added here
        words = RULE + fix
    near = nearest(name, fields, " Remove it.")
    return [f"{name}: " + words.format(name=name, given=shown(complaint["input"]), rule=rule, near=near)]


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises
    ------
    ProblemError
        If it cannot be read, naming it.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        fix = "Give the path of a TOML file."
        raise ProblemError(f"{path}: must be a file to read (got {error.strerror}). {use_of(path, fix)}") from None
    if len(content) > MOST_BYTES:
        raise ProblemError(f"{path}: must be at most {MOST_BYTES >> 20} MiB of settings (got more). Make it shorter.")
    if max(name.count(b".") for name in re.split(rb"[\n#=,\[\]{}]", content)) > MOST_PARTS:  # tomllib takes minutes
        raise ProblemError(f"{path}: must have names of at most {MOST_PARTS} parts (got more). Correct them.")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ProblemError(
            f"{path}: must not have tables or lists so deep inside each other (got them). Leave them out."
        ) from None
    except ValueError as error:  # tomllib's own, wrong encoding, numbers without end
        raise ProblemError(f"{path}: must be valid TOML (got {error}). Correct that place.") from None


def use_of(path: str | Path, otherwise: str) -> str:
    """The fix for a path where something else was expected: what it is and how that is opened."""
    place = Path(path)
    if (place / "record.json").is_file():
        if (place / "tasks").is_dir():
            return "This is a stored sweep. Open it with sl.open_sweep() or `sgdlimit explore`."
        return "This is a stored dataset. Open it with sl.load()."
    if (place / "problem.toml").is_file():
        return f"This is a folder of results. Its settings are in {place / 'problem.toml'}, its datasets in *.zarr."
    return "This is a file of settings." if place.suffix == ".toml" and place.is_file() else otherwise


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings of tables by names with dots.

    Examples
    --------
    >>> flat({"latent": {"spread": 9.0}, "seed": 0})
    {'latent.spread': 9.0, 'seed': 0}
    """
    names: dict[str, Any] = {}
    for name, value in tables.items():
        inside = flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
        for twice in names.keys() & inside:
            raise ProblemError(f"{twice}: must be given once (got it twice). Remove one.")
        names |= inside
    return names


def nested(names: Mapping[str, Any], tables: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Tables with values set by names with dots; the given tables are copied.

    Raises
    ------
    ProblemError
        If a name with dots goes through a value that is no table.

    Examples
    --------
    >>> nested({"latent.spread": 9.0}, {"latent": {"components": 2}, "seed": 0})
    {'latent': {'components': 2, 'spread': 9.0}, 'seed': 0}
    """
    made = dict(tables)
    for name, value in names.items():
        head, _, rest = name.partition(".")
        inner = made.get(head)
        if rest and not isinstance(inner, Mapping | None):
            raise ProblemError(f"{head}: must be a table, because {name} is set too (got {shown(inner)}). Remove it.")
        made[head] = nested({rest: value}, inner or {}) if rest else value
    return made


def numbers(name: str, values: ArrayLike, shape: tuple[int | str, ...] | None = None) -> Float[ndarray, "*shape"]:
    """Values as a read-only array of finite float64, shared if it is one already.

    Parameters
    ----------
    name, values
        The field and its values.
    shape
        For each axis its length, or a name where any length above 0 fits; None for any shape.

    Raises
    ------
    ProblemError
        If they are no numbers, not finite or of another shape.

    Examples
    --------
    >>> numbers("student", [[1, 2], [3, 4]], ("student_units", 3))
    Traceback (most recent call last):
    sgdlimit.errors.ProblemError: student: must be of shape (student_units, 3) (got (2, 2)). Give an array of that
    shape.
    """
    masked = np.ma.count_masked(values) if isinstance(values, np.ma.MaskedArray) else 0
    if masked:
        raise ProblemError(f"{name}: must have no masked entries (got {masked}). Fill them in, or leave them out.")
    if shape and isinstance(values, tuple | list) and getattr(next(iter(values), 0), "ndim", 0) >= len(shape):
        raise ProblemError(
            f"{name}: must be one array (got a {type(values).__name__} of {len(values)}). Give the {name} alone."
        )
    checked = isinstance(values, ndarray) and values.flags.owndata and not values.flags.writeable
    try:
        given = np.asarray(values)
        if given.dtype.kind in "cmM":  # complex numbers and times, which would become floats
            raise TypeError
        array = np.array(given, dtype=np.float64, copy=None if checked else True)
    except (OverflowError, TypeError, ValueError, RuntimeError):  # the last from tensors of PyTorch with a gradient
        method = next(filter(partial(hasattr, values), ("toarray", "detach")), None)
        fix = f"Give .{method}()" if method else "Give one array; convert or remove what is not a number"
        raise ProblemError(f"{name}: must be numbers (got {shown(values)}). {fix}.") from None
    if shape is not None and not _fits(array.shape, shape):
        wanted = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        if _fits(array.T.shape, shape):
            fix = "its transpose"
        elif array.size and array.ndim > 2 and _fits(array.reshape(len(array), -1).shape, shape):
            fix = f"{name}.reshape(len({name}), -1)"
        else:
            fix = "an array of that shape" + ", not an empty one" * (not array.size)
        raise ProblemError(f"{name}: must be of shape {wanted} (got {array.shape}). Give {fix}.")
    bad = np.argwhere(~np.isfinite(array)).tolist()
    if bad:
        raise ProblemError(
            f"{name}: must be finite (got {len(bad)} of {array.size} entries NaN or infinite, the first at {bad[0]}). "
            "Remove them or fill them in."
        )
    array.setflags(write=False)
    return array


def _fits(given: tuple[int, ...], shape: tuple[int | str, ...]) -> bool:
    """Whether a shape is the one that is due, where a name stands for any length above 0."""
    return len(given) == len(shape) and all(
        size == due or (size > 0 and isinstance(due, str)) for size, due in zip(given, shape, strict=True)
    )


def check_positive(**values: float) -> None:
    """Positive numbers, by their names."""
    for name, value in values.items():
        if not isinstance(plain(value), int | float) or not 0 < value < 1e300:
            raise ProblemError(f"{name}: must be a positive number (got {shown(value)}). Try 0.2 or 1e-8.")


def check_whole(least: int, formula: str = "", /, **values: object) -> None:
    """Whole numbers of at least ``least``, by their names; the formula stands before it in the complaint."""
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise ProblemError(
                f"{name}: must be a whole number of at least {formula}{least} (got {shown(value)}). Try {10 * least}."
            )


def probabilities(name: str, values: ArrayLike | None, count: int) -> Float[ndarray, "count"]:
    """Probabilities of so many components, uniform by default.

    Raises
    ------
    ProblemError
        If they are not positive, do not sum to one or are not as many.
    """
    p = numbers(name, np.full(count, 1 / count) if values is None else values, (count,))
    if (p <= 0).any() or abs(p.sum() - 1) > 1e-9:
        raise ProblemError(
            f"{name}: must be positive and sum to 1 (got {shown(p.tolist())}). Divide them by their sum."
        )
    return p
