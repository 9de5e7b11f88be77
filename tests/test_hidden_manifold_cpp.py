"""Files of the hidden manifold model's C++ programs, written here byte by byte as their source does."""

import struct

import numpy as np
import pytest

import sgdlimit as sl
from sgdlimit.hidden_manifold_cpp import read_armadillo

N, D, K, M = 120, 60, 2, 2


def armadillo(path, array):
    """An Armadillo binary: type, size, then doubles column by column."""
    array = np.asarray(array, dtype=float)
    if array.ndim == 1:
        array = array[:, None]
    kind = {2: "MAT", 3: "CUB"}[array.ndim]
    head = f"ARMA_{kind}_BIN_FN008\n{' '.join(map(str, array.shape))}\n".encode()
    path.write_bytes(head + b"".join(struct.pack("<d", x) for x in array.ravel(order="F")))


def run():
    """An instance whose preactivations have unit variance exactly, as the programs take for granted."""
    instance = sl.Problem(
        input_dim=N, latent_dim=D, student_units=K, teacher_units=M, activation="erf", learning_rate=0.3
    ).draw(seed=4)
    features = instance.features * np.sqrt(D / np.square(instance.features).sum(axis=0))
    return instance.replace(features=features)


def write(folder, instance, name="hmm_online_sgn_erf_both_scenario2_N120", scenario=2):
    """What hmm_online --store writes at its start, by the formulas of its source, and the first rows of its log."""
    F, w, B = instance.features.T, instance.student, instance.teacher
    rhos, vectors = np.linalg.eigh(F.T @ F / N)
    S = w @ F / np.sqrt(N)
    gamma, rotated = S @ vectors, B @ vectors
    stored = {
        "sigma0": np.einsum("kt,lt->klt", gamma, gamma),
        "r0": np.einsum("kt,mt->kmt", gamma, rotated),
        "rhos": rhos,
        "W0": w @ w.T / N,
        "T0": B @ B.T / D,
        "tildeT0": (rotated * rhos) @ rotated.T / D,
    }
    for part, array in stored.items():
        armadillo(folder / f"{name}_{part}.dat", array)
    W, T, Sigma = stored["W0"], stored["T0"], S @ S.T / D
    Q = (1 - 2 / np.pi) * W + 2 / np.pi * Sigma
    R = np.sqrt(2 / np.pi) / D * S @ B.T
    upper = np.triu_indices(2)
    values = [*Q[upper], *R.ravel(), *T[upper], *instance.teacher_output, *instance.student_output]
    values += [*Sigma[upper], *W[upper]]
    rows = [", ".join(repr(float(x)) for x in (time, 0.5, 0.0, 0.5, *values)) for time in (0.0, 0.1)]
    head = (
        "# Online learning from low-dimensional inputs, model\n"
        f"# Scenario {scenario} with f=sgn, g=erf\n# D={D}, N={N}, M={M}, K={K}, lr=0.3\n"
        "# t, eg, diff, eg guess, Q, R, T, A, v\n"
    )
    (folder / f"{name}.dat").write_text(head + "\n".join(rows) + "\n")
    return folder / name


@pytest.mark.parametrize(("layers", "output_learning_rate"), [("both", None), ("1st", 0.0)])
def test_files_of_a_known_instance_give_its_theory(tmp_path, layers, output_learning_rate):
    times = np.array([0.0, 1.0, 5.0])
    instance = run().replace(training=sl.Training(output_learning_rate=output_learning_rate))
    read = sl.from_hidden_manifold_cpp(write(tmp_path, instance, f"hmm_online_sgn_erf_{layers}_scenario2_N120"))
    theory, ours = sl.solve(read.instance, times), sl.solve(instance, times)
    for name in ("Q", "R", "v", "generalization_error"):
        np.testing.assert_allclose(theory[name], ours[name], atol=2e-6, err_msg=name)
        if name != "generalization_error":
            np.testing.assert_allclose(read.simulation[name][0], ours[name][0], atol=1e-12, err_msg=name)
    assert read.ode is None
    assert read.simulation["time"].values.tolist() == [0.0, 0.1]
    assert read.instance.learning_rate == 0.3


def test_the_log_of_the_ode_and_stored_outputs_are_read(tmp_path):
    prefix = write(tmp_path, run())
    log = prefix.with_name(prefix.name + ".dat").read_text()
    prefix.with_name(prefix.name + "_ode.dat").write_text(log.replace("0.5, 0.0, 0.5", "0.5, nan, nan") + "# end\n")
    armadillo(prefix.with_name(prefix.name + "_v0.dat"), [0.25, -0.5])
    read = sl.from_hidden_manifold_cpp(prefix)
    assert read.ode is not None
    assert read.ode.attrs["theory"] == "conventional"
    assert read.ode["R"].equals(read.simulation["R"])
    assert read.instance.student_output.tolist() == [0.25, -0.5]


def test_armadillo_is_column_major(tmp_path):
    (tmp_path / "m").write_bytes(b"ARMA_MAT_BIN_FN008\n2 3\n" + struct.pack("<6d", 1, 2, 3, 4, 5, 6))
    assert read_armadillo(tmp_path / "m").tolist() == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ARMA_MAT_BIN_FN008\n2 2\n" + bytes(24), "got 24 bytes"),
        (b"ARMA_MAT_BIN_FN008\n1 1\n" + bytes(9), "got 9 bytes"),
        (b"ARMA_MAT_BIN_FN004\n1 1\n" + bytes(4), "FN004"),
        (b"ARMA_MAT_TXT_FN008\n1 1\n0.0\n", "TXT"),
        (b"ARMA_CUB_BIN_FN008\n1 1 1\n" + bytes(8), "CUB"),
        (b"ARMA_MAT_BIN_FN008\n1 1 1\n" + bytes(8), "size line"),
        (b"ARMA_MAT_BIN_FN008", "size line"),
        (b"ARMA_MAT_BIN_FN008\n1 -1\n" + bytes(8), "size line"),
        (b"ARMA_MAT_BIN_FN008\n1 1\n" + struct.pack("<d", np.nan), "NaN"),
        (b"", "must start with"),
    ],
)
def test_other_and_broken_files_are_refused(tmp_path, data, message):
    (tmp_path / "x.dat").write_bytes(data)
    with pytest.raises(sl.ProblemError, match=message):
        read_armadillo(tmp_path / "x.dat")


def test_a_cut_cube_and_a_matrix_in_its_place_are_refused(tmp_path):
    (tmp_path / "x.dat").write_bytes(b"ARMA_CUB_BIN_FN008\n1 1 2\n" + bytes(8))
    with pytest.raises(sl.ProblemError, match=r"16 bytes for \(1, 1, 2\) \(got 8 bytes\)"):
        read_armadillo(tmp_path / "x.dat", dims=3)
    armadillo(tmp_path / "x.dat", np.eye(2))
    with pytest.raises(sl.ProblemError, match="ARMA_CUB_BIN_FN008"):
        read_armadillo(tmp_path / "x.dat", dims=3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (", K=2", ", K=two", "must name K in its header"),
        ("lr=0.3", "lr=nan", "must name lr in its header"),
        ("f=sgn", "f=lin", "function f: must be 'sgn' or 'erf' .got 'lin'"),
        ("f=sgn", "f=relu", "function f: must be 'sgn' or 'erf' .got 'relu'"),
        ("\n0.1, 0.5", "\n0.1, nan", "the log .* NaN in row 2"),
        ("\n0.1, 0.5", "\n0.1", "cut"),
    ],
)
def test_logs_that_will_not_do_are_refused(tmp_path, old, new, message):
    prefix = write(tmp_path, run())
    log = prefix.with_name(prefix.name + ".dat")
    assert old in log.read_text()
    log.write_text(log.read_text().replace(old, new))
    with pytest.raises(sl.ProblemError, match=message):
        sl.from_hidden_manifold_cpp(prefix)


def test_runs_that_cannot_be_expressed_are_refused(tmp_path):
    instance = run()
    with pytest.raises(sl.ProblemError, match="must contain _both_ or _1st_"):
        sl.from_hidden_manifold_cpp(write(tmp_path, instance, "renamed"))
    with pytest.raises(sl.ProblemError, match="scenario 2"):
        sl.from_hidden_manifold_cpp(write(tmp_path, instance, scenario=1))
    prefix = write(tmp_path, instance)
    armadillo(prefix.with_name(prefix.name + "_T0.dat"), np.eye(2))
    with pytest.raises(sl.ProblemError, match=r"T0[.]dat must fit the other files"):
        sl.from_hidden_manifold_cpp(prefix)
    prefix.with_name(prefix.name + "_r0.dat").unlink()
    with pytest.raises(sl.ProblemError, match=r"must have .*r0[.]dat. beside it"):
        sl.from_hidden_manifold_cpp(prefix)
