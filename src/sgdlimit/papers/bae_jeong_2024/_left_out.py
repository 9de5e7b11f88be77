"""The instances that the means leave out: how each began, and how its Gaussian SGD moved away from the equations."""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from ...theory import field_covariance, generalization_error, integrals_for, signed_weights
from ._grids import QUANTITIES
from ._paper import Preset

PLACE = ("instance", "activation")
START = (["student", "student_"], ["student", "teacher"], ["student"])
"""Dimensions of Q, R and v at one time."""


def case_name(instance: int, activation: str) -> str:
    """What a left-out instance is called under one activation, in figures and on pages.

    Examples
    --------
    >>> case_name(12, "relu")
    'left_out_12_relu'
    """
    return f"left_out_{instance}_{activation}"


def left_out(results: xr.Dataset, grid: xr.Dataset, preset: Preset) -> xr.Dataset:
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
    left = [xr.DataArray(index, dims="case") for index in np.nonzero((~grid["kept"]).transpose(*PLACE).values)]
    place = dict(zip(PLACE, left, strict=True))
    gaussian = results.squeeze("run", drop=True).sel({"spread": 0.0, "theory": "conventional"}, drop=True)
    gaussian = gaussian.isel({dim: 0 for dim in ("standardize", "components") if dim in gaussian.dims}, drop=True)
    names = [*QUANTITIES, *(f"theory_{name}" for name in QUANTITIES), "theory_generalization_error"]
    cases = gaussian[names].isel(place).drop_attrs()
    cases = cases.drop_vars([name for name in cases.coords if name not in (*PLACE, "time")])
    cases = cases.assign_coords(activation=cases["activation"].astype("U8"), reason=grid["reason"].isel(place).variable)
    error, *start = xr.apply_ufunc(
        partial(_error_and_start, preset),
        *(cases[name] for name in (*PLACE, *QUANTITIES)),
        input_core_dims=[[], [], *(["time", *dims] for dims in START)],
        output_core_dims=[["time"], *START],
        vectorize=True,
        output_dtypes=[float] * 4,  # for no case at all
    )
    return cases.assign(generalization_error=error, **dict(zip(("start_Q", "start_R", "start_v"), start, strict=True)))


def _error_and_start(preset: Preset, seed: int, activation: str, *order: Float[np.ndarray, "time ..."]) -> tuple:
    """ε_g (S48) of Gaussian fields with the Q, R and v of a run, NaN where it has none; and Q, R and v at t = 0."""
    import jax
    import jax.numpy as jnp

    instance = preset.problem.draw(int(seed)).replace(activation=str(activation))
    moments, integrals, v0 = instance.moments(), integrals_for(instance.activation), instance.student_output

    def error(Q: Any, R: Any, v: Any) -> Any:
        signed = signed_weights(instance.rule, v, jnp.asarray(instance.teacher_output))
        covariance = field_covariance(Q, R, jnp.asarray(moments.teacher_overlap))
        return generalization_error(covariance, signed, len(v0), integrals)

    with jax.enable_x64(True):
        errors = np.asarray(jax.vmap(error)(*map(jnp.asarray, order)))
    return errors, *moments.overlaps(instance.student), v0


def trajectories_of(cases: xr.Dataset, place: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Theory and SGD of one case, as trajectories with the variables of :mod:`sgdlimit.trajectory`."""
    names = [*QUANTITIES, "generalization_error"]
    theory = {f"theory_{name}": name for name in names}
    case = cases.isel(case=place)
    return case[list(theory)].rename(theory), case[names].expand_dims("run")
