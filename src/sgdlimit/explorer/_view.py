"""What a page shows, as settings: read from and written to its address, and a file of ``sgdlimit run``."""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlencode

import tomli_w
from pydantic import Field, field_validator, model_validator

from ..errors import ProblemError
from ..problem import Problem, RunSettings
from ..settings import Settings, flat, nested

MIXTURE_DEFAULTS = {
    "latent.components": 2, "latent.spread": 9.0, "latent.block_size": 1, "latent.standardize": True,
}  # fmt: skip
RUN = ("time", "runs", "seed", "theories")
OWN_FIELDS = (
    "input_dim", "latent_dim", "student_units", "teacher_units", "activation", "nonlinearity", "learning_rate",
    "loss", "labels", "latent.law", *MIXTURE_DEFAULTS, *RUN,
)  # fmt: skip
"""The settings that have a widget, in this order."""

LARGEST = {"input_dim": 3000, "latent_dim": 3000, "student_units": 6, "teacher_units": 6}
"""The largest sizes that are drawn and solved while a page waits."""

MOST_CHARACTERS = 8000  # of an address


class View(Settings):
    """One setting of the explorer.

    Parameters
    ----------
    problem
        The problem, no larger than :data:`LARGEST`, because it is solved while you wait.
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
        """Refuse what takes too long to draw while you wait, and what the page cannot show."""
        problem = self.problem
        for name, largest in LARGEST.items():
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
            raise ProblemError("switch_times: must be empty in the explorer (got several tasks). Use sgdlimit run.")
        if problem.latent.law == "clusters":
            raise ProblemError("latent.law: must have no labels in the explorer (got 'clusters'). Use sgdlimit run.")
        if len(set(self.theories)) < len(self.theories):
            raise ProblemError(f"theories: must be different (got {', '.join(self.theories)}). Give each once.")
        return self

    def to_query(self) -> str:
        """Write the query of an address: every setting that is not the default, by its name."""
        plain = DEFAULT.settings()
        return urlencode({k: _text(value) for k, value in self.settings().items() if plain.get(k) != value})

    @classmethod
    def from_query(cls, query: str) -> Self:
        """Read the view of an address.

        Raises
        ------
        ProblemError
            If a name or a value in it is wrong.
        """
        return cls.from_settings(DEFAULT.settings() | cls.read_query(query))

    @staticmethod
    def read_query(query: str) -> dict[str, Any]:
        """Read the names and values of an address without checking them."""
        pairs = parse_qsl(query.removeprefix("?")[:MOST_CHARACTERS], keep_blank_values=True)
        return {name: _value(text) for name, text in pairs if name != "pin"}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make a view of settings by name, as :meth:`settings` returns them. A Gaussian law has no further settings."""
        tables = nested(settings)
        if settings.get("latent.law") == "gaussian" and "latent" not in settings:
            tables["latent"] = {"law": "gaussian"}
        own = {name: tables.pop(name) for name in RUN if name in tables}
        return cls(problem=Problem(**tables), **own)

    def settings(self) -> dict[str, Any]:
        """Return the settings by name (``latent.spread`` in a table); of the problem those that are not the default."""
        problem = self.problem.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        run = self.model_dump(exclude={"problem"}) | {"theories": ",".join(self.theories)}
        return {"latent.law": self.problem.latent.law} | flat(problem) | run

    def to_toml(self) -> str:
        """Write a file for ``sgdlimit run``, which :meth:`of_file` reads."""
        run = self.model_dump(exclude={"problem", "theories"})
        run["theory"] = self.theories if self.theories[1:] else "".join(self.theories) or "conventional"
        head = "# sgdlimit run FILE, or: sgdlimit explore FILE\n"
        return f"{head}{self.problem.to_toml()}\n{tomli_w.dumps({'run': run})}"

    @classmethod
    def of_file(cls, problem: Problem, run: RunSettings) -> Self:
        """Make a view of the settings in a file, with the theories that can be shown here."""
        return cls(problem=problem, seed=run.seed, time=run.time, runs=run.runs, theories=drawable(run.theories))

    @property
    def label(self) -> str:
        """What distinguishes the view, in symbols."""
        p, law = self.problem, "Gaussian"
        if p.latent.law == "gaussian-mixture":
            kinds = {True: "standardised", False: "not standardised", "estimated": "standardised by estimated moments"}
            law = f"m = {p.latent.components}, α = {p.latent.spread:g}, B = {p.latent.block_size}, "
            law += kinds[p.latent.standardize]
        network = f"{p.activation}, f = {p.nonlinearity}, N = {p.input_dim}, D = {p.latent_dim}"
        if (p.loss, p.labels) != ("squared", "teacher"):
            network = f"{p.loss} loss, labels {p.labels}, {network}"
        sizes = f"K = {p.student_units}, M = {p.teacher_units}, η = {p.learning_rate:g}"
        return ", ".join([network, sizes, law, *self.others, f"seed {self.seed}"])

    @property
    def others(self) -> list[str]:
        """The settings that have no field on the page, and are not the default."""
        return [f"{name} = {_text(value)}" for name, value in self.settings().items() if name not in OWN_FIELDS]


DEFAULT = View(
    problem=Problem(
        input_dim=1000, latent_dim=500, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
)
"""The paper's network on Gaussian inputs."""


def as_far_as_possible(query: str) -> tuple[View, dict[str, str]]:
    """Make the view of an address from its valid settings; return complaints about the others by field."""
    left, wrong = View.read_query(query), {}
    while True:
        try:
            return View.from_settings(MIXTURE_DEFAULTS | DEFAULT.settings() | left), wrong
        except (ProblemError, TypeError) as error:
            for name, complaint in by_field(*map(str, error.args)).items():
                dropped = name if name in left else next(iter(left), "")  # one that contradicts a default
                wrong[dropped] = complaint if name == dropped in OWN_FIELDS else f"{name}: {complaint}"
                left.pop(dropped, None)


def by_field(*complaints: str) -> dict[str, str]:
    """Return complaints under the names of the fields they begin with."""
    fields = {}
    for complaint in complaints:
        name, colon, rest = complaint.partition(": ")
        fields |= {name: rest} if colon and " " not in name else {"": complaint}
    return fields


def drawable(theories: Iterable[str]) -> Any:
    """Return the theories among some that can be shown here, or the conventional one."""
    return tuple(name for name in theories if name != "mixture") or ("conventional",)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
