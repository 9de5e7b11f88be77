"""SGD of any rule by blocks, against loops in double precision that take one sample after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.rules import network
from sgdlimit.simulation._stream import TRAINING, stream_of

N, D, K, M = 60, 30, 2, 2
STEPS = 1000


def logistic(fields, target, head):
    return jnp.log1p(jnp.exp(-target * (head["v"] @ jnp.tanh(fields) + head["b"])))


def sign_of_first(teacher):
    return jnp.where(teacher[0] > 0, 1.0, -1.0)


LOGISTIC = sl.Rule.from_loss(
    logistic, head={"v": [1.0, -0.5], "b": 0.1}, labels=sign_of_first,
    metrics={"error_rate": lambda fields, target, head: (head["v"] @ jnp.tanh(fields) + head["b"]) * target < 0},
)  # fmt: skip
FEEDBACK = network(
    np.ones((2, K)), np.ones((1, 2, M)), activation="erf", rule="dfa", label_noise=0.2,
    feedback=[[0.5, -0.2], [0.3, 1.0]],
)  # fmt: skip


def episode(fields, target, head):
    """A reward where all samples of an update are right."""
    reward = jnp.where(jnp.all(fields[:, 0] * target > 0), 1.0, 0.0)
    return -reward * target[:, None] * jnp.ones((1, K)) / 3, {"b": reward}


def towards(fields, target, head, Q, R, T, time, task):
    return jnp.tanh(fields - R @ target / (Q[0, 0] + T[0, 0])) / (1 + time + task), {}


RULES = {
    "logistic": LOGISTIC,
    "perceptron": network([1.0, 1.0], [[1.0, 1.0]], activation="linear", labels="sign", rule="perceptron"),
    "hebb": sl.Rule(lambda fields, target, head: (-jnp.sign(target[:1]) * jnp.ones(K), {})),
    "feedback": FEEDBACK,
    "episodes": sl.Rule(episode, samples=3, labels=sign_of_first, head={"b": 0.0}),
}


def instance_of(rule, **settings):
    rng = np.random.default_rng(0)
    F, W, teacher = rng.standard_normal((D, N)), rng.standard_normal((K, N)), rng.standard_normal((M, D))
    return sl.Instance(F, W, teacher=teacher, rule=rule, learning_rate=settings.pop("rate", 0.5), **settings)


def masks_of(instance, samples):
    """Masks over 1 − dropout, of each sample, from the normals that the stream draws after those of the rule."""
    from scipy.stats import norm

    rule, keep = instance.as_rule(1.0), 1 - instance.training.dropout
    columns = rule.noise + K * (keep < 1)
    normals = stream_of([instance]).with_keys(0, 0, TRAINING).noise(0, samples, columns)
    if keep == 1:
        return normals.astype(float), np.ones((samples, K))
    return normals[:, : rule.noise].astype(float), (normals[:, rule.noise :] < norm.ppf(keep)) / keep


def step_by_step(instance, C, X, steps):
    """Weights and heads after each step, in NumPy."""
    rule, options, rates = stream_of([instance]).rules[0], instance.training, instance.rates
    n = rule.samples
    units = round((options.batch_fraction or 0) * N) or 1
    per_step = options.batch_size * units
    noise, masks = masks_of(instance, n * per_step * steps)
    W, head = instance.initial_student.copy(), {name: x.copy() for name, x in rule.head.items()}
    U, V = np.zeros_like(W), {name: np.zeros_like(x) for name, x in head.items()}
    beta = options.momentum if options.memory is None else 1 - options.memory / N
    slow, B = N if options.memory is not None else 1, options.adagrad or 1.0
    switch = np.ceil(instance.switch_times * N)

    @jax.jit
    def learn(fields, teacher, noise, head, task):
        extras = {"given": jax.tree.map(jnp.asarray, rule.given), "task": task}
        targets = jax.vmap(lambda teacher, noise: rule.target(teacher, noise=noise, **extras))(teacher, noise)
        if n == 1:
            fields, targets, noise = fields[0], targets[0], noise[0]
        return rule.learn(fields, targets, head, noise=noise, time=0.0, Q=0.0, R=0.0, T=0.0, **extras)

    for step in range(steps):
        factor, task = float(options.factor(step * units / N)), int(np.searchsorted(switch, step, side="right"))
        G, change = np.zeros_like(W), {name: np.zeros_like(x) for name, x in head.items()}
        for update in range(step * per_step, (step + 1) * per_step):
            part = slice(n * update, n * (update + 1))
            mask = masks[part.start]
            seen = {name: x * mask if name == "v" else x for name, x in head.items()}
            fields, teacher = X[part] @ W.T / np.sqrt(N), C[part] @ instance.teacher.T / np.sqrt(D)
            delta, gamma = jax.tree.map(np.asarray, learn(fields, teacher, noise[part], seen, task))
            delta = delta.reshape(n, K)
            G += delta.T @ X[part] / np.sqrt(N) / options.batch_size
            for name, x in gamma.items():
                change[name] += x * (mask if name == "v" else 1) / options.batch_size
            if options.adagrad is not None:
                B += np.sum((delta.T @ X[part]) ** 2) / N**2 / options.batch_size**2
        G += rates.weight_decay * units / N * W
        U, V = beta * U + G, {name: beta * V[name] + change[name] for name in head}
        rate = factor / np.sqrt(B) / slow
        W = W - rate * rates.learning_rate * U
        head = {name: x - rate * rates.output_rate / N * V[name] for name, x in head.items()}
        if options.sphere:
            W = W / np.sqrt(np.mean(W**2, axis=1, keepdims=True))
        yield W, head


def compare(instance, steps=STEPS, tolerance=1e-5, **more):
    """The weights at some steps, by blocks and step by step, on the samples of the blocks."""
    rule, options = instance.as_rule(1.0), instance.training
    units = round((options.batch_fraction or 0) * N) or 1
    outputs = np.unique([1, 2, 7, 100, 101, 513, steps])
    outputs = outputs[outputs <= steps]
    found = sl.simulate(
        instance, outputs * units / N, keep_weights=True, keep_inputs=True, test_samples=10, **more
    ).isel(run=0)  # fmt: skip
    C, X = found["C"].values.astype(float), found["X"].values.astype(float)
    assert len(X) == steps * rule.samples * options.batch_size * units
    places = {step: place for place, step in enumerate(outputs)}
    with jax.enable_x64(True):
        for step, (W, head) in enumerate(step_by_step(instance, C, X, steps), 1):
            if step in places:
                place = places[step]
                np.testing.assert_allclose(found["W"][place], W, atol=tolerance * max(1, abs(W).max()))
                for name, x in head.items():
                    measured = found[rule.prefix + name][place]
                    np.testing.assert_allclose(measured, x, atol=tolerance * max(1, np.abs(x).max()))
    return found


@pytest.mark.parametrize("name", RULES)
def test_blocks_take_the_steps_of_numpy_with_each_rule(name):
    compare(instance_of(RULES[name]))


OPTIONS = {
    "batches": {"batch_size": 5},
    "decay": {"weight_decay": 1.0},
    "schedule": {"schedule": sl.Schedule(times=(1.0, 9.0), factors=(1.0, 0.3)), "output_learning_rate": 0.2},
    "dropout": {"dropout": 0.4},
    "momentum": {"momentum": 0.7},
    "memory": {"memory": 0.8},
    "sphere": {"sphere": True},
    "adagrad": {"adagrad": 0.5},
    "large batches": {"batch_fraction": 0.2},
    "several": {"batch_size": 3, "momentum": 0.5, "sphere": True, "adagrad": 0.5, "dropout": 0.2},
    "decay, momentum": {"weight_decay": 1.0, "momentum": 0.5, "batch_size": 2},
    "sphere, memory": {"sphere": True, "memory": 0.8},
    "polyak": {"polyak": (2.0, 2.0, 0.0)},
    "clip": {"clip": 0.3},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_blocks_take_the_steps_of_numpy_with_each_option(name):
    options = OPTIONS[name]
    steps = STEPS if "batch_size" not in options and "batch_fraction" not in options else 250
    compare(instance_of(LOGISTIC, training=sl.Training(**options)), steps)


def test_blocks_take_the_steps_of_numpy_in_batches_of_updates_of_several_samples():
    compare(instance_of(RULES["episodes"], training=sl.Training(batch_size=2, momentum=0.3)), 300)


def test_an_update_sees_the_overlaps_the_time_and_the_task():
    """Blocks give Q and R as they begin; with one sample in each they are those of the moment."""
    rule = sl.Rule(
        lambda f, t, h, Q, R, T, time, task: towards(f, t[:2], h, Q, R[:, :2], T, time, task),
        metrics={"m": lambda f, t, h, task: (1 + task) * f[0] ** 2},
    )  # fmt: skip
    instance = instance_of(rule)
    two = instance.then(np.random.default_rng(1).standard_normal((1, D)), None, at=2.0)
    times = np.arange(1, 5 * N + 1) / N
    found = sl.simulate(two, times, keep_weights=True, keep_inputs=True, test_samples=20).isel(run=0)
    np.testing.assert_allclose(found["task_m"][:, 1], 2 * found["task_m"][:, 0], rtol=1e-6)
    np.testing.assert_array_equal(found["m"], found["task_m"].values[range(5 * N), (times >= 2).astype(int)])
    W, moments = two.student, two.moments()
    for step, (C, X) in enumerate(zip(found["C"].values, found["X"].values, strict=True)):
        Q, R = moments.overlaps(W)
        teacher = (C @ two.teacher.T / np.sqrt(D))[:2]
        delta = np.tanh(X @ W.T / np.sqrt(N) - R[:, :2] @ teacher / (Q[0, 0] + moments.teacher_overlap[0, 0]))
        delta = delta / (1 + step / N + (step >= 2 * N))
        W = W - instance.learning_rate / np.sqrt(N) * np.outer(delta, X)
        if step in (0, 50, 2 * N, 5 * N - 1):
            np.testing.assert_allclose(found["W"][step], W, atol=1e-5)


CLUSTERED = [
    sl.MixtureLaw(np.random.default_rng(1).uniform(-3, 3, (3, D)), weights=[0.5, 0.3, 0.2], block_size=D),
    sl.MixtureLaw(np.random.default_rng(1).uniform(-9, 9, (2, D)), block_size=D // 2, standardize=True),
    sl.ClusterMixture(np.random.default_rng(1).uniform(-3, 3, (3, D)), [np.eye(D)] * 3, weights=[0.5, 0.3, 0.2]),
]


@pytest.mark.parametrize("law", CLUSTERED, ids=["one", "blocks", "fitted"])
def test_labels_are_the_clusters_that_latents_come_from(law):
    """The nearest mean tells it, in data and in what training counts."""
    seen = sl.Rule(
        lambda fields, target, head: (0 * fields, {"n": -jax.nn.one_hot(target, 4) * N}), head={"n": np.zeros(4)},
        labels="clusters", metrics={"first": lambda fields, target, head: target == 0},
    )  # fmt: skip
    instance = instance_of(seen, latent=law, rate=1.0)
    found = sl.simulate(instance, [20.0], keep_inputs=True, test_samples=3000)
    clusters = law.clusters(D)
    nearest = ((found["C"].values[0][:, None] - clusters.means) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(found["y"].values[0], nearest)
    np.testing.assert_array_equal(found["head_n"].values[0, 0], np.bincount(nearest, minlength=4))
    # 3000 samples: 4.5 standard errors, a false alarm in 10⁵ seeds.
    assert abs(found["first"].item() - clusters.weights[0]) < 4.5 * found["first_stderr"].item()


@pytest.mark.parametrize("engine", ["blocks", "jax"])
@pytest.mark.parametrize("law", CLUSTERED[1:], ids=["blocks", "fitted"])
def test_labels_of_a_teacher_and_a_cluster(law, engine):
    """Which cluster, and on which side of the teacher: from the latents themselves, in data and in training."""
    seen = sl.Rule(
        lambda fields, target, head: (0 * fields, {"n": -jax.nn.one_hot(target, 8) * N}), head={"n": np.zeros(8)},
        labels=lambda teacher_fields, cluster: 2 * cluster + (teacher_fields[1] > 0),
    )  # fmt: skip
    instance = instance_of(seen, latent=law, rate=1.0)
    found = sl.simulate(instance, [20.0], runs=2, keep_inputs=True, test_samples=0, engine=engine)
    for run in range(2):
        C = found["C"].values[run]
        nearest = ((C[:, None] - law.clusters(D).means) ** 2).sum(-1).argmin(1)
        expected = 2 * nearest + (C @ instance.teacher[1] > 0)
        np.testing.assert_array_equal(found["y"].values[run], expected)
        np.testing.assert_array_equal(found["head_n"].values[run, 0], np.bincount(expected, minlength=8))


def test_more_clusters_than_theory_follows_label_sgd():
    means = 3 * np.random.default_rng(1).normal(size=(65, D))
    law = sl.ClusterMixture(means, np.broadcast_to(np.eye(D), (65, D, D)))
    rule = sl.Rule(lambda fields, target, head: (0 * fields, {}), labels="clusters")
    instance = instance_of(rule, latent=law)
    assert sl.simulate(instance, [20.0], keep_inputs=True)["y"].max() == 64
    with pytest.raises(sl.ProblemError, match=r"latent: must have at most 64 clusters .*got 65.*SGD alone"):
        sl.solve(instance, [1.0], theory="mixture")


def test_every_cluster_is_tried():
    rule = sl.Rule(lambda fields, target, head: (fields / (target - 2), {}), labels="clusters", name="pole")
    message = r"update: must be finite in the rule 'pole' .got NaN or infinity for 21 of 64 samples"
    with pytest.raises(sl.ProblemError, match=message):
        instance_of(rule, latent=CLUSTERED[0])


def test_clusters_are_asked_of_laws_that_have_some():
    rule = sl.Rule(lambda fields, target, head: (0 * fields, {}), labels="clusters")
    law = sl.Empirical(np.random.default_rng(0).standard_normal((100, D)))
    with pytest.raises(sl.ProblemError, match=r"latent: must have Gaussian components .*got Empirical"):
        sl.simulate(instance_of(rule, latent=law), [1.0])


@pytest.mark.parametrize("engine", ["blocks", "jax"])
def test_a_teacher_that_turns_by_half_in_each_step_comes_back_in_the_next(engine):
    """The same steps as with a teacher that stays, whose fields change sign in every second step."""

    def network(sign):
        def squared(fields, target, head, time):
            delta = (fields.sum() - sign(time) * jnp.tanh(target).sum()) * jnp.ones(K)
            return delta, {}

        error = {"error": lambda fields, target, head: (fields.sum() - jnp.tanh(target).sum()) ** 2}
        return sl.Rule(squared, metrics=error)

    stays = network(lambda time: 1 - 2 * (jnp.round(time * N) % 2))
    half = sl.Training(teacher_turn=((0.0, np.pi * N), (-np.pi * N, 0.0)))
    times, same = np.array([1, 2, 600, 601]) / N, {"runs": 2, "keep_weights": True, "engine": engine}
    found = sl.simulate(instance_of(network(lambda time: 1), training=half, rate=0.2), times, **same)
    known = sl.simulate(instance_of(stays, rate=0.2), times, **same)
    sign = np.array([-1, 1, 1, -1])[:, None, None]
    np.testing.assert_allclose(found["W"], known["W"], atol=1e-5)
    np.testing.assert_allclose(found["R"], sign * known["R"], atol=1e-5)
    np.testing.assert_allclose(found["error"][:, 1:3], known["error"][:, 1:3], rtol=1e-4)
    assert (abs(found["error"] / known["error"] - 1)[:, ::3] > 0.1).all()


def test_what_sgd_refuses_of_teachers_that_move():
    moves = sl.Training(teacher_drift=0.1)
    with pytest.raises(sl.ProblemError, match="training: must not move the teacher where labels are kept"):
        sl.simulate(instance_of(LOGISTIC, training=moves), [1.0], keep_inputs=True)
    with pytest.raises(sl.ProblemError, match="rule: must not ask for Q, R, T or clusters where the teacher moves"):
        sl.simulate(instance_of(sl.Rule(towards), training=moves), [1.0])


def test_given_samples_bring_their_targets():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, N)), rng.standard_normal(300)
    rule = sl.Rule(lambda fields, target, head: (fields - target, {}), labels=lambda teacher: teacher[0])
    found = sl.simulate(instance_of(rule), [5.0], data=(np.zeros((300, D)), X, y), keep_weights=True, test_samples=0)
    W = instance_of(rule).student
    for x, target in zip(X, y, strict=True):
        W = W - 0.5 / np.sqrt(N) * np.outer(x @ W.T / np.sqrt(N) - target, x)
    np.testing.assert_allclose(found["W"][0, 0], W, atol=1e-5)


def test_results_do_not_depend_on_threads_or_on_other_conditions():
    rates = [instance_of(RULES["episodes"], rate=rate) for rate in (0.2, 0.5)]
    times = np.array([1.0, 7.0, 20.0])
    one = sl.simulate(rates[1], times, runs=3, threads=1)
    for other in (
        sl.simulate(rates[1], times, runs=3, threads=4),
        sl.simulate_together(rates, times, runs=3, threads=2)[1],
    ):
        assert all(one[name].equals(other[name]) for name in one)
    at_once = sl.simulate(rates[1], times, runs=3, engine="jax")
    for name in one:
        np.testing.assert_allclose(at_once[name], one[name], atol=1e-4)


def test_another_number_of_output_times_compiles_nothing():
    """So the time of a long run is that of a short one, measured before it, times its length."""
    compiled, instance = [], instance_of(LOGISTIC).then(np.ones((1, D)), None, at=10.0)

    def count(event: str, duration_secs: float, **_: str | int) -> None:
        compiled.append(event.endswith("backend_compile_duration"))

    sl.simulate(instance, [0.0, 0.5], test_samples=100)
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        longer = sl.simulate(instance, np.arange(31) / 2, test_samples=100)
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert sum(compiled) == 0
    assert longer["error_rate"].shape == (1, 31)
    assert longer["task_error_rate"].shape == (1, 31, 2)


def test_what_sgd_of_rules_refuses_and_how_it_diverges():
    with pytest.raises(sl.ProblemError, match=r"engine: must be 'auto' or 'jax' for rule .got 'numba'"):
        sl.simulate(instance_of(LOGISTIC), [1.0], engine="numba")
    with pytest.raises(sl.ProblemError, match=r"training.gradient_flow: must be False in SGD"):
        sl.simulate(instance_of(LOGISTIC, training=sl.Training(gradient_flow=True)), [1.0])
    with pytest.raises(sl.ProblemError, match=r"times: must be whole batches of 12 samples, of the time 0.2"):
        sl.simulate(instance_of(LOGISTIC, training=sl.Training(batch_fraction=0.2)), [0.5])
    growing = sl.Rule(lambda fields, target, head: (-fields, {}), metrics={"size": lambda f, t, h: f @ f})
    with pytest.warns(sl.DivergenceWarning, match="makes SGD diverge at t = "):
        found = sl.simulate(instance_of(growing, rate=5.0), np.arange(1, 40) / 2)
    assert 0 < found.sizes["time"] < 39
    assert np.isfinite(found["Q"]).all()


@pytest.mark.parametrize("name", ["logistic", "feedback"])
def test_theory_follows_sgd_of_a_rule(name):
    """The mean |difference| is 0.8 of the mean standard error if theory is right.

    Entries and times are correlated: 2.5 of it, and 2/N for the finite size, is a false alarm in some 100 seeds.
    """
    N, D, rng = 500, 250, np.random.default_rng(5)
    instance = sl.Instance(
        rng.standard_normal((D, N)), rng.standard_normal((K, N)), teacher=rng.standard_normal((M, D)),
        rule=RULES[name], learning_rate=0.5,
    )  # fmt: skip
    times = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 15.0])
    theory, runs = sl.solve(instance, times), sl.simulate(instance, times, runs=8, seed=2)
    for quantity in theory:
        difference = abs(theory[quantity] - runs[quantity].mean("run")).mean()
        error = runs[quantity].std("run", ddof=1).mean() / np.sqrt(8)
        assert difference <= 2.5 * error + 2 / N, (quantity, float(difference), float(error))
