"""What the datasets say: small tables of numbers, and the sentences that follow from them."""

import numpy as np
import pandas as pd
import xarray as xr

from sgdlimit.comparison import AGREEMENT
from sgdlimit.figures._averages import METRICS, diverged, entry_mean, instance_mean, keep
from sgdlimit.figures._style import ACTIVATION_LABELS
from sgdlimit.figures.dynamics import SATURATION_FACTOR, saturation_time

__all__ = [
    "ASYMPTOTE",
    "beside_published",
    "block_ratios",
    "block_verdict",
    "correlation_orders",
    "correlation_verdict",
    "discrepancy_numbers",
    "discrepancy_verdict",
    "divergences",
    "dropped_instances",
    "example_numbers",
    "example_verdict",
    "expectation_verdict",
    "kl_verdict",
    "sample_mean_verdict",
    "size_exponents",
    "size_verdict",
]

ASYMPTOTE = 0.2
"""A curve is said to level off if it changes by less than this share of its value over the last third of the α."""

SECOND_ORDER = 1.5
"""An error with a larger slope in ε is of second order or higher; with a smaller one a linear term is missing."""


def example_numbers(theory: xr.Dataset, sgd: xr.Dataset, activation: str, law: str) -> pd.DataFrame:
    """M (18) of the example's runs on a mixture and on Gaussian inputs, before saturation and in it."""
    theory, sgd = theory.sel(activation=activation), sgd.sel(activation=activation)
    early = sgd["time"].values < saturation_time(theory["time"].values, theory["generalization_error"].values)
    rows = []
    for name in METRICS:
        distance = entry_mean(abs(sgd[name] - theory[name])).mean("run").sel(law=[law, "gaussian"])
        parts = [distance.mean("time"), *(distance.isel(time=part).mean("time") for part in (early, ~early))]
        scale = float(abs(theory[name]).mean())
        rows.append([*(float(value) for part in parts for value in part), scale])
    spans = ("all times", "before saturation", "in saturation")
    columns = [f"{inputs}, {span}" for span in spans for inputs in ("mixture", "Gaussian")]
    return pd.DataFrame(rows, index=[f"M({name})" for name in METRICS], columns=[*columns, "mean scale"])


def example_verdict(theory: xr.Dataset, sgd: xr.Dataset, activation: str, law: str) -> str:
    """How far the mixture's runs are from the theory, in units of M on Gaussian inputs, and where ε_g ends."""
    numbers = example_numbers(theory, sgd, activation, law)
    own, floor = _column(numbers, "mixture, all times"), _column(numbers, "Gaussian, all times")
    ratios = {name: own[name] / floor[name] for name in own}
    theory, sgd = theory.sel(activation=activation), sgd.sel(activation=activation)
    start = saturation_time(theory["time"].values, theory["generalization_error"].values)
    final = sgd["generalization_error"].isel(time=-1).mean("run")
    return (
        f"{ACTIVATION_LABELS[activation]}: {_multiples(ratios)} its value on Gaussian inputs: "
        f"{'agreement' if max(ratios.values()) < AGREEMENT else 'theory and SGD part'}. At the end ε_g is "
        f"{_number(final.sel(law=law))} on the mixture, {_number(final.sel(law='gaussian'))} on Gaussian inputs and "
        f"{_number(theory['generalization_error'][-1])} in theory. Saturation, ε_g of the theory within a factor "
        f"{SATURATION_FACTOR:g} of its final value, begins at t = {start:.3g}."
    )


def discrepancy_numbers(grid: xr.Dataset, activation: str, standardized: bool) -> pd.DataFrame:
    """Noise floor, extremes of the mean M over all m and α > 0, mean scale, and change over the last third of the α."""
    chosen = keep(grid, activation).sel(standardized=standardized, drop=True)
    chosen = chosen.isel(spread=np.flatnonzero(chosen["spread"].values > 0))
    rows = []
    for name in METRICS:
        curve = instance_mean(entry_mean(chosen[f"M_{name}"]))[0]
        floor = float(instance_mean(entry_mean(chosen[f"floor_{name}"]))[0])
        low, high = float(curve.min()), float(curve.max())
        scale = float(entry_mean(chosen[f"scale_{name}"]).mean())
        rows.append([floor, low, high, high / floor, scale, high / scale, _late_change(curve.mean("components"))])
    columns = ["floor", "smallest M", "largest M", "largest/floor", "mean scale", "largest/scale", "late change"]
    return pd.DataFrame(rows, index=[f"M({name})" for name in METRICS], columns=columns)


def _late_change(curve: xr.DataArray) -> float:
    """Relative change of a curve from two thirds of the largest α to the largest; NaN with no α in between."""
    late = curve.isel(spread=np.flatnonzero(curve["spread"].values >= 2 / 3 * curve["spread"].values.max()))
    return float(late[-1] / late[0] - 1) if late.sizes["spread"] > 1 else np.nan


def discrepancy_verdict(grid: xr.Dataset, activation: str, standardized: bool) -> str:
    """Whether M stays near the noise floor and small against the scale; un-standardised, whether it levels off."""
    count = keep(grid, activation).sizes["instance"]
    label = ACTIVATION_LABELS[activation]
    if count == 0:
        return f"{label}: no instance was kept, so there is nothing to say."
    numbers = discrepancy_numbers(grid, activation, standardized)
    ratios, share = _column(numbers, "largest/floor"), max(_column(numbers, "largest/scale").values())
    verdict = "theory and SGD agree" if max(ratios.values()) < AGREEMENT else "theory and SGD do not agree everywhere"
    text = (
        f"{label}, mean of {count} instances: {verdict}. At its largest over m and α > 0, {_multiples(ratios)} "
        f"its noise floor, and the largest mean M is {share:.1%} of the scale of its order parameter."
    )
    if not standardized:
        said = [
            f"{name} {'levels off' if abs(change) < ASYMPTOTE else 'does not level off'} ({change:+.0%})"
            for name, change in _column(numbers, "late change").items()
            if np.isfinite(change)
        ]
        text += (
            f" Over the last third of the α {', '.join(said)}, a change below {ASYMPTOTE:.0%} being level."
            if said
            else ""
        )
    return text


def kl_verdict(grid: xr.Dataset) -> str:
    """Whether D_KL grows with α and falls with m."""
    kl = grid["kl"].transpose("instance", "components", "spread")
    last = instance_mean(kl)[0].isel(spread=-1)
    values = ", ".join(f"{float(value):.2f} (m = {m})" for m, value in zip(kl["components"].values, last, strict=True))
    rises = "rises with α in every instance" if (kl.diff("spread") > -1e-9).all() else "does not rise with α everywhere"
    falls = "falls" if (np.diff(last.values) < 0).all() else "does not fall steadily"
    return (
        f"D_KL {rises}. At α = {float(kl['spread'][-1]):g} its mean over {grid.sizes['instance']} instances is "
        f"{values} nats: in this sample it {falls} as components are added."
    )


def sample_mean_verdict(data: xr.Dataset) -> str:
    """The exact E f under the mixture and under N(0, 1)."""
    parts = []
    for name in data["function"].values:
        exact = data["expectation"].sel(function=name)
        P, N = float(exact.sel(law="mixture")), float(exact.sel(law="normal"))
        verdict = "equal" if abs(P - N) < 1e-12 else f"they differ by {P - N:+.4f}"
        parts.append(f"for f = {name}, {P:.4f} under P and {N:.4f} under N(0, 1), {verdict}")
    return (
        f"Exactly, with the standardised means {', '.join(f'{m:.2f}' for m in data['means'].values)}, E f is "
        f"{'; '.join(parts)}."
    )


def block_ratios(blocks: xr.Dataset, activation: str) -> pd.DataFrame:
    """M over the noise floor at the largest α: a row for each theory and block size, a column for each of Q, R, v."""
    chosen = keep(blocks, activation)
    largest = chosen.isel(spread=int(chosen["spread"].values.argmax()))
    ratios = {}
    for name in METRICS:
        floor = instance_mean(entry_mean(largest[f"floor_{name}"]))[0]
        ratio = instance_mean(entry_mean(largest[f"M_{name}"]))[0] / floor
        ratios[f"M({name})/floor"] = ratio.transpose("theory", "block_size").values.ravel()
    rows = [f"{theory}, B = {size}" for theory in largest["theory"].values for size in largest["block_size"].values]
    return pd.DataFrame(ratios, index=rows)


def block_verdict(blocks: xr.Dataset, activation: str) -> str:
    """For which block sizes each theory holds at the largest α: all three M below the agreement factor × floor."""
    chosen = keep(blocks, activation)
    worst = block_ratios(blocks, activation).max(axis=1, skipna=False).to_numpy().reshape(chosen.sizes["theory"], -1)
    parts = []
    for theory, ratios in zip(chosen["theory"].values, worst, strict=True):
        pairs = list(zip(chosen["block_size"].values, ratios, strict=True))
        holds = [str(size) for size, ratio in pairs if ratio < AGREEMENT]
        fails = [f"{size} ({_ratio(ratio)} ×)" for size, ratio in pairs if not ratio < AGREEMENT]
        text = f"the {theory} theory holds for " + (f"B = {', '.join(holds)}" if holds else "no B")
        parts.append(text + (f" and fails for B = {', '.join(fails)}" if fails else ""))
    return (
        f"{ACTIVATION_LABELS[activation]}, α = {float(chosen['spread'].max()):g}, mean of {chosen.sizes['instance']} "
        f"instances: {'; '.join(parts)}. In brackets is the largest of M(Q), M(R), M(v) over its noise floor."
    )


def size_exponents(sizes: xr.Dataset) -> pd.DataFrame:
    """The fitted exponent of N for each theory and quantity, with its standard error."""
    cells = [
        [f"{e:.2f} ± {s:.2f}" for e, s in zip(values, errors, strict=True)]
        for values, errors in zip(sizes["exponent"].values, sizes["exponent_stderr"].values, strict=True)
    ]
    columns = [f"M({name})" for name in sizes["quantity"].values]
    return pd.DataFrame(cells, index=[f"theory, {name}" for name in sizes["theory"].values], columns=columns)


def size_verdict(sizes: xr.Dataset) -> str:
    """Whether M falls like N^(−1/2): the fitted exponents within three standard errors of −1/2."""
    off = abs(sizes["exponent"] + 0.5) / sizes["exponent_stderr"]
    parts = []
    for theory in sizes["theory"].values:
        values = {f"M({name})": float(off.sel(theory=theory, quantity=name)) for name in sizes["quantity"].values}
        apart = [f"{name} ({value:.1f})" for name, value in values.items() if value > 3]
        known = "each instance" if theory == "instance" else theory
        verdict = f"{', '.join(apart)} differ from −½ by more than that" if apart else "all agree with −½"
        parts.append(f"against the theory of {known} {verdict}")
    counts = ", ".join(f"{int((sizes['size'] == N).sum())} of N = {N}" for N in np.unique(sizes["size"]))
    return (
        f"The exponents of N, to three standard errors: {'; '.join(parts)} (instances: {counts}). The least "
        f"certain exponent is known to ±{float(sizes['exponent_stderr'].max()):.2f}."
    )


def correlation_orders(correlations: xr.Dataset) -> pd.DataFrame:
    """The least order in ε of the error of Lemma V.1 over all α: rows by construction, columns by f, g and order."""
    least = correlations["slope"].min("spread")
    columns = {
        f"{pair}; {'as printed' if order == 0 else 'with the next term'}": least.sel(pair=pair, order=order).values
        for order in least["order"].values
        for pair in least["pair"].values
    }
    return pd.DataFrame(columns, index=[str(name) for name in least["construction"].values])


def correlation_verdict(correlations: xr.Dataset) -> str:
    """What order the errors of Lemma V.1 have, and where the next term does not make it second order."""
    least = correlations["slope"].min(["spread", "pair"])
    printed = float(least.sel(order=0).min())
    second = [
        str(name) for name in least["construction"].values if least.sel(order=1, construction=name) > SECOND_ORDER
    ]
    first = [str(name) for name in least["construction"].values if str(name) not in second]
    text = f"As printed, the error is of order {printed:.1f} in ε or higher for all pairs of functions and all α."
    if second:
        text += (
            " With the term ε E[u1 f] E[u2 g], of which the covariances of the equivalent Gaussian model are made, "
            f"the error is of second order or higher for: {', '.join(second)}."
        )
    if first:
        text += (
            f" It stays of first order for: {', '.join(first)}. There f and g see more of the mixture than its "
            "covariance, so a Gaussian model with the same covariance is off by O(ε)."
        )
    return text


def expectation_verdict(expectations: xr.Dataset) -> str:
    """For which f the condition of Lemma V.3 is met, for which its conclusion holds, and how sums of coordinates do."""
    parts = []
    for name in expectations["function"].values:
        one = expectations.sel(function=name)
        condition, holds = bool(one["condition"].all()), one["holds"]
        relative = abs(one["difference"]) * expectations.attrs["relative_tolerance"] / one["tolerance"]
        parts.append(
            f"{name}: condition {'met' if condition else 'not met'}, conclusion holds in {int(holds.sum())} of "
            f"{holds.size} mixtures (largest difference {float(relative.max()):.1%})"
        )
    last = expectations["sum_difference"].isel(count=-1, spread=-1)
    sums = ", ".join(f"{f} {abs(float(last.sel(function=f))):.1e}" for f in ("erf", "relu", "sign"))
    return (
        f"Negligible is up to {expectations.attrs['relative_tolerance']:.0%} of the root mean square of f. "
        f"{'; '.join(parts)}. The condition does not decide: E|x| and P(x > 0), and with them E f of ReLU and sgn, are "
        "not fixed by mean and variance, and where erf agrees it is by symmetry or because the difference is small. In "
        f"the model f acts on sums of many coordinates: with D = {int(last['count'])} of them, at "
        f"α = {float(last['spread']):g}, the differences are {sums}."
    )


def beside_published(measured: pd.DataFrame, published: pd.DataFrame) -> str:
    """Mean M over α and entries beside the paper's, for Q, R and v."""
    parts = []
    for name in METRICS:
        ours, theirs = (
            float(table.iloc[:-1].filter(regex=f"^{name}").mean().mean())  # without the row E[|X|]
            for table in (measured, published)
        )
        parts.append(f"M({name}) is {_number(ours)} here, {_number(theirs)} in the paper ({_ratio(ours / theirs)} ×)")
    return "Over all α and entries " + "; ".join(parts) + "."


def dropped_instances(grid: xr.Dataset) -> pd.DataFrame:
    """Which instances were left out for which activation, and why."""
    rows = []
    for activation in grid["activation"].values:
        chosen = grid[["kept", "reason"]].sel(activation=activation)
        for seed in chosen["instance"].values:
            instance = chosen.sel(instance=seed)
            if not instance["kept"]:
                rows.append((str(seed), ACTIVATION_LABELS[str(activation)], str(instance["reason"].values)))
    return pd.DataFrame(rows, columns=["instance", "activation", "reason"])


def divergences(dataset: xr.Dataset) -> pd.DataFrame:
    """How many SGD runs diverged, by condition, kept instances or not; empty if none did."""
    lost = diverged(dataset)
    count = lost.sum("instance").rename("diverged").to_dataframe().reset_index().assign(of=dataset.sizes["instance"])
    return count.query("diverged > 0")


def _column(table: pd.DataFrame, name: str) -> dict[str, float]:
    return dict(zip(map(str, table.index), np.asarray(table[name], dtype=float).tolist(), strict=True))


def _multiples(ratios: dict[str, float]) -> str:
    return ", ".join(f"{name} is {_ratio(value)} ×" for name, value in ratios.items())


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _number(value: xr.DataArray | float) -> str:
    number = float(value)
    return "unknown (diverged)" if np.isnan(number) else f"{number:.3g}"
