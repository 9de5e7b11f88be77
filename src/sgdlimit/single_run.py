"""One problem, run: theory, SGD and the noise floor, their datasets, a figure and a table."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .comparison import compare, measured_for, over_entries, scatter
from .errors import DivergenceError, DivergenceWarning, ProblemError
from .inputs import Gaussian
from .plotting import save_figure, trajectory
from .problem import Problem, RunSettings
from .resources import memory_sentence
from .simulation import predicted_bytes, simulate
from .theory import solve
from .trajectory import log_times, save

__all__ = ["memory_of_problem", "run_problem"]

Progress = Callable[[str, float], None]


def memory_of_problem(problem: Problem, run: RunSettings) -> str:
    """What :func:`run_problem` will hold at most, in a sentence."""
    times = _times(problem, run)
    return memory_sentence(
        predicted_bytes([problem.draw(run.seed)], times, runs=run.runs, test_samples=run.test_samples)
    )


def run_problem(problem: Problem, run: RunSettings, folder: Path, *, progress: Progress) -> str:
    """Run one problem: theory, SGD and the noise floor, their datasets and a figure, and M as a table.

    Parameters
    ----------
    problem, run
        From :func:`sgdlimit.problem.load_problem`.
    folder
        An empty folder; it gets ``theory.zarr``, ``sgd.zarr``, ``gaussian_sgd.zarr``, ``discrepancy.zarr``,
        ``dynamics.png``, ``dynamics.pdf`` and the settings, ``problem.toml``; of several theories those of each, as
        ``theory-conventional.zarr``.
    progress
        Called with a stage and the fraction of it that is done.

    Returns
    -------
    str
        The table of M, and where the results are.

    Raises
    ------
    DivergenceError
        If theory or SGD diverges; what came before is written all the same.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DivergenceWarning)
        summary = _run(problem, run, folder, progress)
    diverged = [str(warning.message) for warning in caught if issubclass(warning.category, DivergenceWarning)]
    if diverged:
        raise DivergenceError(f"{diverged[0]}; what came before is in {folder}")
    return summary


def _times(problem: Problem, run: RunSettings) -> np.ndarray:
    steps = round(run.time * problem.input_dim)
    if steps < 1:
        raise ProblemError(f"run.time: {run.time:g} is less than a step, 1/N = {1 / problem.input_dim:g}; give more")
    return log_times(steps, problem.input_dim, run.count)


def _run(problem: Problem, run: RunSettings, folder: Path, progress: Progress) -> str:
    instance = problem.draw(run.seed)
    times = _times(problem, run)
    (folder / "problem.toml").write_text(problem.to_toml(), encoding="utf-8")
    progress("theory", 0)
    theories = {}
    for done, name in enumerate(run.theories, 1):
        theories[name] = solve(instance, times, theory=name)
        progress("theory", done / len(run.theories))
    options: dict[str, Any] = {"runs": run.runs, "seed": run.seed, "test_samples": run.test_samples}
    sgd = simulate(instance, times, overlaps=run.theory, progress=lambda done: progress("SGD", done), **options)
    gaussian = instance.replace(latent=Gaussian())
    if isinstance(instance.latent, Gaussian):  # else the floor would be the run itself, not another one of its kind
        options["seed"] += 1
    floor_sgd = simulate(gaussian, times, progress=lambda done: progress("noise floor", done), **options)
    floor = compare(solve(gaussian, times), floor_sgd)
    save(sgd, folder / "sgd.zarr")
    save(floor_sgd, folder / "gaussian_sgd.zarr")
    tables = []
    for name, theory in theories.items():
        own = measured_for(theory, sgd)
        result = compare(theory, own)
        if name == "mixture":  # is exact for the law itself, whose mean fields fluctuate as no Gaussian's do
            result["floor"] = over_entries(scatter(own)).mean("run")
        else:
            result["floor"], result["floor_stderr"] = floor["M"], floor["M_stderr"]
        ending = "" if isinstance(run.theory, str) else f"-{name}"
        save(theory, folder / f"theory{ending}.zarr")
        save(result, folder / f"discrepancy{ending}.zarr")
        save_figure(trajectory(theory, own), folder, f"dynamics{ending}")
        tables.append(_table_of_discrepancies(result, name, run.runs))
    return "\n\n".join(tables) + f"\nResults: {folder}"


def _table_of_discrepancies(result: xr.Dataset, theory: str, runs: int) -> str:
    lines = [
        f"M, mean |theory − SGD| over log-spaced times and entries; {theory} theory, {runs} runs",
        f"{'':22}{'M':>9}{'± s.e.':>9}{'floor':>9}{'mean |x|':>10}",
    ]
    for quantity in result["quantity"].values:
        row = result.sel(quantity=quantity)
        values = (float(row[name]) for name in ("M", "M_stderr", "floor", "scale"))
        m, error, floor, scale = values
        spread = "–" if np.isnan(error) else f"{error:.4f}"  # a single run has none
        lines.append(f"{quantity:22}{m:9.4f}{spread:>9}{floor:9.4f}{scale:10.4f}")
    return "\n".join(lines)
