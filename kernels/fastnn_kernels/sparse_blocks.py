"""Blocks of samples with many zeros: row k of W is read and written only where x_k is not 0. See blocks.py.

Blocks are short: many of the rows that one block changes are those that the next one reads, and still near.
"""

from typing import NamedTuple

import numpy as np

from fastnn_kernels.blocks import ask_for_next, epochs_of
from fastnn_kernels.dense import bias_gradient
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import DEPTH, STRIDE, A, B, D, W
from fastnn_kernels.machine import VECTOR_BYTES
from fastnn_kernels.native import fill, fma, lanes, load, put_true, store, sum_lanes
from fastnn_kernels.work import COLUMNS_IN, at, sample_at

SAMPLES_OF_A_BLOCK = 3  # on MNIST two blocks have inputs in 350 places: rows of a panel that a first cache holds
PAIRS = VECTOR_BYTES < 64  # whether panels are changed by two: where the rows of both are no more than that
EXTRA = 1 + 16  # places of a sample's list: how many numbers it has, and behind these some that may be written


class _Sample(NamedTuple):
    """The inputs of a sample that are not 0: x[k] for `total` numbers k."""

    x: object
    numbers: object
    total: object


def indices(columns: int, threads: int) -> int:
    """Elements of work.Arrays.indices: on each thread two blocks of lists."""
    return 2 * threads * SAMPLES_OF_A_BLOCK * (columns + EXTRA)


@kernel
def _size(work):
    return SAMPLES_OF_A_BLOCK


@kernel
def _inputs_at(work, rank, turn):
    """A list for each sample."""
    return work.indices + (2 * rank + turn) * SAMPLES_OF_A_BLOCK * (work.numbers[COLUMNS_IN] + EXTRA)


@kernel
def _x(work, block, row):
    """All inputs of one of a block's samples."""
    return work.X + sample_at(work, block.start + row) * work.numbers[COLUMNS_IN]


@kernel
def _sample(work, block, row):
    """One of a block's samples."""
    numbers = block.inputs + row * (work.numbers[COLUMNS_IN] + EXTRA)
    return _Sample(_x(work, block, row), numbers + 1, np.int64(numbers[0]))


@kernel
def _list_inputs(x, n, numbers):
    """The numbers k of all x[k] that are not 0, and others behind them; returns how many they are.

    As many as a vector has lanes are written at a time, whatever is not 0 there: a branch for each would be guessed
    wrong too often.
    """
    count, whole = 0, n - n % lanes(x)
    for j in range(0, whole, lanes(x)):
        count += put_true(numbers + count, load(x + j) != 0.0, j)
    for k in range(whole, n):
        numbers[count] = k
        count += x[k] != 0
    return count


@kernel
def _gather(work, rank, size, block):
    """The lists of a block; the last worker makes its Gram matrix."""
    columns = work.numbers[COLUMNS_IN]
    for row in range(block.rows):
        numbers = block.inputs + row * (columns + EXTRA)
        numbers[0] = _list_inputs(_x(work, block, row), columns, numbers + 1)
    if rank == size - 1:
        for row in range(1, block.rows):
            inputs = _sample(work, block, row)
            is_short = inputs.total * lanes(work.X) < columns
            for column in range(row):
                other = _x(work, block, column)
                product = _listed_dot(inputs, other) if is_short else _dot(inputs.x, other, columns)
                block.gram[row * block.size + column] = 1.0 + product


@kernel
def _listed_dot(inputs, y):
    """x . y over the inputs of x that are not 0; four sums side by side."""
    x, numbers = inputs.x, inputs.numbers
    s0 = s1 = s2 = s3 = x[0] - x[0]
    whole = inputs.total - inputs.total % 4
    for i in range(0, whole, 4):
        k0, k1, k2, k3 = numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]
        s0, s1, s2, s3 = s0 + x[k0] * y[k0], s1 + x[k1] * y[k1], s2 + x[k2] * y[k2], s3 + x[k3] * y[k3]
    for i in range(whole, inputs.total):
        s0 += x[numbers[i]] * y[numbers[i]]
    return (s0 + s1) + (s2 + s3)


@kernel
def _dot(x, y, n):
    """x . y, four sums of vectors side by side."""
    size = lanes(x)
    s0 = s1 = s2 = s3 = fill(x, 0.0)
    fours, whole = n - n % (4 * size), n - n % size
    for j in range(0, fours, 4 * size):
        s0 = fma(load(x + j), load(y + j), s0)
        s1 = fma(load(x + (j + size)), load(y + (j + size)), s1)
        s2 = fma(load(x + (j + 2 * size)), load(y + (j + 2 * size)), s2)
        s3 = fma(load(x + (j + 3 * size)), load(y + (j + 3 * size)), s3)
    for j in range(fours, whole, size):
        s0 = fma(load(x + j), load(y + j), s0)
    total = sum_lanes((s0 + s1) + (s2 + s3))
    for k in range(whole, n):
        total += x[k] * y[k]
    return total


@kernel
def _times_panel(inputs, w, columns, start, out):
    """out (columns,) = start + x @ w (n, columns) over the inputs that are not 0.

    For both vectors of a panel, or twice for its only one; four sums side by side hide the latency.
    """
    x, numbers, second = inputs.x, inputs.numbers, columns - lanes(w)
    v = w + second
    s0, t0 = load(start), load(start + second)
    s1 = s2 = s3 = t1 = t2 = t3 = fill(w, 0.0)
    whole = inputs.total - inputs.total % 4
    for i in range(0, whole, 4):
        k0, k1, k2, k3 = numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]
        s0, t0 = fma(load(w + k0 * columns), x[k0], s0), fma(load(v + k0 * columns), x[k0], t0)
        s1, t1 = fma(load(w + k1 * columns), x[k1], s1), fma(load(v + k1 * columns), x[k1], t1)
        s2, t2 = fma(load(w + k2 * columns), x[k2], s2), fma(load(v + k2 * columns), x[k2], t2)
        s3, t3 = fma(load(w + k3 * columns), x[k3], s3), fma(load(v + k3 * columns), x[k3], t3)
    for i in range(whole, inputs.total):
        k = numbers[i]
        s0, t0 = fma(load(w + k * columns), x[k], s0), fma(load(v + k * columns), x[k], t0)
    store(out, (s0 + s1) + (s2 + s3))
    store(out + second, (t0 + t1) + (t2 + t3))


@kernel
def _add_outer(inputs, change, w, columns):
    """w (n, columns) += x.T change over the inputs that are not 0.

    A panel's only vector is read twice, then written twice alike.
    """
    second = columns - lanes(w)
    first, other = load(change), load(change + second)
    for i in range(inputs.total):
        k = inputs.numbers[i]
        p = w + k * columns
        a, b = fma(first, inputs.x[k], load(p)), fma(other, inputs.x[k], load(p + second))
        store(p, a)
        store(p + second, b)


@kernel
def _add_outer_pair(inputs, change, w, other):
    """The same for two panels of two vectors, w and other: numbers and inputs are read once for both."""
    n, columns = lanes(w), 2 * lanes(w)
    a, b, c, d = load(change), load(change + n), load(change + 2 * n), load(change + 3 * n)
    for i in range(inputs.total):
        k = inputs.numbers[i]
        p, q, x = w + k * columns, other + k * columns, inputs.x[k]
        store(p, fma(a, x, load(p)))
        store(p + n, fma(b, x, load(p + n)))
        store(q, fma(c, x, load(q)))
        store(q + n, fma(d, x, load(q + n)))


@kernel
def _change(work, block, begin, end):
    """The weights of the panels from column begin to end by a block."""
    panel, depth, stride = 2 * lanes(work.space), at(work, 1, DEPTH), at(work, 1, STRIDE)
    is_pair = end - begin == 2 * panel
    for column in range(begin, end, 2 * panel if is_pair else panel):
        w, changes = work.params + (at(work, 1, W) + column * depth), work.space + (at(work, 1, D) + column)
        for row in range(block.rows):
            inputs, change = _sample(work, block, row), changes + row * stride
            if is_pair:
                _add_outer_pair(inputs, change, w, w + panel * depth)
            else:
                _add_outer(inputs, change, w, min(panel, end - column))


@kernel
def _feed(work, block, column, columns):
    """z of a block in the panel at a column."""
    w, bias = work.params + (at(work, 1, W) + column * at(work, 1, DEPTH)), work.params + (at(work, 1, B) + column)
    z, stride = work.space + (at(work, 1, A) + column), at(work, 1, STRIDE)
    for row in range(block.rows):
        _times_panel(_sample(work, block, row), w, columns, bias, z + row * stride)


@kernel
def _move(work, block, following):
    panel, first, last = 2 * lanes(work.space), block.first, block.last
    changes, bias = work.space + (at(work, 1, D) + first), work.params + (at(work, 1, B) + first)
    bias_gradient(changes, at(work, 1, STRIDE), last - first, block.rows, bias, True)
    together = 2 * panel if PAIRS else panel
    for begin in range(first, last, together):
        end = min(begin + together, last)
        _change(work, block, begin, end)
        for column in range(begin, end, panel):
            ask_for_next(work, following, column)
            _feed(work, following, column, min(panel, last - column))


epoch = epochs_of(_size, _inputs_at, _gather, _move)
