"""Errors and warnings, and helpers that word them."""

from collections.abc import Collection
from difflib import get_close_matches


class ProblemError(ValueError):
    """A setting or an array that cannot be used.

    Each argument is one complaint, ``field: must be <rule> (got <value>). <Fix>.``; together they are the message.
    """

    def __str__(self) -> str:
        return " ".join(map(str, self.args))


class AccuracyWarning(RuntimeWarning):
    """Gaussian averages with a larger error than was asked for; ``attrs["integral_error"]`` gives it."""


class DivergenceError(ArithmeticError):
    """A trajectory that left the finite numbers before its first output time."""


class DivergenceWarning(RuntimeWarning):
    """A trajectory that was cut because it diverged; ``attrs["diverged_at"]`` of its dataset gives the time."""


class SweepError(RuntimeError):
    """A sweep that had to stop; its finished tasks are stored."""


def shown(value: object) -> str:
    """A value in a message: its ``repr`` in one line, cut where it is long."""
    try:
        text = repr(value).replace("\n", "")
    except (RecursionError, ValueError):  # whole numbers of more than 4300 digits have no repr
        return "a value too long to show"
    return text if len(text) <= 100 else f"{text[:90]} ..."


def reason(error: Exception) -> str:
    """The first line of what another package's error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def closest(name: object, known: Collection[str]) -> list[str]:
    """The known name that is nearest to one that is not, whatever their case; none where none is near."""
    small = {each.lower(): each for each in known}
    return [small[match] for match in get_close_matches(str(name)[:100].lower(), small, 1)]


def nearest(name: object, known: Collection[str], otherwise: str = "") -> str:
    """The fix for a name that is not known: the nearest one, where one is near."""
    return next((f" Did you mean {match!r}?" for match in closest(name, known)), otherwise)


def unknown_name(field: str, name: object, known: Collection[str], more: str = "") -> ProblemError:
    """The complaint about a name that is not known.

    Examples
    --------
    >>> print(unknown_name("features", "gausian", ("gaussian", "dct")))
    features: must be 'gaussian' or 'dct' (got 'gausian'). Did you mean 'gaussian'?
    """
    names = [repr(each) for each in known]
    listed = ", ".join(names) + more if more else " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return ProblemError(f"{field}: must be {listed} (got {shown(name)}).{nearest(name, known, ' Use one of them.')}")
