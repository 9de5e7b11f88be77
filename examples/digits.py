"""Handwritten digits as the latent: does either Gaussian theory follow SGD on them?

    python examples/digits.py

The 1797 digits of scikit-learn have 64 pixels, three of them blank. As latent vectors they pass through a hidden
manifold to N = 1000 inputs, and a teacher labels them. SGD sees each digit many times; the mixture of ten clusters that
is fitted to them gives fresh samples of much the same law.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture

import sgdlimit as sl


def main(steps: int = 30_000, runs: int = 4) -> dict[tuple[str, str], float]:
    """M(Q) of both theories over its noise floor, for the digits and for the mixture fitted to them."""
    pixels = load_digits().data
    digits = sl.Empirical(pixels[:, pixels.std(axis=0) > 0], standardize=True)
    fitted = GaussianMixture(10, covariance_type="full", reg_covar=1e-2, random_state=0).fit(digits.samples)
    laws = {"digits": digits, "fitted mixture": sl.ClusterMixture.from_sklearn(fitted, standardize=True)}

    problem = sl.Problem(
        input_dim=1000, latent_dim=digits.dim, student_units=2, teacher_units=2, activation="erf", learning_rate=0.2
    )
    instance = problem.draw(seed=0)
    times = sl.log_times(steps, 1000, 100)
    gaussian = sl.simulate(instance, times, runs=runs, seed=1)
    floor = sl.compare(sl.solve(instance, times), gaussian)["M"]
    ratios = {}
    for name, law in laws.items():
        there = instance.replace(latent=law)
        for theory in ("conventional", "moment-matched"):
            sgd = sl.simulate(there, times, runs=runs, seed=1, overlaps=theory)
            M = sl.compare(sl.solve(there, times, theory=theory), sgd)["M"]
            ratios[name, theory] = float((M / floor).sel(quantity="Q"))
            epochs = f", {sgd.attrs['epochs']:.0f} epochs" if "epochs" in sgd.attrs else ""
            verdict = "follows" if ratios[name, theory] <= 2 else "does not follow"
            print(f"{name:15} {theory:15} M(Q) is {ratios[name, theory]:6.1f} × the noise floor: {verdict}{epochs}")
    largest = np.linalg.eigvalsh(digits.covariance(digits.dim))[-1]
    print(f"D = {digits.dim}; the largest eigenvalue of the covariance is {largest:.1f}, isotropic it would be 1")
    return ratios


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
