"""The three products on the device, against NumPy."""

import numpy as np
import pytest
from harness import block, make, weight

from fastnn_kernels import layout
from fastnn_kernels.activation import LINEAR
from fastnn_kernels.cuda import dense, tile
from fastnn_kernels.cuda.work import COUNT, PARTIAL, SIZE, SPLITS
from fastnn_kernels.noise import DROPCONNECT

DTYPES = [np.float32, np.float64]
SIZES = [(1, 1), (2, 3), (7, 8), (8, 9), (9, 4), (17, 19), (33, 5)]
UNTOUCHED = 7.5


def within(depth, *factors):
    """The bound of a sum of products: depth eps times the sum of the products' magnitudes."""
    dtype = factors[0].dtype
    scale = np.abs(factors[0]).astype(np.float64) @ np.abs(factors[1]).astype(np.float64)
    return (depth + 2) * np.finfo(dtype).eps * scale


def check(found, expected, bound):
    assert found.shape == expected.shape
    worst = np.max(np.abs(found.astype(np.float64) - expected) - bound)
    assert worst <= 0, worst


def set_count(one, count):
    now = one.work.now.copy_to_host()
    now[COUNT] = count
    one.work.now.copy_to_device(now)


def fill(one, layer, column, value):
    """One value into a block, padding included."""
    space = one.work.space.copy_to_host()
    start, stride = one.at(layer, column), one.at(layer, layout.STRIDE)
    space[start : start + one.rows * stride] = value
    one.work.space.copy_to_device(space)


def spoil_padding(one):
    """NaN between the last unit and the end of a row, in activations and deltas, and in rows beyond COUNT."""
    space, count = one.work.space.copy_to_host(), one.work.now.copy_to_host()[COUNT]
    for layer in range(len(one.table)):
        stride, n = one.at(layer, layout.STRIDE), one.at(layer, layout.N_OUT)
        for column in (layout.A, layout.D)[: 2 if layer else 1]:
            start = one.at(layer, column)
            view = space[start : start + one.rows * stride].reshape(one.rows, stride)
            view[:, n:] = np.nan
            view[count:] = np.nan
    one.work.space.copy_to_device(space)


def check_feed(dtype, n_in, n_out, rows, rest_stays=True):
    one = make([n_in, n_out], [LINEAR], rows + 1, dtype)
    set_count(one, rows)
    spoil_padding(one)
    fill(one, 1, layout.A, UNTOUCHED)
    dense.feed(one, 1)
    W, b = weight(one, 1, one.work.params.copy_to_host())
    X, A = block(one, 0, layout.A), block(one, 1, layout.A)
    x, w = X[:rows].astype(np.float64), W.astype(np.float64)
    check(A[:rows], x @ w + b, within(n_in, X[:rows], W) + np.finfo(dtype).eps * np.abs(b))
    assert not rest_stays or np.all(A[rows] == UNTOUCHED)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
def test_feed_is_the_product_and_the_bias(dtype, n_in, n_out):
    check_feed(dtype, n_in, n_out, 10)


def check_delta(dtype, n_in, n_out, rows, rest_stays=True):
    one = make([3, n_in, n_out], [LINEAR, LINEAR], rows + 1, dtype)
    set_count(one, rows)
    spoil_padding(one)
    fill(one, 1, layout.D, UNTOUCHED)
    dense.delta(one, 1)
    W, _ = weight(one, 2, one.work.params.copy_to_host())
    above, below = block(one, 2, layout.D), block(one, 1, layout.D)
    d, w = above[:rows].astype(np.float64), W.astype(np.float64)
    check(below[:rows], d @ w.T, within(n_out, above[:rows], W.T))
    assert not rest_stays or np.all(below[rows] == UNTOUCHED)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
def test_delta_is_the_product_with_the_transposed_weights(dtype, n_in, n_out):
    check_delta(dtype, n_in, n_out, 10)


def check_gradient(dtype, n_in, n_out, splits, rows):
    one = make([n_in, n_out], [LINEAR], rows + 1, dtype, splits=splits)
    set_count(one, rows)
    spoil_padding(one)
    dense.gradient(one, 1)
    X, D = block(one, 0, layout.A)[:rows], block(one, 1, layout.D)[:rows]
    parts = partial(one, 1)
    assert len(parts) == splits
    each = -(-rows // splits)
    for i, part in enumerate(parts):
        dW, db = weight(one, 1, np.concatenate([np.zeros(one.at(1, layout.W), dtype), part]))
        x, d = X[i * each : (i + 1) * each], D[i * each : (i + 1) * each]
        check(dW, x.T.astype(np.float64) @ d.astype(np.float64), within(each, x.T, d))
        check(db, d.astype(np.float64).sum(axis=0), within(each, np.ones((1, len(d)), dtype), d)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
@pytest.mark.parametrize("splits", [1, 3])
def test_the_parts_of_the_gradient_add_up_to_the_product(dtype, n_in, n_out, splits):
    check_gradient(dtype, n_in, n_out, splits, 10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_the_padding_is_zero(dtype):
    check_padding(dtype, 2)


def check_padding(dtype, splits):
    one = make([5, 6], [LINEAR], 9, dtype, splits=splits)
    spoil_padding(one)
    dense.gradient(one, 1)
    width, depth = one.at(1, layout.WIDTH), one.at(1, layout.DEPTH)
    for part in partial(one, 1):
        W, b = part[: depth * width].reshape(depth, width), part[depth * width :]
        assert np.all(W[5:] == 0)
        assert np.all(W[:, 6:] == 0)
        assert np.all(b[6:] == 0)
        assert np.all(W[:5, :6] != 0)


def test_parts_without_rows_are_zero():
    one = make([5, 6], [LINEAR], 9, splits=4)
    set_count(one, 2)
    spoil_padding(one)
    dense.gradient(one, 1)
    parts = partial(one, 1)
    assert np.any(parts[1] != 0)
    assert np.all(parts[2:] == 0)


def test_feed_reads_disturbed_weights_where_there_are_some():
    one = make([5, 6], [LINEAR], 4, noises=[DROPCONNECT])
    dense.feed(one, 1)
    start, width, depth = one.at(1, layout.NOISY), one.at(1, layout.WIDTH), one.at(1, layout.DEPTH)
    noisy = one.work.space.copy_to_host()[start : start + (depth + 1) * width].reshape(depth + 1, width)
    X = block(one, 0, layout.A)
    np.testing.assert_allclose(block(one, 1, layout.A), X @ noisy[:5, :6] + noisy[-1, :6], rtol=1e-13, atol=1e-13)


def test_batch_normalization_takes_z_from_feed_and_has_no_gradient_of_the_bias():
    one = make([5, 6], [LINEAR], 4, norms=[layout.BATCH_NORM])
    dense.feed(one, 1)
    W, b = weight(one, 1, one.work.params.copy_to_host())
    X = block(one, 0, layout.A)
    np.testing.assert_allclose(block(one, 1, layout.A), X @ W + b, rtol=1e-13, atol=1e-13)
    dense.gradient(one, 1)
    for part in partial(one, 1):
        dW, db = weight(one, 1, part)
        assert np.all(db == 0)
        assert np.all(dW != 0)


COMPILED = [(np.float32, shape) for shape in tile._SHAPES[4]] + [(np.float64, shape) for shape in tile._SHAPES[8]]


@pytest.mark.parametrize(("dtype", "shape"), COMPILED, ids=lambda value: getattr(value, "name", ""))
def test_the_tiles_that_a_device_gets(monkeypatch, dtype, shape):
    """One block of each product, not quite full, with a second step of the depth."""
    key = np.dtype(dtype).itemsize, shape
    monkeypatch.setattr(tile, "choose", lambda *_: shape)
    monkeypatch.setitem(dense._FEED, key, dense._feed_of(shape, dtype))
    monkeypatch.setitem(dense._DELTA, key, dense._delta_of(shape, dtype))
    monkeypatch.setitem(dense._GRADIENT, key, dense._gradient_of(shape, dtype))
    rows, columns, depth = shape.rows - 3, shape.columns - 1, shape.span + 3
    check_feed(dtype, depth, columns, rows)
    check_delta(dtype, columns, depth, rows)
    check_gradient(dtype, rows, columns, 1, depth)


def partial(one, layer):
    """The partial gradients of a layer, (SPLITS, SIZE)."""
    start, size, splits = one.at(layer, PARTIAL), one.at(layer, SIZE), one.at(layer, SPLITS)
    return one.work.space.copy_to_host()[start : start + splits * size].reshape(splits, size)
