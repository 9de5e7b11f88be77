"""One task of a sweep: all its conditions trained together, and every theory they are compared with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, partial
from itertools import chain
from typing import Any
from warnings import catch_warnings

import numpy as np
from numpy import ndarray
from xarray import Dataset

from ..comparison import discrepancy, magnitude
from ..errors import DivergenceError, DivergenceWarning
from ..inputs import Gaussian, is_centred
from ..instance import Instance
from ..law_settings import GaussianLatent, GaussianMixture
from ..problem import Problem
from ..resources import one_thread
from ..simulation import Progress, simulate_together
from ..theory import Mixture, solve, solve_mixture
from ..trajectory import followed
from ._plan import Plan
from ._settings import SweepRun

KL_SAMPLES = 2000

Key = tuple[str, str]
"""A trained instance: the settings without the law, and the law; "" is N(0, I)."""
Case = tuple[str, str, str]
"""A solution: the theory, and such a key."""


def compute(plan: Plan, index: int, *, threads: int = 1, progress: Progress = lambda done: None) -> dict[str, ndarray]:
    """The results of a task: for every array of the plan its chunk.

    The same bits come out for any number of threads and in any process, on machines of one kind.

    Parameters
    ----------
    plan, index
        Of which sweep, which task.
    threads
        To use.
    progress
        Called with the fraction done.

    Returns
    -------
    dict
        Arrays of the shapes that ``plan.region(index)`` cuts out of ``plan.template``. Where SGD or theory diverged
        they are NaN from then on, and so is M.

    Warns
    -----
    AccuracyWarning
        As :func:`sgdlimit.solve` does.
    """
    with catch_warnings(action="ignore", category=DivergenceWarning), one_thread():
        return Conditions(plan, index).results(threads, progress)


def applicable_theory(instance: Instance, theory: str) -> str | None:
    """The simplest theory that says the same about an instance as the one asked for; None where that does not apply.

    Moment-matched theory of Σ_C = I is the conventional one; mixture theory of one Gaussian cluster without a mean is
    the moment-matched one.
    """
    law, dim = instance.latent, instance.latent_dim
    if theory == "conventional" or isinstance(law, Gaussian):
        return "conventional"
    if theory == "mixture":
        if not Mixture().applies(instance):
            return None
        if instance.blocks > 1 or len(law.clusters(dim).weights) > 1 or law.clusters(dim).means.any():
            return theory
    covariance = law.covariance(dim)
    if not is_centred(law.mean(dim), covariance):
        return None
    return "conventional" if np.allclose(covariance, np.eye(dim), rtol=0, atol=1e-12) else "moment-matched"


class Conditions:
    """All that a task trains and solves: its conditions, and Gaussian inputs for the noise floor, each once.

    Parameters
    ----------
    plan, index
        The sweep, and which task of it.
    """

    def __init__(self, plan: Plan, index: int) -> None:
        self.plan, self.index, self.run = plan, index, plan.sweep.run
        self.keys: list[Key] = []
        """For each condition, its key in ``trained``."""
        self.trained: dict[Key, Instance] = {}
        problems = plan.conditions(index)
        for problem, instance in zip(problems, _drawn(problems, plan.seed(index)), strict=True):
            network, latent = problem.model_dump_json(exclude={"latent"}), problem.latent
            # A mixture whose components lie on top of each other is N(0, I) as well.
            same = isinstance(latent, GaussianMixture) and latent.spread == 0 and latent.standardize != "estimated"
            law = "" if same or isinstance(latent, GaussianLatent) else latent.model_dump_json()
            for each in ("", law) if self.run.noise_floor else (law,):
                self.trained.setdefault((network, each), instance if each else instance.replace(latent=Gaussian()))
            self.keys.append((network, law))

    @property
    def instances(self) -> list[Instance]:
        """All trained instances."""
        return list(self.trained.values())

    @cached_property
    def asked(self) -> dict[Key, list[Case | None]]:
        """For each key and theory of the sweep the simplest equivalent case; None if the theory does not apply."""
        asked = {}
        for (network, law), instance in self.trained.items():
            names = (applicable_theory(instance, name) for name in self.run.theories)
            asked[network, law] = [
                (name, network, "" if name == "conventional" else law) if name else None for name in names
            ]
        return asked

    def cases(self) -> dict[Case, Instance]:
        """Every solution that is needed, once, with the first instance it can be computed from."""
        return {case: self.trained[key] for key, cases in reversed(self.asked.items()) for case in cases if case}

    def results(self, threads: int, progress: Progress) -> dict[str, ndarray]:
        """All arrays of the task."""
        plan, times, run, cases = self.plan, self.plan.sweep.times, self.run, self.cases()
        trajectories = simulate_together(
            self.instances,
            np.append(0.0, times),  # a run that diverges before the first output time has this one
            runs=run.runs,
            seed=plan.seed(self.index),
            overlaps=[
                tuple(sorted({case[0] for case in asked if case})) or ("conventional",) for asked in self.asked.values()
            ],
            test_samples=run.test_samples,
            threads=threads,
            progress=progress,
        )
        runs = dict(zip(self.trained, trajectories, strict=True))
        alike: dict[Any, dict[Case, Instance]] = {}  # mixture theory of one law needs its moments once
        for case, instance in cases.items():
            alike.setdefault(id(instance.latent) if case[0] == "mixture" else case, {})[case] = instance
        with ThreadPoolExecutor(threads) as pool:
            solutions = dict(chain(*pool.map(lambda group: list(_solved(group, times, run)), alike.values())))
        kl = cache(lambda key: float(self.trained[key].latent.kl_to_standard_normal(samples=KL_SAMPLES)))

        @cache
        def compared(key: Key, case: Case | None) -> dict[str, Dataset]:
            """Datasets that are stored for a run and the theory it is compared with, by the prefix of their names."""
            whole = runs[key].sel(overlaps=case[0], drop=True) if case else runs[key].isel(overlaps=0, drop=True)
            stored = [name for name in followed(whole) if case or name not in ("Q", "R")]
            sgd = whole[stored].reindex(time=times)
            reached = whole["Q"].reindex(time=times).notnull().all(["time", "student", "student_"])
            found = {"scale_": magnitude(sgd).where(reached)}
            if case:
                mean, noise = solutions[case]
                found |= {"theory_": mean, "M_": discrepancy(mean, sgd), "noise_": noise}
            diverged_at = whole.attrs.get("diverged_at", np.nan)
            return found | {"": sgd.assign(diverged_at=diverged_at, kl=kl(key), applies=case is not None)}

        # Entries that a condition does not have, such as further units, stay NaN.
        empty = plan.template.isel(plan.region(self.index))
        arrays = {str(name): empty.variables[name].copy() for name in empty}

        def put(place: Mapping[str, int], prefix: str, values: Dataset) -> None:
            """Fill in all variables that the sweep stores."""
            for name, array in values.items():
                if f"{prefix}{name}" in arrays:
                    entries = {str(dim): slice(size) for dim, size in array.sizes.items()}
                    arrays[f"{prefix}{name}"][{**place, **entries}] = array.variable

        dims = plan.sweep.dims
        for at, key in zip(np.ndindex(*[empty.sizes[dim] for dim in dims]), self.keys, strict=True):
            place = dict(zip(dims, at, strict=True))
            for number, case in enumerate(self.asked[key]):
                for prefix, values in compared(key, case).items():
                    if prefix != "noise_" or run.theories[number] == "mixture":
                        put({**place, "theory": number}, prefix, values)
            if run.noise_floor:
                floor = key[0], ""
                gaussian = compared(floor, self.asked[floor][0])
                put(place, "floor_", gaussian["M_"])
                put(place, "floor_scale_", gaussian["scale_"])
        return {name: array.values for name, array in arrays.items()}


def _drawn(problems: Sequence[Problem], seed: int) -> Iterator[Instance]:
    """Draw the conditions of a task, which share their arrays and laws where they can."""
    first, laws = problems[0].draw(seed), {}
    for problem in problems:
        if problem.student_alignment or first.rule is not None:  # the start or rule depends on more than the seed
            yield problem.draw(seed)
        else:
            yield first.replace(
                latent=laws.setdefault(problem.latent.model_dump_json(), problem.draw_latent(seed)),
                activation=problem.activation,
                teacher_activation=problem.teacher_activation,
                learning_rate=problem.learning_rate,
                training=problem.training,
                attrs={**first.attrs, "problem": problem.model_dump_json(exclude_none=True)},
            )


def _solved(
    cases: Mapping[Case, Instance], times: ndarray, run: SweepRun
) -> Iterator[tuple[Case, tuple[Dataset, Dataset]]]:
    """Solve cases of one theory and law on one thread: see :func:`_with_scatter`."""
    moments = None
    for case, instance in cases.items():
        if case[0] == "mixture":
            moments = moments or instance.mixture_moments()
            chains = run.chains if len(moments.kinds) == 1 else run.chains_by_weights
            settings = {"largest_step": run.largest_step, "threads": 1, "moments": moments}
            ask = partial(solve_mixture, chains=chains, **settings)
        else:
            ask = partial(solve, theory=case[0])
        yield case, _with_scatter(ask, instance, times)


def _with_scatter(ask: Callable[..., Dataset], instance: Instance, times: ndarray) -> tuple[Dataset, Dataset]:
    """What a theory predicts, NaN from where it diverges, and the M of its scatter alone."""
    try:
        found = ask(instance, times)
        if "mean_field_noise" in found.attrs:  # equations of motion, which do not scatter
            found = found.isel(run=0, drop=True)
    except DivergenceError:  # before the first output
        found = solve(instance, [0.0]).isel(time=slice(0)).assign_attrs(diverged_at=float(times[0]))
    diverged_at, members = found.attrs.get("diverged_at", np.nan), found.sizes.get("run", 0)
    found = found[followed(found)].reindex(time=times)
    mean = found.mean("run") if members else found
    scatter = mean.isel(time=0, drop=True) * (np.nan if members else 0.0)
    if members > 1 and np.isnan(diverged_at):
        # Mean |x − mean| over time, of a member x that is not among those of the mean. For one among them the variance
        # is smaller, by 1 − 1/n against 1 + 1/n.
        scatter = abs(found - mean).mean(["run", "time"]) * np.sqrt((members + 1) / (members - 1))
    return mean.assign(diverged_at=diverged_at), scatter
