"""Gaussian averages over the local fields, which theory needs for a learning rule."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Float

from ._later import Array, jax, jnp

Scalar = Float[Array, ""]
Covariance = Float[Array, "n n"]
Means = Float[Array, "n"]
Pairs = Float[Array, "K n"]
Quartets = Float[Array, "K K n n"]


class Moment(NamedTuple):
    """A network at one time, on which averages may depend. Its units begin with the students."""

    Q: Float[Array, "K K"]
    R: Float[Array, "K M"]
    T: Float[Array, "M M"]
    head: dict[str, Any]
    """Further parameters θ, as the output weights ``v`` (K,)."""
    given: Any
    """Arrays that do not move, as the teachers' output weights ṽ (tasks, M)."""
    rates: Any
    """The numbers of training, :class:`sgdlimit.training.Rates`."""
    task: Any
    """Number of the task."""
    time: Any
    points: Any
    """A set of points from :meth:`Averages.points`."""

    @property
    def S(self) -> Covariance:
        """[[Q, R], [Rᵀ, T]], the covariance of (λ, ν)."""
        return jnp.block([[self.Q, self.R], [self.R.T, self.T]])


class Forces(NamedTuple):
    """Averages of a rule's δ and γ: [H A] = E[δ (λ, ν)] S⁻¹, G = E[δ δᵀ], and E[γ]."""

    H: Float[Array, "K K"]
    A: Float[Array, "K M"]
    G: Float[Array, "K K"]
    head: dict[str, Any]


class Averages(ABC):
    """All that the equations of motion need of a learning rule.

    Every method must hold at singular S and have finite derivatives there, because duplicated students, students equal
    to a teacher and zero weights all occur. Concrete classes are final, frozen, and say in their repr what they are.
    """

    method: ClassVar[str] = "closed form"
    """How the averages are computed."""
    known_error: ClassVar[float] = 0.0
    """Error of averages whose accuracy is fixed; 0 for closed forms."""
    prefix = ""
    """Prefix of the head's parameters in a trajectory."""
    level: int
    """Logarithm to base 2 of the points of a set, where there are points."""
    highest: ClassVar[int] = 0
    """The largest level."""
    gradient: ClassVar[bool] = True
    """Whether the rule follows the gradient of one function, so that H is symmetric."""

    @abstractmethod
    def forces(self, at: Moment) -> Forces:
        """H, A, G and E[γ]."""

    @abstractmethod
    def metrics(self, at: Moment) -> dict[str, Any]:
        """Further quantities besides Q, R and the head: numbers, or one for each task."""

    @abstractmethod
    def permuted(self, case: Any, s: Any, t: Any) -> dict[str, Any] | None:
        """Where the head's entries come from when students are taken in the order s and teachers in the order t.

        None if the rule tells these units apart, so that the exchange is no symmetry.
        """

    def keeps_apart(self, case: Any, K: int, M: int) -> bool:
        """Whether students without any overlap with the teachers never get one, which averages here miss by an error.

        Closed forms have no such error.
        """
        return False

    def points(self, K: int, M: int) -> Sequence[Any]:
        """Independent sets of points, which a program takes when it runs; one empty set for closed forms.

        The equations are solved with each of them, and the difference tells the error.
        """
        return [()]

    @property
    def accuracy(self) -> float:
        """The allowed error; infinite if it is fixed."""
        return float("inf")

    @property
    def finest_tolerance(self) -> float:
        """The solver must not ask for a smaller local error: it would resolve the errors of the averages."""
        return 0.0

    def error(self, at: Moment) -> Scalar:
        """Estimated error of an average in the equations of motion, relative to max(1, |average|)."""
        return jnp.zeros(())

    def reaching(self, error: float) -> Self:
        """Take more points until this error becomes the accuracy, as far as possible.

        It is assumed to fall as the number of points to the power −0.7.
        """
        if not error > self.accuracy:
            return self
        level = self.level + np.ceil(np.log2(error / self.accuracy) / 0.7)
        return replace(self, level=int(min(level, self.highest)))  # type: ignore[type-var]


@dataclass(frozen=True)
class Integrals(Averages):
    """Averages of the squared loss of a network with one output, from those of its activations.

    With c = (s_K v, −s_M ṽ) the error of the network is Δ = Σ_a c_a g_a. Indices k, l run over the K students and a, b
    over all n = K + M fields; the students come first in S, and g_a is the student's or the teacher's activation. By
    Price's theorem H and A are derivatives of ε = E[Δ²]/2, which replaces the determinants of the paper:

        H_kl = c_k c_l E[g'_k g'_l] + δ_kl c_k E[Δ g''_k] = 2 sym ∂ε/∂Q
        A_km = c_k c_m E[g'_k g̃'_m] = ∂ε/∂R
        G_kl = c_k c_l (E[Δ² g'_k g'_l] + σ² E[g'_k g'_l])
    """

    @abstractmethod
    def correlation(self, S: Covariance, K: int, mean: Means | None = None) -> Covariance:
        """E[g_a g_b], of fields N(mean, S) if a mean is given."""

    @abstractmethod
    def gain(self, S: Covariance, K: int) -> Pairs:
        """E[g'_k g'_a]."""

    @abstractmethod
    def curvature(self, S: Covariance, K: int) -> Pairs:
        """E[g''_k g_a], in the sense of distributions for a kink."""

    def quartic(self, S: Covariance, K: int) -> Quartets:
        """E[g'_k g'_l g_a g_b]; a class gives this or the noise, and the other follows."""
        return jax.hessian(lambda c: self.noise(S, c, K))(jnp.zeros(len(S))) / 2

    def noise(self, S: Covariance, c: Means, K: int) -> Float[Array, "K K"]:
        """E[Δ² g'_k g'_l] with the error Δ = Σ_a c_a g_a of the network."""
        return self.quartic(S, K) @ c @ c

    def forces(self, at: Moment) -> Forces:
        """H, A and G, which includes the noise on the labels; E[γ] = ∂ε/∂v."""
        S, c, K = at.S, signed_weights(at, at.task), len(at.Q)
        v, gain = c[:K], self.gain(S, K)
        pull = v[:, None] * gain * c
        H = pull[:, :K] + jnp.diag(v * (self.curvature(S, K) @ c))
        G = v[:, None] * v * (self.noise(S, c, K) + at.rates.label_noise**2 * gain[:, :K])
        slope = at.rates.student_scale * (self.correlation(S, K)[:K] @ c)
        v = at.head["v"]
        return Forces(H, pull[:, K:], G, {"v": slope if v.ndim == 1 else jnp.zeros_like(v).at[at.task].set(slope)})

    def metrics(self, at: Moment) -> dict[str, Any]:
        """ε of the present task and of all, (S48)."""
        correlation, tasks = self.correlation(at.S, len(at.Q)), range(len(at.given))
        errors = jnp.stack([c @ correlation @ c / 2 for c in (signed_weights(at, task) for task in tasks)])
        return {"generalization_error": errors[at.task], "task_error": errors}

    def permuted(self, case: Any, s: Any, t: Any) -> dict[str, Any] | None:
        """The output weights are exchanged as the units are, if the teachers' allow it."""
        v, given = np.asarray(case.head["v"]), case.given
        alike = abs(given - np.asarray(given)[:, t]).max() <= 1e-12 * abs(given).max()
        return {"v": np.arange(v.size).reshape(v.shape)[..., s]} if alike else None

    def error(self, at: Moment) -> Scalar:
        """Estimated error of an average."""
        return self.spread(at.S, signed_weights(at, at.task), len(at.Q))

    def spread(self, S: Covariance, c: Means, K: int) -> Scalar:
        """Estimated error of averages that are no closed forms."""
        return jnp.zeros(())


def signed_weights(at: Moment, task: Any) -> Means:
    """The signed output weights c = (s_K v, −s_M ṽ) of a task; each has a head of its own if v is (tasks, K)."""
    v = at.head["v"]
    v = v if v.ndim == 1 else v[task]
    return jnp.concatenate([at.rates.student_scale * v, -at.rates.teacher_scale * at.given[task]])


class Expansions(Integrals):
    """Integrals whose averages of two fields all come from expansions of the two functions."""

    @abstractmethod
    def average(
        self, S: Covariance, K: int, orders: tuple[int, int], rows: int, mean: Means | float = 0.0
    ) -> Float[Array, "{rows} n"]:
        """E[f_a h_b] for derivatives f and h of the given orders, and for the first fields a."""

    def correlation(self, S: Covariance, K: int, mean: Means | None = None) -> Covariance:
        """E[g_a g_b]."""
        return self.average(S, K, (0, 0), len(S), 0.0 if mean is None else mean)

    def gain(self, S: Covariance, K: int) -> Pairs:
        """E[g'_k g'_a]; the slope of a teacher that jumps has spikes."""
        return self.average(S, K, (1, 1), K)

    def curvature(self, S: Covariance, K: int) -> Pairs:
        """E[g''_k g_a], with a spike at every kink of g_k."""
        return self.average(S, K, (2, 0), K)


def normalised(S: Covariance, smallest: float = 0.0) -> tuple[Means, Means, Covariance]:
    """Deviations, their reciprocals and correlations of fields with covariance S.

    A field whose deviation is not above ``smallest`` gets that deviation, reciprocal 0 and correlations 0.
    """
    variance = jnp.diagonal(S)
    varies = variance > smallest**2
    root = jnp.sqrt(jnp.where(varies, variance, 1.0))
    reciprocal = jnp.where(varies, 1 / root, 0.0)
    rho = jnp.clip(S * reciprocal[:, None] * reciprocal, -1, 1)
    return jnp.where(varies, root, smallest), reciprocal, jnp.where(np.eye(len(S), dtype=bool), 1.0, rho)
