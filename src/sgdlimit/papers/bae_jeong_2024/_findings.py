"""What the datasets show: small tables of numbers, and the sentences that follow from them."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ...comparison import AGREEMENT, compare, mean_and_error
from ...plotting import ACTIVATION_LABELS, SATURATION_FACTOR, saturation_time
from ._averages import METRICS, by_size, diverged, entry_means, keep, relative, relative_floor, theory_floor

ASYMPTOTE = 0.2
"""A curve levels off if it changes by less than this share of its value over the last third of the α."""

SECOND_ORDER = 1.5
"""An error with a larger slope in ε is of second order or higher; with a smaller one a linear term is missing."""

LAWS = {True: "standardised", False: "un-standardised"}


def example_numbers(theory: xr.Dataset, sgd: xr.Dataset, activation: str, law: str) -> pd.DataFrame:
    """M (18) of the example's runs on a mixture and on Gaussian inputs, before saturation and in it."""
    theory, sgd = theory.sel(activation=activation), sgd.sel(activation=activation)
    names = list(METRICS)
    early = sgd["time"].values < _saturation(theory)
    distance = entry_means(abs(sgd[names] - theory[names]), "").mean("run")
    spans = {"all times": early | True, "before saturation": early, "in saturation": ~early}
    columns = {
        f"{inputs}, {span}": distance.sel(law=key).isel(time=part).mean("time")
        for span, part in spans.items()
        for inputs, key in (("mixture", law), ("Gaussian", "gaussian"))
    }
    return _table(columns | {"mean scale": entry_means(abs(theory[names]), "").mean("time")})


def example_verdict(theory: xr.Dataset, sgd: xr.Dataset, activation: str, law: str) -> str:
    """How far the mixture's runs are from the theory, in units of M on Gaussian inputs, and where ε_g ends."""
    numbers = example_numbers(theory, sgd, activation, law)
    floor = _column(numbers, "Gaussian, all times")
    ratios = {name: M / floor[name] for name, M in _column(numbers, "mixture, all times").items()}
    theory, sgd = theory.sel(activation=activation), sgd.sel(activation=activation)
    final = sgd["generalization_error"].isel(time=-1).mean("run")
    verdict = "agree" if max(ratios.values()) <= AGREEMENT else "differ"
    return (
        f"{ACTIVATION_LABELS[activation]}: theory and SGD {verdict}. {_multiples(ratios)} its value on Gaussian "
        f"inputs. At the end ε_g is {_number(final.sel(law=law))} on the mixture, {_number(final.sel(law='gaussian'))} "
        f"on Gaussian inputs and {_number(theory['generalization_error'][-1])} in theory. Saturation begins at "
        f"t = {_saturation(theory):.3g}: "
        f"from there ε_g of the theory is within a factor {SATURATION_FACTOR:g} of its final value."
    )


def discrepancy_numbers(grid: xr.Dataset, activation: str, standardized: bool) -> pd.DataFrame:
    """Noise floor, extremes of the mean M over all m and α > 0, mean scale, and change over the last third of the α."""
    chosen = _spread_out(grid, activation, standardized)
    curve, scale = mean_and_error(entry_means(chosen, "M_"))[0], entry_means(chosen, "scale_")
    floor = mean_and_error(entry_means(chosen, "floor_"))[0]
    low, high = (extreme(["components", "spread"]) for extreme in (curve.min, curve.max))
    scale = scale.mean([dim for dim in scale.dims if dim != "quantity"])
    # From two thirds of the largest α to the largest; NaN with no α in between.
    late = curve.mean("components").isel(spread=curve["spread"].values >= 2 / 3 * curve["spread"].values.max())
    change = late.isel(spread=-1) / late.isel(spread=0) - 1
    columns = {"floor": floor, "smallest M": low, "largest M": high, "largest/floor": high / floor}
    columns |= {"mean scale": scale, "largest/scale": high / scale}
    return _table(columns | {"late change": change if late.sizes["spread"] > 1 else change * np.nan})


def discrepancy_verdict(grid: xr.Dataset, activation: str, standardized: bool) -> str:
    """Whether M stays near the noise floor and small against the scale; un-standardised, whether it levels off."""
    count, label = keep(grid, activation).sizes["instance"], ACTIVATION_LABELS[activation]
    if count == 0:
        return f"{label}: {NOTHING}"
    numbers = discrepancy_numbers(grid, activation, standardized)
    ratios, shares = _column(numbers, "largest/floor"), _column(numbers, "largest/scale")
    verdict = "theory and SGD agree" if max(ratios.values()) <= AGREEMENT else "theory and SGD do not agree everywhere"
    text = (
        f"{label}, mean of {count} instances: {verdict}. At its largest over m and α > 0, {_multiples(ratios)} "
        f"its noise floor, and the largest mean M is {max(shares.values()):.1%} of the scale of its order "
        "parameter."
    )
    changes = [
        f"{name} {'levels off' if abs(change) < ASYMPTOTE else 'does not level off'} ({change:+.0%})"
        for name, change in _column(numbers, "late change").items()
        if np.isfinite(change)
    ]
    if changes and not standardized:
        text += f" Over the last third of the α {', '.join(changes)}; a change below {ASYMPTOTE:.0%} counts as level."
    return text


def kl_verdict(grid: xr.Dataset) -> str:
    """Whether D_KL grows with α and falls with m."""
    kl = grid["kl"].transpose("instance", "components", "spread")
    last = mean_and_error(kl)[0].isel(spread=-1)
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
        P, N = data["expectation"].sel(function=name, law=["mixture", "normal"]).values.tolist()
        verdict = "equal" if abs(P - N) < 1e-12 else f"they differ by {P - N:+.4f}"
        parts.append(f"for f = {name}, {P:.4f} under P and {N:.4f} under N(0, 1), {verdict}")
    means = ", ".join(f"{mean:.2f}" for mean in data["means"].values)
    return f"Exactly, with the standardised means {means}, E f is {'; '.join(parts)}."


def mixture_example_verdict(sgd: xr.Dataset, ensemble: xr.Dataset, activation: str, law: str) -> str:
    """How far the means over runs are from those of the mixture theory, and whether chance explains it."""
    own = sgd.sel(activation=activation, law=law)
    own = own.assign(Q=own["Q_mixture"], R=own["R_mixture"]).drop_attrs()
    theory = ensemble.sel(activation=activation).drop_attrs()
    whole = (own["v"].notnull() & theory["v"].notnull().all("run")).all(["run", "student"])
    names = [*METRICS, "generalization_error"]
    own, theory = (part[names].isel(time=whole.values) for part in (own, theory))
    rows = compare(theory, own)[["M_of_means", "noise_of_means", "scale"]]
    parts = []
    for name in names:
        distance, chance, scale = (_number(value) for value in rows.sel(quantity=name).values())
        parts.append(f"{SHORT.get(name, name)} by {distance} (chance {chance}, scale {scale})")
    measured, predicted = (_number(part["generalization_error"].isel(time=-1).mean("run")) for part in (own, theory))
    lost = "" if whole.all() else f" Compared up to t = {float(own['time'][-1]):.3g}, where one diverges."
    return (
        f"{ACTIVATION_LABELS[activation]}, mixture theory: the mean of {own.sizes['run']} runs differs from "
        f"the mean of {theory.sizes['run']} chains in {', in '.join(parts)}. At the end ε_g is {measured} and in "
        f"theory {predicted}.{lost}"
    )


def mixture_discrepancy_numbers(grid: xr.Dataset, activation: str) -> pd.DataFrame:
    """Mean M over the scale for both theories on un-standardised mixtures: over all m and α > 0, in percent.

    With the noise floor, M of Gaussian SGD over its scale, and what the scatter between members of the mixture theory
    alone makes of it.
    """
    chosen = _spread_out(grid, activation, False)
    columns = {"noise floor": relative_floor(chosen)}
    for label, M, scale in (
        ("conventional", "M_", "scale_"),
        ("mixture", "M_mixture_", "scale_mixture_"),
        ("scatter of its chains", "noise_mixture_", "scale_mixture_"),
    ):
        values = relative(chosen, M, scale)
        columns[f"{label}, median"] = values.median([dim for dim in values.dims if dim != "quantity"])
        columns[f"{label}, largest mean"] = mean_and_error(values)[0].max(["components", "spread"])
    return 100 * _table(columns, "M({0})/E|{0}|, %")


def mixture_discrepancy_verdict(grid: xr.Dataset, activation: str) -> str:
    """How much of the conventional theory's error is left in the mixture theory's."""
    chosen, label = keep(grid, activation), ACTIVATION_LABELS[activation]
    if chosen.sizes["instance"] == 0:
        return f"{label}, mixture theory: {NOTHING}"
    numbers = mixture_discrepancy_numbers(grid, activation)[["conventional, median", "mixture, median"]]
    parts = [
        f"from {before:.3g}% of its scale to {after:.3g}% for {name}"
        for name, (before, after) in zip(METRICS, numbers.to_numpy(), strict=True)
    ]
    lost = int(chosen["mixture_diverged"].sum())
    left_out = f"Theory diverged in {lost} cases, which are left out." if lost else "Theory diverged in no case."
    return (
        f"{label}: with the mixture theory the median M over m, α > 0 and instances falls {', '.join(parts)}. "
        f"{left_out}"
    )


def block_ratios(blocks: xr.Dataset, activation: str, standardized: bool) -> pd.DataFrame:
    """M at the largest α over its scale, in percent, and in units of its noise floor.

    A row for each theory and block size that it applies to. The scatter between members of the mixture theory belongs
    to its noise floor.
    """
    chosen = _largest_spread(blocks, activation, standardized)
    rows = {}
    for theory in map(str, chosen["theory"].values):
        own = chosen.sel(theory=theory)
        M = mean_and_error(relative(own))[0]
        ratios = M / theory_floor(own, theory)
        applies = own["applicable"] if "applicable" in own else own["M_v"].notnull().any(["instance", "student"])
        for size in chosen["block_size"].values[applies.values.astype(bool)]:
            row = rows[f"{theory}, B = {size}"] = {}
            for name in METRICS:
                place = {"quantity": name, "block_size": size}
                row[f"M({name})/E|{name}|, %"] = 100 * float(M.sel(place))
                row[f"M({name})/floor"] = float(ratios.sel(place))
    return pd.DataFrame.from_dict(rows, orient="index")


def block_verdict(blocks: xr.Dataset, activation: str, standardized: bool) -> str:
    """For which block sizes each theory holds at the largest α: all three M below the agreement factor × floor."""
    chosen = _largest_spread(blocks, activation, standardized)
    worst = _worst(block_ratios(blocks, activation, standardized))
    parts = []
    for theory in chosen["theory"].values:
        ratios = {size: worst.get(f"{theory}, B = {size}") for size in map(str, chosen["block_size"].values)}
        known = {size: ratio for size, ratio in ratios.items() if ratio is not None}
        holds = [size for size, ratio in known.items() if ratio <= AGREEMENT]
        fails = [f"{size} ({_ratio(ratio)} ×)" for size, ratio in known.items() if not ratio <= AGREEMENT]
        left = [size for size in ratios if size not in known]
        text = f"the {theory} theory holds for " + (f"B = {', '.join(holds)}" if holds else "no B")
        text += f" and fails for B = {', '.join(fails)}" if fails else ""
        text += f" (it does not apply to B = {', '.join(left)})" if left else ""
        parts.append(text if known else f"the {theory} theory does not apply")
    lost, theories = int(chosen["diverged"].sum()), int(chosen["theory_diverged"].sum())
    end = f"{lost} SGD runs and {theories} mixture theories diverged." if lost or theories else "Nothing diverged."
    return (
        f"{ACTIVATION_LABELS[activation]}, {LAWS[standardized]}, α = {float(chosen['spread']):g}, mean of "
        f"{chosen.sizes['instance']} instances: {'; '.join(parts)}. Brackets give the largest relative error of Q, R "
        "and v, in noise floors. The floor of the mixture theory includes the scatter between its members. " + end
    )


def claim_and_replacement(grid: xr.Dataset, blocks: xr.Dataset, activation: str) -> list[str]:
    """What the paper claims, where it holds, and what replaces it where it does not, in plain words."""
    label = ACTIVATION_LABELS[activation]
    if keep(grid, activation).sizes["instance"] == 0:
        return [f"{label}: {NOTHING}"]
    most = max(_column(discrepancy_numbers(grid, activation, True), "largest/floor").values())
    lines = [
        f"{label}. The claim {'holds' if most <= AGREEMENT else 'does not hold everywhere'} where each coordinate "
        f"draws its component by itself: up to α = {float(grid['spread'].max()):g} M is at most {most:.1f} × the noise "
        "floor."
    ]
    sizes = blocks["block_size"].values.tolist()
    for standardized, where, shown in (
        (
            True,
            "It does not hold for inputs in clusters, where all coordinates share a component. The mixture theory "
            "replaces it there. It solves the equations within a cluster, driven by mean fields that move with every "
            "step",
            sizes[-1:],
        ),
        (
            False,
            "Nor does it hold without standardising, because inputs then have a mean. The mixture theory includes it",
            [1, sizes[-1]],
        ),
    ):
        table = block_ratios(blocks, activation, standardized)
        worst, share = _worst(table), table.filter(like="%")
        pairs = []
        for size in shown:
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
        if pairs:
            lines.append(f"{where}: {'; '.join(pairs)}.")
    worst = _worst(block_ratios(blocks, activation, True))
    between = [
        f"{_ratio(worst[f'moment-matched, B = {size}'])} × instead of {_ratio(worst[f'conventional, B = {size}'])} × "
        f"at B = {size}"
        for size in sizes
        if 1 < size < sizes[-1] and f"moment-matched, B = {size}" in worst
    ]
    if between:
        lines.append(
            "Between the two, blocks of a few coordinates have too many clusters for the mixture theory. The "
            f"moment-matched theory, with the true covariance of the inputs, has an error of {', '.join(between)}, in "
            "noise floors."
        )
    return lines


def mixture_sizes(mixture: xr.Dataset) -> pd.DataFrame:
    """M and the signed mean difference, SGD − theory, for each N with and without the term of order 1/N."""
    averages = {"M({})": by_size(mixture["M"]), "mean {} − theory": by_size(mixture["offset"])}
    rows = {}
    for size in averages["M({})"][0]["size"].values:
        count = int((mixture["size"] == size).sum())
        for finite in (True, False):
            row = rows[f"N = {size}, {'with' if finite else 'without'} the term, {count} instances"] = {}
            for (label, pair), name in product(averages.items(), mixture["quantity"].values):
                one = {"size": size, "finite_term": finite, "quantity": name}
                row[label.format(SHORT.get(str(name), name))] = _interval(pair[0].sel(one), pair[1].sel(one), ".4f")
    return pd.DataFrame.from_dict(rows, orient="index")


def mixture_size_verdict(mixture: xr.Dataset) -> str:
    """What the term of order 1/N brings, from the smallest N to the largest."""
    means = by_size(mixture["M"].sel(quantity="Q"))[0]
    parts = [
        f"from {_number(M.sel(finite_term=False))} to {_number(M.sel(finite_term=True))} at N = {int(M['size'])}"
        for M in means
    ]
    return (
        f"The mean fields themselves add a term of order 1/N to Q. It takes M(Q) of one run {', '.join(parts)} "
        f"(t ≤ {mixture.attrs['sizes_time']:g})."
    )


def mixture_precision_verdict(mixture: xr.Dataset) -> str:
    """Whether the step of integration shows beside chance, and how the error falls with the number of chains."""
    excess = float((mixture["step_error"] / mixture["step_noise"]).sel(quantity=list(METRICS)).max())
    errors, step = mixture["ensemble_error"].sel(quantity="Q"), mixture["step_error"].sel(quantity="Q").max()
    differs = (
        f"no step up to {mixture['step'].values.max():g} differs from the finest by more than {excess:.1f} × what "
        "chance makes"
        if excess < 3
        else f"steps differ from the finest by up to {excess:.1f} × what chance makes"
    )
    return (
        f"With {mixture.attrs['step_chains']} chains, N = {mixture.attrs['step_size']} and "
        f"t ≤ {mixture.attrs['step_time']:g}, {differs}; in Q that is {_number(step)}. The error of the mean falls "
        f"from {_number(errors[0])} in Q with one chain to {_number(errors[-1])} with {int(errors['count'][-1])}, like "
        "one over the square root of their number."
    )


def mixture_fluctuations(mixture: xr.Dataset) -> str:
    """The spread of the mean fields in SGD over that in theory, at every learning rate."""
    parts = [
        f"{_interval(ratio, error)} at η = {float(ratio['learning_rate']):g}"
        for ratio, error in zip(mixture["ratio"], mixture["ratio_stderr"], strict=True)
    ]
    return (
        f"The mean fields of SGD fluctuate from run to run as theory's do from chain to chain: the ratio of their "
        f"standard deviations in {mixture.attrs['fluctuation_time'] / 2:g} ≤ t ≤ "
        f"{mixture.attrs['fluctuation_time']:g} is {', '.join(parts)} ({mixture.attrs['runs']} runs of each)."
    )


def size_exponents(sizes: xr.Dataset) -> pd.DataFrame:
    """The fitted exponent of N for each theory and quantity, with its standard error."""
    cells = np.vectorize(_interval)(sizes["exponent"], sizes["exponent_stderr"])
    columns = [f"M({name})" for name in sizes["quantity"].values]
    return pd.DataFrame(cells, index=[f"theory, {name}" for name in sizes["theory"].values], columns=columns)


def size_verdict(sizes: xr.Dataset) -> str:
    """Whether M falls like N^(−1/2): the fitted exponents within three standard errors of −1/2."""
    off = abs(sizes["exponent"] + 0.5) / sizes["exponent_stderr"]
    parts = []
    for theory in off["theory"].values:
        far = [f"M({name}) ({x:.1f})" for name, x in _pairs(off.sel(theory=theory), "quantity") if x > 3]
        known = "each instance" if theory == "instance" else theory
        verdict = f"{', '.join(far)} differ from −½ by more than that" if far else "all agree with −½"
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
    return pd.DataFrame(columns, index=least["construction"].values)


def correlation_verdict(correlations: xr.Dataset) -> str:
    """What order the errors of Lemma V.1 have, and where the next term does not make it second order."""
    least = correlations["slope"].min(["spread", "pair"])
    orders = _pairs(least.sel(order=1), "construction")
    second = ", ".join(name for name, order in orders if order > SECOND_ORDER)
    first = ", ".join(name for name, order in orders if not order > SECOND_ORDER)
    text = (
        f"As printed, the error is of order {float(least.sel(order=0).min()):.1f} in ε or higher for all pairs of "
        "functions and all α."
    )
    if second:
        text += (
            " With the term ε E[u1 f] E[u2 g], of which the covariances of the equivalent Gaussian model are made, "
            f"the error is of second order or higher for: {second}."
        )
    if first:
        text += (
            f" It stays of first order for: {first}. There f and g see more of the mixture than its covariance, so a "
            "Gaussian model with the same covariance differs by O(ε)."
        )
    return text


def expectation_verdict(expectations: xr.Dataset) -> str:
    """For which f the condition of Lemma V.3 is met, for which its conclusion holds, and how sums of coordinates do."""
    tolerance, parts = expectations.attrs["relative_tolerance"], []
    for name in expectations["function"].values:
        one = expectations.sel(function=name)
        largest = float((abs(one["difference"]) * tolerance / one["tolerance"]).max())
        parts.append(
            f"{name}: condition {'met' if one['condition'].all() else 'not met'}, conclusion holds in "
            f"{int(one['holds'].sum())} of {one['holds'].size} mixtures (largest difference {largest:.1%})"
        )
    last = abs(expectations["sum_difference"].isel(count=-1, spread=-1))
    sums = ", ".join(f"{f} {float(last.sel(function=f)):.1e}" for f in ("erf", "relu", "sign"))
    return (
        f"A difference of up to {tolerance:.0%} of the root mean square of f is negligible. {'; '.join(parts)}. The "
        "condition does not decide: E|x| and P(x > 0), and with them E f of ReLU and sgn, are not fixed by mean and "
        "variance, and where erf agrees it is by symmetry or because the difference is small. In the model f acts on "
        f"sums of many coordinates: with D = {int(last['count'])} of them, at α = {float(last['spread']):g}, the "
        f"differences are {sums}."
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
    kept, reasons = (grid[name].transpose("activation", "instance") for name in ("kept", "reason"))
    rows = [
        (str(grid["instance"].values[place]), ACTIVATION_LABELS[str(grid["activation"].values[of])], str(reason))
        for (of, place), reason in np.ndenumerate(reasons.values)
        if not kept.values[of, place]
    ]
    return pd.DataFrame(rows, columns=["instance", "activation", "reason"])


def divergences(dataset: xr.Dataset) -> pd.DataFrame:
    """How many SGD runs diverged, by condition, kept instances or not; empty if none did."""
    count = diverged(dataset).sum("instance").rename("diverged").to_dataframe().reset_index()
    return count.assign(of=dataset.sizes["instance"]).query("diverged > 0")


NOTHING = "no instance was kept, so there is nothing to report."
SHORT = {"generalization_error": "ε_g"}


def _saturation(theory: xr.Dataset) -> float:
    return saturation_time(theory["time"].values, theory["generalization_error"].values)


def _spread_out(grid: xr.Dataset, activation: str, standardized: bool) -> xr.Dataset:
    """The kept instances of one activation on mixtures with α > 0."""
    chosen = keep(grid, activation).sel(standardized=standardized, drop=True)
    return chosen.isel(spread=chosen["spread"].values > 0)


def _largest_spread(blocks: xr.Dataset, activation: str, standardized: bool) -> xr.Dataset:
    chosen = keep(blocks, activation).sel(standardized=standardized)
    return chosen.isel(spread=int(chosen["spread"].values.argmax()))


def _worst(ratios: pd.DataFrame) -> dict[str, float]:
    """The largest of M(Q), M(R), M(v) over their floors, by row; NaN if one is."""
    return ratios.filter(like="/floor").max(axis=1, skipna=False).to_dict()


def _table(columns: Mapping[str, xr.DataArray], row: str = "M({})") -> pd.DataFrame:
    """Numbers of Q, R and v, a row for each."""
    return pd.DataFrame({n: x.values for n, x in columns.items()}, index=[row.format(name) for name in METRICS])


def _column(table: pd.DataFrame, name: str) -> dict[str, float]:
    return table.to_dict()[name]  # type: ignore[index]


def _pairs(values: xr.DataArray, dim: str) -> list[tuple[str, float]]:
    return list(zip(map(str, values[dim].values), values.values.tolist(), strict=True))


def _multiples(ratios: Mapping[str, float]) -> str:
    return ", ".join(f"{name} is {_ratio(value)} ×" for name, value in ratios.items())


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _number(value: xr.DataArray | float) -> str:
    return "unknown (diverged)" if np.isnan(float(value)) else f"{float(value):.3g}"


def _interval(value: Any, error: Any, form: str = ".2f") -> str:
    """A number with its standard error, if it has one."""
    return format(float(value), form) + (f" ± {format(float(error), form)}" if np.isfinite(error) else "")
