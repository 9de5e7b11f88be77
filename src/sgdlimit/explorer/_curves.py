"""Theory for a page: solved to the width of a line, from parts that are kept between one setting and the next."""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from ..errors import DivergenceError, ProblemError
from ..inputs import Gaussian, is_centred
from ..instance import Instance
from ..problem import GaussianLatent, Problem
from ..rules import activation_named
from ..theory import Spectrum, integrals_for, solve_spectrum, spectrum
from ..training import PLAIN
from ..trajectory import log_times
from ._view import View

OUTPUT_TIMES = 100
NODES = 70
"""Nodes of the spectrum; they leave an error of 1e-5 in the order parameters."""

FEWEST_BLOCKS = 20
"""Independent blocks of a latent below which a page says that their sum is not Gaussian."""

CLOSED_RTOL, NUMERIC_RTOL = 1e-5, 1e-4
"""Tolerances of the solver, where Gaussian averages have closed forms and where they do not."""

MOST_STEPS = 4000
"""Steps of the solver, ten times what a smooth trajectory takes; one that diverges ends there."""

NUMERIC_ACCURACY = 1e-2
"""Accuracy of averages without a closed form, for which a page does not wait longer."""


RULE = {"activation": "erf", "teacher_activation": None, "learning_rate": 1.0, "training": PLAIN}
"""A learning rule; arrays and moments do not depend on it."""


@dataclass(frozen=True)
class Curves:
    """Trajectories of each theory, and what the page says about them."""

    theories: dict[str, xr.Dataset] = field(default_factory=dict)
    floor: xr.Dataset | None = None
    """Conventional theory, which is exact for the SGD of the noise floor."""
    notes: tuple[str, ...] = ()
    failure: str = ""
    """Why there are no trajectories."""


def times_of(view: View) -> Float[np.ndarray, "time"]:
    """Return the output times of theory and SGD."""
    return log_times(max(1, round(view.time * view.problem.input_dim)), view.problem.input_dim, OUTPUT_TIMES)


def drawn(problem: Problem, seed: int) -> Instance:
    """Draw the instance of a problem; its arrays are kept for the next one, which often has the same."""
    return _arrays(_bare(problem, gaussian=True), seed).replace(
        **{name: getattr(problem, name) for name in RULE},
        latent=problem.draw_latent(seed),
        attrs={"problem": problem.model_dump_json(exclude_none=True), "instance_seed": seed},
    )


def curves(view: View) -> Curves:
    """Solve the view's theories, and the theory of its noise floor.

    Raises
    ------
    ProblemError
        If the instance cannot be drawn.
    """
    problem, seed = view.problem, view.seed
    solved: dict[str, xr.Dataset] = {}
    notes = list(_notes_on_law(_bare(problem), seed))
    for theory in dict.fromkeys(("conventional", *view.theories)):
        said = []
        try:
            solved[theory] = _solve(view, theory)
            said = list(_notes_on(solved[theory], problem))
        except (ProblemError, DivergenceError) as error:  # it has no equations for this law, or no first output time
            said = [str(error).removeprefix("theory: ")]
        notes += [f"{theory} theory: {words}" for words in said if theory in view.theories]
    shown = {theory: solved[theory] for theory in view.theories if theory in solved}
    return Curves(shown, solved.get("conventional"), tuple(notes))


def _solve(view: View, theory: str) -> xr.Dataset:
    problem, seed = view.problem, view.seed
    instance = drawn(problem, seed)
    nodes = _spectrum(_bare(problem, gaussian=theory == "conventional"), seed, theory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the page says what they say
        return solve_spectrum(
            nodes,
            instance.student_output,
            instance.teacher_output,
            **_averages(problem.activation, problem.teacher_activation),
            learning_rate=problem.learning_rate,
            times=times_of(view),
            training=problem.training,
            max_steps=MOST_STEPS,
            attrs={"theory": theory, "problem": problem.model_dump_json(exclude_none=True), "seed": seed},
        )


def _bare(problem: Problem, *, gaussian: bool = False) -> Any:
    """Leave out what arrays and moments do not depend on, so that they are known again; with ``gaussian`` the law."""
    return problem.model_copy(update=RULE | {"latent": GaussianLatent()} if gaussian else RULE)


@lru_cache(maxsize=4)
def _arrays(problem: Problem, seed: int) -> Instance:
    return problem.draw(seed)


@lru_cache(maxsize=64)
def _spectrum(problem: Problem, seed: int, theory: str) -> Spectrum:
    return spectrum(drawn(problem, seed), theory, nodes=NODES)


@cache
def _averages(*names: str | None) -> dict[str, Any]:
    """Return the activations to solve with, and the tolerance that their averages allow."""
    activations: list[Any] = list(names)
    rtol = CLOSED_RTOL
    if np.isfinite(integrals_for(*activations).accuracy):  # there are no closed forms
        rtol, activations = NUMERIC_RTOL, [name and copy.copy(activation_named(name)) for name in names]
        for activation in filter(None, activations):
            activation.accuracy = max(activation.accuracy, NUMERIC_ACCURACY)
    return {"activation": activations[0], "teacher_activation": activations[1], "rtol": rtol, "atol": rtol}


def _notes_on(solved: xr.Dataset, problem: Problem) -> Iterator[str]:
    if "diverged_at" in solved.attrs:
        until = solved.attrs["diverged_at"]
        yield f"with η = {problem.learning_rate:g} it ends before t = {until:.3g}. Use a smaller one."
    if (error := solved.attrs["integral_error"]) > NUMERIC_ACCURACY:
        yield f"its averages are only known to {error:.1g}."


@lru_cache(maxsize=64)
def _notes_on_law(problem: Problem, seed: int) -> tuple[str, ...]:
    """Say what the theories shown here cannot follow in a law."""
    law, D = problem.draw_latent(seed), problem.latent_dim
    if isinstance(law, Gaussian):
        return ()
    notes = []
    if not is_centred(law.mean(D), law.covariance(D)):
        notes.append('The latent has a mean, which these theories assume to be zero. theory="mixture" includes it.')
    blocks = D // problem.latent.block_size if problem.latent.law == "gaussian-mixture" else 1
    if blocks < FEWEST_BLOCKS:
        notes.append(
            f"The latent has {blocks} independent block{'s' * (blocks > 1)}. A sum of so few is not Gaussian, which "
            'these theories assume. theory="mixture" follows clusters.'
        )
    return tuple(notes)
