"""Tables I and II, measured here and as printed: M (18) of every order parameter against α, and whether it is flat."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pandas import DataFrame
from scipy.special import stdtr, stdtrit
from xarray import DataArray, Dataset

from ...comparison import mean_and_error
from ._averages import METRICS, keep

FLAT_ENOUGH = 0.25
"""M is not called flat where a change over all α of this share of its mean cannot be excluded."""


def discrepancy_table(grid: Dataset, activation: str) -> DataFrame:
    """Table I (erf) or II (ReLU): the mean over kept instances of M (18), and the mean scale E|X| in the last row.

    Both are of the standardised mixtures (19) of two components.

    Parameters
    ----------
    grid
        With ``M_Q`` (instance, activation, standardized, components, spread, student, student_), ``scale_Q``, …
    activation
        ``"relu"`` or ``"erf"``.

    Returns
    -------
    pandas.DataFrame
        Rows ``M_{α=0}``, … and ``E[|X|]``; columns ``Q0,0`` … ``v1``. E|X| is the mean over α too.
    """
    M, scale = (_by_entry(grid, prefix, activation) for prefix in ("M_", "scale_"))
    mean, size = M.mean("instance").values, scale.mean("instance").mean("spread").values
    return _frame(M["spread"].values, mean, size)


def flatness(grid: Dataset, activation: str) -> DataFrame:
    """Slope of M against α, entry by entry: least squares within each kept instance, then the mean over instances.

    All α of an instance share its noise and network, so the scatter of slopes over instances is the honest error.

    Returns
    -------
    pandas.DataFrame
        A row for each order parameter, with

        * ``slope`` and its ``standard error`` (NaN for one instance),
        * ``mean M``, ``change`` = slope × range of α, ``share`` = change / mean M,
        * ``limit``, below which the size of that share lies with 95 % confidence,
        * ``p``, two-sided, of a zero slope by Student's t,
        * ``instances``, the number of those with M at every α.
    """
    M = _by_entry(grid, "M_", activation)
    spread = M["spread"] - M["spread"].mean()
    slopes = (M * spread).sum("spread", skipna=False) / (spread**2).sum("spread")  # NaN if a run diverged
    (slope, error), mean = mean_and_error(slopes), M.mean("spread", skipna=False).mean("instance")
    count, span = slopes.count("instance"), spread.max() - spread.min()
    freedom = (count - 1).clip(1)
    columns = {
        "slope": slope,
        "standard error": error,
        "mean M": mean,
        "change": slope * span,
        "share": slope * span / mean,
        "limit": (abs(slope) + stdtrit(freedom, 0.975) * error) * span / mean,
        "p": 2 * stdtr(freedom, -abs(slope) / error.where(error > 0)),
        "instances": count,
    }
    return Dataset(columns).to_dataframe().rename_axis(None)


def flatness_statement(table: DataFrame) -> str:
    """What :func:`flatness` found, in a sentence or two."""
    tested = table.dropna(subset=["p"])
    if tested.empty:
        return "With fewer than two instances the slopes have no standard error, and flatness cannot be tested."
    steep = tested.index[np.asarray(tested["p"]) < 0.05 / len(tested)].tolist()
    verdict = f"None of the {len(tested)} slopes differs from zero"
    if steep:
        verb = "differs" if len(steep) == 1 else "differ"
        verdict = f"{len(steep)} of the {len(tested)} slopes {verb} from zero ({', '.join(steep)})"
    name = tested["share"].abs().idxmax()
    change, share = tested.loc[name, ["change", "share"]]
    count, limit = tested["instances"].to_numpy().min(), tested["limit"].to_numpy().max()
    doubt = "" if limit < FLAT_ENOUGH else "; that is too much to call M flat"
    return (
        f"{verdict} (Student's t, 5% shared among the {len(tested)} tests, {count} instances). The largest change over "
        f"the whole range of α is that of {name}: {change:+.4f}, or {share:+.1%} of its mean M. Each change is below "
        f"{limit:.0%} of the mean M with 95% confidence{doubt}."
    )


def write_table(table: DataFrame, folder: Path, name: str, digits: int = 3) -> None:
    """Write ``name.csv``, in full precision, and ``name.md``, rounded, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv")
    rows = [["", *table.columns], ["---"] + ["---:"] * table.shape[1]]
    for label, *row in table.map(f"{{:.{digits}f}}".format).itertuples():
        rows.append([label.replace("|", r"\|"), *row])
    (folder / f"{name}.md").write_text("".join(f"| {' | '.join(row)} |\n" for row in rows), encoding="utf-8")


def _by_entry(grid: Dataset, prefix: str, activation: str) -> DataArray:
    """Every entry of Q, R and v side by side: (instance, spread, entry)."""
    chosen = keep(grid, activation, components=2, standardized=True)
    columns = []
    for name in METRICS:
        values = chosen[prefix + name].transpose("instance", "spread", ...)
        columns.append(values.stack(entry=values.dims[2:], create_index=False))
    return xr.concat(columns, "entry").assign_coords(entry=list(COLUMNS))


def _frame(spreads: Iterable[float], M: Iterable[Any], scale: Iterable[float]) -> DataFrame:
    """Rows of M for each α and of the scale E|X|, a column for each order parameter."""
    return DataFrame([*M, scale], [*(f"M_{{α={spread:g}}}" for spread in spreads), "E[|X|]"], list(COLUMNS))


COLUMNS = ("Q0,0", "Q0,1", "Q1,0", "Q1,1", "R0,0", "R0,1", "R1,0", "R1,1", "v0", "v1")


TABLES = {"erf": "Table I", "relu": "Table II"}
PUBLISHED = {
    "erf": _frame(
        range(10),
        [
            [0.090, 0.040, 0.035, 0.093, 0.030, 0.036, 0.036, 0.032, 0.012, 0.014],
            [0.083, 0.044, 0.039, 0.092, 0.028, 0.036, 0.036, 0.032, 0.012, 0.013],
            [0.091, 0.044, 0.037, 0.092, 0.028, 0.036, 0.036, 0.032, 0.013, 0.015],
            [0.086, 0.044, 0.039, 0.095, 0.028, 0.035, 0.037, 0.032, 0.012, 0.014],
            [0.091, 0.041, 0.037, 0.094, 0.028, 0.038, 0.037, 0.033, 0.013, 0.014],
            [0.085, 0.042, 0.037, 0.088, 0.028, 0.037, 0.036, 0.031, 0.013, 0.014],
            [0.083, 0.043, 0.036, 0.096, 0.027, 0.034, 0.036, 0.032, 0.012, 0.014],
            [0.088, 0.044, 0.040, 0.092, 0.027, 0.036, 0.037, 0.032, 0.013, 0.014],
            [0.090, 0.042, 0.037, 0.094, 0.029, 0.036, 0.037, 0.032, 0.012, 0.014],
            [0.083, 0.041, 0.037, 0.089, 0.029, 0.035, 0.036, 0.030, 0.013, 0.015],
        ],
        [0.995, 0.093, 0.093, 0.988, 0.088, 0.126, 0.129, 0.085, 0.488, 0.508],
    ),
    "relu": _frame(
        range(10),
        [
            [0.037, 0.036, 0.038, 0.041, 0.024, 0.024, 0.026, 0.028, 0.006, 0.006],
            [0.037, 0.035, 0.038, 0.041, 0.024, 0.025, 0.027, 0.027, 0.007, 0.006],
            [0.036, 0.036, 0.038, 0.039, 0.025, 0.025, 0.026, 0.028, 0.006, 0.006],
            [0.035, 0.035, 0.039, 0.040, 0.025, 0.025, 0.027, 0.028, 0.008, 0.006],
            [0.037, 0.036, 0.037, 0.044, 0.025, 0.025, 0.026, 0.031, 0.006, 0.006],
            [0.037, 0.037, 0.037, 0.041, 0.025, 0.026, 0.027, 0.028, 0.006, 0.007],
            [0.035, 0.036, 0.037, 0.042, 0.025, 0.024, 0.027, 0.028, 0.006, 0.006],
            [0.037, 0.035, 0.038, 0.041, 0.025, 0.026, 0.027, 0.028, 0.007, 0.007],
            [0.037, 0.036, 0.038, 0.039, 0.025, 0.024, 0.026, 0.027, 0.006, 0.006],
            [0.036, 0.033, 0.040, 0.038, 0.026, 0.025, 0.026, 0.028, 0.006, 0.006],
        ],
        [0.847, 0.053, 0.064, 1.009, 0.053, 0.089, 0.072, 0.165, 0.507, 0.597],
    ),
}
"""What the paper printed by activation, m = 2, standardised mixtures: M for α = 0, …, 9 and E|X|."""
