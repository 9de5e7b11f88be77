"""Inputs whose law changes with the task: what a student has learned, in the eigenvectors of the next covariance.

Overlaps on the eigenvalues of one covariance say nothing about another, unless the two commute. But on each eigenvalue
the weights are Γ = α Γ₀ + β φ + N(0, n), with matrices that the equations of motion follow,

    dα/dt = −η ωH α,    dβ/dt = −η (ωH β + A),    dn/dt = −η ωH n − (the same)ᵀ + η² ω G.

So the weights are known up to noise that is independent in all directions, and turn into any other basis. Covariances
that commute share a basis. Then the overlaps on the inputs of every task follow at all times.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ..errors import AccuracyWarning, ProblemError
from ..instance import Instance
from ..resources import one_thread
from ..rules import Averages, Moment
from ..settings import check_positive
from ..signatures import checked
from ..trajectory import TASK
from ._compiled import call
from ._equations import Case
from ._integrate import OrderParameters, Solver, order_parameters
from ._quadrature import LARGE, clipped
from ._spectrum import Spectrum
from ._theories import Theory, averages_of, case_of, theory_of

CARRIED = {"memory", "sphere", "weight_decay", "adagrad", "teacher_drift", "teacher_turn", "batch_fraction"}
"""Options for which these equations do not exist."""

COMMUTING = 1e-9
"""Entries off the diagonal that are smaller than this part of the largest variance are rounding."""


class Inputs(NamedTuple):
    """Inputs of one law in a basis in which their covariance is diagonal."""

    variances: Float[ndarray, "N"]
    modes: Float[ndarray, "N N"]
    cross: Float[ndarray, "M N"]
    """φ in this basis."""
    teacher_overlap: Float[ndarray, "M M"]


class Weights(NamedTuple):
    """What is known of the student in a basis: means, and the covariance of noise, independent in all directions."""

    mean: Float[ndarray, "*time K N"]
    noise: Float[ndarray, "*time K K N"]

    @classmethod
    def of(cls, instance: Instance, inputs: Inputs) -> "Weights":
        """The initial ones, in the basis of inputs."""
        W = instance.initial_student @ inputs.modes
        return cls(W, np.zeros((len(W), *W.shape)))

    def overlaps(self, inputs: Inputs) -> tuple[Float[ndarray, "*time K K"], Float[ndarray, "*time K M"]]:
        """Q and R on inputs whose basis this is."""
        Q = (self.mean * inputs.variances) @ self.mean.mT + self.noise @ inputs.variances
        return Q / len(inputs.variances), self.mean @ inputs.cross.T / len(inputs.variances)

    def turned(self, one: Inputs, other: Inputs) -> "Weights":
        """The same at one time in the basis of other inputs."""
        turn = one.modes.T @ other.modes
        return Weights(self.mean @ turn, self.noise @ turn**2)

    def spectrum(self, inputs: Inputs) -> Spectrum:
        """Inputs whose basis this is as the student sees them, every direction a node."""
        mean, phi, N = self.mean, inputs.cross, len(inputs.variances)
        student = np.einsum("kt,lt->tkl", mean, mean) + np.moveaxis(self.noise, -1, 0)
        overlap, teacher = np.einsum("kt,mt->tkm", mean, phi), np.einsum("mt,nt->tmn", phi, phi)
        return Spectrum(inputs.variances, np.full(N, 1 / N), student, overlap, teacher, inputs.teacher_overlap)


@checked
def hand_over(
    first: Instance, second: Instance, at: float, *, theory: str | Theory = "conventional"
) -> tuple[Spectrum, dict[str, Any]]:
    """Inputs of a second law, as seen by a student that has learned on a first law until the time ``at``.

    Parameters
    ----------
    first, second
        Instances of one network. The student of the second one is not used.
    at
        Time t = steps/N at which the inputs change.
    theory
        As for :func:`sgdlimit.solve`.

    Returns
    -------
    Spectrum, dict
        The start for :func:`solve_spectrum`, with a time that begins at 0, and the head, such as {"v": (K,)}. Each
        eigenvalue of the second covariance is a node. The error on the first task later on needs W itself.

    Raises
    ------
    ProblemError
        If sizes differ or are too large, or an option of training has no such equations.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> W, teacher = rng.normal(size=(2, 2, 50))
    >>> one, other = (Instance.from_covariance(np.diag(x), W, [1, 1], teacher, [1, 1], activation="erf",
    ...                                        learning_rate=0.5) for x in (np.linspace(1, 2, 50), np.ones(50)))
    >>> inputs, head = hand_over(one, other, 1.0)
    >>> inputs.overlap.shape, head["v"].shape
    ((50, 2, 2), (2,))
    """
    check_positive(at=at)
    if first.student.shape != second.student.shape:
        sizes = first.student.shape, second.student.shape
        raise ProblemError(f"second: must have a student of the same shape (got {sizes}). Give one network twice.")
    one, other = _inputs_of([first, second], theory_of(theory))
    weights = Weights.of(first, one)
    case, solver = case_of(first, weights.spectrum(one)), Solver(averages_of(first))
    weights, found = _learned(case, one, weights, np.array([float(at)]), solver)
    if found.reached == 0:
        raise ProblemError(
            f"learning_rate: must be smaller (got {first.learning_rate:g}, which diverges before t={at:g}). Try half."
        )
    after = Weights(weights.mean[-1], weights.noise[-1]).turned(one, other)
    return after.spectrum(other), {name: value[-1] for name, value in found.head.items()}


def order_parameters_by_task(
    instance: Instance, theory: Theory, times: Float[ndarray, "time"], solver: Solver
) -> OrderParameters:
    """Order parameters of an instance whose inputs change with the task, on the inputs of the present task.

    Metrics of other tasks are on the inputs of those. They need W itself, and are NaN, once the inputs have changed
    between covariances that do not commute.
    """
    tasks, edges = instance.of_tasks(), [0.0, *instance.switch_times, np.inf]
    laws, head = _inputs_of(tasks, theory), None
    weights, shared = Weights.of(tasks[0], laws[0]), laws[0].modes is laws[1].modes
    if not shared and times[-1] >= edges[1]:
        warnings.warn(
            f"task_error: on the inputs of other tasks it is NaN from t={edges[1]:g} on, because covariances do not "
            "commute. Use SGD.",
            AccuracyWarning,
            stacklevel=6,
        )
    parts, steps, error = [], 0, 0.0
    for task, (one, inputs) in enumerate(zip(tasks, laws, strict=True)):
        start, end = edges[task : task + 2]
        here = times[(start <= times) & (times < end)]
        at = np.append(here, end) if end <= times[-1] else here
        case = case_of(one, weights.spectrum(inputs))
        case = case._replace(head=head or case.head)
        along, found = _learned(case, inputs, weights, at, solver, start)
        count = min(found.reached, len(here))
        metrics = {name: values for name, values in found.metrics.items() if not name.startswith(TASK)}
        for other, law in enumerate(laws):
            if not shared and other != task > 0:  # noise that was independent is so no more
                continue
            seen = along if shared or other == task else along.turned(inputs, law)
            for name, values in _metrics(case, law, seen, found.head, at, other, solver.averages).items():
                metrics.setdefault(name, np.full((len(at), len(laws)), np.nan))[:, other] = values
        parts.append(jax.tree.map(lambda x, count=count: x[:count], (found.Q, found.R, found.head, metrics)))
        steps, error = steps + found.steps, max(error, found.integral_error)
        if found.reached < len(at) or len(at) == len(here):
            break
        head = {name: value[-1] for name, value in found.head.items()}
        weights = Weights(along.mean[-1], along.noise[-1]).turned(inputs, laws[task + 1])
    reached = sum(len(part[0]) for part in parts)
    lost = [jax.tree.map(lambda x: np.full((len(times) - reached, *x.shape[1:]), np.inf), parts[0])]
    whole: Any = jax.tree.map(lambda *x: np.concatenate(x), *parts, *lost)
    return OrderParameters(*whole, steps=steps, reached=reached, integral_error=error)


def _learned(
    case: Case, inputs: Inputs, weights: Weights, times: Float[ndarray, "time"], solver: Solver, start: float = 0.0
) -> tuple[Weights, OrderParameters]:
    """The weights at some times, learned on inputs from a start on, and what else follows."""
    found = order_parameters(case._replace(rates=case.rates._replace(carry=start)), times, solver)
    more = dict(found.metrics)
    alpha, beta, noise = (more.pop(name)[..., : len(inputs.variances)] for name in ("alpha", "beta", "n"))
    mean = np.einsum("tkjn,jn->tkn", alpha, weights.mean) + np.einsum("tkmn,mn->tkn", beta, inputs.cross)
    kept = np.einsum("tkin,ijn,tljn->tkln", alpha, weights.noise, alpha)
    return Weights(mean, kept + noise), found._replace(metrics=more)


def _metrics(
    case: Case,
    inputs: Inputs,
    weights: Weights,
    head: dict[str, Any],
    times: Float[ndarray, "time"],
    task: int,
    averages: Averages,
) -> dict[str, Float[ndarray, "time"]]:
    """Metrics on a task, by their names on each of several, of a student at some times."""
    Q, R = weights.overlaps(inputs)
    states, T = (Q, R, head, times), inputs.teacher_overlap
    found = [
        call(metrics_along, case._replace(spectrum=None, points=points), T, states, task, averages=averages)[0]
        for points in averages.points(*R.shape[1:])
    ]
    mean = jax.tree.map(lambda *x: sum(x) / len(x), *found)
    return {name: values[:, task] for name, values in mean.items() if name.startswith(TASK)}


def metrics_along(case: Case, T: Any, states: Any, task: Any, *, averages: Averages) -> tuple[Any]:
    """Metrics at some states (Q, R, head, t) on inputs with the teacher's overlaps T."""

    def of_state(state):
        Q, R, head, t = state
        return averages.metrics(Moment(Q, R, T, head, case.given, case.rates, task, t, case.points))

    return (jax.lax.map(of_state, states),)


def _inputs_of(instances: Sequence[Instance], theory: Theory) -> list[Inputs]:
    """The inputs of instances, all in one basis if their covariances commute."""
    moments, N = [theory.moments(instance) for instance in instances], instances[0].input_dim
    if N > LARGE:
        raise ProblemError(f"input_dim: must be at most {LARGE} where inputs change (got {N}). Use SGD.")
    for name in sorted(instances[0].training.options() & CARRIED):
        given = getattr(instances[0].training, name)
        raise ProblemError(f"{name}: must be left out where inputs change (got {given!r}). Use SGD.")
    matrices = [np.diag(each.diagonal) + each.factor.T @ each.factor for each in moments]
    # Eigenvectors of a mixture that no coincidence makes degenerate are those of all matrices, if these commute.
    shares = np.random.default_rng(0).uniform(1, 2, len(matrices))
    with one_thread():
        modes = np.linalg.eigh(np.tensordot(shares, matrices, 1))[1]
        rotated = [modes.T @ matrix @ modes for matrix in matrices]
        if all(abs(x - np.diag(x.diagonal())).max() < COMMUTING * abs(x).max() for x in rotated):
            bases = [(matrix.diagonal(), modes) for matrix in rotated]
        else:
            bases = [np.linalg.eigh(matrix) for matrix in matrices]
    return [
        Inputs(clipped(variances), modes, each.cross.T @ modes, each.teacher_overlap)
        for (variances, modes), each in zip(bases, moments, strict=True)
    ]
