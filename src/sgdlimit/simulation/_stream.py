"""The reproducible stream of samples, made block by block and shared by all conditions on one instance.

A condition (a law, standardised or not, an activation) needs the preactivations U = CF/√D and the teacher's fields
ν = CW̃ᵀ/√D of its own latent C. Most laws are affine in a few *sources* that many conditions share: the normals z and,
for a mixture, the offsets μ̂ of unit spread, C = (z + α μ̂ − location)/scale. So the matrix products, which are the
cost of the whole computation, are taken once per source, and every condition is

    U = gain (products[first] + coefficient products[second] + shift).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from ..errors import ProblemError
from ..inputs import Gaussian, LatentLaw, MixtureLaw
from ..instance import Instance
from ..random import fill_normals, fill_offsets, key_of
from ._projection import Projection, padded, projection_of

__all__ = ["ArraySource", "Source", "Stream", "stream_of"]

NORMALS, COMPONENTS, OTHER, LABELS = 0, 1, 2, 3  # what a key is for


class Source(ABC):
    """Something that fills blocks of latent vectors; every row depends on the key and the step alone."""

    name: tuple
    """Equal names are one source."""
    isotropic = False
    """Whether a rotation of the latent space leaves the law as it is."""

    @abstractmethod
    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """Write the latent vectors of the steps from ``first_step`` on."""


class Normals(Source):
    """z ~ N(0, I), the noise that all conditions have in common."""

    name = ("normals",)
    isotropic = True

    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """See :meth:`Source.fill`."""
        fill_normals(*key_of(*keys, NORMALS), first_step, block)


class Offsets(Source):
    """The mean of the component each block of coordinates drew."""

    def __init__(self, means: Float[np.ndarray, "m D"], weights: Float[np.ndarray, "m"], block_size: int) -> None:
        self.means = np.ascontiguousarray(means, dtype=np.float32)
        self.thresholds = np.minimum(np.cumsum(weights)[:-1] * 2.0**32, 2.0**32 - 1).astype(np.uint32)
        self.block_size = block_size
        self.name = ("offsets", self.means.tobytes(), self.thresholds.tobytes(), block_size)

    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """See :meth:`Source.fill`."""
        key = key_of(*keys, COMPONENTS)
        fill_offsets(*key, first_step, self.thresholds, self.means, self.block_size, block)


class RescaledMixture(Source):
    """A whole mixture sample C; needed where coordinates have scales of their own, which do not commute with F."""

    def __init__(self, law: MixtureLaw, dim: int) -> None:
        means = np.broadcast_to(
            ((law.means - law.location) / law.scale).reshape(law.components, -1), (law.components, dim)
        )
        self.offsets = Offsets(means, law.weights, law.block_size)
        self.inverse_scale = np.broadcast_to(1 / law.scale, (dim,)).astype(np.float32)
        self.name = ("mixture", self.offsets.name, self.inverse_scale.tobytes())

    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """See :meth:`Source.fill`."""
        offsets = np.empty_like(block)
        Normals().fill(keys, first_step, block)
        self.offsets.fill(keys, first_step, offsets)
        block *= self.inverse_scale
        block += offsets


class SampledLaw(Source):
    """A law that only offers ``sample``: one generator for every block of :data:`Stream.BLOCK` steps."""

    def __init__(self, law: LatentLaw) -> None:
        self.law = law
        self.name = ("law", id(law))

    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """See :meth:`Source.fill`."""
        rng = np.random.default_rng([*keys, OTHER, first_step])
        sample = np.asarray(self.law.sample(rng, Stream.BLOCK, block.shape[1]))
        if sample.shape != (Stream.BLOCK, block.shape[1]) or not np.isfinite(sample).all():
            raise ProblemError(
                f"latent: {type(self.law).__name__}.sample gave shape {sample.shape} or NaN where finite numbers of "
                f"shape {(Stream.BLOCK, block.shape[1])} were asked for; correct its sample method"
            )
        block[:] = sample[: len(block)]


class ArraySource(Source):
    """Given samples, in order; ``keys`` do not matter."""

    def __init__(self, samples: Float[np.ndarray, "step D"]) -> None:
        self.samples = samples
        self.name = ("array", id(samples))

    def fill(self, keys: tuple[int, ...], first_step: int, block: Float32[np.ndarray, "step D"]) -> None:
        """See :meth:`Source.fill`."""
        given = self.samples[first_step : first_step + len(block)]
        block[: len(given), : given.shape[1]] = given
        block[len(given) :] = 0


@dataclass(frozen=True)
class Stream:
    """All conditions' samples: sources, the matrix they are multiplied with, and how each condition combines them."""

    BLOCK = 512  # steps; results are reproducible bit for bit because this never changes

    sources: Sequence[Source]
    projection: Projection | None
    """None where the sources are the inputs themselves."""
    chosen: Int[np.ndarray, "condition 2"]
    coefficients: Float32[np.ndarray, "condition"]
    shifts: Float32[np.ndarray, "condition width"]
    gains: Float32[np.ndarray, "condition"]
    locations: Float32[np.ndarray, "condition D"]
    """The shifts in latent space: shift = −location projection."""
    keys: tuple[int, ...]

    @classmethod
    def of_inputs(cls, inputs: Float[np.ndarray, "step N"], conditions: int) -> "Stream":
        """The stream of given inputs X, the same for all conditions."""
        return cls(
            sources=[ArraySource(inputs)],
            projection=None,
            chosen=np.zeros((conditions, 2), np.int64),
            coefficients=np.zeros(conditions, np.float32),
            shifts=np.zeros((conditions, padded(inputs.shape[1])), np.float32),
            gains=np.ones(conditions, np.float32),
            locations=np.zeros((conditions, 1), np.float32),
            keys=(),
        )

    def with_keys(self, *keys: int) -> "Stream":
        """The same conditions under other random numbers."""
        return replace(self, keys=keys)

    @cached_property
    def same_input(self) -> Bool[np.ndarray, "condition"]:
        """Whether a condition has the input of the one before it: another activation, rate or student."""
        what = np.column_stack([self.chosen, self.coefficients, self.gains, self.locations])
        return np.append(False, (what[1:] == what[:-1]).all(axis=1))

    @property
    def width(self) -> int:
        """Columns of the products: N preactivations, M teacher fields, and padding to whole vector registers."""
        return self.shifts.shape[1]

    def empty_products(self) -> Float32[np.ndarray, "source step width"]:
        """Room for the products of one block."""
        return np.zeros((len(self.sources), self.BLOCK, self.width), np.float32)

    def fill_products(self, first_step: int, products: Float32[np.ndarray, "source step width"]) -> None:
        """Draw the latent vectors of a block and multiply them: one matrix product per source.

        Always a whole block, so that a shorter run has the bits of a longer one.
        """
        for source, product in zip(self.sources, products, strict=True):
            if self.projection is None:
                source.fill(self.keys, first_step, product)
            else:
                latent = np.empty((len(product), self.projection.latent_dim), np.float32)
                source.fill(self.keys, first_step, latent)
                (self.projection.of_normals if source.isotropic else self.projection.of_latent)(latent, product)

    def label_noise(self, first_step: int, count: int) -> Float[np.ndarray, "count"]:
        """Independent normals for the labels of some samples, the same for all conditions."""
        normals = np.empty((count, 1), np.float32)
        fill_normals(*key_of(*self.keys, LABELS), first_step, normals)
        return normals[:, 0].astype(np.float64)

    def latent(self, condition: int, first_step: int, count: int) -> Float32[np.ndarray, "count D"]:
        """The latent vectors C themselves, of one condition; ``first_step`` is a multiple of the block."""
        parts = np.empty((2, count, self.locations.shape[1]), np.float32)
        for part, source in zip(parts, self.chosen[condition], strict=True):
            self.sources[source].fill(self.keys, first_step, part)
            if self.sources[source].isotropic and self.projection is not None:
                part[:] = self.projection.unrotated(part)
        return self.gains[condition] * (parts[0] + self.coefficients[condition] * parts[1] - self.locations[condition])


def stream_of(instances: Sequence[Instance], samples: np.ndarray | None = None) -> Stream:
    """The stream that serves several instances on the same features and teacher.

    Parameters
    ----------
    instances
        Conditions: they differ in law, activation, learning rate or initial student, not in features and teacher.
    samples
        Latent samples, shape (steps, D), that all conditions take in order instead of drawing.

    Raises
    ------
    ProblemError
        If the instances have different features or teachers.
    """
    first = instances[0]
    for instance in instances[1:]:
        for name in ("features", "teacher"):
            if getattr(instance, name) is not getattr(first, name) and not np.array_equal(
                getattr(instance, name), getattr(first, name)
            ):
                raise ProblemError(f"{name}: differs between instances simulated together; simulate them one by one")
    latent_dim = first.latent_dim
    projection = projection_of(first)
    sources: dict[tuple, tuple[int, Source]] = {}

    def index(source: Source) -> int:
        return sources.setdefault(source.name, (len(sources), source))[0]

    chosen, coefficients, locations, gains = [], [], [], []
    for instance in instances:
        law = instance.latent
        coefficient, location, gain = 0.0, np.zeros(latent_dim), 1.0
        if samples is not None:
            one = two = index(ArraySource(samples))
        elif isinstance(law, Gaussian):
            one = two = index(Normals())
        elif isinstance(law, MixtureLaw) and np.ptp(law.scale) == 0:
            one = two = index(Normals())
            coefficient = np.abs(law.means).max()
            if coefficient > 0:
                # Rounded, so that proportional means of different spread are recognised as one source.
                unit = np.round(law.means / coefficient, 12).reshape(law.components, -1)
                two = index(Offsets(np.broadcast_to(unit, (law.components, latent_dim)), law.weights, law.block_size))
            location = np.broadcast_to(law.location, (latent_dim,))
            gain = 1 / float(np.mean(law.scale))
        elif isinstance(law, MixtureLaw):
            one = two = index(RescaledMixture(law, latent_dim))
        else:
            one = two = index(SampledLaw(law))
        chosen.append((one, two))
        coefficients.append(coefficient)
        locations.append(location)
        gains.append(gain)
    return Stream(
        sources=[source for _, source in sources.values()],
        projection=projection,
        chosen=np.array(chosen),
        coefficients=np.array(coefficients, np.float32),
        shifts=projection.shifts(np.array(locations)),
        gains=np.array(gains, np.float32),
        locations=np.array(locations, np.float32),
        keys=(),
    )
