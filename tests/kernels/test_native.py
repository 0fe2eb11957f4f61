"""Vectors whose lanes move, against NumPy."""

import numpy as np
import pytest
from helpers import DTYPES
from numba import njit

from fastnn_kernels import machine
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.native import address, count_true, load, permute, put_true, store, store_where


@njit(**FLAGS)
def permuted(v, places, out):
    store(address(out, 0), permute(load(address(v, 0)), load(address(places, 0))))


@njit(**FLAGS)
def written(v, places, out, offset):
    """Write the lanes of v whose number is not negative; returns how many."""
    mask = load(address(places, 0)) >= 0
    store_where(mask, address(out, offset), load(address(v, 0)))
    return count_true(mask)


def whole_numbers(values, dtype):
    """Integers as wide as the dtype."""
    return np.asarray(values, np.int32 if dtype == "float32" else np.int64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_are_permuted_modulo_their_number(dtype, rng):
    lanes = machine.lanes(dtype)
    v, out = rng.normal(size=lanes).astype(dtype), np.zeros(lanes, dtype)
    for least, most in ((0, lanes), (-3 * lanes, 3 * lanes), (2**20, 2**20 + 99)):
        for _ in range(20):
            places = rng.integers(least, most, lanes)
            permuted(v, whole_numbers(places, dtype), out)
            assert out.tobytes() == v[places % lanes].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1, 7])
def test_lanes_outside_a_mask_are_not_touched(offset, dtype, rng):
    lanes = machine.lanes(dtype)
    v = rng.normal(size=lanes).astype(dtype)
    for share in (0.0, 0.5, 1.0):
        stays = rng.random(lanes) < share
        out = np.full(2 * lanes + offset, np.nan, dtype)
        expected = out.copy()
        expected[offset : offset + lanes][stays] = v[stays]
        assert written(v, whole_numbers(np.where(stays, 0, -1), dtype), out, offset) == stays.sum()
        assert out.tobytes() == expected.tobytes()


@njit(**FLAGS)
def placed(v, first, out):
    return put_true(address(out, 0), load(address(v, 0)) != 0.0, first)


@pytest.mark.parametrize("dtype", DTYPES)
def test_true_lanes_are_listed(dtype):
    lanes, first = machine.lanes(dtype), 2**30
    for word in range(0, 2**lanes, 1 if lanes < 16 else 17):
        v = np.array([word >> i & 1 for i in range(lanes)], dtype)
        out = np.full(17, -1, np.int32)
        count = placed(v, first, out)
        assert out[:count].tolist() == (first + np.flatnonzero(v)).tolist()
        assert out[16] == -1
