"""What was left out, and a page for every instance that was."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ...comparison import discrepancy, magnitude
from ...plotting import ACTIVATION_LABELS
from . import _findings as findings
from ._contents import Link, Section, Table, numbers, slug
from ._left_out import case_name, trajectories_of

__all__ = ["ANCHOR", "Page", "left_out", "pages"]

ANCHOR = "left-out"
CAPTION = (
    "Gaussian SGD, circles, beside the equations, lines: ε_g, Q, R and v against time. ε_g of SGD is what theory "
    "makes of its order parameters."
)
WHERE = {"Q": "Q{0},{1}", "R": "R{0},{1}", "v": "v{0}"}


@dataclass(frozen=True)
class Page:
    """About one instance that was left out under one activation."""

    id: str
    title: str
    facts: dict[str, str]
    figure: str
    table: Table


def left_out(grid: xr.Dataset, blocks: xr.Dataset, cases: xr.Dataset) -> Section:
    """How many instances and runs were left out, by which rule, with a link to the page of each instance."""
    dropped = findings.dropped_instances(grid)
    lost = [("grid", findings.divergences(grid)), ("block-size study", findings.divergences(blocks))]
    measured = [
        f"{len(dropped)} of {grid.sizes['instance']} × {grid.sizes['activation']} instances are not in the means; each "
        "has a page."
        if len(dropped)
        else f"None of the {grid.sizes['instance']} × {grid.sizes['activation']} instances was left out: every "
        "instance is in the means, so there are no pages about any.",
        *(f"No SGD run of the {name} diverged." for name, table in lost if table.empty),
        *(f"{table['diverged'].sum()} SGD runs of the {name} diverged." for name, table in lost if len(table)),
        f"The mixture theory diverged {int(grid['mixture_diverged'].sum())} times in the grid and "
        f"{int(blocks['theory_diverged'].sum())} times in the block-size study; those M are not in the means.",
    ]
    tables = [
        numbers(f"Diverged runs, {name}", _in_words(table), "{}", index=False) for name, table in lost if len(table)
    ]
    if len(dropped):
        tables.insert(0, numbers("Instances left out of the means", dropped, "{}", index=False))
    return Section(
        "What was left out",
        "Of 20 different Gaussian mixtures those where the ODE and the SGD of the simple Gaussian differ significantly "
        "are excluded, and 10 are sampled. It gives no threshold; a mixture is taken here for an instance, with F and "
        "weights of its own.",
        measured,
        tables=tables,
        links=[Link(page.title, page.id) for page in pages(grid, cases)],
        anchor=ANCHOR,
        said="The paper says",
    )


def _in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The conditions of a table as they are written elsewhere."""
    words = {
        "activation": lambda name: ACTIVATION_LABELS.get(str(name), str(name)),
        "standardized": lambda yes: "yes" if yes else "no",
    }
    table = table.assign(**{name: table[name].map(word) for name, word in words.items() if name in table})
    return table.rename(columns={"standardized": "standardised", "components": "m", "spread": "α", "block_size": "B"})


def pages(grid: xr.Dataset, cases: xr.Dataset) -> list[Page]:
    """A page for every case of :func:`sgdlimit.papers.bae_jeong_2024.left_out`."""
    return [_page(grid, cases, place) for place in range(cases.sizes["case"])]


def _page(grid: xr.Dataset, cases: xr.Dataset, place: int) -> Page:
    one = cases.isel(case=place)
    seed, activation = int(one["instance"]), str(one["activation"].values)
    name = case_name(seed, activation)
    rule = f"{grid.attrs['agreement_of_gaussian']:g}" if "agreement_of_gaussian" in grid.attrs else "a set share"
    facts = {
        "Instance": f"seed {seed}: F, W, v, W̃ and ṽ are drawn with it",
        "Activation": ACTIVATION_LABELS.get(activation, activation),
        "Why": str(one["reason"].values),
        "Rule": f"an instance counts where M(Q) of Gaussian SGD is at most {rule} of the mean |Q|, and is among the "
        "first ten that do",
        "Not in the means of": _conditions(grid, activation),
        "SGD that diverged": _diverged(grid, seed, activation),
    }
    return Page(slug(name), f"Instance {seed}, {facts['Activation']}", facts, name, _entries(cases, place))


def _conditions(grid: xr.Dataset, activation: str) -> str:
    def listed(name: str) -> str:
        return ", ".join(f"{value:g}" for value in grid[name].values)

    count = grid.sizes["standardized"] * grid.sizes["components"] * grid.sizes["spread"]
    return (
        f"all {count} conditions of {ACTIVATION_LABELS.get(activation, activation)}: standardised and not, "
        f"m = {listed('components')}, α = {listed('spread')}"
    )


def _diverged(grid: xr.Dataset, seed: int, activation: str) -> str:
    if "diverged" not in grid:
        return "not recorded"
    lost = grid["diverged"].sel(instance=seed, activation=activation)
    where = np.argwhere(lost.transpose("standardized", "components", "spread").values)
    if not len(where):
        return "none of its runs"
    kinds = ["standardised" if kind else "un-standardised" for kind in grid["standardized"].values]
    components, spreads = grid["components"].values, grid["spread"].values
    named = [f"{kinds[s]}, m = {components[m]}, α = {spreads[a]:g}" for s, m, a in where]
    return "; ".join(named)


def _entries(cases: xr.Dataset, place: int) -> Table:
    """Every order parameter: at t = 0, its M and its mean size."""
    theory, runs = trajectories_of(cases, place)
    M, scale, start = discrepancy(theory, runs).squeeze("run"), magnitude(runs).squeeze("run"), cases.isel(case=place)
    rows: dict[str, list[Any]] = {}
    for name, form in WHERE.items():
        for index in np.ndindex(*M[name].shape):
            values = [start[f"start_{name}"].values[index], M[name].values[index], scale[name].values[index]]
            rows[form.format(*index)] = [*values, values[1] / values[2] if values[2] else np.nan]
    columns = ["at t = 0", "M of Gaussian SGD", "mean |x|", "M / mean |x|"]
    return numbers(
        "Order parameters at the start, and how far SGD is from the equations",
        pd.DataFrame.from_dict(rows, orient="index", columns=columns),
        "{:.3g}",
    )
