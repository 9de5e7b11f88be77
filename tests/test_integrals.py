"""Gaussian integrals against samples, adaptive quadrature, closed cases and what any second moment must satisfy."""

import equinox as eqx
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.integrate import quad_vec
from scipy.special import erf

from sgdlimit.errors import ProblemError
from sgdlimit.rules import _orthant
from sgdlimit.rules._erf import Erf
from sgdlimit.rules._polynomial import Polynomial
from sgdlimit.rules._relu import ReLU
from sgdlimit.theory._averages import integrals_for

ALL = [Erf(), ReLU(), Polynomial((0.0, 1.0), (0.0, 1.0))]
by_name = pytest.mark.parametrize("integrals", ALL, ids=["erf", "relu", "linear"])


@pytest.fixture(autouse=True, scope="module")
def _float64():
    with jax.enable_x64(True):
        yield


@eqx.filter_jit
def averages(integrals, S, K):
    return integrals.correlation(S, K), integrals.gain(S, K), integrals.curvature(S, K), integrals.quartic(S, K)


second_moments = jax.jit(_orthant.second_moments)


@jax.jit
def orthant_probability(rho):
    """Of a correlation matrix."""
    return _orthant.orthant_probability(rho[np.triu_indices(len(rho), 1)], len(rho))


def correlations(rows):
    rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.clip(np.moveaxis(rows @ np.swapaxes(rows, -1, -2), 0, -1), -1, 1)


# --- orthants --------------------------------------------------------------------------------------------------------


def quadrant_by_scaling(rho):
    """P_4 along another path than the package's: all correlations scaled up together from independence."""
    eye, pairs = np.eye(4), [(i, j) for i in range(4) for j in range(i)]

    def slope(t):
        C, total = eye + t * (rho - eye), 0.0
        for i, j in pairs:
            rest = [k for k in range(4) if k not in (i, j)]
            given = C[np.ix_(rest, rest)] - C[np.ix_(rest, (i, j))] @ np.linalg.solve(
                C[np.ix_((i, j), (i, j))], C[np.ix_((i, j), rest)]
            )
            r = np.clip(given[0, 1] / np.sqrt(given[0, 0] * given[1, 1]), -1, 1)
            total += rho[i, j] / np.sqrt(1 - C[i, j] ** 2) * (1 / 4 + np.arcsin(r) / (2 * np.pi)) / (2 * np.pi)
        return total

    return 1 / 16 + quad_vec(lambda s: slope(1 - s**4) * 4 * s**3, 1e-5, 1, epsabs=1e-12, epsrel=0, limit=500)[0]


def near(rng, count, distance, copies):
    rows = rng.normal(size=(count, 4, 6))
    for i, j in copies:
        rows[:, i] = rows[:, j] + distance * rng.normal(size=(count, 6))
    return rows


@pytest.mark.parametrize(
    ("family", "bound"),
    [
        (lambda rng: rng.normal(size=(20, 4, 6)), 1e-11),
        (lambda rng: near(rng, 20, 0.1, [(2, 0), (3, 1)]), 1e-11),  # students near their teachers
        (lambda rng: near(rng, 20, 0.1, [(2, 0)]), 5e-9),
        (lambda rng: near(rng, 20, 0.1, [(1, 0), (2, 0), (3, 0)]), 5e-9),  # all nearly collinear
        (lambda rng: rng.normal(size=(20, 4, 3)), 5e-9),  # singular
    ],
    ids=["generic", "two close pairs", "close pair", "collinear", "singular"],
)
def test_four_dimensional_orthants_by_another_path(family, bound):
    rho = correlations(family(np.random.default_rng(1)))
    expected = [quadrant_by_scaling(rho[..., i]) for i in range(rho.shape[-1])]
    np.testing.assert_allclose(orthant_probability(jnp.asarray(rho)), expected, rtol=0, atol=bound)


def test_known_orthants():
    half = (np.eye(4) + 1) / 2
    for n in range(1, 5):
        np.testing.assert_allclose(orthant_probability(jnp.asarray(half[:n, :n])), 1 / (n + 1), atol=1e-11)
        np.testing.assert_allclose(orthant_probability(jnp.eye(n)), 2.0**-n, atol=1e-15)
        np.testing.assert_allclose(orthant_probability(jnp.ones((n, n))), 1 / 2, atol=1e-15)
    blocks = np.eye(4)
    blocks[0, 3] = blocks[3, 0] = 0.3
    blocks[1, 2] = blocks[2, 1] = -0.8
    quadrants = [1 / 4 + np.arcsin(r) / (2 * np.pi) for r in (0.3, -0.8)]
    np.testing.assert_allclose(orthant_probability(jnp.asarray(blocks)), np.prod(quadrants), atol=1e-15)


@pytest.mark.parametrize("copy", range(3))
def test_duplicated_variables_drop_a_dimension(copy):
    rows = np.random.default_rng(2).normal(size=(1, 3, 5))
    three = correlations(rows)[..., 0]
    four = correlations(np.concatenate([rows, rows[:, [copy]]], axis=1))[..., 0]
    np.testing.assert_allclose(
        orthant_probability(jnp.asarray(four)), orthant_probability(jnp.asarray(three)), atol=1e-8
    )
    np.testing.assert_allclose(second_moments(jnp.asarray(four))[:3, :3], second_moments(jnp.asarray(three)), atol=1e-7)
    opposite = correlations(np.concatenate([rows, -rows[:, [copy]]], axis=1))[..., 0]
    np.testing.assert_allclose(orthant_probability(jnp.asarray(opposite)), 0, atol=1e-8)
    np.testing.assert_allclose(second_moments(jnp.asarray(opposite)), 0, atol=1e-7)


LIMITS = {
    "duplicate": lambda x: [x[0], x[1], x[0], x[3]],
    "opposite": lambda x: [x[0], x[1], -x[0], x[3]],
    "two duplicates": lambda x: [x[0], x[1], x[0], x[1]],
    "three alike": lambda x: [x[0], x[1], x[0], -x[0]],
    "all alike": lambda x: [x[0], x[0], x[0], x[0]],
    "three in a plane": lambda x: [x[0], x[1], x[0] + x[1], x[3]],
    "four in a plane": lambda x: [x[0], x[1], x[0] + x[1], x[0] - 2 * x[1]],
    "four in a volume": lambda x: [x[0], x[1], x[2], x[0] - x[1] + x[2]],
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=list(LIMITS))
def test_moments_are_continuous_where_the_covariance_is_singular(limit):
    """Moments differ from their limits by no more than what moving the variables by ``distance`` can do."""
    rng = np.random.default_rng(3)
    rows, noise = np.array(limit(rng.normal(size=(4, 6)))), rng.normal(size=(4, 6))
    exact = second_moments(jnp.asarray(correlations(rows[None])[..., 0]))
    for distance in 10.0 ** -np.arange(2, 16):
        moved = second_moments(jnp.asarray(correlations((rows + distance * noise)[None])[..., 0]))
        np.testing.assert_allclose(moved, exact, rtol=0, atol=2 * distance + 1e-6)


def test_slope_of_orthants_is_the_derivative():
    rho = jnp.asarray(correlations(np.random.default_rng(4).normal(size=(1, 4, 5)))[..., 0])
    slope, step = jax.grad(orthant_probability)(rho), 1e-5
    for i, j in zip(*np.triu_indices(4, 1), strict=True):
        moved = [orthant_probability(rho.at[i, j].add(h).at[j, i].add(h)) for h in (step, -step)]
        np.testing.assert_allclose(slope[i, j] + slope[j, i], (moved[0] - moved[1]) / (2 * step), atol=1e-7)


# --- against samples -------------------------------------------------------------------------------------------------

VALUE = {Erf: lambda x: erf(x / np.sqrt(2)), ReLU: lambda x: np.maximum(x, 0), Polynomial: lambda x: x}
SLOPE = {
    Erf: lambda x: np.sqrt(2 / np.pi) * np.exp(-(x**2) / 2),
    ReLU: lambda x: 1.0 * (x > 0),
    Polynomial: np.ones_like,
}


@by_name
def test_integrals_against_antithetic_samples(integrals):
    """Every index pattern of E[g'g'gg] (and E[gg], E[g'g']) within 4.5 standard errors of 2·10⁶ samples.

    5² + 3·5 + 3²·5² = 265 numbers per activation (about half of them distinct): by Bonferroni the three tests raise
    fewer than 0.6% false alarms over seeds; the seed is fixed.
    """
    rng, K, n, half = np.random.default_rng(5), 3, 5, 1_000_000
    root = rng.normal(size=(n, n)) * [[0.6], [1.0], [1.4], [0.8], [1.2]] / 2
    S = root @ root.T
    correlation, gain, _, quartic = averages(integrals, jnp.asarray(S), K)
    g, slope = VALUE[type(integrals)], SLOPE[type(integrals)]
    patterns = {"ab": correlation, "ka": gain, "klab": quartic}
    sums = {p: [np.zeros(np.shape(v)), np.zeros(np.shape(v))] for p, v in patterns.items()}
    for _ in range(20):
        x = root @ rng.normal(size=(n, half // 20))
        signs = [(g(s * x), slope(s * x)) for s in (1, -1)]
        for pattern, (total, square) in sums.items():
            # The pair average (u + u')/2 and its square, as products of a left and a right part so that BLAS does it.
            parts = [_parts(pattern, g_x, slope_x, K) for g_x, slope_x in signs]
            shape = total.shape
            (left, right), (left_, right_) = parts
            total += ((left @ right.T + left_ @ right_.T) / 2).reshape(shape)
            cross = (left * left_) @ (right * right_).T
            square += (((left**2) @ (right**2).T + (left_**2) @ (right_**2).T + 2 * cross) / 4).reshape(shape)
    for pattern, value in patterns.items():
        mean, square = (total / half for total in sums[pattern])
        standard_error = np.sqrt(np.maximum(square - mean**2, 0) / half)
        assert np.all(np.abs(value - mean) <= 4.5 * standard_error + 1e-12), pattern


def _parts(pattern, g, slope, K):
    def pairs(a, b):
        return (a[:, None] * b[None]).reshape(-1, a.shape[-1])

    if pattern == "ab":
        return g, g
    if pattern == "ka":
        return slope[:K], slope
    return pairs(slope[:K], slope[:K]), pairs(g, g)


# --- identities ------------------------------------------------------------------------------------------------------


def random_covariance(seed, n=5):
    root = np.random.default_rng(seed).normal(size=(n, n)) / 2
    return root @ root.T


@by_name
def test_gain_and_curvature_are_derivatives_of_the_correlation(integrals):
    """Price's theorem: ∂E[g_a g_b]/∂S_ab = E[g'_a g'_b], ∂E[g_a g_b]/∂S_aa = E[g''_a g_b]/2, by differences."""
    n, step = 4, 1e-5
    S = random_covariance(6, n)
    _, gain, curvature, _ = averages(integrals, jnp.asarray(S), n)

    def difference(i, j):
        moved = []
        for h in (step, -step):
            C = S.copy()
            C[i, j] += h
            C[j, i] = C[i, j]
            moved.append(np.asarray(integrals.correlation(jnp.asarray(C), 1)))
        return (moved[0] - moved[1]) / (2 * step)

    for a in range(n):
        change = difference(a, a)
        for b in range(n):
            if a == b:
                np.testing.assert_allclose(change[a, a], gain[a, a] + curvature[a, a], atol=1e-8)
            else:
                np.testing.assert_allclose(change[a, b], curvature[a, b] / 2, atol=1e-8)
                np.testing.assert_allclose(difference(a, b)[a, b], gain[a, b], atol=1e-8)


@by_name
def test_automatic_derivatives_of_the_correlation(integrals):
    n = 4
    S = jnp.asarray(random_covariance(7, n))
    _, gain, curvature, _ = averages(integrals, S, n)
    weights = jnp.asarray(np.random.default_rng(8).normal(size=(n, n)))
    weights = weights + weights.T
    slope = jax.grad(lambda S: jnp.sum(weights * integrals.correlation(S, 1)))(S)
    expected = weights * gain + jnp.diag(jnp.sum(weights * curvature, axis=1))
    np.testing.assert_allclose((slope + slope.T) / 2, expected, atol=1e-12)


@by_name
def test_quartic_derivatives_against_differences(integrals):
    K, n, step = 2, 4, 1e-5
    S = random_covariance(9, n)
    rng = np.random.default_rng(10)
    weights, direction = rng.normal(size=(K, K, n, n)), rng.normal(size=(n, n))
    direction += direction.T

    @eqx.filter_jit
    @jax.value_and_grad
    def total(S):
        return jnp.sum(weights * integrals.quartic(S, K))

    ahead, behind = (total(jnp.asarray(S + h * direction))[0] for h in (step, -step))
    slope = total(jnp.asarray(S))[1]
    np.testing.assert_allclose(jnp.sum(slope * direction), (ahead - behind) / (2 * step), rtol=1e-6)


@by_name
def test_students_are_interchangeable(integrals):
    S, K = random_covariance(11), 3
    swap = np.array([2, 0, 1, 3, 4])
    plain = averages(integrals, jnp.asarray(S), K)
    swapped = averages(integrals, jnp.asarray(S[np.ix_(swap, swap)]), K)
    expected = (
        plain[0][np.ix_(swap, swap)],
        plain[1][np.ix_(swap[:K], swap)],
        plain[2][np.ix_(swap[:K], swap)],
        plain[3][np.ix_(swap[:K], swap[:K], swap, swap)],
    )
    for value, wanted in zip(swapped, expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-9)


def test_unknown_activations_are_refused():
    with pytest.raises(ProblemError, match=r"activation: must be 'erf', .* \(got 'swish'\)"):
        integrals_for("swish")


# --- what holds at every covariance, singular or not -----------------------------------------------------------------

K, N_FIELDS = 2, 4
roots = st.integers(1, N_FIELDS).flatmap(
    lambda rank: hnp.arrays(
        np.float64,
        (N_FIELDS, rank),
        # Small integers make duplicated, opposite and zero fields likely.
        elements=st.integers(-2, 2).map(float) | st.floats(-3, 3, allow_subnormal=False),
    )
)


@eqx.filter_jit
def slopes(integrals, S):
    def total(S):
        return sum(jnp.sum(x) for x in averages(integrals, S, K))

    return jax.grad(total)(S)


@by_name
@settings(max_examples=150, deadline=None, derandomize=True)
@given(root=roots)
def test_second_moments_stay_second_moments(integrals, root):
    S = jnp.asarray(root @ root.T)
    correlation, gain, curvature, quartic = (np.asarray(x) for x in averages(integrals, S, K))
    for value in (correlation, gain, curvature, quartic):
        assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(slopes(integrals, S)))

    scale = max(1.0, np.trace(root @ root.T))
    assert np.linalg.eigvalsh(correlation).min() >= -1e-7 * scale
    assert np.linalg.eigvalsh(gain[:, :K]).min() >= -1e-7
    # E[(g'_k g_a)(g'_l g_b)] is a second moment in the pairs (k, a) and (l, b) ...
    pairs = quartic.transpose(0, 2, 1, 3).reshape(K * N_FIELDS, K * N_FIELDS)
    np.testing.assert_allclose(pairs, pairs.T, atol=1e-7 * scale)
    assert np.linalg.eigvalsh(pairs).min() >= -1e-7 * scale
    # ... so Cauchy-Schwarz holds, and so does the symmetry of each pair of factors.
    diagonal = np.maximum(np.diag(pairs), 0)
    assert np.all(np.square(pairs) <= diagonal[:, None] * diagonal + 1e-7 * scale**2)
    np.testing.assert_allclose(quartic, quartic.swapaxes(0, 1), atol=1e-12 * scale)
    np.testing.assert_allclose(quartic, quartic.swapaxes(2, 3), atol=1e-7 * scale)
