"""A phase diagram: where theory ends, and when it leaves the plateau, over learning rate and initial scale.

    python examples/phase_diagram.py

A committee of two units learns a committee of two. On the plateau its units do alike; how long they stay there depends
on the learning rate and on where they start.
"""

import sys
from pathlib import Path

import numpy as np

import sgdlimit as sl
from sgdlimit.plotting import phase_diagram, save_figure


def main(cells: int = 24, input_dim: int = 1000, duration: int = 1000, folder: str = "results") -> int:
    """How many of the cells leave a plateau."""
    problem = sl.Problem(
        input_dim=input_dim,
        latent_dim=input_dim,
        student_units=2,
        teacher_units=2,
        activation="erf",
        nonlinearity="identity",
        features="identity",
        output_weights="equal",
        learning_rate=0.2,
        training=sl.Training(output_learning_rate=0.0),
    )
    settings = {"learning_rate": np.geomspace(0.2, 10, cells), "student_scale": np.geomspace(0.01, 1, cells)}
    diagram = sl.theory.phase_diagram(problem, settings, sl.log_times(duration * input_dim, input_dim, 120))
    left = int(diagram.left_plateau.sum())
    print(f"{left} of {cells**2} cells leave a plateau by t = {duration}; {int(diagram.diverged.sum())} diverge")
    print(save_figure(phase_diagram(diagram), Path(folder), "phase_diagram")[0])
    return left


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
