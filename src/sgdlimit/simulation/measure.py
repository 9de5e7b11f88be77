"""From kept weights to a trajectory: order parameters, and the generalisation error on fresh samples."""

import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32

from sgdlimit.activations import activation_named
from sgdlimit.errors import DivergenceError, DivergenceWarning
from sgdlimit.inputs.equivalence import InputMoments
from sgdlimit.instance import Instance
from sgdlimit.simulation.chains import Chains
from sgdlimit.simulation.kernels import inputs_and_targets
from sgdlimit.simulation.stream import Stream
from sgdlimit.trajectory import make_attrs, make_trajectory

__all__ = ["TestSet", "combine_runs", "draw_test_set", "form_samples", "measure"]

TIMES_AT_ONCE = 25  # output times in one task


@dataclass(frozen=True)
class TestSet:
    """Fresh samples of a condition's own law."""

    inputs: Float32[np.ndarray, "sample N"]
    labels: Float[np.ndarray, "sample"]


def form_samples(
    chains: Chains, index: int, stream: Stream, count: int
) -> tuple[Float32[np.ndarray, "count N"], Float[np.ndarray, "count"]]:
    """Inputs X and labels y of the first ``count`` samples that a chain's condition sees on a stream."""
    inputs = np.empty((count, chains.kept_student.shape[3]), np.float32)
    labels = np.empty(count)
    products = stream.empty_products()
    for start in range(0, count, Stream.BLOCK):
        size = min(Stream.BLOCK, count - start)
        stream.fill_products(start, products)
        inputs_and_targets(
            products,
            size,
            stream.chosen[index, 0],
            stream.chosen[index, 1],
            stream.coefficients[index],
            stream.shifts,
            index,
            stream.gains[index],
            chains.manifold,
            chains.activations[index],
            chains.teacher_output,
            inputs[start : start + size],
            labels[start : start + size],
        )
    return inputs, labels


def draw_test_set(chains: Chains, index: int, stream: Stream, count: int) -> TestSet:
    """Draw ``count`` fresh samples of the law of chain ``index``."""
    return TestSet(*form_samples(chains, index, stream, count))


def measure(
    chains: Chains,
    index: int,
    instance: Instance,
    moments: Sequence[InputMoments],
    test_set: TestSet | None,
    times: Float[np.ndarray, "time"],
    pool: Executor,
) -> xr.Dataset:
    """The trajectory of one chain, with a leading ``overlaps`` dimension, cut where the chain diverged."""
    reached = chains.finite_outputs(index)
    if reached == 0:
        raise DivergenceError(
            f"learning_rate: {instance.learning_rate:g} makes SGD diverge before the first output time {times[0]:g}; "
            "lower it"
        )
    student, output = chains.kept_student[index, :reached], chains.kept_output[index, :reached]
    parts = [slice(s, min(s + TIMES_AT_ONCE, reached)) for s in range(0, reached, TIMES_AT_ONCE)]
    data: dict[str, Any] = {"v": output}
    overlaps = [list(pool.map(lambda part, m=m: m.overlaps(student[part]), parts)) for m in moments]
    data["Q"] = np.stack([np.concatenate([Q for Q, _ in chunks]) for chunks in overlaps])
    data["R"] = np.stack([np.concatenate([R for _, R in chunks]) for chunks in overlaps])
    if test_set is not None:
        losses = pool.map(lambda part: _test_errors(student[part], output[part], test_set, instance.activation), parts)
        data["generalization_error"], data["generalization_error_stderr"] = np.concatenate(list(losses), axis=1)
    trajectory = make_trajectory(times[:reached], leading="overlaps", **data)
    if chains.diverged_step[index] >= 0:
        trajectory.attrs["diverged_at"] = float(chains.diverged_step[index] / instance.input_dim)
    elif reached < len(times):
        trajectory.attrs["diverged_at"] = float(times[reached])
    return trajectory


def _test_errors(
    student: Float32[np.ndarray, "time K N"], output: Float[np.ndarray, "time K"], test_set: TestSet, activation: str
) -> Float[np.ndarray, "2 time"]:
    """ε_g = E Δ²/2 (S48) over the test set, and its standard error."""
    times, K, N = student.shape
    fields = student.reshape(-1, N) @ test_set.inputs.T / np.float32(np.sqrt(N))
    hidden = activation_named(activation).value(fields).reshape(times, K, -1)
    loss = np.square(np.einsum("tk,tks->ts", output, hidden) - test_set.labels) / 2
    return np.stack([loss.mean(axis=1), loss.std(axis=1) / np.sqrt(loss.shape[1])])


def combine_runs(
    runs: Sequence[xr.Dataset], attrs: dict[str, Any], overlaps: Sequence[str], *, squeeze: bool
) -> xr.Dataset:
    """Stack runs along a leading ``run`` dimension, cut to the shortest; a cut is reported."""
    shortest = min(run.sizes["time"] for run in runs)
    diverged = [run.attrs["diverged_at"] for run in runs if "diverged_at" in run.attrs]
    attrs = attrs | {"overlaps": overlaps[0] if squeeze else list(overlaps), "runs": len(runs)}
    if diverged:
        attrs["diverged_at"] = min(diverged)
        warnings.warn(
            f"learning_rate: {attrs['learning_rate']:g} makes SGD diverge at t = {min(diverged):.4g} "
            f"({len(diverged)} of {len(runs)} runs); the trajectory is cut there, lower the rate",
            DivergenceWarning,
            stacklevel=3,
        )
    combined = xr.concat([run.isel(time=slice(shortest)) for run in runs], dim="run", combine_attrs="drop")
    combined = combined.assign_coords(run=np.arange(len(runs)), overlaps=list(overlaps))
    if squeeze:
        combined = combined.isel(overlaps=0, drop=True)
    return combined.assign_attrs(make_attrs(attrs))
