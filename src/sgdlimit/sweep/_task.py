"""One task of a sweep: all its conditions trained together, and every theory they are compared with."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ..comparison import discrepancy, magnitude
from ..errors import AccuracyWarning, DivergenceError, DivergenceWarning, ProblemError
from ..inputs import Gaussian, LatentLaw, is_centred
from ..instance import Instance
from ..problem import GaussianMixture, Problem
from ..resources import one_thread
from ..simulation import simulate_together
from ..theory import solve, solve_mixture
from ._plan import ENTRIES, Plan, Task
from ._settings import SweepRun

KL_SAMPLES = 2000


def compute(
    plan: Plan, index: int, *, threads: int = 1, progress: Callable[[float], None] = lambda done: None
) -> dict[str, np.ndarray]:
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
        Arrays of shape ``plan.chunk_shape(name)``, smaller at the ends of the grid. Where SGD or theory diverged they
        are NaN from then on, and so is M.
    """
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", DivergenceWarning)
        warnings.simplefilter("ignore", AccuracyWarning)
        return Conditions(plan, plan.task(index), threads).results(progress)


def applicable_theory(law: LatentLaw, dim: int, theory: str) -> str | None:
    """The simplest theory that says the same about a law as the one asked for; None where that cannot be asked.

    Moment-matched theory of Σ_C = I is the conventional one; mixture theory of one Gaussian cluster without a mean is
    the moment-matched one.
    """
    if theory == "mixture":
        try:
            clusters = law.clusters(dim)
        except ProblemError:
            return None
        if len(clusters.weights) == 1 and not clusters.means.any():
            theory = "moment-matched"
    if theory == "moment-matched" and not isinstance(law, Gaussian):
        covariance = law.covariance(dim)
        if not is_centred(law.mean(dim), covariance):
            return None
        return "conventional" if np.allclose(covariance, np.eye(dim), rtol=0, atol=1e-12) else theory
    return "conventional" if theory == "moment-matched" else theory


class Conditions:
    """What a task trains and solves: its conditions, and Gaussian inputs for the noise floor, each once.

    Parameters
    ----------
    plan, task
        The sweep, and which part of it.
    threads
        Threads to use.
    """

    def __init__(self, plan: Plan, task: Task, threads: int = 1) -> None:
        self.plan, self.task, self.run, self.threads = plan, task, plan.sweep.run, threads
        self.keys: list[str] = []
        """For each condition, its key in ``trained``: the settings as JSON."""
        self.trained: dict[str, Instance] = {}
        self.floor_of: dict[str, str] = {}
        """For each key, that of the same network on Gaussian inputs: the settings without the law."""
        for problem, instance in zip(task.conditions, task.draw(), strict=True):
            floor = problem.model_dump_json(exclude={"latent"})
            key = floor if _is_gaussian(problem) else problem.model_dump_json()
            if self.run.noise_floor or key == floor:
                self.trained.setdefault(floor, instance.replace(latent=Gaussian()))
            self.trained.setdefault(key, instance)
            self.floor_of |= {floor: floor, key: floor}
            self.keys.append(key)

    @property
    def instances(self) -> list[Instance]:
        """What is trained."""
        return list(self.trained.values())

    @cached_property
    def asked(self) -> dict[tuple[str, str], str | None]:
        """By key and theory of the sweep, the simplest theory that says the same; None if it does not apply."""
        return {
            (key, name): applicable_theory(instance.latent, instance.latent_dim, name)
            for key, instance in self.trained.items()
            for name in self.run.theories
        }

    def _case(self, key: str, theory: str) -> tuple[str, str]:
        """What a solution depends on: conventional theory does not see the law."""
        return theory, self.floor_of[key] if theory == "conventional" else key

    def cases(self) -> dict[tuple[str, str], Instance]:
        """Every solution that is needed, once, with an instance it can be computed from."""
        found: dict[tuple[str, str], Instance] = {}
        for (key, _), theory in self.asked.items():
            if theory is not None:
                found.setdefault(self._case(key, theory), self.trained[key])
        return found

    def results(self, progress: Callable[[float], None]) -> dict[str, np.ndarray]:
        """All arrays of the task."""
        times, run = self.plan.sweep.times, self.run
        measured = {
            key: tuple(sorted({str(self.asked[key, name]) for name in run.theories if self.asked[key, name]}))
            or ("conventional",)
            for key in self.trained
        }
        trajectories = simulate_together(
            self.instances,
            np.append(0.0, times),  # a run that diverges before the first output time has this one
            runs=run.runs,
            seed=self.task.seed,
            overlaps=list(measured.values()),
            test_samples=run.test_samples,
            threads=self.threads,
            progress=progress,
        )
        runs, cases = dict(zip(self.trained, trajectories, strict=True)), self.cases()
        with ThreadPoolExecutor(self.threads) as pool:
            solved = pool.map(lambda case: _solved(cases[case], case[0], times, run), cases)
            solutions = dict(zip(cases, solved, strict=True))

        @cache
        def compared(key: str, theory: str | None) -> dict[str, xr.Dataset]:
            """What is stored of a run and the theory it is compared with, by the prefix of the names."""
            sgd = runs[key].sel(overlaps=theory or measured[key][0], drop=True).isel(time=slice(1, None))
            sgd = _at_all_times(sgd[[name for name in sgd if name in ENTRIES]], times)
            whole = sgd["v"].notnull().all(["time", "student"])
            if theory is None:
                sgd = sgd.drop_vars(["Q", "R"])
            found = {"": sgd, "scale_": magnitude(sgd).where(whole)}
            if theory is not None:
                solution = solutions[self._case(key, theory)]
                found |= {"theory_": solution.mean, "M_": discrepancy(solution.mean, sgd), "noise_": solution.noise}
            return found

        arrays = _Arrays(self.plan, self.task)
        for place, key in enumerate(self.keys):
            arrays.put(place, 0, "kl", float(self.trained[key].latent.kl_to_standard_normal(samples=KL_SAMPLES)))
            arrays.put(place, 0, "diverged_at", runs[key].attrs.get("diverged_at", np.nan))
            for number, name in enumerate(run.theories):
                theory = self.asked[key, name]
                if theory is not None:
                    arrays.put(place, number, "theory_diverged_at", solutions[self._case(key, theory)].diverged_at)
                    arrays.put(place, number, "applies", 1)
                for prefix, dataset in compared(key, theory).items():
                    if prefix != "noise_" or name == "mixture":
                        arrays.put_all(place, number, prefix, dataset)
            if run.noise_floor:
                floor = compared(self.floor_of[key], "conventional")
                arrays.put_all(place, 0, "floor_", floor["M_"])
                arrays.put_all(place, 0, "floor_scale_", floor["scale_"])
        return arrays.values


class _Arrays:
    """The arrays of a task, to be filled; what is not filled, as units that a condition does not have, is NaN."""

    def __init__(self, plan: Plan, task: Task) -> None:
        self.plan, self.task = plan, task
        sizes = {**plan.sizes, **dict(zip(plan.sweep.dims, task.shape, strict=True))}
        self.values = {
            name: np.full([sizes[dim] for dim in variable.dims], variable.missing, variable.dtype)
            for name, variable in plan.variables.items()
        }

    def put(self, place: int, theory: int, name: str, values: ArrayLike) -> None:
        """Fill what belongs to a condition and a theory, both by number."""
        by_theory = (theory,) if self.plan.variables[name].dims[0] == "theory" else ()
        entries = tuple(slice(size) for size in np.shape(values))
        self.values[name][(*by_theory, *np.unravel_index(place, self.task.shape), *entries)] = values

    def put_all(self, place: int, theory: int, prefix: str, dataset: xr.Dataset) -> None:
        """Fill all variables of a dataset that the sweep stores."""
        for name, values in dataset.items():
            variable = self.plan.variables.get(f"{prefix}{name}")
            if variable is not None:
                ordered = values.transpose(*(dim for dim in variable.dims if dim in values.dims))
                self.put(place, theory, f"{prefix}{name}", ordered.values)


@dataclass(frozen=True)
class Solution:
    """What theory predicts, NaN at output times it does not reach."""

    mean: xr.Dataset
    noise: xr.Dataset
    """M that the scatter between members of an ensemble alone makes."""
    diverged_at: float


def _is_gaussian(problem: Problem) -> bool:
    """Whether the law is N(0, I) itself: so is a mixture whose components lie on top of each other."""
    latent = problem.latent
    return not isinstance(latent, GaussianMixture) or (latent.spread == 0 and latent.standardize != "estimated")


def _solved(instance: Instance, theory: str, times: np.ndarray, run: SweepRun) -> Solution:
    """Solve one case on one thread."""
    try:
        if theory == "mixture":
            chains = run.chains if len(instance.mixture_moments().kinds) == 1 else run.chains_by_weights
            found = solve_mixture(instance, times, chains=chains, largest_step=run.largest_step, threads=1)
            found = found[[name for name in found if name in ENTRIES]]
        else:
            found = solve(instance, times, theory=theory)
    except DivergenceError:  # before the first output
        found = solve(instance, [0.0]).isel(time=slice(0)).assign_attrs(diverged_at=float(times[0]))
    ensemble = "run" in found.dims
    mean = _at_all_times(found.mean("run") if ensemble else found, times)
    noise = _scatter(found) if ensemble else mean.isel(time=0, drop=True) * 0.0
    return Solution(mean, noise, found.attrs.get("diverged_at", np.nan))


def _at_all_times(trajectory: xr.Dataset, times: np.ndarray) -> xr.Dataset:
    """A trajectory that was cut, NaN from there on; the times are its only labels."""
    missing = len(times) - trajectory.sizes["time"]
    bare = trajectory.drop_vars(list(trajectory.coords))
    whole = bare.pad(time=(0, missing), constant_values=np.nan) if missing else bare
    return whole.assign_coords(time=times)


def _scatter(ensemble: xr.Dataset) -> xr.Dataset:
    """Mean |x − mean of n members| over time, of a member x that is not among the n."""
    count = ensemble.sizes["run"]
    if count < 2 or "diverged_at" in ensemble.attrs:
        return ensemble.isel(run=0, time=0).drop_vars(list(ensemble.coords)) * np.nan
    # For one among them the variance is smaller, by 1 − 1/n against 1 + 1/n.
    away = np.abs(ensemble - ensemble.mean("run")).mean(["run", "time"]) * np.sqrt((count + 1) / (count - 1))
    return away.drop_vars(list(away.coords))
