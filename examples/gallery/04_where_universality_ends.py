"""Where universality ends.

B coordinates draw their component together, standardised. With B = 1 conventional theory holds. With slightly larger
blocks only theory that uses the covariance does; with large blocks neither. In the band, M ≤ 2 noise floors, theory
and SGD agree.
"""

import sys

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import sgdlimit as sl


def main(input_dim: int = 1000) -> Figure:
    """M(Q) over its floor against the block size."""
    times = sl.log_times(20 * input_dim, input_dim, 80)
    blocks, ratios = [b for b in (1, 2, 5, 10, 25, 50, 125, 250, 500) if b <= input_dim // 2], {}
    problem = sl.Problem(
        input_dim=input_dim,
        latent_dim=input_dim // 2,
        student_units=2,
        teacher_units=2,
        activation="erf",
        learning_rate=0.2,
    )
    gaussian = problem.draw(seed=0)
    exact = sl.solve(gaussian, times, nodes=70)
    floor = sl.compare(exact, sl.simulate(gaussian, times, runs=3, seed=1))["M"].sel(quantity="Q").item()
    for block in blocks:
        latent = sl.GaussianMixture(components=2, spread=9.0, block_size=block, shared_means=False)
        instance = problem.replace(latent=latent).draw(seed=0)
        for theory in ("conventional", "moment-matched"):
            sgd = sl.simulate(instance, times, runs=1, seed=1, overlaps=theory, test_samples=0)
            distance = sl.compare(sl.solve(instance, times, theory=theory, nodes=70), sgd)["M"].sel(quantity="Q")
            ratios.setdefault(theory, []).append(distance.item() / floor)
    figure, panel = plt.subplots()
    panel.axhspan(0.3, 2, color="0.93")
    for theory, values in ratios.items():
        panel.loglog(blocks, values, "o-", label=theory)
    panel.set(xlabel="block size B", ylabel="M(Q) / noise floor")
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).savefig("where_universality_ends.png", dpi=160)
