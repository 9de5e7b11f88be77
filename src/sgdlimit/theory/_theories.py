"""Theories as objects: what each assumes of the inputs, when it applies, and how it solves.

Each theory has a name. Wherever a theory is expected, its name stands for the object with default options.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, final

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from xarray import Dataset

from ..errors import ProblemError, unknown_name
from ..inputs import InputMoments, assumed_clusters, root_mean_square
from ..instance import Instance
from ..rules import Averages
from ..settings import check_positive, check_whole
from ..signatures import checked
from ._averages import integrals_for
from ._equations import Case
from ._exactness import ENSEMBLE, Exactness, exactness_of_instance, refused
from ._integrate import ATOL, MAX_STEPS, RTOL, Solver
from ._points import Points
from ._quadrature import STEPS
from ._solve import trajectories
from ._spectrum import Spectrum, node_means, spectrum_of

MOST_DROPPED = 10
"""Most student units with dropout: theory averages over their 2^K masks."""


class Theory(ABC):
    """A prediction of trajectories for an instance; concrete theories are final."""

    name: ClassVar[str]

    def __str__(self) -> str:
        return self.name

    def moments(self, instance: Instance) -> InputMoments:
        """Second moments of the inputs and the teacher's fields that the theory assumes, (9)-(11).

        Raises
        ------
        ProblemError
            If the theory has no equations for these inputs.
        """
        return instance.moments(self.name)

    def applies(self, instance: Instance) -> bool:
        """Whether the theory has equations for the inputs of an instance."""
        return self.exactness(instance).kind != "refused"

    @checked
    def exactness(self, instance: Instance) -> Exactness:
        """How exactly the equations of an instance are evaluated, or why they are refused."""
        try:
            for each in instance.of_tasks():
                self.moments(each)
        except ProblemError as error:
            return refused(error)
        return exactness_of_instance(instance, self.name, averages_of(instance))

    @abstractmethod
    def solve(self, instance: Instance, times: ArrayLike, *, nodes: int | None = None) -> Dataset:
        """Trajectory of the order parameters; parameters and errors are those of :func:`sgdlimit.solve`."""


@dataclass(frozen=True)
class _GaussianTheory(Theory):
    """Theory that assumes Gaussian inputs: the equations of motion on the spectrum of its moments."""

    rtol: float = RTOL
    atol: float = ATOL
    max_steps: int = MAX_STEPS

    def __post_init__(self) -> None:
        check_positive(rtol=self.rtol, atol=self.atol)
        check_whole(1, max_steps=self.max_steps)

    def moments(self, instance: Instance) -> InputMoments:
        """Second moments of inputs without a mean."""
        mean = None if instance.centre else instance.input_mean()
        if mean is not None:
            raise ProblemError(
                f"centre: must be True for inputs with a mean, of which theory has no limit (got a root mean square of "
                f"{root_mean_square(mean):.3g}). Use centre=True, or an odd nonlinearity."
            )
        return super().moments(instance)

    @checked
    def solve(self, instance: Instance, times: ArrayLike, *, nodes: int | None = None) -> Dataset:
        integrals, changes = averages_of(instance), self.name != "conventional" and instance.later_latents
        if changes and nodes is not None:
            raise ProblemError(f"nodes: must be left out where inputs change (got {nodes}). Remove it.")
        first = instance.of_tasks()[0] if changes else instance
        case = case_of(instance, spectrum(first, self, nodes=nodes), self)
        grade = str(exactness_of_instance(instance, self.name, integrals))
        solver = Solver(integrals, self.rtol, self.atol, self.max_steps)
        attrs = instance.provenance(theory=self.name, exactness=grade)
        if not changes:
            return trajectories(case, times, solver, attrs)
        from ._handover import order_parameters_by_task  # which needs theories

        return trajectories(case, times, solver, attrs, partial(order_parameters_by_task, instance, self))


@final
@dataclass(frozen=True)
class Conventional(_GaussianTheory):
    """Assumes that the latent has the covariance Σ_C = I, whatever its law (Bae & Jeong, after Goldt et al. 2020).

    Parameters
    ----------
    rtol, atol, max_steps
        As for :func:`sgdlimit.theory.solve_spectrum`.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=20, latent_dim=5, student_units=2, teacher_units=3, activation="erf",
    ...                      learning_rate=0.2)
    >>> sl.Conventional().applies(problem.draw(seed=0))
    True
    """

    name = "conventional"


@final
@dataclass(frozen=True)
class MomentMatched(_GaussianTheory):
    """Assumes Gaussian inputs with the covariance of the latent's own law.

    Parameters
    ----------
    rtol, atol, max_steps
        As for :func:`sgdlimit.theory.solve_spectrum`.
    """

    name = "moment-matched"


@final
@dataclass(frozen=True)
class Mixture(Theory):
    """Assumes that the latent consists of Gaussian clusters, see :func:`sgdlimit.theory.solve_mixture`.

    Parameters
    ----------
    chains
        Size of the ensemble.
    seed
        Seed of the ensemble.
    """

    name = "mixture"
    chains: int = 32
    seed: int = 0

    def moments(self, instance: Instance) -> InputMoments:
        """Second moments within a cluster, averaged over the clusters, of a network that mixture theory follows."""
        from ._mean_fields import rule_of

        rule_of(instance)
        return super().moments(instance)

    @checked
    def exactness(self, instance: Instance) -> Exactness:
        """That an ensemble evaluates the theory, or why the theory is refused."""
        from ._mean_fields import rule_of

        try:
            rule_of(instance)
            if instance.blocks == 1:
                assumed_clusters(instance.latent, instance.latent_dim, "mixture")
        except ProblemError as error:
            return refused(error)
        return ENSEMBLE

    def __post_init__(self) -> None:
        check_whole(1, chains=self.chains)
        check_whole(0, seed=self.seed)

    def solve(self, instance: Instance, times: ArrayLike, *, nodes: int | None = None) -> Dataset:
        """Trajectories with a leading dimension ``run``, the chains of the ensemble."""
        from ._mean_fields import solve_mixture  # numba, which the other theories do without

        return solve_mixture(instance, times, chains=self.chains, seed=self.seed, nodes=nodes)


THEORIES = {theory.name: theory for theory in (Conventional(), MomentMatched(), Mixture())}


def theory_of(theory: str | Theory, **options: float | None) -> Theory:
    """The theory of a name, or the given theory, with the options that are given.

    Raises
    ------
    ProblemError
        If the theory is not known, or has no such option.
    """
    found = theory if isinstance(theory, Theory) else THEORIES.get(theory)
    if found is None:
        raise unknown_name("theory", theory, THEORIES)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if hasattr(found, name):
            continue
        lacks, use = ("steps that adapt", "moment-matched") if isinstance(found, Mixture) else ("ensemble", "mixture")
        raise ProblemError(
            f"{name}: must be left out for theory={found.name!r}, which has no {lacks} (got {given[name]}). Use "
            f"{use!r}."
        )
    return replace(found, **given) if given else found  # type: ignore[type-var]


def case_of(instance: Instance, inputs: Spectrum, theory: str | Theory = "conventional") -> Case:
    """The case to solve: an instance, which was checked when it was made, with a spectrum of its inputs.

    Raises
    ------
    ProblemError
        If theory lacks an option of training for it.
    """
    training, K = instance.training, len(instance.student)
    if training.dropout and K > MOST_DROPPED:
        raise ProblemError(
            f"dropout: must be of at most {MOST_DROPPED} student units, because theory averages over 2^K masks (got "
            f"{K}). Use SGD."
        )
    rates = instance.rates
    if rates.drift is not None:
        rates = rates._replace(drift=_moving(instance, inputs, str(theory)))
    if instance.closed_form:
        return Case(inputs, {"v": instance.student_output}, np.atleast_2d(instance.teacher_output), rates)
    rule = instance.as_rule(inputs.variance)
    return Case(inputs, rule.head, rule.given, rates)


def _moving(instance: Instance, inputs: Spectrum, theory: str) -> tuple[float, ndarray, ndarray, ndarray]:
    """κ, S, and where a drift ends: p_mm on the nodes and T_mm, from all D teachers that see one latent coordinate."""
    (M, D), training = instance.teacher.shape, instance.training
    kappa, turn, ends = training.teacher_drift, training.turn(M), np.zeros(len(inputs.weights))
    if kappa == 0:
        return kappa, turn, ends, np.zeros(M)
    if not inputs.noise.all():
        raise ProblemError(f"teacher_drift: must have all eigenvalues (got {len(ends)} nodes). Leave nodes out.")
    each = instance.mixture_moments(theory, np.eye(D)).averaged()  # type: ignore[arg-type]
    *_, ends = node_means(each, each.cross.T, "at,at->t")
    return kappa, turn, ends, np.full(M, np.trace(each.teacher_overlap))


def reduced_spectrum(instance: Instance, theory: str | Theory, nodes: int | None) -> Spectrum:
    """A spectrum of few nodes, 14(K + M + 1) by default."""
    most = STEPS * (len(instance.student) + len(instance.teacher) + 1) if nodes is None else nodes
    return spectrum(instance, theory, nodes=most)


def averages_of(instance: Instance) -> Averages:
    """Gaussian averages of an instance's learning rule."""
    if not instance.closed_form:
        return Points.of(instance.as_rule(1.0), len(instance.student), len(instance.teacher))
    return integrals_for(instance.activation, instance.teacher_activation)


@checked
def spectrum(instance: Instance, theory: str | Theory = "conventional", *, nodes: int | None = None) -> Spectrum:
    """Spectrum of the inputs and initial weights of an instance.

    Parameters
    ----------
    instance
        A :class:`sgdlimit.Instance`.
    theory
        ``"conventional"`` assumes that the latent has the covariance I, ``"moment-matched"`` uses its true covariance,
        ``"mixture"`` the covariance of the inputs within a cluster, averaged over the clusters.
    nodes
        The most nodes to keep, see :func:`reduce`; all by default, up to 3000 distinct eigenvalues.

    Raises
    ------
    ProblemError
        If the theory is not known or does not apply to the law of the latent, f gives the inputs a mean that is not
        centred, or ``nodes`` is too small.

    Examples
    --------
    >>> from sgdlimit import Problem
    >>> problem = Problem(input_dim=20, latent_dim=5, student_units=2, teacher_units=3, activation="erf",
    ...                   learning_rate=0.2)
    >>> spectrum(problem.draw(seed=0)).overlap.shape  # 5 eigenvalues above 1 − 2/π, and 15 copies of it
    (6, 2, 3)
    """
    if instance.later_latents and str(theory) != "conventional":
        count = 1 + len(instance.later_latents)
        raise ProblemError(f"later_latents: must be left out for one spectrum (got {count} laws). Use sl.solve.")
    return spectrum_of(theory_of(theory).moments(instance), instance.student, nodes)


@checked
def exactness(instance: Instance, theory: str | Theory = "conventional") -> Exactness:
    """How exactly the equations of an instance are evaluated by a theory, or why it refuses them.

    Parameters
    ----------
    instance
        A :class:`sgdlimit.Instance`.
    theory
        A theory, such as :class:`sgdlimit.MomentMatched`, or its name.

    Examples
    --------
    >>> from sgdlimit import Problem
    >>> problem = Problem(input_dim=20, latent_dim=5, student_units=2, teacher_units=3, activation="tanh",
    ...                   learning_rate=0.2)
    >>> str(exactness(problem.draw(seed=0)))
    'Monte Carlo, error 2e-03'
    """
    return theory_of(theory).exactness(instance)


@checked
def solve(
    instance: Instance,
    times: ArrayLike,
    theory: str | Theory = "conventional",
    *,
    nodes: int | None = None,
    chains: int | None = None,
    seed: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int | None = None,
) -> Dataset:
    """Trajectory of the order parameters that theory predicts for an instance.

    Parameters
    ----------
    instance
        A network, its teacher and its inputs, :class:`sgdlimit.Instance`.
    times
        Output times t = step/N, shape (time,), increasing, from 0 on.
    theory
        ``"conventional"`` assumes that the latent has the covariance I (Bae & Jeong, after Goldt et al. 2020),
        ``"moment-matched"`` uses its true covariance, and ``"mixture"`` assumes that the latent consists of Gaussian
        clusters, see :func:`sgdlimit.theory.solve_mixture`. Or an object: :class:`sgdlimit.Conventional`,
        :class:`sgdlimit.MomentMatched`, :class:`sgdlimit.Mixture`.
    nodes
        The most nodes of the spectrum to keep, see :func:`sgdlimit.theory.reduce`; all by default, up to 3000 distinct
        eigenvalues.
    chains, seed
        Ensemble size and seed for mixture theory (defaults 32 and 0).
    rtol, atol, max_steps
        For the two others, as for :func:`sgdlimit.theory.solve_spectrum`.

    Returns
    -------
    xarray.Dataset
        As from :func:`sgdlimit.theory.solve_spectrum`; from mixture theory with a leading ``run`` dimension.

    Raises
    ------
    ProblemError
        If the times, the theory or ``nodes`` cannot be used.
    DivergenceError
        If the trajectory diverges before the first output time.

    Examples
    --------
    >>> from sgdlimit import Problem
    >>> problem = Problem(input_dim=20, latent_dim=5, student_units=2, teacher_units=3, activation="erf",
    ...                   learning_rate=0.2)
    >>> dict(solve(problem.draw(seed=0), times=[0.0, 1.0]).sizes)
    {'time': 2, 'student': 2, 'student_': 2, 'teacher': 3}
    """
    found = theory_of(theory, chains=chains, seed=seed, rtol=rtol, atol=atol, max_steps=max_steps)
    return found.solve(instance, times, nodes=nodes)
