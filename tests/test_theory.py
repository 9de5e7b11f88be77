"""Equations of motion and their solution: independent trajectories, limits, conservation laws, gradients, failures."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.inputs._moments import InputMoments
from sgdlimit.theory import (
    Spectrum,
    _compiled as compiled,
    _integrate as INTEGRATE,
    solve,
    solve_spectrum,
    spectrum,
    spectrum_of,
)
from sgdlimit.theory._averages import integrals_for
from sgdlimit.theory._equations import Case, network_at, right_hand_side, start
from sgdlimit.theory._integrate import integrate
from sgdlimit.theory._symmetry import symmetry_of
from sgdlimit.training import PLAIN

ACTIVATIONS = ["erf", "relu", "linear"]


@partial(jax.jit, static_argnums=5)
def averages(Q, R, T, v, v_teacher, integrals):
    """H, A, G and E[γ], and ε."""
    at = network_at(Q, R, T, v, v_teacher, PLAIN.rates(1.0, len(v), len(v_teacher)))
    return integrals.forces(at), integrals.metrics(at)["generalization_error"]


def sign_moments(features, teacher):
    """Ω, φ and T for f = sign and Σ_C = I, written out: σ² = |F_i|²/D, b = √(2/π)/σ."""
    D, N = features.shape
    b = np.sqrt(2 / np.pi) / np.sqrt(np.square(features).sum(axis=0) / D)
    return InputMoments(
        diagonal=np.full(N, 1 - 2 / np.pi),
        factor=features * b / np.sqrt(D),
        cross=np.sqrt(N) * b[:, None] * (features.T @ teacher.T) / D,
        teacher_overlap=teacher @ teacher.T / D,
    )


def random_problem(seed=0, D=12, N=30, K=2, M=2):
    rng = np.random.default_rng(seed)
    moments = sign_moments(rng.normal(size=(D, N)), rng.normal(size=(M, D)))
    return SimpleNamespace(
        moments=moments, W=rng.normal(size=(K, N)), v=rng.normal(size=K), v_teacher=rng.normal(size=M)
    )


def one_node(Q, R, T):
    """Independent normal inputs, X ~ N(0, 1): one eigenvalue ω = 1 (Saad & Solla)."""
    return Spectrum([1.0], [1.0], [Q], [R], [T], T)


# --- published and independent numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_reference_trajectories(activation):
    """Trajectories by an independent implementation (all N eigenvectors, rtol 1e-9), and by this one at rtol 1e-11."""
    data = np.load(Path(__file__).parent / "data" / f"{activation}_k2_m2.npz")
    inputs = spectrum_of(sign_moments(data["F"], data["W_teacher"]), data["W"])
    settings = {"activation": activation, "learning_rate": float(data["learning_rate"]), "times": data["times"]}
    theory = solve_spectrum(inputs, data["v"], data["v_teacher"], **settings)
    fine = solve_spectrum(inputs, data["v"], data["v_teacher"], **settings, rtol=1e-11, atol=1e-11)
    for name, stored in (("Q", "Q"), ("R", "R"), ("v", "v_t"), ("generalization_error", "generalization_error")):
        np.testing.assert_allclose(theory[name], fine[name], rtol=0, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(fine[name], data[stored], rtol=0, atol=2e-8, err_msg=name)


@pytest.mark.parametrize("K", [2, 5])
def test_symmetric_plateau_of_soft_committees(K):
    """Saad & Solla (1995): for small η all v = 1 and T = 1, the symmetric phase rests at R* and ε*."""
    overlap = 1 / (2 * K - 1)
    Q, R, T = np.full((K, K), overlap), np.full((K, K), np.sqrt(overlap / K)), np.eye(K)
    with jax.enable_x64(True):
        forces, error = averages(Q, R, T, np.ones(K), np.ones(K), integrals_for("erf"))
        H, A = np.asarray(forces.H), np.asarray(forces.A)
    np.testing.assert_allclose(H @ R + A @ T, 0, atol=1e-14)
    np.testing.assert_allclose(H @ Q + A @ R.T, 0, atol=1e-14)
    np.testing.assert_allclose(error, K / np.pi * (np.pi / 6 - K * np.arcsin(1 / (2 * K))), atol=1e-14)


def test_linear_student_of_one_unit_in_closed_form():
    """g(x) = x: with v held at first order, d(R − T)/dt at η → 0 is −η v (v R − ṽ T), (S44) without integrals."""
    Q, R, T, v, v_teacher, eta = 1.3, 0.4, 0.9, 0.7, 1.1, 0.3
    slope = derivative("linear", one_node([[Q]], [[R]], [[T]]), [v], [v_teacher], eta)
    error = v * v * Q - 2 * v * v_teacher * R + v_teacher**2 * T  # E[Δ²]
    np.testing.assert_allclose(slope.R, -eta * v * (v * R - v_teacher * T), rtol=1e-14)
    np.testing.assert_allclose(slope.Q, -2 * eta * v * (v * Q - v_teacher * R) + eta**2 * v**2 * error, rtol=1e-14)
    np.testing.assert_allclose(slope.v, -eta * (v * Q - v_teacher * R), rtol=1e-14)


@pytest.mark.parametrize(("Q", "R", "eta"), [(0.3, 0.1, 0.5), (1.7, -0.9, 2.0), (1.0, 0.99, 0.1)])
def test_one_soft_unit_learning_another(Q, R, eta):
    """Biehl & Schwarze (1995), and Saad & Solla (1995), (5)-(6): K = M = 1, T = 1, v = ṽ = 1, independent inputs."""
    first, second = np.sqrt(2 * (1 + Q) - R**2), 1 + 2 * Q - R**2
    dR = 2 * eta / np.pi / (1 + Q) * ((1 + Q - R**2) / first - R / np.sqrt(1 + 2 * Q))
    drift = 4 * eta / np.pi / (1 + Q) * (R / first - Q / np.sqrt(1 + 2 * Q))
    noise = (
        np.arcsin(Q / (1 + 3 * Q))
        + np.arcsin((1 + 2 * (Q - R**2)) / (2 * second))
        - 2 * np.arcsin(R / np.sqrt((1 + 3 * Q) * 2 * second))
    )
    dQ = drift + 4 * eta**2 / np.pi**2 / np.sqrt(1 + 2 * Q) * noise
    slope = derivative("erf", one_node([[Q]], [[R]], [[1.0]]), [1.0], [1.0], eta)
    np.testing.assert_allclose([slope.R.item(), slope.Q.item()], [dR, dQ], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_who_knows_the_teacher_rests(activation):
    """Q = R = T and v = ṽ is a fixed point for every learning rate, as there is no error left to learn from."""
    T, v = np.array([[1.0, 0.4], [0.4, 1.5]]), [0.8, -1.2]
    slope = derivative(activation, one_node(T, T, T), v, v, 1.5)
    for values in (slope.Q, slope.R, slope.v):
        np.testing.assert_allclose(values, 0, atol=1e-12)


# --- identities of the equations -------------------------------------------------------------------------------------


def case_of(inputs, v, v_teacher, eta, **rates):
    plain = PLAIN.rates(eta, len(v), len(v_teacher))
    return Case(inputs, {"v": v}, v_teacher[None], plain._replace(**rates))


def derivative(activation, inputs, v, v_teacher, eta):
    with jax.enable_x64(True):
        case = case_of(inputs, np.asarray(v, float), np.asarray(v_teacher, float), eta)
        slope = right_hand_side(jnp.zeros(()), *start(case), integrals_for(activation))
    sums = {name: np.asarray(getattr(slope, name)) for name in ("q", "r", "Q", "R", "error")}
    return SimpleNamespace(**sums, v=np.asarray(slope.head["v"]))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forces_are_derivatives_of_the_generalisation_error(activation):
    """H = 2 sym ∂ε/∂Q, A = ∂ε/∂R and dv/dt = −η ∂ε/∂v, by central differences and by jax.grad."""
    integrals, step = integrals_for(activation), 1e-5
    problem = random_problem(seed=2, M=3)
    inputs = spectrum_of(problem.moments, problem.W)
    with jax.enable_x64(True):
        T, v, v_teacher = map(jnp.asarray, (inputs.teacher_overlap, problem.v, problem.v_teacher))
        forces, _ = averages(inputs.Q, inputs.R, T, v, v_teacher, integrals)

        def error(Q, R, v):
            return averages(Q, R, T, v, v_teacher, integrals)[1]

        point = [jnp.asarray(inputs.Q), jnp.asarray(inputs.R), v]
        slopes = jax.jit(jax.grad(error, argnums=(0, 1, 2)))(*point)
        for slot, slope in enumerate(slopes):
            direction = jnp.asarray(np.random.default_rng(slot).normal(size=slope.shape))
            if slot == 0:  # Q stays symmetric
                direction = direction + direction.T
            ends = [[*point[:slot], point[slot] + h * direction, *point[slot + 1 :]] for h in (step, -step)]
            expected = (error(*ends[0]) - error(*ends[1])) / (2 * step)
            np.testing.assert_allclose(jnp.sum(slope * direction), expected, rtol=0, atol=1e-8)
    slopes = [np.asarray(slope) for slope in slopes]
    np.testing.assert_allclose(forces.H, slopes[0] + slopes[0].T, atol=1e-13)
    np.testing.assert_allclose(forces.A, slopes[1], atol=1e-13)
    np.testing.assert_allclose(forces.head["v"], slopes[2], atol=1e-13)
    rate = derivative(activation, inputs, problem.v, problem.v_teacher, 0.3)
    np.testing.assert_allclose(rate.v, -0.3 * slopes[2], atol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_layers_stay_balanced(activation):
    """g(cx) = c g(x) gives W·dW = v dv, so |W_k|²/N − v_k² changes by the gradient noise alone, η² G_kk tr Ω/N."""
    problem, eta = random_problem(seed=3, K=3, M=2), 0.4
    inputs = spectrum_of(problem.moments, problem.W)
    slope = derivative(activation, inputs, problem.v, problem.v_teacher, eta)
    norm_rate = np.diagonal(slope.q, axis1=0, axis2=1).T @ inputs.weights
    with jax.enable_x64(True):
        network = inputs.Q, inputs.R, inputs.teacher_overlap, problem.v, problem.v_teacher
        G = np.asarray(averages(*network, integrals_for(activation))[0].G)
    trace = inputs.weights @ inputs.eigenvalues
    np.testing.assert_allclose(norm_rate - 2 * problem.v * slope.v, eta**2 * np.diag(G) * trace, atol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("K", [1, 2, 4])
def test_a_student_equal_to_its_teacher_stays(activation, K):
    rng = np.random.default_rng(K)
    root = rng.normal(size=(K, K + 2)) / np.sqrt(K + 2)
    T, v = root @ root.T, rng.normal(size=K)
    for slope in vars(derivative(activation, one_node(T, T, T), v, v, 1.0)).values():
        np.testing.assert_allclose(slope, 0, atol=1e-7)
    with jax.enable_x64(True):
        assert abs(averages(T, T, T, v, v, integrals_for(activation))[1]) < 1e-7


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_swapping_students_swaps_their_trajectories(activation):
    problem, settings = random_problem(seed=4), {"activation": activation, "learning_rate": 0.2, "times": [0, 0.5, 2]}
    inputs, swapped_inputs = spectrum_of(problem.moments, problem.W), spectrum_of(problem.moments, problem.W[::-1])
    plain = solve_spectrum(inputs, problem.v, problem.v_teacher, **settings)
    swapped = solve_spectrum(swapped_inputs, problem.v[::-1], problem.v_teacher, **settings)
    np.testing.assert_allclose(swapped.Q, plain.Q.values[:, ::-1, ::-1], atol=1e-9)
    np.testing.assert_allclose(swapped.R, plain.R.values[:, ::-1], atol=1e-9)
    np.testing.assert_allclose(swapped.v, plain.v.values[:, ::-1], atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_duplicated_students_act_as_one_of_summed_weight(activation):
    """Two copies with v/2 each see half the error gradient: the first layer moves at half the learning rate's pace."""
    problem = random_problem(seed=5, K=1)
    one = derivative(activation, spectrum_of(problem.moments, problem.W), problem.v, problem.v_teacher, 0.1)
    doubled = spectrum_of(problem.moments, np.repeat(problem.W, 2, axis=0))
    two = derivative(activation, doubled, np.repeat(problem.v / 2, 2), problem.v_teacher, 0.2)
    np.testing.assert_allclose(two.R, np.repeat(one.R, 2, axis=0), atol=1e-8)
    np.testing.assert_allclose(two.Q, np.full((2, 2), one.Q), atol=1e-6)
    np.testing.assert_allclose(two.v, 2 * np.repeat(one.v, 2), atol=1e-8)


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_identical_students_stay_identical(activation):
    """As they do under SGD, though for ReLU the noise between them grows like √(1 − ρ): rounding must not start it."""
    problem = random_problem(seed=5)
    problem.W[1], problem.v[1] = problem.W[0], problem.v[0]
    settings = {"activation": activation, "learning_rate": 0.2, "times": [0, 1, 100]}
    trajectory = solve_spectrum(spectrum_of(problem.moments, problem.W), problem.v, problem.v_teacher, **settings)
    np.testing.assert_allclose(trajectory.Q[:, 0, 1], trajectory.Q[:, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(trajectory.R[:, 1], trajectory.R[:, 0], rtol=1e-12)


FIRST_LAYER = sl.Training(output_learning_rate=0.0)


def test_equal_students_are_one_unit_for_ever():
    """Two equal units are one of twice the output weight at half the rate. Rounding tore them apart by t = 10⁴."""
    problem = sl.Problem(
        input_dim=6, latent_dim=3, student_units=2, teacher_units=1, activation="erf", learning_rate=0.5,
        training=FIRST_LAYER,
    )  # fmt: skip
    drawn = problem.draw(seed=0)
    W = drawn.student[:1]
    two = sl.solve(drawn.replace(student=np.tile(W, (2, 1)), student_output=[1.0, 1.0]), [0, 1e2, 1e4])
    one = sl.solve(drawn.replace(student=W, student_output=[2.0], learning_rate=0.25), [0, 1e2, 1e4])
    np.testing.assert_array_equal(two.Q.values, np.broadcast_to(two.Q[:, :1, :1], two.Q.shape))
    np.testing.assert_allclose(two.Q[:, 0, 0], one.Q[:, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(two.generalization_error, one.generalization_error, rtol=1e-5)


APART, EQUAL = [[0.5, 0.1], [0.1, 0.5]], [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("Q", "R", "v", "symmetric"),
    [
        (APART, [[0.2, 0.2], [0.2, 0.2]], [1.0, 1.0], True),  # students can be exchanged, and teachers
        (APART, [[0.2, 0.2], [0.2, 0.3]], [1.0, 1.0], False),
        (APART, [[0.3, 0.2], [0.2, 0.3]], [1.0, 1.0], True),  # both together
        (APART, [[0.3, 0.2], [0.1, 0.3]], [1.0, 1.0], False),
        (EQUAL, [[0.2, 0.1], [0.2, 0.1]], [1.0, 1.0], True),
        (EQUAL, [[0.2, 0.1], [0.2, 0.1]], [1.0, 2.0], False),  # SGD parts them
    ],
)
def test_symmetric_starts_are_known(Q, R, v, symmetric):
    case = case_of(one_node(np.array(Q), np.array(R), np.eye(2)), np.array(v), np.ones(2), 0.1)
    symmetry = symmetry_of(case, integrals_for("erf"))
    assert (symmetry is not None) == symmetric
    if symmetry is not None:
        state, _ = start(case)
        for one, other in zip(*map(jax.tree.leaves, (symmetry.average(state), state)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-14)  # it leaves the start as it is


def test_a_symmetric_start_that_sgd_would_leave_is_named():
    """Phase retrieval without any overlap: theory stays at R = 0, SGD at finite N does not."""
    start = one_node(np.eye(1), np.zeros((1, 1)), np.eye(1))
    settings = {"activation": "hermite-2", "learning_rate": 0.05, "training": FIRST_LAYER}
    with pytest.warns(sl.AccuracyWarning, match=r"symmetric, .* Start from R of order 1/√N"):
        stuck = solve_spectrum(start, [1.0], [1.0], times=[0, 100], **settings)
    assert stuck.R[-1] == 0
    with_overlap = one_node(np.eye(1), np.full((1, 1), 0.03), np.eye(1))
    assert solve_spectrum(with_overlap, [1.0], [1.0], times=[0, 60], **settings).R[-1] > 0.9


LINEAR = one_node(np.eye(1), np.zeros((1, 1)), np.eye(1))


@pytest.mark.parametrize(("noise", "tolerances"), [(1e-2, {}), (1e-3, {}), (1e-4, {"rtol": 1e-10, "atol": 1e-14})])
def test_label_noise_leaves_a_small_error_that_is_resolved(noise, tolerances):
    """ε → ½ (ησ²/2)/(1 − η/2), 1.67e-5 to 1.67e-9, without wandering."""
    training = sl.Training(output_learning_rate=0.0, label_noise=noise)
    settings = {"activation": "linear", "learning_rate": 0.5, "training": training, "times": np.linspace(100, 200, 50)}
    error = solve_spectrum(LINEAR, [1.0], [1.0], **settings, **tolerances).generalization_error
    np.testing.assert_allclose(error, 0.5 * (0.5 * noise**2 / 2) / (1 - 0.5 / 2), rtol=0.01)


@pytest.mark.parametrize(("tolerances", "level"), [({}, 1e-9), ({"rtol": 1e-10, "atol": 1e-14}, 2e-13)])
def test_errors_are_known_to_a_percent_or_not_at_all(tolerances, level):
    """ε = exp(−(2η − η²)t) of a linear student; from the level on it is NaN, with one warning, and never negative."""
    times = np.linspace(0, 100, 201)
    problem = sl.Problem(
        input_dim=50, latent_dim=50, student_units=1, teacher_units=1, activation="linear", nonlinearity="identity",
        features="identity", output_weights="equal", learning_rate=0.5, training=FIRST_LAYER,
    )  # fmt: skip
    with pytest.warns(sl.AccuracyWarning, match=f"below {level:.0e}, which the solver does not resolve") as warned:
        error = sl.solve(problem.draw(seed=0), times, **tolerances).generalization_error
    assert len(warned) == 1
    right = float(error[0]) * np.exp(-0.75 * times)
    known = np.isfinite(error.values)
    np.testing.assert_allclose(error[known], right[known], rtol=0.01)
    np.testing.assert_array_equal(known, right > level)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_error_that_bounds_the_steps_moves_as_the_generalisation_error(activation):
    problem, integrals = random_problem(seed=3), integrals_for(activation)
    inputs = spectrum_of(problem.moments, problem.W)
    with jax.enable_x64(True):
        state, case = start(case_of(inputs, problem.v, problem.v_teacher, 0.3))
        slope = right_hand_side(jnp.zeros(()), state, case, integrals)

        def error(Q, R, v):
            return averages(Q, R, inputs.teacher_overlap, v, problem.v_teacher, integrals)[1]

        point, direction = ((x.Q, x.R, x.head["v"]) for x in (state, slope))
        _, moved = jax.jvp(error, point, direction)
    np.testing.assert_allclose(slope.error, moved, rtol=1e-9)


def test_sgd_is_compared_with_an_error_too_small_to_be_resolved():
    """Theory is NaN there, and counts as 0."""
    instance = sl.Problem(
        input_dim=50, latent_dim=50, student_units=1, teacher_units=1, activation="linear", nonlinearity="identity",
        features="identity", output_weights="equal", learning_rate=0.5, training=FIRST_LAYER,
    ).draw(seed=0)  # fmt: skip
    times, runs = [0.0, 1.0, 60.0], 3
    with pytest.warns(sl.AccuracyWarning, match="does not resolve"):
        theory = sl.solve(instance, times)
    assert np.isnan(theory.generalization_error[-1])
    sgd = sl.simulate(instance, times, runs=runs, test_samples=100)
    found = sl.compare(theory, sgd)["generalization_error"]
    error = abs(sgd.generalization_error - theory.generalization_error.fillna(0)).mean(("run", "time"))
    np.testing.assert_allclose(found, error, rtol=1e-12)


def test_an_error_that_explodes_is_a_divergence_before_it_is_infinite():
    """ε of a linear student grows like exp((η² − 2η)t) above η = 2: 2.5e15 at η = 2.1 was no divergence."""
    settings = {"activation": "linear", "learning_rate": 2.1, "training": FIRST_LAYER}
    with pytest.warns(sl.DivergenceWarning, match="learning_rate: with 2.1 the theory diverges before t=80"):
        found = solve_spectrum(LINEAR, [1.0], [1.0], times=[0, 20, 40, 80, 160], **settings)
    np.testing.assert_allclose(found.generalization_error, np.exp((2.1**2 - 4.2) * np.array([0, 20, 40])), rtol=1e-4)
    assert found.attrs["diverged_at"] == 80


def test_tolerances_are_those_of_theories_with_steps():
    instance = sl.Problem(
        input_dim=20, latent_dim=10, student_units=1, teacher_units=1, activation="linear", learning_rate=0.1
    ).draw(seed=0)
    assert sl.solve(instance, [1.0], rtol=1e-9, atol=1e-12).attrs["rtol"] == 1e-9
    assert sl.solve(instance, [1.0], sl.MomentMatched(atol=1e-12)).attrs["atol"] == 1e-12
    with pytest.raises(
        sl.ProblemError, match="rtol: must be left out for theory='mixture', which has no steps that adapt"
    ):
        sl.solve(instance, [1.0], "mixture", rtol=1e-9)
    with pytest.raises(sl.ProblemError, match="atol: "):
        sl.Conventional(atol=-1.0)
    with pytest.warns(sl.DivergenceWarning, match=r"eigenvalues up to [\d.]+ the theory takes more than 20 steps"):
        sl.solve(instance, [0.0, 1e5], max_steps=20)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("missing", ["v", "W"])
def test_silent_and_empty_students_have_finite_trajectories(activation, missing):
    problem = random_problem(seed=6)
    vars(problem)[missing][0] = 0
    inputs = spectrum_of(problem.moments, problem.W)
    settings = {"activation": activation, "learning_rate": 0.2, "times": [0, 1e-3, 1.0]}
    trajectory = solve_spectrum(inputs, problem.v, problem.v_teacher, **settings)
    assert trajectory.sizes["time"] == 3
    assert "diverged_at" not in trajectory.attrs
    np.testing.assert_allclose(trajectory.Q[0], inputs.Q, atol=1e-14)
    # A student without output weight is not moved, one without input weights sees no error gradient.
    step = derivative(activation, inputs, problem.v, problem.v_teacher, 0.2)
    np.testing.assert_allclose(step.R[0] if missing == "v" else step.v[0], 0, atol=1e-14)


# --- spectrum --------------------------------------------------------------------------------------------------------


def dense(moments, W):
    N = W.shape[1]
    omega = np.diag(moments.diagonal) + moments.factor.T @ moments.factor
    return W @ omega @ W.T / N, W @ moments.cross / N


@pytest.mark.parametrize("shape", [(5, 20), (20, 20), (25, 20)], ids=str)
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_spectra_reproduce_the_order_parameters(shape, spread):
    D, N = shape
    problem = random_problem(seed=7, D=D, N=N, M=3)
    diagonal = problem.moments.diagonal * (1 + spread * np.linspace(0, 1, N))
    moments = InputMoments(diagonal, problem.moments.factor, problem.moments.cross, problem.moments.teacher_overlap)
    result = spectrum_of(moments, problem.W)
    Q, R = dense(moments, problem.W)
    np.testing.assert_allclose(result.Q, Q, atol=1e-13)
    np.testing.assert_allclose(result.R, R, atol=1e-13)
    np.testing.assert_allclose(result.weights.sum(), 1, atol=1e-14)
    assert len(result.eigenvalues) == (D + 1 if D < N and spread == 0 else N)


def test_merged_and_full_spectra_have_the_same_moments():
    """Σ w ω^j (q, r, p) for every j is all that the equations of motion see of a spectrum."""
    problem = random_problem(seed=8, D=10, N=40)
    moments = problem.moments
    nearly = moments.diagonal * (1 + 1e-9 * np.linspace(0, 1, 40))  # no longer constant: all 40 eigenvectors
    full_moments = InputMoments(nearly, moments.factor, moments.cross, moments.teacher_overlap)
    thin, full = spectrum_of(moments, problem.W), spectrum_of(full_moments, problem.W)
    assert (len(thin.eigenvalues), len(full.eigenvalues)) == (11, 40)
    for name in ("student", "overlap", "teacher"):
        for power in range(8):
            weighted = [np.tensordot(x.weights * x.eigenvalues**power, getattr(x, name), 1) for x in (thin, full)]
            np.testing.assert_allclose(weighted[0], weighted[1], rtol=1e-8, atol=1e-8)


def test_equal_eigenvalues_are_one_node():
    """Independent inputs are the node ω = 1 of Saad and Solla, with q = Q, r = R and p = T; a block of them is one."""
    rng, N = np.random.default_rng(8), 60
    W, teacher = rng.normal(size=(2, N)), rng.normal(size=(3, N))
    basis = np.linalg.qr(rng.normal(size=(N, N)))[0]
    for turn in (np.eye(N), basis):
        alone = spectrum_of(InputMoments(np.zeros(N), turn, teacher.T, teacher @ teacher.T / N), W)
        np.testing.assert_allclose([*alone.eigenvalues, *alone.weights], [1, 1], rtol=1e-13)
        for name, other in (("student", W), ("overlap", teacher)):
            np.testing.assert_allclose(getattr(alone, name), [W @ other.T / N], atol=1e-13)
        np.testing.assert_allclose(alone.teacher, [teacher @ teacher.T / N], atol=1e-13)
    scaled = np.sqrt(np.repeat([1.0, 2.0, 5.0], [10, 20, 30]))[:, None] * basis
    blocks = spectrum_of(InputMoments(np.zeros(N), scaled, 0 * teacher.T, np.eye(3)), W)
    np.testing.assert_allclose(blocks.eigenvalues, [1, 2, 5])
    np.testing.assert_allclose(blocks.weights, [1 / 6, 1 / 3, 1 / 2])
    np.testing.assert_allclose(blocks.Q, W @ scaled.T @ scaled @ W.T / N, atol=1e-12)


def test_factors_without_full_rank():
    problem = random_problem(seed=9, D=6, N=20)
    factor = np.concatenate([problem.moments.factor, problem.moments.factor[:2]]) / np.sqrt(2)
    moments = InputMoments(problem.moments.diagonal, factor, 0 * problem.moments.cross, np.eye(2))
    result = spectrum_of(moments, problem.W)
    assert len(result.eigenvalues) == 7
    np.testing.assert_allclose(result.Q, dense(moments, problem.W)[0], atol=1e-13)


@pytest.mark.parametrize("theory", ["conventional", "moment-matched"])
def test_solving_an_instance(theory):
    mixture = sl.GaussianMixture(components=2, spread=3.0, block_size=5, standardize=True)
    problem = sl.Problem(
        input_dim=40,
        latent_dim=20,
        student_units=2,
        teacher_units=3,
        activation="erf",
        learning_rate=0.2,
        latent=mixture,
    )
    instance = problem.draw(seed=1)
    times = [0.0, 0.1, 1.0]
    trajectory = solve(instance, times, theory=theory)
    Q, R = instance.moments(theory).overlaps(instance.student)
    np.testing.assert_allclose(trajectory.Q[0], Q, atol=1e-12)
    np.testing.assert_allclose(trajectory.R[0], R, atol=1e-12)
    expected = {"kind": "theory", "theory": theory, "activation": "erf", "learning_rate": 0.2, "instance_seed": 1}
    assert expected.items() <= trajectory.attrs.items()
    assert {"sgdlimit", "jax", "diffrax", "problem", "rtol", "atol"} <= trajectory.attrs.keys()
    same = solve_spectrum(
        spectrum(instance, theory),
        instance.student_output,
        instance.teacher_output,
        activation="erf",
        learning_rate=0.2,
        times=times,
    )
    np.testing.assert_array_equal(trajectory.Q, same.Q)


# --- JAX: precision, compilation, batches, gradients -----------------------------------------------------------------


def test_a_users_float32_code_is_left_alone():
    users = jax.jit(lambda x: x * 2.0)
    before = users(jnp.ones(2))
    problem = random_problem(seed=10)
    inputs = spectrum_of(problem.moments, problem.W)
    settings = {"activation": "erf", "learning_rate": 0.2, "times": [0, 1, 2]}
    trajectory = solve_spectrum(inputs, problem.v, problem.v_teacher, **settings)
    assert trajectory.Q.dtype == np.float64
    assert jnp.ones(2).dtype == users(jnp.ones(2)).dtype == before.dtype == jnp.float32
    np.testing.assert_allclose(trajectory.Q[0], inputs.Q, atol=1e-14)  # not rounded to float32 on the way


def test_other_numbers_and_a_few_more_nodes_or_times_are_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("SGDLIMIT_CACHE_DIR", str(tmp_path))  # nothing is there from an earlier run
    compiled._programs.clear()
    traces = []

    def counted(*args):
        traces.append(1)
        return right_hand_side(*args)

    monkeypatch.setattr(INTEGRATE, "right_hand_side", counted)

    def traces_of(D, eta, count):
        problem, before = random_problem(seed=11, N=100, D=D), len(traces)
        settings = {"activation": "erf", "learning_rate": eta, "times": np.arange(count)}
        solve_spectrum(spectrum_of(problem.moments, problem.W), problem.v, problem.v_teacher, **settings)
        return len(traces) - before

    assert traces_of(7, 0.1, 4) > 0
    assert traces_of(7, 0.2, 4) == 0
    assert traces_of(40, 0.2, 64) == 0

    def traced(*args):
        raise InterruptedError  # which saves the time of a compilation

    monkeypatch.setattr(INTEGRATE, "right_hand_side", traced)
    with pytest.raises(InterruptedError):
        traces_of(70, 0.2, 64)


def test_batches_are_their_members():
    problem, integrals = random_problem(seed=12), integrals_for("erf")
    inputs, times = spectrum_of(problem.moments, problem.W), np.array([0, 0.3, 2.0])

    with jax.enable_x64(True):

        def final(eta):
            case = case_of(inputs, problem.v, problem.v_teacher, 1.0, learning_rate=eta, output_rate=eta)
            return integrate(case, jnp.asarray(times), averages=integrals)

        batch = jax.jit(jax.vmap(final))(jnp.array([0.1, 0.5]))
    for i, eta in enumerate((0.1, 0.5)):
        settings = {"activation": "erf", "learning_rate": eta, "times": times}
        single = solve_spectrum(inputs, problem.v, problem.v_teacher, **settings)
        np.testing.assert_allclose(batch.Q[i], single.Q, atol=1e-12)  # which has more nodes, that carry nothing


def test_gradients_through_a_trajectory():
    """∂ε(t)/∂(η, q, r, v) of ReLU in forward mode against central differences; at the teacher, where ε is least, 0."""
    rng, integrals, step = np.random.default_rng(13), integrals_for("relu"), 1e-4
    root = rng.normal(size=(3, 6)) / np.sqrt(6)
    S, v, v_teacher = root @ root.T, rng.normal(size=2), rng.normal(size=1)
    inputs = one_node(S[:2, :2], S[:2, 2:], S[2:, 2:])
    leaves, structure = jax.tree.flatten(inputs)
    with jax.enable_x64(True):

        def error(point):
            eta, q, r, v = point
            # Unflattening does not check: the nodes need not stay covariances for a derivative.
            moved = jax.tree.unflatten(structure, [*leaves[:2], q, r, *leaves[4:]])
            settings = {"averages": integrals, "rtol": 1e-9, "atol": 1e-9, "adjoint": dfx.ForwardMode()}
            case = case_of(moved, v, v_teacher, 1.0, learning_rate=eta, output_rate=eta)
            final = integrate(case, jnp.array([0.5]), **settings).metrics["generalization_error"][0]
            return final, final

        @jax.jit
        def final_error(point):
            slopes, value = jax.jacfwd(error, has_aux=True)(point)
            return value, slopes

        point = [jnp.asarray(x) for x in (0.3, inputs.student, inputs.overlap, v)]
        slopes = final_error(point)[1]
        for slot, slope in enumerate(slopes):
            direction = jnp.asarray(rng.normal(size=slope.shape))
            if slot == 1:
                direction = direction + jnp.swapaxes(direction, 1, 2)
            ends = [[*point[:slot], point[slot] + h * direction, *point[slot + 1 :]] for h in (step, -step)]
            expected = (final_error(ends[0])[0] - final_error(ends[1])[0]) / (2 * step)
            np.testing.assert_allclose(jnp.sum(slope * direction), expected, rtol=1e-5, atol=1e-8)

        # Two copies of the teacher that share its output weight: all correlations are 1.
        copies, column = np.full((1, 2, 2), S[2, 2]), np.full((1, 2, 1), S[2, 2])
        taught = final_error([jnp.asarray(x) for x in (0.3, copies, column, np.repeat(v_teacher / 2, 2))])
        assert all(np.all(np.isfinite(slope)) for slope in taught[1])
        np.testing.assert_allclose(taught[1][3], 0, atol=1e-6)


# --- divergence and refusals -----------------------------------------------------------------------------------------


def test_divergence_cuts_the_trajectory():
    problem = random_problem(seed=15, D=9)
    inputs = spectrum_of(problem.moments, problem.W)
    settings = {"activation": "linear", "learning_rate": 50.0, "times": [0, 1e-4, 100]}
    settings["training"] = sl.Training(output_learning_rate=0.0)
    with pytest.warns(sl.DivergenceWarning, match="learning_rate: with 50 the theory diverges before t=100"):
        trajectory = solve_spectrum(inputs, problem.v, problem.v_teacher, **settings)
    assert trajectory.time.values.tolist() == [0, 1e-4]
    assert trajectory.attrs["diverged_at"] == 100  # the first output time that is not reached
    assert all(np.isfinite(trajectory[name]).all() for name in trajectory.data_vars)


def test_divergence_from_the_start_is_an_error():
    problem = random_problem(seed=15)
    inputs = spectrum_of(problem.moments, problem.W)
    settings = {"activation": "erf", "learning_rate": 1e200, "times": [1, 2, 3]}
    with pytest.raises(sl.DivergenceError, match=r"learning_rate: with 1e\+200 the theory diverges before t=1"):
        solve_spectrum(inputs, problem.v, problem.v_teacher, **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": []}, "times: must be of shape"),
        ({"times": [0.0, 2.0, 1.0]}, "times: "),
        ({"times": [1.0, 1.0]}, "times: "),
        ({"times": [-1.0, 1.0]}, "times: "),
        ({"times": [0.0, np.inf]}, "times: "),
        ({"times": [np.nan]}, "times: "),
        ({"learning_rate": 0.0}, r"learning_rate: .*\(got 0\.0\)"),
        ({"learning_rate": np.nan}, r"learning_rate: .*\(got nan\)"),
        ({"rtol": -1.0}, r"rtol: .*\(got -1\.0\)"),
        ({"activation": "swish"}, "activation: .*'swish'"),
        ({"student_output": [1.0]}, r"student_output: .*\(got \(1,\)\)"),
        ({"teacher_output": [1.0, np.inf]}, "teacher_output: must be finite"),
    ],
)
def test_settings_that_cannot_be_used(change, message):
    problem = random_problem(seed=16)
    arguments = {"student_output": problem.v, "teacher_output": problem.v_teacher, "activation": "erf"}
    arguments |= {"learning_rate": 0.2, "times": [1.0]} | change
    with pytest.raises(sl.ProblemError, match=message):
        solve_spectrum(spectrum_of(problem.moments, problem.W), **arguments)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("overlap", [[0.5]], r"overlap: .*\(got \(1, 1\)\)"),
        ("weights", [0.5, 0.5], r"weights: .*\(got \(2,\)\)"),
        ("student", [[[np.nan]]], "student: must be finite"),
        ("eigenvalues", [-1.0], r"eigenvalues: must not be negative \(got -1\.0\)"),
        ("student", [[[0.2]]], "q, r"),  # |r|² > q p
        ("teacher_overlap", [[-1.0]], "teacher_overlap: the matrix must be a covariance"),
        ("teacher_overlap", [[0.5]], "T − Σ w p/ω"),
        ("eigenvalues", [0.0], "T − Σ w p/ω"),
    ],
)
def test_spectra_that_cannot_be(field, value, message):
    fields = {"eigenvalues": [1.0], "weights": [1.0], "student": [[[1.0]]], "overlap": [[[0.5]]]}
    fields |= {"teacher": [[[1.0]]], "teacher_overlap": [[1.0]], field: value}
    with pytest.raises(sl.ProblemError, match=message):
        Spectrum(**fields)


def test_moments_and_weights_that_do_not_fit():
    problem = random_problem(seed=17)
    with pytest.raises(sl.ProblemError, match="student_weights: must be of shape"):
        spectrum_of(problem.moments, problem.W[:, :-1])
    problem.W[0, 0] = np.nan
    with pytest.raises(sl.ProblemError, match="student_weights: must be finite"):
        spectrum_of(problem.moments, problem.W)


def test_unknown_theories_are_refused():
    sizes = {"input_dim": 10, "latent_dim": 5, "student_units": 1, "teacher_units": 1}
    instance = sl.Problem.model_validate({**sizes, "activation": "erf", "learning_rate": 0.2}).draw(seed=0)
    with pytest.raises(sl.ProblemError, match=r"theory: .*\(got 'exact'\)"):
        solve(instance, [1.0], theory="exact")
