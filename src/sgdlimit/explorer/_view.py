"""What a page shows, as settings: read from and written to its address, and a file of ``sgdlimit run``."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlencode

import tomli_w
from pydantic import Field, model_validator

from ..problem import Problem, RunSettings
from ..settings import Settings

__all__ = ["DEFAULT", "LARGEST_DIM", "MOST_UNITS", "OWN_FIELDS", "View", "flat", "nested"]

OF_MIXTURE = ("latent.components", "latent.spread", "latent.block_size", "latent.standardize")
OWN_FIELDS = (
    "input_dim", "latent_dim", "student_units", "teacher_units", "activation", "nonlinearity", "learning_rate",
    "latent.law", *OF_MIXTURE, "time", "runs", "seed", "theories",
)  # fmt: skip
"""The settings that have a widget, in this order."""

LARGEST_DIM, MOST_UNITS = 3000, 6
"""Of what is drawn and solved while a page waits."""

MOST_CHARACTERS = 8000  # of an address

Theory = Literal["conventional", "moment-matched"]


class View(Settings):
    """One setting of the explorer.

    Parameters
    ----------
    problem
        The problem: no larger than :data:`LARGEST_DIM` and :data:`MOST_UNITS`, for it is solved while one waits.
    seed
        Of the instance and of the noise of SGD.
    time
        The last t.
    runs
        SGD runs that are streamed.
    theories
        The theories shown.

    Examples
    --------
    >>> View.from_query(DEFAULT.to_query()) == DEFAULT
    True
    """

    problem: Problem
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)] = 0
    time: Annotated[float, Field(gt=0, le=1000)] = 100.0
    runs: Annotated[int, Field(ge=1, le=20, strict=True)] = 3
    theories: tuple[Theory, ...] = ("conventional",)

    @model_validator(mode="after")
    def _small_enough(self) -> Self:
        problem = self.problem
        for name, most in (
            ("input_dim", LARGEST_DIM), ("latent_dim", LARGEST_DIM),
            ("student_units", MOST_UNITS), ("teacher_units", MOST_UNITS),
        ):  # fmt: skip
            if (value := getattr(problem, name)) > most:
                raise ValueError(
                    f"{name}: {value} is more than is drawn while you wait, {most}; take less here, or use sgdlimit run"
                )
        if self.time * problem.input_dim < 1:
            raise ValueError(f"time: {self.time:g} is less than a step, 1/N = {1 / problem.input_dim:g}; give more")
        if problem.switch_times:
            raise ValueError("switch_times: tasks that follow each other are not drawn here; use sgdlimit run")
        if len(set(self.theories)) < len(self.theories):
            raise ValueError(f"theories: {', '.join(self.theories)} has one twice; give each once")
        return self

    def to_query(self) -> str:
        """What stands behind the ``?`` of an address: every setting that is not the default, by its name."""
        settings, plain = flat(self.settings()), flat(DEFAULT.settings())
        return urlencode({name: _text(value) for name, value in settings.items() if plain.get(name) != value})

    @classmethod
    def from_query(cls, query: str) -> Self:
        """The view of an address.

        Raises
        ------
        ProblemError
            If a name or a value in it will not do.
        """
        return cls.from_settings(flat(DEFAULT.settings()) | cls.read_query(query))

    @staticmethod
    def read_query(query: str) -> dict[str, Any]:
        """Names and values of an address, none of them checked."""
        pairs = parse_qsl(query.removeprefix("?")[:MOST_CHARACTERS], keep_blank_values=True)
        return {name: _value(text) for name, text in pairs if name != "pin"}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The view of settings by their names, those of the problem as they are, ``latent.spread`` with a dot."""
        tables = nested(settings)
        latent = tables.get("latent")
        if isinstance(latent, Mapping) and latent.get("law") == "gaussian":
            tables["latent"] = {"law": "gaussian"}
        own = {name: tables.pop(name) for name in ("seed", "time", "runs", "theories") if name in tables}
        if isinstance(named := own.get("theories"), str):
            own["theories"] = tuple(name for name in named.split(",") if name)
        return cls(problem=Problem(**tables), **own)

    def settings(self) -> dict[str, Any]:
        """What is not the default of a problem, and the rest, as tables."""
        problem = json.loads(self.problem.model_dump_json(exclude_none=True, exclude_defaults=True))
        if latent := problem.get("latent"):
            problem["latent"] = {"law": self.problem.latent.law, **latent}
        else:
            problem["latent"] = {"law": "gaussian"}
        return problem | {
            "seed": self.seed, "time": self.time, "runs": self.runs, "theories": ",".join(self.theories),
        }  # fmt: skip

    def to_toml(self) -> str:
        """A file for ``sgdlimit run``, which :meth:`from_toml` reads back."""
        theories = self.theories or ("conventional",)
        run = {"seed": self.seed, "time": self.time, "runs": self.runs}
        run |= {"theory": theories[0] if len(theories) == 1 else list(theories)}
        return f"# sgdlimit run FILE, or: sgdlimit explore FILE\n{self.problem.to_toml()}\n" + tomli_w.dumps(
            {"run": run}
        )

    @classmethod
    def of_file(cls, problem: Problem, run: RunSettings) -> Self:
        """The view of a problem and how it is to be run; of its theories, those that are shown here."""
        shown: tuple[Theory, ...] = tuple(name for name in run.theories if name != "mixture")
        return cls(problem=problem, seed=run.seed, time=run.time, runs=run.runs, theories=shown or ("conventional",))

    @property
    def label(self) -> str:
        """What distinguishes the view, in symbols."""
        p = self.problem
        parts = [p.activation, f"f = {p.nonlinearity}", f"N = {p.input_dim}", f"D = {p.latent_dim}"]
        parts += [f"K = {p.student_units}", f"M = {p.teacher_units}", f"η = {p.learning_rate:g}"]
        if p.latent.law == "gaussian":
            parts.append("Gaussian")
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


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables of settings as names with dots.

    Examples
    --------
    >>> flat({"latent": {"spread": 9.0}, "seed": 0})
    {'latent.spread': 9.0, 'seed': 0}
    """
    names: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping):
            names |= flat(value, f"{prefix}{name}.")
        else:
            names[prefix + name] = value
    return names


def nested(names: Mapping[str, Any]) -> dict[str, Any]:
    """The tables that names with dots stand for.

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
