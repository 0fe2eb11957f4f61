"""Dropout per batch and per epoch on the device: which units stay, and what is carried to their network and back."""

from itertools import pairwise

import harness
import numpy as np
import pytest

from fastnn_kernels import reference_noise as oracle
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.cuda import subnetwork
from fastnn_kernels.cuda.work import EPOCH, T
from fastnn_kernels.layout import UNITS
from fastnn_kernels.noise import CONSTANTS, NEVER, PER, PER_BATCH, PER_EPOCH
from fastnn_kernels.work import PARAMETERS, SEED, STATES

SIZES, P, PERS = [3, 70, 6, 9, 2], [0.5, 0.0, 0.3], [PER_BATCH, NEVER, PER_EPOCH]
KEPT = [3, 35, 6, 6, 2]
STEP, EPOCHS, NUMBER, STATE = 100_000, 7, 9 << 32 | 3, 2


def networks(dtype):
    """The whole and the small one, as the engine lays them out."""
    codes = [LINEAR] * (len(SIZES) - 1)
    numbers = {SEED: NUMBER, STATES: STATE}
    states = np.random.default_rng(2)
    noise = np.zeros((len(SIZES), CONSTANTS))
    noise[1:-1, PER] = PERS
    units = np.concatenate([np.arange(size) for size in KEPT])
    small = harness.make(KEPT, codes, 2, dtype, states=STATE, numbers=numbers, noise=noise.ravel(), units=units)
    small.table[:, UNITS] = np.cumsum([0, *KEPT[:-1]])
    small.work.table.copy_to_device(small.table.ravel().astype(np.uint32))
    small.work.now[T], small.work.now[EPOCH] = STEP, EPOCHS
    whole = harness.make(SIZES, codes, 2, dtype, states=STATE, numbers=numbers, seed=5)
    whole.work.state.copy_to_device(states.normal(size=STATE * whole.numbers[PARAMETERS]).astype(dtype))
    return whole, small


def chosen(small):
    """The units of each layer that are said to stay."""
    return np.split(small.work.units.copy_to_host(), np.cumsum(KEPT[:-1]))


def vectors(one):
    """Parameters and state of a network: (1 + states, parameters)."""
    state = one.work.state.copy_to_host().reshape(STATE, -1)
    return np.concatenate([one.work.params.copy_to_host()[None], state])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Fewer threads, so that a layer is more than a block."""
    monkeypatch.setattr(subnetwork, "THREADS", 32)
    monkeypatch.setattr(subnetwork, "_THREADS", np.uint32(32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_processor_s_units_stay_and_rest_where_they_are_off(dtype):
    whole, small = networks(dtype)
    before = vectors(whole)
    subnetwork.take(whole, small)
    units = chosen(small)
    numbers = {PER_BATCH: STEP, PER_EPOCH: EPOCHS}
    for layer, (p, per) in enumerate(zip(P, PERS, strict=True), start=1):
        n = SIZES[layer]
        expected = np.arange(n) if per == NEVER else oracle.kept_units(p, n, layer, numbers[per], NUMBER)
        assert np.array_equal(units[layer], expected)
    assert np.array_equal(units[0], np.arange(SIZES[0]))
    for flat, part in zip(before, vectors(small), strict=True):
        for layer, (below, here) in enumerate(pairwise(units), start=1):
            (W, b), (given, bias) = harness.weight(whole, layer, flat), harness.weight(small, layer, part)
            assert np.array_equal(given, W[np.ix_(below, here)])
            assert np.array_equal(bias, b[here])
    changed = [array + dtype(1) for array in (small.work.params.copy_to_host(), small.work.state.copy_to_host())]
    small.work.params.copy_to_device(changed[0])
    small.work.state.copy_to_device(changed[1])
    subnetwork.give_back(whole, small)
    after = vectors(whole)
    for layer, (below, here) in enumerate(pairwise(units), start=1):
        for flat in before:
            W, b = harness.weight(whole, layer, flat)
            W[np.ix_(below, here)] += dtype(1)
            b[here] += dtype(1)
    assert np.array_equal(after, before)


def test_padding_of_the_small_network_stays_0():
    whole, small = networks(np.float64)
    subnetwork.take(whole, small)
    flat = small.work.params.copy_to_host()
    for layer in range(1, len(KEPT)):
        W, b = harness.weight(small, layer, flat)
        W[:], b[:] = 0, 0
    assert not flat.any()
