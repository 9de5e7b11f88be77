"""Sweeps: grids over any field of a problem, in a store that survives interruptions, on one machine or many."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
