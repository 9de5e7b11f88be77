"""How the cost grows: exponents of time against N, D, K, M, conditions and nodes, beside the expected ones.

    python benchmarks/scaling.py

Prints a Markdown table. Every row is a straight line through the logarithms of the larger half of its sizes, where the
term with the highest power has taken over; each time is the least of several.
"""

import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from sgdlimit.errors import DivergenceWarning
from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
from sgdlimit.problem import GaussianMixture, Problem
from sgdlimit.simulation import simulate, simulate_together
from sgdlimit.theory import Spectrum, solve_spectrum, spectrum

warnings.simplefilter("ignore", DivergenceWarning)
PAPER = PRESETS["paper"].problem.replace(activation="erf", learning_rate=0.1)


def least(call: Callable[[], object], repeats: int = 3) -> float:
    """Least wall time of a call in seconds, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def per_step(problem: Problem, steps: int = 8192) -> float:
    """Seconds a step of one run costs: the difference of two lengths, so that preparations drop out."""
    instance = problem.draw(0)

    def run(count: int) -> float:
        return least(lambda: simulate(instance, [count / problem.input_dim], test_samples=0))

    return (run(3 * steps) - run(steps)) / (2 * steps)


def per_condition(count: int) -> float:
    """Seconds that a run of 8192 steps costs in the company of others."""
    base = PAPER.draw(0)
    laws = [
        PAPER.replace(latent=GaussianMixture(components=2, spread=a)).draw(0).latent for a in np.linspace(1, 9, count)
    ]
    conditions = [base.replace(latent=law) for law in laws]
    return least(lambda: simulate_together(conditions, [8.192], test_samples=0))


def theory(problem: Problem, keep: int | None = None) -> float:
    """Seconds of a warm solution; with ``keep``, on that many nodes of the spectrum (of their own weights)."""
    instance = problem.draw(0)
    nodes = spectrum(instance)
    if keep is not None:
        some = np.arange(keep) % len(nodes.weights)
        weights = nodes.weights[some] / nodes.weights[some].sum()
        nodes = Spectrum(
            nodes.eigenvalues[some], weights, nodes.student[some], nodes.overlap[some], nodes.teacher[some],
            nodes.teacher_overlap + np.eye(len(nodes.teacher_overlap)),
        )  # fmt: skip
    arguments = nodes, instance.student_output, instance.teacher_output
    settings = {"activation": problem.activation, "learning_rate": 0.1, "times": PRESETS["paper"].times}
    return least(lambda: solve_spectrum(*arguments, **settings))


def changed(**sizes: int | str) -> Problem:
    """The paper's problem at other sizes."""
    return PAPER.replace(**sizes)


def row(name: str, sizes: Sequence[int], cost: Callable[[int], float], expected: str) -> None:
    """Measure, fit and print."""
    times = [cost(size) for size in sizes]
    half = len(sizes) // 2
    exponent = np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0]
    values = ", ".join(f"{1e6 * t:.3g}" for t in times)
    print(f"| {name} | {', '.join(map(str, sizes))} | {values} | {exponent:.2f} | {expected} |", flush=True)


def main() -> None:
    """Measure all rows."""
    print("| cost of | sizes | µs | exponent | expected |\n|---|---|---|---|---|")
    row(
        "a step, N with D = N/2",
        [500, 1000, 2000, 4000, 8000],
        lambda n: per_step(changed(input_dim=n, latent_dim=n // 2)),
        "2: the product",
    )
    row(
        "a step, D at N = 1000", [125, 250, 500, 1000, 2000], lambda d: per_step(changed(latent_dim=d)), "1, and ½ less"
    )
    row("a step, K", [2, 4, 8, 16, 32, 64], lambda k: per_step(changed(student_units=k)), "1, from the kernel alone")
    row("a step, M", [2, 8, 32, 128], lambda m: per_step(changed(teacher_units=m)), "0 to 1: columns of the product")
    row("8192 steps, conditions", [1, 4, 16, 64, 256], per_condition, "1, from the kernel alone")
    row("theory, nodes", [63, 125, 250, 500, 1000, 2000], lambda n: theory(PAPER, n), "1")
    for name in ("erf", "relu"):
        of_units = lambda k, name=name: theory(changed(student_units=k, teacher_units=k, activation=name))  # noqa: E731
        row(f"theory, K = M, {name}", [1, 2, 4, 8], of_units, "4: I4, pairs of students times pairs of fields")


if __name__ == "__main__":
    main()
