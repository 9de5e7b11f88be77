"""A mixture, standardised and not.

Each coordinate of the latent is a mixture of two Gaussians far apart. Standardised, SGD (grey) follows the
conventional theory (blue), which knows nothing of the mixture. As it is, the inputs have a mean, and mixture theory
takes over (orange, the mean of its ensemble).
"""

import sys

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl


def main(input_dim: int = 1000) -> Figure:
    """Q against time, both ways."""
    times = sl.log_times(20 * input_dim, input_dim, 80)
    figure, panels = plt.subplots(1, 2, sharex=True, figsize=(8, 3.4))
    for panel, standardize in zip(panels, (True, False), strict=True):
        problem = sl.Problem(
            input_dim=input_dim, latent_dim=input_dim // 2, student_units=2, teacher_units=2, activation="erf",
            learning_rate=0.2, latent=sl.GaussianMixture(components=2, spread=9.0, standardize=standardize),
        )  # fmt: skip
        instance = problem.draw(seed=0)
        sgd = sl.simulate(instance, times, runs=3, seed=1)["generalization_error"]
        panel.semilogx(times, sgd.T, color="0.75")
        panel.semilogx(times, sl.solve(instance, times)["generalization_error"], color="C0", label="conventional")
        ensemble = sl.solve(instance, times, theory="mixture", chains=8)["generalization_error"]
        panel.semilogx(times, ensemble.mean("run"), color="C1", linestyle="--", label="mixture")
        panel.set(title="standardised" if standardize else "as it is", xlabel="time t = steps/N")
    panels[0].set_ylabel("generalisation error")
    panels[0].legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("standardised_or_not.png", dpi=160)
