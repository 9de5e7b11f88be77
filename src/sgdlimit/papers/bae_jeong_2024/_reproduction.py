"""From a preset to a folder of datasets, figures, tables and a report."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from matplotlib.figure import Figure
from xarray import Dataset

from ...errors import ProblemError
from ...plotting import Panel, hover_panels, save_figure
from ...resources import cores, memory_sentence
from ...simulation import predicted_bytes
from ...sweep import Conditions, Plan, compute_sweep, provenance, start
from ...trajectory import load, save
from ._averages import Study
from ._cases import Progress
from ._figures import paper_figures
from ._grids import blocks, grid, left_out
from ._lemmas import function_correlation, function_expectation
from ._page import write_report
from ._paper import EXAMPLE, PRESETS, Preset, examples
from ._sample_means import sample_means
from ._studies import finite_size, mixture_theory
from ._tables import discrepancy_table, flatness, write_table

RESULT = "index.html"
"""The file that a reproduction writes last."""

LEMMA_SPREADS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0)  # the same in every preset: they cost seconds

Compute = Callable[[Progress], Iterable[Dataset]]
Drawn = tuple[Path, list[Panel]]


def reproduce(
    preset_name: str,
    folder: Path,
    *,
    first_instance: int = 0,
    workers: int | None = None,
    progress: Callable[[str, float], None],
) -> str:
    """Run a preset of the paper's experiments and write everything into a folder.

    Parameters
    ----------
    preset_name
        ``"quick"`` or ``"paper"``.
    folder
        An empty folder, or the folder of an interrupted reproduction of the same preset and instances, which resumes:
        finished stages are read again. It gets ``sweeps/`` (the grids, as stores for :func:`sgdlimit.open_sweep`),
        ``data/`` (the datasets of the figures, zarr), ``figures/`` (PNG, PDF), ``tables/`` (CSV, Markdown) and
        ``index.html``.
    first_instance
        Seed of the first instance; the others follow.
    workers
        Processes for the grids. With 0 this process does everything; otherwise a second one helps to draw. By default
        as for ``sgdlimit sweep``.
    progress
        Called with a stage and the fraction of it that is done.

    Returns
    -------
    str
        How long it took, where the report is, and how long the paper preset would take.

    Raises
    ------
    SweepError
        If it was interrupted in a sweep.
    """
    preset = PRESETS[preset_name]._replace(first_instance=first_instance)
    stages = Stages(folder / "data")
    for label, (names, compute) in _stages(preset, folder / "sweeps", workers).items():
        with stages.timed(label):
            stages.run(names, partial(compute, partial(progress, label)))
        progress(label, 1.0)
    study = _study(folder / "data")
    with stages.timed("figures"):
        figures = _draw_all(folder, study, partial(progress, "figures"), alone=workers == 0 or cores() == 1)
        for number, activation in (("I", "erf"), ("II", "relu")):
            write_table(discrepancy_table(study.grid, activation), folder / "tables", f"table_{number}_{activation}")
            write_table(flatness(study.grid, activation), folder / "tables", f"flatness_{activation}", digits=5)
    versions = provenance()
    names = ("sgdlimit", "numpy", "numba", "jax", "diffrax")
    about = {
        "command": f"sgdlimit reproduce --preset {preset_name}"
        + (f" --seed {first_instance}" if first_instance else ""),
        "instances": f"seeds {first_instance} to {first_instance + preset.instances - 1}",
        "wall time": str(stages),
        "versions": f"{', '.join(f'{name} {versions[name]}' for name in names)}, Python {versions['python']}",
        "machine": versions["machine"],
    }
    write_report(folder / RESULT, study, figures=figures, provenance=about, preset=preset_name)
    summary = f"{stages}.\nReport: {folder / RESULT}"
    if preset_name == "quick" and not stages.resumed:
        grown, work = PRESETS["paper"].work(), preset.work()
        seconds = sum(s * grown.get(label, 1) / work.get(label, 1) for label, s in stages.seconds.items())
        summary += (
            "\nThe whole paper: sgdlimit reproduce --preset paper (or make reproduce PRESET=paper), about "
            f"{seconds / 60:.0f} min on this machine."
        )
    return summary


class Stages:
    """Writes the datasets of each stage as they are computed, and measures its wall time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seconds = folder, {}
        self.resumed = False
        """Whether an earlier attempt had finished a stage."""

    def run(self, names: Sequence[str], compute: Callable[[], Iterable[Dataset]]) -> None:
        """Compute and write the datasets of a stage, unless all of them are there."""
        paths = [self.folder / f"{name}.zarr" for name in names]
        if all(path.exists() for path in paths):
            self.resumed = True
        else:
            for path, dataset in zip(paths, compute(), strict=True):
                shutil.rmtree(path, ignore_errors=True)  # of an attempt that was interrupted in this stage
                save(dataset, path)

    @contextmanager
    def timed(self, label: str) -> Iterator[None]:
        """Measure the wall time of what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[label] = time.perf_counter() - start

    def __str__(self) -> str:
        stages = ", ".join(f"{label} {seconds:.1f} s" for label, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.0f} s ({stages})"


def _stages(preset: Preset, sweeps: Path, workers: int | None) -> Mapping[str, tuple[Sequence[str], Compute]]:
    """What is computed, by stage: the names of its datasets, and how."""
    # Component means of the first instance's scalar mixtures at α = 1, for each m of the lemmas.
    shapes = {m: preset.law(components=m, spread=1.0, standardize=False).means for m in (2, 3, 5)}
    seed = {"first_instance": preset.first_instance}

    def swept(name, sweep, progress):
        return compute_sweep(sweep, sweeps / f"{name}.zarr", workers=workers, progress=progress).load()

    def grid_and_cases(progress):
        results = swept("grid", preset.grid_sweep(), progress)
        yield (found := grid(results))
        yield left_out(results, found, preset)

    def lemmas(progress):
        yield function_correlation(shapes[3], LEMMA_SPREADS[1:])
        yield function_expectation(shapes, LEMMA_SPREADS)

    return {
        "examples": (["examples_theory", "examples_sgd", "examples_mixture"], partial(examples, preset)),
        "grid": (["grid", "cases"], grid_and_cases),
        "blocks": (["blocks"], lambda done: [blocks(swept("blocks", preset.block_sweep(), done))]),
        "sample means": (["sample_means"], lambda done: [sample_means(preset.law(**EXAMPLE, standardize=True))]),
        "finite size": (
            ["sizes"],
            lambda done: [finite_size(preset.sizes, time=preset.sizes_time, progress=done, **seed)],
        ),
        "mixture theory": (["mixture"], lambda done: [mixture_theory(preset.mixture_study, progress=done, **seed)]),
        "lemmas": (["correlations", "expectations"], lemmas),
    }


def _draw_all(folder: Path, study: Study, progress: Progress, *, alone: bool) -> dict[str, Drawn]:
    """Draw all figures, every other one in a second process."""
    drawings, drawn = paper_figures(study), {}
    names = list(drawings)
    theirs = [] if alone else names[1::2]
    receive, send = get_context("spawn").Pipe(duplex=False)
    helper = start(_draw_there, folder, theirs, send) if theirs else None
    send.close()  # the helper has it
    for name in names:
        if name not in theirs:
            drawn[name] = _draw(folder, name, drawings[name])
            progress(len(drawn) / (len(names) - len(theirs)))
    if helper is not None:
        with suppress(EOFError, OSError):  # it was killed
            drawn |= receive.recv()
        helper.join()
    return {name: drawn.get(name) or _draw(folder, name, drawings[name]) for name in names}


def _draw_there(folder: Path, names: Sequence[str], send: Connection) -> None:
    drawings = paper_figures(_study(folder / "data"))
    send.send({name: _draw(folder, name, drawings[name]) for name in names})


def _draw(folder: Path, name: str, draw: Callable[[], Figure]) -> Drawn:
    """Draw a figure into ``figures/``: its PNG, and what is read off where the mouse points."""
    figure = draw()
    return save_figure(figure, folder / "figures", name)[0], hover_panels(figure)


def _study(data: Path) -> Study:
    return Study(*(load(data / f"{name}.zarr") for name in Study._fields))


def redraw(name: str, folder: Path, out: Path) -> None:
    """Draw one figure of a finished reproduction again, from its datasets.

    Parameters
    ----------
    name
        As :func:`sgdlimit.papers.bae_jeong_2024._figures.paper_figures` names it.
    folder
        What :func:`reproduce` wrote.
    out
        The file, ``.png``, ``.pdf`` or ``.svg``; as a PNG it equals the one in ``figures/``.

    Raises
    ------
    ProblemError
        If there is no such figure or reproduction.
    """
    data = folder / "data"
    if not ((folder / RESULT).is_file() and (data / "cases.zarr").exists()):
        raise ProblemError(
            f"folder: must hold a finished reproduction of this version (got {str(folder)!r}). Give a folder that "
            "`sgdlimit reproduce` wrote."
        )
    drawings = paper_figures(_study(data))
    if name not in drawings:
        raise ProblemError(f"figure: must be in this reproduction (got {name!r}). Use one of {', '.join(drawings)}.")
    save_figure(drawings[name](), out.parent, out.stem, suffixes=[out.suffix])


def memory_of_preset(preset_name: str) -> str:
    """The memory that :func:`reproduce` needs at most, in a sentence: the weights of a task at the output times."""
    plan = Plan(PRESETS[preset_name].grid_sweep())
    return memory_sentence(predicted_bytes(Conditions(plan, 0).instances, plan.sweep.times, test_samples=0))
