"""Files of the hidden manifold model's C++ programs (Goldt et al. 2020): initial conditions and logs, side by side.

``hmm_online --store`` writes no weights but order parameters, each an Armadillo binary beside its log ``PREFIX.dat``:
``_sigma0`` (K, K, D), ``_r0`` (K, M, D), ``_rhos`` (D,), ``_W0``, ``_T0``, ``_tildeT0``. ``hmm_ode --prefix`` reads
these, and ``_v0``, ``_A0``, and writes the log ``PREFIX_ode.dat``.

By the sources ``hmm_online.cpp``, ``hmm_ode.cpp`` and ``libscmpp.h`` of sgoldt/hidden-manifold-model: F is (N, D)
there, w (K, N) and B (M, D), with the fields, rates and Δ²/2 of this package. With the unit eigenvectors ψ_τ and
eigenvalues ρ_τ of FᵀF/N, S = wF/√N, Γ_τ = S ψ_τ and B_τ = B ψ_τ, the files hold σ_τ = Γ_τ Γ_τᵀ, r_τ = Γ_τ B_τᵀ, ρ_τ,
wwᵀ/N, BBᵀ/D and Σ_τ ρ_τ B_τ B_τᵀ/D. A log has the columns t, ε_g and two more, the upper triangle of Q by rows, R by
rows, the upper triangle of T, ṽ, v, and those of Σ = SSᵀ/D and W, in six digits; Q and R are those of preactivations of
unit variance. Nothing in that source stores ``_v0`` and ``_A0``: without them v and ṽ are those of the log.
"""

import re
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from .errors import ProblemError
from .inputs import nonlinearity_named
from .instance import Instance
from .training import Training
from .trajectory import make_trajectory

__all__ = ["HiddenManifoldRun", "from_hidden_manifold_cpp", "read_armadillo"]

HEADERS = {b"ARMA_MAT_BIN_FN008": 2, b"ARMA_CUB_BIN_FN008": 3}
ACTIVATIONS = {"erf": "erf", "relu": "relu", "lin": "linear"}
NONLINEARITIES = {"sgn": "sign", "erf": "erf"}  # hmm_online has no moments of the linear f: it logs Q = R = 0
ROUNDING = 1e-6


class HiddenManifoldRun(NamedTuple):
    """What one prefix holds."""

    instance: Instance
    """Gaussian inputs with the stored second moments; its theory is that of the stored order parameters."""
    simulation: xr.Dataset
    """The log of ``hmm_online``: a trajectory."""
    ode: xr.Dataset | None
    """The log of ``hmm_ode``, if there is one: a trajectory."""


def from_hidden_manifold_cpp(prefix: str | PathLike[str]) -> HiddenManifoldRun:
    """Read a run of the authors' C++ programs: initial conditions as an instance, logs as trajectories.

    The files fix the student and teacher in the eigenbasis of FᵀF/N up to rotations that change no order parameter. The
    instance has Gaussian inputs of the same covariances: with ζ = c − b² and b, c of f at unit variance,
    X = b √(ρN/D) C_τ + √ζ ξ along the D eigenvectors and √ζ ξ along the others; the teacher sees C only.

    Parameters
    ----------
    prefix
        Path of the log without ``.dat``.

    Returns
    -------
    HiddenManifoldRun

    Raises
    ------
    ProblemError
        If a file is missing, cut or of another type, if the files contradict each other, if the name does not say which
        layers were trained, or if the run cannot be expressed here: a scenario other than 2, D > N, f linear or ReLU.

    Examples
    --------
    >>> from_hidden_manifold_cpp("no_such_run")
    Traceback (most recent call last):
    sgdlimit.errors.ProblemError: prefix: 'no_such_run.dat' is not there; give the path of a log without .dat
    """
    path = Path(prefix)
    header, rows = _read_log(path.with_name(path.name + ".dat"))
    settings = _settings(header, path.name)
    D, N, M, K = (int(settings[name]) for name in "DNMK")
    simulation = _trajectory(rows, K, M, source=path.name)
    columns = _columns(K, M)
    ode_path = path.with_name(path.name + "_ode.dat")
    ode = _trajectory(_read_log(ode_path)[1], K, M, source=ode_path.name) if ode_path.exists() else None

    def stored(name: str, *shape: int) -> np.ndarray:
        array = read_armadillo(path.with_name(f"{path.name}_{name}.dat"), dims=len(shape))
        if array.shape != shape:
            raise ProblemError(
                f"prefix: {path.name}_{name}.dat has shape {array.shape}, the log says {shape}; take one run"
            )
        return array

    def output(name: str, count: int, column: str) -> np.ndarray:
        kept = path.with_name(f"{path.name}_{name}.dat").exists()
        return stored(name, count, 1)[:, 0] if kept else rows[0, columns[column]]

    instance = _instance(
        sigma=stored("sigma0", K, K, D),
        r=stored("r0", K, M, D),
        rhos=stored("rhos", D, 1)[:, 0],
        W=stored("W0", K, K),
        T=stored("T0", M, M),
        rotated_teacher=stored("tildeT0", M, M),
        outputs=(output("v0", K, "v"), output("A0", M, "A")),
        input_dim=N,
        nonlinearity=NONLINEARITIES[settings["f"]],
        activation=ACTIVATIONS[settings["g"]],
        learning_rate=float(settings["lr"]),
        training=Training(output_learning_rate=None if settings["layers"] == "both" else 0.0),
        source=path.name,
    )
    return HiddenManifoldRun(instance, simulation, ode)


def read_armadillo(path: str | PathLike[str], dims: int = 2) -> np.ndarray:
    """Array of an Armadillo binary of doubles: two header lines, then the values column by column.

    Parameters
    ----------
    path
        The file.
    dims
        2 for a matrix or vector (``ARMA_MAT_BIN_FN008``), 3 for a cube (``ARMA_CUB_BIN_FN008``).

    Returns
    -------
    np.ndarray
        Float64, shape (rows, columns) or (rows, columns, slices).

    Raises
    ------
    ProblemError
        If the file is missing, of another type, cut, too long, or holds NaN.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError:
        raise ProblemError(f"prefix: {path.name!r} is not there; run hmm_online with --store") from None
    kind, _, rest = data.partition(b"\n")
    size, _, values = rest.partition(b"\n")
    wanted = next(name for name, count in HEADERS.items() if count == dims).decode()
    if HEADERS.get(kind) != dims:
        raise ProblemError(f"prefix: {path.name} starts with {kind[:20]!r}; give an Armadillo binary {wanted}")
    if not re.fullmatch(rb"[0-9]{1,9}( [0-9]{1,9})*", size.strip()) or len(size.split()) != dims:
        raise ProblemError(f"prefix: {path.name} has the size line {size[:40]!r}; {dims} whole numbers are due")
    shape = tuple(int(count) for count in size.split())
    expected = 8 * int(np.prod(shape, dtype=object))
    if len(values) != expected:
        raise ProblemError(
            f"prefix: {path.name} holds {len(values)} bytes of values, {shape} takes {expected}; copy it again"
        )
    array = np.frombuffer(values, dtype="<f8").astype(np.float64).reshape(shape, order="F")
    if not np.isfinite(array).all():
        raise ProblemError(f"prefix: {path.name} holds NaN or infinite values; run hmm_online again")
    return array


def _settings(header: str, name: str) -> dict[str, str]:
    """What the header and the name of a log say of the run, checked: sizes, rate, functions and layers trained."""
    settings = dict(re.findall(r"\b([DNMK](?==[0-9]+\b)|lr(?==[0-9.e+-]+\b)|f|g)=([^\s,]+)", header))
    missing = {"D", "N", "M", "K", "lr", "f", "g"} - settings.keys()
    if missing:
        raise ProblemError(
            f"prefix: the header of {name}.dat lacks {', '.join(sorted(missing))}; give a log of hmm_online"
        )
    if "Scenario 2" not in header:
        raise ProblemError(f"prefix: {name}.dat is not of scenario 2, teacher on the coefficients; give one that is")
    layers = re.search("_(both|1st)_", name)
    if layers is None:
        raise ProblemError(
            f"prefix: {name!r} says neither _both_ nor _1st_, the layers that were trained; keep hmm_online's name"
        )
    for table, known in ((settings["f"], NONLINEARITIES), (settings["g"], ACTIVATIONS)):
        if table not in known:
            raise ProblemError(f"prefix: function {table!r} has no counterpart here; use one of {', '.join(known)}")
    return {**settings, "layers": layers[1]}


def _read_log(path: Path) -> tuple[str, Float[np.ndarray, "time column"]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ProblemError(f"prefix: {str(path)!r} is not there; give the path of a log without .dat") from None
    header = "\n".join(line for line in lines if line.startswith("#"))
    try:
        rows = np.array([[float(x) for x in line.split(",")] for line in lines if line.strip() and line[0] != "#"])
    except ValueError:
        raise ProblemError(f"prefix: {path.name} has a line that is cut or is no list of numbers; remove it") from None
    if rows.ndim != 2:
        raise ProblemError(f"prefix: {path.name} holds no rows; let the program run on")
    return header, rows


def _columns(K: int, M: int) -> dict[str, slice]:
    """Columns of a log: time, ε_g and two more; the upper triangles of Q and T; R by rows; the outputs ṽ and v."""
    counts = {"Q": K * (K + 1) // 2, "R": K * M, "T": M * (M + 1) // 2, "A": M, "v": K}
    columns, start = {}, 4
    for name, count in counts.items():
        columns[name] = slice(start, start + count)
        start += count
    return columns


def _trajectory(rows: Float[np.ndarray, "time column"], K: int, M: int, source: str) -> xr.Dataset:
    columns = _columns(K, M)
    if rows.shape[1] < columns["v"].stop:
        raise ProblemError(
            f"prefix: the log {source} has {rows.shape[1]} columns, order parameters need {columns['v'].stop}; run "
            "without --quiet"
        )
    # The two columns after ε_g may be NaN: hmm_ode has no training error and no steps.
    kept = np.delete(rows[:, : columns["v"].stop], [2, 3], axis=1)
    if not np.isfinite(kept).all():
        first = int(np.argmin(np.isfinite(kept).all(axis=1)))
        raise ProblemError(f"prefix: row {first + 1} of the log {source} holds NaN; give a run that did not diverge")
    upper = np.triu_indices(K)
    Q = np.empty((len(rows), K, K))
    Q[:, *upper] = rows[:, columns["Q"]]
    Q[:, upper[1], upper[0]] = rows[:, columns["Q"]]
    return make_trajectory(
        rows[:, 0],
        Q=Q,
        R=rows[:, columns["R"]].reshape(-1, K, M),
        v=rows[:, columns["v"]],
        generalization_error=rows[:, 1],
        attrs={"source": source, "theory" if source.endswith("_ode.dat") else "overlaps": "conventional"},
    )


def _instance(
    *,
    sigma: Float[np.ndarray, "K K D"],
    r: Float[np.ndarray, "K M D"],
    rhos: Float[np.ndarray, "D"],
    W: Float[np.ndarray, "K K"],
    T: Float[np.ndarray, "M M"],
    rotated_teacher: Float[np.ndarray, "M M"],
    outputs: tuple[np.ndarray, np.ndarray],
    input_dim: int,
    nonlinearity: str,
    activation: str,
    learning_rate: float,
    training: Training,
    source: str,
) -> Instance:
    K, D, N = len(W), len(rhos), input_dim
    if D > N or rhos.min() <= 1e-12 * rhos.max():
        raise ProblemError(f"prefix: {source} has D = {D}, N = {N}; the stored overlaps fix the teacher for D ≤ N only")
    # σ_τ = Γ_τ Γ_τᵀ: the leading eigenvector, whose sign is free, since r_τ = Γ_τ B_τ turns the teacher with it.
    squares, directions = np.linalg.eigh(np.moveaxis(sigma, -1, 0))
    student = (np.sqrt(np.maximum(squares[:, -1], 0))[:, None] * directions[:, :, -1]).T  # Γ (K, D)
    teacher = np.einsum("kt,kmt->mt", student, r) / np.square(student).sum(axis=0)  # B (M, D)
    _agree("sigma0", np.einsum("kt,lt->klt", student, student), sigma, source)
    _agree("r0", np.einsum("kt,mt->kmt", student, teacher), r, source)
    _agree("T0", teacher @ teacher.T / D, T, source)
    _agree("tildeT0", (teacher * rhos) @ teacher.T / D, rotated_teacher, source)
    weights = np.zeros((K, N))
    weights[:, :D] = student / np.sqrt(rhos)
    # What is left of N W₀ lies outside the range of F, where all directions are alike.
    rest, axes = np.linalg.eigh(N * W - weights @ weights.T)
    spare = min(K, N - D)
    weights[:, D : D + spare] = (axes * np.sqrt(np.maximum(rest, 0)))[:, K - spare :]
    _agree("W0", weights @ weights.T / N, W, source)
    _, b, c = (float(x[0]) for x in nonlinearity_named(nonlinearity).hermite(np.ones(1)))
    latent_dim = D + N
    features = np.zeros((latent_dim, N))
    features[range(D), range(D)] = b * np.sqrt(rhos * N / D)
    features[range(D, latent_dim), range(N)] = np.sqrt(max(c - b**2, 0))
    return Instance(
        np.sqrt(latent_dim) * features,
        weights,
        outputs[0],
        np.sqrt(latent_dim / D) * np.hstack([teacher, np.zeros((len(T), N))]),
        outputs[1],
        activation=activation,
        nonlinearity="identity",
        learning_rate=learning_rate,
        training=training,
        attrs={"source": source},
    )


def _agree(name: str, rebuilt: np.ndarray, stored: np.ndarray, source: str) -> None:
    if np.abs(rebuilt - stored).max() > ROUNDING * np.abs(stored).max():
        raise ProblemError(
            f"prefix: {source}_{name}.dat contradicts the other files by {np.abs(rebuilt - stored).max():.2g}; take "
            "all from one run"
        )
