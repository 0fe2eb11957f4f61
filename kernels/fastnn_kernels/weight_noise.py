"""Noise on weights, drawn once a step: the whole batch sees the same disturbed weights.

At the start of a step the team writes w~ and what the gradient will need; feed and delta read
w~, the update changes w. s = sgn(w), u uniform in [0, 1), e normal, all by counters: row = input j, element = unit k;
Shakeout's: row 0, element = input j.

DropConnect            w~ = w m / (1 - p), m = 0 with probability p, else 1        dL/dw = m / (1 - p) dL/dw~
Shakeout               w~ = -c s with probability tau for all weights of an input,
                       else (w + c tau s) / (1 - tau)                              dL/dw = (0 or 1 / (1 - tau)) dL/dw~
Whiteout, multiplied   w~ = w (1 + e), var e = sigma^2 abs(w)^-gamma + lambda      dL/dw = (1 + e) dL/dw~
Whiteout, added        x_j + e_jk for x_j, so b~_k = b_k + sum_j w_jk e_jk         dL/dw += e dL/db_k

Sources: Wan, Zeiler, Zhang, LeCun and Fergus 2013; Kang, Li and Tao 2016; Li and Liu 2016.
"""

from numba import types

from fastnn_kernels import dense, rng
from fastnn_kernels.elementary import exp, log
from fastnn_kernels.jit import extra, kernel
from fastnn_kernels.layout import DEPTH, FACTORS, N_IN, NOISE, NOISY, WIDTH, B, W
from fastnn_kernels.machine import MOST_COLUMNS
from fastnn_kernels.native import absolute, fill, fma, lanes, load, maximum, room, select, sqrt, store
from fastnn_kernels.noise import (
    BORDER,
    CONSTANTS,
    DROPCONNECT,
    GAMMA,
    LAMBDA,
    SAMPLE_CONNECT,
    SCALE,
    SHAKEOUT,
    SIGMA,
    SMALLEST,
    TAU,
    WHITEOUT_ADDED,
    WHITEOUT_MULTIPLIED,
    C,
)
from fastnn_kernels.rng import GROUP
from fastnn_kernels.work import LAYERS, SEED, at, share


@kernel
def is_any(work):
    """Whether a layer has noise on its weights."""
    found = False
    for layer in range(1, work.numbers[LAYERS] + 1):
        found = found or at(work, layer, NOISE) > SAMPLE_CONNECT
    return found


@kernel
def _groups(work, layer):
    """Units of work in a layer: its columns in groups that one run of draws fills; 0 where weights have no noise."""
    return (at(work, layer, WIDTH) + GROUP - 1) // GROUP if at(work, layer, NOISE) > SAMPLE_CONNECT else 0


@kernel
def _whiteout_factor(e, w, constants):
    """The noise of weights w from normal numbers e."""
    size = maximum(absolute(w), fill(w, SMALLEST))
    variance = fma(exp(log(size) * -constants[GAMMA]), constants[SIGMA] * constants[SIGMA], constants[LAMBDA])
    return e * sqrt(variance)


@kernel
def _drop_connect(w, u, noisy, factors, offset, count, constants):
    for i in range(0, count, lanes(w)):
        factor = select(load(u + i) >= constants[BORDER], fill(w, constants[SCALE]), 0.0)
        store(factors + i, factor)
        store(noisy + i, load(w + i) * factor)


@kernel
def _shakeout(w, u, noisy, factors, offset, count, constants):
    is_on = u[0] >= constants[BORDER]
    factor = constants[SCALE] if is_on else 0.0
    pull = constants[C] * (constants[TAU] * constants[SCALE] if is_on else -1.0)
    for i in range(0, count, lanes(w)):
        weight = load(w + i)
        signed = select(weight > 0.0, fill(w, pull), select(weight < 0.0, fill(w, -pull), 0.0))
        store(factors + i, fill(w, factor))
        store(noisy + i, fma(weight, factor, signed))


@kernel
def _whiteout_multiplied(w, u, noisy, factors, offset, count, constants):
    for i in range(0, count, lanes(w)):
        weight = load(w + i)
        factor = _whiteout_factor(load(u + i), weight, constants) + 1.0
        store(factors + i, factor)
        store(noisy + i, weight * factor)


@kernel
def _whiteout_added(w, u, noisy, factors, offset, count, constants):
    for i in range(0, count, lanes(w)):
        weight = load(w + i)
        factor = _whiteout_factor(load(u + i), weight, constants)
        store(factors + i, factor)
        store(noisy + i, weight)
        store(offset + i, fma(weight, factor, load(offset + i)))


@kernel
def _draw(code, u, k, column, layer, t, seed):
    """The random numbers of input k for a group of columns, into u; Shakeout's, one an input, for a group of inputs."""
    if code == DROPCONNECT:
        rng.group(u, column, rng.DROPCONNECT + layer, k, t, seed)
    elif code == SHAKEOUT:
        if k % GROUP == 0:
            rng.group(u, k, rng.SHAKEOUT + layer, 0, t, seed)
    else:
        rng.normal_group(u, column, rng.WHITEOUT + layer, k, t, seed)


@kernel
def _disturb_columns(work, layer, column, t):
    """Disturbed weights and bias of a group of columns, and the weights' factors."""
    code, panel = at(work, layer, NOISE), 2 * lanes(work.params)
    depth, width = at(work, layer, DEPTH), at(work, layer, WIDTH)
    constants = work.noise + layer * CONSTANTS
    last = min(column + GROUP, width)
    bias = work.params + at(work, layer, B)
    offset = work.space + (at(work, layer, NOISY) + depth * width)
    for j in range(column, last, lanes(bias)):
        store(offset + j, load(bias + j))
    u = room(bias, GROUP)
    for k in range(at(work, layer, N_IN)):
        _draw(code, u, k, column, layer, t, work.numbers[SEED])
        for j in range(column, last, panel):
            columns = min(panel, last - j)
            place = j * depth + k * columns
            w, noisy = work.params + (at(work, layer, W) + place), work.space + (at(work, layer, NOISY) + place)
            factors, numbers = work.space + (at(work, layer, FACTORS) + place), u + (j - column)
            if code == DROPCONNECT:
                _drop_connect(w, numbers, noisy, factors, offset + j, columns, constants)
            elif code == SHAKEOUT:
                _shakeout(w, u + k % GROUP, noisy, factors, offset + j, columns, constants)
            elif code == WHITEOUT_MULTIPLIED:
                _whiteout_multiplied(w, numbers, noisy, factors, offset + j, columns, constants)
            else:
                _whiteout_added(w, numbers, noisy, factors, offset + j, columns, constants)


@extra(types.none)
def disturb(work, rank, size, t):
    """This worker's share of all disturbed weights, for step t."""
    total = 0
    for layer in range(1, work.numbers[LAYERS] + 1):
        total += _groups(work, layer)
    begin, end = share(total, rank, size)
    for layer in range(1, work.numbers[LAYERS] + 1):
        groups = _groups(work, layer)
        for group in range(max(begin, 0), min(end, groups)):
            _disturb_columns(work, layer, group * GROUP, t)
        begin -= groups
        end -= groups


@extra(types.none)
def gradient(work, layer, place, rows, columns, d, d_stride, count, g, is_last):
    """From the gradient g (rows, columns) by the disturbed weights to that by the weights, in place.

    place: where g lies in the panels of the layer; d (count, columns): the deltas that were added to g in this pass;
    is_last: whether they were the last.
    """
    factors = work.space + (at(work, layer, FACTORS) + place)
    if at(work, layer, NOISE) == WHITEOUT_ADDED:
        sums = room(g, MOST_COLUMNS)
        dense.bias_gradient(d, d_stride, columns, count, sums, False)
        for i in range(0, rows * columns, columns):
            for j in range(i, i + columns, lanes(g)):
                store(g + j, fma(load(factors + j), load(sums + (j - i)), load(g + j)))
    elif is_last:
        for i in range(0, rows * columns, lanes(g)):
            store(g + i, load(g + i) * load(factors + i))
