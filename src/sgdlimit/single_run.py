"""One case, run into a folder: theory, SGD and the noise floor of a problem, or the diagnosis of data."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from dask.utils import format_time
from jaxtyping import Float
from numpy import ndarray

from .comparison import compare, measured_for, over_entries, scatter
from .diagnosis import diagnose
from .errors import AccuracyWarning, DivergenceError, DivergenceWarning, ProblemError
from .inputs import ClusterMixture, Gaussian
from .instance import Instance
from .plotting import save_figure, trajectory
from .problem import Problem, RunSettings
from .resources import cores, memory_sentence
from .simulation import refuse_memory, simulate
from .sweep import trial
from .theory import exactness, solve
from .trajectory import log_times, save

Progress = Callable[[str, float], None]

CHECK_TIMES = 200
"""Output times of a diagnosis."""


def output_times(setting: str, time: float, input_dim: int, count: int = CHECK_TIMES) -> Float[ndarray, "time"]:
    """Log-spaced output times of a training of so many units of N steps.

    Raises
    ------
    ProblemError
        If that is less than a step, naming the setting.
    """
    if not 1 <= time * input_dim <= 1e12:
        raise ProblemError(
            f"{setting}: must be at least one step, {1 / input_dim:g}, in units of N steps (got {time:g}). Try 100."
        )
    return log_times(round(time * input_dim), input_dim, count)


def run_problem(
    problem: Problem, run: RunSettings, folder: Path, *, progress: Progress, tell: Callable[[str], object] = print
) -> str:
    """Run one problem: theory, SGD and the noise floor, their datasets and a figure, and M as a table.

    Parameters
    ----------
    problem, run
        From :func:`sgdlimit.problem.load_problem`.
    folder
        An empty folder; it gets ``theory.zarr``, ``sgd.zarr``, ``gaussian_sgd.zarr``, ``discrepancy.zarr``,
        ``dynamics.png``, ``dynamics.pdf`` and the settings, ``problem.toml``. Several theories get a file each, such as
        ``theory-conventional.zarr``.
    progress
        Called with a stage and the fraction of it that is done.
    tell
        Called with the memory and the time that it needs.

    Returns
    -------
    str
        The table of M, and where the results are.

    Raises
    ------
    DivergenceError
        If theory or SGD diverges; what came before is written all the same.
    """
    instance, times = problem.draw(run.seed), output_times("run.time", run.time, problem.input_dim, run.count)
    for name in run.theories:
        can = exactness(instance, name)
        if can.kind == "refused":
            raise ProblemError(
                f"run.theory: must apply to the problem (got {name!r}, but {can.because}). Use another one."
            )
    (folder / "problem.toml").write_text(problem.to_toml(), encoding="utf-8")
    refuse = partial(refuse_memory, of_inputs=0)
    seconds, needed = trial([instance], times, runs=run.runs, test_samples=run.test_samples, refuse=refuse)
    # The noise floor takes as long again.
    tell(f"{memory_sentence(needed)}\nTime: about {format_time(2 * seconds / cores())} for SGD; Ctrl-C stops it.")
    with warnings.catch_warnings(record=True, action="always") as caught:
        tables = _run(instance, times, run, folder, progress)
    for warning in caught:
        if issubclass(warning.category, DivergenceWarning):
            raise DivergenceError(f"{warning.message} What came before is in {folder}.")
    notes = dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, AccuracyWarning))
    return "\n\n".join([*tables, *notes]) + f"\nResults: {folder}"


def _run(
    instance: Instance, times: Float[ndarray, "time"], run: RunSettings, folder: Path, progress: Progress
) -> list[str]:
    """Compute and write everything; return the table of each theory."""
    theories = {}
    for done, name in enumerate(run.theories, 1):
        theories[name] = solve(instance, times, theory=name)
        progress("theory", done / len(run.theories))
    train = partial(simulate, times=times, runs=run.runs, test_samples=run.test_samples)
    sgd = train(instance, seed=run.seed, overlaps=run.theory, progress=partial(progress, "SGD"))
    save(sgd, folder / "sgd.zarr")
    floor, tables = None, []
    if instance.rule is None or not instance.rule.asks_for_clusters:  # which Gaussian inputs have not
        gaussian = instance.replace(latent=Gaussian())
        # With the same seed the floor of a Gaussian problem would be the run itself, not another one of its kind.
        other_seed = run.seed + isinstance(instance.latent, Gaussian)
        floor_sgd = train(gaussian, seed=other_seed, progress=partial(progress, "noise floor"))
        floor = compare(solve(gaussian, times), floor_sgd)
        save(floor_sgd, folder / "gaussian_sgd.zarr")
    for name, theory in theories.items():
        own = measured_for(theory, sgd)
        result = compare(theory, own)
        if floor is None or name == "mixture":  # exact for the law itself, where mean fields fluctuate more
            result["floor"] = over_entries(scatter(own)).mean("run")
        else:
            result["floor"], result["floor_stderr"] = floor["M"], floor["M_stderr"]
        ending = "" if isinstance(run.theory, str) else f"-{name}"
        save(theory, folder / f"theory{ending}.zarr")
        save(result, folder / f"discrepancy{ending}.zarr")
        save_figure(trajectory(theory, own), folder, f"dynamics{ending}")
        tables.append(_table_of_discrepancies(result, name, run.runs))
    return tables


def _table_of_discrepancies(result: xr.Dataset, theory: str, runs: int) -> str:
    """M, its error, the floor and the scale of each quantity, as lines of text."""
    lines = [
        f"M, mean |theory − SGD| over log-spaced times and entries; {theory} theory, {runs} runs",
        f"{'':22}{'M':>9}{'± s.e.':>9}{'floor':>9}{'mean |x|':>10}",
    ]
    columns = (result[name].values for name in ("quantity", "M", "M_stderr", "floor", "scale"))
    for quantity, M, error, floor, scale in zip(*columns, strict=True):
        spread = "–" if np.isnan(error) else f"{error:.4f}"  # a single run has none
        lines.append(f"{quantity:22}{M:9.4f}{spread:>9}{floor:9.4f}{scale:10.4f}")
    return "\n".join(lines)


def check_data(
    network: Instance,
    times: Float[ndarray, "time"],
    folder: Path,
    *,
    runs: int,
    most_runs: int,
    seed: int,
    clusters: int | None = None,
    progress: Progress,
) -> str:
    """Diagnose a network on its data and write everything into a folder.

    Parameters
    ----------
    network, times
        From :func:`sgdlimit.diagnosis.default_network` and :func:`output_times`.
    folder
        An empty folder; it gets ``diagnosis.zarr``, ``diagnosis.png``, ``diagnosis.pdf`` and ``verdict.txt``. For
        inputs with a mean it also gets ``centred.zarr``, the same for the data less their mean.
    runs, most_runs, seed
        See :func:`sgdlimit.diagnose`.
    clusters
        Number of Gaussian clusters to fit to the data for mixture theory. Without it mixture theory is not tried.
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
        network, times=times, runs=runs, most_runs=most_runs, seed=seed, clusters=fitted,
        progress=partial(progress, "theory and SGD"),
    )  # fmt: skip
    save(found.data, folder / "diagnosis.zarr")
    if found.centred is not None:
        save(found.centred.data, folder / "centred.zarr")
    save_figure(found.figure(), folder, "diagnosis")
    (folder / "verdict.txt").write_text(f"{found}\n{network.attrs['data_columns']}\n", encoding="utf-8")
    return f"{found}\n\nResults: {folder}"
