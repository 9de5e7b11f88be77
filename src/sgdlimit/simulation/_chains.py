"""The students in training, and the pass that trains them on a stream."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from ..inputs import Nonlinearity, nonlinearity_named
from ..instance import Instance
from ..rules import FIRST_TABLE, Activation, Tables
from ..training import Training, task_units
from ._kernel import Rules, sgd_block
from ._manifold import Manifold
from ._pipeline import run_pipeline
from ._stream import Stream

__all__ = ["Chains", "first_step_from", "train", "train_block"]

LARGEST_WEIGHT = 1e18


@dataclass
class Chains:
    """The students in training, stacked, and the weights kept at the output times."""

    student: Float32[np.ndarray, "chain K width"]
    """N columns and zeros up to the width of the stream's products."""
    output: Float[np.ndarray, "chain K"]
    gradient: Float32[np.ndarray, "chain K width"]
    """Sum over the samples of an unfinished batch; empty for batches of one, which need none."""
    output_gradient: Float[np.ndarray, "chain K"]
    teacher_output: Float[np.ndarray, "chain task M"]
    """Normalised: s_M ṽ."""
    activations: Int[np.ndarray, "chain"]
    teacher_activations: Int[np.ndarray, "chain"]
    functions: Sequence[Activation]
    """Those of the activations that stand in the tables, by place."""
    tables: Tables
    rules: Rules
    schedules: Sequence[Training]
    """Those whose schedules the rules' rows stand for."""
    batch_size: int
    switch_steps: Int[np.ndarray, "task-1"]
    manifold: Manifold
    """From preactivations to inputs."""
    applied: Manifold
    """What training applies to the stream: the same, or the identity where inputs are given."""
    function: Callable[[Any], Any] | None
    """f as JAX code, where it is one's own."""
    output_steps: Int[np.ndarray, "time"]
    kept_student: Float32[np.ndarray, "chain time K N"]
    kept_output: Float[np.ndarray, "chain time K"]
    diverged_sample: Int[np.ndarray, "chain"]

    @classmethod
    def start(cls, instances: Sequence[Instance], output_steps: Int[np.ndarray, "time"], stream: Stream) -> "Chains":
        """Initial students, to be trained on a stream."""
        N, as_given = instances[0].input_dim, stream.projection is None
        student = np.zeros((len(instances), *instances[0].student_output.shape, stream.width), np.float32)
        student[:, :, :N] = [i.student for i in instances]
        batch_size = instances[0].training.batch_size
        output = np.stack([i.student_output for i in instances])
        f, manifold = nonlinearity_named(instances[0].nonlinearity), Manifold.of_instances(instances)
        kept_student = np.empty((len(instances), len(output_steps), output.shape[1], N), np.float32)
        kept_output = np.empty((len(instances), len(output_steps), output.shape[1]))
        if output_steps[0] == 0:
            kept_student[:, 0], kept_output[:, 0] = student[:, :, :N], output
        used = dict.fromkeys(g for i in instances for g in (i.activation, i.teacher_activation) if g is not None)
        functions = [activation for activation in used if activation.code is None]
        return cls(
            student,
            output,
            np.zeros_like(student if batch_size > 1 else student[:, :0]),
            np.zeros_like(output),
            np.stack([_normalized_teacher(i) for i in instances]),
            _codes([i.activation for i in instances], functions),
            _codes([i.teacher_activation or i.activation for i in instances], functions),
            functions,
            Tables.of([activation.traced.table for activation in functions]),
            _rules(instances),
            list(dict.fromkeys(i.training for i in instances)),
            batch_size,
            first_step_from(instances[0].switch_times, N),
            manifold,
            Manifold.of("identity", [None] * len(instances)) if as_given else manifold,
            f.function if isinstance(f, Nonlinearity) else None,
            output_steps,
            kept_student,
            kept_output,
            np.full(len(instances), -1),
        )

    @property
    def samples(self) -> int:
        """Samples up to the last output step."""
        return int(self.output_steps[-1]) * self.batch_size

    @property
    def blocks(self) -> int:
        """Blocks of the stream up to the last output step."""
        return -(-self.samples // Stream.BLOCK)

    def factors(self, first_sample: int, count: int) -> Float[np.ndarray, "schedule sample"]:
        """What the schedules multiply the rates with, for some samples."""
        steps = np.arange(first_sample, first_sample + count) // self.batch_size
        return np.stack([training.factor(steps / self.kept_student.shape[3]) for training in self.schedules])

    def finite_outputs(self, chain: int, until: int | None = None) -> int:
        """How many output times a chain reached with weights whose squares are finite, in single precision.

        With ``until``, of those up to which the chains are trained so far.
        """
        step = self.diverged_sample[chain] // self.batch_size
        reached = len(self.output_steps) if until is None else until
        if step >= 0:
            reached = min(reached, int(np.searchsorted(self.output_steps, step, side="right")))
        kept = self.kept_student[chain, :reached]
        finite = (kept.max(axis=(1, 2)) < LARGEST_WEIGHT) & (kept.min(axis=(1, 2)) > -LARGEST_WEIGHT)  # false for NaN
        return reached if finite.all() else int(np.argmin(finite))


def first_step_from(times: Float[np.ndarray, "*time"], input_dim: int) -> Int[np.ndarray, "*time"]:
    """The first step that is not before some times; step n is taken at the time n/N."""
    return np.ceil(np.asarray(times) * input_dim - 1e-6).astype(np.int64)


def _codes(activations: Sequence[Activation], functions: Sequence[Activation]) -> Int[np.ndarray, "chain"]:
    """What the kernels know activations by: built-in codes, then places in the tables."""
    return np.array([g.code if g.code is not None else FIRST_TABLE + functions.index(g) for g in activations])


def _normalized_teacher(instance: Instance) -> Float[np.ndarray, "task M"]:
    return instance.training.output_scale(task_units(instance.teacher_output)) * np.atleast_2d(instance.teacher_output)


def _rules(instances: Sequence[Instance]) -> Rules:
    trainings = [i.training for i in instances]
    different = list(dict.fromkeys(trainings))
    return Rules(
        learning_rate=np.array([i.learning_rate for i in instances]),
        output_rate=np.array([i.training.output_rate(i.learning_rate) for i in instances]),
        output_scale=np.array([i.training.output_scale(len(i.student_output)) for i in instances]),
        label_noise=np.array([training.label_noise for training in trainings]),
        weight_decay=np.array([training.weight_decay for training in trainings]),
        schedule=np.array([different.index(training) for training in trainings]),
    )


def train(
    chains: Chains,
    stream: Stream,
    labels: Float[np.ndarray, "sample"],
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
    blocks = chains.blocks
    count = len(chains.student)
    bounds = np.linspace(0, count, min(count, 4 * threads) + 1).astype(int)

    def make(block: int, products: np.ndarray) -> None:
        stream.fill_products(block * Stream.BLOCK, products)

    def train(group: int, block: int, products: np.ndarray) -> None:
        train_block(chains, stream, labels, block, products, slice(bounds[group], bounds[group + 1]))

    run_pipeline(
        blocks=blocks,
        groups=len(bounds) - 1,
        threads=threads,
        empty=stream.empty_products,
        make=make,
        train=train,
        progress=lambda done: report(done / blocks),
    )


def train_block(
    chains: Chains,
    stream: Stream,
    labels: Float[np.ndarray, "sample"],
    block: int,
    products: Float32[np.ndarray, "source step width"],
    some: slice = slice(None),
) -> None:
    """Train some chains on one block of the stream, whose products are given; blocks come in order."""
    first = block * Stream.BLOCK
    size = min(Stream.BLOCK, chains.samples - first)
    noisy = bool(chains.rules.label_noise.any())
    sgd_block(
        products,
        size,
        stream.chosen[some],
        stream.coefficients[some],
        stream.shifts[some],
        stream.gains[some],
        stream.same_input[some],
        chains.applied.some(some),
        chains.activations[some],
        chains.teacher_activations[some],
        chains.tables,
        chains.rules.of(some),
        chains.factors(first, size),
        chains.teacher_output[some],
        chains.batch_size * chains.switch_steps,
        stream.label_noise(first, size if noisy else 0),
        labels[first : first + size],
        chains.batch_size,
        chains.student[some],
        chains.output[some],
        chains.gradient[some],
        chains.output_gradient[some],
        first,
        chains.batch_size * chains.output_steps,
        chains.kept_student[some],
        chains.kept_output[some],
        chains.diverged_sample[some],
    )
