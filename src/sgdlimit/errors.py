"""The ways a request can fail, and what is worth a warning."""

__all__ = ["AccuracyWarning", "DivergenceError", "DivergenceWarning", "ProblemError", "SweepError"]


class ProblemError(ValueError):
    """A setting or an array that cannot be used; the message names the field, the value and what would do."""


class AccuracyWarning(RuntimeWarning):
    """Gaussian averages with a larger error than was asked for; ``attrs["integral_error"]`` says how large."""


class DivergenceError(ArithmeticError):
    """A trajectory that left the finite numbers before its first output time."""


class DivergenceWarning(RuntimeWarning):
    """A trajectory that was cut because it diverged; its dataset says when in ``attrs["diverged_at"]``."""


class SweepError(RuntimeError):
    """A sweep that had to stop; what was finished is stored."""
