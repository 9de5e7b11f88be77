"""How exactly the equations are evaluated: for a law of the inputs, a pair of activations and the options of training.

Each is one of: exact, to rounding; by quadrature, with its error; by Monte Carlo, with its error; or refused. A whole
cell is as good as its worst part. None of this says whether real inputs obey the equations: see
:func:`sgdlimit.diagnose`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import ProblemError
from ..inputs import THEORIES, ClusterMixture, Empirical, Gaussian, Known, LatentLaw, MixtureLaw, nonlinearity_named
from ..rules import Activation, Integrals
from ..training import Training
from ._integrals import integrals_for
from ._spectrum import spectrum

if TYPE_CHECKING:
    from ..instance import Instance

__all__ = [
    "OPTIONS",
    "Exactness",
    "document",
    "exactness",
    "exactness_of_averages",
    "exactness_of_inputs",
    "exactness_of_solution",
]

KINDS = ("exact", "quadrature", "Monte Carlo", "refused")
"""From best to worst."""

HERMITE_ERROR = 1e-10
"""Relative error of the Hermite coefficients of an f of one's own."""

OPTIONS: Mapping[str, str] = {
    "output_learning_rate": "exact",
    "output_normalization": "exact",
    "label_noise": "exact; refused together with labels that are given",
    "weight_decay": "exact",
    "batch_size": "exact in the limit; products of batch means, O(1/N), are left out as everywhere",
    "schedule": "exact; the solver steps onto every corner",
    "switch_times": "exact; the solver steps onto every change; refused together with labels that are given",
}
"""What each option of training, and a teacher that changes, does to a cell of the table: nothing, or it is refused."""


class Exactness(NamedTuple):
    """How something is evaluated, and to what error."""

    kind: str
    """One of :data:`KINDS`."""
    error: float
    """Relative; 0 where exact, NaN where refused."""
    because: str
    """Of what it comes, or why it is refused."""

    def __str__(self) -> str:
        if self.kind == "exact":
            return self.kind
        return f"{self.kind}: {self.because}" if np.isnan(self.error) else f"{self.kind}, error {self.error:.0e}"


EXACT = Exactness("exact", 0.0, "")


def exactness_of_averages(integrals: Integrals) -> Exactness:
    """Of the Gaussian averages of a pair of activations; for quasi-Monte Carlo the error that is allowed."""
    if integrals.method == "closed form":
        return EXACT
    error = integrals.known_error if np.isinf(integrals.accuracy) else integrals.accuracy
    return Exactness("quadrature" if integrals.method == "quadrature" else "Monte Carlo", error, "averages over fields")


def exactness_of_inputs(instance: "Instance", theory: str = "conventional") -> Exactness:
    """Of Ω, Φ and T: closed forms, quadrature for an f of one's own, or a covariance estimated from samples."""
    parts = [EXACT]
    if not isinstance(nonlinearity_named(instance.nonlinearity), Known):
        parts.append(Exactness("quadrature", HERMITE_ERROR, "Hermite coefficients of f"))
    count = instance.latent.distinct_samples
    if theory != "conventional" and count is not None:
        parts.append(Exactness("Monte Carlo", float(np.sqrt(2 / count)), f"covariance of {count} samples"))
    return _worst(parts)


def exactness_of_solution(instance: "Instance", theory: str, integrals: Integrals) -> Exactness:
    """Of a theory that is known to apply."""
    if theory == "mixture":
        return Exactness("Monte Carlo", np.nan, "an ensemble, with its spread")
    return _worst([exactness_of_inputs(instance, theory), exactness_of_averages(integrals)])


def exactness(instance: "Instance", theory: str = "conventional") -> Exactness:
    """How exactly the equations of an instance are evaluated by a theory, or why it refuses them.

    Parameters
    ----------
    instance
        A :class:`sgdlimit.Instance`.
    theory
        ``"conventional"``, ``"moment-matched"`` or ``"mixture"``.

    Examples
    --------
    >>> from sgdlimit import Problem
    >>> problem = Problem(input_dim=20, latent_dim=5, student_units=2, teacher_units=3, activation="tanh",
    ...                   learning_rate=0.2)
    >>> str(exactness(problem.draw(seed=0)))
    'Monte Carlo, error 2e-03'
    """
    try:
        spectrum(instance, theory)
    except ProblemError as error:
        return _refused(error)
    return exactness_of_solution(instance, theory, integrals_for(instance.activation, instance.teacher_activation))


def _refused(error: ProblemError) -> Exactness:
    return Exactness("refused", np.nan, str(error).split(";")[0])


def _worst(parts: list[Exactness]) -> Exactness:
    return max(parts, key=lambda part: (KINDS.index(part.kind), part.error))


# --- the tables of the documentation ----------------------------------------------------------------------------------


class OwnLaw(LatentLaw):
    """Uniform coordinates: a law that a user would write."""

    def sample(self, rng, count, dim=None):
        return rng.uniform(-np.sqrt(3), np.sqrt(3), (count, self.check_dim(dim)))

    def mean(self, dim):
        return np.zeros(dim)

    def covariance(self, dim):
        return np.eye(dim)

    def kl_to_standard_normal(self, *, samples=20_000, seed=0):
        raise ProblemError("latent: the divergence of this law is not known")


def _rows() -> dict[str, "Callable[[dict], Instance]"]:
    """Input laws, as what makes a small instance of each with given activations."""
    from ..instance import Instance
    from ..problem import Problem

    rng = np.random.default_rng(0)
    N, D = 20, 10
    problem = Problem(input_dim=N, latent_dim=D, student_units=1, teacher_units=1, activation="erf", learning_rate=0.1)
    one = problem.draw(seed=0)
    samples, inputs = rng.normal(size=(400, D)), rng.normal(size=(400, N))
    vectors = rng.normal(size=(1, N)), [1.0], rng.normal(size=(1, N)), [1.0]
    means = rng.normal(size=(2, D))
    laws = {
        "Gaussian latent": Gaussian(),
        "mixture of each coordinate, standardised": MixtureLaw([-3.0, 3.0], standardize=True),
        "mixture of each coordinate, not standardised": MixtureLaw([-1.0, 3.0]),
        "mixture of blocks or clusters, standardised": MixtureLaw(means, block_size=5, standardize=True),
        "clusters with covariances of their own, standardised": ClusterMixture(
            means, np.tile(np.eye(D), (2, 1, 1)), standardize=True
        ),
        "samples as latent (400)": Empirical(samples, standardize=True),
        "a law of one's own": OwnLaw(),
    }
    rows: dict[str, Callable[[dict], Instance]] = {
        name: lambda functions, law=law: one.replace(latent=law, **functions) for name, law in laws.items()
    }
    for name, changes in {
        "f of one's own, or tanh, softplus, ...": {"nonlinearity": "tanh"},
        "f with a mean, centred": {"nonlinearity": "relu"},
        "f with a mean, not centred": {"nonlinearity": "relu", "centre": False},
    }.items():
        rows[name] = lambda functions, changes=changes: one.replace(**changes, **functions)
    rows["independent or correlated Gaussian inputs"] = lambda functions: Instance.from_covariance(
        np.eye(N), *vectors, learning_rate=0.1, **functions
    )
    rows["samples as inputs (400), standardised"] = lambda functions: Instance.from_inputs(
        inputs, *vectors, learning_rate=0.1, standardize=True, **functions
    )
    rows["samples as inputs (400), with a mean"] = lambda functions: Instance.from_inputs(
        3 + inputs, *vectors, learning_rate=0.1, **functions
    )
    return rows


def _columns() -> dict[str, dict[str, str | Activation]]:
    """Pairs of activations."""
    return {
        "erf": {"activation": "erf"},
        "ReLU": {"activation": "relu"},
        "polynomial up to degree 4": {"activation": "hermite-3"},
        "any other, here tanh": {"activation": "tanh"},
        "erf, teacher sign": {"activation": "erf", "teacher_activation": "sign"},
        "sign": {"activation": "sign"},
    }


def document() -> str:
    """The tables of ``docs/exactness.md``, made by asking for every cell."""
    columns, lines = _columns(), []
    lines += ["| inputs | theory | " + " | ".join(columns) + " |", "|---" * (2 + len(columns)) + "|"]
    reasons: list[str] = []

    def noted(reason: str) -> str:
        if reason not in reasons:
            reasons.append(reason)
        return f"refused [{reasons.index(reason) + 1}]"

    for name, make in _rows().items():
        for theory in THEORIES:
            cells = []
            for functions in columns.values():
                try:
                    found = exactness(make(dict(functions)), theory)
                except ProblemError as error:
                    found = _refused(error)
                cells.append(noted(found.because) if found.kind == "refused" else str(found))
            lines.append(f"| {name} | {theory} | " + " | ".join(cells) + " |")
    lines += ["", *(f"[{number}] {reason}.  " for number, reason in enumerate(reasons, 1)), ""]
    lines += [
        "| option | in the equations |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in OPTIONS.items()),
    ]
    assert set(Training.model_fields) | {"switch_times"} == set(OPTIONS)
    return "\n".join(lines) + "\n"
