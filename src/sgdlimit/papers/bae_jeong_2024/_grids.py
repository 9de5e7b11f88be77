"""From the sweeps of a preset to the datasets of the figures: M against the law, its floors, and the paper's selection.

The grid is the paper's; the block-size study goes beyond it, to correlated coordinates where universality ends.
"""

import xarray as xr

QUANTITIES = ("Q", "R", "v")
ENTRIES = ["student", "student_"]
DIFFERS = "dropped, Gaussian SGD and ODE differ"

KEPT_INSTANCES = 10
AGREEMENT_OF_GAUSSIAN = 0.1
"""The paper drops instances whose Gaussian SGD is "significantly different" from the ODE, without a number. Here: M(Q)
of Gaussian SGD, averaged over entries, above a tenth of the mean |Q|."""


def grid(results: xr.Dataset) -> xr.Dataset:
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
        un-standardised scalar mixture, ``diverged``, and ``kept`` with its ``reason``. For un-standardised mixtures
        also ``M_mixture_*``, against the mixture theory, of SGD measured with its covariances, over (instance,
        activation, components, spread) and entries, NaN where SGD or theory diverged; ``scale_mixture_*``;
        ``noise_mixture_*``, the M that the scatter between members of the theory's ensemble alone makes, NaN where
        theory diverged; and ``mixture_diverged``, whether it did.
    """
    results, found = _with_floors(results, "components", "spread")
    raw = results.sel(standardized=False, drop=True)
    within = raw.sel(theory="mixture", drop=True)
    found |= _of_quantities(results.sel(theory="conventional", drop=True), M="M", scale="scale")
    found |= _of_quantities(within, M="M_mixture", scale="scale_mixture", noise="noise_mixture")
    dataset = xr.Dataset(found).assign(
        kl=raw["kl"].isel(activation=0, drop=True),
        diverged=results["diverged_at"].notnull(),
        mixture_diverged=within["theory_diverged_at"].notnull(),
    )
    return dataset.assign(kept_instances(dataset)).assign_attrs(agreement_of_gaussian=AGREEMENT_OF_GAUSSIAN)


def blocks(results: xr.Dataset) -> xr.Dataset:
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
    dataset = xr.Dataset(found).assign(
        kl=results["kl"].sel(standardized=True, drop=True).isel(activation=0, drop=True),
        diverged=results["diverged_at"].notnull(),
        theory_diverged=results["theory_diverged_at"].notnull().any("theory"),
        applicable=results["applies"].isel(instance=0, activation=0, spread=-1, drop=True).astype(bool),
    )
    order = ("instance", "activation", "standardized", "theory", "spread", "block_size", ...)
    return dataset.transpose(*order).assign_attrs(components=2)


def _with_floors(results: xr.Dataset, *laws: str) -> tuple[xr.Dataset, dict[str, xr.DataArray]]:
    """The results of a sweep, and ``floor_*`` and ``floor_scale_*`` of Gaussian SGD, which do not depend on the law."""
    results = results.squeeze("run", drop=True).rename(standardize="standardized")
    results = results.drop_vars("completed", errors="ignore")
    first = results.isel(dict.fromkeys(("standardized", *laws), 0), drop=True)
    return results, _of_quantities(first, floor="floor", floor_scale="floor_scale")


def _of_quantities(results: xr.Dataset, **names: str) -> dict[str, xr.DataArray]:
    """Variables of Q, R and v by new names: ``M="M_mixture"`` gives ``M_mixture_Q``, ``M_mixture_R``, ..."""
    return {f"{new}_{name}": results[f"{old}_{name}"] for name in QUANTITIES for old, new in names.items()}


def kept_instances(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """The paper's selection: of the instances whose Gaussian SGD and ODE agree, the first ten.

    Parameters
    ----------
    dataset
        With ``floor_Q`` and ``scale_Q`` over (instance, activation, ...).

    Returns
    -------
    dict
        ``kept`` and ``reason``, both (instance, activation): why an instance was dropped, or that it was kept.
    """
    gaussian = dataset["scale_Q"].isel(standardized=0, components=0, drop=True).sel(spread=0.0, drop=True)
    share = (dataset["floor_Q"].mean(ENTRIES) / gaussian.mean(ENTRIES)).transpose("instance", "activation")
    agrees = share <= AGREEMENT_OF_GAUSSIAN
    kept = agrees & (agrees.cumsum("instance") <= KEPT_INSTANCES)

    def reason(kept: bool, agrees: bool, share: float) -> str:
        dropped = f"not needed, {KEPT_INSTANCES} that agree came before" if agrees else DIFFERS
        return f"{'kept' if kept else dropped}: M(Q) of Gaussian SGD is {share:.3f} of mean |Q|"

    reasons = xr.apply_ufunc(reason, kept, agrees, share, vectorize=True)
    return {"kept": kept, "reason": reasons, "gaussian_share": share}
