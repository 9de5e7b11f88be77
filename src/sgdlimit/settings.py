"""Settings: values that are checked when they are given, with errors in one sentence."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ProblemError

__all__ = ["Settings", "read_toml", "shown", "validated"]

S = TypeVar("S", bound="Settings")

MOST_BYTES, MOST_PARTS = 1 << 20, 30
"""Of a file of settings, and of a name in it such as ``training.schedule.times``."""

LAW_TAGS = ("gaussian", "gaussian-mixture")  # pydantic puts them into the place of an error


class Settings(BaseModel):
    """Settings whose errors are one sentence naming the field, the value and what would do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ProblemError(_explain(error)) from None


def shown(value: Any) -> str:
    """A value in a message: what Python calls it, cut where that is long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # whole numbers of more than 4300 digits have no repr
        return "a value too long to show"
    return text if len(text) <= 100 else f"{text[:90]} ..."


def _explain(error: ValidationError) -> str:
    """The first complaint of pydantic as one sentence: field, value, remedy."""
    complaint = error.errors(include_url=False)[0]
    place = [str(part) for part in complaint["loc"] if part not in LAW_TAGS]
    name = ".".join(place)
    name = name if name.isprintable() and len(name) <= 100 else shown(name)
    given = shown(complaint["input"])
    message = complaint["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if complaint["type"] == "extra_forbidden":
        return f"{name}: {given} is not a setting of this table; remove it or correct its name"
    if complaint["type"] in ("model_attributes_type", "model_type", "dict_type"):
        return f"{name}: {given} is not a table of settings; in TOML write it as [{name}]"
    if complaint["type"] == "missing":
        return f"{name}: is missing; give it a value"
    if complaint["type"].startswith("union_tag"):
        return (
            f"latent: {given} is not a law; use Gaussian() or GaussianMixture(...), "
            'in TOML a table with law = "gaussian" or "gaussian-mixture"'
        )
    if complaint["type"] == "value_error" and (not name or message.startswith(f"{name}: ")):
        return message
    if complaint["type"] in ("float_type", "float_parsing"):
        return f"{name}: {given} is not a number; give one without quotes"
    if isinstance(complaint.get("ctx", {}).get("error"), ProblemError):
        return f"{name}.{message}"
    if complaint["type"] == "value_error":
        return f"{name}: {given} {message if message.startswith('is') else 'is not known; ' + message}"
    return f"{name}: {given} will not do; it should be {message[0].lower()}{message[1:]}"


def read_toml(path: str | Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises
    ------
    ProblemError
        If it cannot be read, naming it.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read ({error.strerror}); give the path of a TOML file") from None
    if len(content) > MOST_BYTES:
        raise ProblemError(f"{path}: is longer than {MOST_BYTES >> 20} MiB, too long for settings; make it shorter")
    try:
        text = content.decode("utf-8-sig")
        if max(part.count(".") for part in re.split(r"[\n#=,\[\]{}]", text)) > MOST_PARTS:  # tomllib takes minutes
            raise ProblemError(f"{path}: has a name of more than {MOST_PARTS} parts; correct it")
        return tomllib.loads(text)
    except ProblemError:
        raise
    except RecursionError:
        raise ProblemError(f"{path}: has tables or lists too deep inside each other; leave them out") from None
    except ValueError as error:  # tomllib's own, wrong encoding, numbers without end
        raise ProblemError(f"{path}: is not valid TOML ({error}); correct that place") from None


def validated(cls: type[S], settings: Mapping[str, Any], path: str | Path, prefix: str = "") -> S:
    """Settings from a table of a file, whose name, and that of the table, go into an error."""
    try:
        return cls(**settings)
    except ProblemError as error:
        raise ProblemError(f"{path}: {prefix}{error}") from None
