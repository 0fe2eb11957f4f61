"""Stochastic descent: one sample a step, plain SGD, many steps in one launch of one block.

The conditions are those of ../stochastic.py. Its threads meet some times a step, and the weights pass by twice: once in
the feed, once in the delta of the layer below with the update,

    dx_k = sum_j w_kj d_j;   w_kj -= lr x_k d_j

The first layer's update has no delta to go with and waits for the next sample's feed, z_j = b_j + sum_k x_k w_kj, so
that its weights pass by once. Its rows whose inputs are 0 in both samples are not read: exact for plain SGD.
"""

from typing import Any

import numpy as np

from fastnn_kernels.activation import RELU
from fastnn_kernels.cuda import element, output
from fastnn_kernels.cuda.driver import cuda, device, kernel
from fastnn_kernels.cuda.optimizer import learning_rate
from fastnn_kernels.cuda.sums import fold
from fastnn_kernels.cuda.work import BATCH, COUNT, FLAG, LOSS, START, STEPS, Pass, T, at, data_row
from fastnn_kernels.layout import ACTIVATION, DEPTH, N_IN, N_OUT, STRIDE, WIDTH, A, B, D, W
from fastnn_kernels.work import COLUMNS_IN, LAYERS, LOSSES, NORMALIZED

ROWS = 2  # that the workspace must have: the inputs of two samples
LEAST_THREADS = 128
MOST_THREADS = {"float32": 1024, "float64": 512}  # float64 takes more registers
EACH = 8  # weights of the largest layer that a thread has at least, where there are so many
SIDE = 8  # threads that share a row of weights: as many numbers as memory hands over at once
COLUMNS = 4  # that a thread has at a time
PLACES = max(MOST_THREADS.values())
SUMS = PLACES * COLUMNS

_SIDE, _COLUMNS, _RELU = np.uint32(SIDE), np.uint32(COLUMNS), np.uint32(RELU)
_ZERO, _ONE, _TWO = np.uint32(0), np.uint32(1), np.uint32(2)


def epoch(p: Pass, first: int, count: int) -> None:
    """The steps of the samples at positions first to first + count of the order.

    now[T], words[STEPS], words[HITS] and sums[LOSS] move on with every step. Where a loss is not finite, FLAG is set
    and nothing is written to the parameters from that step on.
    """
    dtype = str(p.dtype)
    threads = _threads(p, MOST_THREADS[dtype])
    _epoch_kernels[dtype][1, threads, p.stream](p.work, np.uint32(first), np.uint32(count))


def _threads(p: Pass, most: int) -> int:
    """A power of two."""
    largest = max(p.at(layer, DEPTH) * p.at(layer, WIDTH) for layer in range(1, len(p.table)))
    threads = LEAST_THREADS
    while threads < most and threads * EACH < largest:
        threads *= 2
    return threads


@device
def _gather(work, position, to):
    """The sample at a position of the order, normalized, at `to` in the workspace."""
    k, columns = np.uint32(cuda.threadIdx.x), np.uint32(work.numbers[COLUMNS_IN])
    start = np.uint64(data_row(work, position)) * np.uint64(columns)
    while k < columns:
        x = work.X[start + np.uint64(k)]
        if work.numbers[NORMALIZED] != 0:
            x = (x - work.shift[k]) * work.scale[k]
        work.space[to + k] = x
        k += np.uint32(cuda.blockDim.x)


# In the feed, threads `lanes` wide have COLUMNS columns each, `lanes` apart; groups of them take turns with the inputs.


@device
def _lanes(n_out, threads):
    """A power of two: few enough that a thread has several columns, so that it waits for several weights at once."""
    lanes = _SIDE
    while lanes * _COLUMNS < n_out and lanes < threads:
        lanes *= _TWO
    return lanes


@device
def _columns(work, layer, first, lanes, old, new, rate, sums):
    """This thread's part of sum_k x_k w_kj of the inputs at `new`, after w_kj += x_k rate d_j of those at `old`.

    Column j of the block's, counted from `first` on, goes to sums[group * COLUMNS * lanes + j].
    """
    real, thread = work.params.dtype.type, np.uint32(cuda.threadIdx.x)
    n_in, n_out, width = at(work, layer, N_IN), at(work, layer, N_OUT), at(work, layer, WIDTH)
    groups, k, j = np.uint32(cuda.blockDim.x) // lanes, thread // lanes, first + thread % lanes
    total = cuda.local.array(COLUMNS, work.params.dtype)
    change = cuda.local.array(COLUMNS, work.params.dtype)
    w = cuda.local.array(COLUMNS, work.params.dtype)
    for c in range(COLUMNS):
        column = j + np.uint32(c) * lanes
        total[c], change[c], w[c] = real(0), real(0), real(0)
        if rate != real(0) and column < n_out:
            change[c] = work.space[at(work, layer, D) + column] * rate
    place = at(work, layer, W) + k * width + j
    while k < n_in:
        x, before = work.space[new + k], real(0)
        if rate != real(0):
            before = work.space[old + k]
        if x != real(0) or before != real(0):
            for c in range(COLUMNS):
                if j + np.uint32(c) * lanes < n_out:
                    w[c] = work.params[place + np.uint32(c) * lanes]
            for c in range(COLUMNS):
                w[c] += before * change[c]
                if before != real(0) and j + np.uint32(c) * lanes < n_out:
                    work.params[place + np.uint32(c) * lanes] = w[c]
                total[c] += x * w[c]
        place += groups * width
        k += groups
    own = thread // lanes * _COLUMNS * lanes + thread % lanes
    for c in range(COLUMNS):
        sums[own + np.uint32(c) * lanes] = total[c]


@device
def _feed(work, layer, old, new, rate, sums):
    """A of the layer from its inputs at `new`, after the update by D and the inputs at `old`, which is due.

    rate: what D is multiplied by for that, 0 where no update is due.
    """
    real = work.params.dtype.type
    thread, threads, n_out = np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockDim.x), at(work, layer, N_OUT)
    lanes, first = _lanes(n_out, threads), _ZERO
    while first < n_out:
        _columns(work, layer, first, lanes, old, new, rate, sums)
        fold(sums, thread, threads * _COLUMNS, lanes * _COLUMNS)
        i = thread
        while i < lanes * _COLUMNS and first + i < n_out:
            j = first + i
            bias = work.params[at(work, layer, B) + j]
            if rate != real(0):
                bias += work.space[at(work, layer, D) + j] * rate
                work.params[at(work, layer, B) + j] = bias
            element.feed_element(work, layer, _ZERO, j, bias + sums[i])
            i += threads
        cuda.syncthreads()
        first += lanes * _COLUMNS


@device
def _row(work, layer, k, lane, rate):
    """This thread's part of sum_j w_kj d_j, and the update of its weights. A unit that ReLU has off needs neither."""
    real, total, j = work.params.dtype.type, work.params.dtype.type(0), lane
    below, n_out = layer - _ONE, at(work, layer, N_OUT)
    x, place = work.space[at(work, below, A) + k], at(work, layer, W) + k * at(work, layer, WIDTH)
    w, d = cuda.local.array(COLUMNS, work.params.dtype), cuda.local.array(COLUMNS, work.params.dtype)
    if x == real(0) and at(work, below, ACTIVATION) == _RELU:
        return total
    while j < n_out:
        for c in range(COLUMNS):
            column = min(j + np.uint32(c) * _SIDE, n_out - _ONE)
            w[c], d[c] = work.params[place + column], work.space[at(work, layer, D) + column]
        for c in range(COLUMNS):
            column = j + np.uint32(c) * _SIDE
            if column < n_out:
                total += d[c] * w[c]
                work.params[place + column] = w[c] + x * (d[c] * rate)
        j += _COLUMNS * _SIDE
    return total


@device
def _lead_back(work, layer, rate, sums):
    """D of the layer below, and the update of the layer's weights and bias; rate: -lr."""
    thread, threads = np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockDim.x)
    rows, first, n_in = threads // _SIDE, _ZERO, at(work, layer, N_IN)
    while first < n_in:
        k, total = first + thread // _SIDE, work.params.dtype.type(0)
        if k < n_in:
            total = _row(work, layer, k, thread % _SIDE, rate)
        sums[thread % _SIDE * rows + thread // _SIDE] = total
        fold(sums, thread, threads, rows)
        total = sums[thread]
        cuda.syncthreads()
        if thread < rows and first + thread < n_in:
            element.delta_element(work, layer - _ONE, _ZERO, first + thread, total)
        first += rows
    j = thread
    while j < at(work, layer, N_OUT):
        work.params[at(work, layer, B) + j] += work.space[at(work, layer, D) + j] * rate
        j += threads
    cuda.syncthreads()


@device
def _begin(work, position, rates):
    """The moment of this step, set by the first thread; returns minus its learning rate, and has all threads meet."""
    if cuda.threadIdx.x == 0:
        work.now[START], work.now[COUNT], work.now[BATCH] = position, 1, 1
        rates[0] = work.params.dtype.type(-learning_rate(work.constants, work.now[T] + 1))
    cuda.syncthreads()
    return rates[0]


@device
def _count(work):
    """A step more, and its loss."""
    if cuda.threadIdx.x == 0:
        work.now[T] += 1
        work.words[STEPS] += 1
        work.sums[LOSS] += np.float64(work.space[np.uint32(work.numbers[LOSSES])])


@device
def _epoch(work, first, count):
    sums = cuda.shared.array(SUMS, work.params.dtype)
    places = cuda.shared.array(PLACES, work.table.dtype)
    rates = cuda.shared.array(1, work.params.dtype)
    layers, rate, step = np.uint32(work.numbers[LAYERS]), work.params.dtype.type(0), _ZERO
    old = new = at(work, _ZERO, A)
    if work.words[FLAG] != 0:
        return
    while step < count:
        new = at(work, _ZERO, A) + (step & _ONE) * at(work, _ZERO, STRIDE)
        _gather(work, first + step, new)
        upcoming = _begin(work, first + step, rates)
        _feed(work, _ONE, old, new, rate, sums)
        for above in range(1, layers):
            below = at(work, np.uint32(above), A)
            _feed(work, np.uint32(above) + _ONE, below, below, work.params.dtype.type(0), sums)
        output.losses_of_block(work, _ONE, sums, places)
        cuda.syncthreads()
        if work.words[FLAG] != 0:
            return
        _count(work)
        old, rate = new, upcoming
        for done in range(layers - _ONE):
            _lead_back(work, layers - np.uint32(done), rate, sums)
        step += _ONE
    cuda.syncthreads()
    _feed(work, _ONE, old, old, rate, sums)  # for its update alone


def _compiled(dtype: str, threads: int) -> Any:
    def steps(work, first, count):
        _epoch(work, first, count)

    return kernel(steps, f"stochastic.epoch_{dtype}", (threads, 1), np.dtype(dtype))


_epoch_kernels = {dtype: _compiled(dtype, threads) for dtype, threads in MOST_THREADS.items()}
