"""The paper preset's SGD on an accelerator: seconds, share of peak in the product, bytes a step against bandwidth.

    python benchmarks/accelerator.py [runs] [steps]

Prints one JSON object. Bandwidth and peak are measured on the spot, by a copy and a square product of their own.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from sgdlimit.papers.bae_jeong_2024._paper import PRESETS
from sgdlimit.resources import cores
from sgdlimit.simulation._blocks import _products
from sgdlimit.simulation._sources import BLOCK
from sgdlimit.simulation._stream import stream_of
from sgdlimit.simulation._train import trained_blocks, workers
from sgdlimit.sweep import Conditions, Plan


def seconds(call, repeats=5):
    """Median wall time of a call that returns device arrays, after one to compile."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main(runs: int, steps: int) -> dict:
    """Measure."""
    output_steps = np.unique(np.rint(np.geomspace(1, steps, 240)).astype(int))
    plan = Plan(PRESETS["paper"].grid_sweep())
    stream = stream_of(Conditions(plan, 0).instances)
    streams = [stream.with_keys(0, run, 0) for run in range(runs)]
    count = runs * len(stream.instances)

    def train() -> list:
        with workers(cores()) as pool:
            blocks = trained_blocks(streams, output_steps, pool, threads=cores(), engine="jax")
            return list({run: students for run, students, *_ in blocks}.values())

    result = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "chains": count, "steps": steps}

    size = 8192
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    result["float32_product_tflops"] = 2 * size**3 / seconds(lambda: product(a)) / 1e12
    big = jnp.ones(1 << 29, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    result["copy_gb_per_s"] = 2 * big.nbytes / seconds(lambda: copy(big)) / 1e9
    del a, big

    start = time.perf_counter()
    latents = jnp.asarray(np.stack([stream.latents(0).swapaxes(0, 1) for stream in streams]))
    result["block_of_latents_s"] = time.perf_counter() - start
    projection = stream.projection
    matrices = [projection.triangle if source.isotropic else projection.matrix for source in stream.sources]
    block = seconds(lambda: _products(latents, [jnp.asarray(matrix) for matrix in matrices]))
    flops = 2 * runs * len(stream.sources) * BLOCK * stream.projection.matrix.size
    result["block_of_products_s"] = block
    result["product_tflops"] = flops / block / 1e12

    start = time.perf_counter()
    train()
    result["first_s"] = time.perf_counter() - start
    start = time.perf_counter()
    students = train()
    result["warm_s"] = time.perf_counter() - start
    state_bytes = 4 * count * students[0].student.shape[2] * stream.input_dim
    updates = result["warm_s"] - block * (-(-steps // BLOCK))
    result["us_per_step_all_chains"] = updates / steps * 1e6
    result["least_bytes_per_step"] = 2 * state_bytes
    result["least_bytes_gb_per_s"] = 2 * state_bytes / (updates / steps) / 1e9
    result["us_per_step_and_chain"] = result["warm_s"] / steps / count * 1e6
    result["diverged"] = int(sum((run.diverged_sample >= 0).sum() for run in students))
    return result


if __name__ == "__main__":
    print(json.dumps(main(*(int(a) for a in (*sys.argv[1:], 20, 100_000)[:2])), indent=1))
