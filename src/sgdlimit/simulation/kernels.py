"""The compiled inner loop of online SGD: many chains over one block of shared preactivations.

A *chain* is one student being trained. All chains of a call share the block of products zF/√D, ... that the stream
made; the input X = f(U) of a chain is never stored, each step forms one row of it in cache.
"""

import math

import numpy as np
from numba import njit

__all__ = ["SUB_BLOCK", "inputs_and_targets", "sgd_block"]

SUB_BLOCK = 128
"""Steps of a block that all chains take before any goes on: their preactivations stay in the second-level cache."""

# No "nnan" and "ninf": divergence must be seen.
FAST = {"reassoc", "contract", "nsz", "arcp"}
ERF, RELU = 0, 1  # codes of sgdlimit.activations, the rest is linear
SIGN, ERF_INPUT = 0, 1  # codes of sgdlimit.inputs.manifold, the rest is the identity


@njit(inline="always")
def _g(activation, x):
    if activation == ERF:
        return math.erf(x * math.sqrt(0.5))
    if activation == RELU:
        return max(x, 0.0)
    return x


@njit(inline="always")
def _g_prime(activation, x):
    if activation == ERF:
        return math.sqrt(2 / math.pi) * math.exp(-0.5 * x * x)
    if activation == RELU:
        return 1.0 if x > 0 else 0.0
    return 1.0


# The helpers below index whole arrays: a view of a row would cost two atomic reference counts a step.


@njit(inline="always", fastmath=FAST)
def _form_input(products, first, second, s, coefficient, shifts, c, gain, nonlinearity, row, r):
    """row[r] = f(gain (products[first, s] + coefficient products[second, s] + shifts[c])), the input X of one step."""
    size = row.shape[1]
    one = np.float32(1)
    if nonlinearity == SIGN:  # in one pass, and for a positive gain the sign does without it
        if coefficient == 0:
            for j in range(size):
                row[r, j] = math.copysign(one, products[first, s, j] + shifts[c, j])
        else:
            for j in range(size):
                u = products[first, s, j] + coefficient * products[second, s, j] + shifts[c, j]
                row[r, j] = math.copysign(one, u)
        return
    for j in range(size):
        row[r, j] = gain * (products[first, s, j] + coefficient * products[second, s, j] + shifts[c, j])
    if nonlinearity == ERF_INPUT:
        for j in range(size):
            row[r, j] = math.erf(row[r, j] * np.float32(math.sqrt(0.5)))


@njit(inline="always", fastmath=FAST)
def _target(products, first, second, s, coefficient, shifts, c, gain, activation, teacher_outputs, N):
    """y = Σ ṽ_m g(ν_m); the teacher's fields follow the N preactivations in the product."""
    y = 0.0
    for m in range(teacher_outputs.shape[1]):
        n = N + m
        field = gain * (products[first, s, n] + coefficient * products[second, s, n] + shifts[c, n])
        y += teacher_outputs[c, m] * _g(activation, np.float64(field))
    return y


@njit(nogil=True, fastmath=FAST, cache=True)
def sgd_block(
    products,  # (source, step, width) float32: the shared preactivations, N of the inputs, M of the teacher, padding
    steps,  # how many of them to take
    sources,  # (chain, 2) the two products that a chain adds up
    coefficients,  # (chain,) float32, of the second product
    shifts,  # (chain, width) float32
    gains,  # (chain,) float32
    nonlinearity,
    activations,  # (chain,)
    learning_rates,  # (chain,)
    teacher_outputs,  # (chain, M)
    targets,  # (step,): given labels, or empty where the teacher labels
    student,  # (chain, K, width) float32, zero beyond N, trained in place
    student_output,  # (chain, K), trained in place
    first_step,
    output_steps,  # (time,): steps after which weights are kept
    kept_student,  # (chain, time, K, N) float32
    kept_output,  # (chain, time, K)
    diverged_step,  # (chain,): the step at which a chain left the finite numbers, else −1
):
    """Take the steps of one block, W_k ← W_k − (η/√N) v_k Δ g'(λ_k) X and v_k ← v_k − (η/N) g(λ_k) Δ (S28, S29)."""
    chains, K, width = student.shape
    N = kept_student.shape[3]
    row = np.zeros((2, width), np.float32)
    pending = np.zeros(K, np.float32)
    field, hidden = np.zeros(K), np.zeros(K)
    root = math.sqrt(N)
    for start in range(0, steps, SUB_BLOCK):
        stop = min(start + SUB_BLOCK, steps)
        for c in range(chains):
            if diverged_step[c] >= 0:
                continue
            first, second, coefficient, gain = sources[c, 0], sources[c, 1], coefficients[c], gains[c]
            activation, learning_rate = activations[c], learning_rates[c]
            output = np.searchsorted(output_steps, first_step + start + 1)
            pending[:] = 0
            row[:] = 0
            for s in range(start, stop):
                new, old = s % 2, 1 - s % 2
                _form_input(products, first, second, s, coefficient, shifts, c, gain, nonlinearity, row, new)
                for j in range(N, width):
                    row[new, j] = 0
                if targets.shape[0] > 0:
                    y = targets[s]
                else:
                    y = _target(
                        products, first, second, s, coefficient, shifts, c, gain, activation, teacher_outputs, N
                    )
                # One pass over the weights: the update of the step before, and the local field of this one.
                for k in range(0, K - 1, 2):  # two units at a time share the loads of the rows
                    back_k, back_l, total_k, total_l = pending[k], pending[k + 1], np.float32(0), np.float32(0)
                    for j in range(width):
                        w_k = student[c, k, j] - back_k * row[old, j]
                        w_l = student[c, k + 1, j] - back_l * row[old, j]
                        student[c, k, j] = w_k
                        student[c, k + 1, j] = w_l
                        total_k += w_k * row[new, j]
                        total_l += w_l * row[new, j]
                    field[k], field[k + 1] = total_k / root, total_l / root
                if K % 2:
                    back_k, total_k = pending[K - 1], np.float32(0)
                    for j in range(width):
                        w_k = student[c, K - 1, j] - back_k * row[old, j]
                        student[c, K - 1, j] = w_k
                        total_k += w_k * row[new, j]
                    field[K - 1] = total_k / root
                prediction = 0.0
                for k in range(K):
                    hidden[k] = _g(activation, field[k])
                    prediction += student_output[c, k] * hidden[k]
                error = prediction - y
                if not math.isfinite(error):
                    diverged_step[c] = first_step + s
                    break
                for k in range(K):
                    v = student_output[c, k]
                    pending[k] = learning_rate / root * v * error * _g_prime(activation, field[k])
                    student_output[c, k] = v - learning_rate / N * hidden[k] * error
                wanted = output < output_steps.shape[0] and output_steps[output] == first_step + s + 1
                if wanted or s == stop - 1:
                    for k in range(K):
                        step_back = pending[k]
                        for j in range(width):
                            student[c, k, j] -= step_back * row[new, j]
                        pending[k] = 0
                if wanted:
                    kept_student[c, output] = student[c, :, :N]
                    kept_output[c, output] = student_output[c]
                    output += 1


@njit(nogil=True, fastmath=FAST, cache=True)
def inputs_and_targets(
    products,
    count,
    first,
    second,
    coefficient,
    shifts,
    c,
    gain,
    nonlinearity,
    activation,
    teacher_outputs,
    inputs,
    targets,
):
    """Form X (step, N) float32 and y (step,) of chain c from its preactivations: test sets and kept inputs."""
    for s in range(count):
        _form_input(products, first, second, s, coefficient, shifts, c, gain, nonlinearity, inputs, s)
        targets[s] = _target(
            products, first, second, s, coefficient, shifts, c, gain, activation, teacher_outputs, inputs.shape[1]
        )
