"""What the datasets say: small tables of numbers, and the sentences that follow from them."""

import numpy as np
import pandas as pd
import xarray as xr

from ...comparison import AGREEMENT, compare
from ...plotting import (
    ACTIVATION_LABELS,
    METRICS,
    SATURATION_FACTOR,
    diverged,
    entry_mean,
    instance_mean,
    keep,
    relative,
    relative_floor,
    saturation_time,
    theory_floor,
)

__all__ = [
    "ASYMPTOTE",
    "beside_published",
    "block_ratios",
    "block_verdict",
    "claim_and_replacement",
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
    "mixture_discrepancy_numbers",
    "mixture_discrepancy_verdict",
    "mixture_example_verdict",
    "mixture_fluctuations",
    "mixture_precision_verdict",
    "mixture_size_verdict",
    "mixture_sizes",
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
        f"{'agreement' if max(ratios.values()) <= AGREEMENT else 'theory and SGD part'}. At the end ε_g is "
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
    verdict = "theory and SGD agree" if max(ratios.values()) <= AGREEMENT else "theory and SGD do not agree everywhere"
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


def mixture_example_verdict(sgd: xr.Dataset, ensemble: xr.Dataset, activation: str, law: str) -> str:
    """How far the means over runs are from those of the mixture theory, and whether chance explains it."""
    own = sgd.sel(activation=activation, law=law)
    own = own.assign(Q=own["Q_mixture"], R=own["R_mixture"]).drop_attrs()
    theory = ensemble.sel(activation=activation).drop_attrs()
    whole = own["v"].notnull().all(["run", "student"]) & theory["v"].notnull().all(["run", "student"])
    own, theory = own.isel(time=np.flatnonzero(whole)), theory.isel(time=np.flatnonzero(whole))
    names = [*METRICS, "generalization_error"]
    result = compare(theory[names], own[names])
    parts = []
    for name in names:
        row = result.sel(quantity=name)
        label = "ε_g" if name == "generalization_error" else name
        parts.append(
            f"{_number(row['M_of_means'])} in {label} (chance {_number(row['noise_of_means'])}, scale "
            f"{_number(row['scale'])})"
        )
    final = own["generalization_error"].isel(time=-1).mean("run"), theory["generalization_error"].isel(time=-1)
    lost = "" if whole.all() else f" Compared up to t = {float(own['time'][-1]):.3g}, where one diverges."
    return (
        f"{ACTIVATION_LABELS[activation]}, mixture theory: the mean of {own.sizes['run']} runs is off the mean of "
        f"{theory.sizes['run']} chains by {', '.join(parts)}. At the end ε_g is {_number(final[0])} and in theory "
        f"{_number(final[1].mean('run'))}.{lost}"
    )


def mixture_discrepancy_numbers(grid: xr.Dataset, activation: str) -> pd.DataFrame:
    """Mean M over the scale for both theories on un-standardised mixtures: over all m and α > 0, in percent.

    With the noise floor, M of Gaussian SGD over its scale, and what the scatter between members of the mixture theory
    alone makes of it.
    """
    chosen = keep(grid, activation).sel(standardized=False, drop=True)
    chosen = chosen.isel(spread=np.flatnonzero(chosen["spread"].values > 0))
    rows = []
    for name in METRICS:
        theories = {
            "conventional": relative(chosen, name),
            "mixture": relative(chosen, name, M="M_mixture_", scale="scale_mixture_"),
            "scatter of its chains": relative(chosen, name, M="noise_mixture_", scale="scale_mixture_"),
        }
        row = {"noise floor": float(instance_mean(relative_floor(chosen, name))[0])}
        for label, values in theories.items():
            row[f"{label}, median"] = float(values.median())
            row[f"{label}, largest mean"] = float(instance_mean(values)[0].max())
        rows.append({label: 100 * value for label, value in row.items()})
    return pd.DataFrame(rows, index=[f"M({name})/E|{name}|, %" for name in METRICS])


def mixture_discrepancy_verdict(grid: xr.Dataset, activation: str) -> str:
    """How much of the conventional theory's error is left in the mixture theory's."""
    label = ACTIVATION_LABELS[activation]
    if keep(grid, activation).sizes["instance"] == 0:
        return f"{label}, mixture theory: no instance was kept, so there is nothing to say."
    numbers = mixture_discrepancy_numbers(grid, activation)
    before, after = _column(numbers, "conventional, median"), _column(numbers, "mixture, median")
    names = dict(zip(before, METRICS, strict=True))
    parts = [f"from {before[row]:.3g}% of its scale to {after[row]:.3g}% for {name}" for row, name in names.items()]
    lost = int(keep(grid, activation)["mixture_diverged"].sum())
    return f"{label}: with the mixture theory the median M over m, α > 0 and instances falls {', '.join(parts)}. " + (
        f"Theory diverged in {lost} cases, which are not in this." if lost else "Theory diverged in no case."
    )


def block_ratios(blocks: xr.Dataset, activation: str, standardized: bool) -> pd.DataFrame:
    """M at the largest α over its scale, in percent, and in units of its noise floor.

    A row for each theory and block size that it applies to. The scatter between members of the mixture theory belongs
    to its noise floor.
    """
    chosen = _largest_spread(blocks, activation, standardized)
    M = {name: instance_mean(relative(chosen, name))[0] for name in METRICS}
    rows: dict[str, dict[str, float]] = {}
    for theory in chosen["theory"].values:
        floors = {name: theory_floor(chosen.sel(theory=theory), str(theory), name) for name in METRICS}
        for size in chosen["block_size"].values:
            if not _applies(chosen.sel(theory=theory, block_size=size), standardized):
                continue
            row = rows.setdefault(f"{theory}, B = {size}", {})
            for name in METRICS:
                value = float(M[name].sel(theory=theory, block_size=size))
                floor = floors[name]
                floor = floor.sel(block_size=size) if "block_size" in floor.dims else floor
                row[f"M({name})/E|{name}|, %"] = 100 * value
                row[f"M({name})/floor"] = value / float(floor)
    return pd.DataFrame.from_dict(rows, orient="index")


def _worst(ratios: pd.DataFrame) -> dict[str, float]:
    """The largest of M(Q), M(R), M(v) over their floors, by row; NaN if one is."""
    table = ratios.filter(like="/floor")
    return dict(zip(map(str, table.index), table.to_numpy(dtype=float).max(axis=1).tolist(), strict=True))


def _largest_spread(blocks: xr.Dataset, activation: str, standardized: bool) -> xr.Dataset:
    chosen = keep(blocks, activation).sel(standardized=standardized)
    return chosen.isel(spread=int(chosen["spread"].values.argmax()))


def _applies(one: xr.Dataset, standardized: bool) -> bool:
    """Whether a theory can be asked; where the data does not say, by whether there is a number."""
    if "applicable" in one:
        return bool(one["applicable"])
    return bool(one["M_v"].notnull().any())


def block_verdict(blocks: xr.Dataset, activation: str, standardized: bool) -> str:
    """For which block sizes each theory holds at the largest α: all three M below the agreement factor × floor."""
    chosen = _largest_spread(blocks, activation, standardized)
    ratios = block_ratios(blocks, activation, standardized)
    worst = _worst(ratios)
    parts = []
    for theory in chosen["theory"].values:
        of = {
            str(size): worst[f"{theory}, B = {size}"]
            for size in chosen["block_size"].values
            if f"{theory}, B = {size}" in worst
        }
        if not of:
            parts.append(f"the {theory} theory does not apply")
            continue
        holds = [size for size, ratio in of.items() if ratio <= AGREEMENT]
        fails = [f"{size} ({_ratio(ratio)} ×)" for size, ratio in of.items() if not ratio <= AGREEMENT]
        text = f"the {theory} theory holds for " + (f"B = {', '.join(holds)}" if holds else "no B")
        left = [str(size) for size in chosen["block_size"].values if str(size) not in of]
        text += f" and fails for B = {', '.join(fails)}" if fails else ""
        parts.append(text + (f" (it does not apply to B = {', '.join(left)})" if left else ""))
    lost, theories = int(chosen["diverged"].sum()), int(chosen["theory_diverged"].sum())
    return (
        f"{ACTIVATION_LABELS[activation]}, {'standardised' if standardized else 'un-standardised'}, "
        f"α = {float(chosen['spread']):g}, mean of {chosen.sizes['instance']} instances: {'; '.join(parts)}. In "
        "brackets is the largest of M(Q), M(R), M(v), each over its scale, in units of the noise floor over its own; "
        "the scatter between members of the mixture theory belongs to its floor. "
        + (f"{lost} SGD runs and {theories} mixture theories diverged." if lost or theories else "Nothing diverged.")
    )


def claim_and_replacement(grid: xr.Dataset, blocks: xr.Dataset, activation: str) -> list[str]:
    """What the paper claims, where it holds, and what replaces it where it does not, in plain words."""
    label = ACTIVATION_LABELS[activation]
    if keep(grid, activation).sizes["instance"] == 0:
        return [f"{label}: no instance was kept, so there is nothing to say."]
    numbers = discrepancy_numbers(grid, activation, True)
    most = max(_column(numbers, "largest/floor").values())
    said = "holds" if most <= AGREEMENT else "does not hold everywhere"
    lines = [
        f"{label}. The claim {said} where each coordinate draws its component by itself: up to "
        f"α = {float(grid['spread'].max()):g} M is at most {most:.1f} × the noise floor."
    ]
    for standardized in (True, False):
        table = block_ratios(blocks, activation, standardized)
        worst, share = _worst(table), table.filter(like="%")
        largest = blocks["block_size"].values.max()
        pairs = []
        for size in (largest,) if standardized else (1, largest):
            old, new = f"conventional, B = {size}", f"mixture, B = {size}"
            if new in worst:
                falls = [
                    f"{name} from {before:.3g}% to {after:.3g}%"
                    for name, before, after in zip(METRICS, share.loc[old], share.loc[new], strict=True)
                ]
                pairs.append(
                    f"at B = {size} that takes the error of {', '.join(falls)} of its scale, or "
                    f"{_ratio(worst[new])} × noise at most instead of {_ratio(worst[old])} ×"
                )
        where = (
            "It does not hold for inputs in clusters, where all coordinates share a component. What replaces it there "
            "is the mixture theory: the equations within a cluster, driven by mean fields that move with every step"
            if standardized
            else "Nor does it hold without standardising, for inputs then have a mean. The mixture theory takes it in"
        )
        if pairs:
            lines.append(f"{where}: {'; '.join(pairs)}.")
    if "moment-matched" in blocks["theory"].values:
        worst = _worst(block_ratios(blocks, activation, True))
        between = [
            f"{_ratio(worst[f'moment-matched, B = {size}'])} × instead of "
            f"{_ratio(worst[f'conventional, B = {size}'])} × at B = {size}"
            for size in blocks["block_size"].values
            if 1 < size < blocks["block_size"].values.max() and f"moment-matched, B = {size}" in worst
        ]
        if between:
            lines.append(
                "Between the two, blocks of a few coordinates have too many clusters for the mixture theory. The "
                "moment-matched theory, with the true covariance of the inputs, has an error of "
                f"{', '.join(between)}, in units of the noise floor."
            )
    return lines


def mixture_sizes(mixture: xr.Dataset) -> pd.DataFrame:
    """M and the signed mean difference, SGD − theory, for each N with and without the term of order 1/N."""
    rows = {}
    for size in np.unique(mixture["size"]):
        some = mixture.sel(sample=mixture["size"].values == size)
        count = some.sizes["sample"]
        for finite in (True, False):
            one = some.sel(finite_term=finite)
            row = {}
            for variable, label in (("M", "M({})"), ("offset", "mean {} − theory")):
                mean = one[variable].mean("sample")
                error = one[variable].std("sample", ddof=1) / np.sqrt(count) if count > 1 else mean * np.nan
                for name in one["quantity"].values:
                    short = "ε_g" if name == "generalization_error" else str(name)
                    value, bar = float(mean.sel(quantity=name)), float(error.sel(quantity=name))
                    row[label.format(short)] = f"{value:.4f} ± {bar:.4f}" if np.isfinite(bar) else f"{value:.4f}"
            rows[f"N = {size}, {'with' if finite else 'without'} the term, {count} instances"] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def mixture_size_verdict(mixture: xr.Dataset) -> str:
    """What the term of order 1/N brings, from the smallest N to the largest."""
    sizes = np.unique(mixture["size"])
    parts = []
    for size in sizes:
        some = mixture["M"].sel(quantity="Q").isel(sample=np.flatnonzero(mixture["size"].values == size))
        without, kept = (float(some.sel(finite_term=finite).mean()) for finite in (False, True))
        parts.append(f"from {_number(without)} to {_number(kept)} at N = {size}")
    return (
        f"The term of order 1/N, what the mean fields themselves add to Q, takes M(Q) of one run {', '.join(parts)} "
        f"(t ≤ {mixture.attrs['sizes_time']:g})."
    )


def mixture_precision_verdict(mixture: xr.Dataset) -> str:
    """Whether the step of integration shows beside chance, and how the error falls with the number of chains."""
    names = list(METRICS)
    excess = (mixture["step_error"] / mixture["step_noise"]).sel(quantity=names)
    largest = mixture["step"].values.max()
    counts = mixture["count"].values
    first, last = (mixture["ensemble_error"].sel(count=counts[k], quantity="Q") for k in (0, -1))
    seen = (
        f"no step up to {largest:g} differs from the finest by more than {float(excess.max()):.1f} × what chance makes"
        if float(excess.max()) < 3
        else f"steps differ from the finest by up to {float(excess.max()):.1f} × what chance makes"
    )
    return (
        f"With {mixture.attrs['step_chains']} chains, N = {mixture.attrs['step_size']} and "
        f"t ≤ {mixture.attrs['step_time']:g}, {seen}; in Q that is "
        f"{_number(mixture['step_error'].sel(quantity='Q').max())}. The error of the mean falls from {_number(first)} "
        f"in Q with one chain to {_number(last)} with {counts[-1]}, like one over the square root of their number."
    )


def mixture_fluctuations(mixture: xr.Dataset) -> str:
    """The spread of the mean fields in SGD over that in theory, at every learning rate."""
    parts = [
        f"{float(mixture['ratio'].sel(learning_rate=rate)):.2f} ± "
        f"{float(mixture['ratio_stderr'].sel(learning_rate=rate)):.2f} at η = {rate:g}"
        for rate in mixture["learning_rate"].values
    ]
    return (
        f"The mean fields of SGD fluctuate from run to run as theory's do from chain to chain: the ratio of their "
        f"standard deviations in {mixture.attrs['fluctuation_time'] / 2:g} ≤ t ≤ "
        f"{mixture.attrs['fluctuation_time']:g} is {', '.join(parts)} ({mixture.attrs['runs']} runs of each)."
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
