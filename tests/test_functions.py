import numpy as np
from numba import njit
from scipy.special import erf

from sgdlimit.problem import Problem
from sgdlimit.rules._kernels import Tables, activation_and_slope, erf_and_gauss
from sgdlimit.simulation._projection import Projection


@njit
def _both(x, value, gauss):
    for i in range(len(x)):
        value[i], gauss[i] = erf_and_gauss(x[i])


NONE = Tables.of([])


@njit
def _of_code(code, x, tables):
    return activation_and_slope(code, x, tables)


def _activation(code, x):
    return _of_code(code, x, NONE)


def test_erf_and_gauss_are_those_of_the_library():
    x = np.concatenate([np.linspace(-40, 40, 200_001), np.geomspace(1e-300, 1e300, 2001), [0.0, -0.0]])
    value, gauss = np.empty_like(x), np.empty_like(x)
    _both(x, value, gauss)
    assert np.abs(value - erf(x / np.sqrt(2))).max() < 4e-10
    assert np.abs(gauss - np.exp(-np.square(np.minimum(np.abs(x), 1e3)) / 2)).max() < 1e-11
    assert np.all(np.signbit(value) == np.signbit(x))


def test_not_a_number_stays_one():
    for code in (0, 1, 2):
        assert np.isnan(_activation(code, np.nan)[0])


def test_slopes_are_derivatives():
    for code in (0, 1, 2):
        for x in (-1.3, -0.2, 0.4, 2.1):
            numerical = (_activation(code, x + 1e-3)[0] - _activation(code, x - 1e-3)[0]) / 2e-3
            assert abs(_activation(code, x)[1] - numerical) < 1e-6


def test_normals_keep_their_law_under_the_triangle():
    """z R has the covariance of z [F, W̃ᵀ]/√D, for more and for fewer inputs than latent coordinates."""
    rng = np.random.default_rng(0)
    for D, N, M in ((40, 90, 3), (90, 40, 2), (150, 300, 1)):
        projection = Projection(rng.standard_normal((D, N)), rng.standard_normal((M, D)))
        gram = projection.matrix.T.astype(float) @ projection.matrix
        triangle = projection.triangle.astype(float)
        np.testing.assert_allclose(triangle.T @ triangle, gram, atol=1e-6 * gram.max())
        z = rng.standard_normal((16, D), dtype=np.float32)
        rotated, direct = (np.empty((16, projection.matrix.shape[1]), np.float32) for _ in range(2))
        projection.multiply(z, rotated, isotropic=True)
        projection.multiply(projection.unrotated(z), direct)
        np.testing.assert_allclose(rotated, direct, atol=2e-5)


def test_single_precision_weights_are_measured_to_single_precision():
    problem = Problem(
        input_dim=600, latent_dim=300, student_units=3, teacher_units=2, activation="erf", learning_rate=0.2
    )
    instance = problem.draw(seed=0)
    moments = instance.moments()
    weights = instance.student.astype(np.float32)
    for single, double in zip(moments.overlaps(weights), moments.overlaps(weights.astype(float)), strict=True):
        assert np.abs(single - double).max() < 2e-7
