"""Samples of the hidden manifold for your own networks: exactly those that :func:`sgdlimit.simulate` trains on.

``make_hidden_manifold`` gives arrays. ``batches`` never ends and needs constant memory. ``HiddenManifoldDataset`` is a
PyTorch dataset, which needs the extra ``torch``.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from ..errors import ProblemError
from ..inputs import Gaussian
from ..instance import Instance
from ..problem import GaussianMixture, Problem
from ..settings import check_whole
from ..signatures import checked
from ._stream import TRAINING, Samples, check_labels, stream_of

if TYPE_CHECKING:
    from ._torch import HiddenManifoldDataset

__all__ = ["HiddenManifold", "HiddenManifoldDataset", "batches", "make_hidden_manifold"]


Pairs = tuple[Float32[ndarray, "sample N"], Float[ndarray, "sample"]]
"""X and y."""


class HiddenManifold(NamedTuple):
    """Samples with what they were made from."""

    X: Float32[ndarray, "sample N"]
    """Inputs."""
    y: Float[ndarray, "sample"]
    """Labels."""
    latent: Float32[ndarray, "sample D"]
    """C, which the teacher sees."""
    instance: Instance
    """Features, teacher and a student to start from: what :func:`sgdlimit.solve` and :func:`sgdlimit.simulate` take."""


@overload
def make_hidden_manifold(n_samples: int = ..., *, return_X_y: Literal[True] = ..., **settings: Any) -> Pairs:
    """Inputs X, shape (n_samples, N), and labels y, shape (n_samples,)."""


@overload
def make_hidden_manifold(n_samples: int = ..., *, return_X_y: Literal[False], **settings: Any) -> HiddenManifold:
    """X and y with the latent C, shape (n_samples, D), and the instance that they come from."""


@checked
def make_hidden_manifold(
    n_samples: int = 1000,
    *,
    input_dim: int = 100,
    latent_dim: int = 50,
    teacher_units: int = 2,
    activation: str = "erf",
    nonlinearity: str = "sign",
    latent: Gaussian | GaussianMixture | None = None,
    seed: int = 0,
    return_X_y: bool = True,
    **settings: Any,
) -> Pairs | HiddenManifold:
    """Inputs X = f(CF/√D) on a hidden manifold and labels y = Σ ṽ g(CW̃ᵀ/√D) of a teacher that sees the latent C.

    They are the samples that ``simulate(problem.draw(seed), times, seed=seed)`` trains its first run on, bit for bit.

    Parameters
    ----------
    n_samples
        Number of samples.
    input_dim, latent_dim
        N and D.
    teacher_units
        M.
    activation, nonlinearity
        g of the teacher and f of the manifold, as for :class:`sgdlimit.Problem`.
    latent
        Law of C: ``Gaussian()``, the default, or a :class:`sgdlimit.GaussianMixture`.
    seed
        Of the features, the teacher and the samples.
    return_X_y
        Whether X and y are returned alone, or all that belongs to them.
    **settings
        Other fields of :class:`sgdlimit.Problem`, as ``features="dct"`` or ``training=Training(label_noise=0.1)``.

    Returns
    -------
    tuple of ndarray, or HiddenManifold
        X, shape (n_samples, N), float32, and y, shape (n_samples,), float64; with ``return_X_y=False`` also the latent
        C, shape (n_samples, D), and the instance.

    Raises
    ------
    ProblemError
        If a setting is wrong.

    References
    ----------
    Goldt, Mézard, Krzakala and Zdeborová, Physical Review X 10, 041044 (2020).

    Examples
    --------
    >>> X, y = make_hidden_manifold(200, input_dim=30, latent_dim=10, seed=1)
    >>> X.shape, y.shape
    ((200, 30), (200,))
    """
    check_whole(1, n_samples=n_samples)
    problem = Problem(
        **{"student_units": teacher_units, "learning_rate": 0.2} | settings,
        input_dim=input_dim,
        latent_dim=latent_dim,
        teacher_units=teacher_units,
        activation=activation,
        nonlinearity=nonlinearity,
        latent=Gaussian() if latent is None else latent,  # type: ignore[arg-type]
    )
    instance = problem.draw(seed)
    C, X, y = Samples.joined([*blocks_of(instance, n_samples, seed=seed)])
    return (X, y) if return_X_y else HiddenManifold(X, y, C, instance)


@checked
def batches(
    instance: Instance, batch_size: int, *, samples: int | None = None, seed: int = 0, run: int = 0
) -> Iterator[Samples]:
    """The samples that SGD sees, in its order and in batches. They never end and need constant memory.

    Parameters
    ----------
    instance
        From :meth:`sgdlimit.Problem.draw`, or made of your own arrays.
    batch_size
        Samples in each batch. If the stream ends, the last batch may have fewer.
    samples
        Number of samples after which it ends; by default never.
    seed, run
        Those of :func:`sgdlimit.simulate`: its run ``run`` sees the same samples, bit for bit.

    Yields
    ------
    Samples
        ``latent`` (batch, D) and ``inputs`` (batch, N), float32, and ``labels`` (batch,), float64.

    Raises
    ------
    ProblemError
        If an argument is wrong.

    Examples
    --------
    >>> import sgdlimit as sl
    >>> problem = sl.Problem(input_dim=30, latent_dim=10, student_units=2, teacher_units=2,
    ...                      activation="erf", learning_rate=0.2)
    >>> [len(batch.labels) for batch in batches(problem.draw(seed=0), 400, samples=1000)]
    [400, 400, 200]
    """
    check_whole(1, batch_size=batch_size)
    return _cut(blocks_of(instance, samples, seed=seed, run=run), batch_size)


def _cut(blocks: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Blocks as batches of another size."""
    waiting = next(blocks)
    while True:
        while len(waiting.labels) < size and (block := next(blocks, None)):
            waiting = Samples.joined([waiting, block])
        if not len(waiting.labels):
            return
        yield Samples(*(values[:size] for values in waiting))
        waiting = Samples(*(values[size:] for values in waiting))


def blocks_of(
    instance: Instance, samples: int | None, *, seed: int = 0, run: int = 0, first: int = 0, step: int = 1
) -> Iterator[Samples]:
    """The samples that one run of :func:`sgdlimit.simulate` trains on, a block of 512 at a time.

    Blocks ``first``, ``first + step``, … are drawn; the stream stops after ``samples`` samples.
    """
    if samples is not None:
        check_whole(1, samples=samples)
    check_whole(0, seed=seed, run=run)
    check_labels(instance)
    stream = stream_of([instance]).with_keys(seed, run, TRAINING)
    return stream.samples(0, first=first, step=step, end=samples or np.inf)


def __getattr__(name: str) -> Any:
    if name != "HiddenManifoldDataset":
        raise AttributeError(f"module 'sgdlimit.simulation.datasets' has no attribute {name!r}")
    try:
        return import_module("sgdlimit.simulation._torch").HiddenManifoldDataset
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise ProblemError(
            "datasets.HiddenManifoldDataset: needs PyTorch, which is not installed. Run pip install 'sgdlimit[torch]', "
            "or use datasets.batches, which does without."
        ) from None
