"""Layers whose weights are more than a core's second cache holds are fed block by block of rows."""

import numpy as np
import pytest
from helpers import DTYPES, data, exact, same, sum_error

import fastnn as fn
from fastnn_kernels import dense

SIZES, ROWS = [600, 501, 3], 303


def network(dtype):
    net = fn.MLP(SIZES, activation="relu", dtype=dtype, seed=1)
    of_a_row = SIZES[0] * np.dtype(dtype).itemsize
    assert SIZES[1] * of_a_row > dense.FEED_BYTES > of_a_row  # the layer asks for its next panel
    assert ROWS * of_a_row > dense.FEED_BYTES  # in more than one block
    return net


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [ROWS, 256, 5])
def test_feeds_in_blocks_are_those_of_the_oracle(rows, dtype, rng):
    net = network(dtype)
    X = data(rng, (rows, SIZES[0])).astype(dtype)
    (W1, b1), (W2, b2) = exact(net.weights)
    given = net.predict(X).astype(np.float64)
    X = X.astype(np.float64)
    hidden = np.maximum(X @ W1 + b1, 0.0)
    off = sum_error(SIZES[0] + 1, dtype) * (abs(X) @ abs(W1) + abs(b1))
    bound = sum_error(SIZES[1] + 1, dtype) * ((hidden + off) @ abs(W2) + abs(b2)) + off @ abs(W2)
    assert (abs(given - (hidden @ W2 + b2)) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_on_any_number_of_threads(dtype, rng):
    """Two threads divide the panels of the first layer, one does them all."""
    X, y = data(rng, (2 * ROWS, SIZES[0])), data(rng, (2 * ROWS, SIZES[2]))

    def trained(threads):
        net = network(dtype)
        net.fit(X, y, optimizer=fn.Adam(0.001), batch_size=ROWS, epochs=2, threads=threads, progress=False)
        return net.weights

    assert all(same(trained(threads), trained(1)) for threads in (2, 3))
