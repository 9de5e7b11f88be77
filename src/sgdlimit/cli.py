"""The commands. This module parses and calls; what a command needs is imported when it runs."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .sweep import Outcome, Summary

__all__ = ["app", "main"]

app = typer.Typer(
    help="Theory and simulation of online learning in two-layer networks on structured inputs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BEGUN = ".unfinished"  # what a folder is of in which something was begun and not finished
SETTINGS, RUN, INTERRUPTED = 2, 1, 130  # exit status of a wrong setting, of a run that failed, and of Ctrl-C
USAGE: Any = typer.BadParameter.__base__  # what typer raises of options and arguments


class PresetName(StrEnum):
    """Sizes of the reproduction."""

    quick = "quick"
    paper = "paper"


def main() -> None:
    """Run the command line: every failure is one sentence on standard error and an exit status."""
    from .errors import DivergenceError, ProblemError, SweepError

    try:
        status = app(standalone_mode=False) or 0
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(status)
    except USAGE as error:
        _fail_of_usage(error)
    except ProblemError as error:
        _fail(str(error), SETTINGS)
    except (DivergenceError, SweepError) as error:
        _fail(str(error), RUN)
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}; nothing more was written", RUN)
    except MemoryError as error:
        _fail(f"{error}: the memory does not suffice; make input_dim, latent_dim or the output times smaller", RUN)
    except KeyboardInterrupt:
        _fail("interrupted; what was written so far is left where it is", INTERRUPTED)


def _fail_of_usage(error: Any) -> None:
    """What is wrong with an option or an argument; the help where none was given."""
    command = error.ctx.command_path if error.ctx else "sgdlimit"
    if len(sys.argv) == 1:
        error.ctx.get_help()  # prints it
        sys.exit(SETTINGS)
    _fail(f"{error.format_message().rstrip('.')}; {command} --help says what it takes", SETTINGS)


def _fail(message: str, status: int) -> None:
    print(f"sgdlimit: {message}", file=sys.stderr)
    sys.exit(status)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sgdlimit {version('sgdlimit')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before the command."""


@app.command()
def reproduce(
    preset: Annotated[
        PresetName, typer.Option(help="quick: the paper's sizes on a thin grid, two to four minutes; paper: all of it.")
    ] = PresetName.quick,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results: new, empty, or of a reproduction that was interrupted, which goes on. "
            "[default: results/PRESET, numbered]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Number of the first instance.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes for the grids; 0: only this one. [one for each core, if it pays]"),
    ] = None,
) -> None:
    """Reproduce the paper: every figure and table, the datasets, and a report that reads like it."""
    begun = {"preset": preset.value, "seed": seed}
    folder = _result_folder(out, Path("results") / preset.value, begun)
    from .papers.bae_jeong_2024 import memory_of_preset
    from .papers.bae_jeong_2024 import reproduce as reproduce_paper

    typer.echo(memory_of_preset(preset.value), err=True)
    with _progress() as progress:
        summary = reproduce_paper(preset.value, folder, first_instance=seed, workers=workers, progress=progress)
    (folder / BEGUN).unlink()
    typer.echo(summary)


@app.command()
def figure(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As under the figure in the report: figure_4.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of a finished reproduction.")],
    out: Annotated[Path | None, typer.Option(help="File: .png, .pdf or .svg; must not exist. [NAME.png]")] = None,
) -> None:
    """Draw one figure of a reproduction again, from the data it left."""
    from .papers.bae_jeong_2024 import redraw

    file = Path(f"{name}.png") if out is None else out
    redraw(name, folder, file)
    typer.echo(f"{file}")


@app.command()
def run(
    problem: Annotated[Path, typer.Argument(metavar="PROBLEM.toml", help="Settings; see the folder examples/.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results, new or empty. [default: results/PROBLEM, numbered]")
    ] = None,
) -> None:
    """Run one problem: theory and SGD, a figure, the datasets, and M in the terminal."""
    from .problem import load_problem

    settings = load_problem(problem)
    folder = _result_folder(out, Path("results") / problem.stem)
    from .single_run import memory_of_problem, run_problem

    typer.echo(memory_of_problem(*settings), err=True)
    with _progress() as progress:
        summary = run_problem(*settings, folder, progress=progress)
    typer.echo(summary)


class Role(StrEnum):
    """What the data are to the network."""

    inputs = "inputs"
    latent = "latent"


class Preprocess(StrEnum):
    """What is done to the data first."""

    standardize = "standardize"
    centre = "centre"
    none = "none"


@app.command()
def check(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Samples in rows: a .npy, .csv or .npz file (data.npz:name for one of several arrays), or a data set "
            "of scikit-learn: digits, iris, wine, breast_cancer, diabetes.",
        ),
    ],
    role: Annotated[
        Role,
        typer.Option("--as", help="inputs: the network sees the data; latent: inputs are sign(CF/√D), C the data."),
    ] = Role.inputs,
    preprocess: Annotated[Preprocess, typer.Option(help="What is done to each column first.")] = Preprocess.standardize,
    activation: Annotated[str, typer.Option(help="Of student and teacher.")] = "erf",
    learning_rate: Annotated[float, typer.Option(help="η.")] = 0.2,
    input_dim: Annotated[int, typer.Option(min=1, help="N, where the data are the latent.")] = 1000,
    time: Annotated[float, typer.Option(help="Length of training in units of N steps.")] = 100.0,
    runs: Annotated[int, typer.Option(min=3, help="SGD runs of each kind.")] = 5,
    clusters: Annotated[
        int | None, typer.Option(min=1, help="Gaussian clusters to fit to the data, for mixture theory.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the network and of the runs.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results, new or empty. [default: results/check-DATA, numbered]")
    ] = None,
) -> None:
    """Check data: which theory predicts SGD on them, and what breaks in those that do not."""
    from .inputs import read_samples

    samples = read_samples(data)
    from .diagnosis import check_data, default_network, output_times

    network = default_network(
        samples, role=role.value, preprocess=preprocess.value, activation=activation, learning_rate=learning_rate,
        input_dim=input_dim, seed=seed, attrs={"data_source": data},
    )  # fmt: skip
    times = output_times(network, time)
    folder = _result_folder(out, Path("results") / f"check-{Path(data.split('.npz:')[0]).stem}")
    with _progress() as progress:
        summary = check_data(network, times, folder, runs=runs, seed=seed, clusters=clusters, progress=progress)
    typer.echo(summary)


class BatchSystem(StrEnum):
    """What gives out the nodes of a cluster."""

    slurm = "slurm"
    pbs = "pbs"


@app.command()
def sweep(
    settings: Annotated[
        Path, typer.Argument(metavar="SWEEP.toml", help="A problem, a grid over its fields, and how to run it.")
    ],
    out: Annotated[
        str | None,
        typer.Option(help="The store: a folder or an fsspec URL; one of this sweep is continued. [results/SWEEP.zarr]"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will cost, and stop.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes on this machine; 0: only this one. [one for each core, if it pays]"),
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler, as tcp://host:8786.")] = None,
    cluster: Annotated[BatchSystem | None, typer.Option(help="Ask this batch system for workers.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of batch jobs.")] = 1,
    tls_ca_file: Annotated[str | None, typer.Option(help="For tls://: authority that signed certificates.")] = None,
    tls_cert: Annotated[str | None, typer.Option(help="For tls://: this client's certificate.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="For tls://: its key.")] = None,
    max_failures: Annotated[int, typer.Option(min=1, help="Stop after so many tasks with an error.")] = 3,
    verify: Annotated[
        bool, typer.Option("--verify", help="First read all that is stored, and stop at damage.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="The same, and compute what is damaged again.")] = False,
    log: Annotated[Path | None, typer.Option(help="File for a line of JSON per event. [beside the store]")] = None,
) -> None:
    """Run a grid of problems into one store. The same command again does what is missing."""
    from .sweep import Where, sweep_from_file

    where = Where(workers, scheduler, cluster and cluster.value, jobs, tls_ca_file, tls_cert, tls_key)
    with _sweep_progress() as (report, part):
        summary = sweep_from_file(
            settings, out, where, dry_run=dry_run, max_failures=max_failures, verify=verify, repair=repair, log=log,
            say=lambda text: typer.echo(text, err=True), report=report, part=part,
        )  # fmt: skip
    if summary is not None:
        typer.echo(summary.text)
        if not summary.complete:
            raise typer.Exit(130 if summary.interrupted else RUN)


@app.command()
def explore(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[SWEEP.zarr|PROBLEM.toml]", help="A stored sweep to browse, or settings to begin with."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1024, max=65535, help="Port on this machine. [the first free one from 5006 on]")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open nothing.")] = False,
) -> None:
    """A page on this machine: theory follows the settings, SGD is streamed over it."""
    from .errors import ProblemError

    try:
        from .explorer import serve
    except ModuleNotFoundError as error:
        if error.name not in ("panel", "bokeh", "param", "h5netcdf"):
            raise
        raise ProblemError(
            f"explore: needs {error.name}, which is not installed; pip install 'sgdlimit[explorer]'"
        ) from None
    serve(target, port=port, browser=not no_browser, say=lambda text: typer.echo(text, err=True))


@app.command()
def bench(
    out: Annotated[Path | None, typer.Option(help="File for the rows as JSON; must not exist.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the large instance and the whole paper.")] = False,
) -> None:
    """Time each part on this machine, beside the bare limit it cannot beat."""
    from .errors import ProblemError

    if out is not None and (out.exists() or not out.parent.is_dir()):
        raise ProblemError(f"--out: {str(out)!r} exists or has no folder; nothing is overwritten, name another file")
    from .bench import bench as measure
    from .bench import table

    with _progress() as progress:
        rows = measure(progress, quick=quick)
    typer.echo(table(rows, out))


def _result_folder(out: Path | None, default: Path, begun: Mapping[str, object] | None = None) -> Path:
    """A new or empty folder one can write to: the one asked for, or the default with the first free number.

    With ``begun``, the folder notes what is begun in it, and one in which the same was begun and not finished will do.
    """
    from .errors import ProblemError

    def usable(folder: Path) -> bool:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return True
        note = folder / BEGUN
        return begun is not None and note.is_file() and note.read_text(encoding="utf-8") == json.dumps(begun)

    if out is None:
        number, out = 1, default
        while not usable(out):
            number += 1
            out = default.with_name(f"{default.name}-{number}")
    if not usable(out):
        raise ProblemError(
            f"--out: {str(out)!r} exists and is not an empty folder; nothing is overwritten, name another"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
        if begun is not None:
            (out / BEGUN).write_text(json.dumps(begun), encoding="utf-8")
    except OSError as error:
        raise ProblemError(
            f"--out: {str(out)!r} cannot be written to ({error.strerror}); name another folder"
        ) from None
    return out


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Progress bars with the time left, one for each stage a computation reports."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, fraction: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=fraction)

        yield report


@contextmanager
def _sweep_progress() -> "Iterator[tuple[Callable[[Summary, Outcome | None], None], Callable[[int, float], None]]]":
    """A bar of tasks with their rate, the time left and failures, and one of the task that this process computes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        whole = bars.add_task("tasks", total=1, note="", visible=False)
        own = bars.add_task("this task", total=100, note="", visible=False)

        def report(summary: "Summary", outcome: "Outcome | None") -> None:
            bars.update(whole, total=summary.total, completed=summary.finished, note=summary.pace, visible=True)
            bars.update(own, visible=False)
            if outcome is not None and outcome.error:
                bars.console.print(f"failed: {summary.failures[-1]}", markup=False, highlight=False)

        def part(index: int, done: float) -> None:
            bars.update(own, completed=round(100 * done), visible=done < 1)

        yield report, part
