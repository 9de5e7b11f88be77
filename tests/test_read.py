"""Data from files: what is read as what, and that files of every other kind are refused in a sentence."""

import gzip
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import sgdlimit as sl
from sgdlimit.diagnosis import default_network
from sgdlimit.inputs._read import has_headings, read_samples

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 5))
FRAME = pd.DataFrame(X)
DIGITS = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(5)])
DIGITS.insert(0, "label", RNG.integers(0, 10, 200))


def header_of(shape):
    """A .npy file's header, with nothing behind it."""
    np.save("header.npy", np.zeros(0))
    with open("header.npy", "r+b") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return Path("header.npy").read_bytes()


def sparse(path, shape):
    """A file that declares an array, and is as long as that, but takes no room."""
    header = header_of(shape)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + 8 * shape[0] * shape[1])


def zipped(path, name, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def changed(path, change):
    np.savez_compressed(path, samples=X)
    content = bytearray(Path(path).read_bytes())
    change(content)
    Path(path).write_bytes(content)


def encrypted(content):
    """The flags of the member, in its own header and in the archive's list, say so."""
    content[6] |= 1
    content[content.rfind(b"PK\x01\x02") + 8] |= 1


def broken(content):
    content[200:400] = b"\xff" * 200


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("write", "options", "sentence"),
    [
        (lambda path: FRAME.to_csv(path, index=False), {}, "5 of 5 are used, '0' to '4'"),
        (FRAME.to_csv, {}, "5 of 6 are used, '0' to '4'. Left out: '' (an index)"),
        (lambda path: FRAME.to_csv(path, header=False), {}, "5 of 6 are used, 2 to 6. Left out: 1 (an index)"),
        (lambda path: FRAME.to_csv(path, sep=";", decimal=","), {}, "5 of 6"),
        (lambda path: FRAME.to_csv(path, sep="\t", index=False), {"delimiter": "\\t"}, "5 of 5"),
        (lambda path: FRAME.to_csv(path, sep=":", index=False), {"delimiter": ":"}, "5 of 5"),
        (lambda path: FRAME.set_axis(400 + 2.5 * np.arange(5), axis=1).to_csv(path, index=False), {}, "'400.0' to '4"),
        (lambda path: np.savetxt(path, X, header="of numpy"), {}, "5 of 5 are used, 1 to 5"),
        (lambda path: DIGITS.to_csv(path, index=False), {"drop": "label"}, "5 of 6 .* Left out: 'label' (--drop)"),
        (lambda path: DIGITS.to_csv(path), {"columns": "pixel0,pixel1:pixel4"}, "5 of 7 are used, 'pixel0' to"),
    ],
)  # fmt: skip
def test_tables_are_read_by_their_headings(write, options, sentence):
    write("data.csv")
    samples, columns, _ = read_samples("data.csv", **options)
    np.testing.assert_array_equal(samples, X)
    for part in sentence.split(" .* "):
        assert part in columns


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a,b,\n1,2,\n3,5,\n", (2, 2)),  # a delimiter at the end of each line
        ('"a" "b"\n"1" 1.5 2\n"2" 3 5.5\n', (2, 2)),  # of R, whose index has no heading
        ("\ufeffa,b\r\n1,2\r\n\r\n3,4\r\n,\r\n", (2, 2)),  # of Excel
        ("a,b\nTrue,1\nFalse,2\n", (2, 2)),
        ("1,2,3\n3,1,2\n", (2, 3)),
    ],
)
def test_tables_of_other_programs(text, shape):
    with open("data.csv", "w", encoding="utf-8", newline="") as file:
        file.write(text)
    assert read_samples("data.csv").samples.shape == shape


@pytest.mark.parametrize(
    ("first", "second", "headings"),
    [
        ("0,1,2,3,species", "1,0,2,3,setosa", True),
        ("5.1,3,2,1.5,setosa", "4.9,3,2,1,setosa", False),
        ("0,1,2", "1,0,2", False),
        (",0", "7,0.5", True),
        ("5,?,3", "4,2,1", False),
        ("2001,2002,2003,2004", "3,1,5,2", True),
        ("1,2,3,4", "2,3,4,5", False),
    ],
)
def test_headings_are_told_from_samples(first, second, headings):
    assert has_headings(first.split(","), second.split(",")) == headings


def test_labels_are_named_whatever_their_place_and_heading():
    for columns, header, column in ((DIGITS, False, "1"), (DIGITS.iloc[:, ::-1], False, "6")):
        columns.to_csv("data.csv", index=False, header=header)
        assert f"Column {column} holds 10 whole numbers only" in read_samples("data.csv").columns
    for heading in ("label", "Class", "target_value", "y", "sample_id"):
        renamed = DIGITS.rename(columns={"label": heading})
        renamed.to_csv("data.csv", index=False)
        for refuse in (lambda: read_samples("data.csv"), lambda named=renamed: sl.Empirical(named)):
            with pytest.raises(sl.ProblemError, match=f"must not hold labels or indices .got '{heading}' among"):
                refuse()
    assert "labels" not in read_samples("wine").columns


def test_labels_are_a_column_another_array_or_a_file_of_their_own():
    X, label = DIGITS.iloc[:, 1:], DIGITS["label"].to_numpy()
    DIGITS.to_csv("data.csv", index=False)
    DIGITS.iloc[:, ::-1].to_csv("bare.csv", index=False, header=False)
    DIGITS.assign(label=[f"digit {number}" for number in label]).to_csv("text.csv", index=False)
    np.savez("data.npz", X=X, y=label)
    np.save("y.npy", label)
    pixels = np.arange(200 * 12, dtype="u1").reshape(200, 3, 4)
    for name, array in (("images-idx3-ubyte.gz", pixels), ("labels-idx1-ubyte", label.astype("u1"))):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        with gzip.open(name, "wb") if name.endswith("gz") else open(name, "wb") as file:
            file.write(header + array.tobytes())
    for source, labels in (("data.csv", "label"), ("bare.csv", "6"), ("data.npz:X", "y"), ("data.npz:X", "y.npy")):
        found = read_samples(source, labels=labels)
        np.testing.assert_array_equal(found.labels, label)
        assert found.samples.shape == X.shape
    assert np.asarray(read_samples("text.csv", labels="label").labels)[0] == f"digit {label[0]}"
    found = read_samples("images-idx3-ubyte.gz", labels="labels-idx1-ubyte")
    np.testing.assert_array_equal(found.samples, pixels.reshape(200, 12))
    np.testing.assert_array_equal(found.labels, label)
    assert set(np.asarray(read_samples("wine", labels="target").labels)) == {"class_0", "class_1", "class_2"}
    np.save("short.npy", label[:-1])
    for labels, complaint in (
        ("lable", r"--labels: must be the heading of a column or a file .got 'lable'.*Did you mean 'label'"),
        ("short.npy", "--labels: must be one column of 200 labels"),
    ):
        with pytest.raises(sl.ProblemError, match=complaint):
            read_samples("data.csv", labels=labels)


def in_gzip(path, save):
    with gzip.open(path, "wb") as file:
        save(file)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("good.npy", lambda path: np.save(path, X)),
        ("fortran.npy", lambda path: np.save(path, np.asfortranarray(X))),
        ("images.npy", lambda path: np.save(path, X.reshape(200, 5, 1))),
        ("one.npz", lambda path: np.savez(path, samples=X)),
        ("two.npz:b", lambda path: np.savez(path, a=X[:, :4], b=X)),
        ("good.npy.gz", lambda path: in_gzip(path, lambda file: np.save(file, X))),
        ("good.csv.gz", FRAME.to_csv),
        ("good.parquet", FRAME.to_parquet),
    ],
)
def test_files_are_read(name, write):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    write(name.partition(":")[0])
    np.testing.assert_array_equal(read_samples(name).samples, X)


def test_named_data_sets_are_read_unless_a_file_has_the_name():
    assert read_samples("wine").samples.shape == (178, 13)
    Path("wine").touch()
    with pytest.raises(sl.ProblemError, match=r"must be a file \(.npy, .npz.*got 'wine'"):
        read_samples("wine")


def text(content):
    return lambda path: Path(path).write_text(content, encoding="utf-8")


def data(content):
    return lambda path: Path(path).write_bytes(content)


NO_WRITE = id
OBJECTS = np.array([{}, SimpleNamespace()], dtype=object)
BAD = {
    "none.npy": (NO_WRITE, "cannot be read .No such file"),
    "table.zip": (NO_WRITE, "must be a file .*digits.*got .*table.zip"),
    "a.mat": (NO_WRITE, r"Convert it in Python: np.save\(\"data.npy\", scipy.io.loadmat\('a.mat'\)"),
    "a.pt": (NO_WRITE, "torch.load"),
    "a.h5": (NO_WRITE, "h5py.File"),
    "floats-idx2-ubyte": (data(bytes([0, 0, 13, 2]) + bytes(16)), "cannot be read .it is no idx file of bytes"),
    "short-idx1-ubyte": (data(bytes([0, 0, 8, 1, 0, 0, 0, 9])), "cannot be read .cannot reshape"),
    "two.npz": (lambda path: np.savez(path, a=X, b=X), "must name one of the arrays 'a', 'b' of .*got none.*NAME"),
    "three.npz:c": (lambda path: np.savez(path, a=X, b=X), "must name one of the arrays .*got 'c'"),
    "words.csv": (text("1,2\n3,many\n"), "1 of 2 are not; 2 has 'many' in sample 2.*--drop 2"),
    "dates.csv": (text("day,b\n2020-01-01,1\n"), "'day' has '2020-01-01' in sample 1.*--drop day"),
    "ragged.csv": (text("1,2\n3\n"), "must be finite .*first in column 2, sample 2"),
    "long.csv": (text("1,2\n3,4,5\n"), "Expected 2 fields in line 2, saw 3"),
    "headings only.csv": (text("a,b\n"), "holds no samples"),
    "fewer headings.csv": (text("a,b\n1,2,3,4\n"), "must have a heading for each of its 4 columns"),
    "nothing.csv": (text(""), "holds no samples"),
    "binary.csv": (data(b"\xff\xfe\x00\x01"), "cannot be read .*UTF-8 text"),
    "one line.csv": (lambda path: (text("")(path), os.truncate(path, 1 << 25)), "must have lines below 16 MiB"),
    "names.csv": (lambda path: DIGITS.to_csv(path), "--drop label"),
    "objects.npy": (lambda path: np.save(path, OBJECTS, allow_pickle=True), "cannot be read .*np.save"),
    "objects.npz": (lambda path: np.savez(path, a=OBJECTS), "cannot be read .*np.save"),
    "garbage.npy": (data(b"no array at all"), "cannot be read"),
    "garbage.npz": (data(b"no array at all"), "cannot be read"),
    "garbage.csv.gz": (data(b"no array at all"), "Not a gzipped file"),
    "header.npy": (data(b"\x93NUMPY\x01\x00\x76\x00{'descr': __import__('os')" + b" " * 90), "cannot be read"),
    "member.npz": (lambda path: zipped(path, "a.txt", "text"), "'a.txt' of 'member.npz' must be an array"),
    "encrypted.npz": (lambda path: changed(path, encrypted), "is encrypted"),
    "broken.npz": (lambda path: changed(path, broken), "cannot be read .Error -3 while decompressing"),
    "cut.csv.gz": (lambda path: (FRAME.to_csv(path), os.truncate(path, 1000)), "cannot be read .Compressed file ended"),
    "sparse.npy": (lambda path: sparse(path, (1 << 18, 1 << 18)), "must fit into .* of free memory .*needs 1536.0 GiB"),
    "lie.npz": (lambda path: zipped(path, "a.npy", header_of((1 << 27, 1 << 27))), "cannot be read .*allocate"),
    "empty.npy": (lambda path: np.save(path, np.empty((0, 5))), r"must be of shape \(count, D\).*got \(0, 5\)"),
    "complex.npy": (lambda path: np.save(path, X + 1j), "must be real numbers .got complex128"),
    "vector.npy": (lambda path: np.save(path, X[:, 0]), r"must be of shape \(count, D\).*got \(200,\)"),
    "nan.npy": (lambda path: np.save(path, np.where(X[3, 2] == X, np.nan, X)), "got 1 of 1000 .*column 3, sample 4"),
    "huge.npy": (lambda path: np.save(path, 1e300 * X), "samples: must be of size 1e-100 to 1e100"),
    "dull.csv": (text("a,dull,c\n1,2,3\n2,2,4\n"), "got 1 constant of 3: 'dull'"),
    "twin.csv": (text("a,b,twin\n" + "1,2,2\n2,1,1\n3,5,5\n4,4,4\n"), "up to scale: 'b', 'twin'"),
    "constant.npy": (lambda path: np.save(path, X * [1, 0, 1, 1, 1]), "got 1 constant of 5: 2, counted from 1"),
    "copied.npy": (lambda path: np.save(path, X[:, [0, 0, 1, 2, 3]]), "up to scale: 1, 2, counted from 1"),
    "columns.npy": (lambda path: np.save(path, X.T), "must be at least 201 .* transpose if columns are samples"),
    "folder.csv": (os.mkdir, "must be a regular file"),
    "pipe.csv": (os.mkfifo, "must be a regular file"),
    "device.npy": (lambda path: os.symlink("/dev/zero", path), "must be a regular file"),
    f"{'x' * 189_000}.csv": (NO_WRITE, "cannot be read .File name too long"),
    "headings.csv": (text("a" * 100_000 + ",b\n" + "c" * 100_000 + ",1\n"), "columns must be numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD, ids=lambda name: name[-30:])
def test_bad_data_are_refused_in_a_sentence(name, recwarn):
    write, words = BAD[name]
    write(name.partition(":")[0] if ".npz:" in name else name)
    with pytest.raises(sl.ProblemError, match=words) as refusal:
        default_network(read_samples(name).samples)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 700
    assert not recwarn.list


def test_archives_and_compressed_text_are_measured_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr("sgdlimit.resources.available_bytes", lambda: 1 << 20)
    zipped("bomb.npz", "a.npy", header_of((512, 512)) + bytes(8 << 18))
    in_gzip("bomb.csv.gz", lambda file: file.write(b"1,2\n" * (1 << 20)))
    np.save("large.npy", np.zeros((512, 512), dtype=np.uint8))  # a quarter of the memory, and six times it in use
    for name in ("bomb.npz", "bomb.csv.gz", "large.npy"):
        assert os.path.getsize(name) < 1 << 20
        with pytest.raises(sl.ProblemError, match=r"DATA: must fit into 0\.0 GiB of free memory"):
            read_samples(name)


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    data(b"PAR1")("data.parquet")
    with pytest.raises(sl.ProblemError, match=r"needs pyarrow. Run pip install 'sgdlimit\[parquet\]'"):
        read_samples("data.parquet")


def test_columns_that_are_not_there_get_the_nearest_name():
    DIGITS.to_csv("data.csv", index=False)
    with pytest.raises(sl.ProblemError, match=r"--drop: .*got 'lable'.*Did you mean 'label'"):
        read_samples("data.csv", drop="lable")
    with pytest.raises(sl.ProblemError, match="--delimiter: must be one character"):
        read_samples("data.csv", delimiter="::")
    with pytest.raises(sl.ProblemError, match=r"--columns: .*headings are 'label' to 'pixel4'") as refusal:
        read_samples("data.csv", columns="x" * 189_000)
    assert len(str(refusal.value)) < 500


def trained(samples, student=np.ones((2, 5))):  # noqa: B008
    return sl.Instance.from_inputs(samples, student, [1, 1], student, [1, 1], activation="erf", learning_rate=0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: trained(np.ma.masked_greater(X, 2)), "samples: must have no masked entries"),
        (lambda: trained(X + 1j), "samples: must be numbers"),
        (lambda: trained((X * 1e9).astype("M8[s]")), "samples: must be numbers"),
        (lambda: trained(np.empty((0, 5))), "samples: .* not an empty one"),
        (lambda: trained(X.T), "or the transpose if columns are samples"),
        (lambda: trained(X, RNG.normal(size=(5, 2))), r"student: .*\(student_units, 5\) .got \(5, 2\).*its transpose"),
        (
            lambda: sl.Instance.from_covariance(
                np.eye(5), np.ones((5, 2)), [1, 1], np.ones((5, 2)), [1, 1], activation="erf", learning_rate=0.1
            ),
            r"student: .*\(student_units, 5\) .got \(5, 2\).*its transpose",
        ),
        (lambda: sl.ClusterMixture(np.zeros((999, 1)), np.ones((999, 1, 1)), weights=np.ones(999)), "must be positive"),
    ],
)  # fmt: skip
def test_arrays_that_would_be_read_as_something_else_are_refused(make, words):
    with pytest.raises(sl.ProblemError, match=words) as refusal:
        make()
    assert len(str(refusal.value)) < 400
