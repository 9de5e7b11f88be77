"""Every built-in rule and option of training at N = 1000: theory against SGD, and what both take. Prints a table.

The distance of theory from the mean over runs is held against three times the standard error of that mean, both means
over times and entries. Trajectories fluctuate slowly, so that a distance is the mean of few independent numbers.
"""

import time

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.trajectory import followed

RUNS, UNTIL = 8, 20.0
PLAIN = {
    "input_dim": 1000, "latent_dim": 1000, "student_units": 2, "teacher_units": 2, "activation": "erf",
    "learning_rate": 0.5, "features": "identity", "nonlinearity": "identity", "covariance": {"eigenvalues": [2.5, 0.5]},
}  # fmt: skip
SIGNS = {"labels": "sign", "bias": True}
ONE = {"student_units": 1, "teacher_units": 1, "student_output_scale": 1.0, "output_weights": "equal", "labels": "sign"}
CASES = {
    "squared (closed forms)": {},
    "squared, ReLU": {"activation": "relu", "learning_rate": 0.2},
    "squared, 3 outputs, biases": {"outputs": 3, "bias": True},
    "absolute": {"loss": "absolute"},
    "huber": {"loss": "huber"},
    "logistic": {"loss": "logistic", **SIGNS},
    "logistic, ReLU": {"loss": "logistic", "activation": "relu", **SIGNS},
    "hinge": {"loss": "hinge", **SIGNS},
    "hinge, ReLU": {"loss": "hinge", "activation": "relu", **SIGNS},
    "exponential": {"loss": "exponential", **SIGNS},
    "correlation": {"loss": "correlation", "learning_rate": 0.1},
    "cross-entropy of 3, ReLU": {
        "loss": "cross-entropy", "outputs": 3, "labels": "argmax", "activation": "relu", "bias": True,
        "student_units": 4,
    },
    "feedback alignment, 2 outputs": {"rule": "dfa", "outputs": 2},
    "perceptron": {"rule": "perceptron", "activation": "linear", **ONE},
    "hebb": {"rule": "hebb", "activation": "linear", **ONE},
    "adatron": {"rule": "adatron", "activation": "linear", **ONE},
    "a head for each task": {"heads": "per-task", "switch_times": [10.0], "teacher_units": 1},
    "dropout .2": {"training": {"dropout": 0.2}},
    "momentum .8": {"learning_rate": 0.1, "training": {"momentum": 0.8}},
    "momentum of memory 1/.8": {"training": {"memory": 0.8}},
    "on the sphere": {"training": {"sphere": True}},
    "AdaGrad-Norm": {"training": {"adagrad": 1.0}},
    "Polyak": {"training": {"polyak": [1.0, 1.0, 0.0]}},
    "clipped": {"training": {"clip": 0.5}},
    "batches of N": {"learning_rate": 0.3, "training": {"batch_fraction": 1.0}},
    "dropout .2, logistic": {"loss": "logistic", **SIGNS, "training": {"dropout": 0.2}},
    "on the sphere, logistic": {"loss": "logistic", **SIGNS, "training": {"sphere": True}},
    "manifold of sign, logistic": {
        "loss": "logistic", **SIGNS, "features": "gaussian", "nonlinearity": "sign", "latent_dim": 500,
        "covariance": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_theory_predicts_sgd(name):
    """Q, R and the head."""
    instance = sl.Problem(**PLAIN | CASES[name]).draw(seed=0)
    fraction = instance.training.batch_fraction
    times = np.linspace(1, UNTIL, 20) if fraction else sl.log_times(int(UNTIL * 1000), 1000, 40)
    sl.solve(instance, times)  # compiles
    begin = time.perf_counter()
    theory = sl.solve(instance, times)
    solved = time.perf_counter()
    runs = sl.simulate(instance, times, runs=RUNS, seed=1, test_samples=2000)
    trained = time.perf_counter()
    columns = []
    for quantity in followed(theory):
        mean, error = runs[quantity].mean("run"), runs[quantity].std("run", ddof=1) / np.sqrt(RUNS)
        columns.append((quantity, float(abs(theory[quantity] - mean).mean()), float(error.mean())))
    text = ", ".join(f"{quantity} {off:.4f} ({error:.4f})" for quantity, off, error in columns)
    print(f"\n| {name} | {text} | {solved - begin:.2f} s | {(trained - solved) / RUNS:.2f} s |", end="")
    for quantity, off, error in columns:
        if quantity in ("Q", "R") or quantity.startswith("head_") or quantity == "v":
            assert off < 3 * error + 2 * theory.attrs["integral_error"] + 1e-3, (quantity, off, error)
