"""A wrong shape is an error while the tests run, in every room whose functions take arrays of one kind.

Sweeps, the report and the explorer take settings and datasets, whose sizes xarray checks.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import sgdlimit as sl
from sgdlimit.diagnosis import _structure
from sgdlimit.inputs import _moments
from sgdlimit.papers.bae_jeong_2024 import _grids
from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
from sgdlimit.plotting import _dynamics
from sgdlimit.rules import _orthant
from sgdlimit.simulation import _read
from sgdlimit.theory import _averages, _quadrature

INSTANCE = sl.Problem(
    input_dim=20, latent_dim=10, student_units=2, teacher_units=1, activation="erf", learning_rate=0.1
).draw(0)


CALLS: dict[str, tuple[Any, tuple]] = {
    "rules": (_orthant.second_moments, (np.ones((2, 3)),)),
    "inputs": (_moments.is_centred, (np.zeros(3), np.eye(2))),
    "theory": (_averages.lower_root, (jnp.ones((2, 3)),)),
    "theory, n-1": (_quadrature.jacobi_gauss, (np.ones(3), np.ones(3))),
    "simulation": (_read.whole_steps, (np.ones((2, 2)), 20)),
    "diagnosis": (_structure._drawn, (INSTANCE, np.zeros((2, 20)), 10, 0)),
    "plotting": (_dynamics.saturation_time, (np.ones(3), np.ones(4))),
    "papers": (_grids._error_and_start, (PRESETS["quick"], 0, "erf", np.ones(3), np.ones(4))),
    "training": (INSTANCE.training.rates, (0.1, 2, 1, np.ones((1, 1)))),
}


@pytest.mark.parametrize("room", CALLS)
def test_wrong_shapes_are_found(room):
    function, arguments = CALLS[room]
    with pytest.raises(TypeCheckError):
        function(*arguments)


def test_right_shapes_are_not():
    assert _dynamics.saturation_time(np.arange(3.0), np.array([9.0, 0.5, 0.5])) == 1
