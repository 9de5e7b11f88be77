"""A page to explore the theory with: settings on the left, order parameters against time on the right."""

from sgdlimit.explorer.explore import explore

__all__ = ["explore"]
