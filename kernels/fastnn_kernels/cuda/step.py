"""One training step: the launches of ../step.py's, one behind the other on a stream.

    begin    what the pass is: its rows, and for a new batch the number of the step and its rates
    gather   rows of X, normalized or augmented, into A of the input
    feed     layer by layer; then losses and D of the last layer
    delta    layer by layer, backwards
    gradient in parts, into PARTIAL; then the update, where the batch ends
    finish   losses added up, steps counted

Every launch of a step has the same arguments in every step: what changes lies in `now` on the device.
"""

import numpy as np

from fastnn_kernels.cuda import (
    augment,
    dense,
    norm,
    optimizer,
    output,
    sample_connect,
    subnetwork,
    update,
    weight_noise,
)
from fastnn_kernels.cuda.driver import blocks_for, cuda, kernel, place
from fastnn_kernels.cuda.flat import THREADS, whole_block
from fastnn_kernels.cuda.work import (
    BATCH,
    BATCH_SIZE,
    CLIPPED,
    CLIPPED_STEPS,
    COUNT,
    DONE,
    EPOCH,
    FIRST,
    FLAG,
    HITS,
    LOSS,
    START,
    STEPS,
    TRAINING,
    Pass,
    T,
    at,
    data_row,
)
from fastnn_kernels.layout import BATCH_NORM, NO_NORM, NOISE, NORM, STRIDE, A
from fastnn_kernels.noise import PER_BATCH, SAMPLE_CONNECT
from fastnn_kernels.optimizer import NONE
from fastnn_kernels.work import COLUMNS_IN, LAYERS, LOSSES, NORMALIZED, OPTIMIZER, PASS_ROWS, SAMPLES, SUBNETWORK

_ZERO, _THREADS = np.uint32(0), np.uint32(THREADS)


def step(p: Pass, small: Pass | None, is_first: bool, is_last: bool) -> None:
    """A pass of a training step: the first, the last, or both, of its batch.

    small: what is trained in place of the whole network where dropout leaves units out, see subnetwork.py.
    """
    one = p if small is None else small
    per_batch = small is not None and p.numbers[SUBNETWORK] == PER_BATCH
    begin(one)
    if is_first and per_batch:
        subnetwork.take(p, one)
    if is_first:
        _disturb(one)
    feed(one)
    output.losses(one)
    _backward(one)
    update.update(one, is_last)
    _average(one)
    finish(one)
    if is_last and per_batch:
        subnetwork.give_back(p, one)


def gradient(p: Pass) -> None:
    """A pass of the gradient of the mean loss over one batch."""
    begin(p)
    feed(p)
    output.losses(p)
    _backward(p)
    update.update(p)
    finish(p)


def feed(p: Pass, layers: int | None = None) -> None:
    """Gather the rows of the pass and feed them through the first `layers` layers, by default all."""
    gather(p)
    for layer in range(1, (int(p.numbers[LAYERS]) if layers is None else layers) + 1):
        if p.at(layer, NOISE) == SAMPLE_CONNECT:
            sample_connect.feed(p, layer)
        else:
            dense.feed(p, layer)
        if p.at(layer, NORM) != NO_NORM:
            norm.feed(p, layer)


def _disturb(p: Pass) -> None:
    for layer in _layers(p):
        if p.at(layer, NOISE) > SAMPLE_CONNECT:
            weight_noise.disturb(p, layer)


def _backward(p: Pass) -> None:
    """Deltas of all layers but the last, and all partial gradients."""
    layers = _layers(p)
    for layer in reversed(layers[:-1]):
        if p.at(layer + 1, NOISE) == SAMPLE_CONNECT:
            sample_connect.delta(p, layer + 1)
        else:
            dense.delta(p, layer)
        if p.at(layer, NORM) != NO_NORM:
            norm.delta(p, layer)
    for layer in layers:
        if p.at(layer, NOISE) == SAMPLE_CONNECT:
            sample_connect.gradient(p, layer)
        else:
            dense.gradient(p, layer)
        if p.at(layer, NOISE) > SAMPLE_CONNECT:
            weight_noise.gradient(p, layer)
        if p.at(layer, NORM) != NO_NORM:
            norm.gradient(p, layer)


def _average(p: Pass) -> None:
    for layer in _layers(p):
        if p.at(layer, NORM) == BATCH_NORM:
            norm.average(p, layer)


def _layers(p: Pass) -> range:
    return range(1, int(p.numbers[LAYERS]) + 1)


def rewind(p: Pass, epoch: int) -> None:
    """Before an epoch: begin at the first position of the order, with nothing counted; `epoch` of them were done."""
    _rewind_kernel[1, 1, p.stream](p.work, np.int64(epoch))


def move_to(p: Pass, first: int) -> None:
    """The device has the samples from this position of the order on."""
    _move_kernel[1, 1, p.stream](p.work, np.int64(first))


def begin(p: Pass) -> None:
    """The next pass. In training nothing moves on once FLAG is set."""
    _begin_kernel[1, 1, p.stream](p.work)


def gather(p: Pass) -> None:
    """A of the input: the samples of the pass, normalized, in training augmented before that; behind them 0."""
    if p.is_augmented:
        augment.gather(p)
    else:
        _gather_kernel[blocks_for(p.rows * p.at(0, STRIDE), THREADS), THREADS, p.stream](p.work)


def finish(p: Pass) -> None:
    """The losses of the rows added to those of the epoch, in float64; with the last pass of a batch a step is done."""
    _finish_kernel[1, THREADS, p.stream](p.work)


@kernel
def _rewind_kernel(work, epoch):
    for index in (START, COUNT, BATCH, DONE, FIRST):
        work.now[index] = 0
    work.now[EPOCH] = epoch
    work.words[HITS] = 0
    work.words[CLIPPED_STEPS] = 0
    work.sums[LOSS] = 0.0


@kernel
def _move_kernel(work, first):
    work.now[FIRST] = first


@kernel
def _begin_kernel(work):
    now, numbers = work.now, work.numbers
    if now[TRAINING] != 0 and work.words[FLAG] != 0:
        return
    now[START] += now[COUNT]
    now[DONE] += now[COUNT]
    if now[DONE] == now[BATCH]:
        now[DONE] = 0
        now[BATCH] = min(numbers[BATCH_SIZE], numbers[SAMPLES] - now[START])
        now[T] += 1
        work.words[CLIPPED] = 0
        if numbers[OPTIMIZER] != NONE:
            optimizer.rates(work)
    now[COUNT] = min(numbers[PASS_ROWS], now[BATCH] - now[DONE])


@kernel
def _gather_kernel(work):
    stride, columns = at(work, _ZERO, STRIDE), np.uint32(work.numbers[COLUMNS_IN])
    row, j = place() // stride, place() % stride
    if row >= np.uint32(work.now[COUNT]):
        return
    value = work.params.dtype.type(0)
    if j < columns:
        value = work.X[np.uint64(data_row(work, np.uint32(work.now[START]) + row)) * np.uint64(columns) + np.uint64(j)]
        if work.numbers[NORMALIZED] != 0:
            value = (value - work.shift[j]) * work.scale[j]
    work.space[at(work, _ZERO, A) + place()] = value


@kernel
def _finish_kernel(work):
    room = cuda.shared.array(THREADS, work.sums.dtype)
    if work.now[TRAINING] != 0 and work.words[FLAG] != 0:
        return
    losses, row, total = np.uint32(work.numbers[LOSSES]), np.uint32(cuda.threadIdx.x), np.float64(0)
    while row < np.uint32(work.now[COUNT]):
        total += np.float64(work.space[losses + row])
        row += _THREADS
    whole_block(room, total)
    if cuda.threadIdx.x == 0:
        work.sums[LOSS] += room[0]
        if work.now[DONE] + work.now[COUNT] == work.now[BATCH]:
            work.words[STEPS] += 1
            work.words[CLIPPED_STEPS] += work.words[CLIPPED]
