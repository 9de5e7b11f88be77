"""From the learning curves on labelled data and on their surrogates to a verdict in plain words."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from xarray import DataArray, Dataset

from ..errors import ProblemError, shown
from ..settings import numbers
from ..signatures import checked
from ..training import Schedule, Training
from ..trajectory import log_times
from ._ladder import Rung
from ._learning import DATA, Network, predicted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEYOND, SUCCESSIVE = 2, 3
"""A rung is left where its distance from the data is above so many standard errors at so many successive times."""

APART = 1.5
"""Output times that are closer are nearly one: by chance they differ together, and the verdict would be wrong."""

RATES = np.geomspace(0.02, 2, 9)
"""Learning rates that are tried."""

ENOUGH = {
    "means": "the means of the classes",
    "pooled covariance": "the means of the classes and one covariance for all",
    "class covariances": "the mean and covariance of each class",
    "clusters": "several Gaussian clusters in each class",
}
"""What the network uses on a rung, in words."""


@dataclass(frozen=True)
class LabelledDiagnosis:
    """Which statistics of labelled data make the learning curve, and until when. ``print`` shows all of it."""

    verdict: str
    """The simplest rung that predicts the test error to the end, ``"data"`` if none does, or ``"nothing learned"``."""
    headline: str
    """The verdict in a few sentences."""
    notes: tuple[str, ...]
    """What was done to the data, what limits the verdict, and what was not tested."""
    data: Dataset = field(repr=False)
    """The learning curves; see ``docs/diagnosis.md``."""
    rungs: tuple[Rung, ...] = field(repr=False)
    """The surrogates, for :meth:`predict`."""
    network: Network = field(repr=False)
    """The network that learned."""

    def figure(self) -> "Figure":
        """Test error against samples: the data as points, each rung as a line with its theory."""
        from ..plotting import labelled

        return labelled(self.data)

    @checked
    def predict(
        self,
        *,
        samples: int | None = None,
        weights: ArrayLike | None = None,
        source: str | None = None,
        chains: int = 16,
        **settings: Any,
    ) -> Dataset:
        """The learning curve of another network or on other shares of the classes, by theory alone.

        Parameters
        ----------
        samples
            Length of the curve, by default that of the diagnosis.
        weights
            Shares of the classes, in the order of ``data["label"]``, by default those of the training rows. They sum to
            one.
        source
            The rung whose statistics are used, by default the most detailed one.
        chains
            Members of the ensemble.
        **settings
            Fields of :class:`sgdlimit.diagnosis.Network` to change, as ``learning_rate``, ``units``, ``label_noise`` or
            ``training``.

        Returns
        -------
        xarray.Dataset
            ``error_rate`` and ``loss`` (time,), NaN once the theory diverges, with the coordinate ``samples``.

        Raises
        ------
        ProblemError
            If there is no such rung or a setting cannot be used.
        """
        known = {rung.name: rung for rung in self.rungs}
        rung = known.get(source or self.rungs[-1].name)
        if rung is None:
            raise ProblemError(f"source: must be one of {', '.join(known)} (got {shown(source)}). Use one of them.")
        N, classes, seed = rung.rows.shape[1], self.data.sizes["label"], int(self.data.attrs["seed"])
        times = log_times(int(samples or self.data["samples"][-1]), N, self.data.sizes["time"])
        shares = None if weights is None else numbers("weights", weights, (classes,))
        instance = replace(self.network, **settings).instance(rung, classes, seed, shares)
        return predicted(instance, times, chains=chains, seed=seed).assign_coords(samples=("time", np.rint(times * N)))

    @checked
    def best_rate(self, samples: int | None = None, *, rates: ArrayLike = RATES, chains: int = 16) -> Dataset:
        """The error that each learning rate reaches with so many samples, constant or falling to zero, by theory.

        Returns
        -------
        xarray.Dataset
            ``error_rate`` (schedule, learning_rate); ``attrs`` name the best ``learning_rate`` and ``schedule``.
        """
        wanted = int(samples or self.data["samples"][-1])
        end = wanted / self.rungs[0].rows.shape[1]
        schedules = {"constant": None, "linear": Schedule(times=(0.0, end), factors=(1.0, 0.0))}
        tried = numbers("rates", rates, ("rates",))

        def error(rate: float, schedule: Schedule | None) -> float:
            training = Training(schedule=schedule)
            curve = self.predict(samples=wanted, chains=chains, learning_rate=rate, training=training)
            return float(curve["error_rate"][-1])

        errors = [[error(float(rate), schedule) for rate in tried] for schedule in schedules.values()]
        coords = {"schedule": list(schedules), "learning_rate": tried}
        found = Dataset({"error_rate": (tuple(coords), errors)}, coords)
        best = {name: place.item() for name, place in found["error_rate"].fillna(1).argmin(...).items()}
        return found.assign_attrs(
            {name: found[name][place].item() for name, place in best.items()} | {"samples": wanted}
        )

    @checked
    def compare(self, curve: ArrayLike) -> "LabelledDiagnosis":
        """The diagnosis with your own test errors in figure and verdict.

        Parameters
        ----------
        curve
            Samples seen, increasing, and the test error as a rate, shape (points, 2).

        Raises
        ------
        ProblemError
            If samples do not increase or errors are no rates.
        """
        seen, error = numbers("curve", curve, ("points", 2)).T
        if (np.diff(seen) <= 0).any() or seen[0] < 0:
            raise ProblemError("curve: must have increasing numbers of samples in its first column. Sort its rows.")
        if error.min() < 0 or error.max() > 1:
            raise ProblemError(
                f"curve: must have error rates from 0 to 1 (got {error.max():g}). Divide a percentage by 100."
            )
        at = self.data["samples"].values
        inside = (seen >= at[0]) & (seen <= at[-1])
        if not inside.any():
            raise ProblemError(f"curve: must have points from {at[0]:g} to {at[-1]:g} samples (got none).")
        means = self.data["error_rate"].mean("run")
        distances = {
            str(source): float(np.mean(abs(np.interp(seen[inside], at, means.sel(source=source)) - error[inside])))
            for source in means["source"].values
        }
        nearest = min(distances, key=distances.__getitem__)
        words = ", ".join(f"{name} {distance:.3f}" for name, distance in distances.items())
        note = f"Your curve is nearest to SGD on {nearest}. Mean distance in the test error: {words}."
        added = self.data.assign(curve=("point", error)).assign_coords(curve_samples=("point", seen))
        return replace(self, data=added, notes=(*self.notes, note))

    def __str__(self) -> str:
        return "\n".join([self.headline, "", table(self.data), "", *(f"* {note}" for note in self.notes)])


def judge_curves(data: Dataset) -> tuple[Dataset, str, str, list[str]]:
    """Where each rung is left, the verdict, its sentences and what limits it.

    A rung is left at the first output time from which its paired difference from the data is above twice its standard
    error at three successive times, each of them :data:`APART` times as late as the one before. Standard errors are
    those over runs, averaged over rungs and neighbouring times.
    They include that the data are a single set: rows of a surrogate vary from run to run, those of the data do not.
    """
    errors, runs, resolution = data["error_rate"], data.sizes["run"], 1 / data.attrs["test_samples"]
    samples = data["samples"].values
    apart = [len(samples) - 1]
    for place in reversed(range(apart[0])):
        if APART * samples[place] <= samples[apart[0]]:
            apart.insert(0, place)
    surrogates, real = errors.drop_sel(source=DATA), errors.sel(source=DATA, drop=True)
    floor = real.std("run", ddof=1)
    surrogates, real = surrogates.isel(time=apart), real.isel(time=apart)
    difference = (surrogates - real).mean("run")

    def smooth(variance: DataArray) -> DataArray:
        return variance.rolling(time=SUCCESSIVE, center=True, min_periods=1).mean()

    paired = smooth((surrogates - real).var("run", ddof=1).mean("source"))
    of_set = smooth(surrogates.var("run", ddof=1).mean("source") - real.var("run", ddof=1)).clip(min=0)
    stderr = np.sqrt(paired / runs + of_set).clip(min=resolution)
    beyond = (abs(difference) > BEYOND * stderr).astype(int)
    lasting = beyond.rolling(time=SUCCESSIVE).sum().shift(time=1 - SUCCESSIVE) == SUCCESSIVE
    left = real["samples"].where(lasting).min("time")
    data = data.assign(difference=difference, difference_stderr=stderr, left=left, floor=floor)
    chance, end = data.attrs["chance"], errors.sel(source=DATA).isel(time=-1)
    spread = max(float(end.std("run", ddof=1)), resolution)
    late = _late(data)
    staying = [str(name) for name in left["source"].values if left.sel(source=name).isnull() and name not in late]
    if errors.isnull().any():
        return data, "diverges", "Training diverges. Lower the learning rate, or standardise the data.", []
    if end.mean() > chance - BEYOND * np.hypot(spread, np.sqrt(chance * (1 - chance) * resolution)):
        verdict = "nothing learned"
        headline = f"Nothing is learned: the test error ends at {end.mean():.3f}, and chance gives {chance:.3f}."
    else:
        verdict = staying[0] if staying else DATA
        headline = " ".join(_sentences(data))
    return data, verdict, f"Verdict: {headline}", list(_limits(data, chance, spread))


def _late(data: Dataset) -> dict[str, float]:
    """Rungs that are not left but differ at the last time, and by how many standard errors."""
    size = (abs(data["difference"]) / data["difference_stderr"]).isel(time=-1).where(data["left"].isnull())
    return {str(name): x for name, x in size.where(size > 2 * BEYOND).dropna("source").to_series().items()}


def _sentences(data: Dataset) -> Iterator[str]:
    """What the network uses from when on."""
    begin, total, late = 0.0, float(data["samples"][-1]), _late(data)
    for name in data["left"]["source"].values.tolist():
        until = float(data["left"].sel(source=name))
        if np.isnan(until) and name not in late:
            yield (
                f"From {begin:.0f} to {total:.0f} samples" if begin else f"In all of {total:.0f} samples"
            ) + f" {ENOUGH[name]} predict the test error."
            yield "Nothing beyond them shows."
            break
        if until > begin:
            yield f"{ENOUGH[name].capitalize()} predict the test error up to {until:.0f} samples."
            begin = until
    else:
        if not late:
            yield f"From {begin:.0f} samples on your network uses more than these statistics."
    for name, size in late.items():
        yield f"After {total:.0f} samples {ENOUGH[name]} are off by {size:.0f} standard errors, but at the end only."


def _limits(data: Dataset, chance: float, spread: float) -> Iterator[str]:
    """What limits the verdict, and what was not tested."""
    attrs, real = data.attrs, data["error_rate"].sel(source=DATA).mean("run")
    count, end = attrs["test_samples"], float(real[-1])
    yield f"Resolution: {count} test samples tell errors apart that differ by {1 / count:.4f}."
    if spread > (chance - end) / 4:
        yield f"The noise floor {spread:.3f} hides most differences. Give more samples, or more units."
    if attrs["epochs"] > 1:
        yield f"Each training sample is seen {attrs['epochs']:.1f} times. Theory assumes fresh ones, as in one pass."
    half = float(real.interp(time=data["time"][-1] / 2))
    if half - end > 2 * spread:
        yield f"The test error still falls ({half:.3f} at half the samples, {end:.3f} now). More were not tested."
    gap = abs(data["theory_error_rate"] - data["own_error_rate"].mean("run")).max("time").drop_sel(source=DATA)
    for name, size in gap.dropna("source").to_series().items():
        if size > 0.05:
            yield f"Theory is off by up to {size:.2f} from SGD on its own surrogate ({name}): N is small for it."


def table(data: Dataset) -> str:
    """The test error of every source at five times, with the noise floor, as lines of text."""
    places = np.unique(np.searchsorted(data["samples"], np.geomspace(data["samples"][0], data["samples"][-1], 6)[1:]))
    at = data.isel(time=places)
    lines = [f"{'test error after':30}" + "".join(f"{count:8.0f}" for count in at["samples"].values) + "    left"]
    rows = {"noise floor": at["floor"]}
    for source in data["source"].values.tolist()[::-1]:
        theory = at["theory_error_rate"].sel(source=source)
        if theory.notnull().any():
            rows[f"  theory of {source}"] = theory
        rows[source] = at["error_rate"].sel(source=source).mean("run")
    for name, values in reversed(rows.items()):
        left = data["left"].to_series().get(name)
        cells = "".join(f"{value:8.3f}" for value in values.values)
        lines.append(f"{name:30}{cells}" + ("" if left is None else f"{left:8.0f}".replace("nan", "  –")))
    return "\n".join(lines)
