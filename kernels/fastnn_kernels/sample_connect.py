"""DropConnect with masks of its own for every sample, as Wan et al. 2013 have it: right, and not fast.

feed      z_k = b_k + sum_j x_j w_jk m_jk / (1 - p)
delta     dx_j = sum_k d_k w_jk m_jk / (1 - p)
gradient  dw_jk = sum over samples of x_j d_k m_jk / (1 - p)

m_jk comes from the row of random numbers of the sample: element j times the columns in whole groups, plus k. It is
drawn in each of the three.
"""

from numba import types

from fastnn_kernels import rng
from fastnn_kernels.jit import extra, kernel
from fastnn_kernels.layout import DEPTH, N_IN, STRIDE, WIDTH, A, B, D, W
from fastnn_kernels.native import fill, fma, lanes, load, room, select, store, sum_lanes
from fastnn_kernels.noise import BORDER, CONSTANTS, SCALE
from fastnn_kernels.rng import GROUP
from fastnn_kernels.work import SEED, at, sample_at


@kernel
def _draw(work, u, layer, j, column, sample, t):
    """The factors m / (1 - p) of input j for the group of columns that holds `column`, into u."""
    constants = work.noise + layer * CONSTANTS
    groups = (at(work, layer, WIDTH) + GROUP - 1) // GROUP
    element = (j * groups + column // GROUP) * GROUP
    rng.group(u, element, rng.DROPCONNECT + layer, sample, t, work.numbers[SEED])
    for i in range(0, GROUP, lanes(u)):
        store(u + i, select(load(u + i) >= constants[BORDER], fill(u, constants[SCALE]), 0.0))


@kernel
def _weights(work, layer, j, column):
    """Where the weights of input j begin in the panel that begins at `column`."""
    columns = min(2 * lanes(work.params), at(work, layer, WIDTH) - column)
    return work.params + (at(work, layer, W) + column * at(work, layer, DEPTH) + j * columns)


@extra(types.none)
def feed(work, layer, first, last, now):
    """Pre-activations of the layer, rows first to last, into its A."""
    width, panel = at(work, layer, WIDTH), 2 * lanes(work.params)
    x = work.space + (at(work, layer - 1, A) + first * at(work, layer - 1, STRIDE))
    z = work.space + (at(work, layer, A) + first * at(work, layer, STRIDE))
    bias = work.params + at(work, layer, B)
    u = room(z, GROUP)
    for row in range(first, last):
        for k in range(0, width, lanes(z)):
            store(z + k, load(bias + k))
        for j in range(at(work, layer, N_IN)):
            for k in range(0, width, panel):
                if k % GROUP == 0:
                    _draw(work, u, layer, j, k, sample_at(work, now.start + row), now.t)
                w, factors = _weights(work, layer, j, k), u + k % GROUP
                for i in range(0, min(panel, width - k), lanes(z)):
                    store(z + (k + i), fma(load(w + i) * load(factors + i), x[j], load(z + (k + i))))
        x = x + at(work, layer - 1, STRIDE)
        z = z + at(work, layer, STRIDE)


@extra(types.none)
def delta(work, layer, first, last, now):
    """What flows back through the layer, rows first to last, into the D of the layer below."""
    width, panel = at(work, layer, WIDTH), 2 * lanes(work.params)
    d = work.space + (at(work, layer, D) + first * at(work, layer, STRIDE))
    dx = work.space + (at(work, layer - 1, D) + first * at(work, layer - 1, STRIDE))
    u = room(d, GROUP)
    for row in range(first, last):
        for j in range(at(work, layer, N_IN)):
            total = fill(d, 0.0)
            for k in range(0, width, panel):
                if k % GROUP == 0:
                    _draw(work, u, layer, j, k, sample_at(work, now.start + row), now.t)
                w, factors = _weights(work, layer, j, k), u + k % GROUP
                for i in range(0, min(panel, width - k), lanes(d)):
                    total = fma(load(w + i) * load(factors + i), load(d + (k + i)), total)
            dx[j] = sum_lanes(total)
        for j in range(at(work, layer, N_IN), at(work, layer, DEPTH)):
            dx[j] = 0.0
        d = d + at(work, layer, STRIDE)
        dx = dx + at(work, layer - 1, STRIDE)


@extra(types.none)
def gradient(work, layer, k, rows, column, columns, d, d_stride, one, g):
    """dW rows k to k + rows of the panel at `column`, into g (rows, columns); d: the panel's deltas in one pass.

    one: the pass, see gradient.py.
    """
    x = work.space + (at(work, layer - 1, A) + k)
    u = room(g, GROUP)
    if one.is_first:
        for i in range(0, rows * columns, lanes(g)):
            store(g + i, fill(g, 0.0))
    for row in range(one.rows):
        sample = sample_at(work, one.upcoming - one.rows + row)
        for j in range(rows):
            _draw(work, u, layer, k + j, column, sample, one.t)
            factors, target = u + column % GROUP, g + j * columns
            for i in range(0, columns, lanes(g)):
                store(target + i, fma(load(factors + i) * load(d + i), x[j], load(target + i)))
        x = x + at(work, layer - 1, STRIDE)
        d = d + d_stride
