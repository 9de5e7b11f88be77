"""Settings: TOML in and out, clear errors, and draws that change only where a setting changed."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sgdlimit as sl
from sgdlimit.problem import Problem, RunSettings, load_problem

GOOD = {
    "input_dim": 40,
    "latent_dim": 20,
    "student_units": 2,
    "teacher_units": 3,
    "activation": "erf",
    "learning_rate": 0.2,
}
MIXTURE = {"components": 2, "spread": 3.0}


def test_toml_round_trip(tmp_path):
    problem = Problem(
        **GOOD, latent=sl.GaussianMixture(components=3, spread=2.5, weights=(0.2, 0.3, 0.5), block_size=4)
    )
    path = tmp_path / "problem.toml"
    path.write_text(problem.to_toml() + "\n[run]\nruns = 3\n", encoding="utf-8")
    assert Problem.from_toml(path) == problem
    assert load_problem(path) == (problem, RunSettings(runs=3))


def test_draws_depend_on_the_seed_and_each_on_its_own_stream():
    problem = Problem(**GOOD, latent=sl.GaussianMixture(**MIXTURE))
    one, again, other = problem.draw(seed=1), problem.draw(seed=1), problem.draw(seed=2)
    np.testing.assert_array_equal(one.features, again.features)
    assert not np.isclose(one.features, other.features).any()
    wider = problem.replace(student_units=5, latent=sl.GaussianMixture(components=2, spread=9.0))
    np.testing.assert_array_equal(wider.draw(seed=1).teacher, one.teacher)
    law, same, wide = one.latent, problem.draw_latent(1), wider.draw(seed=1).latent
    assert isinstance(law, sl.MixtureLaw)
    assert isinstance(same, sl.MixtureLaw)
    assert isinstance(wide, sl.MixtureLaw)
    np.testing.assert_allclose(wide.means, 3 * law.means)
    np.testing.assert_array_equal(same.means, law.means)


def test_scales_multiply_the_initial_weights():
    scaled = Problem(**GOOD, student_scale=0.1, teacher_output_scale=2.0).draw(seed=0)
    plain = Problem(**GOOD).draw(seed=0)
    np.testing.assert_allclose(scaled.student, 0.1 * plain.student)
    np.testing.assert_allclose(scaled.teacher_output, 2 * plain.teacher_output)
    np.testing.assert_array_equal(scaled.student_output, plain.student_output)


def test_estimated_moments_are_close_to_exact_ones():
    latent = sl.GaussianMixture(components=2, spread=3.0, block_size=5, standardize="estimated", moment_samples=5000)
    law = Problem(**GOOD, latent=latent).draw(seed=0).latent
    exact = Problem(**GOOD, latent=latent.replace(standardize=True)).draw(seed=0).latent
    assert isinstance(law, sl.MixtureLaw)
    assert isinstance(exact, sl.MixtureLaw)
    np.testing.assert_allclose(law.scale, exact.scale, rtol=0.08)
    assert 0 < np.abs(law.mean(20)).max() < 6 / np.sqrt(5000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_dim": 0}, "input_dim: must be greater than or equal to 1 (got 0)."),
        ({"latent_dim": -3}, "latent_dim: must be greater than or equal to 1 (got -3)"),
        ({"student_units": 0}, "student_units: must be greater than or equal to 1 (got 0)"),
        ({"teacher_units": 1.5}, "teacher_units: must be a valid integer (got 1.5)"),
        ({"activation": "swish"}, "activation: must be 'erf', 'relu', 'linear'"),
        ({"activation": "ReLU"}, "(got 'ReLU'). Did you mean 'relu'?"),
        ({"activation": "sigmoid"}, "or problem.draw(seed=0).replace(activation=sl.Activation(g)) for your own"),
        ({"activation": np.tanh}, "replace(activation=sl.Activation(g)) for your own function g (got <ufunc 'tanh'>)"),
        ({"latent": np.ones((100, 20))}, "problem.draw(seed=0).replace(latent=law) for another law, with Empirical("),
        ({"nonlinearity": "cos"}, "nonlinearity: must be 'sign', 'erf'"),
        ({"learning_rate": -1}, "learning_rate: must be greater than 0 (got -1)"),
        ({"learning_rate": float("nan")}, "learning_rate: must be a finite number (got nan)"),
        ({"dropout": 0.5}, "dropout: must not be in this table, which has no such setting (got 0.5). Remove it."),
        (
            {"latent": {"components": 2, "spread": 3.0, "block_size": 3}},
            "latent.block_size: must divide latent_dim 20 (got 3)",
        ),
        ({"latent": {"components": 0, "spread": 3.0}}, "latent.components: must be greater than or equal to 1 (got 0)"),
        ({"latent": {"components": 2}}, "latent.spread: must be given"),
        (
            {"latent": {"components": 2, "spread": 1.0, "colour": "red"}},
            "latent.colour: must not be in this table, which has no such setting (got 'red')",
        ),
        (
            {"latent": {"components": 2, "spread": 1.0, "weights": [1.0]}},
            "latent.weights: must be of shape (2,) (got (1,))",
        ),
        ({"latent": {"law": "cauchy"}}, "latent: must be a law (got {'law': 'cauchy'})"),
        ({"latent": 3}, "latent: must be a table of settings (got 3)"),
        (
            {"latent": {"components": 2, "spread": 1.0, "weights": [0.7, 0.7]}},
            "latent.weights: must be positive and sum to 1 (got [0.7, 0.7])",
        ),
        ({"latent": {"components": 2, "spread": 1.0, "standardize": "est"}}, "'estimated'"),
        ({"learning_rate": "0.2"}, "learning_rate: must be a number (got '0.2')"),
        ({"learning_rate": True}, "learning_rate: must be a number (got True)"),
        ({"student_scale": -1.0}, "student_scale: must be greater than or equal to 0 (got -1.0)"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(sl.ProblemError) as error:
        Problem(**(GOOD | change))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_wrong_setting_is_named_and_the_nearest_name_for_a_typo():
    with pytest.raises(sl.ProblemError) as error:
        Problem(**(GOOD | {"input_dim": 0, "latent": {"components": 0, "spred": 1.0}, "activation": "relue"}))
    assert [complaint.partition(":")[0] for complaint in error.value.args] == [
        "input_dim", "activation", "latent.spred", "latent.components",
    ]  # fmt: skip
    message = str(error.value)
    assert "(got 'relue'). Did you mean 'relu'?" in message
    assert (
        "latent.spred: must not be in this table, which has no such setting (got 1.0). Did you mean 'spread'?"
        in message
    )


def test_features_that_do_not_fit_the_memory_are_refused():
    with pytest.raises(
        sl.ProblemError, match=r"input_dim: must fit into .* GiB .*got 1000000 with latent_dim 1000000, .* needs .* GiB"
    ):
        Problem(**GOOD).replace(input_dim=10**6, latent_dim=10**6).draw(seed=0)


def test_all_complaints_of_a_file_are_in_one_message_typos_first(tmp_path):
    (tmp_path / "bad.toml").write_text(
        """
input_dm = 60
latent_dim = 20
student_units = 2
teacher_units = 1
activation = "erf"
learning_rate = -0.5
latent = {components = 2, spread = 1.0, block_size = 7}
[run]
tim = 3.0
runs = 0
[training.schedule]
times = [3.0, 1.0]
factors = [1.0]
""",
        encoding="utf-8",
    )
    with pytest.raises(sl.ProblemError) as error:
        load_problem(tmp_path / "bad.toml")
    assert [complaint.partition(": ")[0] for complaint in error.value.args[1:]] == [
        "input_dm", "learning_rate", "latent.block_size", "training.schedule.times", "run.tim", "run.runs",
    ]  # fmt: skip
    assert "Did you mean 'input_dim'?" in error.value.args[1]


def test_numbers_and_arrays_of_numpy_are_settings():
    plain, schedule = Problem(**GOOD), sl.Schedule(times=(0.0, 1.0), factors=(1.0, 0.5))
    sizes = {"input_dim": np.int32(40), "learning_rate": np.float64(0.2), "centre": np.bool_(True)}
    taken = plain.replace(
        **sizes, switch_times=np.array([1.0, 2.0]), training={"schedule": {"times": np.arange(2), "factors": [1, 0.5]}}
    )
    assert taken == Problem(**GOOD, switch_times=(1.0, 2.0), training=sl.Training(schedule=schedule))
    assert plain.replace(learning_rate=np.float32(0.5)).learning_rate == 0.5
    with pytest.raises(sl.ProblemError, match=r"input_dim: must be a valid integer .got 40\.5."):
        plain.replace(input_dim=np.float64(40.5))


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_setting_is_named(field):
    with pytest.raises(sl.ProblemError, match=f"{field}: must be given .got nothing.. Give it a value."):
        Problem(**{name: value for name, value in GOOD.items() if name != field})


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "latent", "nonlinearity", "student_scale", "nonsense"]),
        st.one_of(
            st.none(),
            st.integers(),
            st.floats(),
            st.text(max_size=5),
            st.booleans(),
            st.dictionaries(
                st.sampled_from(["law", *MIXTURE, "weights"]), st.one_of(st.integers(), st.text(max_size=3))
            ),
        ),
        max_size=4,
    )
)
def test_any_settings_are_taken_or_refused_in_one_sentence(change):
    refusal = problem = None
    try:
        problem = Problem(**(GOOD | change))
    except sl.ProblemError as error:
        refusal = str(error)
    if refusal is None:
        assert problem is not None
        assert problem.input_dim >= 1
    else:
        assert "\n" not in refusal
        assert ": " in refusal


def arrays(D=6, N=8, K=2, M=3):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in ((D, N), (K, N), (K,), (M, D), (M,))]


def test_an_instance_of_ones_own_arrays():
    instance = sl.Instance(*arrays(), activation="relu", learning_rate=0.1)
    assert (instance.latent_dim, instance.input_dim) == (6, 8)
    with pytest.raises(ValueError, match="read-only"):
        instance.features[0, 0] = 1
    changed = instance.replace(learning_rate=0.3)
    assert changed.features is instance.features
    assert changed.learning_rate == 0.3


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.ones(3), r"features: must be of shape \(latent_dim, input_dim\) \(got \(3,\)\)"),
        (0, np.ones((0, 4)), r"features: must be of shape .*got \(0, 4\)"),
        (1, np.ones((2, 5)), r"student: must be of shape \(student_units, 8\) \(got \(2, 5\)\)"),
        (2, np.ones(3), r"student_output: must be of shape \(2,\) \(got \(3,\)\)"),
        (3, np.ones((3, 7)), r"teacher: must be of shape \(teacher_units, 6\) \(got \(3, 7\)\)"),
        (4, np.ones(1), r"teacher_output: must be of shape \(3,\) \(got \(1,\)\)"),
        (1, np.full((2, 8), np.nan), r"student: must be finite \(got 16 of 16 entries NaN .* first at \[0, 0\]\)"),
        (0, "features", "features: must be numbers .got 'features'"),
    ],
)
def test_wrong_arrays_are_named(place, value, message):
    given = arrays()
    given[place] = value
    with pytest.raises(sl.ProblemError, match=message):
        sl.Instance(*given, activation="erf", learning_rate=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0}, "learning_rate: must be a positive number .got 0"),
        ({"learning_rate": "fast"}, "learning_rate: must be a number .got 'fast'"),
        ({"activation": "swish"}, "activation: .*'swish'"),
        ({"nonlinearity": None}, "nonlinearity: must be .*got None"),
        ({"latent": "gaussian"}, "latent: must be a LatentLaw .got 'gaussian'.. Use Gaussian"),
        ({"latent": sl.MixtureLaw(np.ones((2, 5)))}, "latent: must have latent_dim 6 coordinates .got a law of 5"),
    ],
)
def test_wrong_settings_of_an_instance_are_named(change, message):
    with pytest.raises(sl.ProblemError, match=message):
        sl.Instance(*arrays(), **({"activation": "erf", "learning_rate": 0.1} | change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input_dim = ", "must be valid TOML"),
        ("\x00", "must be valid TOML"),
        ("run = 3", "run: must be a table of settings (got 3)"),
        ("[run]\nsteps = 3", "input_dim: must be given"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    path = tmp_path / "problem.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(sl.ProblemError) as error:
        load_problem(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(sl.ProblemError, match="must be a file to read"):
        Problem.from_toml(tmp_path / "none.toml")


def test_replaced_settings_are_checked_and_assigned_ones_refused():
    problem = sl.Problem(
        input_dim=20, latent_dim=10, student_units=1, teacher_units=1, activation="erf", learning_rate=0.1
    )
    assert problem.replace(learning_rate=0.2).model_dump() == problem.model_dump() | {"learning_rate": 0.2}
    assert problem.replace() == problem
    assert problem.replace(latent=sl.GaussianMixture(components=2, spread=3.0)).latent.spread == 3.0  # type: ignore[union-attr]
    with pytest.raises(sl.ProblemError, match="learning_rate: must be greater than 0"):
        problem.replace(learning_rate=-5.0)
    with pytest.raises(sl.ProblemError, match="learnin_rate: must not be in this table"):
        problem.replace(learnin_rate=0.2)
    with pytest.raises(sl.ProblemError, match=r"learning_rate: must not be assigned .got 0\.3.. Use replace"):
        problem.learning_rate = 0.3  # type: ignore[misc]
    assert problem.learning_rate == 0.1
