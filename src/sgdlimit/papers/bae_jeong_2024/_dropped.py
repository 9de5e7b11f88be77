"""What was left out, and a page for every instance that was."""

import numpy as np
import pandas as pd
import xarray as xr

from ...comparison import discrepancy, magnitude
from ...plotting import ACTIVATION_LABELS, entries
from ...report import Page, Section, Table, numbers
from . import _findings as findings
from ._averages import METRICS
from ._left_out import case_name, trajectories_of
from ._study import Study


def left_out(study: Study) -> Section:
    """How many instances and runs were left out, by which rule, with a link to the page of each instance."""
    grid, blocks = study.grid, study.blocks
    dropped, count = findings.dropped_instances(grid), f"{grid.sizes['instance']} × {grid.sizes['activation']}"
    measured = [
        f"{len(dropped)} of {count} instances are not in the means; each has a page."
        if len(dropped)
        else f"None of the {count} instances was left out: every instance is in the means, so none has a page."
    ]
    tables = [numbers("Instances left out of the means", dropped, index=False)] if len(dropped) else []
    for name, dataset in (("grid", grid), ("block-size study", blocks)):
        table = findings.divergences(dataset)
        measured.append(f"{table['diverged'].sum() if len(table) else 'No'} SGD runs of the {name} diverged.")
        if len(table):
            tables.append(numbers(f"Diverged runs, {name}", _in_words(table), index=False))
    measured.append(
        f"The mixture theory diverged {int(grid['mixture_diverged'].sum())} times in the grid and "
        f"{int(blocks['theory_diverged'].sum())} times in the block-size study; those M are not in the means."
    )
    return Section(
        "What was left out",
        "Of 20 different Gaussian mixtures those where the ODE and the SGD of the simple Gaussian differ significantly "
        "are excluded, and 10 are sampled. It gives no threshold. Here a mixture means an instance, with F and weights "
        "of its own.",
        measured,
        tables=tables,
        pages=True,
        source="The paper says",
    )


def _in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The conditions of a table as they are written elsewhere."""
    words = {"activation": ACTIVATION_LABELS, "standardized": {True: "yes", False: "no"}}
    table = table.assign(**{name: table[name].map(word) for name, word in words.items() if name in table})
    return table.rename(columns={"standardized": "standardised", "components": "m", "spread": "α", "block_size": "B"})


def pages(study: Study) -> list[Page]:
    """A page for every case of :func:`sgdlimit.papers.bae_jeong_2024.left_out`."""
    return [_page(study.grid, study.cases, place) for place in range(study.cases.sizes["case"])]


def _page(grid: xr.Dataset, cases: xr.Dataset, place: int) -> Page:
    """Why one instance was left out, what that concerns, and its trajectories."""
    one = cases.isel(case=place)
    seed, activation = int(one["instance"]), str(one["activation"].values)
    label = ACTIVATION_LABELS.get(activation, activation)
    rule = f"{grid.attrs['agreement_of_gaussian']:g}" if "agreement_of_gaussian" in grid.attrs else "a set share"
    m, alpha = (", ".join(f"{value:g}" for value in grid[name].values) for name in ("components", "spread"))
    count = grid.sizes["standardized"] * grid.sizes["components"] * grid.sizes["spread"]
    facts = {
        "Instance": f"seed {seed}: F, W, v, W̃ and ṽ are drawn with it",
        "Activation": label,
        "Why": str(one["reason"].values),
        "Rule": f"an instance counts where M(Q) of Gaussian SGD is at most {rule} of the mean |Q|, and is among the "
        "first ten that do",
        "Not in the means of": f"all {count} conditions of {label}: standardised and not, m = {m}, α = {alpha}",
        "SGD that diverged": _diverged(grid, seed, activation),
    }
    return Page(f"Instance {seed}, {label}", facts, case_name(seed, activation), _entries(cases, place))


def _diverged(grid: xr.Dataset, seed: int, activation: str) -> str:
    if "diverged" not in grid:
        return "not recorded"
    conditions = grid["diverged"].sel(instance=seed, activation=activation)
    lost = conditions.stack(condition=["standardized", "components", "spread"])
    return "; ".join(
        f"{findings.LAWS[bool(standardized)]}, m = {m}, α = {alpha:g}"
        for standardized, m, alpha in lost["condition"].values[lost.values.astype(bool)]
    ) or "none of its runs"  # fmt: skip


def _entries(cases: xr.Dataset, place: int) -> Table:
    """Every order parameter: at t = 0, its M and its mean size."""
    theory, runs = trajectories_of(cases, place)
    M, scale = discrepancy(theory, runs).squeeze("run"), magnitude(runs).squeeze("run")
    start = cases.isel(case=place)
    rows = {}
    for name in METRICS:
        columns = (start[f"start_{name}"].rename(name), M[name], scale[name])
        for parts in zip(*map(entries, columns), strict=True):
            at_start, m, size = (float(value) for _, value in parts)
            rows[parts[0][0]] = [at_start, m, size, m / size if size else np.nan]
    columns = ["at t = 0", "M of Gaussian SGD", "mean |x|", "M / mean |x|"]
    return numbers(
        "Order parameters at the start, and how far SGD is from the equations",
        pd.DataFrame.from_dict(rows, orient="index", columns=columns),
        "{:.3g}",
    )
