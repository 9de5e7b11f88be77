"""A plateau, and the breaking of its symmetry.

Two units of a committee first learn to do the same (both rows of R coincide) and stay there: the plateau. Small
differences between them grow until each takes one unit of the teacher. Small initial weights make the plateau long.
"""

import sys

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl


def main(input_dim: int = 1000) -> Figure:
    """Generalisation error and R of a committee of two."""
    problem = sl.Problem(
        input_dim=input_dim, latent_dim=input_dim, student_units=2, teacher_units=2, activation="erf",
        learning_rate=1.0,
        nonlinearity="identity", features="identity", output_weights="equal", student_scale=0.1,
        training=sl.Training(output_learning_rate=0.0),
    )  # fmt: skip
    instance, times = problem.draw(seed=0), sl.log_times(300 * input_dim, input_dim, 120)
    theory, runs = sl.solve(instance, times), sl.simulate(instance, times, runs=2, seed=1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4))
    left.loglog(times, runs["generalization_error"].T, color="0.75")
    left.loglog(times, theory["generalization_error"])
    exit_time, level = sl.theory.plateau_exit(times, theory["generalization_error"])
    left.plot(exit_time, level, "o", color="C3")
    left.set(xlabel="time t = steps/N", ylabel="generalisation error", ylim=(1e-6, 1))
    for run in runs["R"].values:
        right.semilogx(times, run.reshape(len(times), -1), color="0.75")
    right.semilogx(times, theory["R"].values.reshape(len(times), -1))
    right.set(xlabel="time t = steps/N", ylabel="overlap with the teacher R")
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("plateau.png", dpi=160)
