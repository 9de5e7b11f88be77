"""Networks by name, as rules and as settings: each loss and rule against NumPy, and draws with given overlaps."""

import pickle
from typing import Any

import jax
import numpy as np
import pytest
from scipy.special import erf, expit, softmax

import sgdlimit as sl
from sgdlimit.problem import load_problem
from sgdlimit.rules import LOSSES, network
from sgdlimit.sweep._plan import Plan
from sgdlimit.theory import spectrum
from sgdlimit.theory._theories import averages_of, case_of

FREE: dict[str, Any] = {
    "input_dim": 60,
    "latent_dim": 60,
    "student_units": 2,
    "teacher_units": 2,
    "activation": "erf",
    "learning_rate": 0.5,
    "features": "identity",
    "nonlinearity": "identity",
}
"""Inputs without a manifold."""

ONE_UNIT: dict[str, Any] = FREE | {"teacher_units": 1}
CLUSTERS: dict[str, Any] = FREE | {
    "labels": "clusters",
    "teacher_units": 0,
    "latent": {"law": "clusters", "count": 4, "mean_norm": 3.0},
}

SLOPES = {
    "squared": lambda y, t: y - t,
    "absolute": lambda y, t: np.sign(y - t),
    "huber": lambda y, t: np.clip(y - t, -1, 1),
    "correlation": lambda y, t: -t,
    "logistic": lambda y, t: -t * expit(-t * y),
    "hinge": lambda y, t: -t * (t * y < 1),
    "exponential": lambda y, t: -t * np.exp(-t * y),
    "cross-entropy": lambda y, t: softmax(y) - np.eye(len(y))[t],
}
"""dℓ/dŷ."""


def learned(rule, fields, teacher_fields, *, task=0, noise=None):
    """δ and γ of a rule in double precision, from the fields."""
    noise = np.zeros(rule.noise) if noise is None else noise
    with jax.enable_x64(True):
        extras = {"given": rule.given, "task": task, "noise": noise}
        target = rule.target(teacher_fields, **extras)
        return jax.tree.map(np.asarray, (target, *rule.learn(fields, target, rule.head, **extras)))


@pytest.mark.parametrize("rule", ["gradient", "dfa"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_update_of_each_loss(loss, outputs, rule):
    if loss == "cross-entropy" and outputs == 1:
        return
    rng, several = np.random.default_rng(3), (outputs,) * (outputs > 1)
    v, v_teacher, feedback = (
        rng.normal(size=(*several, 4)),
        rng.normal(size=(*several, 2)),
        rng.normal(size=(*several, 4)),
    )
    labels = {"cross-entropy": "argmax", "squared": "argmax" if outputs > 1 else "teacher"}.get(loss, "sign")
    made = network(
        v, v_teacher[None], activation="erf", teacher_activation="linear", loss=loss, labels=labels, rule=rule,
        bias=True, feedback=feedback if rule == "dfa" else None, student_scale=0.7, teacher_scale=1.3, label_noise=0.4,
    )  # fmt: skip
    made.head = made.head | {"b": rng.normal(size=several)}
    for _ in range(5):
        fields, teacher, noise = rng.normal(size=4), rng.normal(size=2), rng.normal(size=outputs)
        answer = 1.3 * v_teacher @ teacher + 0.4 * noise.reshape(several)
        answer = {"argmax": np.argmax, "sign": np.sign, "teacher": np.asarray}[labels](answer)
        target, delta, change = learned(made, fields, teacher, noise=noise)
        np.testing.assert_allclose(target, answer, rtol=1e-12)
        if labels == "argmax" and loss == "squared":
            answer = np.eye(outputs)[answer]
        hidden, slope = erf(fields / np.sqrt(2)), np.sqrt(2 / np.pi) * np.exp(-(fields**2) / 2)
        error = np.asarray(SLOPES[loss](0.7 * v @ hidden + made.head["b"], answer))
        back = feedback if rule == "dfa" else v
        np.testing.assert_allclose(delta, 0.7 * slope * (error @ back if several else error * back), atol=1e-12)
        np.testing.assert_allclose(change["v"], 0.7 * np.multiply.outer(error, hidden), atol=1e-12)
        np.testing.assert_allclose(change["b"], error, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "strength"),
    [("hebb", lambda x: 1.0), ("perceptron", lambda x: 1.0 * (x <= 0)), ("adatron", lambda x: max(-x, 0.0))],
)
def test_the_update_of_rules_without_a_loss(rule, strength):
    rng, v = np.random.default_rng(1), np.array([0.5, -2.0])
    made = network(v, [[1.0, 1.0]], activation="relu", teacher_activation="linear", labels="sign", rule=rule)
    assert list(made.metrics) == ["error_rate"]
    for _ in range(10):
        fields, teacher = rng.normal(size=2), rng.normal(size=2)
        sign = np.sign(teacher.sum())
        _, delta, change = learned(made, fields, teacher)
        np.testing.assert_allclose(delta, -v * sign * strength(sign * v @ np.maximum(fields, 0)), atol=1e-12)
        assert not change["v"].any()


def test_metrics_are_without_noise_and_count_wrong_labels():
    made = network(
        np.eye(3), np.eye(3)[None], activation="linear", loss="cross-entropy", labels="argmax", label_noise=9.0
    )
    with jax.enable_x64(True):
        extras = {"given": made.given, "task": 0, "noise": np.zeros(3)}
        for fields, wrong in (([0.0, 2.0, 1.0], 0.0), ([2.0, 0.0, 1.0], 1.0)):
            target = made.target(np.array([0.0, 1.0, 0.5]), **extras)
            found = made.measure(np.array(fields), target, made.head, **extras)
            assert found["error_rate"] == wrong
            np.testing.assert_allclose(found["loss"], np.log(np.exp(fields).sum()) - fields[1], rtol=1e-12)


def test_only_the_head_of_the_present_task_learns():
    v = np.random.default_rng(0).normal(size=(3, 2))
    both = np.eye(3)  # a teacher with a unit for each task
    made, alone = (network(x, both, activation="erf", bias=True) for x in (v, v[1]))
    fields, teacher = np.array([0.3, -1.0]), np.array([1.0, 0.2, -0.5])
    for rule in (made, alone):
        rule.check(2, 3)
    _, delta, change = learned(made, fields, teacher, task=1)
    _, expected, expected_change = learned(alone, fields, teacher, task=1)
    np.testing.assert_allclose(delta, expected)
    np.testing.assert_allclose(change["v"][1], expected_change["v"])
    assert np.count_nonzero(change["v"].any(axis=1)) == np.count_nonzero(change["b"]) == 1


def test_labels_of_clusters_are_wrong_as_often_as_asked_for():
    labels = [2, 0, 1, 1]
    made = network(
        np.ones((3, 2)), np.zeros((1, 3, 0)), activation="erf", loss="cross-entropy", labels=labels, label_noise=0.3
    )
    label = made.update.loss.__self__.label  # of the functions that the rule is made of
    z = np.random.default_rng(0).standard_normal((20_000, 1))
    found = np.asarray(jax.vmap(lambda noise: label(0, noise, jax.tree.map(np.float32, made.given)))(z))
    rates = np.bincount(found, minlength=3) / len(z)
    np.testing.assert_allclose(rates, [0.15, 0.15, 0.7], atol=0.012)  # 3.7 standard errors
    assert [int(label(i, np.zeros(1), {k: np.asarray(x) for k, x in made.given.items()})) for i in range(4)] == labels


def test_one_program_serves_all_instances_and_rules_travel_to_other_processes():
    def drawn(seed, loss="logistic", noise=0.1):
        problem = sl.Problem(**FREE, loss=loss, labels="sign", bias=True, training=sl.Training(label_noise=noise))
        rule = problem.draw(seed).rule
        assert rule is not None
        return rule

    one, other = drawn(0), drawn(1, noise=0.3)
    assert one.given["teacher_output"].tolist() != other.given["teacher_output"].tolist()
    assert one.digest(2, 2) == other.digest(2, 2) == pickle.loads(pickle.dumps(one)).digest(2, 2)
    assert one.digest(2, 2) != drawn(0, loss="hinge").digest(2, 2)


def test_teachers_are_exchanged_only_where_every_label_allows_it():
    """The averages over permutations are wrong for unequal teachers, also where one label is the same by chance."""
    start: dict[str, Any] = FREE | {"Q": 0.3, "T": 1.0, "loss": "logistic", "labels": "sign"}
    exchange = np.array([0, 1]), np.array([1, 0])
    equal: dict[str, Any] = {"output_weights": "equal"}
    for change, exchanged in (({}, False), (equal, True)):
        for seed in range(2):
            instance = sl.Problem(**{**start, **change}).draw(seed)
            averages, case = averages_of(instance), case_of(instance, spectrum(instance))
            assert (averages.permuted(case, *exchange) is not None) == exchanged
    later = sl.Problem(**start, switch_times=(1.0,)).draw(seed=0)  # the second task's teachers differ
    averages, case = averages_of(later), case_of(later, spectrum(later))
    assert averages.permuted(case, exchange[0], np.array([0, 1, 3, 2])) is None


def test_settings_go_through_toml(tmp_path):
    problems = [
        sl.Problem(
            **FREE, loss="cross-entropy", labels="argmax", outputs=3, bias=True, rule="dfa", feedback_scale=0.5,
            heads="per-task", switch_times=(2.0,), covariance=sl.Covariance(eigenvalues=(2.5, 0.5), shares=(0.3, 0.7)),
            Q=0.05, R=[[0.001, 0.0], [0.0, 0.001]], T=np.array([[1.0, 0.2], [0.2, 1.0]]),
        ),
        sl.Problem(**CLUSTERS, loss="hinge").replace(
            latent=sl.LabelledClusters(count=2, mean_norm=3.0, labels=(1, 1), label_noise=0.1)
        ),
    ]  # fmt: skip
    for problem in problems:
        path = tmp_path / f"{problem.loss}.toml"
        path.write_text(problem.to_toml(), encoding="utf-8")
        assert load_problem(path)[0] == problem


@pytest.mark.parametrize("covariance", [None, {"exponent": 1.0}, {"eigenvalues": (2.5, 0.5)}])
def test_draws_have_the_overlaps_that_are_given(covariance):
    Q, R, T = np.array([[0.3, 0.1], [0.1, 0.4]]), np.array([[0.1, 0.2], [0.05, -0.1]]), [[1.0, 0.2], [0.2, 1.0]]
    problem = sl.Problem(**FREE, covariance=covariance, Q=Q, R=R, T=T, switch_times=(5.0,), task_similarity=0.6)
    instance = problem.draw(seed=0)
    for found in (spectrum(instance), spectrum(problem.draw(seed=1))):
        np.testing.assert_allclose(found.Q, Q, atol=1e-10)
        np.testing.assert_allclose(found.R, np.hstack([R, 0.6 * R]), atol=1e-10)
        np.testing.assert_allclose(found.teacher_overlap, np.kron([[1, 0.6], [0.6, 1]], T), atol=1e-10)
    assert abs(instance.student - problem.draw(seed=1).student).min() > 0
    if covariance:
        expected = sl.Covariance(**covariance).variances(60)
        np.testing.assert_allclose(np.diag(instance.features) ** 2 / 60, expected)
        np.testing.assert_allclose(
            expected[[0, -1]],
            [60 / (1 / np.arange(1, 61)).sum() * np.array([1, 1 / 60]), [2.5, 0.5]]["eigenvalues" in covariance],
        )


def test_instances_from_overlaps_and_from_moments():
    Q, R, T = np.array([[0.3, 0.1], [0.1, 0.4]]), np.array([[0.1], [0.05]]), np.array([[1.0]])
    network = {"student_output": [1, 1], "teacher_output": [1], "activation": "erf", "learning_rate": 0.5}
    one = spectrum(sl.Instance.from_overlaps(Q, R, T, input_dim=100, **network))
    for found, given in ((one.student[0], Q), (one.overlap[0], R), (one.teacher[0], T)):
        np.testing.assert_allclose(found, given, atol=1e-12)
    nodes = np.array([Q, 2 * Q]), np.array([R, -R]), np.array([T, 0.5 * T])
    instance = sl.Instance.from_overlaps(*nodes, input_dim=100, eigenvalues=[0.5, 2.5], shares=[0.7, 0.3], **network)
    two = spectrum(instance)
    np.testing.assert_allclose(two.weights, [0.7, 0.3])
    for found, given in zip((two.student, two.overlap, two.teacher), nodes, strict=True):
        np.testing.assert_allclose(found, given, atol=1e-12)
    inputs = instance.moments()
    Omega = np.diag(inputs.diagonal) + inputs.factor.T @ inputs.factor
    noisy = inputs.teacher_overlap + 0.5  # and part of the teacher's fields is independent of the inputs
    again = sl.Instance.from_moments(Omega, inputs.cross, noisy, instance.student, **network).moments()
    np.testing.assert_allclose(again.factor.T @ again.factor, Omega, atol=1e-12)
    np.testing.assert_allclose(again.cross, inputs.cross, atol=1e-12)
    np.testing.assert_allclose(again.teacher_overlap, noisy, atol=1e-12)
    for R_, sizes, message in (
        (10 * R, {"input_dim": 100}, "Q, R, T: must have a covariance without negative eigenvalues .got -"),
        (R, {"input_dim": 2}, "input_dim: must be at least 3 for these overlaps .got 2"),
        (R, {"input_dim": 99, "eigenvalues": [1, 2]}, r"R: must be of shape|for whole numbers of 99 inputs"),
    ):
        with pytest.raises(sl.ProblemError, match=message):
            sl.Instance.from_overlaps(Q, R_, T, **sizes, **network)


@pytest.mark.parametrize("heads", ["per-task", "shared"])
def test_forgetting_peaks_at_intermediate_similarity_with_a_head_for_each_task(heads):
    """Lee, Goldt & Saxe (2021): with a shared head it falls with the similarity."""
    forgetting = []
    for similarity in (0.0, 0.4, 1.0):
        problem = sl.Problem(
            **ONE_UNIT, heads=heads, Q=0.01, R=[[0.03], [0.0]], T=1.0, output_weights="equal",
            student_output_scale=0.1, switch_times=(100.0,), task_similarity=similarity,
        )  # fmt: skip
        theory = sl.solve(problem.draw(seed=0), [0.0, 100.0, 300.0])
        assert theory["task_error"].shape == (3, 2)
        forgetting.append(float(sl.forgetting_and_transfer(theory).forgetting[0]))
    if heads == "per-task":
        assert theory["head_v"].shape == (3, 2, 2)
        assert forgetting[1] > 2 * max(forgetting[0], forgetting[2])
    else:
        np.testing.assert_allclose(forgetting, [0.334, 0.205, 0.0], atol=0.003)


@pytest.mark.parametrize("heads", ["per-task", "shared"])
def test_theory_follows_sgd_of_rules_with_several_tasks(heads):
    """With metrics on each task. The bounds are those of ``test_theory_follows_sgd_of_a_rule``."""
    N = 500
    large: dict[str, Any] = FREE | {"input_dim": N, "latent_dim": N}
    problem = sl.Problem(
        **large, loss="logistic", labels="sign", bias=True, heads=heads,
        switch_times=(5.0,), task_similarity=0.5, T=1.0,
    )  # fmt: skip
    instance, times = problem.draw(seed=1), np.array([0.5, 2.0, 4.0, 5.0, 6.0, 10.0, 15.0])
    theory, runs = sl.solve(instance, times), sl.simulate(instance, times, runs=8, seed=2)
    assert {"Q", "R", *problem.followed()} == {*theory}
    for name, shape in problem.followed().items():
        assert theory[name].shape == (len(times), *shape)
    for name in theory:
        difference = abs(theory[name] - runs[name].mean("run")).mean()
        error = runs[name].std("run", ddof=1).mean() / np.sqrt(8)
        assert difference <= 2.5 * error + 2 / N, (name, float(difference), float(error))
    forgotten = [sl.forgetting_and_transfer(each, "task_loss")["forgetting"][..., 0] for each in (theory, runs)]
    assert abs(forgotten[0] - forgotten[1].mean()) < 0.03


def test_metrics_of_a_rule_are_followed_on_each_task():
    """The error of a perceptron on a teacher at the angle α is α/π (theory to its accuracy, SGD to 4.5 errors)."""
    one: dict[str, Any] = ONE_UNIT | {"student_units": 1, "activation": "sign", "rule": "hebb", "labels": "sign"}
    problem = sl.Problem(**one, T=1.0, switch_times=(1.0,), output_weights="equal")
    instance, times = problem.draw(seed=0), np.array([0.5, 1.0, 2.0])
    theory, runs = sl.solve(instance, times), sl.simulate(instance, times)
    for found in (theory, runs.isel(run=0)):
        angle = np.arccos(found["R"][:, 0].values / np.sqrt(found["Q"][:, 0].values))
        error = found["task_error_rate"].values
        allowed = 4.5 * found["task_error_rate_stderr"].values if found is not theory else 2e-3
        assert (abs(error - angle / np.pi) < allowed).all()
        np.testing.assert_array_equal(found["error_rate"], error[range(3), [0, 1, 1]])
    assert problem.followed()["task_error_rate"] == (2,)
    with pytest.raises(sl.ProblemError, match="trajectory: must have a teacher that changes, and 'task_error'"):
        sl.forgetting_and_transfer(theory)


def test_a_sweep_stores_what_is_measured_of_its_networks():
    fields = {name: value for name, value in FREE.items() if name != "learning_rate"}
    for grid, names in (
        ({"learning_rate": [0.1, 0.2], "loss": ["squared", "logistic"]}, {"M_error_rate", "theory_error_rate"}),
        ({"learning_rate": [0.1], "loss": ["squared", "huber"]}, {"M_v", "theory_generalization_error"}),
        ({"learning_rate": [0.1], "covariance.exponent": [0.5, 1.0]}, {"M_v", "theory_generalization_error"}),
    ):
        problem = fields | ({"labels": "sign"} if "M_error_rate" in names else {})
        template = Plan(sl.Sweep(problem=problem, grid=grid)).template
        assert names < set(template)
        assert ("M_v" in template) == ("M_v" in names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "logstic"}, "loss: must be 'squared', .* .got 'logstic'.. Did you mean 'logistic'"),
        ({"loss": "logistic"}, "loss: must have labels that are signs for 'logistic' .got labels 'teacher'"),
        ({"loss": "hinge", "labels": "argmax", "outputs": 2}, "Use 'cross-entropy'"),
        (
            {"loss": "cross-entropy"},
            "must have at least 2 outputs and labels 'argmax' or 'clusters' .*got 1 and 'teacher'",
        ),
        ({"labels": "argmax"}, "outputs: must be at least 2 for labels 'argmax' .got 1"),
        (
            {"activation": "sign", "labels": "sign"},
            "activation: must not jump .* .got 'sign'.* with a rule that is no gradient",
        ),
        (
            {"rule": "hebb"},
            "rule: must have one output and labels 'sign' or 'clusters' for 'hebb' .got 1 and 'teacher'",
        ),
        ({"rule": "hebb", "labels": "sign", "bias": True}, "bias: must be left out with rule 'hebb' .got True"),
        (
            {"rule": "adatron", "labels": "sign", "loss": "hinge"},
            "loss: must be left out with rule 'adatron' .got 'hinge'",
        ),
        ({"rule": "backprop"}, "rule: must be 'gradient', .* or sl.Rule for your own"),
        ({"outputs": 2, "output_weights": "equal"}, "output_weights: must be 'normal' for outputs that differ"),
        ({"teacher_units": 0}, "teacher_units: must be at least 1 unless labels are 'clusters' .got 0"),
        ({"labels": "clusters"}, "teacher_units: must be 0 .* latent.law: must be 'clusters' where labels are"),
        (CLUSTERS | {"training": {"label_noise": 0.1}}, "training.label_noise: must be 0 beside latent.label_noise"),
        (CLUSTERS | {"student_alignment": 0.5}, "student_alignment: must be 0 without a teacher .got 0.5"),
        (CLUSTERS | {"switch_times": (1.0,)}, r"switch_times: must be empty where labels are 'clusters' .got .1\.0"),
        ({"heads": "per-task"}, "heads: must be 'shared' without switch_times .got 'per-task'"),
        ({"Q": "small"}, "Q: must be a number or a matrix .got 'small'.. Write 1.0 for the identity"),
        ({"Q": [[1.0, 0.0]]}, r"Q: must be of shape .2, 2. .got .1, 2.."),
        ({"R": 0.1}, "R: must be left out where Q is .got 0.1"),
        ({"Q": 1.0, "student_alignment": 0.5}, "student_alignment: must be 0 where Q is given; R has the same purpose"),
        ({"features": "gaussian", "T": 1.0}, "T: must be left out unless features and f are 'identity' .got 1.0"),
        ({"covariance": {}}, "covariance.exponent: must be given, or eigenvalues .got both or neither"),
        ({"covariance": {"eigenvalues": [1.0, 2.0], "shares": [0.5, 0.6]}}, "shares: must be positive and sum to 1"),
        ({"latent": {"law": "clusters", "count": 2}}, "latent.mean_norm: must be given"),
        ({"latent": {"law": "clusters", "count": 2, "mean_norm": 1.0, "labels": [1]}}, r"latent.labels: .*got .1,.."),
    ],
)
def test_combinations_without_a_meaning_are_refused_in_a_sentence(change, message):
    with pytest.raises(sl.ProblemError, match=message) as error:
        sl.Problem(**FREE | change)
    assert "\n" not in str(error.value)


def test_what_only_a_draw_shows_is_refused_in_a_sentence():
    with pytest.raises(sl.ProblemError, match=r"Q, R, T: must have a covariance without negative eigenvalues"):
        sl.Problem(**FREE, Q=0.1, R=5.0, T=1.0).draw(seed=0)
    wrong: Any = sl.LabelledClusters(count=2, mean_norm=1.0, labels=(0, 2))
    with pytest.raises(sl.ProblemError, match=r"labels: must be of .-1, 1. for clusters .got .0\.0, 2\.0.."):
        sl.Problem(**CLUSTERS | {"latent": wrong}).draw(seed=0)
    with pytest.raises(sl.ProblemError, match="labels: must not ask for clusters in conventional"):
        sl.solve(sl.Problem(**CLUSTERS).draw(seed=0), [0.0, 1.0])
    with pytest.raises(sl.ProblemError, match=r"training\.label_noise: must be left out with a rule"):
        sl.Problem(**FREE, loss="huber").draw(seed=0).replace(training=sl.Training(label_noise=0.1))
