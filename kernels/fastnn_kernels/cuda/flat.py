"""Loops over all parameters: a grid for the flat vectors, and sums over it.

A row of blocks for each layer; a thread takes elements 0, 1, ... of the layer, counted from W, one grid of its row
apart. The grid depends on the network alone, and so does the order of every sum.
"""

from typing import NamedTuple

import numpy as np

from fastnn_kernels.cuda.driver import blocks_for, cuda, device, place
from fastnn_kernels.cuda.sums import fold
from fastnn_kernels.cuda.work import SIZE, SUMS, Pass, at
from fastnn_kernels.layout import BETA, GAMMA, N_IN, N_OUT, NO_NORM, NORM, WIDTH, B, W

THREADS = 128  # of a block
MOST_BLOCKS = 2048  # for a layer: they fill any device, and a layer leaves no more sums

_THREADS, _SUMS, _ONE, _NO_NORM = np.uint32(THREADS), np.uint32(SUMS), np.uint32(1), np.uint32(NO_NORM)


def grid(table: np.ndarray) -> tuple[int, int]:
    """Blocks for every layer, and layers. table: int64 (layers + 1, COLUMNS)."""
    return min(blocks_for(table[:, SIZE].max(), THREADS), MOST_BLOCKS), len(table) - 1


def sums(table: np.ndarray) -> int:
    """How many sums the blocks of the grid leave, in `Work.sums` from SUMS on."""
    blocks, layers = grid(table)
    return blocks * layers


def count(p: Pass) -> np.uint32:
    """`sums`, for a kernel that adds them up."""
    return np.uint32(sums(p.table))


class Layer(NamedTuple):
    """Where the parameters of a layer lie, uint32, counted from `start`, the offset of W in the flat vectors.

    size: elements from W on; weights: elements of the n_in rows of W, each `width` long, n_out of it in use; bias,
    gamma, beta: where n_out elements begin; those of a layer without normalization are the bias.
    """

    start: object
    size: object
    weights: object
    width: object
    n_out: object
    bias: object
    gamma: object
    beta: object


@device
def layer_of(work, layer):
    """The Layer of a row of the table; layer: uint32."""
    start, width, bias = at(work, layer, W), at(work, layer, WIDTH), at(work, layer, B)
    gamma, beta = bias, bias
    if at(work, layer, NORM) != _NO_NORM:
        gamma, beta = at(work, layer, GAMMA), at(work, layer, BETA)
    weights = at(work, layer, N_IN) * width
    n_out, size = at(work, layer, N_OUT), at(work, layer, SIZE)
    return Layer(start, size, weights, width, n_out, bias - start, gamma - start, beta - start)


@device
def here():
    """The layer of this thread, its first element, and how far the next one is."""
    return np.uint32(cuda.blockIdx.y) + _ONE, place(), np.uint32(cuda.gridDim.x) * _THREADS


@device
def is_weight(one, element):
    """Whether an element of a Layer is a weight."""
    return element < one.weights and (one.width == one.n_out or element % one.width < one.n_out)


@device
def _is_in(element, first, n):
    return first <= element and element < first + n


@device
def is_parameter(one, element):
    """Whether it is a weight, a bias, a gain or a shift; what is not is padding, and 0."""
    if element < one.bias:
        return is_weight(one, element)
    n = one.n_out
    return _is_in(element, one.bias, n) or _is_in(element, one.gamma, n) or _is_in(element, one.beta, n)


@device
def whole_block(room, value):
    """The sum of the values of a block's threads, at the start of `room`, float64 (THREADS,) in shared memory."""
    thread = np.uint32(cuda.threadIdx.x)
    room[thread] = value
    fold(room, thread, _THREADS, _ONE)


@device
def leave(work, room, value):
    """Leave the sum of the values of this block's threads among the sums of the grid."""
    whole_block(room, value)
    if cuda.threadIdx.x == 0:
        block = np.uint32(cuda.blockIdx.y) * np.uint32(cuda.gridDim.x) + np.uint32(cuda.blockIdx.x)
        work.sums[_SUMS + block] = room[0]


@device
def total(work, room, count):
    """What the grid has left, `count` sums, added up by one block; of use to its thread 0."""
    i = np.uint32(cuda.threadIdx.x)
    value = np.float64(0)
    while i < count:
        value += work.sums[_SUMS + i]
        i += _THREADS
    whole_block(room, value)
    return room[0]
