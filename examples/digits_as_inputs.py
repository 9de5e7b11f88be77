"""Handwritten digits as the inputs themselves: which theory follows SGD on them, and how sure is it of itself?

    python examples/digits_as_inputs.py

No manifold: the student sees the 61 pixels that are not blank, and so does the teacher. The noise floor is SGD on
Gaussian inputs with the covariance of the digits, for which the moment-matched theory is exact but for finite size. The
bootstrap tells how far that theory would move had other 1797 digits been collected.
"""

import sys

import numpy as np
import xarray as xr
from sklearn.datasets import load_digits

import sgdlimit as sl


def main(time: float = 200.0, runs: int = 10, resamples: int = 20) -> dict[str, float]:
    """M of v and of ε_g over its noise floor for both theories, and the standard error of ε_g, the mean over time."""
    pixels = load_digits().data
    pixels = pixels[:, pixels.std(axis=0) > 0]
    N, rng = pixels.shape[1], np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 2, N))
    network, settings = (student, [0.6, -0.4], teacher, [1.0, 0.7]), {"activation": "erf", "learning_rate": 0.2}
    digits = sl.Instance.from_inputs(pixels, *network, **settings, standardize=True)
    gaussian = sl.Instance.from_covariance(digits.latent.covariance(N), *network, **settings)
    times = sl.log_times(int(time * N), N, 60)

    def distance(instance: sl.Instance, theory: str) -> xr.DataArray:
        sgd = sl.simulate(instance, times, runs=runs, seed=1, overlaps=theory)
        return sl.compare(sl.solve(instance, times, theory=theory), sgd)["M"]

    floor, found = distance(gaussian, "conventional"), {}
    for theory in ("conventional", "moment-matched"):
        ratios = distance(digits, theory) / floor
        for quantity in ("v", "generalization_error"):
            found[f"{theory} {quantity}"] = float(ratios.sel(quantity=quantity))
            print(f"{theory:15} M({quantity}) is {found[f'{theory} {quantity}']:.1f} × the noise floor")
    known = sl.theory.bootstrap(digits, times, resamples=resamples)
    found["stderr"] = float(known["generalization_error_stderr"].mean())
    top, error = float(known["eigenvalue"][0]), float(known["eigenvalue_stderr"][0])
    print(f"{len(pixels)} digits leave the generalisation error uncertain by {found['stderr']:.4f}")
    print(f"the largest eigenvalue of their covariance is {top:.2f} ± {error:.2f}, isotropic it would be 1")
    print(f"SGD sees each digit {times[-1] * N / len(pixels):.1f} times; theory is for fresh ones")
    return found


if __name__ == "__main__":
    main(*(float(word) for word in sys.argv[1:2]))
