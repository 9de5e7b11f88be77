"""From the numbers of a diagnosis to a verdict in plain words."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from ..comparison import AGREEMENT
from ..inputs import GAUSSIAN_THEORIES

DECISIVE = ["Q", "R", "v"]
"""The order parameters that all have to agree. (ε_g of one network may agree by chance where these do not.)"""

RESOLVED = 0.5
"""Nothing is decided where the noise floor of Q is above this part of its mean |Q|: almost any theory would agree."""

LABELS = {
    "kolmogorov_smirnov": "Kolmogorov–Smirnov",
    "wasserstein": "Wasserstein",
    "excess_kurtosis": "excess kurtosis",
}


class Verdict(NamedTuple):
    """What is decided, in the order of a :class:`sgdlimit.Diagnosis`."""

    verdict: str
    borderline: bool
    headline: str
    reasons: tuple[str, ...]


def margins(data: xr.Dataset) -> xr.Dataset:
    """M beside the noise floor, with standard errors over runs, and the margin M − AGREEMENT floor from paired runs.

    Returns
    -------
    xarray.Dataset
        ``M``, ``floor``, ``gaussian`` (M on the inputs that the theory assumes) and ``margin``, each with a
        ``_stderr``, and ``agrees``; dims (theory, quantity).
    """
    runs = xr.Dataset({name: data[f"{name}_runs"] for name in ("M", "floor", "gaussian")})
    runs["margin"] = runs["M"] - AGREEMENT * runs["floor"]
    mean = runs.mean("run", skipna=False)
    error = runs.std("run", ddof=1, skipna=False) / np.sqrt(runs.sizes["run"])
    errors = {f"{name}_stderr": values for name, values in error.items()}
    return mean.assign(errors | {"agrees": mean["margin"] <= 0})  # false for what could not be computed


def judge(data: xr.Dataset) -> Verdict:
    """The first theory whose M is within AGREEMENT noise floors for each of Q, R and v, and why others fail.

    Parameters
    ----------
    data
        See :attr:`sgdlimit.Diagnosis.data`.
    """
    found = margins(data).sel(quantity=DECISIVE)
    by_theory = {str(name): found.sel(theory=name) for name in data["theory"].values}
    agree = [name for name, numbers in by_theory.items() if numbers["agrees"].all()]
    verdict = agree[0] if agree else "neither"
    tried = list(by_theory)[: list(by_theory).index(verdict) + 1] if agree else list(by_theory)
    reasons, obstacle = _reasons(data, found), _obstacle(data, found.sel(theory=tried))
    if obstacle:
        return Verdict("undecided", True, f"Verdict: undecided, because {obstacle}", reasons)
    uncertain = [name for name in tried if _could_turn(by_theory[name])]
    sizes = {name: _size(data, name, numbers) for name, numbers in by_theory.items()}
    if agree:
        headline = f"{verdict} theory predicts SGD on these data ({sizes[verdict]})."
        simpler = {name: sizes[name] for name in tried[:-1]}
        headline += f" Simpler theories do not ({_listed(simpler)})." if simpler else ""
    else:
        headline = f"no theory predicts SGD on these data ({_listed(sizes)})."
    if uncertain:
        headline += (
            f" Borderline: M of {' and '.join(uncertain)} is within two standard errors of {AGREEMENT:g} floors."
        )
        headline += " Take more runs."
    return Verdict(verdict, bool(uncertain), f"Verdict: {headline}", reasons)


def table(data: xr.Dataset) -> str:
    """M of each theory beside its floor, as lines of text."""
    found = margins(data)
    lines = [f"{'theory':16}{'quantity':22}{'M':>9}{'± s.e.':>9}{'floor':>9}{'± s.e.':>9}{'M/floor':>9}{'its own':>10}"]
    for theory in data["theory"].values:
        rows = found.sel(theory=theory)
        if rows["M"].isnull().all():
            lines.append(f"{theory:16}{_inapplicable(data, theory)}")
            continue
        for quantity in data["quantity"].values:
            row = {str(name): float(value) for name, value in rows.sel(quantity=quantity).items()}
            numbers = "".join(f"{row[name]:9.3g}" for name in ("M", "M_stderr", "floor", "floor_stderr"))
            ratios = f"{row['M'] / row['floor']:9.2f}{row['gaussian'] / row['floor']:10.2f}"
            lines.append(f"{theory:16}{quantity:22}{numbers}{ratios}")
    return "\n".join(lines)


def _obstacle(data: xr.Dataset, tried: xr.Dataset) -> str:
    """What makes any comparison meaningless, and what would help; empty where nothing does."""
    if "diverged_at" in data.attrs:
        return (
            f"training diverges at t = {data.attrs['diverged_at']:.3g}, on these data or on Gaussian inputs of their "
            "size. Lower the learning rate, or standardise the data."
        )
    Q = abs(data["Q_theory"]).mean(["time", "student", "student_"])
    worst = float((tried["floor"].sel(quantity="Q") / Q).max())
    if worst <= RESOLVED:
        return ""
    return (
        f"noise alone is {worst:.0%} of Q, so that any theory would agree. Lower the learning rate, standardise the "
        "data, or use more inputs."
    )


def _could_turn(numbers: xr.Dataset) -> bool:
    """Whether two standard errors more or less would change the verdict on one theory."""
    low, high = (numbers["margin"] + sign * 2 * numbers["margin_stderr"] for sign in (-1, 1))
    return bool((low <= 0).all() and (high > 0).any())


def _worst(numbers: xr.Dataset, name: str = "M") -> tuple[str, float]:
    """The order parameter with the largest M in units of its floor, and that ratio."""
    ratios = numbers[name] / numbers["floor"]
    return str(ratios.idxmax("quantity").values), float(ratios.max())


def _inapplicable(data: xr.Dataset, theory: str) -> str:
    """Why there are no numbers of a theory."""
    if theory == "mixture":
        return f"does not apply: {data.attrs.get('without_mixture', 'training diverges')}"
    return "does not apply to inputs with a mean"


def _size(data: xr.Dataset, theory: str, numbers: xr.Dataset) -> str:
    """How large M of a theory is."""
    if numbers["M"].isnull().any():
        return _inapplicable(data, theory)
    return "M({}) is {:.1f} × the noise floor".format(*_worst(numbers))


def _listed(sizes: dict[str, str]) -> str:
    return "; ".join(f"{name}: {size}" for name, size in sizes.items())


def _reasons(data: xr.Dataset, found: xr.Dataset) -> tuple[str, ...]:
    """What theories of Gaussian inputs assume, and whether it holds; what fails comes first."""
    checks = [*_samples(data), _mean(data), _covariance(data), _self_averaging(data, found), *_gaussianity(data)]
    fails = [sentence for failed, sentence in checks if failed]
    return (*fails, *(sentence for failed, sentence in checks if not failed), *_cautions(data, found))


def _samples(data: xr.Dataset) -> list[tuple[bool, str]]:
    """Whether a finite data set is used more than once; theory assumes fresh samples."""
    distinct, size, epochs = data.attrs.get("distinct_samples"), data.sizes["node"], data.attrs.get("epochs", 0)
    if distinct is None:
        return []
    text = f"samples: each of {distinct} is used {epochs:.1f} times."
    if epochs > 1:
        text += f" Theory assumes fresh samples, which holds up to t = {distinct / data.attrs['input_dim']:.2g}."
    if distinct < 10 * size:
        text += f" A stable covariance takes {10 * size}."
    return [(epochs > 1, text)]


def _mean(data: xr.Dataset) -> tuple[bool, str]:
    """Whether inputs have a mean, which Gaussian theories do not allow for."""
    mean, removed = float(data["mean"]), data.attrs.get("mean_removed", 0.0)
    if mean > 0.05:
        return True, (
            f"non-zero mean: {mean:.2f} deviations (root mean square over coordinates). It shifts local fields by up "
            f"to {float(data['field_mean'].max()):.1f} deviations. Only mixture theory includes a mean."
        )
    if removed > 0.05:
        return False, f"mean: {removed:.2f} deviations (root mean square) were subtracted"
    return False, "mean: none"


def _covariance(data: xr.Dataset) -> tuple[bool, str]:
    """Whether the covariance differs from the identity by more than samples of independent coordinates would."""
    names = ("largest_noise", "partners", "partners_noise", "correlation_range")
    expected, partners, noise, reach = (float(data[name]) for name in names)
    largest = float(data["eigenvalues"].max())
    text = f"largest eigenvalue {largest:.1f}, isotropic data have {expected:.1f}"
    if largest <= 1.2 * expected and partners <= 1.2 * noise + 0.1:
        return False, f"covariance: isotropic ({text})"
    chance = f" ({noise:.1f} by chance)" if noise >= 0.1 else ""
    return True, (
        f"covariance: not isotropic ({text}). A coordinate correlates with {partners:.1f} others{chance}; nine tenths "
        f"of the correlation lie within {reach:.0f} neighbours of {data.sizes['node']}."
    )


def _self_averaging(data: xr.Dataset, found: xr.Dataset) -> tuple[bool, str]:
    """Whether the last Gaussian theory follows Gaussian inputs of its covariance; if not, size is a cause."""
    gaussian = found.sel(theory=[name for name in data["theory"].values if name in GAUSSIAN_THEORIES])
    name = str(gaussian["M"].dropna("theory")["theory"].values[-1])
    quantity, ratio = _worst(found.sel(theory=name), "gaussian")
    if ratio <= AGREEMENT:
        return False, f"size: {name} theory follows SGD on Gaussian inputs of its covariance ({ratio:.1f} × the floor)"
    return True, (
        f"size: {name} theory fails even on Gaussian inputs of this covariance (M({quantity}) is {ratio:.1f} × the "
        f"floor). The eigenvalue {float(data['eigenvalues'].max()):.0f} is not small beside the "
        f"{data.attrs['input_dim']} inputs, so overlaps do not self-average."
    )


def _gaussianity(data: xr.Dataset) -> list[tuple[bool, str]]:
    """The local fields at the output time where they are furthest from Gaussian, and the data themselves.

    They are called non-Gaussian where the mean Kolmogorov–Smirnov distance over fields is above what 99 % of single
    Gaussian variables have.
    """
    along = data["fields"].mean(["run", "field"])
    furthest = along.isel(field_time=along.sel(statistic="kolmogorov_smirnov").values.argmax())
    high = data["null"].sel(moment="high")
    sentences = []
    for label, mean in (
        (f"local fields (t = {float(furthest['field_time']):.3g}, the least Gaussian)", furthest),
        ("random projections of the data", data["projections"].mean("projection")),
    ):
        fails = bool((mean > high).sel(statistic="kolmogorov_smirnov"))
        numbers = "; ".join(
            f"{text} {mean.sel(statistic=name).item():.3f}, {high.sel(statistic=name).item():.3f}"
            for name, text in LABELS.items()
        )
        verdict = "not Gaussian" if fails else "Gaussian within the noise"
        text = f"{label}: {verdict} ({numbers}; 99 % of Gaussian variables have less than the second number)"
        sentences.append((fails, text))
    return sentences


def _cautions(data: xr.Dataset, found: xr.Dataset) -> list[str]:
    """What limits the answer itself."""
    scale = abs(data["R_sgd"]).sel(theory="conventional").mean()
    share = float(found["floor"].sel(theory="conventional", quantity="R") / scale)
    if share <= 0.1:
        return []
    return [
        f"resolution: with {data.attrs['input_dim']} inputs noise alone is {share:.0%} of |R|. Smaller deviations from "
        "theory cannot be seen."
    ]
