"""Theory of inputs in clusters against SGD at real sizes: N = 1000 to t = 100. A few hours on two cores.

Not part of the suite; run it with ``make campaigns``. Each case prints, for Q, R, v and ε_g, the
mean distance of the mean over runs from that over chains and what their standard errors would make of it.
"""

import numpy as np
import pytest

import sgdlimit as sl

N, D, T = 1000, 500, 100
TIMES = sl.log_times(T * N, N, 40)
RUNS, CHAINS = 12, 32


def problem(**changes):
    """The paper's problem, with some settings changed."""
    settings = {
        "input_dim": N,
        "latent_dim": D,
        "student_units": 2,
        "teacher_units": 2,
        "activation": "erf",
        "learning_rate": 0.2,
    }
    return sl.Problem(**(settings | changes))


def mixture(components, spread=9.0, **options):
    """One component for the whole latent vector, standardised."""
    return sl.GaussianMixture(
        components=components, spread=spread, **({"block_size": D, "standardize": True} | options)
    )


RELU = {"activation": "relu", "learning_rate": 0.05}
RAW = {"standardize": False}
CASES = {
    "erf, m=2": problem(latent=mixture(2)),
    "erf, m=3, unequal": problem(latent=mixture(3, weights=(0.5, 0.3, 0.2))),
    "erf, m=1, not standardised": problem(latent=mixture(1, 3.0, **RAW)),
    "erf, m=2, not standardised": problem(latent=mixture(2, 3.0, **RAW)),
    "erf, each coordinate, not standardised": problem(latent=mixture(2, block_size=1, **RAW)),
    "erf, blocks of 250": problem(latent=mixture(2, block_size=250)),
    "erf, K=2, M=3": problem(latent=mixture(2), teacher_units=3),
    "erf, K=3, M=2": problem(latent=mixture(2), student_units=3),
    "erf, f = tanh": problem(latent=mixture(2), nonlinearity="tanh"),
    "erf, f = relu, centred": problem(latent=mixture(2, 3.0), nonlinearity="relu"),
    "relu, m=2": problem(latent=mixture(2), **RELU),
    "relu, m=1, not standardised": problem(latent=mixture(1, 2.0, **RAW), **RELU),
    "relu, m=3, not standardised": problem(latent=mixture(3, 2.0, **RAW), **RELU),
    "erf, teacher sign": problem(latent=mixture(2), teacher_activation="sign"),
    "tanh": problem(latent=mixture(2), activation="tanh"),
    "options": problem(
        latent=mixture(2),
        training=sl.Training(label_noise=0.5, batch_size=2, weight_decay=0.2, output_normalization="1/sqrt(K)"),
    ),
    "two tasks": problem(latent=mixture(2), switch_times=(40.0,), task_similarity=0.5),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_sgd_within_standard_errors(name, seed):
    """Means of 12 runs and of 32 chains: M of the means is below 3.5 times what both standard errors make of it, or
    below 2/N of the scale of what is compared, the order of what theory leaves out.

    If all times went up and down together the 3.5 would be 2.8 standard errors; there are several that do not, so that
    a ratio of 2 is seen now and then, and one of 3.5 is not.
    """
    instance = CASES[name].draw(seed=seed)
    theory = sl.solve(instance, TIMES, theory="mixture", chains=CHAINS, seed=seed)
    runs = sl.simulate(instance, TIMES, runs=RUNS, seed=seed, overlaps="mixture", test_samples=4000)
    compared = sl.compare(theory, runs)
    found, noise, scale = (compared[key].values for key in ("M_of_means", "noise_of_means", "scale"))
    for quantity, *numbers in zip(compared["quantity"].values, found, noise, scale, strict=True):
        print(f"{name:40s} {seed} {quantity:22s} M {numbers[0]:.4f} noise {numbers[1]:.4f} of {numbers[2]:.3f}")
    modes = theory.attrs["modes"]
    assert modes == 1 or name.startswith("relu"), "a mean over modes is not to be compared"
    assert (found < np.maximum(3.5 * noise, 2 / N * scale)).all()
