"""The learning rate as a function of time that leaves the least generalisation error, by gradients through theory.

A schedule is a polygon η(t) = η factor(t); ln ε at the end is minimised over the logarithms of the factors at points.
The gradient comes from forward-mode derivatives of the solved equations of motion: they share its steps, and a dozen of
them cost less to compile and run than the checkpoints of reverse mode.
"""

from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray
from numpy.typing import ArrayLike
from scipy.optimize import minimize, minimize_scalar

from ..errors import DivergenceError, ProblemError, shown
from ..instance import Instance
from ..rules import Averages, Scalar
from ..settings import check_positive, check_whole, numbers
from ..signatures import checked
from ..training import Schedule
from ..trajectory import error_of
from ._compiled import call
from ._equations import Case
from ._integrate import Solver, integrate
from ._theories import Theory, averages_of, case_of, reduced_spectrum

RTOL, ATOL = 1e-6, 1e-8
"""Tolerances of the solver, which does not resolve errors ε below ATOL."""
SMALLEST, LARGEST = 1e-3, 1e2
"""Bounds of the schedule, in units of the best constant rate."""
LOST = 50.0
"""ln ε of a trajectory that diverges: finite, so that a line search turns back from it."""
ITERATIONS = 60


class Optimum(NamedTuple):
    """The best schedule and the best constant rate according to theory."""

    scheduled: Instance
    """The instance with the best schedule, for :func:`sgdlimit.solve` and :func:`sgdlimit.simulate`."""
    constant: Instance
    """The instance with the best constant rate, as a schedule of one point."""
    error: float
    """Final generalisation error with the schedule."""
    constant_error: float
    """Final generalisation error with the constant rate."""
    evaluations: int
    """Trajectories solved, most of them with their derivatives."""
    converged: bool
    """Whether the optimiser stopped where the gradient or the improvement vanishes."""

    @property
    def schedule(self) -> Schedule:
        """η(t) in units of the instance's learning rate."""
        assert self.scheduled.training.schedule is not None
        return self.scheduled.training.schedule

    @property
    def constant_rate(self) -> float:
        """The best constant η."""
        return self.constant.learning_rate * float(self.constant.training.factor(0.0))

    @property
    def gain(self) -> float:
        """Factor by which the schedule lowers the final error."""
        return self.constant_error / self.error

    def __str__(self) -> str:
        return (
            f"best constant rate {self.constant_rate:.3g}: ε_g = {self.constant_error:.4g}; best schedule: "
            f"ε_g = {self.error:.4g}, {self.gain:.3g} times less, after {self.evaluations} solutions"
            f"{'' if self.converged else ', not converged'}"
        )


@checked
def optimal_schedule(
    instance: Instance,
    duration: float,
    *,
    theory: str | Theory = "conventional",
    knots: int = 10,
    rates: ArrayLike | None = None,
    nodes: int | None = None,
) -> Optimum:
    """The learning-rate schedule that minimises the final generalisation error.

    The best constant rate is found first, by a scan and a line search. From there, and from a rate that decays to 0
    linearly, L-BFGS-B minimises ln ε(duration) over the logarithms of η at the points of a polygon. It finds a local
    minimum; the better of the two is returned.

    Parameters
    ----------
    instance
        A :class:`sgdlimit.Instance` without a schedule. Both layers follow the one found, at their ratio of rates.
    duration
        Time t = steps/N at which training ends.
    theory
        ``"conventional"`` or ``"moment-matched"``, as for :func:`sgdlimit.solve`.
    knots
        Points of the polygon, evenly spaced from 0 to the end, at least 2.
    rates
        Constant rates η to scan, increasing, shape (rate,) of at least 3; by default 25 from 0.005 to 20.
    nodes
        The most nodes of the spectrum to keep, see :func:`sgdlimit.theory.reduce`; 14(K + M + 1) by default.

    Returns
    -------
    Optimum

    Raises
    ------
    ProblemError
        If a setting cannot be used, the instance has a schedule already, or the best of the rates is the first or the
        last.
    DivergenceError
        If theory diverges with every rate.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=50, latent_dim=50, student_units=1, teacher_units=1, activation="linear",
    ...                      nonlinearity="identity", features="identity", learning_rate=0.1,
    ...                      training=sl.Training(label_noise=0.5, output_learning_rate=0.0))
    >>> optimum = optimal_schedule(problem.draw(seed=0), duration=20.0)
    >>> bool(optimum.error < optimum.constant_error)
    True
    """
    check_positive(duration=duration)
    check_whole(2, knots=knots)
    if instance.training.schedule is not None:
        raise ProblemError("training.schedule: must be None (got a schedule). Give an instance without one.")
    scanned = numbers("rates", np.geomspace(0.005, 20, 25) if rates is None else rates, ("rate",))
    if len(scanned) < 3 or (np.diff(scanned, prepend=0) <= 0).any():
        raise ProblemError(f"rates: must be at least 3 positive numbers that increase (got {shown(rates)}). Sort them.")
    times = np.linspace(0, duration, knots)
    case, averages = case_of(instance, reduced_spectrum(instance, theory, nodes), theory), averages_of(instance)
    points = averages.points(*case.spectrum.overlap.shape[1:])[0]
    case = case._replace(rates=case.rates._replace(schedule_times=times), points=points)

    def objective(log_factors):
        value, gradient = call(log_final_error, log_factors, case, times[-1:], averages=averages)
        if np.isfinite(value) and np.isfinite(gradient).all():
            return float(value), gradient
        return LOST, np.zeros(knots)

    def log_error(log_factor):
        return objective(np.full(knots, log_factor))[0]

    # The best constant rate, from the scan and a line search.
    log_factors = np.log(scanned / instance.learning_rate)
    errors = [*map(log_error, log_factors)]
    least = int(np.argmin(errors))
    if errors[least] >= LOST:
        raise DivergenceError(
            f"rates: must include one with which theory converges (got {shown(scanned.tolist())}). Give smaller ones."
        )
    if least in (0, len(errors) - 1):
        raise ProblemError(
            f"rates: must have the best one inside their range (got {scanned[least]:g}, at its end). Extend it."
        )
    around = log_factors[least - 1], log_factors[least + 1]
    constant: Any = minimize_scalar(log_error, bounds=around, method="bounded", options={"xatol": 1e-3})

    decay = np.log(np.maximum(2 * (1 - times / duration), 0.05))
    bounds = [(constant.x + np.log(SMALLEST), constant.x + np.log(LARGEST))] * knots
    found = [
        minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS})
        for start in (np.full(knots, constant.x), constant.x + decay)
    ]
    best = min(found, key=lambda result: result.fun)
    return Optimum(
        scheduled=_with(instance, times, best.x),
        constant=_with(instance, np.zeros(1), np.array([constant.x])),
        error=float(np.exp(best.fun)),
        constant_error=float(np.exp(constant.fun)),
        evaluations=len(scanned) + constant.nfev + sum(result.nfev for result in found),
        converged=bool(best.success),
    )


def log_final_error(
    log_factors: Float[Array, "knot"], case: Case, end: Float[Array, "1"], *, averages: Averages
) -> tuple[Scalar, Float[Array, "knot"]]:
    """ln ε at the end and its gradient with respect to the logarithms of the schedule's factors."""
    rtol, atol = Solver(averages, RTOL, ATOL).tolerances().values()

    def value(log_factors):
        scheduled = case._replace(rates=case.rates._replace(schedule_factors=jnp.exp(log_factors)))
        result = integrate(scheduled, end, rtol, atol, averages=averages, adjoint=dfx.ForwardMode())
        error = result.metrics[error_of(result.metrics)][-1]
        log_error = jnp.log(jnp.maximum(error, ATOL))
        return log_error, log_error

    gradient, log_error = jax.jacfwd(value, has_aux=True)(log_factors)
    return log_error, gradient


def _with(instance: Instance, times: Float[ndarray, "knot"], log_factors: Float[ndarray, "knot"]) -> Instance:
    """The instance with a schedule."""
    schedule = Schedule(times=times, factors=np.exp(log_factors))  # type: ignore[arg-type]
    return instance.replace(training=instance.training.replace(schedule=schedule))
