"""Online SGD on reproducible streams of samples."""

from sgdlimit.simulation.sgd import simulate, simulate_together

__all__ = ["simulate", "simulate_together"]
