"""A problem: settings, TOML in and out, clear errors."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator, SeedSequence, default_rng
from pydantic import Field, StrictBool, StrictFloat, StrictInt, ValidationInfo, field_validator

from .errors import ProblemError, shown, unknown_name
from .inputs import NAMES, THEORIES, Gaussian, LatentLaw, MixtureLaw, TheoryName, check_features, draw_features
from .instance import Instance
from .resources import refuse_beyond_memory
from .rules import ACTIVATIONS, STUDENTS
from .settings import Settings, check_whole, probabilities, read_toml
from .signatures import checked
from .training import PLAIN, Scale, Training, check_switch_times

S = TypeVar("S", bound=Settings)

OF_INSTANCE = ("activation", "teacher_activation", "learning_rate", "nonlinearity", "centre", "training")
"""Settings that an instance takes as they are."""

Dimension = Annotated[StrictInt, Field(ge=1, le=10**6)]
Few = Annotated[StrictInt, Field(ge=1, le=10**5)]
Times = Annotated[Few, Field(ge=2)]
Duration = Annotated[StrictFloat, Field(gt=0, le=1e7)]
Samples = Annotated[StrictInt, Field(ge=0, le=10**7)]
Seed = Annotated[StrictInt, Field(ge=0, le=10**12)]
Positive = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]


class GaussianMixture(Settings):
    """A Gaussian mixture (17) whose means are drawn later, μ ~ U[−spread, spread).

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
    components: StrictInt = Field(ge=1, le=10**4)
    spread: Scale
    block_size: Dimension = 1
    standardize: Literal[True, False, "estimated"] = True
    weights: tuple[float, ...] | None = None
    shared_means: StrictBool = True
    moment_samples: StrictInt = Field(default=10_000, ge=2, le=10**7)

    def draw(self, latent_dim: int, rng: Generator) -> MixtureLaw:
        """Draw the means; the same generator state gives proportional means for every spread."""
        scalar = self.block_size == 1 and self.shared_means
        means = self.spread * rng.uniform(-1, 1, size=(self.components,) if scalar else (self.components, latent_dim))
        law = MixtureLaw(means, weights=self.weights, block_size=self.block_size, standardize=self.standardize is True)
        if self.standardize == "estimated":
            return law.standardized_from(law.sample(rng, self.moment_samples, latent_dim))
        return law

    @field_validator("weights")
    @classmethod
    def _weights_fit(cls, value: Any, info: ValidationInfo) -> Any:
        if "components" in info.data:
            probabilities("weights", value, info.data["components"])
        return value


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
    activation, teacher_activation
        g of the student, and of the teacher if it differs: ``"erf"`` for erf(x/√2), ``"relu"``, ``"linear"``,
        ``"tanh"`` or any other of :data:`sgdlimit.rules.ACTIVATIONS`; ``"sign"`` for teachers only.
    nonlinearity
        f of the manifold: ``"sign"``, ``"erf"`` for erf(u/√2), ``"identity"``, ``"tanh"``, ``"relu"`` and others, see
        :func:`sgdlimit.inputs.nonlinearity_named`. Your own function goes into the instance:
        ``problem.draw(seed=0).replace(nonlinearity=Nonlinearity(function))``.
    centre
        Whether E f(U) is subtracted from the inputs, see :class:`sgdlimit.Instance`.
    features
        How F is drawn: ``"gaussian"``, ``"orthogonal"``, ``"hadamard"`` (the larger of N and D a power of two),
        ``"dct"`` or ``"identity"`` (N = D, X = f(C)), see :func:`sgdlimit.inputs.draw_features`. With
        ``"identity"`` for f as well there is no manifold: the teacher sees the inputs, which are independent Gaussian.
    learning_rate
        η, the same for both layers.
    latent
        Law of the latent: ``Gaussian()`` or a :class:`GaussianMixture`.
    student_scale, student_output_scale, teacher_scale, teacher_output_scale
        Standard deviations of the initial W, v and of the teacher's W̃, ṽ, all i.i.d. normal.
    output_weights
        ``"normal"`` draws v and ṽ, ``"equal"`` sets all of a layer to its scale: a committee machine.
    student_alignment
        An informed start: the cosine between an initial W_k and the direction √N E[X ν_m] of a teacher unit, m = k
        modulo M. 0 is independent of the teacher, 1 is parallel to it.
    training
        Options of training, a :class:`sgdlimit.Training`: a rate for each layer, schedules, label noise, ...
    switch_times, task_similarity
        Continual learning: at these times the teacher changes to W̃' = c W̃ + √(1 − c²) Z, with c the similarity to the
        first task's teacher and Z fresh normal weights of the same scale; ṽ stays.

    Raises
    ------
    ProblemError
        Naming every wrong field with its value and a fix.

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
    teacher_activation: str | None = None
    learning_rate: Positive
    nonlinearity: str = "sign"
    centre: StrictBool = True
    features: str = "gaussian"
    latent: GaussianLatent | GaussianMixture = Field(default=GaussianLatent(), discriminator="law")
    student_scale: Scale = 1.0
    student_output_scale: Scale = 1.0
    teacher_scale: Scale = 1.0
    teacher_output_scale: Scale = 1.0
    output_weights: Literal["normal", "equal"] = "normal"
    student_alignment: StrictFloat = Field(default=0.0, ge=0, le=1)
    training: Training = PLAIN
    switch_times: tuple[Positive, ...] = ()
    task_similarity: StrictFloat = Field(default=0.0, ge=-1, le=1)

    @field_validator("latent", mode="before")
    @classmethod
    def _setting_of_law(cls, value: Any) -> Any:
        if isinstance(value, Gaussian):
            return GaussianLatent()
        if isinstance(value, LatentLaw | list):
            raise ValueError(
                "must be Gaussian() or GaussianMixture(...), which are drawn later",
                "Use problem.draw(seed=0).replace(latent=law) for another law, with Empirical(samples) for samples.",
            )
        if isinstance(value, Mapping) and "law" not in value:
            return {"law": "gaussian-mixture", **value}
        return value

    @field_validator("activation", "teacher_activation", "nonlinearity", mode="before")
    @classmethod
    def _known(cls, value: Any, info: ValidationInfo) -> Any:
        field = str(info.field_name)
        names = {"activation": STUDENTS, "teacher_activation": ACTIVATIONS, "nonlinearity": NAMES}[field]
        if value not in list(names) and (value is not None or field != "teacher_activation"):
            own = "sl.Nonlinearity(g)" if field == "nonlinearity" else "sl.Activation(g)"
            more = f", or problem.draw(seed=0).replace({field}={own}) for your own function g"
            raise unknown_name(field, value, names, more)
        return value

    @field_validator("features")
    @classmethod
    def _features_fit(cls, value: str, info: ValidationInfo) -> str:
        sizes = [info.data[name] for name in ("latent_dim", "input_dim") if name in info.data]
        check_features(value, *(sizes if sizes[1:] else (1, 1)))
        return value

    @field_validator("latent")
    @classmethod
    def _blocks_fit(cls, value: Any, info: ValidationInfo) -> Any:
        size, latent_dim = getattr(value, "block_size", 1), info.data.get("latent_dim", 0)
        if latent_dim % size:
            raise ProblemError(f"block_size: must divide latent_dim {latent_dim} (got {size}). Use 1 or latent_dim.")
        return value

    @field_validator("switch_times")
    @classmethod
    def _times_increase(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        check_switch_times(value)
        return value

    @checked
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
        N, D, K, M, latent = self.input_dim, self.latent_dim, self.student_units, self.teacher_units, self.latent
        units = M * (1 + len(self.switch_times))
        kept = 2 * N * D + K * N + units * D + K * (K + units) + units**2  # numbers in an instance and while it is made
        if self.features in ("dct", "hadamard"):
            kept += max(N, D) ** 2
        if isinstance(latent, GaussianMixture):
            kept += D * (latent.components + (latent.standardize == "estimated") * latent.moment_samples)
        sizes = f"{N} with latent_dim {D}, {K} student_units and {M} teacher_units"
        refuse_beyond_memory("input_dim", sizes, 8 * kept, "Make one of them smaller.")
        matrix, transform = draw_features(self.features, D, N, features)
        instance = Instance(
            matrix,
            self.student_scale * student.standard_normal((K, N)),
            self.student_output_scale * self._outputs(K, student_output),
            self.teacher_scale * teacher.standard_normal((M, D)),
            self.teacher_output_scale * self._outputs(M, teacher_output),
            **{name: getattr(self, name) for name in OF_INSTANCE},
            transform=transform,
            latent=self.draw_latent(seed),
            attrs={"problem": self.model_dump_json(exclude_none=True), "instance_seed": int(seed)},
        )
        if self.student_alignment > 0:
            instance = instance.replace(student=_aligned(instance, self.student_alignment))
        first, output, similarity = instance.teacher, instance.teacher_output, self.task_similarity
        for at in self.switch_times:
            fresh = self.teacher_scale * teacher.standard_normal((M, D))
            instance = instance.then(similarity * first + np.sqrt(1 - similarity**2) * fresh, output, at)
        return instance

    def _outputs(self, units: int, rng: Generator) -> Float[ndarray, "units"]:
        return rng.standard_normal(units) if self.output_weights == "normal" else np.ones(units)

    @checked
    def draw_latent(self, seed: int) -> LatentLaw:
        """Draw the law of the latent alone, the same that :meth:`draw` gives the instance."""
        *_, stream = _streams(seed)
        return self.latent.draw(self.latent_dim, stream) if isinstance(self.latent, GaussianMixture) else Gaussian()

    def to_toml(self) -> str:
        """The settings as TOML, which :meth:`from_toml` reads back."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    @checked
    def from_toml(cls, path: str | Path) -> Self:
        """Read settings from a TOML file, without its ``[run]`` table.

        Raises
        ------
        ProblemError
            If the file cannot be read or a setting is wrong, naming the file.
        """
        return read_settings(cls, path)


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
        ``"conventional"`` (Σ_C = I), ``"moment-matched"`` (the law's covariance) or ``"mixture"`` (its clusters);
        or several of them.
    test_samples
        Fresh samples on which the generalisation error of SGD is measured.
    """

    seed: Seed = 0
    time: Duration = 100.0
    count: Times = 200
    runs: Dimension = 5
    theory: TheoryName | tuple[TheoryName, ...] = "conventional"
    test_samples: Annotated[Samples, Field(ge=2)] = 4000

    @field_validator("theory", mode="before")
    @classmethod
    def _known_theories(cls, value: Any) -> Any:
        several = [value] if isinstance(value, str) else value
        known = isinstance(several, list | tuple) and several and all(name in THEORIES for name in several)
        if not known or len(set(several)) < len(several):
            raise ProblemError(
                f"theory: must be {' or '.join(map(repr, THEORIES))}, or several of them in a list, each once (got "
                f"{shown(value)}). Remove the others."
            )
        return value

    @property
    def theories(self) -> tuple[TheoryName, ...]:
        """The theories, also where there is one."""
        return (self.theory,) if isinstance(self.theory, str) else self.theory


class ProblemFile(Problem):
    """What a file of ``sgdlimit run`` holds: a problem and its ``[run]`` table."""

    run: RunSettings = RunSettings()


@checked
def load_problem(path: str | Path) -> tuple[Problem, RunSettings]:
    """Read a problem and its ``[run]`` table from one TOML file.

    Raises
    ------
    ProblemError
        If the file cannot be read or settings are wrong, naming the file and all of them.
    """
    file = read_settings(ProblemFile, path)
    return Problem(**{name: getattr(file, name) for name in file.model_fields_set if name != "run"}), file.run


def read_settings(cls: type[S], path: str | Path) -> S:
    """Settings from a TOML file for ``sgdlimit sweep`` or ``sgdlimit run``, here without ``[run]`` unless asked for.

    Raises
    ------
    ProblemError
        If the file cannot be read, belongs to the other command, or a setting is wrong, naming the file.
    """
    tables, fields = read_toml(path), cls.model_fields
    of_sweep = "grid" in fields
    if not tables.keys().isdisjoint(Problem.model_fields if of_sweep else ("problem", "grid")):
        kind, command = ("one problem", "run") if of_sweep else ("a sweep", "sweep")
        raise ProblemError(f"{path}: holds {kind}. Use `sgdlimit {command} {path}`.")
    if "run" not in fields:
        tables.pop("run", None)
    try:
        return cls(**tables)
    except ProblemError as error:
        raise ProblemError(f"{path}:", *error.args) from None


def _aligned(instance: Instance, cosine: float) -> Float[ndarray, "K N"]:
    """The weights of an instance, turned until they have this cosine with φ_m = √N E[X ν_m] of a teacher unit."""
    W, norm = instance.student, partial(np.linalg.norm, axis=1, keepdims=True)
    towards = instance.moments().cross.T[np.arange(len(W)) % len(instance.teacher)]
    towards /= norm(towards)
    across = W - (W * towards).sum(1, keepdims=True) * towards
    return norm(W) * (cosine * towards + np.sqrt(1 - cosine**2) * (across / norm(across)))


def _streams(seed: int) -> list[Generator]:
    """Independent generators for features, student, its output, teacher, its output and the law, in this order."""
    check_whole(0, seed=seed)
    return [default_rng(stream) for stream in SeedSequence(seed).spawn(6)]
