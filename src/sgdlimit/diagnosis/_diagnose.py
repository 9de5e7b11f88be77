"""Which theory predicts SGD on given data, and why the others fail."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..comparison import discrepancy, over_entries, scatter
from ..errors import DivergenceWarning, ProblemError
from ..inputs import THEORIES, Affine, ClusterMixture, Gaussian, LatentLaw, is_centred
from ..instance import Instance
from ..simulation import simulate_together
from ..theory import solve
from ..trajectory import log_times
from ._network import default_network
from ._structure import structure
from ._verdict import judge, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHAINS = 16
"""Chains of mixture theory; their mean has a quarter of the noise of a run."""

QUANTITIES = ["Q", "R", "v", "generalization_error"]
"""What theory and SGD are compared in."""

NODES = 70  # of the reduced spectrum; an error of 1e-5, a hundredth of the smallest noise floor

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Diagnosis:
    """Which theory predicts SGD on some data, and why others do not. ``print`` shows all of it."""

    verdict: str
    """The first theory that agrees with SGD (conventional, moment-matched, mixture), ``"neither"``, or ``"undecided"``
    where training diverges or noise is as large as what is compared."""
    borderline: bool
    """Whether other runs could change the verdict: a margin is within two standard errors of the threshold."""
    headline: str
    """The verdict in a sentence."""
    reasons: tuple[str, ...]
    """Which assumptions of the theories fail and which hold, with the numbers."""
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
    progress: Progress = lambda done: None,
) -> Diagnosis:
    """Find the simplest theory that predicts SGD on given data, and why the others fail.

    Each theory is compared with SGD on the data, and with SGD on the inputs it assumes. Conventional theory assumes
    isotropic Gaussian inputs, moment-matched theory Gaussian inputs with the covariance of the data, and mixture theory
    clusters. The noise floor is M of an exact theory: the mean distance of a run from the mean of all runs on the
    assumed inputs. (For mixture theory it is measured on the data.) A theory agrees where M is at most
    :data:`~sgdlimit.comparison.AGREEMENT` floors for each of Q, R and v. The verdict is the first theory that agrees.

    Parameters
    ----------
    source
        An :class:`sgdlimit.Instance`; or samples, shape (count, D), or a :class:`sgdlimit.LatentLaw`, which get the
        network of :func:`sgdlimit.diagnosis.default_network`.
    times
        Output times t = step/N, increasing; 200 log-spaced ones up to t = 100 by default.
    runs
        SGD runs of each kind, at least 3. All have the same initial weights; run by run Gaussian inputs and mixtures
        also share their noise, which other laws cannot.
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
    progress
        Called with the fraction done.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ProblemError
        If samples are not finite, constant, copies of each other or too few, or a setting cannot be used.
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
            raise ProblemError(f"{name}: must be a whole number ≥ {least} (got {value!r}).")
    instance = source if isinstance(source, Instance) else default_network(source, seed=seed)
    if times is None:
        times = log_times(100 * instance.input_dim, instance.input_dim)
    D = instance.latent_dim
    mean, covariance = instance.latent.mean(D), instance.latent.covariance(D)
    centred = is_centred(mean, covariance)
    share = 1.0 if centred else 0.5

    assumed = {"conventional": instance.replace(latent=Gaussian())}
    if centred:
        assumed["moment-matched"] = instance.replace(latent=ClusterMixture(np.zeros((1, D)), covariance[None]))
    without = _without_clusters(instance, clusters)
    if not without:
        assumed["mixture"] = instance if clusters is None else instance.replace(latent=clusters)
    run: dict[str, Any] = {"times": times, "runs": runs, "seed": seed, "test_samples": test_samples}
    measured, weights = _compare(instance, assumed, run, lambda done: progress(share * done))
    fields = structure(instance, weights, field_times=field_times, samples=field_samples, seed=seed)
    data = measured.merge(fields, combine_attrs="no_conflicts").reindex(theory=list(THEORIES))
    data = data.assign_attrs({"without_mixture": without} if without else {})
    below = None
    if not centred:
        below = diagnose(
            instance.replace(latent=Affine(instance.latent, mean)),
            **run,
            field_times=field_times,
            field_samples=field_samples,
            clusters=None if clusters is None else Affine(clusters, mean),
            progress=lambda done: progress(share + (1 - share) * done),
        )
    return Diagnosis(*judge(data), data=data, centred=below)


def _without_clusters(instance: Instance, clusters: LatentLaw | None) -> str:
    """Why mixture theory cannot be asked about the law of the data; empty where it can, or clusters stand for it."""
    try:
        (clusters or instance.latent).clusters(instance.latent_dim)
    except ProblemError as error:
        if clusters is not None:
            raise
        return str(error).partition(": ")[2].split(". ")[0]
    return ""


def _compare(
    instance: Instance, assumed: Mapping[str, Instance], run: Mapping[str, Any], progress: Progress
) -> tuple[xr.Dataset, xr.DataArray]:
    """M of each theory and of its floor, run by run, with all trajectories; and the weights along SGD.

    ``assumed`` holds by theory the same network on the inputs for which the theory is exact; ``run`` holds times, runs,
    seed and test samples.
    """
    gaussian, clustered = [name for name in assumed if name != "mixture"], assumed.get("mixture")
    others = {name: other for name, other in assumed.items() if other is not instance}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # it becomes a reason
        theories = {name: solve(instance, run["times"], theory=name, nodes=NODES) for name in gaussian}
        if clustered is not None:
            ensemble = solve(clustered, run["times"], theory="mixture", chains=CHAINS, seed=run["seed"])
            theories["mixture"] = ensemble.mean("run", keep_attrs=True)
        sgd, *trained = simulate_together(
            [instance, *others.values()], overlaps=tuple(gaussian), keep_weights=True, progress=progress, **run
        )
    exact = dict.fromkeys(assumed, sgd) | dict(zip(others, trained, strict=True))
    parts = []
    for name, theory in theories.items():
        here, there = (_measured(each, name, clustered) for each in (sgd, exact[name]))
        # Clusters fluctuate more than any Gaussian inputs, and the more the further apart they are.
        floor = scatter(here if name == "mixture" else there)
        distances = {"M": discrepancy(theory, here), "floor": floor, "gaussian": discrepancy(theory, there)}
        part = {f"{label}_runs": over_entries(distance) for label, distance in distances.items()}
        part |= {f"{q}_theory": theory[q] for q in QUANTITIES} | {f"{q}_sgd": here[q] for q in QUANTITIES}
        parts.append(xr.Dataset(part).assign_coords(theory=name))
    attrs = {key: value for key, value in sgd.attrs.items() if key not in ("kind", "overlaps", "diverged_at")}
    diverged = [each.attrs.get("diverged_at", np.inf) for each in (sgd, *trained, *theories.values())]
    if min(diverged) < np.inf:
        attrs["diverged_at"] = min(diverged)
    return xr.concat(parts, dim="theory").assign_attrs(attrs, input_dim=instance.input_dim), sgd["W"]


def _measured(runs: xr.Dataset, theory: str, clustered: Instance | None) -> xr.Dataset:
    """SGD with the overlaps of a theory; those within clusters may be of another law than the law SGD runs on."""
    runs, weights = runs[QUANTITIES], runs["W"].values
    if theory != "mixture" or clustered is None:
        return runs.sel(overlaps=theory, drop=True)
    moments = clustered.mixture_moments().averaged()
    Q, R = (np.stack(overlaps) for overlaps in zip(*map(moments.overlaps, weights), strict=True))
    runs = runs.isel(overlaps=0, drop=True)
    return runs.assign(Q=(runs["Q"].dims, Q), R=(runs["R"].dims, R))
