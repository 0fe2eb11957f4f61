"""Batch and layer normalization of z (rows, n_out), before the activation, and the deltas that flow back through it.

Formulas are those of ../norm.py. feed comes after a product that has left z in A, and ends in the layer's activation.

Batch: a block takes some columns through all rows: statistics and what follows from them are one launch. Layer: a block
takes a row. Every sum has one order.
"""

import math

import numpy as np

from fastnn_kernels.cuda import element
from fastnn_kernels.cuda.driver import blocks_for, cuda, device, kernel, place
from fastnn_kernels.cuda.sums import fold
from fastnn_kernels.cuda.work import COUNT, FLAG, PARTIAL, SIZE, SPLITS, Pass, at
from fastnn_kernels.layout import (
    BATCH_NORM,
    BETA,
    DEPTH,
    GAMMA,
    N_OUT,
    NORM,
    RUNNING,
    STATS,
    STRIDE,
    WIDTH,
    XHAT,
    A,
    B,
    D,
    W,
)
from fastnn_kernels.norm import CONSTANTS, EPS, INVERSE, MEAN, MOMENTUM, OF_BETA, OF_GAMMA, SUM_D, VARIANCE
from fastnn_kernels.work import ROWS

COLUMNS = 8  # of a block: as many numbers as memory hands over at once
GROUPS = 64  # of rows that a block sums side by side
THREADS = COLUMNS * GROUPS
MOST_THREADS = 256  # of a block that takes a row
EACH = 4  # elements of a row that a thread of it takes at least, where it can

_COLUMNS, _GROUPS, _THREADS = np.uint32(COLUMNS), np.uint32(GROUPS), np.uint32(THREADS)
_BATCH_NORM, _CONSTANTS = np.uint32(BATCH_NORM), np.uint32(CONSTANTS)
_ONE = np.uint32(1)


def feed(p: Pass, layer: int) -> None:
    """Normalize A and apply the activation."""
    if p.at(layer, NORM) == BATCH_NORM:
        _feed_batch_kernel[_column_blocks(p, layer), THREADS, p.stream](p.work, np.uint32(layer))
    else:
        _feed_layer_kernel[p.rows, _row_threads(p, layer), p.stream](p.work, np.uint32(layer))


def delta(p: Pass, layer: int) -> None:
    """Lead D back through the normalization, in place, and keep the sums that are the gradients of beta and gamma."""
    if p.at(layer, NORM) == BATCH_NORM:
        _delta_batch_kernel[_column_blocks(p, layer), THREADS, p.stream](p.work, np.uint32(layer))
    else:
        _slopes_kernel[_column_blocks(p, layer), THREADS, p.stream](p.work, np.uint32(layer))
        _delta_layer_kernel[p.rows, _row_threads(p, layer), p.stream](p.work, np.uint32(layer))


def gradient(p: Pass, layer: int) -> None:
    """Partial gradients of gamma and beta, whole in split 0 and 0 in the others, after `delta` and dense.gradient.

    Batch normalization takes the bias off again: its gradient is 0, in all splits.
    """
    count = p.at(layer, SIZE) + p.at(layer, W) - p.at(layer, B)
    _gradient_kernel[blocks_for(count, 128), 128, p.stream](p.work, np.uint32(layer))


def average(p: Pass, layer: int) -> None:
    """r += momentum (s - r): running means and unbiased variances, from those of the step; not when FLAG is set."""
    _average_kernel[blocks_for(p.at(layer, N_OUT), 128), 128, p.stream](p.work, np.uint32(layer))


def into_weights(p: Pass, layer: int) -> None:
    """W s and (b - mean) s + beta in place of W and b, s = gamma / sqrt(variance + eps), by running averages."""
    count = (p.at(layer, DEPTH) + 1) * p.at(layer, WIDTH)
    _fold_kernel[blocks_for(count, 128), 128, p.stream](p.work, np.uint32(layer))


def _column_blocks(p: Pass, layer: int) -> int:
    return blocks_for(p.at(layer, WIDTH), COLUMNS)


def _row_threads(p: Pass, layer: int) -> int:
    """Threads for a row of the layer: a power of two, from a warp on."""
    threads = 32
    while threads < MOST_THREADS and threads * EACH < p.at(layer, WIDTH):
        threads *= 2
    return threads


@device
def _gain(work, layer, j):
    return work.params[at(work, layer, GAMMA) + j]


@device
def _stat(work, layer, which, j):
    """Where a statistic of unit j of batch normalization lies."""
    return at(work, layer, STATS) + which * at(work, layer, WIDTH) + j


@device
def _slope(work, layer, which, j):
    """Where the gradient of beta or gamma of unit j lies; which: OF_BETA or OF_GAMMA."""
    if at(work, layer, NORM) == _BATCH_NORM:
        return _stat(work, layer, np.uint32(SUM_D) + which, j)
    return at(work, layer, STATS) + np.uint32(work.numbers[ROWS]) + which * at(work, layer, WIDTH) + j


@device
def _shift(work, layer, j):
    return work.params[at(work, layer, BETA) + j]


@device
def _normalized(work, layer, one, row, j, xhat, y):
    """The end of the feed for one element; one: of element.feeding."""
    work.space[at(work, layer, XHAT) + row * at(work, layer, STRIDE) + j] = xhat
    element.feed_into(work, layer, one, row, j, y)


@device
def _pad(work, layer, column, row, j):
    """0 behind the units of a row."""
    work.space[at(work, layer, column) + row * at(work, layer, STRIDE) + j] = work.params.dtype.type(0)


# A thread of a block of columns: column `thread` % COLUMNS of the block, rows `thread` // COLUMNS and every GROUPS-th
# from there on. Those behind the last unit do its sums again, and write padding.


@device
def _unit(work, layer):
    """The unit of this thread, and that of its sums."""
    j = np.uint32(cuda.blockIdx.x) * _COLUMNS + np.uint32(cuda.threadIdx.x) % _COLUMNS
    return j, min(j, at(work, layer, N_OUT) - _ONE)


@device
def _sums(work, a, b, stride, row, shift):
    """Sums of x = a - shift and of x (b - shift) over this thread's rows, from `row` on; a, b: places of a column."""
    real = work.params.dtype.type
    total, products, count = real(0), real(0), np.uint32(work.now[COUNT])
    while row < count:
        x = work.space[a + row * stride] - shift
        total += x
        products += x * (work.space[b + row * stride] - shift)
        row += _GROUPS
    return total, products


@device
def _all_groups(sums, value):
    """The sum of a column's values over the threads that have it."""
    thread = np.uint32(cuda.threadIdx.x)
    sums[thread] = value
    fold(sums, thread, _THREADS, _COLUMNS)
    total = sums[thread % _COLUMNS]
    cuda.syncthreads()
    return total


@device
def _statistics(work, layer, unit, group, sums):
    """Mean, variance and inverse deviation of a unit over the rows.

    The mean first, from the distances to the first row; then squares of distances to the mean, corrected by what their
    sum says of its rounding (Chan, Golub and LeVeque 1983).
    """
    real = work.params.dtype.type
    z, stride = at(work, layer, A) + unit, at(work, layer, STRIDE)
    per_row = real(1) / real(work.now[COUNT])
    origin = work.space[z]
    total, _ = _sums(work, z, z, stride, group, origin)
    mean = origin + _all_groups(sums, total) * per_row
    rest, squares = _sums(work, z, z, stride, group, mean)
    rest, squares = _all_groups(sums, rest), _all_groups(sums, squares)
    correction = rest * per_row
    variance = (squares - rest * correction) * per_row
    variance = real(0) if variance < real(0) else variance
    inverse = real(1) / math.sqrt(variance + work.norms[layer * _CONSTANTS + np.uint32(EPS)])
    return mean + correction, variance, inverse


@kernel
def _feed_batch_kernel(work, layer):
    sums = cuda.shared.array(THREADS, work.params.dtype)
    j, unit = _unit(work, layer)
    group = np.uint32(cuda.threadIdx.x) // _COLUMNS
    mean, variance, inverse = _statistics(work, layer, unit, group, sums)
    n_out, width, stride = at(work, layer, N_OUT), at(work, layer, WIDTH), at(work, layer, STRIDE)
    if group == 0 and j < n_out:
        work.space[_stat(work, layer, np.uint32(MEAN), j)] = mean
        work.space[_stat(work, layer, np.uint32(VARIANCE), j)] = variance
        work.space[_stat(work, layer, np.uint32(INVERSE), j)] = inverse
    row, count, one = group, np.uint32(work.now[COUNT]), element.feeding(work, layer)
    gain, shift = _gain(work, layer, unit), _shift(work, layer, unit)
    while row < count:
        if j < n_out:
            xhat = (work.space[at(work, layer, A) + row * stride + j] - mean) * inverse
            _normalized(work, layer, one, row, j, xhat, xhat * gain + shift)
        elif j < width:
            _pad(work, layer, A, row, j)
        row += _GROUPS


@device
def _slopes(work, layer, j, unit, group, sums):
    """The gradients of a unit's beta and gamma, sums of d and of d xhat over the rows; they are kept too."""
    real = work.params.dtype.type
    d, xhat, stride = at(work, layer, D) + unit, at(work, layer, XHAT) + unit, at(work, layer, STRIDE)
    total, products = _sums(work, d, xhat, stride, group, real(0))
    total, products = _all_groups(sums, total), _all_groups(sums, products)
    if group == 0 and j == unit:
        work.space[_slope(work, layer, np.uint32(OF_BETA), j)] = total
        work.space[_slope(work, layer, np.uint32(OF_GAMMA), j)] = products
    return total, products


@kernel
def _delta_batch_kernel(work, layer):
    real = work.params.dtype.type
    sums = cuda.shared.array(THREADS, work.params.dtype)
    j, unit = _unit(work, layer)
    group = np.uint32(cuda.threadIdx.x) // _COLUMNS
    total, products = _slopes(work, layer, j, unit, group, sums)
    per_row = real(1) / real(work.now[COUNT])
    mean_d, mean_dx = total * per_row, products * per_row
    factor = _gain(work, layer, unit) * work.space[_stat(work, layer, np.uint32(INVERSE), unit)]
    n_out, width, stride = at(work, layer, N_OUT), at(work, layer, WIDTH), at(work, layer, STRIDE)
    row, count = group, np.uint32(work.now[COUNT])
    while row < count:
        place_of = row * stride + j
        if j < n_out:
            d, xhat = work.space[at(work, layer, D) + place_of], work.space[at(work, layer, XHAT) + place_of]
            work.space[at(work, layer, D) + place_of] = factor * ((d - mean_d) - xhat * mean_dx)
        elif j < width:
            _pad(work, layer, D, row, j)
        row += _GROUPS


@kernel
def _slopes_kernel(work, layer):
    """_slopes where rows are normalized."""
    sums = cuda.shared.array(THREADS, work.params.dtype)
    j, unit = _unit(work, layer)
    _slopes(work, layer, j, unit, np.uint32(cuda.threadIdx.x) // _COLUMNS, sums)


# A block of a row: thread i has elements i, i + threads, ...


@device
def _whole_row(sums, value):
    """The sum of the values of all threads."""
    thread = np.uint32(cuda.threadIdx.x)
    sums[thread] = value
    fold(sums, thread, np.uint32(cuda.blockDim.x), _ONE)
    total = sums[0]
    cuda.syncthreads()
    return total


@kernel
def _feed_layer_kernel(work, layer):
    real = work.params.dtype.type
    sums = cuda.shared.array(MOST_THREADS, work.params.dtype)
    row, thread, threads = np.uint32(cuda.blockIdx.x), np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockDim.x)
    if row >= np.uint32(work.now[COUNT]):
        return
    n_out, width = at(work, layer, N_OUT), at(work, layer, WIDTH)
    z = at(work, layer, A) + row * at(work, layer, STRIDE)
    total, j = real(0), thread
    while j < n_out:
        total += work.space[z + j]
        j += threads
    mean = _whole_row(sums, total) / real(n_out)
    squares, j = real(0), thread
    while j < n_out:
        x = work.space[z + j] - mean
        squares += x * x
        j += threads
    variance = _whole_row(sums, squares) / real(n_out)
    inverse = real(1) / math.sqrt(variance + work.norms[layer * _CONSTANTS + np.uint32(EPS)])
    if thread == 0:
        work.space[at(work, layer, STATS) + row] = inverse
    j, one = thread, element.feeding(work, layer)
    while j < width:
        if j < n_out:
            xhat = (work.space[z + j] - mean) * inverse
            _normalized(work, layer, one, row, j, xhat, xhat * _gain(work, layer, j) + _shift(work, layer, j))
        else:
            _pad(work, layer, A, row, j)
        j += threads


@kernel
def _delta_layer_kernel(work, layer):
    real = work.params.dtype.type
    sums = cuda.shared.array(MOST_THREADS, work.params.dtype)
    row, thread, threads = np.uint32(cuda.blockIdx.x), np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockDim.x)
    if row >= np.uint32(work.now[COUNT]):
        return
    n_out, width, start = at(work, layer, N_OUT), at(work, layer, WIDTH), row * at(work, layer, STRIDE)
    d, xhat = at(work, layer, D) + start, at(work, layer, XHAT) + start
    total, products, j = real(0), real(0), thread
    while j < n_out:
        g = work.space[d + j] * _gain(work, layer, j)
        total += g
        products += g * work.space[xhat + j]
        j += threads
    mean_g, mean_gx = _whole_row(sums, total) / real(n_out), _whole_row(sums, products) / real(n_out)
    inverse = work.space[at(work, layer, STATS) + row]
    j = thread
    while j < width:
        if j < n_out:
            g = work.space[d + j] * _gain(work, layer, j)
            work.space[d + j] = (g - (work.space[xhat + j] * mean_gx + mean_g)) * inverse
        else:
            _pad(work, layer, D, row, j)
        j += threads


@device
def _slope_at(work, layer, i):
    """The gradient of the element i behind the weights: of bias, gamma and beta, and 0 where padding lies."""
    real = work.params.dtype.type
    i += at(work, layer, B)
    n_out, gamma, beta = at(work, layer, N_OUT), at(work, layer, GAMMA), at(work, layer, BETA)
    if gamma <= i and i < gamma + n_out:
        return work.space[_slope(work, layer, np.uint32(OF_GAMMA), i - gamma)]
    if beta <= i and i < beta + n_out:
        return work.space[_slope(work, layer, np.uint32(OF_BETA), i - beta)]
    return real(0)


@kernel
def _gradient_kernel(work, layer):
    i, weights = place(), at(work, layer, B) - at(work, layer, W)
    if weights + i >= at(work, layer, SIZE):
        return
    if at(work, layer, NORM) != _BATCH_NORM and i < at(work, layer, WIDTH):
        return
    value = _slope_at(work, layer, i)
    for split in range(at(work, layer, SPLITS)):
        partial = at(work, layer, PARTIAL) + np.uint32(split) * at(work, layer, SIZE) + weights + i
        work.space[partial] = value if split == 0 else work.params.dtype.type(0)


@kernel
def _average_kernel(work, layer):
    real = work.params.dtype.type
    j = place()
    if j >= at(work, layer, N_OUT) or work.words[FLAG] != 0:
        return
    momentum = work.norms[layer * _CONSTANTS + np.uint32(MOMENTUM)]
    rows, mean = real(work.now[COUNT]), at(work, layer, RUNNING) + j
    variance = mean + at(work, layer, WIDTH)
    unbiased = work.space[_stat(work, layer, np.uint32(VARIANCE), j)] * (rows / (rows - real(1)))
    work.running[mean] += (work.space[_stat(work, layer, np.uint32(MEAN), j)] - work.running[mean]) * momentum
    work.running[variance] += (unbiased - work.running[variance]) * momentum


@kernel
def _fold_kernel(work, layer):
    width, depth = at(work, layer, WIDTH), at(work, layer, DEPTH)
    k, j, i = place() // width, place() % width, at(work, layer, W) + place()
    if k > depth or j >= at(work, layer, N_OUT):
        return
    mean = at(work, layer, RUNNING) + j
    variance = work.running[mean + width] + work.norms[layer * _CONSTANTS + np.uint32(EPS)]
    scale = _gain(work, layer, j) / math.sqrt(variance)
    if k == depth:
        work.params[i] = (work.params[i] - work.running[mean]) * scale + work.params[at(work, layer, BETA) + j]
    else:
        work.params[i] *= scale
