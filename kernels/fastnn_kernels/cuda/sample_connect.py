"""DropConnect with masks of its own for every sample: right, and not fast.

Formulas and counters are those of ../sample_connect.py: a mask is drawn in feed, delta and gradient, four elements a
draw. They take the place of dense.py's products, with the same ends.
"""

import numpy as np

from fastnn_kernels.cuda import element
from fastnn_kernels.cuda.driver import blocks_for, cuda, device, kernel, place
from fastnn_kernels.cuda.rng import draws_of, first_element, four_uniforms
from fastnn_kernels.cuda.sums import fold
from fastnn_kernels.cuda.work import COUNT, PARTIAL, SIZE, SPLITS, START, Pass, T, at
from fastnn_kernels.layout import DEPTH, N_IN, N_OUT, NO_NORM, NORM, STRIDE, WIDTH, A, B, D, W
from fastnn_kernels.noise import BORDER, CONSTANTS, SCALE
from fastnn_kernels.rng import DROPCONNECT as STREAM
from fastnn_kernels.rng import GROUP, RUN
from fastnn_kernels.work import SEED

THREADS = 128
INPUTS = 8  # of a block of delta, RUN threads each
BLOCK = INPUTS * RUN

_RUN, _INPUTS, _BLOCK, _STREAM = np.uint32(RUN), np.uint32(INPUTS), np.uint32(BLOCK), np.uint32(STREAM)
_CONSTANTS, _NO_NORM, _ONE, _TWO = np.uint32(CONSTANTS), np.uint32(NO_NORM), np.uint32(1), np.uint32(2)


def feed(p: Pass, layer: int) -> None:
    """A of the layer from A of the layer below, with the activation; plain z where a normalization follows."""
    _feed_kernel[blocks_for(p.rows * _draws(p, layer), THREADS), THREADS, p.stream](p.work, np.uint32(layer))


def delta(p: Pass, layer: int) -> None:
    """D of the layer below from D of the layer, with the activation's derivative."""
    blocks = p.rows * blocks_for(p.at(layer, N_IN), INPUTS)
    _delta_kernel[blocks, BLOCK, p.stream](p.work, np.uint32(layer))


def gradient(p: Pass, layer: int) -> None:
    """Partial gradients of W and b: split s of S has every S-th row, from row s on."""
    threads = p.at(layer, SPLITS) * (p.at(layer, DEPTH) + 1) * _draws(p, layer)
    _gradient_kernel[blocks_for(threads, THREADS), THREADS, p.stream](p.work, np.uint32(layer))


def _draws(p: Pass, layer: int) -> int:
    """Draws for the weights of one input."""
    return -(-p.at(layer, WIDTH) // GROUP) * RUN


@device
def _numbers(work, layer, row, k, draw, draws):
    """The random numbers of the four weights of input k of a row whose columns are those of the draw."""
    real = work.params.dtype.type
    sample = work.order[np.uint32(work.now[START]) + row]
    return four_uniforms(k * draws + draw, _STREAM + layer, sample, work.now[T], work.numbers[SEED], real)


@device
def _factor(work, layer, number):
    """m / (1 - p)"""
    constants = layer * _CONSTANTS
    is_on = number >= work.noise[constants + np.uint32(BORDER)]
    return work.noise[constants + np.uint32(SCALE)] if is_on else work.noise.dtype.type(0)


@kernel
def _feed_kernel(work, layer):
    n_out, width, draws = at(work, layer, N_OUT), at(work, layer, WIDTH), draws_of(at(work, layer, WIDTH))
    row, draw = place() // draws, place() % draws
    if row >= np.uint32(work.now[COUNT]):
        return
    below = layer - _ONE
    first, x = first_element(draw), at(work, below, A) + row * at(work, below, STRIDE)
    z = cuda.local.array(4, work.params.dtype)
    for word in range(4):
        j = min(first + np.uint32(word) * _RUN, width - _ONE)
        z[word] = work.params[at(work, layer, B) + j]
    k = np.uint32(0)
    while k < at(work, layer, N_IN):
        numbers = _numbers(work, layer, row, k, draw, draws)
        for word in range(4):
            j = min(first + np.uint32(word) * _RUN, width - _ONE)
            w = work.params[at(work, layer, W) + k * width + j] * _factor(work, layer, numbers[word])
            z[word] += work.space[x + k] * w
        k += _ONE
    for word in range(4):  # not unrolled: the activation is long
        j = first + np.uint32(word) * _RUN
        if j < n_out:
            _end(work, layer, row, j, _one_of(z[0], z[1], z[2], z[3], word))
        elif j < width:
            work.space[at(work, layer, A) + row * at(work, layer, STRIDE) + j] = work.params.dtype.type(0)


@device
def _one_of(a, b, c, d, word):
    low, high = a if word == 0 else b, c if word == _TWO else d
    return low if word < _TWO else high


@device
def _end(work, layer, row, j, z):
    """What follows a pre-activation."""
    if at(work, layer, NORM) == _NO_NORM:
        element.feed_element(work, layer, row, j, z)
    else:
        work.space[at(work, layer, A) + row * at(work, layer, STRIDE) + j] = z


@kernel
def _delta_kernel(work, layer):
    """A block has INPUTS inputs of a row: thread i the draws i % RUN, i % RUN + RUN, ... of input i // RUN."""
    real = work.params.dtype.type
    sums = cuda.shared.array(BLOCK, work.params.dtype)
    thread = np.uint32(cuda.threadIdx.x)
    n_in, width, draws = at(work, layer, N_IN), at(work, layer, WIDTH), draws_of(at(work, layer, WIDTH))
    blocks = (n_in + (_INPUTS - _ONE)) // _INPUTS
    row, k = np.uint32(cuda.blockIdx.x) // blocks, np.uint32(cuda.blockIdx.x) % blocks * _INPUTS + thread // _RUN
    if row >= np.uint32(work.now[COUNT]):
        return
    d, total, draw = at(work, layer, D) + row * at(work, layer, STRIDE), real(0), thread % _RUN
    while draw < draws and k < n_in:
        numbers, j = _numbers(work, layer, row, k, draw, draws), first_element(draw)
        for word in range(4):
            if j < at(work, layer, N_OUT):
                w = work.params[at(work, layer, W) + k * width + j] * _factor(work, layer, numbers[word])
                total += work.space[d + j] * w
            j += _RUN
        draw += _RUN
    sums[thread % _RUN * _INPUTS + thread // _RUN] = total
    fold(sums, thread, _BLOCK, _INPUTS)
    if thread % _RUN == 0:
        below = layer - _ONE
        if k < n_in:
            element.delta_element(work, below, row, k, sums[thread // _RUN])
        elif k < at(work, layer, DEPTH):
            work.space[at(work, below, D) + row * at(work, below, STRIDE) + k] = real(0)


@kernel
def _gradient_kernel(work, layer):
    """A thread has four columns of one input, or of the bias behind the inputs, in one split."""
    real, below = work.params.dtype.type, layer - _ONE
    n_in, depth, width = at(work, layer, N_IN), at(work, layer, DEPTH), at(work, layer, WIDTH)
    draws = draws_of(width)
    draw, k = place() % draws, place() // draws % (depth + _ONE)
    split, splits = place() // draws // (depth + _ONE), at(work, layer, SPLITS)
    if split >= splits:
        return
    first, row, has_mask = first_element(draw), split, k < n_in
    g = cuda.local.array(4, work.params.dtype)
    for word in range(4):
        g[word] = real(0)
    while row < np.uint32(work.now[COUNT]) and (has_mask or k == depth):
        numbers, x = (real(1), real(1), real(1), real(1)), real(1)
        if has_mask:
            numbers = _numbers(work, layer, row, k, draw, draws)
            x = work.space[at(work, below, A) + row * at(work, below, STRIDE) + k]
        for word in range(4):
            j = min(first + np.uint32(word) * _RUN, width - _ONE)
            d = work.space[at(work, layer, D) + row * at(work, layer, STRIDE) + j]
            g[word] += x * d * (_factor(work, layer, numbers[word]) if has_mask else real(1))
        row += splits
    for word in range(4):
        j = first + np.uint32(word) * _RUN
        if j < width:
            place_of = at(work, layer, PARTIAL) + split * at(work, layer, SIZE) + k * width + j
            work.space[place_of] = g[word] if j < at(work, layer, N_OUT) else real(0)
