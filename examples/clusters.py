"""A clustered data set with a mean: no Gaussian theory follows SGD on it, and that of its clusters does.

    python examples/clusters.py

Two clusters with unequal weights, not standardised. The folder gets a figure for a talk, clusters.png: the
generalisation error of SGD, run by run, the theory's mean with its spread, and the conventional theory.
"""

import sys

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

import sgdlimit as sl


def main(input_dim: int = 1000, time: float = 20.0, runs: int = 8, chains: int = 16) -> dict[str, float]:
    """Mean |theory − mean of SGD| of ε_g for both theories, and what the standard errors of the means make of it."""
    D = input_dim // 2
    means = np.random.default_rng(1).uniform(-2, 2, (2, D))
    problem = sl.Problem(
        input_dim=input_dim, latent_dim=D, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    instance = problem.draw(seed=0).replace(latent=sl.MixtureLaw(means, weights=[0.7, 0.3], block_size=D))
    times = sl.log_times(round(time * input_dim), input_dim, 100)

    sgd = sl.simulate(instance, times, runs=runs, seed=1, overlaps="mixture")
    mixture = sl.solve(instance, times, theory="mixture", chains=chains)
    conventional = sl.solve(instance, times)
    compared = sl.compare(mixture, sgd).sel(quantity="generalization_error")
    error = np.abs(conventional["generalization_error"] - sgd["generalization_error"].mean("run"))

    over = sl.theory.over_ensemble(mixture)
    middle, spread = over["generalization_error"], over["generalization_error_spread"]
    figure, panel = plt.subplots(figsize=(6, 4), layout="constrained")
    panel.plot(times, sgd["generalization_error"].T, color="0.6", lw=0.7)
    panel.plot([], [], color="0.6", lw=0.7, label=f"SGD, {runs} runs")
    panel.fill_between(times, middle - spread, middle + spread, color="C0", alpha=0.3, lw=0)
    panel.plot(times, middle, color="C0", label="mixture theory, ± its spread")
    panel.plot(times, conventional["generalization_error"], color="C1", ls="--", label="conventional theory")
    panel.set(xscale="log", xlabel="time t = steps/N", ylabel="generalisation error")
    panel.legend()
    figure.savefig("clusters.png", dpi=150)
    plt.close(figure)

    found = {
        "mixture": float(compared["M_of_means"]),
        "noise of the means": float(compared["noise_of_means"]),
        "conventional": float(error.mean()),
    }
    for name, value in found.items():
        print(f"{name:20}{value:8.4f}")
    return found


if __name__ == "__main__":
    sys.exit(None if main() else 1)
