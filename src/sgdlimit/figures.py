"""The name that figures had in version 0.1; they are now in :mod:`sgdlimit.plotting`."""

from .plotting import optimal_schedule, phase_diagram, save_figure, sweep_discrepancy

__all__ = ["optimal_schedule", "phase_diagram", "save_figure", "sweep_discrepancy"]
