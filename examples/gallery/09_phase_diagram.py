"""A phase diagram.

When a committee of two leaves its plateau, over the learning rate and the scale of its initial weights: 144 solutions
at once. Cells without colour do not leave one by t = 300.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl


def main(input_dim: int = 1000) -> Figure:
    """Time to leave the plateau."""
    problem = sl.Problem(
        input_dim=input_dim, latent_dim=input_dim, student_units=2, teacher_units=2, activation="erf",
        learning_rate=0.2,
        nonlinearity="identity", features="identity", output_weights="equal",
        training=sl.Training(output_learning_rate=0.0),
    )  # fmt: skip
    cells = min(12, input_dim // 25)
    settings = {"learning_rate": np.geomspace(0.2, 3, cells), "student_scale": np.geomspace(0.01, 1, cells)}
    diagram = sl.theory.phase_diagram(problem, settings, sl.log_times(300 * input_dim, input_dim, 120))
    figure, panel = plt.subplots()
    left = diagram["plateau_exit"].where(diagram["left_plateau"])
    mesh = panel.pcolormesh(diagram["learning_rate"], diagram["student_scale"], left.T, norm="log")
    panel.set(xscale="log", yscale="log", xlabel="learning rate η", ylabel="scale of the initial weights")
    panel.set_xticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    panel.minorticks_off()
    figure.colorbar(mesh, label="time to leave the plateau")
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("phase_diagram.png", dpi=160)
