"""Inputs in clusters: Hermite coefficients around a mean, moments within the clusters, and the clusters of laws."""

import math
from itertools import pairwise, product

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import sgdlimit as sl
from sgdlimit.errors import ProblemError
from sgdlimit.inputs import assumed_clusters
from sgdlimit.inputs._law import MOST_CLUSTERS, Clusters
from sgdlimit.inputs._manifold import nonlinearity_named
from sgdlimit.inputs._moments import root_of

OWN = sl.Nonlinearity(lambda u: jnp.where(u > 0.4, u, -0.5), name="own")
N, D = 24, 12
PROBLEM = sl.Problem(input_dim=N, latent_dim=D, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2)


def drawn(**changes):
    return PROBLEM.draw(seed=0).replace(**changes)


def cluster_law(dim=D, **options):
    rng = np.random.default_rng(3)
    roots = rng.normal(size=(3, dim, dim)) / np.sqrt(dim)
    covariances = 0.4 * np.eye(dim) + np.array([0.2, 1.0, 2.0])[:, None, None] * roots @ np.swapaxes(roots, 1, 2)
    return sl.ClusterMixture(rng.normal(size=(3, dim)), covariances, weights=[0.5, 0.3, 0.2], **options)


# --- Hermite coefficients around a mean ------------------------------------------------------------------------------


FUNCTIONS = {
    "sign": (lambda u: math.copysign(1.0, u), [0.0]),
    "erf": (lambda u: math.erf(u / math.sqrt(2)), []),
    "identity": (lambda u: u, []),
    "tanh": (math.tanh, []),
    "relu": (lambda u: max(u, 0.0), [0.0]),
    "square": (lambda u: u * u, []),
    "own": (lambda u: u if u > 0.4 else -0.5, [0.4]),
}
"""By the standard library, and where they have kinks."""


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("deviation", [0.3, 1.7])
def test_hermite_coefficients_around_a_mean(name, deviation):
    """E f, E[z f]/σ and E f² at h + σz, by adaptive quadrature between the kinks."""
    (function, kinks), means = FUNCTIONS[name], np.array([-2.5, 0.0, 0.7, 6.0])
    found = nonlinearity_named(OWN if name == "own" else name).hermite(np.full(4, deviation), means)
    for i, h in enumerate(means):
        ends = sorted({-12.0, 12.0, *(min(max((k - h) / deviation, -12), 12) for k in kinks)})

        def average(weigh, h=h, ends=ends):
            def integrand(z):
                return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * weigh(z, function(h + deviation * z))

            return sum(quad(integrand, a, b, epsabs=1e-13, epsrel=1e-12, limit=200)[0] for a, b in pairwise(ends))

        c = average(lambda z, y: y * y)
        expected = average(lambda z, y: y), average(lambda z, y: z * y) / deviation, c
        for value, exact, scale in zip(found, expected, (np.sqrt(c), np.sqrt(c) / deviation, c), strict=True):
            assert abs(value[i] - exact) < 2e-10 * scale


@pytest.mark.parametrize("f", ["sign", "erf", "identity", "tanh", OWN], ids=str)
def test_a_mean_of_zero_changes_nothing(f):
    known, deviation = nonlinearity_named(f), np.array([0.2, 1.0, 5.0])
    for with_mean, without in zip(known.hermite(deviation, np.zeros(3)), known.hermite(deviation), strict=True):
        np.testing.assert_array_equal(with_mean, without)


# --- moments within the clusters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "law"),
    [
        ("sign", sl.MixtureLaw(np.random.default_rng(0).normal(size=(2, D)), weights=[0.7, 0.3], block_size=D)),
        ("sign", sl.MixtureLaw(2 * np.random.default_rng(1).normal(size=(2, D)), block_size=D // 2, standardize=True)),
        ("identity", cluster_law()),
        ("tanh", cluster_law(standardize=True)),
        ("relu", cluster_law()),  # centred by the mean of f
        (OWN, cluster_law()),
    ],
    ids=["sign", "blocks", "identity", "tanh", "relu", "own"],
)
def test_moments_are_those_of_samples_in_each_cluster(f, law):
    """Means, variances, φ and T are exact for any f, all of V for the identity; elsewhere it is so in the limit of D.

    20 000 samples in each of 2 to 4 clusters; of up to 2900 numbers none is off by 6 standard errors, which happens
    once in 10⁵ seeds.
    """
    instance, rng, count = drawn(nonlinearity=f, latent=law), np.random.default_rng(5), 20_000
    moments, clusters = instance.mixture_moments(), law.clusters(D)
    centre = 0.0
    if f in ("relu", OWN):
        centre = instance.input_mean()
    np.testing.assert_allclose(moments.weights, clusters.weights)
    for i, root in enumerate(clusters.roots):
        z = rng.standard_normal((count, D))
        C = clusters.means[i] + (z * root if root.ndim == 1 else z @ root.T)
        X = nonlinearity_named(f).value(C @ instance.features / np.sqrt(D)) - centre
        nu = C @ instance.teacher.T / np.sqrt(D)
        some = moments.kinds[moments.kind[i]]
        V = np.diag(some.diagonal) + some.factor.T @ some.factor
        x, y = X - moments.input_mean[i], nu - moments.teacher_mean[i]

        def near(samples, expected):
            error = np.maximum(samples.std(axis=0) / np.sqrt(count), 1e-12)
            assert (np.abs(samples.mean(axis=0) - expected) < 6 * error).all()

        near(x, 0)
        near(y, 0)
        near(x**2, V.diagonal())
        near(np.sqrt(N) * x[:, :, None] * y[:, None], some.cross)
        near(y[:, :, None] * y[:, None], some.teacher_overlap)
        if f == "identity":
            near(x[:, :, None] * x[:, None], V)
    np.testing.assert_allclose(moments.mean_overlap, moments.input_mean @ moments.input_mean.T / N)


def test_averaged_moments_are_those_within_clusters():
    """Σ p V, Σ p φ and Σ p T, from which overlaps are p-weighted means too."""
    instance = drawn(latent=cluster_law())
    moments = instance.mixture_moments()
    mean = moments.averaged()
    p, W = moments.kind_weights, instance.student
    assert len(moments.kinds) == 3
    np.testing.assert_allclose(p, [0.5, 0.3, 0.2])
    V = sum(w * (np.diag(k.diagonal) + k.factor.T @ k.factor) for w, k in zip(p, moments.kinds, strict=True))
    np.testing.assert_allclose(np.diag(mean.diagonal) + mean.factor.T @ mean.factor, V, atol=1e-12)
    for found, *parts in zip(mean.overlaps(W), *(k.overlaps(W) for k in moments.kinds), strict=True):
        np.testing.assert_allclose(found, np.tensordot(p, np.stack(parts), 1), atol=1e-12)
    np.testing.assert_allclose(
        mean.teacher_overlap, np.tensordot(p, np.stack([k.teacher_overlap for k in moments.kinds]), 1)
    )


def test_clusters_on_opposite_sides_are_of_one_kind():
    """Two equal clusters, standardised, and odd f: a² = −a¹ and the same V. A third one, or unequal weights, is not."""
    means = 3 * np.random.default_rng(2).normal(size=(3, D))
    two = drawn(latent=sl.MixtureLaw(means[:2], block_size=D, standardize=True)).mixture_moments()
    assert len(two.kinds) == 1
    np.testing.assert_allclose(two.input_mean[1], -two.input_mean[0], atol=1e-12)
    np.testing.assert_allclose(two.teacher_mean[1], -two.teacher_mean[0], atol=1e-12)
    for others in (
        sl.MixtureLaw(means, block_size=D, standardize=True),
        sl.MixtureLaw(means[:2], weights=[0.6, 0.4], block_size=D, standardize=True),
        sl.MixtureLaw(means[:2], block_size=D),
    ):
        assert len(drawn(latent=others).mixture_moments().kinds) == others.components
    even = drawn(latent=sl.MixtureLaw(means[:2], block_size=D, standardize=True), nonlinearity="relu")
    assert len(even.mixture_moments().kinds) == 2


def test_linear_manifolds_have_one_kind_wherever_their_clusters_are():
    """f = identity keeps covariances as they are: one kind for any means."""
    law = sl.MixtureLaw(3 * np.random.default_rng(2).normal(size=(4, D)), block_size=D)
    assert len(drawn(latent=law, nonlinearity="identity").mixture_moments().kinds) == 1


# --- the clusters of laws --------------------------------------------------------------------------------------------


def mixed_moments(clusters):
    """Mean and covariance of a mixture, from its clusters."""
    roots = clusters.roots
    within = roots @ np.swapaxes(roots, 1, 2) if roots.ndim == 3 else np.stack([np.diag(r**2) for r in roots])
    mean = clusters.weights @ clusters.means
    centred = clusters.means - mean
    return mean, np.tensordot(clusters.weights, within + centred[:, :, None] * centred[:, None], 1)


@pytest.mark.parametrize(
    "law",
    [
        sl.Gaussian(),
        sl.MixtureLaw(np.random.default_rng(0).normal(size=(3, D)), weights=[0.2, 0.3, 0.5], block_size=D),
        sl.MixtureLaw(np.random.default_rng(0).normal(size=(2, D)), block_size=D, standardize=True),
        sl.MixtureLaw(np.random.default_rng(0).normal(size=(2, D)), weights=[0.2, 0.8], block_size=3),
        sl.MixtureLaw(np.random.default_rng(0).normal(size=(3, D)), block_size=D // 2, standardize=True),
        sl.MixtureLaw([1.5]),
        sl.MixtureLaw([-1.0, 3.0], weights=[0.3, 0.7]),  # every coordinate its own: a Gaussian of its moments
        cluster_law(),
        cluster_law(standardize=True),
    ],
    ids=repr,
)
def test_clusters_make_up_the_law(law):
    mean, covariance = mixed_moments(law.clusters(D))
    np.testing.assert_allclose(mean, law.mean(D), atol=1e-12)
    np.testing.assert_allclose(covariance, law.covariance(D), atol=1e-12)


def test_weights_of_blocks_multiply():
    means = np.random.default_rng(0).normal(size=(3, D))
    clusters = sl.MixtureLaw(means, weights=[0.2, 0.3, 0.5], block_size=D // 2).clusters(D)
    choices = list(product(range(3), repeat=2))
    assert len(clusters.weights) == 9
    np.testing.assert_allclose(clusters.weights, [[0.2, 0.3, 0.5][i] * [0.2, 0.3, 0.5][j] for i, j in choices])
    for row, (i, j) in zip(clusters.means, choices, strict=True):
        np.testing.assert_array_equal(row, np.concatenate([means[i, : D // 2], means[j, D // 2 :]]))


@pytest.mark.parametrize("standardize", [True, False])
def test_main_effects_of_many_blocks_are_those_of_samples(standardize):
    """E[X | i_b], the means of ν, and Cov X and Cov(X, ν), which main effects and rest make together: 4·10⁵ samples,
    within 5 standard errors, a false alarm in 10³ seeds, and what Gaussian equivalence leaves, of order 1/D."""
    rng, D, size, N, count = np.random.default_rng(0), 80, 8, 12, 400_000
    law = sl.MixtureLaw(3 * rng.uniform(-1, 1, (2, D)), weights=[0.7, 0.3], block_size=size, standardize=standardize)
    teacher = rng.normal(size=(2, D))
    instance = sl.Instance(rng.normal(size=(D, N)), rng.normal(size=(1, N)), [1.0], teacher, [1.0, 1.0],
                           activation="erf", learning_rate=0.1, latent=law)  # fmt: skip
    moments, rng = instance.mixture_moments(), np.random.default_rng(1)
    assert moments.blocks == 10
    choice = rng.choice(2, size=(count, 10), p=[0.7, 0.3])
    means = law.component_means(D)[np.repeat(choice, size, axis=1), np.arange(D)]
    C = means + rng.standard_normal((count, D)) / law.scale
    X, nu = np.sign(C @ instance.features / np.sqrt(D)), C @ teacher.T / np.sqrt(D)
    g, n, p = moments.input_mean.copy(), moments.teacher_mean, moments.weights
    mean = p[:2] @ g[:2]  # that of all inputs is part of the first block
    assert (np.abs(X.mean(axis=0) - mean) < 5 / np.sqrt(count) + 0.01).all()
    g[:2] -= mean
    for b in range(10):
        for i in range(2):
            where = choice[:, b] == i
            assert (np.abs(X[where].mean(axis=0) - mean - g[2 * b + i]) < 5 / np.sqrt(where.sum()) + 0.01).all()
            others = sum((p[2 * c : 2 * c + 2] @ n[2 * c : 2 * c + 2] for c in range(10) if c != b), np.zeros(2))
            expected = n[2 * b + i] + others
            assert (np.abs(nu[where].mean(axis=0) - expected) < 5 * nu.std(axis=0) / np.sqrt(where.sum())).all()
    (rest,) = moments.kinds
    centred = n - np.repeat((p[:, None] * n).reshape(10, 2, 2).sum(axis=1), 2, axis=0)
    covariance = np.diag(rest.diagonal) + rest.factor.T @ rest.factor + (g.T * p) @ g
    cross = rest.cross / np.sqrt(N) + (g.T * p) @ centred
    assert (np.abs(np.cov(X.T) - covariance) < 5 / np.sqrt(count) + 0.02).all()
    both = (X - X.mean(axis=0)).T @ (nu - nu.mean(axis=0)) / count
    assert (np.abs(both - cross) < 5 * nu.std(axis=0).max() / np.sqrt(count) + 0.02).all()


def test_shifted_laws_shift_their_clusters():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(2, D))
    settings = {"activation": "erf", "learning_rate": 0.2, "standardize": True}
    instance = sl.Instance.from_inputs(cluster_law(), W, [1, 1], W, [1, 1], **settings)
    mean, covariance = mixed_moments(instance.latent.clusters(D))
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(covariance.diagonal(), 1, rtol=1e-12)


def test_laws_without_components_say_so():
    samples = np.random.default_rng(0).normal(size=(60, D))

    class Own(sl.LatentLaw):
        def sample(self, rng, count, dim=None):
            return rng.laplace(size=(count, dim or 1))

        def mean(self, dim):
            return np.zeros(dim)

        def covariance(self, dim):
            return 2 * np.eye(dim)

        def kl_to_standard_normal(self, *, samples=20_000, seed=0):
            raise NotImplementedError

    for law in (sl.Empirical(samples, standardize=True), Own()):
        with pytest.raises(ProblemError, match=r"latent: must have Gaussian components .*from_sklearn.*moment-matched"):
            sl.solve(drawn(latent=law), [0.0, 1.0], theory="mixture")


def test_too_many_clusters_name_the_theory_that_takes_them():
    many = sl.MixtureLaw(np.random.default_rng(0).normal(size=(2, 14)), block_size=2)  # 2^7
    with pytest.raises(
        ProblemError, match=r"block_size: must make at most 64 clusters.*2\^7, 7 blocks of 2.*moment-matched"
    ):
        many.clusters(14)
    wide = sl.ClusterMixture(np.zeros((MOST_CLUSTERS + 1, 2)), np.tile(np.eye(2), (MOST_CLUSTERS + 1, 1, 1)))
    message = r"latent: must have at most 64 clusters for theory='mixture' .got 65.*moment-matched.*SGD alone"
    with pytest.raises(ProblemError, match=message):
        assumed_clusters(wide, 2, "mixture")
    assert len(sl.MixtureLaw(np.random.default_rng(0).normal(size=(2, 12)), block_size=2).clusters(12).weights) == 64


def test_what_is_no_covariance_is_refused():
    bent = np.array([[1.0, 2.0], [2.0, 1.0]])  # eigenvalues 3 and −1
    flat = np.diag([1.0, 0.0])
    for wrong, least in ((bent, "-1"), (flat, "0")):
        message = rf"covariances: must be positive definite .got an eigenvalue of {least} in cluster 1.. Add a little"
        with pytest.raises(ProblemError, match=message):
            sl.ClusterMixture(np.zeros((2, 2)), [np.eye(2), wrong])
    with pytest.raises(ProblemError, match=r"Σ: must have a covariance without negative eigenvalues .got -1"):
        root_of("Σ", bent)
    with pytest.raises(ProblemError, match="Σ: must have a symmetric covariance"):
        root_of("Σ", np.array([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ProblemError, match=r"weights: must be positive and sum to 1"):
        sl.ClusterMixture(np.zeros((2, 2)), np.tile(np.eye(2), (2, 1, 1)), weights=[0.5, 0.6])
    with pytest.raises(ProblemError, match="roots: must be of shape"):
        Clusters(np.ones(1), np.zeros((1, 2)), np.ones((1, 3)))


def test_roots_of_singular_covariances():
    flat = np.outer([1.0, 2.0], [1.0, 2.0])
    for smallest, rows in ((1e-12, 1), (-np.inf, 2)):
        root = root_of("Σ", flat, smallest)
        assert len(root) == rows
        np.testing.assert_allclose(root.T @ root, flat, atol=1e-15)
