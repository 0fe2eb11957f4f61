"""The search for the first NaN or infinity."""

import numpy as np
import pytest
from helpers import DTYPES

from fastnn_kernels.finite import BLOCK, first_not_finite


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_found_in_finite_numbers(dtype):
    extremes = np.array([np.finfo(dtype).max, np.finfo(dtype).min, np.finfo(dtype).smallest_subnormal, -0.0], dtype)
    for size in (0, 1, 7, 33, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5):
        assert first_not_finite(np.resize(extremes, size)) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_every_place_is_found(dtype, value):
    for size in (1, 7, 33, BLOCK + 19):
        array = np.ones(size, dtype)
        for place in {0, 1, 15, 16, size // 2, BLOCK - 1, BLOCK, size - 2, size - 1} & set(range(size)):
            array[place] = value
            assert first_not_finite(array) == (place,)
            array[place] = 1


def test_the_first_of_several_by_row_and_column():
    array = np.zeros((100, 321), np.float32)
    array[60, 3] = np.nan
    array[17, 320] = np.inf
    array[18, 0] = -np.inf
    assert first_not_finite(array) == (17, 320)


def test_opposite_infinities_do_not_cancel():
    assert first_not_finite(np.array([1, np.inf, -np.inf])) == (1,)
