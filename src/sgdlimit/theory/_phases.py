"""Phase diagrams: where theory ends and when it leaves its plateau, over a grid of two settings of a problem."""

import warnings
from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from xarray import Dataset

from ..errors import AccuracyWarning, DivergenceWarning, ProblemError, shown
from ..problem import Problem
from ..rules import Averages
from ..settings import nested, numbers
from ..signatures import checked
from ..trajectory import check_times, error_of, followed, variable
from ._equations import Case
from ._integrate import Solver
from ._solve import describe, trajectories
from ._theories import Theory, averages_of, case_of, reduced_spectrum, theory_of

PROMINENCE = 0.1
"""How far −d ln ε/d ln t on a plateau lies below its values on both sides."""
DEEPEST = 10.0
"""A larger fall from the plateau counts as a fall by this factor."""

RESOLVED = 1e-6
"""Smaller errors are not told apart, because the solver's own error would make slopes there."""

RTOL = ATOL = 1e-7

NO_EXIT = np.inf, np.nan


@checked
def plateau_exit(times: ArrayLike, error: ArrayLike) -> tuple[float, float]:
    """When a trajectory leaves its plateau, and the generalisation error there.

    The plateau is where the fall of the error, s(t) = −d ln ε/d ln t, has its most prominent minimum between two
    maxima: between the first fall and the one that ends the plateau. A minimum less than 0.1 below either
    side does not count. The plateau is left when ε first falls below √(ε_plateau ε_end), half way on a logarithmic
    scale. An ε_end below ε_plateau/10 counts as ε_plateau/10, because it would depend on when training ends. Errors
    below 1e-6 or NaN count as 1e-6.

    Parameters
    ----------
    times, error
        t > 0, log-spaced and dense enough to show the fall (100 do), and ε(t), shape (time,) each.

    Returns
    -------
    tuple of float
        The time, interpolated, and ε_plateau; infinite and NaN where no plateau is seen to be left: there is none, or
        training ends on it.

    Examples
    --------
    >>> t = np.geomspace(0.01, 1000, 200)
    >>> time, level = plateau_exit(t, 0.5 * np.exp(-t) + 0.1 / (1 + (t / 100) ** 4))
    >>> round(time), round(level, 2)
    (121, 0.1)
    """
    log_t, log_error = np.log(numbers("times", times, ("time",))), np.log(np.fmax(np.asarray(error, float), RESOLVED))
    fall = -np.gradient(log_error, log_t)
    from scipy.signal import find_peaks  # a third of a second that few need

    places, found = find_peaks(-fall, prominence=PROMINENCE)
    if len(places) == 0:
        return NO_EXIT
    plateau = places[np.argmax(found["prominences"])]
    level = log_error[plateau]
    threshold = (level + max(log_error[-1], level - np.log(DEEPEST))) / 2
    below = plateau + np.flatnonzero(log_error[plateau:] < threshold)
    if len(below) == 0:
        return NO_EXIT
    around = [below[0], below[0] - 1]  # the two output times of the exit, by increasing error
    return float(np.exp(np.interp(threshold, log_error[around], log_t[around]))), float(np.exp(level))


@checked
def phase_diagram(
    problem: Problem,
    settings: Mapping[str, ArrayLike],
    times: ArrayLike,
    *,
    seed: int = 0,
    theory: str | Theory = "conventional",
    nodes: int | None = None,
) -> Dataset:
    """Final error, and time to leave the plateau, over a grid of two settings: one batch of solutions.

    Parameters
    ----------
    problem
        A :class:`sgdlimit.Problem`, all settings but the two.
    settings
        Two names of settings that leave the network's size, each with its values: ``"learning_rate"``,
        ``"latent_dim"``, ``"student_scale"``, ``"student_alignment"``, ``"training.label_noise"``, ...
    times
        Output times t = step/N, increasing and above 0, log-spaced: :func:`plateau_exit` reads the plateau off them.
    seed
        Of the instance that is drawn in each cell.
    theory
        ``"conventional"`` or ``"moment-matched"``, as for :func:`sgdlimit.solve`.
    nodes
        The most nodes of the spectrum to keep, see :func:`sgdlimit.theory.reduce`; 14(K + M + 1) by default.

    Returns
    -------
    xarray.Dataset
        Over the two settings, a dot in a name replaced by ``_``: ``final_error``, NaN where ``diverged`` or below what
        the solver resolves; ``plateau_exit``, infinite where not ``left_plateau``; ``plateau_error``, NaN there;
        ``diverged_at``, infinite where it is not; and ``generalization_error`` with the times, or of another loss
        its loss, or the first of its metrics.

    Raises
    ------
    ProblemError
        If there are not two settings, a value does not fit, the network's size varies, or the times begin at 0.
    DivergenceError
        If every cell diverges before the first output time.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=50, latent_dim=50, student_units=1, teacher_units=1, activation="linear",
    ...                      nonlinearity="identity", features="identity", learning_rate=0.1)
    >>> grid = {"learning_rate": [0.1, 0.5], "training.label_noise": [0.0, 0.5]}
    >>> phase_diagram(problem, grid, sl.log_times(1000, 50, 60)).final_error.dims
    ('learning_rate', 'training_label_noise')
    """
    at = check_times(times)
    if at[0] <= 0 or len(at) < 5:
        raise ProblemError(f"times: must be at least 5 above 0 (got {len(at)} from {at[0]:g} on). Use log_times(...).")
    if len(settings) != 2:
        raise ProblemError(
            f"settings: must be two names with values (got {shown(settings)}). Write {{'learning_rate': [...], ...}}."
        )
    axes = {name: np.asarray(values).tolist() for name, values in settings.items()}
    given = problem.model_dump(exclude_unset=True)
    cells = [Problem(**nested(dict(zip(axes, cell, strict=True)), given)) for cell in product(*axes.values())]
    if not cells:
        raise ProblemError("settings: must have values for both (got none for one). Give a list of each.")

    theory, known = theory_of(theory), {}
    cases: list[Case] = []
    rules: set[Averages] = set()
    for cell in cells:
        # Neither the rate nor the options of training change the spectrum.
        drawn, instance = cell.model_dump_json(exclude={"learning_rate", "training"}), cell.draw(seed)
        if drawn not in known:
            known[drawn] = reduced_spectrum(instance, theory, nodes)
        cases.append(case_of(instance, known[drawn], theory))
        rules.add(averages_of(instance))
    if len({case.spectrum.overlap.shape[1:] for case in cases}) > 1:
        raise ProblemError(
            "settings: must leave the network's size as it is (got several). Draw one diagram for each number of units."
        )
    if len(rules) > 1:
        raise ProblemError(
            f"settings: must leave the learning rule as it is (got {len(rules)}). Draw one diagram for each."
        )
    functions = problem.activation, problem.teacher_activation
    attrs = {"problem": problem.model_dump_json(exclude_none=True), "instance_seed": seed, "theory": str(theory)}
    attrs |= describe(*functions, [cell.training for cell in cells])
    with warnings.catch_warnings():
        for kind in (DivergenceWarning, AccuracyWarning):  # the result shows which cells diverge
            warnings.simplefilter("ignore", kind)
        solved = trajectories(cases, at, Solver(rules.pop(), RTOL, ATOL), attrs)
    name = error_of(followed(solved))
    error, diverged_at = solved[name].values, solved["diverged_at"].values
    diverged = np.isfinite(diverged_at)
    exits = [NO_EXIT if lost else plateau_exit(at, curve) for curve, lost in zip(error, diverged, strict=True)]
    exit_time, level = np.transpose(exits)
    columns = {
        "final_error": (error[:, -1], f"final {variable(name).long_name}"),
        "plateau_exit": (exit_time, "time to leave the plateau"),
        "plateau_error": (level, f"{variable(name).long_name} on the plateau"),
        "left_plateau": (np.isfinite(exit_time), "whether a plateau is seen to be left"),
        "diverged": (diverged, "whether theory diverges"),
        "diverged_at": (diverged_at, "first output time not reached"),
    }
    dims = [name.replace(".", "_") for name in axes]
    shape = [*map(len, axes.values())]
    data = {name: (dims, values.reshape(shape), {"long_name": text}) for name, (values, text) in columns.items()}
    data[name] = ([*dims, "time"], error.reshape(*shape, -1), {})
    return Dataset(data, {**dict(zip(dims, axes.values(), strict=True)), "time": at}, solved.attrs)
