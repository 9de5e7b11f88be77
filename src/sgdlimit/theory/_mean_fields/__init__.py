"""The third rung: theory for inputs in clusters, standardised or not, as an ensemble of effective processes."""

from ._ensemble import rule_of, solve_mixture
from ._observed import over_ensemble
from ._stability import stability_edge

__all__ = ["over_ensemble", "rule_of", "solve_mixture", "stability_edge"]
