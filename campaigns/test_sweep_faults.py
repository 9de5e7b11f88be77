"""Sweeps whose process is killed, at calls of the system throughout and at random moments; damage; bad settings.

Not part of the suite, which has a short form of it; run it with ``make campaigns``. Each test prints what it counted.
"""

import collections
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from hypothesis import given, settings

import sgdlimit as sl
from faults import (
    DAMAGES,
    Forks,
    MadeUp,
    assert_same_bits,
    broken_syntax,
    check_one_sentence,
    chunk_key,
    files_of,
    fill,
    in_this_process,
    refused_or_right,
    small_plan,
    write_toml,
    wrong_values,
)  # fmt: skip
from sgdlimit.sweep import SweepStore, run_sweep
from sgdlimit.sweep._engine import Engine

KILLS, EVERY, TOML, DAMAGED = 50, 41, 1000, 150


@pytest.fixture(scope="module")
def forks():
    """The command line in processes to be killed."""
    made = Forks()
    yield made
    made.close()


def half_written(store):
    """Whether a task has chunks and no record, or a file is not yet under its name."""
    if any(store.rglob("*.partial")):
        return True
    plan = small_plan()
    return any(
        (store / chunk_key(plan, "Q", index)).exists() and not (store / "tasks" / f"{index}.json").exists()
        for index in range(len(plan))
    )


def test_killed_at_calls_throughout(tmp_path, forks):
    """A fresh store is killed at its n-th call, for every 41st n there is, and finished by another process."""
    expected, toml = fill(tmp_path / "whole.zarr"), write_toml(tmp_path / "s.toml")
    kills = inside = 0
    start = time.monotonic()
    for place in range(1, 100_000, EVERY):
        out = tmp_path / f"{place}.zarr"
        status, printed = forks.run("sweep", toml, "--out", out, kill_at=place)
        if status == 0:
            break
        assert status == -signal.SIGKILL, printed
        kills += 1
        inside += half_written(out)
        status, printed = forks.run("sweep", toml, "--out", out)
        assert status == 0, printed
        assert_same_bits(sl.open_sweep(out).load(), expected)
        shutil.rmtree(out)
    assert kills > 10
    print(
        f"\n{kills} kills at calls 1 to {place}, {inside} left something half-written; {time.monotonic() - start:.0f} s"
    )


def test_killed_at_random_moments_of_real_work(tmp_path, forks):
    """Processes that compute, killed one after the other until the sweep is done, and then the next sweep."""
    plan = small_plan(instances=12)
    with SweepStore(tmp_path / "whole.zarr", plan) as store:
        run_sweep(store, Engine())
    expected = sl.open_sweep(tmp_path / "whole.zarr").load()
    toml, rng = write_toml(tmp_path / "s.toml", instances=12), np.random.default_rng()
    kills = inside = sweeps = 0
    start = time.monotonic()
    while kills < KILLS:
        out, log, status = tmp_path / f"{sweeps}.zarr", tmp_path / f"{sweeps}.log.jsonl", -1
        while status != 0:
            begun = log.read_text().count('"begin"') if log.exists() else 0
            child = forks.start("sweep", toml, "--out", out, "--workers", 0, real=True)
            while not (log.exists() and log.read_text().count('"begin"') > begun):
                time.sleep(0.005)
                if not alive(child):
                    break
            if kills < KILLS:
                time.sleep(rng.uniform(0.2, 2.5))
                kill(child)
            status, printed = forks.wait()
            assert status in (0, -signal.SIGKILL), printed
            if status != 0:
                kills += 1
                inside += half_written(out)
                if any((out / "tasks").glob("*.json")):
                    found = sl.open_sweep(out).load()
                    done = found["completed"].values
                    assert found["v"].values[done].tobytes() == expected["v"].values[done].tobytes()
        assert_same_bits(sl.open_sweep(out).load(), expected)
        sweeps += 1
    print(f"\n{kills} kills in {sweeps} sweeps, {inside} inside a write; {time.monotonic() - start:.0f} s")


def alive(child):
    """Whether a process is there and has not ended."""
    try:
        with open(f"/proc/{child}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(child):
    """Kill a process, if it is there."""
    if alive(child):
        os.kill(child, signal.SIGKILL)


def test_damage_is_found_and_repaired(tmp_path):
    """One file after the other, cut short, with a flipped bit, or gone: no wrong number, and --repair mends it."""
    plan, rng = small_plan(), np.random.default_rng(0)
    expected = fill(tmp_path / "whole.zarr")
    shutil.copytree(tmp_path / "whole.zarr", tmp_path / "s.zarr")
    store, said, repaired = tmp_path / "s.zarr", collections.Counter(), 0
    start = time.monotonic()
    for number in range(DAMAGED):
        path = files_of(store)[rng.integers(len(files_of(store)))]
        content = path.read_bytes()
        how = list(DAMAGES)[number % len(DAMAGES)]
        DAMAGES[how](path, rng)
        refusal = refused_or_right(store, expected)
        kind = "no difference" if not refusal or refusal == "not completed" else "refused"
        said[how, kind] += 1
        key = str(path.relative_to(store))
        assert kind == "refused" or (how == "remove" and key.startswith("tasks/")), (how, key, refusal)
        assert kind != "refused" or key in refusal or "not a stored sweep" in refusal
        if number % 5 == 0:
            with SweepStore(store, plan, repair=True) as opened:
                opened.settle_damage()
                run_sweep(opened, MadeUp())
            assert refused_or_right(store, expected) == ""
            repaired += 1
        else:
            path.write_bytes(content)
    counted = ", ".join(f"{how} {kind}: {count}" for (how, kind), count in sorted(said.items()))
    print(f"\n{DAMAGED} damages, {counted}; {repaired} repaired; {time.monotonic() - start:.0f} s")


@pytest.mark.parametrize("kind", [wrong_values, broken_syntax])
def test_settings_that_are_none(tmp_path, kind):
    """A thousand files of each kind: status 2 and one sentence, or one of the few that are right after all."""
    counts, slowest, start = collections.Counter(), 0.0, time.monotonic()

    @settings(max_examples=TOML, deadline=None, database=None)
    @given(kind())
    def each(content):
        nonlocal slowest
        path = tmp_path / "s.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        began = time.monotonic()
        status, printed = in_this_process("sweep", path, "--out", tmp_path / "s.zarr", "--dry-run")
        slowest = max(slowest, time.monotonic() - began)
        counts[status] += 1
        if status != 0:
            check_one_sentence(status, printed)

    each()
    print(f"\n{kind.__name__}: {sum(counts.values())} files, {counts[2]} refused, {counts[0]} right;", end=" ")
    print(f"the slowest took {slowest:.2f} s, all {time.monotonic() - start:.0f} s")


def test_a_disk_that_fills_up_at_every_size(tmp_path, forks):
    """Small disks on which the sweep runs out of room somewhere; given room it goes on to the same bits."""
    expected, toml, disk = fill(tmp_path / "whole.zarr"), write_toml(tmp_path / "s.toml"), tmp_path / "disk"
    disk.mkdir()
    full = 0
    for size in range(40, 900, 40):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", disk]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("a small disk cannot be mounted here")
        try:
            status, printed = forks.run("sweep", toml, "--out", disk / "s.zarr")
            if status:
                full += 1
                assert "Traceback" not in printed
                assert "No space left on device" in printed or "are free" in printed
            subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
            assert forks.run("sweep", toml, "--out", disk / "s.zarr")[0] == 0
            assert_same_bits(sl.open_sweep(disk / "s.zarr").load(), expected)
        finally:
            subprocess.run(["umount", "-l", disk], check=False)
    assert full
    print(f"\n{full} disks were too small")
