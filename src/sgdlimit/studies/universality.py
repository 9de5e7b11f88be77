"""Beyond the paper: the standardised experiment for blocks of correlated coordinates, where universality ends."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import xarray as xr

from sgdlimit.inputs.equivalence import GAUSSIAN_THEORIES
from sgdlimit.instance import Instance
from sgdlimit.problem import GaussianMixture
from sgdlimit.resources import cores, one_thread
from sgdlimit.studies.paper import Preset, Progress, arranged, discrepancies, over_chains, train
from sgdlimit.theory import solve_many, spectrum

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
    runs = train(conditions, preset, seed, progress, test_samples=0, overlaps=GAUSSIAN_THEORIES)

    by_chain = over_chains(runs, preset.times)
    M = [
        discrepancies(_theories(conditions, name, preset), by_chain.sel(overlaps=name, drop=True))
        for name in GAUSSIAN_THEORIES
    ]
    stacked = xr.concat(M, dim=xr.IndexVariable("theory", list(GAUSSIAN_THEORIES)), data_vars="all")
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


def _theories(conditions: Sequence[Instance], theory: str, preset: Preset) -> xr.Dataset:
    """Trajectories of theory over ``chain``; conditions that differ in activation only have a spectrum in common."""
    laws = {None if theory == "conventional" else id(c.latent): c for c in conditions}
    with one_thread(), ThreadPoolExecutor(cores()) as pool:
        spectra = dict(zip(laws, pool.map(lambda one: spectrum(one, theory), laws.values()), strict=True))
    solved = {}
    for activation in preset.activations:
        one = next(c for c in conditions if c.activation.name == activation)
        several = solve_many(
            list(spectra.values()),
            one.student_output,
            one.teacher_output,
            activation=activation,
            learning_rate=one.learning_rate,
            times=preset.times,
        )
        solved |= {(activation, law): several.isel(case=case, drop=True) for case, law in enumerate(spectra)}
    keys = [(c.activation.name, None if theory == "conventional" else id(c.latent)) for c in conditions]
    return over_chains([solved[key] for key in keys], preset.times)
