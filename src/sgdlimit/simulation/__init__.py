"""Online SGD on reproducible streams of samples."""

from sgdlimit.simulation.sgd import predicted_bytes, simulate, simulate_together

__all__ = ["predicted_bytes", "simulate", "simulate_together"]
