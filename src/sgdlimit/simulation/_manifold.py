"""The map from preactivations to inputs, X = f(U) − E f(U), as the compiled loops take it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from ..inputs import Nonlinearity, nonlinearity_named
from ..instance import Instance
from ..rules import Tables

__all__ = ["Manifold"]


class Manifold(NamedTuple):
    """f, and the means that are subtracted."""

    code: int
    """Of :mod:`sgdlimit.inputs._manifold`."""
    tables: Tables
    """Of f, where the code says that it has one."""
    centres: Float32[np.ndarray, "chain N"]
    """E f(U); no columns where there is nothing to subtract."""

    @classmethod
    def of(cls, nonlinearity: str | Nonlinearity, means: Sequence[Float[np.ndarray, "N"] | None]) -> "Manifold":
        """The map of f with the means that are subtracted for each chain."""
        f = nonlinearity_named(nonlinearity)
        tables = Tables.of([f.table] if isinstance(f, Nonlinearity) else [])
        centred = [mean for mean in means if mean is not None]
        centres = np.zeros((len(means), len(centred[0]) if centred else 0), np.float32)
        for row, mean in zip(centres, means, strict=True):
            row[:] = 0 if mean is None else mean
        return cls(f.code, tables, centres)

    @classmethod
    def of_instances(cls, instances: Sequence[Instance]) -> "Manifold":
        """The map of instances that share features, f and whether to centre."""
        means = {}
        for i in instances:  # those under one law share it
            if id(i.latent) not in means:
                means[id(i.latent)] = i.input_mean() if i.centre else None
        return cls.of(instances[0].nonlinearity, [means[id(i.latent)] for i in instances])

    def some(self, chains: slice) -> "Manifold":
        """That of some of the chains."""
        return self._replace(centres=self.centres[chains])
