"""Products of matrices in register tiles.

A tile has 3, 2 or 1 times UNIT rows and two vectors of columns, or one where a panel is narrow. Its rows come from the
rows of the first operand (feed, delta) or from its columns (gradient): either way one of the two strides is 1, which
the processor adds for nothing. From columns, a narrow tile may have 4 times UNIT rows: with fewer sums multiply-adds
wait for each other. The inner sum runs over its whole length in one order, so that results do not depend on tile or
thread. Rows are rounded up to UNIT: whatever a product reads and writes has room for that.
"""

from typing import NamedTuple

from fastnn_kernels.jit import kernel
from fastnn_kernels.machine import DOTS, HAS_FMA, TALL, UNIT
from fastnn_kernels.native import (
    lanes,
    prefetch_l1,
    prefetch_l2,
    tile_add_sums,
    tile_bases,
    tile_beside,
    tile_dot,
    tile_gate,
    tile_load,
    tile_next,
    tile_rank1,
    tile_rectify,
    tile_rows,
    tile_store,
    tile_zero,
)

# What a product begins with, and for the last two, which are of rows only, how it ends.
FROM_ZERO = 0
FROM_ROW = 1  # the row `given`
FROM_TARGET = 2  # what is where the product goes
RECTIFIED = 3  # FROM_ROW, with 0 for what is negative: ReLU
GATED = 4  # FROM_ZERO, with 0 where `given`, laid out as the product, is not positive: times ReLU's derivative

STEPS = 2 if HAS_FMA else 1  # of a sum in a turn of a tile's loop; products apart from their sums take registers
AHEAD = 4  # tiles that one Ahead has pointers for
PER_BASE = 3  # rows that are addressed from one pointer: base, base + stride, base + 2 stride are one instruction each


class Ahead(NamedTuple):
    """What a product asks for, so that memory and arithmetic run side by side: a line of each at every turn of a loop
    that takes STEPS of the sum.

    soon, later: pointers to what is to be brought into the first cache and into the second, AHEAD each, for one tile
    after the other, or that of one tile. In elements: soon_step, later_step from one turn to the next, soon_tile,
    later_tile from a tile to the one AHEAD after it.
    """

    soon: object
    soon_step: object
    soon_tile: object
    later: object
    later_step: object
    later_tile: object


def _tile(by_columns, rows, vectors, asks):
    """The product of one tile, STEPS of its sum at a time: counting takes the place of multiply-adds. The tallest goes
    step by step: it has no registers for more."""
    per_base, steps = rows if by_columns else PER_BASE, STEPS if rows <= TALL else 1

    @kernel
    def tile_product(a, a_stride, b, b_stride, c, c_stride, depth, mode, given, ahead):
        """c (rows, vectors) = a @ b (depth, vectors); a (rows, depth), or its transpose where by_columns"""
        if asks:
            soon, later = ahead.soon, ahead.later
        if mode == FROM_ROW or (not by_columns and mode == RECTIFIED):
            tile = tile_rows(given, rows, vectors)
        elif mode == FROM_TARGET:
            tile = tile_load(c, c_stride, rows, vectors)
        else:
            tile = tile_zero(c, rows, vectors)
        row_stride, step = (1, a_stride) if by_columns else (a_stride, 1)
        bases = tile_bases(a, row_stride, rows, per_base)
        for _ in range(depth // steps):
            if asks:
                prefetch_l1(soon)
                prefetch_l2(later)
                soon = soon + ahead.soon_step
                later = later + ahead.later_step
            tile = tile_rank1(tile, bases, row_stride, b, vectors)
            if steps == 2:
                tile = tile_rank1(tile, tile_beside(bases, step), row_stride, b + b_stride, vectors)
            bases = tile_next(bases, steps * step)
            b = b + steps * b_stride
        if depth % steps == 1:
            tile = tile_rank1(tile, bases, row_stride, b, vectors)
        if not by_columns:
            if mode == RECTIFIED:
                tile = tile_rectify(tile)
            elif mode == GATED:
                tile = tile_gate(tile, given, c_stride, vectors)
        tile_store(tile, c, c_stride, vectors)

    return tile_product


@kernel
def _height(rows, has_tallest):
    """UNITs of rows in the next tile, where so many are left."""
    if has_tallest and rows > TALL:
        return 4
    if rows > 4 * UNIT or 2 * UNIT < rows <= 3 * UNIT:
        return 3
    return 2 if rows > UNIT else 1


def _tiles(by_columns, vectors, asks):
    """A product of any number of rows, tile after tile."""
    short, middle, tall, tallest = (_tile(by_columns, n * UNIT, vectors, asks) for n in (1, 2, 3, 4))
    has_tallest = by_columns and vectors == 1

    @kernel
    def tiles(a, a_stride, b, b_stride, c, c_stride, depth, rows, mode, given, ahead):
        one = ahead
        if asks:
            soon, later = ahead.soon, ahead.later
        while rows > 0:
            height = _height(rows, has_tallest)
            if asks:
                one = Ahead(soon[0], ahead.soon_step, 0, later[0], ahead.later_step, 0)
                soon = soon[1], soon[2], soon[3], soon[0] + ahead.soon_tile
                later = later[1], later[2], later[3], later[0] + ahead.later_tile
            if has_tallest and height == 4:
                tallest(a, a_stride, b, b_stride, c, c_stride, depth, mode, given, one)
            elif height == 3:
                tall(a, a_stride, b, b_stride, c, c_stride, depth, mode, given, one)
            elif height == 2:
                middle(a, a_stride, b, b_stride, c, c_stride, depth, mode, given, one)
            else:
                short(a, a_stride, b, b_stride, c, c_stride, depth, mode, given, one)
            rows -= height * UNIT
            a = a + height * UNIT * (1 if by_columns else a_stride)
            c = c + height * UNIT * c_stride
            if not by_columns and mode == GATED:
                given = given + height * UNIT * c_stride

    return tiles


def _product(by_columns):
    wide, narrow = (_tiles(by_columns, vectors, False) for vectors in (2, 1))

    @kernel
    def product(a, a_stride, b, b_stride, c, c_stride, depth, rows, width, mode, given):
        """c (rows, width) = a @ b (depth, width) for one panel of columns, one vector or two.

        a (rows, depth), or its transpose for product_columns. mode: what is added, and done with the sums; given: a
        pointer, for modes that need one. The asking ones are for two vectors of columns, and ask for what is Ahead.
        """
        if width > lanes(c):
            wide(a, a_stride, b, b_stride, c, c_stride, depth, rows, mode, given, None)
        else:
            narrow(a, a_stride, b, b_stride, c, c_stride, depth, rows, mode, given, None)

    return product


product_rows, product_rows_asking = _product(False), _tiles(False, 2, True)
product_columns, product_columns_asking = _product(True), _tiles(True, 2, True)


@kernel
def dots(x, x_stride, w, w_stride, depth, z, z_stride):
    """z (UNIT, DOTS) += x (UNIT, depth) @ w.T, w (DOTS, depth): for sums longer than rows and columns are many."""
    tile = tile_zero(z, UNIT, DOTS)
    for k in range(0, depth, lanes(z)):
        tile = tile_dot(tile, x + k, x_stride, w + k, w_stride)
    tile_add_sums(tile, z, z_stride)
