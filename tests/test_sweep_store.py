"""The store of a sweep: damage is found, named and repaired, one process writes, and what is read stays data."""

import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
import zarr
from numcodecs import Zstd, get_codec
from zarr.abc.store import RangeByteRequest
from zarr.core.sync import sync

import sgdlimit as sl
from faults import (
    DAMAGES,
    TRAJECTORY,
    MadeUp,
    assert_same_bits,
    chunk_key,
    files_of,
    fill,
    made_up,
    refused_or_right,
    small_plan,
    write_toml,
)
from sgdlimit._store import PROTOTYPE, ZSTD, DamagedError, _sealed, check_metadata, declared_bytes, digest
from sgdlimit.sweep import SweepStore, _store as store_module, run_sweep
from sgdlimit.sweep._open import Tasks


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
    (store / "tasks" / "3.json").unlink()
    for name in map(str, plan.template):
        (store / chunk_key(plan, name, 3)).write_bytes(b"half of a chunk")
    assert np.isnan(sl.open_sweep(store)["v"].values[1, 2]).all()
    with SweepStore(store, plan) as opened:
        assert opened.missing() == [3]
        run_sweep(opened, MadeUp())
    assert_same_bits(sl.open_sweep(store).load(), whole[1])


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_named_and_repaired(store, whole, how):
    """Of every kind of file one: never wrong numbers, an error with the name of the file, and --repair mends it."""
    plan, rng = small_plan(), np.random.default_rng(5)
    keys = ["v/zarr.json", "learning_rate/c/0", "time/zarr.json", "zarr.json", "tasks/3.json", "record.json"]
    for key in [chunk_key(plan, "Q", 2), chunk_key(plan, "v", 3), *keys]:
        whole_file = (store / key).read_bytes()
        DAMAGES[how](store / key, rng)
        said = refused_or_right(store, whole[1])
        hidden = (how, key) == ("remove", "tasks/3.json")  # the task is missing, as one that never was
        assert said == "not completed" if hidden else key in said or "must be a stored sweep" in said
        if not hidden:
            with pytest.raises(sl.ProblemError) as caught, SweepStore(store, plan) as opened:
                opened.settle_damage()
            assert key in str(caught.value) or "no sweep" in str(caught.value)
        if key != keys[-1]:
            (store / key).write_bytes(whole_file)
    for key in [chunk_key(plan, "Q", 2), chunk_key(plan, "v", 3), *keys[:-1]]:
        DAMAGES[how](store / key, rng)
    with SweepStore(store, plan, repair=True) as opened:
        opened.settle_damage()
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


def test_a_chunk_or_record_of_another_task_is_refused(store):
    """Both are whole, so that nothing in them alone shows that they belong elsewhere."""
    plan = small_plan()
    chunk = chunk_key(plan, "v", 2)
    shutil.copy(store / chunk_key(plan, "v", 0), store / chunk)
    with SweepStore(store, plan) as opened:
        assert opened.damage() == {2: [f"{chunk} is damaged"]}
    opened = sl.open_sweep(store)
    with pytest.raises(DamagedError, match=rf"{chunk} in .* of task 2 \(instance 1, .*\) is damaged\. .* --repair"):
        opened["v"].load()
    assert opened["kl"].notnull().all()
    shutil.copy(store / "tasks" / "0.json", store / "tasks" / "4.json")
    with SweepStore(store, plan) as opened:
        assert opened.damage()[4] == ["tasks/4.json is damaged"]
    with pytest.raises(DamagedError, match=r"tasks/4\.json in .* is damaged"):
        sl.open_sweep(store)["kl"].load()


def test_no_chunk_counts_in_the_place_of_another(store):
    """Every exchange within an array that changes a byte, and one with another array for each chunk."""
    plan, exchanges = small_plan(), []
    keys = [[chunk_key(plan, str(name), index) for index in range(len(plan))] for name in plan.template]
    for ours, others in zip(keys, keys[1:] + keys[:1], strict=True):
        exchanges += [*itertools.permutations(ours, 2), *zip(ours, others, strict=True)]
    refused, tasks = 0, Tasks(store, plan)
    for here, there in exchanges:
        if not (store / there).exists():  # it is all NaN
            continue
        if not (store / here).exists():
            shutil.copy(store / there, store / here)
            assert sync(tasks.get(here, PROTOTYPE)) is None
            (store / here).unlink()
        elif (content := (store / here).read_bytes()) != (store / there).read_bytes():
            shutil.copy(store / there, store / here)
            with pytest.raises(DamagedError, match=re.escape(here)):
                sync(tasks.get(here, PROTOTYPE))
            (store / here).write_bytes(content)
            refused += 1
    assert refused > 300


def test_repair_of_settings_needs_the_records_of_this_sweep(store):
    (store / "record.json").write_bytes(b"{")
    for plan, repair in ((small_plan(time=2.0), True), (small_plan(), False)):
        with pytest.raises(DamagedError, match=r"record\.json in .* is damaged"):
            SweepStore(store, plan, repair=repair)
    with SweepStore(store, small_plan(), repair=True) as opened:
        assert len(opened.finished) == 6


def test_a_part_of_a_chunk_is_refused(store):
    plan = small_plan()
    tasks = Tasks(str(store), plan)
    with pytest.raises(sl.ProblemError, match="must be read as a whole, to be checked"):
        sync(tasks.get(chunk_key(plan, "v", 0), PROTOTYPE, RangeByteRequest(0, 4)))


def test_another_sweep_is_refused_with_the_differences(store):
    with pytest.raises(sl.ProblemError, match=r"run.time is 2.0 here and 1.0 there; run.count is 6 here and 5 there"):
        SweepStore(store, small_plan(time=2.0, count=6))
    with pytest.raises(sl.ProblemError, match="no sweep; nothing is overwritten"):
        SweepStore(store.parent, small_plan())
    (store.parent / "file").write_text("text")
    for read in (lambda path: SweepStore(path, small_plan()), sl.open_sweep):
        with pytest.raises(sl.ProblemError, match=r"no sweep|must be a stored sweep"):
            read(store.parent / "file")


def test_records_of_tasks_that_there_are_not_are_no_tasks(store, whole):
    for name in ("6", "²", "00", "-1", "x", "9" * 200):
        shutil.copy(store / "tasks" / "0.json", store / "tasks" / f"{name}.json")
    assert refused_or_right(store, whole[1]) == ""


def test_a_store_behind_a_symlink(store, whole):
    (store.parent / "link").symlink_to(store)
    with SweepStore(store.parent / "link", small_plan()) as opened:
        assert opened.missing() == []
        with pytest.raises(sl.ProblemError, match="must have one writer"), SweepStore(store, small_plan()):
            pass
    assert_same_bits(sl.open_sweep(store.parent / "link").load(), whole[1])
    for name, target in (("loop", "loop"), ("nowhere", "none/at/all")):
        (store.parent / name).symlink_to(target)
        with pytest.raises((sl.ProblemError, OSError)), SweepStore(store.parent / name, small_plan()):
            pass


def test_two_writers_of_a_folder(tmp_path, whole):
    plan = small_plan()
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        words = rf"another process \(number {os.getpid()} on .*\) at .*\)\. Wait for it"
        with pytest.raises(sl.ProblemError, match=words), SweepStore(tmp_path / "s.zarr", plan):
            pass
        run_sweep(store, MadeUp())
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        assert store.missing() == []
    assert_same_bits(sl.open_sweep(tmp_path / "s.zarr").load(), whole[1])


def test_a_store_that_another_process_made_while_this_one_waited_is_kept(tmp_path, whole):
    """Both find nothing there; the other one is done before this one has the lock."""
    late = SweepStore(tmp_path / "s.zarr", small_plan())
    assert len(late.missing()) == 6
    fill(tmp_path / "s.zarr")
    with late as store:
        assert store.missing() == []
        assert not store.damage()
    assert_same_bits(sl.open_sweep(tmp_path / "s.zarr").load(), whole[1])


def test_a_store_that_another_process_begins_while_this_one_looks_is_no_strange_folder(tmp_path, whole, monkeypatch):
    """The folder is empty when this one looks, and holds a sweep when it reads the settings."""
    plan, is_free = small_plan(), store_module._is_free
    (tmp_path / "s.zarr").mkdir()

    def late(store):
        free = is_free(store)
        monkeypatch.setattr(store_module, "_is_free", is_free)
        fill(tmp_path / "s.zarr")
        return free

    monkeypatch.setattr(store_module, "_is_free", late)
    with SweepStore(tmp_path / "s.zarr", plan) as store:
        assert store.missing() == []
    assert_same_bits(sl.open_sweep(tmp_path / "s.zarr").load(), whole[1])


def test_a_task_that_another_process_has_finished_is_left_as_it_is(store, whole):
    """Both compute it where there is no lock; the first record stays."""
    plan, url = small_plan(), f"file://{store}"
    (store / "tasks" / "3.json").unlink()
    with SweepStore(url, plan) as one, SweepStore(url, plan) as other:
        assert one.missing() == other.missing() == [3]
        one.write(3, made_up(plan, 3), by="one")
        other.write(3, made_up(plan, 3), by="other")
        assert other.missing() == []
    found = sl.open_sweep(store, records=True).load()
    assert [record.get("by") for record in found.attrs["records"]] == [None, None, None, "one", None, None]
    assert_same_bits(found, whole[1])


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
    assert not [text for text in refused if "must have one writer" not in text]
    assert_same_bits(sl.open_sweep(tmp_path / "s.zarr").load(), whole[1])


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return f"memory://{tmp_path.name}/s.zarr" if request.param == "memory" else f"file://{tmp_path}/s.zarr"


def test_a_store_at_a_url(url, whole):
    plan = small_plan()
    with SweepStore(url, plan) as store:
        store.write(2, made_up(plan, 2))
    with SweepStore(url, plan) as store:
        assert store.missing() == [0, 1, 3, 4, 5]
        run_sweep(store, MadeUp())
    assert_same_bits(sl.open_sweep(url).load(), whole[1])


def test_two_writers_at_a_url_do_no_harm(url, whole):
    """Turn by turn: each task is computed twice, and found once."""
    plan = small_plan()
    with SweepStore(url, plan) as one, SweepStore(url, plan) as other:
        for index in range(len(plan)):
            for store in (one, other):
                store.write(index, made_up(plan, index))
        assert not one.damage()
    assert_same_bits(sl.open_sweep(url).load(), whole[1])


@pytest.mark.parametrize("address", ["nonsense://a/b", "s4://bucket/x"])
def test_addresses_that_are_none(address):
    with pytest.raises(sl.ProblemError, match="cannot be opened"):
        SweepStore(address, small_plan())


def seal(path, **changes):
    """Change the record of a store, and compute its own digest anew."""
    record = json.loads((path / "record.json").read_text())["record"] | changes
    (path / "record.json").write_bytes(_sealed(record, "record.json"))


def digests_of(path):
    return json.loads((path / "record.json").read_text())["record"]["digests"]


def sign(path):
    """A record that fits whatever is there."""
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "record.json"]
    digests = {str(file.relative_to(path)): digest(file.read_bytes()) for file in files}
    (path / "record.json").write_bytes(_sealed({"digests": digests}, "record.json"))


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
    sign(path)
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
        sign(tmp_path / "a.zarr")
    with pytest.raises(sl.ProblemError):
        read(tmp_path / "a.zarr")
    assert not (tmp_path / "touched").exists()


def forge(path, key, **changes):
    """Change metadata of a store, and whatever shows it."""
    for document in (key, *((".zmetadata",) if key.endswith(".zarray") else ())):
        metadata = json.loads((path / document).read_text())
        (metadata["metadata"][key] if document == ".zmetadata" else metadata).update(changes)
        (path / document).write_text(json.dumps(metadata))
        seal(path, digests=digests_of(path) | {document: digest((path / document).read_bytes())})


@pytest.fixture
def both(store, trajectory):
    """A sweep and a saved trajectory: the store, its metadata of an array, and how it is read."""
    return (store, "v/zarr.json", sl.open_sweep), (trajectory, "R/.zarray", sl.load)


def test_a_store_that_was_tampered_with_runs_no_code(both):
    """Also where the one who did it wrote fitting digests: the codecs are refused, not only the damage."""
    (sweep, its_array, open_sweep), (trajectory, array, load) = both
    for codec in ("numcodecs.pickle", "blosc"):  # which reads beyond a chunk that is cut short
        forge(sweep, its_array, codecs=[{"name": codec, "configuration": {"id": "pickle"}}])
        forge(trajectory, array, filters=[{"id": codec}])
        for read, path in ((open_sweep, sweep), (load, trajectory)):
            with pytest.raises(sl.ProblemError, match=f"asks for the codec '{codec}'"):
                read(path)


def grid(*shape):
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}}}


@pytest.mark.parametrize(
    ("of_sweep", "of_trajectory"),
    [
        (grid(0, 0, 0, 0, 0), {"chunks": [0]}),
        (grid(*[10**12] * 5), {"chunks": [10**12]}),
        ({"shape": [3, 3, 3, 3, 3]}, {"shape": [10**12]}),
        ({"shape": []}, {"shape": [10**400]}),
        ({"data_type": "string"}, {"dtype": "|O"}),
        ({"fill_value": "x"}, {"fill_value": "x"}),
        ({"codecs": []}, {"compressor": None}),
        ({"node_type": "group"}, {"zarr_format": 3}),
        ({"dimension_names": ["a"] * 5}, {"dtype": [["a", "<f8"]]}),
        ({"attributes": {"_FillValue": "AAAA"}}, {"chunks": [1]}),
    ],
)
def test_forged_metadata_are_refused(both, of_sweep, of_trajectory):
    for (path, array, read), changes in zip(both, (of_sweep, of_trajectory), strict=True):
        forge(path, array, **changes)
        with pytest.raises(sl.ProblemError):
            read(path)


@pytest.mark.parametrize("name", ["record.json", "zarr.json", "tasks/3.json", "v/c.0.0.0.0.0", ".zmetadata", "R/0"])
@pytest.mark.parametrize("what", ["fifo", "endless", "sparse"])
def test_files_that_never_end_are_not_opened(both, name, what):
    """One that nobody writes to, one without an end, and one that is larger than the memory."""
    for path, _, read in both:
        if (path / name).exists():
            (path / name).unlink()
            if what == "fifo":
                os.mkfifo(path / name)
            elif what == "endless":
                (path / name).symlink_to("/dev/zero")
            else:
                (path / name).touch()
                os.truncate(path / name, 1 << 42)
            with pytest.raises(sl.ProblemError, match=rf"{name} in .* is (damaged|no regular|larger)"):
                read(path).load()
            assert what == "sparse" or read is sl.load or SweepStore(path, small_plan(), repair=True)


def test_arrays_whose_shape_is_made_up_are_not_filled_with_nan(both):
    """All but one of their chunks are missing, which is how chunks of NaN are stored."""
    (sweep, _, _), (trajectory, _, _) = both
    for array in ("Q", "R", "label", "time"):
        forge(trajectory, f"{array}/.zarray", shape=[10**13])
    with pytest.raises(sl.ProblemError, match=r"must fit into .* GiB of free memory .*\. Free some memory"):
        sl.load(trajectory)
    template = small_plan().template
    for name, array in template.variables.items():
        if "time" in array.dims:
            shape = [10**13 if dim == "time" else template.sizes[dim] for dim in array.dims]
            forge(sweep, f"{name}/zarr.json", shape=shape)
    with pytest.raises(DamagedError, match=r"are not its sweep's \(time has the shape \(10000000000000,\)\)\. Run"):
        sl.open_sweep(sweep)


def frame(size, flags=0b11100000):
    """The beginning of a frame of zstd that says how large it will be."""
    return ZSTD + bytes([flags]) + size.to_bytes(8, "little") + b"\x01\x00\x00"


@pytest.mark.parametrize("content", [frame(1 << 50), frame(1 << 50, 0b11000000), frame(0, 0)])
def test_a_size_that_is_made_up_is_not_allocated(trajectory, content):
    (trajectory / "R" / "0").write_bytes(content)
    seal(trajectory, digests=digests_of(trajectory) | {"R/0": digest(content)})
    with pytest.raises(DamagedError, match=r"R/0 in .* is larger than the free memory"):
        sl.load(trajectory)


def test_a_number_of_strings_that_is_made_up_is_not_allocated(store, tmp_path):
    """Eight bytes for each, and sixteen gigabytes where there are two strings."""
    sl.save(TRAJECTORY.assign_coords(time=np.array(["a"] * TRAJECTORY.sizes["time"], object)), tmp_path / "t.zarr")
    sl.load(tmp_path / "t.zarr")
    for path, key, read in ((store, "theory/c/0", sl.open_sweep), (tmp_path / "t.zarr", "time/0", sl.load)):
        strings = Zstd().decode((path / key).read_bytes())
        (path / key).write_bytes(Zstd().encode((2**31 - 1).to_bytes(4, "little") + bytes(strings)[4:]))
        seal(path, digests=digests_of(path) | {key: digest((path / key).read_bytes())})
        with pytest.raises(sl.ProblemError, match=rf"{key} in .* is damaged"):
            read(path).load()


def test_the_size_that_zstd_declares():
    for size in (1, 200, 256, 60_000, 70_000, 1 << 20):
        declared = declared_bytes(Zstd(level=3).encode(b"x" * size))
        assert declared == (size - 256 if 256 <= size < 65792 else size)  # two bytes count from 256


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


@pytest.mark.parametrize("settings", [[], 1, {}, "x", {"problem": 1}, None, {"grid": [1]}])
def test_settings_in_a_store_that_are_none(store, settings):
    seal(store, sweep=settings)
    for read in (sl.open_sweep, lambda path: SweepStore(path, small_plan())):
        with pytest.raises(sl.ProblemError):
            read(store)


@pytest.fixture
def trajectory(tmp_path):
    """Where one is saved."""
    sl.save(TRAJECTORY, tmp_path / "a b.zarr")
    return tmp_path / "a b.zarr"


def exchange(path, rng):
    """Put the file of another array in its place."""
    names = {path.parent.name: "R" if path.parent.name == "Q" else "Q"}
    path.write_bytes((path.parent.parent / names[path.parent.name] / path.name).read_bytes())


def test_what_a_killed_process_left_is_removed_by_the_next_save_there(tmp_path):
    """And what another one is writing stays."""
    script = """
import os, sys
from pathlib import Path
from sgdlimit import _store as store
store.flush = lambda paths: os._exit(9)
store.put_folder(Path(sys.argv[1]), {"object": store.PROTOTYPE.buffer.from_bytes(b"x")})
"""
    assert subprocess.run([sys.executable, "-c", script, tmp_path / "a.zarr"]).returncode == 9
    (left,) = tmp_path.iterdir()
    other = left.with_name(left.name.replace(left.name.split(".")[-3], str(os.getpid())))
    other.mkdir()
    sl.save(TRAJECTORY, tmp_path / "b.zarr")
    assert left.exists()
    sl.save(TRAJECTORY, tmp_path / "a.zarr")
    assert {*tmp_path.iterdir()} == {tmp_path / "a.zarr", tmp_path / "b.zarr", other}


@pytest.mark.parametrize("how", [*DAMAGES, "exchange"])
def test_a_saved_trajectory_is_read_and_its_damage_named(trajectory, how):
    """Each file in turn: one without a record is refused, and nothing that is missing is filled in."""
    path = trajectory
    assert sl.load(path).identical(TRAJECTORY)
    assert not list(path.parent.glob("*.partial"))
    for file in (file for file in path.rglob("*") if file.is_file()):
        content, key = file.read_bytes(), str(file.relative_to(path))
        if how == "exchange" and "/" not in key:
            continue
        (exchange if how == "exchange" else DAMAGES[how])(file, np.random.default_rng(0))
        if (how, key) == ("remove", "record.json"):
            with pytest.raises(sl.ProblemError, match=r"Give a folder with the record\.json that save\(\) writes last"):
                sl.load(path)
        elif "/" not in key or key.rpartition("/")[2].isdigit():  # what is read
            with pytest.raises(DamagedError, match=rf"{key} in .*a b\.zarr'"):
                sl.load(path)
        else:
            assert sl.load(path).identical(TRAJECTORY)
        file.write_bytes(content)


def test_a_trajectory_is_saved_whole_or_not_at_all(tmp_path, monkeypatch, trajectory):
    """What is there is not overwritten, and a failed attempt leaves nothing."""
    with pytest.raises(sl.ProblemError, match=r"must be new .*nothing is overwritten"):
        sl.save(TRAJECTORY, trajectory)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(sl.ProblemError, match="No space left on device"):
        sl.save(TRAJECTORY, tmp_path / "b.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["a b.zarr"]


def test_a_sweep_is_opened_as_one(store):
    with pytest.raises(
        sl.ProblemError, match=r"must be a stored trajectory .*\. This is a stored sweep\. Open it with sl\.open_sweep"
    ):
        sl.load(store)


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
    toml, chunk = write_toml(store.parent / "s.toml"), chunk_key(small_plan(), "v", 2)
    DAMAGES["flip"](store / chunk, np.random.default_rng(0))
    done = command("sweep", toml, "--out", store, flag)
    if flag == "--verify":
        assert done.returncode == 2
        assert f"task 2 (instance 1, learning_rate = 0.1 or 0.2): {chunk} is damaged). Use --repair" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert refused_or_right(store, whole[1]) == ""
