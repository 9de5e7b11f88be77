"""From kept weights to a trajectory: order parameters, and the generalisation error on fresh samples."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32

from ..inputs import InputMoments
from ..instance import Instance
from ..trajectory import make_trajectory
from ._kernel import Students, inputs_and_labels, losses
from ._sources import BLOCK
from ._stream import Stream

TIMES_AT_ONCE = 25  # output times in one task
LARGEST_WEIGHT = 1e18  # its square is finite in single precision


TestSet = tuple[Float32[np.ndarray, "sample N"], Float[np.ndarray, "task sample"]]
"""Inputs of a condition's own law, and their labels without noise."""


def test_sets(stream: Stream, count: int, pool: Executor) -> Callable[[int, Executor], TestSet]:
    """What makes the test set of a condition, from products that all conditions of a stream share."""

    def make(start: int) -> Float32[np.ndarray, "source step width"]:
        products = stream.empty_products()
        stream.fill_products(start, products)
        return products

    starts = range(0, count, BLOCK)
    blocks = list(pool.map(make, starts))

    def test_set(condition: int, pool: Executor) -> TestSet:
        inputs = np.empty((count, stream.input_dim), np.float32)
        labels = np.empty((len(stream.network.switch_samples) + 1, count))

        def form(start: int, products: Float32[np.ndarray, "source step width"]) -> None:
            X, y = inputs[start : start + BLOCK], labels[:, start : start + BLOCK]
            inputs_and_labels(products, stream.inputs, stream.network, condition, X, y)

        list(pool.map(form, starts, blocks))
        return inputs, labels

    return test_set


class Measurement(NamedTuple):
    """What was measured of one run, at output times that it reached with finite weights."""

    variables: dict[str, Float[np.ndarray, "time ..."]]
    """Q and R with an axis of overlaps after the time, v, mean fields, and errors with their standard errors."""
    diverged_at: float | None

    @property
    def reached(self) -> int:
        """Number of output times."""
        return len(self.variables["v"])


class Ruler(NamedTuple):
    """How the order parameters of one instance are measured."""

    instance: Instance
    condition: int
    """Its place among the instances."""
    overlaps: str | tuple[str, ...]
    moments: Sequence[InputMoments]
    """What Q and R are measured with, for each name of overlaps."""
    input_mean: Float[np.ndarray, "c N"] | None
    """The mean of the inputs in each cluster, where mean fields are asked for."""
    times: Float[np.ndarray, "time"]

    def measure(
        self,
        stream: Stream,
        students: Students,
        test_set: TestSet | None,
        pool: Executor,
        *,
        first: int = 0,
        until: int | None = None,
    ) -> Measurement:
        """Measure at the output times between two places, until the chain diverged."""
        until = len(self.times) if until is None else until
        reached, diverged_at = self._reached(stream, students, until)
        kept = slice(first, max(first, reached))
        student, output = students.kept_student[self.condition, kept], students.kept_output[self.condition, kept]
        parts = [slice(start, start + TIMES_AT_ONCE) for start in range(0, max(1, len(output)), TIMES_AT_ONCE)]
        variables = {"v": output.copy()}
        overlaps = [list(pool.map(lambda part, m=m: m.overlaps(student[part]), parts)) for m in self.moments]
        for place, name in enumerate(("Q", "R")):
            by_moments = [np.concatenate([chunk[place] for chunk in chunks]) for chunks in overlaps]
            variables[name] = np.stack(by_moments, axis=1)
        if self.input_mean is not None:
            variables["mean_field"] = student @ self.input_mean.T / np.sqrt(stream.input_dim)
        if test_set is not None:
            inputs, labels = test_set
            network, scaled = stream.network, stream.rule.student_scale[self.condition] * output
            activation = network.activations[self.condition]

            def errors(part: slice) -> Float[np.ndarray, "2 time task"]:
                """ε_g = E Δ²/2 (S48) over the test set, and its standard error."""
                times, K, N = student[part].shape
                fields = student[part].reshape(-1, N) @ inputs.T / np.float32(np.sqrt(N))
                fields = fields.reshape(times, K, len(inputs))
                return losses(fields, activation, network.tables, scaled[part], labels)

            by_task = np.concatenate(list(pool.map(errors, parts)), axis=1)
            task = np.searchsorted(network.switch_samples, students.output_samples[kept], side="right")
            variables["generalization_error"], variables["generalization_error_stderr"] = by_task[
                :, range(len(task)), task
            ]
            if len(labels) > 1:
                variables["task_error"], variables["task_error_stderr"] = by_task
        return Measurement(variables, diverged_at)

    def _reached(self, stream: Stream, students: Students, until: int) -> tuple[int, float | None]:
        """How many output times up to ``until`` have weights with finite squares, and when the chain diverged."""
        sample, reached, diverged_at = students.diverged_sample[self.condition], until, None
        if sample >= 0:
            step = sample // stream.rule.batch_size
            steps = students.output_samples // stream.rule.batch_size
            reached = min(reached, int(np.searchsorted(steps, step, side="right")))
            diverged_at = float(step / stream.input_dim)
        kept = students.kept_student[self.condition, :reached]
        finite = (kept.max(axis=(1, 2)) < LARGEST_WEIGHT) & (kept.min(axis=(1, 2)) > -LARGEST_WEIGHT)  # false for NaN
        if not finite.all():
            reached = int(np.argmin(finite))
        if diverged_at is None and reached < until:
            diverged_at = float(self.times[reached])
        return reached, diverged_at

    def trajectory(self, runs: Sequence[Sequence[Measurement]], attrs: dict[str, Any]) -> xr.Dataset:
        """The trajectory of several runs, each measured in parts; NaN where a run has not got to."""
        several = not isinstance(self.overlaps, str)
        variables = {}
        for name, example in runs[0][0].variables.items():
            values = np.full((len(runs), len(self.times), *example.shape[1:]), np.nan)
            for row, parts in zip(values, runs, strict=True):
                measured = np.concatenate([part.variables[name] for part in parts])
                row[: len(measured)] = measured
            if name in ("Q", "R"):
                values = np.moveaxis(values, 2, 1) if several else values[:, :, 0]
            variables[name] = values
        leading = {"run": np.arange(len(runs))} | ({"overlaps": list(self.overlaps)} if several else {})
        attrs = attrs | {"overlaps": self.overlaps, "runs": len(runs)}
        return make_trajectory(self.times, leading=leading, attrs=attrs, **variables)


def rulers_of(
    instances: Sequence[Instance],
    overlaps: Sequence[str | tuple[str, ...]],
    times: Float[np.ndarray, "time"],
) -> list[Ruler]:
    """How each instance is measured; instances on the same features share what they can."""
    known: dict[tuple, tuple[InputMoments, Float[np.ndarray, "c N"] | None]] = {}
    rulers = []
    for place, (instance, names) in enumerate(zip(instances, overlaps, strict=True)):
        measured = []
        for theory in [names] if isinstance(names, str) else names:
            key = theory, None if theory == "conventional" else id(instance.latent)
            if key not in known and theory == "mixture":
                mixture = instance.mixture_moments()
                known[key] = mixture.averaged(), mixture.input_mean
            elif key not in known:
                known[key] = instance.moments(theory), None
            measured.append(known[key])
        means = [mean for _, mean in measured if mean is not None]
        moments = [moments for moments, _ in measured]
        rulers.append(Ruler(instance, place, names, moments, means[0] if means else None, times))
    return rulers
