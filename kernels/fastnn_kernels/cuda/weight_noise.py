"""Noise on weights, drawn once a step: the whole batch sees the same disturbed weights.

Formulas and counters are those of ../weight_noise.py. A thread does the four weights of a row whose numbers are one
draw.
"""

import math

import numpy as np

from fastnn_kernels.cuda.driver import blocks_for, cuda, device, kernel, place
from fastnn_kernels.cuda.rng import draws_of, first_element, four_normals, four_uniforms, uniform
from fastnn_kernels.cuda.sums import fold
from fastnn_kernels.cuda.work import PARTIAL, SIZE, SPLITS, Pass, T, at
from fastnn_kernels.layout import DEPTH, FACTORS, N_IN, N_OUT, NOISE, NOISY, WIDTH, B, W
from fastnn_kernels.noise import (
    BORDER,
    CONSTANTS,
    DROPCONNECT,
    GAMMA,
    LAMBDA,
    SCALE,
    SHAKEOUT,
    SIGMA,
    SMALLEST,
    TAU,
    WHITEOUT_ADDED,
    C,
)
from fastnn_kernels.rng import DROPCONNECT as CONNECT_STREAM
from fastnn_kernels.rng import GROUP, RUN
from fastnn_kernels.rng import SHAKEOUT as SHAKEOUT_STREAM
from fastnn_kernels.rng import WHITEOUT as WHITEOUT_STREAM
from fastnn_kernels.work import SEED

THREADS = 128
COLUMNS = 8  # of a block that sums whiteout's offsets
GROUPS = 32  # of inputs that it sums side by side
BLOCK = COLUMNS * GROUPS

_RUN, _COLUMNS, _GROUPS, _BLOCK = np.uint32(RUN), np.uint32(COLUMNS), np.uint32(GROUPS), np.uint32(BLOCK)
_DROPCONNECT, _SHAKEOUT, _WHITEOUT_ADDED = np.uint32(DROPCONNECT), np.uint32(SHAKEOUT), np.uint32(WHITEOUT_ADDED)
_CONSTANTS = np.uint32(CONSTANTS)


def disturb(p: Pass, layer: int) -> None:
    """Disturbed weights and bias of a layer that has noise on them, and the weights' factors, for this step."""
    width, depth = p.at(layer, WIDTH), p.at(layer, DEPTH)
    threads = (depth + 1) * -(-width // GROUP) * RUN
    _disturb_kernel[blocks_for(threads, THREADS), THREADS, p.stream](p.work, np.uint32(layer))
    if p.at(layer, NOISE) == WHITEOUT_ADDED:
        _offset_kernel[blocks_for(width, COLUMNS), BLOCK, p.stream](p.work, np.uint32(layer))


def gradient(p: Pass, layer: int) -> None:
    """Partial gradients by the disturbed weights become those by the weights, in place, in all splits."""
    weights = p.at(layer, DEPTH) * p.at(layer, WIDTH)
    _gradient_kernel[blocks_for(weights, THREADS), THREADS, p.stream](p.work, np.uint32(layer))


@device
def _constant(work, layer, which):
    return work.noise[layer * _CONSTANTS + np.uint32(which)]


@device
def _whiteout_factor(work, layer, e, w):
    """The noise of the weight w from the normal number e."""
    size = max(abs(w), work.noise.dtype.type(SMALLEST))
    sigma = _constant(work, layer, SIGMA)
    variance = math.exp(math.log(size) * -_constant(work, layer, GAMMA)) * (sigma * sigma)
    return e * math.sqrt(variance + _constant(work, layer, LAMBDA))


@device
def _shakeout(work, layer, is_on, w):
    """The disturbed weight and its factor."""
    real = work.noise.dtype.type
    scale, c = _constant(work, layer, SCALE), _constant(work, layer, C)
    factor = scale if is_on else real(0)
    pull = c * (_constant(work, layer, TAU) * scale if is_on else real(-1))
    signed = pull if w > real(0) else (-pull if w < real(0) else real(0))
    return w * factor + signed, factor


@device
def _disturbed(work, layer, number, w):
    """The weight w, disturbed by its random number, and its factor."""
    real, code = work.noise.dtype.type, at(work, layer, NOISE)
    if code == _DROPCONNECT:
        factor = _constant(work, layer, SCALE) if number >= _constant(work, layer, BORDER) else real(0)
        return w * factor, factor
    if code == _SHAKEOUT:
        return _shakeout(work, layer, number >= _constant(work, layer, BORDER), w)
    factor = _whiteout_factor(work, layer, number, w)
    if code == _WHITEOUT_ADDED:
        return w, factor
    factor += real(1)
    return w * factor, factor


@device
def _numbers(work, layer, k, draw):
    """The random numbers of the four weights of input k whose columns are those of the draw."""
    real, code, t, seed = work.noise.dtype.type, at(work, layer, NOISE), work.now[T], work.numbers[SEED]
    if code == _SHAKEOUT:
        u = uniform(k, np.uint32(SHAKEOUT_STREAM) + layer, np.uint32(0), t, seed, real)
        return u, u, u, u
    if code == _DROPCONNECT:
        return four_uniforms(draw, np.uint32(CONNECT_STREAM) + layer, k, t, seed, real)
    return four_normals(draw, np.uint32(WHITEOUT_STREAM) + layer, k, t, seed, real)


@device
def _disturb(work, layer, k, j, number):
    """The weight of input k and unit j."""
    i = k * at(work, layer, WIDTH) + j
    noisy, factor = _disturbed(work, layer, number, work.params[at(work, layer, W) + i])
    work.space[at(work, layer, NOISY) + i] = noisy
    work.space[at(work, layer, FACTORS) + i] = factor


@kernel
def _disturb_kernel(work, layer):
    width, depth, n_in = at(work, layer, WIDTH), at(work, layer, DEPTH), at(work, layer, N_IN)
    draws = draws_of(width)
    k, draw = place() // draws, place() % draws
    j = first_element(draw)
    if k < n_in:
        numbers = _numbers(work, layer, k, draw)
        for word in range(4):
            if j < width:
                _disturb(work, layer, k, j, numbers[word])
            j += _RUN
    elif k <= depth:
        for _ in range(4):
            if j < width:  # the bias, or padding
                value = work.params[at(work, layer, B) + j] if k == depth else work.params.dtype.type(0)
                work.space[at(work, layer, NOISY) + k * width + j] = value
            j += _RUN


@kernel
def _offset_kernel(work, layer):
    """Whiteout's disturbed bias: b_k + sum_j w_jk e_jk."""
    sums = cuda.shared.array(BLOCK, work.params.dtype)
    thread = np.uint32(cuda.threadIdx.x)
    column, group = thread % _COLUMNS, thread // _COLUMNS
    j = np.uint32(cuda.blockIdx.x) * _COLUMNS + column
    width = at(work, layer, WIDTH)
    unit = min(j, width - np.uint32(1))
    total, k = work.params.dtype.type(0), group
    while k < at(work, layer, N_IN):
        i = k * width + unit
        total += work.params[at(work, layer, W) + i] * work.space[at(work, layer, FACTORS) + i]
        k += _GROUPS
    sums[thread] = total
    fold(sums, thread, _BLOCK, _COLUMNS)
    if thread < _COLUMNS and j < width:
        bias = work.params[at(work, layer, B) + j]
        work.space[at(work, layer, NOISY) + at(work, layer, DEPTH) * width + j] = bias + sums[thread]


@kernel
def _gradient_kernel(work, layer):
    i, width, size = place(), at(work, layer, WIDTH), at(work, layer, SIZE)
    k, j = i // width, i % width
    if k >= at(work, layer, N_IN) or j >= at(work, layer, N_OUT):
        return
    factor = work.space[at(work, layer, FACTORS) + i]
    partial, bias = at(work, layer, PARTIAL), at(work, layer, DEPTH) * width + j
    for _ in range(at(work, layer, SPLITS)):
        if at(work, layer, NOISE) == _WHITEOUT_ADDED:
            work.space[partial + i] += factor * work.space[partial + bias]
        else:
            work.space[partial + i] *= factor
        partial += size
