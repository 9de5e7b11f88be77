"""Pages of results in one HTML file: sections, tables, figures whose values can be read at the pointer."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
