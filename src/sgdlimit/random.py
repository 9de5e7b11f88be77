"""Counter-based random numbers for the compiled stream: Threefry-2x32-20 (Salmon et al. 2011) and Box-Muller.

A number is a pure function of (key, counter), so any block of samples can be made by any thread, in any order, with the
same bits. Everything is written so that the compiler can turn the loops into vector instructions: 32-bit integers,
single precision, polynomials in place of library calls.
"""

from functools import lru_cache

import numpy as np
from numba import njit
from numpy import float32, int32, uint32

KEY_PARITY = 0x1BD11BDA
WORD = float32(2.0**-32)
HALF_WORD = float32(2.0**-33)
RADIANS = float32(2 * np.pi * 2.0**-32)
LN2 = float32(np.log(2))
SQRT_HALF_BITS = 0x3F3504F3
LOG_COEFFICIENTS = tuple(map(float32, (
    -0.11514610310, 0.11676998740, -0.12420140846, 0.14249322787,
    -0.16668057665, 0.20000714765, -0.24999993993, 0.33333331174,
)))  # fmt: skip


@lru_cache(maxsize=256)
def key_of(*words: int) -> tuple[uint32, uint32]:
    """A 64-bit key from a seed and other numbers that tell streams apart (run, purpose)."""
    first, second = np.random.SeedSequence(words).generate_state(2, uint32)
    return first, second


@njit(inline="always")
def _round(x0, x1, bits):
    x0 = uint32(x0 + x1)
    return x0, uint32((x1 << uint32(bits)) | (x1 >> uint32(32 - bits))) ^ x0


@njit(inline="always")  # written out: the compiler does not vectorise a loop over the rounds
def _four_rounds(x0, x1, first, second, third, fourth):
    x0, x1 = _round(x0, x1, first)
    x0, x1 = _round(x0, x1, second)
    x0, x1 = _round(x0, x1, third)
    return _round(x0, x1, fourth)


@njit
def threefry2x32(key0, key1, count0, count1):
    """Twenty rounds of Threefry on the counter (count0, count1): two uniform 32-bit words."""
    keys = key0, key1, uint32(key0 ^ key1 ^ uint32(KEY_PARITY))
    x0, x1 = uint32(count0 + key0), uint32(count1 + key1)
    for group in range(1, 6):  # four rounds, then the keys in turn
        if group % 2:
            x0, x1 = _four_rounds(x0, x1, 13, 15, 26, 6)
        else:
            x0, x1 = _four_rounds(x0, x1, 17, 29, 16, 24)
        x0 = uint32(x0 + keys[group % 3])
        x1 = uint32(x1 + keys[(group + 1) % 3] + uint32(group))
    return x0, x1


@njit(inline="always")
def _counter(key0, key1, step):
    """The key and the low word of a step: every 2³² steps have a key of their own, the first ones the given one."""
    high = uint32(step >> 32)
    if high > 0:
        key0, key1 = threefry2x32(key0, key1, uint32(0xFFFFFFFF) - high, uint32(0))
    return key0, key1, uint32(step)


@njit(inline="always", fastmath=True)
def _log(x):
    """log of a positive normal float32, by the polynomial of Cephes logf."""
    bits = float32(x).view(int32)
    exponent = int32(int32(bits - int32(SQRT_HALF_BITS)) >> int32(23))
    f = int32(bits - int32(exponent << int32(23))).view(float32) - float32(1)  # in [√½ − 1, √2 − 1)
    p = float32(7.0376836292e-2)
    for c in LOG_COEFFICIENTS:
        p = p * f + c
    return p * f * f * f - float32(0.5) * f * f + f + float32(exponent) * LN2


@njit(inline="always", fastmath=True)
def _cos_sin(word):
    """cos and sin of 2π word/2³², by quadrant and the polynomials of Cephes sinf and cosf."""
    quadrant = uint32(uint32(word + uint32(1 << 29)) >> uint32(30))
    a = float32(int32(uint32(word - uint32(quadrant << uint32(30))))) * RADIANS  # in [−π/4, π/4)
    z = a * a
    s = ((float32(-1.9515295891e-4) * z + float32(8.3321608736e-3)) * z - float32(1.6666654611e-1)) * z * a + a
    c = (float32(2.443315711809948e-5) * z - float32(1.388731625493765e-3)) * z + float32(4.166664568298827e-2)
    c = c * z * z - float32(0.5) * z + float32(1)
    swap, turn = (quadrant & uint32(1)) != 0, (quadrant & uint32(2)) != 0
    x, y = (-s, c) if swap else (c, s)
    return (-x, -y) if turn else (x, y)


@njit(nogil=True, fastmath=True, cache=True)
def fill_normals(key0, key1, first_step, out):
    """Fill out (steps, D) float32 with standard normals: row s is a function of (key, first_step + s) alone."""
    steps, dim = out.shape
    half = (dim + 1) // 2
    first, second = np.empty(half, float32), np.empty(half, float32)
    for s in range(steps):
        word0, word1, step = _counter(key0, key1, first_step + s)
        for i in range(half):
            a, b = threefry2x32(word0, word1, uint32(i), step)
            radius = np.sqrt(float32(-2) * _log(float32(a) * WORD + HALF_WORD))
            x, y = _cos_sin(b)
            first[i], second[i] = radius * x, radius * y
        for i in range(half):  # loops, because Numba compiles a copy between slices for seconds
            out[s, i] = first[i]
        for i in range(dim - half):
            out[s, half + i] = second[i]


@njit(nogil=True, cache=True)
def fill_offsets(key0, key1, first_step, thresholds, means, block_size, out):
    """Fill out (steps, D) float32 with the mean of the component that each block of coordinates drew.

    ``means`` (m, D) float32; ``thresholds`` (m − 1,) uint32 are the cumulated weights in units of 2⁻³². Row s is a
    function of (key, first_step + s) alone.
    """
    steps, dim = out.shape
    blocks = dim // block_size
    half = (blocks + 1) // 2
    first, second = np.empty(half, uint32), np.empty(half, uint32)
    words = np.empty(blocks, uint32)
    spread = words if block_size == 1 else np.empty(dim, uint32)
    for s in range(steps):
        word0, word1, step = _counter(key0, key1, first_step + s)
        for i in range(half):
            first[i], second[i] = threefry2x32(word0, word1, uint32(i), step)
        for i in range(half):
            words[i] = first[i]
        for i in range(blocks - half):
            words[half + i] = second[i]
        for b in range(blocks if block_size > 1 else 0):
            spread[b * block_size : (b + 1) * block_size] = words[b]
        for r in range(dim):
            out[s, r] = means[0, r]
        for c in range(1, len(means)):
            for r in range(dim):  # a sum of steps rather than a choice, so that no branch is left
                out[s, r] += (means[c, r] - means[c - 1, r]) * float32(spread[r] >= thresholds[c - 1])
