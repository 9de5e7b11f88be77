# pyright: strict
"""What a user of a type checker sees: `make types` checks in strict mode that every public name has a known type."""

from typing import TYPE_CHECKING

import sgdlimit as sl

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr


def use(problem: sl.Problem) -> "tuple[xr.Dataset, xr.Dataset, xr.Dataset]":
    """Draw, solve, simulate and compare, with the type of each step written down."""
    instance: sl.Instance = problem.draw(seed=0)
    features: np.ndarray = instance.features
    times: np.ndarray = sl.log_times(steps=1000, input_dim=len(features), count=20)
    theory: xr.Dataset = sl.solve(instance, times, theory="conventional")
    runs: xr.Dataset = sl.simulate(instance, times, runs=2, seed=1)
    both: list[xr.Dataset] = sl.simulate_together([instance], times)
    return theory, both[0], sl.compare(theory, runs)


def make(law: sl.LatentLaw, samples: int) -> "tuple[np.ndarray, np.ndarray, sl.Instance]":
    """Laws, settings and samples."""
    mixture = sl.GaussianMixture(components=2, spread=3.0, standardize=True)
    problem = sl.Problem(
        input_dim=100, latent_dim=50, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2,
        latent=mixture, training=sl.Training(label_noise=0.1),
    )  # fmt: skip
    instance = problem.draw(seed=0).replace(latent=law)
    X, y = sl.datasets.make_hidden_manifold(samples)
    whole = sl.datasets.make_hidden_manifold(samples, return_X_y=False)
    for batch in sl.datasets.batches(instance, 100, samples=samples):
        y = batch.labels
    return X, y, whole.instance


def read(path: str) -> "xr.Dataset":
    """Stores of trajectories and sweeps, and diagnosis."""
    diagnosis: sl.Diagnosis = sl.diagnose(sl.load(path)["X"].to_numpy())
    sl.save(diagnosis.data, path + "-diagnosis")
    return sl.open_sweep(path)
