"""Theory for a page: solved to the width of a line, from parts that are kept between one setting and the next."""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import xarray as xr
from jaxtyping import Float

from ..errors import AccuracyWarning, DivergenceError, DivergenceWarning, ProblemError
from ..inputs import Gaussian, is_centred
from ..instance import Instance
from ..problem import GaussianLatent, Problem
from ..rules import Activation, activation_named
from ..theory import Spectrum, integrals_for, solve_spectrum, spectrum
from ..training import PLAIN
from ..trajectory import log_times
from ._view import View

__all__ = ["Curves", "curves", "drawn", "times_of"]

OUTPUT_TIMES = 100
NODES = 70
"""Of the spectrum; they leave an error of 1e-5 in the order parameters."""

FEWEST_BLOCKS = 20
"""Independent blocks of a latent below which a page says that their sum is not Gaussian."""

CLOSED_RTOL, NUMERIC_RTOL = 1e-5, 1e-4
"""Of the solver, where Gaussian averages have closed forms and where they have not."""

MOST_STEPS = 4000
"""Of the solver, ten times what a smooth trajectory takes; one that diverges ends there."""

NUMERIC_ACCURACY = 1e-2
"""Of averages without a closed form, for which a page does not wait longer."""


@dataclass(frozen=True)
class Curves:
    """Trajectories of each theory, and what is to be said about them."""

    theories: dict[str, xr.Dataset] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def times_of(view: View) -> Float[np.ndarray, "time"]:
    """Output times of theory and SGD."""
    return log_times(max(1, round(view.time * view.problem.input_dim)), view.problem.input_dim, OUTPUT_TIMES)


@lru_cache(maxsize=4)
def _arrays(problem: Problem, seed: int) -> Instance:
    return problem.draw(seed)


def drawn(problem: Problem, seed: int) -> Instance:
    """The instance of a problem; its arrays are kept for the next one, which often has the same."""
    arrays = _arrays(_bare(problem).model_copy(update={"latent": GaussianLatent()}), seed)  # type: ignore  (frozen: it has a hash)
    provenance = {"problem": problem.model_dump_json(exclude_none=True), "instance_seed": seed}
    return arrays.replace(
        activation=problem.activation,
        teacher_activation=problem.teacher_activation,
        learning_rate=problem.learning_rate,
        training=problem.training,
        latent=problem.draw_latent(seed),
        attrs=provenance,
    )


@lru_cache(maxsize=64)
def _spectrum(problem: Problem, seed: int, theory: str) -> Spectrum:
    return spectrum(drawn(problem, seed), theory, nodes=NODES)


@lru_cache(maxsize=64)
def _coarse(name: str) -> Activation:
    activation = copy.copy(activation_named(name))
    activation.accuracy = max(activation.accuracy, NUMERIC_ACCURACY)
    return activation


def curves(view: View) -> Curves:
    """What the view's theories predict.

    Raises
    ------
    ProblemError
        If the instance cannot be drawn.
    """
    problem, times = view.problem, times_of(view)
    solved: dict[str, xr.Dataset] = {}
    notes = list(_notes_of_law(_bare(problem), view.seed))  # type: ignore  (frozen: it has a hash)
    instance = drawn(problem, view.seed)
    for theory in view.theories:
        bare = _bare(problem)
        if theory == "conventional":  # takes Σ_C for the identity, whatever the law
            bare = bare.model_copy(update={"latent": GaussianLatent()})
        try:
            nodes = _spectrum(bare, view.seed, theory)  # type: ignore  (frozen: it has a hash)
        except ProblemError as error:  # it cannot be asked about this law
            notes.append(f"{theory} theory: {str(error).removeprefix('theory: ')}")
            continue
        closed = np.isinf(integrals_for(problem.activation, problem.teacher_activation).accuracy)
        g, teacher_g = problem.activation, problem.teacher_activation
        rtol = CLOSED_RTOL if closed else NUMERIC_RTOL
        with warnings.catch_warnings():  # what they say is said on the page
            warnings.simplefilter("ignore", DivergenceWarning)
            warnings.simplefilter("ignore", AccuracyWarning)
            try:
                solved[theory] = solve_spectrum(
                    nodes,
                    instance.student_output,
                    instance.teacher_output,
                    activation=g if closed else _coarse(g),
                    teacher_activation=teacher_g if closed or teacher_g is None else _coarse(teacher_g),
                    learning_rate=problem.learning_rate,
                    times=times,
                    training=problem.training,
                    rtol=rtol,
                    atol=rtol,
                    max_steps=MOST_STEPS,
                    attrs={"theory": theory, "problem": problem.model_dump_json(exclude_none=True), "seed": view.seed},
                )
            except DivergenceError as error:
                notes.append(f"{theory} theory: {error}")
        notes += _notes_of(theory, solved.get(theory), problem)
    return Curves(solved, tuple(notes))


def _notes_of(theory: str, solved: xr.Dataset | None, problem: Problem) -> Iterator[str]:
    if solved is None:
        return
    if "diverged_at" in solved.attrs:
        until = solved.attrs["diverged_at"]
        yield f"{theory} theory: with η = {problem.learning_rate:g} it ends before t = {until:.3g}; use a smaller one."
    if (error := solved.attrs["integral_error"]) > NUMERIC_ACCURACY:
        yield f"{theory} theory: its averages are only known to {error:.1g}."


def _bare(problem: Problem) -> Problem:
    """The problem with whatever its arrays and moments do not depend on left out, so that they are known again."""
    plain = {"activation": "erf", "teacher_activation": None, "learning_rate": 1.0, "training": PLAIN}
    return problem.model_copy(update=plain)


@lru_cache(maxsize=64)
def _notes_of_law(problem: Problem, seed: int) -> tuple[str, ...]:
    law = problem.draw_latent(seed)
    if isinstance(law, Gaussian):
        return ()
    notes = []
    if not is_centred(law.mean(problem.latent_dim), law.covariance(problem.latent_dim)):
        notes.append('The latent has a mean, which these theories take for zero; theory="mixture" knows it.')
    blocks = problem.latent_dim // problem.latent.block_size if problem.latent.law == "gaussian-mixture" else 1
    if blocks < FEWEST_BLOCKS:
        notes.append(
            f"The latent has {blocks} independent block{'s' * (blocks > 1)}: a sum of so few is not Gaussian, as these "
            'theories need; theory="mixture" follows clusters.'
        )
    return tuple(notes)
