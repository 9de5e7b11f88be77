"""The students in training, and the pass that trains them on a stream."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from sgdlimit.activations import activation_named
from sgdlimit.inputs.manifold import Nonlinearity, nonlinearity_named
from sgdlimit.instance import Instance
from sgdlimit.simulation.kernels import sgd_block
from sgdlimit.simulation.manifold import Manifold
from sgdlimit.simulation.pipeline import run_pipeline
from sgdlimit.simulation.stream import Stream

__all__ = ["Chains", "train"]

LARGEST_WEIGHT = 1e18


@dataclass
class Chains:
    """The students in training, stacked, and the weights kept at the output times."""

    student: Float32[np.ndarray, "chain K width"]
    """N columns and zeros up to the width of the stream's products."""
    output: Float[np.ndarray, "chain K"]
    teacher_output: Float[np.ndarray, "chain M"]
    activations: Int[np.ndarray, "chain"]
    learning_rates: Float[np.ndarray, "chain"]
    manifold: Manifold
    """From preactivations to inputs."""
    applied: Manifold
    """What training applies to the stream: the same, or the identity where inputs are given."""
    function: Callable[[Any], Any] | None
    """f as JAX code, where it is one's own."""
    output_steps: Int[np.ndarray, "time"]
    kept_student: Float32[np.ndarray, "chain time K N"]
    kept_output: Float[np.ndarray, "chain time K"]
    diverged_step: Int[np.ndarray, "chain"]

    @classmethod
    def start(cls, instances: Sequence[Instance], output_steps: Int[np.ndarray, "time"], stream: Stream) -> "Chains":
        """Initial students, to be trained on a stream."""
        N, as_given = instances[0].input_dim, stream.projection is None
        student = np.zeros((len(instances), *instances[0].student_output.shape, stream.width), np.float32)
        student[:, :, :N] = [i.student for i in instances]
        output = np.stack([i.student_output for i in instances])
        f, manifold = nonlinearity_named(instances[0].nonlinearity), Manifold.of_instances(instances)
        kept_student = np.empty((len(instances), len(output_steps), output.shape[1], N), np.float32)
        kept_output = np.empty((len(instances), len(output_steps), output.shape[1]))
        if output_steps[0] == 0:
            kept_student[:, 0], kept_output[:, 0] = student[:, :, :N], output
        return cls(
            student,
            output,
            np.stack([i.teacher_output for i in instances]),
            np.array([activation_named(i.activation).code for i in instances]),
            np.array([i.learning_rate for i in instances]),
            manifold,
            Manifold.of("identity", [None] * len(instances)) if as_given else manifold,
            f.function if isinstance(f, Nonlinearity) else None,
            output_steps,
            kept_student,
            kept_output,
            np.full(len(instances), -1),
        )

    def finite_outputs(self, chain: int) -> int:
        """How many output times a chain reached with weights whose squares are finite, in single precision."""
        step = self.diverged_step[chain]
        reached = len(self.output_steps) if step < 0 else int(np.searchsorted(self.output_steps, step, side="right"))
        kept = self.kept_student[chain, :reached]
        finite = (kept.max(axis=(1, 2)) < LARGEST_WEIGHT) & (kept.min(axis=(1, 2)) > -LARGEST_WEIGHT)  # false for NaN
        return reached if finite.all() else int(np.argmin(finite))


def train(
    chains: Chains,
    stream: Stream,
    labels: Float[np.ndarray, "step"],
    threads: int,
    report: Callable[[float], None],
) -> None:
    """Train all chains to their last output step, keeping their weights at the output steps.

    Parameters
    ----------
    labels
        Given labels y, or an empty array where the teacher labels.
    report
        Called with the fraction of steps taken.
    """
    steps = int(chains.output_steps[-1])
    blocks = -(-steps // Stream.BLOCK)
    count = len(chains.student)
    bounds = np.linspace(0, count, min(count, 4 * threads) + 1).astype(int)

    def size(block: int) -> int:
        return min(Stream.BLOCK, steps - block * Stream.BLOCK)

    def make(block: int, products: np.ndarray) -> None:
        stream.fill_products(block * Stream.BLOCK, products)

    def train(group: int, block: int, products: np.ndarray) -> None:
        some = slice(bounds[group], bounds[group + 1])
        first = block * Stream.BLOCK
        sgd_block(
            products,
            size(block),
            stream.chosen[some],
            stream.coefficients[some],
            stream.shifts[some],
            stream.gains[some],
            stream.same_input[some],
            chains.applied.some(some),
            chains.activations[some],
            chains.learning_rates[some],
            chains.teacher_output[some],
            labels[first : first + size(block)],
            chains.student[some],
            chains.output[some],
            first,
            chains.output_steps,
            chains.kept_student[some],
            chains.kept_output[some],
            chains.diverged_step[some],
        )

    run_pipeline(
        blocks=blocks,
        groups=len(bounds) - 1,
        threads=threads,
        empty=stream.empty_products,
        make=make,
        train=train,
        progress=lambda done: report(done / blocks),
    )
