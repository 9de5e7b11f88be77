"""The commands. This module parses and calls; what a command needs is imported when it runs."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOENT
from functools import cache, partial
from io import TextIOWrapper
from itertools import chain, count
from os.path import samestat
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, BadParameter, Context, Exit, Option, Typer, echo

from .errors import DivergenceError, ProblemError, SweepError

app = Typer(
    help="Theory and simulation of online learning in two-layer networks on structured inputs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BEGUN = ".unfinished"  # a note in the folder of a command that has not finished: what was begun
SETTINGS, RUN, INTERRUPTED = 2, 1, 130  # exit status of a wrong setting, of a run that failed, and of Ctrl-C
LONGEST = 4000  # characters of a message
USAGE: Any = BadParameter.__base__  # what typer raises of options and arguments
PICTURES = (".png", ".pdf", ".svg")

Seed = Annotated[int, Option(min=0, help="Seed of the first instance; the others follow.")]
Workers = Annotated[
    int | None,
    Option(min=0, help="Processes on this machine; 0 uses only this one. [default: one for each core, if it pays]"),
]
tell = partial(echo, err=True)


def main() -> None:
    """Run the command line: every failure is one sentence on standard error and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.encoding != "utf-8":
            stream.reconfigure(errors="replace")  # a terminal may not have all letters
    try:
        status = app(standalone_mode=False) or 0
        if status != INTERRUPTED:
            sys.exit(status)
        raise KeyboardInterrupt
    except USAGE as error:
        status = SETTINGS
        if len(sys.argv) == 1:
            error.ctx.get_help()  # prints it
            sys.exit(status)
        command = error.ctx.command_path if error.ctx else "sgdlimit"
        message = f"{error.format_message().rstrip('.')}. See {command} --help."
    except (ProblemError, DivergenceError, SweepError) as error:
        message, status = str(error), SETTINGS if isinstance(error, ProblemError) else RUN
    except OSError as error:
        message, status = f"{error.filename or 'file'}: {error.strerror or error}. Nothing more was written.", RUN
    except MemoryError as error:
        message, status = f"{error}: not enough memory. Make input_dim, latent_dim or the output times smaller.", RUN
    except KeyboardInterrupt:
        message, status = "interrupted; what was written so far stays where it is", INTERRUPTED
    tell(f"sgdlimit: {message if len(message) <= LONGEST else message[: LONGEST - 4] + ' ...'}")
    sys.exit(status)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"sgdlimit {version('sgdlimit')}")
        raise Exit


@app.callback()
def _common(
    version: bool = Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Options that come before the command."""


@app.command()
def reproduce(
    preset: Literal["quick", "paper"] = Option(
        "quick", help="quick: the paper's sizes on a thin grid, some minutes; paper: all of it."
    ),
    out: Path | None = Option(
        None,
        help="Folder for the results: new, empty, or of an interrupted reproduction, which resumes. "
        "[default: results/PRESET, numbered]",
    ),
    seed: Seed = 0,
    workers: Workers = None,
) -> None:
    """Reproduce the paper: every figure and table, the datasets, and a report that reads like it."""
    folder = _result_folder(out, Path("results") / preset, json.dumps({"preset": preset, "seed": seed}))
    from .papers import bae_jeong_2024 as paper

    tell(paper.memory_of_preset(preset))
    with _progress(folder) as progress:
        summary = paper.reproduce(preset, folder, first_instance=seed, workers=workers, progress=progress)
    (folder / BEGUN).unlink()
    echo(summary)


@app.command()
def figure(
    name: str = Argument(metavar="NAME", help="The name under the figure in the report, as figure_4."),
    folder: Path = Argument(metavar="FOLDER", help="Folder of a finished reproduction."),
    out: Path | None = Option(None, help="File: .png, .pdf or .svg; must not exist. [default: NAME.png]"),
) -> None:
    """Draw one figure of a reproduction again, from the data in its folder."""
    file = _new_file(out or Path(f"{name}.png"), PICTURES)
    from .papers.bae_jeong_2024 import redraw

    redraw(name, folder, file)
    echo(f"{file}")


@app.command()
def run(
    problem: Path = Argument(metavar="PROBLEM.toml", help="Settings; see the folder examples/."),
    out: Path | None = Option(None, help="Folder for the results, new or empty. [default: results/PROBLEM, numbered]"),
) -> None:
    """Run one problem: theory and SGD, a figure, the datasets, and M in the terminal."""
    from .problem import load_problem

    settings = load_problem(problem)
    folder = _result_folder(out, Path("results") / problem.stem)
    from .single_run import run_problem

    with _progress(folder) as progress:
        summary = run_problem(*settings, folder, progress=progress, tell=tell)
    echo(summary)


WITH_LABELS = ("units", "loss", "student_scale", "output_scale", "test", "curve")
WITHOUT_LABELS = ("most_runs", "clusters", "role", "input_dim")
"""Options of ``check`` that have no meaning otherwise."""


@app.command()
def check(
    context: Context,
    data: str = Argument(
        metavar="DATA",
        help="Samples in rows: a .npy, .npz (data.npz:name for one of several arrays), .csv, other text or .parquet "
        "file, or a data set of scikit-learn: digits, iris, wine, breast_cancer, diabetes.",
    ),
    time: float | None = Option(
        None, help="Length of training in units of N steps. [default: 100; with --labels one pass]"
    ),
    runs: int = Option(5, min=3, help="SGD runs of each kind to begin with."),
    most_runs: int = Option(80, min=3, help="Up to so many are added while the verdict is open."),
    clusters: int | None = Option(
        None, min=1, help="Number of Gaussian clusters to fit to the data, for mixture theory."
    ),
    seed: int = Option(0, min=0, help="Seed of the network and of the runs."),
    out: Path | None = Option(
        None, help="Folder for the results, new or empty. [default: results/check-DATA, numbered]"
    ),
    columns: str = Option("", help="Columns to use: headings, or numbers from 1; a,b or FIRST:LAST. [default: all]"),
    drop: str = Option("", help="Columns to leave out, such as labels."),
    labels: str = Option("", help="Labels to learn: their column, 'target' of a data set by name, or their file."),
    delimiter: str = Option("", help="What separates columns. [default: found by itself]"),
    role: Literal["inputs", "latent"] = Option(
        "inputs", "--as", help="inputs: the network sees the data; latent: inputs are sign(CF/√D), C the data."
    ),
    preprocess: Literal["standardize", "centre", "none"] = Option("standardize", help="How each column is prepared."),
    drop_constant: bool | None = Option(
        None, help="Leave out constant columns, which are refused. [default: for labelled images]"
    ),
    activation: str | None = Option(None, help="Activation. [default: erf; with --labels relu]"),
    learning_rate: float | None = Option(None, help="Learning rate η. [default: 0.2; with --labels 0.1]"),
    input_dim: int = Option(1000, min=1, help="Number N of inputs, for --as latent."),
    units: int = Option(8, min=1, help="With --labels: number K of hidden units."),
    loss: str | None = Option(None, help="With --labels: the loss. [default: logistic; cross-entropy of classes]"),
    student_scale: float = Option(0.5, help="With --labels: deviation of the initial weights."),
    output_scale: float = Option(0.5, help="With --labels: deviation of the initial output weights."),
    test: float = Option(0.2, help="With --labels: part of the samples that is held out."),
    curve: Path | None = Option(None, help="With --labels: table of samples seen and the test error of your training."),
) -> None:
    """Find which theory predicts SGD on your data, and why the others fail; with --labels the learning curve."""
    from .inputs import read_samples

    for name in WITHOUT_LABELS if labels else WITH_LABELS:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            flag = "--as" if name == "role" else f"--{name.replace('_', '-')}"
            given, other = ("with", "Remove it") if labels else ("without", "Give --labels")
            raise ProblemError(f"{flag}: must be left out {given} --labels (got {context.params[name]!r}). {other}.")
    samples, used, found = read_samples(data, columns=columns, drop=drop, labels=labels, delimiter=delimiter)
    tell(used)
    from .diagnosis import default_network
    from .single_run import check_data, output_times

    default = Path("results") / f"check-{Path(data.split('.npz:')[0]).stem}"
    chosen = {"drop_constant": drop_constant, "activation": activation, "learning_rate": learning_rate}
    options: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    options["preprocess"] = preprocess
    if found is not None:
        from .report import check_labels

        points = curve and read_samples(str(curve)).samples.to_numpy()
        folder = _result_folder(out, default)
        with _progress(folder) as progress:
            summary = check_labels(
                samples, found, folder, time=time, runs=runs, seed=seed, curve=points, progress=progress, units=units,
                loss=loss, student_scale=student_scale, output_scale=output_scale, test=test, **options,
            )  # fmt: skip
        echo(summary)
        return
    attrs = {"data_source": data, "data_columns": used}
    instance = default_network(samples, role=role, input_dim=input_dim, seed=seed, attrs=attrs, **options)
    times = output_times("--time", 100.0 if time is None else time, instance.input_dim)
    folder = _result_folder(out, default)
    with _progress(folder) as progress:
        summary = check_data(
            instance, times, folder, runs=runs, most_runs=most_runs, seed=seed, clusters=clusters, progress=progress
        )
    echo(summary)


@app.command()
def sweep(
    settings: Path = Argument(metavar="SWEEP.toml", help="A problem, a grid over its fields, and how to run it."),
    out: str | None = Option(
        None,
        help="The store: a folder or an fsspec URL. A store of this sweep is continued. [default: results/SWEEP.zarr]",
    ),
    dry_run: bool = Option(False, "--dry-run", help="Print the cost, and stop."),
    max_failures: int = Option(3, min=1, help="Stop after so many tasks with an error."),
    verify: bool = Option(False, "--verify", help="First read all that is stored, and stop at damage."),
    repair: bool = Option(False, "--repair", help="The same, and compute what is damaged again."),
    log: Path | None = Option(None, help="File for a line of JSON per event. [default: beside the store]"),
    workers: Workers = None,
    scheduler: str | None = Option(None, help="Address of a dask scheduler, as tcp://host:8786."),
    cluster: Literal["slurm", "pbs"] | None = Option(None, help="Ask this batch system for workers."),
    jobs: int = Option(1, min=1, help="Number of batch jobs."),
    tls_ca_file: str | None = Option(None, help="With tls:// or --cluster: authority that signed certificates."),
    tls_cert: str | None = Option(None, help="With those: certificate of this sweep."),
    tls_key: str | None = Option(None, help="With those: key of that certificate."),
) -> None:
    """Run a grid of problems into one store. Run it again to resume."""
    from .sweep import Where, sweep_from_file

    where = Where(workers, scheduler, cluster, jobs, (tls_ca_file, tls_cert, tls_key))
    with _progress() as progress:
        summary = sweep_from_file(
            settings, out, where, dry_run=dry_run, max_failures=max_failures, verify=verify,
            repair=repair, log=log, say=tell, progress=progress,
        )  # fmt: skip
    if summary is not None:
        echo(summary.text)
        if not summary.complete:
            raise Exit(INTERRUPTED if summary.interrupted else RUN)


@app.command()
def explore(
    target: str | None = Argument(
        None, metavar="[SWEEP.zarr|PROBLEM.toml]", help="A stored sweep to browse, or settings to begin with."
    ),
    port: int | None = Option(
        None, min=1024, max=65535, help="Port on this machine. [default: the first free one from 5006 on]"
    ),
    no_browser: bool = Option(False, "--no-browser", help="Print the address and open nothing."),
) -> None:
    """Open a page on this machine: theory follows the settings, SGD is streamed over it."""
    try:
        from .explorer import serve
    except ModuleNotFoundError as error:
        if error.name not in ("panel", "bokeh", "param", "h5netcdf"):
            raise
        raise ProblemError(
            f"explore: needs {error.name}, which is not installed. Run pip install 'sgdlimit[explorer]'."
        ) from None
    serve(target, port=port, browser=not no_browser)


@app.command()
def bench(
    out: Path | None = Option(None, help="File for the rows as JSON; must not exist."),
    quick: bool = Option(False, "--quick", help="Leave out the large instance and the whole paper."),
) -> None:
    """Time each part on this machine, beside the bare limit it cannot beat."""
    file = out and _new_file(out)
    from .bench import bench as measure, table

    with _progress() as progress:
        rows = measure(progress, quick=quick)
    echo(table(rows, file))


def _new_file(file: Path, suffixes: tuple[str, ...] = ()) -> Path:
    """A file that can be written without overwriting anything."""
    if suffixes and file.suffix not in suffixes:
        raise ProblemError(f"--out: must end in {', '.join(suffixes)} (got {str(file)!r}). Name such a file.")
    if file.exists() or not file.parent.is_dir():
        raise ProblemError(
            f"--out: must be a new file in a folder that exists (got {str(file)!r}). Name another file, "
            "because nothing is overwritten."
        )
    return file


def _result_folder(out: Path | None, default: Path, begun: str = "") -> Path:
    """A new or empty folder that can be written to: the one asked for, or the default with the first free number.

    With ``begun`` the folder keeps a note of it; a folder where the same was begun and not finished can be used again.
    """

    def usable(folder: Path) -> bool:
        note = folder / BEGUN
        if begun and note.is_file():
            return note.read_text() == begun
        return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))

    numbered = (default.with_name(f"{default.name}-{number}") for number in count(2))
    out = out or next(filter(usable, chain([default], numbered)))
    if not usable(out):
        raise ProblemError(
            f"--out: must be a new or empty folder (got {str(out)!r}). Name another, because nothing is overwritten."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        note = out / BEGUN
        note.write_text(begun)
        if not begun:
            note.unlink()
    except OSError as error:
        raise ProblemError(
            f"--out: must be a folder to write to (got {str(out)!r}: {error.strerror}). Name another."
        ) from None
    return out


@contextmanager
def _progress(folder: Path | None = None) -> Iterator[Callable[..., None]]:
    """Progress bars with the time left: call with a stage, the fraction of it that is done, and perhaps a note.

    Errors of writing name the folder. One that was moved meanwhile is an error.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    before = folder and folder.stat()
    try:
        with Progress(
            "{task.description:<24}", BarColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn(),
            "{task.fields[note]}", console=Console(stderr=True),
        ) as bars:  # fmt: skip
            bar = cache(partial(bars.add_task, total=1.0, note=""))
            yield lambda stage, fraction, note="": bars.update(bar(stage), completed=fraction, note=note)
        if folder and before and not samestat(before, folder.stat()):
            raise OSError(ENOENT, "it was moved meanwhile, and only the last results are here", folder)
    except OSError as error:
        error.filename = error.filename or folder  # a disk that is full does not say where
        raise
