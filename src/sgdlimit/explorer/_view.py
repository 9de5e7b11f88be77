"""What a page shows, as settings: read from and written to its address, and a file of ``sgdlimit run``."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlencode

import tomli_w
from pydantic import Field, field_validator, model_validator

from ..errors import ProblemError
from ..problem import Problem, RunSettings
from ..settings import Settings

MIXTURE_DEFAULTS = {
    "latent.components": 2, "latent.spread": 9.0, "latent.block_size": 1, "latent.standardize": True,
}  # fmt: skip
RUN = ("time", "runs", "seed", "theories")
OWN_FIELDS = (
    "input_dim", "latent_dim", "student_units", "teacher_units", "activation", "nonlinearity", "learning_rate",
    "latent.law", *MIXTURE_DEFAULTS, *RUN,
)  # fmt: skip
"""The settings that have a widget, in this order."""

LARGEST_DIM, MOST_UNITS = 3000, 6
"""The largest sizes that are drawn and solved while a page waits."""

MOST_CHARACTERS = 8000  # of an address


class View(Settings):
    """One setting of the explorer.

    Parameters
    ----------
    problem
        The problem, no larger than :data:`LARGEST_DIM` and :data:`MOST_UNITS`, because it is solved while you wait.
    seed
        Seed of the instance and of the noise of SGD.
    time
        The last t.
    runs
        SGD runs that are streamed.
    theories
        The theories shown, as names or as one text with commas.

    Examples
    --------
    >>> View.from_query(DEFAULT.to_query()) == DEFAULT
    True
    """

    problem: Problem
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)] = 0
    time: Annotated[float, Field(gt=0, le=1000)] = 100.0
    runs: Annotated[int, Field(ge=1, le=20, strict=True)] = 3
    theories: tuple[Literal["conventional", "moment-matched"], ...] = ("conventional",)

    @field_validator("theories", mode="before")
    @classmethod
    def _separate(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _small_enough(self) -> Self:
        problem = self.problem
        most = {"input_dim": LARGEST_DIM, "latent_dim": LARGEST_DIM}
        for name, largest in (most | {"student_units": MOST_UNITS, "teacher_units": MOST_UNITS}).items():
            if (value := getattr(problem, name)) > largest:
                raise ProblemError(
                    f"{name}: must be at most {largest}, which is drawn while you wait (got {value}). "
                    "Make it smaller, or use sgdlimit run."
                )
        if self.time * problem.input_dim < 1:
            raise ProblemError(
                f"time: must be at least a step, 1/N = {1 / problem.input_dim:g} (got {self.time:g}). Give more."
            )
        if problem.switch_times:
            raise ProblemError("switch_times: the explorer shows one task only. Use sgdlimit run.")
        if len(set(self.theories)) < len(self.theories):
            raise ProblemError(f"theories: must be different (got {', '.join(self.theories)}). Give each once.")
        return self

    def to_query(self) -> str:
        """Write what stands behind the ``?`` of an address: every setting that is not the default, by its name."""
        plain = flat(DEFAULT.settings())
        changed = {name: value for name, value in flat(self.settings()).items() if plain.get(name) != value}
        return urlencode({name: _text(value) for name, value in changed.items()})

    @classmethod
    def from_query(cls, query: str) -> Self:
        """Read the view of an address.

        Raises
        ------
        ProblemError
            If a name or a value in it is wrong.
        """
        return cls.from_settings(flat(DEFAULT.settings()) | cls.read_query(query))

    @staticmethod
    def read_query(query: str) -> dict[str, Any]:
        """Read the names and values of an address without checking them."""
        pairs = parse_qsl(query.removeprefix("?")[:MOST_CHARACTERS], keep_blank_values=True)
        return {name: _value(text) for name, text in pairs if name != "pin"}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make a view of settings by their names; a setting in a table has a dot in it, ``latent.spread``."""
        tables = nested(settings)
        own = {name: tables.pop(name) for name in RUN if name in tables}
        latent = tables.get("latent")
        if isinstance(latent, Mapping) and latent.get("law") == "gaussian":
            tables["latent"] = {"law": "gaussian"}
        return cls(problem=Problem(**tables), **own)

    def settings(self) -> dict[str, Any]:
        """Return what is not the default of a problem, and the rest, as tables."""
        problem = self.problem.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        latent = {"law": self.problem.latent.law} | problem.pop("latent", {})
        run = self.model_dump(include={"seed", "time", "runs"})
        return problem | {"latent": latent, **run, "theories": ",".join(self.theories)}

    def to_toml(self) -> str:
        """Write a file for ``sgdlimit run``, which :meth:`of_file` takes back."""
        theories = list(self.theories) or ["conventional"]
        run = self.model_dump(include={"seed", "time", "runs"})
        run["theory"] = theories if theories[1:] else theories[0]
        head = "# sgdlimit run FILE, or: sgdlimit explore FILE\n"
        return f"{head}{self.problem.to_toml()}\n{tomli_w.dumps({'run': run})}"

    @classmethod
    def of_file(cls, problem: Problem, run: RunSettings) -> Self:
        """Make a view of a problem and how it is to be run, with those of its theories that are shown here."""
        shown: Any = tuple(name for name in run.theories if name != "mixture") or ("conventional",)
        return cls(problem=problem, seed=run.seed, time=run.time, runs=run.runs, theories=shown)

    @property
    def label(self) -> str:
        """What distinguishes the view, in symbols."""
        p = self.problem
        parts = [p.activation, f"f = {p.nonlinearity}", f"N = {p.input_dim}", f"D = {p.latent_dim}"]
        parts += [f"K = {p.student_units}", f"M = {p.teacher_units}", f"η = {p.learning_rate:g}"]
        if p.latent.law == "gaussian":
            parts += ["Gaussian"]
        else:
            parts += [f"m = {p.latent.components}", f"α = {p.latent.spread:g}", f"B = {p.latent.block_size}"]
            parts += ["standardised" if p.latent.standardize else "not standardised"]
        return ", ".join([*parts, *self.others, f"seed {self.seed}"])

    @property
    def others(self) -> list[str]:
        """The settings that have no field on the page, and are not the default."""
        return [f"{name} = {_text(value)}" for name, value in flat(self.settings()).items() if name not in OWN_FIELDS]


DEFAULT = View(
    problem=Problem(
        input_dim=1000, latent_dim=500, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
)
"""The paper's network on Gaussian inputs."""


def as_far_as_possible(names: Mapping[str, Any]) -> tuple[View, dict[str, str]]:
    """Make the view of an address from the settings that are right, and say what is wrong with the others."""
    settings = flat(DEFAULT.settings())
    try:
        return View.from_settings(settings | dict(names)), {}
    except (ProblemError, TypeError):
        pass
    view, wrong = DEFAULT, {}
    if names.get("latent.law") == "gaussian-mixture":
        settings |= MIXTURE_DEFAULTS | {"latent.law": "gaussian-mixture"}
    for name in sorted(names, key=(*OWN_FIELDS, *names).index):  # sizes before what must fit them
        try:
            view = View.from_settings(settings | {name: names[name]})
            settings[name] = names[name]
        except (ProblemError, TypeError) as error:
            (complaint,) = by_field(str(error)).values()
            wrong[name] = complaint if name in OWN_FIELDS else f"{name}: {complaint}"
    return view, wrong


def by_field(*complaints: str) -> dict[str, str]:
    """Return complaints under the names of the fields they begin with."""
    fields = {}
    for complaint in complaints:
        name, colon, rest = complaint.partition(": ")
        fields |= {name: rest} if colon and " " not in name else {"": complaint}
    return fields


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write tables of settings as names with dots.

    Examples
    --------
    >>> flat({"latent": {"spread": 9.0}, "seed": 0})
    {'latent.spread': 9.0, 'seed': 0}
    """
    names: dict[str, Any] = {}
    for name, value in tables.items():
        names |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return names


def nested(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables that names with dots stand for.

    Examples
    --------
    >>> nested({"latent.spread": 9.0, "seed": 0})
    {'latent': {'spread': 9.0}, 'seed': 0}
    """
    tables: dict[str, Any] = {}
    for name, value in names.items():
        *path, last = name.split(".")
        table = tables
        for part in path:
            inner = table.get(part)
            table[part] = table = inner if isinstance(inner, dict) else {}
        table[last] = value
    return tables


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return tuple(value) if isinstance(value, list) else value
