"""Solve the equations of motion for any number of cases on all cores.

A :class:`Case` is checked where it comes in, by :func:`check_case` or as an :class:`~sgdlimit.Instance`. Below that
there are only arrays. Threads solve several cases side by side, each with its own steps. One vectorised solve
takes the steps of its slowest case for all cases, and took twice as long.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import ArrayLike
from xarray import Dataset

from ..errors import AccuracyWarning, DivergenceError, DivergenceWarning, ProblemError
from ..resources import cores
from ..rules import Activation, Averages, Integrals, names_of
from ..settings import check_positive, numbers
from ..signatures import checked
from ..training import OF_INSTANCE, PLAIN, Training, check_switch_times, task_units
from ..trajectory import check_times, make_trajectory
from ._averages import integrals_for
from ._equations import Case
from ._exactness import exactness_of_averages
from ._integrate import ATOL, MAX_STEPS, RTOL, OrderParameters, Solver, order_parameters
from ._spectrum import Spectrum
from ._symmetry import SMALL, asymmetric, symmetry_of

UNSTABLE = 0.01
"""A symmetric start is unstable where a small asymmetry changes the final error by this part of the largest one."""

VERSIONS = {package: version(package) for package in ("sgdlimit", "jax", "diffrax")}
"""Versions of the packages that a solution depends on."""


def trajectories(
    cases: Case | Sequence[Case],
    times: ArrayLike,
    solver: Solver,
    attrs: Mapping[str, Any],
    by_task: Callable[..., OrderParameters] | None = None,
) -> Dataset:
    """Solve a case, whose trajectory ends where it diverges, or several cases of one network size on all cores.

    The result of several cases has a first dimension ``case``, and is NaN from ``diverged_at`` on. Where inputs change,
    ``by_task`` finds the order parameters of the case, instead of :func:`order_parameters`.
    """
    several: Sequence[Case] = [cases] if isinstance(cases, Case) else cases
    times = check_times(times)
    solve = (
        partial(order_parameters, times=times, solver=solver) if by_task is None else lambda _: by_task(times, solver)
    )
    with ThreadPoolExecutor(cores()) as pool:
        results = [solve(several[0]), *pool.map(solve, several[1:])]  # the first one compiles
    _warn_of_symmetry(several, solver.averages, results, solve)
    Q, R, head, metrics, steps, reached, errors = jax.tree.map(lambda *x: np.stack(x), *results)
    diverged_at = np.append(times, np.inf)[reached]
    averages, error = solver.averages, float(np.max(errors))
    if error > averages.accuracy:
        own = not isinstance(averages, Integrals)
        helps = "fewer units" if own else "smaller output weights and learning rates"
        warnings.warn(
            f"accuracy: the Gaussian averages are known to {error:.1g} only where {averages.accuracy:.1g} was asked "
            f"for. Allow a larger error, or use {helps}.",
            AccuracyWarning,
            stacklevel=3,
        )
    if isinstance(averages, Integrals):
        metrics = dict(zip(metrics, _resolved([*metrics.values()], times, solver), strict=True))
        if metrics["task_error"].shape[2] == 1:
            del metrics["task_error"]  # there is only one task
    own_heads = np.ndim(several[0].head.get("v", 0.0)) > 1  # one for each task
    named = {(averages.prefix or "head_" * own_heads) + name: values for name, values in head.items()}
    attrs = {
        "exactness": str(exactness_of_averages(averages)),
        **attrs,
        "kind": "theory",
        "integrals": averages.method,
        "integral_error": error,
        "resolved_error": solver.resolved,
        **solver.tolerances(),
        **VERSIONS,
    }
    if np.isfinite(diverged_at).any():
        message = _divergence(several, diverged_at, int(steps[diverged_at.argmin()]), solver.max_steps)
        if diverged_at.max() == times[0]:
            raise DivergenceError(message)
        warnings.warn(message, DivergenceWarning, stacklevel=3)
        attrs["diverged_at"] = float(diverged_at.min())
    named |= {"Q": Q, "R": R} | metrics
    solved = make_trajectory(times, attrs=attrs, leading={"case": np.arange(len(several))}, **named)
    if several is not cases:
        return solved.isel(case=0, drop=True, time=slice(reached[0]))
    rates = [float(case.rates.learning_rate) for case in several]
    solved = solved.assign_coords(learning_rate=("case", rates), diverged_at=("case", diverged_at))
    return solved.where(solved["time"] < solved["diverged_at"])


def _warn_of_symmetry(
    cases: Sequence[Case],
    averages: Averages,
    results: Sequence[OrderParameters],
    solve: Callable[[Case], OrderParameters],
) -> None:
    """Warn where theory stays for ever on a symmetric start that SGD at finite N leaves."""
    for case, found in zip(cases, results, strict=True):
        if case.spectrum.overlap.any() and symmetry_of(case, averages) is None:
            continue
        kept, left = (
            next((x for x in each.metrics.values() if x.ndim == 1), each.Q[:, 0, 0])[: found.reached]
            for each in (found, solve(asymmetric(case)))
        )
        if len(kept) and abs(kept[-1] - left[-1]) > UNSTABLE * (kept.max() + SMALL):
            warnings.warn(
                f"student, overlap: the start is symmetric, and theory keeps that, but an asymmetry of {SMALL:g} ends "
                f"with the error {left[-1]:.3g}, not {kept[-1]:.3g}. SGD at finite N leaves it. Start from R of order "
                "1/√N, as random weights have.",
                AccuracyWarning,
                stacklevel=4,
            )
            return


def _resolved(errors: Sequence[ndarray], times: Float[ndarray, "time"], solver: Solver) -> list[ndarray]:
    """Generalisation errors (case, time, ...), NaN where they fall below what the solver resolves, with a warning.

    At t = 0, or where the error is 0 at all times, the solver has integrated nothing. There the error is rounding, and
    becomes 0.
    """
    found = []
    for error in errors:
        falls = error.max(axis=1, keepdims=True) >= solver.resolved
        low = (error < solver.resolved) & falls & (times > 0).reshape(-1, *[1] * (error.ndim - 2))
        found.append(np.where(low, np.nan, np.maximum(error, 0)))
    if (lost := (np.isnan(found[0]) & ~np.isnan(errors[0])).any(axis=0)).any():
        finer = solver._replace(rtol=1e-10, atol=1e-14).resolved < solver.resolved
        warnings.warn(
            f"generalization_error: from t={times[lost.argmax()]:g} on it is below {solver.resolved:.1g}, which the "
            f"solver does not resolve, and NaN. {'Use rtol=1e-10, atol=1e-14.' if finer else 'No tolerance helps.'}",
            AccuracyWarning,
            stacklevel=4,
        )
    return found


def _divergence(cases: Sequence[Case], diverged_at: Float[ndarray, "case"], steps: int, most_steps: int) -> str:
    """Which cases diverge, when, and what helps."""
    worst = int(diverged_at.argmin())
    eta, end = cases[worst].rates.learning_rate, f"before t={diverged_at[worst]:g}. Use"
    if steps >= most_steps:
        largest = cases[worst].spectrum.eigenvalues.max()
        return (
            f"max_steps: with learning_rate {eta:g} and eigenvalues up to {largest:.3g} the theory takes more than "
            f"{most_steps} steps {end} more steps or a smaller rate."
        )
    if len(cases) == 1:
        return f"learning_rate: with {eta:g} the theory diverges {end} a smaller one."
    lost = np.isfinite(diverged_at).sum()
    return f"learning_rate: {lost} of {len(cases)} cases diverge, first with {eta:g} {end} smaller ones."


@checked
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
) -> Dataset:
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
        Local error allowed to the solver. Near ε = 0 it is 10⁻⁴ (ε + atol) or less, so that ε is known to about a
        percent down to atol/50, but not below 2·10⁻¹³; below, it is NaN, with an AccuracyWarning.
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
    solver = Solver(integrals_for(activation, teacher_activation), rtol, atol, max_steps or MAX_STEPS)
    case = check_case(spectrum, student_output, teacher_output, learning_rate, training, switch_times)
    described = describe(activation, teacher_activation, [training]) | {"learning_rate": float(learning_rate)}
    return trajectories(case, times, solver, {**(attrs or {}), **described})


@checked
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
) -> Dataset:
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
        Local error allowed to the solver, as for :func:`solve_spectrum`.
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
    given = {  # and the axes that one case has
        "spectra": (spectra, 0),
        "student_output": (student_output, 1),
        "teacher_output": (teacher_output, 1 + (np.size(switch_times) > 0)),
        "learning_rate": (learning_rate, 0),
        "training": (training, 0),
    }
    lengths = {name: len(values) for name, (values, axes) in given.items() if np.ndim(values) > axes}  # type: ignore[arg-type]
    if len({*lengths.values()}) > 1 or 0 in lengths.values():
        listed = ", ".join(f"{number} of {name}" for name, number in lengths.items())
        raise ProblemError(f"cases: must be equally many of each (got {listed}). Give one for all, or as many.")
    count = max(lengths.values(), default=1)
    columns: list[Any] = [values if name in lengths else [values] * count for name, (values, _) in given.items()]
    shapes = {spectrum.overlap.shape[1:] for spectrum in columns[0]}
    if len(shapes) > 1:
        raise ProblemError(f"spectra: must be of one network size (got (K, M) of {sorted(shapes)}). Solve them apart.")
    cases = [check_case(*values, switch_times) for values in zip(*columns, strict=True)]  # type: ignore[call-arg]
    described = describe(activation, teacher_activation, columns[-1])
    return trajectories(cases, times, solver, {**(attrs or {}), **described})


def describe(
    activation: str | Activation, teacher_activation: str | Activation | None, training: Sequence[Training]
) -> dict[str, Any]:
    """Activations and options of training as attributes; the options of each case where they differ."""
    options = [some.model_dump_json(exclude_defaults=True) for some in training]
    return names_of(activation, teacher_activation) | {"training": options[0] if len(set(options)) == 1 else options}


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
    if lacking := training.options() & OF_INSTANCE:
        name = min(lacking)
        raise ProblemError(f"{name}: must be left out for a spectrum (got {getattr(training, name)!r}). Use sl.solve.")
    rates = training.rates(float(learning_rate), K, task_units(v_teacher), switches)
    return Case(spectrum, {"v": v}, np.atleast_2d(v_teacher), rates)
