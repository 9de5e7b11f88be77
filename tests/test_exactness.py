"""What is said of exactness is what the code does."""

import json
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.theory import exactness, solve_spectrum, spectrum

TABLES = "<!-- tables -->\n"


def test_the_documented_tables_are_those_of_the_code():
    root = Path(__file__).parents[1]
    page = (root / "docs" / "exactness.md").read_text(encoding="utf-8")
    document = run_path(str(root / "tools" / "exactness.py"))["document"]
    assert page.split(TABLES)[1].strip() == document().strip()


@pytest.mark.parametrize(
    ("changes", "theory", "kind"),
    [
        ({}, "conventional", "exact"),
        ({"activation": "relu"}, "conventional", "quadrature"),
        ({"activation": "tanh"}, "conventional", "Monte Carlo"),
        ({"nonlinearity": "tanh"}, "conventional", "quadrature"),
        ({"nonlinearity": "relu", "centre": False}, "conventional", "refused"),
        ({"latent": sl.MixtureLaw([1.0, 3.0])}, "moment-matched", "refused"),
        (
            {"latent": sl.Empirical(np.random.default_rng(0).normal(size=(90, 10)), standardize=True)},
            "moment-matched",
            "Monte Carlo",
        ),
    ],
)
def test_kinds(changes, theory, kind):
    problem = sl.Problem(
        input_dim=20, latent_dim=10, student_units=1, teacher_units=1, activation="erf", learning_rate=0.1
    )
    assert exactness(problem.draw(seed=0).replace(**changes), theory).kind == kind


def test_every_dataset_says_it():
    problem = sl.Problem(
        input_dim=20, latent_dim=10, student_units=2, teacher_units=2, activation="relu", learning_rate=0.1
    )
    instance, times = problem.draw(seed=0), [0.5, 1.0]
    theory = sl.solve(instance, times)
    assert theory.attrs["exactness"] == str(exactness(instance)) == "quadrature, error 5e-09"
    assert json.dumps(theory.attrs["integral_error"]) == "5e-09"
    bare = solve_spectrum(
        spectrum(instance), instance.student_output, instance.teacher_output, activation="relu", learning_rate=0.1,
        times=times,
    )  # fmt: skip
    assert bare.attrs["exactness"] == "quadrature, error 5e-09"
    assert sl.simulate(instance, times).attrs["exactness"].startswith("Monte Carlo")
