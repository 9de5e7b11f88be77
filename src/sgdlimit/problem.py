"""A problem: settings, TOML in and out, clear errors."""

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator, SeedSequence, default_rng
from pydantic import (
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .errors import ProblemError, shown, unknown_name
from .inputs import (
    NAMES,
    THEORIES,
    FeatureTransform,
    Gaussian,
    LatentLaw,
    TheoryName,
    check_features,
    draw_features,
    moments_within,
    nonlinearity_named,
    student_with,
    with_overlap,
)
from .instance import Instance
from .law_settings import Covariance, Dimension, GaussianLatent, GaussianMixture, LabelledClusters, Overlap, Positive
from .resources import refuse_beyond_memory
from .rules import ACTIVATIONS, CLUSTERS, Rule, check_network, network
from .settings import Settings, check_whole, numbers, read_toml
from .signatures import checked
from .training import PLAIN, Scale, Training, check_switch_times
from .trajectory import HEAD, on_tasks

OF_INSTANCE = ("learning_rate", "nonlinearity", "centre", "training", "switch_times")
"""Settings that an instance takes as they are."""

Few = Annotated[StrictInt, Field(ge=1, le=10**5)]
Times = Annotated[Few, Field(ge=2)]
Duration = Annotated[StrictFloat, Field(gt=0, le=1e7)]
Samples = Annotated[StrictInt, Field(ge=0, le=10**7)]
Seed = Annotated[StrictInt, Field(ge=0, le=10**12)]


class FileSettings(Settings):
    """Settings of a command that are read from its TOML file."""

    @classmethod
    @checked
    def from_toml(cls, path: str | Path) -> Self:
        """Read settings from a TOML file; without its ``[run]`` table where they have none.

        Raises
        ------
        ProblemError
            If the file cannot be read, belongs to the other command, or a setting is wrong, naming the file.
        """
        tables, fields = read_toml(path), cls.model_fields
        of_sweep = "grid" in fields
        if not tables.keys().isdisjoint(Problem.model_fields if of_sweep else ("problem", "grid")):
            due, kind, command = ("a sweep", "one problem", "run") if of_sweep else ("one problem", "a sweep", "sweep")
            raise ProblemError(f"{path}: must hold {due} (got {kind}). Use `sgdlimit {command} {path}`.")
        if "run" not in fields:
            tables.pop("run", None)
        try:
            return cls(**tables)
        except ProblemError as error:
            raise ProblemError(f"{path}:", *error.args) from None


class Problem(FileSettings):
    """A teacher-student problem on the hidden manifold; :meth:`draw` makes an instance of it.

    Parameters
    ----------
    input_dim, latent_dim
        N and D.
    student_units, teacher_units
        K and M.
    activation, teacher_activation
        g of the student, and of the teacher if it differs: ``"erf"`` for erf(x/√2), ``"relu"``, ``"linear"``,
        ``"tanh"`` or any other of :data:`sgdlimit.rules.ACTIVATIONS`; ``"sign"`` for teachers, and for students that
        follow no gradient (``rule="perceptron"``, ``"hebb"`` or ``"adatron"``).
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
        Law of the latent: ``Gaussian()``, a :class:`GaussianMixture` or :class:`LabelledClusters`.
    student_scale, student_output_scale, teacher_scale, teacher_output_scale
        Standard deviations of the initial W, v and of the teacher's W̃, ṽ, all i.i.d. normal.
    output_weights
        ``"normal"`` draws v and ṽ, ``"equal"`` sets all of a layer to its scale: a committee machine.
    student_alignment
        An informed start: the cosine between an initial W_k and the direction √N E[X ν_m] of a teacher unit, m = k
        modulo M. 0 is independent of the teacher, 1 is parallel to it.
    loss
        ``"squared"``, ``"absolute"``, ``"huber"``, ``"correlation"`` (1 − yŷ), ``"logistic"``, ``"hinge"``,
        ``"exponential"`` or ``"cross-entropy"``.
    outputs, bias
        Number P of outputs, each with output weights of its own, and whether they have trained biases.
    labels
        What the student learns: the ``"teacher"``'s outputs, their ``"sign"``, the number of the largest
        (``"argmax"``), or the labels of ``"clusters"`` of the inputs, which need no teacher (``teacher_units=0``).
    rule
        ``"gradient"`` of the loss, ``"dfa"`` (direct feedback alignment), ``"perceptron"``, ``"hebb"`` or
        ``"adatron"``; see :func:`sgdlimit.rules.network`.
    heads
        ``"per-task"`` gives each task output weights of its own, of which the present task's learn.
    feedback_scale
        Standard deviation of the fixed feedback weights of ``"dfa"``.
    covariance
        Variances of inputs without a manifold, a :class:`Covariance`; 1 by default. ``covariance``, ``Q``, ``R`` and
        ``T`` need ``"identity"`` for features and nonlinearity.
    Q, R, T
        Overlaps of the initial student, of it with the teacher, and of the teacher, exactly so at finite N: a matrix,
        or a number for its multiple of the identity. So T=1.0 is an orthonormal teacher. By default weights are
        drawn, and R is 0 where Q is given. With T given, later teachers have exactly the similarity to the first.
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
    teacher_units: StrictInt = Field(ge=0, le=10**6)
    activation: str
    teacher_activation: str | None = None
    learning_rate: Positive
    nonlinearity: str = "sign"
    centre: StrictBool = True
    features: str = "gaussian"
    latent: GaussianLatent | GaussianMixture | LabelledClusters = Field(default=GaussianLatent(), discriminator="law")
    student_scale: Scale = 1.0
    student_output_scale: Scale = 1.0
    teacher_scale: Scale = 1.0
    teacher_output_scale: Scale = 1.0
    output_weights: Literal["normal", "equal"] = "normal"
    student_alignment: StrictFloat = Field(default=0.0, ge=0, le=1)
    training: Training = PLAIN
    switch_times: tuple[Positive, ...] = ()
    task_similarity: StrictFloat = Field(default=0.0, ge=-1, le=1)
    loss: str = "squared"
    outputs: StrictInt = Field(default=1, ge=1, le=1000)
    bias: StrictBool = False
    labels: str = "teacher"
    rule: str = "gradient"
    heads: Literal["shared", "per-task"] = "shared"
    feedback_scale: Scale = 1.0
    covariance: Covariance | None = None
    Q: Overlap = None
    R: Overlap = None
    T: Overlap = None

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
        names = NAMES if field == "nonlinearity" else ACTIVATIONS
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

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse settings that are ignored or have no meaning beside the others."""
        names = {name: getattr(self, name) for name in ("activation", "loss", "outputs", "bias", "labels", "rule")}
        check_network(**names)
        clusters, manifold = self.labels == CLUSTERS, not self.features == self.nonlinearity == "identity"
        starts, several = self.Q is not None, self.outputs > 1
        wrong = [
            (not clusters and self.teacher_units == 0, "teacher_units", "at least 1 unless labels are 'clusters'"),
            (clusters and self.teacher_units > 0, "teacher_units", "0 where labels are 'clusters'"),
            (clusters and self.latent.law != CLUSTERS, "latent.law", "'clusters' where labels are"),
            (clusters and self.training.label_noise > 0, "training.label_noise", "0 beside latent.label_noise"),
            (clusters and self.switch_times, "switch_times", "empty where labels are 'clusters'"),
            (clusters and self.student_alignment > 0, "student_alignment", "0 without a teacher"),
            (self.heads != "shared" and not self.switch_times, "heads", "'shared' without switch_times"),
            (several and self.output_weights == "equal", "output_weights", "'normal' for outputs that differ"),
            (not starts and self.R is not None, "R", "left out where Q is"),
            (starts and self.student_alignment > 0, "student_alignment", "0 where Q is given; R has the same purpose"),
            *(
                (manifold and getattr(self, name) is not None, name, "left out unless features and f are 'identity'")
                for name in ("covariance", "Q", "R", "T")
            ),
        ]
        complaints = [
            f"{field}: must be {rule} (got {shown(attrgetter(field)(self))}). Change one of them."
            for found, field, rule in wrong
            if found
        ]
        if complaints:
            raise ProblemError(*complaints)
        for name in "QRT":
            if isinstance(getattr(self, name), tuple):
                self._overlap_of(name)  # whose shape is checked
        return self

    def _overlap_of(self, name: str) -> Float[ndarray, "rows columns"]:
        """A given overlap as a matrix, R = 0 by default."""
        K, M, value = self.student_units, self.teacher_units, getattr(self, name)
        shape = {"Q": (K, K), "R": (K, M), "T": (M, M)}[name]
        if isinstance(value, tuple):
            return numbers(name, value, shape)
        return (value or 0.0) * np.eye(*shape)

    @property
    def has_closed_form(self) -> bool:
        """Whether the network is the one whose Gaussian averages have closed forms, which needs no rule."""
        names = self.loss, self.outputs, self.bias, self.labels, self.rule
        return names == ("squared", 1, False, "teacher", "gradient")

    @property
    def _head(self) -> tuple[int, ...]:
        """Shape of the output weights."""
        tasks = (1 + len(self.switch_times),)
        return (*tasks * (self.heads == "per-task"), *self._several, self.student_units)

    @property
    def _several(self) -> tuple[int, ...]:
        """Axis of the outputs, where there are several."""
        return (self.outputs,) * (self.outputs > 1)

    def followed(self) -> dict[str, tuple[int, ...]]:
        """Variables of a trajectory besides Q and R: the head's parameters with their shapes, and () for errors."""
        tasks = (1 + len(self.switch_times),)
        if self.has_closed_form:
            errors = {"generalization_error": ()} | ({"task_error": tasks} if tasks > (1,) else {})
            return {(HEAD if self.heads == "per-task" else "") + "v": self._head} | errors
        several, M = self._several, tasks[0] * self.teacher_units
        rule = self._rule(np.ones(self._head), np.ones((*tasks, *several, M)), np.ones((*several, self.student_units)))
        by_task = dict.fromkeys(map(on_tasks, rule.metrics), tasks) if tasks > (1,) else {}
        heads = {HEAD + name: value.shape for name, value in rule.head.items()}
        return heads | dict.fromkeys(rule.metrics, ()) | by_task

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
        features, student, student_output, teacher, teacher_output, _, feedback = _streams(seed)
        N, D, K, M = self.input_dim, self.latent_dim, self.student_units, self.teacher_units
        tasks = 1 + len(self.switch_times)
        self._refuse_beyond_memory()
        matrix, transform, variances = self._features(features)
        law, several, scale = self.draw_latent(seed), self._several, np.sqrt(variances)
        W = self.student_scale * student.standard_normal((K, N))
        first, *later = self.teacher_scale * teacher.standard_normal((tasks, M, D))
        if self.T is not None:
            first = with_overlap(first, self._overlap_of("T"), variances, first[:0])
        if self.Q is not None:
            W = student_with(W, self._overlap_of("Q"), self._overlap_of("R"), first, variances)
        if self.student_alignment > 0:
            f = nonlinearity_named(self.nonlinearity)
            moments = moments_within(matrix, first * scale, f, Gaussian().clusters(D), 0.0).averaged()
            W = _aligned(W, moments.cross.T[np.arange(K) % M], self.student_alignment)
        similarity = self.task_similarity
        if self.T is not None:
            for task, fresh in enumerate(later):
                beside = np.concatenate([W, first, *later[:task]])
                later[task] = with_overlap(fresh, self._overlap_of("T"), variances, beside)
        teachers = [first, *(similarity * first + np.sqrt(1 - similarity**2) * fresh for fresh in later)]
        v = self.student_output_scale * self._outputs(self._head, student_output)
        v_teacher = self.teacher_output_scale * self._outputs((*several, M), teacher_output)
        by_task = np.zeros((tasks, *several, tasks * M))  # each task has units of its own
        for task in range(tasks):
            by_task[task, ..., task * M : (task + 1) * M] = v_teacher
        settings = {name: getattr(self, name) for name in OF_INSTANCE}
        if self.has_closed_form:
            settings |= {"student_output": v, "teacher_output": by_task if tasks > 1 else v_teacher}
            settings |= {"activation": self.activation, "teacher_activation": self.teacher_activation}
        else:  # the rule has its noise and normalisation
            settings["rule"] = self._rule(v, by_task, self.feedback_scale * feedback.standard_normal((*several, K)))
            settings["training"] = self.training.replace(label_noise=0.0, output_normalization="1")
        return Instance(
            matrix, W, teacher=np.concatenate(teachers) * scale, latent=law, transform=transform, **settings,
            attrs={"problem": self.model_dump_json(exclude_none=True), "instance_seed": int(seed)},
        )  # fmt: skip

    def _features(self, rng: Generator) -> tuple[ndarray, FeatureTransform | None, Float[ndarray, "D"]]:
        """F, as a transform too where it is one, and the variances of inputs without a manifold."""
        D, N = self.latent_dim, self.input_dim
        if self.covariance is None:
            return *draw_features(self.features, D, N, rng), np.ones(D)
        variances = self.covariance.variances(N)
        transform = FeatureTransform.scaled_identity(N, np.sqrt(N * variances))
        return transform.dense(), transform, variances

    def _rule(
        self,
        v: Float[ndarray, "*heads K"],
        teachers: Float[ndarray, "tasks *outputs M"],
        feedback: Float[ndarray, "*outputs K"],
    ) -> Rule:
        """The learning rule, with the output weights of the teachers of all tasks."""
        law = self.latent
        clusters = law if isinstance(law, LabelledClusters) and self.labels == CLUSTERS else None
        rates = self.training.rates(self.learning_rate, self.student_units, max(self.teacher_units, 1))
        return network(
            v, teachers, activation=self.activation, teacher_activation=self.teacher_activation, loss=self.loss,
            labels=clusters.labels_for(self.outputs) if clusters else self.labels, rule=self.rule, bias=self.bias,
            feedback=feedback if self.rule == "dfa" else None, student_scale=rates.student_scale,
            teacher_scale=rates.teacher_scale, label_noise=(clusters or rates).label_noise,
        )  # fmt: skip

    def _refuse_beyond_memory(self) -> None:
        """Refuse sizes for which the memory does not suffice, also while the instance is made."""
        N, D, K, M, latent = self.input_dim, self.latent_dim, self.student_units, self.teacher_units, self.latent
        units = M * (1 + len(self.switch_times))
        kept = 2 * N * D + K * N + units * D + K * (K + units) + units**2
        if self.features in ("dct", "hadamard"):
            kept += max(N, D) ** 2
        if isinstance(latent, GaussianMixture):
            kept += D * (latent.components + (latent.standardize == "estimated") * latent.moment_samples)
        if isinstance(latent, LabelledClusters):
            kept += latent.count * (D + D**2)
        sizes = f"{N} with latent_dim {D}, {K} student_units and {M} teacher_units"
        refuse_beyond_memory("input_dim", sizes, 8 * kept, "Make one of them smaller.")

    def _outputs(self, shape: tuple[int, ...], rng: Generator) -> Float[ndarray, "*shape"]:
        return rng.standard_normal(shape) if self.output_weights == "normal" else np.ones(shape)

    @checked
    def draw_latent(self, seed: int) -> LatentLaw:
        """Draw the law of the latent alone, the same that :meth:`draw` gives the instance."""
        stream = _streams(seed)[5]
        return Gaussian() if isinstance(self.latent, GaussianLatent) else self.latent.draw(self.latent_dim, stream)

    def to_toml(self) -> str:
        """The settings as TOML, which :meth:`from_toml` reads back."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


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
    """The contents of a file of ``sgdlimit run``: a problem and its ``[run]`` table."""

    run: RunSettings = RunSettings()


@checked
def load_problem(path: str | Path) -> tuple[Problem, RunSettings]:
    """Read a problem and its ``[run]`` table from one TOML file.

    Raises
    ------
    ProblemError
        If the file cannot be read or settings are wrong, naming the file and all of them.
    """
    file = ProblemFile.from_toml(path)
    return Problem(**{name: getattr(file, name) for name in file.model_fields_set if name != "run"}), file.run


def _aligned(W: Float[ndarray, "K N"], towards: Float[ndarray, "K N"], cosine: float) -> Float[ndarray, "K N"]:
    """Weights, turned until each has this cosine with a direction φ_m = √N E[X ν_m] of a teacher unit."""
    norm = partial(np.linalg.norm, axis=1, keepdims=True)
    towards = towards / norm(towards)
    across = W - (W * towards).sum(1, keepdims=True) * towards
    return norm(W) * (cosine * towards + np.sqrt(1 - cosine**2) * (across / norm(across)))


def _streams(seed: int) -> list[Generator]:
    """Independent generators for features, student, its output, teacher, its output, the law and feedback weights."""
    check_whole(0, seed=seed)
    return [default_rng(stream) for stream in SeedSequence(seed).spawn(7)]
