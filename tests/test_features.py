"""Inputs without a manifold and feature matrices of every kind: norms, spectra, and theory against SGD."""

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.inputs._features import draw_features
from sgdlimit.simulation._projection import Projection
from sgdlimit.theory import spectrum


def assert_sgd_follows_theory(instance, runs=12, seed=0):
    """The mean of runs within 5 of its standard errors, and of the corrections of order 1/N, of the ODE.

    False alarm: 5 standard errors of 12 runs are passed with probability 4e-4 by one number; there are 30, most of them
    correlated, and the seeds are fixed.
    """
    N = instance.input_dim
    times = np.array([1.0, 2, 5])
    wide = len(spectrum(instance).eigenvalues) > 40
    theory = sl.solve(instance, times, nodes=40 if wide else None)  # equal shapes are compiled once
    sgd = sl.simulate(instance, times, runs=runs, seed=seed, test_samples=0)
    for name in ("Q", "R", "v"):
        mean, error = sgd[name].mean("run"), sgd[name].std("run", ddof=1) / np.sqrt(runs)
        largest = max(1.0, float(abs(theory[name]).max()))
        excess = (abs(mean - theory[name]) - 5 * error) / largest
        assert float(excess.max()) < 2 / N, name
    learnt = abs(theory.isel(time=-1) - theory.isel(time=0))
    assert float(learnt.R.max()) > 0.1  # there was something to follow


def committee(covariance, **changes):
    rng, N = np.random.default_rng(3), len(covariance)
    W, teacher = rng.normal(size=(2, N)), rng.normal(size=(2, N))
    settings = {"activation": "erf", "learning_rate": 0.5} | changes
    return sl.Instance.from_covariance(covariance, W, [1.0, 0.7], teacher, [1.0, -1.0], **settings), W, teacher


def correlated(N, rank=None):
    """A covariance whose eigenvalues spread over a factor of 20, or vanish beyond a rank."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.normal(size=(N, N)))[0][:, :rank]
    return (basis * np.geomspace(0.2, 4, basis.shape[1])) @ basis.T


@pytest.mark.parametrize("rank", [None, 15])
def test_covariance_is_that_of_the_inputs_theory_sees(rank):
    omega = correlated(40, rank)
    instance, W, teacher = committee(omega)
    moments = instance.moments()
    np.testing.assert_allclose(np.diag(moments.diagonal) + moments.factor.T @ moments.factor, omega, atol=1e-13)
    np.testing.assert_allclose(moments.cross, omega @ teacher.T, atol=1e-12)  # φ = √N Cov[X, X W̃ᵀ/√N]
    np.testing.assert_allclose(moments.teacher_overlap, teacher @ omega @ teacher.T / 40, atol=1e-12)
    resolved = spectrum(instance)
    np.testing.assert_allclose(resolved.Q, W @ omega @ W.T / 40, atol=1e-12)
    np.testing.assert_allclose(resolved.R, W @ omega @ teacher.T / 40, atol=1e-12)
    assert instance.latent_dim == (rank or 40)
    assert len(resolved.eigenvalues) == (16 if rank else 40)


def test_simulated_inputs_have_the_covariance():
    """Every entry within 5.5 standard errors of 4000 samples; the labels are those of ν = X W̃ᵀ/√N."""
    N, omega = 40, correlated(40)
    instance, _, teacher = committee(omega, activation="linear", learning_rate=0.01)
    run = sl.simulate(instance, [100.0], keep_inputs=True, test_samples=0).isel(run=0)
    X, y = run["X"].values, run["y"].values
    np.testing.assert_allclose(y, X @ teacher.T @ [1.0, -1.0] / np.sqrt(N), atol=1e-4)
    products = X[:, :, None] * X[:, None, :]
    error = products.std(axis=0) / np.sqrt(len(X))
    assert (np.abs(products.mean(axis=0) - omega) < 5.5 * error).all()


@pytest.mark.parametrize("covariance", ["independent", "correlated", "singular"])
def test_sgd_on_gaussian_inputs_follows_theory(covariance):
    N = 400
    omega = {"independent": np.eye(N), "correlated": correlated(N), "singular": correlated(N, 200)}[covariance]
    assert_sgd_follows_theory(committee(omega)[0])


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.ones((3, 4)), r"covariance: must be of shape \(3, 3\) \(got \(3, 4\)\)"),
        (np.eye(5), r"student: must be of shape \(student_units, 5\) \(got \(2, 4\)\)"),
        (np.triu(np.ones((4, 4))), "covariance: must have a symmetric covariance"),
        (np.diag([1.0, 1, 0, 1]), "covariance: must vary .*1 constant of 4: 3, .*Leave out their rows"),
        (np.diag([1.0, -1, 1, 1]), "without negative eigenvalues .got -1"),
        (np.eye(4) - 0.5, "covariance: must have .* without negative eigenvalues .got -1"),
        (np.full((4, 4), np.nan), "covariance: must be finite .got 16 of 16 entries"),
    ],
)
def test_covariances_that_cannot_be(covariance, message):
    rest = np.ones((2, 4)), [1, 1], np.ones((2, 4)), [1, 1]
    with pytest.raises(sl.ProblemError, match=message):
        sl.Instance.from_covariance(covariance, *rest, activation="erf", learning_rate=0.1)


# --- feature matrices of every kind ----------------------------------------------------------------------------------

SHAPES = [(16, 64), (64, 64), (64, 24)]
ORTHOGONAL = ["orthogonal", "hadamard", "dct"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ORTHOGONAL)
def test_rows_or_columns_are_orthogonal(kind, shape):
    """FFᵀ = N or FᵀF = D times the identity, whichever is smaller; |F_i|² = D for every column, or in the mean."""
    D, N = shape
    F, _ = draw_features(kind, D, N, np.random.default_rng(1))
    assert F.shape == shape
    smaller = F @ F.T if D <= N else F.T @ F
    np.testing.assert_allclose(smaller, max(D, N) * np.eye(min(D, N)), atol=1e-11)
    squares = np.square(F).sum(axis=0)
    np.testing.assert_allclose(squares.mean(), D)
    if kind == "hadamard" or D >= N:
        np.testing.assert_allclose(squares, D)
    assert not np.array_equal(F, draw_features(kind, D, N, np.random.default_rng(2))[0])


def structured(features, D, N, **changes):
    settings = {"student_units": 2, "teacher_units": 2, "activation": "erf", "learning_rate": 0.4} | changes
    return sl.Problem(input_dim=N, latent_dim=D, features=features, **settings)


@pytest.mark.parametrize(("D", "N"), [(16, 64), (64, 24)])
@pytest.mark.parametrize("nonlinearity", ["sign", "erf", "identity"])
def test_orthogonal_features_have_a_two_level_spectrum(D, N, nonlinearity):
    """ω₀ + b²/δ for D directions and ω₀ for the others; for D ≥ N the inputs are independent: c alone."""
    instance = structured("hadamard", D, N, nonlinearity=nonlinearity).draw(seed=0)
    levels = spectrum(instance)
    b, c = {"sign": (2 / np.pi, 1), "erf": (1 / np.pi, 1 / 3), "identity": (1, 1)}[nonlinearity]  # b² and c
    order = np.argsort(levels.eigenvalues)
    if D < N:
        np.testing.assert_allclose(levels.eigenvalues[order], [c - b, c - b + b * N / D], atol=1e-12)
        np.testing.assert_allclose(levels.weights[order], [1 - D / N, D / N], atol=1e-12)
    else:
        np.testing.assert_allclose(levels.eigenvalues, [c], atol=1e-12)
    np.testing.assert_allclose(levels.weights.sum(), 1)


def test_without_a_manifold_a_problem_is_that_of_saad_and_solla():
    """F = √D: X = C, ω = 1, q = Q = W Wᵀ/N, r = R = W W̃ᵀ/N, p = T."""
    instance = structured("identity", 30, 30, nonlinearity="identity").draw(seed=0)
    alone = spectrum(instance)
    np.testing.assert_allclose(alone.eigenvalues, [1], atol=1e-13)
    np.testing.assert_allclose(alone.Q, instance.student @ instance.student.T / 30)
    np.testing.assert_allclose(alone.R, instance.student @ instance.teacher.T / 30)
    np.testing.assert_allclose(alone.teacher[0], alone.teacher_overlap)


@pytest.mark.parametrize(
    ("features", "D", "N", "nonlinearity"),
    [
        ("orthogonal", 150, 400, "sign"),
        ("orthogonal", 400, 250, "erf"),
        ("hadamard", 128, 512, "sign"),
        ("hadamard", 512, 300, "identity"),
        ("dct", 150, 400, "sign"),
        ("dct", 400, 250, "erf"),
        ("identity", 400, 400, "identity"),
    ],
)
def test_sgd_on_structured_features_follows_theory(features, D, N, nonlinearity):
    assert_sgd_follows_theory(structured(features, D, N, nonlinearity=nonlinearity).draw(seed=1))


@pytest.mark.parametrize(
    ("kind", "D", "N"),
    [("hadamard", 30, 64), ("hadamard", 128, 50), ("dct", 30, 50), ("dct", 50, 30), ("identity", 40, 40)],
)
def test_fast_products_are_the_dense_ones(kind, D, N):
    """To the rounding of float32: a transform adds up D numbers in log D steps."""
    instance = structured(kind, D, N).draw(seed=3)
    assert instance.transform is not None
    assert instance.replace(features=np.array(instance.features)).transform is None
    fast, dense = (Projection(instance.features, instance.teacher, kind) for kind in (instance.transform, None))
    latent = np.random.default_rng(0).normal(size=(37, D)).astype(np.float32)
    exact = latent.astype(float) @ np.hstack([instance.features, instance.teacher.T]) / np.sqrt(D)
    products = [np.zeros((37, dense.matrix.shape[1]), np.float32) for _ in range(2)]
    for projection, out in zip((fast, dense), products, strict=True):
        projection.multiply(latent, out)
        np.testing.assert_allclose(out[:, : N + 2], exact, atol=3e-6)
        assert (out[:, N + 2 :] == 0).all()
    locations = np.random.default_rng(1).normal(size=(2, D))
    np.testing.assert_allclose(fast.shifts(locations), dense.shifts(locations), atol=1e-5)
    np.testing.assert_allclose(fast.matrix, dense.matrix, atol=1e-6)


def test_samples_of_fast_products_obey_the_model():
    instance = structured("dct", 50, 80).draw(seed=3).replace(latent=sl.MixtureLaw([-1.0, 2.0], standardize=True))
    run = sl.simulate(instance, [1.0], keep_inputs=True, test_samples=0)
    U = run["C"].values[0] @ instance.features / np.sqrt(50)
    sure = np.abs(U) > 1e-4
    np.testing.assert_array_equal(run["X"].values[0][sure], np.sign(U)[sure])


@pytest.mark.parametrize(
    ("features", "D", "N", "message"),
    [
        ("fourier", 4, 8, "features: must be 'gaussian', 'orthogonal'.*got 'fourier'"),
        (
            "hadamard",
            50,
            100,
            "features: must have a power of two .*'hadamard', such as 64 or 128 .got latent_dim 50",
        ),
        ("identity", 4, 8, "features: must have equal dimensions for 'identity' .got latent_dim 4 and input_dim 8"),
    ],
)
def test_features_that_there_are_none_of(features, D, N, message):
    with pytest.raises(sl.ProblemError, match=message):
        structured(features, D, N)
