"""Theory and simulation of online learning in two-layer networks on structured inputs.

Everything public is here; what it needs is imported when it is first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
