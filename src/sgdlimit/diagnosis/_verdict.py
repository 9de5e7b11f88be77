"""From the numbers of a diagnosis to a verdict in plain words."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from ..comparison import AGREEMENT
from ..inputs import GAUSSIAN_THEORIES

__all__ = ["DECISIVE", "RESOLVED", "Verdict", "judge", "margins", "table"]

DECISIVE = ("Q", "R", "v")
"""The order parameters that all have to agree. (ε_g of one network may agree by chance where these don't.)"""

RESOLVED = 0.5
"""Nothing is decided where the noise floor of Q is above this part of its mean |Q|: almost any theory would agree."""

NAMES = {"generalization_error": "ε_g"}

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
        ``M``, ``floor``, ``gaussian`` (M of the inputs that the theory takes the data for) and
        ``margin``, each with a ``_stderr``, and ``agrees``; dims (theory, quantity).
    """
    result = xr.Dataset()
    pairs = {name: data[f"{name}_runs"] for name in ("M", "floor", "gaussian")}
    pairs["margin"] = pairs["M"] - AGREEMENT * pairs["floor"]
    for name, values in pairs.items():
        result[name] = values.mean("run", skipna=False)
        result[f"{name}_stderr"] = values.std("run", ddof=1, skipna=False) / np.sqrt(values.sizes["run"])
    result["agrees"] = result["margin"] <= 0  # false for what could not be computed
    return result


def judge(data: xr.Dataset) -> Verdict:
    """The first theory whose M is within AGREEMENT noise floors for each of Q, R and v, and what breaks.

    Parameters
    ----------
    data
        See :attr:`sgdlimit.Diagnosis.data`.
    """
    found = margins(data).sel(quantity=list(DECISIVE))
    theories = [str(name) for name in data["theory"].values]
    agree = found["agrees"].all("quantity").values
    verdict = theories[int(np.argmax(agree))] if agree.any() else "neither"
    tried = theories[: theories.index(verdict) + 1] if agree.any() else theories
    reasons, obstacle = tuple(_reasons(data)), _obstacle(data, tried)
    if obstacle:
        return Verdict("undecided", True, f"Verdict: undecided, for {obstacle}.", reasons)
    uncertain = [name for name in tried if _could_turn(found.sel(theory=name))]
    return Verdict(verdict, bool(uncertain), _headline(data, found, verdict, uncertain), reasons)


def table(data: xr.Dataset) -> str:
    """M of each theory beside its floor, as lines of text."""
    found = margins(data)
    lines = [
        f"{'theory':16}{'quantity':22}{'M':>9}{'± s.e.':>9}{'floor':>9}{'± s.e.':>9}{'M/floor':>9}{'its own':>10}",
    ]
    for theory in data["theory"].values:
        if np.isnan(found["M"].sel(theory=theory)).all():
            lines.append(f"{theory:16}{_inapplicable(data, str(theory))}")
            continue
        for quantity in data["quantity"].values:
            row = {str(name): float(values) for name, values in found.sel(theory=theory, quantity=quantity).items()}
            numbers = "".join(f"{row[name]:9.3g}" for name in ("M", "M_stderr", "floor", "floor_stderr"))
            ratios = f"{row['M'] / row['floor']:9.2f}{row['gaussian'] / row['floor']:10.2f}"
            lines.append(f"{theory:16}{quantity:22}{numbers}{ratios}")
    return "\n".join(lines)


def _obstacle(data: xr.Dataset, tried: list[str]) -> str:
    """What makes any comparison meaningless, and what would help; empty where nothing does."""
    if "diverged_at" in data.attrs:
        return (
            f"training diverges at t = {data.attrs['diverged_at']:.3g}, on these data or on Gaussian inputs of their "
            "size; lower the learning rate, or standardise the data"
        )
    share = margins(data)["floor"].sel(quantity="Q", drop=True) / abs(data["Q_theory"]).mean(
        [dim for dim in data["Q_theory"].dims if dim != "theory"]
    )
    worst = float(share.sel(theory=tried).max())
    if worst <= RESOLVED:
        return ""
    return (
        f"noise alone is {worst:.0%} of Q, and any theory would do; lower the learning rate, standardise the data, or "
        "take more inputs"
    )


def _could_turn(found: xr.Dataset) -> bool:
    """Whether two standard errors more or less would change what is said of one theory."""
    if np.isnan(found["margin"]).any():
        return False
    low, high = (found["margin"] + sign * 2 * found["margin_stderr"] for sign in (-1, 1))
    return bool(((low <= 0).all() & (high > 0).any()).item())


def _worst(found: xr.Dataset, name: str = "M") -> tuple[str, float]:
    """The order parameter with the largest M in units of its floor, and that ratio."""
    ratios = found[name] / found["floor"]
    place = int(np.argmax(ratios.values))
    quantity = str(ratios["quantity"].values[place])
    return NAMES.get(quantity, quantity), float(ratios[place])


def _inapplicable(data: xr.Dataset, theory: str) -> str:
    if theory == "mixture":
        return f"does not apply: {data.attrs.get('without_mixture', 'training diverges')}"
    return "does not apply to inputs with a mean"


def _headline(data: xr.Dataset, found: xr.Dataset, verdict: str, uncertain: list[str]) -> str:
    said = {}
    for name in map(str, found["theory"].values):
        one = found.sel(theory=name)
        if np.isnan(one["M"]).any():
            said[name] = _inapplicable(data, name)
        else:
            quantity, ratio = _worst(one)
            said[name] = f"M({quantity}) is {ratio:.1f} × the noise floor"
    if verdict == "neither":
        headline = f"none of the theories predicts SGD on these data ({_listed(said)})"
    else:
        below = dict(list(said.items())[: list(said).index(verdict)])
        headline = f"{verdict} theory predicts SGD on these data (at most, {said[verdict]})"
        headline += f", a simpler one does not ({_listed(below)})" if below else ""
    headline = f"Verdict: {headline}."
    if uncertain:
        names = " and of ".join(uncertain)
        headline += f" Borderline: M of {names} is within two standard errors of {AGREEMENT:g} floors; take more runs."
    return headline


def _listed(said: dict[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in said.items())


def _reasons(data: xr.Dataset) -> list[str]:
    """What theories of Gaussian inputs take for granted, and whether it is so; what matters is named first."""
    broken, kept = [], []
    for is_broken, sentence in (
        *_samples(data),
        _mean(data),
        _covariance(data),
        _self_averaging(data),
        *_gaussianity(data),
    ):
        (broken if is_broken else kept).append(sentence)
    return [*broken, *kept, *_cautions(data)]


def _samples(data: xr.Dataset) -> list[tuple[bool, str]]:
    """Of a finite data set: theory is for fresh samples, and seeing each many times is enough to break it."""
    distinct, size = data.attrs.get("distinct_samples"), data.sizes["node"]
    if distinct is None:
        return []
    epochs = data.attrs["epochs"]
    text = f"samples: {distinct} are seen {epochs:.1f} times each"
    if epochs > 1:
        text += f"; theory is for fresh ones, and up to t = {distinct / data.attrs['input_dim']:.2g} they are"
    if distinct < 10 * size:
        text += f"; a stable covariance takes {10 * size}"
    return [(epochs > 1, text)]


def _mean(data: xr.Dataset) -> tuple[bool, str]:
    removed = data.attrs.get("mean_removed", 0.0)
    if float(data["mean"]) > 0.05:
        return True, (
            f"non-zero mean: {float(data['mean']):.2f} deviations (root mean square over coordinates), {_shift(data)}; "
            "no theory of Gaussian inputs has it, that of clusters does"
        )
    if removed > 0.05:
        return False, f"mean: there was one, {removed:.2f} deviations (root mean square); it was subtracted"
    return False, "mean: none"


def _shift(data: xr.Dataset) -> str:
    return f"local fields are shifted by up to {float(data['field_mean'].max()):.1f} deviations"


def _covariance(data: xr.Dataset) -> tuple[bool, str]:
    """Whether the covariance differs from the identity by more than samples of independent coordinates would."""
    largest, expected = float(data["eigenvalues"].max()), float(data["largest_noise"])
    partners, noise = float(data["partners"]), float(data["partners_noise"])
    text = f"largest eigenvalue {largest:.1f} where isotropic data have {expected:.1f}"
    if largest <= 1.2 * expected and partners <= 1.2 * noise + 0.1:
        return False, f"covariance: isotropic ({text})"
    size = data.sizes["node"]
    return True, (
        f"covariance: not isotropic ({text}); a coordinate correlates with {partners:.1f} others"
        + (f" (of which {noise:.1f} by chance)" if noise >= 0.1 else "")
        + f", nine tenths of it within {float(data['correlation_range']):.0f} neighbours of {size}"
    )


def _self_averaging(data: xr.Dataset) -> tuple[bool, str]:
    """Whether the last Gaussian theory follows Gaussian inputs of its covariance: if not, that is a cause."""
    found = margins(data).sel(quantity=list(DECISIVE))
    gaussian = [str(name) for name in data["theory"].values if name in GAUSSIAN_THEORIES]
    name = [name for name in gaussian if not np.isnan(found["M"].sel(theory=name)).any()][-1]
    quantity, ratio = _worst(found.sel(theory=name), "gaussian")
    if ratio <= AGREEMENT:
        return False, f"size: {name} theory follows SGD on Gaussian inputs of its covariance ({ratio:.1f} × the floor)"
    return True, (
        f"size: even on Gaussian inputs of this covariance {name} theory misses SGD (M({quantity}) is {ratio:.1f} × "
        f"the floor); an eigenvalue of {float(data['eigenvalues'].max()):.0f} is not small beside the "
        f"{data.attrs['input_dim']} inputs, and overlaps do not self-average"
    )


def _gaussianity(data: xr.Dataset) -> list[tuple[bool, str]]:
    """The local fields at the output time where they are furthest from Gaussian, and the data themselves.

    They are called non-Gaussian where the mean Kolmogorov–Smirnov distance over fields is above what 99 % of single
    Gaussian variables have.
    """
    along = data["fields"].mean(["run", "field"])
    furthest = along.isel(field_time=int(np.argmax(along.sel(statistic="kolmogorov_smirnov").values)))
    high = {str(name): float(data["null"].sel(moment="high", statistic=name)) for name in data["statistic"].values}
    sentences = []
    for label, mean in (
        (f"local fields, at t = {float(furthest['field_time']):.3g} where they are furthest", furthest),
        ("random projections of the data", data["projections"].mean("projection")),
    ):
        found = {name: float(mean.sel(statistic=name)) for name in high}
        broken = found["kolmogorov_smirnov"] > high["kolmogorov_smirnov"]
        numbers = "; ".join(f"{LABELS[name]} {found[name]:.3f}, {high[name]:.3f}" for name in LABELS)
        sentences.append((
            broken,
            f"{label}: {'not Gaussian' if broken else 'Gaussian as far as can be seen'} ({numbers}; the second numbers "
            "are what 99 % of Gaussian variables stay below)",
        ))  # fmt: skip
    return sentences


def _cautions(data: xr.Dataset) -> list[str]:
    """What limits the answer itself."""
    cautions = []
    floor = margins(data)["floor"].sel(theory="conventional")
    scale = abs(data["R_sgd"]).sel(theory="conventional").mean()
    share = float(floor.sel(quantity="R") / scale)
    if share > 0.1:
        cautions.append(
            f"resolution: with {data.attrs['input_dim']} inputs noise alone is {share:.0%} of |R|; smaller deviations "
            "from theory cannot be seen"
        )
    return cautions
