"""Reduced spectra, large ones and batches: against all nodes, and against their members."""

from functools import cache

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.inputs._moments import InputMoments
from sgdlimit.theory import (
    Spectrum,
    _quadrature as QUADRATURE,
    _spectrum as SPECTRUM,
    reduce,
    solve,
    solve_many,
    solve_spectrum,
    spectrum,
    spectrum_of,
)
from sgdlimit.theory._quadrature import block_gauss, block_tridiagonal, trace_gauss

ORDER_PARAMETERS = ("Q", "R", "v", "generalization_error")
SIZES = {"input_dim": 200, "latent_dim": 100, "student_units": 2, "teacher_units": 2, "learning_rate": 0.2}


@cache
def drawn(activation="erf", block_size=0, seed=0, **changes):
    if block_size:
        law = sl.GaussianMixture(components=2, spread=9.0, block_size=block_size, standardize=True)
        changes = {"latent": law, **changes}
    return sl.Problem.model_validate({**SIZES, "activation": activation, **changes}).draw(seed)


def trajectory(inputs, instance, times, **changes):
    settings = {"activation": instance.activation, "learning_rate": instance.learning_rate, "times": times} | changes
    return solve_spectrum(inputs, instance.student_output, instance.teacher_output, **settings)


def assert_close(found, expected, atol):
    for name in ORDER_PARAMETERS:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)


def moments_of(inputs, power, *, noise):
    weights = inputs.weights * inputs.eigenvalues**power
    if noise:
        return weights @ inputs.noise
    products = np.block([[inputs.student, inputs.overlap], [np.swapaxes(inputs.overlap, 1, 2), inputs.teacher]])
    return np.tensordot(weights, products, 1)


# --- Gauss rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_size", [0, 5])
def test_reduced_spectra_have_the_moments_of_all_nodes(block_size):
    """Σ w ω^j (q, r, p) and the density of the eigenvalues, up to the degree 2s − 1 that Gauss rules reach."""
    instance = drawn(block_size=block_size)
    full = spectrum(instance, "moment-matched")
    steps = 7
    of_eigenvectors = reduce(full, nodes=5 * steps)
    without_them = spectrum(instance, "moment-matched", nodes=5 * steps)
    for reduced in (of_eigenvectors, without_them):
        assert len(reduced.eigenvalues) == 5 * steps
        for noise in (False, True):
            for power in range(2 * steps):
                expected = moments_of(full, power, noise=noise)
                found = moments_of(reduced, power, noise=noise)
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        beyond = moments_of(full, 2 * steps, noise=noise)
        assert not np.allclose(moments_of(reduced, 2 * steps, noise=noise), beyond, rtol=1e-9)
    np.testing.assert_allclose(reduced.Q, full.Q, atol=1e-12)
    np.testing.assert_allclose(reduced.R, full.R, atol=1e-12)


@pytest.mark.parametrize("activation", ["erf", "relu"])
@pytest.mark.parametrize(("block_size", "nodes", "atol"), [(0, 70, 1e-6), (5, 70, 1e-5)])
def test_reduced_spectra_have_the_trajectories_of_all_nodes(activation, block_size, nodes, atol):
    instance = drawn(activation, block_size)
    full = spectrum(instance, "moment-matched")
    times = sl.log_times(20_000, 200, 50)
    assert_close(trajectory(reduce(full, nodes), instance, times), trajectory(full, instance, times), atol)


def test_few_eigenvalues_are_kept_as_they_are():
    """The Krylov space ends at the inputs' own: the rule is exact, and has no more nodes than they."""
    instance = drawn(latent_dim=3, input_dim=12)
    full = spectrum(instance)
    reduced = reduce(full, nodes=200)
    assert reduced.noise.sum() == len(full.eigenvalues) == 4
    np.testing.assert_allclose(reduced.eigenvalues[reduced.noise == 1], np.sort(full.eigenvalues), atol=1e-9)
    times = [0.0, 1.0, 30.0]
    assert_close(trajectory(reduced, instance, times), trajectory(full, instance, times), 1e-6)


def test_a_reduced_spectrum_reduces_to_itself():
    reduced = reduce(spectrum(drawn()), nodes=30)
    again = reduce(reduced, nodes=30)
    for name in ("eigenvalues", "noise"):
        np.testing.assert_allclose(getattr(again, name), getattr(reduced, name), atol=1e-8)
    for power in range(12):
        for noise in (False, True):
            expected = moments_of(reduced, power, noise=noise)
            np.testing.assert_allclose(moments_of(again, power, noise=noise), expected, rtol=1e-9, atol=1e-9)


def test_reduction_does_not_depend_on_the_order_of_units():
    instance = drawn()
    moments = instance.moments()
    plain, swapped = (reduce(spectrum_of(moments, W), 40) for W in (instance.student, instance.student[::-1]))
    np.testing.assert_allclose(swapped.eigenvalues, plain.eigenvalues, atol=1e-9)
    np.testing.assert_allclose(swapped.student, plain.student[:, ::-1, ::-1], atol=1e-7)


@pytest.mark.parametrize("student", ["equal", "empty"])
def test_dependent_vectors_take_fewer_nodes(student):
    instance = drawn()
    W = instance.student.copy()
    W[1] = W[0] if student == "equal" else 0
    full = spectrum_of(instance.moments(), W)
    reduced = reduce(full, nodes=70)
    assert len(reduced.eigenvalues) == 56
    instance = instance.replace(student_output=np.ones(2))
    expected = trajectory(full, instance, [0.0, 1.0, 20.0])
    assert_close(trajectory(reduced, instance, [0.0, 1.0, 20.0]), expected, 1e-6)


def test_a_spectrum_without_overlaps():
    moments = InputMoments(np.linspace(1, 2, 40), np.zeros((1, 40)), np.zeros((40, 1)), np.eye(1))
    reduced = spectrum_of(moments, np.zeros((1, 40)), nodes=12)
    np.testing.assert_array_equal(reduced.noise, np.ones(4))
    np.testing.assert_allclose(reduced.weights @ reduced.eigenvalues**5, np.mean(np.linspace(1, 2, 40) ** 5))


# --- large spectra ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 40, 129])
@pytest.mark.parametrize("width", [1, 8])
def test_block_tridiagonal_form_keeps_the_eigenvalues(size, width):
    root = np.random.default_rng(size).normal(size=(size, size))
    root[:, 0] = 0  # a reflection that has nothing to do
    matrix = root.T @ root
    diagonal, below = block_tridiagonal(matrix.copy(), width)
    count = len(diagonal)
    assembled = np.zeros((count, width, count, width))
    for place in range(count):
        assembled[place, :, place] = diagonal[place]
    for place in range(count - 1):
        assembled[place + 1, :, place] = below[place]
        assembled[place, :, place + 1] = below[place].T
    assert not below[-1].any()
    found = np.linalg.eigvalsh(assembled.reshape(count * width, -1))
    expected = np.append(np.zeros(count * width - size), np.linalg.eigvalsh(matrix))  # the last block is filled up
    np.testing.assert_allclose(found, np.sort(expected), atol=1e-10)


@pytest.mark.parametrize("width", [5, 7])
@pytest.mark.parametrize("zeros", [0, 100])
def test_traces_need_no_eigenvalues(zeros, width):
    factor = np.random.default_rng(0).normal(size=(100, 300)) / 10
    gram = (0.1 * np.eye(100) + factor @ factor.T).astype(np.float32)
    found = trace_gauss(block_tridiagonal(gram, width), 100, zeros, steps=6)
    eigenvalues = np.append(0.1 + np.linalg.eigvalsh(factor @ factor.T), np.zeros(zeros))
    amplitudes = np.full((len(eigenvalues), 1), 1 / np.sqrt(len(eigenvalues)))
    nodes, components = block_gauss(eigenvalues, amplitudes, steps=6)
    np.testing.assert_allclose(found[0], nodes, atol=1e-5)  # float32
    np.testing.assert_allclose(found[1], components[0] ** 2, atol=1e-6)


@pytest.mark.parametrize(("activation", "nonlinearity"), [("erf", "sign"), ("erf", "erf"), ("relu", "sign")])
def test_large_spectra_have_the_trajectories_of_diagonalised_ones(monkeypatch, activation, nonlinearity):
    instance = drawn(activation, nonlinearity=nonlinearity)
    times = sl.log_times(20_000, 200, 50)
    expected = solve(instance, times)
    for module in (SPECTRUM, QUADRATURE):
        monkeypatch.setattr(module, "LARGE", 50)
    monkeypatch.setattr(QUADRATURE, "COLUMNS", 70)
    large = spectrum(instance)
    assert len(large.eigenvalues) == 70
    assert_close(solve(instance, times), expected, 2e-6)
    assert len(spectrum(instance, nodes=30).eigenvalues) == 30


def test_a_large_spectrum_at_a_size_where_both_ways_can_be_had(monkeypatch):
    """N = 2000, D = 1000: Q, R, v and ε_g over the whole run to 1e-5."""
    instance = drawn(input_dim=2000, latent_dim=1000)
    times = sl.log_times(200_000, 2000, 50)
    expected = solve(instance, times)
    for module in (SPECTRUM, QUADRATURE):
        monkeypatch.setattr(module, "LARGE", 900)
    assert_close(solve(instance, times), expected, 1e-5)


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("varied", ["instances", "learning rates", "output weights"])
def test_batches_are_their_members(varied):
    instances = [drawn(seed=seed) for seed in (range(3) if varied == "instances" else [0] * 3)]
    spectra = [spectrum(instance, nodes=70) for instance in instances]  # as other tests have compiled
    v = np.array([instance.student_output for instance in instances])
    if varied == "output weights":
        v = v * np.array([[0.5], [1.0], [2.0]])
    rates = np.array([0.1, 0.2, 0.4]) if varied == "learning rates" else np.full(3, 0.2)
    teachers, times = np.array([instance.teacher_output for instance in instances]), [0.5, 1.0, 10.0]
    one = varied != "instances"
    batch = solve_many(
        spectra[0] if one else spectra,
        v if varied == "output weights" else v[0] if one else v,
        teachers[0] if one else teachers,
        activation="erf",
        learning_rate=rates if varied == "learning rates" else 0.2,
        times=times,
    )
    assert batch.Q.dims == ("case", "time", "student", "student_")
    np.testing.assert_array_equal(batch.learning_rate, rates)
    assert np.isinf(batch.diverged_at).all()
    assert "diverged_at" not in batch.attrs
    for case, instance in enumerate(instances):
        single = trajectory(
            spectra[case], instance.replace(student_output=v[case]), times, learning_rate=float(rates[case])
        )
        for name in ORDER_PARAMETERS:
            np.testing.assert_array_equal(batch[name][case], single[name])


def test_divergence_of_one_case_leaves_the_others():
    """One learning rate is too large for a first layer alone, another leaves the finite numbers at once."""
    instance = drawn("linear", latent_dim=9, input_dim=23)
    inputs, v, v_teacher = spectrum(instance), instance.student_output, instance.teacher_output
    settings = {"activation": "linear", "times": [0, 1e-4, 100], "training": sl.Training(output_learning_rate=0.0)}
    with pytest.warns(
        sl.DivergenceWarning, match=r"learning_rate: 2 of 3 cases diverge, first with 1e\+200 before t=0"
    ):
        batch = solve_many(inputs, v, v_teacher, learning_rate=[0.01, 50.0, 1e200], **settings)
    single = solve_spectrum(inputs, v, v_teacher, learning_rate=0.01, **settings)
    np.testing.assert_array_equal(batch.diverged_at, [np.inf, 100, 0])
    assert batch.attrs["diverged_at"] == 0
    for name in ORDER_PARAMETERS:
        np.testing.assert_array_equal(batch[name][0], single[name])
        assert np.isfinite(batch[name][1, :2]).all()
        assert np.isnan(batch[name][1, 2:]).all()
        assert np.isnan(batch[name][2]).all()
    inputs = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    with pytest.raises(sl.DivergenceError, match="2 of 2 cases"):
        solve_many(inputs, [1.0], [1.0], learning_rate=[1e200, 2e200], activation="linear", times=[1.0])


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [0, 9, -70, 70.5, "all"])
def test_numbers_of_nodes_that_cannot_be(nodes):
    rule = r"at least 2\(K \+ M \+ 1\) = 10 .*Try 100" if isinstance(nodes, int) else "a whole number or None"
    with pytest.raises(sl.ProblemError, match=f"nodes: .*{rule}"):
        spectrum(drawn(), nodes=nodes)
    with pytest.raises(sl.ProblemError, match="nodes: "):
        reduce(spectrum(drawn()), nodes)


def test_noise_that_cannot_be():
    fields = [[1.0], [1.0], [[[1.0]]], [[[0.5]]], [[[1.0]]], [[1.0]]]
    for noise, message in (
        ([1.0, 1.0], r"noise: .*\(got \(2,\)\)"),
        ([-1.0], r"noise: must not be negative \(got -1\.0\)"),
    ):
        with pytest.raises(sl.ProblemError, match=message):
            Spectrum(*fields, noise=noise)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"learning_rate": [0.1, 0.2], "student_output": [[1.0]] * 3},
            "cases: must be equally many of each .got 3 of student_output, 2 of",
        ),
        ({"learning_rate": []}, "cases: must be equally many of each .got 0 of learning_rate"),
        ({"learning_rate": [0.1, -0.2]}, "learning_rate: .*0.2"),
        ({"student_output": [[1.0, 2.0]]}, r"student_output: .*\(got \(2,\)\)"),
        ({"student_output": 1.0}, r"student_output: .*\(got \(\)\)"),
        ({"times": [2.0, 1.0]}, "times: "),
        ({"rtol": 0}, r"rtol: .*\(got 0\)"),
        ({"activation": "swish"}, "activation: .*'swish'"),
    ],
)
def test_batches_that_cannot_be(changes, message):
    one = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
    arguments = {"student_output": [1.0], "teacher_output": [1.0], "learning_rate": 0.1, "times": [1.0]}
    with pytest.raises(sl.ProblemError, match=message):
        solve_many(one, **{"activation": "erf"} | arguments | changes)


def test_batches_of_different_networks():
    wide = spectrum(drawn(student_units=3))
    with pytest.raises(
        sl.ProblemError, match=r"spectra: must be of one network size \(got \(K, M\) of \[\(2, 2\), \(3, 2\)\]"
    ):
        solve_many([spectrum(drawn()), wide], np.ones(2), np.ones(2), activation="erf", learning_rate=0.1, times=[1])
