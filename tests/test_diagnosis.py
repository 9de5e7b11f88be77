"""Diagnoses of data whose right verdict is known, of data with a mean, and of files that will not do."""

from typing import Any

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.diagnosis import default_network, judge, margins
from sgdlimit.diagnosis._structure import from_gaussian, null
from test_cli import refused, sgdlimit

N, D = 400, 200
TIMES = sl.log_times(30 * N, N, 60)  # with the spectrum's 70 nodes a program that other tests have compiled
QUICK: dict[str, Any] = {"runs": 4, "most_runs": 16, "field_samples": 4000, "test_samples": 1000}


def blocks(block_size, standardize=True):
    means = 9 * np.random.default_rng(0).uniform(-1, 1, (2, D))
    return sl.MixtureLaw(means, block_size=block_size, standardize=standardize)


@pytest.fixture(scope="module")
def diagnoses():
    found = {}
    for block_size, seed in ((1, 1), (5, 1), (D, 0)):
        network = default_network(blocks(block_size), input_dim=N)
        found[block_size] = sl.diagnose(network, times=TIMES, seed=seed, **QUICK)
    return found


def test_blocks_get_the_right_verdict(diagnoses):
    """The largest M over floor that counts is 1.5 where a theory holds and 4 where it does not; 2 divides them."""
    assert {size: d.verdict for size, d in diagnoses.items()} == {1: "conventional", 5: "moment-matched", D: "mixture"}
    assert "mixture theory predicts SGD" in diagnoses[D].headline
    assert diagnoses[5].outcomes == {"conventional": "fails", "moment-matched": "holds", "mixture": "holds"}
    # Four runs do not tell whether moment-matched theory holds for blocks of five, so there are four times as many.
    assert {size: d.data.sizes["run"] for size, d in diagnoses.items()} == {1: 4, 5: 16, D: 4}
    for diagnosis in diagnoses.values():
        found = margins(diagnosis.data)
        # Gaussian inputs that the conventional theory is exact for: M is the floor, up to its own noise.
        ratio = (found["gaussian"] / found["floor"]).sel(theory="conventional", quantity=["Q", "R", "v"])
        assert (abs(ratio - 1) < 0.5).all()


def test_a_rule_is_diagnosed_without_mixture_theory():
    problem = sl.Problem(
        input_dim=60,
        latent_dim=30,
        student_units=2,
        teacher_units=2,
        activation="erf",
        learning_rate=0.3,
        loss="logistic",
        labels="sign",
        latent=sl.GaussianMixture(components=2, spread=3.0),
    )
    found = sl.diagnose(problem.draw(seed=0), times=sl.log_times(120, 60, 20), **{**QUICK, "runs": 3, "most_runs": 3})
    assert np.isfinite(found.data["M_runs"].sel(quantity="loss")).all()  # of all three theories
    assert {"head_v", "loss", "error_rate"} < {*found.data["quantity"].values}
    assert [panel.get_ylabel() for panel in found.figure().axes][1:3] == ["loss", "v"]


def test_reasons_name_what_breaks(diagnoses):
    said = {size: "\n".join(d.reasons) for size, d in diagnoses.items()}
    assert "covariance: isotropic" in said[1]
    assert "not isotropic" in said[5]
    assert int(diagnoses[5].data["correlation_range"]) in (3, 4)  # lags within a block of five
    for size in (1, 5):
        assert "not Gaussian" not in said[size]
    assert said[D].count("not Gaussian") == 2
    assert "mean: none" in said[D]


def test_a_mean_is_named_and_the_diagnosis_goes_on_without_it():
    network = default_network(blocks(1, standardize=False), input_dim=N, preprocess="none")
    found = sl.diagnose(network, times=TIMES, **QUICK)
    assert found.verdict == "mixture"
    assert found.reasons[0].startswith("non-zero mean: ")
    assert margins(found.data)["M"].sel(theory="moment-matched").isnull().all()
    assert found.centred is not None
    assert found.centred.outcomes["moment-matched"] != "fails"
    for words in ("moment-matched  does not apply to inputs with a mean", "Less their mean: Verdict: "):
        assert words in str(found)


def test_the_verdict_follows_the_numbers(diagnoses):
    """Three runs whose M is so many floors."""

    def verdict(conventional, matched, mixture=3.0, spread=0.01, few=None):
        M = np.array([conventional, matched, mixture])[:, None, None] + spread * np.array([-1, 0, 1])
        dims = ("theory", "quantity", "run")
        ones = np.full((3, 4, 3), 0.005)
        data = found_data.assign(M_runs=(dims, M * ones), floor_runs=(dims, ones), gaussian_runs=(dims, ones))
        if few:
            data["M_sets"] = ("theory", "quantity", "set"), np.resize(few, (3, 4, 8)) * 0.005
        judged = judge(data)
        return judged.verdict, judged.borderline

    found_data = diagnoses[1].data.isel(run=slice(3))
    assert verdict(1.0, 1.0) == ("conventional", False)
    assert verdict(2.5, 1.0) == ("moment-matched", False)
    assert verdict(2.5, 3.0, 1.0) == ("mixture", False)
    assert verdict(2.5, 3.0) == ("neither", False)
    assert verdict(2.1, 1.0, spread=0.5) == ("undecided", True)
    assert verdict(5.0, 1.9, spread=0.5) == ("undecided", True)
    assert verdict(0.6, 1.9, spread=0.5) == ("conventional", False)  # the second theory does not matter
    assert verdict(2.5, 1.0, few=(2.0, 3.0)) == ("undecided", True)  # as many Gaussian samples are as far off
    assert verdict(2.5, 1.0, few=(1.0, 1.2)) == ("moment-matched", False)


def test_nothing_is_decided_where_nothing_can_be_seen(diagnoses):
    data = diagnoses[1].data
    noisy = judge(data.assign(floor_runs=data["floor_runs"] + 1, M_runs=data["M_runs"] + 1))
    assert noisy.verdict == "undecided"
    assert "noise alone is" in noisy.headline
    assert judge(data.assign_attrs(diverged_at=3.0)).headline.startswith(
        "Verdict: undecided, because training diverges"
    )


def test_a_diagnosis_is_the_same_bits_again(diagnoses):
    again = sl.diagnose(default_network(blocks(D), input_dim=N), times=TIMES, **QUICK)
    assert str(again) == str(diagnoses[D])
    assert again.data.identical(diagnoses[D].data)


def test_kept_weights_are_those_that_are_measured():
    instance = default_network(blocks(5), input_dim=N)
    runs = sl.simulate(instance, TIMES[:20], runs=2, test_samples=0, keep_weights=True)
    assert runs["W"].dims == ("run", "time", "student", "input")

    Q, R = instance.moments().overlaps(runs["W"].values)
    np.testing.assert_array_equal(Q, runs["Q"])
    np.testing.assert_array_equal(R, runs["R"])


def test_statistics_of_known_distributions():
    """Uniform: kurtosis −1.2; KS and W₁ by quadrature. 10⁵ samples, five standard errors."""
    from scipy.special import ndtr, ndtri

    x = np.random.default_rng(0).uniform(-1, 1, 100_000)
    at = np.linspace(-np.sqrt(3), np.sqrt(3), 10_001)
    distance = np.abs((at / np.sqrt(3) + 1) / 2 - ndtr(at)).max()
    p = (np.arange(1_000_000) + 0.5) / 1_000_000
    wasserstein = np.abs(np.sqrt(3) * (2 * p - 1) - ndtri(p)).mean()
    assert (np.abs(from_gaussian(x) - [-1.2, distance, wasserstein]) < [0.02, 0.006, 0.006]).all()
    np.testing.assert_allclose(from_gaussian(5 + 3 * x), from_gaussian(x), rtol=1e-9)


def test_noise_of_the_statistics():
    """Kurtosis: deviation √(24/n), here of 200 repetitions, five standard errors. Few distinct samples have more."""
    noise = null(2000)
    assert noise[1, 0] == pytest.approx(np.sqrt(24 / 2000), rel=0.25)
    assert noise[0, 1] == pytest.approx(0.64 / np.sqrt(2000), rel=0.1)  # Lilliefors' table
    assert (null(2000, distinct=200)[0, 1:] > 2 * noise[0, 1:]).all()


def test_data_as_inputs_and_as_latent():
    samples = 3 + 2 * np.random.default_rng(1).normal(size=(4000, 60))  # as many nodes as other tests have
    inputs = default_network(samples)
    assert (inputs.input_dim, inputs.latent_dim, inputs.nonlinearity) == (60, 60, "identity")
    assert inputs.attrs["mean_removed"] == pytest.approx(1.5, rel=0.02)
    np.testing.assert_allclose(inputs.latent.mean(60), 0, atol=1e-12)
    latent = default_network(samples, role="latent", input_dim=N, preprocess="centre")
    assert (latent.input_dim, latent.latent_dim, latent.nonlinearity) == (N, 60, "sign")
    assert latent.latent.covariance(60)[0, 0] == pytest.approx(4, rel=0.1)
    assert isinstance(default_network(blocks(5), input_dim=N).latent, sl.MixtureLaw)  # a law stays the law it is
    found = sl.diagnose(inputs, times=sl.log_times(3000, 60, 60), **QUICK)
    assert found.verdict == "conventional"
    assert any("each of 4000 is used 0.75 times" in reason for reason in found.reasons)
    assert any("were subtracted" in reason for reason in found.reasons)


def test_nearly_constant_columns_are_named_and_are_not_gaussian():
    """One pixel that is blank in all images but one: no field sees it, and projections only by their kurtosis."""
    samples = np.random.default_rng(2).normal(size=(1000, 30))
    samples[:, [4, 7]] = 0
    samples[5, 7] = 255
    found = sl.diagnose(samples, times=sl.log_times(900, 29, 60), drop_constant=True, **QUICK)
    assert "nearly constant columns: 8, counted from 1." in found.reasons[0]
    reasons = dict(reason.split(": ", 1) for reason in found.reasons)
    assert reasons["constant columns"].startswith("5, counted from 1, left out")
    assert reasons["random projections of the data"].startswith("not Gaussian")
    data = found.data.sel(statistic="kolmogorov_smirnov")
    assert data["projections"].mean() < data["null"].sel(moment="high")  # which alone would say Gaussian
    no_law = SimpleLaw([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(
        sl.ProblemError, match=r"latent: must vary in every column .got 1 constant of 2: 2, counted from 1"
    ):
        default_network(no_law)


class SimpleLaw(sl.LatentLaw):
    """A law of a user's own that has a covariance."""

    def __init__(self, covariance):
        self.matrix, self.dim = np.array(covariance), len(covariance)

    def sample(self, rng, count, dim=None):
        return rng.multivariate_normal(np.zeros(len(self.matrix)), self.matrix, count)

    def mean(self, dim):
        return np.zeros(dim)

    def covariance(self, dim):
        return self.matrix


def test_few_samples_get_no_verdict_and_no_theory_fails_for_their_number():
    """Independent normals: in set 14 of 400 the conventional M is 3.6 floors, by chance and because SGD reuses them."""
    found = sl.diagnose(np.random.default_rng(0).normal(size=(5, 3)), times=sl.log_times(30, 3, 60), **QUICK)
    assert found.headline.startswith(
        "Verdict: undecided, because 5 samples are too few. Give at least 100, ten for each"
    )
    assert found.data.sizes["run"] == QUICK["runs"]  # more runs would not help
    samples = np.random.default_rng(14).standard_normal((400, 20))
    found = sl.diagnose(samples, times=sl.log_times(2000, 20, 60), seed=14, runs=20, most_runs=20, field_samples=100)
    data = margins(found.data).sel(theory="conventional")
    assert ((data["ratio"] - data["spread"]) > 2).any()
    assert (found.verdict, found.outcomes["conventional"]) == ("undecided", "cannot tell")
    assert "Give more samples." in found.headline
    assert "A verdict takes at least 200. On as many of the inputs that conventional theory assumes M is " in str(found)


def test_settings_that_will_not_do():
    for name, value, words in (
        ("runs", 2, r"runs: must be a whole number of at least 3 \(got 2\)"),
        ("field_samples", 10, r"field_samples: .* \(got 10\)"),
        ("field_times", 0, r"field_times: .* \(got 0\)"),
    ):
        settings: dict[str, Any] = {**QUICK, name: value}
        with pytest.raises(sl.ProblemError, match=words):
            sl.diagnose(blocks(1), times=TIMES, **settings)
    with pytest.raises(sl.ProblemError, match=r"role: must be 'inputs' or 'latent' .got 'labels'"):
        default_network(blocks(1), role="labels")  # type: ignore[arg-type]
    with pytest.raises(sl.ProblemError, match=r"preprocess: must be 'standardize', .* .got 'whiten'"):
        default_network(blocks(1), preprocess="whiten")  # type: ignore[arg-type]
    with pytest.raises(sl.ProblemError, match="dim: must be given for a law that fits any"):
        default_network(sl.Gaussian())


def test_check_writes_a_verdict_a_figure_and_a_dataset(command, tmp_path, monkeypatch):
    monkeypatch.setattr("sgdlimit.single_run.CHECK_TIMES", len(TIMES))
    samples = np.random.default_rng(0).normal(size=(30_000, D))
    np.save("normals.npy", np.insert(samples, 3, 255.0, axis=1))
    size = ["--input-dim", N, "--time", 30, "--runs", 3, "--drop-constant"]
    done = command("check", "normals.npy", "--as", "latent", "--preprocess", "none", *size)
    assert done.returncode == 0
    assert done.stdout.startswith("Verdict: conventional theory predicts SGD")
    assert "constant columns: 4, counted from 1, left out" in done.stdout
    folder = tmp_path / "results" / "check-normals"
    assert (folder / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "diagnosis.pdf").read_bytes().startswith(b"%PDF")
    columns = f"Columns: {D + 1} of {D + 1} are used, 1 to {D + 1}."
    assert (done.stdout + done.stderr).count(columns) == 1
    assert (folder / "verdict.txt").read_text(encoding="utf-8").removesuffix(f"{columns}\n") in done.stdout
    data = sl.load(folder / "diagnosis.zarr")
    assert judge(data).headline in done.stdout  # the dataset holds all that the verdict rests on
    assert data.attrs["data_source"] == "normals.npy"
    assert "Labels come from a random teacher; yours are not used." in done.stdout
    done = command("check", "normals.npy", "--drop-constant", "--out", folder)
    assert (done.returncode, "must be a new or empty folder" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.npy"], ["none.npy", "cannot be read"]),
        (["wine", "--activation", "cosine"], ["activation", "cosine"]),
        (["wine", "--learning-rate", "-1"], ["learning_rate", "-1"]),
        (["wine", "--time", "0"], ["--time", "units of N steps"]),
        (["wine", "--runs", "1"], ["--runs"]),
        (["wine", "--as", "labels"], ["--as"]),
        (["wine", "--units", "4"], ["--units: must be left out without --labels (got 4). Give --labels."]),
        (["wine", "--labels", "target", "--as", "latent"], ["--as: must be left out with --labels (got 'latent')"]),
    ],
)
def test_check_refuses_with_status_2_and_writes_nothing(command, tmp_path, arguments, words):
    done = command("check", *arguments)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr
    assert not list(tmp_path.iterdir())


def test_check_ends_without_a_traceback(tmp_path):
    refused(sgdlimit("check", "none.npy", cwd=tmp_path), 2, "none.npy", "cannot be read")


@pytest.mark.parametrize("second", [np.arange(50), TIMES, [0.0, 1.0]])
def test_times_are_not_taken_for_labels(second):
    with pytest.raises(sl.ProblemError, match=r"(?s)labels: must be (one for each of 50 .*write times=|at most 64)"):
        sl.diagnose(np.random.default_rng(0).standard_normal((50, 4)), second)
