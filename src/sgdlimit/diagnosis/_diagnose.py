"""Which theory predicts SGD on given data, and what breaks in those that do not."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..comparison import discrepancy, over_entries, scatter
from ..errors import DivergenceWarning, ProblemError
from ..inputs import (
    GAUSSIAN_THEORIES,
    THEORIES,
    Affine,
    ClusterMixture,
    Empirical,
    Gaussian,
    LatentLaw,
    is_centred,
)
from ..instance import Instance
from ..problem import Problem
from ..simulation import simulate_together
from ..theory import solve
from ..trajectory import log_times
from ._structure import structure
from ._verdict import judge, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LADDER", "Diagnosis", "default_network", "diagnose"]

LADDER = THEORIES
"""The theories that are tried, from the one that knows least of the data."""

CHAINS = 16
"""Of mixture theory; their mean has a quarter of the noise of a run."""

QUANTITIES = ("Q", "R", "v", "generalization_error")
"""What theory and SGD are compared in."""

NODES = 70  # of the reduced spectrum; an error of 1e-5, a hundredth of the smallest noise floor


@dataclass(frozen=True)
class Diagnosis:
    """Which theory predicts SGD on some data, and why others do not. ``print`` it for the whole of it."""

    verdict: str
    """The first theory of :data:`LADDER` that agrees with SGD, ``"neither"``, or ``"undecided"`` where training
    diverges or noise is as large as what is compared."""
    borderline: bool
    """Whether another set of runs could turn it: a margin is within two standard errors of the threshold."""
    headline: str
    """The verdict in a sentence."""
    reasons: tuple[str, ...]
    """What breaks, and what does not, with the numbers."""
    data: xr.Dataset = field(repr=False)
    """M, floors and margins, trajectories, statistics of the fields and of the data; see ``docs/diagnosis.md``."""
    centred: "Diagnosis | None" = field(default=None, repr=False)
    """Where inputs have a mean: the same for the data less their mean."""

    def figure(self) -> "Figure":
        """M of each theory beside its floor, trajectories, and the local fields along training."""
        from ..plotting import diagnosis

        return diagnosis(self.data)

    def __str__(self) -> str:
        lines = [self.headline, "", table(self.data), "", *(f"* {reason}" for reason in self.reasons)]
        if self.centred is not None:
            lines += ["", f"Less their mean: {self.centred.headline}", "", table(self.centred.data)]
        return "\n".join(lines)


def diagnose(
    source: Instance | LatentLaw | ArrayLike,
    times: Float[ArrayLike, "time"] | None = None,
    *,
    runs: int = 5,
    seed: int = 0,
    field_times: int = 8,
    field_samples: int = 10_000,
    test_samples: int = 4000,
    clusters: LatentLaw | None = None,
    progress: Callable[[float], None] | None = None,
) -> Diagnosis:
    """Try the ladder of theories on given data, and say which one predicts SGD and what breaks the others.

    Each theory is put beside SGD on the data, and beside SGD on the inputs it takes them for: isotropic Gaussian ones
    for the conventional theory, Gaussian ones with the covariance of the data for the moment-matched theory, clusters
    for the mixture theory. The scatter of those between runs, the mean distance of a run from the mean of all, is the
    noise floor: M of a theory that is exact. (For clusters it is that of SGD on the data.) A
    theory agrees where M ≤ :data:`~sgdlimit.comparison.AGREEMENT` floor for each of Q, R and v; the verdict is the
    first one that does.

    Parameters
    ----------
    source
        An :class:`sgdlimit.Instance`; or samples, shape (count, D), or a :class:`sgdlimit.LatentLaw`, which get the
        network of :func:`default_network`.
    times
        Output times t = step/N, increasing; 200 log-spaced ones up to t = 100 by default.
    runs
        SGD runs of each kind, at least 3. All have the same initial weights; run by run Gaussian inputs and mixtures
        also share their noise, which other laws cannot.
    seed
        Seed of the default network, of the runs and of the fields' samples.
    field_times
        Number of output times at which the distribution of the local fields is looked at.
    field_samples
        Samples of the law it is seen with.
    test_samples
        See :func:`sgdlimit.simulate`.
    clusters
        A law of Gaussian clusters that stands for data in the mixture theory, such as
        ``ClusterMixture.fit(samples, components)``. A law that has Gaussian components stands for itself.
    progress
        Called with the fraction done.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ProblemError
        If samples are not finite, constant, copies of each other or too few, or a setting will not do.
    DivergenceError
        If theory or SGD diverges before the first output time.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=200, latent_dim=100, student_units=2, teacher_units=2, activation="erf",
    ...                      learning_rate=0.2)
    >>> sl.diagnose(problem.draw(seed=0), sl.log_times(2000, 200, 60), runs=3, field_samples=500).verdict
    'conventional'
    """
    for name, value, least in (
        ("runs", runs, 3),
        ("field_times", field_times, 1),
        ("field_samples", field_samples, 100),
    ):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise ProblemError(f"{name}: {value!r} is not a whole number ≥ {least}; give one")
    instance = source if isinstance(source, Instance) else default_network(source, seed=seed)
    if times is None:
        times = log_times(100 * instance.input_dim, instance.input_dim)
    D = instance.latent_dim
    mean, covariance = instance.latent.mean(D), instance.latent.covariance(D)
    centred = is_centred(mean, covariance)
    report = progress or (lambda done: None)
    share = 1.0 if centred else 0.5

    clustered, without = _clustered(instance, clusters)
    ladder = GAUSSIAN_THEORIES if centred else GAUSSIAN_THEORIES[:1]
    measured, weights = _climb(
        instance, ladder, clustered, times, runs, seed, test_samples, lambda done: report(share * done)
    )
    fields = structure(instance, weights, field_times=field_times, samples=field_samples, seed=seed)
    data = measured.merge(fields, combine_attrs="no_conflicts").reindex(theory=list(LADDER))
    data = data.assign_attrs({"without_mixture": without} if without else {})
    below = None
    if not centred:
        there = instance.replace(latent=Affine(instance.latent, mean))
        options: dict[str, Any] = {"field_times": field_times, "field_samples": field_samples}
        below = diagnose(
            there, times, runs=runs, seed=seed, test_samples=test_samples, **options,
            clusters=None if clusters is None else Affine(clusters, mean),
            progress=lambda done: report(share + (1 - share) * done),
        )  # fmt: skip
    return Diagnosis(*judge(data), data=data, centred=below)


def _clustered(instance: Instance, clusters: LatentLaw | None) -> tuple[Instance | None, str]:
    """The same network on a law with clusters, or why there is none."""
    law = instance.latent if clusters is None else clusters
    try:
        law.clusters(instance.latent_dim)
    except ProblemError as error:
        if clusters is not None:
            raise
        return None, str(error).removeprefix("latent: ").split(";")[0]
    return (instance if clusters is None else instance.replace(latent=law)), ""


def _climb(
    instance: Instance,
    ladder: tuple[str, ...],
    clustered: Instance | None,
    times: Float[ArrayLike, "time"],
    runs: int,
    seed: int,
    test_samples: int,
    progress: Callable[[float], None],
) -> tuple[xr.Dataset, xr.DataArray]:
    """M of each theory and of its floor, run by run, with all trajectories; and the weights SGD went through."""
    assumed = [_exact_for(instance, name) for name in ladder]  # what each theory takes the data for
    if clustered is not None:
        assumed.append(clustered)
    options: dict[str, Any] = {"overlaps": ladder, "test_samples": test_samples, "keep_weights": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # it becomes a reason
        theories = [solve(instance, times, theory=name, nodes=NODES) for name in ladder]
        if clustered is not None:
            ensemble = solve(clustered, times, theory="mixture", chains=CHAINS, seed=seed)
            theories.append(ensemble.mean("run", keep_attrs=True))
        conditions = [instance, *(other for other in assumed if other is not instance)]
        sgd, *others = simulate_together(conditions, times, runs=runs, seed=seed, progress=progress, **options)
    if clustered is instance:
        others.append(sgd)
    parts = []
    names = ladder if clustered is None else (*ladder, "mixture")
    for name, theory, other in zip(names, theories, others, strict=True):
        here, there = (_measured(some, name, clustered) for some in (sgd, other))
        # Clusters fluctuate as no Gaussian inputs do, and the more the further apart they are.
        noise = scatter(here if name == "mixture" else there)
        distances = {"M": discrepancy(theory, here), "floor": noise, "gaussian": discrepancy(theory, there)}
        M = {f"{label}_runs": over_entries(some) for label, some in distances.items()}
        M |= {f"{q}_theory": theory[q] for q in QUANTITIES} | {f"{q}_sgd": here[q] for q in QUANTITIES}
        parts.append(xr.Dataset(M).assign_coords(theory=name))
    joined = xr.concat(parts, dim="theory")
    attrs = {key: value for key, value in sgd.attrs.items() if key not in ("kind", "overlaps")}
    attrs |= {"input_dim": instance.input_dim}
    diverged = [some.attrs["diverged_at"] for some in (sgd, *others, *theories) if "diverged_at" in some.attrs]
    if diverged:
        attrs["diverged_at"] = min(diverged)
    return joined.assign_attrs(attrs), sgd["W"]


def _measured(runs: xr.Dataset, theory: str, clustered: Instance | None) -> xr.Dataset:
    """SGD with the overlaps of a theory; those within clusters may be of another law than the one SGD runs on."""
    if theory != "mixture" or clustered is None:
        return runs[list(QUANTITIES)].sel(overlaps=theory, drop=True)
    moments = clustered.mixture_moments().averaged()
    Q, R = (np.stack(some) for some in zip(*(moments.overlaps(W) for W in runs["W"].values), strict=True))
    one = runs[list(QUANTITIES)].isel(overlaps=0, drop=True)
    return one.assign(Q=(one["Q"].dims, Q), R=(one["R"].dims, R))


def _exact_for(instance: Instance, theory: str) -> Instance:
    """The same network on Gaussian inputs for which a theory is exact."""
    if theory == "conventional":
        return instance.replace(latent=Gaussian())
    D = instance.latent_dim
    return instance.replace(latent=ClusterMixture(np.zeros((1, D)), instance.latent.covariance(D)[None]))


def default_network(
    source: LatentLaw | ArrayLike,
    *,
    role: Literal["inputs", "latent"] | None = None,
    preprocess: Literal["none", "centre", "standardize"] = "standardize",
    activation: str = "erf",
    learning_rate: float = 0.2,
    input_dim: int = 1000,
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
        is that of the latent.
    preprocess
        ``"standardize"`` subtracts the mean and divides by the deviation, coordinate by coordinate (19), ``"centre"``
        only subtracts; ``"none"`` leaves the data as they are. The mean there was, over the deviation, is kept as
        ``attrs["mean_removed"]``.
    activation, learning_rate
        g and η.
    input_dim
        N of the manifold.
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
        If a setting or the data will not do.
    """
    law = source if isinstance(source, LatentLaw) else Empirical(source)
    for name, value, known in (
        ("role", role, (None, "inputs", "latent")),
        ("preprocess", preprocess, ("none", "centre", "standardize")),
    ):
        if value not in known:
            raise ProblemError(f"{name}: {value!r} is not known; use one of {', '.join(map(repr, known))}")
    if role is None:
        role = "latent" if isinstance(source, LatentLaw) else "inputs"
    D = law.check_dim(law.dim)
    mean, variance = law.mean(D), law.covariance(D).diagonal()
    removed = 0.0 if preprocess == "none" else float(np.sqrt(np.mean(np.square(mean) / variance)))
    scale = np.sqrt(variance) if preprocess == "standardize" else np.ones(D)
    if removed > 1e-9 or np.abs(scale - 1).max() > 1e-9:
        law = Affine(law, mean, scale)
    manifold: dict[str, Any] = {} if role == "latent" else {"features": "identity", "nonlinearity": "identity"}
    problem = Problem(
        input_dim=input_dim if role == "latent" else D, latent_dim=D, student_units=2, teacher_units=2,
        activation=activation, learning_rate=learning_rate, **manifold,
    )  # fmt: skip
    drawn = problem.draw(seed)
    attrs = {**drawn.attrs, **(attrs or {}), "role": role, "preprocess": preprocess, "mean_removed": removed}
    if role == "latent":
        return drawn.replace(latent=law, attrs=attrs)
    weights = (drawn.student, drawn.student_output, drawn.teacher, drawn.teacher_output)
    return Instance.from_inputs(law, *weights, activation=activation, learning_rate=drawn.learning_rate, attrs=attrs)
