"""The compiled loops of online SGD: many chains train on one block of shared products.

A *chain* is one student in training. All chains of a call share the block of products zF/√D, … that the stream made.
The input X = f(U) of a chain is never stored: each sample forms one row of it in cache.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numba import njit
from numpy import float32, float64, ndarray

from ..rules import FAST, Code, Tables, activation_and_slope, erf_and_gauss, smooth_part, values_and_slopes
from ..training import Rates

SUB_BLOCK = 128
"""All chains take this many samples of a block before any continues. So the products stay in the second-level cache."""

FIRST_CACHE = 1 << 14
"""Most bytes of weights of chains that share an input, and take each sample one after the other."""


class Chains(NamedTuple):
    """Arrays that stay the same while the chains train.

    The input is X = f(U) − centre, U = gain (products[first] + coefficient products[second] + shift).
    """

    sources: Int[ndarray, "chain 2"]
    """The two products that a chain adds up."""
    coefficients: Float32[ndarray, "chain"]
    gains: Float32[ndarray, "chain"]
    shifts: Float32[ndarray, "chain width"]
    same_input: Bool[ndarray, "chain"]
    """Whether a chain has the input of the chain before it."""
    f: int
    """The code of f."""
    f_tables: Tables
    """The table of f, where its code asks for one."""
    centres: Float32[ndarray, "chain N"]
    """E f(U); no columns where there is nothing to subtract."""
    activations: Int[ndarray, "chain"]
    teacher_activations: Int[ndarray, "chain"]
    tables: Tables
    """Tables of the activations that are not built in."""
    teacher_output: Float[ndarray, "chain task M"]
    """Normalised: s_M ṽ."""
    switch_samples: Int[ndarray, "switches"]
    """Samples after which the next task begins."""
    rates: Rates
    """One number for each chain; the batch size is common to all, and schedules are in :attr:`Block.factors`."""


class Block(NamedTuple):
    """Consecutive samples of the stream."""

    first: int
    """Samples before the block."""
    products: Float32[ndarray, "source sample width"]
    """Preactivations of N inputs, fields of M teacher units, and padding."""
    noise: Float[ndarray, "sample"]
    """Normals for the labels, or given labels: their teacher has no units and their noise is 1."""
    factors: Float[ndarray, "chain sample"]
    """Factors of the rates, from the schedules."""


class Students(NamedTuple):
    """The students in training, changed in place, and the weights kept at the output times."""

    student: Float32[ndarray, "chain K width"]
    """N columns, and zeros up to the width of the products."""
    output: Float[ndarray, "chain K"]
    seen_student: Float32[ndarray, "chain K width"]
    """The weights a batch began with, which its fields see; empty for batches of one."""
    seen_output: Float[ndarray, "chain K"]
    diverged_sample: Int[ndarray, "chain"]
    """The sample at which a chain left the finite numbers, else −1."""
    output_samples: Int[ndarray, "time"]
    """Samples after which weights are kept."""
    kept_student: Float32[ndarray, "chain time K N"]
    kept_output: Float[ndarray, "chain time K"]


# The helpers below index whole arrays: a view of a row would cost two atomic reference counts a sample.


@njit(inline="always", fastmath=FAST)
def _form_input(products, chains, c, shifted, s, row, r):
    """row[r] = f(gain (products[first, s] + coefficient products[second, s] + shift)) − E f(U), the input X."""
    first, second = chains.sources[c, 0], chains.sources[c, 1]
    coefficient, gain = chains.coefficients[c], chains.gains[c]
    shifts, centres = chains.shifts, chains.centres
    size = row.shape[1]
    if chains.f == Code.SIGN:  # in one pass; and for a positive gain, the sign does without it
        if shifted or coefficient != 0:
            for j in range(size):
                u = products[first, s, j] + coefficient * products[second, s, j] + shifts[c, j]
                row[r, j] = math.copysign(float32(1), u)
        else:
            for j in range(size):
                row[r, j] = math.copysign(float32(1), products[first, s, j])
        return
    for j in range(size):
        row[r, j] = gain * (products[first, s, j] + coefficient * products[second, s, j] + shifts[c, j])
    if chains.f == Code.ERF:
        for j in range(size):
            row[r, j] = erf_and_gauss(float64(row[r, j]))[0]
    if chains.f == Code.TABLE:
        for j in range(size):
            row[r, j] = smooth_part(chains.f_tables, 0, float64(row[r, j]))[0]
        kinks = chains.f_tables.kinks
        for k in range(kinks.shape[1]):  # a pass for each, because a loop in the loop above would not vectorise
            position, jump, slope = float32(kinks[0, k, 0]), float32(kinks[0, k, 1]), float32(kinks[0, k, 2])
            for j in range(size):
                u = gain * (products[first, s, j] + coefficient * products[second, s, j] + shifts[c, j])
                row[r, j] += jump + slope * (u - position) if u > position else float32(0)
    for j in range(centres.shape[1]):
        row[r, j] -= centres[c, j]


@njit(inline="always", fastmath=FAST)
def _form_labels(products, chains, c, task, N, start, stop, labels, row):
    """labels[row] = Σ ṽ_m g(ν_m) of some samples; the teacher's fields follow the N preactivations in the products."""
    count = stop - start
    field, value, slope = np.empty(count), np.empty(count), np.empty(count)
    first, second = chains.sources[c, 0], chains.sources[c, 1]
    labels[row, :count] = 0
    for m in range(chains.teacher_output.shape[2]):
        weight = chains.teacher_output[c, task, m]
        if weight == 0:
            continue
        for s in range(count):
            u = products[first, start + s, N + m] + chains.coefficients[c] * products[second, start + s, N + m]
            field[s] = chains.gains[c] * (u + chains.shifts[c, N + m])
        values_and_slopes(chains.teacher_activations[c], field, 0, count, chains.tables, value, slope)
        for s in range(count):
            labels[row, s] += weight * value[s]


@njit(inline="always", fastmath=FAST)
def _update_and_fields(student, seen_student, i, begins, pending, p, row, old, new, field):
    """One pass over the weights: the update W −= pending ⊗ row[old] that waits, and the fields W · row[new].

    Fields see the weights with which the batch begins.
    """
    K, width = student.shape[1:]
    paired = K - K % 2 if begins else 0
    for k in range(0, paired, 2):  # two units at a time share the loads of the rows
        back_k, back_l = pending[p, k], pending[p, k + 1]
        total_k, total_l = float32(0), float32(0)
        for j in range(width):
            w_k = student[i, k, j] - back_k * row[old, j]
            w_l = student[i, k + 1, j] - back_l * row[old, j]
            student[i, k, j], student[i, k + 1, j] = w_k, w_l
            total_k += w_k * row[new, j]
            total_l += w_l * row[new, j]
        field[k], field[k + 1] = total_k, total_l
    for k in range(paired, K):
        back_k, total_k = pending[p, k], float32(0)
        for j in range(width):
            w_k = student[i, k, j] - back_k * row[old, j]
            student[i, k, j] = w_k
            total_k += (w_k if begins else seen_student[i, k, j]) * row[new, j]
        field[k] = total_k


@njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def sgd_block(block, chains, students, begin, end):
    """Take the steps of one block with the chains from ``begin`` to ``end``.

    W_k ← (1 − ηκ/N) W_k − (η/√N) s ⟨v_k Δ g'(λ_k) X⟩ and v_k ← v_k − (η_v/N) s ⟨g(λ_k) Δ⟩, (S28, S29) with options:
    s is the normalisation of the output, κ the weight decay, ⟨⟩ the mean over a batch.

    Within a sub-block W is shrink · student, so that weight decay costs nothing. Each sample of a batch changes
    ``student``, with its part of the mean; fields see ``seen_student``, the weights that the batch began with.
    """
    K, width = students.student.shape[1:]
    N = students.kept_student.shape[3]
    most = max(1, FIRST_CACHE // (4 * K * width))
    row, labels = np.zeros((2, width), float32), np.zeros((most, SUB_BLOCK))
    pending, shrink = np.zeros((most, K), float32), np.ones(most)
    scratch = row, labels, pending, shrink, np.zeros(K), np.zeros(K), np.zeros(K)
    start = np.int64(0)  # for the literal 0 Numba would compile _train once more
    while start < len(block.noise):
        task = np.searchsorted(chains.switch_samples, block.first + start, side="right")
        stop = min(start + SUB_BLOCK, len(block.noise))
        if task < chains.switch_samples.shape[0]:
            stop = min(stop, chains.switch_samples[task] - block.first)
        c = begin
        while c < end:
            # Chains in a row that see the same input form it once.
            shared = c + 1
            while shared < end and shared - c < most and chains.same_input[shared]:
                shared += 1
            for i in range(c, shared):
                _form_labels(block.products, chains, i, task, N, start, stop, labels, i - c)
                for s in range(start, stop):
                    labels[i - c, s - start] += chains.rates.label_noise[i] * block.noise[s]
            _train(block, chains, students, c, shared, start, stop, scratch)
            c = shared
        start = stop


@njit(fastmath=FAST, error_model="numpy")
def _train(block, chains, students, c, shared, start, stop, scratch):
    """Train chains that see the same input on the samples of a sub-block."""
    student, output, seen_student, seen_output, diverged_sample, output_samples = students[:6]
    products, rates = block.products, chains.rates
    row, labels, pending, shrink, field, hidden, slope = scratch
    K, N = student.shape[1], students.kept_student.shape[3]
    root, batch_size = math.sqrt(N), rates.batch_size
    shifted = np.any(chains.shifts[c] != 0)
    place = np.searchsorted(output_samples, block.first + start + 1)
    row[:] = 0
    for s in range(start, stop):
        new, old, sample = s % 2, 1 - s % 2, block.first + s
        begins = sample % batch_size == 0
        kept = place < output_samples.shape[0] and output_samples[place] == sample + 1
        _form_input(products, chains, c, shifted, s, row, new)
        row[new, N:] = 0
        for i in range(c, shared):
            if diverged_sample[i] >= 0:
                continue
            p = i - c
            _update_and_fields(student, seen_student, i, begins, pending, p, row, old, new, field)
            unit = shrink[p] if begins else 1.0
            if begins:
                for k in range(K):
                    seen_output[i, k] = output[i, k]
                    for j in range(row.shape[1] if batch_size > 1 else 0):
                        seen_student[i, k, j] = float32(unit) * student[i, k, j]
            prediction, scale = 0.0, rates.student_scale[i]
            for k in range(K):
                hidden[k], slope[k] = activation_and_slope(chains.activations[i], unit / root * field[k], chains.tables)
                prediction += seen_output[i, k] * hidden[k]
            error = scale * prediction - labels[p, s - start]
            if not math.isfinite(error):
                diverged_sample[i] = sample
                continue
            share = error / batch_size
            factor = block.factors[i, s]
            rate, output_rate = factor * rates.learning_rate[i], factor * rates.output_rate[i]
            if begins:
                shrink[p] *= 1 - rate * rates.weight_decay[i] / N
            for k in range(K):
                v = seen_output[i, k]
                pending[p, k] = rate / root * scale * v * share * slope[k] / shrink[p]
                output[i, k] -= output_rate / N * scale * hidden[k] * share
            if kept or s == stop - 1:
                # What waits is applied; fields are of no use here.
                _update_and_fields(student, seen_student, i, True, pending, p, row, new, new, field)
                for k in range(K):
                    pending[p, k] = 0
                    for j in range(row.shape[1]):
                        student[i, k, j] *= float32(shrink[p])
                shrink[p] = 1
            if kept:
                for k in range(K):  # loops, because Numba compiles a copy between slices for seconds
                    students.kept_output[i, place, k] = output[i, k]
                    for j in range(N):
                        students.kept_student[i, place, k, j] = student[i, k, j]
        place += kept


@njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def inputs_and_labels(products, chains, c, X, y):
    """Form X (sample, N) float32 and y (task, sample) of chain c from its products: test sets, kept inputs."""
    shifted = np.any(chains.shifts[c] != 0)
    for s in range(len(X)):
        _form_input(products, chains, c, shifted, s, X, s)
    for task in range(len(y)):
        _form_labels(products, chains, c, task, X.shape[1], 0, len(X), y, task)


@njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def losses(fields, activation, tables, output, labels):
    """Mean Δ²/2 over samples for every output time and task, and its standard error: (2, time, task).

    ``fields`` (time, K, sample) float32, ``output`` (time, task, K) normalised, ``labels`` (task, sample).
    """
    times, K, samples = fields.shape
    result = np.empty((2, times, len(labels)))
    hidden, slope, difference = np.empty((K, samples)), np.empty(samples), np.empty(samples)
    for t in range(times):
        for k in range(K):
            values_and_slopes(activation, fields[t, k].astype(float64), 0, samples, tables, hidden[k], slope)
        for task in range(len(labels)):
            for s in range(samples):
                difference[s] = -labels[task, s]
            for k in range(K):
                for s in range(samples):
                    difference[s] += output[t, task, k] * hidden[k, s]
            total, squares = 0.0, 0.0
            for s in range(samples):
                loss = 0.5 * difference[s] * difference[s]
                total += loss
            mean = total / samples
            for s in range(samples):
                loss = 0.5 * difference[s] * difference[s] - mean
                squares += loss * loss
            result[0, t, task], result[1, t, task] = mean, math.sqrt(squares) / samples
    return result
