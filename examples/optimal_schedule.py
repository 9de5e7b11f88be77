"""The learning-rate schedule that theory finds best, and what SGD gains from it.

    python examples/optimal_schedule.py

Labels are noisy, so that a constant rate is a compromise between getting there and staying there. Gradients through the
equations of motion give the schedule; SGD trains with it and with constant rates, on the same samples.
"""

import sys
from pathlib import Path

import sgdlimit as sl
from sgdlimit.papers.optimal_schedule import schedule_against_constant
from sgdlimit.plotting import optimal_schedule, save_figure


def main(
    input_dim: int = 1000,
    duration: int = 100,
    units: int = 2,
    runs: int = 8,
    activation: str = "erf",
    folder: str = "results",
) -> float:
    """By how many standard errors SGD's final error is below that with SGD's own best constant rate."""
    problem = sl.Problem(
        input_dim=input_dim,
        latent_dim=input_dim,
        student_units=units,
        teacher_units=units,
        activation=activation,
        nonlinearity="identity",
        features="identity",
        learning_rate=0.2,
        training=sl.Training(label_noise=0.5),
    )
    optimum = sl.theory.optimal_schedule(problem.draw(seed=0), duration)
    print(f"theory: {optimum}")
    times = sl.log_times(duration * input_dim, input_dim, 60)
    study = schedule_against_constant(optimum, times, runs=runs, seed=1)
    gain, error = study.attrs["gain"], study.attrs["gain_stderr"]
    print(f"SGD: {gain:.2g} ± {error:.1g} less than with its own best constant rate, {study.attrs['best_constant']}")
    print(save_figure(optimal_schedule(study), Path(folder), "optimal_schedule")[0])
    return gain / error


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
