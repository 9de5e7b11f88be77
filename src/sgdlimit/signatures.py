"""The types in the signature of a public function, checked when it is called."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from inspect import signature, unwrap
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from .errors import ProblemError, nearest, shown, unknown_name

F = TypeVar("F", bound=Callable[..., Any])

NUMBERS = {int: (int, np.integer), float: (int, float, np.integer, np.floating), bool: (bool, np.bool_)}
WORDS = {
    int: "a whole number", float: "a number", bool: "True or False", str: "a string", NoneType: "None",
    Path: "a path", PathLike: "a path",
    Callable: "a function", Mapping: "a table of names and values",
}  # fmt: skip
FIXES = {
    "Instance": "Give problem.draw(seed=0).",
    "Dataset": "Give what sl.solve, sl.simulate or sl.load returns.",
    "Sweep": "Give sl.Sweep(...) or sl.Sweep.from_toml(path).",
    "Path": "Give the path of a file or folder.",
    "PathLike": "Give the path of a file or folder.",
    "LatentLaw": "Use Gaussian(), MixtureLaw(means), Empirical(samples) or your own.",
    "Activation": "Use a name such as 'erf', or sl.Activation(g) for your own function g.",
    "Nonlinearity": "Use a name such as 'sign', or sl.Nonlinearity(f) for your own function f.",
}
"""The fix in an error, by the name of the type."""


def checked(function: F) -> F:
    """Refuse arguments that the signature does not have, in one sentence. Arrays are left to their own checks.

    Examples
    --------
    >>> @checked
    ... def train(runs: int, rate: float | None = None): ...
    >>> train(2, "fast")
    Traceback (most recent call last):
    sgdlimit.errors.ProblemError: rate: must be a number or None (got 'fast'). Give one.
    """
    parameters = signature(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            given = parameters.bind(*args, **kwargs).arguments
        except TypeError as error:
            names = [name for name in parameters.parameters if name not in ("self", "cls")]
            fix = nearest(next(iter(kwargs.keys() - {*names}), ""), names, " Correct the call.")
            called = function.__qualname__.removesuffix(".__init__")
            raise ProblemError(f"{called}: must be called with {', '.join(names)} ({error}).{fix}") from None
        for name, value in given.items():
            hint = _hints(function).get(name, Any)
            if not _fits(value, hint):
                parts = hint, *get_args(hint)
                for part in parts:
                    if get_origin(part) is Literal:
                        raise unknown_name(name, value, get_args(part))
                got = shown(value) if type(value).__module__ == "builtins" else f"a {type(value).__name__}"
                names = [getattr(part, "__name__", "") for part in parts]
                fix = next((FIXES[each] for each in names if each in FIXES), "Give one.")
                raise ProblemError(f"{name}: must be {_words(hint)} (got {got}). {fix}")
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Types by argument; those in quotes are looked up when the function is first called."""
    return get_type_hints(unwrap(function))


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; True where the type is an array or cannot be checked."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind in NUMBERS:
        if kind is not bool and hasattr(value, "dtype") and not isinstance(value, np.generic):
            return True  # checks itself
        beyond = isinstance(value, int) and value.bit_length() > 63  # which neither NumPy nor a float can hold
        return isinstance(value, NUMBERS[kind]) and isinstance(value, bool) <= (kind is bool) and not beyond
    if kind is Sequence:
        return isinstance(value, Sequence | np.ndarray) and all(_fits(each, parts[0]) for each in value)
    if not isinstance(kind, type) or kind in (Any, tuple, list, dict):
        return True
    if hasattr(kind, "array_type") or getattr(kind, "_is_protocol", False):  # an array, or a part of ``ArrayLike``
        return True
    if kind in (str, Path, PathLike):  # no system has longer names in a path
        named = isinstance(value, kind) and not isinstance(value, bytes)
        return named and "\0" not in str(value) and max(map(len, str(value).split("/"))) < 256
    return isinstance(value, kind)


def _words(hint: Any) -> str:
    """A type in words."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(_words, parts))
    if kind is Literal:
        return " or ".join(map(repr, parts))
    if kind is Sequence:
        return f"a list, each {_words(parts[0])}"
    name = getattr(kind, "__name__", str(kind))
    return WORDS.get(kind, f"{'an' if name[0] in 'AEIO' else 'a'} {name}")
