"""The commands on good and bad files: exit status, one sentence, nothing overwritten, no traceback."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit import __main__ as entry, cli
from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
from sgdlimit.papers.bae_jeong_2024._studies import MixtureStudy
from sgdlimit.problem import load_problem
from sgdlimit.sweep._engine import handlers_kept

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = """
input_dim = 60
latent_dim = 30
student_units = 2
teacher_units = 2
activation = "erf"
learning_rate = 0.5
[latent]
law = "gaussian-mixture"
components = 2
spread = 2.0
[run]
time = 5.0
count = 20
runs = 2
test_samples = 100
"""


def sgdlimit(*arguments, cwd):
    """Run the command as a user does, in a process of its own."""
    command = [sys.executable, "-m", "sgdlimit", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"}
    )


def refused(done, status, *words):
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in last, done.stderr
    return last


def test_run_writes_theory_sgd_figure_and_table(tmp_path, command):
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    done = command("run", "small.toml")
    assert done.returncode == 0, done.stderr
    assert re.match(r"Memory: \d+\.\d\d GiB for the simulation, 400 MiB for the libraries", done.stderr)
    assert re.search(r"Time: about [\d.]+ \w+ for SGD; Ctrl-C stops it", done.stderr)
    for word in ("Q", "R", "v", "generalization_error", "floor"):
        assert word in done.stdout
    folder = tmp_path / "results" / "small"
    theory, sgd = sl.load(folder / "theory.zarr"), sl.load(folder / "sgd.zarr")
    assert theory["Q"].dims == ("time", "student", "student_")
    assert sgd.sizes["run"] == 2
    M = sl.load(folder / "discrepancy.zarr")["M"]
    np.testing.assert_allclose(M, sl.compare(theory, sgd)["M"])
    assert f"{float(M.sel(quantity='Q')):.4f}" in done.stdout
    assert (folder / "dynamics.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "dynamics.pdf").read_bytes().startswith(b"%PDF")
    assert sl.Problem.from_toml(folder / "problem.toml") == sl.Problem.from_toml(tmp_path / "small.toml")
    command("run", "small.toml")
    assert (tmp_path / "results" / "small-2" / "dynamics.png").exists()  # the first is left alone
    kept = (folder / "dynamics.png").stat().st_mtime_ns
    refused(command("run", "small.toml", "--out", folder), 2, "--out", "new or empty folder", "Name another")
    assert (folder / "dynamics.png").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("input_dim = 60", "input_dim = 0"), ("input_dim", "0", "greater")),
        (("input_dim = 60", ""), ("input_dim", "must be given")),
        (("components = 2", "components = 2\nblock_size = 7"), ("block_size", "7", "must divide", "30")),
        (("runs = 2", "runs = 0"), ("run.runs", "0")),
        (("runs = 2", "runs = 1000000000"), ("run.runs: must be less than or equal to 1000000 (got 1000000000)",)),
        (("count = 20", "count = 1000000000"), ("run.count: must be less than or equal to 100000 (got 1000000000)",)),
        (("count = 20", "count = 20\nepochs = 3"), ("run.epochs", "3", "no such setting")),
        (("learning_rate = 0.5", "learning_rate = nan"), ("learning_rate", "nan")),
        (("spread = 2.0", "spread = 2.0\nweights = [0.5, 0.6]"), ("weights", "sum to 1")),
        (('law = "gaussian-mixture"', 'law = "cauchy"'), ("cauchy", "gaussian-mixture")),
        (("time = 5.0", "time = 1e300"), ("run.time", "1e+300")),
        (("[latent]", "[latent"), ("must be valid TOML",)),
    ],
)
def test_a_bad_problem_file_is_refused_with_status_2(tmp_path, command, change, words):
    (tmp_path / "bad.toml").write_text(SMALL.replace(*change), encoding="utf-8")
    refused(command("run", "bad.toml"), 2, "bad.toml", *words)
    assert not (tmp_path / "results").exists()


def test_the_wrong_kind_of_file_is_recognised(tmp_path, command):
    (tmp_path / "one.toml").write_text(SMALL, encoding="utf-8")
    (tmp_path / "grid.toml").write_text("[problem]\n[grid]\n", encoding="utf-8")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "problem.toml").write_text(SMALL, encoding="utf-8")
    sl.save(sl.solve(sl.Problem.from_toml(tmp_path / "one.toml").draw(0), [1.0]), tmp_path / "theory.zarr")
    refused(
        command("run", "grid.toml"),
        2,
        "grid.toml: must hold one problem (got a sweep). Use `sgdlimit sweep grid.toml`.",
    )
    refused(
        command("sweep", "one.toml"), 2, "one.toml: must hold a sweep (got one problem). Use `sgdlimit run one.toml`."
    )
    refused(command("run", "results"), 2, "results/problem.toml")
    for name in ("run", "sweep", "explore"):
        refused(command(name, "theory.zarr"), 2, "This is a stored dataset. Open it with sl.load().")


@pytest.mark.parametrize("change", [("student_units = 2", "student_units = 3000"), ("runs = 2", "runs = 1000000")])
def test_a_run_beyond_the_memory_is_refused_before_it_begins(tmp_path, command, change, monkeypatch):
    monkeypatch.setattr("sgdlimit.simulation._read.available_bytes", lambda: 1 << 30)
    (tmp_path / "large.toml").write_text(SMALL.replace(*change), encoding="utf-8")
    refused(command("run", "large.toml"), 2, "must fit into 1.0 GiB of free memory", "Ask for fewer runs, output times")


def test_a_missing_file_and_an_unknown_option_are_refused_with_status_2(tmp_path, command):
    refused(
        sgdlimit("run", "none.toml", cwd=tmp_path), 2, "none.toml", "must be a file to read"
    )  # a process as a user's
    refused(command("run", "none.toml"), 2, "none.toml", "must be a file to read")
    assert command("reproduce", "--preset", "huge").returncode == 2
    assert command("paint").returncode == 2


@pytest.mark.parametrize("name", ["run", "reproduce"])
def test_a_folder_that_cannot_be_used_is_refused_with_status_2(tmp_path, command, name):
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    (tmp_path / "a file").write_text("precious", encoding="utf-8")
    arguments = [name, "small.toml"] if name == "run" else [name]
    refused(command(*arguments, "--out", tmp_path / "a file"), 2, "--out", "a file")
    refused(command(*arguments, "--out", tmp_path / "a file" / "below"), 2, "--out", "must be a folder to write to")
    assert (tmp_path / "a file").read_text(encoding="utf-8") == "precious"
    refused(command(*arguments, "--out", "/proc/none"), 2, "--out", "must be a folder to write to")


def test_a_learning_rate_that_diverges_ends_with_status_1(tmp_path, command):
    (tmp_path / "wild.toml").write_text(SMALL.replace("0.5", "60.0").replace("erf", "linear"), encoding="utf-8")
    refused(command("run", "wild.toml"), 1, "learning_rate", "60", "Lower the rate")


def test_run_says_where_an_error_is_not_resolved(tmp_path, command):
    settings = SMALL.replace('"erf"', '"linear"\nnonlinearity = "identity"\nfeatures = "identity"')
    settings = settings.replace("latent_dim = 30", "latent_dim = 60").replace("_units = 2", "_units = 1")
    gaussian = settings[: settings.index("[latent]")] + settings[settings.index("[run]") :].replace("5.0", "200.0")
    (tmp_path / "long.toml").write_text(gaussian, encoding="utf-8")
    done = command("run", "long.toml")
    assert done.returncode == 0
    assert "is below 1e-09, which the solver does not resolve, and NaN. Use rtol=1e-10, atol=1e-14." in done.stdout


def test_help_is_there(tmp_path):
    done = sgdlimit("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "reproduce" in done.stdout
    assert "run" in done.stdout


@pytest.mark.parametrize(
    "path", sorted(set(EXAMPLES.glob("*.toml")) - {EXAMPLES / "sweep.toml"}), ids=lambda path: path.stem
)
def test_every_example_is_valid(path):
    problem, run = load_problem(path)
    assert (problem.input_dim, run.time) == (1000, 100.0)


@pytest.mark.parametrize(
    "path", sorted(set(EXAMPLES.glob("*.toml")) - {EXAMPLES / "sweep.toml"}), ids=lambda path: path.stem
)
def test_every_example_runs(path, tmp_path):
    """At the size it has, for a thousandth of its time."""
    shutil.copy(path, tmp_path / "short.toml")
    text = (tmp_path / "short.toml").read_text(encoding="utf-8")
    (tmp_path / "short.toml").write_text(text.replace("time = 100.0", "time = 0.1\ncount = 20"), encoding="utf-8")
    from sgdlimit.single_run import run_problem

    summary = run_problem(*load_problem(tmp_path / "short.toml"), tmp_path, progress=lambda *_: None)
    assert "generalization_error" in summary or "error_rate" in summary


def test_the_commands_of_the_readme_exist(command):
    """Every command line in it: its options are known, its files are there, its make targets can be made."""
    text = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```sh\n")[1:]]
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines()]
    commands = [line for line in lines if line]
    assert {line[0] for line in commands} == {"make", "sgdlimit"}
    for name, *arguments in commands:
        if name == "make":
            done = subprocess.run(
                ["make", "-n", *arguments], cwd=EXAMPLES.parent, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            continue
        for path in (argument for argument in arguments if argument.endswith(".toml")):
            assert (EXAMPLES.parent / path).exists()
        options = [argument for argument in arguments if argument != "--help"]
        done = command(*options, "--help")
        assert done.returncode == 0, done.stderr


def test_reproduce_writes_every_figure_table_and_dataset(tmp_path, monkeypatch):
    """The whole path at a small size; the numbers themselves are tested elsewhere."""
    from sgdlimit.papers.bae_jeong_2024._reproduction import redraw, reproduce

    small = sl.Problem(
        input_dim=80, latent_dim=40, student_units=2, teacher_units=2, activation="relu", learning_rate=0.1
    )
    tiny = PRESETS["quick"]._replace(
        problem=small, steps=400, example_runs=2, block_sizes=(1, 5, 20, 40),
        block_spreads=(0.0, 9.0), sizes={100: 2, 200: 1}, sizes_time=1.0, example_chains=3, chains=2,
        mixture_study=MixtureStudy(
            sizes={40: 2, 80: 2}, sizes_time=1.0, chains=2, step_size=40, step_time=2.0, step_chains=4, runs=2,
            learning_rates=(0.1, 0.2), fluctuation_size=40, fluctuation_time=2.0,
        ),
    )  # fmt: skip
    monkeypatch.setitem(PRESETS, "quick", tiny)
    stages = []
    summary = reproduce("quick", tmp_path, progress=lambda stage, fraction: stages.append((stage, fraction)))
    assert "--preset paper" in summary
    assert ("grid", 1.0) in [(stage, round(fraction, 6)) for stage, fraction in stages]
    names = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert names == {path.stem for path in (tmp_path / "figures").glob("*.pdf")}
    assert names >= {f"figure_{n}" for n in ("2", "3", "4", "5", "S1", "S2", "S3", "S4")}
    assert names >= {"finite_size", "mixture_theory", "lemma_V1", "lemma_V3"}
    assert {path.name for path in (tmp_path / "tables").glob("table_*")} == {
        "table_I_erf.csv", "table_I_erf.md", "table_II_relu.csv", "table_II_relu.md",
    }  # fmt: skip
    sweep = sl.open_sweep(tmp_path / "sweeps" / "grid.zarr")
    assert bool(sweep["completed"].all())
    assert sweep["theory_Q"].sizes["time"] == len(tiny.times)
    grid = sl.load(tmp_path / "data" / "grid.zarr")
    assert grid["M_Q"].dims[:5] == ("instance", "activation", "standardized", "components", "spread")
    assert not grid["M_Q"].where(~grid["diverged"]).isnull().where(~grid["diverged"], False).any()
    # α = 0 is the Gaussian, whatever m and the standardisation: the noise floor itself
    zero = grid["M_Q"].sel(spread=0.0)
    np.testing.assert_array_equal(zero, grid["floor_Q"].broadcast_like(zero).transpose(*zero.dims))
    raw = grid["M_mixture_Q"].where(~grid["mixture_diverged"] & ~grid["diverged"].sel(standardized=False))
    assert int(raw.isnull().sum()) == 4 * int(
        (grid["mixture_diverged"] | grid["diverged"].sel(standardized=False)).sum()
    )
    np.testing.assert_allclose(
        grid["M_mixture_Q"].sel(spread=0.0),
        zero.sel(standardized=False).transpose(*raw.sel(spread=0.0).dims),
        rtol=1e-4,
    )
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "how good the mixture theory is" in html
    assert "N = 80, D = 40, η = 0.1, f = sign" in html  # the network, from the settings of the sweep
    assert html.count("data:image/png;base64") >= len(names)
    assert html.count('<script type="application/json">') == len(names)
    assert len(html.encode()) < 10_000_000
    cases, dropped = sl.load(tmp_path / "data" / "cases.zarr"), int((~grid["kept"]).sum())
    assert cases.sizes["case"] == dropped == html.count('<section class="page"')
    assert f"{dropped} of 2 × 2 instances" in html if dropped else "so none has a page" in html
    redraw("figure_S2", tmp_path, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "figures" / "figure_S2.png").read_bytes()
    redraw("lemma_V3", tmp_path, tmp_path / "again.pdf")
    assert (tmp_path / "again.pdf").read_bytes() == (tmp_path / "figures" / "lemma_V3.pdf").read_bytes()
    with pytest.raises(
        sl.ProblemError, match=r"figure: .*got 'figure_9'.* Use one of figure_2, figure_3, .*, lemma_V3"
    ):
        redraw("figure_9", tmp_path, tmp_path / "other.png")


def test_figure_refuses_in_a_sentence(tmp_path, command):
    (tmp_path / "there.png").write_bytes(b"")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "index.html").touch()
    for arguments, said in (
        (("figure_2", "nowhere"), "folder: must hold a finished reproduction of this version (got 'nowhere')"),
        (("figure_2", "old"), "of this version (got 'old')"),
        (("figure_2", ".", "--out", "figure.jpeg"), "must end in .png, .pdf, .svg"),
        (("figure_2", ".", "--out", "there.png"), "nothing is overwritten"),
    ):
        done = command("figure", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is a signal of POSIX")
@pytest.mark.parametrize("when", ["it is imported", "it prepares a run"])
def test_an_interruption_is_one_sentence_also_before_the_run(when, monkeypatch, capsys):
    def terminated(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    if when == "it is imported":
        module = types.ModuleType("sgdlimit.cli")
        monkeypatch.setattr(module, "__getattr__", terminated, raising=False)
        monkeypatch.setitem(sys.modules, "sgdlimit.cli", module)
    else:
        monkeypatch.setattr(cli, "app", terminated)
    with handlers_kept(), pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
    assert re.fullmatch("sgdlimit: interrupted.*\n", capsys.readouterr().err)


def test_letters_that_a_terminal_does_not_have_are_replaced(monkeypatch):
    monkeypatch.setattr("sys.argv", ["sgdlimit", "run", "σ.toml"])
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(written := io.BytesIO(), encoding="latin-1"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    sys.stderr.flush()
    assert ended.value.code == 2
    assert written.getvalue().startswith(b"sgdlimit: ?.toml: ")


def test_an_error_while_results_are_written_names_their_folder(tmp_path, capsys):
    folder = tmp_path / "results"
    folder.mkdir()
    with pytest.raises(OSError, match="No space left on device") as full, cli._progress(folder):
        raise OSError(28, "No space left on device")
    assert full.value.filename == folder

    def move():
        folder.rename(tmp_path / "moved")
        folder.mkdir()

    with pytest.raises(OSError, match="it was moved meanwhile") as moved, cli._progress(folder):
        move()
    assert moved.value.filename == folder
