"""Datasets that draw, compare and save themselves: ``theory.sgd.plot(runs)``.

xarray gives every dataset the accessor ``sgd`` once :mod:`sgdlimit.trajectory` is imported. Everything that makes or
reads trajectories imports it.
"""

import json
from collections.abc import Sequence
from os import PathLike
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from xarray import Dataset

from ..comparison import compare, divergence, measured_for
from ..errors import ProblemError
from ..problem import Problem
from ..trajectory import save
from ._dynamics import trajectory
from ._settings import sweep_discrepancy


class TrajectoryAccessor:
    """Methods of a trajectory, and of the results of a sweep.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=100, latent_dim=50, student_units=2, teacher_units=2,
    ...                      activation="erf", learning_rate=0.2)
    >>> instance, times = problem.draw(seed=0), sl.log_times(500, 100, 20)
    >>> theory, runs = sl.solve(instance, times), sl.simulate(instance, times, runs=3)
    >>> len(theory.sgd.plot(runs).axes)
    4
    >>> theory.sgd.compare(runs)["quantity"].values.tolist()
    ['Q', 'R', 'v', 'generalization_error']
    >>> theory.sgd.problem == problem
    True
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def problem(self) -> Problem:
        """The problem that the dataset belongs to.

        Raises
        ------
        ProblemError
            If the attributes name none, because the instance was made from arrays, or if this is a sweep, which has
            many.
        """
        try:
            settings = dict(json.loads(self._dataset.attrs["problem"]))
        except (KeyError, TypeError, ValueError):
            raise ProblemError(
                "problem: must be in the attributes of the dataset (got none). Use a dataset of an instance that "
                "Problem.draw made."
            ) from None
        if "grid" in settings or "problem" in settings:
            raise ProblemError(
                "problem: must be one (got a sweep, which has one for every condition). Read attrs['problem']."
            )
        return Problem(**settings)

    def plot(
        self,
        runs: Dataset | None = None,
        *,
        quantities: Sequence[str] | None = None,
        axes: Axes | Sequence[Axes] | None = None,
        x: str = "kl",
        along: str | None = None,
    ) -> Figure:
        """Draw ε_g, Q, R and v against log t, with SGD over theory; for a sweep M against D_KL.

        Parameters
        ----------
        runs
            SGD of the same problem, measured with the overlaps of the theory, drawn as circles over its lines. If it
            was measured with several overlaps, those of the theory are drawn.
        quantities
            Which to draw; by default ε_g, Q, R and v, for a sweep Q, R and v.
        axes
            Matplotlib axes to draw in, one for each quantity; by default a new figure. Not for a sweep.
        x, along
            For a sweep only, see :func:`sgdlimit.plotting.sweep_discrepancy`: what M is drawn against, ``"kl"`` or an
            axis of the grid, and which axis a curve follows.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ProblemError
            If the dataset is neither a trajectory nor a sweep, does not hold a quantity, or SGD was measured
            with the overlaps of another theory.
        """
        theory, sweep = self._dataset, "completed" in self._dataset.coords
        wrong = {"runs": runs, "axes": axes} if sweep else {"x": None if x == "kl" else x, "along": along}
        for name, given in wrong.items():
            if given is not None:
                kind = "sweep, which draws its own SGD" if sweep else "trajectory"
                raise ProblemError(f"{name}: must be left out for a {kind} (got a value). Remove it.")
        if sweep:
            return sweep_discrepancy(theory, x, quantities=quantities, along=along)
        _check("this dataset", theory)
        if runs is not None:
            _check("runs", runs)
            if runs.attrs.get("kind") == "theory" or theory.attrs.get("kind") == "simulation":
                raise ProblemError(
                    "runs: must be SGD, drawn over theory (got another order). Call theory.sgd.plot(runs)."
                )
            runs = measured_for(theory, runs)
            for dim in ("student", "teacher", "time"):
                cut = dim == "time" and divergence(theory, runs)
                if theory.sizes.get(dim) != runs.sizes.get(dim) and not cut:
                    raise ProblemError(
                        f"runs: must have the {dim!r} of the theory, {theory.sizes.get(dim)} (got "
                        f"{runs.sizes.get(dim)}). Give SGD of the same problem at the same times."
                    )
        elif "overlaps" in theory.dims:
            names = theory["overlaps"].values.tolist()
            raise ProblemError(
                f"this dataset: must be measured once (got {' and '.join(map(repr, names))}). Choose one, as with "
                f".sel(overlaps={names[0]!r})."
            )
        return trajectory(theory, runs, quantities=quantities, axes=axes)

    def compare(self, runs: Dataset, **options: Any) -> Dataset:
        """M between this theory and SGD; see :func:`sgdlimit.compare`, also for the options.

        Raises
        ------
        ProblemError
            If one of the two is not a trajectory, or ``runs`` is not SGD or was measured with the overlaps of another
            theory.
        """
        _check("this dataset", self._dataset)
        _check("runs", runs)
        return compare(self._dataset, runs, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the dataset as a zarr store, see :func:`sgdlimit.save`; an existing path is refused."""
        save(self._dataset, path)


def _check(name: str, dataset: object) -> None:
    """Refuse anything but one trajectory."""
    if not isinstance(dataset, Dataset) or "time" not in dataset.dims or "Q" not in dataset:
        raise ProblemError(
            f"{name}: must be a trajectory, with Q and R along time. Use what solve, simulate or load returns."
        )
    further = sorted(map(str, set(dataset["Q"].dims) - {"run", "overlaps", "time", "student", "student_"}))
    if further:
        choice = ", ".join(f"{dim}=0" for dim in further)
        raise ProblemError(
            f"{name}: must be one trajectory (got several along {', '.join(further)}). Choose one, as with "
            f".isel({choice})."
        )
