"""From kept weights to a trajectory: order parameters, and the generalisation error on fresh samples."""

import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped
from numpy import ndarray
from xarray import Dataset

from .._jax import own_jax
from ..errors import DivergenceWarning, ProblemError
from ..inputs import InputMoments
from ..instance import Instance
from ..rules import Rule
from ..trajectory import HEAD, TASK, make_trajectory, on_tasks
from ._kernel import losses
from ._sources import BLOCK
from ._stream import Kept, Products, Stream

TIMES_AT_ONCE = 25  # output times in one task
LARGEST_WEIGHT = 1e18  # its square is finite in single precision

KEPT = {
    "C": ("run", "step", "latent"),
    "X": ("run", "step", "input"),
    "y": ("run", "step"),
    "W": ("run", "time", "student", "input"),
}
"""Dimensions of the samples and weights that a trajectory can keep."""

TestSet = tuple[Float32[ndarray, "sample N"], Shaped[ndarray, "..."]]
"""Inputs and labels (task, sample); or what a rule makes its targets of; or the latent, for a teacher that moves."""

Moments = tuple[InputMoments, Float[ndarray, "c N"] | None]
"""Moments that give Q and R, and for mean fields the mean of the inputs in each cluster."""


@dataclass
class Record:
    """Measurements of one condition. They are NaN at output times that a run has not reached, or after it diverged."""

    instance: Instance
    condition: int
    overlaps: str | tuple[str, ...]
    moments: Sequence[Sequence[Moments]]
    """For each law of the inputs, those of each name in ``overlaps``."""
    times: Float[ndarray, "time"]
    reached: Int[ndarray, "run"]
    """How many output times each run reached with finite weights."""
    diverged_at: Float[ndarray, "run"]
    """When each run diverged, else NaN."""
    runs: int = 0
    """How many have begun."""
    attrs: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Float[ndarray, "run time ..."]] = field(default_factory=dict)
    """Q and R with an axis of overlaps after the time, v, mean fields, and errors with their standard errors."""
    kept: dict[str, list[ndarray]] = field(default_factory=dict)
    """Samples and weights of each run."""

    def measure(
        self, run: int, tests: Sequence[tuple[Stream, Products]], students: Kept, until: int, pool: Executor
    ) -> None:
        """Measure a run at the next output times, ``until`` in all, or until it diverged.

        ``tests`` are, for each law of the inputs, a stream and the products of a test set that has its keys.
        """
        self.runs, start = run + 1, int(self.reached[run])
        stop = self._reach(run, tests[0][0], students, until)
        starts = range(start, max(stop, start + 1), TIMES_AT_ONCE)
        slices = [slice(first, min(first + TIMES_AT_ONCE, stop)) for first in starts]
        by_law = []
        for (stream, products), moments in zip(tests, self.moments, strict=True):
            part = partial(self._part, stream, students, self._test_set(stream, products), moments)
            parts = [*pool.map(part, slices)]
            by_law.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        task = np.searchsorted(tests[0][0].chains.switch_samples, students.output_samples[start:stop], side="right")
        for name in by_law[0]:
            each = np.stack([values[name] for values in by_law])
            if name.startswith(TASK):  # on the inputs of each task
                values = np.moveaxis(each, 0, 2).diagonal(axis1=1, axis2=2) if len(each) > 1 else each[0]
            else:
                values = each[task % len(each), range(len(task))]
            empty = np.full((len(self.reached), len(self.times), *values.shape[1:]), np.nan)
            self.variables.setdefault(name, empty)[run, start:stop] = values

    def _test_set(self, stream: Stream, products: Products) -> TestSet:
        """Inputs of a test set, and what labels are made of."""
        count = products.shape[1]
        inputs, labels = stream.formed(self.condition, products, count)
        if self.instance.training.moves_teacher:
            latents = (stream.latent(self.condition, first) for first in range(0, count, BLOCK))
            return inputs, np.concatenate([stream.locations[:0], *latents])[:count]
        return inputs, labels if self.instance.closed_form or not count else stream.sees(self.condition, 0, products)

    def _reach(self, run: int, stream: Stream, students: Kept, until: int) -> int:
        """Find how many output times up to ``until`` have weights with finite squares, and when the run diverged."""
        start, sample, stop = self.reached[run], students.diverged_sample[self.condition], until
        if np.isnan(self.diverged_at[run]):
            if sample >= 0:
                stop = min(until, int(np.searchsorted(students.output_samples, sample, side="right")))
                self.diverged_at[run] = stream.time(sample)
            kept = students.student[self.condition, start:stop]
            largest = np.maximum(kept.max(axis=(1, 2)), -kept.min(axis=(1, 2)))  # abs would copy all of them
            self.reached[run] = stop = start + np.argmin([*(largest < LARGEST_WEIGHT), False])  # false for NaN
            if stop < until and np.isnan(self.diverged_at[run]):
                self.diverged_at[run] = self.times[stop]
        return int(self.reached[run])

    def _part(
        self, stream: Stream, students: Kept, test_set: TestSet, measured_with: Sequence[Moments], part: slice
    ) -> dict[str, Float[ndarray, "time ..."]]:
        """The variables at some output times."""
        condition, chains, rule = self.condition, stream.chains, stream.rules[self.condition]
        student, (inputs, labels) = students.student[condition, part], test_set
        head = {name: values[part] for name, values in students.heads[condition].items()}
        overlaps = zip(*(moments.overlaps(student) for moments, _ in measured_with), strict=True)
        variables = {name: np.stack(each, axis=1) for name, each in zip("QR", overlaps, strict=True)}
        moves = self.instance.training.moves_teacher
        if moves:  # R with all D coordinates of the latent becomes that with the teacher, and so do its fields
            teacher = students.teachers[condition][part]
            variables["R"] = variables["R"] @ teacher[:, None].mT
            labels = (labels @ teacher.mT / np.sqrt(self.instance.latent_dim)).astype(np.float32)
        variables |= {rule.prefix + name: values for name, values in head.items()}
        for _, mean in measured_with:
            if mean is not None:
                variables["mean_field"] = student @ mean.T / np.sqrt(stream.input_dim)
        if not len(inputs):
            return variables
        times, K, N = student.shape
        fields = (student.reshape(-1, N) @ inputs.T / np.float32(np.sqrt(N))).reshape(times, K, len(inputs))
        task = stream.task(students.output_samples[part])
        if moves or not self.instance.closed_form:
            tasks = range(len(chains.switch_samples) + 1)
            return variables | metrics(rule, fields, labels, head, task, tasks, moves)
        # ε_g = E Δ²/2 (S48) over the test set, and its standard error; with one head for all tasks or one for each.
        v = chains.rates.student_scale[condition] * head["v"]
        v = np.repeat(v[:, None], len(labels), axis=1) if v.ndim == 2 else v
        by_task = losses(fields, chains.activations[condition], chains.tables, v, labels)
        errors = {"generalization_error": by_task[:, range(times), task]}
        if len(labels) > 1:
            errors["task_error"] = by_task
        for name, both in errors.items():
            variables[name], variables[f"{name}_stderr"] = both
        return variables

    def whole(self) -> Dataset:
        """The trajectory of whole runs, cut to the shortest one; a warning reports a cut."""
        diverged, attrs = self.diverged_at[~np.isnan(self.diverged_at)], {}
        if len(diverged):
            attrs["diverged_at"] = float(min(diverged))
            warnings.warn(
                f"learning_rate: {self.instance.learning_rate:g} makes SGD diverge at t = {min(diverged):.4g} "
                f"({len(diverged)} of {self.runs} runs). The trajectory is cut there. Lower the rate.",
                DivergenceWarning,
                stacklevel=4,
            )
        kept = {}
        for name, runs in self.kept.items():
            more = (f"target_{axis}" for axis in range(runs[0].ndim + 1 - len(KEPT[name])))
            kept[name] = (*KEPT[name], *more), np.stack(runs)
        return self.trajectory(**attrs).assign(kept).isel(time=slice(self.reached.min()))

    def so_far(self) -> Dataset:
        """The trajectory of the runs begun; a run that diverged ends it with NaN."""
        diverged = ~np.isnan(self.diverged_at)
        attrs = {"diverged_at": float(self.times[self.reached[diverged].min()])} if diverged.any() else {}
        return self.trajectory(**attrs)

    def trajectory(self, **attrs: Any) -> Dataset:
        """The trajectory of the runs begun."""
        several = not isinstance(self.overlaps, str)
        variables = {name: values[: self.runs].copy() for name, values in self.variables.items()}
        for name, values in variables.items():
            if name in "QR":
                variables[name] = np.moveaxis(values, 2, 1) if several else values[:, :, 0]
            elif name.startswith(HEAD) and several:
                variables[name] = np.repeat(values[:, None], len(self.overlaps), axis=1)
        leading = {"run": np.arange(self.runs)} | ({"overlaps": list(self.overlaps)} if several else {})
        attrs = self.attrs | attrs | {"overlaps": self.overlaps, "runs": self.runs}
        return make_trajectory(self.times, leading=leading, attrs=attrs, **variables)


def metrics(
    rule: Rule,
    fields: Float32[ndarray, "time K sample"],
    teacher: Shaped[ndarray, "..."],
    head: dict[str, Float[ndarray, "time ..."]],
    task: Int[ndarray, "time"],
    tasks: Sequence[int],
    moves: bool,
) -> dict[str, Float[ndarray, "time *task"]]:
    """Means of a rule's metrics over a test set without noise, and their standard errors; of several tasks on each too.

    Teachers that move have their fields at each time.
    """
    import jax

    noise, count = np.zeros(rule.noise, np.float32), len(fields)
    size = TIMES_AT_ONCE * max(1, -(-count // TIMES_AT_ONCE))

    def filled(x):  # JAX compiles each operation for each shape, so that most calls have as many times
        return np.resize(x, (size, *np.shape(x)[1:]))

    fields, head, task = jax.tree.map(filled, (fields, head, task))
    teacher = filled(teacher) if moves else teacher

    def at_time(fields, teacher, head, task):
        given = jax.tree.map(partial(jax.numpy.asarray, dtype="float32"), rule.given)
        extras = {"noise": noise, "given": given, "task": task}
        measure = jax.vmap(
            lambda fields, teacher: rule.measure(fields, rule.target_seen(teacher, **extras), head, **extras)
        )
        return measure(fields.T, teacher)

    def measured(task):
        found = jax.vmap(at_time, (0, 0 if moves else None, 0, 0))(fields, teacher, head, task)
        return {name: np.asarray(value, float)[:count] for name, value in found.items()}

    with own_jax(accelerated=True):
        head = jax.tree.map(np.float32, head)
        values = measured(task)
        if len(tasks) > 1:
            by_task = [measured(np.full_like(task, s)) for s in tasks]
            values |= {on_tasks(name): np.stack([each[name] for each in by_task], axis=2) for name in values}
    errors = {f"{name}_stderr": value.std(axis=1) / np.sqrt(value.shape[1]) for name, value in values.items()}
    return {name: value.mean(axis=1) for name, value in values.items()} | errors


def records_of(
    instances: Sequence[Instance],
    overlaps: Sequence[str | tuple[str, ...]],
    times: Float[ndarray, "time"],
    runs: int,
) -> list[Record]:
    """Empty records; instances on the same features share the moments that they can."""
    known: dict[tuple, Moments] = {}

    def moments(instance, theory):
        moves = instance.training.moves_teacher
        key = theory, theory == "conventional" or id(instance.latent), moves
        if key not in known:
            within = instance.mixture_moments(theory, np.eye(instance.latent_dim) if moves else None)
            known[key] = within.averaged(), within.input_mean if theory == "mixture" else None
        return known[key]

    records = []
    for condition, (instance, names) in enumerate(zip(instances, overlaps, strict=True)):
        several = [names] if isinstance(names, str) else names
        if instance.later_latents and "mixture" in several:
            raise ProblemError("overlaps: must not be 'mixture' where inputs change (got it). Use 'moment-matched'.")
        measured = [[moments(each, theory) for theory in several] for each in instance.of_tasks()]
        records.append(Record(instance, condition, names, measured, times, np.zeros(runs, int), np.full(runs, np.nan)))
    return records
