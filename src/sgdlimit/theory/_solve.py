"""Solve the equations of motion: one compiled solve of one case, and any number of cases on all cores.

A :class:`Case` is checked where it comes in, by :func:`check_case` or as an :class:`~sgdlimit.Instance`. Below that
there are only arrays. Threads solve several cases side by side, each with its own steps: one vectorised solve would
take the steps of its slowest case for all, and took twice as long.
"""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, NamedTuple, cast

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import lax
from jaxtyping import Array, Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike

from ..errors import AccuracyWarning, DivergenceError, DivergenceWarning, ProblemError
from ..resources import cores
from ..rules import Activation, Integrals, names_of
from ..settings import numbers
from ..training import PLAIN, LearningRule, Training, check_switch_times, task_units
from ..trajectory import check_times, make_trajectory
from ._averages import integrals_for
from ._checks import check_positive
from ._compiled import call
from ._equations import (
    Case,
    State,
    field_covariance,
    generalization_error,
    right_hand_side,
    signed_weights,
    start,
    task_at,
)
from ._exactness import exactness_of_averages
from ._spectrum import Spectrum, padded

RTOL = ATOL = 5e-8
"""Local error of the solver; leaves Q, R and v within 1e-6 of the exact solution."""

VERSIONS = {package: version(package) for package in ("sgdlimit", "jax", "diffrax")}
"""Versions of the packages that a solution depends on."""

REVERSE = dfx.RecursiveCheckpointAdjoint()

SMALLEST_STEP = 1e-12
MAX_STEPS = 100_000
TIMES_AT_ONCE = 64
"""Programs are compiled for multiples of this many output times."""

ERRORS_ALONG = 16
"""States of a trajectory at which the error of the Gaussian averages is estimated."""


class Solver(NamedTuple):
    """How a case is solved."""

    integrals: Integrals
    rtol: float = RTOL
    atol: float = ATOL
    max_steps: int | None = None
    """Steps after which the solver gives up, :data:`MAX_STEPS` by default."""

    def tolerances(self) -> dict[str, float]:
        """Local errors, not below what the averages resolve."""
        finest = self.integrals.finest_tolerance
        return {"rtol": float(max(self.rtol, finest)), "atol": float(max(self.atol, finest))}


class OrderParameters(NamedTuple):
    """Order parameters at the output times, infinite where the solver did not get; and the steps it took."""

    Q: Float[Array, "time K K"]
    R: Float[Array, "time K M"]
    v: Float[Array, "time K"]
    generalization_error: Float[Array, "time"]
    task_error: Float[Array, "time task"]
    """Generalisation error on every task, whichever is being learned."""
    steps: Int[Array, ""]
    integral_error: float = 0.0
    """Largest error of the Gaussian averages estimated along the trajectory, see :meth:`Integrals.error`."""


class _TimesChecked(dfx.AbstractAdjoint):
    """Another adjoint, for output times that are known to increase.

    diffrax checks their order by a callback to Python, with which no compiled program can be kept. The solution does
    not depend on its result here, so that the callback is no part of the program.
    """

    adjoint: dfx.AbstractAdjoint
    times: Float[Array, "time"]

    def loop(self, *, saveat: dfx.SaveAt, **rest: Any) -> Any:
        """The main loop, with the times as they were given."""
        saveat = eqx.tree_at(lambda saveat: saveat.subs.ts, saveat, self.times)
        return self.adjoint.loop(saveat=saveat, **rest)


def integrate(
    case: Case,
    times: Float[Array, "time"],
    *,
    integrals: Integrals,
    rtol: Float[Array, ""] | float = RTOL,
    atol: Float[Array, ""] | float = ATOL,
    adjoint: dfx.AbstractAdjoint = REVERSE,
    max_steps: int = MAX_STEPS,
) -> OrderParameters:
    """Order parameters at given times: a pure function for JAX to trace, batch and differentiate, in float64.

    Nothing is checked. It has gradients in reverse mode; with ``diffrax.ForwardMode()`` as ``adjoint``, in forward
    mode, which compiles in a fraction of the time and is faster for a dozen numbers.

    Examples
    --------
    >>> import jax
    >>> one = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    >>> with jax.enable_x64(True):
    ...     case = Case(one, jnp.ones(1), jnp.ones(1), PLAIN.rule(0.1, K=1, M=1))
    ...     print(integrate(case, jnp.ones(1), integrals=integrals_for("linear")).v.dtype)
    float64
    """
    state, fixed = start(case)
    rule = fixed.rule

    def slope(t, state, args):
        return right_hand_side(t, state, fixed, integrals)

    def observe(t, state, args):
        S = field_covariance(state.Q, state.R, fixed.T)
        signed = [signed_weights(rule, state.v, v_teacher) for v_teacher in fixed.v_teacher]
        errors = jnp.stack([generalization_error(S, c, len(state.v), integrals) for c in signed])
        return state.Q, state.R, state.v, errors[task_at(rule, t)], errors

    carrying = jnp.mean((fixed.omega > 0) | (fixed.weight > 0))
    carrying = lax.stop_gradient(jnp.maximum(carrying, 1 / len(fixed.omega)))
    controller = dfx.PIDController(
        rtol=rtol, atol=atol, norm=lambda error: _largest_rms(error, carrying), dtmin=SMALLEST_STEP, force_dtmin=False
    )
    corners = [jnp.asarray(x) for x in (rule.schedule_times, rule.switch_times) if x is not None]
    if corners:
        controller = dfx.ClipStepSizeController(controller, jump_ts=jnp.sort(jnp.concatenate(corners)))
    solution = dfx.diffeqsolve(
        dfx.ODETerm(slope),
        dfx.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=state,
        saveat=dfx.SaveAt(ts=times, fn=observe),
        stepsize_controller=controller,
        adjoint=_TimesChecked(adjoint, times),
        max_steps=max_steps,
        throw=False,
    )
    return OrderParameters(*cast(tuple, solution.ys), steps=solution.stats["num_steps"])


def _largest_rms(error: State, carrying: Float[Array, ""]) -> Float[Array, ""]:
    """The largest root mean square of a part of the state; on the nodes, over the share of them that carry anything."""
    # One mean over all numbers would hide the errors of Q, R and v among thousands of node values.
    shares = (carrying, carrying, 1, 1, 1)
    largest = jnp.max(
        jnp.stack([jnp.sqrt(jnp.mean(jnp.square(part)) / share) for part, share in zip(error, shares, strict=True)])
    )
    # A step to infinity has error ∞/∞; as NaN it would stop the step size from shrinking.
    return jnp.where(jnp.isnan(largest), jnp.inf, largest)


# --- one case ---------------------------------------------------------------------------------------------------------


def order_parameters(case: Case, times: Float[ndarray, "time"], solver: Solver) -> OrderParameters:
    """What :func:`integrate` finds, compiled, as NumPy arrays, with Gaussian averages as accurate as asked for."""
    integrals = solver.integrals
    if np.isinf(integrals.accuracy):
        return _integrated(case, times, solver)._replace(integral_error=integrals.known_error)
    Q, R = case.spectrum.Q, case.spectrum.R
    finer = integrals.reaching(_integral_error(case, integrals, Q[None], R[None], case.v[None], times[:1]))
    # Averages that turn out too coarse along the trajectory are refined, and it is solved again.
    while True:
        integrals = finer
        result = _integrated(case, times, solver._replace(integrals=integrals))
        if (count := reached(result)) == 0:
            return result
        error = _integral_error(case, integrals, *(x[:count] for x in (*result[:3], times)))
        if (finer := integrals.reaching(error)) == integrals:
            return result._replace(integral_error=error)


def _integrated(case: Case, times: Float[ndarray, "time"], solver: Solver) -> OrderParameters:
    """One call of the compiled program.

    All numbers are arguments, which are traced: a new value of one needs no new compilation, nor do a few more times
    or nodes.
    """
    more_times = np.append(times, np.repeat(times[-1], -len(times) % TIMES_AT_ONCE))
    static = {"integrals": solver.integrals, "max_steps": solver.max_steps or MAX_STEPS}
    case = case._replace(spectrum=padded(case.spectrum))
    *values, taken, _ = call(integrate, case, more_times, **solver.tolerances(), static=static)
    return OrderParameters(*(x[: len(times)] for x in values), steps=taken)  # type: ignore[arg-type]


def _integral_error(case: Case, integrals: Integrals, *states: Any) -> float:
    """The largest error of the Gaussian averages at some of the given states (Q, R, v, t)."""
    some = np.linspace(0, len(states[0]) - 1, ERRORS_ALONG).astype(int)
    shared = case.spectrum.teacher_overlap, np.atleast_2d(case.v_teacher), case.rule
    (errors,) = call(integral_errors, *(x[some] for x in states), *shared, static={"integrals": integrals})
    return float(errors.max())


def integral_errors(
    Q: Float[Array, "time K K"],
    R: Float[Array, "time K M"],
    v: Float[Array, "time K"],
    times: Float[Array, "time"],
    T: Float[Array, "M M"],
    v_teacher: Float[Array, "tasks M"],
    rule: LearningRule,
    *,
    integrals: Integrals,
) -> tuple[Float[Array, "time"]]:
    """Estimated errors of the Gaussian averages at some states of a trajectory."""

    def of_state(state):
        Q, R, v, t = state
        c = signed_weights(rule, v, v_teacher[task_at(rule, t)])
        return integrals.error(field_covariance(Q, R, T), c, len(v))

    return (lax.map(of_state, (Q, R, v, times)),)


def variables(result: OrderParameters) -> dict[str, ndarray]:
    """Arrays of a trajectory, by name; errors task by task only where there are several."""
    left_out = {"steps", "integral_error"} | ({"task_error"} if result.task_error.shape[-1] == 1 else set())
    return {name: np.asarray(values) for name, values in result._asdict().items() if name not in left_out}


def reached(result: OrderParameters) -> int:
    """Number of output times before the first with a number that is not finite."""
    finite = np.all([np.isfinite(x).reshape(len(x), -1).all(axis=1) for x in variables(result).values()], axis=0)
    return len(finite) if finite.all() else int(np.argmin(finite))


# --- any number of cases ----------------------------------------------------------------------------------------------


def trajectories(
    cases: Case | Sequence[Case], times: ArrayLike, solver: Solver, attrs: Mapping[str, Any]
) -> xr.Dataset:
    """A case as a trajectory that ends where it diverges; or several of one network size, solved on all cores.

    Several have a first dimension ``case``, and are NaN from ``diverged_at`` on.
    """
    one = isinstance(cases, Case)
    several: Sequence[Case] = [cases] if isinstance(cases, Case) else cases
    times = check_times(times)
    with ThreadPoolExecutor(cores()) as pool:
        first = order_parameters(several[0], times, solver)  # which compiles
        results = [first, *pool.map(lambda case: order_parameters(case, times, solver), several[1:])]
    counts = [reached(result) for result in results]
    diverged_at = np.append(times, np.inf)[counts]
    integrals, error = solver.integrals, max(result.integral_error for result in results)
    if error > integrals.accuracy:
        warnings.warn(
            f"accuracy: the Gaussian averages are known to {error:.1g} only where {integrals.accuracy:.1g} was asked "
            "for. Allow a larger error, or use smaller output weights and learning rates.",
            AccuracyWarning,
            stacklevel=3,
        )
    attrs = {**attrs, "kind": "theory", "exactness": str(exactness_of_averages(integrals))}
    attrs |= {"integrals": integrals.method, "integral_error": error} | solver.tolerances() | VERSIONS
    if np.isfinite(diverged_at).any():
        message = _divergence(several, diverged_at, int(first.steps), solver)
        if max(counts) == 0:
            raise DivergenceError(message)
        warnings.warn(message, DivergenceWarning, stacklevel=3)
        attrs["diverged_at"] = float(diverged_at.min())
    if one:
        cut: dict[str, Any] = {name: values[: counts[0]] for name, values in variables(first).items()}
        return make_trajectory(times[: counts[0]], attrs=attrs, **cut)
    values: dict[str, Any] = {name: np.stack([variables(each)[name] for each in results]) for name in variables(first)}
    for array in values.values():
        for case, count in enumerate(counts):
            array[case, count:] = np.nan
    rates = np.array([case.rule.learning_rate for case in several], dtype=np.float64)
    labelled = make_trajectory(times, attrs=attrs, leading={"case": np.arange(len(rates))}, **values)
    return labelled.assign_coords(learning_rate=("case", rates), diverged_at=("case", diverged_at))


def _divergence(cases: Sequence[Case], diverged_at: Float[ndarray, "case"], steps: int, solver: Solver) -> str:
    """Which cases diverge, when, and what helps."""
    worst, limit = int(diverged_at.argmin()), solver.max_steps or MAX_STEPS
    eta, end = cases[worst].rule.learning_rate, f"before t={diverged_at[worst]:g}. Use"
    if len(cases) == 1:
        reason = f"takes more than {limit} steps" if steps >= limit else "leaves the finite numbers"
        return f"learning_rate: with {eta:g} the theory {reason} {end} a smaller one."
    lost = np.isfinite(diverged_at).sum()
    return f"learning_rate: {lost} of {len(cases)} cases diverge, first with {eta:g} {end} smaller ones."


def solve_spectrum(
    spectrum: Spectrum,
    student_output: ArrayLike,
    teacher_output: ArrayLike,
    *,
    activation: str | Activation,
    teacher_activation: str | Activation | None = None,
    learning_rate: float,
    times: ArrayLike,
    training: Training = PLAIN,
    switch_times: ArrayLike = (),
    rtol: float = RTOL,
    atol: float = ATOL,
    max_steps: int | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Trajectory of the order parameters for inputs given by their spectrum.

    Parameters
    ----------
    spectrum
        Inputs and initial overlaps.
    student_output, teacher_output
        Initial v, shape (K,), and ṽ, shape (M,), or (tasks, M) for a teacher that changes.
    activation, teacher_activation
        g of the student and of the teacher, the same by default: a name or an :class:`sgdlimit.Activation`.
    learning_rate
        η.
    times
        Output times t = step/N, shape (time,), increasing, from 0 on.
    training
        Options of training.
    switch_times
        When the next task begins, shape (tasks − 1,).
    rtol, atol
        Local error allowed to the solver.
    max_steps
        Steps of the solver after which it gives up, as on the way to a divergence; 100 000 by default.
    attrs
        Provenance to keep with the trajectory.

    Returns
    -------
    xarray.Dataset
        Q, R, v and generalization_error, see :mod:`sgdlimit.trajectory`. ``attrs["integrals"]`` says how the Gaussian
        averages were done and ``attrs["integral_error"]`` the largest error estimated along the trajectory, with a
        warning if it exceeds the ``accuracy`` of the activation. If the trajectory diverges it ends at the
        last finite output time, ``attrs["diverged_at"]`` is the first not reached, and a DivergenceWarning is given.

    Raises
    ------
    ProblemError
        If a setting or a shape cannot be used.
    DivergenceError
        If the trajectory diverges before the first output time.

    Examples
    --------
    >>> one = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    >>> trajectory = solve_spectrum(one, [1.0], [1.0], activation="linear", learning_rate=0.1, times=[0, 100])
    >>> trajectory.generalization_error.values.round(3)
    array([1., 0.])
    """
    check_positive(rtol=rtol, atol=atol, max_steps=max_steps or MAX_STEPS)
    solver = Solver(integrals_for(activation, teacher_activation), rtol, atol, max_steps)
    case = check_case(spectrum, student_output, teacher_output, learning_rate, training, switch_times)
    described = describe(activation, teacher_activation, [training]) | {"learning_rate": float(learning_rate)}
    return trajectories(case, times, solver, {**(attrs or {}), **described})


def solve_many(
    spectra: Spectrum | Sequence[Spectrum],
    student_output: ArrayLike,
    teacher_output: ArrayLike,
    *,
    activation: str | Activation,
    teacher_activation: str | Activation | None = None,
    learning_rate: ArrayLike,
    times: ArrayLike,
    training: Training | Sequence[Training] = PLAIN,
    switch_times: ArrayLike = (),
    rtol: float = RTOL,
    atol: float = ATOL,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Trajectories of many cases: other instances, initial weights or learning rates.

    Cases are solved side by side on all cores, each with steps of its own, and equal :func:`solve_spectrum` bit by bit.
    Reduced spectra make them cheap, see :func:`reduce`; spectra of equal size are compiled once.

    Parameters
    ----------
    spectra
        One spectrum, or one for each case.
    student_output, teacher_output
        Initial v, shape (K,) or (case, K), and ṽ, shape (M,) or (case, M); with ``switch_times`` (tasks, M) or
        (case, tasks, M).
    activation, teacher_activation
        As for :func:`solve_spectrum`.
    learning_rate
        η, one number or shape (case,).
    times
        Output times t = step/N, shape (time,), increasing, from 0 on.
    training
        Options of training, for all cases or for each.
    switch_times
        When the next task begins, shape (tasks − 1,), for all cases.
    rtol, atol
        Local error allowed to the solver.
    attrs
        Provenance to keep with the trajectories.

    Returns
    -------
    xarray.Dataset
        As from :func:`solve_spectrum`, every variable with a first dimension ``case``, and with the coordinates
        ``learning_rate`` and ``diverged_at`` (case,): the first output time that a case does not reach, infinite if it
        reaches all. From there on its values are NaN, ``attrs["diverged_at"]`` is the earliest of these times, and a
        DivergenceWarning is given.

    Raises
    ------
    ProblemError
        If a setting or a shape cannot be used, or the numbers of cases differ.
    DivergenceError
        If every case diverges before the first output time.

    Examples
    --------
    >>> one = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    >>> fan = solve_many(one, [1.0], [1.0], activation="linear", learning_rate=[0.01, 0.1], times=[0, 100])
    >>> fan.generalization_error.sel(time=100).values.round(3)
    array([0.221, 0.   ])
    """
    check_positive(rtol=rtol, atol=atol)
    solver = Solver(integrals_for(activation, teacher_activation), rtol, atol)
    given = {  # and whether each case has a value of its own
        "spectra": (spectra, not isinstance(spectra, Spectrum)),
        "student_output": (student_output, np.ndim(student_output) > 1),
        "teacher_output": (teacher_output, np.ndim(teacher_output) > 1 + (np.size(switch_times) > 0)),
        "learning_rate": (learning_rate, np.ndim(learning_rate) > 0),
        "training": (training, not isinstance(training, Training)),
    }
    lengths = {name: len(values) for name, (values, varies) in given.items() if varies}  # type: ignore[arg-type]
    if len({*lengths.values()}) > 1 or 0 in lengths.values():
        listed = ", ".join(f"{number} of {name}" for name, number in lengths.items())
        raise ProblemError(f"cases: there are {listed}. Give one for all, or equally many.")
    count = max(lengths.values(), default=1)
    columns: list[Any] = [values if varies else [values] * count for values, varies in given.values()]
    shapes = {spectrum.overlap.shape[1:] for spectrum in columns[0]}
    if len(shapes) > 1:
        raise ProblemError(f"spectra: they have (K, M) of {sorted(shapes)}. Give cases of one network size.")
    cases = [check_case(*values, switch_times) for values in zip(*columns, strict=True)]  # type: ignore[call-arg]
    described = describe(activation, teacher_activation, columns[-1])
    return trajectories(cases, times, solver, {**(attrs or {}), **described})


def describe(
    activation: str | Activation, teacher_activation: str | Activation | None, training: Sequence[Training]
) -> dict[str, Any]:
    """Activations and options of training as attributes; the options of each case where they differ."""
    options = [some.model_dump_json(exclude_defaults=True) for some in training]
    names = names_of(activation, teacher_activation)
    return names | {"training": options[0] if len(set(options)) == 1 else options}


def check_case(
    spectrum: Spectrum,
    student_output: ArrayLike,
    teacher_output: ArrayLike,
    learning_rate: float,
    training: Training,
    switch_times: ArrayLike,
) -> Case:
    """A case of what a user gives, or a ProblemError."""
    _, K, M = spectrum.overlap.shape
    switches = check_switch_times(switch_times)
    v = numbers("student_output", student_output, (K,))
    v_teacher = numbers("teacher_output", teacher_output, (len(switches) + 1, M) if len(switches) else (M,))
    check_positive(learning_rate=learning_rate)
    return Case(spectrum, v, v_teacher, training.rule(float(learning_rate), K, task_units(v_teacher), switches))
