"""Near clusters and far ones.

A classifier of two clusters, with every fifth label wrong. Near clusters follow an ordinary differential equation. Far
ones need a chain that takes a step for each step of SGD. Between them both hold. The grey band is the standard error
of SGD, and markers are filled where `sl.Mixture()` chooses these equations.
"""

import sys
import warnings

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl

REGIMES = {"slow": "equations of motion", "fast": "chains"}


def main(input_dim: int = 1000, label_noise: float = 0.2, runs: int = 12, chains: int = 32) -> Figure:
    """Mean |theory − mean of SGD| of Q in both regimes, against the squared distance |a|² of the clusters from zero."""
    times = sl.log_times(10 * input_dim, input_dim, 20)
    squares = input_dim * np.array([0.01, 0.03, 0.1, 0.3, 1.0])
    rows = []
    for square in squares:
        problem = sl.Problem(
            input_dim=input_dim, latent_dim=input_dim, features="identity", nonlinearity="identity", activation="relu",
            student_units=2, teacher_units=0, learning_rate=0.8, loss="logistic", labels="clusters",
            latent={"law": "clusters", "count": 2, "mean_norm": square**0.5, "label_noise": label_noise},
        )  # fmt: skip
        instance = problem.draw(seed=0)
        sgd = sl.simulate(instance, times, runs=runs, seed=1, overlaps="mixture")["Q"]
        chosen = sl.solve(instance, times, theory="mixture", chains=chains)
        name = chosen.attrs["mean_fields"].partition(":")[0]
        with warnings.catch_warnings(action="ignore"):  # the equations of motion warn where clusters are far
            other = sl.theory.solve_mixture(instance, times, chains=chains, fast=name == "slow")
        slow, fast = (chosen, other) if name == "slow" else (other, chosen)
        off = [float(abs(theory["Q"].mean("run") - sgd.mean("run")).mean()) for theory in (slow, fast)]
        chance = float((sgd.std("run", ddof=1) / runs**0.5).mean())
        rows.append((*off, chance, name))
        print(f"|a|² = {square:g}: equations {off[0]:.4f}, chains {off[1]:.4f}, SGD ± {chance:.4f}, chosen: {name}")
    *distances, chances, choices = zip(*rows, strict=True)
    figure, panel = plt.subplots()
    panel.fill_between(squares, 0, chances, color="0.85", label="standard error of SGD")
    for (regime, label), distance in zip(REGIMES.items(), distances, strict=True):
        (line,) = panel.plot(squares, distance, marker="o", mfc="white", label=f"{regime}: {label}")
        theirs = [regime == choice for choice in choices]
        panel.plot(squares[theirs], np.array(distance)[theirs], "o", color=line.get_color())
    panel.set(xscale="log", ylim=0, xlabel="$|a|^2$ of the clusters", ylabel="mean |theory − SGD| of Q")
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("near_and_far_clusters.png", dpi=160)
