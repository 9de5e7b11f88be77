"""Further options of training: theory against limits, and against direct SGD in NumPy from the definitions."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

import sgdlimit as sl
from sgdlimit.theory import Case, Spectrum, case_of, hand_over, integrals_for, solve_spectrum, spectrum
from sgdlimit.theory._symmetry import symmetry_of

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
    W, v, teacher = (np.repeat(x[None], runs, 0) for x in (instance.student, instance.student_output, instance.teacher))
    U, V, B = np.zeros_like(W), np.zeros_like(v), np.full(runs, options.adagrad or 1.0)
    beta = options.momentum if options.memory is None else 1 - options.memory / N
    turn = None if options.teacher_turn is None else np.array(options.teacher_turn) / N
    batch = round((options.batch_fraction or 0) * N) or 1
    eta, kept = instance.learning_rate, ([], [], [])
    if options.sphere:
        W /= np.sqrt(np.mean(W**2, -1, keepdims=True))
    for step in range(round(times[-1] * N) // batch + 1):
        if step * batch == round(times[len(kept[0])] * N):
            overlaps = (W * root_variance**2) @ W.mT / N, W * root_variance @ teacher.mT / N, v
            for values, value in zip(kept, overlaps, strict=True):
                values.append(value.copy())
        C = rng.standard_normal((runs, batch, N))
        X = C * root_variance
        fields, targets = X @ W.mT / np.sqrt(N), erf(C @ teacher.mT / np.sqrt(2 * N)) @ instance.teacher_output
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


TURN = [[0.0, 0.2], [-0.2, 0.0]]
CASES = {
    "batches": (0.8, {"batch_fraction": 0.5}),
    "batches, decay, dropout": (0.8, {"batch_fraction": 0.5, "weight_decay": 0.3, "dropout": 0.2}),
    "dropout": (0.8, {"dropout": 0.4}),
    "momentum": (0.4, {"momentum": 0.5}),
    "memory": (1.0, {"memory": 0.8}),
    "sphere": (1.0, {"sphere": True}),
    "sphere, memory": (1.0, {"sphere": True, "memory": 0.8}),
    "adagrad": (1.0, {"adagrad": 0.5}),
    "polyak": (1.0, {"polyak": (2.0, 2.0, 0.0)}),
    "clip": (1.5, {"clip": 0.2}),
    "drift": (0.8, {"teacher_drift": 0.1}),
    "turn": (0.8, {"teacher_turn": TURN}),
    "drift, turn, memory": (1.0, {"memory": 0.8, "teacher_drift": 0.1, "teacher_turn": TURN}),
}
"""Rates, and options that change the plain trajectory by many standard errors."""


def apart(theory, measured):
    """Mean |theory − mean of the runs| of Q, R and v, and its standard error."""
    found = []
    for name, values in zip(("Q", "R", "v"), measured, strict=True):
        deviation = values.std(0, ddof=1) / np.sqrt(len(values))
        found.append((abs(theory[name].values - values.mean(0)).mean(), deviation.mean()))
    return np.transpose(found)


@pytest.mark.parametrize("name", CASES)
def test_theory_follows_direct_sgd_with_each_option_and_not_without(name):
    """The mean |difference| is 0.8 of the mean standard error if theory is right.

    Entries and times are correlated: 2.5 of it, and 2/N for the finite size, is a false alarm in some 100 seeds.
    """
    rate, options = CASES[name]
    instance = network(rate, **options)
    measured = direct_sgd(instance, TIMES, runs=8)
    difference, error = apart(sl.solve(instance, TIMES), measured)
    without, _ = apart(sl.solve(network(rate), TIMES), measured)
    assert (difference <= 2.5 * error + 2 / N).all(), (difference, error)
    assert (without > 4 * error).any(), (without, error)


@pytest.mark.parametrize("name", CASES)
def test_theory_follows_the_sgd_of_the_package_with_each_option(name):
    """As above; the steps themselves are those of NumPy, see ``test_rules_sgd.py``."""
    rate, options = CASES[name]
    instance = network(rate, **options)
    runs = sl.simulate(instance, TIMES, runs=6, test_samples=0)
    difference, error = apart(sl.solve(instance, TIMES), [runs[each].values for each in ("Q", "R", "v")])
    assert (difference <= 2.5 * error + 2 / N).all(), (difference, error)


def test_sgd_on_the_sphere_begins_there():
    instance = network(1.0, 3.0, sphere=True)
    theory, runs = (solve(instance, [0.0, 1.0]) for solve in (sl.solve, sl.simulate))
    np.testing.assert_allclose(runs["Q"][0, 0], theory["Q"][0], rtol=1e-6)
    np.testing.assert_allclose(abs(theory["Q"]).max(), 1.5, rtol=0.1)  # with |W|² = N, of the mean variance


# --- limits and identities -------------------------------------------------------------------------------------------


def theory(rate, **options):
    instance = network(rate)
    return solve_spectrum(
        spectrum(instance), instance.student_output, instance.teacher_output, activation="erf", learning_rate=rate,
        times=TIMES, training=sl.Training(**options),
    )  # fmt: skip


def largest(one, other):
    return max(float(abs(one[name] - other[name]).max()) for name in ("Q", "R", "v"))


def test_momentum_is_a_larger_rate():
    assert largest(theory(0.2, momentum=0.5), theory(0.4)) < 1e-12


def test_gradient_flow_is_the_limit_of_large_batches():
    assert largest(theory(0.4, gradient_flow=True), theory(0.4, batch_size=10**6)) < 1e-6


def test_batches_of_few_samples_of_n_and_short_memories_are_plain_sgd():
    """The difference falls like α, and like 1/γ with the rate η γ."""
    plain = theory(0.4)
    for limit in (lambda x: theory(0.4, batch_fraction=x), lambda x: theory(0.4 / x, memory=1 / x)):
        far, near = (largest(limit(x), plain) for x in (0.02, 0.01))
        assert 0.45 < near / far < 0.55
        assert near < 0.05


def test_the_teachers_of_a_drift_end_where_random_ones_are():
    """E φφᵀ of normal teachers is (N/D) b² FᵀF/D: on the nodes x/δ (S40), and T = 1."""
    problem = sl.Problem(
        input_dim=60, latent_dim=30, student_units=1, teacher_units=2, activation="erf", learning_rate=0.1,
        features="orthogonal", training=sl.Training(teacher_drift=0.1),
    )  # fmt: skip
    instance = problem.draw(seed=0)
    nodes = spectrum(instance)
    *_, ends, T = case_of(instance, nodes).rates.drift
    np.testing.assert_allclose(ends, 2 * (nodes.eigenvalues - (1 - 2 / np.pi)), atol=1e-12)
    np.testing.assert_allclose(T, 1)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda: network(0.1, batch_fraction=0.5, momentum=0.1),
            "batch_fraction: .* together with momentum .got both, .* Leave",
        ),
        (lambda: network(0.1, memory=1.0, weight_decay=0.1), "memory: .* together with weight_decay"),
        (lambda: network(0.1, sphere=True, weight_decay=0.1), "sphere: .* together with weight_decay"),
        (lambda: network(0.1, gradient_flow=True, label_noise=0.1), "gradient_flow: .* together with label_noise"),
        (lambda: network(0.1, clip=1.0, dropout=0.1), "clip: .* together with dropout"),
        (lambda: network(0.1, dropout=1.0), r"dropout: must be less than 1 \(got 1.0\)"),
        (lambda: network(0.1, teacher_turn=[[0.0, 1.0], [1.0, 0.0]]), "teacher_turn: must be a square matrix S with"),
        (lambda: network(0.1, teacher_turn=[[0.0]]), r"teacher_turn: must be of shape \(2, 2\) \(got \(1, 1\)\)"),
        (lambda: network(0.1, 0.0, sphere=True), "sphere: must have weights that are not 0"),
        (lambda: theory(0.1, clip=1.0), "clip: must be left out for a spectrum"),
        (lambda: sl.solve(network(0.1, memory=1.0), [1.0], "mixture"), "memory: must be left out in mixture theory"),
        (
            lambda: sl.solve(network(0.1, teacher_drift=1.0), [1.0], nodes=20),
            "teacher_drift: must have all eigenvalues",
        ),
        (lambda: sl.solve(network(0.1, batch_fraction=1e-6), TIMES), "batch_fraction: .*steps"),
        (lambda: own_rule(polyak=(1.0, 1.0, 0.0)), "polyak: must have a rule with a loss .got 'hebb'"),
        (lambda: own_rule(dropout=0.5), "dropout: must have output weights v of 1 units"),
        (lambda: own_rule(2, clip=0.5), "samples: must be 1 with clip"),
    ],
)
def test_combinations_that_have_no_meaning_are_refused(make, complaint):
    with pytest.raises(sl.ProblemError, match=complaint):
        make()


def own_rule(samples=1, **options):
    rule = sl.Rule(lambda fields, target, head: (-jnp.sign(target), {}), name="hebb", samples=samples)
    return sl.Instance(
        np.eye(4), np.ones((1, 4)), teacher=np.ones((1, 4)), rule=rule, learning_rate=0.1, nonlinearity="identity",
        training=sl.Training(**options),
    )  # fmt: skip


def test_teachers_that_turn_are_not_exchanged():
    """The start is symmetric under an exchange of both students and both teachers, and the turn is not."""
    T = np.eye(2)
    start = Spectrum([1.0], [1.0], [T], [0.1 + 0.2 * T], [T], T)
    training = sl.Training(teacher_turn=((0.0, 1.0), (-1.0, 0.0)))
    case = Case(start, {"v": np.ones(2)}, np.ones((1, 2)), training.rates(0.5, 2, 2))
    assert symmetry_of(case._replace(rates=case.rates._replace(drift=None)), integrals_for("erf")) is not None
    turning = case.rates._replace(drift=(0.0, np.array(training.teacher_turn), np.zeros(1), np.zeros(2)))
    assert symmetry_of(case._replace(rates=turning), integrals_for("erf")) is None


# --- inputs that change ----------------------------------------------------------------------------------------------


def test_inputs_that_change_with_the_task_follow_sgd_and_their_own_law():
    """Q and R on the second inputs, of directions that the first ones mixed; index by index Q would be off by .2."""
    rng, size, at = np.random.default_rng(0), 300, 5.0
    turn = np.linalg.qr(rng.standard_normal((size, size)))[0]
    variance = np.where(np.arange(size) < size // 2, 2.5, 0.5)
    W, teachers = rng.standard_normal((2, size)), rng.standard_normal((2, 2, size))
    first, second = (
        sl.Instance.from_covariance(
            covariance, W, [0.7, -0.4], teacher, [1.2, 0.8], activation="erf", learning_rate=0.8
        )
        for covariance, teacher in zip((np.diag(variance), turn * variance @ turn.T), teachers, strict=True)
    )  # fmt: skip
    times = np.array([0.1, 1.0, 3.0, 6.0])
    inputs, head = hand_over(first, second, at)
    theory = solve_spectrum(
        inputs, head["v"], second.teacher_output, activation="erf", learning_rate=0.8, times=times
    )  # fmt: skip
    measured = [[], [], []]
    for run in range(8):
        before = sl.simulate(first, [at], seed=run, keep_weights=True, test_samples=0)
        began = second.replace(student=before["W"].values[0, -1], student_output=before["v"].values[0, -1])
        runs = sl.simulate(began, times, seed=100 + run, test_samples=0)
        for values, name in zip(measured, ("Q", "R", "v"), strict=True):
            values.append(runs[name].values[0])
    difference, error = apart(theory, [np.array(values) for values in measured])
    assert (difference <= 2.5 * error + 2 / size).all(), (difference, error)
    wrong = sl.solve(first, [at])
    assert abs(wrong["Q"][0] - inputs.Q).max() > 0.1


def test_inputs_that_do_not_change_are_handed_over_as_they_are():
    instance = network(0.4)
    inputs, head = hand_over(instance, instance, 4.0)
    end = sl.solve(instance, TIMES).isel(time=3)
    np.testing.assert_allclose(inputs.Q, end["Q"], atol=1e-6)
    np.testing.assert_allclose(inputs.R, end["R"], atol=1e-6)
    np.testing.assert_allclose(head["v"], end["v"], atol=1e-6)
    with pytest.raises(sl.ProblemError, match=r"memory: must be left out where inputs change .got 1.0"):
        hand_over(network(0.4, memory=1.0), instance, 4.0)


def gaussian(covariance):
    """The law N(0, covariance)."""
    return sl.ClusterMixture(np.zeros((1, len(covariance))), covariance[None])


def of_laws(first, *others, **settings):
    """A student of inputs X = C that learns another teacher under each law of C, every five units of time."""
    rng, size, out = np.random.default_rng(0), first.dim, [1.2, 0.8]
    W, *teachers = rng.standard_normal((2 + len(others), 2, size))
    instance = sl.Instance(
        np.sqrt(size) * np.eye(size), W, [0.7, -0.4], teachers[0], out,
        **{"activation": "erf", "learning_rate": 0.8, "nonlinearity": "identity", "latent": first} | settings,
    )  # fmt: skip
    for task, (law, teacher) in enumerate(zip(others, teachers[1:], strict=True), 1):
        instance = instance.then(teacher, out, at=5.0 * task, latent=law)
    return instance


@pytest.mark.parametrize("commute", [True, False])
def test_a_law_that_changes_with_the_task_follows_sgd(commute):
    """Q, R and v, and the errors on each task on its own inputs, under three laws whose variances change places.

    The mean |difference| is 0.8 of the mean standard error if theory is right; 2.5 of it, and 2/N for the finite size,
    is a false alarm in some 100 seeds.
    """
    size, rng = 200, np.random.default_rng(1)
    variance = np.where(np.arange(size) < size // 2, 2.5, 0.5)
    turn = np.eye(size)[::-1] if commute else np.linalg.qr(rng.standard_normal((size, size)))[0]
    covariances = np.diag(variance), turn * variance @ turn.T, np.diag(np.roll(variance, size // 4))
    instance = of_laws(*map(gaussian, covariances))
    times = np.array([0.5, 4.5, 5.0, 6.5, 9.5, 10.0, 12.0, 14.0])
    if commute:
        theory = sl.solve(instance, times, "moment-matched")
    else:
        with pytest.warns(sl.AccuracyWarning, match="task_error: on the inputs of other tasks it is NaN from t=5 on"):
            theory = sl.solve(instance, times, "moment-matched")
    runs = sl.simulate(instance, times, runs=8, overlaps="moment-matched")
    task = np.searchsorted(instance.switch_times, times, side="right")
    for name in theory:
        for now in range(3):
            measured, predicted = runs[name][:, task == now], theory[name][task == now]
            difference, error = abs(predicted - measured.mean("run")), measured.std("run", ddof=1).mean() / np.sqrt(8)
            assert difference.mean() <= 2.5 * error + 2 / size, (name, now, difference.values, float(error))
    now = theory["task_error"].values[range(len(times)), task]
    np.testing.assert_allclose(theory["generalization_error"], now, atol=1e-6)
    unknown = (task[:, None] > 0) & (task[:, None] != np.arange(3)) & (not commute)
    np.testing.assert_array_equal(np.isnan(theory["task_error"]), unknown)
    # Without the change of law the second task would be another one.
    stays = sl.solve(instance.replace(later_latents=()), times, "moment-matched")
    assert abs(stays["Q"] - theory["Q"])[task == 1].max() > 0.1


SEES_TIME = sl.Rule(
    lambda fields, target, head, time, task: (jnp.tanh(fields - target[2 * task]) / (1 + time), {}),
    metrics={"distance": lambda fields, target, head, task: jnp.mean((fields - target[2 * task]) ** 2)},
)


@pytest.mark.parametrize("rule", [None, SEES_TIME])
def test_a_law_that_changes_into_itself_changes_nothing(rule):
    """A schedule and the number of the task go on, and so does a rule that sees the time."""
    law, schedule = gaussian(np.diag(np.linspace(0.5, 1.5, 40))), sl.Schedule(times=(2.0, 8.0), factors=(1.0, 0.3))
    training = sl.Training(schedule=schedule, batch_size=2)
    changing = of_laws(law, law, training=training)
    if rule is not None:
        changing = changing.replace(rule=rule, student_output=None, teacher_output=None, activation=None)
    staying = changing.replace(later_latents=())
    times = [0.0, 1.0, 5.0, 7.0, 12.0]
    one, other = (sl.solve(each, times, "moment-matched") for each in (changing, staying))
    assert set(one) == set(other)
    for name in other:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5 if rule is None else 2e-3)


def test_what_is_refused_where_laws_change():
    laws = [gaussian(np.diag(x)) for x in (np.linspace(0.5, 1.5, 40), np.linspace(1.5, 0.5, 40))]
    for act, message in (
        (lambda: sl.solve(of_laws(*laws), [1.0], "mixture"), "later_latents: must be left out in mixture theory"),
        (lambda: sl.solve(of_laws(*laws), [1.0], "moment-matched", nodes=20), "nodes: must be left out where inputs"),
        (
            lambda: sl.solve(of_laws(*laws, training=sl.Training(sphere=True)), [1.0], "moment-matched"),
            "sphere: must be left out where inputs change .got True.. Use SGD",
        ),
        (lambda: spectrum(of_laws(*laws), "moment-matched"), "later_latents: must be left out for one spectrum"),
        (lambda: of_laws(*laws, nonlinearity="relu"), "later_latents: must come with a nonlinearity that is odd"),
        (lambda: of_laws(*laws).replace(later_latents=laws), "later_latents: must be one for each of 1 switch_times"),
        (lambda: sl.simulate(of_laws(*laws), [1.0], overlaps="mixture"), "overlaps: must not be 'mixture' where"),
    ):
        with pytest.raises(sl.ProblemError, match=message):
            act()
