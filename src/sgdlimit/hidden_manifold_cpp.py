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
from collections.abc import Mapping
from math import prod
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy import ndarray, sqrt

from .errors import ProblemError, unknown_name
from .inputs import nonlinearity_named
from .instance import Instance
from .signatures import checked
from .training import Training
from .trajectory import make_trajectory

HEADERS = {2: "ARMA_MAT_BIN_FN008", 3: "ARMA_CUB_BIN_FN008"}
"""First line of an Armadillo binary of doubles with so many axes."""

ACTIVATIONS = {"erf": "erf", "relu": "relu", "lin": "linear"}
NONLINEARITIES = {"sgn": "sign", "erf": "erf"}  # hmm_online has no moments of the linear f: it logs Q = R = 0
STORED = {
    "sigma0": "KKD", "r0": "KMD", "rhos": "D1", "W0": "KK", "T0": "MM", "tildeT0": "MM", "v0": "K1", "A0": "M1",
}  # fmt: skip
"""Axes of the stored arrays, by the ending of their files."""

ROUNDING = 1e-6


class HiddenManifoldRun(NamedTuple):
    """The contents of the files of one prefix."""

    instance: Instance
    """Gaussian inputs with the stored second moments; its theory is that of the stored order parameters."""
    simulation: xr.Dataset
    """The log of ``hmm_online``: a trajectory."""
    ode: xr.Dataset | None
    """The log of ``hmm_ode``, if there is one: a trajectory."""


@checked
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
        If a file is missing, cut or of another type, if the files contradict each other, if the name does not tell
        which layers were trained, or if the run has no instance here: a scenario other than 2, D > N, f linear or ReLU.

    Examples
    --------
    >>> from_hidden_manifold_cpp("no_such_run")
    Traceback (most recent call last):
    sgdlimit.errors.ProblemError: prefix: must be the path of a log (got 'no_such_run.dat'). Give it without .dat.
    """
    path = Path(prefix)
    log = _read_log(Path(f"{path}.dat"))
    settings = _settings(log, path.name)
    sizes = {axis: int(settings[axis]) for axis in "NDKM"} | {"1": 1}
    simulation, stored = _trajectory(log, sizes["K"], sizes["M"], path.name)
    other = Path(f"{path}_ode.dat")
    ode = _trajectory(_read_log(other), sizes["K"], sizes["M"], other.name)[0] if other.exists() else None

    for name, axes in STORED.items():
        part, shape = Path(f"{path}_{name}.dat"), tuple(sizes[axis] for axis in axes)
        if name in stored and not part.exists():  # that of the log
            continue
        stored[name] = read_armadillo(part, len(axes))
        if stored[name].shape != shape:
            raise ProblemError(
                f"prefix: {part.name} must be of shape {shape} as in the log (got {stored[name].shape}). Take all "
                "files from one run."
            )
    features, student, teacher = _arrays(stored, sizes["N"], settings["f"], path.name)
    instance = Instance(
        features, student, stored["v0"].ravel(), teacher, stored["A0"].ravel(),
        activation=ACTIVATIONS[settings["g"]],
        nonlinearity="identity",
        learning_rate=float(settings["lr"]),
        training=Training(output_learning_rate=None if settings["layers"] == "both" else 0.0),
        attrs={"source": path.name},
    )  # fmt: skip
    return HiddenManifoldRun(instance, simulation, ode)


@checked
def read_armadillo(path: str | PathLike[str], dims: int = 2) -> ndarray:
    """Array of an Armadillo binary of doubles: two header lines, then the values column by column.

    Parameters
    ----------
    path
        The file.
    dims
        2 for a matrix or vector (``ARMA_MAT_BIN_FN008``), 3 for a cube (``ARMA_CUB_BIN_FN008``).

    Returns
    -------
    ndarray
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
        raise ProblemError(
            f"prefix: must have {path.name!r} beside it (got no such file). Run hmm_online with --store."
        ) from None
    sizes = rf"[0-9]{{1,9}}( [0-9]{{1,9}}){{{dims - 1}}}"
    head = re.match(rf"{HEADERS[dims]}\n({sizes}) *\n".encode(), data)
    if head is None:
        raise ProblemError(
            f"prefix: {path.name} must start with {HEADERS[dims]} and a size line of {dims} whole numbers (got "
            f"{data[:40]!r}). Give an Armadillo binary."
        )
    shape, values = tuple(map(int, head[1].split())), data[head.end() :]
    due = 8 * prod(shape)
    if len(values) != due:
        raise ProblemError(
            f"prefix: {path.name} must hold {due} bytes for {shape} (got {len(values)} bytes). Copy it again."
        )
    array = np.frombuffer(values, "<f8").astype(float).reshape(shape, order="F")
    if not np.isfinite(array).all():
        raise ProblemError(f"prefix: {path.name} must be finite (got NaN or infinity). Run hmm_online again.")
    return array


def _settings(header: str, name: str) -> dict[str, str]:
    """Sizes, rate, functions and trained layers, from the header and the name of a log."""
    settings = dict(re.findall(r"\b([DNMK](?==[0-9]+\b)|lr(?==[0-9.e+-]+\b)|f|g)=([^\s,]+)", header))
    missing = {"D", "N", "M", "K", "lr", "f", "g"} - settings.keys()
    if missing:
        raise ProblemError(
            f"prefix: {name}.dat must name {', '.join(sorted(missing))} in its header (got none). Give a log of "
            "hmm_online."
        )
    if "Scenario 2" not in header:
        raise ProblemError(
            f"prefix: {name}.dat must be of scenario 2, where the teacher sees the coefficients (got another). Run "
            "that."
        )
    layers = re.search("_(both|1st)_", name)
    if layers is None:
        raise ProblemError(
            f"prefix: must contain _both_ or _1st_, the layers that were trained (got {name!r}). Keep the name "
            "that hmm_online gave."
        )
    for key, known in (("f", NONLINEARITIES), ("g", ACTIVATIONS)):
        if settings[key] not in known:
            raise unknown_name(f"prefix: function {key}", settings[key], known)
    return {**settings, "layers": layers[1]}


def _read_log(path: Path) -> str:
    """A log as it stands, with at least one row."""
    try:
        log = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ProblemError(f"prefix: must be the path of a log (got {str(path)!r}). Give it without .dat.") from None
    if not re.search(r"^\s*[^#\s]", log, re.MULTILINE):
        raise ProblemError(f"prefix: {path.name} must hold rows (got none). Let the program run on.")
    return log


def _trajectory(log: str, K: int, M: int, source: str) -> tuple[xr.Dataset, dict[str, ndarray]]:
    """Order parameters of a log, and from its first row ``v0`` and ``A0``."""
    try:
        rows = np.loadtxt(log.splitlines(), delimiter=",", ndmin=2)
    except ValueError:
        raise ProblemError(
            f"prefix: {source.removesuffix('.dat')}.dat must have lists of numbers (got a line that is cut or none). "
            "Remove it."
        ) from None
    counts = {"t": 1, "error": 1, "more": 2, "Q": K * (K + 1) // 2, "R": K * M, "T": M * (M + 1) // 2, "A": M, "v": K}
    ends = np.cumsum(list(counts.values()))
    if rows.shape[1] < ends[-1]:
        raise ProblemError(
            f"prefix: the log {source} must have {ends[-1]} columns (got {rows.shape[1]}). Run without --quiet."
        )
    columns = dict(zip(counts, np.split(rows, ends, 1), strict=False))
    # The two columns after ε_g may be NaN: hmm_ode has no training error and no steps.
    for row, column in np.argwhere(~np.isfinite(rows[:, : ends[-1]])):
        if column not in (2, 3):
            raise ProblemError(
                f"prefix: the log {source} must be finite (got NaN in row {row + 1}). Give a run that did not diverge."
            )
    upper, Q = np.triu_indices(K), np.empty((len(rows), K, K))
    Q[:, *upper] = Q[:, *upper[::-1]] = columns["Q"]
    return make_trajectory(
        columns["t"][:, 0],
        Q=Q,
        R=columns["R"].reshape(-1, K, M),
        v=columns["v"],
        generalization_error=columns["error"][:, 0],
        attrs={"source": source, "theory" if source.endswith("_ode.dat") else "overlaps": "conventional"},
    ), {"v0": columns["v"][0], "A0": columns["A"][0]}


def _arrays(
    stored: Mapping[str, ndarray], N: int, nonlinearity: str, source: str
) -> tuple[Float[ndarray, "latent N"], Float[ndarray, "K N"], Float[ndarray, "M latent"]]:
    """Features, student and teacher of an instance with the stored order parameters."""
    r, rhos = stored["r0"], stored["rhos"][:, 0]
    K, _, D = r.shape
    if D > N or rhos.min() <= 1e-12 * rhos.max():
        raise ProblemError(
            f"prefix: {source} must have D ≤ N and full rank (got D = {D}, N = {N}), or the overlaps do not fix "
            "the teacher."
        )
    # σ_τ = Γ_τ Γ_τᵀ: the leading eigenvector, whose sign is free, since r_τ = Γ_τ B_τ turns the teacher with it.
    student = _roots(stored["sigma0"].T)[:, :, -1].T  # Γ (K, D)
    teacher = np.einsum("kt,kmt->mt", student, r) / (student**2).sum(0)  # B (M, D)
    weights = np.zeros((K, N))
    weights[:, :D] = student / sqrt(rhos)
    # The rest of N W₀ lies outside the range of F, where all directions are alike.
    spare = min(K, N - D)
    weights[:, D : D + spare] = _roots(N * stored["W0"] - weights @ weights.T)[:, K - spare :]
    rebuilt = {
        "sigma0": student[:, None] * student,
        "r0": student[:, None] * teacher,
        "T0": teacher @ teacher.T / D,
        "tildeT0": (teacher * rhos) @ teacher.T / D,
        "W0": weights @ weights.T / N,
    }
    for name, array in rebuilt.items():
        difference = abs(array - stored[name]).max()
        if difference > ROUNDING * abs(stored[name]).max():
            raise ProblemError(
                f"prefix: {source}_{name}.dat must fit the other files (got a difference of {difference:.2g}). Take "
                "all from one run."
            )
    _, b, c = nonlinearity_named(NONLINEARITIES[nonlinearity]).hermite(np.ones(1))
    carried = np.eye(D, N) * (b * sqrt(rhos * N / D))[:, None]
    features = np.vstack([carried, np.eye(N) * sqrt(np.maximum(c - b**2, 0))])
    teacher = np.pad(teacher, ((0, 0), (0, N)))
    return sqrt(D + N) * features, weights, sqrt((D + N) / D) * teacher


def _roots(matrices: Float[ndarray, "*n K K"]) -> Float[ndarray, "*n K K"]:
    """Eigenvectors of symmetric matrices, as columns, times the roots of their eigenvalues, the largest last."""
    values, vectors = np.linalg.eigh(matrices)
    return vectors * sqrt(np.maximum(values, 0))[..., None, :]
