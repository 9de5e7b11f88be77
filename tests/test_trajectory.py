"""Output times, the labelled dataset, and M (18)-(20)."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sgdlimit as sl
from sgdlimit.comparison import discrepancy, magnitude, over_entries
from sgdlimit.trajectory import check_times, make_trajectory


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**7), st.integers(1, 5000), st.integers(1, 400))
def test_log_times_are_distinct_steps_from_first_to_last(steps, input_dim, count):
    times = sl.log_times(steps, input_dim, count)
    taken = times * input_dim
    assert len(times) == min(count, steps)
    np.testing.assert_allclose(taken, np.rint(taken), rtol=1e-9)
    assert taken[-1] == pytest.approx(steps)
    assert (np.diff(np.rint(taken)) >= 1).all()
    if len(times) > 1:
        assert taken[0] == pytest.approx(1)


def test_log_times_are_log_spaced():
    late = sl.log_times(100_000, 1000, 200)[80:]
    ratio = late[1:] / late[:-1]
    assert ratio.max() / ratio.min() < 1.05


@pytest.mark.parametrize("arguments", [(0, 10, 5), (10, 0, 5), (10, 10, 0), (1.5, 10, 5), (10**12, 10, 10**9)])
def test_log_times_name_what_is_wrong(arguments):
    with pytest.raises(sl.ProblemError, match="must be a whole number"):
        sl.log_times(*arguments)


@pytest.mark.parametrize("times", [[], [[1.0]], [1.0, 1.0], [2.0, 1.0], [-1.0], [np.inf], ["a"]])
def test_times_out_of_order_are_named(times):
    with pytest.raises(sl.ProblemError, match="times: "):
        check_times(times)


def trajectory(values, runs=None):
    """Q = values, R = 2 values, v = −values, ε = values²; with runs, one offset a run."""
    values = np.asarray(values, float)
    if runs is not None:
        values = values + np.asarray(runs)[:, None]
    Q = values[..., None, None] * np.ones((2, 2))
    return make_trajectory(
        np.arange(1.0, values.shape[-1] + 1),
        Q=Q, R=2 * values[..., None, None] * np.ones((2, 3)), v=-values[..., None] * np.ones(2),
        generalization_error=values**2,
    )  # fmt: skip


def test_save_and_load_give_the_same_dataset_and_overwrite_nothing(tmp_path):
    dataset = trajectory([1.0, 2.0], runs=[0.0, 0.1]).assign_attrs(seed=3)
    sl.save(dataset, tmp_path / "a.zarr")
    assert sl.load(tmp_path / "a.zarr").identical(dataset)
    with pytest.raises(sl.ProblemError, match="path: must be new"):
        sl.save(dataset, tmp_path / "a.zarr")
    with pytest.raises(sl.ProblemError, match="path: must be a place to write to"):
        sl.save(dataset, "/proc/none/a.zarr")
    with pytest.raises(sl.ProblemError, match="path: must be a stored trajectory"):
        sl.load(tmp_path / "none.zarr")


def test_discrepancy_by_hand():
    theory, sgd = trajectory([1.0, 2.0, 3.0]), trajectory([1.5, 2.0, 1.0])
    M = discrepancy(theory, sgd)
    np.testing.assert_allclose(M["Q"], 2.5 / 3)
    np.testing.assert_allclose(M["R"], 5 / 3)
    np.testing.assert_allclose(M["v"], 2.5 / 3)
    np.testing.assert_allclose(M["generalization_error"], (1.25 + 0 + 8) / 3)
    rms = discrepancy(theory, sgd, measure="rms")
    np.testing.assert_allclose(rms["Q"], np.sqrt(4.25 / 3))
    np.testing.assert_allclose(magnitude(sgd)["v"], 1.5)
    np.testing.assert_allclose(over_entries(M).sel(quantity="R"), 5 / 3)


def test_M_is_taken_run_by_run_then_averaged():
    """Two runs on either side of the theory: their mean run would have M = 0."""
    theory, runs = trajectory([1.0, 1.0]), trajectory([1.0, 1.0], runs=[-0.2, 0.4])
    result = sl.compare(theory, runs)
    np.testing.assert_allclose(result["Q"], 0.3)
    np.testing.assert_allclose(result["M"].sel(quantity="v"), 0.3)
    np.testing.assert_allclose(result["M_stderr"].sel(quantity="v"), np.std([0.2, 0.4], ddof=1) / np.sqrt(2))
    assert np.isnan(sl.compare(theory, runs.isel(run=[0]))["M_stderr"]).all()
    lost = sl.compare(theory, trajectory([1.0, 1.0], runs=[-0.2, 0.4, np.nan]))  # a run that diverged is left out
    np.testing.assert_allclose(lost["M"], result["M"])
    np.testing.assert_allclose(lost["M_stderr"], result["M_stderr"])


def test_the_noise_floor_stands_beside_M_and_gives_the_verdict():
    theory = trajectory([1.0, 1.0])
    result = sl.compare(
        theory, trajectory([1.0, 1.0], runs=[0.1, 0.12]), noise_floor=trajectory([1.0, 1.0], runs=[0.1])
    )
    np.testing.assert_allclose(result["floor"].sel(quantity="Q"), 0.1)
    assert bool(result["agrees"].sel(quantity="Q"))
    far = sl.compare(theory, trajectory([1.0, 1.0], runs=[0.3]), noise_floor=trajectory([1.0, 1.0], runs=[0.1]))
    assert not bool(far["agrees"].sel(quantity="Q"))


def test_comparing_unlike_things_is_refused():
    theory, runs = trajectory([1.0, 2.0]), trajectory([1.0, 2.0], runs=[0.0])
    with pytest.raises(
        sl.ProblemError, match=r"overlaps: must be those of the theory, 'moment-matched' .got 'conventional'"
    ):
        sl.compare(theory.assign_attrs(theory="moment-matched"), runs.assign_attrs(overlaps="conventional"))
    with pytest.raises(sl.ProblemError, match="times: "):
        sl.compare(theory, runs.assign_coords(time=runs["time"] + 1))
    with pytest.raises(sl.ProblemError, match=r"measure: must be 'mean-absolute' or 'rms' .got 'max'"):
        sl.compare(theory, runs, measure="max")  # type: ignore[arg-type]
    with pytest.raises(sl.ProblemError, match=r"runs: must have the learning_rate of the theory, 0.2 \(got 1"):
        sl.compare(theory.assign_attrs(learning_rate=0.2), runs.assign_attrs(learning_rate=1.0))
    floor = runs.assign_attrs(instance_seed=5)
    with pytest.raises(sl.ProblemError, match=r"noise_floor: must have the instance_seed of the theory, 0 \(got 5"):
        sl.compare(theory.assign_attrs(instance_seed=0), runs, noise_floor=floor)


def test_a_shorter_trajectory_is_compared_only_if_it_was_cut():
    theory, runs = trajectory([1.0, 2.0]), trajectory([1.0], runs=[0.1])
    with pytest.raises(sl.ProblemError, match="times: "):
        sl.compare(theory, runs)
    cut = sl.compare(theory, runs.assign_attrs(diverged_at=1.5))
    assert (cut.attrs["times_compared"], cut.attrs["diverged_at"]) == (1, 1.5)
    with pytest.raises(sl.ProblemError, match=r"noise_floor: must be .* 'moment-matched' \(got 'conventional'\)"):
        sl.compare(
            theory.assign_attrs(theory="moment-matched"),
            trajectory([1.0, 2.0], runs=[0.0]),
            noise_floor=trajectory([1.0, 2.0], runs=[0.0]).assign_attrs(overlaps="conventional"),
        )


def test_a_gap_in_a_trajectory_is_not_skipped():
    sgd = trajectory([1.0, np.nan])
    assert np.isnan(discrepancy(trajectory([1.0, 1.0]), sgd)["Q"]).all()
