"""Random numbers from counters, against the oracle; shuffles."""

import math

import numpy as np
import pytest
from helpers import fisher_yates
from numba import njit

from fastnn_kernels import reference as ref
from fastnn_kernels import rng as kernels
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.native import address


@njit(**FLAGS)
def draw(inputs, words):
    for i in range(len(inputs)):
        c = inputs[i]
        w = kernels.philox(c[0], c[1], c[2], c[3], c[4], c[5])
        for j in range(4):
            words[i, j] = w[j]


@njit(**FLAGS)
def shuffle(order, seed, stream):
    kernels.shuffle(address(order, 0), order.size, seed, stream)


def shuffled(count, seed, stream):
    order = np.arange(count)
    shuffle(order, seed, stream)
    return order.tolist()


def test_philox_is_the_oracle_s(rng):
    inputs = rng.integers(0, 2**32, (500, 6), np.uint64)
    inputs[:6] = np.eye(6, dtype=np.uint64)
    inputs[6], inputs[7] = 0, 0xFFFFFFFF
    words = np.empty((len(inputs), 4), np.uint64)
    draw(inputs, words)
    for given, result in zip(inputs.tolist(), words.tolist(), strict=True):
        assert tuple(result) == ref.philox4x32(given[:4], given[4:])


def test_shuffle_is_a_permutation_that_follows_from_seed_and_stream():
    for count in (0, 1, 2, 3, 4, 5, 17, 1000):
        for seed, stream in ((0, 0), (2**40 + 1, 3), (7, 2**33 + 5)):
            assert shuffled(count, seed, stream) == fisher_yates(count, seed, stream)


def test_shuffles_differ_by_seed_and_stream():
    orders = [tuple(shuffled(100, seed, stream)) for seed in (0, 1, 2**32) for stream in (0, 1, 2**32)]
    assert len(set(orders)) == len(orders)


def test_every_element_comes_everywhere_equally_often():
    count, draws = 8, 4000
    seen = np.zeros((count, count))
    for stream in range(draws):
        seen[np.arange(count), shuffled(count, 1, stream)] += 1
    expected = draws / count
    chi_square = ((seen - expected) ** 2 / expected).sum()
    freedom = (count - 1) ** 2
    assert chi_square < freedom + 6 * math.sqrt(2 * freedom)


@njit(**FLAGS)
def fill_row(out, count, stream, sample, t, seed, is_normal):
    if is_normal:
        kernels.normals(address(out, 0), count, stream, sample, t, seed)
    else:
        kernels.uniforms(address(out, 0), count, stream, sample, t, seed)


def row(count, dtype, is_normal=False, stream=kernels.DROPOUT + 3, sample=7, t=2**33 + 5, seed=2**40 + 1):
    out = np.full(-(-count // kernels.GROUP) * kernels.GROUP, np.nan, dtype)
    fill_row(out, count, stream, sample, t, seed, is_normal)
    return out


def oracle_row(count, stream, sample, t, seed):
    """Every word where the docstring of `uniforms` puts it."""
    out = []
    for j in range(count):
        draw_number = j // kernels.GROUP * kernels.RUN + j % kernels.RUN
        words = ref.philox4x32((draw_number, stream, sample, t % 2**32), (seed % 2**32, seed >> 32))
        out.append((words[j // kernels.RUN % 4] >> 8) * 2.0**-24)
    return np.array(out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_random_numbers_are_the_oracle_s(dtype):
    for count in (1, 15, 64, 65, 130):
        expected = oracle_row(-(-count // kernels.GROUP) * kernels.GROUP, kernels.DROPOUT + 3, 7, 2**33 + 5, 2**40 + 1)
        np.testing.assert_array_equal(row(count, dtype), expected)
        first, second = expected.reshape(-1, 2, kernels.RUN).transpose(1, 0, 2)
        radius, angle = np.sqrt(-2 * np.log1p(-first)), 2 * np.pi * second
        pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        np.testing.assert_allclose(
            row(count, dtype, True)[:count], pairs[:count], rtol=0, atol=20 * np.finfo(dtype).eps
        )


def test_normal_numbers_are_normal():
    drawn = np.concatenate([row(640, np.float64, True, sample=i) for i in range(200)])
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.var() - 1) < 0.02
    assert abs((drawn**4).mean() - 3) < 0.1
