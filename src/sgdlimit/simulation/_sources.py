"""Where latent vectors come from: each source fills blocks of them, and a row depends on the key and the step alone."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt32
from numpy import float32, ndarray

from ..errors import ProblemError
from ..inputs import Gaussian, LatentLaw, MixtureLaw
from ..random import fill_normals, fill_offsets, key_of

BLOCK = 512
"""Steps of a block. Results are reproducible bit for bit because it never changes."""

NORMALS, COMPONENTS, OTHER, LABELS, TEACHER = range(5)  # what a key is for


Keys = tuple[int, ...]
Latents = Float32[ndarray, "step D"]


class Source(NamedTuple):
    """What fills blocks with latent vectors."""

    name: Hashable
    """Sources with the same name are the same source."""
    fill: Callable[[Keys, int, Latents], None]
    """Takes the keys of the random numbers, the first step and the block to write to."""
    isotropic: bool = False
    """Whether a rotation of the latent space leaves the law as it is."""


def _fill_normals(keys: Keys, first: int, block: Latents) -> None:
    fill_normals(*key_of(*keys, NORMALS), first, block)


Z = Source("normals", _fill_normals, isotropic=True)
"""The normals z ~ N(0, I) that all conditions have in common."""


def _components(
    law: MixtureLaw, means: Float[ndarray, "m *D"], dim: int, scale: Float32[ndarray, "D"] | None = None
) -> Source:
    """The mean of the component that each block of coordinates drew, and z times ``scale`` if there is one."""
    rows = np.ascontiguousarray(np.broadcast_to(means.reshape(law.components, -1), (law.components, dim)), float32)
    thresholds = _thresholds(law)

    def fill(keys, first, block):
        fill_offsets(*key_of(*keys, COMPONENTS), first, thresholds, rows, law.block_size, block)
        if scale is not None:
            z = np.empty_like(block)
            _fill_normals(keys, first, z)
            block += z * scale

    return Source((rows.tobytes(), thresholds.tobytes(), law.block_size, scale is None or scale.tobytes()), fill)


def _thresholds(law: MixtureLaw) -> UInt32[ndarray, "..."]:
    """Cumulated weights of the components, in units of 2⁻³²."""
    return np.minimum(np.cumsum(law.weights)[:-1] * 2.0**32, 2.0**32 - 1).astype(np.uint32)


def clusters_drawn(law: LatentLaw, dim: int, keys: Keys, first: int) -> Int[ndarray, "step"]:
    """Numbers of the clusters, in the order of ``law.clusters``, that the latent vectors of a block come from.

    Raises
    ------
    ProblemError
        If the law has no clusters, or too many.
    """
    count = len(law.clusters(dim).weights)
    if count == 1:
        return np.zeros(BLOCK, int)
    if not isinstance(law, MixtureLaw):
        return law.clusters_chosen(np.random.default_rng([*keys, OTHER, first]), BLOCK)
    components, blocks = law.components, dim // law.block_size
    rows = np.repeat(np.arange(components, dtype=float32)[:, None], blocks, axis=1)
    chosen = np.empty((BLOCK, blocks), float32)
    fill_offsets(*key_of(*keys, COMPONENTS), first, _thresholds(law), rows, 1, chosen)
    return chosen.astype(int) @ components ** np.arange(blocks)[::-1]


def _sampled(law: LatentLaw) -> Source:
    """A law that only offers ``sample``: one generator for every block."""

    def fill(keys, first, block):
        sample = np.asarray(law.sample(np.random.default_rng([*keys, OTHER, first]), *block.shape))
        if sample.shape != block.shape or not np.isfinite(sample).all():
            raise ProblemError(
                f"latent: {type(law).__name__}.sample must give finite numbers of shape {block.shape} (got shape "
                f"{sample.shape}, or NaN). Correct its sample method."
            )
        block[:] = sample

    return Source(id(law), fill)


def _given(samples: Latents) -> Source:
    """Given samples, in order, and zeros after the last."""

    def fill(keys, first, block):
        part = samples[first : first + len(block)]
        block[: len(part)], block[len(part) :] = part, 0

    return Source("given", fill)


Condition = tuple[Source, Source, float, float, Float[ndarray, "D"]]
"""First, second, coefficient, gain, location of C = gain (first + coefficient second − location)."""


def _changing(conditions: Sequence[Condition], changes: Sequence[int]) -> Source:
    """Laws that follow each other, each from a sample on."""
    edges = [0, *changes, np.inf]

    def fill(keys, first, block):
        drawn: Any = np.empty((2, *block.shape), float32)
        for (*both, coefficient, gain, location), begin, end in zip(conditions, edges[:-1], edges[1:], strict=True):
            start, stop = (int(np.clip(edge - first, 0, len(block))) for edge in (begin, end))
            if start < stop:
                for source, part in zip(both, drawn, strict=True):
                    source.fill(keys, first, part)
                block[start:stop] = (gain * (drawn[0] + coefficient * drawn[1] - location))[start:stop]

    return Source(fill, fill)


def condition_of(laws: Sequence[LatentLaw], changes: Sequence[int], dim: int, given: Sequence[ndarray]) -> Condition:
    """A latent as an affine function of two sources, which proportional laws share; of the given samples if any.

    Each of several laws begins at a sample.
    """
    law = laws[0]
    if given:
        alone = _given(given[0])
    elif len(laws) > 1:
        alone = _changing([condition_of([each], (), dim, ()) for each in laws], changes)
    elif isinstance(law, Gaussian):
        alone = Z
    elif not isinstance(law, MixtureLaw):
        alone = _sampled(law)
    elif np.ptp(law.scale) == 0:
        spread = np.abs(law.means).max()
        # Rounded, so that proportional means of different spread are recognised as one source.
        unit = _components(law, np.round(law.means / spread, 12), dim) if spread > 0 else Z
        return Z, unit, spread, 1 / float(np.mean(law.scale)), np.broadcast_to(law.location, (dim,))
    else:  # coordinates have scales of their own, which do not commute with F
        scale = np.broadcast_to(1 / law.scale, (dim,)).astype(float32)
        alone = _components(law, (law.means - law.location) / law.scale, dim, scale)
    return alone, alone, 0.0, 1.0, np.zeros(dim)
