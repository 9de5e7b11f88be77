"""An instance: the arrays of one drawn network, teacher and feature matrix, and the law of its latent."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from .errors import ProblemError
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
    MixtureMoments,
    Nonlinearity,
    input_mean,
    input_moments,
    mixture_moments,
    nonlinearity_named,
    root_mean_square,
)
from .resources import one_thread
from .rules import Activation, activation_named, names_of, student_activation
from .training import PLAIN, LearningRule, Training, check_switch_times, task_units

__all__ = ["Instance", "check_instance"]

STANDARD_NORMAL = Gaussian()


class Instance:
    """One drawn network, teacher, feature matrix and latent law: what theory and simulation both start from.

    Parameters
    ----------
    features
        F, shape (D, N).
    student, student_output
        Initial W and v, shapes (K, N) and (K,).
    teacher, teacher_output
        W̃ and ṽ, shapes (M, D) and (M,). A teacher that changes has one ``teacher`` with all tasks' units and output
        weights of shape (tasks, M); :meth:`then` makes it.
    activation, teacher_activation
        g of the student, and of the teacher if it has another one: a name or an :class:`sgdlimit.Activation`.
    nonlinearity
        f: a name or a :class:`sgdlimit.Nonlinearity`.
    learning_rate
        η > 0.
    latent
        Law of the latent C.
    centre
        Whether the inputs are X = f(U) − E f(U), with the mean that f itself makes of a latent without one, of the
        law's own covariance (:func:`sgdlimit.inputs.input_mean`). Nothing is to be done where f is odd.
        With ``False`` SGD sees the mean, and theory, which has no limit for one, is refused.
    transform
        The features as a fast transform, where they are one: what :meth:`sgdlimit.Problem.draw` and
        :meth:`from_inputs` find. It must stand for the same matrix; :meth:`replace` drops it with the features.
    training
        Options of training, :class:`sgdlimit.Training`.
    switch_times
        When the next task begins, increasing, shape (tasks − 1,).
    attrs
        Provenance, handed on to every trajectory.

    Raises
    ------
    ProblemError
        If shapes do not fit or an array holds NaN.
    """

    features: Float[np.ndarray, "D N"]
    student: Float[np.ndarray, "K N"]
    student_output: Float[np.ndarray, "K"]
    teacher: Float[np.ndarray, "M D"]
    teacher_output: Float[np.ndarray, "*tasks M"]
    switch_times: Float[np.ndarray, "tasks-1"]

    def __init__(
        self,
        features: ArrayLike,
        student: ArrayLike,
        student_output: ArrayLike,
        teacher: ArrayLike,
        teacher_output: ArrayLike,
        *,
        activation: str | Activation,
        teacher_activation: str | Activation | None = None,
        learning_rate: float,
        nonlinearity: str | Nonlinearity = "sign",
        latent: LatentLaw = STANDARD_NORMAL,
        centre: bool = True,
        transform: FeatureTransform | None = None,
        training: Training = PLAIN,
        switch_times: ArrayLike = (),
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        self.features = _array("features", features, ("latent_dim", "input_dim"))
        self.student = _array("student", student, ("student_units", "input_dim"))
        self.teacher = _array("teacher", teacher, ("teacher_units", "latent_dim"))
        self.student_output = _array("student_output", student_output, ("student_units",))
        self.switch_times = check_switch_times(switch_times)
        tasks = 1 + len(self.switch_times)
        self.teacher_output = _array("teacher_output", teacher_output, ("tasks", "teacher_units")[tasks == 1 :])
        D, N = self.features.shape
        K, M = len(self.student), len(self.teacher)
        for name, array, expected in (
            ("student", self.student, (K, N)),
            ("student_output", self.student_output, (K,)),
            ("teacher", self.teacher, (M, D)),
            ("teacher_output", self.teacher_output, (M,) if tasks == 1 else (tasks, M)),
        ):
            if array.shape != expected:
                raise ProblemError(
                    f"{name}: shape {array.shape} does not fit features {(D, N)} with K={K} student and M={M} teacher "
                    f"units; give shape {expected}"
                )
        if transform is not None and (len(transform.rows), len(transform.columns)) != (D, N):
            raise ProblemError(
                f"transform: its shape {(len(transform.rows), len(transform.columns))} does not fit features {(D, N)}; "
                "leave it out"
            )
        self.transform = transform
        self.activation = student_activation(activation)
        self.teacher_activation = None if teacher_activation is None else activation_named(teacher_activation)
        f = nonlinearity_named(nonlinearity)
        self.nonlinearity = nonlinearity if isinstance(nonlinearity, Nonlinearity) else f.name
        if not isinstance(centre, bool | np.bool_):
            raise ProblemError(f"centre: {centre!r} is neither True nor False; give one of them")
        self.centre = bool(centre)
        try:
            self.learning_rate = float(learning_rate)
        except (TypeError, ValueError):
            self.learning_rate = np.nan
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ProblemError(f"learning_rate: {learning_rate!r} is not a positive number; try 0.2")
        if not isinstance(latent, LatentLaw):
            raise ProblemError(f"latent: {latent!r} is not a law; use Gaussian(), MixtureLaw(means), or draw a Problem")
        latent.check_dim(D)
        self.latent = latent
        if not isinstance(training, Training):
            raise ProblemError(f"training: {training!r} are no options of training; use sgdlimit.Training(...)")
        self.training = training
        self.attrs = dict(attrs or {})

    @classmethod
    def from_covariance(
        cls,
        covariance: ArrayLike,
        student: ArrayLike,
        student_output: ArrayLike,
        teacher: ArrayLike,
        teacher_output: ArrayLike,
        *,
        activation: str | Activation,
        teacher_activation: str | Activation | None = None,
        learning_rate: float,
        attrs: Mapping[str, Any] | None = None,
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
        activation, teacher_activation, learning_rate, attrs
            As for :class:`Instance`.

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
        matrix = _array("covariance", covariance, ("input_dim", "input_dim"))
        weights = _array("teacher", teacher, ("teacher_units", "input_dim"))
        N = len(matrix)
        if matrix.shape != (N, N):
            raise ProblemError(f"covariance: shape {matrix.shape} is not square; give one of shape ({N}, {N})")
        if weights.shape[1] != N:
            raise ProblemError(
                f"teacher: shape {weights.shape} does not fit covariance {(N, N)}; give {(len(weights), N)}"
            )
        scale = np.abs(matrix).max()
        if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-10 * scale):
            raise ProblemError("covariance: is not symmetric; give (Ω + Ωᵀ)/2")
        if matrix.diagonal().min() <= 0:
            raise ProblemError(
                f"covariance: input {matrix.diagonal().argmin()} has the variance {matrix.diagonal().min():g}; leave "
                "out inputs that do not vary"
            )
        with one_thread():
            variances, directions = np.linalg.eigh(matrix)
        if variances[0] < -1e-10 * scale * N:
            raise ProblemError(
                f"covariance: has the eigenvalue {variances[0]:.3g}; a covariance has none below 0, check its entries"
            )
        kept = variances > 1e-12 * variances[-1]
        root = np.sqrt(variances[kept])[:, None] * directions[:, kept].T  # Ω = rootᵀ root
        D = len(root)
        return cls(
            np.sqrt(D) * root,
            student,
            student_output,
            np.sqrt(D / N) * weights @ root.T,
            teacher_output,
            activation=activation,
            teacher_activation=teacher_activation,
            learning_rate=learning_rate,
            nonlinearity="identity",
            attrs=attrs,
        )

    @classmethod
    def from_inputs(
        cls,
        inputs: Any,
        student: ArrayLike,
        student_output: ArrayLike,
        teacher: ArrayLike,
        teacher_output: ArrayLike,
        *,
        activation: str | Activation,
        teacher_activation: str | Activation | None = None,
        learning_rate: float,
        centre: bool = False,
        standardize: bool = False,
        attrs: Mapping[str, Any] | None = None,
    ) -> "Instance":
        """An instance whose inputs X are given data, or of a given law: no manifold, the teacher sees X itself.

        Conventional theory takes X for isotropic Gaussian, Ω = s²I with s² the mean variance of the inputs;
        moment-matched theory takes the covariance of the data or the law. Neither has a limit for inputs with a mean,
        and the second says so: centre them, or standardise them.

        Parameters
        ----------
        inputs
            Samples, shape (count, N), of which each step draws one (:class:`sgdlimit.Empirical`); or a law of N
            coordinates: a :class:`sgdlimit.LatentLaw`, or a fitted ``sklearn.mixture.GaussianMixture``.
        student, student_output
            Initial W and v, shapes (K, N) and (K,).
        teacher, teacher_output
            W̃ and ṽ, shapes (M, N) and (M,). The teacher's fields are ν = X W̃ᵀ/√N.
        activation, teacher_activation, learning_rate, attrs
            As for :class:`Instance`.
        centre
            Subtract the mean; its root mean square is kept as ``attrs["input_mean"]``.
        standardize
            Subtract the mean and divide by the deviation, coordinate by coordinate (19).

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
        weights = _array("teacher", teacher, ("teacher_units", "input_dim"))
        W = _array("student", student, ("student_units", "input_dim"))
        law = _law_of(inputs)
        N = W.shape[1] if law.dim is None else law.dim
        for name, array in (("student", W), ("teacher", weights)):
            if array.shape[1] != N:
                raise ProblemError(
                    f"{name}: shape {array.shape} does not fit inputs of {N} coordinates; give {(len(array), N)}"
                )
        mean, variance = law.mean(N), law.covariance(N).diagonal()
        notes = {}
        if standardize or centre:
            notes["input_mean"] = root_mean_square(mean)
        location = mean if standardize or centre else np.zeros(N)
        scale = np.sqrt(variance) if standardize else np.ones(N)
        s = float(np.sqrt(np.mean(variance / np.square(scale))))
        # A law that needs no change is left as it is, for the known ones are sampled fastest.
        if np.abs(location).max() > 1e-12 or np.abs(s * scale - 1).max() > 1e-12:
            law = Affine(law, location, s * scale)
        else:
            s = 1.0
        transform = FeatureTransform.scaled_identity(N, s * np.sqrt(N))
        return cls(
            transform.dense(),
            W,
            student_output,
            s * weights,
            teacher_output,
            activation=activation,
            teacher_activation=teacher_activation,
            learning_rate=learning_rate,
            nonlinearity="identity",
            latent=law,
            transform=transform,
            attrs={**(attrs or {}), **notes},
        )

    @property
    def input_dim(self) -> int:
        """Input dimension N."""
        return self.features.shape[1]

    @property
    def latent_dim(self) -> int:
        """Latent dimension D."""
        return self.features.shape[0]

    @property
    def rule(self) -> LearningRule:
        """The learning rule as numbers."""
        M = task_units(self.teacher_output)
        return self.training.rule(self.learning_rate, len(self.student), M, self.switch_times)

    @property
    def f(self) -> Known | Nonlinearity:
        """The nonlinearity f itself, where :attr:`nonlinearity` may be a name."""
        return nonlinearity_named(self.nonlinearity)

    def moments(self, theory: str = "conventional") -> InputMoments:
        """Second moments of the inputs and the teacher's fields that a theory assumes, (9)-(11).

        ``"mixture"`` gives the moments within a cluster, averaged over the clusters; for the others, and for errors,
        see :func:`sgdlimit.inputs.input_moments`.
        """
        if theory not in THEORIES:
            raise ProblemError(f"theory: {theory!r} is not known; use one of {', '.join(map(repr, THEORIES))}")
        if theory == "mixture":
            return self.mixture_moments().averaged()
        return input_moments(self.features, self.teacher, self.f, self.latent, theory)

    def mixture_moments(self) -> MixtureMoments:
        """Moments within each cluster of the law, see :func:`sgdlimit.inputs.mixture_moments`."""
        return mixture_moments(self.features, self.teacher, self.f, self.latent, self.centre)

    def input_mean(self) -> Float[np.ndarray, "N"] | None:
        """The mean that f itself gives the inputs, None where it is zero; see :func:`sgdlimit.inputs.input_mean`."""
        return input_mean(self.features, self.f, self.latent)

    def replace(self, **changes: Any) -> "Instance":
        """A copy with some fields changed: the same network under another law or activation."""
        dropped: dict[str, Any] = {"transform": None} if "features" in changes else {}
        return Instance(**(vars(self) | dropped | changes))

    def then(self, teacher: ArrayLike, teacher_output: ArrayLike, at: float) -> "Instance":
        """The same learner with another task to follow: from a time on, another teacher labels the inputs.

        Parameters
        ----------
        teacher, teacher_output
            W̃ and ṽ of the next task, shapes (M', D) and (M',). Its units join those there are, so that R and T hold
            the overlaps with the teachers of all tasks.
        at
            Time t = steps/N at which it takes over, after that of every earlier task.

        Returns
        -------
        Instance
            Whose trajectories have ``task_error`` (time, task), the generalisation error on each of the tasks.

        Examples
        --------
        >>> from sgdlimit import Problem
        >>> problem = Problem(input_dim=20, latent_dim=10, student_units=2, teacher_units=1, activation="erf",
        ...                   learning_rate=0.2)
        >>> two = problem.draw(seed=0).then(problem.draw(seed=1).teacher, [1.0], at=50.0)
        >>> two.teacher.shape, two.teacher_output.shape
        ((2, 10), (2, 2))
        """
        weights = _array("teacher", teacher, ("teacher_units", "latent_dim"))
        output = _array("teacher_output", teacher_output, ("teacher_units",))
        if weights.shape != (len(output), self.latent_dim):
            raise ProblemError(
                f"teacher: shape {weights.shape} does not fit its {len(output)} output weights and latent_dim "
                f"{self.latent_dim}; give {(len(output), self.latent_dim)}"
            )
        before = np.atleast_2d(self.teacher_output)
        outputs = np.zeros((len(before) + 1, before.shape[1] + len(output)))
        outputs[:-1, : before.shape[1]], outputs[-1, before.shape[1] :] = before, output
        return self.replace(
            teacher=np.concatenate([self.teacher, weights]),
            teacher_output=outputs,
            switch_times=np.append(self.switch_times, at),
        )

    def provenance(self, **more: Any) -> dict[str, Any]:
        """Attributes for a trajectory of this instance; ``input_mean`` is the size of the mean that is subtracted."""
        mean = self.input_mean() if self.centre else None
        return {
            **self.attrs,
            **({} if mean is None else {"input_mean": root_mean_square(mean)}),
            **names_of(self.activation, self.teacher_activation),
            "nonlinearity": self.f.name,
            "learning_rate": self.learning_rate,
            "training": self.training.model_dump_json(exclude_defaults=True),
            **({"switch_times": self.switch_times.tolist()} if len(self.switch_times) else {}),
            "latent": repr(self.latent),
            "input_dim": self.input_dim,
            "latent_dim": self.latent_dim,
            "sgdlimit": version("sgdlimit"),
            **more,
        }


def check_instance(instance: object) -> Instance:
    """Refuse what is no instance, a problem that was not drawn above all.

    Raises
    ------
    ProblemError
        If it is not an :class:`Instance`.
    """
    if not isinstance(instance, Instance):
        raise ProblemError(f"instance: a {type(instance).__name__} is not an Instance; give problem.draw(seed=0)")
    return instance


def _law_of(inputs: Any) -> LatentLaw:
    """Inputs as a law: samples as an empirical one, a mixture fitted by scikit-learn as one of clusters."""
    if isinstance(inputs, LatentLaw):
        return inputs
    return ClusterMixture.from_sklearn(inputs) if hasattr(inputs, "covariance_type") else Empirical(inputs)


def _array(name: str, value: ArrayLike, shape: tuple[str, ...]) -> np.ndarray:
    wanted = "(" + ", ".join(shape) + ("," if len(shape) == 1 else "") + ")"
    try:
        array = value if _is_frozen(value) else np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ProblemError(f"{name}: is not an array of numbers; give one of shape {wanted}") from None
    if array.ndim != len(shape) or array.size == 0:
        raise ProblemError(f"{name}: shape {array.shape} does not fit; give a non-empty array of shape {wanted}")
    if not np.isfinite(array).all():
        raise ProblemError(
            f"{name}: {np.count_nonzero(~np.isfinite(array))} of {array.size} entries are NaN or infinite; remove them"
        )
    array.setflags(write=False)
    return array


def _is_frozen(value: ArrayLike) -> TypeGuard[np.ndarray]:
    """Whether an array is an instance's own already; copies of an instance share it."""
    return isinstance(value, np.ndarray) and value.dtype == np.float64 and not value.flags.writeable
