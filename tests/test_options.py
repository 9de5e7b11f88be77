"""Further options of training: theory against direct SGD in NumPy, written from their definitions, and against limits."""

import numpy as np
import pytest
from scipy.special import erf

import sgdlimit as sl
from sgdlimit.theory import Spectrum, solve_spectrum

N, K = 500, 2
TIMES = np.array([0.5, 1.0, 2.0, 4.0, 7.0, 10.0, 15.0, 20.0])


def network(rate, scale=1.0, **options):
    """Erf units that learn two others, on inputs with the variances 2.5 and 0.5."""
    rng = np.random.default_rng(3)
    variance = np.where(np.arange(N) < N // 2, 2.5, 0.5)
    return sl.Instance(
        np.sqrt(N * variance) * np.eye(N), scale * rng.standard_normal((K, N)), [0.7, -0.4],
        rng.standard_normal((2, N)), [1.2, 0.8], activation="erf", nonlinearity="identity", learning_rate=rate,
        training=sl.Training(**options),
    )  # fmt: skip


def direct_sgd(instance, times, runs, seed=0):
    """Q, R and v of some runs, shape (run, time, ...), for X = C √ω: a step is a few lines with every option."""
    rng, options = np.random.default_rng(seed), instance.training
    root_variance = instance.features.diagonal() / np.sqrt(N)
    mean_variance = np.mean(root_variance**2)
    W, v = np.repeat(instance.student[None], runs, 0), np.repeat(instance.student_output[None], runs, 0)
    teacher, v_teacher = np.repeat(instance.teacher[None], runs, 0), instance.teacher_output
    U, V, B = np.zeros_like(W), np.zeros_like(v), np.full(runs, options.adagrad or 1.0)
    beta = options.momentum if options.memory is None else 1 - options.memory / N
    turn = None if options.teacher_turn is None else np.array(options.teacher_turn) / N
    batch = round((options.batch_fraction or 0) * N) or 1
    eta, kept = instance.learning_rate, ([], [], [])
    for step in range(round(times[-1] * N) // batch + 1):
        if step * batch == round(times[len(kept[0])] * N):
            for values, value in zip(kept, ((W * root_variance**2) @ W.mT / N, W * root_variance @ teacher.mT / N, v)):
                values.append(value.copy())
        C = rng.standard_normal((runs, batch, N))
        X = C * root_variance
        fields, targets = X @ W.mT / np.sqrt(N), erf(C @ teacher.mT / np.sqrt(2 * N)) @ v_teacher
        mask = (rng.random((runs, batch, K)) >= options.dropout) / (1 - options.dropout)
        g, slope = mask * erf(fields / np.sqrt(2)), mask * np.sqrt(2 / np.pi) * np.exp(-(fields**2) / 2)
        error = (g @ v[..., None])[..., 0] - targets + options.label_noise * rng.standard_normal((runs, batch))
        delta, gamma = error[..., None] * v[:, None] * slope, error[..., None] * g
        length = mean_variance * np.sum(delta**2, -1, keepdims=True)
        if options.clip is not None:
            factor = np.minimum(1, options.clip / np.sqrt(length + np.sum(gamma**2, -1, keepdims=True)))
            delta, gamma = factor * delta, factor * gamma
        if options.polyak is not None:
            largest, scale, best = options.polyak
            factor = np.minimum(largest, (error[..., None] ** 2 / 2 - best) / (scale * length))
            delta, gamma = factor * delta, factor * gamma
        if options.adagrad is not None:
            B += np.sum(delta[:, 0] ** 2, -1) * np.sum(X[:, 0] ** 2, -1) / N**2
        rate = eta / np.sqrt(B)[:, None]
        U = beta * U + delta.mT @ X / np.sqrt(N)
        V = beta * V + gamma.sum(1)
        slow = 1 if options.memory is None else N
        W, v = (1 - eta * options.weight_decay * batch / N) * W - rate[..., None] * U / slow, v - rate * V / N / slow
        if options.sphere:
            W /= np.sqrt(np.mean(W**2, -1, keepdims=True))
        if options.teacher_drift:
            kappa = options.teacher_drift / N
            teacher = (1 - kappa) * teacher + np.sqrt(2 * kappa) * rng.standard_normal(teacher.shape)
        if turn is not None:
            teacher = teacher + turn @ teacher
        if len(kept[0]) == len(times):
            break
    return tuple(np.stack(values, 1) for values in kept)


CASES = {
    "dropout": (0.8, {"dropout": 0.2}),
    "momentum": (0.4, {"momentum": 0.5}),
    "memory": (1.0, {"memory": 0.8}),
    "sphere": (1.0, {"sphere": True}),
    "sphere, memory": (1.0, {"sphere": True, "memory": 0.8}),
    "adagrad": (1.0, {"adagrad": 0.5}),
    "polyak": (1.0, {"polyak": (2.0, 2.0, 0.0)}),
    "clip": (1.5, {"clip": 0.2}),
    "drift": (0.8, {"teacher_drift": 0.1}),
    "turn": (0.8, {"teacher_turn": [[0.0, 0.2], [-0.2, 0.0]]}),
    "drift, turn, memory": (
        1.0, {"memory": 0.8, "teacher_drift": 0.1, "teacher_turn": [[0.0, 0.2], [-0.2, 0.0]]},
    ),
    "batches": (0.8, {"batch_fraction": 0.5}),
    "batches, decay, dropout": (0.8, {"batch_fraction": 0.5, "weight_decay": 0.3, "dropout": 0.2}),
}  # fmt: skip
"""Rates, and options that change the plain trajectory by many standard errors."""


def apart(theory, measured):
    """Mean |theory − mean of the runs| of Q, R and v, and its standard error."""
    found = []
    for name, values in zip(("Q", "R", "v"), measured, strict=True):
        deviation = values.std(0, ddof=1) / np.sqrt(len(values))
        found.append((float(abs(theory[name].values - values.mean(0)).mean()), float(deviation.mean())))
    return np.transpose(found)


@pytest.mark.parametrize("name", CASES)
def test_theory_follows_direct_sgd_with_each_option_and_not_without(name):
    """Mean |difference| is 0.8 standard errors on average; 2.5 and an allowance for finite size are a false alarm in
    some 10³ seeds, because entries and times are strongly correlated."""
    rate, options = CASES[name]
    instance = network(rate, **options)
    measured = direct_sgd(instance, TIMES, runs=8)
    difference, error = apart(sl.solve(instance, TIMES), measured)
    without, _ = apart(sl.solve(instance.replace(training=sl.PLAIN if hasattr(sl, "PLAIN") else sl.Training()), TIMES), measured)
    print(name, difference.round(4), error.round(4), without.round(4))
    assert (difference <= 2.5 * error + 2 / N).all(), (name, difference, error)
    assert (without > 4 * error).any(), (name, without, error)
