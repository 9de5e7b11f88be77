"""Theory beside SGD.

All order parameters of a student with two units: theory in colour, three runs of SGD in grey.
"""

import sys

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl


def main(input_dim: int = 1000) -> Figure:
    """Q, R, v and ε_g against time."""
    problem = sl.Problem(
        input_dim=input_dim,
        latent_dim=input_dim // 2,
        student_units=2,
        teacher_units=2,
        activation="erf",
        learning_rate=0.2,
    )
    instance, times = problem.draw(seed=0), sl.log_times(100 * input_dim, input_dim, 200)
    theory, runs = sl.solve(instance, times), sl.simulate(instance, times, runs=3, seed=1)
    figure, panels = plt.subplots(2, 2, sharex=True, figsize=(8, 5))
    for panel, name in zip(panels.flat, ("Q", "R", "v", "generalization_error"), strict=True):
        for run in runs[name].values:
            panel.semilogx(times, run.reshape(len(times), -1), color="0.75", linewidth=1)
        panel.semilogx(times, theory[name].values.reshape(len(times), -1))
        panel.set_ylabel(name.replace("generalization_error", "generalisation error"))
    for panel in panels[1]:
        panel.set_xlabel("time t = steps/N")
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("theory_beside_sgd.png", dpi=160)
