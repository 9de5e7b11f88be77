"""Does SGD gain from the schedule that theory finds best? Against constant rates, on the same samples."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ..simulation import simulate_together
from ..theory import Optimum, solve
from ..training import Schedule

__all__ = ["schedule_against_constant"]


def schedule_against_constant(
    optimum: Optimum,
    times: ArrayLike,
    *,
    runs: int = 10,
    seed: int = 0,
    theory: str = "conventional",
    constant_factors: Sequence[float] = (0.5, 0.7, 1.0, 1.4, 2.0),
    test_samples: int = 4000,
) -> xr.Dataset:
    """SGD with the best schedule and with constant rates around the best one, on common random numbers.

    Parameters
    ----------
    optimum
        Of :func:`sgdlimit.theory.optimal_schedule`.
    times
        Output times t = step/N, the last one that for which the schedule was made.
    runs, seed, test_samples
        As for :func:`sgdlimit.simulate`.
    theory
        The theory the schedule was made with.
    constant_factors
        Constant rates to train with, in units of the best one; SGD's own best is the one with the least mean error
        among them.

    Returns
    -------
    xarray.Dataset
        ``learning_rate`` (rate, time), ``theory`` (rate, time) and ``sgd`` (rate, run, time), generalisation errors;
        ``rate`` is ``"schedule"``, then the constants by their η.
        Attributes ``gain`` and ``gain_stderr``: by how much the final error of SGD is lower with the schedule than with
        SGD's own best constant rate, ``best_constant``, over the mean of the runs; and ``gain_over_theory`` and its
        error, against the constant rate that theory finds best, ``theory_constant``.
    """
    base = optimum.constant_rate / optimum.constant.learning_rate
    constants = [
        optimum.constant.replace(
            training=optimum.constant.training.model_copy(
                update={"schedule": Schedule(times=(0.0,), factors=(base * factor,))}
            )
        )
        for factor in sorted({*constant_factors, 1.0})
    ]
    instances = [optimum.scheduled, *constants]
    simulated = simulate_together(instances, times, runs=runs, seed=seed, test_samples=test_samples)
    solved = [solve(instance, times, theory) for instance in instances]
    rates = [instance.learning_rate * instance.training.factor(times) for instance in instances]
    names = ["schedule", *(f"{rate[0]:.4g}" for rate in rates[1:])]
    label = xr.IndexVariable("rate", names)
    sgd = xr.concat([run["generalization_error"] for run in simulated], dim=label)
    final = sgd.isel(time=-1)
    own = int(final[1:].mean("run").values.argmin()) + 1
    predicted = names[1 + sorted({*constant_factors, 1.0}).index(1.0)]
    attrs: dict[str, str | float] = {"theory_constant": predicted, "best_constant": names[own]}
    for name, constant in (("gain", names[own]), ("gain_over_theory", predicted)):
        difference = (final.sel(rate=constant) - final.sel(rate="schedule")).values
        attrs[name] = float(difference.mean())
        attrs[f"{name}_stderr"] = float(difference.std(ddof=1) / np.sqrt(runs)) if runs > 1 else np.inf
    return xr.Dataset(
        {
            "learning_rate": (("rate", "time"), np.stack(rates)),
            "theory": xr.concat([one["generalization_error"] for one in solved], dim=label),
            "sgd": sgd,
        },
        attrs=attrs,
    )
