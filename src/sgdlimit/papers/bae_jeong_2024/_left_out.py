"""The instances that the means leave out: how each began, and how its Gaussian SGD moved away from the equations."""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from ...instance import Instance
from ._paper import QUANTITIES, Preset

__all__ = ["case_name", "left_out", "trajectories_of"]

DIMS = {"Q": ("student", "student_"), "R": ("student", "teacher"), "v": ("student",)}


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
        Of the sweep :meth:`Preset.grid_sweep`. Its conditions with spread 0 are Gaussian.
    grid
        What :func:`~sgdlimit.papers.bae_jeong_2024.grid` made of it.
    preset
        Whose instances they are.

    Returns
    -------
    xarray.Dataset
        Along ``case``, with the labels ``instance``, ``activation`` and ``reason``; none where every instance is kept.
        ``Q``, ``R`` and ``v`` of one SGD run (case, time, entries) and ``theory_Q`` and so on, ``start_Q`` and so on
        (case, entries) at t = 0, and ``generalization_error``: of SGD it is what theory makes of its order parameters,
        for the sweep measures none.
    """
    found = np.argwhere(~grid["kept"].transpose("instance", "activation").values)
    places = [(int(grid["instance"][i]), str(grid["activation"].values[a])) for i, a in found]
    gaussian = results.squeeze("run", drop=True).sel({"spread": 0.0, "theory": "conventional"}, drop=True)
    gaussian = gaussian.isel({dim: 0 for dim in ("standardize", "components") if dim in gaussian.dims}, drop=True)
    names = [*QUANTITIES, *(f"theory_{name}" for name in QUANTITIES), "theory_generalization_error"]
    cases = [_case(gaussian[names], preset, *place) for place in places]
    if not cases:
        sizes = {dim: gaussian.sizes[dim] for dim in ("student", "student_", "teacher")} | {"time": len(preset.times)}
        cases = [_nothing(sizes, preset.times)]
    dataset = xr.concat(cases, dim="case", coords="minimal", compat="override")
    dataset = dataset.isel(case=slice(len(places))).drop_vars(
        [name for name in dataset.coords if name != "time"], errors="ignore"
    )
    reasons = [str(grid["reason"].sel(instance=seed, activation=name).item()) for seed, name in places]
    labels = {
        "instance": ("case", np.array([seed for seed, _ in places], dtype=np.int64)),
        "activation": ("case", np.array([name for _, name in places], dtype="U8")),
        "reason": ("case", np.array(reasons, dtype=f"U{max(map(len, reasons), default=1)}")),
    }
    return dataset.assign_coords(labels)


def trajectories_of(cases: xr.Dataset, place: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Theory and SGD of one case, as trajectories with the variables of :mod:`sgdlimit.trajectory`."""
    one = cases.isel(case=place)
    names = [*QUANTITIES, "generalization_error"]
    theory = xr.Dataset({name: one[f"theory_{name}"] for name in names})
    return theory, xr.Dataset({name: one[name] for name in names}).expand_dims("run")


def _case(gaussian: xr.Dataset, preset: Preset, seed: int, activation: str) -> xr.Dataset:
    one = gaussian.sel(instance=seed, activation=activation, drop=True).load()
    instance = preset.problem.draw(seed).replace(activation=activation)
    moments = instance.moments()
    Q, R = moments.overlaps(instance.student)
    one["generalization_error"] = ("time", _errors(instance, one, moments.teacher_overlap))
    start = {"Q": Q, "R": R, "v": instance.student_output}
    return one.assign({f"start_{name}": (DIMS[name], values) for name, values in start.items()})


def _errors(
    instance: Instance, run: xr.Dataset, teacher_overlap: Float[np.ndarray, "M M"]
) -> Float[np.ndarray, "time"]:
    """ε_g (S48) of Gaussian fields with the order parameters of a run, NaN where it has none."""
    import jax
    import jax.numpy as jnp

    from ...theory import field_covariance, generalization_error, integrals_for, signed_weights

    integrals, K = integrals_for(instance.activation), len(instance.student)

    def error(Q: Any, R: Any, v: Any) -> Any:
        signed = signed_weights(instance.rule, v, jnp.asarray(instance.teacher_output))
        return generalization_error(field_covariance(Q, R, jnp.asarray(teacher_overlap)), signed, K, integrals)

    with jax.enable_x64(True):
        order = [jnp.asarray(run[name].transpose("time", *DIMS[name]).values) for name in QUANTITIES]
        return np.asarray(jax.vmap(error)(*order))


def _nothing(sizes: dict[str, int], times: np.ndarray) -> xr.Dataset:
    """A case without numbers, for the shapes."""
    data: dict[str, Any] = {}
    for name, dims in {**DIMS, "generalization_error": ()}.items():
        for prefix, before in (("", ("time",)), ("theory_", ("time",)), ("start_", ())):
            if name != "generalization_error" or prefix != "start_":
                dims_here = (*before, *dims)
                data[f"{prefix}{name}"] = (dims_here, np.full([sizes[dim] for dim in dims_here], np.nan))
    return xr.Dataset(data, coords={"time": times})
