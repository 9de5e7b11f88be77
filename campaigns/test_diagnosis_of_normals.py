"""How often a diagnosis is wrong or cannot tell, on samples whose right verdict is known. Half an hour on two cores.

Not part of the suite; run it with ``make campaigns``. It prints the verdict of every seed.
"""

from collections import Counter

import numpy as np
import pytest

import sgdlimit as sl

SEEDS = 100


@pytest.mark.parametrize(("count", "wrong", "cannot_tell"), [(400, 5, 100), (4000, 5, 20)])
def test_verdicts_on_independent_normals(count, wrong, cannot_tell):
    """Conventional theory holds for N(0, I). The bounds are numbers of 100 sets of 20 columns."""
    found = Counter()
    for seed in range(SEEDS):
        samples = np.random.default_rng(seed).standard_normal((count, 20))
        diagnosis = sl.diagnose(samples, seed=seed)
        found[diagnosis.outcomes["conventional"]] += 1
        print(f"{count} × 20, seed {seed}, {diagnosis.data.sizes['run']} runs. {diagnosis.headline}", flush=True)
    print(dict(found))
    assert found["fails"] <= wrong
    assert found["cannot tell"] <= cannot_tell
