"""A clustered data set, and its ensemble.

Two clusters with unequal weights and a mean. Single runs of SGD (grey) scatter as the chains of mixture theory do
(the band is one deviation); the conventional theory (dashed) is somewhere else.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl


def main(input_dim: int = 1000) -> Figure:
    """Generalisation error of SGD, of mixture theory and of the conventional one."""
    D = input_dim // 2
    problem = sl.Problem(
        input_dim=input_dim, latent_dim=D, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    means = np.random.default_rng(1).uniform(-2, 2, (2, D))
    instance = problem.draw(seed=0).replace(latent=sl.MixtureLaw(means, weights=[0.7, 0.3], block_size=D))
    times = sl.log_times(20 * input_dim, input_dim, 80)
    over = sl.theory.over_ensemble(sl.solve(instance, times, theory="mixture", chains=16))
    middle, spread = over["generalization_error"], over["generalization_error_spread"]
    figure, panel = plt.subplots()
    panel.semilogx(times, sl.simulate(instance, times, runs=6, seed=1)["generalization_error"].T, color="0.75", lw=0.8)
    panel.fill_between(times, middle - spread, middle + spread, color="C0", alpha=0.25, linewidth=0)
    panel.semilogx(times, middle, label="mixture theory")
    panel.semilogx(times, sl.solve(instance, times)["generalization_error"], "--", color="C1", label="conventional")
    panel.set(xlabel="time t = steps/N", ylabel="generalisation error")
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("clusters.png", dpi=160)
