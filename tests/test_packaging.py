"""Wheel and sdist build, install and run elsewhere; what describes the package agrees with it."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import sgdlimit as sl

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: object, folder: Path) -> str:
    """What a command prints, in an empty folder and without this suite's environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "SGDLIMIT"))}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(folder: Path) -> Path:
    """The Python of a new environment, with nothing in it."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """An sdist of this folder, and the wheel that is built of that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    return folder


@pytest.mark.skipif(os.name != "posix", reason="environments are laid out otherwise")
def test_sdist_and_wheel_hold_what_is_needed_and_the_wheel_runs(built, tmp_path):
    """One test, for the workers would build for themselves."""
    (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "constraints.txt",
        "environment.yml", "tests/conftest.py", "examples/sweep.toml", "docs/exactness.md",
    }  # fmt: skip
    assert not any(name.startswith((".venv", "build", "results", "shared")) for name in names)
    packed = set(zipfile.ZipFile(wheel).namelist())
    source = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "sgdlimit").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert source <= packed  # templates, styles, scripts and py.typed among them
    assert {"sgdlimit/py.typed", "sgdlimit/report/templates/page.html.j2"} <= packed
    assert not any(name.startswith(("tests", "conftest")) for name in packed)

    python = environment(tmp_path / "env")
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--no-index", wheel, folder=tmp_path)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    where = "import sgdlimit, sgdlimit.report as page; print(sgdlimit.__file__, page.__file__)"
    assert all(Path(file).is_relative_to(site) for file in run(python, "-c", where, folder=tmp_path).split())
    command = tmp_path / "env" / "bin" / "sgdlimit"
    assert run(command, "--version", folder=tmp_path) == f"sgdlimit {PROJECT['version']}\n"
    assert "reproduce" in run(command, "--help", folder=tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("extras", ["", "[explorer,cluster]"])
def test_a_full_install_from_the_registry(built, tmp_path, extras):
    """With all dependencies; minutes, and the network."""
    venv.create(tmp_path / "env", with_pip=True)
    python, (wheel,) = tmp_path / "env" / "bin" / "python", built.glob("*.whl")
    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, f"{wheel}{extras}", folder=tmp_path)
    run(python, "-m", "pip", "check", folder=tmp_path)
    solved = (
        "import sgdlimit as sl; p = sl.Problem(input_dim=40, latent_dim=20, student_units=2, teacher_units=2, "
        "activation='erf', learning_rate=0.2); print(sl.solve(p.draw(seed=0), [1.0]).sizes['time'])"
    )
    assert run(python, "-c", solved, folder=tmp_path) == "1\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_runs_in_any_folder_and_with_an_environment_elsewhere(tmp_path):
    """The programs are modules of one Python, so no script needs the path of its own folder."""
    here = tmp_path / "a café" / "checkout"
    here.mkdir(mode=0o700, parents=True)
    shutil.copy(ROOT / "Makefile", here)
    targets = ("reproduce", "test", "docs", "lint", "types")
    for place, option in ((here / ".venv", ()), (tmp_path / "env", (f"VENV={tmp_path / 'env'}",))):
        (place / "bin").mkdir(parents=True)
        for name in ("pyproject.toml", "constraints.txt"):
            (here / name).touch()
        for name in ("installed", "installed-test", "installed-docs", "installed-dev"):
            (place / name).touch()
        python = place / "bin" / "python"
        python.write_text('#!/bin/sh\necho "$LC_ALL: $@" >> "$0.log"\n', "utf-8")
        python.chmod(0o700)
        run("env", "LC_ALL=C", "make", *targets, *option, folder=here)
        asked = python.with_name("python.log").read_text("utf-8")
        for line in (
            "-m sgdlimit reproduce --preset quick",
            "-m pytest",
            "-m mkdocs build",
            "-m ruff check",
            "-m pyright",
        ):
            assert f"C.UTF-8: {line}" in asked
    refused = subprocess.run(["make", "test", f"VENV={here}"], cwd=here, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "VENV must be one path without spaces" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert {"message", "title", "type"} <= citation.keys()
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert all("family-names" in author for author in reference["authors"])


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^\]]+)\] - (unreleased|\d{4}-\d\d-\d\d)$", text, re.M)
    assert versions[0][0] == PROJECT["version"]
    named = re.findall(r"`(\w+)`", text.partition("**Theory.**")[2])
    assert {name for name in named if name[0].isupper()} <= set(dir(sl))


def test_conda_asks_for_what_the_package_has():
    described = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, with_pip = described["dependencies"]
    assert f"python{PROJECT['requires-python']}" in conda
    assert "pip" in conda
    constraint, editable = with_pip["pip"]
    assert (ROOT / constraint.removeprefix("--constraint ")).is_file()
    extras = re.fullmatch(r"--editable \.\[([\w,]+)\]", editable)
    assert extras is not None
    assert set(extras[1].split(",")) == PROJECT["optional-dependencies"].keys() - {"docs", "test", "benchmark", "dev"}


def test_pinned_versions_run_on_every_python_that_the_package_allows():
    """An older patch of a Python too, as Debian's 3.11.2; known of the pins that are installed here."""
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    installed = {each.name.lower().replace("_", "-"): each for each in metadata.distributions()}
    pinned = [installed[name] for name, version in pins if name in installed and installed[name].version == version]
    assert len(pinned) > 50
    for each in pinned:
        assert oldest in SpecifierSet(str(each.metadata.json.get("requires_python", ""))), each.name


def test_programs_are_compiled_where_neither_the_code_nor_home_can_be_written(monkeypatch):
    """As in a container that runs as another user: numba refuses to compile without a folder."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # put back afterwards
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with monkeypatch.context() as patched:
        patched.setattr("atexit.register", lambda remove, folder, **how: shutil.rmtree(folder))
        vars(sl)["_compile_somewhere"]()
    assert Path(os.environ["NUMBA_CACHE_DIR"]).parent == Path(tempfile.gettempdir())


def test_public_names_have_types_and_docstrings():
    assert (Path(sl.__file__).parent / "py.typed").is_file()
    for name in dir(sl):
        assert getattr(sl, name).__doc__, name
