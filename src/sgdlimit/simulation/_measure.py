"""From kept weights to a trajectory: order parameters, and the generalisation error on fresh samples."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32

from ..errors import DivergenceError, DivergenceWarning
from ..inputs import InputMoments
from ..instance import Instance
from ..trajectory import make_trajectory
from ._chains import Chains
from ._kernel import inputs_and_labels, losses
from ._stream import Stream

__all__ = ["Mapper", "Measurement", "TestProducts", "TestSet", "combine_runs", "form_samples", "measure"]

TIMES_AT_ONCE = 25  # output times in one task

Mapper = Callable[..., Iterable[Any]]
"""``map``, or that of a pool of threads."""


@dataclass(frozen=True)
class TestSet:
    """Fresh samples of a condition's own law."""

    inputs: Float32[np.ndarray, "sample N"]
    labels: Float[np.ndarray, "task sample"]
    """Without noise."""


class TestProducts:
    """The products that test sets are made of, shared by all conditions of a stream."""

    def __init__(self, stream: Stream, count: int, mapper: Mapper) -> None:
        self.stream, self.count = stream, count

        def make(start: int) -> Float32[np.ndarray, "source step width"]:
            products = stream.empty_products()
            stream.fill_products(start, products)
            return products

        self.blocks = list(mapper(make, range(0, count, Stream.BLOCK)))

    def test_set(self, chains: Chains, index: int, mapper: Mapper) -> TestSet:
        """The test set of one chain's condition."""
        inputs = np.empty((self.count, chains.kept_student.shape[3]), np.float32)
        labels = np.empty((chains.teacher_output.shape[1], self.count))

        def form(block: int) -> None:
            some = slice(block * Stream.BLOCK, min((block + 1) * Stream.BLOCK, self.count))
            form_samples(chains, index, self.stream, self.blocks[block], inputs[some], labels[:, some])

        list(mapper(form, range(len(self.blocks))))
        return TestSet(inputs, labels)


def form_samples(
    chains: Chains,
    index: int,
    stream: Stream,
    products: Float32[np.ndarray, "source step width"],
    inputs: Float32[np.ndarray, "count N"],
    labels: Float[np.ndarray, "task count"],
) -> None:
    """Write inputs X and labels y of the first samples of a block, as one chain's condition and each task see them."""
    inputs_and_labels(
        products,
        len(inputs),
        stream.chosen[index, 0],
        stream.chosen[index, 1],
        stream.coefficients[index],
        stream.shifts,
        index,
        stream.gains[index],
        chains.manifold,
        chains.teacher_activations[index],
        chains.tables,
        chains.teacher_output,
        inputs,
        labels,
    )


@dataclass(frozen=True)
class Measurement:
    """What was measured of one run, up to the last output time that it reached with finite weights."""

    variables: dict[str, Float[np.ndarray, "..."]]
    """Q and R with a leading ``overlaps`` axis, v, mean fields, and errors with their standard errors."""
    diverged_at: float | None

    @property
    def reached(self) -> int:
        """Number of output times."""
        return len(self.variables["v"])


def measure(
    chains: Chains,
    index: int,
    instance: Instance,
    moments: Sequence[InputMoments],
    input_means: Float[np.ndarray, "c N"] | None,
    test_set: TestSet | None,
    times: Float[np.ndarray, "time"],
    mapper: Mapper,
    *,
    outputs: tuple[int, int | None] = (0, None),
) -> Measurement:
    """Measure one chain, up to where it diverged, at all output times or at those from one place to another.

    Raises
    ------
    DivergenceError
        If that is before the first output time.
    """
    first, until = outputs
    reached = chains.finite_outputs(index, until)
    if reached == 0:
        raise DivergenceError(
            f"learning_rate: {instance.learning_rate:g} makes SGD diverge before the first output time {times[0]:g}; "
            "lower it"
        )
    student, output = chains.kept_student[index, first:reached], chains.kept_output[index, first:reached]
    count = len(output)
    parts = [slice(s, min(s + TIMES_AT_ONCE, count)) for s in range(0, count, TIMES_AT_ONCE)]
    variables = {"v": output.copy()}
    overlaps = [list(mapper(lambda part, m=m: m.overlaps(student[part]), parts)) for m in moments]
    variables["Q"] = np.stack([np.concatenate([Q for Q, _ in chunks]) for chunks in overlaps])
    variables["R"] = np.stack([np.concatenate([R for _, R in chunks]) for chunks in overlaps])
    if input_means is not None:
        variables["mean_field"] = student @ input_means.T / np.sqrt(instance.input_dim)
    if test_set is not None:
        scaled = chains.rules.output_scale[index] * output
        losses = mapper(lambda part: _test_errors(chains, index, student[part], scaled[part], test_set), parts)
        errors = np.concatenate(list(losses), axis=1)
        task = np.searchsorted(chains.switch_steps, chains.output_steps[first:reached], side="right")
        variables["generalization_error"], variables["generalization_error_stderr"] = errors[:, range(count), task]
        if len(test_set.labels) > 1:
            variables["task_error"], variables["task_error_stderr"] = errors
    diverged_at = None
    if chains.diverged_sample[index] >= 0:
        diverged_at = float(chains.diverged_sample[index] // chains.batch_size / instance.input_dim)
    elif reached < (len(times) if until is None else until):
        diverged_at = float(times[reached])
    return Measurement(variables, diverged_at)


def _test_errors(
    chains: Chains,
    index: int,
    student: Float32[np.ndarray, "time K N"],
    output: Float[np.ndarray, "time K"],
    test_set: TestSet,
) -> Float[np.ndarray, "2 time task"]:
    """ε_g = E Δ²/2 (S48) over the test set, and its standard error."""
    times, K, N = student.shape
    fields = (student.reshape(-1, N) @ test_set.inputs.T / np.float32(np.sqrt(N))).reshape(times, K, -1)
    errors = np.empty((2, len(test_set.labels), times))
    for task, labels in enumerate(test_set.labels):
        losses(fields, chains.activations[index], chains.tables, output, labels, errors[0, task], errors[1, task])
    return np.swapaxes(errors, 1, 2)


def combine_runs(
    runs: Sequence[Measurement],
    times: Float[np.ndarray, "time"],
    overlaps: str | Sequence[str],
    attrs: dict[str, Any],
) -> xr.Dataset:
    """The trajectory of several runs along a leading ``run`` dimension, cut to the shortest; a cut is reported."""
    shortest = min(run.reached for run in runs)
    diverged = [run.diverged_at for run in runs if run.diverged_at is not None]
    attrs = attrs | {"overlaps": overlaps, "runs": len(runs)}
    if diverged:
        attrs["diverged_at"] = min(diverged)
        warnings.warn(
            f"learning_rate: {attrs['learning_rate']:g} makes SGD diverge at t = {min(diverged):.4g} "
            f"({len(diverged)} of {len(runs)} runs); the trajectory is cut there, lower the rate",
            DivergenceWarning,
            stacklevel=3,
        )
    variables = {}
    for name in runs[0].variables:
        if name not in ("Q", "R"):
            variables[name] = np.stack([run.variables[name][:shortest] for run in runs])
        else:
            both = np.stack([run.variables[name][:, :shortest] for run in runs])
            variables[name] = both[:, 0] if isinstance(overlaps, str) else both
    coords = {"run": np.arange(len(runs))} | ({} if isinstance(overlaps, str) else {"overlaps": list(overlaps)})
    return make_trajectory(times[:shortest], leading=coords, attrs=attrs, **variables)
