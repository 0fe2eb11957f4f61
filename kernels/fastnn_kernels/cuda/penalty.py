"""Penalties on weights, never on biases: l2 / 2 sum w^2 + l1 sum abs(w), as in ../penalty.py.

gradient and soften are of one weight; cost and share_of_zeros are sums over all, in float64.
"""

import numpy as np

from fastnn_kernels.cuda import flat
from fastnn_kernels.cuda.driver import cuda, device, kernel
from fastnn_kernels.cuda.flat import THREADS
from fastnn_kernels.cuda.work import COST, ZEROS, Pass, at
from fastnn_kernels.layout import N_IN, N_OUT
from fastnn_kernels.optimizer import PENALTY_L1, PENALTY_L2
from fastnn_kernels.work import LAYERS

_ONE = np.uint32(1)


@device
def gradient(w, l1, l2):
    """l2 w + l1 sgn(w); sgn(0) = 0"""
    zero = type(w)(0)
    return l2 * w + (l1 if w > zero else -l1 if w < zero else zero)


@device
def soften(w, threshold):
    """sgn(w) max(abs(w) - threshold, 0)"""
    zero = type(w)(0)
    size = abs(w) - threshold
    size = zero if size < zero else size
    return -size if w < zero else size


def cost(p: Pass) -> None:
    """What the penalty adds to the loss, into sums[COST]."""
    _costs_kernel[flat.grid(p.table), THREADS, p.stream](p.work)
    _cost_kernel[1, THREADS, p.stream](p.work, flat.count(p))


def share_of_zeros(p: Pass) -> None:
    """The share of the weights of all layers that are exactly 0, into sums[ZEROS]."""
    _zeros_kernel[flat.grid(p.table), THREADS, p.stream](p.work)
    _share_kernel[1, THREADS, p.stream](p.work, flat.count(p))


@kernel
def _costs_kernel(work):
    room = cuda.shared.array(THREADS, work.sums.dtype)
    layer, i, step = flat.here()
    one = flat.layer_of(work, layer)
    l1, half_l2, total = work.constants[PENALTY_L1], 0.5 * work.constants[PENALTY_L2], 0.0
    while i < one.weights:
        w = np.float64(work.params[one.start + i])
        total += half_l2 * w * w + l1 * abs(w)
        i += step
    flat.leave(work, room, total)


@kernel
def _cost_kernel(work, count):
    room = cuda.shared.array(THREADS, work.sums.dtype)
    total = flat.total(work, room, count)
    if cuda.threadIdx.x == 0:
        work.sums[COST] = total


@kernel
def _zeros_kernel(work):
    room = cuda.shared.array(THREADS, work.sums.dtype)
    layer, i, step = flat.here()
    one = flat.layer_of(work, layer)
    zeros = np.uint32(0)
    while i < one.weights:
        if flat.is_weight(one, i) and work.params[one.start + i] == work.params.dtype.type(0):
            zeros += _ONE
        i += step
    flat.leave(work, room, np.float64(zeros))


@kernel
def _share_kernel(work, count):
    room = cuda.shared.array(THREADS, work.sums.dtype)
    zeros = flat.total(work, room, count)
    if cuda.threadIdx.x == 0:
        weights = 0.0
        for layer in range(1, work.numbers[LAYERS] + 1):
            weights += np.float64(at(work, np.uint32(layer), N_IN)) * np.float64(at(work, np.uint32(layer), N_OUT))
        work.sums[ZEROS] = zeros / weights
