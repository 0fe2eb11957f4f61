"""Stochastic descent: one sample a step, plain SGD. What every step does from the first layer's activations on.

A product with one row reads a weight for every multiplication, so the large first layer is what costs. Blocks of
samples share it, as exact as one after the other: see blocks.py. The layers above are small and go row by row, on one
thread. They keep a second, transposed copy of their weights: transposing them for one row of deltas would cost more
than updating both.
"""

import numpy as np

from fastnn_kernels import activation, dense, output, rowwise
from fastnn_kernels.jit import inline, kernel
from fastnn_kernels.layout import ACTIVATION, DEPTH, N_IN, N_OUT, STRIDE, WIDTH, A, B, D, T, W, Z
from fastnn_kernels.native import fill, first_lanes, fma, lanes, load, maximum, select, store
from fastnn_kernels.work import LAYERS, at, share


@kernel
def row_of(work, layer, column, row):
    """A row of the layer's A, D or Z."""
    return work.space + (at(work, layer, column) + row * at(work, layer, STRIDE))


@kernel
def columns_of_first_layer(work, rank, size):
    """Those, first to last, that are a worker's: whole panels."""
    width, panel = at(work, 1, WIDTH), 2 * lanes(work.space)
    first, last = share((width + panel - 1) // panel, rank, size)
    return first * panel, min(last * panel, width)


@kernel
def transpose_all(work):
    """Fill the transposed panels of every layer above the first from its weights."""
    panel = 2 * lanes(work.params)
    for layer in range(2, work.numbers[LAYERS] + 1):
        depth, width = at(work, layer, DEPTH), at(work, layer, WIDTH)
        for k in range(0, depth, panel):
            out = work.space + (at(work, layer, T) + k * width)
            dense.transpose_rows(work, layer, k, min(panel, depth - k), out)


def _panel(multiplies):
    @inline
    def single(w, factors, x, k, change, s):
        """Row k of a panel of one vector: w += factor change; returns s + x w."""
        v = fma(change, factors[k], load(w))
        store(w, v)
        return fma(v, x[k], s) if multiplies else s

    @inline
    def pair(w, factors, x, k, c, d, s, t):
        """The same for a row of two vectors; each factor is read once."""
        v, u = fma(c, factors[k], load(w)), fma(d, factors[k], load(w + lanes(w)))
        store(w, v)
        store(w + lanes(w), u)
        if multiplies:
            s, t = fma(v, x[k], s), fma(u, x[k], t)
        return s, t

    @kernel
    def narrow(factors, changes, x, n, w, s0):
        """`panel` for one of one vector."""
        c, columns, whole = load(changes), lanes(w), n - n % 4
        s1 = s2 = s3 = fill(w, 0.0)
        for k in range(0, whole, 4):
            s0 = single(w, factors, x, k, c, s0)
            s1 = single(w + columns, factors, x, k + 1, c, s1)
            s2 = single(w + 2 * columns, factors, x, k + 2, c, s2)
            s3 = single(w + 3 * columns, factors, x, k + 3, c, s3)
            w = w + 4 * columns
        for k in range(whole, n):
            s0 = single(w, factors, x, k, c, s0)
            w = w + columns
        return (s0 + s1) + (s2 + s3)

    @kernel
    def panel(factors, changes, x, n, w, columns, s0, t0):
        """w (n, columns) += factors (n,).T changes (columns,), then s0, t0 plus the columns of x (n,) @ w, in one pass.

        For both vectors of a panel, or s0 twice for its only one; four sums side by side hide the latency.
        """
        if columns == lanes(w):
            s0 = narrow(factors, changes, x, n, w, s0)
            return s0, s0
        c, d = load(changes), load(changes + lanes(w))
        s1 = s2 = s3 = t1 = t2 = t3 = fill(w, 0.0)
        whole = n - n % 4
        for k in range(0, whole, 4):
            s0, t0 = pair(w, factors, x, k, c, d, s0, t0)
            s1, t1 = pair(w + columns, factors, x, k + 1, c, d, s1, t1)
            s2, t2 = pair(w + 2 * columns, factors, x, k + 2, c, d, s2, t2)
            s3, t3 = pair(w + 3 * columns, factors, x, k + 3, c, d, s3, t3)
            w = w + 4 * columns
        for k in range(whole, n):
            s0, t0 = pair(w, factors, x, k, c, d, s0, t0)
            w = w + columns
        return (s0 + s1) + (s2 + s3), (t0 + t1) + (t2 + t3)

    return panel


_update, _update_and_multiply = _panel(False), _panel(True)


@kernel
def _activation(work, layer):
    """What the feed applies."""
    act = at(work, layer, ACTIVATION)
    return rowwise.before_output(act) if layer == work.numbers[LAYERS] else act


@kernel
def floor_of(work, layer):
    """What pre-activations are raised to where they are written, which is all of ReLU."""
    return 0.0 if _activation(work, layer) == activation.RELU else -np.inf


@inline
def activate_row(work, layer, row):
    """The activation of a row that has been raised to `floor_of`, in place; the output's own waits for the loss."""
    act = _activation(work, layer)
    rowwise.keep_z(work, layer, row, 1, 0, at(work, layer, WIDTH))
    if act != activation.RELU and act != activation.LINEAR:
        _activate_row(work, layer, row, act)


@kernel
def _activate_row(work, layer, row, act):
    """Its padding becomes 0, since it would reach that of the weights."""
    a = row_of(work, layer, A, row)
    n_out, width, n = at(work, layer, N_OUT), at(work, layer, WIDTH), lanes(a)
    if act == activation.CUSTOM:
        rowwise.feed_custom(work, layer, row, row + 1)
    activation.feed(act, work.betas[layer], a, 0, 1, width)
    for j in range(n_out - n_out % n, width, n):
        store(a + j, select(first_lanes(a, n_out - j), load(a + j), 0.0))


@inline
def _feed_row(work, layer, row, before):
    x, z, n_in = row_of(work, layer - 1, A, row), row_of(work, layer, A, row), at(work, layer, N_IN)
    a, change = row_of(work, layer - 1, A, before), row_of(work, layer, D, before)
    depth, width, panel = at(work, layer, DEPTH), at(work, layer, WIDTH), 2 * lanes(z)
    weight, bias, floor = work.params + at(work, layer, W), work.params + at(work, layer, B), floor_of(work, layer)
    for j in range(0, width, panel):
        w, columns = weight + j * depth, min(panel, width - j)
        second = j + columns - lanes(z)
        s, t = load(bias + j) + load(change + j), load(bias + second) + load(change + second)
        store(bias + j, s)
        store(bias + second, t)
        s, t = _update_and_multiply(a, change + j, x, n_in, w, columns, s, t)
        store(z + j, maximum(fill(z, floor), s))
        store(z + second, maximum(fill(z, floor), t))
    activate_row(work, layer, row)


@inline
def _delta_row(work, layer, row, before):
    above, act = layer + 1, at(work, layer, ACTIVATION)
    d, dx, n_out = row_of(work, above, D, row), row_of(work, layer, D, row), at(work, above, N_OUT)
    change, a = row_of(work, above, D, before), row_of(work, layer, A, before)
    depth, width, panel = at(work, above, WIDTH), at(work, layer, WIDTH), 2 * lanes(dx)
    transposed, zero, z = work.space + at(work, above, T), fill(dx, 0.0), row_of(work, layer, Z, row)
    floor = floor_of(work, layer)
    for k in range(0, width, panel):
        w, columns = transposed + k * depth, min(panel, width - k)
        s, t = _update_and_multiply(change, a + k, d, n_out, w, columns, zero, zero)
        second = k + columns - lanes(dx)
        store(dx + k, select(load(z + k) > floor, s, 0.0))
        store(dx + second, select(load(z + second) > floor, t, 0.0))
    if act != activation.RELU and act != activation.LINEAR:
        activation.delta(act, work.betas[layer], dx, z, 0, 1, width)
        if act == activation.CUSTOM:
            rowwise.delta(work, layer, row, row + 1)


@kernel
def _update_bias(work, layer, change):
    """b += change."""
    bias = work.params + at(work, layer, B)
    for j in range(0, at(work, layer, WIDTH), lanes(bias)):
        store(bias + j, load(bias + j) + load(change + j))


@kernel
def rest_of_step(work, row, before, position, lr):
    """From the first layer's activations through loss and deltas to the updates of all layers above the first.

    Their parameters change when the next row comes through, which reads them anyway, or in `finish`: before is the row
    whose changes they still lack, or one that was forgotten. Deltas are -lr times theirs from the loss on: what is
    added to a bias, and times the inputs to weights. Leaves them in every layer's D, and the loss to output.complete.
    """
    layers = work.numbers[LAYERS]
    for layer in range(2, layers + 1):
        _feed_row(work, layer, row, before)
    hits, finite = output.losses_of_row(work, row, position, -lr)
    for layer in range(layers - 1, 0, -1):
        _delta_row(work, layer, row, before)
    return hits, finite


@kernel
def keep(work, row, place):
    """Copy to a row `place` what the layers above the first are to change by, where other samples come to `row`."""
    for layer in range(2, work.numbers[LAYERS] + 1):
        a, change = row_of(work, layer - 1, A, row), row_of(work, layer, D, row)
        dense.pack(a, 0, at(work, layer, DEPTH), 1, row_of(work, layer - 1, A, place))
        dense.pack(change, 0, at(work, layer, WIDTH), 1, row_of(work, layer, D, place))


@kernel
def forget(work, row):
    """Make a row one without changes, as comes before the first."""
    for layer in range(2, work.numbers[LAYERS] + 1):
        a, change = row_of(work, layer - 1, A, row), row_of(work, layer, D, row)
        for j in range(0, at(work, layer, DEPTH), lanes(a)):
            store(a + j, fill(a, 0.0))
        for j in range(0, at(work, layer, WIDTH), lanes(a)):
            store(change + j, fill(a, 0.0))


@kernel
def finish(work, row):
    """Biases and weights of the layers above the first by the changes of a row, the same bits in both copies."""
    for layer in range(2, work.numbers[LAYERS] + 1):
        a, change = row_of(work, layer - 1, A, row), row_of(work, layer, D, row)
        depth, width, panel = at(work, layer, DEPTH), at(work, layer, WIDTH), 2 * lanes(a)
        weight, transposed, zero = work.params + at(work, layer, W), work.space + at(work, layer, T), fill(a, 0.0)
        _update_bias(work, layer, change)
        for j in range(0, width, panel):
            columns = min(panel, width - j)
            _update(a, change + j, None, at(work, layer, N_IN), weight + j * depth, columns, zero, zero)
        for k in range(0, depth, panel):
            columns = min(panel, depth - k)
            _update(change, a + k, None, at(work, layer, N_OUT), transposed + k * width, columns, zero, zero)
