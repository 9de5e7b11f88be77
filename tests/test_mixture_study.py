"""The studies of the mixture theory, at small sizes: what they compute is what they say."""

import warnings

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.papers.bae_jeong_2024._grids import blocks
from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
from sgdlimit.papers.bae_jeong_2024._studies import MixtureStudy, mixture_theory
from sgdlimit.sweep import Plan, Sweep, SweepRun, compute_sweep
from sgdlimit.sweep._task import compute

STUDY = MixtureStudy(
    sizes={40: 12, 160: 6},
    sizes_time=5.0,
    chains=4,
    step_size=80,
    step_time=30.0,
    step_chains=32,
    learning_rates=(0.1, 0.4),
    fluctuation_size=200,
    fluctuation_time=20.0,
    runs=12,
)


@pytest.fixture(scope="module")
def study():
    return mixture_theory(STUDY)


def test_the_finite_term_brings_theory_closer(study):
    """What the mean fields add to Q is of order 1/N; a tenth of Q at N = 40 would be in every M without it."""
    M = study["M"].sel(quantity="Q")
    gain = (M.sel(finite_term=False) - M.sel(finite_term=True)).values
    assert gain[M["size"].values == 40].mean() > 3 * abs(gain[M["size"].values == 160].mean()) > 0
    assert study["M"].sel(finite_term=True).notnull().all()


def test_steps_and_chains_err_by_chance(study):
    """48 and 20 numbers that chance makes of order 1; the step of integration does not show beside it."""
    ratio = study["step_error"] / study["step_noise"]
    assert float(ratio.max()) < 4
    whole = study["ensemble_error"] / study["ensemble_expected"]
    assert float(abs(np.log(whole.sel(count=[1, 2, 4]))).max()) < np.log(2)


def test_mean_fields_of_sgd_fluctuate_as_in_theory(study):
    off = (study["ratio"] - 1) / study["ratio_stderr"]
    assert float(study["ratio_stderr"].max()) < 0.25
    assert float(abs(off).max()) < 4
    spread = np.sqrt((study["spread"] ** 2).mean(["student", "cluster"])).sel(source="theory")
    assert float(spread.sel(learning_rate=0.4)) > 1.2 * float(spread.sel(learning_rate=0.1))


@pytest.mark.parametrize("change", [{"sizes": {30: 2, 40: 2}}, {"runs": 1}, {"steps": (0.1,)}])
def test_bad_settings_are_named(change):
    with pytest.raises(sl.ProblemError, match=next(iter(change))):
        mixture_theory(STUDY._replace(**change))


def small(block_size: int, **changes) -> sl.Problem:
    latent = sl.GaussianMixture(components=2, spread=9.0, block_size=block_size, standardize=False)
    settings = {"input_dim": 80, "latent_dim": 40, "activation": "relu", "learning_rate": 0.1} | changes
    return sl.Problem(student_units=2, teacher_units=2, latent=latent, **settings)


def test_theories_that_diverge_are_recorded():
    problem = small(40).model_dump(mode="json", exclude_none=True) | {"activation": "linear"}
    rates = Sweep(
        problem=problem,
        grid={"learning_rate": (0.1, 8.0)},
        run=SweepRun(time=5.0, count=3, theories=("mixture",), chains=3, test_samples=0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of numbers that grow beyond single precision
        warnings.simplefilter("error", sl.DivergenceWarning)  # the results say it themselves
        found = compute(Plan(rates), 0)
    assert np.isnan(found["theory_diverged_at"]).tolist() == [[[True, False]]]
    assert np.isnan(found["diverged_at"]).tolist() == [[True, False]]
    assert np.isfinite(found["theory_Q"][0, 0, 0]).all()
    assert np.isnan(found["theory_Q"][0, 0, 1, -1]).all()
    for name in ("M_Q", "scale_Q"):
        assert np.isfinite(found[name][0, 0, 0]).all()
        assert np.isnan(found[name][0, 0, 1]).all()
    assert np.isfinite(found["noise_Q"][0, 0]).all()
    assert np.isnan(found["noise_Q"][0, 1]).all()


def test_noise_is_the_m_of_one_more_member():
    problem = small(40, activation="erf")
    run = SweepRun(first_instance=1, time=3.0, count=3, theories=("mixture",), chains_by_weights=32)
    sweep = Sweep(problem=problem.model_dump(mode="json", exclude_none=True), run=run)
    plan = Plan(sweep)
    noise = compute(plan, 0)["noise_Q"][0]
    instance = problem.draw(seed=1)
    others = sl.solve(instance, sweep.times, theory="mixture", chains=64, seed=1)
    theory = sl.solve(instance, sweep.times, theory="mixture", chains=32)
    M = sl.compare(theory, others)["Q"]
    assert float(abs(np.log(M / noise)).max()) < np.log(1.5)


def test_blocks_ask_every_theory_that_applies(tmp_path):
    problem = PRESETS["quick"].problem.replace(input_dim=80, latent_dim=110)
    preset = PRESETS["quick"]._replace(
        problem=problem, steps=800, block_instances=1, block_sizes=(1, 2, 11, 55, 110),
        block_spreads=(0.0, 6.0), activations=("erf",),
    )  # fmt: skip
    data = blocks(compute_sweep(preset.block_sweep(), tmp_path / "blocks.zarr", workers=0).load())
    applies = data["applicable"]
    assert applies.sel(theory="conventional").all()
    assert applies.sel(theory="moment-matched", standardized=True).all()
    assert not applies.sel(theory="moment-matched", standardized=False).any()
    # One Gaussian cluster, too many blocks, 10 blocks, 4 clusters and 2.
    assert (applies.sel(theory="mixture") == [True, False, True, True, True]).all()
    there = data["M_Q"].sel(spread=6.0).notnull().all(["instance", "activation", "student", "student_"])
    assert (there == (applies & ~data["diverged"].sel(spread=6.0).any(["instance", "activation"]))).all()
    clusters = data.sel(spread=6.0, block_size=110).mean(["student", "student_", "instance", "activation"])
    for standardized in (False, True):
        one = clusters["M_Q"].sel(standardized=standardized)
        assert float(one.sel(theory="mixture")) < 0.5 * float(one.sel(theory="conventional"))
