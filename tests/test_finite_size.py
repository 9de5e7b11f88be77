"""SGD approaches theory like N^(−1/2): the fitted exponent, at small sizes."""

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.papers.bae_jeong_2024._studies import finite_size


@pytest.fixture(scope="module")
def study():
    return finite_size({64: 10, 256: 4, 768: 8}, time=5.0)


def test_m_falls_like_one_over_the_root_of_n(study):
    """Six Student's t values with 20 degrees of freedom, bound 3: false alarm 4.2 %; the seed is fixed."""
    assert float(study["exponent_stderr"].max()) < 0.5 / 3  # or an M that does not fall would pass as well
    assert (abs(study["exponent"] + 0.5) < 3 * study["exponent_stderr"]).all()


def test_theory_of_infinite_size_knows_less(study):
    """What it lacks, R at t = 0 among it, is O(1/√N) as well: M is larger, the exponent the same."""
    mean = study["M"].mean("sample")
    for quantity in ("Q", "R"):
        own, infinite = mean.sel(quantity=quantity)
        assert infinite > 2 * own


def test_deviation_starts_at_zero_for_the_instance(study):
    early = study["deviation"].isel(time=0)
    assert (early.sel(theory="instance") < early.sel(theory="infinite size")).sel(quantity="R").all()
    assert np.isfinite(study["deviation"]).all()


def test_fit_is_least_squares(study):
    M = study["M"].sel(theory="instance", quantity="Q")
    (slope, intercept), covariance = np.polyfit(np.log(M["size"]), np.log(M), 1, cov=True)
    fitted = study.sel(theory="instance", quantity="Q")
    assert float(fitted["exponent"]) == pytest.approx(slope)
    assert float(fitted["prefactor"]) == pytest.approx(np.exp(intercept))
    assert float(fitted["exponent_stderr"]) == pytest.approx(np.sqrt(covariance[0, 0]))


@pytest.mark.parametrize("instances", [{60: 3}, {60: 1, 120: 1}, {60: 3, 100: 3}, {25: 3, 75: 3}])
def test_bad_sizes_are_named(instances):
    with pytest.raises(sl.ProblemError, match="instances"):
        finite_size(instances)
