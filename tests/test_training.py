"""Options of training: SGD against numpy, theory against identities and closed forms, and the two together."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf

import sgdlimit as sl
from sgdlimit.comparison import discrepancy, over_entries
from sgdlimit.theory import Spectrum, solve_many, solve_spectrum

ALL_OPTIONS = sl.Training(
    output_learning_rate=0.7,
    output_normalization="1/sqrt(K)",
    weight_decay=3.0,
    schedule=sl.Schedule(times=(2.0, 6.0), factors=(1.0, 0.3)),
)


def problem(N=60, **changes):
    settings = {
        "input_dim": N,
        "latent_dim": N // 2,
        "student_units": 2,
        "teacher_units": 2,
        "activation": "erf",
        "learning_rate": 0.4,
    }
    return sl.Problem(**(settings | changes))


def numpy_sgd(instance, X, y):
    """(S28, S29) with every option, a batch at a time, weights after every step."""
    training, N, K = instance.training, instance.input_dim, len(instance.student)
    scale = {"1": 1, "1/K": 1 / K, "1/sqrt(K)": K**-0.5}[training.output_normalization]
    W, v, n = instance.student.copy(), instance.student_output.copy(), training.batch_size
    for step, start in enumerate(range(0, len(X), n)):
        eta = instance.learning_rate * np.interp(step / N, training.schedule.times, training.schedule.factors)
        eta_v = eta * training.output_learning_rate / instance.learning_rate
        x = X[start : start + n]
        field = x @ W.T / np.sqrt(N)
        g, slope = erf(field / np.sqrt(2)), np.sqrt(2 / np.pi) * np.exp(-(field**2) / 2)
        error = scale * g @ v - y[start : start + n]
        gradient = scale * v[:, None] * ((error[:, None] * slope).T @ x) / n / np.sqrt(N)
        W, v = (
            (1 - eta * training.weight_decay / N) * W - eta * gradient,
            v - eta_v / N * scale * (error @ g) / n,
        )
        yield W, v


@pytest.mark.parametrize("engine", ["numba", "jax"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_sgd_takes_the_steps_of_numpy(engine, batch_size):
    training = ALL_OPTIONS.replace(batch_size=batch_size, label_noise=0.5)
    instance = problem(training=training, switch_times=(4.0,), task_similarity=0.5).draw(seed=3)
    times = np.array([1.0, 4.0, 5.0, 8.0])
    runs = sl.simulate(instance, times, seed=2, keep_inputs=True, engine=engine, test_samples=50)
    X, y, C = (runs[name].values[0].astype(float) for name in ("X", "y", "C"))
    assert len(X) == 480 * batch_size
    clean = erf(C @ instance.teacher.T / np.sqrt(30) / np.sqrt(2)) @ instance.teacher_output.T / np.sqrt(2)
    second = np.arange(len(y)) // batch_size >= 240
    noise = y - np.where(second, clean[:, 1], clean[:, 0])
    # 480 normals and more: mean and deviation within 4.5 standard errors, a false alarm in 10⁵ seeds.
    assert abs(noise.mean()) < 4.5 * 0.5 / np.sqrt(len(y))
    assert abs(noise.std() / 0.5 - 1) < 4.5 / np.sqrt(2 * len(y))

    steps = list(numpy_sgd(instance, X, y))
    for place, time in enumerate(times):
        W, v = steps[round(time * 60) - 1]
        Q, R = instance.moments().overlaps(W)
        np.testing.assert_allclose(runs["v"].values[0, place], v, atol=2e-5)
        np.testing.assert_allclose(runs["Q"].values[0, place], Q, atol=2e-5)
        np.testing.assert_allclose(runs["R"].values[0, place], R, atol=2e-5)
    np.testing.assert_array_equal(runs["generalization_error"][0, 0], runs["task_error"][0, 0, 0])
    np.testing.assert_array_equal(runs["generalization_error"][0, 1:], runs["task_error"][0, 1:, 1])


# --- theory: identities and closed forms ----------------------------------------------------------------------------

TIMES = np.array([0.5, 2.0, 5.0, 10.0, 20.0])


def one_node(Q, R, T):
    return Spectrum([1.0], [1.0], [Q], [R], [T], T)


SOFT = one_node([[1.0, 0.2], [0.2, 0.7]], [[0.1, -0.2], [0.3, 0.05]], [[1.0, 0.1], [0.1, 1.2]])
V, V_TEACHER = np.array([0.8, -0.5]), np.array([1.1, 0.6])


def theory(training, *, times=TIMES, rate=0.5, v=V, **more):
    return solve_spectrum(
        SOFT, v, V_TEACHER, activation="erf", learning_rate=rate, times=times, training=training, rtol=1e-9, **more
    )


def same(one, other, names=("Q", "R", "v", "generalization_error")):
    for name in names:
        np.testing.assert_allclose(one[name].values, other[name].values, rtol=0, atol=2e-7, err_msg=name)


def test_a_batch_of_n_is_a_small_rate_at_a_late_time():
    """η² G/n at the time t is (η/n)² G with the drift of η/n at the time n t: the same trajectory."""
    batches = theory(sl.Training(batch_size=4))
    slow = theory(sl.Training(), times=4 * TIMES, rate=0.5 / 4)
    same(batches, slow)
    assert abs(batches["Q"] - theory(sl.Training())["Q"]).max() > 0.05


@pytest.mark.parametrize(("kind", "scale"), [("1/K", 1 / 2), ("1/sqrt(K)", 2**-0.5)])
def test_normalised_outputs_are_small_weights_that_learn_slowly(kind, scale):
    """ŷ = s Σ v g with v and η is ŷ = Σ (s v) g with s v and η_v = s² η."""
    normalised = theory(sl.Training(output_normalization=kind))
    plain = solve_spectrum(
        SOFT, scale * V, scale * V_TEACHER, activation="erf", learning_rate=0.5, times=TIMES, rtol=1e-9,
        training=sl.Training(output_learning_rate=0.5 * scale**2),
    )  # fmt: skip
    same(normalised, plain, ("Q", "R", "generalization_error"))
    np.testing.assert_allclose(scale * normalised["v"], plain["v"], atol=2e-7)


def test_fixed_output_weights_stay():
    fixed = theory(sl.Training(output_learning_rate=0.0))
    np.testing.assert_array_equal(fixed["v"], np.broadcast_to(V, fixed["v"].shape))


def test_without_noise_a_schedule_is_another_clock():
    """In the limit of large batches only ∫ η dt counts."""
    schedule = sl.Schedule(times=(0.0, 10.0, 20.0), factors=(2.0, 0.0, 1.0))
    many = 10**6
    clock = np.array([np.trapezoid(schedule.factor(np.linspace(0, t, 4001)), dx=t / 4000) for t in TIMES])
    clock[3] += 1e-6  # the schedule rests at the last but one time; clocks must run
    same(theory(sl.Training(schedule=schedule, batch_size=many)), theory(sl.Training(batch_size=many), times=clock))


def scalar(training, rate, times=TIMES):
    """A linear unit that learns another one: E[Δ²] = Q − 2R + T with v = ṽ = 1 and T = 1."""
    node = one_node([[0.5]], [[0.2]], [[1.0]])
    options = training.replace(output_learning_rate=0.0)
    return solve_spectrum(
        node, [1.0], [1.0], activation="linear", learning_rate=rate, times=times, training=options, rtol=1e-10
    )


def test_label_noise_leaves_an_error_in_closed_form():
    """dE/dt = −2ηE + η²(E + s²)/n ends at E = η s²/(2n − η)."""
    eta, s, n, start = 0.8, 0.6, 2, 1.1
    solution = scalar(sl.Training(label_noise=s, batch_size=n), eta)
    rest = eta * s**2 / (2 * n - eta)
    error = rest + (start - rest) * np.exp(-(2 * eta - eta**2 / n) * TIMES)
    np.testing.assert_allclose(2 * solution["generalization_error"], error, atol=1e-8)


def test_weight_decay_in_closed_form():
    """dR/dt = −η(R − T) − ηκR."""
    eta, kappa = 0.5, 0.25
    rest = 1 / (1 + kappa)
    R = rest + (0.2 - rest) * np.exp(-eta * (1 + kappa) * TIMES)
    np.testing.assert_allclose(scalar(sl.Training(weight_decay=kappa), eta)["R"][:, 0, 0], R, atol=1e-8)


def test_the_next_task_starts_where_the_last_one_ended():
    T = np.array([[1.0, 0.3], [0.3, 1.0]])
    start = one_node([[0.7]], [[0.1, 0.2]], T)
    options = {"activation": "erf", "learning_rate": 0.5, "rtol": 1e-9}
    both = solve_spectrum(
        start, [0.8], [[1.0, 0.0], [0.0, 1.2]], switch_times=[3.0], times=[1.0, 3.0, 4.0, 9.0], **options
    )
    first = solve_spectrum(start, [0.8], [1.0, 0.0], times=[1.0, 3.0], **options)
    end = first.isel(time=-1)
    second = solve_spectrum(
        one_node(end["Q"].values, end["R"].values, T), end["v"].values, [0.0, 1.2], times=[1.0, 6.0], **options
    )
    for name in ("Q", "R", "v"):
        np.testing.assert_allclose(both[name][:2], first[name], atol=1e-7)
        np.testing.assert_allclose(both[name][2:], second[name], atol=1e-7)
    np.testing.assert_allclose(both["task_error"][2:, 1], second["generalization_error"], atol=1e-7)
    np.testing.assert_array_equal(both["generalization_error"][1], both["task_error"][1, 1])  # of what comes next


def test_cases_may_differ_in_their_training():
    trainings = [sl.Training(), sl.Training(label_noise=1.0)]
    both = solve_many(SOFT, V, V_TEACHER, activation="erf", learning_rate=0.5, times=TIMES, training=trainings)
    for case, training in enumerate(trainings):
        alone = solve_spectrum(SOFT, V, V_TEACHER, activation="erf", learning_rate=0.5, times=TIMES, training=training)
        np.testing.assert_array_equal(both["Q"][case], alone["Q"])


# --- theory against SGD ---------------------------------------------------------------------------------------------

OPTIONS = {
    "fixed outputs": {"output_learning_rate": 0.0},
    "outputs learn slowly": {"output_learning_rate": 0.1},
    "normalised": {"output_normalization": "1/K"},
    "label noise": {"label_noise": 0.7},
    "weight decay": {"weight_decay": 0.5},
    "schedule": {"schedule": sl.Schedule(times=(1.0, 6.0), factors=(1.0, 0.1))},
    "batches": {"batch_size": 8},
}


def test_theory_follows_sgd_with_each_option_and_not_without():
    """Against the theory that has the option M is within 2.5 noise floors, and against the plain one it is not."""
    instance = problem(N=500, learning_rate=1.5, output_weights="equal").draw(seed=5)
    times = sl.log_times(7500, 500, 60)
    plain = sl.solve(instance, times)

    def M(theory, runs):
        return over_entries(discrepancy(theory, runs)).mean("run").values

    floor = M(plain, sl.simulate(instance, times, runs=4, seed=1, test_samples=0))
    for name, settings in OPTIONS.items():
        some = instance.replace(training=sl.Training(**settings))
        runs = sl.simulate(some, times, runs=4, seed=1, test_samples=0)
        with_option, without = M(sl.solve(some, times), runs), M(plain, runs)
        assert (with_option <= 2.5 * floor + 1e-9).all(), (name, with_option, floor)
        assert (without > 2.5 * floor).any(), (name, without, floor)


def test_theory_follows_sgd_from_small_large_and_informed_starts():
    """M against that of the usual start; that of Q grows with Q itself."""
    times, M, size = sl.log_times(7500, 500, 60), {}, {}
    starts = {
        "usual": {},
        "small": {"student_scale": 0.01, "student_output_scale": 0.1},
        "large": {"student_scale": 3.0},
        "informed": {"student_alignment": 0.6},
    }
    for name, settings in starts.items():
        instance = problem(N=500, learning_rate=0.5, output_weights="equal", **settings).draw(seed=5)
        theory, runs = sl.solve(instance, times), sl.simulate(instance, times, runs=4, seed=1, test_samples=0)
        M[name] = over_entries(discrepancy(theory, runs)).mean("run").values
        size[name] = np.array([max(1.0, float(abs(theory["Q"]).mean())), 1.0, 1.0])
    for name in starts:
        assert (M[name] <= 2.5 * M["usual"] * size[name]).all(), (name, M)


def test_the_next_teacher_has_the_chosen_similarity():
    """Cosines of vectors of 2000 numbers are within 5/√2000 of it."""
    teacher = problem(N=4000, switch_times=(8.0,), task_similarity=0.3).draw(seed=1).teacher
    np.testing.assert_allclose(teacher[2:] @ teacher[:2].T / 2000, 0.3 * np.eye(2), atol=0.11)
    np.testing.assert_allclose(np.linalg.norm(teacher, axis=1), np.sqrt(2000), rtol=0.08)


# --- initial weights, refusals ---------------------------------------------------------------------------------------


def test_informed_students_start_at_the_chosen_cosine():
    instance = problem(N=400, student_alignment=0.6, student_scale=0.1, output_weights="equal").draw(seed=0)
    phi = instance.moments().cross.T
    W = instance.student
    cosine = np.sum(W * phi, axis=1) / np.linalg.norm(W, axis=1) / np.linalg.norm(phi, axis=1)
    np.testing.assert_allclose(cosine, 0.6, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(W, axis=1) / np.sqrt(400), 0.1, rtol=0.2)
    np.testing.assert_array_equal(instance.student_output, 1)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: sl.Training(label_noise=-1.0), r"label_noise: must be greater than or equal to 0 \(got -1.0\)"),
        (lambda: sl.Training(batch_size=0), r"batch_size: must be greater than or equal to 1 \(got 0\)"),
        (lambda: problem(training={"output_normalization": "K"}), "output_normalization"),
        (lambda: sl.Schedule(times=(1.0, 0.5), factors=(1.0, 1.0)), r"times: must increase \(got \[1.0, 0.5\]\)"),
        (lambda: sl.Schedule(times=(1.0,), factors=(1.0, 1.0)), r"factors: must be one for each of 1 times \(got 2\)"),
        (lambda: problem(switch_times=(3.0, 2.0)), "switch_times"),
        (lambda: problem(training={"batch_size": "many"}), "training.batch_size"),
        (lambda: problem().draw(0).replace(training="fast"), r"training: must be .* \(got 'fast'\)"),
        (
            lambda: problem().draw(0).then(np.ones((2, 5)), [1, 1], at=1.0),
            r"teacher: must be of shape \(2, 30\) \(got \(2, 5\)\)",
        ),
        (lambda: problem().draw(0).replace(switch_times=[1.0]), "teacher_output"),
        (
            lambda: sl.simulate(
                problem(training=sl.Training(label_noise=1.0)).draw(0),
                [1.0],
                data=(np.ones((60, 30)), np.ones((60, 60)), np.ones(60)),
            ),
            r"data: must be \(C,\) where labels are noisy, or tasks or teachers change \(got labels y\)",
        ),
        (
            lambda: solve_spectrum(
                SOFT, V, V_TEACHER, activation="erf", learning_rate=0.1, times=[1.0], switch_times=[0.5]
            ),
            r"teacher_output: .*\(got \(2,\)\)",
        ),
    ],
)
def test_bad_options_are_named(make, complaint):
    with pytest.raises(sl.ProblemError, match=complaint):
        make()


def test_options_go_to_toml_and_back(tmp_path):
    settings = problem(training=ALL_OPTIONS, switch_times=(5.0,), task_similarity=0.2)
    path = tmp_path / "problem.toml"
    path.write_text(settings.to_toml())
    assert sl.Problem.from_toml(path) == settings


def test_the_example_of_two_tasks(capsys):
    """Tasks that are alike are not forgotten, and help; with own heads, tasks that differ are not forgotten either."""
    spec = importlib.util.spec_from_file_location("continual", Path(__file__).parents[1] / "examples" / "continual.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    theory_forgets, sgd_forgets, theory_transfers, sgd_transfers = np.moveaxis(example.main(200, 40, 2), 2, 0)
    shared, own = theory_forgets
    assert (np.diff(shared) < -0.05).all()
    assert own[2] > 5 * max(own[0], own[-1]) > 0
    assert (np.diff(theory_transfers[0]) > 0.05).all()
    np.testing.assert_allclose(sgd_forgets, theory_forgets, atol=0.05)
    np.testing.assert_allclose(sgd_transfers, theory_transfers, atol=0.05)
    assert capsys.readouterr().out.count("\n") == 11
