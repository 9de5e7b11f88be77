"""Beyond the paper: mixtures of blocks of correlated coordinates, where universality ends."""

import xarray as xr

from ._paper import QUANTITIES, floors_of

__all__ = ["blocks"]


def blocks(results: xr.Dataset) -> xr.Dataset:
    """M against block size and α for all three theories, m = 2, standardised and not.

    Block size 1 draws every coordinate's component by itself; D is a clustered data set. Each coordinate has means of
    its own. SGD is measured with the overlaps of the theory it is compared with.

    Parameters
    ----------
    results
        Of the sweep :meth:`Preset.block_sweep <sgdlimit.papers.bae_jeong_2024.Preset.block_sweep>`.

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
    results = results.squeeze("run", drop=True).rename(standardize="standardized").drop_vars("completed")
    order = ("instance", "activation", "standardized", "theory", "spread", "block_size", ...)
    found = floors_of(results, ["standardized", "spread", "block_size"])
    for name in QUANTITIES:
        found |= {f"{kind}_{name}": results[f"{kind}_{name}"].transpose(*order) for kind in ("M", "scale")}
        found[f"noise_mixture_{name}"] = results[f"noise_{name}"]
    largest = results["applies"].isel(instance=0, activation=0, spread=-1, drop=True)
    return (
        xr.Dataset(found)
        .assign(
            kl=results["kl"].sel(standardized=True, drop=True).isel(activation=0, drop=True),
            diverged=results["diverged_at"].notnull(),
            theory_diverged=results["theory_diverged_at"].notnull().any("theory"),
            applicable=largest.transpose("standardized", "theory", "block_size").astype(bool),
        )
        .assign_attrs(components=2)
    )
