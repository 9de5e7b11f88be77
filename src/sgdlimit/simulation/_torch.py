"""A PyTorch dataset of the samples that SGD sees; imported when it is used, because PyTorch is an extra."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch.utils.data import IterableDataset, get_worker_info  # pyright: ignore[reportMissingImports]

from ..instance import Instance
from .datasets import blocks_of

__all__ = ["HiddenManifoldDataset"]


class HiddenManifoldDataset(IterableDataset):
    """Pairs (x, y) of float32 tensors of shapes (N,) and (), in the order in which SGD takes the samples.

    They are those of ``simulate(instance, times, seed=seed)`` in the run ``run``. With ``DataLoader(num_workers=n)``
    worker w makes the blocks w, w + n, w + 2n, … of 512 samples, and the loader takes batches of the workers in turn:
    every sample comes once, in an order that is fixed by n and the batch size. With ``num_workers=0`` it is SGD's own.

    Parameters
    ----------
    instance
        From :meth:`sgdlimit.Problem.draw`, or made of your own arrays.
    samples
        After how many it ends; by default never.
    seed, run
        Those of :func:`sgdlimit.simulate`.

    Raises
    ------
    ProblemError
        If an argument is wrong.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=30, latent_dim=10, student_units=2, teacher_units=2,
    ...                      activation="erf", learning_rate=0.2)
    >>> data = sl.datasets.HiddenManifoldDataset(problem.draw(seed=0), samples=100)
    >>> x, y = next(iter(torch.utils.data.DataLoader(data, batch_size=20)))
    >>> tuple(x.shape), tuple(y.shape), len(data)
    ((20, 30), (20,), 100)
    """

    def __init__(self, instance: Instance, samples: int | None = None, *, seed: int = 0, run: int = 0) -> None:
        super().__init__()
        self.samples, self._blocks = samples, partial(blocks_of, instance, samples, seed=seed, run=run)
        self._blocks()  # checks them

    def __len__(self) -> int:
        if self.samples is None:
            raise TypeError("a HiddenManifoldDataset without samples=… has no end, so it has no length")
        return self.samples

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for block in self._blocks(first=first, step=step):
            labels = torch.from_numpy(block.labels.astype("float32"))
            yield from zip(torch.from_numpy(block.inputs), labels, strict=True)
