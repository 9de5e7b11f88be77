"""M and the noise floor, as they settle."""

from html import escape

import numpy as np
import xarray as xr

from ..comparison import AGREEMENT, compare

__all__ = ["complete_runs", "discrepancies", "table"]

NAMES = {"Q": "Q", "R": "R", "v": "v", "generalization_error": "ε<sub>g</sub>"}


def complete_runs(runs: xr.Dataset) -> xr.Dataset:
    """The runs that have got to the last output time; before the first has, that one, up to where it is."""
    there = runs["generalization_error"].notnull()
    whole = there.all("time").values
    if whole.any():
        return runs.isel(run=np.flatnonzero(whole))
    first = runs.isel(run=[0])
    return first.isel(time=slice(int(there.isel(run=0).sum())))


def discrepancies(theory: xr.Dataset, runs: xr.Dataset, floor_theory: xr.Dataset, floor: xr.Dataset) -> xr.Dataset:
    """M of one theory, averaged over entries, with ``M``, ``M_stderr``, ``floor`` and ``scale`` of each quantity.

    Parameters
    ----------
    theory, floor_theory
        Of the problem, and of the same network on Gaussian inputs, for which it is exact.
    runs, floor
        SGD of both, measured for that theory, as far as it has got; cut to the times they have in common.
    """
    runs, floor = complete_runs(runs), complete_runs(floor)
    count = min(runs.sizes["time"], theory.sizes["time"], floor.sizes["time"], floor_theory.sizes["time"])
    theory, runs, floor_theory, floor = (
        some.isel(time=slice(count)) for some in (theory, runs, floor_theory, floor)
    )  # fmt: skip
    result = compare(theory, runs)
    of_floor = compare(floor_theory, floor)
    result["floor"], result["floor_stderr"] = of_floor["M"], of_floor["M_stderr"]
    return result


def table(results: dict[str, xr.Dataset], until: float, runs: int, *, diverged: bool = False) -> str:
    """The numbers of each theory as HTML; of runs that diverged there is nothing to say."""
    rows = []
    for theory, result in results.items():
        for quantity in result["quantity"].values:
            row = result.sel(quantity=quantity)
            m, error, floor, scale = (float(row[name]) for name in ("M", "M_stderr", "floor", "scale"))
            spread = "–" if np.isnan(error) else f"{error:.2g}"
            verdict = "noise explains it" if m <= AGREEMENT * floor else "beyond noise"
            verdict = "SGD diverged" if diverged else verdict
            cells = [escape(theory), _short(m), spread, _short(floor), f"{m / floor:.1f}" if floor else "–"]
            cells += [f"{100 * m / scale:.1f} %" if scale else "–", verdict]
            rows.append(
                f"<tr><th>{NAMES[str(quantity)]}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
            )
    head = ["", "theory", "M", "± s.e.", "noise floor", "M/floor", "of mean |x|", f"(M ≤ {AGREEMENT:g} × floor)"]
    return (
        f'<p class="note">M over t ≤ {until:.3g}, {runs} {"run" if runs == 1 else "runs"}. Noise floor: the same '
        "network on Gaussian inputs.</p><div class='wide'><table class='numbers'><thead><tr>"
        + "".join(f"<th>{name}</th>" for name in head)
        + "</tr></thead><tbody>"
        + "".join(rows)
        + "</tbody></table></div>"
    )


def _short(value: float) -> str:
    return f"{value:.4f}" if value < 1000 else f"{value:.3g}"
