"""One task of a sweep: all its conditions trained together, and every theory they are compared with."""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

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

__all__ = ["Conditions", "applicable_theory", "compute"]

KL_SAMPLES = 2000


@dataclass(frozen=True)
class Solution:
    """What theory says of a condition, without its output times where it did not get."""

    mean: xr.Dataset
    noise: xr.Dataset | None = None
    """M that the scatter between members of an ensemble alone makes."""
    diverged_at: float = np.nan


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
    """The conditions of a task with what they share: Gaussian inputs for the noise floor, theories, arrays."""

    def __init__(self, plan: Plan, task: Task, threads: int) -> None:
        self.plan, self.task, self.run, self.threads = plan, task, plan.sweep.run, threads
        self.times = plan.sweep.times
        self.instances: list[Instance] = []
        """What is trained: the conditions, and Gaussian inputs."""
        gaussian: dict[str, int] = {}
        self.chain, self.floor_chain = [], []
        for problem, instance in zip(task.conditions, task.draw(), strict=True):
            plain = _is_gaussian(problem)
            if plain or self.run.noise_floor:
                key = problem.model_dump_json(exclude={"latent"})
                if key not in gaussian:
                    gaussian[key] = len(self.instances)
                    self.instances.append(instance.replace(latent=Gaussian()))
                self.floor_chain.append(gaussian[key])
            self.chain.append(gaussian[problem.model_dump_json(exclude={"latent"})] if plain else len(self.instances))
            if not plain:
                self.instances.append(instance)

    def results(self, progress: Callable[[float], None]) -> dict[str, np.ndarray]:
        """All arrays of the task."""
        runs = simulate_together(
            self.instances,
            np.append(0.0, self.times),  # a run that diverges before the first output time has this one
            runs=self.run.runs,
            seed=self.task.seed,
            overlaps=self.measured_as,
            test_samples=self.run.test_samples,
            threads=self.threads,
            progress=progress,
        )
        runs = [run.drop_vars("mean_field", errors="ignore") for run in runs]
        theory = xr.concat([self._theory_of(name) for name in self.run.theories], dim="theory", join="override")
        by_theory = [self._sgd(runs, name) for name in self.run.theories]
        sgd = xr.concat(by_theory, dim="theory", join="override")
        M, scale = self._discrepancies(theory, sgd)
        found = {f"M_{name}": M[name] for name in M} | {f"scale_{name}": scale[name] for name in scale}
        if self.run.noise_floor:
            found |= self._floors(runs)
        for name in sgd if self.run.trajectories else ():
            found[str(name)] = sgd[name] if name in ("Q", "R") else sgd[name].isel(theory=0)
        for name in theory if self.run.trajectories else ():
            found[f"theory_{name}"] = theory[name]
        if "mixture" in self.run.theories:
            noise = self._noise()
            found |= {f"noise_{name}": noise[name] for name in noise}
        condition = {
            "kl": [float(instance.latent.kl_to_standard_normal(samples=KL_SAMPLES)) for instance in self.conditions],
            "diverged_at": [runs[chain].attrs.get("diverged_at", np.nan) for chain in self.chain],
        }
        found |= {name: xr.DataArray(values, dims="condition") for name, values in condition.items()}
        which = [[self.which[chain, name] for chain in self.chain] for name in self.run.theories]
        applies = np.array([[name is not None for name in row] for row in which], dtype=np.int8)
        lost = [
            [np.nan if name is None else self.solutions[self._key(chain, name)].diverged_at for chain, name in pairs]
            for pairs in (list(zip(self.chain, row, strict=True)) for row in which)
        ]
        found["applies"] = xr.DataArray(applies, dims=("theory", "condition"))
        found["theory_diverged_at"] = xr.DataArray(np.array(lost, dtype=float), dims=("theory", "condition"))
        nothing = found["kl"] * np.nan
        return {name: self._chunk(name, found.get(name, nothing)) for name in self.plan.variables}

    @property
    def conditions(self) -> list[Instance]:
        """The instance of every condition."""
        return [self.instances[chain] for chain in self.chain]

    @cached_property
    def which(self) -> dict[tuple[int, str], str | None]:
        """The theory to ask about each chain, for every one that is wanted."""
        known: dict[tuple[int, str], str | None] = {}
        for instance in self.instances:
            for name in self.run.theories:
                key = (id(instance.latent), name)
                if key not in known:
                    known[key] = applicable_theory(instance.latent, instance.latent_dim, name)
        return {
            (chain, name): known[id(instance.latent), name]
            for chain, instance in enumerate(self.instances)
            for name in self.run.theories
        }

    @property
    def measured_as(self) -> list[tuple[str, ...]]:
        """With the covariances of which theories each chain is measured; conventional ones for the noise floor."""
        floors = set(self.floor_chain)
        found = []
        for chain in range(len(self.instances)):
            wanted = {self.which[chain, name] for name in self.run.theories} - {None}
            wanted |= {"conventional"} if chain in floors or not wanted else set()
            found.append(tuple(sorted(str(name) for name in wanted)))
        return found

    def _key(self, chain: int, theory: str) -> tuple:
        """What a solution depends on: conventional theory does not see the law."""
        instance = self.instances[chain]
        law = None if theory == "conventional" else id(instance.latent)
        return theory, law, instance.learning_rate, instance.training.model_dump_json(), instance.student.tobytes()

    def wanted_theories(self) -> dict[tuple, tuple[Instance, str]]:
        """Every theory that is needed, once: by what it depends on, of which instance, and which."""
        wanted: dict[tuple, tuple[Instance, str]] = {}
        for chain, instance in enumerate(self.instances):
            names = {self.which[chain, name] for name in self.run.theories} - {None}
            for name in (*names, *(["conventional"] if chain in self.floor_chain else [])):
                wanted.setdefault(self._key(chain, str(name)), (instance, str(name)))
        return wanted

    @cached_property
    def solutions(self) -> dict[tuple, Solution]:
        """The solution of each."""
        wanted = self.wanted_theories()
        with ThreadPoolExecutor(self.threads) as pool:
            solved = pool.map(lambda pair: _solved(pair[0], pair[1], self.times, self.run), wanted.values())
            return dict(zip(wanted, solved, strict=True))

    def _theory_of(self, name: str) -> xr.Dataset:
        """One theory along ``condition``, NaN where it does not apply or has diverged."""
        return _along_conditions([self._solution(chain, name).mean for chain in self.chain])

    def _solution(self, chain: int, name: str) -> Solution:
        which = self.which[chain, name]
        if which is None:
            nothing = next(iter(self.solutions.values()))
            return Solution(nothing.mean * np.nan)
        return self.solutions[self._key(chain, which)]

    def _sgd(self, runs: Sequence[xr.Dataset], name: str) -> xr.Dataset:
        """SGD along ``condition``, as one theory measures it; Q and R are NaN where that does not apply."""
        found = []
        for chain in self.chain:
            which = self.which[chain, name]
            measured = self._measured(runs[chain], which or str(runs[chain]["overlaps"].values[0]))
            found.append(measured if which else measured.assign({x: measured[x] * np.nan for x in ("Q", "R")}))
        return _along_conditions(found)

    def _measured(self, run: xr.Dataset, theory: str) -> xr.Dataset:
        """A run at the output times, NaN after it diverged."""
        one = run.sel(overlaps=theory, drop=True).drop_vars([str(x) for x in run if str(x).endswith("_stderr")])
        return _at_all_times(one.isel(time=slice(1, None)), self.times)

    def _discrepancies(self, theory: xr.Dataset, sgd: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
        whole = sgd["v"].notnull().all(["time", "student"])
        scale = magnitude(sgd).where(whole)
        return discrepancy(theory, sgd), scale

    def _floors(self, runs: Sequence[xr.Dataset]) -> dict[str, xr.DataArray]:
        """M of Gaussian SGD and its mean |x|, along ``condition``."""
        chains = sorted(set(self.floor_chain))
        theory = _along_conditions([self.solutions[self._key(chain, "conventional")].mean for chain in chains])
        sgd = _along_conditions([self._measured(runs[chain], "conventional") for chain in chains])
        M, scale = self._discrepancies(theory, sgd)
        order = [chains.index(chain) for chain in self.floor_chain]
        found = {f"floor_{name}": M[name].isel(condition=order) for name in M}
        return found | {f"floor_scale_{name}": scale[name].isel(condition=order) for name in scale}

    def _noise(self) -> xr.Dataset:
        """What the scatter between members of an ensemble makes of M; nothing where theory has none."""
        found = []
        for chain in self.chain:
            solution = self._solution(chain, "mixture")
            none = solution.mean.isel(time=0, drop=True) * (np.nan if self.which[chain, "mixture"] is None else 0.0)
            found.append(none if solution.noise is None else solution.noise)
        return _along_conditions(found)

    def _chunk(self, name: str, array: xr.DataArray) -> np.ndarray:
        """An array of the task as the plan has it: the grid's dimensions in place, fewer units filled up with NaN."""
        variable, grid = self.plan.variables[name], self.plan.sweep.dims
        before = [dim for dim in variable.dims if dim == "theory"]
        after = [dim for dim in variable.dims if dim not in ("theory", *grid)]
        array = array.expand_dims([dim for dim in (*before, *after) if dim not in array.dims])  # of no condition here
        values = array.transpose(*before, "condition", *after).values
        fill = np.full((*values.shape[: len(before) + 1], *(self.plan.sizes[dim] for dim in after)), np.nan)
        if variable.dtype == "int8":
            fill = np.zeros(fill.shape, np.int8)
        fill[tuple(slice(size) for size in values.shape)] = values
        return fill.reshape(*(self.plan.sizes[dim] for dim in before), *self.task.shape, *fill.shape[len(before) + 1 :])


def _along_conditions(trajectories: Sequence[xr.Dataset]) -> xr.Dataset:
    return xr.concat(list(trajectories), dim="condition", join="override", coords="minimal", compat="override")


def _is_gaussian(problem: Problem) -> bool:
    """Whether the law is N(0, I) itself: so is a mixture whose components lie on top of each other."""
    latent = problem.latent
    return not isinstance(latent, GaussianMixture) or (latent.spread == 0 and latent.standardize != "estimated")


def _solved(instance: Instance, theory: str, times: np.ndarray, run: SweepRun) -> Solution:
    try:
        if theory != "mixture":
            solution = solve(instance, times, theory=theory)
            return Solution(_at_all_times(solution, times), None, solution.attrs.get("diverged_at", np.nan))
        chains = run.chains if len(instance.mixture_moments().kinds) == 1 else run.chains_by_weights
        ensemble = solve_mixture(instance, times, chains=chains, largest_step=run.largest_step, threads=1)
    except DivergenceError:  # before the first output
        nothing = solve(instance, [0.0]).map(lambda x: x * np.nan)
        return Solution(_at_all_times(nothing.isel(time=slice(0)), times), None, float(times[0]))
    ensemble = ensemble[[name for name in ensemble if name in ENTRIES]]
    mean = _at_all_times(ensemble.mean("run"), times)
    return Solution(mean, _scatter(ensemble), ensemble.attrs.get("diverged_at", np.nan))


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
    # Of one among them the variance is smaller, by 1 − 1/n against 1 + 1/n.
    away = np.abs(ensemble - ensemble.mean("run")).mean(["run", "time"]) * np.sqrt((count + 1) / (count - 1))
    return away.drop_vars(list(away.coords))
