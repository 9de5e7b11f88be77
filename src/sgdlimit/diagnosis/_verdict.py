"""From the numbers of a diagnosis to a verdict in plain words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit
from xarray import DataArray, Dataset

from ..comparison import AGREEMENT, mean_and_error
from ..inputs import GAUSSIAN_THEORIES, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.975
"""One-sided level of Student's t: a theory holds or fails if the 95 % interval of its margin does not include zero."""

LEAST_SAMPLES, LEAST_FOR_A_COLUMN = 100, 10
"""The fewest samples that get a verdict: in all, and for each column."""

RESOLVED = 0.5
"""Nothing is decided where the noise floor of Q is above this part of its mean |Q|: almost any theory would agree."""

FEW_ROWS = 10
"""A column is nearly constant if fewer rows than this make up its variance. (Of n Gaussian rows n/3 do.)"""

LABELS = {
    "kolmogorov_smirnov": "Kolmogorov–Smirnov",
    "wasserstein": "Wasserstein",
    "excess_kurtosis": "excess kurtosis",
}

ROW = "{theory:16}{quantity:22}{M:9.3g}{M_stderr:9.3g}{floor:9.3g}{floor_stderr:9.3g}{ratio:9.2f}{own:10.2f}"
"""A line of the table."""


@dataclass(frozen=True)
class Diagnosis:
    """Which theory predicts SGD on some data, and why others do not. ``print`` shows all of it."""

    verdict: str
    """The first theory that holds (conventional, moment-matched, mixture), ``"neither"``, or ``"undecided"``, where the
    first theory that does not fail cannot be told from one that does, training diverges, or samples are too few."""
    borderline: bool
    """Whether the verdict is undecided only for want of runs or samples."""
    headline: str
    """The verdict in a few sentences."""
    outcomes: Mapping[str, str]
    """For each theory ``"holds"``, ``"fails"`` or ``"cannot tell"``."""
    reasons: tuple[str, ...]
    """Which assumptions of the theories fail and which hold, with the numbers."""
    data: Dataset = field(repr=False)
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
        teacher = "a random teacher; yours are not used" if "role" in self.data.attrs else "the teacher of the instance"
        lines += ["", f"Labels come from {teacher}."]
        return "\n".join(lines)


def margins(data: Dataset) -> Dataset:
    """M beside the noise floor, with standard errors over runs, and the margin M − AGREEMENT floor from paired runs.

    A margin whose 95 % interval includes zero neither holds nor fails. On samples it fails only where M is also larger,
    at the same level, than on as many samples of the inputs that the theory assumes.

    Returns
    -------
    xarray.Dataset
        ``M``, ``floor``, ``gaussian`` (M on the inputs that the theory assumes) and ``margin``, each with a
        ``_stderr``; ``holds`` and ``fails``; ``ratio``, ``spread`` and ``own``: M, half its 95 % interval and
        ``gaussian``, over the floor; and ``few``, the M of as many samples over the floor, where they were tried; dims
        (theory, quantity).
    """
    runs = Dataset({name: data[f"{name}_runs"] for name in ("M", "floor", "gaussian")})
    runs["margin"] = runs["M"] - AGREEMENT * runs["floor"]
    mean, error = mean_and_error(runs.where(runs.notnull().all("run")), "run")
    spread = stdtrit(data.sizes["run"] - 1, LEVEL) * error["margin"]
    fails, few = ~(mean["margin"] <= spread), {}  # true also for what could not be computed
    if "M_sets" in data:
        (average, scatter), sets = mean_and_error(data["M_sets"], "set"), data.sizes["set"]
        fails &= ~(mean["M"] <= average + stdtrit(sets - 1, LEVEL) * np.sqrt(sets + 1) * scatter)
        few = {"few": average}
    ratios = {"ratio": mean["M"], "spread": spread, "own": mean["gaussian"], **few}
    return mean.assign(
        {f"{name}_stderr": values for name, values in error.items()}
        | {name: values / mean["floor"] for name, values in ratios.items()}
        | {"holds": mean["margin"] <= -spread, "fails": fails}
    )


def judge(data: Dataset, centred: Diagnosis | None = None) -> Diagnosis:
    """Which theories hold: those whose M is within AGREEMENT noise floors for every quantity; and why others fail.

    Parameters
    ----------
    data, centred
        See :class:`sgdlimit.Diagnosis`.
    """
    found = margins(data)
    outcome = data["theory"].values.tolist(), found["fails"].any("quantity"), found["holds"].all("quantity")
    outcomes = {
        name: "fails" if fails else "holds" if holds else "cannot tell"
        for name, fails, holds in zip(*outcome, strict=True)
    }
    first = next((name for name, said in outcomes.items() if said != "fails"), None)
    sizes = {name: _size(data, name, found.sel(theory=name)) for name in outcomes}
    holding = [name for name, said in outcomes.items() if said == "holds"][:1]
    tried = found.sel(theory=slice(first))
    obstacle = _obstacle(data, tried)
    if obstacle:
        headline = f"undecided, because {obstacle}"
    elif first is None:
        headline = "no theory predicts SGD on these data."
    elif first in holding:
        headline = f"{first} theory predicts SGD on these data: {sizes[first]}."
    else:
        headline = f"undecided. {first} theory may hold or fail: {sizes[first]}."
        headline += "".join(f" {name} theory holds: {sizes[name]}." for name in holding)
        more = "runs (most_runs)" if "few" not in found or found["few"].sel(theory=first).isnull().all() else "samples"
        headline += f" Give more {more}."
    simpler = [f"{name}: {sizes[name]}" for name in tried["theory"].values if outcomes[name] == "fails"]
    if simpler and not obstacle:
        headline += f" {'Simpler theories' if first else 'All'} fail ({'; '.join(simpler)})."
    undecided = bool(obstacle) or first not in [*holding, None]
    verdict = "undecided" if undecided else first or "neither"
    reasons, open_to_runs = _reasons(data, found), undecided and not obstacle
    return Diagnosis(verdict, open_to_runs, f"Verdict: {headline}", outcomes, reasons, data, centred)


def _obstacle(data: Dataset, tried: Dataset) -> str:
    """Why there can be no verdict; nothing where there can."""
    noise = tried["floor"].sel(quantity="Q") / abs(data["Q_theory"]).mean(["time", "student", "student_"])
    count, least = data.attrs.get("distinct_samples", np.inf), least_samples(data.sizes["node"])
    if "diverged_at" in data.attrs:
        return (
            f"training diverges at t = {data.attrs['diverged_at']:.3g}, on these data or on Gaussian inputs of their "
            "size. Lower the learning rate, or standardise the data."
        )
    if count < least:
        return f"{count} samples are too few. Give at least {least}, ten for each column and a hundred in all."
    if not noise.max() <= RESOLVED:
        return (
            f"noise alone is {float(noise.max()):.0%} of Q, so that any theory would agree. Lower the learning rate, "
            "standardise the data, or use more inputs."
        )
    return ""


def least_samples(columns: int) -> int:
    """The fewest samples of so many columns that get a verdict."""
    return max(LEAST_SAMPLES, LEAST_FOR_A_COLUMN * columns)


def table(data: Dataset) -> str:
    """M of each theory beside its floor, as lines of text."""
    lines = [f"{'theory':16}{'quantity':22}{'M':>9}{'± s.e.':>9}{'floor':>9}{'± s.e.':>9}{'M/floor':>9}{'its own':>10}"]
    for theory, rows in margins(data).to_dataframe().reset_index().groupby("theory", sort=False):
        if rows["M"].dropna().empty:
            lines.append(f"{theory:16}{_inapplicable(data, str(theory))}")
        else:
            lines += map(ROW.format_map, rows.to_dict("records"))
    return "\n".join(lines)


def _worst(ratios: DataArray) -> tuple[str, float]:
    """The order parameter with the largest M in units of its floor, and that ratio."""
    return ratios.idxmax().item(), float(ratios.max())


def _inapplicable(data: Dataset, theory: str) -> str:
    """Why there are no numbers of a theory."""
    if theory == "mixture":
        return f"does not apply: {data.attrs.get('without_mixture', 'training diverges')}"
    return "does not apply to inputs with a mean"


def _size(data: Dataset, theory: str, numbers: Dataset) -> str:
    """How large M of a theory is."""
    if numbers["M"].isnull().any():
        return _inapplicable(data, theory)
    quantity, ratio = _worst(numbers["ratio"])
    spread = float(numbers["spread"].sel(quantity=quantity))
    return f"M({quantity}) is {ratio:.1f} × the noise floor (95 % CI {max(ratio - spread, 0):.1f}-{ratio + spread:.1f})"


def _reasons(data: Dataset, found: Dataset) -> tuple[str, ...]:
    """What theories of Gaussian inputs assume, and whether it holds; what fails comes first."""
    checks = [*_columns(data), *_assumptions(data, found), *_gaussianity(data)]
    sentences = [sentence for _, sentence in sorted(checks, key=lambda check: not check[0])]
    scale = abs(data["R_sgd"]).sel(theory="conventional").mean()
    share = float(found["floor"].sel(theory="conventional", quantity="R") / scale)
    if share > 0.1:
        sentences.append(
            f"resolution: with {data.attrs['input_dim']} inputs noise alone is {share:.0%} of |R|. Smaller deviations "
            "from theory cannot be seen."
        )
    return tuple(sentences)


def _columns(data: Dataset) -> Iterator[tuple[bool, str]]:
    """Which columns of a finite data set are constant or nearly so."""
    if dropped := data.attrs.get("dropped_columns"):
        yield False, f"constant columns: {listed(np.array(dropped))}, left out."
    if "carrying_rows" in data:
        few = data["column"][data["carrying_rows"].values < FEW_ROWS].values
        if len(few):
            yield (
                True,
                (
                    f"nearly constant columns: {listed(few)}. Fewer than {FEW_ROWS} rows make up "
                    "their variance. Drop these columns, or read the verdict as one about these rows."
                ),
            )


def _assumptions(data: Dataset, found: Dataset) -> Iterator[tuple[bool, str]]:
    """Whether assumptions of theory fail, each with a sentence: fresh samples, mean, covariance, self-averaging."""
    distinct, epochs, D = data.attrs.get("distinct_samples"), data.attrs.get("epochs", 0), data.sizes["node"]
    if distinct is not None:
        text = f"samples: each of {distinct} is used {epochs:.2g} times."
        if epochs > 1:
            text += f" Theory assumes fresh samples, which holds up to t = {distinct / data.attrs['input_dim']:.2g}."
        text += f" A verdict takes at least {least_samples(D)}."
        if "few" in found:
            for name, M in found["few"].max("quantity").dropna("theory").to_series().items():
                text += f" On as many of the inputs that {name} theory assumes M is {M:.1f} floors."
        yield epochs > 1, text

    names = ("mean", "partners", "partners_noise", "largest_noise", "correlation_range")
    mean, partners, noise, expected, reach = (float(data[name]) for name in names)
    removed, largest = data.attrs.get("mean_removed", 0.0), float(data["eigenvalues"].max())
    text = f"mean: {removed:.2f} deviations (root mean square) were subtracted" if removed > 0.05 else "mean: none"
    if mean > 0.05:
        text = (
            f"non-zero mean: {mean:.2f} deviations (root mean square over coordinates). It shifts local fields by up "
            f"to {float(data['field_mean'].max()):.1f} deviations. Only mixture theory includes a mean."
        )
    yield mean > 0.05, text

    # Samples of independent coordinates would make a covariance that differs from the identity too.
    text = f"largest eigenvalue {largest:.1f}, isotropic data have {expected:.1f}"
    isotropic = largest <= 1.2 * expected and partners <= 1.2 * noise + 0.1
    if isotropic:
        text = f"covariance: isotropic ({text})"
    else:
        chance = f" ({noise:.1f} by chance)" if noise >= 0.1 else ""
        text = (
            f"covariance: not isotropic ({text}). A coordinate correlates with {partners:.1f} others{chance}; nine "
            f"tenths of the correlation lie within {reach:.0f} neighbours of {D}."
        )
    yield not isotropic, text

    # Size is a cause where the last Gaussian theory does not follow Gaussian inputs of its covariance.
    name = found["M"].sel(theory=list(GAUSSIAN_THEORIES)).dropna("theory")["theory"].values[-1]
    quantity, ratio = _worst(found["own"].sel(theory=name).drop_sel(quantity="generalization_error", errors="ignore"))
    text = f"size: {name} theory follows SGD on Gaussian inputs of its covariance ({ratio:.1f} × the floor)"
    if ratio > AGREEMENT:
        text = (
            f"size: {name} theory fails even on Gaussian inputs of this covariance (M({quantity}) is {ratio:.1f} × the "
            f"floor). The eigenvalue {largest:.0f} is not small beside the {data.attrs['input_dim']} inputs, so "
            "overlaps do not self-average."
        )
    yield ratio > AGREEMENT, text


def _gaussianity(data: Dataset) -> Iterator[tuple[bool, str]]:
    """The local fields at the output time where they are furthest from Gaussian, and the data themselves.

    They are called non-Gaussian where the mean of a statistic over fields is above what 99 % of single Gaussian
    variables have.
    """
    data = data.sel(statistic=list(LABELS))
    along, high = data["fields"].mean(["field_run", "field"]), data["null"].sel(moment="high").values
    furthest = along[(abs(along.values) / high).max(axis=1).argmax()]
    for label, mean in (
        (f"local fields (t = {float(furthest['field_time']):.3g}, the least Gaussian)", furthest.values),
        ("random projections of the data", data["projections"].mean("projection").values),
    ):
        fails = bool((abs(mean) > high).any())
        verdict = "not Gaussian" if fails else "Gaussian within the noise"
        values = zip(LABELS.values(), mean, high, strict=True)
        numbers = "; ".join(f"{name} {value:.3f}, {limit:.3f}" for name, value, limit in values)
        yield fails, f"{label}: {verdict} ({numbers}; 99 % of Gaussian variables have less than the second number)"
