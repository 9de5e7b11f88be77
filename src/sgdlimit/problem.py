"""A problem: settings, TOML in and out, clear errors."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, field_validator, model_validator

from sgdlimit.activations import ACTIVATIONS
from sgdlimit.errors import ProblemError
from sgdlimit.inputs.features import check_features, draw_features
from sgdlimit.inputs.latent import Gaussian, LatentLaw, MixtureLaw
from sgdlimit.inputs.manifold import NAMES
from sgdlimit.instance import Instance
from sgdlimit.resources import available_bytes

__all__ = ["GaussianMixture", "Problem", "RunSettings", "load_problem"]

Dimension = Annotated[int, Field(ge=1, strict=True)]
Scale = Annotated[float, Field(ge=0, le=1e6, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class Settings(BaseModel):
    """Settings whose errors are one sentence naming the field, the value and what would do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ProblemError(_explain(error)) from None


S = TypeVar("S", bound=Settings)


class GaussianMixture(Settings):
    """A Gaussian mixture (17) whose means are still to be drawn, μ ~ U[−spread, spread).

    Parameters
    ----------
    components
        Number of components m.
    spread
        Bound α of the means.
    block_size
        B, dividing the latent dimension: coordinates that draw their component together. With 1 the law is one scalar
        mixture for all coordinates (unless ``shared_means`` is off); with D a clustered data set.
    standardize
        ``True`` standardises each coordinate with its exact moments (19), ``"estimated"`` with moments
        estimated from ``moment_samples`` samples, ``False`` leaves the mixture as it is.
    weights
        Probabilities of the components; uniform by default.
    shared_means
        Whether all coordinates have the same m means (only for block_size 1). Off, each has its own.
    """

    law: Literal["gaussian-mixture"] = "gaussian-mixture"
    components: Dimension
    spread: Scale
    block_size: Dimension = 1
    standardize: Literal[True, False, "estimated"] = True
    weights: tuple[float, ...] | None = None
    shared_means: StrictBool = True
    moment_samples: Annotated[int, Field(ge=2, strict=True)] = 10_000

    def draw(self, latent_dim: int, rng: np.random.Generator) -> MixtureLaw:
        """Draw the means; the same generator state gives proportional means for every spread."""
        scalar = self.block_size == 1 and self.shared_means
        means = self.spread * rng.uniform(-1, 1, size=(self.components,) if scalar else (self.components, latent_dim))
        law = MixtureLaw(means, weights=self.weights, block_size=self.block_size, standardize=self.standardize is True)
        if self.standardize == "estimated":
            return law.standardized_from(law.sample(rng, self.moment_samples, latent_dim))
        return law

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is not None and len(self.weights) != self.components:
            raise ValueError(f"weights: {len(self.weights)} given for {self.components} components; give one each")
        if self.weights is not None and (min(self.weights) <= 0 or abs(sum(self.weights) - 1) > 1e-9):
            raise ValueError(f"weights: {list(self.weights)} must be positive and sum to 1; divide them by their sum")
        return self


class GaussianLatent(Settings):
    """The standard normal latent, as a setting."""

    law: Literal["gaussian"] = "gaussian"


class Problem(Settings):
    """A teacher-student problem on the hidden manifold; :meth:`draw` makes an instance of it.

    Parameters
    ----------
    input_dim, latent_dim
        N and D.
    student_units, teacher_units
        K and M.
    activation
        g of student and teacher: ``"erf"`` for erf(x/√2), ``"relu"`` or ``"linear"``.
    nonlinearity
        f of the manifold: ``"sign"``, ``"erf"`` for erf(u/√2), ``"identity"``, ``"tanh"``, ``"relu"`` and others, see
        :func:`sgdlimit.inputs.manifold.nonlinearity_named`. One of your own goes into the instance:
        ``problem.draw(seed=0).replace(nonlinearity=Nonlinearity(function))``.
    centre
        Whether E f(U) is subtracted from the inputs, see :class:`sgdlimit.Instance`.
    features
        How F is drawn: ``"gaussian"``, ``"orthogonal"``, ``"hadamard"`` (the larger of N and D a power of two),
        ``"dct"`` or ``"identity"`` (N = D, X = f(C)), see :func:`sgdlimit.inputs.features.draw_features`. With
        ``"identity"`` for f as well there is no manifold: independent Gaussian inputs, which the teacher sees itself.
    learning_rate
        η, the same for both layers.
    latent
        Law of the latent: ``Gaussian()`` or a :class:`GaussianMixture`.
    student_scale, student_output_scale, teacher_scale, teacher_output_scale
        Standard deviations of the initial W, v and of the teacher's W̃, ṽ, all i.i.d. normal.

    Raises
    ------
    ProblemError
        Naming the field, the value and what would do.

    Examples
    --------
    >>> problem = Problem(input_dim=100, latent_dim=50, student_units=2, teacher_units=2,
    ...                   activation="relu", learning_rate=0.2)
    >>> problem.draw(seed=0).features.shape
    (50, 100)
    """

    input_dim: Dimension
    latent_dim: Dimension
    student_units: Dimension
    teacher_units: Dimension
    activation: str
    learning_rate: Positive
    nonlinearity: str = "sign"
    centre: StrictBool = True
    features: str = "gaussian"
    latent: Annotated[GaussianLatent | GaussianMixture, Field(discriminator="law")] = GaussianLatent()
    student_scale: Scale = 1.0
    student_output_scale: Scale = 1.0
    teacher_scale: Scale = 1.0
    teacher_output_scale: Scale = 1.0

    @field_validator("latent", mode="before")
    @classmethod
    def _setting_of_law(cls, value: Any) -> Any:
        if isinstance(value, Gaussian):
            return GaussianLatent()
        if isinstance(value, LatentLaw):
            raise ValueError("is a drawn law; give it to Instance(..., latent=law), or use GaussianMixture(...) here")
        if isinstance(value, Mapping) and "law" not in value:
            return {"law": "gaussian-mixture", **value}
        return value

    @field_validator("activation")
    @classmethod
    def _known_activation(cls, value: str) -> str:
        if value not in ACTIVATIONS:
            raise ValueError(f"use one of {', '.join(map(repr, ACTIVATIONS))}")
        return value

    @field_validator("nonlinearity")
    @classmethod
    def _known_nonlinearity(cls, value: str) -> str:
        if value not in NAMES:
            raise ValueError(f"use one of {', '.join(map(repr, NAMES))}")
        return value

    @model_validator(mode="after")
    def _blocks_fit(self) -> Self:
        if isinstance(self.latent, GaussianMixture) and self.latent_dim % self.latent.block_size:
            raise ValueError(
                f"latent.block_size: {self.latent.block_size} does not divide latent_dim {self.latent_dim}; "
                "choose a divisor"
            )
        return self

    @model_validator(mode="after")
    def _features_fit(self) -> Self:
        check_features(self.features, self.latent_dim, self.input_dim)
        return self

    def draw(self, seed: int) -> Instance:
        """Draw an instance: features, weights, teacher and the means of a mixture.

        Each is drawn from its own stream of the seed, so changing one setting (the spread, the activation) leaves
        the other draws as they were.

        Parameters
        ----------
        seed
            A non-negative integer.
        """
        features, student, student_output, teacher, teacher_output, _ = _streams(seed)
        needed, free = 16 * self.input_dim * self.latent_dim, available_bytes()
        if free is not None and needed > free:
            raise ProblemError(
                f"input_dim: {self.input_dim} times latent_dim {self.latent_dim} needs {needed / 2**30:.1f} GiB "
                f"where {free / 2**30:.1f} GiB are free; make one of them smaller"
            )
        N, D, K, M = self.input_dim, self.latent_dim, self.student_units, self.teacher_units
        return Instance(
            draw_features(self.features, D, N, features),
            self.student_scale * student.standard_normal((K, N)),
            self.student_output_scale * student_output.standard_normal(K),
            self.teacher_scale * teacher.standard_normal((M, D)),
            self.teacher_output_scale * teacher_output.standard_normal(M),
            activation=self.activation,
            learning_rate=self.learning_rate,
            nonlinearity=self.nonlinearity,
            centre=self.centre,
            latent=self.draw_latent(seed),
            attrs={"problem": self.model_dump_json(exclude_none=True), "instance_seed": int(seed)},
        )

    def draw_latent(self, seed: int) -> LatentLaw:
        """Draw the law of the latent alone, the same that :meth:`draw` gives the instance."""
        *_, stream = _streams(seed)
        return self.latent.draw(self.latent_dim, stream) if isinstance(self.latent, GaussianMixture) else Gaussian()

    def to_toml(self) -> str:
        """The settings as TOML, which :meth:`from_toml` reads back."""
        import tomli_w

        return tomli_w.dumps(json.loads(self.model_dump_json(exclude_none=True)))

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read settings from a TOML file; a ``[run]`` table, which says how to run them, is left aside.

        Raises
        ------
        ProblemError
            If the file cannot be read or a setting is wrong, naming the file.
        """
        settings = _read_toml(path)
        settings.pop("run", None)
        return _validated(cls, settings, path)


class RunSettings(Settings):
    """How ``sgdlimit run`` runs a problem: the ``[run]`` table of its TOML file.

    Parameters
    ----------
    seed
        Seed of the instance and of the SGD noise.
    time
        Length of training in units of N steps.
    count
        Number of log-spaced output times.
    runs
        SGD runs with fresh noise.
    theory
        ``"conventional"`` (Σ_C = I) or ``"moment-matched"`` (the law's covariance).
    test_samples
        Fresh samples on which the generalisation error of SGD is measured.
    """

    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    time: Annotated[float, Field(gt=0, le=1e7, strict=True)] = 100.0
    count: Annotated[int, Field(ge=2, strict=True)] = 200
    runs: Annotated[int, Field(ge=1, strict=True)] = 5
    theory: Literal["conventional", "moment-matched"] = "conventional"
    test_samples: Annotated[int, Field(ge=2, strict=True)] = 4000


def load_problem(path: str | Path) -> tuple[Problem, RunSettings]:
    """Read a problem and its ``[run]`` table from one TOML file.

    Raises
    ------
    ProblemError
        If the file cannot be read or a setting is wrong, naming the file.
    """
    settings = _read_toml(path)
    run = settings.pop("run", {})
    if not isinstance(run, Mapping):
        raise ProblemError(f"{path}: run: {run!r} is not a table; write the run settings under [run]")
    return _validated(Problem, settings, path), _validated(RunSettings, run, path, prefix="run.")


def _streams(seed: int) -> list[np.random.Generator]:
    """Independent generators for features, student, its output, teacher, its output and the law, in this order."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ProblemError(f"seed: {seed!r} is not a non-negative whole number; give one, e.g. 0")
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(6)]


def _read_toml(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read ({error.strerror}); give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProblemError(f"{path}: is not valid TOML ({error}); correct that place") from None


def _validated(cls: type[S], settings: Mapping[str, Any], path: str | Path, prefix: str = "") -> S:
    try:
        return cls(**settings)
    except ProblemError as error:
        raise ProblemError(f"{path}: {prefix}{error}") from None


def _explain(error: ValidationError) -> str:
    """The first complaint of pydantic as one sentence: field, value, remedy."""
    complaint = error.errors(include_url=False)[0]
    place = [str(part) for part in complaint["loc"] if part not in ("gaussian", "gaussian-mixture")]
    name = ".".join(place)
    message = complaint["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if complaint["type"] == "extra_forbidden":
        return f"{name}: {complaint['input']!r} is not a setting of this table; remove it or correct its name"
    if complaint["type"] in ("model_attributes_type", "model_type"):
        return f"{name}: {complaint['input']!r} is not a table of settings; in TOML write it as [{name}]"
    if complaint["type"] == "missing":
        return f"{name}: is missing; give it a value"
    if complaint["type"].startswith("union_tag"):
        return (
            f"latent: {complaint['input']!r} is not a law; use Gaussian() or GaussianMixture(...), "
            'in TOML a table with law = "gaussian" or "gaussian-mixture"'
        )
    if complaint["type"] == "value_error" and not name:
        return message
    if complaint["type"] in ("float_type", "float_parsing"):
        return f"{name}: {complaint['input']!r} is not a number; give one without quotes"
    if isinstance(complaint.get("ctx", {}).get("error"), ProblemError):
        return f"{name}.{message}"
    if complaint["type"] == "value_error":
        return f"{name}: {complaint['input']!r} {message if message.startswith('is') else 'is not known; ' + message}"
    return f"{name}: {complaint['input']!r} will not do; it should be {message[0].lower()}{message[1:]}"
