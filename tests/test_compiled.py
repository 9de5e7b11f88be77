"""Compiled programs on disk: served to the next process, and never a reason to fail or to answer differently."""

import json
import os
import subprocess
import sys
from pathlib import Path

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from sgdlimit.theory import Spectrum, _compiled as compiled, solve_spectrum

X = np.arange(3.0)
ONE_NODE = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])

SOLVE = """
import json, sys
from sgdlimit.theory import Spectrum, solve_spectrum
from sgdlimit.theory import _compiled as compiled

compilations, compile = [], compiled._compile
compiled._compile = lambda *arguments: compilations.append(1) or compile(*arguments)
one_node = Spectrum([1.0], [1.0], [[[1.0]]], [[[0.0]]], [[[1.0]]], [[1.0]])
solution = solve_spectrum(one_node, [1.0], [1.0], activation="linear", learning_rate=0.1, times=[0, 1, 2])
print(json.dumps([len(compilations), [float(x).hex() for x in solution.generalization_error]]))
"""


MIXTURE = """
import json
import numpy as np
import sgdlimit as sl
from sgdlimit.theory import _compiled as compiled
from sgdlimit.random import fill_normals

compilations, compile = [], compiled._compile
compiled._compile = lambda *arguments: compilations.append("a program of JAX") or compile(*arguments)
problem = sl.Problem(input_dim=40, latent_dim=20, student_units=2, teacher_units=2, activation="erf", learning_rate=0.3)
for alike in (True, False):  # by a spectrum, and by the weights
    covariances = np.eye(20) * np.array([1.0, 1.0 if alike else 2.0])[:, None, None]
    law = sl.ClusterMixture(np.array([[-1.0], [1.0]]) * np.ones(20), covariances)
    instance = problem.draw(0).replace(latent=law, nonlinearity="identity")
    sl.solve(instance, [0.5, 1.0], theory="mixture", chains=2)
    assert (len(instance.mixture_moments().kinds) == 1) == alike
assert fill_normals.stats.cache_hits or fill_normals.stats.cache_misses
compilations += [f"fill_normals{list(fill_normals.stats.cache_misses)}"] if fill_normals.stats.cache_misses else []
print(json.dumps(compilations))
"""


def powers(x, *, exponent):
    return x**exponent, x.sum()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SGDLIMIT_CACHE_DIR", str(tmp_path / "programs"))
    compiled._programs.clear()
    yield tmp_path / "programs"
    compiled._programs.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_programs_in_memory_leave_room_for_more(folder):
    """Where a process has run out of maps nothing is compiled, and memory cannot be had, for the rest of its life."""
    spectrum = Spectrum([1.0], [1.0], [np.eye(2)], [np.eye(2)], [np.eye(2)], np.eye(2))

    def maps() -> int:
        return len(Path("/proc/self/maps").read_text().splitlines())

    def solve(times: int) -> None:
        solve_spectrum(spectrum, np.ones(2), np.ones(2), activation="relu", learning_rate=0.1, times=np.arange(times))

    solve(2)
    before = maps()
    solve(100)  # one program, for more output times
    allowed = int(Path("/proc/sys/vm/max_map_count").read_text())
    size = list(compiled._programs.values())[-1][1]
    assert compiled.IN_MEMORY / size * (maps() - before) < allowed / 2


@pytest.fixture
def compilations(monkeypatch):
    """One entry for each compilation."""
    done, compile = [], compiled._compile
    monkeypatch.setattr(compiled, "_compile", lambda *arguments: done.append(1) or compile(*arguments))
    return done


def cubes(x=X):
    """What a new process would get."""
    compiled._programs.clear()
    result, total = compiled.call(powers, x, exponent=3)
    np.testing.assert_array_equal(result, x**3)
    assert total == x.sum()
    assert result.dtype == np.float64


def test_a_second_process_neither_traces_nor_compiles_and_gets_the_same_bits(tmp_path):
    def process(seed):
        settings = {"SGDLIMIT_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SOLVE]
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return json.loads(done.stdout)

    settings = {"activation": "linear", "learning_rate": 0.1, "times": [0, 1, 2]}
    errors = [float(x).hex() for x in solve_spectrum(ONE_NODE, [1.0], [1.0], **settings).generalization_error]
    assert process(seed="1") == [1, errors]
    assert process(seed="2") == [0, errors]


def test_mixture_theory_compiles_nothing_in_a_second_process(folder, compilations, capsys):
    """Neither loops of numba, which keeps them beside their sources, nor programs of JAX."""
    exec(MIXTURE, {})
    assert "a program of JAX" in json.loads(capsys.readouterr().out)
    second = subprocess.run([sys.executable, "-c", MIXTURE], capture_output=True, text=True, check=True)
    assert json.loads(second.stdout) == []


@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "another's", "folder"])
def test_a_damaged_file_is_passed_over(folder, compilations, damage):
    cubes()
    cubes()
    assert len(compilations) == 1
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "one bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "another's":
        cubes(np.arange(4.0))
        (other,) = set(folder.iterdir()) - {path}
        other.replace(path)
    else:
        path.unlink()
        path.mkdir()
    before = len(compilations)
    cubes()
    assert len(compilations) == before + 1
    if damage != "folder":
        cubes()
        assert len(compilations) == before + 1  # the file is whole again


def test_a_program_that_loads_and_does_not_run_is_compiled(folder, compilations, monkeypatch):
    def broken(*leaves):
        raise jax.errors.JaxRuntimeError("NOT_FOUND: function not found")

    monkeypatch.setattr(compiled, "_load", lambda path, device: (broken, 0))
    cubes()
    assert len(compilations) == 1


def test_a_folder_that_cannot_be_made_is_done_without(folder, compilations, monkeypatch):
    folder.write_text("a file")
    cubes()
    monkeypatch.setenv("SGDLIMIT_CACHE_DIR", str(folder / "below a file"))
    cubes()
    assert len(compilations) == 2
    assert folder.read_text() == "a file"


def test_what_cannot_be_written_leaves_nothing_behind(folder, compilations, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(compiled.os, "replace", refuse)
    cubes()
    assert list(folder.iterdir()) == []


def test_the_folder_is_the_users_and_can_be_turned_off(tmp_path, compilations, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SGDLIMIT_CACHE_DIR", "")
    cubes()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("SGDLIMIT_CACHE_DIR")
    cubes()
    cubes()
    (path,) = (tmp_path / "sgdlimit").iterdir()
    if os.name == "posix":
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(compilations) == 2


def test_a_program_is_known_by_all_it_depends_on(folder, compilations, monkeypatch):
    cubes()
    cubes(np.arange(5.0))  # a shape
    compiled.call(powers, X, exponent=2)
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + " ")
    cubes()
    monkeypatch.setattr(compiled, "version", lambda package: "another")
    cubes()
    assert len(compilations) == len(list(folder.iterdir())) == 5
    monkeypatch.setattr(compiled, "_sources", lambda: "edited since they were imported")
    cubes()
    assert len(compilations) == 6
    assert len(list(folder.iterdir())) == 5


def test_programs_in_memory_are_bounded_by_their_bytes(folder, monkeypatch):
    monkeypatch.setattr(compiled, "IN_MEMORY", 0)
    cubes()
    assert len(compiled._programs) == 1  # the one that runs
    ((_, size),) = compiled._programs.values()
    assert size > (folder / next(folder.iterdir())).stat().st_size  # as it is before it is compressed
    monkeypatch.setattr(compiled, "IN_MEMORY", 2.5 * size)
    for exponent in range(4):
        compiled.call(powers, X, exponent=exponent)
    assert [dict(key[3])["exponent"] for key in compiled._programs] == [2, 3]


@pytest.mark.skipif(os.name != "posix", reason="there are no such modes and links")
@pytest.mark.parametrize("attack", ["owner", "open file", "open folder", "link", "second name", "link to the folder"])
def test_programs_that_others_can_write_are_not_loaded(folder, compilations, monkeypatch, attack):
    cubes()
    (path,) = folder.iterdir()
    aside = folder.parent / "aside"
    if attack == "owner":
        monkeypatch.setattr(compiled.os, "getuid", lambda: -1)
    elif attack == "open file":
        path.chmod(0o620)
    elif attack == "open folder":
        folder.chmod(0o770)
    elif attack == "link":
        path.rename(aside)
        path.symlink_to(aside)
    elif attack == "second name":
        os.link(path, aside)
    else:
        folder.rename(aside)
        folder.symlink_to(aside)
    cubes()
    assert len(compilations) == 2


def test_the_programs_not_used_for_longest_go_first(folder, monkeypatch):
    cubes()
    monkeypatch.setattr(compiled, "ON_DISK", 2.5 * next(folder.iterdir()).stat().st_size)
    next(folder.iterdir()).unlink()
    (folder / "mine").write_text("not a program")
    ages = {}
    for size in (1, 2):
        cubes(np.arange(float(size)))
        (ages[size],) = set(folder.glob("*.program")) - set(ages.values())
        os.utime(ages[size], (size, size))
    cubes(np.arange(1.0))  # used again
    cubes(np.arange(3.0))
    assert ages[1].exists()
    assert not ages[2].exists()
    assert (folder / "mine").exists()


def test_the_users_jax_is_left_alone(folder):
    """Its own cache, which cannot serve two masters, and the checks in the user's own solutions."""
    before = dict(jax.config.values)
    cubes()
    assert jax.config.values == before
    assert len(list(folder.iterdir())) == 1
    jax.config.update("jax_compilation_cache_dir", str(folder.parent / "jax"))
    try:
        cubes(np.arange(4.0))
    finally:
        jax.config.update("jax_compilation_cache_dir", before["jax_compilation_cache_dir"])
        reset_cache()
    assert len(list(folder.iterdir())) == 1

    solve_spectrum(ONE_NODE, [1.0], [1.0], activation="linear", learning_rate=0.1, times=[0, 1, 2])

    @jax.jit
    def of_the_user(times):
        decay, saveat = dfx.ODETerm(lambda t, y, args: -y), dfx.SaveAt(ts=times)
        return dfx.diffeqsolve(decay, dfx.Tsit5(), 0.0, 2.0, 0.1, jnp.ones(()), saveat=saveat).ys

    with pytest.raises(RuntimeError, match="increasing"):
        of_the_user(jnp.array([0.0, 2.0, 1.0])).block_until_ready()
