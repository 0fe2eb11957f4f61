"""The end of the feed: the output activation, the loss of every row, the delta of the last layer, hits counted.

Softmax with cross-entropy and sigmoid with binary cross-entropy are computed from the logits, where delta = yhat - y.
Every other pair applies the activation, takes the loss's derivative and multiplies by the activation's.

A block has one row, or several where they are short; a thread has every so many-th output of its row. Sums over a row
meet in shared memory, in one order. Blocks have a power of two of threads.
"""

import math
from typing import NamedTuple

import numpy as np

from fastnn_kernels.activation import SOFTMAX
from fastnn_kernels.cuda import activation, loss
from fastnn_kernels.cuda.driver import blocks_for, cuda, device, kernel
from fastnn_kernels.cuda.sums import fold
from fastnn_kernels.cuda.work import BATCH, COUNT, FLAG, HITS, SPLITS, START, Pass, at, data_row
from fastnn_kernels.layout import ACTIVATION, N_OUT, STRIDE, WIDTH, A, D, Z
from fastnn_kernels.loss import BINARY_CROSS_ENTROPY, CONSTANT, CROSS_ENTROPY, HALF_MSE, POISSON, SMOOTHING
from fastnn_kernels.work import ACCURACY, BINARY, CLASSES, LABELS, LAYERS, LOSS, LOSSES, NOTHING, TARGET, WEIGHTED

THREADS = 128  # of a block

_ZERO, _TWO = np.uint32(0), np.uint32(2)


def losses(p: Pass) -> None:
    """Losses of the rows and D of the last layer, from the logits in its A; hits are added to words[HITS].

    FLAG is set where a loss is not finite. D is written where the workspace has it; the mean is over now[BATCH] rows.
    """
    rows = _rows(p)
    _losses_kernel[blocks_for(p.rows, rows), THREADS, p.stream](p.work, np.uint32(rows))


def activate(p: Pass) -> None:
    """The output activation, in place in A of the last layer; softmax included."""
    rows = _rows(p)
    _activate_kernel[blocks_for(p.rows, rows), THREADS, p.stream](p.work, np.uint32(rows))


def _rows(p: Pass) -> int:
    """How many rows a block has: a power of two, so that every output has a thread where that is possible."""
    rows = THREADS
    while rows > 1 and THREADS // rows < p.at(len(p.table) - 1, N_OUT):
        rows //= 2
    return rows


class Row(NamedTuple):
    """A thread's row and its part of it.

    number: in the batch; exists: whether it has data; n: its outputs, 0 where it does not exist; first, step: the
    thread has outputs first, first + step, ...; z, kept, d: offsets of its outputs, of what the derivative is computed
    from, and of its deltas; sample: its row of the data; label: its class; place: the thread's in shared memory, where
    `rows` rows meet; own: where the row's sum is found there.
    """

    number: object
    exists: object
    n: object
    first: object
    step: object
    z: object
    kept: object
    d: object
    sample: object
    label: object
    place: object
    rows: object
    own: object


@device
def _row(work, layer, rows):
    thread, step = np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockDim.x) // rows
    own, first = thread // step, thread % step
    number = np.uint32(cuda.blockIdx.x) * rows + own
    exists = number < np.uint32(work.now[COUNT])
    n, sample, label = _ZERO, _ZERO, np.int32(-1)
    if exists:
        n, sample = at(work, layer, N_OUT), data_row(work, np.uint32(work.now[START]) + number)
        if work.numbers[TARGET] == LABELS:
            label = work.labels[sample]
    start = number * at(work, layer, STRIDE)
    z, kept, d = at(work, layer, A) + start, at(work, layer, Z) + start, at(work, layer, D) + start
    return Row(number, exists, n, first, step, z, kept, d, sample, label, first * rows + own, rows, own)


@device
def _total(room, row, value):
    """The sum of the values of a row's threads."""
    room[row.place] = value
    fold(room, row.place, np.uint32(cuda.blockDim.x), row.rows)
    total = room[row.own]
    cuda.syncthreads()
    return total


@device
def _highest(room, places, row, value, j):
    """The largest of the values of a row's threads, and the smallest j that has it."""
    place, count = row.place, np.uint32(cuda.blockDim.x)
    room[place], places[place] = value, j
    cuda.syncthreads()
    while count > row.rows:
        count = count // _TWO
        if place < count:
            other = room[place + count]
            if other > room[place] or (other == room[place] and places[place + count] < places[place]):
                room[place], places[place] = other, places[place + count]
        cuda.syncthreads()
    top, best = room[row.own], places[row.own]
    cuda.syncthreads()
    return top, best


@device
def _highest_output(work, room, places, row):
    """The largest output of a row, and the first place that it has; place 0 where all are NaN."""
    top, best, j = work.params.dtype.type(-np.inf), _ZERO, row.first
    while j < row.n:
        value = work.space[row.z + j]
        if value > top:
            top, best = value, j
        j += row.step
    return _highest(room, places, row, top, best)


@device
def _target(work, row, j):
    """Target j of a row, before smoothing; one-hot where labels were given."""
    real = work.params.dtype.type
    if work.numbers[TARGET] == LABELS:
        return real(1) if np.int32(j) == row.label else real(0)
    return work.targets[np.int64(row.sample) * np.int64(row.n) + np.int64(j)]


@device
def _class_of(work, room, places, row):
    """The class of a row: its label, or the largest of its targets."""
    if work.numbers[TARGET] == LABELS:
        return np.uint32(max(row.label, np.int32(0)))
    top, best, j = work.params.dtype.type(-np.inf), _ZERO, row.first
    while j < row.n:
        value = _target(work, row, j)
        if value > top:
            top, best = value, j
        j += row.step
    _, best = _highest(room, places, row, top, best)
    return best


@device
def _right_answers(work, room, row, border):
    """How many of a row's yes-or-no outputs are right."""
    real = work.params.dtype.type
    right, j = real(0), row.first
    while j < row.n:
        right += real((work.space[row.z + j] > border) == (_target(work, row, j) > real(0.5)))
        j += row.step
    return np.int64(_total(room, row, right))


@device
def _hits(work, room, places, row, border, best):
    """Count a row's right answers: the class, whose output is `best`, or each of its yes-or-no outputs."""
    hits = np.int64(0)
    if work.numbers[ACCURACY] == CLASSES:
        hits += np.int64(best == _class_of(work, room, places, row))
    elif work.numbers[ACCURACY] == BINARY:
        hits += _right_answers(work, room, row, border)
    if row.exists and row.first == 0 and hits > 0:
        cuda.atomic.add(work.words, HITS, hits)


@device
def _softmax(work, room, places, row):
    real = work.params.dtype.type
    top, _ = _highest_output(work, room, places, row)
    total, j = real(0), row.first
    while j < row.n:
        e = math.exp(work.space[row.z + j] - top)
        work.space[row.z + j] = e
        total += e
        j += row.step
    whole, j = _total(room, row, total), row.first
    while j < row.n:
        work.space[row.z + j] /= whole
        j += row.step


@device
def _activate(work, layer, room, places, row):
    """The output activation of a row, in place."""
    code, beta = at(work, layer, ACTIVATION), work.betas[layer]
    if code == SOFTMAX:
        _softmax(work, room, places, row)
    else:
        j = row.first
        while j < row.n:
            work.space[row.z + j] = activation.feed(code, beta, work.space[row.z + j])
            j += row.step


@device
def _cross_entropy(work, layer, room, row, top, scale):
    """-sum y ln softmax(z) of a row; derivative softmax(z) - y, for targets that sum to 1."""
    real, smoothing = work.params.dtype.type, work.loss_constants[SMOOTHING]
    total, weighted, j = real(0), real(0), row.first
    while j < row.n:
        shifted = work.space[row.z + j] - top
        weighted += loss.smooth(_target(work, row, j), smoothing, real(row.n)) * shifted
        total += math.exp(shifted)
        j += row.step
    whole, weighted, j = _total(room, row, total), _total(room, row, weighted), row.first
    if at(work, layer, SPLITS) > 0:
        while j < row.n:
            yhat = math.exp(work.space[row.z + j] - top) / whole
            work.space[row.d + j] = (yhat - loss.smooth(_target(work, row, j), smoothing, real(row.n))) * scale
            j += row.step
    return math.log(whole) - weighted if row.exists else real(0)


@device
def _softmax_delta(work, room, row):
    """d -> a * (d - sum d a): through softmax's Jacobian, in place."""
    dot, j = work.params.dtype.type(0), row.first
    while j < row.n:
        dot += work.space[row.d + j] * work.space[row.z + j]
        j += row.step
    total, j = _total(room, row, dot), row.first
    while j < row.n:
        work.space[row.d + j] = work.space[row.z + j] * (work.space[row.d + j] - total)
        j += row.step


@device
def _each_output(work, layer, room, row, code, scale):
    """The loss of a row, a sum over its outputs, and their deltas."""
    real = work.params.dtype.type
    act, beta, constant = at(work, layer, ACTIVATION), work.betas[layer], work.loss_constants[CONSTANT]
    smoothing, trains = work.loss_constants[SMOOTHING], at(work, layer, SPLITS) > 0
    is_whole = code == BINARY_CROSS_ENTROPY or code == POISSON  # the derivative is by z already
    total, j = real(0), row.first
    while j < row.n:
        yhat, y = work.space[row.z + j], _target(work, row, j)
        y = loss.smooth(y, smoothing, real(2))
        total += loss.term(code, constant, yhat, y)
        if trains:
            d = loss.slope(code, constant, yhat, y) * scale
            if not is_whole:
                d = activation.delta(act, beta, d, work.space[row.kept + j])
            work.space[row.d + j] = d
        j += row.step
    if trains and act == SOFTMAX:
        _softmax_delta(work, room, row)
    return _total(room, row, total)


@device
def _pad(work, layer, row):
    """0 behind the deltas of a row."""
    if row.exists and at(work, layer, SPLITS) > 0:
        j = row.n + row.first
        while j < at(work, layer, WIDTH):
            work.space[row.d + j] = work.params.dtype.type(0)
            j += row.step


@device
def losses_of_block(work, rows, room, places):
    """`losses` of the rows of one block; room: of the network's dtype, places: uint32, both for a number a thread."""
    real = work.params.dtype.type
    layer, code = np.uint32(work.numbers[LAYERS]), work.numbers[LOSS]
    row = _row(work, layer, rows)
    is_fused = code in (CROSS_ENTROPY, BINARY_CROSS_ENTROPY)
    if not is_fused:
        _activate(work, layer, room, places, row)
    top, best = real(0), _ZERO
    if code == CROSS_ENTROPY or work.numbers[ACCURACY] == CLASSES:
        top, best = _highest_output(work, room, places, row)
    if work.numbers[ACCURACY] != NOTHING:
        _hits(work, room, places, row, real(0) if is_fused else real(0.5), best)
    factor = work.weights[row.sample] if work.numbers[WEIGHTED] != 0 and row.exists else real(1)
    if code != HALF_MSE and code != CROSS_ENTROPY:
        factor /= real(at(work, layer, N_OUT))
    scale = factor / real(work.now[BATCH])
    if code == CROSS_ENTROPY:
        value = factor * _cross_entropy(work, layer, room, row, top, scale)
    else:
        value = factor * _each_output(work, layer, room, row, code, scale)
    _pad(work, layer, row)
    if row.exists and row.first == 0:
        work.space[np.uint32(work.numbers[LOSSES]) + row.number] = value
        if not math.isfinite(value):
            work.words[FLAG] = 1


@kernel
def _losses_kernel(work, rows):
    room = cuda.shared.array(THREADS, work.params.dtype)
    places = cuda.shared.array(THREADS, work.table.dtype)
    losses_of_block(work, rows, room, places)


@kernel
def _activate_kernel(work, rows):
    room = cuda.shared.array(THREADS, work.params.dtype)
    places = cuda.shared.array(THREADS, work.table.dtype)
    layer = np.uint32(work.numbers[LAYERS])
    _activate(work, layer, room, places, _row(work, layer, rows))
