"""Dropout per batch and per epoch: the units that are off are left out of all products, as ../subnetwork.py has it.

`small` is the Pass of a network of the units that stay, with parameters, state and workspace of its own; now, words,
sums and the data are those of the whole, `p`. Its table says in UNITS where each layer's units begin in `small.units`.
"""

import numpy as np

from fastnn_kernels.cuda.driver import blocks_for, cuda, device, kernel, place
from fastnn_kernels.cuda.rng import uniform
from fastnn_kernels.cuda.work import EPOCH, Pass, T, at
from fastnn_kernels.layout import DEPTH, N_IN, N_OUT, UNITS, WIDTH, W
from fastnn_kernels.noise import CONSTANTS, NEVER, PER, PER_BATCH
from fastnn_kernels.rng import DROPOUT as STREAM
from fastnn_kernels.rng import STEPS
from fastnn_kernels.work import LAYERS, PARAMETERS, SEED, STATES

THREADS = 256

_STREAM, _THREADS, _ONE = np.uint32(STREAM), np.uint32(THREADS), np.uint32(1)
_STEPS, _PER = np.uint64(STEPS), np.uint32(PER)


def take(p: Pass, small: Pass) -> None:
    """Choose the units that stay in step now[T], or in the epoch after now[EPOCH], and fill the small network."""
    layers = int(p.numbers[LAYERS])
    _choose_kernel[layers - 1, THREADS, p.stream](p.work, small.work)
    _move(p, small, False)


def give_back(p: Pass, small: Pass) -> None:
    """Write parameters and state of the small network back; what belongs to other units rests."""
    _move(p, small, True)


def _move(p: Pass, small: Pass, is_back: bool) -> None:
    layers, vectors = int(p.numbers[LAYERS]), 1 + int(p.numbers[STATES])
    largest = max((small.at(layer, DEPTH) + 1) * small.at(layer, WIDTH) for layer in range(1, layers + 1))
    blocks = blocks_for(largest, THREADS), layers, vectors
    _move_kernel[blocks, THREADS, p.stream](p.work, small.work, np.uint32(is_back))


@kernel
def _choose_kernel(work, small):
    """A block chooses units of its layer, all choices equally likely.

    Unit j stays with probability (places left) / (units left): algorithm S of Knuth, volume 2, 3.4.2. All threads draw,
    the first one chooses; random numbers are whole, in steps, so that nothing is rounded.
    """
    numbers = cuda.shared.array(THREADS, np.uint32)
    thread, layer = np.uint32(cuda.threadIdx.x), np.uint32(cuda.blockIdx.x) + _ONE
    per = np.uint32(small.noise[layer * np.uint32(CONSTANTS) + _PER])
    if per == np.uint32(NEVER):
        return
    number = small.now[T] if per == np.uint32(PER_BATCH) else small.now[EPOCH]
    real, n, seed = small.params.dtype.type, at(work, layer, N_OUT), small.numbers[SEED]
    places, first = at(small, layer, UNITS), np.uint32(0)
    end = places + at(small, layer, N_OUT)
    while first < n:
        u = uniform(first + thread, _STREAM + layer, np.uint32(0), number, seed, real)
        numbers[thread] = np.uint32(u * real(STEPS))
        cuda.syncthreads()
        if thread == 0:
            for j in range(first, min(first + _THREADS, n)):
                if np.uint64(numbers[j - first]) * np.uint64(n - j) < np.uint64(end - places) * _STEPS:
                    small.units[places] = j
                    places += _ONE
        cuda.syncthreads()
        first += _THREADS


@device
def _carry(whole, part, i, j, is_back):
    """Element i of the whole network's vector into element j of the small one's, or back."""
    if is_back != 0:
        whole[i] = part[j]
    else:
        part[j] = whole[i]


@kernel
def _move_kernel(work, small, is_back):
    """Grid: elements of a small layer's weights and bias; layers; parameters and vectors of state."""
    layer, vector = np.uint32(cuda.blockIdx.y) + _ONE, np.uint32(cuda.blockIdx.z)
    width, depth = at(small, layer, WIDTH), at(small, layer, DEPTH)
    k, j = place() // width, place() % width
    if j >= at(small, layer, N_OUT) or (k >= at(small, layer, N_IN) and k != depth):
        return
    row = at(work, layer, DEPTH)  # of the bias, behind the weights
    if k != depth:
        row = small.units[at(small, layer - _ONE, UNITS) + k]
    column = small.units[at(small, layer, UNITS) + j]
    i, own = at(work, layer, W) + row * at(work, layer, WIDTH) + column, at(small, layer, W) + place()
    if vector == 0:
        _carry(work.params, small.params, i, own, is_back)
    else:
        behind = np.uint64(vector - _ONE)
        i, own = i + behind * np.uint64(work.numbers[PARAMETERS]), own + behind * np.uint64(small.numbers[PARAMETERS])
        _carry(work.state, small.state, i, own, is_back)
