"""Beyond the paper: how fast SGD approaches the theory as the input dimension N grows at fixed δ = D/N."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import linregress

from sgdlimit.comparison import over_entries
from sgdlimit.errors import ProblemError
from sgdlimit.instance import Instance
from sgdlimit.problem import Problem
from sgdlimit.simulation import simulate
from sgdlimit.theory import marchenko_pastur, solve, solve_spectrum

__all__ = ["exponents", "finite_size", "infinite_theory"]

NAMES = ("Q", "R", "v")
THEORIES = ("instance", "infinite size")


def finite_size(
    sizes: Sequence[int],
    *,
    instances: int,
    runs: int = 2,
    time: float = 5.0,
    activation: str = "erf",
    learning_rate: float = 0.2,
    progress: Callable[[float], None] = lambda done: None,
) -> xr.Dataset:
    """Distance of SGD from the theory of its own instance and from that of infinite size, K = M = 2 and δ = 1/2.

    Parameters
    ----------
    sizes
        Input dimensions N, each a multiple of the smallest, which is even.
    instances, runs
        Number of drawn networks of each size, with seeds 0, 1, ..., and of SGD runs of each.
    time
        Last time t = steps/N.
    activation, learning_rate
        g and η.
    progress
        Called with the fraction done.

    Returns
    -------
    xarray.Dataset
        ``M`` over (size, instance, theory, quantity), the mean of |SGD − theory| over times, entries and runs (18);
        and ``deviation`` over (size, theory, quantity, time), its root mean square over instances, runs and entries.

    Raises
    ------
    ProblemError
        If a size is no multiple of the smallest (their times would differ) or there are fewer than two sizes.
    """
    smallest = min(sizes, default=0)
    if len(set(sizes)) < 2 or smallest % 2 or any(size % smallest for size in sizes):
        raise ProblemError(
            f"sizes: {tuple(sizes)!r} will not do; give even multiples of the smallest, such as 250, 500"
        )
    times = np.unique(np.rint(np.geomspace(1, time * smallest, 40))) / smallest
    costs = np.repeat(np.square(np.asarray(sizes, dtype=float)) * np.asarray(sizes), instances)
    M, deviation = [], []
    for place, size in enumerate(sizes):
        problem = Problem(
            input_dim=size,
            latent_dim=size // 2,
            student_units=2,
            teacher_units=2,
            activation=activation,
            learning_rate=learning_rate,
        )
        pairs = []
        for seed in range(instances):
            pairs.append(_differences(problem.draw(seed), times, runs, seed))
            progress(costs[: place * instances + seed + 1].sum() / costs.sum())
        of_size = xr.concat(pairs, dim=xr.IndexVariable("instance", range(instances)))
        M.append(over_entries(abs(of_size).mean(["time", "run"])))
        deviation.append(over_entries(of_size**2).mean(["instance", "run"]) ** 0.5)
    index = xr.IndexVariable("size", list(sizes))
    return xr.Dataset(
        {"M": xr.concat(M, dim=index), "deviation": xr.concat(deviation, dim=index)},
        attrs={"activation": activation, "learning_rate": learning_rate, "latent_ratio": 0.5, "runs": runs},
    )


def infinite_theory(instance: Instance, times: np.ndarray) -> xr.Dataset:
    """Theory of infinite size at the instance's own W Wᵀ/N, T, v and ṽ: no other trace of its size is left."""
    W, teacher = instance.student, instance.teacher
    limit = marchenko_pastur(
        instance.latent_dim / instance.input_dim,
        W @ W.T / instance.input_dim,
        teacher @ teacher.T / instance.latent_dim,
        nonlinearity=instance.nonlinearity,
    )
    return solve_spectrum(
        limit,
        instance.student_output,
        instance.teacher_output,
        activation=instance.activation,
        teacher_activation=instance.teacher_activation,
        learning_rate=instance.learning_rate,
        times=times,
        training=instance.training,
        switch_times=instance.switch_times,
    )


def exponents(study: xr.Dataset) -> xr.Dataset:
    """Exponent x of M ∝ N^x by least squares of log M on log N over all instances, and its standard error.

    Returns
    -------
    xarray.Dataset
        ``exponent`` and ``stderr`` over (theory, quantity). The theory of infinite size expects −1/2.
    """
    logs = xr.DataArray(np.log(study["M"])).stack(point=("size", "instance"))
    sizes = np.log(logs["size"].values.astype(float))
    fits: Any = [[linregress(sizes, logs.sel(theory=t, quantity=q).values) for q in NAMES] for t in THEORIES]
    dims = ("theory", "quantity")
    return xr.Dataset(
        {
            "exponent": (dims, [[fit.slope for fit in row] for row in fits]),
            "stderr": (dims, [[fit.stderr for fit in row] for row in fits]),
        },
        coords={"theory": list(THEORIES), "quantity": list(NAMES)},
    )


def _differences(instance: Instance, times: np.ndarray, runs: int, seed: int) -> xr.Dataset:
    sgd = simulate(instance, times, runs=runs, seed=seed, test_samples=0)
    # 70 nodes leave errors far below 1/√N and cost the same at every size.
    theories = (solve(instance, times, nodes=70), infinite_theory(instance, times))
    parts = [sgd[list(NAMES)] - theory[list(NAMES)] for theory in theories]
    return xr.concat(parts, dim=xr.IndexVariable("theory", list(THEORIES)))
