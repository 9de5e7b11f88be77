"""From what an address or a message says to the fields that it is about."""

from collections.abc import Mapping
from typing import Any

from ..errors import ProblemError
from ._fields import MIXTURE, MIXTURE_DEFAULTS
from ._view import DEFAULT, OWN_FIELDS, View, flat

__all__ = ["as_far_as_it_will_do", "by_field"]


def as_far_as_it_will_do(names: Mapping[str, Any]) -> tuple[View, dict[str, str]]:
    """The view of an address; where not all of it will do, with what will, and what is wrong with the rest."""
    settings = flat(DEFAULT.settings())
    try:
        return View.from_settings({**settings, **names}), {}
    except (ProblemError, TypeError):
        pass
    view, wrong = DEFAULT, {}
    if names.get("latent.law") == MIXTURE:
        settings |= MIXTURE_DEFAULTS | {"latent.law": MIXTURE}
    for name in sorted(names, key=lambda name: (*OWN_FIELDS, name).index(name)):  # sizes before what must fit them
        try:
            view = View.from_settings(settings | {name: names[name]})
        except (ProblemError, TypeError) as error:
            wrong[name] = next(iter(by_field(str(error)).values()))
            continue
        settings |= {name: names[name]}
    return view, {name: text if name in OWN_FIELDS else f"{name}: {text}" for name, text in wrong.items()}


def by_field(message: str) -> dict[str, str]:
    """A message under the name of the field it begins with."""
    name, colon, rest = message.partition(": ")
    return {name: rest} if colon and " " not in name else {"": message}
