"""The vectors that an elementwise kernel goes through: those of a stretch of memory, or some lanes of scattered ones.

Line k of a stretch is its k-th vector. Of scattered vectors it begins at rows[k] * stride, and only lanes where mask is
true are written. What lies beside the lines, the gradient, has a vector for each, `step` apart; lane i of line k goes
with lane places[i] of it.
"""

from typing import NamedTuple

from fastnn_kernels.jit import kernel
from fastnn_kernels.native import lanes, load, permute, store, store_where


class Lines(NamedTuple):
    """How many lines, and where; rows, places and mask are None for a stretch."""

    total: int
    rows: object
    stride: int
    step: int
    places: object
    mask: object


@kernel
def stretch(p, count):
    """The `count` elements at pointer p, whole vectors."""
    n = lanes(p)
    return Lines(count // n, None, n, n, None, None)


@kernel
def _row(rows, k):
    if rows is None:
        return k
    return rows[k]


@kernel
def _permuted(places, v):
    if places is None:
        return v
    return permute(v, places)


@kernel
def _store(mask, p, v):
    if mask is None:
        store(p, v)
    else:
        store_where(mask, p, v)


@kernel
def line(lines, k):
    """Where line k begins."""
    return _row(lines.rows, k) * lines.stride


@kernel
def beside(lines, p, k):
    """What lies at pointer p beside line k."""
    return _permuted(lines.places, load(p + k * lines.step))


@kernel
def put(lines, p, v):
    """Write v to a line at pointer p."""
    _store(lines.mask, p, v)
