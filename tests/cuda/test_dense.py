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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
def test_feed_is_the_product_and_the_bias(dtype, n_in, n_out):
    one = make([n_in, n_out], [LINEAR], 11, dtype)
    set_count(one, 10)
    spoil_padding(one)
    fill(one, 1, layout.A, UNTOUCHED)
    dense.feed(one, 1)
    W, b = weight(one, 1, one.work.params.copy_to_host())
    X, A = block(one, 0, layout.A), block(one, 1, layout.A)
    x, w = X[:10].astype(np.float64), W.astype(np.float64)
    check(A[:10], x @ w + b, within(n_in, X[:10], W) + np.finfo(dtype).eps * np.abs(b))
    assert np.all(A[10] == UNTOUCHED)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
def test_delta_is_the_product_with_the_transposed_weights(dtype, n_in, n_out):
    one = make([3, n_in, n_out], [LINEAR, LINEAR], 11, dtype)
    set_count(one, 10)
    spoil_padding(one)
    fill(one, 1, layout.D, UNTOUCHED)
    dense.delta(one, 1)
    W, _ = weight(one, 2, one.work.params.copy_to_host())
    above, below = block(one, 2, layout.D), block(one, 1, layout.D)
    d, w = above[:10].astype(np.float64), W.astype(np.float64)
    check(below[:10], d @ w.T, within(n_out, above[:10], W.T))
    assert np.all(below[10] == UNTOUCHED)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
@pytest.mark.parametrize("splits", [1, 3])
def test_the_parts_of_the_gradient_add_up_to_the_product(dtype, n_in, n_out, splits):
    one = make([n_in, n_out], [LINEAR], 11, dtype, splits=splits)
    set_count(one, 10)
    spoil_padding(one)
    dense.gradient(one, 1)
    X, D = block(one, 0, layout.A)[:10], block(one, 1, layout.D)[:10]
    parts = partial(one, 1)
    assert len(parts) == splits
    rows = -(-10 // splits)
    for i, part in enumerate(parts):
        dW, db = weight(one, 1, np.concatenate([np.zeros(one.at(1, layout.W), dtype), part]))
        x, d = X[i * rows : (i + 1) * rows].astype(np.float64), D[i * rows : (i + 1) * rows].astype(np.float64)
        ones = np.ones((1, len(d)), dtype)
        check(dW, x.T @ d, within(rows, X[i * rows : (i + 1) * rows].T, D[i * rows : (i + 1) * rows]))
        check(db, d.sum(axis=0), within(rows, ones, D[i * rows : (i + 1) * rows])[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_the_padding_is_zero(dtype):
    one = make([5, 6], [LINEAR], 9, dtype, splits=2)
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
def test_the_tiles_that_a_device_gets(dtype, shape):
    """One block of each product, not quite full, with a second step of the depth."""
    rows, depth = shape.rows - 3, shape.span + 3
    one = make([depth, shape.columns - 1], [LINEAR], rows, dtype)
    launch(dense._feed_of(shape, dtype), one, 1, shape, (1, 1, 1))
    W, b = weight(one, 1, one.work.params.copy_to_host())
    X, A = block(one, 0, layout.A), block(one, 1, layout.A)
    expected = X.astype(np.float64) @ W.astype(np.float64) + b
    check(A, expected, within(depth, X, W) + np.finfo(dtype).eps * np.abs(b))
    one = make([2, shape.columns - 1, depth], [LINEAR, LINEAR], rows, dtype)
    launch(dense._delta_of(shape, dtype), one, 1, shape, (1, 1, 1))
    W, _ = weight(one, 2, one.work.params.copy_to_host())
    above, below = block(one, 2, layout.D), block(one, 1, layout.D)
    check(below, above.astype(np.float64) @ W.T.astype(np.float64), within(depth, above, W.T))
    one = make([rows, shape.columns - 1], [LINEAR], depth, dtype, splits=1)
    launch(dense._gradient_of(shape, dtype), one, 1, shape, (2, 1, 1))
    X, D = block(one, 0, layout.A), block(one, 1, layout.D)
    dW, db = weight(one, 1, partial(one, 1)[0])
    check(dW, X.T.astype(np.float64) @ D.astype(np.float64), within(depth, X.T, D))
    check(db, D.astype(np.float64).sum(axis=0), within(depth, np.ones((1, depth), dtype), D)[0])


def launch(kernel, one, layer, shape, blocks):
    kernel[blocks, shape.threads](one.work, np.uint32(layer))


def test_the_choice_of_tiles_covers_every_product():
    """Whatever is chosen has a kernel, and a gradient is only divided where every part has work."""
    for itemsize in (4, 8):
        for m, n, depth in [(1, 1, 1), (128, 10, 512), (128, 512, 784), (4096, 4096, 4096), (60_000, 512, 784)]:
            for processors in (1, 40, 132):
                shape = tile.choose(m, n, depth, 1, processors, itemsize)
                assert (itemsize, shape) in dense._FEED
                parts = tile.splits(depth, m, n, processors, itemsize)
                assert parts == 1 or depth // parts >= tile.SHORTEST


def partial(one, layer):
    """The partial gradients of a layer, (SPLITS, SIZE)."""
    start, size, splits = one.at(layer, PARTIAL), one.at(layer, SIZE), one.at(layer, SPLITS)
    return one.work.space.copy_to_host()[start : start + splits * size].reshape(splits, size)
