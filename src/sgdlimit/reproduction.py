"""From a preset or a problem to a folder of datasets, figures, tables and a report."""

import platform
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdlimit.comparison import compare, over_entries, scatter
from sgdlimit.errors import DivergenceError, DivergenceWarning, ProblemError
from sgdlimit.figures import discrepancy_table, flatness, paper_figures, save_figure, trajectory, write_table
from sgdlimit.inputs.latent import Gaussian, MixtureLaw
from sgdlimit.problem import GaussianMixture, Problem, RunSettings
from sgdlimit.report import write_report
from sgdlimit.resources import available_bytes
from sgdlimit.simulation import predicted_bytes, simulate
from sgdlimit.studies.finite_size import finite_size
from sgdlimit.studies.lemmas import function_correlation, function_expectation
from sgdlimit.studies.mixture_theory import mixture_theory
from sgdlimit.studies.paper import PRESETS, examples, grid, grid_conditions
from sgdlimit.studies.sample_means import sample_means
from sgdlimit.studies.universality import blocks
from sgdlimit.theory import solve
from sgdlimit.trajectory import log_times, save

__all__ = ["memory_of_preset", "memory_of_problem", "reproduce", "run_problem"]

Progress = Callable[[str, float], None]

LIBRARIES = 400 << 20  # bytes that Python, numpy, JAX and the compiled code take, measured

LEMMA_SPREADS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0)  # in every preset: they cost seconds


class Stopwatch:
    """Wall time of each stage, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str):
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())


def reproduce(preset_name: str, folder: Path, *, first_instance: int = 0, progress: Progress) -> str:
    """Run a preset of the paper's experiments and write everything into a folder.

    Parameters
    ----------
    preset_name
        ``"quick"`` or ``"paper"``.
    folder
        An empty folder; it gets ``data/`` (zarr), ``figures/`` (PNG, PDF), ``tables/`` (CSV, Markdown) and
        ``index.html``.
    first_instance
        Seed of the first instance; the others follow.
    progress
        Called with a stage and the fraction of it that is done.

    Returns
    -------
    str
        What was measured, where it is, and how long the paper preset would take.
    """
    preset = replace(PRESETS[preset_name], first_instance=first_instance)
    watch = Stopwatch()
    with watch.stage("examples"):
        theory, sgd, ensemble = examples(preset, progress)
    with watch.stage("grid"):
        measured = grid(preset, progress)
    with watch.stage("blocks"):
        by_block = blocks(preset, progress)
    with watch.stage("sample means"):
        law = preset.law(
            first_instance,
            GaussianMixture(components=preset.example_components, spread=preset.example_spread, standardize=True),
        )
        assert isinstance(law, MixtureLaw)
        means = sample_means(law)
    with watch.stage("finite size"):
        by_size = finite_size(
            preset.sizes,
            time=preset.sizes_time,
            first_instance=first_instance,
            progress=lambda done: progress("finite size", done),
        )
    with watch.stage("mixture theory"):
        mixture = mixture_theory(
            preset.mixture_study,
            first_instance=first_instance,
            progress=lambda done: progress("mixture theory", done),
        )
    with watch.stage("lemmas"):
        shapes = preset.mean_shapes()
        correlations = function_correlation(shapes[3], LEMMA_SPREADS[1:])
        expectations = function_expectation(shapes, LEMMA_SPREADS)
    datasets = {
        "examples_theory": theory,
        "examples_sgd": sgd,
        "examples_mixture": ensemble,
        "grid": measured,
        "blocks": by_block,
        "sample_means": means,
        "sizes": by_size,
        "mixture": mixture,
        "correlations": correlations,
        "expectations": expectations,
    }
    with watch.stage("figures"):
        for name, dataset in datasets.items():
            save(dataset, folder / "data" / f"{name}.zarr")
        drawings = paper_figures(**datasets)
        pictures = {}
        for done, (name, draw) in enumerate(drawings.items()):
            pictures[name] = save_figure(draw(), folder / "figures", name)[0]
            progress("figures", (done + 1) / len(drawings))
        for number, activation in (("I", "erf"), ("II", "relu")):
            write_table(discrepancy_table(measured, activation), folder / "tables", f"table_{number}_{activation}")
            write_table(flatness(measured, activation), folder / "tables", f"flatness_{activation}", digits=5)
    total = sum(watch.seconds.values())
    write_report(
        folder / "index.html",
        figures=pictures,
        **datasets,
        provenance=_provenance(preset_name, first_instance, watch, total),
        preset=preset_name,
    )
    summary = f"{total:.0f} s ({watch}).\nReport: {folder / 'index.html'}"
    if preset_name == "quick":
        summary += (
            "\nThe whole paper: sgdlimit reproduce --preset paper (or make reproduce PRESET=paper), about "
            f"{_paper_seconds(watch) / 60:.0f} min on this machine."
        )
    return summary


def memory_of_preset(preset_name: str) -> str:
    """What :func:`reproduce` will hold at most, in a sentence: the weights of a whole grid at the output times."""
    preset = PRESETS[preset_name]
    conditions, _ = grid_conditions(preset, preset.first_instance)
    return _memory(predicted_bytes(conditions, preset.times, test_samples=0))


def memory_of_problem(problem: Problem, run: RunSettings) -> str:
    """What :func:`run_problem` will hold at most, in a sentence."""
    times = _times(problem, run)
    return _memory(predicted_bytes([problem.draw(run.seed)], times, runs=run.runs, test_samples=run.test_samples))


def _memory(needed: int) -> str:
    available = available_bytes()
    free = "" if available is None else f"; {available / 2**30:.1f} GiB are free"
    return f"Memory: {needed / 2**30:.2f} GiB for the simulation, {LIBRARIES >> 20} MiB for the libraries{free}"


def _paper_seconds(quick: Stopwatch) -> float:
    """The time of the paper preset from that of the quick one, stage by stage, by the number of SGD runs."""

    def runs(name: str) -> int:
        preset = PRESETS[name]
        return preset.instances * (1 + 2 * len(preset.components) * sum(spread > 0 for spread in preset.spreads))

    def block_runs(name: str) -> int:
        preset = PRESETS[name]
        return preset.block_instances * (
            1 + 2 * len(preset.block_sizes) * sum(spread > 0 for spread in preset.block_spreads)
        )

    def work(sizes: Mapping[int, int]) -> int:
        return sum(count * size**3 for size, count in sizes.items())

    def ratio(of: Callable[[str], float]) -> float:
        return of("paper") / of("quick")

    growth = {
        "grid": ratio(runs),
        "blocks": ratio(block_runs),
        "finite size": ratio(lambda name: work(PRESETS[name].sizes)),
        "mixture theory": ratio(lambda name: work(PRESETS[name].mixture_study.sizes)),
    }
    return sum(seconds * growth.get(name, 1.0) for name, seconds in quick.seconds.items())


def _provenance(preset: str, first_instance: int, watch: Stopwatch, total: float) -> dict[str, str]:
    packages = ("sgdlimit", "numpy", "numba", "jax", "diffrax")
    return {
        "command": f"sgdlimit reproduce --preset {preset}" + (f" --seed {first_instance}" if first_instance else ""),
        "instances": f"seeds {first_instance} to {first_instance + PRESETS[preset].instances - 1}",
        "wall time": f"{total:.0f} s: {watch}",
        "versions": ", ".join(f"{name} {version(name)}" for name in packages) + f", Python {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}",
    }


def run_problem(problem: Problem, run: RunSettings, folder: Path, *, progress: Progress) -> str:
    """Run one problem: theory, SGD and the noise floor, their datasets and a figure, and M as a table.

    Parameters
    ----------
    problem, run
        From :func:`sgdlimit.problem.load_problem`.
    folder
        An empty folder; it gets ``theory.zarr``, ``sgd.zarr``, ``gaussian_sgd.zarr``, ``discrepancy.zarr``,
        ``dynamics.png``, ``dynamics.pdf`` and the settings, ``problem.toml``.
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
    theory = solve(instance, times, theory=run.theory)
    progress("theory", 1)
    options: dict[str, Any] = {"runs": run.runs, "seed": run.seed, "test_samples": run.test_samples}
    sgd = simulate(instance, times, overlaps=run.theory, progress=lambda done: progress("SGD", done), **options)
    gaussian = instance.replace(latent=Gaussian())
    if isinstance(instance.latent, Gaussian):  # else the floor would be the run itself, not another one of its kind
        options["seed"] += 1
    floor_sgd = simulate(gaussian, times, progress=lambda done: progress("noise floor", done), **options)
    result = compare(theory, sgd)
    if run.theory == "mixture":  # is exact for the law itself, whose mean fields fluctuate as no Gaussian's do
        result["floor"] = over_entries(scatter(sgd)).mean("run")
    else:
        floor = compare(solve(gaussian, times), floor_sgd)
        result["floor"], result["floor_stderr"] = floor["M"], floor["M_stderr"]
    for name, dataset in {"theory": theory, "sgd": sgd, "gaussian_sgd": floor_sgd, "discrepancy": result}.items():
        save(dataset, folder / f"{name}.zarr")
    save_figure(trajectory(theory, sgd), folder, "dynamics")
    return _table_of_discrepancies(result, run) + f"\nResults: {folder}"


def _table_of_discrepancies(result: xr.Dataset, run: RunSettings) -> str:
    lines = [
        f"M, mean |theory − SGD| over log-spaced times and entries; {run.theory} theory, {run.runs} runs",
        f"{'':22}{'M':>9}{'± s.e.':>9}{'floor':>9}{'mean |x|':>10}",
    ]
    for quantity in result["quantity"].values:
        row = result.sel(quantity=quantity)
        values = (float(row[name]) for name in ("M", "M_stderr", "floor", "scale"))
        m, error, floor, scale = values
        spread = "–" if np.isnan(error) else f"{error:.4f}"  # a single run has none
        lines.append(f"{quantity:22}{m:9.4f}{spread:>9}{floor:9.4f}{scale:10.4f}")
    return "\n".join(lines)
