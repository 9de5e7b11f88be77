"""The counter-based generator against its published vectors, and the normals against theirs."""

import numpy as np
import pytest
from numba import njit
from scipy import stats

from sgdlimit.random import fill_normals, fill_offsets, key_of, threefry2x32


@njit
def _threefry(key0, key1, count0, count1):
    return threefry2x32(np.uint32(key0), np.uint32(key1), np.uint32(count0), np.uint32(count1))


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_known_answers(key, counter, expected):
    """The known-answer vectors of Random123 for threefry2x32 with 20 rounds."""
    assert tuple(int(word) for word in _threefry(*key, *counter)) == expected


def test_normals_are_normal_and_independent():
    """Moments, distribution and correlations of 4·10⁶ draws; every bound at 5 standard errors, false alarm < 1e-4."""
    block = np.empty((8000, 501), np.float32)
    fill_normals(*key_of(1, 2), 0, block)
    x = block.astype(np.float64)
    count = x.size
    for moment, variance in ((x, 1), (x**2 - 1, 2), (x**3, 15), (x**4 - 3, 96)):
        assert abs(moment.mean()) < 5 * np.sqrt(variance / count)
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-5
    correlations = np.asarray(np.corrcoef(x.T))[np.triu_indices(501, 1)]
    assert np.abs(correlations).max() < 6.5 / np.sqrt(8000)  # largest of 125 250
    assert abs((x[1:] * x[:-1]).mean()) < 5 / np.sqrt(count)
    assert x.max() > 4.9


def test_rows_are_functions_of_key_and_step():
    whole, part = np.empty((40, 17), np.float32), np.empty((8, 17), np.float32)
    fill_normals(*key_of(5), 100, whole)
    fill_normals(*key_of(5), 120, part)
    np.testing.assert_array_equal(part, whole[20:28])
    fill_normals(*key_of(6), 120, part)
    assert not np.isclose(part, whole[20:28]).any()


@pytest.mark.parametrize("block_size", [1, 4, 20])
def test_components_come_with_their_weights_block_by_block(block_size):
    """Frequencies of three components within 5 standard errors (false alarm 2e-6), and blocks of one component."""
    weights = np.array([0.2, 0.5, 0.3])
    means = np.array([[-3.0], [1.0], [2.5]], np.float32) * np.ones(20, np.float32)
    thresholds = (np.cumsum(weights)[:-1] * 2**32).astype(np.uint32)
    drawn = np.empty((20_000, 20), np.float32)
    fill_offsets(*key_of(3), 0, thresholds, means, block_size, drawn)
    blocks = drawn.reshape(20_000, -1, block_size)
    assert (blocks == blocks[:, :, :1]).all()
    frequency = np.array([(blocks[:, :, 0] == mean).mean() for mean in means[:, 0]])
    assert (np.abs(frequency - weights) < 5 * np.sqrt(weights * (1 - weights) / blocks[:, :, 0].size)).all()


def test_the_stream_does_not_repeat_after_two_to_the_32_steps():
    """Every number has 64 bits of a counter; rows before and after the border are those of their steps."""
    border = 1 << 32
    across, before, after, first = (np.empty((count, 6), np.float32) for count in (4, 2, 2, 2))
    for start, rows in ((border - 2, across), (border - 2, before), (border, after), (0, first)):
        fill_normals(np.uint32(3), np.uint32(4), start, rows)
    np.testing.assert_array_equal(across, np.concatenate([before, after]))
    assert not np.isclose(after, first).any()
    means, thresholds = np.arange(12, dtype=np.float32).reshape(2, 6), np.array([1 << 31], np.uint32)
    drawn = np.empty((2, 64, 6), np.float32)
    for start, rows in zip((0, border), drawn, strict=True):
        fill_offsets(np.uint32(3), np.uint32(4), start, thresholds, means, 1, rows)
    assert 0.3 < (drawn[0] != drawn[1]).mean() < 0.7
