"""Noisy labels, and a rate that falls.

With noisy labels a constant rate is a compromise: a large one gets there and stays above, a small one takes long. A
rate that is held and then falls does better than both, in theory (lines) as in SGD (grey).
"""

import sys

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl

SCHEDULES = {
    "η = 1": None,
    "η = 0.2": sl.Schedule(times=(0.0,), factors=(0.2,)),
    "η = 1, falling from t = 20 on": sl.Schedule(times=(20.0, 100.0), factors=(1.0, 0.02)),
}


def main(input_dim: int = 1000) -> Figure:
    """Generalisation error with three schedules."""
    times = sl.log_times(100 * input_dim, input_dim, 120)
    figure, panel = plt.subplots()
    for name, schedule in SCHEDULES.items():
        problem = sl.Problem(
            input_dim=input_dim, latent_dim=input_dim, student_units=2, teacher_units=2, activation="erf",
            learning_rate=1.0,
            nonlinearity="identity", features="identity", training=sl.Training(label_noise=0.5, schedule=schedule),
        )  # fmt: skip
        instance = problem.draw(seed=0)
        panel.loglog(times, sl.simulate(instance, times, runs=2, seed=1)["generalization_error"].T, color="0.75")
        panel.loglog(times, sl.solve(instance, times)["generalization_error"], label=name)
    panel.set(xlabel="time t = steps/N", ylabel="generalisation error")
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("label_noise_and_schedules.png", dpi=160)
