"""The embedded digits are the 1,797 images of the UCI test set."""

import numpy as np

from fastnn.data import digits


def test_shapes_and_values():
    X, y = digits()
    assert (X.shape, X.dtype, X.flags.c_contiguous) == ((1797, 64), np.float32, True)
    assert (y.shape, y.dtype) == ((1797,), np.int64)
    assert (X.min(), X.max(), X.sum()) == (0, 16, 561718)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # the counts of the source
    assert X[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert y[:4].tolist() == [0, 1, 2, 3]


def test_is_a_fresh_copy():
    X, _ = digits()
    X[:] = -1
    assert digits()[0].min() == 0
