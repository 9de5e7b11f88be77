"""Tables I and II: M (18) of every order parameter against α, and whether it is flat."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import stdtr, stdtrit

from ...comparison import mean_and_error
from ._averages import METRICS, keep

FLAT_ENOUGH = 0.25
"""M is not called flat where a change over all α of this share of its mean cannot be excluded."""


def discrepancy_table(
    grid: xr.Dataset, activation: str, *, components: int = 2, standardized: bool = True
) -> pd.DataFrame:
    """Table I (erf) or II (ReLU): the mean over kept instances of M (18), and the mean scale E|X| in the last row.

    Parameters
    ----------
    grid
        With ``M_Q`` (instance, activation, standardized, components, spread, student, student_), ``scale_Q``, …
    activation
        ``"relu"`` or ``"erf"``.
    components
        Number of components m.
    standardized
        Whether the mixtures are standardised (19).

    Returns
    -------
    pandas.DataFrame
        Rows ``M_{α=0}``, … and ``E[|X|]``; columns ``Q0,0`` … ``v1``. E|X| is the mean over α too.
    """
    M = _by_entry(grid, "M", activation, components, standardized)
    scale = _by_entry(grid, "scale", activation, components, standardized)
    rows = [f"M_{{α={spread:g}}}" for spread in M["spread"].values] + ["E[|X|]"]
    values = np.vstack([mean_and_error(M)[0].values, mean_and_error(scale)[0].mean("spread").values])
    return pd.DataFrame(values, index=rows, columns=M["entry"].values)


def flatness(grid: xr.Dataset, activation: str, *, components: int = 2, standardized: bool = True) -> pd.DataFrame:
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
    M = _by_entry(grid, "M", activation, components, standardized)
    spread = M["spread"] - M["spread"].mean()
    slopes = (M * spread).sum("spread", skipna=False) / (spread**2).sum("spread")  # NaN if a run diverged
    slope, error = (values.values for values in mean_and_error(slopes))
    count = slopes.count("instance").values
    mean = mean_and_error(M.mean("spread", skipna=False))[0].values
    span = float(M["spread"].max() - M["spread"].min())
    freedom = np.maximum(count - 1, 1)
    ratio = np.divide(np.abs(slope), error, out=np.full(slope.shape, np.nan), where=error > 0)
    return pd.DataFrame(
        {
            "slope": slope,
            "standard error": error,
            "mean M": mean,
            "change": slope * span,
            "share": slope * span / mean,
            "limit": (np.abs(slope) + stdtrit(freedom, 0.975) * error) * span / mean,
            "p": 2 * stdtr(freedom, -ratio),
            "instances": count,
        },
        index=M["entry"].values,
    )


def flatness_statement(table: pd.DataFrame) -> str:
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


def markdown(table: pd.DataFrame, digits: int = 3) -> str:
    """A table in Markdown, numbers with ``digits`` decimals."""
    rows = [["", *map(str, table.columns)], ["---"] + ["---:"] * len(table.columns)]
    rows += [
        [str(name).replace("|", r"\|"), *(f"{value:.{digits}f}" for value in row)]
        for name, row in zip(table.index, table.values, strict=True)
    ]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def write_table(table: pd.DataFrame, folder: Path, name: str, digits: int = 3) -> tuple[Path, Path]:
    """Write ``name.csv``, in full precision, and ``name.md``, rounded, into ``folder``; returns both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    csv, md = folder / f"{name}.csv", folder / f"{name}.md"
    table.to_csv(csv)
    md.write_text(markdown(table, digits), encoding="utf-8")
    return csv, md


def _by_entry(grid: xr.Dataset, prefix: str, activation: str, components: int, standardized: bool) -> xr.DataArray:
    """Every entry of Q, R and v side by side: (instance, spread, entry)."""
    chosen = keep(grid, activation).sel(components=components, standardized=standardized, drop=True)
    columns, labels = [], []
    for name in METRICS:
        values = chosen[f"{prefix}_{name}"]
        dims = [dim for dim in ("student", "student_", "teacher") if dim in values.dims]
        columns.append(values.stack(entry=dims, create_index=False).transpose("instance", "spread", "entry"))
        labels += [name + ",".join(map(str, index)) for index in np.ndindex(*(values.sizes[dim] for dim in dims))]
    return xr.concat(columns, "entry").assign_coords(entry=labels)
