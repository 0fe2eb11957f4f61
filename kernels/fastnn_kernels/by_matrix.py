"""Feed and delta of a layer whose products are the matrix unit's, see matrix.py.

Up to MATRIX_ROWS rows of what goes in, MATRIX_DEPTH columns of them, are packed at a time: as much as a core's second
cache holds. Then panels of weights go by, each packed in turn, and add to what the columns before have left in A or D.
A worker takes its rows through all panels, or where layers are divided by panels, all rows through its own.
"""

from typing import NamedTuple

from numba import types

from fastnn_kernels import dense
from fastnn_kernels.jit import kernel, matrix_only
from fastnn_kernels.layout import ACTIVATION, DEPTH, MATRIX_DEPTH, MATRIX_ROWS, STRIDE, WIDTH, A, D
from fastnn_kernels.matrix import (
    BLOCK,
    NEAR_STEPS,
    PACKED,
    STEP,
    pack,
    pack_rows,
    pack_transposed,
    packed,
    product_block,
    steps_of,
)
from fastnn_kernels.native import matrix_close, matrix_open
from fastnn_kernels.native.matrix import SIDE
from fastnn_kernels.product import FROM_ROW, FROM_TARGET, FROM_ZERO
from fastnn_kernels.work import SCRATCH_SIZE, at, below, scratch, share


class Block(NamedTuple):
    """Rows first to last, and of the sums that go into them the products k to k + depth, in so many steps.

    is_end: whether those are the sums' last; rows: where the rows are packed.
    """

    first: object
    last: object
    k: object
    depth: object
    steps: object
    is_end: object
    rows: object


@kernel
def _pack_tile(work, layer, column, columns, block, number, out):
    """One tile of the layer's panel at a column, its rows k to k + depth, as columns of a product."""
    tiles, panel = columns // SIDE, dense.weights(work, layer) + column * at(work, layer, DEPTH)
    row, tile = number // tiles * STEP, number % tiles
    place, seconds = panel + ((block.k + row) * columns + tile * SIDE), SIDE if row + SIDE < block.depth else 0
    pack(place, columns, SIDE * columns, SIDE, seconds, out + number * PACKED)


@kernel
def _pack_transposed_tile(work, layer, row, rows, block, number, out):
    """One tile of BLOCK rows of the layer's weights, their columns k to k + depth, as columns of a product."""
    tiles, depth = rows // SIDE, at(work, layer, DEPTH)
    column, i = block.k + number // tiles * STEP, row + number % tiles * SIDE
    columns = min(STEP, at(work, layer, WIDTH) - column)
    place = dense.weights(work, layer) + (column * depth + i * columns)
    pack_transposed(place, columns, SIDE, SIDE, SIDE if columns > SIDE else 0, out + number * PACKED)


@kernel
def _columns_at(column, end):
    """Columns of the panel at one, if there is any before the end."""
    return max(0, min(BLOCK, end - column))


@kernel
def _rows_at_once(work):
    """Rows that are packed at a time: what the scratch has room for beside two panels of weights, and no more."""
    blocks = work.numbers[SCRATCH_SIZE] // packed(MATRIX_DEPTH, BLOCK) - 2
    return min(blocks * BLOCK, MATRIX_ROWS)


def _layer(is_delta, target, begins, pack_tile):
    """feed_block or delta_block, which differ in what goes in and out, and in whose weights they take, and how."""

    @kernel
    def finish(work, layer, column, first, last, act):
        if is_delta:
            dense.finish_delta(work, layer, column, first, last, act)
        else:
            dense.finish_feed(work, layer, column, first, last, act, False)

    @kernel
    def pack_some(work, layer, column, end, block, part, parts, out):
        """One of the parts of packing the panel at a column.

        Those of the feed are packed between the products of the panel before: vectors and unit work side by side, as
        far as the processor looks ahead. Transposed ones come from all over memory, faster at once.
        """
        columns = _columns_at(column, end)
        first, last = share(block.steps * columns // SIDE, part, parts)
        for number in range(first, last):
            pack_tile(work, layer + 1 if is_delta else layer, column, columns, block, number, out)

    @kernel
    def panel(work, layer, column, end, block, weight, following, act):
        """The panel at a column, while the following one is packed."""
        stride, columns, bias = at(work, layer, STRIDE), _columns_at(column, end), dense.weights(work, layer)
        bias = bias + (at(work, layer, DEPTH) * at(work, layer, WIDTH) + column)
        tiles, blocks = columns // SIDE, (block.last - block.first + BLOCK - 1) // BLOCK
        done, parts = 0, 1 if is_delta else blocks * ((block.steps + NEAR_STEPS - 1) // NEAR_STEPS)
        for step in range(0, block.steps, NEAR_STEPS):
            steps, start = min(NEAR_STEPS, block.steps - step), FROM_TARGET if step + block.k > 0 else begins
            for i in range(blocks):
                row = block.first + i * BLOCK
                last = min(row + BLOCK, block.last)
                if done < parts:
                    pack_some(work, layer, column + BLOCK, end, block, done, parts, following)
                done += 1
                a, b = block.rows + 2 * (i * block.steps + step) * PACKED, weight + step * tiles * PACKED
                c = work.space + (at(work, layer, target) + row * stride + column)
                product_block(a, b, steps, c, stride, last - row, columns, start, bias)
                if block.is_end and step + steps == block.steps:
                    finish(work, layer, column, row, last, act)

    @matrix_only(types.none)
    def multiply(work, layer, first, last, left, right, act, now):
        """A or D of the layer, rows first to last of the columns left to right, up to what goes by whole rows."""
        depth, stride, x = at(work, layer, DEPTH), at(work, layer - 1, STRIDE), below(work, layer, now.rank)
        if is_delta:
            depth, stride, x = (
                at(work, layer + 1, WIDTH),
                at(work, layer + 1, STRIDE),
                work.space + at(work, layer + 1, D),
            )
        weight = scratch(work, now.rank)
        following, rows = weight + packed(MATRIX_DEPTH, BLOCK), weight + 2 * packed(MATRIX_DEPTH, BLOCK)
        at_once = _rows_at_once(work)
        matrix_open()
        for begin in range(first, last, at_once):
            end = min(begin + at_once, last)
            for k in range(0, depth, MATRIX_DEPTH):
                deep = min(MATRIX_DEPTH, depth - k)
                block = Block(begin, end, k, deep, steps_of(deep), k + deep == depth, rows)
                pack_rows(x + (begin * stride + k), stride, end - begin, deep, rows)
                pack_some(work, layer, left, right, block, 0, 1, weight)
                for column in range(left, right, BLOCK):
                    panel(work, layer, column, right, block, weight, following, act)
                    weight, following = following, weight
        matrix_close()

    return multiply


_feed_block = _layer(False, A, FROM_ROW, _pack_tile)
_delta_block = _layer(True, D, FROM_ZERO, _pack_transposed_tile)


@kernel
def feed(work, layer, first, last, act, now):
    """dense.feed, by the matrix unit."""
    _feed_block(work, layer, first, last, 0, at(work, layer, WIDTH), dense.panel_activation(act, now), now)
    return dense.feed_rows(work, layer, first, last, act, now)


@kernel
def delta(work, layer, first, last, now):
    """dense.delta, by the matrix unit."""
    _delta_block(work, layer, first, last, 0, at(work, layer, WIDTH), at(work, layer, ACTIVATION), now)
    return dense.delta_rows(work, layer, first, last, now)


@kernel
def _own_columns(work, layer, now):
    """The columns, left to right, of a worker's own panels."""
    width = at(work, layer, WIDTH)
    first, last = share((width + BLOCK - 1) // BLOCK, now.rank, now.size)
    return first * BLOCK, min(last * BLOCK, width)


@kernel
def feed_panels(work, layer, act, now):
    """A of a worker's own panels, up to what goes by whole rows."""
    left, right = _own_columns(work, layer, now)
    _feed_block(work, layer, 0, now.rows, left, right, dense.panel_activation(act, now), now)


@kernel
def delta_panels(work, layer, act, now):
    """D of a worker's own panels, up to what goes by whole rows."""
    left, right = _own_columns(work, layer, now)
    _delta_block(work, layer, 0, now.rows, left, right, act, now)
