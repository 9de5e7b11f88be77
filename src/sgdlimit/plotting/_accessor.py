"""Datasets that draw, compare and save themselves: ``theory.sgd.plot(runs)``.

xarray gives every dataset the accessor ``sgd`` once :mod:`sgdlimit.trajectory` is imported, which all that makes or
reads trajectories does.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from ..errors import ProblemError

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..problem import Problem

__all__ = ["TrajectoryAccessor"]


@xr.register_dataset_accessor("sgd")
class TrajectoryAccessor:
    """What one does with a trajectory, or with the results of a sweep.

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

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    @property
    def problem(self) -> "Problem":
        """The problem that the dataset is of.

        Raises
        ------
        ProblemError
            If its attributes name none: of arrays of one's own, or a sweep, which is of many.
        """
        from ..problem import Problem

        settings = self._settings()
        if settings is None:
            raise ProblemError(
                "problem: the attributes of this dataset hold none; it is there for instances that Problem.draw made"
            )
        if "grid" in settings or "problem" in settings:
            raise ProblemError("problem: a sweep has one for every condition; its settings are in attrs['problem']")
        return Problem(**settings)

    def plot(
        self,
        runs: xr.Dataset | None = None,
        *,
        quantities: Sequence[str] | None = None,
        axes: "Axes | Sequence[Axes] | None" = None,
        x: str = "kl",
        along: str | None = None,
    ) -> "Figure":
        """Draw ε_g, Q, R and v against log t, with SGD over theory; of a sweep M against D_KL.

        Parameters
        ----------
        runs
            SGD of the same problem, measured with the overlaps of the theory, as circles over its lines; of several
            overlaps those of the theory are drawn.
        quantities
            Which; by default ε_g, Q, R and v, of a sweep Q, R and v.
        axes
            Matplotlib axes to draw in, one for each quantity; by default a new figure. Not for a sweep.
        x, along
            For a sweep only, see :func:`sgdlimit.figures.sweep_discrepancy`: what M is drawn against, ``"kl"`` or an
            axis of the grid, and which axis a curve follows.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ProblemError
            If the dataset is neither a trajectory nor a sweep, does not hold what is asked for, or SGD was measured
            with the overlaps of another theory.
        """
        from ..comparison import measured_for
        from ._dynamics import trajectory
        from ._order_parameters import order_parameters
        from ._sweep import sweep_discrepancy

        if "completed" in self._dataset.coords:
            if runs is not None or axes is not None:
                raise ProblemError(
                    f"{'runs' if runs is not None else 'axes'}: a sweep holds its own SGD and draws a figure of its "
                    "own; leave it out"
                )
            return sweep_discrepancy(self._dataset, x, quantities=quantities, along=along)
        for name, value, default in (("x", x, "kl"), ("along", along, None)):
            if value != default:
                raise ProblemError(f"{name}: {value!r} is for a sweep, and this is a trajectory; leave it out")
        self._check_trajectory("this dataset", self._dataset)
        if runs is None:
            self._check_overlaps()
            return order_parameters(self._dataset, quantities=quantities, axes=axes)
        self._check_trajectory("runs", runs)
        if runs.attrs.get("kind") == "theory" or self._dataset.attrs.get("kind") == "simulation":
            raise ProblemError("runs: SGD is drawn over theory; call it as theory.sgd.plot(runs)")
        runs = measured_for(self._dataset, runs)
        for dim in ("student", "teacher", "time"):
            longer = dim == "time" and any("diverged_at" in some.attrs for some in (self._dataset, runs))
            if self._dataset.sizes.get(dim) != runs.sizes.get(dim) and not longer:
                raise ProblemError(
                    f"runs: {runs.sizes.get(dim)} along {dim!r} where theory has {self._dataset.sizes.get(dim)}; give "
                    "SGD of the same problem at the same times"
                )
        whole = "run" in runs.dims and all(name in some for some in (self._dataset, runs) for name in _SHOWN)
        if whole and quantities is None and axes is None and float(self._dataset["time"][0]) > 0:
            return trajectory(self._dataset, runs)
        return order_parameters(self._dataset, runs, quantities=quantities, axes=axes)

    def compare(self, runs: xr.Dataset, **options: Any) -> xr.Dataset:
        """M between this theory and SGD; see :func:`sgdlimit.compare`, also for the options.

        Raises
        ------
        ProblemError
            If one of both is no trajectory, ``runs`` is no SGD, or was measured with the overlaps of another theory.
        """
        from ..comparison import compare

        self._check_trajectory("this dataset", self._dataset)
        self._check_trajectory("runs", runs)
        return compare(self._dataset, runs, **options)

    def save(self, path: "str | PathLike[str]") -> None:
        """Write the dataset as a zarr store, see :func:`sgdlimit.save`; an existing path is refused."""
        from ..trajectory import save

        save(self._dataset, path)

    def _settings(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._dataset.attrs["problem"])
        except (KeyError, TypeError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _check_overlaps(self) -> None:
        if "overlaps" in self._dataset.dims:
            names = [str(name) for name in self._dataset["overlaps"].values]
            raise ProblemError(
                f"this dataset: was measured as {' and '.join(map(repr, names))}; choose one, as with "
                f".sel(overlaps={names[0]!r})"
            )

    def _check_trajectory(self, name: str, dataset: object) -> None:
        if not isinstance(dataset, xr.Dataset) or "time" not in dataset.dims or "v" not in dataset:
            raise ProblemError(
                f"{name}: is no trajectory, which has Q, R and v along time; use what solve, simulate or load return"
            )
        further = sorted(map(str, set(dataset["v"].dims) - {"run", "time", "student"}))
        if further:
            raise ProblemError(
                f"{name}: has {', '.join(further)} as well; choose one trajectory, as with "
                f".isel({', '.join(f'{dim}=0' for dim in further)})"
            )


_SHOWN = ("generalization_error", "Q", "R", "v")
