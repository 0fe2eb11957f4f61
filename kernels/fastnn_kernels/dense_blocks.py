"""Blocks of samples whose inputs are multiplied whole, in register tiles. See blocks.py."""

from fastnn_kernels.blocks import ask_for_next, epochs_of
from fastnn_kernels.dense import bias_gradient
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import DEPTH, N_IN, STRIDE, WIDTH, A, B, D, W
from fastnn_kernels.machine import DOTS, UNIT
from fastnn_kernels.native import fill, lanes, store
from fastnn_kernels.passes import Now, gather
from fastnn_kernels.product import FROM_ROW, FROM_TARGET, dots, product_columns, product_rows
from fastnn_kernels.work import INPUTS, ROWS, at


@kernel
def _size(work):
    """Samples of a whole block; so many rows behind its first one lies the row that waits for the next."""
    return work.numbers[ROWS] - UNIT


@kernel
def _inputs_at(work, rank, turn):
    """Rows of inputs."""
    return work.space + (at(work, 0, A) + (2 * rank + turn) * work.numbers[INPUTS])


@kernel
def _gather(work, rank, size, block):
    """The inputs of a block, never augmented; the last worker makes its Gram matrix."""
    gather(work, block.inputs, 0, block.rows, Now(0, block.start, False, block.rows, rank, size))
    if rank == size - 1:
        _make_gram_matrix(work, block)


@kernel
def _make_gram_matrix(work, block):
    """Of every row, its products with the rows before it."""
    x, stride, size = block.inputs, at(work, 0, STRIDE), block.size
    for row in range(0, block.rows, UNIT):
        gram = block.gram + row * size
        for i in range(0, UNIT * size, lanes(x)):
            store(gram + i, fill(x, 1.0))
        for column in range(0, row + UNIT - 1, DOTS):
            dots(x + row * stride, stride, x + column * stride, stride, at(work, 0, WIDTH), gram + column, size)


@kernel
def _move(work, block, following):
    x_stride, stride, panel = at(work, 0, STRIDE), at(work, 1, STRIDE), 2 * lanes(work.space)
    n_in, depth, first, last = at(work, 1, N_IN), at(work, 1, DEPTH), block.first, block.last
    changes, bias = work.space + at(work, 1, D), work.params + at(work, 1, B)
    bias_gradient(changes + first, stride, last - first, block.rows, bias + first, True)
    for column in range(first, last, panel):
        ask_for_next(work, following, column)
        w, columns = work.params + (at(work, 1, W) + column * depth), min(panel, last - column)
        d, z = changes + column, work.space + (at(work, 1, A) + column)
        if block.rows > 0:
            product_columns(block.inputs, x_stride, d, stride, w, columns, block.rows, n_in, columns, FROM_TARGET, w)
        product_rows(
            following.inputs, x_stride, w, columns, z, stride, n_in, following.rows, columns, FROM_ROW, bias + column
        )


epoch = epochs_of(_size, _inputs_at, _gather, _move)
