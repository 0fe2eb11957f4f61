"""Whether an array holds NaN or infinity, and where the first one is."""

from __future__ import annotations

import numpy as np

from fastnn_kernels.jit import entry
from fastnn_kernels.native import fill, lanes, load, pointer, sum_lanes

BLOCK = 4096


@entry
def first_block_not_finite(like, number, size):
    """The first element of the first block of BLOCK elements that holds NaN or infinity, or -1.

    number: the address of `size` elements of the dtype of the array `like`.
    """
    p = pointer(like, number)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        whole = count - count % lanes(p)
        zero = fill(p, 0.0)
        for i in range(start, start + whole, lanes(p)):
            zero = zero + load(p + i) * 0.0
        total = sum_lanes(zero)
        for i in range(start + whole, start + count):
            total += p[i] * 0
        if total != 0:
            return start
    return -1


def first_not_finite(array: np.ndarray) -> tuple[int, ...] | None:
    """The index of the first NaN or infinity of a C-contiguous array of float32 or float64, or None."""
    flat = array.reshape(-1)
    start = first_block_not_finite(np.empty(0, array.dtype), flat.ctypes.data, flat.size)
    if start < 0:
        return None
    offset = start + int(np.flatnonzero(~np.isfinite(flat[start : start + BLOCK]))[0])
    return tuple(int(i) for i in np.unravel_index(offset, array.shape))
