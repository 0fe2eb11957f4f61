"""Dropout, per sample: a unit is off with probability p, the others are scaled by 1 / (1 - p).

feed:   a -> a m / (1 - p), written over a; m = 0 or 1 for every sample and unit
delta:  d -> d m / (1 - p) g(a), m drawn again, g from the output as it was before dropout

Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014, in the inverted form.
"""

from numba import types

from fastnn_kernels import activation, rng
from fastnn_kernels.jit import extra, kernel
from fastnn_kernels.layout import ACTIVATION, STRIDE, WIDTH, A, D, Z
from fastnn_kernels.native import fill, lanes, load, room, select, store
from fastnn_kernels.rng import GROUP
from fastnn_kernels.work import SEED, at, sample_at

# Codes of a layer's noise; those above SAMPLE_CONNECT are noise on its weights that a batch shares: weight_noise.py.
NONE, DROPOUT, SAMPLE_CONNECT, DROPCONNECT, SHAKEOUT, WHITEOUT_ADDED, WHITEOUT_MULTIPLIED = range(7)

# Indices of a layer's constants.
BORDER = 0  # off is what has a number below: p on the grid of rng's numbers, the same in both dtypes
SCALE = 1  # of what stays
UNSCALE = 2  # 1 / SCALE
TAU, C = 2, 3  # Shakeout's, beside BORDER and SCALE
SIGMA, GAMMA, LAMBDA = 0, 1, 2  # Whiteout's
PER = 4  # dropout of a small network, see subnetwork.py: one of these
NEVER, PER_BATCH, PER_EPOCH = range(3)
CONSTANTS = 5

SMALLEST = 1e-4  # Whiteout's noise grows as weights shrink, down to this size


@kernel
def _fill(u):
    """Numbers by which everything stays: none are drawn where BORDER is 0."""
    for i in range(0, GROUP, lanes(u)):
        store(u + i, fill(u, 1.0))


@extra(types.none)
def drop(work, layer, first, last, now):
    """A of the layer through dropout, rows first to last."""
    constants, stride, width = work.noise + layer * CONSTANTS, at(work, layer, STRIDE), at(work, layer, WIDTH)
    border, scale = constants[BORDER], constants[SCALE]
    a = work.space + (at(work, layer, A) + first * stride)
    u = room(a, GROUP)
    _fill(u)
    for row in range(first, last):
        sample = sample_at(work, now.start + row)
        for j in range(0, width, GROUP):
            if border > 0.0:
                rng.group(u, j, rng.DROPOUT + layer, sample, now.t, work.numbers[SEED])
            p = a + j
            for i in range(0, min(GROUP, width - j), lanes(a)):
                store(p + i, select(load(u + i) >= border, load(p + i) * scale, 0.0))
        a = a + stride


@extra(types.none)
def drop_delta(work, layer, first, last, now):
    """D of the layer back through dropout and the activation, rows first to last."""
    constants, stride, width = work.noise + layer * CONSTANTS, at(work, layer, STRIDE), at(work, layer, WIDTH)
    border, scale, unscale = constants[BORDER], constants[SCALE], constants[UNSCALE]
    act, beta = at(work, layer, ACTIVATION), work.betas[layer]
    a = work.space + (at(work, layer, Z) + first * stride)
    d = work.space + (at(work, layer, D) + first * stride)
    if at(work, layer, Z) != at(work, layer, A):
        unscale = 1.0  # g is computed from z, which dropout has not touched
    u, below = room(a, GROUP), room(a, GROUP)  # random numbers; what g is computed from
    _fill(u)
    for row in range(first, last):
        sample = sample_at(work, now.start + row)
        for j in range(0, width, GROUP):
            if border > 0.0:
                rng.group(u, j, rng.DROPOUT + layer, sample, now.t, work.numbers[SEED])
            columns = min(GROUP, width - j)
            for i in range(0, columns, lanes(a)):
                store(d + (j + i), select(load(u + i) >= border, load(d + (j + i)) * scale, 0.0))
                store(below + i, load(a + (j + i)) * unscale)
            activation.delta(act, beta, d + j, below, GROUP, 1, columns)
        a = a + stride
        d = d + stride
