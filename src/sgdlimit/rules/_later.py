"""JAX, and the averages written in it, imported when they are first used.

SGD with a built-in activation needs neither, and JAX takes 1.2 s to import. (``lazy_loader.load`` does not help,
because it imports the parent of ``jax.numpy`` at once.)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax as jax
    import jax.numpy as jnp
    from jaxtyping import Array as Array

    from . import _kinks as kinks, _orthant as orthant
else:
    Array = Any  # at run time, annotations ask for a shape alone

    class _Later:
        """A module that is imported when one of its names is used."""

        def __init__(self, name):
            self._name = name

        def __getattr__(self, name):
            return getattr(import_module(self._name, __package__), name)

    jax, jnp, kinks, orthant = map(_Later, ("jax", "jax.numpy", "._kinks", "._orthant"))
