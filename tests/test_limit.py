"""Infinite size: the moments of the Marchenko-Pastur spectrum, its Gauss rule, and how instances approach it."""

import numpy as np
import pytest
from scipy.integrate import quad

import sgdlimit as sl
from sgdlimit.inputs._manifold import NONLINEARITIES
from sgdlimit.theory import Spectrum, marchenko_pastur, solve, solve_spectrum

Q0, T = np.array([[1.0, 0.3], [0.3, 0.8]]), np.array([[1.0, -0.2], [-0.2, 1.2]])
V, V_TEACHER = [0.6, -0.4], [1.0, 0.7]
TIMES = np.array([0, 0.3, 3, 20.0])
SETTINGS = {"activation": "erf", "learning_rate": 0.2, "times": TIMES}
RATIOS = [0.25, 1.0, 3.0]


def coefficients(name):
    return (float(x) for x in NONLINEARITIES[name].hermite(np.ones(())))


@pytest.mark.parametrize("delta", RATIOS)
@pytest.mark.parametrize("name", ["sign", "erf", "identity"])
def test_moments_of_the_spectrum(delta, name):
    """Tr Ω/N = c, Tr Ω²/N = c² + b⁴/δ (a Wishart matrix), and Q, R at the start."""
    _, b, c = coefficients(name)
    limit = marchenko_pastur(delta, Q0, T, nonlinearity=name)
    w, omega = limit.weights, limit.eigenvalues
    np.testing.assert_allclose([w.sum(), w @ omega, w @ omega**2], [1, c, c**2 + b**4 / delta], rtol=1e-13)
    np.testing.assert_allclose(limit.Q, c * Q0, rtol=1e-13)
    np.testing.assert_array_equal(limit.R, 0)
    # Σ w p = φᵀφ/N, φ_m = √N b FᵀW̃_m/D, on average over the features
    np.testing.assert_allclose(np.tensordot(w, limit.teacher, 1), b**2 * T / delta, rtol=1e-13)


@pytest.mark.parametrize("delta", [0.25, 3.0])
@pytest.mark.parametrize("function", [np.sin, np.sqrt], ids=["sin", "sqrt"])
def test_gauss_rule_against_the_density(delta, function):
    """(S40) in ω with an adaptive rule, the square roots at its ends removed by ω = middle − half cos θ."""
    _, b, c = coefficients("sign")
    omega_0, low, high = c - b**2, (1 / np.sqrt(delta) - 1) ** 2, (1 / np.sqrt(delta) + 1) ** 2
    middle, half = b**2 * (high + low) / 2, b**2 * (high - low) / 2

    def integrand(theta):
        x = middle - half * np.cos(theta)
        return delta / b**2 * (half * np.sin(theta)) ** 2 / (2 * np.pi * x) * function(omega_0 + x)

    atom = max(0, 1 - delta) * function(omega_0)
    limit = marchenko_pastur(delta, Q0, T)
    expected = quad(integrand, 0, np.pi, epsabs=1e-12, epsrel=1e-12)[0] + atom
    np.testing.assert_allclose(limit.weights @ function(limit.eigenvalues), expected, rtol=1e-11)


def of_nodes(delta, total):
    """The limit on a given number of nodes, the atom at ω₀ included: equal shapes are compiled once."""
    return marchenko_pastur(delta, Q0, T, nodes=total - (delta < 1))


@pytest.mark.parametrize("delta", RATIOS)
def test_few_nodes_are_enough(delta):
    """Trajectories with 10 nodes, each split in four, and with 40 differ by what the solver allows itself."""
    ten = of_nodes(delta, 10)
    arrays = (ten.eigenvalues, ten.weights / 4, ten.student, ten.overlap, ten.teacher)
    omega, weights, q, r, p = (np.repeat(array, 4, axis=0) for array in arrays)
    split = Spectrum(omega, weights, q, r, p, T)
    few, many = (solve_spectrum(limit, V, V_TEACHER, **SETTINGS) for limit in (split, of_nodes(delta, 40)))
    for name in ("Q", "R", "v", "generalization_error"):
        np.testing.assert_allclose(few[name], many[name], atol=1e-6)


def test_without_a_bottleneck_the_inputs_are_independent():
    """δ → ∞: Ω → c for all eigenvalues, and no direction of the input knows the teacher: p → 0, as 1/δ."""
    limit = marchenko_pastur(1e8, Q0, T)
    np.testing.assert_allclose(limit.eigenvalues, 1, atol=1e-3)
    np.testing.assert_allclose(limit.teacher, 0, atol=1e-7)


def rows_of_overlap(rng, overlap, size):
    """Random weights whose overlap W Wᵀ/size is the given one exactly."""
    basis = np.linalg.qr(rng.normal(size=(size, len(overlap))))[0]
    return np.linalg.cholesky(overlap) @ basis.T * np.sqrt(size)


@pytest.mark.parametrize("delta", [0.25, 2.0])
def test_instances_approach_the_limit(delta):
    """The squared distance of Q and R from the limit goes as 1/N, and its mean over seeds is within standard errors.

    16 instances know the mean square to a fifth, so the exponent over a factor 8 in N to 0.15: bound 4 deviations. The
    mean deviation is bounded by 5 standard errors and a bias of 4/N (false alarm below 1e-2 for 28 numbers of 15
    degrees of freedom, of which few are independent; the seeds are fixed).
    """
    limit = solve_spectrum(of_nodes(delta, 40), V, V_TEACHER, **SETTINGS)
    squares = []
    sizes = (60, 480)
    for N in sizes:
        deviations = []
        for seed in range(16):
            rng, D = np.random.default_rng([seed, N]), int(delta * N)
            features, student, teacher = (
                rng.normal(size=(D, N)), rows_of_overlap(rng, Q0, N), rows_of_overlap(rng, T, D),
            )  # fmt: skip
            instance = sl.Instance(features, student, V, teacher, V_TEACHER, activation="erf", learning_rate=0.2)
            one = solve(instance, TIMES, nodes=40)
            parts = [(one[name] - limit[name]).values.reshape(len(TIMES), -1) for name in ("Q", "R")]
            deviations.append(np.concatenate(parts, axis=1))
        mean, error = np.mean(deviations, axis=0), np.std(deviations, axis=0, ddof=1) / np.sqrt(16)
        assert (np.abs(mean) < 5 * error + 4 / N).all()
        squares.append(np.mean(np.square(deviations)))
    exponent = np.log(squares[1] / squares[0]) / np.log(sizes[1] / sizes[0])
    assert abs(exponent + 1) < 0.6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_ratio": 0.0}, r"latent_ratio: must be a positive number \(got 0\.0\)"),
        ({"latent_ratio": np.inf}, r"latent_ratio: .*\(got inf\)"),
        ({"latent_ratio": "half"}, r"latent_ratio: .*\(got 'half'\)"),
        ({"student_overlap": [1.0, 1.0]}, r"student_overlap: must be of shape .*\(got \(2,\)\)"),
        (
            {"student_overlap": [[1.0, 2.0], [2.0, 1.0]]},
            r"student_overlap: the matrix must be a covariance \(got the eigenvalue -1",
        ),
        ({"teacher_overlap": [[np.nan]]}, "teacher_overlap: must be finite"),
        ({"teacher_overlap": [[1.0, 0.5], [0.0, 1.0]]}, "teacher_overlap: the matrix must be symmetric"),
        ({"teacher_overlap": "T"}, "teacher_overlap: must be numbers"),
        ({"nonlinearity": "cos"}, r"nonlinearity: .*\(got 'cos'\)"),
        ({"nodes": 0}, r"nodes: .*\(got 0\)"),
        ({"nodes": 2.5}, r"nodes: .*\(got 2\.5\)"),
    ],
)
def test_limits_that_cannot_be(change, message):
    with pytest.raises(sl.ProblemError, match=message):
        marchenko_pastur(**({"latent_ratio": 0.5, "student_overlap": Q0, "teacher_overlap": T} | change))
