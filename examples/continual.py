"""Two tasks, one after the other: how much of the first is forgotten, and how much it helped, as the tasks grow alike.

    python examples/continual.py

The second teacher's weights have a chosen cosine with the first's. Theory and SGD, at N = 1000, for each of five
similarities. The student has a unit for each task. With output weights that all tasks share, forgetting falls with
the similarity. With a head of its own for each task, it is largest in between (Lee, Goldt & Saxe 2021).
"""

import sys

import numpy as np

import sgdlimit as sl

SIMILARITIES = (0.0, 0.25, 0.5, 0.75, 1.0)


def main(input_dim: int = 1000, duration: int = 60, runs: int = 3) -> np.ndarray:
    """Forgetting and transfer by theory and by SGD, shape (heads, similarity, 4)."""
    times = sl.log_times(duration * input_dim, input_dim, 200)
    rows = []
    print("heads     similarity   forgetting: theory, SGD   transfer: theory, SGD")
    for heads in ("shared", "per-task"):
        for similarity in SIMILARITIES:
            problem = sl.Problem(
                input_dim=input_dim, latent_dim=input_dim, features="identity", nonlinearity="identity",
                student_units=2, teacher_units=1, activation="erf", learning_rate=1.0, heads=heads,
                T=1.0, Q=0.1, R=[[0.2], [0.0]], output_weights="equal", student_output_scale=0.1,
                switch_times=(duration / 2,), task_similarity=similarity,
            )  # fmt: skip
            instance = problem.draw(seed=0)
            theory = sl.forgetting_and_transfer(sl.solve(instance, times))
            sgd = sl.forgetting_and_transfer(sl.simulate(instance, times, runs=runs, seed=1)).mean("run")
            row = [float(x[name][task]) for name, task in (("forgetting", 0), ("transfer", 1)) for x in (theory, sgd)]
            rows.append(row)
            print(f"{heads:9}{similarity:11.2f} {row[0]:20.4f} {row[1]:6.4f} {row[2]:18.4f} {row[3]:6.4f}")
    return np.array(rows).reshape(2, len(SIMILARITIES), 4)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
