"""Samples for other people's networks are those that SGD sees, bit for bit, and train the same network."""

import sys
import warnings
from itertools import islice

import numpy as np
import pytest

import sgdlimit as sl

SAMPLES = 1300  # not a whole number of blocks


@pytest.fixture(scope="module")
def problem() -> sl.Problem:
    return sl.Problem(
        input_dim=60, latent_dim=30, student_units=2, teacher_units=2, activation="erf", learning_rate=0.3,
        latent=sl.GaussianMixture(components=3, spread=2.0, standardize=True),
        training=sl.Training(label_noise=0.1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def instance(problem) -> sl.Instance:
    return problem.draw(seed=5)


@pytest.fixture(scope="module")
def seen(instance):
    """What SGD saw."""
    return sl.simulate(instance, [SAMPLES / 60], runs=2, seed=5, keep_inputs=True, test_samples=0)


def test_arrays_are_what_sgd_sees(problem, seen):
    settings = {name: getattr(problem, name) for name in ("input_dim", "latent_dim", "latent", "training")}
    X, y = sl.datasets.make_hidden_manifold(SAMPLES, seed=5, **settings)
    np.testing.assert_array_equal(X, seen["X"].isel(run=0))
    np.testing.assert_array_equal(y, seen["y"].isel(run=0))
    assert set(np.unique(X)) == {-1.0, 1.0}
    whole = sl.datasets.make_hidden_manifold(SAMPLES, seed=5, return_X_y=False, **settings)
    np.testing.assert_array_equal(whole.latent, seen["C"].isel(run=0))
    features = whole.instance.features
    np.testing.assert_array_equal(whole.X, np.sign(whole.latent @ features / np.sqrt(30)))


@pytest.mark.parametrize("size", [1, 100, 512, 1000])
def test_batches_are_the_same_samples_in_order(instance, seen, size):
    found = list(sl.datasets.batches(instance, size, samples=SAMPLES, seed=5, run=1))
    assert {len(batch.labels) for batch in found[:-1]} == {size}
    for name, place in (("C", 0), ("X", 1), ("y", 2)):
        np.testing.assert_array_equal(np.concatenate([batch[place] for batch in found]), seen[name].isel(run=1))


def test_batches_have_no_end(instance):
    endless = islice(sl.datasets.batches(instance, 700), 5)
    assert [len(batch.labels) for batch in endless] == [700] * 5


@pytest.mark.parametrize(
    ("training", "switch"), [(sl.Training(batch_size=4), ()), (sl.Training(label_noise=0.5), (2.0,))]
)
def test_mini_batches_and_tasks_that_change(training, switch):
    """A step takes four samples, or the teacher changes after 120 of them."""
    instance = sl.Problem(
        input_dim=60, latent_dim=30, student_units=2, teacher_units=2, activation="erf", learning_rate=0.3,
        training=training, switch_times=switch, task_similarity=0.0,
    ).draw(seed=1)  # fmt: skip
    kept = sl.simulate(instance, [4.0], keep_inputs=True, test_samples=0).isel(run=0)
    (batch,) = sl.datasets.batches(instance, 240 * training.batch_size, samples=240 * training.batch_size)
    np.testing.assert_array_equal(batch.labels, kept["y"])


def test_wrong_arguments_are_named(problem, instance):
    for act, said in (
        (lambda: sl.datasets.make_hidden_manifold(0), r"n_samples: must be a whole number of at least 1 \(got 0\)"),
        (lambda: sl.datasets.make_hidden_manifold(10, activation="swish!"), "activation"),
        (lambda: sl.datasets.batches(instance, 2.5), r"batch_size: must be a whole number \(got 2.5\)"),  # type: ignore[arg-type]
        (lambda: sl.datasets.batches(instance, 2, seed=-1), r"seed: must be a whole number of at least 0 \(got -1\)"),
        (lambda: sl.datasets.batches(problem, 2), "draw"),
    ):
        with pytest.raises(sl.ProblemError, match=said):
            act()


def test_without_pytorch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "sgdlimit.simulation._torch", raising=False)
    said = r"needs PyTorch, which is not installed\. Run pip install 'sgdlimit\[torch\]'"
    with pytest.raises(sl.ProblemError, match=said):
        _ = sl.datasets.HiddenManifoldDataset
    assert not hasattr(sl.datasets, "NoSuchDataset")


def test_pytorch_gets_every_sample_once(instance, seen):
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'sgdlimit[torch]'")
    data = sl.datasets.HiddenManifoldDataset(instance, SAMPLES, seed=5)
    x, y = next(iter(torch.utils.data.DataLoader(data, batch_size=SAMPLES)))
    assert x.dtype == y.dtype == torch.float32
    np.testing.assert_array_equal(x, seen["X"].isel(run=0))
    np.testing.assert_array_equal(y, seen["y"].isel(run=0).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of processes that fork while JAX has threads
        shared = list(torch.utils.data.DataLoader(data, batch_size=100, num_workers=2))
    labels = np.concatenate([batch[1] for batch in shared])
    assert len(labels) == len(data)
    np.testing.assert_array_equal(np.sort(labels), np.sort(y))
    np.testing.assert_array_equal(labels[:100], y[:100])  # a batch of the first worker, from block 0
    np.testing.assert_array_equal(labels[100:200], y[512:612])  # one of the second, from block 1
    with pytest.raises(TypeError, match="no end"):
        len(sl.datasets.HiddenManifoldDataset(instance))


def test_workers_of_pytorch_that_are_spawned_share_the_samples(instance):
    """Also those of your own nonlinearity, which travels by value."""
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'sgdlimit[torch]'")
    slope = 0.3
    own = instance.replace(nonlinearity=sl.Nonlinearity(lambda u: slope * u))
    data = sl.datasets.HiddenManifoldDataset(own, SAMPLES, seed=5)
    x, y = next(iter(torch.utils.data.DataLoader(data, batch_size=SAMPLES)))
    shared = torch.utils.data.DataLoader(data, batch_size=512, num_workers=2, multiprocessing_context="spawn")
    for block, inputs, labels in zip(shared, x.split(512), y.split(512), strict=True):  # one of each worker in turn
        assert torch.equal(block[0], inputs)
        assert torch.equal(block[1], labels)


def test_a_network_of_pytorch_learns_as_simulate_does(instance):
    """Plain SGD on ½(ŷ − y)² with the rate η for W and η/N for v is the paper's update."""
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'sgdlimit[torch]'")
    N, steps = instance.input_dim, 600
    W = torch.tensor(instance.student, dtype=torch.float32, requires_grad=True)
    v = torch.tensor(instance.student_output, dtype=torch.float32, requires_grad=True)
    rates = [{"params": [W], "lr": instance.learning_rate}, {"params": [v], "lr": instance.learning_rate / N}]
    optimizer = torch.optim.SGD(rates)
    for x, y in torch.utils.data.DataLoader(
        sl.datasets.HiddenManifoldDataset(instance, steps, seed=5), batch_size=None
    ):
        error = torch.special.erf(W @ x / np.sqrt(2 * N)) @ v - y
        optimizer.zero_grad()
        (error**2 / 2).backward()
        optimizer.step()
    run = sl.simulate(instance, [steps / N], seed=5, test_samples=0).isel(run=0, time=0)
    Q, R = instance.moments().overlaps(W.detach().numpy().astype(np.float64))
    assert abs(Q - instance.student @ instance.student.T / N).max() > 0.01  # it has learned
    np.testing.assert_allclose(Q, run["Q"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(R, run["R"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(v.detach().numpy(), run["v"], rtol=1e-3, atol=1e-4)
