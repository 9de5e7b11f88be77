"""Sweeps: grids over any field of a problem, in a store that survives interruptions, on one machine or many."""

from sgdlimit.sweep.command import compute_sweep
from sgdlimit.sweep.plan import Plan
from sgdlimit.sweep.run import run_sweep
from sgdlimit.sweep.settings import Sweep, SweepRun
from sgdlimit.sweep.store import SweepStore, open_sweep

__all__ = ["Plan", "Sweep", "SweepRun", "SweepStore", "compute_sweep", "open_sweep", "run_sweep"]
