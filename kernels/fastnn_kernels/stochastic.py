"""Stochastic descent: one sample a step, plain SGD. What every step does from the first layer's activations on.

A product with one row reads a weight for every multiplication, so the large first layer is what costs. Two ways around
it, both exact: blocks.py for dense data, sparse.py for data with many zeros. The layers above are small and go row by
row, on one thread. They keep a second, transposed copy of their weights: transposing them for one row of deltas would
cost more than updating both.
"""

import numpy as np

from fastnn_kernels import activation, dense, output, rowwise
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import ACTIVATION, DEPTH, N_IN, N_OUT, STRIDE, WIDTH, A, B, D, T, W, Z
from fastnn_kernels.native import fill, first_lanes, fma, lanes, load, select, store
from fastnn_kernels.work import LAYERS, LOSSES, at


@kernel
def transpose_all(work):
    """Fill the transposed panels of every layer above the first from its weights."""
    panel = 2 * lanes(work.params)
    for layer in range(2, work.numbers[LAYERS] + 1):
        depth, width = at(work, layer, DEPTH), at(work, layer, WIDTH)
        for k in range(0, depth, panel):
            out = work.space + (at(work, layer, T) + k * width)
            dense.transpose_rows(work, layer, k, min(panel, depth - k), out)


@kernel
def _times_panel(x, n, w, columns, start, out):
    """out (columns,) = start + x (n,) @ w (n, columns) for one panel; four sums side by side hide the latency."""
    for j in range(0, columns, lanes(w)):
        p = w + j
        s0 = load(start + j)
        s1 = s2 = s3 = fill(w, 0.0)
        whole = n - n % 4
        for k in range(0, whole, 4):
            s0 = fma(load(p), x[k], s0)
            s1 = fma(load(p + columns), x[k + 1], s1)
            s2 = fma(load(p + 2 * columns), x[k + 2], s2)
            s3 = fma(load(p + 3 * columns), x[k + 3], s3)
            p = p + 4 * columns
        for k in range(whole, n):
            s0 = fma(load(p), x[k], s0)
            p = p + columns
        store(out + j, (s0 + s1) + (s2 + s3))


@kernel
def _add_outer(x, n, change, w, columns):
    """w (n, columns) += x.T change for one panel."""
    for j in range(0, columns, lanes(w)):
        row = load(change + j)
        p = w + j
        for k in range(n):
            store(p, fma(row, x[k], load(p)))
            p = p + columns


@kernel
def activate_row(work, layer, row):
    """The activation of a row, in place; its padding becomes 0, since it would reach that of the weights."""
    a = work.space + (at(work, layer, A) + row * at(work, layer, STRIDE))
    n_out, width, n = at(work, layer, N_OUT), at(work, layer, WIDTH), lanes(a)
    act = at(work, layer, ACTIVATION)
    if layer == work.numbers[LAYERS]:
        act = rowwise.before_output(act)
    rowwise.keep_z(work, layer, row, 1, 0, width)
    if act == activation.CUSTOM:
        rowwise.feed_custom(work, layer, row, row + 1)
    activation.feed(act, work.betas[layer], a, 0, 1, width)
    for j in range(n_out - n_out % n, width, n):
        store(a + j, select(first_lanes(a, n_out - j), load(a + j), 0.0))


@kernel
def _feed_row(work, layer, row):
    below = layer - 1
    x = work.space + (at(work, below, A) + row * at(work, below, STRIDE))
    z = work.space + (at(work, layer, A) + row * at(work, layer, STRIDE))
    n_in, depth, width = at(work, layer, N_IN), at(work, layer, DEPTH), at(work, layer, WIDTH)
    panel = 2 * lanes(z)
    for column in range(0, width, panel):
        columns = min(panel, width - column)
        bias = work.params + (at(work, layer, B) + column)
        _times_panel(x, n_in, work.params + (at(work, layer, W) + column * depth), columns, bias, z + column)
    activate_row(work, layer, row)


@kernel
def _delta_row(work, layer, row):
    above, stride = layer + 1, at(work, layer, STRIDE)
    d = work.space + (at(work, above, D) + row * at(work, above, STRIDE))
    dx = work.space + (at(work, layer, D) + row * stride)
    n_out, depth, width = at(work, above, N_OUT), at(work, above, WIDTH), at(work, layer, WIDTH)
    panel = 2 * lanes(dx)
    for j in range(0, width, lanes(dx)):
        store(dx + j, fill(dx, 0.0))
    for column in range(0, width, panel):
        columns = min(panel, width - column)
        transposed = work.space + (at(work, above, T) + column * depth)
        _times_panel(d, n_out, transposed, columns, dx + column, dx + column)
    a, act = work.space + (at(work, layer, Z) + row * stride), at(work, layer, ACTIVATION)
    activation.delta(act, work.betas[layer], dx, a, 0, 1, width)
    if act == activation.CUSTOM:
        rowwise.delta(work, layer, row, row + 1)


@kernel
def _changes(work, layer, row, lr):
    """D of the row becomes -lr D: what is added to the bias, and times the inputs to the weights."""
    d = work.space + (at(work, layer, D) + row * at(work, layer, STRIDE))
    for j in range(0, at(work, layer, WIDTH), lanes(d)):
        store(d + j, load(d + j) * -lr)


@kernel
def _update_row(work, layer, row):
    """Both copies of the weights of a layer above the first, the same bits in both, and its bias."""
    below = layer - 1
    a = work.space + (at(work, below, A) + row * at(work, below, STRIDE))
    change = work.space + (at(work, layer, D) + row * at(work, layer, STRIDE))
    depth, width, panel = at(work, layer, DEPTH), at(work, layer, WIDTH), 2 * lanes(a)
    for column in range(0, width, panel):
        columns = min(panel, width - column)
        weight = work.params + (at(work, layer, W) + column * depth)
        _add_outer(a, at(work, layer, N_IN), change + column, weight, columns)
    for k in range(0, depth, panel):
        rows = min(panel, depth - k)
        transposed = work.space + (at(work, layer, T) + k * width)
        _add_outer(change, at(work, layer, N_OUT), a + k, transposed, rows)
    update_bias(work, layer, change, 0, width)


@kernel
def update_bias(work, layer, change, first, last):
    """b += change, columns first to last."""
    bias = work.params + at(work, layer, B)
    for j in range(first, last, lanes(bias)):
        store(bias + j, load(bias + j) + load(change + j))


@kernel
def rest_of_step(work, row, position, lr):
    """From the first layer's activations through loss and deltas to the updates of all layers above the first.

    Leaves -lr D of the first layer's row in D.
    """
    layers = work.numbers[LAYERS]
    for layer in range(2, layers + 1):
        _feed_row(work, layer, row)
    hits, finite = output.losses(work, row, row + 1, position - row, 1)
    for layer in range(layers - 1, 0, -1):
        _delta_row(work, layer, row)
    for layer in range(1, layers + 1):
        _changes(work, layer, row, lr)
    for layer in range(2, layers + 1):
        _update_row(work, layer, row)
    return hits, finite, np.float64(work.space[work.numbers[LOSSES] + row])
