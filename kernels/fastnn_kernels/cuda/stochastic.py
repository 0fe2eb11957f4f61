"""Stochastic descent: one sample a step, plain SGD, many steps in one launch of one block.

The conditions are those of ../stochastic.py. Its threads meet some times a step, and the weights pass by twice: once in
the feed, once in the delta of the layer below with the update,

    dx_k = sum_j w_kj d_j;   w_kj -= lr x_k d_j

The first layer's update has no delta to go with and waits for the next sample's feed, z_j = b_j + sum_k x_k w_kj, so
that its weights pass by once. Its rows whose inputs are 0 in both samples are not read: exact for plain SGD.
"""

import numpy as np

from fastnn_kernels.activation import RELU
from fastnn_kernels.cuda import element, output
from fastnn_kernels.cuda.driver import cuda, device, kernel
from fastnn_kernels.cuda.optimizer import learning_rate
from fastnn_kernels.cuda.sums import fold
from fastnn_kernels.cuda.work import COUNT, FLAG, LOSS, START, STEPS, Pass, T, at
from fastnn_kernels.layout import ACTIVATION, DEPTH, N_IN, N_OUT, STRIDE, WIDTH, A, B, D, W
from fastnn_kernels.work import COLUMNS_IN, LAYERS, LOSSES, NORMALIZED

ROWS = 2  # that the workspace must have: the inputs of two samples
LEAST_THREADS, MOST_THREADS = 128, 1024
EACH = 8  # weights of the largest layer that a thread has at least, where there are so many
SIDE = 8  # threads that share a row of weights in the delta

_SIDE, _RELU = np.uint32(SIDE), np.uint32(RELU)
_ZERO, _ONE, _TWO = np.uint32(0), np.uint32(1), np.uint32(2)


def epoch(p: Pass, first: int, count: int) -> None:
    """The steps of the samples at positions first to first + count of the order.

    now[T], words[STEPS], words[HITS] and sums[LOSS] move on with every step. Where a loss is not finite, FLAG is set
    and nothing is written to the parameters from that step on.
    """
    _epoch_kernel[1, _threads(p), p.stream](p.work, np.uint32(first), np.uint32(count))


def _threads(p: Pass) -> int:
    """A power of two."""
    largest = max(p.at(layer, DEPTH) * p.at(layer, WIDTH) for layer in range(1, len(p.table)))
    threads = LEAST_THREADS
    while threads < MOST_THREADS and threads * EACH < largest:
        threads *= 2
    return threads


@device
def _gather(work, position, to):
    """The sample at a position of the order, normalized, at `to` in the workspace."""
    k, columns = np.uint32(cuda.threadIdx.x), np.uint32(work.numbers[COLUMNS_IN])
    start = np.uint64(work.order[position]) * np.uint64(columns)
    while k < columns:
        x = work.X[start + np.uint64(k)]
        if work.numbers[NORMALIZED] != 0:
            x = (x - work.shift[k]) * work.scale[k]
        work.space[to + k] = x
        k += np.uint32(cuda.blockDim.x)


@device
def _lanes(width, threads):
    """Threads side by side, a power of two: one a column where there are enough."""
    lanes = _ONE
    while lanes < width and lanes < threads:
        lanes *= _TWO
    return lanes


@device
def _column(work, layer, j, group, groups, old, new, change):
    """This thread's part of sum_k x_k w_kj of the inputs at `new`, after w_kj += change x_k of those at `old`."""
    real = work.params.dtype.type
    total, n_in, width = real(0), at(work, layer, N_IN), at(work, layer, WIDTH)
    place, k = at(work, layer, W) + group * width + j, group
    while k < n_in:
        x, before = work.space[new + k], real(0)
        if change != real(0):
            before = work.space[old + k]
        if x != real(0) or before != real(0):
            w = work.params[place]
            if before != real(0):
                w += before * change
                work.params[place] = w
            total += x * w
        place += groups * width
        k += groups
    return total


@device
def _feed(work, layer, old, new, rate, sums):
    """A of the layer from its inputs at `new`, after the update by D and the inputs at `old`, which is due.

    rate: what D is multiplied by for that, 0 where no update is due.
    """
    real = work.params.dtype.type
    thread, threads, width = np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockDim.x), at(work, layer, N_OUT)
    lanes = _lanes(width, threads)
    j, group = thread % lanes, thread // lanes
    for _ in range((width + lanes - _ONE) // lanes):
        total, change = real(0), real(0)
        if j < width:
            if rate != real(0):
                change = work.space[at(work, layer, D) + j] * rate
            total = _column(work, layer, j, group, threads // lanes, old, new, change)
        sums[thread] = total
        fold(sums, thread, threads, lanes)
        if group == 0 and j < width:
            bias = work.params[at(work, layer, B) + j] + change
            work.params[at(work, layer, B) + j] = bias
            element.feed_element(work, layer, _ZERO, j, bias + sums[thread])
        j += lanes
    cuda.syncthreads()


@device
def _row(work, layer, k, lane, rate):
    """This thread's part of sum_j w_kj d_j, and the update of its weights. A unit that ReLU has off needs neither."""
    real = work.params.dtype.type
    total, j, below, n_out = real(0), lane, layer - _ONE, at(work, layer, N_OUT)
    x, place = work.space[at(work, below, A) + k], at(work, layer, W) + k * at(work, layer, WIDTH)
    if x == real(0) and at(work, below, ACTIVATION) == _RELU:
        return total
    while j < n_out:
        d, w = work.space[at(work, layer, D) + j], work.params[place + j]
        total += d * w
        work.params[place + j] = w + x * (d * rate)
        j += _SIDE
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
    """The moment of this step, and minus its learning rate, from the first thread to all."""
    if cuda.threadIdx.x == 0:
        work.now[START], work.now[COUNT] = position, 1
        rates[0] = work.params.dtype.type(-learning_rate(work.constants, work.now[T] + 1))
    cuda.syncthreads()


@device
def _count(work):
    """A step more, and its loss."""
    if cuda.threadIdx.x == 0:
        work.now[T] += 1
        work.words[STEPS] += 1
        work.sums[LOSS] += np.float64(work.space[np.uint32(work.numbers[LOSSES])])


@kernel
def _epoch_kernel(work, first, count):
    sums = cuda.shared.array(MOST_THREADS, work.params.dtype)
    places = cuda.shared.array(MOST_THREADS, work.table.dtype)
    rates = cuda.shared.array(1, work.params.dtype)
    layers, rate, step = np.uint32(work.numbers[LAYERS]), work.params.dtype.type(0), _ZERO
    old = new = at(work, _ZERO, A)
    if work.words[FLAG] != 0:
        return
    while step < count:
        new = at(work, _ZERO, A) + (step & _ONE) * at(work, _ZERO, STRIDE)
        _gather(work, first + step, new)
        _begin(work, first + step, rates)
        _feed(work, _ONE, old, new, rate, sums)
        for layer in range(2, layers + _ONE):
            below = at(work, np.uint32(layer) - _ONE, A)
            _feed(work, np.uint32(layer), below, below, work.params.dtype.type(0), sums)
        output.losses_of_block(work, _ONE, sums, places)
        cuda.syncthreads()
        if work.words[FLAG] != 0:
            return
        _count(work)
        old, rate, layer = new, rates[0], layers
        while layer > _ONE:
            _lead_back(work, layer, rate, sums)
            layer -= _ONE
        step += _ONE
    cuda.syncthreads()
    _feed(work, _ONE, old, old, rate, sums)  # for its update alone
