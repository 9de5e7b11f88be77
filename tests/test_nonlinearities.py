"""Any f of the manifold: its Hermite coefficients, its mean, and the theory of it against SGD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.inputs._manifold import NAMES, NONLINEARITIES, nonlinearity_named

DEVIATIONS = np.array([1e-3, 0.03, 0.3, 1.0, 2.5, 30.0, 300.0])
PROBLEM = sl.Problem(
    input_dim=600, latent_dim=300, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
)


@pytest.mark.parametrize(
    ("function", "closed_form"),
    [
        (jnp.sign, NONLINEARITIES["sign"].hermite),
        (lambda u: jax.lax.erf(u / np.sqrt(2)), NONLINEARITIES["erf"].hermite),
        (lambda u: u, NONLINEARITIES["identity"].hermite),
        (jax.nn.relu, lambda s: (s / np.sqrt(2 * np.pi), 0.5 + 0 * s, s**2 / 2)),
        (lambda u: jnp.where(u > 0.5, u, 0.0) - 1, None),
    ],
    ids=["sign", "erf", "identity", "relu", "jump off the middle"],
)
def test_hermite_coefficients_of_traced_functions(function, closed_form):
    f = sl.Nonlinearity(function)
    if closed_form is None:  # E[u; u > κ] = σφ(κ/σ) and so on
        from scipy.stats import norm

        k = 0.5 / DEVIATIONS
        first, second = DEVIATIONS * norm.pdf(k), DEVIATIONS**2 * (k * norm.pdf(k) + norm.sf(k))
        expected = first - 1, second / DEVIATIONS**2, second - 2 * first + 1
    else:
        expected = closed_form(DEVIATIONS)
    a, b, c = f.hermite(DEVIATIONS)
    scale = np.sqrt(expected[2])
    for found, exact, unit in ((a, expected[0], scale), (b, expected[1], scale / DEVIATIONS), (c, expected[2], 1)):
        np.testing.assert_array_less(np.abs(found - exact), 1e-10 * np.maximum(np.abs(exact), 1e-4 * unit))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_a_function(name):
    f = nonlinearity_named(name)
    a, b, c = f.hermite(np.array([0.7, 1.0]))
    assert np.isfinite(f.value(np.array([-1.0, 2.0]))).all()
    assert (c - a**2 - b**2 * np.array([0.7, 1.0]) ** 2 > -1e-12).all()


def drawn(**settings):
    return sl.Problem(**(PROBLEM.model_dump() | settings)).draw(seed=0)


def test_the_mean_is_that_of_the_inputs_for_the_true_covariance():
    """Every input's mean within 5 standard errors of the samples: false alarm below 4e-4 for 600 inputs."""
    instance = drawn(nonlinearity="softplus")
    law = sl.ClusterMixture(np.zeros((1, 300)), [np.diag(np.geomspace(0.1, 5, 300))])
    for latent in (sl.Gaussian(), law):
        there = instance.replace(latent=latent)
        C = latent.sample(np.random.default_rng(1), 20_000, 300)
        X = np.logaddexp(0, C @ there.features / np.sqrt(300))
        mean = there.input_mean()
        assert (np.abs(X.mean(axis=0) - mean) < 5 * X.std(axis=0) / np.sqrt(len(X))).all()
    for odd in ("sign", "identity", "tanh", "sin", "cube"):
        assert instance.replace(nonlinearity=odd, latent=law).input_mean() is None
    shifted = drawn(latent=sl.GaussianMixture(components=2, spread=3.0, standardize=False))
    assert shifted.input_mean() is None  # the mean of a latent stays


def test_sgd_sees_centred_inputs_and_reports_their_mean():
    for f in ("relu", sl.Nonlinearity(lambda u: jnp.where(u > 0.3, u, -1.0), name="own")):
        instance = drawn(nonlinearity="sign").replace(nonlinearity=f)
        run = sl.simulate(instance, [0.5], keep_inputs=True, test_samples=0)
        U = run["C"].values[0] @ instance.features / np.sqrt(300)
        value = nonlinearity_named(f).value(U)
        away = np.abs(U - 0.3) > 1e-5
        mean = instance.input_mean()
        assert mean is not None
        np.testing.assert_allclose(run["X"].values[0][away], (value - mean)[away], atol=1e-5)
        assert run.attrs["input_mean"] == pytest.approx(np.sqrt(np.mean(mean**2)))
        raw = sl.simulate(instance.replace(centre=False), [0.5], keep_inputs=True, test_samples=0)
        np.testing.assert_allclose(raw["X"].values[0][away], value[away], atol=1e-5)
        assert "input_mean" not in raw.attrs
    assert run.attrs["nonlinearity"] == "own"


def test_theory_follows_sgd_on_centred_inputs_and_is_refused_without():
    """M of relu beside that of sign, whose mean is zero: finite size and noise leave both alike."""
    times = sl.log_times(12_000, 600, 60)

    def distance(instance):
        runs = sl.simulate(instance, times, runs=4, seed=1, test_samples=0)
        M = sl.compare(sl.solve(instance, times, nodes=70), runs)["M"]
        return M.sel(quantity=["Q", "R", "v"]).values

    relu = drawn(nonlinearity="relu")
    assert (distance(relu) < 2 * distance(drawn())).all()
    with pytest.raises(sl.ProblemError, match=r"centre: must be True for inputs with a mean, .* no limit .*0\.398"):
        sl.solve(relu.replace(centre=False), times)


def test_both_engines_evaluate_the_function_alike():
    instance = drawn().replace(nonlinearity=sl.Nonlinearity(lambda u: jnp.tanh(u) + 0.2 * jnp.abs(u - 1)))
    one, other = (sl.simulate(instance, [0.1, 1.0], seed=2, test_samples=0, engine=name) for name in ("numba", "jax"))
    np.testing.assert_allclose(one["Q"].values, other["Q"].values, atol=2e-4)


def test_overlaps_are_those_of_a_named_function():
    own, named = drawn().replace(nonlinearity=sl.Nonlinearity(jnp.sign)), drawn()
    one, other = own.moments(), named.moments()
    np.testing.assert_allclose(one.factor, other.factor, rtol=1e-10)
    np.testing.assert_allclose(one.diagonal, other.diagonal, rtol=1e-10)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: drawn(nonlinearity="cos"), r"nonlinearity: must be 'sign'.*got 'cos'"),
        (
            lambda: PROBLEM.draw(0).replace(nonlinearity="cos"),
            r"nonlinearity: must be .*, or sl\.Nonlinearity\(f\) for your own function f \(got 'cos'\)",
        ),
        (lambda: PROBLEM.draw(0).replace(nonlinearity=jnp.cos), r"or sl\.Nonlinearity\(f\)"),
        (lambda: PROBLEM.draw(0).replace(centre="yes"), "centre: must be True or False .got 'yes'"),
        (lambda: sl.Nonlinearity(lambda u: jnp.log(u)), "nonlinearity: .* Give a function with finite"),
        (lambda: sl.Nonlinearity(lambda u: u if u > 0 else 0.0), "nonlinearity: .* must be what JAX can trace"),
        (
            lambda: sl.Nonlinearity(lambda u: jnp.exp(u * u), name="steep").hermite(np.ones(1)),
            "must grow slowly enough .*'steep'",
        ),
    ],
)
def test_bad_functions_are_named(act, message):
    with pytest.raises(sl.ProblemError, match=message):
        act()
