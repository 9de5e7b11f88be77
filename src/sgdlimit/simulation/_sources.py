"""Where latent vectors come from: each source fills blocks of them, and a row depends on the key and the step alone."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Float32, UInt32

from ..errors import ProblemError
from ..inputs import Gaussian, LatentLaw, MixtureLaw
from ..random import fill_normals, fill_offsets, key_of

BLOCK = 512
"""Steps of a block. Results are reproducible bit for bit because this never changes."""

NORMALS, COMPONENTS, OTHER, LABELS = 0, 1, 2, 3  # what a key is for


class Mixture(NamedTuple):
    """scale · z + the mean of the component that each block of coordinates drew; either part may be missing.

    All conditions have the normals z ~ N(0, I) in common.
    """

    scale: Float32[np.ndarray, "D"] | None
    means: Float32[np.ndarray, "m D"] | None
    thresholds: UInt32[np.ndarray, "thresholds"] | None
    """Cumulated weights of the components, in units of 2⁻³²."""
    block_size: int

    @classmethod
    def normals(cls) -> Self:
        """z itself."""
        return cls(np.ones(1, np.float32), None, None, 1)

    @classmethod
    def components(
        cls, law: MixtureLaw, means: Float[np.ndarray, "m *D"], dim: int, scale: Float32[np.ndarray, "D"] | None = None
    ) -> Self:
        """The components of a law with these means, and z times ``scale`` if there is one."""
        rows = np.broadcast_to(means.reshape(law.components, -1), (law.components, dim))
        thresholds = np.minimum(np.cumsum(law.weights)[:-1] * 2.0**32, 2.0**32 - 1).astype(np.uint32)
        return cls(scale, np.ascontiguousarray(rows, np.float32), thresholds, law.block_size)

    @property
    def isotropic(self) -> bool:
        """Whether a rotation of the latent space leaves the law as it is."""
        return self.means is None

    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """Write the latent vectors of the steps from ``first_step`` on."""
        offsets = block
        if self.scale is not None:
            fill_normals(*key_of(*keys, NORMALS), first_step, block)
            offsets = np.empty_like(block)
        if self.means is not None:
            fill_offsets(*key_of(*keys, COMPONENTS), first_step, self.thresholds, self.means, self.block_size, offsets)
        if self.scale is not None and self.means is not None:
            block *= self.scale
            block += offsets


class Sampled(NamedTuple):
    """A law that only offers ``sample``: one generator for every block."""

    law: LatentLaw
    isotropic = False

    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """Write the latent vectors of the steps from ``first_step`` on."""
        rng = np.random.default_rng([*keys, OTHER, first_step])
        shape = BLOCK, block.shape[1]
        sample = np.asarray(self.law.sample(rng, *shape))
        if sample.shape != shape or not np.isfinite(sample).all():
            raise ProblemError(
                f"latent: {type(self.law).__name__}.sample must give finite numbers of shape {shape} (got shape "
                f"{sample.shape}, or NaN). Correct its sample method."
            )
        block[:] = sample[: len(block)]


class Given(NamedTuple):
    """Given samples, in order; ``keys`` do not matter."""

    samples: Float32[np.ndarray, "step D"]
    isotropic = False

    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """Write the samples from ``first_step`` on, and zeros after the last."""
        given = self.samples[first_step : first_step + len(block)]
        block[:] = 0
        block[: len(given), : given.shape[1]] = given


Source = Mixture | Sampled | Given


def name_of(source: Source) -> tuple:
    """Sources of one name are one source."""
    if isinstance(source, Mixture):
        return tuple(part.tobytes() if isinstance(part, np.ndarray) else part for part in source)
    return (id(source[0]),)


class Condition(NamedTuple):
    """A latent as an affine function of two sources: C = gain (first + coefficient second − location)."""

    first: Source
    second: Source
    coefficient: float
    gain: float
    location: Float[np.ndarray, "D"]


def condition_of(law: LatentLaw, dim: int, given: Sequence[Float32[np.ndarray, "step D"]]) -> Condition:
    """How a law is made from sources, which proportional laws share; or the given samples, if there are any."""
    z, nowhere = Mixture.normals(), np.zeros(dim)
    if given:
        alone = Given(given[0])
    elif isinstance(law, Gaussian):
        alone = z
    elif not isinstance(law, MixtureLaw):
        alone = Sampled(law)
    elif np.ptp(law.scale) == 0:
        spread = np.abs(law.means).max()
        # Rounded, so that proportional means of different spread are recognised as one source.
        unit = Mixture.components(law, np.round(law.means / spread, 12), dim) if spread > 0 else z
        return Condition(z, unit, spread, 1 / float(np.mean(law.scale)), np.broadcast_to(law.location, (dim,)))
    else:  # coordinates have scales of their own, which do not commute with F
        scale = np.broadcast_to(1 / law.scale, (dim,)).astype(np.float32)
        alone = Mixture.components(law, (law.means - law.location) / law.scale, dim, scale)
    return Condition(alone, alone, 0.0, 1.0, nowhere)
