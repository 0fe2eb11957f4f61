"""Functions that the device does not take from its library."""

import numpy as np
import pytest

from fastnn_kernels.cuda import elementary
from fastnn_kernels.cuda.driver import blocks_for, cuda, kernel, place


@kernel
def _turn(turns, cosines, sines):
    i = place()
    if i < turns.size:
        cosines[i], sines[i] = elementary.cos_sin_turns(turns[i], turns.dtype.type)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cosine_and_sine_of_turns(dtype):
    around = np.nextafter(np.linspace(0, 1, 9), [[0.5], [0.0], [1.0]]).ravel()
    turns = np.clip(np.concatenate([np.linspace(0, 1, 97), around]), 0, 1).astype(dtype)
    cosines, sines = cuda.to_device(np.zeros_like(turns)), cuda.to_device(np.zeros_like(turns))
    _turn[blocks_for(turns.size, 32), 32](cuda.to_device(turns), cosines, sines)
    angles = 2 * np.pi * turns.astype(np.longdouble)
    eps = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(cosines.copy_to_host(), np.cos(angles), rtol=0, atol=eps)
    np.testing.assert_allclose(sines.copy_to_host(), np.sin(angles), rtol=0, atol=eps)
    assert cosines[0] == 1
    assert sines[0] == 0
