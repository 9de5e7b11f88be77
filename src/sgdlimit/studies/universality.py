"""Beyond the paper: the standardised experiment for blocks of correlated coordinates, where universality ends."""

from collections.abc import Callable
from itertools import product

import xarray as xr

from sgdlimit.inputs.equivalence import THEORIES
from sgdlimit.problem import GaussianMixture
from sgdlimit.studies.paper import Preset, Progress, arranged, discrepancies, over_chains, train
from sgdlimit.theory import solve

__all__ = ["blocks"]


def blocks(preset: Preset, progress: Progress) -> xr.Dataset:
    """M against block size and α for both Gaussian theories, m = 2, standardised.

    Block size 1 draws every coordinate's component by itself; D is a clustered data set. Each coordinate has means of
    its own. SGD is measured with the overlaps of the theory it is compared with.

    Returns
    -------
    xarray.Dataset
        ``M_*`` over (instance, activation, theory, spread, block_size) and entries, ``floor_*`` of Gaussian SGD
        over (instance, activation), and ``diverged``.
    """
    seeds = range(preset.block_instances)
    parts = [
        _blocks_of_instance(preset, seed, lambda f, s=seed: progress("blocks", (s + f) / len(seeds))) for seed in seeds
    ]
    return xr.concat(parts, dim=xr.IndexVariable("instance", list(seeds))).assign_attrs(
        preset=preset.name, components=2
    )


def _blocks_of_instance(preset: Preset, seed: int, progress: Callable[[float], None]) -> xr.Dataset:
    conditions = list(preset.gaussian_instances(seed).values())  # the noise floor
    chain_of: dict[tuple, int] = {}
    kl = {}
    for spread, block_size in product(preset.block_spreads, preset.block_sizes):
        latent = GaussianMixture(
            components=2, spread=spread, block_size=block_size, standardize=True, shared_means=False
        )
        law = preset.law(seed, latent)
        kl[spread, block_size] = float(law.kl_to_standard_normal(samples=2000))
        for index, activation in enumerate(preset.activations):
            chain_of[activation, spread, block_size] = len(conditions) if spread > 0 else index
            if spread > 0:
                conditions.append(conditions[index].replace(latent=law))
    runs = train(conditions, preset, seed, progress, test_samples=0, overlaps=THEORIES)

    conventional = [solve(instance, preset.times) for instance in conditions[: len(preset.activations)]]
    by_chain = over_chains(runs, preset.times)
    M = []
    for name, of_chain in {
        "conventional": [conventional[preset.activations.index(i.activation)] for i in conditions],
        "moment-matched": [solve(i, preset.times, theory="moment-matched") for i in conditions],
    }.items():
        M.append(discrepancies(over_chains(of_chain, preset.times), by_chain.sel(overlaps=name, drop=True)))
    stacked = xr.concat(M, dim=xr.IndexVariable("theory", list(THEORIES)), data_vars="all")
    stacked = xr.Dataset({name: stacked[name] for name in ("M_Q", "M_R", "M_v")}).assign(diverged=by_chain["diverged"])

    shape = {
        "activation": list(preset.activations),
        "spread": list(preset.block_spreads),
        "block_size": list(preset.block_sizes),
    }
    index = arranged(chain_of, shape)
    conventional_M = stacked.sel(theory="conventional", drop=True)
    floors = xr.Dataset({f"floor_{name}": conventional_M[f"M_{name}"] for name in ("Q", "R", "v")})
    floors = floors.isel(chain=xr.DataArray(range(len(preset.activations)), dims="activation"))
    return (
        stacked.isel(chain=index)
        .merge(floors)
        .assign(kl=(("spread", "block_size"), [[kl[a, b] for b in preset.block_sizes] for a in preset.block_spreads]))
    )
