"""The compiled inner loop of online SGD: many chains over one block of shared preactivations.

A *chain* is one student being trained. All chains of a call share the block of products zF/√D, ... that the stream
made; the input X = f(U) of a chain is never stored, each step forms one row of it in cache.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from ..inputs import TABULATED
from ..rules import ERF, RELU, activation_and_slope, erf_and_gauss, smooth_part

__all__ = ["ERF_INPUT", "SIGN", "SUB_BLOCK", "Rules", "inputs_and_labels", "losses", "sgd_block"]

SUB_BLOCK = 128
"""Steps of a block that all chains take before any goes on: their preactivations stay in the second-level cache."""

FIRST_CACHE = 1 << 14
"""Bytes of weights of the chains that take a step on the same input one after the other."""

# No "nnan" and "ninf": divergence must be seen.
FAST = {"reassoc", "contract", "nsz", "arcp"}
SIGN, ERF_INPUT = 0, 1  # codes of sgdlimit.inputs._manifold, the rest is the identity


class Rules(NamedTuple):
    """The learning rule of every chain, as :class:`sgdlimit.Training` says it."""

    learning_rate: Float[np.ndarray, "chain"]
    output_rate: Float[np.ndarray, "chain"]
    output_scale: Float[np.ndarray, "chain"]
    label_noise: Float[np.ndarray, "chain"]
    weight_decay: Float[np.ndarray, "chain"]
    schedule: Int[np.ndarray, "chain"]
    """Row of the factors that both rates are multiplied with."""

    def of(self, some: slice) -> "Rules":
        """Those of some chains."""
        return Rules(*(values[some] for values in self))


# The helpers below index whole arrays: a view of a row would cost two atomic reference counts a step.


@njit(inline="always", fastmath=FAST)
def _form_input(products, first, second, s, coefficient, shifts, c, shifted, gain, manifold, row, r):
    """row[r] = f(gain (products[first, s] + coefficient products[second, s] + shifts[c])) − E f(U), the input X."""
    size = row.shape[1]
    one = np.float32(1)
    if manifold.code == SIGN:  # in one pass; and for a positive gain, the sign does without it
        if shifted:
            for j in range(size):
                u = products[first, s, j] + coefficient * products[second, s, j] + shifts[c, j]
                row[r, j] = math.copysign(one, u)
        elif coefficient != 0:
            for j in range(size):
                row[r, j] = math.copysign(one, products[first, s, j] + coefficient * products[second, s, j])
        else:
            for j in range(size):
                row[r, j] = math.copysign(one, products[first, s, j])
        return
    for j in range(size):
        row[r, j] = gain * (products[first, s, j] + coefficient * products[second, s, j] + shifts[c, j])
    if manifold.code == ERF_INPUT:
        for j in range(size):
            row[r, j] = erf_and_gauss(np.float64(row[r, j]))[0]
    if manifold.code == TABULATED:
        for j in range(size):
            row[r, j] = smooth_part(manifold.tables, 0, np.float64(row[r, j]))[0]
        kinks = manifold.tables.kinks
        for k in range(kinks.shape[1]):  # a pass for each, for a loop in the loop above would not vectorise
            position, jump, slope = np.float32(kinks[0, k, 0]), np.float32(kinks[0, k, 1]), np.float32(kinks[0, k, 2])
            for j in range(size):
                u = gain * (products[first, s, j] + coefficient * products[second, s, j] + shifts[c, j])
                row[r, j] += jump + slope * (u - position) if u > position else np.float32(0)
    for j in range(manifold.centres.shape[1]):
        row[r, j] -= manifold.centres[c, j]


@njit(inline="always", fastmath=FAST)
def _form_labels(
    products,
    first,
    second,
    start,
    stop,
    coefficient,
    shifts,
    c,
    gain,
    activation,
    tables,
    teacher_outputs,
    task,
    N,
    labels,
    row,
):
    """labels[row] = Σ ṽ_m g(ν_m) of some samples; the teacher's fields follow the N preactivations in the product."""
    labels[row] = 0
    for m in range(teacher_outputs.shape[2]):
        n, weight = N + m, teacher_outputs[c, task, m]
        if weight == 0:
            continue
        # A loop for each activation: one with the choice within it would not vectorise.
        if activation == ERF:
            for s in range(start, stop):
                field = gain * (products[first, s, n] + coefficient * products[second, s, n] + shifts[c, n])
                labels[row, s - start] += weight * erf_and_gauss(np.float64(field))[0]
        elif activation == RELU:
            for s in range(start, stop):
                field = gain * (products[first, s, n] + coefficient * products[second, s, n] + shifts[c, n])
                labels[row, s - start] += weight * max(np.float64(field), 0.0)
        else:
            for s in range(start, stop):
                field = gain * (products[first, s, n] + coefficient * products[second, s, n] + shifts[c, n])
                labels[row, s - start] += weight * activation_and_slope(activation, np.float64(field), tables)[0]


@njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def sgd_block(
    products,  # (source, sample, width) float32: the shared preactivations, N of the inputs, M of the teacher, padding
    samples,  # how many of them to take
    sources,  # (chain, 2) the two products that a chain adds up
    coefficients,  # (chain,) float32, of the second product
    shifts,  # (chain, width) float32
    gains,  # (chain,) float32
    same_input,  # (chain,): whether a chain's input is that of the chain before
    manifold,  # f, and the means to subtract: a Manifold
    activations,  # (chain,)
    teacher_activations,  # (chain,)
    tables,  # Tables of the activations that are not built in
    rules,  # Rules of the chains
    factors,  # (schedule, sample): what the schedules multiply the rates with
    teacher_outputs,  # (chain, task, M)
    switch_samples,  # (task − 1,): samples after which the next task begins
    noise,  # (sample,): normals for the labels, or empty
    given_labels,  # (sample,), or empty where the teacher labels
    batch_size,
    student,  # (chain, K, width) float32, zero beyond N, trained in place
    student_output,  # (chain, K), trained in place
    gradient,  # (chain, K, width) float32, of the samples of an unfinished batch; empty for batches of one
    output_gradient,  # (chain, K), likewise
    first_sample,
    output_samples,  # (time,): samples after which weights are kept
    kept_student,  # (chain, time, K, N) float32
    kept_output,  # (chain, time, K)
    diverged_sample,  # (chain,): the sample at which a chain left the finite numbers, else −1
):
    """Take the steps of one block, W_k ← (1 − ηκ/N) W_k − (η/√N) s ⟨v_k Δ g'(λ_k) X⟩, v_k ← v_k − (η_v/N) s ⟨g(λ_k) Δ⟩.

    (S28, S29) with options: s the output's normalisation, κ the weight decay, ⟨⟩ the mean over a batch. W is kept as
    shrink · student within a sub-block, so that weight decay costs nothing there.
    """
    chains, K, width = student.shape
    N = kept_student.shape[3]
    row = np.zeros((2, width), np.float32)
    field, hidden, slope = np.zeros(K), np.zeros(K), np.zeros(K)
    most = max(1, FIRST_CACHE // (4 * K * width))
    pending = np.zeros((most, K), np.float32)
    shrink = np.ones(most)
    labels = np.zeros((most, SUB_BLOCK))
    output = np.zeros(most, np.int64)
    root = math.sqrt(N)
    start = 0
    while start < samples:
        task = np.searchsorted(switch_samples, first_sample + start, side="right")
        stop = min(start + SUB_BLOCK, samples)
        if task < switch_samples.shape[0]:
            stop = min(stop, switch_samples[task] - first_sample)
        c = 0
        while c < chains:
            # Chains in a row that see the same input form it once.
            end = c + 1
            while end < chains and end - c < most and same_input[end]:
                end += 1
            first, second, coefficient, gain = sources[c, 0], sources[c, 1], coefficients[c], gains[c]
            shifted = np.any(shifts[c] != 0)
            for i in range(c, end):
                if given_labels.shape[0] > 0:
                    labels[i - c, : stop - start] = given_labels[start:stop]
                else:
                    _form_labels(
                        products, first, second, start, stop, coefficient, shifts, i, gain,
                        teacher_activations[i], tables, teacher_outputs, task, N, labels, i - c,
                    )  # fmt: skip
                if noise.shape[0] > 0:
                    for s in range(start, stop):
                        labels[i - c, s - start] += rules.label_noise[i] * noise[s]
                output[i - c] = np.searchsorted(output_samples, first_sample + start + 1)
            pending[:] = 0
            shrink[:] = 1
            row[:] = 0
            for s in range(start, stop):
                new, old = s % 2, 1 - s % 2
                _form_input(products, first, second, s, coefficient, shifts, c, shifted, gain, manifold, row, new)
                for j in range(N, width):
                    row[new, j] = 0
                for i in range(c, end):
                    if diverged_sample[i] >= 0:
                        continue
                    place = i - c
                    # One pass over the weights: the update of the step before, and the local field of this one.
                    for k in range(0, K - 1, 2):  # two units at a time share the loads of the rows
                        back_k, back_l = pending[place, k], pending[place, k + 1]
                        total_k, total_l = np.float32(0), np.float32(0)
                        for j in range(width):
                            w_k = student[i, k, j] - back_k * row[old, j]
                            w_l = student[i, k + 1, j] - back_l * row[old, j]
                            student[i, k, j] = w_k
                            student[i, k + 1, j] = w_l
                            total_k += w_k * row[new, j]
                            total_l += w_l * row[new, j]
                        field[k], field[k + 1] = total_k, total_l
                    if K % 2:
                        back_k, total_k = pending[place, K - 1], np.float32(0)
                        for j in range(width):
                            w_k = student[i, K - 1, j] - back_k * row[old, j]
                            student[i, K - 1, j] = w_k
                            total_k += w_k * row[new, j]
                        field[K - 1] = total_k
                    prediction, scale = 0.0, rules.output_scale[i]
                    for k in range(K):
                        hidden[k], slope[k] = activation_and_slope(
                            activations[i], shrink[place] / root * field[k], tables
                        )
                        prediction += student_output[i, k] * hidden[k]
                    error = scale * prediction - labels[place, s - start]
                    if not math.isfinite(error):
                        diverged_sample[i] = first_sample + s
                        continue
                    factor = factors[rules.schedule[i], s]
                    rate, output_rate = factor * rules.learning_rate[i], factor * rules.output_rate[i]
                    shrinking = 1 - rate * rules.weight_decay[i] / N
                    if batch_size == 1:
                        shrink[place] *= shrinking
                        for k in range(K):
                            v = student_output[i, k]
                            pending[place, k] = rate / root * scale * v * error * slope[k] / shrink[place]
                            student_output[i, k] = v - output_rate / N * scale * hidden[k] * error
                    else:
                        step_ends = (first_sample + s + 1) % batch_size == 0
                        for k in range(K):
                            share = np.float32(scale * student_output[i, k] * error * slope[k] / batch_size)
                            output_gradient[i, k] += scale * hidden[k] * error / batch_size
                            for j in range(width):
                                gradient[i, k, j] += share * row[new, j]
                        if step_ends:
                            for k in range(K):
                                student_output[i, k] -= output_rate / N * output_gradient[i, k]
                                output_gradient[i, k] = 0
                                back, kept = np.float32(rate / root), np.float32(shrinking)
                                for j in range(width):
                                    student[i, k, j] = kept * student[i, k, j] - back * gradient[i, k, j]
                                    gradient[i, k, j] = 0
                    t = output[place]
                    wanted = t < output_samples.shape[0] and output_samples[t] == first_sample + s + 1
                    if wanted or s == stop - 1:
                        whole = np.float32(shrink[place])
                        for k in range(K):
                            step_back = pending[place, k]
                            for j in range(width):
                                student[i, k, j] = whole * (student[i, k, j] - step_back * row[new, j])
                            pending[place, k] = 0
                        shrink[place] = 1
                    if wanted:
                        kept_student[i, t] = student[i, :, :N]
                        kept_output[i, t] = student_output[i]
                        output[place] = t + 1
            c = end
        start = stop


@njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def inputs_and_labels(
    products,
    count,
    first,
    second,
    coefficient,
    shifts,
    c,
    gain,
    manifold,
    teacher_activation,
    tables,
    teacher_outputs,
    inputs,
    labels,
):
    """Form X (sample, N) float32 and y (task, sample) of chain c from its preactivations: test sets, kept inputs."""
    shifted = np.any(shifts[c] != 0)
    for s in range(count):
        _form_input(products, first, second, s, coefficient, shifts, c, shifted, gain, manifold, inputs, s)
    for task in range(len(labels)):
        _form_labels(
            products, first, second, 0, count, coefficient, shifts, c, gain, teacher_activation, tables,
            teacher_outputs, task, inputs.shape[1], labels, task,
        )  # fmt: skip


@njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def losses(fields, activation, tables, output, labels, error, error_stderr):
    """Mean Δ²/2 over samples at every output time, and its standard error.

    ``fields`` (time, K, sample) float32, ``output`` (time, K) normalised, ``labels`` (sample,), results (time,).
    """
    times, K, samples = fields.shape
    difference = np.empty(samples)
    for t in range(times):
        difference[:] = -labels
        for k in range(K):
            v = output[t, k]
            if activation == ERF:  # loops of their own, as of the labels
                for s in range(samples):
                    difference[s] += v * erf_and_gauss(np.float64(fields[t, k, s]))[0]
            elif activation == RELU:
                for s in range(samples):
                    difference[s] += v * max(np.float64(fields[t, k, s]), 0.0)
            else:
                for s in range(samples):
                    difference[s] += v * activation_and_slope(activation, np.float64(fields[t, k, s]), tables)[0]
        total, squares = 0.0, 0.0
        for s in range(samples):
            loss = 0.5 * difference[s] * difference[s]
            total += loss
        mean = total / samples
        for s in range(samples):
            loss = 0.5 * difference[s] * difference[s] - mean
            squares += loss * loss
        error[t] = mean
        error_stderr[t] = math.sqrt(squares) / samples
