"""Products of matrices in register tiles.

A tile has 3, 2 or 1 times UNIT rows and two vectors of columns, or one where a panel is narrow. The inner sum runs over
its whole length in one order, so that results do not depend on tile or thread. Rows are rounded up to UNIT: whatever a
product reads and writes has room for that.
"""

from typing import NamedTuple

from fastnn_kernels.jit import kernel
from fastnn_kernels.machine import UNIT
from fastnn_kernels.native import (
    lanes,
    prefetch_l1,
    prefetch_l2,
    tile_add_sums,
    tile_bases,
    tile_dot,
    tile_load,
    tile_next,
    tile_rank1,
    tile_rows,
    tile_store,
    tile_zero,
)

FROM_ZERO, FROM_ROW, FROM_TARGET = 0, 1, 2


class Ahead(NamedTuple):
    """What a product asks for, so that memory and arithmetic run side by side: a line of each at every step.

    asks: whether it does; soon, later: pointers to what is to be brought into the first cache and into the second,
    three each, for one tile after the other, or that of one tile. The steps are in elements.
    """

    asks: object
    soon: object
    soon_step: object
    later: object
    later_step: object


def _product(rows, vectors, asks=False):
    @kernel
    def product(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, ahead):
        """c (rows, vectors) = start + a (rows, depth) @ b (depth, vectors)"""
        if asks:
            soon, later = ahead.soon, ahead.later
        if start == FROM_ROW:
            tile = tile_rows(first, rows, vectors)
        elif start == FROM_TARGET:
            tile = tile_load(c, c_stride, rows, vectors)
        else:
            tile = tile_zero(c, rows, vectors)
        bases = tile_bases(a, row_stride, rows)
        for _ in range(depth):
            if asks:
                prefetch_l1(soon)
                prefetch_l2(later)
                soon = soon + ahead.soon_step
                later = later + ahead.later_step
            tile = tile_rank1(tile, bases, row_stride, b, vectors)
            bases = tile_next(bases, k_stride)
            b = b + b_stride
        tile_store(tile, c, c_stride, vectors)

    return product


_tall, _middle, _short = (_product(n * UNIT, 2) for n in (3, 2, 1))
_tall_narrow, _middle_narrow, _short_narrow = (_product(n * UNIT, 1) for n in (3, 2, 1))
_tall_asking, _middle_asking, _short_asking = (_product(n * UNIT, 2, True) for n in (3, 2, 1))


@kernel
def _height(rows):
    """UNITs of rows in the next tile, where so many are left."""
    if rows > 4 * UNIT or 2 * UNIT < rows <= 3 * UNIT:
        return 3
    return 2 if rows > UNIT else 1


@kernel
def product_rows(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, rows, width, start, first):
    """c (rows, width) = start + a (rows, depth) @ b (depth, width), for one panel of columns.

    Element (i, k) of a lies at i * row_stride + k * k_stride; width is one vector or two. start: FROM_ZERO, FROM_ROW
    (the row at pointer `first`) or FROM_TARGET (what c holds).
    """
    wide = width > lanes(c)
    while rows > 0:
        height = _height(rows)
        if height == 3:
            if wide:
                _tall(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, None)
            else:
                _tall_narrow(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, None)
        elif height == 2:
            if wide:
                _middle(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, None)
            else:
                _middle_narrow(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, None)
        elif wide:
            _short(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, None)
        else:
            _short_narrow(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, None)
        rows -= height * UNIT
        a = a + height * UNIT * row_stride
        c = c + height * UNIT * c_stride


@kernel
def product_rows_asking(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, rows, start, first, ahead):
    """product_rows for two vectors of columns, and meanwhile what is Ahead."""
    asks, soon, soon_step, later, later_step = ahead
    while rows > 0:
        height, one = _height(rows), Ahead(asks, soon[0], soon_step, later[0], later_step)
        if height == 3:
            _tall_asking(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, one)
        elif height == 2:
            _middle_asking(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, one)
        else:
            _short_asking(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, one)
        rows -= height * UNIT
        a = a + height * UNIT * row_stride
        c = c + height * UNIT * c_stride
        soon, later = (soon[1], soon[2], soon[0]), (later[1], later[2], later[0])


def _dots(group):
    @kernel
    def dots(x, x_stride, w, depth, z, z_stride):
        """z (UNIT, 4 columns from 4 * group on) += x (UNIT, depth) @ w.T, w (columns, depth)"""
        tile = tile_zero(z, UNIT, 4)
        w = w + 4 * group * depth
        for k in range(0, depth, lanes(z)):
            tile = tile_dot(tile, x + k, x_stride, w + k, depth)
        tile_add_sums(tile, z, z_stride, group)

    return dots


first_dots, second_dots = _dots(0), _dots(1)
