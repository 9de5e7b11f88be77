"""Spectra whose eigenvalues spread over decades: closed forms, explicit steps, and the Jacobian of an implicit one."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import dedent

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from numpy.testing import assert_allclose

from sgdlimit.rules import network
from sgdlimit.theory import Solver, Spectrum, order_parameters, solve_spectrum
from sgdlimit.theory._averages import integrals_for
from sgdlimit.theory._equations import Case, right_hand_side, start
from sgdlimit.theory._points import Points
from sgdlimit.theory._spectrum import interpolated
from sgdlimit.theory._stiff import GAMMA, Rosenbrock
from sgdlimit.training import Schedule, Training


def power_law(exponent: float, nodes: int, K: int) -> tuple[Spectrum, np.ndarray]:
    """Eigenvalues i^−exponent of mean 1 with drawn weights of K students and K teachers, and their differences."""
    eigenvalues = np.arange(1.0, nodes + 1) ** -exponent
    eigenvalues /= eigenvalues.mean()
    W, teacher = np.random.default_rng(0).normal(size=(2, K, nodes))
    vectors = np.concatenate([W, eigenvalues * teacher]).T
    products = vectors[:, :, None] * vectors[:, None]
    T = (eigenvalues * teacher) @ teacher.T / nodes
    shares = np.full(nodes, 1 / nodes)
    return Spectrum(eigenvalues, shares, products[:, :K, :K], products[:, :K, K:], products[:, K:, K:], T), W - teacher


def linear(exponent: float, nodes: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """ε of a linear student up to ωηt = 10⁶, and what it is in closed form."""
    eta, fixed = 1e-7, Training(output_learning_rate=0.0)
    spectrum, difference = power_law(exponent, nodes, K=1)
    omega = spectrum.eigenvalues
    times = np.append(0, np.geomspace(1e-3, 1e6, 60)) / (eta * omega.max())
    solved = solve_spectrum(spectrum, [1.0], [1.0], activation="linear", learning_rate=eta, times=times, training=fixed)
    return solved.generalization_error.values, np.mean(
        omega * difference**2 * np.exp(-2 * eta * omega * times[:, None]), axis=1
    ) / 2


@pytest.mark.filterwarnings("ignore::sgdlimit.AccuracyWarning")  # with exponent 1 it falls to e^-1000
@pytest.mark.parametrize(("exponent", "nodes"), [(1.0, 1000), (1.5, 10_000), (2.0, 1000)])
def test_a_linear_student_of_a_power_law_in_closed_form(exponent, nodes):
    found, expected = linear(exponent, nodes)
    resolved = expected > 2e-9
    assert resolved.sum() > 40
    assert_allclose(found[resolved], expected[resolved], rtol=1e-4)


def overlaps(spectrum: Spectrum, t: float) -> np.ndarray:
    """Q and R of linear students of equal rates, with a gradient that has noise of its own, at the time t."""
    omega = spectrum.eigenvalues
    left = np.exp(-omega * t)[:, None, None]
    learned = -np.expm1(-omega * t)[:, None, None] / omega[:, None, None]
    r = left * spectrum.overlap + learned * spectrum.teacher
    q = left**2 * spectrum.student + left * learned * (spectrum.overlap + spectrum.overlap.mT)
    q += learned**2 * spectrum.teacher + (1 - left**2) * spectrum.noise[:, None, None]
    return np.array([np.tensordot(spectrum.weights * omega, q, 1), np.tensordot(spectrum.weights, r, 1)])


def test_an_interpolated_spectrum_has_the_sums_of_the_whole():
    whole, _ = power_law(2.0, 2000, K=2)
    whole = replace(whole, noise=np.random.default_rng(1).uniform(size=2000))
    few = interpolated(whole, spread=1e8)
    assert len(few.weights) < 250
    for t in np.append(0, np.geomspace(1e-3, 1e7, 40)) / whole.eigenvalues.max():
        expected = overlaps(whole, t)
        assert_allclose(overlaps(few, t), expected, rtol=0, atol=1e-13 * abs(expected).max())
    alone, _ = power_law(2.0, 200, K=2)
    assert interpolated(alone, spread=1e8) is alone


def test_a_kept_program_of_implicit_steps_runs_in_a_new_process():
    """Loading it is not tracing it, which would initialise LAPACK."""
    found, _ = linear(2.0)
    script = """
        from sgdlimit.theory import _compiled
        _compiled._compile = None
        from test_stiff import linear
        print(repr(linear(2.0)[0].tolist()))
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{found.tolist()!r}\n"


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_implicit_steps_arrive_where_explicit_ones_do(exponent, monkeypatch):
    eta, training = (
        0.2,
        Training(weight_decay=0.01, label_noise=0.1, schedule=Schedule(times=(0.0, 9.0), factors=(1.0, 0.5))),
    )
    spectrum, _ = power_law(exponent, 200, K=2)  # which are interpolated
    times = np.append(0, np.geomspace(1e-2, 30, 30))
    solve = partial(solve_spectrum, spectrum, [1.0, 0.8], [1.0, 1.2], activation="erf", training=training)
    explicit = solve(learning_rate=eta, times=times)
    monkeypatch.setattr("sgdlimit.theory._integrate.STIFF", 1)
    implicit = solve(learning_rate=eta, times=times)
    for name in "QRv":
        assert_allclose(implicit[name], explicit[name], atol=2e-6)
    assert_allclose(implicit.generalization_error, explicit.generalization_error, rtol=2e-4)
    assert abs(implicit.Q - explicit.Q).max() > 0


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_implicit_steps_of_a_logistic_loss_arrive_where_explicit_ones_do(dropout, monkeypatch):
    """Averages over points have errors of their own, the same with both kinds of steps."""
    spectrum, _ = power_law(1.5, 200, K=1)
    # Labels that cannot be learned without errors, so that weights stay finite.
    rule = network([1.0], [[1.0]], activation="erf", loss="logistic", labels="sign", label_noise=0.3)
    case = Case(spectrum, rule.head, rule.given, Training(dropout=dropout).rates(0.05, 1, 1))
    solver, times = Solver(Points.of(rule, 1, 1), 1e-5, 1e-5), np.geomspace(1, 1000, 10)
    monkeypatch.setattr("sgdlimit.theory._points.SOLVER_SHARE", 1e-5)
    explicit = order_parameters(case, times, solver)
    monkeypatch.setattr("sgdlimit.theory._integrate.STIFF", 1)
    implicit = order_parameters(case, times, solver)
    assert implicit.steps < explicit.steps / 3
    for one, other in zip(jax.tree.leaves(implicit[:3]), jax.tree.leaves(explicit[:3]), strict=True):
        assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_the_jacobian_of_an_implicit_step_is_exact(momentum):
    """(1/(γh) − J) x = b against a dense Jacobian."""
    spectrum, _ = power_law(1.0, 3, K=2)
    rates = Training(weight_decay=0.1, label_noise=0.2, batch_size=3, momentum=momentum).rates(0.3, 2, 2)
    with jax.enable_x64(True):
        state, case = start(Case(spectrum, {"v": jnp.array([1.0, 0.7])}, jnp.array([[1.0, -0.4]]), rates))
        averages, t, h = integrals_for("erf"), jnp.asarray(0.5), jnp.asarray(0.3)
        flat, shaped = ravel_pytree((state.q, state.r, state.head))

        def whole(flat):
            q, r, head = shaped(flat)
            omega, weights = case.spectrum.eigenvalues, case.spectrum.weights
            return state._replace(q=q, r=r, head=head, Q=q @ (weights * omega), R=r @ weights)

        def parts(state):
            q = (state.q + jnp.swapaxes(state.q, 0, 1)) / 2
            return ravel_pytree((q, state.r, state.head))[0]

        slope = partial(right_hand_side, t, case=case, averages=averages)
        J = jax.jacfwd(lambda flat: parts(slope(whole(flat))))(flat)
        _, coupled = jax.linearize(
            lambda sums: slope(state._replace(Q=sums[0], R=sums[1], head=sums[2])), (state.Q, state.R, state.head)
        )
        step = Rosenbrock(case, averages, lambda t, state: state.error, lambda state: state)
        b = parts(whole(np.random.default_rng(1).normal(size=len(flat))))
        found = step.solver(t, h, state, coupled)(whole(b))
        expected = np.linalg.solve(np.eye(len(flat)) / (GAMMA * h) - J, b)
        assert_allclose(parts(found), expected, rtol=1e-10)
        assert_allclose(found.Q, whole(expected).Q, rtol=1e-10)
