"""Sweeps whose process is killed, whose disk fills up or is taken away, that are interrupted, and that fail."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import sgdlimit as sl
from faults import RUN, TRAJECTORY, Forks, MadeUp, assert_same_bits, fill, made_up, small_plan, sweep_of, write_toml
from sgdlimit.errors import AccuracyWarning, SweepError
from sgdlimit.sweep import Plan, SweepStore, _command as commands, _engine as engine, _store as store_module, run_sweep
from sgdlimit.sweep._cost import Cost
from sgdlimit.sweep._engine import Engine, Outcome, Stop

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes as Unix does")


@pytest.fixture(scope="module")
def forks():
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("whole") / "s.zarr")


@pytest.fixture
def toml(tmp_path):
    return write_toml(tmp_path / "s.toml")


@pytest.mark.parametrize("places", [(2, 11), (150, 40), (260,), (390, 200)])
def test_killed_in_the_middle_of_a_write(tmp_path, toml, forks, expected, places):
    """At given calls of the system, again and again; then it goes on to the same bits. The campaign takes all calls."""
    out = tmp_path / "s.zarr"
    for place in places:
        assert forks.run("sweep", toml, "--out", out, kill_at=place)[0] == -signal.SIGKILL
        if (out / "tasks" / "0.json").exists():
            found = sl.open_sweep(out).load()
            done = found["completed"].values
            assert found["v"].values[done].tobytes() == expected["v"].values[done].tobytes()
            assert np.isnan(found["v"].values[~done]).all()
    status, printed = forks.run("sweep", toml, "--out", out)
    assert status == 0, printed
    assert_same_bits(sl.open_sweep(out).load(), expected)
    assert not list(out.rglob("*.partial"))


def test_a_process_killed_while_it_saves_leaves_all_or_nothing(tmp_path, forks):
    """At calls of the system throughout."""
    path, kills = tmp_path / "a.zarr", 0
    for place in range(1, 200, 8):
        status, printed = forks.run("save", path, kill_at=place)
        if path.exists():
            assert sl.load(path).identical(TRAJECTORY)
            shutil.rmtree(path)
        if status == 0:
            break
        assert status == -signal.SIGKILL, printed
        kills += 1
    assert kills > 3


def test_killed_at_a_random_moment_of_real_work(tmp_path, toml):
    """A process of its own that computes: after it is dead another one goes on, to the bits of one that was not."""
    out, log = tmp_path / "s.zarr", tmp_path / "s.log.jsonl"
    line = [sys.executable, "-m", "sgdlimit", "sweep", str(toml), "--out", str(out), "--workers", "0"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (log.exists() and '"task"' in log.read_text()):
        time.sleep(0.01)
    time.sleep(np.random.default_rng().uniform(0, 0.3))
    process.kill()
    process.wait()
    plan = small_plan()
    before = sl.open_sweep(out).attrs["tasks_finished"]
    assert before >= 1
    with SweepStore(out, plan) as store:
        assert len(store.finished) == before
        assert run_sweep(store, Engine()).computed == len(plan) - before
        assert not store.damage()
    with SweepStore(tmp_path / "whole.zarr", plan) as store:
        run_sweep(store, Engine())
    assert_same_bits(sl.open_sweep(out).load(), sl.open_sweep(tmp_path / "whole.zarr").load())


@pytest.fixture
def shared():
    """A folder on which disks are mounted, or from which permissions are taken."""
    folder = Path(tempfile.mkdtemp(prefix="sgdlimit-"))
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=False)
    subprocess.run(["umount", "-l", folder / "disk"], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_disk_that_fills_up(shared, forks, expected):
    disk, toml = shared / "disk", write_toml(shared / "s.toml")
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    fill_up = f"dd if=/dev/zero of={disk}/rest bs=4k 2>/dev/null || true"
    status, printed = forks.run("sweep", toml, "--out", disk / "s.zarr", after={"3": fill_up})
    assert status == 1
    assert f"sgdlimit: {disk / 's.zarr'}" in printed  # where it is full
    assert "No space left on device" in printed
    assert "Traceback" not in printed
    assert sl.open_sweep(disk / "s.zarr").attrs["tasks_finished"] == 3
    status, printed = forks.run("sweep", toml, "--out", disk / "s.zarr")  # still full
    assert status in (1, 2)
    assert "Traceback" not in printed
    (disk / "rest").unlink()
    status, printed = forks.run("sweep", toml, "--out", disk / "s.zarr")
    assert status == 0, printed
    assert_same_bits(sl.open_sweep(disk / "s.zarr").load(), expected)


def moved_away(path):
    path.rename(path.with_name("moved.zarr"))


def replaced(path):
    moved_away(path)
    path.mkdir()


def filled_anew(path):
    moved_away(path)
    fill(path)


@pytest.mark.parametrize("happens", [moved_away, replaced, filled_anew])
@pytest.mark.parametrize("late", [False, True])
def test_a_folder_that_is_moved_ends_the_sweep_and_keeps_what_it_has(tmp_path, expected, happens, late, monkeypatch):
    """Before the fourth task is written, or while it is."""
    path, moved, put = tmp_path / "s.zarr", tmp_path / "moved.zarr", store_module.put

    def put_late(*arguments):
        if arguments[2] == "tasks/3.json":
            happens(path)
        put(*arguments)

    if late:
        monkeypatch.setattr(store_module, "put", put_late)
    words = "s.zarr' was moved or removed while the sweep wrote to it, with 3 of 6 tasks in it. Move it back"
    act = MadeUp(lambda index: happens(path) if index == 3 and not late else None)
    with pytest.raises(SweepError, match=words), SweepStore(path, small_plan()) as store:
        run_sweep(store, act)
    monkeypatch.undo()
    assert path.exists() == (late or happens is not moved_away)
    assert sl.open_sweep(moved).attrs["tasks_finished"] == 3
    shutil.rmtree(path, ignore_errors=True)
    moved.rename(path)
    with SweepStore(path, small_plan()) as store:
        assert run_sweep(store, MadeUp()).computed == 3
    assert_same_bits(sl.open_sweep(path).load(), expected)


def test_a_disk_on_which_it_would_not_fit(command, tmp_path, toml, monkeypatch):
    from sgdlimit.sweep import _cost as cost

    monkeypatch.setattr(cost.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 100))
    done = command("sweep", toml, "--out", tmp_path / "s.zarr")
    assert done.returncode == 2
    assert "must have room for 3.10 kiB more (got 100 B at" in done.stderr
    assert not (tmp_path / "s.zarr").exists()


def test_a_folder_that_may_not_be_written_any_more(shared, forks, expected):
    """Permission is taken away after three tasks, and comes back."""
    out, toml = shared / "s.zarr", write_toml(shared / "s.toml")
    take = f"find {out} -type d -exec chmod a-w {{}} +"
    status, printed = forks.run("sweep", toml, "--out", out, bound=True, after={"3": take})
    assert status == 1
    assert "Permission denied" in printed
    assert "Traceback" not in printed
    assert sl.open_sweep(out).attrs["tasks_finished"] == 3
    status, printed = forks.run("sweep", toml, "--out", out, bound=True)
    assert status == 1
    assert "Permission denied" in printed
    subprocess.run(["chmod", "-R", "u+w", out], check=True)
    assert forks.run("sweep", toml, "--out", out, bound=True)[0] == 0
    assert_same_bits(sl.open_sweep(out).load(), expected)


def test_paths_that_may_not_be_used(shared, forks):
    """A parent one may not write in, a store one may not read, a log one may not write: one sentence each."""
    toml = write_toml(shared / "s.toml")
    (shared / "parent").mkdir(mode=0o555)
    fill(shared / "secret.zarr")
    (shared / "secret.zarr").chmod(0o000)
    for out, log, status, words in (
        ("parent/s.zarr", "log", 2, "parent/s.zarr': Permission denied). Name another"),
        ("secret.zarr", "log", 1, "Permission denied"),
        ("s.toml/s.zarr", "log", 2, "store: must be a place to write to (got"),
        ("s.zarr", "parent/log", 2, "--log: "),
        ("s.zarr", "none/log", 2, "none/log': No such file or directory). Name another"),
        ("s.zarr", "parent", 2, "--log: must be a file to write to (got"),
    ):
        found = forks.run("sweep", toml, "--out", shared / out, "--log", shared / log, bound=True)
        assert found[0] == status, found
        assert words in found[1], found
        assert "Traceback" not in found[1]
        assert found[1].count("sgdlimit: ") == 1
    assert not (shared / "s.zarr").exists()


def test_two_processes_on_one_store(tmp_path, toml, forks, expected):
    """The second is refused with the number of the first, which is not disturbed."""
    out = tmp_path / "s.zarr"
    number = forks.start("sweep", toml, "--out", out, slow=0.4)
    while not (out / "tasks" / "0.json").exists():
        time.sleep(0.01)
    with pytest.raises(sl.ProblemError, match=rf"number {number} on .*Wait for it"), SweepStore(out, small_plan()):
        pass
    assert forks.wait()[0] == 0
    assert_same_bits(sl.open_sweep(out).load(), expected)


def test_two_processes_without_a_lock_write_the_same(tmp_path, toml, forks, expected):
    """As on a disk that has no locks: each begins with an empty folder, and computes what the other one does."""
    out, other = tmp_path / "s.zarr", Forks()
    for process in (forks, other):
        process.start("sweep", toml, "--out", out, "--log", tmp_path / "log", slow=0.02, locked=False)
    for process in (forks, other):
        status, printed = process.wait()
        assert status == 0, printed
    other.close()
    with SweepStore(out, small_plan()) as store:
        assert not store.damage()
    assert_same_bits(sl.open_sweep(out).load(), expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_task_and_says_how_to_go_on(tmp_path, toml, forks, expected, number):
    out = tmp_path / "a store.zarr"
    child = forks.start("sweep", toml, "--out", out, slow=0.5)
    while not (out / "tasks" / "0.json").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(child, number)
    status, printed = forks.wait()
    assert status == 130, printed
    assert f"Interrupted. To go on: sgdlimit sweep {toml} --out '{out}'" in printed
    finished = sl.open_sweep(out).attrs["tasks_finished"]
    assert finished == (2 if number == signal.SIGINT else 1)  # a batch system gives no time to finish
    assert forks.run("sweep", toml, "--out", out)[0] == 0
    assert_same_bits(sl.open_sweep(out).load(), expected)


@pytest.fixture
def handler():
    """Python's own of Ctrl-C; processes in the background may begin without one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_twice_drops_the_task(tmp_path, handler):
    """And once more raises KeyboardInterrupt wherever it is."""
    plan, stop, begun = small_plan(time=1000.0), Stop(), []

    def press(done):
        if 0 < done < 1 and (not begun or (stop.requested and len(begun) < 2)):  # two signals at once are one
            begun.append(done)
            os.kill(os.getpid(), signal.SIGINT)

    with SweepStore(tmp_path / "s.zarr", plan) as store:
        summary = run_sweep(store, Engine(progress=press), stop=stop)
        assert len(begun) == 2
        assert summary.interrupted
        assert summary.finished == 0
    assert signal.getsignal(signal.SIGINT) is handler
    with SweepStore(tmp_path / "s.zarr", plan) as store, pytest.raises(KeyboardInterrupt):
        run_sweep(store, MadeUp(lambda index: [signal.raise_signal(signal.SIGINT) for _ in range(3)]))
    assert signal.getsignal(signal.SIGINT) is handler


class Failing(MadeUp):
    """Some tasks end with an error, some diverge."""

    def outcomes(self, plan, indices, stop):
        for index in indices:
            if index in (1, 3, 4):
                yield Outcome(index, None, 0.0, {}, f"ValueError: of task {index}")
                continue
            arrays = made_up(plan, index)
            if index == 2:
                arrays["diverged_at"][:] = 0.5
                arrays["v"][:] = np.nan
            yield Outcome(index, arrays, 0.0, {})


def test_what_diverges_is_recorded_and_errors_stop_after_some(tmp_path):
    plan = small_plan()
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        with pytest.raises(SweepError, match=r"2 of 4 tasks ended with an error, the last at instance 1, .*of task 3"):
            run_sweep(store, Failing(), max_failures=2)
        summary = run_sweep(store, Failing(), max_failures=4)
    assert len(summary.failures) == 3
    assert "instance 0, learning_rate = 0.3: ValueError: of task 1" in summary.failures
    found = sl.open_sweep(tmp_path / "s.zarr", records=True).load()
    assert found.attrs["tasks_finished"] == 3
    assert (found["diverged_at"].values[1, :2] == 0.5).all()
    assert [record["diverged"] for record in found.attrs["records"]] == [0, 2, 0]
    with SweepStore(tmp_path / "s.zarr", plan) as store:  # errors are tried again
        run_sweep(store, MadeUp())
        assert not store.missing()


def test_sgd_that_diverges_does_not_stop_a_sweep(tmp_path):
    plan = Plan(sweep_of(grid={"learning_rate": [0.1, 1e6]}, run=RUN | {"instances": 1}))
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        summary = run_sweep(store, Engine())
    assert summary.complete
    assert summary.diverged == 1
    found = sl.open_sweep(tmp_path / "s.zarr")["diverged_at"].values
    assert np.isnan(found[0, 0])
    assert found[0, 1] <= 1.0


def test_what_is_known_of_the_accuracy_is_recorded_and_told_once(tmp_path, monkeypatch, command, toml):
    def compute(plan, index, **options):
        warnings.warn("not a matter of theory", UserWarning, stacklevel=1)
        for _ in range(2 * (index in (1, 2))):
            warnings.warn("generalization_error: it is too small, and NaN.", AccuracyWarning, stacklevel=1)
        return made_up(plan, index)

    monkeypatch.setattr(engine, "compute", compute)
    monkeypatch.setattr(commands, "cost", lambda plan, missing: Cost(len(missing), 0, 0, 0.0, 0, 0))
    told = (
        "Theory is not accurate in 2 of 6 tasks, first in instance 0, learning_rate = 0.3: generalization_error: it is"
    )
    with pytest.warns(UserWarning, match="not a matter"):
        done = command("sweep", toml, "--out", "s.zarr")
    assert told in done.stdout
    found = sl.open_sweep("s.zarr", records=True)
    assert [len(record.get("notes", ())) for record in found.attrs["records"]] == [0, 1, 1, 0, 0, 0]
    with pytest.warns(UserWarning, match="not a matter"), pytest.warns(AccuracyWarning, match=told):
        sl.compute_sweep(small_plan().sweep, tmp_path / "again.zarr")


def test_a_log_that_is_lost_does_not_stop_a_sweep(tmp_path):
    log = tmp_path / "none" / "log"
    with SweepStore(tmp_path / "s.zarr", small_plan()) as store:
        assert run_sweep(store, MadeUp(), log=log).complete
