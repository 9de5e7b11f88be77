"""Theory of learning rules: closed forms, published trajectories, singular states, symmetries, bad input."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import sgdlimit as sl
from sgdlimit._jax import own_jax
from sgdlimit.errors import ProblemError
from sgdlimit.rules import activation_named, network, squared_network
from sgdlimit.rules._erf import Erf
from sgdlimit.theory import (
    Case,
    Solver,
    Spectrum,
    _points,
    order_parameters,
    right_hand_side,
    solve_spectrum,
    start,
)
from sgdlimit.theory._averages import integrals_for
from sgdlimit.theory._equations import moment_at
from sgdlimit.theory._points import Points
from sgdlimit.training import PLAIN

FIRST_LAYER = sl.Training(output_learning_rate=0.0)


def one_node(Q, R, T):
    """Independent normal inputs: one eigenvalue ω = 1."""
    return Spectrum([1.0], [1.0], [Q], [R], [T], T)


def case_of(rule, inputs, eta=1.0, training=FIRST_LAYER, averages=None):
    """A case of a rule, and averages over its points."""
    K, M = inputs.overlap.shape[1:]
    rule.check(K, M)
    averages = averages or Points.of(rule, K, M)
    return Case(inputs, rule.head, rule.given, training.rates(eta, K, M)), averages


def solved(rule, inputs, times, eta=1.0, training=FIRST_LAYER):
    case, averages = case_of(rule, inputs, eta, training)
    return order_parameters(case, np.asarray(times, float), Solver(averages))


def perceptron_of(rule):
    """A single unit that learns the sign of another, of length 1."""
    return network([1.0], [[1.0]], activation="linear", labels="sign", rule=rule)


def angle(found):
    """Between a student and its teacher of length 1."""
    return np.arccos(found.R[:, 0, 0] / np.sqrt(found.Q[:, 0, 0]))


def by_angle(times, Q, rho, slope):
    """ε of an equation for Q and ρ = cos φ, with dQ/dt and dR/dt as functions of Q, ρ, φ."""

    def both(t, y):
        Q, rho = y
        dQ, dR = slope(Q, rho, np.arccos(rho))
        return dQ, dR / np.sqrt(Q) - rho * dQ / (2 * Q)

    found = solve_ivp(both, (0, times[-1]), (Q, rho), t_eval=times, rtol=1e-10, atol=1e-13, method="LSODA")
    return np.arccos(found.y[1]) / np.pi


def of_perceptron(Q, rho, phi):
    shared = (1 - rho) / np.sqrt(2 * np.pi)
    return phi / np.pi - 2 * np.sqrt(Q) * shared, shared


def of_adatron(Q, rho, phi):
    return -Q * (phi - np.sin(phi) * rho) / np.pi, np.sqrt(Q) * (np.sin(phi) - phi * rho) / np.pi


# --- closed forms of one unit ----------------------------------------------------------------------------------------


def test_hebb_in_closed_form():
    """Vallet (1989): R = t √(2/π), Q = Q(0) + 2t²/π + t, and ε √t → 1/√(2π)."""
    t = np.array([0.0, 0.3, 1.0, 5.0, 20.0, 100.0])
    found = solved(perceptron_of("hebb"), one_node([[0.7]], [[0.0]], [[1.0]]), t)
    assert_allclose(found.R[:, 0, 0], t * np.sqrt(2 / np.pi), rtol=5e-4)
    assert_allclose(found.Q[:, 0, 0], 0.7 + 2 * t**2 / np.pi + t, rtol=1e-3)
    assert_allclose(angle(found)[-1] / np.pi * np.sqrt(t[-1]), 1 / np.sqrt(2 * np.pi), rtol=0.02)


@pytest.mark.parametrize(("rule", "slope"), [("perceptron", of_perceptron), ("adatron", of_adatron)])
def test_a_unit_that_learns_from_errors(rule, slope):
    """Biehl & Riegler, Europhys. Lett. 28, 525 (1994): the averages are closed forms, of an equation for Q and R."""
    t = np.array([0.0, 0.5, 2.0, 10.0])
    found = solved(perceptron_of(rule), one_node([[1.0]], [[0.1]], [[1.0]]), t)
    assert_allclose(angle(found) / np.pi, by_angle(t, 1.0, 0.1, slope), rtol=5e-3)


@pytest.mark.parametrize(
    ("rule", "slope", "until", "power", "limit"),
    [
        ("perceptron", of_perceptron, 1e4, 1 / 3, (2 / 3) ** (1 / 3) / np.pi),  # 0.28, Biehl & Riegler (1994)
        ("adatron", of_adatron, 1e3, 1.0, 1.5),  # Anlauf & Biehl (1989)
    ],
)
def test_late_times_of_units_that_rarely_err(rule, slope, until, power, limit):
    """ε t^power approaches a number, and theory over points follows ε to 1 %."""
    t = np.geomspace(1, until, 13)
    found = angle(solved(perceptron_of(rule), one_node([[1.0]], [[0.1]], [[1.0]]), np.append(0, t)))[1:] / np.pi
    exact = by_angle(t, 1.0, 0.1, slope)
    assert_allclose(exact[-1] * t[-1] ** power, limit, rtol=0.02)
    assert_allclose(found, exact, rtol=0.01)


# --- the squared loss over points against closed forms ---------------------------------------------------------------


def squared(activation, v, v_teacher, **scales):
    g = activation_named(activation)
    return squared_network(g, g, v, np.atleast_2d(v_teacher), **scales)


OVERLAPS = [[0.8, 0.2], [0.2, 1.1]], [[0.3, -0.1], [0.1, 0.2]], [[1.0, 0.3], [0.3, 1.2]]
V, V_TEACHER = [0.9, -0.6], [1.0, 0.7]


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_the_squared_loss_over_points_has_the_errors_it_states(monkeypatch, activation):
    """Both layers learn. The largest error of Q, R and v is as half the difference of two sets, over eight such pairs.

    One pair may be off by a factor of four, their mean square may not. Steps are small: both sets share their error.
    """
    monkeypatch.setattr(_points, "SOLVER_SHARE", 1e-3)
    t, draw = np.linspace(0, 20, 21), _points.sobol_normals
    inputs, rule = one_node(*map(np.array, OVERLAPS)), squared(activation, V, V_TEACHER)
    exact = solve_spectrum(inputs, V, V_TEACHER, activation=activation, learning_rate=0.4, times=t)
    stated, off = [], []
    for pair in range(8):
        others = [draw(4, 14, ((pair, seed),)) for seed in range(2)]
        monkeypatch.setattr(_points, "sobol_normals", lambda dim, level, seeds, sets=others: sets[seeds[0]])
        found = solved(rule, inputs, t, 0.4, PLAIN)
        stated.append(found.integral_error)
        numbers = {"Q": found.Q, "R": found.R, "v": found.head["v"]}
        off.append([np.abs(values - exact[name].values).mean() for name, values in numbers.items()])
        assert_allclose(found.metrics["generalization_error"], exact.generalization_error, atol=2e-3)
    assert max(stated) < 2e-3
    ratio = np.sqrt(np.mean(np.square(off), 0).max() / np.mean(np.square(stated)))
    assert 1 / 3 < ratio < 2, (ratio, stated, off)


def test_points_stay_where_they_are_until_a_teacher_is_nearly_known():
    """Hinge: δ is often 0. Up to two deviations of what is not known are wider than ν, labels do not flip with R."""
    rule = network([1.0, -0.6], [[1.0, 0.8]], activation="relu", loss="hinge", labels="sign")
    case, averages = case_of(rule, one_node(*map(np.array, OVERLAPS)))
    assert averages.rare
    with jax.enable_x64(True):
        state, case = start(case._replace(points=averages.points(2, 2)[0]))
        at = moment_at(jnp.zeros(()), state, case)
        found, plain = (jax.jit(each.forces)(at) for each in (averages, replace(averages, rare=False)))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
        assert_allclose(one, other, atol=1e-6)


LABELS_THAT_JUMP = {
    "logistic": (network([1.0, -0.6], [[1.0, 0.8]], activation="erf", loss="logistic", labels="sign"), 14),
    "hinge": (network([1.0, -0.6], [[1.0, 0.8]], activation="relu", loss="hinge", labels="sign"), 17),
}


@pytest.mark.parametrize("name", LABELS_THAT_JUMP)
def test_labels_that_jump_have_the_errors_they_state(name, monkeypatch):
    """Against 2¹⁸ points; 2¹⁴ of them, or 2¹⁷ for hinge, know Q, R and v to 2e-3 over t ≤ 20."""
    rule, enough = LABELS_THAT_JUMP[name]
    case, averages = case_of(rule, one_node(*map(np.array, OVERLAPS)), 0.5, PLAIN)
    monkeypatch.setattr(rule, "accuracy", 0.9)  # takes the points as they are
    monkeypatch.setattr("sgdlimit.theory._points.SOLVER_SHARE", 1e-9)
    exact, *found = (
        order_parameters(case, np.linspace(0, 20, 41), Solver(replace(averages, level=level), 1e-4, 1e-4))
        for level in sorted({18, 14, enough}, reverse=True)
    )
    for each in found:
        pairs = zip(jax.tree.leaves(each[:3]), jax.tree.leaves(exact[:3]), strict=True)
        off = max((np.abs(one - other) / np.maximum(1, np.abs(other))).mean() for one, other in pairs)
        assert off < max(4 * each.integral_error, 3e-4), (off, each.integral_error)
        assert each is not found[0] or off < 2e-3


SINGULAR = {
    "student = teacher": ([[1.0, 0.3], [0.3, 1.2]], [[1.0, 0.3], [0.3, 1.2]], [[1.0, 0.3], [0.3, 1.2]]),
    "equal students": ([[0.8, 0.8], [0.8, 0.8]], [[0.3, -0.1], [0.3, -0.1]], [[1.0, 0.3], [0.3, 1.2]]),
    "opposite students": ([[0.8, -0.8], [-0.8, 0.8]], [[0.3, -0.1], [-0.3, 0.1]], [[1.0, 0.3], [0.3, 1.2]]),
    "one is a teacher": ([[1.0, 0.1], [0.1, 0.9]], [[1.0, 0.3], [0.1, 0.2]], [[1.0, 0.3], [0.3, 1.2]]),
    "no weights": ([[0.0, 0.0], [0.0, 0.9]], [[0.0, 0.0], [0.1, 0.2]], [[1.0, 0.3], [0.3, 1.2]]),
    "all are one unit": ([[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]),
}


def slopes(activation, overlaps, averages=None):
    """dQ/dt, dR/dt and dv/dt of the squared loss."""
    inputs = one_node(*map(np.array, overlaps))
    case, averages = case_of(squared(activation, V, V_TEACHER), inputs, 0.4, PLAIN, averages)
    if isinstance(averages, Points):
        case = case._replace(points=averages.points(2, 2)[0])
    else:
        case = case._replace(given=np.atleast_2d(V_TEACHER))
    with jax.enable_x64(True):
        found = right_hand_side(jnp.zeros(()), *start(case), averages)
        return [np.asarray(x) for x in (found.Q, found.R, found.head["v"])]


@pytest.mark.parametrize("activation", ["erf", "linear"])
def test_fields_that_others_fix(activation):
    """Singular covariances, where H and A are not unique, and what they do is; with the error of 2¹⁴ points."""
    for name, overlaps in SINGULAR.items():
        exact = slopes(activation, overlaps, integrals_for(activation))
        for value, right in zip(slopes(activation, overlaps), exact, strict=True):
            assert_allclose(value, right, atol=2e-3, err_msg=name)
    for value in slopes(activation, SINGULAR["student = teacher"]):
        assert np.isfinite(value).all()


# --- learning rates that unlearn -------------------------------------------------------------------------------------


def largest_rate(activation, averages=None):
    """η at which a unit of v = ṽ = 1 off its teacher by x = Q − R, R = T, neither approaches it nor leaves.

    d(Q − 2R)/dt = −2η [H(Q − R) + A(R − T)] + η² G is 0.
    """
    x, T = 1e-4, 1.0
    inputs = one_node([[T + x]], [[T]], [[T]])
    rule = squared(activation, [1.0], [1.0])
    case, averages = case_of(rule, inputs, averages=averages)
    with jax.enable_x64(True):
        if isinstance(averages, Points):
            case = case._replace(points=averages.points(1, 1)[0])
        else:
            case = case._replace(given=np.ones((1, 1)))
        state, case = start(case)
        H, A, G, _ = jax.jit(averages.forces)(moment_at(jnp.zeros(()), state, case))
        return 2 * (H * (state.Q - state.R) + A * (state.R - T)).item() / G.item()


@pytest.mark.parametrize(
    ("activation", "limit"), [("linear", 2.0), ("relu", 2.0), ("erf", np.pi * np.sqrt(5 / 3))], ids=str
)
def test_the_largest_learning_rates(activation, limit):
    """Of a student near its teacher, with closed forms and over points."""
    assert_allclose(largest_rate(activation, integrals_for(activation)), limit, rtol=0.01)
    assert_allclose(largest_rate(activation), limit, rtol=0.02)


def test_a_linear_unit_learns_below_its_largest_rate_and_diverges_above():
    """ε = ε(0) exp((η² − 2η) t), over points."""
    start, t = one_node([[1.0]], [[0.0]], [[1.0]]), np.array([0.0, 2.0, 4.0])
    for eta in (1.5, 2.3):
        error = solved(squared("linear", [1.0], [1.0]), start, t, eta).metrics["generalization_error"]
        assert_allclose(error, np.exp((eta**2 - 2 * eta) * t), rtol=0.03)
    rule = squared("linear", [1.0], [1.0])
    rng = np.random.default_rng(0)
    W, teacher = rng.normal(size=(2, 1, 50))
    instance = sl.Instance.from_covariance(
        np.eye(50), W, teacher=teacher, rule=rule, learning_rate=2.3, training=FIRST_LAYER
    )
    with pytest.warns(sl.DivergenceWarning, match="learning_rate: with 2.3 the theory diverges before"):
        sl.solve(instance, [0, 1, 1000])


# --- plateaus and floors ---------------------------------------------------------------------------------------------


def test_symmetric_plateau_of_a_soft_committee_over_points():
    """Saad & Solla (1995): for small η all v = 1 and T = 1, the symmetric phase rests at R* and ε*."""
    K = 2
    overlap = 1 / (2 * K - 1)
    inputs = one_node(np.full((K, K), overlap), np.full((K, K), np.sqrt(overlap / K)), np.eye(K))
    found = solved(squared("erf", np.ones(K), np.ones(K)), inputs, [0, 1, 100], 1e-3)
    for name, there in (("Q", inputs.Q), ("R", inputs.R)):
        assert_allclose(getattr(found, name), np.broadcast_to(there, (3, K, K)), atol=2e-3)
    error = K / np.pi * (np.pi / 6 - K * np.arcsin(1 / (2 * K)))
    assert_allclose(found.metrics["generalization_error"], error, rtol=0.02)


@pytest.mark.parametrize(("noise", "eta"), [(0.3, 0.5), (1.0, 0.2)])
def test_label_noise_leaves_an_error_over_points(noise, eta):
    """ε → ½ (ησ²/2)/(1 − η/2) of a linear unit."""
    rule = squared("linear", [1.0], [1.0], label_noise=noise)
    error = solved(rule, one_node([[1.0]], [[0.0]], [[1.0]]), [0, 50, 100], eta).metrics["generalization_error"]
    assert_allclose(error[1:], 0.5 * (eta * noise**2 / 2) / (1 - eta / 2), rtol=0.02)


def test_metrics_are_those_of_the_present_task_and_of_each():
    squares = {"m": lambda fields, target, head, task: (1 + task) * fields[0] ** 2}
    case, averages = case_of(
        sl.Rule(lambda x, y, head: (0 * x, {}), metrics=squares), one_node(*np.ones((3, 1, 1)) / 2)
    )
    case = case._replace(rates=case.rates._replace(switch_times=np.array([3.0])), points=averages.points(1, 1)[0])
    with own_jax():
        state, case = start(case)
        found = [averages.metrics(moment_at(jnp.asarray(t), state, case)) for t in (1.0, 3.0)]
    assert_allclose([each["m"] for each in found], [0.5, 1.0], rtol=1e-3)
    assert_allclose([each["task_m"] for each in found], [[0.5, 1.0]] * 2, rtol=1e-3)


# --- published trajectories ------------------------------------------------------------------------------------------


def published(name):
    """What another group stored or printed; where it is from stands in the file."""
    found = json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text(encoding="utf-8"))
    return {key: np.array(value) if isinstance(value, list) else value for key, value in found.items()}


COMMITTEE = sl.Training(output_learning_rate=0.0, output_normalization="1/K", label_noise=np.sqrt(1e-3))


class WithoutSquare(Erf):
    """Averages whose G is that of the label noise alone."""

    def noise(self, S, c, K):
        return jnp.zeros((K, K))


def test_trajectory_of_veiga_and_others():
    """Our theory is 1.8e-3 above what they stored: their file says ``quadratic_terms: false`` and ``dt: 0.001``.

    So they leave η² E[Δ² g'g'] out of dQ/dt, of order η/K for η = .05, and take Euler steps of 0.001 in their time. Our
    right-hand side without that term, in such steps, repeats their risks to rounding. In the limit of small steps it is
    within 4.0e-4 of them at all times. The term itself changes the risk by up to 1.9e-3, which is the rest.
    """
    data, eta = published("veiga_2022"), 0.05
    times, risks, scale = data["times"], data["risks"], 10 / eta
    inputs, t = one_node(data["Q0"], data["M0"], data["P"]), (times - times[0]) * scale
    found = solve_spectrum(
        inputs, np.ones(10), np.ones(2), activation="erf", learning_rate=eta, times=t, training=COMMITTEE
    )
    assert_allclose(found.generalization_error, risks, rtol=2e-3)
    averages = WithoutSquare()
    case = Case(inputs, {"v": np.ones(10)}, np.ones((1, 2)), COMMITTEE.rates(eta, 10, 2))
    without = order_parameters(case, t, Solver(averages)).generalization_error
    assert_allclose(without, risks, rtol=1e-3)
    assert 1e-3 < abs(found.generalization_error.values / without - 1).max() < 2e-3
    early = times < 11
    assert_allclose(euler(case, averages, times[early], 0.001, scale), risks[early], rtol=1e-9)


def euler(case, averages, times, dt, scale):
    """ε in Euler steps, from the first time on; ``scale`` makes their unit of time ours."""
    with own_jax():
        state, network = start(case)

        def step(_, state):
            slope = right_hand_side(jnp.zeros(()), state, network, averages)
            return jax.tree.map(lambda x, dx: x + dt * scale * dx, state, slope)

        def until(state, count):
            state = jax.lax.fori_loop(0, count, step, state)
            return state, averages.metrics(moment_at(jnp.zeros(()), state, network))["generalization_error"]

        counts = np.rint(np.diff(times, prepend=times[0]) / dt).astype(int)
        return np.asarray(jax.lax.scan(until, state, counts)[1])


def test_trajectory_of_a_phase_diagram():
    data = published("phase_diagram_log")
    rng = np.random.RandomState(0)
    W = rng.randn(8, 2000)
    W *= np.sqrt(2000) / np.linalg.norm(W, axis=1, keepdims=True)
    teacher = rng.randn(4, 2000)
    inputs = one_node(*(x @ y.T / 2000 for x, y in ((W, W), (W, teacher), (teacher, teacher))))
    found = solve_spectrum(
        inputs, np.ones(8), np.ones(4), activation="erf", learning_rate=8.0, times=data["times"], training=COMMITTEE
    )
    assert_allclose(found.generalization_error, data["risks"], rtol=2e-4)


def test_trajectory_on_the_sphere():
    """Arnaboldi et al. (2023): x² (or x² − 1 in both), one unit of length 1, whose start is R² = 1 − ε/2.

    What they stored are Euler steps of 0.001, which our right-hand side repeats to 1e-9. So their times are right to
    0.002 and their risks to 0.8 %: half the step halves the distance to our own solution. That is within 1e-3 of the
    limit of small steps.
    """
    data = published("escaping_mediocrity")
    times, risks, eta = data["times"], data["risks"], 0.1
    start_of = one_node([[1.0]], [[np.sqrt(1 - risks[0] / 2)]], [[1.0]])
    training = sl.Training(output_learning_rate=0.0, label_noise=0.01, sphere=True)
    found = solve_spectrum(
        start_of, [1.0], [1.0], activation="hermite-2", learning_rate=eta, times=(times - times[0]) / eta,
        training=training, rtol=1e-9, atol=1e-13,
    )  # fmt: skip
    averages = integrals_for("hermite-2")
    case = Case(start_of, {"v": np.ones(1)}, np.ones((1, 1)), training.rates(eta, 1, 1))

    theirs, finer = (euler(case, averages, times, dt, 1 / eta) for dt in (0.001, 0.0005))
    assert_allclose(theirs, risks, rtol=1e-9)
    assert_allclose(finer**2 / theirs, found.generalization_error, rtol=1e-3)
    assert abs(risks / found.generalization_error - 1).max() > 5e-3


# --- symmetries ------------------------------------------------------------------------------------------------------


def logistic(v, M=1):
    """Erf units that learn the sign of a teacher's output by the logistic loss."""
    return network(v, [np.ones(M)], activation="erf", loss="logistic", labels="sign")


EQUAL = one_node([[0.5, 0.5], [0.5, 0.5]], [[0.2], [0.2]], [[1.0]])


def test_equal_students_are_one_unit_for_ever():
    """Of the logistic loss: two equal units are one of twice the output weight at half the rate."""
    t = np.array([0.0, 1.0, 30.0, 1000.0])
    two = solved(logistic([1.0, 1.0]), EQUAL, t, 0.5)
    assert_allclose(two.Q, np.broadcast_to(two.Q[:, :1, :1], two.Q.shape), rtol=1e-14)
    assert_allclose(two.R, np.broadcast_to(two.R[:, :1], two.R.shape), rtol=1e-14)
    one = solved(logistic([2.0]), one_node([[0.5]], [[0.2]], [[1.0]]), t, 0.25)
    assert_allclose(two.Q[:, 0, 0], one.Q[:, 0, 0], rtol=5e-3)
    assert_allclose(two.metrics["loss"], one.metrics["loss"], rtol=5e-3)


def test_equal_students_part_where_the_rule_tells_them_apart():
    """Noise of their own, as masks; noise that they share does not."""

    def masked(fields, target, head, noise):
        return jax.nn.softplus(-target * (head["v"] @ (jnp.tanh(fields) * (noise > 0))))

    def rule_with(masks):
        head = {"v": [1.0, 1.0]}
        return sl.Rule.from_loss(masked, head=head, labels=lambda nu: jnp.sign(nu[0]), noise=masks)

    own = solved(rule_with(2), EQUAL, [0.0, 5.0], 0.5)
    assert own.Q[-1, 0, 0] - own.Q[-1, 0, 1] > 0.02
    shared = solved(rule_with(1), EQUAL, [0.0, 5.0], 0.5)
    assert_allclose(shared.Q[-1], np.broadcast_to(shared.Q[-1, 0, 0], (2, 2)), rtol=1e-14)


def test_a_symmetric_start_that_sgd_would_leave_is_named():
    """Classes |ν| < 1 and > 1 by the logistic loss: without any overlap R stays 0, also over points."""

    def even(fields, target, head):
        return jax.nn.softplus(-target * (head["v"] @ (fields**2 - 1)))

    rule = sl.Rule.from_loss(even, head={"v": [1.0]}, labels=lambda nu: jnp.sign(nu[0] ** 2 - 1))
    start = {"Q": [[1.0]], "T": [[1.0]], "rule": rule, "learning_rate": 0.2, "training": FIRST_LAYER}
    times = [0.0, 100.0]
    with pytest.warns(sl.AccuracyWarning, match=r"symmetric, .* Start from R of order 1/√N"):
        stuck = sl.solve(sl.Instance.from_overlaps(R=[[0.0]], input_dim=50, **start), times)
    assert (stuck.R == 0).all()
    assert abs(sl.solve(sl.Instance.from_overlaps(R=[[0.1]], input_dim=50, **start), times).R[-1]) > 0.9


# --- bad input -------------------------------------------------------------------------------------------------------


def square(fields, target, head):
    return jnp.sum(fields - target) ** 2


BAD_RULES = {
    "no array": ({"head": {"v": "one"}}, r"head\['v'\]: .*numbers"),
    "no dict": ({"head": [1.0]}, r"head: must be a table of names and values or None \(got \[1.0\]\)."),
    "numbers for names": ({"head": {0: 1.0}}, "head: must be a dict of arrays by name"),
    "not finite": ({"head": {"v": [np.nan]}}, r"head\['v'\]: .*finite"),
    "unknown labels": ({"labels": "cluster"}, "labels: .*'clusters'.*, or a function of the teacher's fields"),
    "labels that are numbers": ({"labels": [1.0, -1.0]}, "labels: "),
    "a metric's name": (
        {"metrics": {"task_x": lambda f, t, h: 0.0}},
        r"metrics: must not be .* \(got 'task_x'\). Rename",
    ),
    "no accuracy": ({"accuracy": 0.0}, r"accuracy: must be between 0 and 1 \(got 0.0\). Try 2e-3."),
    "half a number": ({"noise": 0.5}, "noise: .*whole number"),
    "no samples": ({"samples": 0}, "samples: .*at least 1"),
    "given": ({"given": 3.0}, "given: must be a table of names and values"),
}


@pytest.mark.parametrize("name", BAD_RULES)
def test_a_rule_that_cannot_be(name):
    settings, message = BAD_RULES[name]
    with pytest.raises(ProblemError, match=message) as refused:
        sl.Rule(square, **settings)
    assert "\n" not in str(refused.value)


def learns(delta, change=None):
    return sl.Rule(lambda fields, target, head: (delta(fields, target), {} if change is None else change))


BAD_FUNCTIONS = {
    "no JAX": (
        sl.Rule.from_loss(lambda x, y, head: np.sin(float(x[0]))),
        "loss: must be a function that JAX can trace",
    ),
    "branches": (
        sl.Rule.from_loss(lambda x, y, head: x[0] if x[0] > 0 else -x[0]),
        "loss: must be a function that JAX can trace .*jax.numpy",
    ),
    "no number": (sl.Rule.from_loss(lambda x, y, head: x), r"loss: must return one number \(got the shape \(2,\)\)"),
    "nothing": (sl.Rule.from_loss(lambda x, y, head: None), r"loss: must return one number \(got None\)"),
    "not finite": (
        sl.Rule.from_loss(lambda x, y, head: jnp.sum(x) / 0),
        r"loss: must be finite in .* \(got NaN or infinity for 64 of 64 ",
    ),
    "NaN": (sl.Rule.from_loss(lambda x, y, head: jnp.log(-jnp.sum(x**2))), "loss: must be finite in the rule"),
    "NaN for some": (
        learns(lambda x, y: jnp.sqrt(x)),
        r"update: must be finite in .* \(got NaN or infinity for \d+ of 64 ",
    ),
    "NaN in episodes": (sl.Rule(lambda x, y, head: (jnp.log(x), {}), samples=3), "update: must be finite in the rule"),
    "other shapes": (
        learns(lambda x, y: x[:1]),
        "update: must return δ and what the head moves against, of the shapes",
    ),
    "a number": (sl.Rule(lambda x, y, head: x), "update: must return δ and a dict for the head"),
    "a head that is not there": (learns(lambda x, y: x, {"v": 0.0}), "update: must return δ and what the head moves"),
    "labels": (
        sl.Rule.from_loss(square, labels=lambda nu: float(nu[0])),
        "labels: must be a function that JAX can trace",
    ),
    "labels of no shape": (sl.Rule.from_loss(square, labels=lambda nu: nu[:3] @ jnp.ones(3)), "labels: "),
    "a metric": (
        sl.Rule(lambda x, y, head: (x, {}), metrics={"both": lambda x, y, head: x}),
        r"both: must return one number \(got the shape \(2,\)\)",
    ),
    "arguments": (sl.Rule.from_loss(lambda x, y: jnp.sum(x)), "loss: must be a function that JAX can trace"),
    "clusters": (sl.Rule.from_loss(square, labels="clusters"), "labels: must not ask for clusters in conventional"),
    "clusters and a teacher": (
        sl.Rule.from_loss(square, labels=lambda nu, cluster: nu * cluster),
        "labels: must not ask for clusters in conventional and moment-matched theory",
    ),
}


@pytest.mark.parametrize("name", BAD_FUNCTIONS)
def test_functions_that_cannot_be_followed(name):
    rule, message = BAD_FUNCTIONS[name]
    W, teacher = np.random.default_rng(0).normal(size=(2, 2, 10))

    def solve():
        sl.solve(sl.Instance.from_covariance(np.eye(10), W, teacher=teacher, rule=rule, learning_rate=0.1), [0, 1])

    with pytest.raises(ProblemError, match=message) as refused:
        solve()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_an_accuracy_that_points_do_not_reach_is_named():
    """Ten units of labels that jump: the sentence says what was reached, and what helps."""
    rule = sl.Rule.from_loss(
        lambda x, y, head: jnp.sum(jax.nn.relu(1 - y * x)), labels=lambda nu: jnp.sign(jnp.prod(nu)), accuracy=1e-6
    )
    W, teacher = np.random.default_rng(0).normal(size=(2, 5, 20))
    instance = sl.Instance.from_covariance(np.eye(20), W, teacher=teacher, rule=rule, learning_rate=0.5)
    with pytest.warns(sl.AccuracyWarning, match="accuracy: .* known to .* only where 1e-06 was asked for"):
        sl.solve(instance, [0, 0.01])
