"""Gradients do not depend on how many panels of deltas lie packed side by side, nor on who packs them."""

import numpy as np
import pytest
from helpers import DTYPES, data, drift, exact, flat, same

import fastnn as fn
from fastnn import division
from fastnn_kernels import ahead, gradient, layout, machine
from fastnn_kernels import reference as ref

UNITS = gradient.WORTH_PACKING  # so many make packing pay for few rows, too
SIZES = [40, UNITS * machine.PIECE + 1, UNITS * machine.MOST_COLUMNS + 1, 5]
ROWS = 136
OPTIMIZERS = {"sgd": fn.SGD(0.01), "momentum": fn.Momentum(0.01), "adam": fn.Adam(0.001), "amsgrad": fn.AMSGrad(0.001)}


def train(optimizer, dtype, threads):
    rng = np.random.default_rng(0)
    net = fn.MLP(SIZES, activation="tanh", dtype=dtype, seed=1)
    X, y = data(rng, (2 * ROWS + 3, 40)), data(rng, (2 * ROWS + 3, 5))
    net.fit(X, y, loss="mse", optimizer=optimizer, batch_size=ROWS, epochs=2, threads=threads, progress=False)
    return net.weights


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_bits_with_few_panels_side_by_side(name, dtype, monkeypatch):
    monkeypatch.setattr(division, "LITTLE", 1.0)
    expected = train(OPTIMIZERS[name], dtype, 1)
    panel = layout.tiling(np.dtype(dtype)).panel * ROWS * np.dtype(dtype).itemsize
    for panels in (1, 3, UNITS):
        monkeypatch.setattr(layout, "PACKED_BYTES", panels * panel)
        for threads in (1, 2, 3):
            assert same(train(OPTIMIZERS[name], dtype, threads), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [4, ROWS, division.PASS_ROWS + 1])
def test_products_that_ask_for_what_comes_next_are_those_of_the_oracle(batch, dtype, rng):
    net = fn.MLP(SIZES, activation="tanh", dtype=dtype, seed=1)
    assert net.params.nbytes * 3 > ahead.NEAR_BYTES
    X, y = data(rng, (2 * batch + 3, 40)), data(rng, (2 * batch + 3, 5))
    batches = [range(i, min(i + batch, len(X))) for i in range(0, len(X), batch)]
    start = exact(net.weights)

    def train(weights):
        constants = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1.0}
        return ref.train(weights, ["tanh", "tanh", "linear"], "mse", X, y, batches, "adam", constants)[0]

    adam = fn.Adam(0.1, eps=1.0)  # no root of a gradient that rounding decides
    net.fit(X, y, loss="mse", optimizer=adam, batch_size=batch, epochs=1, shuffle=False, threads=2, progress=False)
    tolerance = drift(train, start, len(batches), dtype, rng)
    assert tolerance < 1e-2 * abs(flat(train(start)) - flat(start)).max()  # the test can fail
    assert abs(flat(net.weights) - flat(train(start))).max() <= tolerance


@pytest.mark.parametrize(("packed", "panels"), [(0, 1), (1, 1), (3, 3), (4, 4), (10, 5)])
def test_scratch_has_room_for_packed_panels(packed, panels):
    dtype, columns = np.dtype(np.float32), layout.tiling(np.dtype(np.float32)).panel
    plan = layout.parameters([8, 5 * columns, 1], [0, 0], dtype)
    space = layout.workspace(plan, ROWS, 1, packed=packed * columns * ROWS)
    assert space.scratch_size == machine.PIECE * (columns + ROWS) + panels * columns * ROWS
    assert layout.workspace(plan, ROWS, 1, backwards=False).scratch_size < space.scratch_size
