"""How often the verdict on labelled data is the right rung, on classes that are Gaussian.

Not part of the suite; run it with ``make campaigns``. It prints the verdict of every seed.
"""

import numpy as np
import pytest

import sgdlimit as sl

SEEDS, COUNT, N = 20, 2000, 20
RUNGS = ("means", "pooled covariance", "class covariances")


def gaussian_classes(seed, rung):
    """Two classes of the means ±μ; isotropic, or with a common covariance, or each with its own."""
    rng = np.random.default_rng([seed, 7])
    y, z = rng.integers(0, 2, COUNT), rng.normal(size=(COUNT, N))
    basis, scales = np.linalg.qr(rng.normal(size=(N, N))).Q, np.geomspace(0.1, 3, N)
    if rung == "means":
        return z + 0.35 * np.where(y, 1, -1)[:, None] * rng.choice([-1, 1], N), y
    if rung == "pooled covariance":
        return (z + 0.35 * np.where(y, 1, -1)[:, None] * rng.choice([-1, 1], N)) * scales @ basis, y
    return (z * np.where(y[:, None], scales, scales[::-1]) + 0.1 * np.where(y, 1, -1)[:, None]) @ basis, y


@pytest.mark.parametrize("rung", RUNGS)
def test_verdicts_on_gaussian_classes(rung):
    """At least 19 of 20 seeds."""
    right = 0
    for seed in range(SEEDS):
        found = sl.diagnose(*gaussian_classes(seed, rung), chains=0, seed=seed, learning_rate=0.2)
        right += found.verdict == rung
        print(f"{rung}, seed {seed}: {found.headline}", flush=True)
    print(f"{rung}: {right} of {SEEDS}")
    assert right >= 19
