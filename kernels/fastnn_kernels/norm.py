"""Batch and layer normalization of z (rows, n_out), before the activation, and the deltas that flow back through it.

feed    xhat = (z - mu) / sqrt(v + eps);  y = gamma xhat + beta
delta   dz = gamma / sqrt(v + eps) (d - mean d - xhat mean(d xhat)) for batch, with d = dy;
        dz = 1 / sqrt(v + eps) (d - mean d - xhat mean(d xhat)) for layer normalization, with d = gamma dy
        dbeta = sum dy;  dgamma = sum dy xhat, both over the rows

mu and v, mean and biased variance, are those of a unit over the rows of the batch, or of a row over its units; the
means in delta likewise. Sources: Ioffe and Szegedy 2015; Ba, Kiros and Hinton 2016.

Batch: all workers meet, each takes some columns through all rows, all meet again: sums have one order on any number of
threads. Layer: a row is its own. xhat stays in the workspace from feed to delta. Padding of gamma and beta is 0, which
keeps that of y and dz at 0.
"""

import numpy as np
from numba import types

from fastnn_kernels import layout
from fastnn_kernels.jit import extra, kernel
from fastnn_kernels.layout import BATCH_NORM, BETA, GAMMA, N_OUT, NORM, RUNNING, STATS, STRIDE, WIDTH, XHAT, A, D
from fastnn_kernels.machine import UNIT
from fastnn_kernels.native import fill, first_lanes, fma, lanes, load, select, sqrt, store, sum_lanes
from fastnn_kernels.team import meet
from fastnn_kernels.work import ROWS, RUNNING_SIZE, at, share

EPS, MOMENTUM = 0, 1  # constants of a layer
CONSTANTS = 2

MEAN, VARIANCE, INVERSE, SUM_D, SUM_DX = range(layout.BATCH_STATS)  # vectors in STATS
OF_BETA, OF_GAMMA = 0, 1  # which deltas

BLOCK = 64  # rows that are summed before their sum joins the others': what rounding adds up stays small


@kernel
def _rows(work, layer, column, row):
    """A buffer of the layer, A, D or XHAT, from a row on."""
    return work.space + (at(work, layer, column) + row * at(work, layer, STRIDE))


@kernel
def _sums(a, b, stride, rows, shift):
    """Sums of x = a - shift and of x (b - shift) over the rows, for one vector of columns; shift is 0 unless b is a."""
    total = products = fill(a, 0.0)
    for start in range(0, rows, BLOCK):
        s0 = s1 = p0 = p1 = fill(a, 0.0)
        here = min(BLOCK, rows - start)
        for _ in range(0, here - 1, 2):
            x0, x1 = load(a) - shift, load(a + stride) - shift
            s0, s1 = s0 + x0, s1 + x1
            p0, p1 = fma(x0, load(b) - shift, p0), fma(x1, load(b + stride) - shift, p1)
            a, b = a + 2 * stride, b + 2 * stride
        if here % 2:
            x0 = load(a) - shift
            s0, p0 = s0 + x0, fma(x0, load(b) - shift, p0)
            a, b = a + stride, b + stride
        total, products = total + (s0 + s1), products + (p0 + p1)
    return total, products


@kernel
def _statistics(work, layer, now):
    """Means, variances and inverse deviations of this worker's share of the columns.

    The mean first, from the distances to the first row; then squares of distances to the mean, corrected by what their
    sum says of its rounding (Chan, Golub and LeVeque 1983).
    """
    width, stride = at(work, layer, WIDTH), at(work, layer, STRIDE)
    z, stats = _rows(work, layer, A, 0), work.space + at(work, layer, STATS)
    n, per_row = lanes(z), 1.0 / now.rows
    eps = work.norms[layer * CONSTANTS + EPS]
    first, last = share(width // n, now.rank, now.size)
    for j in range(first * n, last * n, n):
        origin = load(z + j)
        total, _ = _sums(z + j, z + j, stride, now.rows, origin)
        mean = fma(total, per_row, origin)
        rest, squares = _sums(z + j, z + j, stride, now.rows, mean)
        correction = rest * per_row
        variance = fma(-rest, correction, squares) * per_row
        variance = select(variance < 0.0, 0.0, variance)
        store(stats + (MEAN * width + j), mean + correction)
        store(stats + (VARIANCE * width + j), variance)
        store(stats + (INVERSE * width + j), 1.0 / sqrt(variance + eps))


@kernel
def _feed_batch(work, layer, first, last, now):
    if not meet(work.words, now.size):
        return False
    _statistics(work, layer, now)
    if not meet(work.words, now.size):
        return False
    width, stride = at(work, layer, WIDTH), at(work, layer, STRIDE)
    z, xhat = _rows(work, layer, A, first), _rows(work, layer, XHAT, first)
    gamma, beta = work.params + at(work, layer, GAMMA), work.params + at(work, layer, BETA)
    mean, inverse = work.space + at(work, layer, STATS), work.space + (at(work, layer, STATS) + INVERSE * width)
    for _ in range(first, last):
        for j in range(0, width, lanes(z)):
            x = (load(z + j) - load(mean + j)) * load(inverse + j)
            store(xhat + j, x)
            store(z + j, fma(x, load(gamma + j), load(beta + j)))
        z, xhat = z + stride, xhat + stride
    return True


@kernel
def _delta_batch(work, layer, first, last, now):
    if not meet(work.words, now.size):
        return False
    width, stride = at(work, layer, WIDTH), at(work, layer, STRIDE)
    d, xhat, stats = _rows(work, layer, D, 0), _rows(work, layer, XHAT, 0), work.space + at(work, layer, STATS)
    n, per_row = lanes(d), 1.0 / now.rows
    first_vector, last_vector = share(width // n, now.rank, now.size)
    for j in range(first_vector * n, last_vector * n, n):
        total, products = _sums(d + j, xhat + j, stride, now.rows, fill(d, 0.0))
        store(stats + (SUM_D * width + j), total)
        store(stats + (SUM_DX * width + j), products)
    if not meet(work.words, now.size):
        return False
    gamma = work.params + at(work, layer, GAMMA)
    d, xhat = d + first * stride, xhat + first * stride
    for _ in range(first, last):
        for j in range(0, width, n):
            mean_d = load(stats + (SUM_D * width + j)) * per_row
            mean_dx = load(stats + (SUM_DX * width + j)) * per_row
            slope = load(gamma + j) * load(stats + (INVERSE * width + j))
            store(d + j, slope * fma(-load(xhat + j), mean_dx, load(d + j) - mean_d))
        d, xhat = d + stride, xhat + stride
    return True


@kernel
def _mean(z, n):
    """The mean of n elements; those behind them are 0."""
    total = fill(z, 0.0)
    for j in range(0, n, lanes(z)):
        total = total + load(z + j)
    return sum_lanes(total) / n


@kernel
def _variance(z, n, mean):
    squares = fill(z, 0.0)
    for j in range(0, n, lanes(z)):
        x = select(first_lanes(z, n - j), load(z + j) - mean, 0.0)
        squares = fma(x, x, squares)
    return sum_lanes(squares) / n


@kernel
def _feed_layer(work, layer, first, last):
    n, width, stride = at(work, layer, N_OUT), at(work, layer, WIDTH), at(work, layer, STRIDE)
    z, xhat = _rows(work, layer, A, first), _rows(work, layer, XHAT, first)
    gamma, beta = work.params + at(work, layer, GAMMA), work.params + at(work, layer, BETA)
    inverses = work.space + at(work, layer, STATS)
    for row in range(first, last):
        mean = _mean(z, n)
        inverse = 1.0 / np.sqrt(_variance(z, n, mean) + work.norms[layer * CONSTANTS + EPS])
        inverses[row] = inverse
        for j in range(0, width, lanes(z)):
            x = (load(z + j) - mean) * inverse
            store(xhat + j, x)
            store(z + j, fma(x, load(gamma + j), load(beta + j)))
        z, xhat = z + stride, xhat + stride


@kernel
def _row_means(d, gamma, xhat, n):
    """The means of gamma d and of gamma d xhat over n elements; d and gamma are 0 behind them."""
    total = products = fill(d, 0.0)
    for j in range(0, n, lanes(d)):
        g = load(d + j) * load(gamma + j)
        total, products = total + g, fma(g, load(xhat + j), products)
    return sum_lanes(total) / n, sum_lanes(products) / n


@kernel
def _delta_layer(work, layer, first, last):
    """Once the rows of a group of UNIT have their dz, their sums of d and of d xhat replace its first two rows of xhat.

    Groups are the same for any division of the rows among workers.
    """
    n, stride = at(work, layer, N_OUT), at(work, layer, STRIDE)
    gamma, stats = work.params + at(work, layer, GAMMA), work.space + at(work, layer, STATS)
    rows = work.numbers[ROWS]
    for group in range(first, last, UNIT):
        end = min(group + UNIT, last)
        d, xhat = _rows(work, layer, D, group), _rows(work, layer, XHAT, group)
        for row in range(group, end):
            at_row = (row - group) * stride
            mean_g, mean_gx = _row_means(d + at_row, gamma, xhat + at_row, n)
            stats[rows + row], stats[2 * rows + row] = mean_g, mean_gx
        for j in range(0, n, lanes(d)):
            inside, total, products = first_lanes(d, n - j), fill(d, 0.0), fill(d, 0.0)
            for row in range(group, end):
                at_row = (row - group) * stride + j
                dy, x = load(d + at_row), load(xhat + at_row)
                total, products = total + dy, fma(dy, x, products)
                dz = fma(dy, load(gamma + j), -(x * stats[2 * rows + row] + stats[rows + row])) * stats[row]
                store(d + at_row, select(inside, dz, 0.0))
            store(xhat + j, total)
            store(xhat + (stride + j), products)


@extra(types.boolean)
def feed(work, layer, first, last, now):
    """Normalize the rows first to last of A, in place. False where the team is told to leave."""
    if at(work, layer, NORM) == BATCH_NORM:
        return _feed_batch(work, layer, first, last, now)
    _feed_layer(work, layer, first, last)
    return True


@extra(types.boolean)
def delta(work, layer, first, last, now):
    """Lead the rows first to last of D back through the normalization, in place. False as in feed."""
    if at(work, layer, NORM) == BATCH_NORM:
        return _delta_batch(work, layer, first, last, now)
    _delta_layer(work, layer, first, last)
    return True


@kernel
def deltas(work, layer, which, rows):
    """The rows whose sum is the gradient of beta or gamma, after `delta`: (first row, stride, how many)."""
    stride = at(work, layer, STRIDE)
    if at(work, layer, NORM) == BATCH_NORM:
        return work.space + (at(work, layer, STATS) + (SUM_D + which) * at(work, layer, WIDTH)), stride, 1
    return _rows(work, layer, XHAT, which), UNIT * stride, (rows + UNIT - 1) // UNIT


@kernel
def average(work, layer, column, columns, rows):
    """r += momentum (s - r): running means and unbiased variances of one panel, from those of the step."""
    momentum, width = work.norms[layer * CONSTANTS + MOMENTUM], at(work, layer, WIDTH)
    mean, stats = work.running + at(work, layer, RUNNING), work.space + at(work, layer, STATS)
    unbiased = rows / (rows - 1.0)
    for j in range(column, column + columns, lanes(mean)):
        running_mean, running_variance = load(mean + j), load(mean + (width + j))
        variance = load(stats + (VARIANCE * width + j)) * unbiased
        store(mean + j, fma(load(stats + (MEAN * width + j)) - running_mean, momentum, running_mean))
        store(mean + (width + j), fma(variance - running_variance, momentum, running_variance))


@kernel
def is_finite(work):
    """Whether all running averages are finite."""
    check = fill(work.running, 0.0)
    for i in range(0, work.numbers[RUNNING_SIZE], lanes(work.running)):
        check = check + load(work.running + i) * 0.0
    return sum_lanes(check) == 0.0


@kernel
def keep(work, half):
    """Copy the running averages to a half of where they are kept."""
    size = work.numbers[RUNNING_SIZE]
    for i in range(0, size, lanes(work.running)):
        store(work.kept_running + (half * size + i), load(work.running + i))
