"""Wheel and sdist build, install and run elsewhere; what describes the package agrees with it."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

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


def test_public_names_have_types_and_docstrings():
    assert (Path(sl.__file__).parent / "py.typed").is_file()
    for name in dir(sl):
        assert getattr(sl, name).__doc__, name
