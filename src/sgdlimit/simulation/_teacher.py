"""Teachers that drift or turn while SGD learns from them: W̃ ← e^(S/N) [(1 − κ/N) W̃ + √(2κ/N) ζ] in each step."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from numpy import float32, ndarray
from scipy.linalg import expm

from ._sources import BLOCK, TEACHER
from ._stream import Kept, Rows, Stream


def moving(streams: Sequence[Stream], kept: Sequence[Kept], chunks: Iterable[list[Rows]]) -> Iterator[list[Rows]]:
    """Chunks with the fields of teachers that move, in the place of the latent vectors of their samples.

    The teachers are kept at the output samples.
    """
    outputs, last = kept[0].output_samples, {}
    for number, chunk in enumerate(chunks):
        first = number * BLOCK
        reached = np.flatnonzero((first <= outputs) & (outputs <= first + BLOCK))
        for c, (instance, rows) in enumerate(zip(streams[0].instances, chunk, strict=True)):
            if not instance.training.moves_teacher:
                continue
            latents, part = rows.teacher, slice(first - rows.start, first - rows.start + BLOCK)
            fields = np.zeros((*latents.shape[:2], len(instance.teacher)), float32)
            for run, stream in enumerate(streams):
                path = _path(stream, c, last.get((run, c), instance.teacher), first)
                last[run, c] = path[-1]
                fields[run, part] = np.einsum("smd,sd->sm", path[:-1], latents[run, part]) / np.sqrt(path.shape[2])
                kept[run].teachers[c][reached] = path[outputs[reached] - first]
            chunk[c] = rows._replace(teacher=fields)
        yield chunk


def _path(stream: Stream, c: int, teacher: Float[ndarray, "M D"], first: int) -> Float[ndarray, "sample M D"]:
    """A teacher before each sample of a block, and after the last."""
    training, N = stream.instances[c].training, stream.input_dim
    kappa, turn = training.teacher_drift / N, expm(training.turn(len(teacher)) / N)
    noise = np.sqrt(2 * kappa) * stream.noise(first, BLOCK, teacher.size, TEACHER)
    path = [teacher]
    for sample, zeta in enumerate(noise.reshape(BLOCK, *teacher.shape), first + 1):
        stays = sample % stream.samples_a_step  # inside a step
        path.append(path[-1] if stays else turn @ ((1 - kappa) * path[-1] + zeta))
    return np.array(path)
