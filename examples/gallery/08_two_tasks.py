"""Two tasks, one after the other.

At t = 50 the teacher changes to another one whose weights have the cosine 0.5 with the first's. What was learnt of
the first (blue) is partly forgotten, and part of it helps with the second (orange). SGD in grey.
"""

import sys

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl


def main(input_dim: int = 1000) -> Figure:
    """The error on both tasks against time."""
    problem = sl.Problem(
        input_dim=input_dim, latent_dim=input_dim // 2, student_units=2, teacher_units=1, activation="erf",
        learning_rate=0.5, output_weights="equal", switch_times=(50.0,), task_similarity=0.5,
    )  # fmt: skip
    instance, times = problem.draw(seed=0), sl.log_times(100 * input_dim, input_dim, 200)
    theory, runs = sl.solve(instance, times), sl.simulate(instance, times, runs=2, seed=1)
    lost = sl.forgetting_and_transfer(theory)["forgetting"][0].item()
    figure, panel = plt.subplots()
    for task in range(2):
        panel.plot(times, runs["task_error"].sel(task=task).T, color="0.75")
        panel.plot(times, theory["task_error"].sel(task=task), label=f"error on task {task + 1}")
    panel.axvline(50, color="0.5", linewidth=0.8)
    panel.set(xlabel="time t = steps/N", ylabel="generalisation error", title=f"forgotten of the first: {lost:.3f}")
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("two_tasks.png", dpi=160)
