"""Does SGD gain from the schedule that theory finds best? Against constant rates, on the same samples."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from xarray import Dataset

from ..comparison import mean_and_error
from ..simulation import simulate_together
from ..theory import Optimum, solve
from ..training import Schedule

FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Constant rates to train with, in units of the best one in theory."""


def schedule_against_constant(
    optimum: Optimum,
    times: ArrayLike,
    *,
    runs: int = 10,
    seed: int = 0,
    theory: str = "conventional",
    test_samples: int = 4000,
) -> Dataset:
    """SGD with the best schedule and with constant rates around the best one, on common random numbers.

    The constant rates are :data:`FACTORS` of the best one in theory. SGD's own best rate is the one of these with the
    least mean error.

    Parameters
    ----------
    optimum
        Of :func:`sgdlimit.theory.optimal_schedule`.
    times
        Output times t = step/N, up to the time for which the schedule was made.
    runs, seed, test_samples
        As for :func:`sgdlimit.simulate`.
    theory
        The theory that found the schedule.

    Returns
    -------
    xarray.Dataset
        ``learning_rate`` (rate, time), ``theory`` (rate, time) and ``sgd`` (rate, run, time), generalisation errors;
        ``rate`` is ``"schedule"``, then the constants by their η.
        The attribute ``gain`` is how much lower the final error of SGD is with the schedule than with SGD's own best
        constant rate, ``best_constant``, mean over runs, with ``gain_stderr``. ``gain_over_theory`` and its error
        compare with the constant rate that theory finds best, ``theory_constant``.
    """
    instance, base = optimum.constant, optimum.constant_rate / optimum.constant.learning_rate
    instances = [optimum.scheduled]
    for factor in FACTORS:
        schedule = Schedule(times=(0.0,), factors=(base * factor,))
        instances.append(instance.replace(training=instance.training.replace(schedule=schedule)))
    simulated = simulate_together(instances, times, runs=runs, seed=seed, test_samples=test_samples)
    solved = [solve(instance, times, theory) for instance in instances]
    rates = np.stack([instance.learning_rate * instance.training.factor(times) for instance in instances])
    names = [f"{rate:.4g}" for rate in rates[1:, 0]]
    label = xr.IndexVariable("rate", ["schedule", *names])
    error, sgd = (xr.concat([run["generalization_error"] for run in found], dim=label) for found in (solved, simulated))
    data = Dataset({"learning_rate": (("rate", "time"), rates), "theory": error, "sgd": sgd})
    final = sgd.isel(time=-1)
    best = {"gain": names[final[1:].mean("run").values.argmin()], "gain_over_theory": names[FACTORS.index(1.0)]}
    attrs: dict[str, str | float] = {"theory_constant": best["gain_over_theory"], "best_constant": best["gain"]}
    for name, constant in best.items():
        mean, stderr = mean_and_error(final.sel(rate=constant) - final.sel(rate="schedule"), "run")
        attrs |= {name: float(mean), f"{name}_stderr": float(stderr.fillna(np.inf))}
    return data.assign_attrs(attrs)
