"""From a preset or a problem to a folder of datasets, figures, tables and a report."""

import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import xarray as xr

from ...errors import ProblemError
from ...inputs import MixtureLaw
from ...plotting import hover_panels, save_figure
from ...problem import GaussianMixture
from ...resources import memory_sentence
from ...simulation import predicted_bytes
from ...sweep import Conditions, Plan, Sweep, compute_sweep
from ...trajectory import load, save
from ._figures import paper_figures
from ._finite_size import finite_size
from ._left_out import left_out
from ._lemmas import function_correlation, function_expectation
from ._mixture_theory import mixture_theory
from ._page import write_report
from ._paper import PRESETS, Preset, examples, grid
from ._sample_means import sample_means
from ._study import Study
from ._tables import discrepancy_table, flatness, write_table
from ._universality import blocks

__all__ = ["RESULT", "memory_of_preset", "redraw", "reproduce"]

Progress = Callable[[str, float], None]

FORMATS = (".png", ".pdf", ".svg")

RESULT = "index.html"
"""What a reproduction writes last."""

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


def reproduce(
    preset_name: str, folder: Path, *, first_instance: int = 0, workers: int | None = None, progress: Progress
) -> str:
    """Run a preset of the paper's experiments and write everything into a folder.

    Parameters
    ----------
    preset_name
        ``"quick"`` or ``"paper"``.
    folder
        An empty folder, or one in which a reproduction of the same preset and instances was interrupted, which then
        goes on: stages that were finished are read again. It gets ``sweeps/`` (the grids, as stores for
        :func:`sgdlimit.open_sweep`), ``data/`` (what the figures show, zarr), ``figures/`` (PNG, PDF), ``tables/``
        (CSV, Markdown) and ``index.html``.
    first_instance
        Seed of the first instance; the others follow.
    workers
        Processes for the grids; 0 for this one alone. By default as for ``sgdlimit sweep``.
    progress
        Called with a stage and the fraction of it that is done.

    Returns
    -------
    str
        What was measured, where it is, and how long the paper preset would take.

    Raises
    ------
    SweepError
        If it was interrupted in a grid.
    """
    preset = replace(PRESETS[preset_name], first_instance=first_instance)
    watch, stages = Stopwatch(), Stages(folder / "data")
    for label, (names, compute) in _stages(preset, folder / "sweeps", workers, progress).items():
        with watch.stage(label):
            stages.run(names, compute)
        progress(label, 1.0)
    study = Study(**stages.datasets)
    with watch.stage("figures"):
        drawings = paper_figures(study)
        pictures, readings = {}, {}
        for done, (name, draw) in enumerate(drawings.items()):
            figure = draw()
            pictures[name] = save_figure(figure, folder / "figures", name)[0]
            readings[name] = hover_panels(figure)
            progress("figures", (done + 1) / len(drawings))
        for number, activation in (("I", "erf"), ("II", "relu")):
            write_table(discrepancy_table(study.grid, activation), folder / "tables", f"table_{number}_{activation}")
            write_table(flatness(study.grid, activation), folder / "tables", f"flatness_{activation}", digits=5)
    total = sum(watch.seconds.values())
    write_report(
        folder / RESULT,
        study,
        figures=pictures,
        readings=readings,
        provenance=_provenance(preset_name, first_instance, watch, total),
        preset=preset_name,
    )
    summary = f"{total:.0f} s ({watch}).\nReport: {folder / 'index.html'}"
    if preset_name == "quick" and not stages.read:
        summary += (
            "\nThe whole paper: sgdlimit reproduce --preset paper (or make reproduce PRESET=paper), about "
            f"{_paper_seconds(watch) / 60:.0f} min on this machine."
        )
    return summary


Compute = Callable[[], tuple[xr.Dataset, ...]]


def _stages(
    preset: Preset, sweeps: Path, workers: int | None, progress: Progress
) -> Mapping[str, tuple[tuple[str, ...], Compute]]:
    """What is computed, by stage: the names of its datasets, and how."""

    def said(label: str) -> Callable[[float], None]:
        return lambda done: progress(label, done)

    def swept(name: str, sweep: Sweep) -> xr.Dataset:
        return compute_sweep(sweep, sweeps / f"{name}.zarr", workers=workers, progress=said(name)).load()

    seed = preset.first_instance
    shapes = preset.mean_shapes()
    return {
        "examples": (
            ("examples_theory", "examples_sgd", "examples_mixture"),
            lambda: examples(preset, progress),
        ),
        "grid": (("grid", "cases"), lambda: _grid_and_cases(swept("grid", preset.grid_sweep()), preset)),
        "blocks": (("blocks",), lambda: (blocks(swept("blocks", preset.block_sweep())),)),
        "sample means": (("sample_means",), lambda: (sample_means(_example_law(preset)),)),
        "finite size": (
            ("sizes",),
            lambda: (
                finite_size(preset.sizes, time=preset.sizes_time, first_instance=seed, progress=said("finite size")),
            ),
        ),
        "mixture theory": (
            ("mixture",),
            lambda: (mixture_theory(preset.mixture_study, first_instance=seed, progress=said("mixture theory")),),
        ),
        "lemmas": (
            ("correlations", "expectations"),
            lambda: (
                function_correlation(shapes[3], LEMMA_SPREADS[1:]),
                function_expectation(shapes, LEMMA_SPREADS),
            ),
        ),
    }


def _grid_and_cases(results: xr.Dataset, preset: Preset) -> tuple[xr.Dataset, xr.Dataset]:
    found = grid(results)
    return found, left_out(results, found, preset)


def redraw(name: str, folder: Path, out: Path) -> None:
    """Draw one figure of a finished reproduction again, from its datasets.

    Parameters
    ----------
    name
        As :func:`sgdlimit.papers.bae_jeong_2024.paper_figures` names it.
    folder
        What :func:`reproduce` wrote.
    out
        The file, ``.png``, ``.pdf`` or ``.svg``; a PNG is the one in ``figures/``.

    Raises
    ------
    ProblemError
        If there is no such figure or reproduction, or the file exists or has another ending.
    """
    if out.suffix not in FORMATS:
        raise ProblemError(f"--out: {str(out)!r} is no picture; use a name that ends in {', '.join(FORMATS)}")
    if out.exists() or not out.parent.is_dir():
        raise ProblemError(f"--out: {str(out)!r} exists or has no folder; nothing is overwritten, name another file")
    if not (folder / RESULT).is_file():
        raise ProblemError(
            f"folder: {str(folder)!r} holds no finished reproduction; give one that `sgdlimit reproduce` wrote"
        )
    if not (folder / "data" / "cases.zarr").exists():
        raise ProblemError(f"folder: {str(folder)!r} is of an older version or incomplete; reproduce into a new one")
    drawings = paper_figures(Study(**{name: load(folder / "data" / f"{name}.zarr") for name in Study._fields}))
    if name not in drawings:
        raise ProblemError(f"figure: {name!r} is not one of this reproduction; use one of {', '.join(drawings)}")
    save_figure(drawings[name](), out.parent, out.stem, suffixes=[out.suffix])


class Stages:
    """The datasets of the figures, each written when it is there, or read where an earlier attempt wrote it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.datasets: dict[str, xr.Dataset] = {}
        self.read = False
        """Whether some were."""

    def run(self, names: Sequence[str], compute: Compute) -> None:
        """Have the datasets of a stage; they count as written when all are."""
        paths = [self.folder / f"{name}.zarr" for name in names]
        if all(path.exists() for path in paths):
            self.read = True
            self.datasets |= {name: load(path) for name, path in zip(names, paths, strict=True)}
            return
        for name, path, dataset in zip(names, paths, compute(), strict=True):
            partial = path.with_suffix(".partial")
            for left in (partial, path):  # by an attempt that was interrupted here
                shutil.rmtree(left, ignore_errors=True)
            save(dataset, partial)
            partial.rename(path)
            self.datasets[name] = dataset


def _example_law(preset: Preset) -> MixtureLaw:
    law = preset.law(
        preset.first_instance,
        GaussianMixture(components=preset.example_components, spread=preset.example_spread, standardize=True),
    )
    assert isinstance(law, MixtureLaw)
    return law


def memory_of_preset(preset_name: str) -> str:
    """What :func:`reproduce` will hold at most, in a sentence: the weights of a whole task at the output times."""
    plan = Plan(PRESETS[preset_name].grid_sweep())
    instances = Conditions(plan, plan.task(0), threads=1).instances
    return memory_sentence(predicted_bytes(instances, plan.sweep.times, test_samples=0))


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
