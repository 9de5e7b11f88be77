"""The samples that SGD sees, block by block: latent vectors, inputs and labels with their noise."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from ..instance import Instance
from ..resources import one_thread
from ._chains import Chains
from ._measure import form_samples
from ._stream import Stream, stream_of

__all__ = ["TRAINING", "Samples", "blocks_of", "samples_in_block"]

TRAINING = 0
"""The last word of a stream's keys for what is trained on; that of test sets is another one."""


class Samples(NamedTuple):
    """Some samples in the order in which SGD takes them."""

    latent: Float32[np.ndarray, "sample D"]
    inputs: Float32[np.ndarray, "sample N"]
    labels: Float[np.ndarray, "sample"]


def samples_in_block(
    chains: Chains, index: int, stream: Stream, first: int, count: int, products: Float32[np.ndarray, "source step w"]
) -> Samples:
    """The samples of one chain from ``first`` on, at most a block, which begins there; ``products`` is room for it."""
    latent = stream.latent(index, first, count)
    inputs = np.empty((count, chains.kept_student.shape[3]), np.float32)
    of_tasks = np.empty((chains.teacher_output.shape[1], count))
    stream.fill_products(first, products)
    form_samples(chains, index, stream, products, inputs, of_tasks)
    steps = np.arange(first, first + count) // chains.batch_size
    task = np.searchsorted(chains.switch_steps, steps, side="right")
    noise = chains.rules.label_noise[index] * stream.label_noise(first, count)
    return Samples(latent, inputs, of_tasks[task, range(count)] + noise)


def blocks_of(
    instance: Instance, *, seed: int = 0, run: int = 0, first: int = 0, step: int = 1, samples: int | None = None
) -> Iterator[Samples]:
    """The samples that :func:`sgdlimit.simulate` trains one run on, a block of 512 at a time.

    Parameters
    ----------
    instance
        Whose inputs and teacher.
    seed, run
        Those of the simulation.
    first, step
        Of the blocks only ``first``, ``first + step``, ...: how several readers share them.
    samples
        Where the stream ends, which cuts its last block short; by default nowhere.
    """
    stream = stream_of([instance]).with_keys(seed, run, TRAINING)
    chains = Chains.start([instance], np.zeros(1, np.int64), stream)
    products = stream.empty_products()
    start = first * Stream.BLOCK
    while samples is None or start < samples:
        count = Stream.BLOCK if samples is None else min(Stream.BLOCK, samples - start)
        with one_thread():  # so that the bits are those of the simulation
            block = samples_in_block(chains, 0, stream, start, count, products)
        yield block
        start += step * Stream.BLOCK
