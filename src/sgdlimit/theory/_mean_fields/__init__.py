"""The third rung: theory for inputs in clusters, standardised or not, as an ensemble of effective processes."""

from ._ensemble import solve_mixture
from ._observed import over_ensemble
from ._stability import stability_edge

__all__ = ["over_ensemble", "solve_mixture", "stability_edge"]
