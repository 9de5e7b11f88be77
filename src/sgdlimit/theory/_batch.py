"""Many trajectories of theory at once: instances, initial weights, learning rates."""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ..errors import DivergenceError, DivergenceWarning, ProblemError
from ..resources import cores
from ..rules import Activation, names_of
from ..training import PLAIN, Training, task_units
from ..trajectory import check_times, make_trajectory
from ._integrals import integrals_for
from ._solve import (
    ATOL,
    RTOL,
    OrderParameters,
    check_positive,
    check_tasks,
    check_vector,
    order_parameters,
    provenance_of,
    reached,
    rule_of,
    variables,
)
from ._spectrum import Spectrum

__all__ = ["solve_many"]


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
    (One vectorised solve would take the steps of its slowest case for all; it took twice as long.) Reduced spectra make
    them cheap, see :func:`reduce`; spectra of equal size are compiled once.

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
    integrals = integrals_for(activation, teacher_activation)
    given = {
        "spectra": (spectra, not isinstance(spectra, Spectrum)),
        "student_output": (student_output, np.ndim(student_output) > 1),
        "teacher_output": (teacher_output, np.ndim(teacher_output) > 1 + (np.size(switch_times) > 0)),
        "learning_rate": (learning_rate, np.ndim(learning_rate) > 0),
        "training": (training, not isinstance(training, Training)),
    }
    several, outputs, teacher_outputs, rates, trainings = _cases(given)
    shapes = {spectrum.overlap.shape[1:] for spectrum in several}
    if len(shapes) > 1:
        raise ProblemError(f"spectra: they have (K, M) of {sorted(shapes)}; give cases of one network size")
    K, M = shapes.pop()
    v = [check_vector("student_output", x, K) for x in outputs]
    tasks = [check_tasks(x, switch_times, M) for x in teacher_outputs]
    for name, value in [("rtol", rtol), ("atol", atol), *(("learning_rate", rate) for rate in rates)]:
        check_positive(name, value)
    times = check_times(times)

    def run(case: int) -> OrderParameters:
        v_teacher, switches = tasks[case]
        rule = rule_of(trainings[case], rates[case], K, task_units(v_teacher), switches)
        return order_parameters(several[case], v[case], v_teacher, rates[case], times, integrals, rule, rtol, atol)

    with ThreadPoolExecutor(cores()) as pool:
        results = [run(0), *pool.map(run, range(1, len(several)))]  # the first one compiles

    counts = np.array([reached(result) for result in results])
    parts = [variables(result) for result in results]
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    provenance = provenance_of(integrals, results, rtol, atol, attrs, trainings)
    provenance |= names_of(activation, teacher_activation)
    diverged_at = np.append(times, np.inf)[counts]
    lost = np.flatnonzero(counts < len(times))
    if len(lost):
        first = lost[diverged_at[lost].argmin()]
        message = (
            f"learning_rate: {len(lost)} of {len(counts)} cases diverge, first with {rates[first]:g} before "
            f"t={diverged_at[first]:g}; use smaller ones"
        )
        if counts.max() == 0:
            raise DivergenceError(message)
        for case in lost:
            for values in stacked.values():
                values[case, counts[case] :] = np.nan
        provenance["diverged_at"] = float(diverged_at[first])
        warnings.warn(message, DivergenceWarning, stacklevel=2)
    trajectories = make_trajectory(times, attrs=provenance, leading={"case": np.arange(len(rates))}, **stacked)
    return trajectories.assign_coords(
        learning_rate=("case", np.array(rates, dtype=np.float64)), diverged_at=("case", diverged_at)
    )


def _cases(given: Mapping[str, tuple[Any, bool]]) -> list[list[Any]]:
    """Values for each case, where every argument has one for all or is a sequence of them."""
    numbers = {name: len(values) for name, (values, varies) in given.items() if varies}
    if len(set(numbers.values())) > 1 or 0 in numbers.values():
        listed = ", ".join(f"{number} of {name}" for name, number in numbers.items())
        raise ProblemError(f"cases: there are {listed}; give one for all, or equally many")
    count = max(numbers.values(), default=1)
    return [list(values) if varies else [values] * count for values, varies in given.values()]
