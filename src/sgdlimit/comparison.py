"""How far SGD is from theory: the discrepancy M (18)-(20), beside the noise floor."""

from typing import Literal, TypeVar

import numpy as np
import xarray as xr

from .errors import ProblemError, unknown_name
from .trajectory import VARIABLES

AGREEMENT = 2.0
"""SGD agrees with a theory when M, averaged over entries, is below this many times the noise floor.

The paper gives no threshold. The floor is itself the M of a few noisy runs, which scatters by about a third between
seeds.
"""

COMPARED = tuple(name for name in VARIABLES if name != "mean_field")
"""Variables in which theory and SGD are compared. Mean fields fluctuate as fast as single steps."""

ENTRIES = ("student", "student_", "teacher", "task")

Measure = Literal["mean-absolute", "rms"]

NAMES_OF_RESULTS = {
    "M": "discrepancy M of theory and SGD, mean over entries and runs",
    "M_stderr": "standard error of M over runs",
    "scale": "mean |x| of SGD, the scale of M",
    "M_of_means": "discrepancy M of the theory's mean and the mean over runs",
    "noise_of_means": "the M_of_means that the standard errors of both means would cause",
    "floor": "noise floor, M of SGD for which theory is exact",
    "floor_stderr": "standard error of the noise floor over runs",
    "agrees": f"whether M is at most {AGREEMENT:g} noise floors",
}


def discrepancy(theory: xr.Dataset, sgd: xr.Dataset, measure: Measure = "mean-absolute") -> xr.Dataset:
    """M of every entry of Q, R, v and ε_g: the distance between two trajectories, averaged over the output times (18).

    Parameters
    ----------
    theory, sgd
        Trajectories; other dimensions (run, instance, ...) are kept and broadcast.
    measure
        ``"mean-absolute"`` is the paper's tLog-RMSE, the mean of |x − x̂| over log-spaced times (the printed v² − v̂²
        is a misprint); ``"rms"`` the root mean square over the same times.

    Returns
    -------
    xarray.Dataset
        The variables both have in common, without ``time``.

    Raises
    ------
    ProblemError
        If the trajectories have no output time in common or the measure is not known.
    """
    if measure not in ("mean-absolute", "rms"):
        raise unknown_name("measure", measure, ("mean-absolute", "rms"))
    for dim in ENTRIES:
        if theory.sizes.get(dim) != sgd.sizes.get(dim):
            raise ProblemError(
                f"theory: must have the {dim!r} of SGD, {sgd.sizes.get(dim)} (got {theory.sizes.get(dim)}). "
                "Compare one problem."
            )
    shared = min(theory.sizes["time"], sgd.sizes["time"])
    short, long = theory["time"][:shared], sgd["time"][:shared]
    # Only a trajectory that was cut where it diverged may be shorter; it is compared up to there.
    cut = theory.sizes["time"] == sgd.sizes["time"] or any("diverged_at" in each.attrs for each in (theory, sgd))
    if not (cut and np.allclose(short, long, rtol=1e-9)):
        raise ProblemError("times: theory and SGD have different output times. Give both the same.")
    theory, sgd = theory.isel(time=slice(shared)), sgd.isel(time=slice(shared))
    difference = _compared(theory, sgd) - _compared(sgd, theory)
    if measure == "rms":
        return np.sqrt(np.square(difference).mean("time", skipna=False))
    return np.abs(difference).mean("time", skipna=False)


def _compared(trajectory: xr.Dataset, *others: xr.Dataset) -> xr.Dataset:
    """The variables to compare that all trajectories have, without the coordinate of time."""
    names = [name for name in COMPARED if all(name in each for each in (trajectory, *others))]
    return trajectory[names].drop_vars("time")


def magnitude(trajectory: xr.Dataset) -> xr.Dataset:
    """Mean of |x| over the output times, E|X| of the paper's tables: the scale of an M."""
    return np.abs(_compared(trajectory)).mean("time")


def over_entries(dataset: xr.Dataset) -> xr.DataArray:
    """Mean over the entries of each quantity (20), along a new dimension ``quantity``."""
    means = {name: dataset[name].mean([dim for dim in ENTRIES if dim in dataset[name].dims]) for name in dataset}
    return xr.concat(list(means.values()), dim=xr.IndexVariable("quantity", list(means)))


def compare(
    theory: xr.Dataset,
    runs: xr.Dataset,
    *,
    noise_floor: xr.Dataset | None = None,
    measure: Measure = "mean-absolute",
) -> xr.Dataset:
    """Compare SGD with theory: M run by run, then its mean over runs.

    Parameters
    ----------
    theory
        A trajectory of :func:`sgdlimit.solve`; of an ensemble its mean is taken.
    runs
        A trajectory of :func:`sgdlimit.simulate`, measured with the overlaps of the same theory; of several overlaps
        those of the theory are taken. Members of another ensemble of the same theory may stand for SGD.
    noise_floor
        SGD on inputs for which this theory is exact (the same instance with ``latent=Gaussian()``): what M is from
        noise and finite size alone.
    measure
        See :func:`discrepancy`.

    Returns
    -------
    xarray.Dataset
        ``Q``, ``R``, ``v``, ``generalization_error``: M of every entry, averaged over runs; ``M`` and ``M_stderr``
        along ``quantity``: their means over entries and the standard error over runs; ``scale``: mean |x| of SGD;
        for an ensemble also ``M_of_means``, M of the mean over runs, and ``noise_of_means``, the M that the standard
        errors of both means would cause; with a noise floor ``floor``, ``floor_stderr`` and ``agrees``,
        M ≤ :data:`AGREEMENT` floor.

    Raises
    ------
    ProblemError
        If output times differ, theory and runs measure different overlaps, or the runs are a theory themselves.
    """
    named, runs = theory.attrs.get("theory"), _with_runs(measured_for(theory, runs))
    ensemble, theory = theory, theory.mean("run", keep_attrs=True) if "run" in theory.dims else theory
    per_run = discrepancy(theory, runs, measure)
    result = per_run.mean("run")
    result["M"], result["M_stderr"] = _over_runs(over_entries(per_run))
    result["scale"] = over_entries(magnitude(runs)).mean("run")
    if "run" in ensemble.dims:
        means = discrepancy(theory, runs.mean("run", keep_attrs=True), measure)
        result["M_of_means"], result["noise_of_means"] = over_entries(means), _noise_of_means(ensemble, runs)
    attrs = {"measure": measure, "theory": named or "", "runs": per_run.sizes["run"]}
    attrs["times_compared"] = min(theory.sizes["time"], runs.sizes["time"])
    if diverged := [each.attrs["diverged_at"] for each in (theory, runs) if "diverged_at" in each.attrs]:
        attrs["diverged_at"] = min(diverged)
    if noise_floor is not None:
        noise_floor = _with_runs(measured_for(theory, noise_floor, "noise_floor"))
        floor = over_entries(discrepancy(theory, noise_floor, measure))
        result["floor"], result["floor_stderr"] = _over_runs(floor)
        result["agrees"] = result["M"] <= AGREEMENT * result["floor"]
        attrs["agreement"] = f"M <= {AGREEMENT:g} noise floor"
    for name, variable in result.data_vars.items():
        variable.attrs = _described(str(name))
    return result.assign_attrs(attrs)


def measured_for(theory: xr.Dataset, runs: xr.Dataset, field: str = "overlaps") -> xr.Dataset:
    """SGD with the overlaps of this theory: of runs with a dimension ``overlaps`` those that are the theory's.

    Parameters
    ----------
    theory, runs
        Trajectories. One without the name of its theory or overlaps fits any.
    field
        Name of the runs in an error.

    Returns
    -------
    xarray.Dataset
        The runs, without a dimension ``overlaps``.

    Raises
    ------
    ProblemError
        If the runs were measured as something else, or are a theory and no further ensemble of this one.
    """
    named = theory.attrs.get("theory")
    if runs.attrs.get("kind") == "theory" and ("run" not in runs.dims or _differ(named, runs.attrs.get("theory"))):
        what = f"the {runs.attrs['theory']} theory" if "theory" in runs.attrs else "a theory"
        raise ProblemError(f"runs: must be SGD (got {what}). Give what simulate returns for the same problem.")
    measured = runs.attrs.get("overlaps")
    if "overlaps" in runs.coords:
        several = [str(name) for name in np.atleast_1d(runs["overlaps"].values)]
        measured = named if named in several else " and ".join(several)
        if "overlaps" in runs.dims and named is None:
            raise ProblemError(
                f"runs: must be measured once for a theory without a name (got {measured}). Choose one, as with "
                f".sel(overlaps={several[0]!r})."
            )
        if "overlaps" in runs.dims and measured == named:
            runs = runs.sel(overlaps=named)
        runs = runs.drop_vars("overlaps").assign_attrs(overlaps=measured)
    if _differ(named, measured):
        raise ProblemError(
            f"{field}: must be those of the theory, {named!r} (got {measured!r}). Use simulate(..., "
            f"overlaps={named!r})."
        )
    return runs


def _differ(named: str | None, other: str | None) -> bool:
    """Whether two names differ. No name fits any."""
    return None not in (named, other) and named != other


def scatter(runs: xr.Dataset) -> xr.Dataset:
    """Mean distance of each run from the mean of all, as large as that from a mean of infinitely many.

    Parameters
    ----------
    runs
        A trajectory with a ``run`` dimension; NaN for a single run.

    Returns
    -------
    xarray.Dataset
        M of a theory that is exact, for every entry and run.
    """
    count, moving = runs.sizes["run"], _compared(runs)
    away = np.abs(moving - moving.mean("run")).mean("time", skipna=False)
    return away * (np.sqrt(count / (count - 1)) if count > 1 else np.nan)


def _with_runs(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset with a dimension ``run``, also where there is one."""
    return dataset if "run" in dataset.dims else dataset.expand_dims("run")


def _described(name: str) -> dict[str, str]:
    """Attributes of a variable of the results; all but the verdict have no units, as Q, R, v and ε_g have none."""
    if name == "agrees":
        return {"long_name": NAMES_OF_RESULTS[name]}
    long_name = NAMES_OF_RESULTS.get(name) or (
        f"discrepancy M of theory and SGD, mean over runs: {VARIABLES[name].long_name}"
    )
    return {"long_name": long_name, "units": "1"}


def _noise_of_means(ensemble: xr.Dataset, runs: xr.Dataset) -> xr.DataArray:
    """E|x| of a normal deviation with the standard errors of both means, over times and entries."""
    shared = slice(min(ensemble.sizes["time"], runs.sizes["time"]))
    own, other = (_over_runs(_compared(x, y).isel(time=shared))[1] for x, y in ((ensemble, runs), (runs, ensemble)))
    return over_entries((np.sqrt(2 / np.pi) * np.sqrt(np.square(own) + np.square(other))).mean("time", skipna=False))


Measured = TypeVar("Measured", xr.Dataset, xr.DataArray)


def _over_runs(values: Measured) -> tuple[Measured, Measured]:
    """Mean over runs and its standard error (NaN for a single run, which has none)."""
    count = values.sizes["run"]
    spread = values.std("run", ddof=1) if count > 1 else values.isel(run=0, drop=True) * np.nan
    return values.mean("run"), spread / np.sqrt(count)
