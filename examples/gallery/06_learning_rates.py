"""A fan of learning rates.

One spectrum, reduced to 70 nodes, and sixteen learning rates solved at once: what a theory that costs milliseconds is
good for.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import sgdlimit as sl


def main(input_dim: int = 1000) -> Figure:
    """Generalisation error for sixteen rates."""
    problem = sl.Problem(
        input_dim=input_dim,
        latent_dim=input_dim // 2,
        student_units=2,
        teacher_units=2,
        activation="erf",
        learning_rate=0.2,
    )
    instance, rates = problem.draw(seed=0), np.geomspace(0.05, 5, 16)
    fan = sl.theory.solve_many(
        sl.theory.spectrum(instance, nodes=70), instance.student_output, instance.teacher_output,
        activation="erf", learning_rate=rates, times=sl.log_times(100 * input_dim, input_dim, 120),
    )  # fmt: skip
    figure, panel = plt.subplots()
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(rates)))
    for error, colour in zip(fan["generalization_error"], colours, strict=True):
        panel.loglog(fan["time"], error, color=colour)
    shades = plt.cm.ScalarMappable(LogNorm(rates[0], rates[-1] * 1.3), "viridis")
    figure.colorbar(shades, ax=panel, label="learning rate η")
    panel.set(xlabel="time t = steps/N", ylabel="generalisation error")
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("learning_rates.png", dpi=160)
