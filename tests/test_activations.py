"""Activations of one's own: averages against closed forms and exact rules, SGD against theory, what is refused."""

from itertools import pairwise, product

import equinox as eqx
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.polynomial import hermite_e

import sgdlimit as sl
from sgdlimit.rules._activation import activation_named
from sgdlimit.rules._polynomial import Polynomial
from sgdlimit.theory._averages import Quadrature, integrals_for

K, N_FIELDS = 2, 4


@pytest.fixture(autouse=True, scope="module")
def _float64():
    with jax.enable_x64(True):
        yield


@eqx.filter_jit
def two_point(integrals, S):
    return integrals.correlation(S, K), integrals.gain(S, K), integrals.curvature(S, K)


@eqx.filter_jit
def four_point(integrals, S):
    return integrals.quartic(S, K)


@eqx.filter_jit
def noise(integrals, S, c):
    return integrals.noise(S, c, K), integrals.spread(S, c, K)


def covariances():
    """Regular ones, of low rank, with copies, opposites, near copies and fields that do not vary."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, N_FIELDS, 6)) / np.sqrt(6)
    rows[1, :, 2:] = 0
    rows[2, 1] = rows[2, 2] = rows[2, 0]
    rows[3, 1], rows[3, 2], rows[3, 3] = -rows[3, 0], 2 * rows[3, 0], rows[3, 0] + 1e-5 * rows[3, 3]
    rows[4, [1, 3]] = 0
    rows[5, 2:] = rows[5, :2] + [[1e-2], [1e-4]] * rows[5, 2:]
    rows[6, 1] *= 1e-3
    rows[7] *= 2
    return [jnp.asarray(some @ some.T) for some in rows]


@pytest.mark.parametrize("name", ["erf", "relu", "linear"])
def test_averages_of_any_activation_where_closed_forms_are_known(name):
    """The error stated of the noise is a standard error from 8 randomisations: 96 values, bound 6: 5 % false alarms."""
    activation = activation_named(name)
    general, closed = Quadrature(activation, activation), integrals_for(name)
    for S in covariances():
        for value, exact in zip(two_point(general, S), two_point(closed, S), strict=True):
            np.testing.assert_allclose(value, exact, atol=1e-8)
        c = jnp.array([0.5, 1.0, -1.0, 0.3])
        (value, error), (exact, _) = noise(general, S, c), noise(closed, S, c)
        assert 0 < error < 4e-3
        assert np.max(np.abs(value - exact) / np.maximum(1, np.abs(exact))) < 6 * error


def test_averages_of_polynomials_are_exact():
    """Gauss-Hermite rules of 8 nodes in every direction integrate degree 15; the quartic has 14 at most."""
    student, teacher = (1.0, -0.5, 0.3, 0.2, -0.1), (0.2, 1.0, 0.5)
    nodes, weights = hermite_e.hermegauss(8)
    z = np.array(list(product(nodes, repeat=N_FIELDS))).T
    w = np.prod(list(product(weights / np.sqrt(2 * np.pi), repeat=N_FIELDS)), axis=1)
    integrals = Polynomial(student, teacher)
    for S in covariances():
        values, directions = np.linalg.eigh(S)
        x = directions * np.sqrt(np.maximum(values, 0)) @ z
        polynomials = [np.polynomial.Polynomial(student)] * K + [np.polynomial.Polynomial(teacher)] * (N_FIELDS - K)
        g = np.array([p(field) for p, field in zip(polynomials, x, strict=True)])
        slope = np.array([p.deriv()(field) for p, field in zip(polynomials, x, strict=True)])
        bend = np.array([p.deriv(2)(field) for p, field in zip(polynomials[:K], x, strict=False)])
        exact = (g * w) @ g.T, (slope[:K] * w) @ slope.T, (bend * w) @ g.T
        for value, wanted in zip(two_point(integrals, S), exact, strict=True):
            np.testing.assert_allclose(value, wanted, atol=1e-9)
        quartic = np.einsum("kt,lt,at,bt->klab", slope[:K] * w, slope[:K], g, g, optimize=True)
        np.testing.assert_allclose(four_point(integrals, S), quartic, atol=1e-8 * max(1, np.abs(quartic).max()))


def step(x):
    return jnp.where(x > 0.4, 2.0, 0.5)


def shelf(x):
    return jnp.clip(x, -0.5, 1.5) + 0.1 * jnp.tanh(x)


SHELF_AND_STEP = Quadrature(sl.Activation(shelf), sl.Activation(step), level=6)


def test_kinks_and_jumps_off_the_middle_against_integration_along_one_field():
    """E over the other field given the first, by a fine rule on either side of the kinks."""
    S = jnp.asarray([[1.2, 0.1, 0.7, 0.0], [0.1, 0.8, 0.2, 0.3], [0.7, 0.2, 0.9, 0.1], [0.0, 0.3, 0.1, 1.1]])
    correlation, gain, curvature = two_point(SHELF_AND_STEP, S)
    student = SHELF_AND_STEP.student
    edges = np.concatenate([[-9], student.kinks.positions, [9]])
    nodes, weights = np.polynomial.legendre.leggauss(60)
    x = np.concatenate([(b - a) / 2 * nodes + (a + b) / 2 for a, b in pairwise(edges)])
    w = np.concatenate([(b - a) / 2 * weights for a, b in pairwise(edges)])
    w = w * np.exp(-(x**2) / 2 / S[0, 0]) / np.sqrt(2 * np.pi * S[0, 0])
    mean, deviation = S[0, 2] / S[0, 0] * x, np.sqrt(S[2, 2] - S[0, 2] ** 2 / S[0, 0])
    t = (0.4 - mean) / deviation
    of_step = 0.5 + 1.5 * jax.scipy.special.ndtr(-t)
    spike = 1.5 * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi) / deviation
    np.testing.assert_allclose(correlation[0, 2], np.sum(w * student.value(x) * of_step), atol=1e-10)
    np.testing.assert_allclose(gain[0, 2], np.sum(w * student.derivative(x) * spike), atol=1e-10)
    # By parts, E[g'' h] = E[(x/S_xx − ...) g' h]: from the change of E[g h] with S_xx by Price's theorem.
    change = 1e-5
    moved = [two_point(SHELF_AND_STEP, S.at[0, 0].add(h))[0][0, 2] for h in (change, -change)]
    np.testing.assert_allclose(curvature[0, 2], (moved[0] - moved[1]) / change, atol=1e-8)


roots = st.integers(1, N_FIELDS).flatmap(
    lambda rank: hnp.arrays(
        np.float64,
        (N_FIELDS, rank),
        elements=st.integers(-2, 2).map(float) | st.floats(-3, 3, allow_subnormal=False),
    )
)


@eqx.filter_jit
def everything(integrals, S):
    def total(S):
        parts = (*two_point(integrals, S), integrals.quartic(S, K))
        return sum(jnp.sum(part) for part in parts), parts

    return jax.grad(total, has_aux=True)(S)


@pytest.mark.parametrize(
    "integrals", [SHELF_AND_STEP, Polynomial((0.0, -3.0, 0.0, 1.0), (0.0, 1.0))], ids=["kinks", "polynomial"]
)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(root=roots)
def test_second_moments_stay_second_moments(integrals, root):
    slopes, (correlation, gain, curvature, quartic) = everything(integrals, jnp.asarray(root @ root.T))
    for value in (slopes, correlation, gain, curvature, quartic):
        assert np.all(np.isfinite(value))
    pairs = np.asarray(quartic).transpose(0, 2, 1, 3).reshape(K * N_FIELDS, K * N_FIELDS)
    for moments in (np.asarray(correlation), np.asarray(gain[:, :K]), pairs):
        scale = max(1.0, np.abs(moments).max())
        np.testing.assert_allclose(moments, moments.T, atol=1e-9 * scale)
        assert np.linalg.eigvalsh(moments).min() >= -1e-7 * scale
        diagonal = np.maximum(np.diag(moments), 0)
        assert np.all(np.square(moments) <= diagonal[:, None] * diagonal + 1e-7 * scale**2)  # Cauchy-Schwarz


@pytest.mark.parametrize(("student", "teacher"), [("tanh", None), ("hard-sigmoid", "sign")])
def test_sgd_follows_the_theory(student, teacher):
    """Mean of 8 runs; 36 Student's t values with 7 degrees of freedom, bound 8: false alarm below 0.4 %."""
    problem = sl.Problem(
        input_dim=1000, latent_dim=500, student_units=2, teacher_units=2, activation=student,
        teacher_activation=teacher, learning_rate=0.2,
    )  # fmt: skip
    times = np.array([0.1, 1.0, 5.0])
    instance = problem.draw(seed=0)
    theory = sl.solve(instance, times)
    runs = sl.simulate(instance, times, runs=8, seed=3, test_samples=4000)
    assert theory.attrs["integrals"] == "quasi-Monte Carlo"
    assert 0 < theory.attrs["integral_error"] < 2e-3
    assert theory.attrs.get("teacher_activation") == runs.attrs.get("teacher_activation") == teacher
    for name in ("Q", "R", "v", "generalization_error"):
        error = runs[name].std("run", ddof=1) / np.sqrt(8)
        assert float(np.abs((runs[name].mean("run") - theory[name]) / error).max()) < 8


def test_engines_agree_on_functions_of_ones_own():
    problem = sl.Problem(
        input_dim=60, latent_dim=30, student_units=2, teacher_units=2, activation="erf", learning_rate=0.1
    )
    instance = problem.draw(seed=0).replace(activation=sl.Activation(shelf), teacher_activation=sl.Activation(step))
    times = np.arange(1, 301) / 60
    C = np.random.default_rng(0).standard_normal((300, 30))
    numba, jax_engine = (
        sl.simulate(instance, times, engine=engine, data=(C,), test_samples=0) for engine in ("numba", "jax")
    )
    for name in ("Q", "R", "v"):
        np.testing.assert_allclose(jax_engine[name], numba[name], atol=2e-5)


def test_a_user_s_function_is_known_by_its_values_not_its_name():
    one, other = (sl.Activation(lambda x, a=a: jnp.tanh(a * x), name="mine") for a in (1.0, 2.0))
    again = sl.Activation(jnp.tanh, name="mine")
    assert one != other
    assert repr(Quadrature(one, one)) != repr(Quadrature(other, other))
    assert repr(Quadrature(one, one)) == repr(Quadrature(again, again))
    assert Quadrature(one, one) == Quadrature(again, again)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sl.Activation(np.tanh), "activation: 'tanh' must be what JAX can trace"),
        (lambda: sl.Activation(lambda x: jnp.stack([x, x]), name="two"), "activation: 'two' must return a real number"),
        (lambda: sl.Activation(jnp.log, name="log"), "activation: 'log' must be finite .got nan"),
        (lambda: sl.Activation(jnp.tanh, accuracy=0), "accuracy: must be between 0 and 1 .got 0"),
        (lambda: sl.Activation.polynomial([1, 2, 3, 4, 5, 6]), "coefficients: .* degree 0 to 4"),
        (lambda: integrals_for("sign"), "activation: must not jump .*got 'sign'"),
        (lambda: integrals_for(sl.Activation(step)), "activation: must not jump .*got 'step'"),
        (lambda: integrals_for("erf", "swish"), "activation: must be .* .got 'swish'"),
    ],
)
def test_what_cannot_be_used_is_named(make, message):
    with pytest.raises(sl.ProblemError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_an_accuracy_that_is_out_of_reach_gives_a_warning(monkeypatch):
    monkeypatch.setattr("sgdlimit.theory._averages.Quadrature.highest", 10)
    one = sl.theory.Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    activation = sl.Activation(lambda x: jnp.exp(x / 2) * jnp.tanh(x), accuracy=1e-9)
    with pytest.warns(sl.AccuracyWarning, match="accuracy: .* 1e-09 was asked for"):
        trajectory = sl.theory.solve_spectrum(one, [1.0], [1.0], activation=activation, learning_rate=0.1, times=[0.1])
    assert trajectory.attrs["integral_error"] > 1e-9
