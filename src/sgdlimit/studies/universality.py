"""Beyond the paper: mixtures of blocks of correlated coordinates, where universality ends."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import xarray as xr

from sgdlimit.errors import ProblemError
from sgdlimit.inputs.equivalence import GAUSSIAN_THEORIES, THEORIES, input_moments
from sgdlimit.inputs.latent import MixtureLaw
from sgdlimit.inputs.mixture import mixture_moments
from sgdlimit.instance import Instance
from sgdlimit.problem import GaussianMixture
from sgdlimit.resources import cores, one_thread
from sgdlimit.studies.paper import Preset, Progress, arranged, discrepancies, mixture_means, over_chains, train
from sgdlimit.theory import solve_many, spectrum

__all__ = ["applicable_theories", "blocks"]

CHAINS, FEW_CHAINS, LARGEST_STEP = 8, 4, 0.4
"""Of the mixture theory: few where its weights have to be followed, which costs ten times as much. Between 4 and 8 of
those and steps of 0.1 and 0.4 the mean Q differs by 0.0002, a tenth of M of the quietest SGD run."""

ALL_CHAINS = 0.98
"""Share of the progress when SGD is done."""


def blocks(preset: Preset, progress: Progress) -> xr.Dataset:
    """M against block size and α for all three theories, m = 2, standardised and not.

    Block size 1 draws every coordinate's component by itself; D is a clustered data set. Each coordinate has means of
    its own. SGD is measured with the overlaps of the theory it is compared with.

    Returns
    -------
    xarray.Dataset
        ``M_*`` over (instance, activation, standardized, theory, spread, block_size) and entries, NaN where the theory
        does not apply, which ``applicable`` (standardized, theory, block_size) says, or where SGD or theory diverged:
        ``diverged`` (instance, activation, standardized, spread, block_size) of SGD, ``theory_diverged`` the same and
        theory; ``scale_*`` like M, mean |x| as this theory measures it; ``noise_mixture_*`` over (instance, activation,
        standardized, spread, block_size) and entries, what the scatter between members of the mixture theory's ensemble
        alone makes of M. ``floor_*`` and ``floor_scale_*`` of Gaussian SGD over (instance, activation), ``kl`` of the
        standardised law. With α = 0 all is Gaussian, and M the floor.
    """
    seeds = range(preset.block_instances)
    parts = [
        _blocks_of_instance(preset, seed, lambda f, s=seed: progress("blocks", (s + f) / len(seeds))) for seed in seeds
    ]
    joined = xr.concat([part.drop_vars("applicable") for part in parts], dim=xr.IndexVariable("instance", list(seeds)))
    return joined.assign(applicable=parts[0]["applicable"]).assign_attrs(preset=preset.name, components=2)


def applicable_theories(law: MixtureLaw, latent_dim: int) -> list[str]:
    """Theories that can be asked about a law: moment-matched if it is centred, mixture if its clusters are few."""
    names = ["conventional"]
    if law.standardize:
        names.append("moment-matched")
    try:
        clusters = law.clusters(latent_dim)
    except ProblemError:
        clusters = None
    return names if clusters is None else [*names, "mixture"]


def _blocks_of_instance(preset: Preset, seed: int, progress: Callable[[float], None]) -> xr.Dataset:
    conditions = list(preset.gaussian_instances(seed).values())  # the noise floor
    theories_of: list[list[str]] = [list(THEORIES) for _ in conditions]
    chain_of: dict[tuple, int] = {}
    kl = {}
    for standardized, spread, block_size in product((False, True), preset.block_spreads, preset.block_sizes):
        latent = GaussianMixture(
            components=2, spread=spread, block_size=block_size, standardize=standardized, shared_means=False
        )
        law = preset.law(seed, latent)
        assert isinstance(law, MixtureLaw)
        if standardized:
            kl[spread, block_size] = float(law.kl_to_standard_normal(samples=2000))
        for index, activation in enumerate(preset.activations):
            chain_of[activation, standardized, spread, block_size] = len(conditions) if spread > 0 else index
            if spread > 0:
                conditions.append(conditions[index].replace(latent=law))
                theories_of.append(applicable_theories(law, preset.problem.latent_dim))
    runs = train(
        conditions, preset, seed, lambda f: progress(ALL_CHAINS * f), test_samples=0, keep_weights=True
    )  # the weights, for laws of different theories are measured with different covariances

    floors = range(len(preset.activations))
    M, noise, lost = {}, xr.Dataset(), np.zeros(len(conditions), dtype=bool)
    for theory in THEORIES:
        some = [chain for chain, names in enumerate(theories_of) if theory in names]
        chosen = [conditions[chain] for chain in some]
        measured = over_chains(_measured([runs[chain] for chain in some], chosen, theory), preset.times)
        if theory in GAUSSIAN_THEORIES:
            solved = _theories(chosen, theory, preset)
        else:
            counts = [CHAINS if len(mixture_moments(one).kinds) == 1 else FEW_CHAINS for one in chosen]
            solved, scatter = mixture_means(chosen, preset.times, chains=counts, largest_step=LARGEST_STEP)
            noise = scatter.assign_coords(chain=some).reindex(chain=range(len(conditions))).drop_vars("chain")
        M[theory] = discrepancies(solved, measured).assign_coords(chain=some).reindex(chain=range(len(conditions)))
        lost[some] |= solved["diverged"].values
    stacked = xr.concat(
        [M[theory].drop_vars("diverged") for theory in THEORIES], dim=xr.IndexVariable("theory", list(THEORIES))
    )
    diverged = ["diverged_at" in run.attrs for run in runs]
    stacked = stacked.drop_vars("chain").merge(noise.rename({name: f"noise_mixture_{name}" for name in noise}))
    stacked = stacked.assign(diverged=("chain", diverged), theory_diverged=("chain", lost))
    shape = {
        "activation": list(preset.activations),
        "standardized": [False, True],
        "spread": list(preset.block_spreads),
        "block_size": list(preset.block_sizes),
    }
    index = arranged(chain_of, shape)
    conventional_M = stacked.sel(theory="conventional", drop=True)
    floor = xr.Dataset({f"floor_{name}": conventional_M[f"M_{name}"] for name in ("Q", "R", "v")})
    floor = floor.assign({f"floor_scale_{name}": conventional_M[f"scale_{name}"] for name in ("Q", "R", "v")})
    floor = floor.isel(chain=xr.DataArray(list(floors), dims="activation"))
    return (
        stacked.isel(chain=index)
        .merge(floor)
        .assign(
            kl=(("spread", "block_size"), [[kl[a, b] for b in preset.block_sizes] for a in preset.block_spreads]),
            applicable=_applicable(theories_of, chain_of, preset),
        )
    )


def _applicable(
    theories_of: Sequence[Sequence[str]], chain_of: Mapping[tuple, int], preset: Preset
) -> tuple[tuple[str, ...], list]:
    """Whether each theory can be asked, by standardisation and block size, at the largest α."""
    first, largest = preset.activations[0], max(preset.block_spreads)
    return ("standardized", "theory", "block_size"), [
        [
            [theory in theories_of[chain_of[first, standardized, largest, size]] for size in preset.block_sizes]
            for theory in THEORIES
        ]
        for standardized in (False, True)
    ]


def _measured(runs: Sequence[xr.Dataset], instances: Sequence[Instance], theory: str) -> list[xr.Dataset]:
    """Runs with Q and R as one theory has them; conventional ones are."""
    if theory == "conventional":
        return [run.drop_vars("W") for run in runs]
    laws = {id(instance.latent): instance for instance in instances}  # activations share them

    def with_own(run: xr.Dataset, instance: Instance) -> xr.Dataset:
        Q, R = moments[id(instance.latent)].overlaps(run["W"].values)
        return run.drop_vars("W").assign(Q=(run["Q"].dims, Q), R=(run["R"].dims, R))

    with one_thread(), ThreadPoolExecutor(cores()) as pool:
        found = pool.map(lambda instance: input_moments(instance, theory), laws.values())
        moments = dict(zip(laws, found, strict=True))
        return list(pool.map(with_own, runs, instances))


def _theories(conditions: Sequence[Instance], theory: str, preset: Preset) -> xr.Dataset:
    """Trajectories of a Gaussian theory over ``chain``; conditions that differ in activation share a spectrum."""
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
