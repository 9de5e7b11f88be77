"""The store of a sweep: damage is found, named and repaired, one process writes, and what is read stays data."""

import json
import os
import pickle
import shutil
import threading
import time
import zlib

import numpy as np
import pytest
import xarray as xr
import zarr
from numcodecs import get_codec

import sgdlimit as sl
from faults import DAMAGES, MadeUp, assert_same_bits, files_of, fill, made_up, refused_or_right, small_plan, write_toml
from sgdlimit._store import DamagedError, check_metadata
from sgdlimit.errors import SweepError
from sgdlimit.sweep import SweepStore, run_sweep
from sgdlimit.sweep import _lock as lock
from sgdlimit.sweep import _store as store_module
from sgdlimit.sweep._run import settle_damage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A complete store, to be copied, and what is in it."""
    path = tmp_path_factory.mktemp("store") / "whole.zarr"
    return path, fill(path)


@pytest.fixture
def store(whole, tmp_path):
    path = tmp_path / "with a space.zarr"
    shutil.copytree(whole[0], path)
    return path


def test_an_interrupted_sweep_shows_what_is_finished_and_goes_on(tmp_path, whole):
    path, plan = tmp_path / "s.zarr", small_plan()
    with SweepStore(path, plan) as store:
        for index in (4, 1):
            store.write(index, made_up(plan, index))
    found = sl.open_sweep(path).load()
    assert found.attrs["tasks_finished"] == 2
    completed = found["completed"].values
    assert completed.sum() == 2 + 1  # two conditions, and one in a chunk that is not full
    assert found["v"].values[completed].tobytes() == whole[1]["v"].values[completed].tobytes()
    assert np.isnan(found["v"].values[~completed]).all()
    with SweepStore(path, plan) as store:
        assert store.missing() == [0, 2, 3, 5]
        run_sweep(store, MadeUp())
    assert_same_bits(sl.open_sweep(path).load(), whole[1])


def test_a_chunk_without_a_record_is_not_read_and_is_written_over(store, whole):
    plan = small_plan()
    shutil.rmtree(store / "tasks" / "3")
    for name in plan.variables:
        (store / plan.chunk_key(name, 3)).write_bytes(b"half of a chunk")
    assert np.isnan(sl.open_sweep(store)["v"].values[1, 2]).all()
    with SweepStore(store, plan) as opened:
        assert opened.missing() == [3]
        run_sweep(opened, MadeUp())
    assert_same_bits(sl.open_sweep(store).load(), whole[1])


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_named_and_repaired(store, whole, how):
    """Of every kind of file one: never wrong numbers, an error with the name of the file, and --repair mends it."""
    plan, rng = small_plan(), np.random.default_rng(5)
    keys = ["v/zarr.json", "learning_rate/c/0", "time/zarr.json", "tasks/3/zarr.json", "zarr.json"]
    for key in [plan.chunk_key("Q", 2), plan.chunk_key("v", 3), *keys]:
        whole_file = (store / key).read_bytes()
        DAMAGES[how](store / key, rng)
        said = refused_or_right(store, whole[1])
        hidden = (how, key) == ("remove", "tasks/3/zarr.json")  # the task is missing, as one that never was
        assert said == "not completed" if hidden else key in said or "no sweep" in said
        if not hidden:
            with pytest.raises(sl.ProblemError) as caught, SweepStore(store, plan) as opened:
                settle_damage(opened, repair=False)
            assert key in str(caught.value) or "no sweep" in str(caught.value)
        if key != keys[-1]:
            (store / key).write_bytes(whole_file)
    for key in [plan.chunk_key("Q", 2), plan.chunk_key("v", 3), *keys[:-1]]:
        DAMAGES[how](store / key, rng)
    with SweepStore(store, plan, repair=True) as opened:
        settle_damage(opened, repair=True)
        run_sweep(opened, MadeUp())
    assert refused_or_right(store, whole[1]) == ""


def test_any_flipped_bit_is_found(store, whole):
    """In files chosen at random; the campaign takes more of them."""
    rng = np.random.default_rng(1)
    files = files_of(store)
    for path in rng.choice(np.array(files, dtype=object), 12, replace=False):
        content = path.read_bytes()
        DAMAGES["flip"](path, rng)
        assert refused_or_right(store, whole[1]), path
        path.write_bytes(content)


def test_a_chunk_of_another_task_is_not_what_was_written(store):
    plan = small_plan()
    shutil.copy(store / plan.chunk_key("v", 0), store / plan.chunk_key("v", 2))
    with SweepStore(store, plan) as opened:
        assert opened.damage() == {2: [f"{plan.chunk_key('v', 2)} is not what was written"]}


def test_repair_of_settings_needs_the_records_of_this_sweep(store):
    (store / "zarr.json").write_bytes(b"{")
    with pytest.raises(DamagedError, match=r"zarr\.json in .* is damaged"):
        SweepStore(store, small_plan(time=2.0), repair=True)
    with SweepStore(store, small_plan(), repair=True) as opened:
        assert len(opened.finished) == 6


def test_another_sweep_is_refused_with_the_differences(store):
    with pytest.raises(sl.ProblemError, match=r"run.time is 2.0 here and 1.0 there; run.count is 6 here and 5 there"):
        SweepStore(store, small_plan(time=2.0, count=6))
    with pytest.raises(sl.ProblemError, match="no sweep; nothing is overwritten"):
        SweepStore(store.parent, small_plan())
    (store.parent / "file").write_text("text")
    for read in (lambda path: SweepStore(path, small_plan()), sl.open_sweep):
        with pytest.raises(sl.ProblemError, match="no sweep"):
            read(store.parent / "file")


def test_records_of_tasks_that_there_are_not_are_no_tasks(store, whole):
    for name in ("6", "²", "00", "-1", "x", "9" * 200):
        shutil.copytree(store / "tasks" / "0", store / "tasks" / name)
    assert refused_or_right(store, whole[1]) == ""


def test_a_store_behind_a_symlink(store, whole):
    (store.parent / "link").symlink_to(store)
    with SweepStore(store.parent / "link", small_plan()) as opened:
        assert opened.missing() == []
        with pytest.raises(sl.ProblemError, match="another process"):
            SweepStore(store, small_plan())
    assert_same_bits(sl.open_sweep(store.parent / "link").load(), whole[1])
    for name, target in (("loop", "loop"), ("nowhere", "none/at/all")):
        (store.parent / name).symlink_to(target)
        with pytest.raises((sl.ProblemError, OSError)):
            SweepStore(store.parent / name, small_plan())


def test_two_writers_of_a_folder(tmp_path, whole):
    plan = small_plan()
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        with pytest.raises(
            sl.ProblemError, match=r"another process \(number \d+ on .*\) is writing to .*; wait for it"
        ):
            SweepStore(tmp_path / "s.zarr", plan)
        run_sweep(store, MadeUp())
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        assert store.missing() == []
    assert_same_bits(sl.open_sweep(tmp_path / "s.zarr").load(), whole[1])


def test_a_store_that_another_process_made_while_this_one_waited_is_kept(tmp_path, whole, monkeypatch):
    """Both find nothing there; the other one is done before this one has the lock."""
    plan, begin = small_plan(), lock.WriterLock.__init__

    def late(self, *arguments):
        monkeypatch.setattr(lock.WriterLock, "__init__", begin)
        fill(tmp_path / "s.zarr")
        begin(self, *arguments)

    monkeypatch.setattr(lock.WriterLock, "__init__", late)
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        assert store.missing() == []
        assert not store.damage()
    assert_same_bits(sl.open_sweep(tmp_path / "s.zarr").load(), whole[1])


def test_a_store_that_another_process_begins_while_this_one_looks_is_no_strange_folder(tmp_path, whole, monkeypatch):
    """There is no sweep when this one reads its settings, and one when it looks whether the folder is empty."""
    plan, read = small_plan(), store_module._read_attributes
    (tmp_path / "s.zarr").mkdir()

    def early(*arguments):
        found = read(*arguments)
        monkeypatch.setattr(store_module, "_read_attributes", read)
        fill(tmp_path / "s.zarr")
        return found

    monkeypatch.setattr(store_module, "_read_attributes", early)
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        assert store.missing() == []
    assert_same_bits(sl.open_sweep(tmp_path / "s.zarr").load(), whole[1])


def test_threads_that_begin_at_once(tmp_path, whole):
    plan, entered, refused = small_plan(), [], []
    together = threading.Barrier(4)

    def write():
        together.wait()
        try:
            with SweepStore(tmp_path / "s.zarr", plan) as store:
                entered.append(run_sweep(store, MadeUp(lambda index: time.sleep(0.05))))
        except sl.ProblemError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) >= 1
    assert not [text for text in refused if "is writing to" not in text]
    assert_same_bits(sl.open_sweep(tmp_path / "s.zarr").load(), whole[1])


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return f"memory://{tmp_path.name}/s.zarr" if request.param == "memory" else f"file://{tmp_path}/s.zarr"


def test_a_store_at_a_url(url, whole):
    plan = small_plan()
    with SweepStore(url, plan) as store:
        with pytest.raises(sl.ProblemError, match=r"another process .* try again after 90 seconds"):
            SweepStore(url, plan)
        store.write(2, made_up(plan, 2))
    with SweepStore(url, plan) as store:
        assert store.missing() == [0, 1, 3, 4, 5]
        run_sweep(store, MadeUp())
    assert_same_bits(sl.open_sweep(url).load(), whole[1])


def test_the_lease_of_a_dead_process_expires(url, monkeypatch):
    plan = small_plan()
    dead = SweepStore(url, plan)
    dead._lock._stop.set()  # it says no more, as if it had been killed
    monkeypatch.setattr(lock, "EXPIRED", 0.2)
    time.sleep(0.3)
    with SweepStore(url, plan) as store:
        store.write(0, made_up(plan, 0))
        # ... and if it was only asleep, it stops before it writes, and leaves the other's lease.
        with pytest.raises(SweepError, match="another process"):
            dead.write(1, made_up(plan, 1))
        dead.close()
        store.write(2, made_up(plan, 2))
    with SweepStore(url, plan) as store:
        assert store.finished == {0, 2}


def test_a_lease_is_renewed_and_its_theft_noticed(url, monkeypatch):
    monkeypatch.setattr(lock, "RENEWED", 0.05)
    with SweepStore(url, small_plan()) as store:
        first = store._read_lease()
        time.sleep(0.4)
        second = store._read_lease()
        assert first is not None
        assert second is not None
        assert second["seen"] > first["seen"]
        monkeypatch.setattr(lock, "RENEWED", 3600.0)  # or a renewal under way could win, and the thief find out
        time.sleep(0.4)
        store._write_lease({"pid": 1, "host": "elsewhere", "since": 0.0, "seen": time.time() + 60})
        with pytest.raises(SweepError, match="number 1 on elsewhere"):
            run_sweep(store, MadeUp())
        assert not store.finished


def test_a_lease_that_was_cut_is_nobodys(url):
    plan = small_plan()
    store = SweepStore(url, plan)
    store._lock._stop.set()
    from sgdlimit.sweep._store import _write

    _write(store._store, "writer/zarr.json", b'{"attributes"')
    with SweepStore(url, plan) as other:
        assert other.missing() == list(range(6))


@pytest.mark.parametrize("address", ["nonsense://a/b", "s4://bucket/x"])
def test_addresses_that_are_none(address):
    with pytest.raises(sl.ProblemError, match="cannot be opened"):
        SweepStore(address, small_plan())


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def group_of_one_array(path, **changes):
    """A store of format 2 with an array whose chunk is a pickle that does something."""
    path.mkdir()
    metadata = {
        "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "<f8", "fill_value": None, "order": "C",
        "compressor": None, "filters": [{"id": "pickle"}], **changes,
    }  # fmt: skip
    attributes = {"_ARRAY_DIMENSIONS": ["time"]}
    (path / "Q").mkdir()
    bomb = pickle.dumps(Bomb(path.parent / "touched"))
    documents = {".zgroup": {"zarr_format": 2}, ".zattrs": {}, "Q/.zarray": metadata, "Q/.zattrs": attributes}
    for name, document in documents.items():
        (path / name).write_text(json.dumps(document))
    (path / "Q" / "0").write_bytes(zlib.compress(bomb) if metadata["dtype"] == "|O" else bomb)
    return documents


@pytest.fixture
def unguarded(monkeypatch):
    """Without the guard that newer versions of numcodecs have of their own."""
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)


def test_the_codec_that_is_refused_runs_code(tmp_path, unguarded):
    """Else the tests below would show nothing."""
    group_of_one_array(tmp_path / "a.zarr")
    get_codec({"id": "pickle"}).decode((tmp_path / "a.zarr" / "Q" / "0").read_bytes())
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize("read", [sl.load, sl.open_sweep])
@pytest.mark.parametrize("place", ["array", "consolidated", "compressor", "objects"])
def test_a_store_that_would_run_code_is_not_opened(tmp_path, unguarded, read, place):
    changes = {
        "compressor": {"filters": None, "compressor": {"id": "pickle"}},
        "objects": {"dtype": "|O", "filters": None, "compressor": {"id": "zlib", "level": 1}},
    }.get(place, {})
    documents = group_of_one_array(tmp_path / "a.zarr", **changes)
    if place == "consolidated":
        (tmp_path / "a.zarr" / ".zmetadata").write_text(
            json.dumps({"zarr_consolidated_format": 1, "metadata": documents})
        )
        harmless = documents["Q/.zarray"] | {"filters": None, "dtype": "<f8"}
        (tmp_path / "a.zarr" / "Q" / ".zarray").write_text(json.dumps(harmless))
    with pytest.raises(sl.ProblemError):
        read(tmp_path / "a.zarr")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("read", [sl.load, sl.open_sweep])
def test_a_sweep_that_was_tampered_with_runs_no_code(store, read):
    """Also where the one who did it wrote fitting checksums: the codecs are refused, not only the seal."""
    path = store / "v" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["codecs"][-1] = {"name": "numcodecs.pickle", "id": "zlib", "configuration": {"id": "pickle"}}
    path.write_text(json.dumps(metadata))
    from sgdlimit.sweep._store import LAYOUT, SEAL, _checksum, _group

    root = json.loads((store / "zarr.json").read_text())["attributes"]
    root[LAYOUT]["v/zarr.json"] = _checksum(path.read_bytes())
    root.pop(SEAL)
    (store / "zarr.json").write_text(json.dumps(_group(root)))
    with pytest.raises(sl.ProblemError, match=r"asks for the codec 'numcodecs\.pickle'"):
        read(store)


@pytest.mark.parametrize(
    "document",
    [
        {"filters": [{"id": "pickle"}]},
        {"codecs": [{"name": "numcodecs.pickle", "id": "zlib"}]},
        {"codecs": [{"id": "zlib", "name": "my_plugin"}]},
        {"codecs": ["numcodecs.pickle"]},
        {"codecs": [{"configuration": {}}]},
        {"codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "pickle"}]}}]},
        {"codecs": [{"name": "sharding_indexed", "configuration": {"index_codecs": [{"name": "json2"}]}}]},
        {"consolidated_metadata": {"metadata": {"attributes": {"codecs": [{"name": "pickle"}]}}}},
        {"metadata": {"a.zattrs": {"compressor": {"id": "msgpack2"}}}},
        {"metadata": {"a/.zarray": {"compressor": {"id": ["zlib"]}}}},
    ],
)
def test_codecs_are_found_wherever_they_stand(document):
    with pytest.raises(sl.ProblemError, match="asks for the codec"):
        check_metadata(json.dumps(document).encode(), "here")


@pytest.mark.parametrize("document", [b"", b"{", b"\xff", b"[" * 100_000])
def test_metadata_that_are_none(document):
    with pytest.raises(DamagedError, match="here"):
        check_metadata(document, "here")


@pytest.mark.parametrize("settings", ["[]", "1", "{}", '"x"', "[" * 50_000, '{"problem": 1}', "null", "x"])
def test_settings_in_a_store_that_are_none(store, settings):
    from sgdlimit.sweep._store import MARK, SEAL, _group

    root = json.loads((store / "zarr.json").read_text())["attributes"]
    root.pop(SEAL)
    (store / "zarr.json").write_text(json.dumps(_group(root | {MARK: settings})))
    for read in (sl.open_sweep, lambda path: SweepStore(path, small_plan())):
        with pytest.raises(sl.ProblemError):
            read(store)


def test_a_trajectory_saved_before_is_still_read(tmp_path):
    dataset = xr.Dataset({"Q": ("time", [1.0, np.nan])}, {"time": [0.0, 1.0]}, {"note": "a"})
    sl.save(dataset.assign(label=("time", ["a", "bc"])), tmp_path / "a b.zarr")
    found = sl.load(tmp_path / "a b.zarr")
    assert found["label"].values.tolist() == ["a", "bc"]
    assert found[["Q"]].identical(dataset)
    (tmp_path / "a b.zarr" / "Q" / "0").write_bytes(b"not zstd")
    with pytest.raises(sl.ProblemError, match="is not a stored trajectory"):
        sl.load(tmp_path / "a b.zarr")


def test_what_reads_a_store_without_sgdlimit(store, whole):
    """The store is plain zarr: other programs read the same numbers."""
    group = zarr.open_group(store, mode="r")
    assert np.asarray(group["kl"]).tobytes() == whole[1]["kl"].values.tobytes()


@pytest.mark.parametrize("flag", ["--verify", "--repair"])
def test_verify_and_repair_from_the_command_line(command, store, whole, flag, monkeypatch):
    from sgdlimit.sweep import _command as commands
    from sgdlimit.sweep._cost import Cost

    monkeypatch.setattr(commands, "cost", lambda plan, missing: Cost(len(missing), 0, 0, 0.0, 0, 0))
    monkeypatch.setattr(commands.Where, "engine", lambda self, found, part: MadeUp())
    toml, chunk = write_toml(store.parent / "s.toml"), small_plan().chunk_key("v", 2)
    DAMAGES["flip"](store / chunk, np.random.default_rng(0))
    done = command("sweep", toml, "--out", store, flag)
    if flag == "--verify":
        assert done.returncode == 2
        assert f"task 2 (instance 1, learning_rate = 0.1 or 0.2): {chunk} is damaged; --repair" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert refused_or_right(store, whole[1]) == ""
