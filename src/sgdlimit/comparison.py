"""How far SGD is from theory: the discrepancy M (18)-(20), beside the noise floor."""

from typing import Any, Literal, TypeVar

import numpy as np
from xarray import DataArray, Dataset

from .errors import ProblemError, shown
from .signatures import checked
from .trajectory import followed, is_entry, variable

AGREEMENT = 2.0
"""SGD agrees with a theory when M, averaged over entries, is below this many times the noise floor.

The paper gives no threshold. The floor is itself the M of a few noisy runs, which scatters by about a third between
seeds.
"""

Measure = Literal["mean-absolute", "rms"]
Values = TypeVar("Values", Dataset, DataArray)

OF_ENTRIES = "discrepancy M of theory and SGD, mean over runs"
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

SAME = (
    "instance_seed", "input_dim", "latent_dim", "activation", "teacher_activation", "rule", "nonlinearity",
    "learning_rate", "training",
)  # fmt: skip
"""Attributes in which theory and SGD may not differ."""


@checked
def discrepancy(theory: Dataset, sgd: Dataset, measure: Measure = "mean-absolute") -> Dataset:
    """M of every entry of Q, R, the head and errors: the distance of two trajectories, averaged over output times (18).

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
    for dim in filter(is_entry, {**theory.sizes, **sgd.sizes}):
        if theory.sizes.get(dim) != sgd.sizes.get(dim):
            raise ProblemError(
                f"theory: must have the {dim!r} of SGD, {sgd.sizes.get(dim)} (got {theory.sizes.get(dim)}). "
                "Compare one problem."
            )
    first, second = _compared(theory, sgd)
    if "resolved_error" in theory.attrs and "generalization_error" in first:
        first["generalization_error"] = first["generalization_error"].fillna(0.0)  # too small for theory's tolerances
    # Only a trajectory that was cut where it diverged may be shorter; it is compared up to there.
    same_length = theory.sizes["time"] == sgd.sizes["time"] or divergence(theory, sgd)
    if not (same_length and np.allclose(first["time"], second["time"], rtol=1e-7)):
        raise ProblemError("times: must be the same for theory and SGD (got different ones). Give both the same.")
    distance = abs(first.drop_vars("time") - second.drop_vars("time"))
    if measure == "rms":
        return (distance**2).mean("time", skipna=False) ** 0.5
    return distance.mean("time", skipna=False)


def _compared(*trajectories: Dataset) -> list[Dataset]:
    """The variables to compare that all trajectories have, up to the last output time of the shortest."""
    names = [name for name in followed(trajectories[0]) if all(name in each for each in trajectories)]
    shared = slice(min(each.sizes["time"] for each in trajectories))
    return [each[names].isel(time=shared) for each in trajectories]


def divergence(*trajectories: Dataset) -> dict[str, float]:
    """As an attribute the time where the first of some trajectories was cut; empty where none diverged."""
    times = [each.attrs["diverged_at"] for each in trajectories if "diverged_at" in each.attrs]
    return {"diverged_at": min(times)} if times else {}


def magnitude(trajectory: Dataset) -> Dataset:
    """Mean of |x| over the output times, E|X| of the paper's tables: the scale of an M."""
    return abs(_compared(trajectory)[0]).mean("time")


def over_entries(dataset: Dataset) -> DataArray:
    """Mean over the entries of each quantity (20), along a new dimension ``quantity``."""
    means = dataset.mean([dim for dim in dataset.dims if is_entry(dim)])
    return means.to_dataarray("quantity").assign_coords(quantity=list(dataset))


def mean_and_error(values: Values, dims: Any = "instance") -> tuple[Values, Values]:
    """Mean over instances (or other dimensions) and its standard error; NaN entries, diverged runs, are left out.

    The standard error is NaN where fewer than two values are left.
    """
    count, mean = values.count(dims), values.mean(dims)
    variance = ((values - mean) ** 2).sum(dims) / (count - 1).where(count > 1)
    return mean, (variance / count) ** 0.5


@checked
def compare(
    theory: Dataset,
    runs: Dataset,
    *,
    noise_floor: Dataset | None = None,
    measure: Measure = "mean-absolute",
) -> Dataset:
    """Compare SGD with theory: M run by run, then its mean over runs.

    Parameters
    ----------
    theory
        A trajectory of :func:`sgdlimit.solve`; for an ensemble its mean is compared.
    runs
        A trajectory of :func:`sgdlimit.simulate`, measured with the overlaps of the same theory; of several overlaps
        those of the theory are taken. Members of another ensemble of the same theory may stand for SGD.
    noise_floor
        SGD on inputs for which this theory is exact (the same instance with ``latent=Gaussian()``): the M that
        noise and finite size cause alone.
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
    runs = measured_for(theory, runs)
    mean = theory.mean("run", keep_attrs=True) if "run" in theory.dims else theory
    per_run = discrepancy(mean, runs, measure)
    result = per_run.mean("run")
    result["M"], result["M_stderr"] = mean_and_error(over_entries(per_run), "run")
    result["scale"] = over_entries(magnitude(runs)).mean("run")
    if "run" in theory.dims:
        result["M_of_means"] = over_entries(discrepancy(mean, runs.mean("run", keep_attrs=True), measure))
        # E|x| of a normal deviation with the standard errors of both means, over times and entries.
        own, other = (mean_and_error(each.drop_vars("time"), "run")[1] for each in _compared(theory, runs))
        noise = np.sqrt(2 / np.pi) * (own**2 + other**2) ** 0.5
        result["noise_of_means"] = over_entries(noise.mean("time", skipna=False))
    attrs = {
        "measure": measure,
        "theory": theory.attrs.get("theory", ""),
        "runs": runs.sizes["run"],
        "times_compared": min(theory.sizes["time"], runs.sizes["time"]),
        **divergence(theory, runs),
    }
    if noise_floor is not None:
        floor = discrepancy(mean, measured_for(theory, noise_floor, "noise_floor"), measure)
        result["floor"], result["floor_stderr"] = mean_and_error(over_entries(floor), "run")
        result["agrees"] = result["M"] <= AGREEMENT * result["floor"]
        attrs["agreement"] = f"M <= {AGREEMENT:g} noise floor"
    for name in map(str, result):  # units are 1, as Q, R, v and ε_g have none; a verdict is no number
        long_name = NAMES_OF_RESULTS.get(name) or f"{OF_ENTRIES}: {variable(name).long_name}"
        result[name].attrs = {"long_name": long_name} | ({} if name == "agrees" else {"units": "1"})
    return result.assign_attrs(attrs)


def measured_for(theory: Dataset, runs: Dataset, field: str = "overlaps") -> Dataset:
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
        The runs, with a dimension ``run`` also where there is one, and without a dimension ``overlaps``.

    Raises
    ------
    ProblemError
        If the runs are of another problem, were measured as something else, or are a theory and no further ensemble
        of this one.
    """
    for setting in SAME:
        one, two = (each.attrs.get(setting) for each in (theory, runs))
        if None not in (one, two) and one != two:
            raise ProblemError(
                f"{field.replace('overlaps', 'runs')}: must have the {setting} of the theory, {shown(one)} (got "
                f"{shown(two)}). Compare one instance."
            )
    named = theory.attrs.get("theory")
    other = named not in (None, runs.attrs.get("theory", named))
    if runs.attrs.get("kind") == "theory" and ("run" not in runs.dims or other):
        what = f"the {runs.attrs['theory']} theory" if "theory" in runs.attrs else "a theory"
        raise ProblemError(f"runs: must be SGD (got {what}). Give what simulate returns for the same problem.")
    if "overlaps" in runs.coords:
        several = np.atleast_1d(runs["overlaps"]).tolist()
        measured = named if named in several else " and ".join(several)
        if "overlaps" in runs.dims:
            if named is None:
                raise ProblemError(
                    f"runs: must be measured once for a theory without a name (got {measured}). Choose one, as with "
                    f".sel(overlaps={several[0]!r})."
                )
            if named in several:
                runs = runs.sel(overlaps=named)
        runs = runs.drop_vars("overlaps").assign_attrs(overlaps=measured)
    measured = runs.attrs.get("overlaps", named)
    if named not in (None, measured):
        raise ProblemError(
            f"{field}: must be those of the theory, {named!r} (got {measured!r}). Use simulate(..., "
            f"overlaps={named!r})."
        )
    return runs if "run" in runs.dims else runs.expand_dims("run")


def scatter(runs: Dataset) -> Dataset:
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
    count, (moving,) = runs.sizes["run"], _compared(runs)
    away = abs(moving - moving.mean("run")).mean("time", skipna=False)
    return away * (np.sqrt(count / (count - 1)) if count > 1 else np.nan)
