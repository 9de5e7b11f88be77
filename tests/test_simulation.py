"""The SGD engine against ten lines of numpy, and its promises: same seed, same bits; shared noise; no silent NaN."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf

import sgdlimit as sl
from sgdlimit.simulation import predicted_bytes

STEPS = 1300  # more than two blocks, and not a multiple of any


def small_problem(**changes):
    settings = {
        "input_dim": 60,
        "latent_dim": 30,
        "student_units": 2,
        "teacher_units": 3,
        "activation": "erf",
        "learning_rate": 0.4,
    }
    return sl.Problem(**(settings | changes))


def numpy_sgd(instance, X, y):
    """(S28, S29), as printed."""
    g, dg = {
        "erf": (lambda x: erf(x / np.sqrt(2)), lambda x: np.sqrt(2 / np.pi) * np.exp(-(x**2) / 2)),
        "relu": (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0)),
        "linear": (lambda x: x, lambda x: np.ones_like(x)),
    }[instance.activation.name]
    W, v, eta, N = instance.student.copy(), instance.student_output.copy(), instance.learning_rate, instance.input_dim
    for x, label in zip(X, y, strict=True):
        field = W @ x / np.sqrt(N)
        error = v @ g(field) - label
        W, v = (
            W - eta / np.sqrt(N) * error * (v * dg(field))[:, None] * x,
            v - eta / N * g(field) * error,
        )
        yield W, v


def conventional_overlaps(instance, W):
    """Q and R of (9), (10) for f = sign, written out with an N × N covariance."""
    F, N, D = instance.features, instance.input_dim, instance.latent_dim
    b = np.sqrt(2 / np.pi) / np.sqrt(np.square(F).sum(axis=0) / D)
    covariance = (1 - 2 / np.pi) * np.eye(N) + np.outer(b, b) * (F.T @ F) / D
    return W @ covariance @ W.mT / N, W @ (b[:, None] * (F.T @ instance.teacher.T)) / (np.sqrt(N) * D)


@pytest.mark.parametrize("activation", ["erf", "relu", "linear"])
@pytest.mark.parametrize("student_units", [1, 2, 5])
def test_kernel_follows_numpy_step_by_step(activation, student_units):
    instance = small_problem(
        activation=activation, student_units=student_units, learning_rate=0.2, student_output_scale=0.5
    ).draw(seed=3)
    steps = 700
    C = np.random.default_rng(0).standard_normal((steps, 30)).astype(np.float32)
    X = np.where(C @ instance.features.astype(np.float32) > 0, 1.0, -1.0)
    fields = C @ instance.teacher.T / np.sqrt(30)
    g = {"erf": lambda x: erf(x / np.sqrt(2)), "relu": lambda x: np.maximum(x, 0), "linear": lambda x: x}[activation]
    y = g(fields) @ instance.teacher_output
    times = np.arange(1, steps + 1) / 60
    from_latent = sl.simulate(instance, times, data=(C,), test_samples=0).isel(run=0)
    from_inputs = sl.simulate(instance, times, data=(C, X, y), test_samples=0).isel(run=0)
    W, v = map(np.array, zip(*((W.copy(), v.copy()) for W, v in numpy_sgd(instance, X, y)), strict=True))
    Q, R = conventional_overlaps(instance, W)
    largest = np.maximum(1, abs(Q).max(axis=(1, 2), keepdims=True))
    for run in (from_latent, from_inputs):
        np.testing.assert_allclose(run["v"], v, atol=2e-5)
        np.testing.assert_allclose(run["Q"] / largest, Q / largest, atol=2e-5)
        np.testing.assert_allclose(run["R"], R, atol=2e-5)


@pytest.mark.parametrize("nonlinearity", ["sign", "erf", "identity"])
@pytest.mark.parametrize(
    "latent",
    [
        sl.Gaussian(),
        sl.MixtureLaw([-1.0, 2.0, 4.0], weights=[0.2, 0.3, 0.5]),
        sl.MixtureLaw([-1.0, 2.0, 4.0], weights=[0.2, 0.3, 0.5], standardize=True),
        sl.MixtureLaw(np.random.default_rng(1).uniform(-3, 3, (2, 30)), block_size=5),
        sl.MixtureLaw(np.random.default_rng(1).uniform(-3, 3, (3, 30)), block_size=30, standardize=True),
    ],
    ids=["gaussian", "scalar mixture", "standardised", "blocks", "clusters, standardised"],
)
def test_kept_samples_obey_the_model_and_their_law(nonlinearity, latent):
    """X = f(CF/√D), y = Σ ṽ g(ν), and the moments of C; then training on the kept samples gives the same run.

    The moment check fails a correct law with probability below 1e-4 (largest of < 1000 z-values, bound 5.5).
    """
    instance = small_problem(nonlinearity=nonlinearity, activation="relu", learning_rate=0.05).draw(seed=1)
    instance = instance.replace(latent=latent)
    times = np.array([1, 512, 513, STEPS]) / 60
    run = sl.simulate(instance, times, seed=5, keep_inputs=True, test_samples=0)
    C, X, y = (run[name].isel(run=0).values for name in ("C", "X", "y"))
    U = C @ instance.features / np.sqrt(30)
    f = {"sign": np.sign, "erf": lambda u: erf(u / np.sqrt(2)), "identity": lambda u: u}[nonlinearity]
    clear = np.abs(U) > 1e-3  # a rounding error may flip the sign of a preactivation this small
    np.testing.assert_allclose(X[clear], f(U)[clear], atol=2e-4)
    np.testing.assert_allclose(
        y, np.maximum(C @ instance.teacher.T / np.sqrt(30), 0) @ instance.teacher_output, atol=1e-4
    )
    mean, covariance = latent.mean(30), latent.covariance(30)
    np.testing.assert_array_less(np.abs(C.mean(axis=0) - mean) * np.sqrt(STEPS / covariance.diagonal()), 5.5)
    centred = (C - mean) / np.sqrt(covariance.diagonal())
    products = centred[:, :, None] * centred[:, None, :]
    scale = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
    z = (products.mean(axis=0) - covariance / scale) / (products.std(axis=0) / np.sqrt(STEPS))
    assert np.abs(z).max() < 5.5
    again = sl.simulate(instance, times, data=(C, X, y), test_samples=0)
    for name in ("Q", "R", "v"):
        np.testing.assert_allclose(again[name], run[name], atol=3e-5 * max(1.0, float(np.abs(run[name]).max())))


def test_a_law_of_ones_own_is_sampled_and_checked():
    class Uniform(sl.LatentLaw):
        def sample(self, rng, count, dim=None):
            return rng.uniform(-np.sqrt(3), np.sqrt(3), (count, self.check_dim(dim)))

        def mean(self, dim):
            return np.zeros(dim)

        def covariance(self, dim):
            return np.eye(dim)

        def kl_to_standard_normal(self, **_):
            raise NotImplementedError

    instance = small_problem().draw(seed=0).replace(latent=Uniform())
    kept = sl.simulate(instance, [1.0, STEPS / 60], keep_inputs=True, test_samples=10, overlaps="moment-matched")
    C = kept["C"].values
    assert C.max() <= np.sqrt(3) + 1e-6
    assert abs(C.var() - 1) < 6 * np.sqrt(0.8 / C.size)  # 6 standard errors: false alarm 2e-9

    class Short(Uniform):
        def sample(self, rng, count, dim=None):
            return np.zeros((3, 3))

    said = r"latent: Short\.sample must give finite numbers of shape \(512, 30\) \(got shape \(3, 3\)"
    with pytest.raises(sl.ProblemError, match=said):
        sl.simulate(instance.replace(latent=Short()), [1.0])


@pytest.mark.parametrize("threads", [2, 3])
def test_same_seed_same_bits_for_any_number_of_threads(threads):
    base = small_problem().draw(seed=0)
    instances = [
        base.replace(latent=sl.MixtureLaw([-a, a + 0.5], standardize=s)) for a in (1, 2, 5) for s in (False, True)
    ]
    times = sl.log_times(5000, 60, 20)
    one = sl.simulate_together(instances, times, runs=2, seed=7, threads=1, test_samples=600)
    other = sl.simulate_together(instances, times, runs=2, seed=7, threads=threads, test_samples=600)
    for a, b in zip(one, other, strict=True):
        assert a.identical(b)


@pytest.mark.parametrize("student_units", [2, 3])
def test_company_does_not_change_a_run(student_units):
    """A condition gives the same bits alone as among others that share its noise, or its input."""
    base = small_problem(student_units=student_units).draw(seed=0)
    laws = [sl.Gaussian(), sl.MixtureLaw([-1.0, 2.0]), sl.MixtureLaw([-2.0, 4.0], standardize=True)]
    conditions = [base.replace(latent=law, activation=g) for law in laws for g in ("erf", "relu", "linear")]
    times = sl.log_times(2000, 60, 20)
    together = sl.simulate_together(conditions, times, seed=2)
    for condition, run in zip(conditions, together, strict=True):
        assert run.identical(sl.simulate(condition, times, seed=2))


def test_conditions_share_their_products():
    from sgdlimit.simulation._stream import stream_of

    base = small_problem().draw(seed=0)
    unit = np.array([-0.37, 0.81])
    conditions = [
        base.replace(activation=a, latent=sl.MixtureLaw(spread * unit, standardize=s))
        for a in ("erf", "relu")
        for spread in (1.0, 3.0, 9.0)
        for s in (False, True)
    ]
    assert len(stream_of(conditions).sources) == 2  # the normals and one set of offsets


def test_runs_have_fresh_noise_and_a_longer_run_begins_as_a_shorter():
    instance = small_problem().draw(seed=0)
    times = sl.log_times(2000, 60, 20)
    two = sl.simulate(instance, times, runs=2, seed=2, test_samples=0)
    assert not np.allclose(two["Q"][0, -1], two["Q"][1, -1])
    np.testing.assert_array_equal(two["Q"][:1], sl.simulate(instance, times, runs=1, seed=2, test_samples=0)["Q"])
    longer = sl.simulate(instance, np.append(times, 100.0), runs=2, seed=2, test_samples=0)
    np.testing.assert_array_equal(longer["Q"][:, :-1], two["Q"])


def test_initial_condition_is_an_output_time():
    instance = small_problem().draw(seed=0)
    start = sl.simulate(instance, [0.0, 1.0], test_samples=0).isel(run=0, time=0)
    Q, R = conventional_overlaps(instance, instance.student)
    np.testing.assert_allclose(start["Q"], Q, atol=1e-6)
    np.testing.assert_allclose(start["R"], R, atol=1e-6)
    np.testing.assert_array_equal(start["v"], instance.student_output)


def test_generalization_error_is_measured_on_the_actual_law():
    """Against a plain estimate on other samples; 5 joint standard errors, false alarm 6e-7 each of 3."""
    instance = small_problem(activation="relu").draw(seed=0).replace(latent=sl.MixtureLaw([-2.0, 3.0]))
    run = sl.simulate(instance, [0.0, 1.0], test_samples=20_000).isel(run=0, time=0)
    C = instance.latent.sample(np.random.default_rng(9), 20_000, 30)
    X = np.sign(C @ instance.features)
    y = np.maximum(C @ instance.teacher.T / np.sqrt(30), 0) @ instance.teacher_output
    loss = (np.maximum(X @ instance.student.T / np.sqrt(60), 0) @ instance.student_output - y) ** 2 / 2
    error = np.hypot(loss.std() / np.sqrt(20_000), run["generalization_error_stderr"])
    assert abs(run["generalization_error"] - loss.mean()) < 5 * error
    np.testing.assert_allclose(run["generalization_error_stderr"], loss.std() / np.sqrt(20_000), rtol=0.3)


@pytest.mark.parametrize("activation", ["erf", "relu", "linear"])
@pytest.mark.parametrize("nonlinearity", ["sign", "erf", "identity"])
def test_engines_agree_step_by_step_on_given_samples(activation, nonlinearity):
    instance = small_problem(activation=activation, nonlinearity=nonlinearity, learning_rate=0.05).draw(seed=1)
    rng = np.random.default_rng(0)
    C, y = rng.standard_normal((700, 30)), rng.standard_normal(700)
    X = rng.standard_normal((700, 60))
    times = np.arange(1, 701) / 60
    for data in ((C,), (C, X, y)):
        numba, jax = (simulated_with(engine, instance, times, data) for engine in ("numba", "jax"))
        for name in ("Q", "R", "v"):
            np.testing.assert_allclose(jax[name], numba[name], atol=2e-5 * max(1, float(np.abs(numba[name]).max())))


def simulated_with(engine, instance, times, data):
    return sl.simulate(instance, times, engine=engine, data=data, test_samples=0)


STEPPED_OPTIONS = (
    sl.Training(),
    sl.Training(weight_decay=2.0),
    sl.Training(label_noise=0.5),
    sl.Training(schedule=sl.Schedule(times=(0.3, 1.2), factors=(1.0, 0.2))),
    sl.Training(output_learning_rate=0.1, output_normalization="1/sqrt(K)", label_noise=0.5, weight_decay=2.0),
)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("student_units", range(1, 9))
def test_the_scan_takes_the_steps_of_the_kernel(student_units, batch_size):
    """On given samples the weights after each step are the kernel's, to rounding, with every option of training."""
    base = small_problem(input_dim=20, latent_dim=10, student_units=student_units).draw(seed=2)
    batches = {"batch_size": batch_size}
    instances = [base.replace(training=options.replace(**batches)) for options in STEPPED_OPTIONS]
    C = np.random.default_rng(5).standard_normal((40 * batch_size, 10))
    numba, jax = (
        sl.simulate_together(
            instances, np.arange(1, 41) / 20, data=(C,), engine=engine, keep_weights=True, test_samples=0, threads=1
        )
        for engine in ("numba", "jax")
    )
    for one, other in zip(numba, jax, strict=True):
        for name in ("W", "v"):
            np.testing.assert_allclose(other[name], one[name], atol=1e-5)


def test_engines_draw_the_same_samples():
    """To the rounding of logarithm and cosine; runs and conditions batched give what each gives alone.

    f is smooth: a sign flips now and then where a preactivation rounds to the other side of zero.
    """
    base = small_problem(nonlinearity="erf").draw(seed=0)
    laws = [
        sl.Gaussian(),
        sl.MixtureLaw([-1.0, 2.0, 3.0], weights=[0.2, 0.5, 0.3], standardize=True),
        sl.MixtureLaw(np.random.default_rng(1).uniform(-3, 3, (2, 30)), block_size=5, standardize=True),
    ]
    instances = [base.replace(latent=law, activation=g) for law in laws for g in ("erf", "relu")]
    times = sl.log_times(1500, 60, 30)
    numba = sl.simulate_together(instances, times, runs=3, seed=4, engine="numba")
    jax = sl.simulate_together(instances, times, runs=3, seed=4, engine="jax")
    for one, other in zip(numba, jax, strict=True):
        for name in ("Q", "R", "v", "generalization_error"):
            np.testing.assert_allclose(other[name], one[name], atol=5e-5 * max(1, float(np.abs(one[name]).max())))


def test_divergence_with_the_jax_engine_is_cut_too():
    instance = small_problem(activation="relu", learning_rate=30.0).draw(seed=0)
    times = sl.log_times(6000, 60, 50)
    with pytest.warns(sl.DivergenceWarning, match="learning_rate: 30 makes SGD diverge at t = "):
        run = sl.simulate(instance, times, runs=2, engine="jax")
    assert 0 < run.sizes["time"] < 50
    assert all(np.isfinite(run[name]).all() for name in run)


def test_divergence_cuts_the_trajectory_and_says_when():
    instance = small_problem(activation="relu", learning_rate=30.0).draw(seed=0)
    times = sl.log_times(6000, 60, 50)
    with pytest.warns(sl.DivergenceWarning, match="learning_rate: 30 makes SGD diverge at t = "):
        run = sl.simulate(instance, times, runs=2)
    assert 0 < run.sizes["time"] < 50
    assert run["time"].values[-1] <= run.attrs["diverged_at"] < 100
    assert all(np.isfinite(run[name]).all() for name in run)
    with pytest.raises(sl.DivergenceError, match="learning_rate: 30 makes SGD diverge before the first output time"):
        sl.simulate(instance, times[-2:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": [1.0, 0.5]}, r"times: must increase .* \(got \[1.0, 0.5\]\)"),
        ({"times": [0.5, np.nan]}, "times:"),
        ({"times": [0.123]}, r"times: must be whole numbers of SGD steps, .* \(got 0.123\)"),
        ({"times": [0.0]}, r"times: must be .* at least one, .* \(got 0\)"),
        ({"runs": 0}, r"runs: must be a whole number of at least 1 \(got 0\)"),
        ({"seed": -1}, r"seed: must be .* at least 0 \(got -1\)"),
        ({"threads": 0}, r"threads: must be .* at least 1 \(got 0\)"),
        ({"engine": "cuda"}, r"engine: must be 'auto', 'numba' or 'jax' \(got 'cuda'\)"),
        ({"test_samples": 1.5}, r"test_samples: must be .* \(got 1.5\)"),
        ({"overlaps": "exact"}, r"overlaps: must be .* \(got 'exact'\)"),
        ({"overlaps": []}, r"overlaps: must be .* \(got \[\]\)"),
        ({"overlaps": 3}, r"overlaps: must be .* \(got 3\)"),
        (
            {"runs": 10**12},
            r"times, runs, test_samples: must fit into .* GiB of free memory .got .* GiB.. Ask for fewer runs",
        ),
        ({"runs": True}, r"runs: must be .* \(got True\)"),
        ({"data": (np.ones((60, 30)),), "runs": 2}, r"runs: must be 1 on given data, .* \(got 2\)"),
        ({"data": ("C",)}, "data: C: must be numbers \\(got 'C'\\)"),
        ({"data": (np.ones((60, 31)),)}, r"data: C: must be of shape \(samples, 30\) \(got \(60, 31\)\)"),
        ({"data": (np.ones((5, 30)),)}, r"data: C must have 60 samples .* \(got 5\)"),
        ({"data": (np.full((60, 30), np.nan),)}, r"data: C: must be finite \(got 1800 of 1800 entries NaN"),
        ({"data": np.ones((60, 30))}, r"data: must be \(C,\) or \(C, X, y\) \(got a ndarray\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    instance = small_problem().draw(seed=0)
    with pytest.raises(sl.ProblemError, match=message):
        sl.simulate(instance, **({"times": [1.0]} | arguments))


def test_times_in_single_precision_are_whole_steps_too():
    times = sl.log_times(60 * 1000, 60, 20)
    instance = small_problem(teacher_units=2).draw(seed=0)  # whose theory other tests have compiled
    run = sl.simulate(instance, times.astype(np.float32), test_samples=0)
    same = sl.simulate(instance, times, test_samples=0)
    np.testing.assert_array_equal(run["Q"], same["Q"])
    sl.compare(sl.solve(instance, times), run)


def test_a_problem_that_was_not_drawn_is_named():
    for call in (sl.simulate, sl.solve):
        with pytest.raises(sl.ProblemError, match=r"must be an Instance \(got a Problem\)\. Give problem\.draw"):
            call(small_problem(), [1.0])  # type: ignore[operator]


def test_kept_inputs_that_would_not_fit_are_refused():
    with pytest.raises(sl.ProblemError, match=r"keep_inputs: .* GiB"):
        sl.simulate(small_problem().draw(seed=0), [1e6], keep_inputs=True)


def test_memory_is_flat_in_the_steps_and_what_does_not_fit_is_refused(monkeypatch):
    instance = small_problem().draw(seed=0)
    needed = [predicted_bytes([instance], sl.log_times(steps, 60, 50), test_samples=0) for steps in (600, 6000)]
    assert needed[0] == needed[1]
    monkeypatch.setattr("sgdlimit.simulation._read.available_bytes", lambda: 10**6)
    with pytest.raises(
        sl.ProblemError, match=r"must fit into 0\.0 GiB of free memory .got .* GiB.. Ask for fewer runs"
    ):
        sl.simulate(instance, sl.log_times(6000, 60, 500))


COMPILED = """
import sys
import sgdlimit as sl
from numba.core.dispatcher import Dispatcher

instance = sl.Problem(
    input_dim=32, latent_dim=16, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2,
    features="hadamard", latent=sl.GaussianMixture(components=2, spread=2.0), training=sl.Training(label_noise=0.1),
).draw(seed=0)
sl.simulate(instance, [1.0], keep_inputs=True, test_samples=10, engine="numba")
modules = [module for name, module in sys.modules.items() if name.startswith("sgdlimit")]
loops = {value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)}
used = {loop.__name__: len(loop.stats.cache_misses) for loop in loops if loop.signatures}
"""


def test_a_new_process_compiles_no_loop_again():
    exec(COMPILED, {})  # what this process compiles is kept on disk
    done = subprocess.run([sys.executable, "-c", COMPILED + "print(used)"], capture_output=True, text=True, check=True)
    used = ast.literal_eval(done.stdout)
    assert used.keys() == {
        "sgd_block", "inputs_and_labels", "losses", "hadamard_product", "fill_normals", "fill_offsets",
    }  # fmt: skip
    assert not any(used.values()), used


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_predicted_memory_is_what_a_run_takes():
    """Peak of a process at a size where the arrays dominate: predicted to within a quarter."""
    script = """
import numpy as np, sgdlimit as sl
from sgdlimit.simulation import predicted_bytes

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

sizes = dict(input_dim=4000, latent_dim=1000, student_units=4, teacher_units=2)
instance = sl.Problem(**sizes, activation="erf", learning_rate=0.1).draw(seed=0)
small = sl.Problem(**(sizes | dict(input_dim=40, latent_dim=10)), activation="erf", learning_rate=0.1).draw(seed=0)
sl.simulate(small, [1 / 40], test_samples=0)
times = np.arange(1, 2501) / 4000
before = peak()
sl.simulate(instance, times, test_samples=0)
print(peak() - before, predicted_bytes([instance], times, test_samples=0))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    grown, predicted = (int(word) for word in done.stdout.split())
    assert 0.6 * predicted < grown < 1.25 * predicted


def test_instances_with_other_features_are_not_simulated_together():
    problem = small_problem()
    with pytest.raises(sl.ProblemError, match="features: must be the same for instances simulated together"):
        sl.simulate_together([problem.draw(seed=0), problem.draw(seed=1)], [1.0])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_progress_that_raises_ends_every_thread(threads):
    """Would hang for ever if the other threads waited for the one that it ended."""
    instance = small_problem().draw(seed=0)

    def report(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sl.simulate(instance, [1000.0], threads=threads, progress=report)
