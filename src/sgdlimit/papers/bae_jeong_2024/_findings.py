"""What the datasets show: sentences, with the small tables of numbers that they follow from."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from pandas import DataFrame
from xarray import DataArray, Dataset

from ...comparison import AGREEMENT, compare
from ...inputs import MOST_BLOCKS
from ...plotting import ACTIVATION_LABELS, SATURATION_FACTOR, saturation_time
from ...report import Finding, numbers
from ._averages import METRICS, entry_means, keep, relative, relative_floor, theory_floor

ASYMPTOTE = 0.2
"""A curve levels off if it changes by less than this share of its value over the last third of the α."""

LAW = ["components", "spread"]
LAWS = {True: "standardised", False: "un-standardised"}
NOTHING = "no instance was kept, so there is nothing to report."
IN_PAPER = "In the paper"
SHORT = {"generalization_error": "ε_g"}


def example(theory: Dataset, sgd: Dataset, activation: str, law: str) -> Finding:
    """How far the mixture's runs are from the theory, in units of M on Gaussian inputs, and where ε_g ends.

    The table has M (18) of the runs on a mixture and on Gaussian inputs, before saturation and in it.
    """
    theory, sgd = (each.sel(activation=activation) for each in (theory, sgd))
    errors, label = theory["generalization_error"].values, ACTIVATION_LABELS[activation]
    start = saturation_time(theory["time"].values, errors)
    early = sgd["time"] < start
    distance = entry_means(abs(sgd - theory)).mean("run")
    columns = {
        f"{inputs}, {span}": distance.sel(law=key).where(part).mean("time")
        for span, part in {"all times": True, "before saturation": early, "in saturation": ~early}.items()
        for inputs, key in (("mixture", law), ("Gaussian", "gaussian"))
    }
    table = _table(columns | {"mean scale": entry_means(abs(theory)).mean("time")})
    ratios = table["mixture, all times"] / table["Gaussian, all times"]
    verdict = "agree" if np.all(ratios <= AGREEMENT) else "differ"
    final = sgd["generalization_error"].isel(time=-1).mean("run")
    return Finding(
        f"{label}: theory and SGD {verdict}. {_multiples(ratios)} its value on "
        f"Gaussian inputs. At the end ε_g is {number(final.sel(law=law))} on the mixture, "
        f"{number(final.sel(law='gaussian'))} on Gaussian inputs and {number(errors[-1])} in theory. Saturation "
        f"begins at t = {start:.3g}: from there ε_g of the theory is within a factor {SATURATION_FACTOR:g} of its "
        "final value.",
        numbers(f"M of the example, {label}, mean over runs", table, "{:.3g}"),
    )


def discrepancy_numbers(grid: Dataset, activation: str, standardized: bool) -> DataFrame:
    """Noise floor, extremes of the mean M over all m and α > 0, mean scale, and change over the last third of the α."""
    chosen = keep(grid.query(spread="spread > 0"), activation, standardized=standardized)
    curve, floor = (entry_means(chosen, prefix).mean("instance") for prefix in ("M_", "floor_"))
    high, scale = curve.max(LAW), entry_means(chosen, "scale_").groupby("quantity").mean(...)
    # From two thirds of the largest α to the largest; NaN with no α in between.
    late = curve.mean("components").where(curve["spread"] >= 2 / 3 * curve["spread"].max(), drop=True)
    return _table(
        {
            "floor": floor,
            "smallest M": curve.min(LAW),
            "largest M": high,
            "largest/floor": high / floor,
            "mean scale": scale,
            "largest/scale": high / scale,
            "late change": (late[:, -1] / late[:, 0] - 1).where(late.sizes["spread"] > 1),
        }
    )


def discrepancy(grid: Dataset, activation: str, standardized: bool) -> Finding:
    """Whether M stays near the noise floor and small against the scale; un-standardised, whether it levels off."""
    count, label = keep(grid, activation).sizes["instance"], ACTIVATION_LABELS[activation]
    table = discrepancy_numbers(grid, activation, standardized)
    caption = f"{label}, {LAWS[standardized]}: M over all m and α > 0; late: from ⅔ of the largest α on"
    shown = numbers(caption, table, "{:.3g}")
    if not count:
        return Finding(f"{label}: {NOTHING}", shown)
    ratios, changes = table["largest/floor"], table["late change"].dropna()
    verdict = "agree" if np.all(ratios <= AGREEMENT) else "do not agree everywhere"
    text = (
        f"{label}, mean of {count} instances: theory and SGD {verdict}"
        f". At its largest over m and α > 0, {_multiples(ratios)} its noise floor, and the largest mean M is "
        f"{table['largest/scale'].max():.1%} of the scale of its order parameter."
    )
    if len(changes) and not standardized:
        levels = [
            f"{name} {'levels off' if abs(change) < ASYMPTOTE else 'does not level off'} ({change:+.0%})"
            for name, change in changes.to_dict().items()
        ]
        text += f" Over the last third of the α {', '.join(levels)}; a change below {ASYMPTOTE:.0%} counts as level."
    return Finding(text, shown)


def mixture_example(sgd: Dataset, ensemble: Dataset, activation: str, law: str) -> Finding:
    """How far the means over runs are from those of the mixture theory, and whether chance explains it."""
    own, names = sgd.sel(activation=activation, law=law, drop=True), [*METRICS, "generalization_error"]
    theory = ensemble.sel(activation=activation, drop=True)
    own = own.assign(Q=own["Q_mixture"], R=own["R_mixture"])
    whole = (own["v"].notnull() & theory["v"].notnull().all("run")).all(["run", "student"])
    own, theory = (part[names].isel(time=whole.values).drop_attrs() for part in (own, theory))
    rows = compare(theory, own)[["M_of_means", "noise_of_means", "scale"]].sel(quantity=names).to_dataframe()
    parts = [
        f"{SHORT.get(name, name)} by {number(distance)} (chance {number(chance)}, scale {number(scale)})"
        for name, distance, chance, scale in rows.itertuples()
    ]
    measured, predicted = (number(part["generalization_error"].isel(time=-1).mean("run")) for part in (own, theory))
    lost = "" if whole.all() else f" Compared up to t = {float(own['time'][-1]):.3g}, where one diverges."
    return Finding(
        f"{ACTIVATION_LABELS[activation]}, mixture theory: the mean of {own.sizes['run']} runs differs from "
        f"the mean of {theory.sizes['run']} chains in {', in '.join(parts)}. At the end ε_g is {measured} and in "
        f"theory {predicted}.{lost}"
    )


def mixture_discrepancy(grid: Dataset, activation: str) -> Finding:
    """How much of the conventional theory's error is left in the mixture theory's, un-standardised.

    The table has the mean M over the scale for both theories, over all m and α > 0, in percent, with the noise floor, M
    of Gaussian SGD over its scale, and what the scatter between members of the mixture theory alone makes of it.
    """
    chosen, label = keep(grid, activation, standardized=False), ACTIVATION_LABELS[activation]
    mixtures = chosen.query(spread="spread > 0")
    columns, scale = {"noise floor": relative_floor(mixtures)}, "scale_mixture_"
    for name, values in {
        "conventional": relative(mixtures),
        "mixture": relative(mixtures, "M_mixture_", scale),
        "scatter of its chains": relative(mixtures, "noise_mixture_", scale),
    }.items():
        columns[f"{name}, median"] = values.groupby("quantity").median(...)
        columns[f"{name}, largest mean"] = values.mean("instance").max(LAW)
    table = 100 * _table(columns, "M({0})/E|{0}|, %")
    falls = [
        f"from {before:.3g}% of its scale to {after:.3g}% for {name}"
        for name, before, after in zip(METRICS, table["conventional, median"], table["mixture, median"], strict=True)
    ]
    lost = int(chosen["mixture_diverged"].sum())
    left_out = f"Theory diverged in {lost} cases, which are left out." if lost else "Theory diverged in no case."
    caption = f"{label}, un-standardised: M of both theories as a share of the scale, over m and α > 0"
    return Finding(
        f"{label}: with the mixture theory the median M over m, α > 0 and instances falls {', '.join(falls)}. "
        f"{left_out}"
        if chosen.sizes["instance"]
        else f"{label}, mixture theory: {NOTHING}",
        numbers(caption, table, "{:.3g}"),
    )


def block_ratios(blocks: Dataset, activation: str, standardized: bool) -> DataFrame:
    """M at the largest α over its scale, in percent, and in units of its noise floor.

    A row for each theory and block size that it applies to. The scatter between members of the mixture theory belongs
    to its noise floor.
    """
    chosen = keep(blocks, activation, standardized=standardized, spread=blocks["spread"].max())
    M = relative(chosen).mean("instance")
    columns = {
        form.format(name): values.sel(quantity=name).to_series()
        for name in METRICS
        for form, values in {"M({0})/E|{0}|, %": 100 * M, "M({0})/floor": M / theory_floor(chosen)}.items()
    }
    return DataFrame(columns).loc[chosen["applicable"].to_series()]


def block_sizes(blocks: Dataset, activation: str, standardized: bool) -> Finding:
    """For which block sizes each theory holds at the largest α: all three M below the agreement factor × floor."""
    spread, table = blocks["spread"].max(), block_ratios(blocks, activation, standardized)
    chosen = keep(blocks, activation, standardized=standardized, spread=spread)
    worst, label, law = _worst(table), ACTIVATION_LABELS[activation], LAWS[standardized]
    parts = []
    for theory in chosen["theory"].values:
        known = {size: M for (name, size), M in worst.items() if name == theory}
        holds = [f"{size}" for size, M in known.items() if M <= AGREEMENT]
        fails = [f"{size} ({ratio(M)} ×)" for size, M in known.items() if not M <= AGREEMENT]
        left = [f"{size}" for size in chosen["block_size"].values if size not in known]
        text = f"the {theory} theory holds for " + (f"B = {', '.join(holds)}" if holds else "no B")
        text += f" and fails for B = {', '.join(fails)}" if fails else ""
        text += f" (it does not apply to B = {', '.join(left)})" if left else ""
        parts.append(text if known else f"the {theory} theory does not apply")
    lost, theories = int(chosen["diverged"].sum()), int(chosen["theory_diverged"].sum())
    end = f"{lost} SGD runs and {theories} mixture theories diverged." if lost or theories else "Nothing diverged."
    alpha = f"α = {float(spread):g}"
    caption = f"M as a share of its scale and in noise floors, at {alpha}: {label}, {law}"
    return Finding(
        f"{label}, {law}, {alpha}, mean of {chosen.sizes['instance']} instances: {'; '.join(parts)}. Brackets give the "
        "largest relative error of Q, R and v, in noise floors. The floor of the mixture theory includes the scatter "
        f"between its members. {end}",
        numbers(caption, table.set_axis([f"{theory}, B = {size}" for theory, size in table.index]), "{:.2f}"),
    )


def claim_and_replacement(grid: Dataset, blocks: Dataset, activation: str) -> list[Finding]:
    """What the paper claims, where it holds, and what replaces it where it does not, in plain words."""
    label = ACTIVATION_LABELS[activation]
    if not keep(grid, activation).sizes["instance"]:
        return [Finding(f"{label}: {NOTHING}")]
    most = discrepancy_numbers(grid, activation, True)["largest/floor"].to_numpy().max()
    lines = [
        f"{label}. The claim {'holds' if most <= AGREEMENT else 'does not hold everywhere'} where each coordinate "
        f"draws its component by itself: up to α = {float(grid['spread'].max()):g} M is at most {most:.1f} × the noise "
        "floor."
    ]
    *sizes, largest = blocks["block_size"].values.tolist()
    for standardized, where, shown in (
        (
            False,
            "Nor does it hold without standardising, because inputs then have a mean. The mixture theory includes it",
            [1, largest],
        ),
        (
            True,
            "It does not hold for inputs in clusters, where all coordinates share a component. The mixture theory "
            "replaces it there. It solves the equations within a cluster, driven by mean fields that move with every "
            "step",
            [largest],
        ),
    ):  # in reverse, because each comes right after the claim
        table = block_ratios(blocks, activation, standardized)
        worst, share = _worst(table), table.filter(like="%")
        pairs = []
        for size in shown:
            if ("mixture", size) in worst:
                old, new = ("conventional", size), ("mixture", size)
                falls = [
                    f"{name} from {before:.3g}% to {after:.3g}%"
                    for name, before, after in zip(METRICS, share.loc[old], share.loc[new], strict=True)
                ]
                pairs.append(
                    f"at B = {size} that takes the error of {', '.join(falls)} of its scale, or "
                    f"{ratio(worst[new])} × noise at most instead of {ratio(worst[old])} ×"
                )
        if pairs:
            lines.insert(1, f"{where}: {'; '.join(pairs)}.")
    between = [
        f"{ratio(worst[theory, size])} × ({theory}) instead of {ratio(worst['conventional', size])} × at B = {size}"
        for size in sizes
        for theory in ("mixture", "moment-matched")
        if size > 1 and (theory, size) in worst
    ]
    if between:
        lines.append(
            f"Between the two, mixture theory follows up to {MOST_BLOCKS} blocks. Beyond that moment-matched theory, "
            f"with the true covariance of the inputs, takes over. The error is {', '.join(between)}, in noise floors."
        )
    return [*map(Finding, lines)]


def _worst(ratios: DataFrame) -> dict[Any, float]:
    """The largest of M(Q), M(R), M(v) over their floors, by theory and block size; NaN if one is."""
    return ratios.filter(like="/floor").max(axis=1, skipna=False).to_dict()


def _table(columns: Mapping[str, DataArray], row: str = "M({0})") -> DataFrame:
    """Numbers of Q, R and v, a row for each."""
    return DataFrame({name: x.values for name, x in columns.items()}, index=[*map(row.format, METRICS)])


def _multiples(ratios: Any) -> str:
    return ", ".join(f"{name} is {ratio(value)} ×" for name, value in ratios.items())


def intervals(values: Any, errors: Any, form: str = ".2f") -> Any:
    """Numbers in words, with their standard errors, which have no sign, where they have one."""

    def interval(value, error):
        return f"{value:{form}}" + (f" ± {error:{form.lstrip('+')}}" if np.isfinite(error) else "")

    return xr.apply_ufunc(interval, values, errors, vectorize=True)


def ratio(value: float) -> str:
    """A ratio in words, to two digits."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def number(value: Any) -> str:
    """A number in words, to three digits; NaN is what diverged."""
    return "unknown (diverged)" if np.isnan(value) else f"{float(value):.3g}"
