"""From the gradient of a piece of the parameters to their new values: clipping, optimizer, penalties, average.

Clipping by the norm of the whole gradient comes between the gradient and all updates: there `update_all` divides the
parameters anew. The norm is summed in chunks that do not depend on the number of threads.

Source of clipping: Pascanu, Mikolov and Bengio 2013.
"""

import math

import numpy as np
from numba import types

from fastnn_kernels import optimizer, penalty, subnetwork
from fastnn_kernels import piece as pieces
from fastnn_kernels.jit import extra, inline, kernel
from fastnn_kernels.lines import line, put, stretch
from fastnn_kernels.native import fill, fma, lanes, load, maximum, minimum, select, store, sum_lanes
from fastnn_kernels.native.atomic import store_release
from fastnn_kernels.team import CLIPPED, DIVERGED, GOES_ON, STOPPED, meet
from fastnn_kernels.work import LAYERS, OPTIMIZER, PARAMETERS, open_other, share

CHUNK = 1024  # elements: a multiple of every vector


def chunks(parameters: int) -> int:
    """How many sums the norm of the gradient is made of; they lie behind the optimizer's constants."""
    return -(-parameters // CHUNK)


@kernel
def _clip(work, g, count, limit):
    """g = min(max(g, -limit), limit), element by element; NaN stays NaN."""
    changes = fill(g, 0.0)
    for i in range(0, count, lanes(g)):
        slope = load(g + i)
        clipped = minimum(fill(g, limit), maximum(fill(g, -limit), slope))
        changes = changes + select(clipped == slope, fill(g, 0.0), 1.0)
        store(g + i, clipped)
    if sum_lanes(changes) > 0.0:
        store_release(work.words + CLIPPED, 1)


@kernel
def _average(lines, average, w, blend):
    for k in range(lines.total):
        i = line(lines, k)
        mean = load(average + i)
        put(lines, average + i, fma(load(w + i) - mean, blend, mean))


@inline
def _change(work, rates, lines, offset, g, is_weight):
    """One step for the parameters on the lines from `offset` on, g being their gradient."""
    code, w = work.numbers[OPTIMIZER], work.params + offset
    state, size = work.state + offset, work.numbers[PARAMETERS]
    if is_weight and rates.shrink > 0.0:
        optimizer.shrink(lines, w, rates.shrink)
    optimizer.update(code, rates, lines, w, state, size, g)
    if is_weight and rates.threshold > 0.0:
        penalty.soften(lines, w, rates.threshold)
    if rates.blend > 0.0:
        _average(lines, state + optimizer.states(code) * size, w, rates.blend)


@extra(types.none)
def _update_whole(work, rates, piece, g):
    """One step for what a piece of a small network was taken from: see subnetwork.py."""
    whole, column = open_other(work, work.outer), piece.column
    while column < subnetwork.end(work, piece):
        lines, offset, columns = subnetwork.lines(whole, work, piece, column)
        _change(whole, rates, lines, offset, g + (column - piece.column), piece.is_weight)
        column += columns


@kernel
def update(work, rates, piece, g):
    """One step for a piece of the parameters, g being its gradient; it may be overwritten."""
    count = piece.rows * piece.columns
    if rates.clip_value > 0.0:
        _clip(work, g, count, rates.clip_value)
    if subnetwork.is_passing(work):
        _update_whole(work, rates, piece, g)
    else:
        _change(work, rates, stretch(g, count), piece.offset, g, piece.is_weight)


@kernel
def _sum_squares(work, chunk):
    g = work.gradient + chunk * CHUNK
    squares = fill(g, 0.0)
    for i in range(0, min(CHUNK, work.numbers[PARAMETERS] - chunk * CHUNK), lanes(g)):
        slope = load(g + i)
        squares = fma(slope, slope, squares)
    return np.float64(sum_lanes(squares))


@kernel
def _norm(work, rank, size):
    """The norm of the whole gradient, the same bits on every worker, or -1 where the team is told to leave."""
    sums = work.constants + optimizer.CONSTANTS
    count = (work.numbers[PARAMETERS] + CHUNK - 1) // CHUNK
    first, last = share(count, rank, size)
    for chunk in range(first, last):
        sums[chunk] = _sum_squares(work, chunk)
    if not meet(work.words, size):
        return -1.0
    total = 0.0
    for chunk in range(count):
        total += sums[chunk]
    return math.sqrt(total)


@kernel
def update_layers(work, rank, size, rates, factor):
    """This worker's share of all updates, from the gradient in its vector times `factor`."""
    for layer in range(1, work.numbers[LAYERS] + 1):
        first, last = share(pieces.count(work, layer), rank, size)
        for number in range(first, last):
            piece = pieces.piece(work, layer, number)
            g = work.gradient + piece.offset
            if factor < 1.0:
                for i in range(0, piece.rows * piece.columns, lanes(g)):
                    store(g + i, load(g + i) * factor)
            update(work, rates, piece, g)


@kernel
def update_all(work, rank, size, rates):
    """After the whole gradient lies in its vector and all have met: clip it by its norm, and update.

    Returns a state of the run; a norm that is not finite is a divergence, and changes nothing.
    """
    norm = _norm(work, rank, size)
    if norm == -1.0:
        return STOPPED
    if not math.isfinite(norm):
        return DIVERGED
    factor = 1.0
    if norm > rates.clip_norm:
        factor = rates.clip_norm / norm
        if rank == 0:
            store_release(work.words + CLIPPED, 1)
    update_layers(work, rank, size, rates, factor)
    return GOES_ON if meet(work.words, size) else STOPPED
