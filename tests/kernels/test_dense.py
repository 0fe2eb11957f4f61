"""The three products of a dense layer against NumPy; padding; transposed panels."""

import numpy as np
import pytest
from helpers import DTYPES, ODD_SIZES, data, exact, network, sum_error, turns
from numba import njit

from fastnn import session
from fastnn_kernels import layout, machine, product
from fastnn_kernels.jit import FLAGS
from fastnn_kernels.layout import DEPTH, N_OUT, STRIDE, WIDTH, A, D, T
from fastnn_kernels.machine import UNIT
from fastnn_kernels.native import address


@njit(**FLAGS)
def multiply(by_columns, a, a_stride, b, c, c_stride, depth, rows, width, mode, given):
    p, q, out, r = address(a, 0), address(b, 0), address(c, 0), address(given, 0)
    if by_columns:
        product.product_columns(p, a_stride, q, width, out, c_stride, depth, rows, width, mode, r)
    else:
        product.product_rows(p, a_stride, q, width, out, c_stride, depth, rows, width, mode, r)


@njit(**FLAGS)
def multiply_asking(by_columns, a, a_stride, b, c, c_stride, depth, rows, width, mode, given):
    p, q, out, r = address(a, 0), address(b, 0), address(c, 0), address(given, 0)
    ahead = product.Ahead((p, q, out, q), 3, 40, (q, p, q, out), 16, 100)
    if by_columns:
        product.product_columns_asking(p, a_stride, q, width, out, c_stride, depth, rows, mode, r, ahead)
    else:
        product.product_rows_asking(p, a_stride, q, width, out, c_stride, depth, rows, mode, r, ahead)


@pytest.fixture
def sessions(monkeypatch):
    """Every session that the API opens."""
    opened, open_session = [], session.open_session

    def remember(*args, **kwargs):
        opened.append(open_session(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(session, "open_session", remember)
    return opened


def rows_of(arrays, layer, column, rows):
    """The first rows of A or D of a layer, in float64."""
    row = arrays.table[layer]
    lines = arrays.space[row[column] : row[column] + rows * row[STRIDE]].reshape(rows, row[STRIDE])
    return lines[:, : row[N_OUT]].astype(np.float64)


def assert_product(given, a, b, dtype, start=0.0):
    """given = start + a @ b, each element a sum of so many products."""
    bound = sum_error(a.shape[1] + 1, dtype) * (abs(a) @ abs(b) + abs(start))
    assert given.shape == bound.shape
    assert (abs(given - (start + a @ b)) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_hidden", "n_out", "rows"), turns(ODD_SIZES, 4))
def test_products_of_a_layer(n_in, n_hidden, n_out, rows, dtype, sessions, rng):
    """Each product of a linear network against what the kernels themselves read: no error is carried over."""
    net = network(rng, (n_in, n_hidden, n_out), activation="linear", dtype=dtype)
    X, y = data(rng, (rows, n_in)), data(rng, (rows, n_out))
    gradients, weights, arrays = exact(net.gradient(X, y, loss="half_mse")), exact(net.weights), sessions[0].arrays
    a = [rows_of(arrays, layer, A, rows) for layer in range(3)]
    d = [rows_of(arrays, layer, D, rows) for layer in (1, 2)]
    assert np.array_equal(a[0], X)
    assert abs(d[1] - (a[2] - y) / rows).max() <= sum_error(4, dtype) * (abs(a[2]) + abs(y)).max() / rows
    for layer, ((W, b), (dW, db)) in enumerate(zip(weights, gradients, strict=True)):
        assert_product(a[layer + 1], a[layer], W, dtype, start=b)
        assert_product(dW, a[layer].T, d[layer], dtype)
        assert_product(db[None], np.ones((1, rows)), d[layer], dtype)
    assert_product(d[0], d[1], weights[1][0].T, dtype)


ANY_MODE = [product.FROM_ZERO, product.FROM_ROW, product.FROM_TARGET]
ROWS_MODE = [product.RECTIFIED, product.GATED]


def begin_of(mode, given, target):
    """What is added to a product in this mode."""
    if mode in (product.FROM_ROW, product.RECTIFIED):
        return given
    return target if mode == product.FROM_TARGET else np.zeros(1)


def end_of(mode, sums, given):
    """What becomes of the sums."""
    if mode == product.RECTIFIED:
        return np.maximum(sums, 0.0)
    return np.where(given > 0, sums, 0.0) if mode == product.GATED else sums


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("by_columns", "mode"),  # the gradient reads its first operand by columns
    [(False, mode) for mode in (*ANY_MODE, *ROWS_MODE)] + [(True, mode) for mode in ANY_MODE],
)
@pytest.mark.parametrize(("function", "vectors"), [(multiply, 1), (multiply, 2), (multiply_asking, 2)])
def test_product_writes_its_rows_and_nothing_else(by_columns, function, vectors, mode, dtype, rng):
    width, stride = vectors * machine.lanes(dtype), 3 * machine.lanes(dtype)
    for rows, depth in (
        (1, 0),
        (UNIT, 1),
        (2 * UNIT + 1, 7),
        (3 * UNIT, 33),
        (4 * UNIT, 5),
        (5 * UNIT, 2),
        (8 * UNIT - 1, 16),
    ):
        a, b, c = data(rng, (rows, depth)), data(rng, (depth, width)), data(rng, (10 * UNIT, stride))
        given = data(rng, c.shape if mode == product.GATED else (width,))
        begin = begin_of(mode, given, c[:rows, :width])
        whole = layout.round_up(rows, UNIT)
        padded = np.zeros((whole, depth + 1), dtype)
        padded[:rows, :depth] = a
        memory = np.ascontiguousarray(padded.T if by_columns else padded)
        target, a_stride = c.astype(dtype), memory.shape[1]
        panel = np.append(b, np.zeros((1, width)), axis=0).astype(dtype)
        function(by_columns, memory, a_stride, panel, target, stride, depth, rows, width, mode, given.astype(dtype))
        expected = end_of(mode, a @ b + begin, given[:rows, :width] if mode == product.GATED else given)
        bound = sum_error(depth + 1, dtype) * (abs(a) @ abs(b) + abs(begin))
        assert (abs(target[:rows, :width] - expected) <= bound).all()
        assert np.array_equal(target[whole:], c[whole:])
        assert np.array_equal(target[:, width:], c[:, width:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2])
def test_rectified_product_keeps_nan(vectors, dtype):
    """And one that is gated by NaN is 0, as where the gate is not positive."""
    width = vectors * machine.lanes(dtype)
    a, b, row = np.ones((UNIT, 1), dtype), np.full((1, width), -1.0, dtype), np.zeros(width, dtype)
    b[0, -1], b[0, 0] = np.nan, 2.0
    target, gate = np.full((UNIT, width), 7.0, dtype), np.full((UNIT, width), np.nan, dtype)
    multiply(False, a, 1, b, target, width, 1, UNIT, width, product.RECTIFIED, row)
    expected = np.zeros(width, dtype)
    expected[-1], expected[0] = np.nan, 2.0
    assert np.array_equal(target, np.tile(expected, (UNIT, 1)), equal_nan=True)
    gate[:, 0] = 1.0
    multiply(False, a, 1, b, target, width, 1, UNIT, width, product.GATED, gate)
    expected[-1] = 0.0
    assert np.array_equal(target, np.tile(expected, (UNIT, 1)))


def transposed(arrays, layer):
    """W.T (width, depth) of a layer as its transposed panels hold it, padding included."""
    row, panel = arrays.table[layer], 2 * machine.lanes(arrays.space.dtype)
    width, depth = int(row[WIDTH]), int(row[DEPTH])
    starts = range(0, depth, panel)
    parts = [arrays.space[row[T] + k * width : row[T] + min(k + panel, depth) * width] for k in starts]
    return np.concatenate([part.reshape(width, -1) for part in parts], axis=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zeros", [0.0, 0.8], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    ("optimizer", "batch_size"), [("sgd", 1), ("sgd", 7), ("momentum", 7), ("nesterov", 7), ("adam", 1), ("adam", 7)]
)
@pytest.mark.parametrize("activation", ["sigmoid", "noisy_relu", "gelu"])  # sigmoid(0) is not 0: padding would show
def test_training_keeps_padding_zero_and_transposed_panels_equal(
    activation, optimizer, batch_size, zeros, dtype, sessions, rng
):
    sizes = (5, 17, 33, 100, 3)
    net = network(rng, sizes, activation=activation, dtype=dtype)
    X, y = data(rng, (29, 5)) * (rng.random((29, 5)) >= zeros), data(rng, (29, 3))
    net.fit(X, y, optimizer=optimizer, batch_size=batch_size, epochs=2, threads=2, progress=False)
    without_padding = layout.zeros(net.layout.count, net.dtype)
    for layer, (W, b) in enumerate(net.weights, start=1):
        layout.set_layer(net.layout, layer, without_padding, W, b)
    assert np.array_equal(net.params, without_padding)
    if (optimizer, batch_size) != ("sgd", 1) or activation == "noisy_relu":
        return
    for layer, (W, _) in enumerate(net.weights[1:], start=2):
        panels = transposed(sessions[0].arrays, layer)
        assert np.array_equal(panels[: W.shape[1], : W.shape[0]], W.T)
        assert np.count_nonzero(panels) == np.count_nonzero(W)
