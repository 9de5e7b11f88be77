"""Labelled data: surrogates have the statistics they claim, and the verdict is what makes the learning curve."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import sgdlimit as sl
from sgdlimit.diagnosis import ladder, prepare

N, COUNT = 10, 2000
FAST = {"chains": 0, "runs": 3, "units": 8}
"""Without theory, whose programs take long to compile."""


def gaussian_classes(seed, covariances=False, shift=1.0):
    """Two Gaussian classes that differ in their means, or in their covariances alone."""
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, 2, COUNT), rng.normal(size=(COUNT, N))
    if covariances:
        return z * np.where(y[:, None] == np.arange(N) % 2, 2.0, 0.5), y
    return z + shift * np.where(y, 1, -1)[:, None] * rng.normal(size=N) / np.sqrt(N), y


def skewed_classes(seed, columns=3):
    """Classes whose means and covariances are the same, with opposite third cumulants."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, COUNT)
    values = np.where(rng.random((COUNT, columns)) < 0.1, 3.0, -1 / 3)
    return values * np.where(y, 1, -1)[:, None] + 0.05 * rng.normal(size=(COUNT, columns)), y


@pytest.fixture(scope="module")
def heavy():
    """Rows with heavy tails in three classes, one of them in two clusters."""
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 3, 900)
    rows = rng.exponential(size=(900, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=(3, 6))[classes]
    rows[classes == 2] += 8 * rng.choice([-1, 1], (classes == 2).sum())[:, None]
    return rows, classes


def test_surrogates_have_the_statistics_they_claim_and_no_others(heavy):
    rows, classes = heavy
    means, pooled, own, clusters = ladder(rows, classes, seed=0)
    assert (clusters.labels == 2).sum() == 2

    def within(rung, X):
        return X - np.array([X[rung.group == g].mean(0) for g in range(len(rung.labels))])[rung.group]

    for rung in (means, pooled, own, clusters):
        X = rung.surrogate(np.random.default_rng(1))
        for g in range(len(rung.labels)):
            of_group = rung.group == g
            np.testing.assert_allclose(X[of_group].mean(0), rows[of_group].mean(0), atol=1e-12)
            if rung.kind == "own":
                np.testing.assert_allclose(np.cov(X[of_group].T), np.cov(rows[of_group].T), atol=1e-10)
        made, real = within(rung, X), within(rung, rows)
        assert np.mean(made**2) == pytest.approx(np.mean(real**2))
        if rung.kind != "isotropic":
            np.testing.assert_allclose(made.T @ made, real.T @ real, atol=1e-8)
        else:
            covariance = made.T @ made / len(made)
            np.testing.assert_allclose(covariance, np.mean(real**2) * np.eye(6), atol=0.2 * np.mean(real**2))
        # Skewness is not kept: of 900 Gaussians each of these is below 0.3.
        if rung is not clusters:
            assert (
                abs(np.mean((made / made.std(0)) ** 3, axis=0)).max()
                < 0.3
                < abs(np.mean((real / real.std(0)) ** 3, axis=0)).max()
            )


def test_laws_are_those_of_the_surrogates(heavy):
    for rung in ladder(*heavy, seed=0):
        X, group = rung.fresh(np.random.default_rng(2), 40_000)
        law, N = rung.law, X.shape[1]
        np.testing.assert_allclose(X.mean(0), law.mean(N), atol=6 * X.std(0).max() / 200)
        np.testing.assert_allclose(np.cov(X.T), law.covariance(N), atol=0.05 * np.cov(X.T).max())
        np.testing.assert_allclose(np.bincount(group) / len(group), law.weights, atol=0.015)


def test_few_samples_of_a_class_have_a_shrunk_covariance():
    rows = np.random.default_rng(0).normal(size=(60, 40))
    own = ladder(rows, np.arange(60) % 2, seed=0)[2]
    assert own.shrunk == [0, 1]
    assert np.linalg.eigvalsh(own.roots[0].T @ own.roots[0]).min() > 0.1  # 0 without shrinkage
    np.testing.assert_allclose(own.surrogate(np.random.default_rng(1))[::2].mean(0), rows[::2].mean(0), atol=1e-12)


def test_classes_that_differ_in_their_means():
    found = sl.diagnose(*gaussian_classes(0), **FAST)
    assert found.verdict == "means"
    assert found.headline.startswith("Verdict: In all of 1600 samples the means of the classes predict the test error.")
    data = found.data
    assert data["error_rate"].dims == data["own_error_rate"].dims == ("source", "run", "time")
    assert data["theory_error_rate"].dims == ("source", "time")
    assert data["samples"].values[-1] == data.attrs["training_samples"] == 1600
    np.testing.assert_allclose(data["confusion"].sum("predicted"), 1)
    # The errors of the classes, in their shares, make the error rate.
    wrong = 1 - np.diagonal(data["confusion"].sel(source="data"))
    shares = np.bincount(prepare(*gaussian_classes(0)).test_class) / 400
    assert wrong @ shares == pytest.approx(float(data["error_rate"].sel(source="data").mean("run")[-1]), abs=1e-6)
    assert "Your curve is nearest to SGD on data" in str(
        found.compare(np.column_stack([data["samples"], data["error_rate"].sel(source="data").mean("run")]))
    )


def test_classes_of_equal_means_need_their_covariances():
    found = sl.diagnose(*gaussian_classes(1, covariances=True), learning_rate=0.5, **FAST)
    assert found.verdict == "class covariances"
    assert (found.data["left"].sel(source=["means", "pooled covariance"]) < 1000).all()
    last = found.data["error_rate"].mean("run").isel(time=-1)
    assert (last.sel(source=["means", "pooled covariance"]) > 0.4).all()  # at chance, whereas SGD on the data learns
    assert last.sel(source="data") < 0.2


def test_exclusive_or_needs_the_covariances_of_its_classes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, COUNT)
    centres = 3 * np.linalg.qr(rng.normal(size=(N, 2))).Q.T
    X = rng.normal(size=(COUNT, N)) + rng.choice([-1, 1], COUNT)[:, None] * centres[y]
    found = sl.diagnose(X, y, learning_rate=0.5, **FAST)
    assert found.verdict in ("class covariances", "clusters")
    last = found.data["error_rate"].mean("run").isel(time=-1)
    assert (last.sel(source=["means", "pooled covariance"]) > 0.4).all()
    assert (last.sel(source=["clusters", "data"]) < 0.1).all()
    assert np.isnan(found.data["left"].sel(source="clusters"))


def test_third_cumulants_are_claimed_by_no_rung_without_them():
    X, y = skewed_classes(0)
    found = sl.diagnose(X, y, activation="erf", student_scale=1.0, learning_rate=0.5, **FAST | {"units": 16})
    assert found.verdict in ("clusters", "data")
    last = found.data["error_rate"].mean("run").isel(time=-1)
    assert last.sel(source="data") < 0.1
    for name in ("means", "pooled covariance", "class covariances"):
        assert found.data["left"].sel(source=name) < 1600
        assert last.sel(source=name) > 0.4
    if found.verdict == "clusters":
        rung = found.rungs[3]
        made, real = (
            np.mean(X[rung.labels[rung.group] == 1] ** 3, axis=0)
            for X in (rung.surrogate(np.random.default_rng(0)), rung.rows)
        )
        np.testing.assert_allclose(made, real, rtol=0.3)


def test_shuffled_labels_give_chance():
    X, y = gaussian_classes(2)
    found = sl.diagnose(X, np.random.default_rng(1).permutation(y), **FAST)
    assert found.verdict == "nothing learned"
    assert "chance gives 0.4" in found.headline


def test_text_labels_column_order_and_dtype_change_nothing():
    X, y = gaussian_classes(4)
    X = X.astype(np.float32)
    split = prepare(X.astype(float), y)
    for samples, labels in (
        (X, y),
        (X, y.astype(str)),
        (X, y.astype(bool)),
        (X, np.where(y, "yes", "no")),
        (X[:, ::-1].astype(float), y.astype(float)),
    ):
        other = prepare(samples, labels)
        np.testing.assert_allclose(other.train, split.train, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(other.test_class, split.test_class)
    assert prepare(X, np.where(y, "yes", "no")).classes == ["no", "yes"]
    assert prepare(X, 9 + 2 * y).classes == ["9", "11"]
    assert prepare(X, (9 + 2 * y).astype(str)).classes == ["9", "11"]


def test_columns_of_images_that_hardly_vary_are_left_out():
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 200, (100, 5, 5)), np.arange(100) % 2
    images[:, 0, 0], images[:, 0, 1] = 0, np.arange(100) == 5
    split = prepare(images, y)
    assert split.train.shape == (80, 23)
    assert split.notes == ["2 of 25 columns are (nearly) constant and left out."]
    with pytest.raises(sl.ProblemError, match="samples: must vary in every column"):
        prepare(images, y, drop_constant=False)


def test_rows_in_both_parts_are_counted():
    X, y = gaussian_classes(5)
    assert "test samples are also in the training part" in prepare(np.tile(X, (2, 1)), np.tile(y, 2)).notes[0]


X, Y = gaussian_classes(6)


@pytest.mark.parametrize(
    ("samples", "labels", "options", "complaint"),
    [
        (X, Y[:-1], {}, r"labels: must be one for each of 2000 samples .got 1999.*write times="),
        (X, np.zeros(COUNT), {}, "labels: must be of at least two classes"),
        (X, np.where(Y, 1.0, np.nan), {}, "labels: must not be missing"),
        (X, np.arange(COUNT) / 7, {}, "labels: must be classes .got 2000 different numbers, a regression"),
        (X, np.arange(COUNT).astype(str).astype(object) + "a", {}, "labels: must be at most 64 classes of at least 5"),
        (X, np.append("rare", np.where(Y[1:], "a", "b")), {}, r"labels: .*of which 'rare' has 1"),
        (np.where(X > 3, np.nan, X), Y, {}, "samples: must be finite"),
        (np.where(X > 3, "text", "x"), Y, {}, "samples: must be numbers"),
        (X, Y, {"test": 1.0}, "test: must leave each class a sample"),
        (X, Y, {"unitz": 3}, "network: must be 'units'.*Did you mean 'units'"),
        (X, Y, {"runs": 2}, "runs: must be a whole number of at least 3"),
        (X, Y, {"loss": "cross-entropy"}, "loss: must have at least 2 outputs"),
        (X, "digit", {}, "labels: must be the heading of a column"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(samples, labels, options, complaint):
    with pytest.raises(sl.ProblemError, match=complaint):
        sl.diagnose(samples, labels, **options)


def test_options_of_labels_need_labels():
    with pytest.raises(sl.ProblemError, match="units: belongs to labelled data"):
        sl.diagnose(X, units=3)


def test_curves_that_are_none_are_refused():
    found = sl.diagnose(X[:200], Y[:200], times=[1, 2, 4], **FAST)
    for curve, complaint in (
        ([[5, 0.5], [3, 0.4]], "curve: must have increasing numbers"),
        ([[5, 50.0], [10, 40.0]], "curve: must have error rates .*Divide a percentage by 100"),
        ([[900, 0.5]], "curve: must have points from 10 to 40 samples"),
    ):
        with pytest.raises(sl.ProblemError, match=complaint):
            found.compare(curve)
    with pytest.raises(sl.ProblemError, match="source: must be one of means"):
        found.predict(source="menas")


def test_theory_follows_sgd_on_the_surrogates_and_predicts_other_networks():
    """Gaussian classes, for which all rungs are right: within three standard errors, and 0.02 for N = 10."""
    found = sl.diagnose(*gaussian_classes(7, shift=1.5), runs=5, units=4, chains=16)
    data = found.data.drop_sel(source="data")
    own = data["own_error_rate"]
    assert (abs(data["theory_error_rate"] - own.mean("run")) < 3 * own.std("run") / np.sqrt(5) + 0.02).all()
    loss = data["own_loss"]
    assert (abs(data["theory_loss"] - loss.mean("run")) < 3 * loss.std("run") / np.sqrt(5) + 0.02).all()
    again = found.predict(source="means")
    np.testing.assert_array_equal(again["error_rate"], data["theory_error_rate"].sel(source="means"))
    noisy = found.predict(source="means", label_noise=0.5)["error_rate"]
    assert float(noisy[-1]) > 0.4 > 2 * float(again["error_rate"][-1])
    # Nearly all samples are of one class, and nearly all are taken for it.
    assert float(found.predict(source="means", weights=[0.98, 0.02])["error_rate"][-1]) < 0.03


def test_the_recommended_rate_is_nearly_the_best_of_sgd():
    X, y = gaussian_classes(8)
    rates = [0.02, 0.1, 0.5]
    runs = {rate: sl.diagnose(X, y, learning_rate=rate, **FAST) for rate in rates}
    scan = {rate: float(found.data["error_rate"].sel(source="data").mean("run")[-1]) for rate, found in runs.items()}
    tried = runs[0.1].best_rate(rates=rates)
    assert tried["error_rate"].shape == (2, 3)
    best = tried["error_rate"].sel(schedule="constant").idxmin("learning_rate").item()
    assert scan[best] <= 1.1 * min(scan.values())


def test_check_writes_the_curves_of_labelled_data(tmp_path):
    """A process of its own, with theory, texts as labels and the user's own curve."""
    table = pd.DataFrame(X[:300], columns=[f"x{column}" for column in range(N)])
    table.assign(kind=np.where(Y[:300], "yes", "no")).to_csv(tmp_path / "data.csv", index=False)
    pd.DataFrame({"samples": [10, 100], "error": [0.5, 0.3]}).to_csv(tmp_path / "mine.csv", index=False)
    command = [sys.executable, "-m", "sgdlimit", "check", "data.csv", "--labels", "kind", "--curve", "mine.csv"]
    command += ["--runs", "3", "--time", "15", "--units", "4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert "Verdict: " in done.stdout
    assert "Your curve is nearest to SGD on" in done.stdout
    folder = tmp_path / "results" / "check-data"
    assert {path.name for path in folder.iterdir()} == {
        "diagnosis.pdf", "diagnosis.png", "diagnosis.zarr", "index.html", "verdict.txt",
    }  # fmt: skip
    data = sl.load(folder / "diagnosis.zarr")
    assert data["label"].values.tolist() == ["no", "yes"]
    assert data["theory_error_rate"].sel(source="class covariances").notnull().all()
