"""A page to explore the theory with: settings on the left, order parameters against time on the right."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
