"""An instance: the arrays of one drawn network, teacher and feature matrix, and the law of its latent."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray, sqrt
from numpy.typing import ArrayLike

from .errors import ProblemError, shown, unknown_name
from .inputs import (
    THEORIES,
    Affine,
    ClusterMixture,
    Empirical,
    FeatureTransform,
    Gaussian,
    InputMoments,
    Known,
    LatentLaw,
    MixtureLaw,
    MixtureMoments,
    Nonlinearity,
    TheoryName,
    assumed_clusters,
    constant_columns,
    input_mean,
    moments_of_blocks,
    moments_within,
    nonlinearity_named,
    root_mean_square,
    root_of,
    weights_on_nodes,
)
from .rules import (
    ACTIVATIONS,
    CLUSTERS,
    Activation,
    Rule,
    activation_named,
    limited,
    names_of,
    squared_network,
    student_activation,
)
from .settings import check_positive, numbers
from .signatures import checked
from .training import BASIC, PLAIN, Rates, Training, check_switch_times, task_units
from .trajectory import make_attrs

STANDARD_NORMAL = Gaussian()
NO_OUTPUT = ACTIVATIONS["linear"]
"""In the place of the activation where a rule says what follows the fields; its output weights are 0."""


class Instance:
    """One drawn network, teacher, feature matrix and latent law: what theory and simulation both start from.

    Parameters
    ----------
    features
        F, shape (D, N).
    student, student_output
        Initial W and v, shapes (K, N) and (K,); v of shape (tasks, K) gives each task a head of its own, of which only
        the present task's learns.
    teacher, teacher_output
        W̃ and ṽ, shapes (M, D) and (M,). A teacher that changes has one ``teacher`` with all tasks' units and output
        weights of shape (tasks, M); :meth:`then` makes it.
    rule
        A learning rule of your own, :class:`sgdlimit.Rule`, in the place of ``student_output``, ``teacher_output`` and
        activations. Without one, the network has the output Σ v_k g(λ_k), the squared loss and the teacher's labels.
    activation, teacher_activation
        g of the student, and of the teacher if it has another one: a name or an :class:`sgdlimit.Activation`.
    nonlinearity
        f: a name or a :class:`sgdlimit.Nonlinearity`.
    learning_rate
        η > 0.
    latent
        Law of the latent C.
    centre
        Whether the inputs are X = f(U) − E f(U). The mean is that of a centred latent with the law's covariance
        (:func:`sgdlimit.inputs.input_mean`), which is zero where f is odd. With ``False`` SGD sees the mean, and
        theory, which has no limit for it, is refused.
    transform
        The features as a fast transform, where they are one; :meth:`sgdlimit.Problem.draw` and :meth:`from_inputs` give
        it. It must be the same matrix. :meth:`replace` drops it with the features.
    training
        Options of training, :class:`sgdlimit.Training`.
    switch_times
        When the next task begins, increasing, shape (tasks − 1,).
    later_latents
        Laws of the latent in the tasks after the first, or none where it stays; :meth:`then` makes them.
    attrs
        Provenance, handed on to every trajectory.

    Raises
    ------
    ProblemError
        If shapes do not fit or an array holds NaN.
    """

    features: Float[ndarray, "D N"]
    student: Float[ndarray, "K N"]
    student_output: Float[ndarray, "*heads K"]
    teacher: Float[ndarray, "M D"]
    teacher_output: Float[ndarray, "*tasks M"]
    switch_times: Float[ndarray, "switches"]

    @checked
    def __init__(
        self,
        features: ArrayLike,
        student: ArrayLike,
        student_output: ArrayLike | None = None,
        teacher: ArrayLike | None = None,
        teacher_output: ArrayLike | None = None,
        *,
        activation: str | Activation | None = None,
        teacher_activation: str | Activation | None = None,
        rule: Rule | None = None,
        learning_rate: float,
        nonlinearity: str | Nonlinearity = "sign",
        latent: LatentLaw = STANDARD_NORMAL,
        centre: bool = True,
        transform: FeatureTransform | None = None,
        training: Training = PLAIN,
        switch_times: ArrayLike = (),
        later_latents: Sequence[LatentLaw] = (),
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        self.features = numbers("features", features, ("latent_dim", "input_dim"))
        D, N = self.features.shape
        self.student = numbers("student", student, ("student_units", N))
        if teacher is None or np.shape(teacher) == (0, D):
            self.teacher = np.zeros((0, D))
        else:
            self.teacher = numbers("teacher", teacher, ("teacher_units", D))
        K, M = len(self.student), len(self.teacher)
        self.switch_times = check_switch_times(switch_times)
        self.rule = rule
        outputs = (1 + len(self.switch_times), M)[len(self.switch_times) == 0 :]
        own = {"student_output": student_output, "teacher_output": teacher_output, "activation": activation}
        if rule is not None:
            for name, value in own.items():  # what replace() hands on is let through
                if value is not None and value is not NO_OUTPUT and np.any(np.asarray(value) != 0):
                    raise ProblemError(
                        f"{name}: must be left out with a rule (got {shown(value)}). Put it into the rule."
                    )
            own = {"student_output": np.zeros(K), "teacher_output": np.zeros(outputs), "activation": NO_OUTPUT}
            for name in training.options() & {"label_noise", "output_normalization"}:
                raise ProblemError(
                    f"training.{name}: must be left out with a rule (got {getattr(training, name)!r}). Put it into the "
                    "rule."
                )
        for name, value in own.items():
            if value is None:
                raise ProblemError(
                    f"{name}: must be given without a rule (got none). Give it, or a learning rule of your own, "
                    "sl.Rule(...)."
                )
        heads = outputs[:-1] if np.ndim(own["student_output"]) > 1 else ()
        self.student_output = numbers("student_output", own["student_output"], (*heads, K))
        self.teacher_output = numbers("teacher_output", own["teacher_output"], outputs)
        self.activation = student_activation(own["activation"])
        self.teacher_activation = None if teacher_activation is None else activation_named(teacher_activation)
        nonlinearity_named(nonlinearity)
        self.nonlinearity, self.centre, self.latent = nonlinearity, bool(centre), latent
        self.later_latents = tuple(later_latents)
        check_positive(learning_rate=learning_rate)
        self.learning_rate = float(learning_rate)
        self.training, self.transform = training, transform
        self.attrs = dict(attrs or {})
        make_attrs(self.attrs)
        if transform is not None and transform.shape != (D, N):
            raise ProblemError(f"transform: must be the transform of {(D, N)} features (got {transform.shape}).")
        for law in (latent, *self.later_latents):
            law.check_dim(D)
        self._check_rule()
        self._check_options()
        self._check_laws()

    def _check_options(self) -> None:
        """Refuse options of training that need what the network has not."""
        training, K, M = self.training, len(self.student), len(self.teacher)
        if training.sphere and not self.student.any(axis=1).all():
            raise ProblemError("sphere: must have weights that are not 0 (got a unit of zeros). Give another student.")
        if training.teacher_turn is not None:
            numbers("teacher_turn", training.teacher_turn, (M, M))
        if training.dropout and self.rule is not None and np.shape(self.rule.head.get("v", 0.0))[-1:] != (K,):
            raise ProblemError(
                f"dropout: must have output weights v of {K} units in the rule's head (got {shown(self.rule.head)}). "
                "Name them 'v'."
            )
        if not self.closed_form:
            self.as_rule(1.0)

    def _check_rule(self) -> None:
        """Try the rule, in all clusters if its labels ask for them."""
        rule, clusters = self.rule, 1
        if rule is None:
            return
        if rule.asks_for_clusters:
            clusters = len(self.latent.clusters(self.latent_dim).weights)
        labels = rule.given.get("labels") if rule.labels == CLUSTERS else None
        if labels is not None and np.shape(labels) != (clusters,):
            raise ProblemError(
                f"labels: must be {clusters}, one for each cluster of the inputs (got the shape {np.shape(labels)}). "
                "Give them in the order of the clusters."
            )
        rule.check(len(self.student), len(self.teacher), clusters)

    def _check_laws(self) -> None:
        """Refuse laws that change where the inputs have a mean, or are not one for each task."""
        if not self.later_latents:
            return
        count = len(self.switch_times)
        if len(self.later_latents) != count:
            raise ProblemError(
                f"later_latents: must be one for each of {count} switch_times (got {len(self.later_latents)}). Use "
                "then(..., latent=law)."
            )
        if self.rule is not None and self.rule.asks_for_clusters:
            raise ProblemError("later_latents: must be left out for labels of clusters (got some). Remove them.")
        if any(each.input_mean() is not None for each in self.of_tasks()):
            raise ProblemError(
                f"later_latents: must come with a nonlinearity that is odd (got {self.f.name!r}). Use 'sign' or 'erf'."
            )

    def of_tasks(self) -> "list[Instance]":
        """The same under the law of each task alone, or itself where the law stays."""
        laws = (self.latent, *self.later_latents)[: len(self.later_latents) + (len(self.later_latents) > 0)]
        return [self.replace(latent=law, later_latents=()) for law in laws] or [self]

    @property
    def initial_student(self) -> Float[ndarray, "K N"]:
        """W as training begins: scaled to the sphere where it stays there."""
        W = self.student
        return W / sqrt(np.mean(W**2, axis=1, keepdims=True)) if self.training.sphere else W

    @property
    def closed_form(self) -> bool:
        """Whether the averages of theory are those of the squared loss of one output."""
        return self.rule is self.training.clip is self.training.polyak is None

    @property
    def beyond_basic(self) -> list[str]:
        """Names of all that needs the equations or loops of any rule: a rule of its own, and options of training."""
        own = {"rule": self.rule is not None, "student_output": self.student_output.ndim > 1}
        return [name for name, has in own.items() if has] + sorted(self.training.options() - BASIC)

    def as_rule(self, variance: float) -> Rule:
        """The learning rule with the factors of clip and polyak, for inputs of this mean variance ω̄."""
        rule, rates = self.rule, self.rates
        if rule is None:
            rule = squared_network(
                self.activation, self.teacher_activation or self.activation, self.student_output,
                np.atleast_2d(self.teacher_output), student_scale=rates.student_scale,
                teacher_scale=rates.teacher_scale, label_noise=rates.label_noise,
            )  # fmt: skip
        if self.training.clip is self.training.polyak is None:
            return rule
        return limited(rule, variance, clip=self.training.clip, polyak=self.training.polyak)

    @classmethod
    @checked
    def from_covariance(
        cls,
        covariance: ArrayLike,
        student: ArrayLike,
        student_output: ArrayLike | None = None,
        teacher: ArrayLike | None = None,
        teacher_output: ArrayLike | None = None,
        **settings: Any,
    ) -> "Instance":
        """An instance without a manifold: Gaussian inputs X ~ N(0, Ω) that student and teacher see alike.

        With Ω = I this is the soft committee machine of Biehl & Schwarze (1995) and Saad & Solla (1995), whose spectrum
        is the single node ω = 1 with q = Q, r = R and p = T.

        Parameters
        ----------
        covariance
            Ω, shape (N, N), symmetric and without negative eigenvalues.
        student, student_output
            Initial W and v, shapes (K, N) and (K,).
        teacher, teacher_output
            W̃ and ṽ, shapes (M, N) and (M,). The teacher's fields are ν = X W̃ᵀ/√N.
        **settings
            ``activation``, ``learning_rate`` and others, as for :class:`Instance`.

        Returns
        -------
        Instance
            With nonlinearity ``"identity"``; its latent has as many dimensions D as Ω has eigenvalues that are not 0,
            FᵀF/D = Ω, and its ``teacher`` (M, D) is W̃Fᵀ/√N, which gives the same fields.

        Raises
        ------
        ProblemError
            If Ω is not a covariance, an input has no variance, or shapes do not fit.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> W, teacher = rng.normal(size=(2, 2, 50))
        >>> instance = Instance.from_covariance(np.eye(50), W, [1, 1], teacher, [1, 1], activation="erf",
        ...                                     learning_rate=0.5)
        >>> from sgdlimit.theory import spectrum
        >>> spectrum(instance).eigenvalues
        array([1.])
        """
        matrix = numbers("covariance", covariance, ("input_dim", "input_dim"))
        N = len(matrix)
        matrix = numbers("covariance", matrix, (N, N))
        root = root_of("covariance", matrix)  # Ω = rootᵀ root
        constant_columns("covariance", matrix.diagonal() <= 0, fix="Leave out their rows, columns and weights.")
        D, student = len(root), numbers("student", student, ("student_units", N))
        if teacher is not None:
            teacher = sqrt(D / N) * numbers("teacher", teacher, ("teacher_units", N)) @ root.T
        return cls(
            sqrt(D) * root, student, student_output, teacher, teacher_output, nonlinearity="identity", **settings
        )

    @classmethod
    @checked
    def from_inputs(
        cls,
        inputs: Any,
        student: ArrayLike,
        student_output: ArrayLike | None = None,
        teacher: ArrayLike | None = None,
        teacher_output: ArrayLike | None = None,
        *,
        centre: bool = False,
        standardize: bool = False,
        attrs: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> "Instance":
        """An instance whose inputs X are given data, or of a given law: no manifold, the teacher sees X itself.

        Conventional theory assumes that X is isotropic Gaussian, Ω = s²I with s² the mean variance of the inputs.
        Moment-matched theory uses the covariance of the data or the law. Neither has a limit for inputs with a mean,
        and moment-matched theory refuses them: centre or standardise them.

        Parameters
        ----------
        inputs
            Samples, shape (count, N), of which each step draws one (:class:`sgdlimit.Empirical`); or a law of N
            coordinates: a :class:`sgdlimit.LatentLaw`, or a fitted ``sklearn.mixture.GaussianMixture``.
        student, student_output
            Initial W and v, shapes (K, N) and (K,).
        teacher, teacher_output
            W̃ and ṽ, shapes (M, N) and (M,). The teacher's fields are ν = X W̃ᵀ/√N.
        centre
            Subtract the mean; its root mean square is kept as ``attrs["input_mean"]``.
        standardize
            Subtract the mean and divide by the deviation, coordinate by coordinate (19).
        attrs, **settings
            ``activation``, ``learning_rate`` and others, as for :class:`Instance`.

        Returns
        -------
        Instance
            With nonlinearity ``"identity"``, D = N, and as latent the inputs over s; its ``teacher`` is sW̃.

        Raises
        ------
        ProblemError
            If samples are not finite, constant, copies of each other or too few, or shapes do not fit.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> W, teacher = rng.normal(size=(2, 2, 50))
        >>> instance = Instance.from_inputs(3 + rng.normal(size=(500, 50)), W, [1, 1], teacher, [1, 1],
        ...                                 activation="erf", learning_rate=0.5, standardize=True)
        >>> instance.input_dim, instance.latent.distinct_samples
        (50, 500)
        """
        W = numbers("student", student, ("student_units", "input_dim"))
        law = inputs
        if not isinstance(law, LatentLaw):
            law = ClusterMixture.from_sklearn(inputs) if hasattr(inputs, "covariance_type") else Empirical(inputs)
        N = law.dim or W.shape[1]
        mean, variance = law.mean(N), law.covariance(N).diagonal()
        if standardize:
            constant_columns("inputs", variance <= 0, fix="Give a law without them.")
        attrs, location = dict(attrs or {}), np.zeros(N)
        scale = sqrt(variance) if standardize else np.ones(N)
        if standardize or centre:
            location, attrs["input_mean"] = mean, root_mean_square(mean)
        s = float(sqrt(np.mean(variance / scale**2)))
        # A law that needs no change is kept, because known laws are sampled fastest.
        if abs(location).max() > 1e-12 or abs(s * scale - 1).max() > 1e-12:
            law = Affine(law, location, s * scale)
        else:
            s = 1.0
        transform = FeatureTransform.scaled_identity(N, s * sqrt(N))
        return cls(
            transform.dense(), W, student_output, None if teacher is None else s * numbers("teacher", teacher),
            teacher_output,
            nonlinearity="identity", latent=law, transform=transform, attrs=attrs, **settings,
        )  # fmt: skip

    @classmethod
    @checked
    def from_moments(
        cls, Omega: ArrayLike, Phi: ArrayLike, T: ArrayLike, student: ArrayLike, **settings: Any
    ) -> "Instance":
        """An instance of Gaussian inputs and teacher's fields with given second moments.

        Parameters
        ----------
        Omega, Phi, T
            Ω = E[X Xᵀ], shape (N, N), Φ = √N E[X νᵀ], shape (N, M), and T = E[ν νᵀ], shape (M, M). The inputs determine
            the fields where T = Φᵀ Ω⁻¹ Φ/N; what T has above that is noise to the student.
        student
            Initial W, shape (K, N).
        **settings
            ``student_output``, ``teacher_output``, ``activation``, ``learning_rate`` and others, as for
            :class:`Instance`.

        Raises
        ------
        ProblemError
            If they are no covariance, an input has no variance, or shapes do not fit.

        Examples
        --------
        >>> W, cross = np.eye(2, 50), np.eye(50, 2)
        >>> instance = Instance.from_moments(np.eye(50), cross, np.eye(2), W, student_output=[1, 1],
        ...                                  teacher_output=[1, 1], activation="erf", learning_rate=0.5)
        >>> instance.moments().cross.shape
        (50, 2)
        """
        cross = numbers("Phi", Phi, ("input_dim", "teacher_units"))
        N, M = cross.shape
        inputs, fields = numbers("Omega", Omega, (N, N)), numbers("T", T, (M, M))
        constant_columns("Omega", inputs.diagonal() <= 0, fix="Leave out their rows, columns and weights.")
        both = root_of("Omega, Phi, T", np.block([[inputs, cross / sqrt(N)], [cross.T / sqrt(N), fields]]))
        both *= sqrt(len(both))
        return cls(both[:, :N], student, teacher=both[:, N:].T, nonlinearity="identity", **settings)

    @classmethod
    @checked
    def from_overlaps(
        cls,
        Q: ArrayLike,
        R: ArrayLike,
        T: ArrayLike,
        *,
        input_dim: int,
        eigenvalues: ArrayLike = (1.0,),
        shares: ArrayLike | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> "Instance":
        """An instance of independent Gaussian inputs whose initial overlaps are given, exactly at finite N.

        Parameters
        ----------
        Q, R, T
            Shapes (K, K), (K, M) and (M, M), for isotropic inputs. For several eigenvalues they are q, r and p on each,
            shapes (nodes, K, K), (nodes, K, M) and (nodes, M, M), as in :class:`sgdlimit.theory.Spectrum`.
        input_dim
            N, at least K + M for each eigenvalue.
        eigenvalues, shares
            Variances ω of the inputs, shape (nodes,), and which part of the inputs has each; equal parts by default.
        seed
            Of the weights, which are random but for their overlaps.
        **settings
            ``student_output``, ``teacher_output``, ``activation``, ``learning_rate`` and others, as for
            :class:`Instance`.

        Raises
        ------
        ProblemError
            If the overlaps are no covariance, shares are no whole numbers of inputs, or N is too small.

        Examples
        --------
        >>> plateau = Instance.from_overlaps([[0.5]], [[0.3]], [[1.0]], input_dim=100, student_output=[1.0],
        ...                                  teacher_output=[1.0], activation="erf", learning_rate=0.5)
        >>> (plateau.student @ plateau.student.T / 100).round(12)
        array([[0.5]])
        """
        W, weights, variances = weights_on_nodes(Q, R, T, input_dim, eigenvalues, shares, seed)
        transform = FeatureTransform.scaled_identity(input_dim, sqrt(input_dim * variances))
        return cls(transform.dense(), W, teacher=weights, nonlinearity="identity", transform=transform, **settings)

    @property
    def input_dim(self) -> int:
        """Input dimension N."""
        return self.features.shape[1]

    @property
    def latent_dim(self) -> int:
        """Latent dimension D."""
        return self.features.shape[0]

    @property
    def rates(self) -> Rates:
        """The options of training as numbers."""
        M = max(1, task_units(self.teacher_output))  # a rule needs no teacher
        return self.training.rates(self.learning_rate, len(self.student), M, self.switch_times)

    @property
    def blocks(self) -> int:
        """Blocks of the latent whose main effects mixture theory follows; 1 where it follows clusters."""
        law, D = self.latent, self.latent_dim
        if isinstance(law, MixtureLaw) and isinstance(self.f, Known) and law.has_many_blocks(D):
            return D // law.block_size
        return 1

    @property
    def f(self) -> Known | Nonlinearity:
        """The nonlinearity f itself, where :attr:`nonlinearity` may be a name."""
        return nonlinearity_named(self.nonlinearity)

    def moments(self, theory: str = "conventional") -> InputMoments:
        """Second moments of the inputs and the teacher's fields that a theory assumes, (9)-(11).

        ``"mixture"`` gives the moments within a cluster, averaged over the clusters; for the others, and for errors,
        see :func:`sgdlimit.inputs.assumed_clusters`.
        """
        if theory not in THEORIES:
            raise unknown_name("theory", theory, THEORIES)
        return self.mixture_moments(theory).averaged()

    def mixture_moments(
        self, theory: TheoryName = "mixture", teacher: Float[ndarray, "M D"] | None = None
    ) -> MixtureMoments:
        """Moments within each cluster that a theory assumes, see :func:`sgdlimit.inputs.moments_within`.

        Those with another teacher, if one is given.
        """
        mean = self.input_mean() if self.centre and theory == "mixture" else None
        teacher, subtracted = self.teacher if teacher is None else teacher, 0.0 if mean is None else mean
        law, f = self.latent, self.f
        if theory == "mixture" and self.blocks > 1:
            assert isinstance(law, MixtureLaw)
            assert isinstance(f, Known)
            return moments_of_blocks(self.features, teacher, f, law, subtracted)
        return moments_within(self.features, teacher, f, assumed_clusters(law, self.latent_dim, theory), subtracted)

    def input_mean(self) -> Float[ndarray, "N"] | None:
        """The mean that f itself gives the inputs, None where it is zero; see :func:`sgdlimit.inputs.input_mean`."""
        return input_mean(self.features, self.f, self.latent)

    def replace(self, **changes: Any) -> "Instance":
        """A copy with some fields changed: the same network under another law or activation."""
        for name in changes.keys() - vars(self).keys():
            raise unknown_name("replace", name, vars(self))
        if "features" in changes:
            changes.setdefault("transform", None)
        return Instance(**(vars(self) | changes))

    @checked
    def then(
        self,
        teacher: ArrayLike,
        teacher_output: ArrayLike | None,
        at: float,
        *,
        student_output: ArrayLike | None = None,
        latent: LatentLaw | None = None,
    ) -> "Instance":
        """The same learner with another task after this one: from a time on, another teacher labels the inputs.

        With ``latent`` these inputs have another law as well. Their Q and R are those on the present inputs, and errors
        on each task are on the inputs of that task.

        Parameters
        ----------
        teacher, teacher_output
            W̃ and ṽ of the next task, shapes (M', D) and (M',); ṽ is None with a rule. Its units join the
            earlier ones, so that R and T hold the overlaps with the teachers of all tasks.
        at
            Time t = steps/N at which the task begins, later than every earlier task.
        student_output
            Initial v, shape (K,), of a head of its own for this task; then every task must have one.
        latent
            Law of the latent from then on; as before by default. Conventional theory assumes N(0, I) in every task.

        Returns
        -------
        Instance
            Its trajectories have ``task_error`` (time, task), the generalisation error on each of the tasks; with a
            rule each of its metrics, as ``task_loss``.

        Examples
        --------
        >>> from sgdlimit import Problem
        >>> problem = Problem(input_dim=20, latent_dim=10, student_units=2, teacher_units=1, activation="erf",
        ...                   learning_rate=0.2)
        >>> two = problem.draw(seed=0).then(problem.draw(seed=1).teacher, [1.0], at=50.0)
        >>> two.teacher.shape, two.teacher_output.shape
        ((2, 10), (2, 2))
        """
        from scipy.linalg import block_diag

        given: Any = np.zeros(len(np.asarray(teacher))) if self.rule is not None else teacher_output
        output = numbers("teacher_output", given, ("teacher_units",))
        weights = numbers("teacher", teacher, (len(output), self.latent_dim))
        head = () if student_output is None else (numbers("student_output", student_output, (len(self.student),)),)
        later = self.later_latents
        if latent is not None or later:
            before = (self.latent, *(later or [self.latent] * len(self.switch_times)))
            later = (*before[1:], latent or before[-1])
        return self.replace(
            later_latents=later,
            student_output=np.vstack([self.student_output, *head]) if head else self.student_output,
            teacher=np.concatenate([self.teacher, weights]),
            teacher_output=block_diag(self.teacher_output, output),
            switch_times=np.append(self.switch_times, at),
        )

    def provenance(self, **more: Any) -> dict[str, Any]:
        """Attributes for a trajectory of this instance; ``input_mean`` is the size of the mean that is subtracted."""
        mean = self.input_mean() if self.centre else None
        return {
            **self.attrs,
            **({} if mean is None else {"input_mean": root_mean_square(mean)}),
            **(names_of(self.activation, self.teacher_activation) if self.rule is None else {"rule": self.rule.name}),
            "nonlinearity": self.f.name,
            "learning_rate": self.learning_rate,
            "training": self.training.model_dump_json(exclude_defaults=True),
            **({"switch_times": self.switch_times.tolist()} if len(self.switch_times) else {}),
            "latent": ", then ".join(map(repr, (self.latent, *self.later_latents))),
            "input_dim": self.input_dim,
            "latent_dim": self.latent_dim,
            "sgdlimit": version("sgdlimit"),
            **more,
        }
