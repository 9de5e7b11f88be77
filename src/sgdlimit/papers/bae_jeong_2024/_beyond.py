"""The sections of the report on the studies that go beyond the paper, and the sentences and tables in them."""

from pandas import DataFrame, Series
from xarray import Dataset

from ...report import Finding, Section, numbers
from ._averages import METRICS, Study, by_size
from ._findings import IN_PAPER, SHORT, intervals, number

SECOND_ORDER = 1.5
"""An error with a larger slope in ε is of second order or higher; with a smaller one a linear term is missing."""


def beyond_the_paper(study: Study) -> list[Section]:
    """The studies that the paper does not have."""
    mixture = study.mixture
    return [
        Section(
            "Beyond the paper: how fast SGD approaches theory",
            "All runs have N = 1000; the equations hold for N → ∞.",
            [sizes(study.sizes)],
            ["finite_size"],
            source=IN_PAPER,
        ),
        Section(
            "Beyond the paper: how good the mixture theory is",
            "There is no such theory: its equations are for inputs without a mean.",
            [mixture_sizes(mixture), mixture_precision(mixture), mixture_fluctuations(mixture)],
            ["mixture_theory"],
            source=IN_PAPER,
        ),
        Section(
            "Beyond the paper: Lemma V.1 in numbers",
            "For weakly correlated mixture variables E f(u1) g(u2) is a sum of products of means over the components, "
            "up to O(ε) (Lemma V.1).",
            [correlation(study.correlations)],
            ["lemma_V1"],
        ),
        Section(
            "Beyond the paper: Lemma V.3 in numbers",
            "Where derivatives of f beyond the second are negligible, E f depends on mean and variance alone; erf, "
            "ReLU and sgn approximately satisfy this (Lemmas V.3 and C.1).",
            [expectation(study.expectations)],
            ["lemma_V3"],
        ),
    ]


def sizes(sizes: Dataset) -> Finding:
    """Whether M falls like N^(−1/2): the fitted exponents within three standard errors of −1/2."""
    exponent, error = sizes["exponent"], sizes["exponent_stderr"]
    parts = []
    for theory, off in DataFrame((abs(exponent + 0.5) / error).to_pandas()).iterrows():
        far = [f"M({name}) ({x:.1f})" for name, x in off.items() if x > 3]
        known = "each instance" if theory == "instance" else theory
        verdict = f"{', '.join(far)} differ from −½ by more than that" if far else "all agree with −½"
        parts.append(f"against the theory of {known} {verdict}")
    counts = ", ".join(f"{count} of N = {N}" for N, count in _counts(sizes).items())
    table = DataFrame(intervals(exponent, error).to_pandas())
    table = table.rename(index="theory, {}".format, columns="M({})".format)
    return Finding(
        f"The exponents of N, to three standard errors: {'; '.join(parts)} (instances: {counts}). The least certain "
        f"exponent is known to ±{float(error.max()):.2f}.",
        numbers("Exponent of N, with its standard error over instances", table),
    )


def mixture_sizes(mixture: Dataset) -> Finding:
    """What the term of order 1/N brings, from the smallest N to the largest.

    The table has M and the signed mean difference, SGD − theory, for each N with and without that term.
    """
    means, errors = by_size(mixture[["M", "offset"]].to_array("what"))
    parts = [
        f"from {number(without)} to {number(with_term)} at N = {int(without['size'])}"
        for without, with_term in means.sel(what="M", quantity="Q").transpose("size", "finite_term")
    ]
    cells = intervals(means, errors, ".4f").isel(finite_term=[1, 0])
    cells = cells.stack(row=["size", "finite_term"], column=["what", "quantity"]).transpose("row", "column")
    counts, labels = _counts(mixture), {"M": "M({})", "offset": "mean {} − theory"}
    rows = [
        f"N = {size}, {'with' if finite else 'without'} the term, {counts[size]} instances"
        for size, finite in cells["row"].values
    ]
    columns = [labels[what].format(SHORT.get(name, name)) for what, name in cells["column"].values]
    return Finding(
        f"The mean fields themselves add a term of order 1/N to Q. It takes M(Q) of one run {', '.join(parts)} "
        f"(t ≤ {mixture.attrs['sizes_time']:g}).",
        numbers("Single SGD runs against N, mean ± standard error", DataFrame(cells.values, rows, columns)),
    )


def mixture_precision(mixture: Dataset) -> Finding:
    """Whether the step of integration shows beside chance, and how the error falls with the number of chains."""
    excess = float((mixture["step_error"] / mixture["step_noise"]).sel(quantity=[*METRICS]).max())
    Q, attrs = mixture.sel(quantity="Q"), mixture.attrs
    differs = (
        f"no step up to {mixture['step'].values.max():g} differs from the finest by more than {excess:.1f} × what "
        "chance makes"
        if excess < 3
        else f"steps differ from the finest by up to {excess:.1f} × what chance makes"
    )
    one, most = Q["ensemble_error"][[0, -1]]
    return Finding(
        f"With {attrs['step_chains']} chains, N = {attrs['step_size']} and t ≤ {attrs['step_time']:g}, {differs}; in Q "
        f"that is {number(Q['step_error'].max())}. The error of the mean falls from {number(one)} in Q with one chain "
        f"to {number(most)} with {int(most['count'])}, like one over the square root of their number."
    )


def mixture_fluctuations(mixture: Dataset) -> Finding:
    """The spread of the mean fields in SGD over that in theory, at every learning rate."""
    ratios, time = intervals(mixture["ratio"], mixture["ratio_stderr"]).to_series(), mixture.attrs["fluctuation_time"]
    parts = [f"{ratio} at η = {rate:g}" for rate, ratio in ratios.items()]
    return Finding(
        f"The mean fields of SGD fluctuate from run to run as theory's do from chain to chain: the ratio of their "
        f"standard deviations in {time / 2:g} ≤ t ≤ {time:g} is {', '.join(parts)} ({mixture.attrs['runs']} runs of "
        "each)."
    )


def correlation(data: Dataset) -> Finding:
    """What order the errors of Lemma V.1 have, and where the next term does not make it second order.

    The table has the least order in ε over all α: rows by construction, columns by f, g and order.
    """
    least = data["slope"].min("spread").stack(column=["order", "pair"])
    kinds = {0: "as printed", 1: "with the next term"}
    columns = [f"{pair}; {kinds[order]}" for order, pair in least["column"].values]
    table = DataFrame(least.values, least["construction"].values, columns)
    printed, orders = (data["slope"].sel(order=order).min(["spread", "pair"]) for order in kinds)
    second = ", ".join(orders["construction"].values[orders > SECOND_ORDER])
    first = ", ".join(orders["construction"].values[~(orders > SECOND_ORDER)])
    text = (
        f"As printed, the error is of order {float(printed.min()):.1f} in ε or higher for all pairs of functions and "
        "all α."
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
    caption = f"Order of the error in ε, least over α = {data['spread'][0]:g} to {data['spread'][-1]:g}"
    return Finding(text, numbers(caption, table, "{:.2f}"))


def expectation(data: Dataset) -> Finding:
    """For which f the condition of Lemma V.3 is met, for which its conclusion holds, and how sums of coordinates do."""
    tolerance, parts = data.attrs["relative_tolerance"], []
    for name in data["function"].values:
        one = data.sel(function=name)
        largest = tolerance * float(abs(one["difference"]).max() / one["tolerance"])
        parts.append(
            f"{name}: condition {'met' if one['condition'].all() else 'not met'}, conclusion holds in "
            f"{int(one['holds'].sum())} of {one['holds'].size} mixtures (largest difference {largest:.1%})"
        )
    last = abs(data["sum_difference"]).isel(count=-1, spread=-1).sel(function=["erf", "relu", "sign"])
    sums = ", ".join(f"{f} {difference:.1e}" for f, difference in last.to_series().items())
    return Finding(
        f"A difference of up to {tolerance:.0%} of the root mean square of f is negligible. {'; '.join(parts)}. The "
        "condition does not decide: E|x| and P(x > 0), and with them E f of ReLU and sgn, are not fixed by mean and "
        "variance, and where erf agrees it is by symmetry or because the difference is small. In the model f acts on "
        f"sums of many coordinates: with D = {int(last['count'])} of them, at α = {float(last['spread']):g}, the "
        f"differences are {sums}."
    )


def _counts(data: Dataset) -> Series:
    """The number of instances of each N."""
    return data["size"].to_series().value_counts().sort_index()
