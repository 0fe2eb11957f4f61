"""Stochastic descent on dense data: a block of samples side by side, as exact as one after the other.

Let the weights before a block be W, b. The sample t of the block sees

    z_t = x_t W + b - lr sum_{s < t} (x_s . x_t + 1) delta_s

so the block needs one product X W, one Gram matrix X X.T, and one update W -= lr X.T Delta at its end; only the
correction, a few rows of n_1 elements, goes sample by sample. The changes that the layers above the first still lack
after a block wait in a row behind it for the next one.

The workers of a team divide the first layer's panels: each feeds and updates its own, from input rows of its own.
Rank 0 takes the steps; meanwhile the others gather the next block, and the last one makes its Gram matrix.
"""

from typing import NamedTuple

from fastnn_kernels.dense import bias_gradient
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import DEPTH, N_IN, STRIDE, WIDTH, A, B, D, W
from fastnn_kernels.machine import DOTS, UNIT
from fastnn_kernels.native import fill, fma, lanes, load, maximum, store
from fastnn_kernels.native.atomic import load_acquire
from fastnn_kernels.optimizer import learning_rate
from fastnn_kernels.output import complete
from fastnn_kernels.passes import Now, gather
from fastnn_kernels.product import FROM_ROW, FROM_TARGET, dots, product_columns, product_rows
from fastnn_kernels.stochastic import (
    activate_row,
    columns_of_first_layer,
    finish,
    floor_of,
    forget,
    keep,
    rest_of_step,
)
from fastnn_kernels.team import DECISION, DIVERGED, FLAG, GOES_ON, PROGRESS, STOPPED, decide, meet, raise_flag
from fastnn_kernels.work import BLOCK, INPUTS, LOSSES, ROWS, SAMPLES, ask_for, at, share


class _Block(NamedTuple):
    """One block, as one worker sees it.

    start: position of its first sample in the order; rows: samples; x: its input rows; gram: X X.T + 1 (rows, _size),
    left of the diagonal; first, last: the first layer's columns that are the worker's.
    """

    start: int
    rows: int
    x: object
    gram: object
    first: int
    last: int


@kernel
def _size(work):
    """Samples of a whole block; so many rows behind its first one lies the row that waits for the next."""
    return work.numbers[ROWS] - UNIT


@kernel
def _block(work, rank, start, first, last):
    """The block from a position of the order on. Blocks take turns in two places for inputs and Gram matrix."""
    size = _size(work)
    turn = start // size % 2
    x = work.space + (at(work, 0, A) + (2 * rank + turn) * work.numbers[INPUTS])
    gram = work.space + (work.numbers[BLOCK] + turn * size * size)
    return _Block(start, min(size, work.numbers[SAMPLES] - start), x, gram, first, last)


@kernel
def _gather(work, rank, size, block):
    """The inputs of a block, which may have no samples, never augmented; the last worker makes its Gram matrix."""
    gather(work, block.x, 0, block.rows, Now(0, block.start, False, block.rows, rank, size))
    if rank == size - 1:
        _make_gram_matrix(work, block)


@kernel
def _make_gram_matrix(work, block):
    """Of every row, its products with the rows before it."""
    x, stride, size = block.x, at(work, 0, STRIDE), _size(work)
    for row in range(0, block.rows, UNIT):
        gram = block.gram + row * size
        for i in range(0, UNIT * size, lanes(x)):
            store(gram + i, fill(x, 1.0))
        for column in range(0, row + UNIT - 1, DOTS):
            dots(x + row * stride, stride, x + column * stride, stride, at(work, 0, WIDTH), gram + column, size)


@kernel
def _ask_for_samples(work, start, panel, panels):
    """Each of a worker's panels asks for its share of the block at `start`: memory and arithmetic run side by side."""
    first, last = share(min(_size(work), work.numbers[SAMPLES] - start), panel, panels)
    for row in range(first, last):
        ask_for(work, start + row)


@kernel
def _feed(work, block):
    """z of the block's rows by the weights before it."""
    x_stride, z_stride, panel = at(work, 0, STRIDE), at(work, 1, STRIDE), 2 * lanes(work.space)
    n_in, depth = at(work, 1, N_IN), at(work, 1, DEPTH)
    panels = (block.last - block.first + panel - 1) // panel
    for column in range(block.first, block.last, panel):
        _ask_for_samples(work, block.start + block.rows, (column - block.first) // panel, panels)
        w, bias = work.params + (at(work, 1, W) + column * depth), work.params + (at(work, 1, B) + column)
        z, columns = work.space + (at(work, 1, A) + column), min(panel, block.last - column)
        product_rows(block.x, x_stride, w, columns, z, z_stride, n_in, block.rows, columns, FROM_ROW, bias)


@kernel
def _correct(z, width, floor, changes, stride, gram, rows):
    """z of a row, raised to the floor: what the updates of the rows before it, with these changes, do to it.

    Four vectors at a time hide the latency; the last ones may be the same, and are written alike.
    """
    n, last, lowest = lanes(z), width - lanes(z), fill(z, floor)
    for first in range(0, width, 4 * n):
        second, third, fourth = min(first + n, last), min(first + 2 * n, last), min(first + 3 * n, last)
        a, b, c, d, change = load(z + first), load(z + second), load(z + third), load(z + fourth), changes
        for row in range(rows):
            g = gram[row]
            a, b = fma(load(change + first), g, a), fma(load(change + second), g, b)
            c, d = fma(load(change + third), g, c), fma(load(change + fourth), g, d)
            change = change + stride
        store(z + first, maximum(lowest, a))
        store(z + second, maximum(lowest, b))
        store(z + third, maximum(lowest, c))
        store(z + fourth, maximum(lowest, d))


@kernel
def _steps(work, block, t):
    """The block's steps, t steps before them; (loss, hits, finite). Leaves what each adds to the first layer in D."""
    loss, hits, size = 0.0, 0, _size(work)
    before, stride, width, floor = size, at(work, 1, STRIDE), at(work, 1, WIDTH), floor_of(work, 1)
    z, changes = work.space + at(work, 1, A), work.space + at(work, 1, D)
    for row in range(block.rows):
        _correct(z + row * stride, width, floor, changes, stride, block.gram + row * size, row)
        activate_row(work, 1, row)
        lr = learning_rate(work.constants, t + row + 1)
        found, finite = rest_of_step(work, row, before, block.start + row, lr)
        if not finite:
            return loss, hits, False
        hits += found
        before = row
    keep(work, before, size)
    complete(work, 0, block.rows, block.start)
    for row in range(block.rows):
        loss += work.space[work.numbers[LOSSES] + row]
    return loss, hits, True


@kernel
def _update(work, block):
    """The first layer's weights and bias by the changes of all rows in D."""
    x_stride, stride, panel = at(work, 0, STRIDE), at(work, 1, STRIDE), 2 * lanes(work.space)
    change, n_in, depth = work.space + at(work, 1, D), at(work, 1, N_IN), at(work, 1, DEPTH)
    bias = work.params + (at(work, 1, B) + block.first)
    bias_gradient(change + block.first, stride, block.last - block.first, block.rows, bias, True)
    for column in range(block.first, block.last, panel):
        w, d, columns = (
            work.params + (at(work, 1, W) + column * depth),
            change + column,
            min(panel, block.last - column),
        )
        product_columns(block.x, x_stride, d, stride, w, columns, block.rows, n_in, columns, FROM_TARGET, w)


@kernel
def epoch(work, rank, size, count, t):
    """One epoch of stochastic steps; returns (state of the run, step reached, rank 0's sum of losses and hits)."""
    first, last = columns_of_first_layer(work, rank, size)
    loss, hits, following = 0.0, 0, _block(work, rank, 0, first, last)
    if rank == 0:
        forget(work, _size(work))
    _gather(work, rank, size, following)
    while following.rows > 0:
        block = following
        following = _block(work, rank, block.start + block.rows, first, last)
        _feed(work, block)
        if rank == 0:
            decide(work.words)
        if not meet(work.words, size):
            return STOPPED, t, loss, hits
        if load_acquire(work.words + DECISION) != 0:
            if rank == 0:
                finish(work, _size(work))
            return STOPPED, t, loss, hits
        if rank == 0:
            value, found, finite = _steps(work, block, t)
            if not finite:
                raise_flag(work.words)
            loss += value
            hits += found
        else:
            _gather(work, rank, size, following)
        if not meet(work.words, size):
            return STOPPED, t, loss, hits
        if load_acquire(work.words + FLAG) != 0:
            return DIVERGED, t, loss, hits
        _update(work, block)
        t += block.rows
        if rank == 0:
            work.words[PROGRESS] += block.rows
            _gather(work, rank, size, following)
    if rank == 0:
        finish(work, _size(work))
    return GOES_ON, t, loss, hits
