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

    soon, later: pointers to what is to be brought into the first cache and into the second: three each, for one tile
    after the other, or that of one tile. The steps are in elements, 0 where nothing is wanted.
    """

    soon: object
    soon_step: object
    later: object
    later_step: object


def _product(rows, vectors):
    @kernel
    def product(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first, ahead):
        """c (rows, vectors) = start + a (rows, depth) @ b (depth, vectors)"""
        soon, soon_step, later, later_step = ahead
        if start == FROM_ROW:
            tile = tile_rows(first, rows, vectors)
        elif start == FROM_TARGET:
            tile = tile_load(c, c_stride, rows, vectors)
        else:
            tile = tile_zero(c, rows, vectors)
        bases = tile_bases(a, row_stride, rows)
        for _ in range(depth):
            prefetch_l1(soon)
            prefetch_l2(later)
            tile = tile_rank1(tile, bases, row_stride, b, vectors)
            bases = tile_next(bases, k_stride)
            b = b + b_stride
            soon = soon + soon_step
            later = later + later_step
        tile_store(tile, c, c_stride, vectors)

    return product


_tall, _middle, _short = (_product(n * UNIT, 2) for n in (3, 2, 1))
_tall_narrow, _middle_narrow, _short_narrow = (_product(n * UNIT, 1) for n in (3, 2, 1))


@kernel
def product_rows_ahead(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, rows, width, start, first, ahead):
    """product_rows, and meanwhile what is Ahead."""
    wide = width > lanes(c)
    done = 0
    soon, soon_step, later, later_step = ahead
    while done < rows:
        one = Ahead(soon[0], soon_step, later[0], later_step)
        left = rows - done
        x = a + done * row_stride
        z = c + done * c_stride
        if left > 4 * UNIT or 2 * UNIT < left <= 3 * UNIT:
            done += 3 * UNIT
            if wide:
                _tall(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first, one)
            else:
                _tall_narrow(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first, one)
        elif left > UNIT:
            done += 2 * UNIT
            if wide:
                _middle(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first, one)
            else:
                _middle_narrow(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first, one)
        else:
            done += UNIT
            if wide:
                _short(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first, one)
            else:
                _short_narrow(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first, one)
        soon, later = (soon[1], soon[2], soon[0]), (later[1], later[2], later[0])


@kernel
def product_rows(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, rows, width, start, first):
    """c (rows, width) = start + a (rows, depth) @ b (depth, width), for one panel of columns.

    Element (i, k) of a lies at i * row_stride + k * k_stride; width is one vector or two. start: FROM_ZERO, FROM_ROW
    (the row at pointer `first`) or FROM_TARGET (what c holds).
    """
    ahead = Ahead((c, c, c), 0, (c, c, c), 0)
    product_rows_ahead(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, rows, width, start, first, ahead)


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
