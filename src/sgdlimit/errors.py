"""The two ways a request can fail."""

__all__ = ["DivergenceError", "DivergenceWarning", "ProblemError"]


class ProblemError(ValueError):
    """A setting or an array that cannot be used; the message names the field, the value and what would do."""


class DivergenceError(ArithmeticError):
    """A trajectory that left the finite numbers before its first output time."""


class DivergenceWarning(RuntimeWarning):
    """A trajectory that was cut because it diverged; its dataset says when in ``attrs["diverged_at"]``."""
