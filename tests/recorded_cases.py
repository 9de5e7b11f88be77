"""Some dozens of small cases through the public interface, to be recorded and compared with a recording.

A case's first word is its kind: ``inputs``, ``theory``, ``mixture`` or ``sgd``, which says how close it has to stay.

    python tests/recorded_cases.py record NEW.npz
    python tests/recorded_cases.py compare OLD.npz NEW.npz

Both recordings are to be made on one machine with the same ``XLA_FLAGS``; by default they are those of ``make test``.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import sgdlimit as sl

Values = dict[str, np.ndarray]

CASES: dict[str, Callable[[], Values]] = {}

TIMES = np.array([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])  # whole steps where 8 divides N
LATER = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 4.0])  # theory does not amplify rounding

REFACTORING_LIMITS = {"inputs": 0.0, "theory": 1e-12, "mixture": 0.0, "sgd": 1e-5}
"""Largest difference that a change of the code alone may make, on one machine, relative to max(1, |value|)."""

ONE_KEPT_OF = 100
"""So many samples; there are several blocks of the stream in all, and sums over all of them."""


def named(name: str) -> Callable[[Callable[[], Values]], Callable[[], Values]]:
    def register(function: Callable[[], Values]) -> Callable[[], Values]:
        assert name not in CASES, name
        CASES[name] = function
        return function

    return register


def numbers(dataset: Any) -> Values:
    """The variables of a dataset that are numbers."""
    return {name: array.values for name, array in dataset.data_vars.items() if array.dtype.kind in "biuf"}


def problem(**changes: Any) -> sl.Problem:
    settings = {
        "input_dim": 40,
        "latent_dim": 20,
        "student_units": 2,
        "teacher_units": 2,
        "activation": "erf",
        "learning_rate": 0.3,
    }
    return sl.Problem(**(settings | changes))


def instance(*, replaced: Mapping[str, Any] | None = None, seed: int = 3, **changes: Any) -> sl.Instance:
    return problem(**changes).draw(seed).replace(**(replaced or {}))


def mixture(block_size: int = 1, **changes: Any) -> sl.GaussianMixture:
    return sl.GaussianMixture(**({"components": 2, "spread": 2.0, "block_size": block_size} | changes))


def cluster_law(dim: int, *, standardize: bool = False) -> sl.ClusterMixture:
    """Two clusters, each with a covariance of its own."""
    rng = np.random.default_rng(11)
    factors = rng.normal(size=(2, dim, dim)) / np.sqrt(dim)
    covariances = np.eye(dim) / 2 + factors @ np.swapaxes(factors, 1, 2) / 2
    return sl.ClusterMixture(rng.normal(size=(2, dim)), covariances, weights=[0.4, 0.6], standardize=standardize)


def samples(count: int, dim: int) -> np.ndarray:
    """Correlated data with a mean, uniformly distributed along some directions."""
    rng = np.random.default_rng(12)
    return 0.5 + rng.uniform(-1, 1, size=(count, dim)) @ (np.eye(dim) + 0.2 * rng.normal(size=(dim, dim)))


def network(N: int, K: int = 2, M: int = 2) -> tuple[np.ndarray, list[float], np.ndarray, list[float]]:
    rng = np.random.default_rng(13)
    return rng.normal(size=(K, N)), rng.normal(size=K).tolist(), rng.normal(size=(M, N)), rng.normal(size=M).tolist()


def from_inputs(inputs: Any, N: int = 24, **changes: Any) -> sl.Instance:
    options = {"activation": "erf", "learning_rate": 0.3, "standardize": True}
    return sl.Instance.from_inputs(inputs, *network(N), **(options | changes))


def swish() -> sl.Activation:
    import jax.numpy as jnp

    return sl.Activation(lambda x: x / (1 + jnp.exp(-x)), name="swish")


def clip() -> sl.Nonlinearity:
    import jax.numpy as jnp

    return sl.Nonlinearity(lambda u: jnp.clip(u, -0.5, 1.0), name="clip")


EVERY_OPTION = sl.Training(
    output_learning_rate=0.2,
    output_normalization="1/sqrt(K)",
    label_noise=0.3,
    weight_decay=0.5,
    batch_size=3,
    schedule=sl.Schedule(times=(0.25, 0.8), factors=(1.0, 0.4)),
)
OPTIONS: dict[str, sl.Training] = {
    "fixed outputs": sl.Training(output_learning_rate=0.0),
    "slow outputs": sl.Training(output_learning_rate=0.1),
    "1/K": sl.Training(output_normalization="1/K"),
    "1/sqrt(K)": sl.Training(output_normalization="1/sqrt(K)"),
    "label noise": sl.Training(label_noise=0.5),
    "weight decay": sl.Training(weight_decay=0.7),
    "batches": sl.Training(batch_size=4),
    "schedule": sl.Training(schedule=sl.Schedule(times=(0.2, 0.6), factors=(1.0, 0.3))),
    "all options": EVERY_OPTION,
}
TASKS: dict[str, Any] = {"switch_times": (0.5,), "task_similarity": 0.4}


# --- random inputs and labels ---------------------------------------------------------------------------------------

INPUTS: dict[str, Callable[[], sl.Instance]] = {
    "gaussian": instance,
    "erf manifold, D odd": lambda: instance(nonlinearity="erf", latent_dim=15),
    "mixture B=1": lambda: instance(latent=mixture()),
    "mixture B=1, three weighted components": lambda: instance(latent=mixture(components=3, weights=(0.2, 0.3, 0.5))),
    "mixture B=1, own means": lambda: instance(latent=mixture(shared_means=False)),
    "mixture B=5": lambda: instance(latent=mixture(5)),
    "mixture B=D, not standardised": lambda: instance(latent=mixture(20, standardize=False), nonlinearity="identity"),
    "mixture, estimated moments": lambda: instance(latent=mixture(4, standardize="estimated", moment_samples=200)),
    "cluster mixture": lambda: instance(replaced={"latent": cluster_law(20)}),
    "empirical latent": lambda: instance(replaced={"latent": sl.Empirical(samples(90, 20), standardize=True)}),
    "given inputs": lambda: from_inputs(samples(90, 24)),
    "hadamard": lambda: instance(features="hadamard", input_dim=32, nonlinearity="tanh"),
    "dct": lambda: instance(features="dct", nonlinearity="identity"),
    "label noise": lambda: instance(training=sl.Training(label_noise=0.5)),
    "switch times": lambda: instance(**TASKS),
}


def stream(drawn: sl.Instance) -> Values:
    parts = list(sl.datasets.batches(drawn, 150, samples=700, seed=5, run=1))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in parts[0]._fields}
    kept = {name: values[::ONE_KEPT_OF] for name, values in joined.items()}
    sums = {f"{name}_sum": np.array(values.sum(dtype=np.float64)) for name, values in joined.items()}
    return kept | sums


for _name, _drawn in INPUTS.items():
    CASES[f"inputs {_name}"] = lambda drawn=_drawn: stream(drawn())


@named("inputs make_hidden_manifold")
def _made() -> Values:
    made = sl.datasets.make_hidden_manifold(12, input_dim=16, latent_dim=8, seed=2, latent=mixture(4), return_X_y=False)
    return {"X": made.X, "y": made.y, "C": made.latent}


@named("inputs that SGD keeps")
def _kept() -> Values:
    drawn = instance(latent=mixture(5), training=sl.Training(batch_size=2, label_noise=0.2))
    runs = sl.simulate(drawn, TIMES, runs=2, seed=4, keep_inputs=True, test_samples=0, threads=1, engine="numba")
    return {name: runs[name].values[:, ::16] for name in ("C", "X", "y")}


@named("inputs of drawn instances")
def _instances() -> Values:
    kinds = {
        "gaussian": instance(latent=mixture(5), student_alignment=0.5, **TASKS),
        "orthogonal": instance(features="orthogonal", output_weights="equal", student_scale=0.1),
        "hadamard": instance(features="hadamard", input_dim=32, student_units=3),
        "dct": instance(features="dct", latent_dim=16),
    }
    names = ("student", "student_output", "teacher", "teacher_output")
    found = {f"{kind} {name}": getattr(drawn, name) for kind, drawn in kinds.items() for name in names}
    return found | {f"{kind} features": drawn.features[::7, ::9] for kind, drawn in kinds.items()}


# --- theory ---------------------------------------------------------------------------------------------------------

CENTRED = {"nonlinearity": "relu", "centre": True}

THEORY: dict[str, Callable[[], Any]] = {
    "erf": lambda: sl.solve(instance(), LATER),
    "erf, moment-matched": lambda: sl.solve(instance(latent=mixture(5)), LATER, theory="moment-matched"),
    "relu": lambda: sl.solve(instance(activation="relu"), LATER),
    "relu, moment-matched": lambda: sl.solve(
        instance(activation="relu", latent=mixture(20)), LATER, theory="moment-matched"
    ),
    "linear": lambda: sl.solve(instance(activation="linear", learning_rate=0.1), LATER),
    "hermite-2": lambda: sl.solve(instance(activation="hermite-2", learning_rate=0.02, student_scale=0.5), TIMES),
    "tanh by quadrature": lambda: sl.solve(instance(activation="tanh"), TIMES),
    "own activation": lambda: sl.solve(instance(replaced={"activation": swish()}), TIMES),
    "sign teacher": lambda: sl.solve(instance(teacher_activation="sign"), TIMES),
    "linear teacher of a relu student": lambda: sl.solve(
        instance(activation="relu", teacher_activation="linear"), TIMES
    ),
    "K=3, M=1": lambda: sl.solve(instance(student_units=3, teacher_units=1), LATER),
    "erf manifold": lambda: sl.solve(instance(nonlinearity="erf"), LATER),
    "relu manifold, centred": lambda: sl.solve(instance(**CENTRED), LATER),
    "own nonlinearity": lambda: sl.solve(instance(replaced={"nonlinearity": clip()}), LATER),
    "orthogonal features": lambda: sl.solve(instance(features="orthogonal"), LATER),
    "identity features": lambda: sl.solve(instance(features="identity", nonlinearity="identity", latent_dim=40), LATER),
    "aligned start": lambda: sl.solve(instance(student_alignment=0.6), LATER),
    "40 nodes": lambda: sl.solve(instance(input_dim=160, latent_dim=80), LATER, nodes=40),
    "covariance": lambda: sl.solve(
        sl.Instance.from_covariance(np.cov(samples(90, 24).T), *network(24), activation="erf", learning_rate=0.3), LATER
    ),
    "given inputs": lambda: sl.solve(from_inputs(samples(90, 24)), LATER, theory="moment-matched"),
    "given inputs, centred": lambda: sl.solve(
        from_inputs(samples(90, 24), standardize=False, centre=True), LATER, theory="moment-matched"
    ),
    "empirical latent": lambda: sl.solve(
        instance(replaced={"latent": sl.Empirical(samples(90, 20), standardize=True)}), LATER, theory="moment-matched"
    ),
    "switch times": lambda: sl.solve(instance(**TASKS), LATER),
    "switch times and all options": lambda: sl.solve(instance(training=EVERY_OPTION, **TASKS), LATER),
    "bootstrap": lambda: sl.theory.bootstrap(from_inputs(samples(90, 24)), TIMES, resamples=3, seed=1),
    "phase diagram": lambda: sl.theory.phase_diagram(
        problem(), {"learning_rate": [0.1, 0.5], "training.label_noise": [0.0, 0.4]}, np.geomspace(0.1, 30, 20)
    ),
}
for _name, _solved in THEORY.items():
    CASES[f"theory {_name}"] = lambda solved=_solved: numbers(solved())
for _name, _training in OPTIONS.items():
    CASES[f"theory {_name}"] = lambda training=_training: numbers(sl.solve(instance(training=training), LATER))


@named("theory spectrum")
def _spectrum() -> Values:
    spectra = {
        "all": sl.theory.spectrum(instance()),
        "moment-matched": sl.theory.spectrum(instance(latent=mixture(5)), "moment-matched"),
        "mixture": sl.theory.spectrum(instance(latent=mixture(20)), "mixture"),
    }
    spectra["reduced"] = sl.theory.reduce(spectra["all"], 20)
    spectra["limit"] = sl.theory.marchenko_pastur(0.5, np.eye(2), np.eye(2), nonlinearity="erf", nodes=16)
    found = {}
    for name, spectrum in spectra.items():
        # A Gauss rule is ill-conditioned where weights are small; its moments are not.
        moments = [spectrum.weights @ spectrum.eigenvalues**power for power in range(4)]
        found |= {f"{name} moments": np.array(moments), f"{name} Q": spectrum.Q, f"{name} R": spectrum.R}
        found |= {f"{name} T": spectrum.teacher_overlap}
    return found


@named("theory infinite size")
def _limit() -> Values:
    spectrum = sl.theory.marchenko_pastur(0.5, np.eye(2), [[1.0, 0.2], [0.2, 0.8]])
    options = {"activation": "erf", "learning_rate": 0.3, "times": LATER}
    return numbers(sl.theory.solve_spectrum(spectrum, [0.7, -0.4], [1.0, 0.5], **options))


@named("theory solve_many")
def _many() -> Values:
    drawn = [instance(seed=seed) for seed in (0, 1)]
    solved = sl.theory.solve_many(
        [sl.theory.spectrum(one) for one in drawn],
        [one.student_output for one in drawn],
        [one.teacher_output for one in drawn],
        activation="erf",
        learning_rate=[0.2, 0.4],
        training=[sl.Training(), sl.Training(label_noise=0.3)],
        times=LATER,
    )
    return numbers(solved)


@named("optimum of a schedule")
def _optimal() -> Values:
    linear: dict[str, Any] = {
        "activation": "linear",
        "features": "identity",
        "nonlinearity": "identity",
        "output_weights": "equal",
    }
    training = sl.Training(label_noise=0.5, output_learning_rate=0.0)
    drawn = instance(input_dim=24, latent_dim=24, student_units=1, teacher_units=1, training=training, **linear)
    best = sl.theory.optimal_schedule(drawn, 10.0, knots=3, rates=[0.02, 0.1, 0.5, 2.5])
    # Where the error is flat, the rates themselves are less certain than it.
    return {"errors": np.array([best.error, best.constant_error])}


@named("theory plateau_exit, stability_edge, divergence")
def _single_numbers() -> Values:
    t = np.geomspace(0.01, 1000, 200)
    edges = [
        sl.theory.stability_edge(instance(activation="relu", latent=mixture(20, standardize=False))),
        sl.theory.stability_edge(instance(replaced={"latent": cluster_law(20)})),
    ]
    laws = [instance(latent=mixture()).latent, cluster_law(20), instance(latent=mixture(5)).latent]
    return {
        "exit": np.array(sl.theory.plateau_exit(t, 0.5 * np.exp(-t) + 0.1 / (1 + (t / 100) ** 4))),
        "edges": np.array(edges),
        "kl": np.array([float(law.kl_to_standard_normal(samples=500)) for law in laws]),
        "traces": np.array([np.square(law.covariance(20)).sum() for law in laws]),
    }


# --- theory of clusters ---------------------------------------------------------------------------------------------

MIXTURES: dict[str, Callable[[], sl.Instance]] = {
    "one common covariance": lambda: instance(latent=mixture(20), nonlinearity="identity"),
    "sign manifold": lambda: instance(latent=mixture(20)),
    "not standardised": lambda: instance(latent=mixture(20, standardize=False)),
    "two blocks": lambda: instance(latent=mixture(10)),
    "B=1 with a mean": lambda: instance(latent=mixture(standardize=False)),
    "different covariances": lambda: instance(replaced={"latent": cluster_law(20)}, nonlinearity="identity"),
    "clusters on the sign manifold": lambda: instance(replaced={"latent": cluster_law(20, standardize=True)}),
    "relu, not standardised": lambda: instance(
        activation="relu", learning_rate=0.05, latent=mixture(20, standardize=False), nonlinearity="erf"
    ),
    "relu": lambda: instance(activation="relu", learning_rate=0.1, latent=mixture(20)),
    "tanh": lambda: instance(activation="tanh", latent=mixture(20)),
    "K=3, M=1": lambda: instance(student_units=3, teacher_units=1, latent=mixture(20)),
    "given inputs": lambda: from_inputs(cluster_law(24), standardize=False),
    "switch times": lambda: instance(latent=mixture(20), **TASKS),
    "all options": lambda: instance(latent=mixture(20), training=EVERY_OPTION),
    "different covariances, all options": lambda: instance(
        replaced={"latent": cluster_law(20)}, training=EVERY_OPTION, **TASKS
    ),
}


def ensemble(drawn: sl.Instance, **options: Any) -> Values:
    return numbers(sl.theory.solve_mixture(drawn, TIMES, chains=3, seed=2, threads=1, fast=True, **options))


for _name, _drawn in MIXTURES.items():
    CASES[f"mixture {_name}"] = lambda drawn=_drawn: ensemble(drawn())
CASES["mixture through solve"] = lambda: numbers(
    sl.solve(instance(latent=mixture(20)), TIMES, theory="mixture", chains=2, seed=1, nodes=60)
)
CASES["mixture without finite size"] = lambda: ensemble(
    instance(latent=mixture(20)), finite_size=False, largest_step=0.1
)


# --- SGD ------------------------------------------------------------------------------------------------------------

SGD: dict[str, Callable[[], sl.Instance]] = {
    "gaussian": instance,
    "mixture B=1": lambda: instance(latent=mixture()),
    "mixture B=1, not standardised": lambda: instance(latent=mixture(standardize=False)),
    "mixture B=5": lambda: instance(latent=mixture(5)),
    "mixture B=D": lambda: instance(latent=mixture(20), nonlinearity="erf"),
    "mixture B=D, not standardised": lambda: instance(latent=mixture(20, standardize=False)),
    "cluster mixture": lambda: instance(replaced={"latent": cluster_law(20)}),
    "given inputs": lambda: from_inputs(samples(90, 24)),
    "given inputs with a mean": lambda: from_inputs(samples(90, 24), standardize=False),
    "given clusters": lambda: from_inputs(cluster_law(24)),
    "own nonlinearity": lambda: instance(replaced={"nonlinearity": clip()}),
    "relu manifold, centred": lambda: instance(**CENTRED),
    "relu manifold, not centred": lambda: instance(nonlinearity="relu", centre=False),
    "orthogonal features": lambda: instance(features="orthogonal", nonlinearity="tanh"),
    "hadamard features": lambda: instance(features="hadamard", input_dim=32),
    "dct features": lambda: instance(features="dct"),
    "identity features": lambda: instance(features="identity", nonlinearity="identity", latent_dim=40),
    "relu": lambda: instance(activation="relu"),
    "linear": lambda: instance(activation="linear", learning_rate=0.1),
    "tanh": lambda: instance(activation="tanh", student_units=3),
    "own activation, sign teacher": lambda: instance(replaced={"activation": swish()}, teacher_activation="sign"),
    "K=1, M=2": lambda: instance(student_units=1),
    "K=3, M=1": lambda: instance(student_units=3, teacher_units=1),
    "K=4, N and D odd": lambda: instance(student_units=4, input_dim=33, latent_dim=17, activation="relu"),
    "switch times": lambda: instance(**TASKS),
    "all options, switch times, clusters": lambda: instance(latent=mixture(20), training=EVERY_OPTION, **TASKS),
} | {name: lambda training=training: instance(training=training) for name, training in OPTIONS.items()}


def trained(drawn: sl.Instance, engine: str, **options: Any) -> Values:
    options = {"seed": 6, "test_samples": 200, "threads": 1} | options
    whole_steps = np.rint(TIMES * drawn.input_dim) / drawn.input_dim
    return numbers(sl.simulate(drawn, whole_steps, engine=engine, **options))


def together(engine: str) -> Values:
    laws = [mixture(block, standardize=standard) for block, standard in ((1, True), (5, True), (20, False))]
    instances = [instance(), *(instance(latent=law) for law in laws), instance(activation="relu", learning_rate=0.1)]
    several = sl.simulate_together(instances, TIMES, runs=2, seed=7, test_samples=100, threads=2, engine=engine)
    return {f"{name} {place}": values for place, one in enumerate(several) for name, values in numbers(one).items()}


def of_given_samples(engine: str) -> Values:
    drawn = instance(training=sl.Training(batch_size=2))
    (batch,) = sl.datasets.batches(drawn, 80, samples=80, seed=8)
    rng = np.random.default_rng(14)
    whole = (batch.latent, rng.normal(size=(80, 40)), rng.normal(size=80))
    one, all_three = (trained(drawn, engine, data=data) for data in ((batch.latent,), whole))
    return one | {f"{name} of X and y": values for name, values in all_three.items()}


def everything_kept(engine: str) -> Values:
    names = ["conventional", "moment-matched", "mixture"]
    drawn = instance(latent=mixture(20))
    found = trained(drawn, engine, overlaps=names, runs=2, keep_inputs=True, keep_weights=True)
    found["W"] = found["W"][:, -1]
    return found | {name: found[name][:, ::20] for name in ("C", "X", "y")}


for _engine in ("numba", "jax"):
    for _name, _drawn in SGD.items():
        CASES[f"sgd {_engine} {_name}"] = lambda drawn=_drawn, engine=_engine: trained(drawn(), engine)
    CASES[f"sgd {_engine} several conditions together"] = lambda engine=_engine: together(engine)
    CASES[f"sgd {_engine} given samples"] = lambda engine=_engine: of_given_samples(engine)
    CASES[f"sgd {_engine} all overlaps, inputs and weights kept"] = lambda engine=_engine: everything_kept(engine)


@named("sgd compared with theory")
def _compared() -> Values:
    drawn = instance(latent=mixture(5))
    options = {"runs": 3, "seed": 1, "test_samples": 200, "threads": 1, "engine": "numba"}
    runs = sl.simulate(drawn, TIMES, **options)
    floor = sl.simulate(drawn.replace(latent=sl.Gaussian()), TIMES, **options)
    return numbers(sl.compare(sl.solve(drawn, TIMES), runs, noise_floor=floor))


@named("sgd forgets")
def _forgetting() -> Values:
    drawn = instance(**TASKS)
    runs = sl.simulate(drawn, TIMES, runs=2, seed=2, test_samples=200, threads=1, engine="numba")
    of_runs, of_theory = (numbers(sl.forgetting_and_transfer(x)) for x in (runs, sl.solve(drawn, TIMES)))
    return of_runs | {f"{name} in theory": values for name, values in of_theory.items()}


@named("sgd sweep")
def _sweep() -> Values:
    sweep = sl.Sweep(
        problem=problem(latent=mixture(20)),
        grid={"learning_rate": [0.2, 0.4], "latent.spread": [0.0, 2.0]},
        run={"instances": 2, "time": 1.0, "count": 5, "theories": ["conventional", "moment-matched", "mixture"]}
        | {"test_samples": 100, "chains": 2},
    )
    with tempfile.TemporaryDirectory() as folder:
        sl.compute_sweep(sweep, Path(folder, "sweep.zarr"), workers=0)
        return numbers(sl.open_sweep(Path(folder, "sweep.zarr")).load())


@named("sgd diagnosis")
def _diagnosis() -> Values:
    drawn = instance(latent=mixture(20))
    run = {"times": TIMES, "runs": 3, "most_runs": 3, "seed": 1, "test_samples": 100}
    found = sl.diagnose(drawn, field_times=2, field_samples=200, **run)
    return {name: values for name, values in numbers(found.data).items() if values.size < 300}


# --- recordings -----------------------------------------------------------------------------------------------------


def save(path: str | Path, recording: Mapping[str, Values]) -> None:
    """All bytes in one array: hundreds of small ones would take twice the space."""
    arrays = [(name, key, array) for name, values in recording.items() for key, array in values.items()]
    index = json.dumps([(name, key, array.dtype.str, array.shape) for name, key, array in arrays])
    data = np.frombuffer(b"".join(array.tobytes() for *_, array in arrays), np.uint8)
    np.savez_compressed(path, index=np.array(index), data=data)


def load(path: str | Path) -> dict[str, Values]:
    """A recording, case by case."""
    found: dict[str, Values] = {}
    with np.load(path, allow_pickle=False) as stored:
        index, data = json.loads(stored["index"].item()), stored["data"].tobytes()
    start = 0
    for name, key, dtype, shape in index:
        count = int(np.prod(shape))
        values = np.frombuffer(data, dtype, count, start).reshape(shape)
        found.setdefault(name, {})[key] = values
        start += values.nbytes
    return found


def difference(old: Values, new: Values) -> float:
    """The largest relative to max(1, |old|); infinite where names, shapes, NaN or infinite entries differ."""
    if old.keys() != new.keys() or any(old[name].shape != new[name].shape for name in old):
        return np.inf
    largest = 0.0
    for name in old:
        a, b = (np.asarray(values[name], dtype=np.float64) for values in (old, new))
        differ = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        a, b = a[differ], b[differ]
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return np.inf
        largest = max(largest, (np.abs(a - b) / np.maximum(1, np.abs(a))).max(initial=0.0))
    return float(largest)


def equal_bits(old: Values, new: Values) -> bool:
    return old.keys() == new.keys() and all(
        old[name].dtype == new[name].dtype and old[name].tobytes() == new[name].tobytes() for name in old
    )


def record(path: str) -> None:
    recording = {}
    for name, run in CASES.items():
        start = time.perf_counter()
        recording[name] = {key: np.asarray(array) for key, array in run().items()}
        print(f"{time.perf_counter() - start:6.2f} s  {name}", flush=True)
    save(path, recording)


def compare(old_path: str, new_path: str) -> list[str]:
    """Cases beyond their limit."""
    old, new = load(old_path), load(new_path)
    beyond = []
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name, {}), new.get(name, {})
        by, limit = difference(one, other), REFACTORING_LIMITS[name.split()[0]]
        same = equal_bits(one, other)
        within = same if limit == 0 else by <= limit
        print(f"{'same bits' if same else 'bits differ':11}  {by:8.1e}  {'' if within else 'BEYOND':6}  {name}")
        if not within:
            beyond.append(name)
    return beyond


def main() -> None:
    match sys.argv[1:]:
        case ["record", path]:
            # As tests/conftest.py: programs that are optimised little compile in a fifth of the time.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            os.environ.setdefault(
                "XLA_FLAGS",
                "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 "
                "--xla_llvm_disable_expensive_passes=true",
            )
            record(path)
        case ["compare", old, new]:
            beyond = compare(old, new)
            if beyond:
                sys.exit("Beyond their limits:\n" + "\n".join(beyond))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
