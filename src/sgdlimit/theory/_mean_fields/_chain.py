"""The fast variables: the mean fields M_k^i = W_k·a^i/√N, a Markov chain that takes a step with each step of SGD.

Given the order parameters, a step draws a cluster i and the fields around their means, λ_k = M_k^i + λ̄_k and
ν_m = n_m^i + ν̄_m with (λ̄, ν̄) ~ N(0, S^i), and moves

    M_k^j ← M_k^j − η v_k Δ g'(λ_k) A_ij,    A_ij = a^i·a^j/N,

by as much as M itself, for |a|² is of order N. What the slow variables need, averages over the fields in each cluster
given M, is taken at some of the states the chain comes through, over as many quasi-random points each time; the points
of the next state continue the Sobol sequence.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt32
from numba import njit
from numpy import ndarray

from ...random import fill_normals, threefry2x32
from ...rules import FAST, Tables, activation_and_slope, values_and_slopes
from ...training import Rates

POINTS = 8
"""Quasi-random points for a cluster and a state of the chain."""

STRIDE = 12
"""Steps of the chain from one of these states to the next. Few points at many states tell more than many at few."""

NO_VARIANCE = 1e-24
# LLVM compiles a function that it does not inline once alone and once within each caller, and which of these a process
# uses, and so the last bit of a sum, depends on what is loaded first. Hence all parts of the chain are inlined.
PART = {"fastmath": FAST, "forceinline": True}


class Clusters(NamedTuple):
    """What the inputs, the functions and the learning rule fix; c clusters, n = K + M fields."""

    weights: Float[ndarray, "c"]
    thresholds: UInt32[ndarray, "c"]
    """Cumulated weights in units of 2⁻³²."""
    kind: Int[ndarray, "c"]
    mean_overlap: Float[ndarray, "c c"]
    """A."""
    teacher_mean: Float[ndarray, "c M"]
    """n."""
    activation: int
    teacher_activation: int
    tables: Tables
    teacher_jumps: bool
    points: Float[ndarray, "n point"]
    """Quasi-random normals."""
    input_dim: int
    v_teacher: Float[ndarray, "task M"]
    """ṽ of every task, times its scale s_M."""
    rates: Rates
    """Its numbers, without the schedule and the times at which tasks change."""
    decay_per_step: float
    """κ/N."""
    pushed: bool
    """Whether the weights have their part along the means of the inputs."""


class Averages(NamedTuple):
    """Averages over the fields and along the chain, by kind of cluster, each with the probability of its kind."""

    H: Float[ndarray, "kind K K"]
    A: Float[ndarray, "kind K M"]
    G: Float[ndarray, "kind K K"]
    error_gradient: Float[ndarray, "K"]
    """E[Δ g(λ_k)], of all clusters."""
    activity: Float[ndarray, "K"]
    """E g'(λ_k)²."""
    pushes: Float[ndarray, "K c"]
    """−η Σ v_k Δ g'(λ_k) over the steps taken in each cluster."""
    slopes: Float[ndarray, "kind K n"]
    """E[g'_k g'_a], and below the averages that H is made of by partial integration."""
    leaning: Float[ndarray, "kind K"]
    """E[Δ g'_k λ̄_k]."""
    jumping: Float[ndarray, "2 kind K M"]
    """E[g'_k g_m λ̄_k] and E[g'_k g_m ν̄_m], for teachers that jump."""


@njit(cache=True)
def cholesky(S, L):
    """L Lᵀ = S for a covariance of any rank: a field that those before it fix adds no column."""
    n = len(S)
    L.fill(0.0)
    for j in range(n):
        pivot = S[j, j]
        for b in range(j):
            pivot -= L[j, b] * L[j, b]
        if not pivot <= 1e-12 * S[j, j] + NO_VARIANCE:  # NaN goes on
            L[j, j] = np.sqrt(pivot)
            for a in range(j + 1, n):
                rest = S[a, j]
                for b in range(j):
                    rest -= L[a, b] * L[j, b]
                L[a, j] = rest / L[j, j]


@njit(**PART)
def _add_averages(clusters, M, roots, c, weight, place, work, averages):
    """Add the averages over the fields of every cluster at one state M; from the points at place to where to go on."""
    K, count = M.shape
    deviations, fields, value, slope, error = work  # field by field
    n = len(fields) // POINTS
    for i in range(count):
        kind = clusters.kind[i]
        share = weight * clusters.weights[i] / POINTS
        for p in range(POINTS):
            error[p] = 0.0
        for a in range(n):
            mean = M[a, i] if a < K else clusters.teacher_mean[i, a - K]
            at = a * POINTS
            for p in range(POINTS):
                deviations[at + p] = 0.0
            for b in range(a + 1):
                factor = roots[kind, a, b]
                for p in range(POINTS):
                    deviations[at + p] += factor * clusters.points[b, place + p]
            for p in range(POINTS):
                fields[at + p] = mean + deviations[at + p]
        values_and_slopes(clusters.activation, fields, 0, K * POINTS, clusters.tables, value, slope)
        values_and_slopes(clusters.teacher_activation, fields, K * POINTS, n * POINTS, clusters.tables, value, slope)
        for a in range(n):
            for p in range(POINTS):
                error[p] += c[a] * value[a * POINTS + p]
        for k in range(K):
            at = k * POINTS
            for a in range(n):
                total = 0.0
                for p in range(POINTS):
                    total += slope[at + p] * slope[a * POINTS + p]
                averages.slopes[kind, k, a] += share * total
                if a == k:
                    averages.activity[k] += share * total
            total, leaning = 0.0, 0.0
            for p in range(POINTS):
                total += error[p] * value[at + p]
                leaning += error[p] * slope[at + p] * deviations[at + p]
            averages.error_gradient[k] += share * total
            averages.leaning[kind, k] += share * leaning
            for l in range(k + 1):  # noqa: E741
                total = 0.0
                for p in range(POINTS):
                    total += error[p] * error[p] * slope[at + p] * slope[l * POINTS + p]
                averages.G[kind, k, l] += share * c[k] * c[l] * total
            if clusters.teacher_jumps:
                for m in range(n - K):
                    total, leaning = 0.0, 0.0
                    for p in range(POINTS):
                        product = slope[at + p] * value[(K + m) * POINTS + p]
                        total += product * deviations[at + p]
                        leaning += product * deviations[(K + m) * POINTS + p]
                    averages.jumping[0, kind, k, m] += share * total
                    averages.jumping[1, kind, k, m] += share * leaning
    place += POINTS
    return place if place + POINTS <= clusters.points.shape[1] else 0


@njit(**PART)
def _finish(clusters, S, c, averages):
    """H, A and G from the averages, by partial integration where they hold a second derivative or that of a jump.

    E[Δ g'_k λ̄_k] = S_kk E[Δ g''_k] + Σ_a S_ka c_a E[g'_k g'_a], which holds for kinks too and divides by S_kk alone.
    """
    kinds, K, n = averages.slopes.shape
    for kind in range(kinds):
        slopes = averages.slopes[kind]
        if clusters.teacher_jumps:
            for k in range(K):
                for m in range(n - K):
                    own, other, both = S[kind, k, k], S[kind, K + m, K + m], S[kind, k, K + m]
                    determinant = own * other - both * both
                    if determinant > 1e-9 * own * other:
                        with_student, with_teacher = averages.jumping[0, kind, k, m], averages.jumping[1, kind, k, m]
                        slopes[k, K + m] = (own * with_teacher - both * with_student) / determinant
        for k in range(K):
            bend = averages.leaning[kind, k]
            for a in range(n):
                bend -= S[kind, k, a] * c[a] * slopes[k, a]
            bend = bend / S[kind, k, k] if S[kind, k, k] > NO_VARIANCE else 0.0
            for l in range(K):  # noqa: E741
                averages.H[kind, k, l] = c[k] * c[l] * slopes[k, l]
            averages.H[kind, k, k] += c[k] * bend
            for m in range(n - K):
                averages.A[kind, k, m] = c[k] * c[K + m] * slopes[k, K + m]
            for l in range(k + 1):  # noqa: E741
                averages.G[kind, k, l] += clusters.rates.label_noise**2 * c[k] * c[l] * slopes[k, l]
                averages.G[kind, l, k] = averages.G[kind, k, l]


@njit(**PART)
def _draw(clusters, first, samples, keys, roots, c, K):
    """What does not wait for the chain: clusters, the students' fields around their means, and less the labels."""
    n = roots.shape[1]
    units = n - K
    width = n + 1 if clusters.rates.label_noise > 0 else n
    normals = np.empty((1, samples * width), np.float32)  # a row, along which the generator vectorises
    fill_normals(keys[0], keys[1], first, normals)
    cluster, deviations = np.zeros(samples, np.int64), np.empty(samples * K)
    fields, value, slope = np.empty(samples * units), np.empty(samples * units), np.empty(samples * units)
    last = len(clusters.weights) - 1
    for sample in range(samples):
        i = 0
        if last > 0:
            word, _ = threefry2x32(keys[2], keys[3], np.uint32(0), np.uint32(first + sample))
            while i < last and word >= clusters.thresholds[i]:
                i += 1
        cluster[sample] = i
        kind = clusters.kind[i]
        for a in range(n):
            x = 0.0
            for b in range(a + 1):
                x += roots[kind, a, b] * normals[0, sample * width + b]
            if a < K:
                deviations[sample * K + a] = x
            else:
                fields[sample * units + a - K] = clusters.teacher_mean[i, a - K] + x
    values_and_slopes(clusters.teacher_activation, fields, 0, len(fields), clusters.tables, value, slope)
    labels = np.zeros(samples)
    for sample in range(samples):
        for m in range(units):
            labels[sample] += c[K + m] * value[sample * units + m]
        if clusters.rates.label_noise > 0:
            labels[sample] += clusters.rates.label_noise * normals[0, sample * width + n]
    return cluster, deviations, labels


@njit(**PART)
def average_over_chain(clusters, first_step, steps, rate_factor, keys, S, c, M, place):
    """Take some steps of the chain, with the order parameters as they are, and average over the fields along it.

    Parameters
    ----------
    first_step
        Number of the first step, which says what random numbers it takes.
    steps
        How many.
    rate_factor
        What the schedule multiplies η with.
    keys
        uint32; the first two words for the normals, the next two for the clusters.
    S
        (kind, n, n), covariances of the fields.
    c
        (n,), signed output weights.
    M
        (K, c), the mean fields; moved.
    place
        Where in the sequence of points to begin.

    Returns
    -------
    tuple[int, Averages]
        Where in the sequence to go on, and the averages.
    """
    K, count = M.shape
    kinds, n, _ = S.shape
    units = n - K
    averages = Averages(
        np.zeros((kinds, K, K)),
        np.zeros((kinds, K, units)),
        np.zeros((kinds, K, K)),
        np.zeros(K),
        np.zeros(K),
        np.zeros((K, count)),
        np.zeros((kinds, K, n)),
        np.zeros((kinds, K)),
        np.zeros((2, kinds, K, units)),
    )
    roots = np.empty((kinds, n, n))
    for kind in range(kinds):
        cholesky(S[kind], roots[kind])
    size = n * POINTS
    work = np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty(POINTS)
    batch = clusters.rates.batch_size
    eta = clusters.rates.learning_rate * rate_factor
    cluster, deviations, labels = _draw(clusters, first_step * batch, steps * batch, keys, roots, c, K)
    push, change = np.empty(K), np.zeros((K, count))
    evaluations, done = max(1, steps // STRIDE), 0
    for s in range(steps):
        while done < evaluations and s == (2 * done + 1) * steps // (2 * evaluations):
            place = _add_averages(clusters, M, roots, c, 1.0 / evaluations, place, work, averages)
            done += 1
        for sample in range(s * batch, (s + 1) * batch):
            i = cluster[sample]
            error = labels[sample]
            for k in range(K):
                g, push[k] = activation_and_slope(
                    clusters.activation, M[k, i] + deviations[sample * K + k], clusters.tables
                )
                error += c[k] * g
            for k in range(K):
                step = eta / batch * c[k] * error * push[k]
                averages.pushes[k, i] -= step
                for j in range(count):
                    change[k, j] -= step * clusters.mean_overlap[i, j]
        for k in range(K):
            for j in range(count):
                M[k, j] += change[k, j] - eta * clusters.decay_per_step * M[k, j]
                change[k, j] = 0.0
    _finish(clusters, S, c, averages)
    return place, averages
