"""The physics, at the paper's size: SGD follows the theory, standardised mixtures are flat in α, clusters are not."""

import numpy as np
import pytest

import sgdlimit as sl

PROBLEM = sl.Problem(
    input_dim=1000, latent_dim=500, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
)


def law(seed, **settings):
    latent = sl.GaussianMixture(components=2, **settings)
    return PROBLEM.replace(latent=latent).draw_latent(seed)


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_sgd_is_within_its_standard_error_of_the_theory(activation):
    """Mean of 12 runs; 48 Student's t values with 11 degrees of freedom, bound 6: false alarm below 0.4 %."""
    instance = PROBLEM.draw(seed=0).replace(activation=activation)
    times = np.array([0.1, 1.0, 5.0, 20.0])
    theory = sl.solve(instance, times)
    runs = sl.simulate(instance, times, runs=12, seed=3, test_samples=4000)
    for name in ("Q", "R", "v"):
        error = runs[name].std("run", ddof=1) / np.sqrt(12)
        assert float(error.max()) < 0.02 * float(np.abs(theory[name]).max())  # or the comparison would mean little
        assert float(np.abs((runs[name].mean("run") - theory[name]) / error).max()) < 6
    # The scatter between runs holds that of their test sets, 4000 samples each.
    mean = runs["generalization_error"].mean("run")
    error = runs["generalization_error"].std("run", ddof=1) / np.sqrt(12)
    assert float((error / mean).max()) < 0.02
    assert float(np.abs((mean - theory["generalization_error"]) / error).max()) < 6


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_standardised_mixtures_are_flat_in_the_spread_and_clusters_are_not(activation):
    """Tables I and II in small, and the case they leave out; common noise makes the comparison sharp."""
    base = PROBLEM.draw(seed=0).replace(activation=activation)
    laws = {
        "gaussian": sl.Gaussian(),
        "spread 3": law(0, spread=3.0, standardize=True),
        "spread 9": law(0, spread=9.0, standardize=True),
        "un-standardised": law(0, spread=9.0, standardize=False),
        "clusters": law(0, spread=9.0, block_size=500, standardize=True),
    }
    times = sl.log_times(50_000, 1000, 60)
    theory = sl.solve(base, times)
    runs = sl.simulate_together([base.replace(latent=each) for each in laws.values()], times, seed=1, test_samples=0)
    M = {name: sl.compare(theory, run)["M"] for name, run in zip(laws, runs, strict=True)}
    for quantity in ("Q", "R", "v"):
        floor = float(M["gaussian"].sel(quantity=quantity))
        for flat in ("spread 3", "spread 9"):
            assert float(M[flat].sel(quantity=quantity)) < 2 * floor
        for away in ("un-standardised", "clusters"):
            assert float(M[away].sel(quantity=quantity)) > 4 * floor


def test_moment_matched_theory_follows_weak_correlation_where_the_conventional_does_not():
    """Blocks of five; each theory against SGD measured with its own overlaps."""
    instance = PROBLEM.draw(seed=0).replace(latent=law(0, spread=9.0, block_size=5, standardize=True))
    times = sl.log_times(50_000, 1000, 60)
    runs = sl.simulate(instance, times, runs=2, seed=1, test_samples=0, overlaps=("conventional", "moment-matched"))
    assert runs.sizes["overlaps"] == 2
    M = {
        name: sl.compare(sl.solve(instance, times, theory=name), runs.sel(overlaps=name).assign_attrs(overlaps=name))[
            "M"
        ]
        for name in ("conventional", "moment-matched")
    }
    for quantity in ("Q", "R", "v"):
        assert float(M["conventional"].sel(quantity=quantity)) > 2 * float(M["moment-matched"].sel(quantity=quantity))


def test_theory_needs_only_what_the_instance_holds():
    """Theory sees the law through its covariance alone: conventional theory does not see it at all."""
    base = PROBLEM.draw(seed=1)
    times = [1.0, 10.0]
    plain = sl.solve(base, times)
    mixture = base.replace(latent=law(1, spread=9.0, standardize=True))
    for theory in ("conventional", "moment-matched"):
        np.testing.assert_allclose(sl.solve(mixture, times, theory=theory)["Q"], plain["Q"], rtol=1e-9)
    blocks = base.replace(latent=law(1, spread=9.0, block_size=20, standardize=True))
    assert np.abs(sl.solve(blocks, times, theory="moment-matched")["Q"] - plain["Q"]).max() > 0.01
    with pytest.raises(sl.ProblemError, match=r"theory: must be .*'exact'"):
        sl.solve(base, times, theory="exact")
