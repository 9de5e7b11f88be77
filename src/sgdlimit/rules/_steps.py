"""Steps whose length depends on the sample: gradients that are clipped by norm, and Polyak's step."""

from copy import copy

import numpy as np

from ..errors import ProblemError
from ._later import jax, jnp
from ._rule import Gradient, Rule

TINY = 1e-30
"""In the place of a square norm of 0."""


def limited(rule: Rule, variance: float, *, clip: float | None, polyak: tuple[float, float, float] | None) -> Rule:
    """A rule with a factor on (δ, γ): min(1, c/√(ω̄|δ|² + |γ|²)), or Polyak's min(η_max, (ℓ − ℓ*)/(c ω̄|δ|²)).

    Here ω̄ is the mean variance of the inputs, whose square norm is |X|² = Nω̄. The numbers are in ``given``.

    Raises
    ------
    ProblemError
        If an update sees several samples, or Polyak's step has no loss to go by.
    """
    if rule.samples > 1:
        raise ProblemError(f"samples: must be 1 with clip or polyak (got {rule.samples}). Leave one of them out.")
    gradient = rule.update
    if polyak is not None and not isinstance(gradient, Gradient):
        raise ProblemError(f"polyak: must have a rule with a loss (got {rule.name!r}). Use Rule.from_loss.")
    stepped = copy(rule)
    stepped.given = rule.given | {"limits": np.array([variance, *(polyak or [clip])])}

    def update(fields, target, head, noise, given, task, time, Q=None, R=None, T=None):
        extras = {"noise": noise, "given": given, "task": task, "time": time, "Q": Q, "R": R, "T": T}
        delta, change = rule.learn(fields, target, head, **extras)
        variance, *limits = given["limits"]
        square = variance * jnp.sum(delta**2)
        if polyak is not None:
            largest, scale, best = limits
            excess = jnp.maximum(gradient.value(fields, target, head, **extras) - best, 0)
            factor = jnp.minimum(largest, excess / (scale * jnp.maximum(square, TINY)))
        else:
            square += sum(jnp.sum(each**2) for each in jax.tree.leaves(change))
            factor = jnp.minimum(1, limits[0] / jnp.sqrt(jnp.maximum(square, TINY)))
        return delta * factor, jax.tree.map(lambda each: each * factor, change)

    stepped.update, stepped.gradient = update, False
    return stepped
