"""The three products of a dense layer against NumPy; padding; transposed panels."""

import numpy as np
import pytest
from fastnn_kernels import dense, layout, machine, step, team, work
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.layout import DEPTH, N_IN, STRIDE, WIDTH, A, D, T
from fastnn_kernels.machine import UNIT
from fastnn_kernels.native import address, lanes
from helpers import DTYPES, ODD_SIZES, data, network, random_weights, sum_error, turns
from numba import njit

import fastnn as fn
from fastnn import session


@njit(**FLAGS)
def product(a, row_stride, k_stride, b, c, c_stride, depth, rows, width, start, first):
    dense.product_rows(
        address(a, 0),
        row_stride,
        k_stride,
        address(b, 0),
        width,
        address(c, 0),
        c_stride,
        depth,
        rows,
        width,
        start,
        address(first, 0),
    )


@njit(**FLAGS)
def products(params, addresses, rows):
    """Feed, delta and gradient of all layers, activations linear, from the input in A and the last layer's D."""
    w = work.open_work(params, addresses)
    layers, panel = w.numbers[work.LAYERS], 2 * lanes(w.params)
    step.refresh_all_transposed(w, 0, 1)
    for layer in range(1, layers + 1):
        dense.feed(w, layer, 0, rows, 0)
    for layer in range(layers - 1, 0, -1):
        dense.delta(w, layer, 0, rows)
    for layer in range(1, layers + 1):
        depth, width = work.at(w, layer, DEPTH), work.at(w, layer, WIDTH)
        for column in range(0, width, panel):
            columns = min(panel, width - column)
            for k in range(0, work.at(w, layer, N_IN), panel):
                out = w.gradient + (work.at(w, layer, layout.W) + column * depth + k * columns)
                count = min(panel, work.at(w, layer, N_IN) - k)
                dense.weight_gradient(w, layer, column, columns, k, count, rows, out, dense.FROM_ZERO)
            d = w.space + (work.at(w, layer, D) + column)
            out = w.gradient + (work.at(w, layer, layout.B) + column)
            dense.bias_gradient(d, work.at(w, layer, STRIDE), columns, rows, out, False)


def rows_of(space, row, column, rows):
    """The first rows of A or D of a layer, padding included."""
    return space[row[column] : row[column] + rows * row[STRIDE]].reshape(rows, row[STRIDE])


def computed(sizes, rows, dtype, rng):
    """Weights and, as the kernels leave them, A and D of every layer and the gradients."""
    plan = layout.parameters(sizes, [0] * (len(sizes) - 1), np.dtype(dtype))
    space = layout.workspace(plan, rows, 1)
    empty = {name: np.zeros(0, dtype) for name in work.Arrays._fields}
    numbers = np.zeros(work.NUMBERS, np.int64)
    numbers[work.LAYERS] = len(sizes) - 1
    arrays = work.Arrays(**empty)._replace(
        table=np.ascontiguousarray(space.table),
        numbers=numbers,
        betas=np.zeros(len(sizes)),
        params=layout.zeros(plan.count, plan.dtype),
        gradient=layout.zeros(plan.count, plan.dtype),
        space=layout.zeros(space.count, plan.dtype),
        words=team.new_words(),
    )
    weights = random_weights(rng, sizes)
    for layer, (W, b) in enumerate(weights, start=1):
        layout.set_layer(plan, layer, arrays.params, W, b)
    rows_of(arrays.space, space.table[0], A, rows)[:, : sizes[0]] = data(rng, (rows, sizes[0]))
    rows_of(arrays.space, space.table[-1], D, rows)[:, : sizes[-1]] = data(rng, (rows, sizes[-1]))
    products(arrays.params, arrays.addresses(), rows)
    a = [rows_of(arrays.space, row, A, rows)[:, :n].astype(np.float64) for row, n in zip(space.table, sizes)]
    d = [rows_of(arrays.space, row, D, rows)[:, :n].astype(np.float64) for row, n in zip(space.table[1:], sizes[1:])]
    gradients = [layout.get_layer(plan, layer, arrays.gradient) for layer in range(1, len(sizes))]
    return weights, a, d, gradients


def assert_product(given, a, b, dtype, start=0.0):
    """given = start + a @ b, each element a sum of so many products."""
    bound = sum_error(a.shape[1] + 1, dtype) * (abs(a) @ abs(b) + abs(start))
    assert given.shape == bound.shape
    assert (abs(given - (start + a @ b)) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_hidden", "n_out", "rows"), turns(ODD_SIZES, 4))
def test_products_of_a_layer(n_in, n_hidden, n_out, rows, dtype, rng):
    weights, a, d, gradients = computed((n_in, n_hidden, n_out), rows, dtype, rng)
    for layer, (W, b) in enumerate(weights):
        assert_product(a[layer + 1], a[layer], W, dtype, start=b)
        dW, db = gradients[layer]
        assert_product(dW, a[layer].T, d[layer], dtype)
        assert_product(db[None], np.ones((1, rows)), d[layer], dtype)
    assert_product(d[0], d[1], weights[1][0].T, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", [dense.FROM_ZERO, dense.FROM_ROW, dense.FROM_TARGET])
@pytest.mark.parametrize("vectors", [1, 2])
def test_product_rows_writes_its_tile_and_nothing_else(vectors, start, dtype, rng):
    width, stride = vectors * machine.lanes(dtype), 3 * machine.lanes(dtype)
    for rows, depth in ((1, 0), (UNIT, 1), (2 * UNIT + 1, 7), (3 * UNIT, 33), (5 * UNIT, 2), (8 * UNIT - 1, 16)):
        a, b, c = data(rng, (rows, depth)), data(rng, (depth, width)), data(rng, (10 * UNIT, stride))
        first = data(rng, (width,))
        begin = {dense.FROM_ZERO: 0.0, dense.FROM_ROW: first, dense.FROM_TARGET: c[:rows, :width].copy()}[start]
        whole = layout.round_up(rows, UNIT)
        for by_column in (False, True):  # the gradient reads its first operand the other way
            padded = np.zeros((whole, depth + 1), dtype)
            padded[:rows, :depth] = a
            memory = np.ascontiguousarray(padded.T if by_column else padded)
            strides = (1, whole) if by_column else (depth + 1, 1)
            target = c.astype(dtype)
            given = np.append(b, np.zeros((1, width)), axis=0).astype(dtype)
            product(memory, *strides, given, target, stride, depth, rows, width, start, first.astype(dtype))
            assert_product(target[:rows, :width].astype(np.float64), a, b, dtype, begin)
            assert np.array_equal(target[whole:], c[whole:])
            assert np.array_equal(target[:, width:], c[:, width:])


@pytest.fixture
def sessions(monkeypatch):
    """Every session that the API opens."""
    opened, open_session = [], session.open_session

    def remember(*args, **kwargs):
        opened.append(open_session(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(session, "open_session", remember)
    return opened


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam"])
def test_training_keeps_padding_zero_and_transposed_panels_equal(optimizer, dtype, sessions, rng):
    sizes = (5, 17, 33, 100, 3)
    net = network(rng, sizes, activation="sigmoid", dtype=dtype)  # sigmoid(0) is not 0: padding would show
    X, y = data(rng, (29, 5)), data(rng, (29, 3))
    net.fit(X, y, optimizer=optimizer, penalty=fn.L2(0.1), batch_size=7, epochs=2, threads=2, progress=False)
    without_padding = layout.zeros(net.layout.count, net.dtype)
    for layer, (W, b) in enumerate(net.weights, start=1):
        layout.set_layer(net.layout, layer, without_padding, W, b)
    assert np.array_equal(net.params, without_padding)
    arrays, panel = sessions[0].arrays, 2 * machine.lanes(dtype)
    for row, (W, _) in zip(arrays.table[2:], net.weights[1:]):
        padded = np.zeros((row[DEPTH], row[WIDTH]), dtype)
        padded[: W.shape[0], : W.shape[1]] = W
        for k in range(0, row[DEPTH], panel):
            columns = min(panel, row[DEPTH] - k)
            start = row[T] + k * row[WIDTH]
            block = arrays.space[start : start + columns * row[WIDTH]].reshape(row[WIDTH], columns)
            assert np.array_equal(block, padded[k : k + columns].T)
