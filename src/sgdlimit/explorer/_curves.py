"""Theory for a page: solved to the width of a line, from parts that are kept between one setting and the next."""

import time
import warnings
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from xarray import Dataset

from ..errors import DivergenceError, ProblemError
from ..inputs import is_centred
from ..instance import Instance
from ..problem import GaussianLatent, Problem
from ..rules import Activation, activation_named
from ..theory import Solver, Spectrum, averages_of, case_of, spectrum, trajectories
from ..training import PLAIN
from ..trajectory import error_of, log_times
from ._view import View

OUTPUT_TIMES = 100
NODES = 70
"""Nodes of the spectrum; they leave an error of 1e-5 in the order parameters."""

FEWEST_BLOCKS = 20
"""With fewer independent blocks in the latent, a page reports that their sum is not Gaussian."""

CLOSED_RTOL, NUMERIC_RTOL = 1e-5, 1e-4
"""Tolerances of the solver, where Gaussian averages have closed forms and where they do not."""

MOST_STEPS = 4000
"""Steps of the solver, ten times what a smooth trajectory takes; one that diverges ends there."""

NUMERIC_ACCURACY = 1e-2
"""Accuracy of averages without a closed form; a page does not wait for more."""


RULE: dict[str, Any] = {"activation": "erf", "teacher_activation": None, "learning_rate": 1.0, "training": PLAIN}
NETWORK = RULE | {"loss": "squared", "outputs": 1, "bias": False, "labels": "teacher", "rule": "gradient"}
"""Settings of the network and its learning rule; moments do not depend on them."""
GAUSSIAN = RULE | {"latent": GaussianLatent()}
"""The rule and a law; arrays and the moments of conventional theory depend on neither."""


class Curves(NamedTuple):
    """Trajectories of each theory, and the notes that the page shows with them."""

    view: Any = None
    """The :class:`View` that was solved; none before the first."""
    solved: dict[str, Dataset] = {}  # noqa: RUF012  (nothing is ever put into it)
    """By theory. The conventional one is always there, because it is exact for the SGD of the noise floor."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    """How long solving took."""

    @property
    def theories(self) -> dict[str, Dataset]:
        """The trajectories that the view shows."""
        return {name: solved for name, solved in self.solved.items() if name in self.view.theories}


@lru_cache(maxsize=4)
def _arrays(problem: Problem, seed: int) -> Instance:
    """Draw an instance. Averages of its rule without a closed form get the accuracy of a page."""
    instance = problem.draw(seed)
    if instance.rule is not None:
        instance.rule.accuracy = NUMERIC_ACCURACY
    return instance


def times_of(view: View) -> Float[np.ndarray, "time"]:
    """Return the output times of theory and SGD."""
    return log_times(round(view.time * view.problem.input_dim), view.problem.input_dim, OUTPUT_TIMES)


def drawn(problem: Problem, seed: int) -> Instance:
    """Draw the instance of a problem. Its arrays are kept, because the next problem often has the same."""
    if not problem.has_closed_form:
        return _arrays(problem, seed)  # type: ignore[arg-type]
    rule = {name: getattr(problem, name) for name in RULE}
    teacher = rule["teacher_activation"] and _quick(rule["teacher_activation"])
    return _arrays(problem.replace(**GAUSSIAN), seed).replace(  # type: ignore[arg-type]
        **rule | {"activation": _quick(rule["activation"]), "teacher_activation": teacher},
        latent=problem.draw_latent(seed),
        attrs={"problem": problem.model_dump_json(exclude_none=True), "instance_seed": seed},
    )


@cache
def _quick(name: str) -> Activation:
    """A named activation, whose averages without a closed form are as exact as a page waits for."""
    quick = Activation._unchecked(**vars(activation_named(name)))  # copy() would give the one that all share
    quick.accuracy = NUMERIC_ACCURACY
    return quick


def curves(view: View) -> Curves:
    """Solve the view's theories, and the theory of its noise floor."""
    begin, problem = time.perf_counter(), view.problem
    solved: dict[str, Dataset] = {}
    notes = []
    for theory in dict.fromkeys(("conventional", *view.theories)):
        said = []
        try:
            solved[theory] = _solve(view, theory)
            attrs = solved[theory].attrs
            if "diverged_at" in attrs:
                rate, until = problem.learning_rate, attrs["diverged_at"]
                said.append(f"with η = {rate:g} it ends before t = {until:.3g}. Use a smaller one.")
            if solved[theory][error_of(map(str, solved[theory]))].isnull().any():
                said.append(f"ε below {attrs['resolved_error']:.1g} is not resolved on this page, and left out.")
            if attrs["integral_error"] > NUMERIC_ACCURACY:
                said.append(f"its averages are only known to {attrs['integral_error']:.1g}.")
        except (ProblemError, DivergenceError) as error:  # it has no equations for this law, or no first output time
            said = [str(error).removeprefix("theory: ")]
        except Exception as error:  # the page reports it and goes on
            said = [repr(error)]
        notes += [f"{theory} theory: {words}" for words in said if theory in view.theories]
    if solved:
        notes = _notes_on_law(problem.replace(**NETWORK), view.seed) + notes  # type: ignore[arg-type]
    return Curves(view, solved, tuple(notes), time.perf_counter() - begin)


def _solve(view: View, theory: str) -> Dataset:
    """Solve one theory on a spectrum that is kept for other rules."""
    problem, seed = view.problem, view.seed
    instance = drawn(problem, seed)
    moments = NETWORK | GAUSSIAN if theory == "conventional" else NETWORK
    most = None if problem.training.teacher_drift else NODES
    nodes = _spectrum(problem.replace(**moments), seed, theory, most)  # type: ignore[arg-type]
    averages = averages_of(instance)
    rtol = NUMERIC_RTOL if np.isfinite(averages.accuracy) else CLOSED_RTOL
    case, attrs = case_of(instance, nodes, theory), instance.provenance(theory=theory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page shows notes instead
        return trajectories(case, times_of(view), Solver(averages, rtol, rtol, MOST_STEPS), attrs)


@lru_cache(maxsize=64)
def _spectrum(problem: Problem, seed: int, theory: str, nodes: int | None) -> Spectrum:
    return spectrum(drawn(problem, seed), theory, nodes=nodes)


@lru_cache(maxsize=64)
def _notes_on_law(problem: Problem, seed: int) -> list[str]:
    """List what the theories shown here cannot follow in a law."""
    notes: list[str] = []
    latent, D = problem.latent, problem.latent_dim
    if latent.law != "gaussian-mixture":
        return notes
    law = problem.draw_latent(seed)
    if not is_centred(law.mean(D), law.covariance(D)):
        notes.append('The latent has a mean, which these theories assume to be zero. theory="mixture" includes it.')
    blocks = D // latent.block_size
    if blocks < FEWEST_BLOCKS:
        notes.append(
            f"The latent has {blocks} independent block{'s' * (blocks > 1)}. A sum of so few is not Gaussian, which "
            'these theories assume. theory="mixture" follows clusters.'
        )
    return notes
