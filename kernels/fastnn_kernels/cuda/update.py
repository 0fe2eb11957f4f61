"""From the partial gradients of a step to new parameters: penalties, clipping, optimizer, average, as in ../update.py.

update     one launch for all layers, an element a thread
           g = sum of the partials, in order + penalty;  g = min(max(g, -limit), limit);  w by the optimizer
           adamw: w -= lr decay w before it;  proximal l1: soft thresholds behind it
           average += blend (w - average)

Where the gradient is clipped by its norm, or comes in parts, collect adds up g and writes the sums of its squares, norm
makes of them the factor min(1, limit / norm), and update takes g from there. Source: Pascanu, Mikolov and Bengio 2013.
"""

import math

import numpy as np

from fastnn_kernels.cuda import flat, optimizer, penalty
from fastnn_kernels.cuda.activation import bounded
from fastnn_kernels.cuda.driver import cuda, device, kernel
from fastnn_kernels.cuda.flat import THREADS
from fastnn_kernels.cuda.work import BATCH, CLIPPED, COUNT, DONE, FACTOR, FLAG, PARTIAL, SPLITS, Pass, at
from fastnn_kernels.optimizer import CLIP_NORM, NONE
from fastnn_kernels.work import OPTIMIZER, PARAMETERS


def update(p: Pass, is_last: bool = True) -> None:
    """One step of all parameters, behind the last pass of its batch. Without an optimizer, the gradient only.

    Parameters and state stay as they are where FLAG is set; it is set where the norm to be clipped is not finite.
    """
    has_optimizer, clips = p.numbers[OPTIMIZER] != NONE, p.constants[CLIP_NORM] > 0.0
    is_collected = not has_optimizer or clips or p.has_parts
    if is_collected:
        _collect_kernel[flat.grid(p.table), THREADS, p.stream](p.work)
    if has_optimizer and is_last:
        if clips:
            _norm_kernel[1, THREADS, p.stream](p.work, flat.count(p))
        _update_kernel[flat.grid(p.table), THREADS, p.stream](p.work, np.uint32(is_collected), np.uint32(clips))


@device
def _sum(work, one, partial, splits, i):
    """The gradient of element i of a layer from this pass; partial: where its first part lies."""
    g = work.space[partial + i]
    for _ in range(np.uint32(1), splits):
        partial += one.size
        g += work.space[partial + i]
    return g


@device
def _penalty(work, rates, one, i):
    """What the penalty adds to it."""
    if flat.is_weight(one, i):
        return penalty.gradient(work.params[one.start + i], rates.l1, rates.l2)
    return work.params.dtype.type(0)


@kernel
def _collect_kernel(work):
    room = cuda.shared.array(THREADS, work.sums.dtype)
    layer, i, step = flat.here()
    one, rates = flat.layer_of(work, layer), optimizer.stored(work)
    partial, splits = at(work, layer, PARTIAL), at(work, layer, SPLITS)
    is_first, is_last = work.now[DONE] == 0, work.now[DONE] + work.now[COUNT] == work.now[BATCH]
    squares = work.params.dtype.type(0)
    while i < one.size:
        g = work.params.dtype.type(0)
        if flat.is_parameter(one, i):
            g = _sum(work, one, partial, splits, i)
            if not is_first:
                g += work.gradient[one.start + i]
            if is_last:
                g += _penalty(work, rates, one, i)
        work.gradient[one.start + i] = g
        squares += g * g
        i += step
    flat.leave(work, room, np.float64(squares))


@kernel
def _norm_kernel(work, count):
    room = cuda.shared.array(THREADS, work.sums.dtype)
    squares = flat.total(work, room, count)
    if cuda.threadIdx.x == 0:
        norm, limit = math.sqrt(squares), work.constants[CLIP_NORM]
        if not math.isfinite(norm):
            work.words[FLAG] = 1
        work.sums[FACTOR] = limit / norm if norm > limit else 1.0
        if norm > limit:
            work.words[CLIPPED] = 1


@device
def _clipped(work, g, limit):
    """min(max(g, -limit), limit); NaN stays NaN"""
    clipped = bounded(g, -limit, limit)
    if clipped != g:
        work.words[CLIPPED] = 1
    return clipped


@device
def _updated(work, code, rates, one, i, g):
    """Element i of a layer updated: parameter, state, average."""
    offset, size, is_weight, zero = (
        one.start + i,
        np.uint32(work.numbers[PARAMETERS]),
        flat.is_weight(one, i),
        type(g)(0),
    )
    w = work.params[offset]
    if rates.clip_value > zero:
        g = _clipped(work, g, rates.clip_value)
    if is_weight:
        w -= w * rates.shrink
    w = optimizer.update(code, rates, work.state, offset, size, w, g)
    if is_weight and rates.threshold > zero:
        w = penalty.soften(w, rates.threshold)
    work.params[offset] = w
    if rates.blend > zero:
        average = np.uint32(optimizer.states(code)) * size + offset
        work.state[average] += (w - work.state[average]) * rates.blend


@kernel
def _update_kernel(work, is_collected, clips):
    if work.words[FLAG] != 0:
        return
    real = work.params.dtype.type
    layer, i, step = flat.here()
    one, rates, code = flat.layer_of(work, layer), optimizer.stored(work), work.numbers[OPTIMIZER]
    partial, splits = at(work, layer, PARTIAL), at(work, layer, SPLITS)
    factor = real(work.sums[FACTOR]) if clips else real(1)
    while i < one.size:
        if flat.is_parameter(one, i):
            if is_collected:
                g = work.gradient[one.start + i] * factor
            else:
                g = _sum(work, one, partial, splits, i) + _penalty(work, rates, one, i)
            _updated(work, code, rates, one, i, g)
        i += step
