"""From data in a file to a folder with a diagnosis: what ``sgdlimit check`` does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sgdlimit.diagnosis import default_network, diagnose
from sgdlimit.errors import ProblemError
from sgdlimit.figures import save_figure
from sgdlimit.inputs.read import read_samples
from sgdlimit.instance import Instance
from sgdlimit.trajectory import log_times, save

__all__ = ["check_data", "load_network"]

TIMES = 200  # output times


def load_network(source: str, **settings: Any) -> Instance:
    """The network of :func:`sgdlimit.diagnosis.default_network` for a file or a named data set.

    Parameters
    ----------
    source
        See :func:`sgdlimit.inputs.read.read_samples`.
    **settings
        Those of ``default_network``.

    Raises
    ------
    ProblemError
        If the data or a setting will not do.
    """
    network = default_network(read_samples(source), **settings)
    return network.replace(attrs={**network.attrs, "data_source": source})


def check_data(
    network: Instance, folder: Path, *, time: float, runs: int, seed: int, progress: Callable[[str, float], None]
) -> str:
    """Diagnose a network on its data and write everything into a folder.

    Parameters
    ----------
    network
        From :func:`load_network`.
    folder
        An empty folder; it gets ``diagnosis.zarr``, ``diagnosis.png``, ``diagnosis.pdf`` and ``verdict.txt``, and for
        inputs with a mean ``centred.zarr``, the same for the data less their mean.
    time
        Length of training in units of N steps.
    runs, seed
        See :func:`sgdlimit.diagnose`.
    progress
        Called with a stage and the fraction of it that is done.

    Returns
    -------
    str
        The verdict, the numbers behind it, and where the results are.
    """
    if not (np.isfinite(time) and 1 <= time * network.input_dim <= 1e12):
        raise ProblemError(f"--time: {time:g} is not a length of training; give units of N steps, such as 100")
    times = log_times(round(time * network.input_dim), network.input_dim, TIMES)
    found = diagnose(network, times, runs=runs, seed=seed, progress=lambda done: progress("theory and SGD", done))
    save(found.data, folder / "diagnosis.zarr")
    if found.centred is not None:
        save(found.centred.data, folder / "centred.zarr")
    save_figure(found.figure(), folder, "diagnosis")
    (folder / "verdict.txt").write_text(f"{found}\n", encoding="utf-8")
    return f"{found}\n\nResults: {folder}"
