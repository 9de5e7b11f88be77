"""Your own activation.

A softsign, beside erf: theory in colour, SGD in grey. Averages of the softsign have no closed form and are
done to a stated error.
"""

import sys

import jax.numpy as jnp
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl

SOFTSIGN = sl.Activation(lambda x: x / (1 + jnp.abs(x)), name="softsign", accuracy=5e-3)


def main(input_dim: int = 1000) -> Figure:
    """Generalisation error with both."""
    problem = sl.Problem(
        input_dim=input_dim,
        latent_dim=input_dim // 2,
        student_units=2,
        teacher_units=2,
        activation="erf",
        learning_rate=0.5,
    )
    times = sl.log_times(30 * input_dim, input_dim, 60)
    figure, panel = plt.subplots()
    for activation in (SOFTSIGN, "erf"):
        instance = problem.draw(seed=0).replace(activation=activation)
        panel.semilogx(times, sl.simulate(instance, times, runs=2, seed=1)["generalization_error"].T, color="0.75")
        theory = sl.solve(instance, times, nodes=50)
        label = f"{instance.activation.name}, averages: {theory.attrs['exactness']}"
        panel.semilogx(times, theory["generalization_error"], label=label)
    panel.set(xlabel="time t = steps/N", ylabel="generalisation error")
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("own_activation.png", dpi=160)
