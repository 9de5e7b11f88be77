"""Which theory predicts SGD on given data, and why the others fail."""

import warnings
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, overload

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from xarray import DataArray, Dataset, concat

from ..comparison import discrepancy, divergence, over_entries, scatter
from ..errors import DivergenceWarning, ProblemError, unknown_name
from ..inputs import (
    THEORIES,
    Affine,
    ClusterMixture,
    Empirical,
    Gaussian,
    LatentLaw,
    constant_columns,
    is_centred,
    root_mean_square,
)
from ..instance import Instance
from ..problem import Problem
from ..settings import Settings, check_whole
from ..signatures import checked
from ..simulation import Progress, simulate, simulate_together
from ..theory import Mixture, solve
from ..trajectory import check_times, followed, log_times
from ._curves import LabelledDiagnosis, judge_curves
from ._labelled import prepare
from ._ladder import ladder
from ._learning import Network, learning_curves
from ._structure import structure
from ._verdict import Diagnosis, judge

CHAINS = 16
"""Chains of mixture theory; their mean has a quarter of the noise of a run."""

"""What theory and SGD are compared in."""

GROWTH = 4
"""Runs become so many times as many while they leave something open, which halves the standard errors."""

SETS = 8
"""Sets of as many samples as the data."""

LABELLED_TIMES = 40
"""Output times of learning curves."""

NODES = 70  # of the reduced spectrum; an error of 1e-5, a hundredth of the smallest noise floor


@overload
def diagnose(source: Instance | LatentLaw | ArrayLike, labels: None = None, **settings: Any) -> Diagnosis:
    """Which theory predicts SGD on inputs, whose labels come from a teacher."""


@overload
def diagnose(source: Any, labels: Any, **settings: Any) -> LabelledDiagnosis:
    """The learning curve on labelled data."""


@checked
def diagnose(
    source: Any,
    labels: Any = None,
    *,
    times: Float[ArrayLike, "time"] | None = None,
    runs: int = 5,
    most_runs: int = 80,
    seed: int = 0,
    field_times: int = 8,
    field_samples: int = 10_000,
    test_samples: int = 4000,
    clusters: LatentLaw | None = None,
    drop_constant: bool | None = None,
    progress: Progress = lambda done: None,
    **network: Any,
) -> Diagnosis | LabelledDiagnosis:
    """Find the simplest theory that predicts SGD on given data, and why the others fail.

    With labels, find which statistics of the classes make the learning curve, and until when, see
    :func:`sgdlimit.diagnosis.diagnose_labels`.

    Each theory is compared with SGD on the data, and with SGD on the inputs it assumes. Conventional theory assumes
    isotropic Gaussian inputs, moment-matched theory Gaussian inputs with the covariance of the data, and mixture theory
    clusters. The noise floor is M of an exact theory: the mean distance of a run from the mean of all runs on the
    assumed inputs. (For mixture theory it is measured on the data.) A theory holds if M is at most
    :data:`~sgdlimit.comparison.AGREEMENT` floors for each of Q, R, v and ε_g. It fails if one of them is larger. Where
    the 95 % interval over runs leaves this open, runs are added. On a finite set of samples a theory fails only if M is
    also larger than on as many samples of the inputs that it assumes. The verdict is the first theory that holds, or
    ``"undecided"`` where a simpler one may hold too.

    Parameters
    ----------
    source
        An :class:`sgdlimit.Instance`; or samples, shape (count, D), or a :class:`sgdlimit.LatentLaw`, which get the
        network of :func:`sgdlimit.diagnosis.default_network`.
    labels
        A class for each sample. Without them, labels come from a random teacher.
    times
        Output times t = step/N, increasing; 200 log-spaced ones up to t = 100 by default.
    runs
        SGD runs of each kind to begin with, at least 3. All have the same initial weights; run by run Gaussian
        inputs and mixtures also share their noise, which other laws cannot.
    most_runs
        While it is open whether a theory holds, runs become four times as many, up to this number.
    seed
        Seed of the default network, of the runs and of the fields' samples.
    field_times
        Number of output times at which the distribution of the local fields is measured.
    field_samples
        Samples of the law from which it is measured.
    test_samples
        See :func:`sgdlimit.simulate`.
    clusters
        A law of Gaussian clusters that stands for data in the mixture theory, such as
        ``ClusterMixture.fit(samples, components)``. A law with Gaussian components needs none.
    drop_constant
        Leave out constant columns of samples instead of refusing them.
    progress
        Called with the fraction done.
    **network
        Options of :func:`sgdlimit.diagnosis.diagnose_labels`, such as ``units``.

    Returns
    -------
    Diagnosis or LabelledDiagnosis

    Raises
    ------
    ProblemError
        If samples are not finite, constant, copies of each other or too few, or a setting cannot be
        used.
    DivergenceError
        If theory or SGD diverges before the first output time.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=200, latent_dim=100, student_units=2, teacher_units=2, activation="erf",
    ...                      learning_rate=0.2)
    >>> sl.diagnose(problem.draw(seed=0), times=sl.log_times(2000, 200, 60), runs=3, field_samples=500).verdict
    'conventional'
    """
    if labels is not None:
        given = {"times": times, "runs": runs, "seed": seed, "drop_constant": drop_constant, "progress": progress}
        return diagnose_labels(source, labels, **given, **network)
    if network:
        raise ProblemError(f"{next(iter(network))}: belongs to labelled data. Give labels=..., or leave it out.")
    if isinstance(source, Settings):
        raise ProblemError(
            f"source: must be samples, a law or an instance (got a {type(source).__name__}). Give problem.draw(seed=0)."
        )
    check_whole(3, runs=runs)
    check_whole(1, field_times=field_times)
    check_whole(100, field_samples=field_samples)
    instance = (
        source
        if isinstance(source, Instance)
        else default_network(source, drop_constant=bool(drop_constant), seed=seed)
    )
    if times is None:
        times = log_times(100 * instance.input_dim, instance.input_dim)
    D = instance.latent_dim
    mean, covariance = instance.latent.mean(D), instance.latent.covariance(D)
    centred = is_centred(mean, covariance)
    assumed = {"conventional": instance.replace(latent=Gaussian())}
    if centred:
        assumed["moment-matched"] = instance.replace(latent=ClusterMixture(np.zeros((1, D)), covariance[None]))
    notes = {}
    try:
        within = instance.replace(latent=clusters) if clusters else instance
        Mixture().moments(within)
        assumed["mixture"] = within
    except ProblemError as error:  # a rule, or the law of the data has no clusters and none were given for it
        if clusters:
            raise
        notes["without_mixture"] = str(error).partition(": ")[2].split(". ")[0]
    run: dict[str, Any] = {"times": times, "runs": runs, "seed": seed, "test_samples": test_samples}
    of_fields = {"field_times": field_times, "samples": field_samples, "seed": seed}
    half = progress if centred else lambda done: progress(done / 2)
    data = _measured(instance, assumed, run, of_fields, max(runs, most_runs), half).assign_attrs(notes)
    if centred:
        return judge(data)
    less_mean = diagnose(
        instance.replace(latent=Affine(instance.latent, mean)),
        **run,
        most_runs=most_runs,
        field_times=field_times,
        field_samples=field_samples,
        clusters=clusters and Affine(clusters, mean),
        progress=lambda done: progress((1 + done) / 2),
    )
    return judge(data, less_mean)


@checked
def diagnose_labels(
    samples: Any,
    labels: Any,
    *,
    times: Float[ArrayLike, "time"] | None = None,
    length: float | None = None,
    runs: int = 5,
    chains: int = 16,
    test: float = 0.2,
    preprocess: Literal["standardize", "centre", "none"] = "standardize",
    drop_constant: bool | None = None,
    seed: int = 0,
    progress: Progress = lambda done: None,
    **network: Any,
) -> LabelledDiagnosis:
    """Predict the learning curve of a network on labelled data, and find which statistics of the classes make it.

    SGD learns the data, and surrogates that share some of their statistics: the means of the classes; with them the
    pooled covariance; with them the covariance of each class; several Gaussian clusters in each class. All have the
    same initial weights and the same order of labels, and are tested on the same held-out samples. Mixture theory
    gives the curve of each surrogate without sampling.

    Parameters
    ----------
    samples, labels, test, preprocess, drop_constant, seed
        Shape (count, N) and (count,); see :func:`sgdlimit.diagnosis.prepare`.
    times
        Output times t = samples/N, increasing; by default 40 log-spaced ones of one pass through the training part.
        Beyond it samples are seen again, as ``attrs["epochs"]`` says.
    length
        In the place of ``times``, the last of 40 log-spaced ones.
    runs
        Orders of the samples, at least 3.
    chains
        Members of the ensemble of mixture theory; 0 leaves theory out.
    progress
        Called with the fraction done.
    **network
        Fields of :class:`sgdlimit.diagnosis.Network`: ``units``, ``activation``, ``loss``, ``learning_rate``,
        ``student_scale``, ``output_scale``, ``training``, ``label_noise``.

    Returns
    -------
    LabelledDiagnosis

    Raises
    ------
    ProblemError
        If labels or samples cannot be used, or scikit-learn is missing.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["no", "yes"], 300)
    >>> samples = rng.normal(size=(600, 20)) + 0.8 * (labels == "yes")[:, None]
    >>> diagnose_labels(samples, labels, runs=3, chains=0, units=4).verdict
    'means'
    """
    check_whole(3, runs=runs)
    check_whole(0, chains=chains)
    known = [item.name for item in fields(Network)]
    for name in network:
        if name not in known:
            raise unknown_name("network", name, known)
    net = Network(**network)
    split = prepare(samples, labels, test=test, preprocess=preprocess, drop_constant=drop_constant, seed=seed)
    count, N = split.train.shape
    steps = count if length is None else max(1, round(length * N))
    times = log_times(steps, N, LABELLED_TIMES) if times is None else check_times(times)
    rungs = ladder(split.train, split.train_class, seed)
    found = learning_curves(split, rungs, net, times, runs=runs, chains=chains, seed=seed, progress=progress)
    found["clusters"] = "label", np.bincount(rungs[-1].labels)
    found.attrs |= {"input_dim": N, "training_samples": count, "test_samples": len(split.test), "seed": seed}
    found.attrs |= {"units": net.units, "learning_rate": net.learning_rate, "epochs": float(times[-1] * N / count)}
    found.attrs["chance"] = 1 - float(np.bincount(split.test_class).max()) / len(split.test)
    data, verdict, headline, limits = judge_curves(found)
    split.notes.extend(
        f"Groups whose covariance is shrunk, with no more samples than columns: {len(rung.shrunk)} of {rung.name}."
        for rung in rungs
        if rung.shrunk
    )
    return LabelledDiagnosis(verdict, headline, (*split.notes, *limits), data, tuple(rungs), net)


def _measured(
    instance: Instance,
    assumed: Mapping[str, Instance],
    run: Mapping[str, Any],
    fields: Mapping[str, Any],
    most_runs: int,
    progress: Progress,
) -> Dataset:
    """All that a verdict rests on, with more runs until it is certain, and then with sets of as many samples.

    ``assumed`` holds by theory the same network on the inputs for which the theory is exact; ``run`` holds times, runs,
    seed and test samples; ``fields`` are the settings of :func:`structure`.
    """
    theories = {}
    with warnings.catch_warnings(action="ignore", category=DivergenceWarning):  # it becomes a reason
        for name, other in assumed.items():
            options = {"chains": CHAINS, "seed": run["seed"]} if name == "mixture" else {"nodes": NODES}
            solved = solve(other, run["times"], name, **options)
            theories[name] = solved.mean("run", keep_attrs=True) if name == "mixture" else solved
    measured, weights = _compare(instance, assumed, theories, run, lambda done: progress(done / 2))
    local = structure(instance, weights, **fields)
    left = 0.5  # of the work, as far as is known: each round may be followed by another
    while True:
        data = measured.merge(local, combine_attrs="no_conflicts").reindex(theory=list(THEORIES))
        found = judge(data)
        if not found.borderline or run["runs"] >= most_runs:
            break
        run = {**run, "runs": min(GROWTH * run["runs"], most_runs)}
        before, left = 1 - left, left / 2
        measured, _ = _compare(
            instance, assumed, theories, run, lambda done, start=before: progress(start + (1 - start) / 2 * done)
        )
    failing = [name for name in theories if found.outcomes[name] == "fails"]
    if failing and "distinct_samples" in data.attrs and found.verdict != "undecided":
        count = data.attrs["distinct_samples"]
        sets = [_on_sets(instance, assumed[name], theories[name], name, count, run) for name in failing]
        data = data.assign(M_sets=concat(sets, dim="theory").assign_coords(theory=failing))
    progress(1.0)
    return data


def _compare(
    instance: Instance,
    assumed: Mapping[str, Instance],
    theories: Mapping[str, Dataset],
    run: Mapping[str, Any],
    progress: Progress,
) -> tuple[Dataset, DataArray]:
    """M of each theory and of its floor, run by run, with all trajectories; and the weights along SGD."""
    gaussian = [name for name in assumed if name != "mixture"]
    others = {name: other for name, other in assumed.items() if other is not instance}
    with warnings.catch_warnings(action="ignore", category=DivergenceWarning):  # it becomes a reason
        sgd, *trained = simulate_together(
            [instance, *others.values()], overlaps=tuple(gaussian), keep_weights=True, progress=progress, **run
        )
    exact = dict.fromkeys(assumed, sgd) | dict(zip(others, trained, strict=True))
    parts = []
    for name, theory in theories.items():
        here, there = (
            _within(assumed[name], runs) if name == "mixture" else runs[followed(runs)].sel(overlaps=name, drop=True)
            for runs in (sgd, exact[name])
        )
        part = {
            "M_runs": over_entries(discrepancy(theory, here)),
            # Clusters fluctuate more than any Gaussian inputs, and the more the further apart they are.
            "floor_runs": over_entries(scatter(here if name == "mixture" else there)),
            "gaussian_runs": over_entries(discrepancy(theory, there)),
        }
        for quantity in followed(theory):
            part[f"{quantity}_theory"], part[f"{quantity}_sgd"] = theory[quantity], here[quantity]
        parts.append(Dataset(part, {"theory": name}))
    attrs = {key: value for key, value in sgd.attrs.items() if key not in ("kind", "overlaps", "diverged_at")}
    attrs |= divergence(sgd, *trained, *theories.values()) | {"input_dim": instance.input_dim}
    return concat(parts, dim="theory").assign_attrs(attrs), sgd["W"]


def _on_sets(
    instance: Instance, exact: Instance, theory: Dataset, name: str, count: int, run: Mapping[str, Any]
) -> DataArray:
    """M of a theory on sets of ``count`` samples of the inputs it assumes, dims (quantity, set).

    The sets have those moments of the data that the theory uses. What is left is the reuse of few samples, their chance
    correlations where the theory uses none, and the noise of a run.
    """
    D = instance.latent_dim
    mean, covariance = exact.latent.mean(D), exact.latent.covariance(D)
    standardized = bool(abs(instance.latent.covariance(D).diagonal() - 1).max() < 1e-9)
    distances: list[DataArray] = []
    for number in range(SETS):
        samples = exact.latent.sample(np.random.default_rng([run["seed"], number]), count, D)
        if name != "conventional":
            roots = (np.linalg.cholesky(matrix).T for matrix in (np.cov(samples.T, bias=True), covariance))
            samples = mean + (samples - samples.mean(0)) @ np.linalg.solve(*roots)
        law = Empirical(samples, standardize=standardized and name == "conventional")
        overlaps = ("conventional" if name == "mixture" else name,)
        settings = {**run, "runs": 1, "seed": run["seed"] + number}
        sgd = simulate(instance.replace(latent=law), overlaps=overlaps, keep_weights=name == "mixture", **settings)
        here = _within(exact, sgd) if name == "mixture" else sgd[followed(sgd)].isel(overlaps=0, drop=True)
        distances.append(over_entries(discrepancy(theory, here)).isel(run=0))
    return concat(distances, dim="set")


def _within(clustered: Instance, runs: Dataset) -> Dataset:
    """SGD with its overlaps within clusters, which may be of another law than the law SGD runs on."""
    Q, R = clustered.mixture_moments().averaged().overlaps(runs["W"].values)
    runs = runs[followed(runs)].isel(overlaps=0, drop=True)
    return runs.assign(Q=(runs["Q"].dims, Q), R=(runs["R"].dims, R))


@checked
def default_network(
    source: LatentLaw | ArrayLike,
    *,
    role: Literal["inputs", "latent"] | None = None,
    preprocess: Literal["standardize", "centre", "none"] = "standardize",
    activation: str = "erf",
    learning_rate: float = 0.2,
    input_dim: int = 1000,
    drop_constant: bool = False,
    seed: int = 0,
    attrs: Mapping[str, Any] | None = None,
) -> Instance:
    """A network of two student and two teacher units, with normal weights, for samples or a law.

    Parameters
    ----------
    source
        Samples, shape (count, D), of which each step draws one, or a law that fixes the number of its coordinates.
    role
        ``"inputs"``: student and teacher see the data themselves, N = D. ``"latent"``: the data are the latent of a
        hidden manifold X = sign(CF/√D), the teacher sees C and the student X. By default samples are inputs, and a law
        is the law of the latent.
    preprocess
        ``"standardize"`` subtracts the mean and divides by the deviation, coordinate by coordinate (19), ``"centre"``
        only subtracts; ``"none"`` leaves the data as they are. ``attrs["mean_removed"]`` keeps the mean that was
        subtracted, over the deviation.
    activation, learning_rate
        g and η.
    input_dim
        N of the manifold.
    drop_constant
        Leave out constant columns of samples instead of refusing them.
    seed
        Seed of weights, teacher and features.
    attrs
        Provenance to keep.

    Returns
    -------
    Instance

    Raises
    ------
    ProblemError
        If a setting or the data cannot be used.
    """
    law = source if isinstance(source, LatentLaw) else Empirical(source, drop_constant=drop_constant)
    role = role or ("latent" if law is source else "inputs")
    D = law.check_dim(law.dim)
    mean, variance = law.mean(D), law.covariance(D).diagonal()
    constant_columns("latent", variance <= 0, fix="Give a law without them.")
    deviation = np.sqrt(variance)
    removed = 0.0 if preprocess == "none" else root_mean_square(mean / deviation)
    scale = deviation if preprocess == "standardize" else np.ones(D)
    if removed > 1e-9 or np.abs(scale - 1).max() > 1e-9:
        law = Affine(law, mean, scale)
    settings: dict[str, Any] = {"activation": activation, "learning_rate": learning_rate}
    inputs = {"input_dim": D, "features": "identity", "nonlinearity": "identity"} if role == "inputs" else {}
    sizes = {"input_dim": input_dim, "latent_dim": D, "student_units": 2, "teacher_units": 2} | inputs
    drawn = Problem(**sizes, **settings).draw(seed)
    attrs = {**drawn.attrs, **(attrs or {}), "role": role, "preprocess": preprocess, "mean_removed": removed}
    if role == "latent":
        return drawn.replace(latent=law, attrs=attrs)
    weights = (drawn.student, drawn.student_output, drawn.teacher, drawn.teacher_output)
    return Instance.from_inputs(law, *weights, **settings, attrs=attrs)
