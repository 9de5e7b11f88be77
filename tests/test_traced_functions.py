"""Functions that users bring as JAX code: their kinks, their tables in compiled loops, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numba import njit

from sgdlimit.errors import ProblemError
from sgdlimit.rules._functions import TracedFunction
from sgdlimit.rules._kernels import Tables, tabulated


@njit
def _evaluate(tables, function, x, value, slope):
    for i in range(len(x)):
        value[i], slope[i] = tabulated(tables, function, x[i])


def hinge(x):
    return jnp.where(x > 1.25, 2.0, 0.3 * x)


@pytest.mark.parametrize(
    ("function", "positions", "jumps", "slope_jumps"),
    [
        (jnp.tanh, [], [], []),
        (lambda x: x**3 - 3 * x, [], [], []),
        (jnp.sign, [0], [2], [0]),
        (jnp.abs, [0], [0], [2]),
        (jax.nn.hard_sigmoid, [-3, 3], [0, 0], [1 / 6, -1 / 6]),
        (hinge, [1.25], [2 - 0.375], [-0.3]),
    ],
)
def test_kinks_are_found(function, positions, jumps, slope_jumps):
    kinks = TracedFunction(function).kinks
    np.testing.assert_allclose(kinks.positions, positions, atol=1e-12)
    np.testing.assert_allclose(kinks.jumps, jumps, atol=1e-8)
    np.testing.assert_allclose(kinks.slope_jumps, slope_jumps, atol=1e-8)


def test_tables_are_the_functions():
    functions = [TracedFunction(f) for f in (jnp.tanh, jax.nn.gelu, hinge, jnp.sign, lambda x: x**3)]
    tables = Tables.of(functions)
    x = np.append(3 * np.random.default_rng(0).normal(size=20_000), [-64.5, 64.5, 1e6, -1e6])
    value, slope = np.empty_like(x), np.empty_like(x)
    for place, function in enumerate(functions):
        _evaluate(tables, place, x, value, slope)
        inside = slice(None) if place < 4 else slice(-4)
        assert np.abs(value - function.value(x))[inside].max() < 1e-9
        assert np.abs(slope - function.slope(x))[inside].max() < 2e-7
    assert np.isnan(value[-4:]).all()  # a cubic does not become linear, and is not invented beyond its table
    for odd in (np.nan, np.inf):
        _evaluate(tables, 0, np.full(1, odd), value[:1], slope[:1])
        assert np.isnan(value[0])


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda x: x if x > 0 else 0.0, "must be what JAX can trace"),
        (np.tanh, "must be what JAX can trace"),
        (jnp.log, "must be finite .got nan at"),
        (lambda x: jnp.stack([x, x]), r"must return a real number .*shape=\(2,\)"),
        (lambda x: 1, "must return a real number .*int"),
        (lambda x: None, "must return a real number .got None"),
    ],
)
def test_what_is_no_function_of_a_real_number_is_refused(function, complaint):
    for _ in range(2):  # JAX itself ends the process when it is given np.tanh for the second time
        with pytest.raises(ProblemError, match=complaint):
            TracedFunction(function)
