"""From data to a folder with their diagnosis: what ``sgdlimit check`` does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..errors import ProblemError
from ..inputs import ClusterMixture
from ..instance import Instance
from ..plotting import save_figure
from ..trajectory import log_times, save
from ._diagnose import diagnose

__all__ = ["check_data", "output_times"]

TIMES = 200  # output times


def output_times(network: Instance, time: float) -> Float[np.ndarray, "time"]:
    """Log-spaced output times of a training of so many units of N steps.

    Raises
    ------
    ProblemError
        If that is less than a step.
    """
    if not (np.isfinite(time) and 1 <= time * network.input_dim <= 1e12):
        raise ProblemError(f"--time: {time:g} is not a length of training; give units of N steps, such as 100")
    return log_times(round(time * network.input_dim), network.input_dim, TIMES)


def check_data(
    network: Instance,
    times: Float[np.ndarray, "time"],
    folder: Path,
    *,
    runs: int,
    seed: int,
    clusters: int | None = None,
    progress: Callable[[str, float], None],
) -> str:
    """Diagnose a network on its data and write everything into a folder.

    Parameters
    ----------
    network, times
        From :func:`sgdlimit.diagnosis.default_network` and :func:`output_times`.
    folder
        An empty folder; it gets ``diagnosis.zarr``, ``diagnosis.png``, ``diagnosis.pdf`` and ``verdict.txt``, and for
        inputs with a mean ``centred.zarr``, the same for the data less their mean.
    runs, seed
        See :func:`sgdlimit.diagnose`.
    clusters
        Gaussian clusters to fit to the data for mixture theory; without, there is none for data.
    progress
        Called with a stage and the fraction of it that is done.

    Returns
    -------
    str
        The verdict, the numbers behind it, and where the results are.
    """
    samples = network.latent.samples  # type: ignore[attr-defined]
    fitted = None if clusters is None else ClusterMixture.fit(samples, clusters, seed=seed)
    found = diagnose(
        network, times, runs=runs, seed=seed, clusters=fitted, progress=lambda done: progress("theory and SGD", done)
    )
    save(found.data, folder / "diagnosis.zarr")
    if found.centred is not None:
        save(found.centred.data, folder / "centred.zarr")
    save_figure(found.figure(), folder, "diagnosis")
    (folder / "verdict.txt").write_text(f"{found}\n", encoding="utf-8")
    return f"{found}\n\nResults: {folder}"
