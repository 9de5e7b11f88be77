"""SGD handed out while it runs is the SGD that is returned at the end."""

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.errors import ProblemError
from sgdlimit.resources import one_thread
from sgdlimit.simulation import simulate_live

TIMES = sl.log_times(4000, 200, 40)
PROBLEM = sl.Problem(
    input_dim=200, latent_dim=100, student_units=2, teacher_units=3, activation="erf", learning_rate=0.2,
    latent=sl.GaussianMixture(components=2, spread=5.0, block_size=5),
)  # fmt: skip
THEORIES = ("conventional", "moment-matched")


def test_ends_as_simulate_does():
    instance = PROBLEM.draw(seed=0)
    together = [instance, instance.replace(latent=sl.Gaussian())]
    with one_thread():
        *_, (done, last) = simulate_live(together, TIMES, runs=2, seed=3, overlaps=THEORIES, test_samples=500)
    whole = sl.simulate_together(together, TIMES, runs=2, seed=3, overlaps=THEORIES, test_samples=500)
    assert done == 1
    assert last is not None
    for live, expected in zip(last, whole, strict=True):
        assert (live["v"] == expected["v"]).all()  # the same weights, bit for bit
        for name in ("Q", "R", "generalization_error"):
            np.testing.assert_allclose(live[name], expected[name].transpose(*live[name].dims), rtol=1e-6, atol=1e-9)


def test_what_was_handed_out_stays():
    parts = [some for _, some in simulate_live([PROBLEM.draw(seed=0)], TIMES, test_samples=100) if some]
    reached = [int(some[0]["generalization_error"].notnull().sum()) for some in parts]
    assert reached == sorted(set(reached))
    assert reached[-1] == len(TIMES)
    for earlier, later, count in zip(parts, parts[1:], reached, strict=False):
        assert earlier[0].isel(time=slice(count)).identical(later[0].isel(time=slice(count)))


def test_divergence_leaves_the_rest_empty():
    fast = PROBLEM.replace(activation="relu", learning_rate=60.0).draw(seed=0)
    *_, (_, last) = simulate_live([fast], TIMES, test_samples=10)
    assert last is not None
    at = last[0].attrs["diverged_at"]
    finite = last[0]["v"].notnull().all("student").isel(run=0)
    assert not finite.sel(time=slice(at, None)).any()
    assert at == TIMES[0] or finite.sel(time=TIMES[0])


def test_refuses_the_mixture_overlaps():
    with pytest.raises(ProblemError, match="overlaps"):
        next(simulate_live([PROBLEM.draw(seed=0)], TIMES, overlaps=("mixture",)))
