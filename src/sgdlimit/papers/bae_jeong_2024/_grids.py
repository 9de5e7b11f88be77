"""From the sweeps of a preset to the datasets of the figures: M against the law, its floors, and the paper's selection.

The grid is the paper's; the block-size study goes beyond it, to correlated coordinates where universality ends. For
each instance that the selection leaves out, a dataset has its start and how its Gaussian SGD left the equations.
"""

import json
from functools import partial

import numpy as np
import xarray as xr
from jaxtyping import Float
from xarray import DataArray, Dataset

from ..._jax import own_jax
from ...theory import integrals_for, network_at
from ._averages import METRICS
from ._paper import Preset

PLACE = ("instance", "activation")
START = (["student", "student_"], ["student", "teacher"], ["student"])
"""Dimensions of Q, R and v at one time."""

KEPT_INSTANCES = 10
AGREEMENT_OF_GAUSSIAN = 0.1
"""The paper drops instances whose Gaussian SGD is "significantly different" from the ODE, without a number. Here: M(Q)
of Gaussian SGD, averaged over entries, above a tenth of the mean |Q|."""


def grid(results: Dataset) -> Dataset:
    """M against α for every m, standardised or not, for every instance: Figures 3, 5, S2-S4, Tables I and II.

    Parameters
    ----------
    results
        Results of the sweep :meth:`Preset.grid_sweep`. All conditions of an instance share its noise; with spread 0
        every mixture is the Gaussian, so those entries are the noise floor itself.

    Returns
    -------
    xarray.Dataset
        ``M_*``, against the conventional theory, and ``scale_*`` (mean |x|) of Q, R, v over (instance, activation,
        standardized, components, spread) and entries; ``floor_*`` and ``floor_scale_*`` of Gaussian SGD, ``kl`` of the
        un-standardised scalar mixture, and ``diverged``. The paper's selection over (instance, activation): ``kept``,
        the first ten instances whose Gaussian SGD and ODE agree, with the ``reason`` and the ``gaussian_share``, M(Q)
        of Gaussian SGD over the mean |Q|. The attribute ``problem`` has the settings of the sweep as JSON.

        For un-standardised mixtures also ``M_mixture_*``, against the mixture theory, of SGD measured with its
        covariances, over (instance, activation, components, spread) and entries, NaN where SGD or theory diverged;
        ``scale_mixture_*``; ``noise_mixture_*``, the M that the scatter between members of the theory's ensemble alone
        makes, NaN where theory diverged; and ``mixture_diverged``, whether it did.
    """
    sweep = json.loads(results.attrs["problem"])
    results, found = _with_floors(results, "components", "spread")
    raw = results.sel(standardized=False, drop=True)
    within = raw.sel(theory="mixture", drop=True)
    found |= _of_quantities(results.sel(theory="conventional", drop=True), M="M", scale="scale")
    found |= _of_quantities(within, M="M_mixture", scale="scale_mixture", noise="noise_mixture")
    dataset = Dataset(found).assign(
        kl=raw["kl"].isel(activation=0, drop=True),
        diverged=results["diverged_at"].notnull(),
        mixture_diverged=within["theory_diverged_at"].notnull(),
    )
    floor, scale = dataset[["floor_Q", "floor_scale_Q"]].mean(START[0]).values()
    share = (floor / scale).transpose(*PLACE)
    agrees = share <= AGREEMENT_OF_GAUSSIAN
    kept = agrees & (agrees.cumsum("instance") <= KEPT_INSTANCES)

    def reason(kept, agrees, share):
        unneeded = f"not needed, {KEPT_INSTANCES} that agree came before"
        dropped = unneeded if agrees else "dropped, Gaussian SGD and ODE differ"
        return f"{'kept' if kept else dropped}: M(Q) of Gaussian SGD is {share:.3f} of mean |Q|"

    reasons = xr.apply_ufunc(reason, kept, agrees, share, vectorize=True)
    dataset = dataset.assign(kept=kept, reason=reasons, gaussian_share=share)
    return dataset.assign_attrs(agreement_of_gaussian=AGREEMENT_OF_GAUSSIAN, problem=json.dumps(sweep["problem"]))


def blocks(results: Dataset) -> Dataset:
    """M against block size and α for all three theories, m = 2, standardised and not.

    Block size 1 draws every coordinate's component by itself; D is a clustered data set. Each coordinate has means of
    its own. SGD is measured with the overlaps of the theory it is compared with.

    Parameters
    ----------
    results
        Results of the sweep :meth:`Preset.block_sweep <sgdlimit.papers.bae_jeong_2024.Preset.block_sweep>`.

    Returns
    -------
    xarray.Dataset
        ``M_*`` over (instance, activation, standardized, theory, spread, block_size) and entries, NaN where the theory
        does not apply, which ``applicable`` (standardized, theory, block_size) says, or where SGD or theory diverged:
        ``diverged`` (instance, activation, standardized, spread, block_size) of SGD, ``theory_diverged`` the same and
        any theory; ``scale_*`` like M, mean |x| as this theory measures it; ``noise_mixture_*`` over (instance,
        activation, standardized, spread, block_size) and entries, what the scatter between members of the mixture
        theory's ensemble alone makes of M. ``floor_*`` and ``floor_scale_*`` of Gaussian SGD over (instance,
        activation), ``kl`` of the standardised law. With α = 0 all is Gaussian, and M the floor.
    """
    results, found = _with_floors(results, "spread", "block_size")
    found |= _of_quantities(results, M="M", scale="scale", noise="noise_mixture")
    dataset = Dataset(found).assign(
        kl=results["kl"].sel(standardized=True, drop=True).isel(activation=0, drop=True),
        diverged=results["diverged_at"].notnull(),
        theory_diverged=results["theory_diverged_at"].notnull().any("theory"),
        applicable=results["applies"].isel(instance=0, activation=0, spread=-1, drop=True).astype(bool),
    )
    dataset = dataset.transpose("instance", "activation", "standardized", "theory", "spread", "block_size", ...)
    return dataset.assign_attrs(components=2)


def _with_floors(results: Dataset, *laws: str) -> tuple[Dataset, dict[str, DataArray]]:
    """The results of a sweep, and ``floor_*`` and ``floor_scale_*`` of Gaussian SGD, which do not depend on the law."""
    results = results.squeeze("run", drop=True).drop_vars("completed").rename(standardize="standardized")
    first = results.isel(dict.fromkeys(("standardized", *laws), 0), drop=True)
    return results, _of_quantities(first, floor="floor", floor_scale="floor_scale")


def _of_quantities(results: Dataset, **names: str) -> dict[str, DataArray]:
    """Variables of Q, R and v by new names: ``M="M_mixture"`` gives ``M_mixture_Q``, ``M_mixture_R``, ..."""
    return {f"{new}_{name}": results[f"{old}_{name}"] for name in METRICS for old, new in names.items()}


def case_name(instance: int, activation: str) -> str:
    """What a left-out instance is called under one activation, in figures and on pages.

    Examples
    --------
    >>> case_name(12, "relu")
    'left_out_12_relu'
    """
    return f"left_out_{instance}_{activation}"


def left_out(results: Dataset, grid: Dataset, preset: Preset) -> Dataset:
    """The trajectories of every instance that is left out under an activation, on Gaussian inputs.

    Parameters
    ----------
    results
        Results of the sweep :meth:`Preset.grid_sweep`. Its conditions with spread 0 are Gaussian.
    grid
        What :func:`~sgdlimit.papers.bae_jeong_2024.grid` made of it.
    preset
        Whose instances they are.

    Returns
    -------
    xarray.Dataset
        Along ``case``, with the labels ``instance``, ``activation`` and ``reason``; none where every instance is kept.
        ``Q``, ``R`` and ``v`` of one SGD run (case, time, entries) and ``theory_Q`` and so on, ``start_Q`` and so on
        (case, entries) at t = 0, and ``generalization_error``: for SGD theory computes it from the order parameters,
        because the sweep does not measure it.
    """
    place = {dim: ("case", index) for dim, index in zip(PLACE, np.nonzero(~grid["kept"].values), strict=True)}
    gaussian = results.squeeze("run").sel(spread=0.0, theory="conventional").isel(standardize=0, components=0)
    names = [*METRICS, *(f"theory_{name}" for name in METRICS), "theory_generalization_error"]
    cases = gaussian[names].isel(place).drop_attrs()
    cases = cases.drop_vars({*cases.coords} - {*PLACE, "time"})
    cases = cases.assign_coords(activation=cases["activation"].astype("U8"), reason=grid["reason"].isel(place).variable)
    error, Q, R, v = xr.apply_ufunc(
        partial(_error_and_start, preset),
        *(cases[name] for name in (*PLACE, *METRICS)),
        input_core_dims=[[], [], *(["time", *dims] for dims in START)],
        output_core_dims=[["time"], *START],
        vectorize=True,
        output_dtypes=[float] * 4,  # for no case at all
    )
    return cases.assign(generalization_error=error, start_Q=Q, start_R=R, start_v=v)


def _error_and_start(preset: Preset, seed: int, activation: str, *order: Float[np.ndarray, "time ..."]) -> tuple:
    """ε_g (S48) of Gaussian fields with the Q, R and v of a run, NaN where it has none; and Q, R and v at t = 0."""
    import jax
    import jax.numpy as jnp

    instance = preset.problem.draw(int(seed)).replace(activation=str(activation))
    moments, integrals, v0 = instance.moments(), integrals_for(instance.activation), instance.student_output

    def error(Q, R, v):
        at = network_at(Q, R, moments.teacher_overlap, v, instance.teacher_output, instance.rates)
        return integrals.metrics(at)["generalization_error"]

    with own_jax():
        errors = np.asarray(jax.vmap(error)(*map(jnp.asarray, order)))
    return errors, *moments.overlaps(instance.student), v0


def trajectories_of(cases: Dataset, place: int) -> tuple[Dataset, Dataset]:
    """Theory and SGD of one case, as trajectories with the variables of :mod:`sgdlimit.trajectory`."""
    names = [*METRICS, "generalization_error"]
    theory = {f"theory_{name}": name for name in names}
    case = cases.isel(case=place)
    return case[list(theory)].rename(theory), case[names].expand_dims("run")
