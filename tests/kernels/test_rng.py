"""Random numbers from counters, against the oracle; shuffles."""

import math

import numpy as np
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
