"""The paper preset's SGD on an accelerator: seconds, share of peak in the product, bytes a step against bandwidth.

    python benchmarks/accelerator.py [instances] [steps]

Prints one JSON object. Bandwidth and peak are measured on the spot, by a copy and a square product of their own.
"""

import json
import sys
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
from sgdlimit.simulation import _blocks as jax_engine
from sgdlimit.simulation._chains import Chains
from sgdlimit.simulation._stream import Stream, stream_of
from sgdlimit.sweep import Plan
from sgdlimit.sweep._task import Conditions


def seconds(call, repeats=5):
    """Median wall time of a call that returns device arrays, after one to compile."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main(instances: int, steps: int) -> dict:
    """Measure."""
    preset = PRESETS["paper"]
    output_steps = np.unique(np.rint(np.geomspace(1, steps, 240)).astype(int))
    streams, chains = [], []
    for seed in range(instances):
        plan = Plan(replace(preset, first_instance=seed).grid_sweep())
        conditions = Conditions(plan, plan.task(0), threads=1).instances
        stream = stream_of(conditions).with_keys(seed, 0, 0)
        streams.append(stream)
        chains.append(Chains.start(conditions, output_steps, stream))
    count = instances * len(chains[0].student)
    result = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "chains": count, "steps": steps}

    size = 8192
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    result["float32_product_tflops"] = 2 * size**3 / seconds(lambda: product(a)) / 1e12
    big = jnp.ones(1 << 29, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    result["copy_gb_per_s"] = 2 * big.nbytes / seconds(lambda: copy(big)) / 1e9
    del a, big

    make = jax_engine._maker(streams)
    block = seconds(lambda: make(0))
    sources = len(streams[0].sources)
    flops = 2 * instances * sources * Stream.BLOCK * streams[0].projection.matrix.size
    result["block_of_products_s"] = block
    result["product_tflops_with_sampling"] = flops / block / 1e12

    start = time.perf_counter()
    jax_engine.train_together(chains, streams, np.empty(0), lambda fraction: None)
    result["first_s"] = time.perf_counter() - start
    start = time.perf_counter()
    jax_engine.train_together(chains, streams, np.empty(0), lambda fraction: None)
    result["warm_s"] = time.perf_counter() - start
    state_bytes = 4 * count * chains[0].student.shape[1] * streams[0].width
    updates = result["warm_s"] - block * (-(-steps // Stream.BLOCK))
    result["us_per_step_all_chains"] = updates / steps * 1e6
    result["least_bytes_per_step"] = 2 * state_bytes
    result["least_bytes_gb_per_s"] = 2 * state_bytes / (updates / steps) / 1e9
    result["us_per_step_and_chain"] = result["warm_s"] / steps / count * 1e6
    result["diverged"] = int(sum((c.diverged_step >= 0).sum() for c in chains))
    return result


if __name__ == "__main__":
    print(json.dumps(main(*(int(a) for a in (*sys.argv[1:], 20, 100_000)[:2])), indent=1))
