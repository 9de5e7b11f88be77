"""Small cases of everything give the numbers that they gave when tests/data/recorded.npz was written."""

from pathlib import Path

import numpy as np
import pytest

from recorded_cases import CASES, difference, load

RECORDED = load(Path(__file__).parent / "data" / "recorded.npz")

# Bits differ between processors. SGD and the chains of a mixture run in single precision, or amplify rounding, as does
# the search for an optimum: 1.6e-8 between an Intel and an AMD processor.
LIMITS = {"inputs": 1e-6, "theory": 1e-9, "optimum": 1e-7, "mixture": 1e-5, "sgd": 1e-5}


def test_all_cases_are_recorded():
    assert CASES.keys() == RECORDED.keys()


@pytest.mark.parametrize("name", RECORDED)
def test_numbers_are_those_recorded(name):
    found = {variable: np.asarray(values) for variable, values in CASES[name]().items()}
    assert difference(RECORDED[name], found) <= LIMITS[name.split()[0]]
