"""Check at run time the shapes that signatures promise; the other annotations are left to pyright."""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, get_args

import jax
import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, install_import_hook

SOURCES = Path(__file__).parents[1] / "src"

WHOLE_NUMBERS_ARE_NUMBERS = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check_shapes() -> None:
    """Install the hook for every module but those with functions that Numba compiles, which it would break."""
    modules = [file for file in sorted(SOURCES.rglob("*.py")) if file.stem not in ("__init__", "__main__")]
    names = [
        ".".join(file.relative_to(SOURCES).with_suffix("").parts)
        for file in modules
        if "from numba" not in file.read_text(encoding="utf-8")
    ]
    install_import_hook(names, "shapes.checked")


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its shapes checked: wrong input of another kind must reach the product's own checks."""
    hints = inspect.get_annotations(function)
    copy = FunctionType(  # the product reads the annotations of the function itself
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__, copy.__qualname__ = function.__kwdefaults__, function.__qualname__
    copy.__annotations__ = {name: hint if _has_shape(hint) else object for name, hint in hints.items()}
    return WHOLE_NUMBERS_ARE_NUMBERS(copy)


def _has_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        # Any is an array of JAX where JAX is imported late; lists are array-like too, and have no shape to look at.
        return hint.array_type in (np.ndarray, jax.Array, Any)
    return any(_has_shape(part) for part in get_args(hint))
