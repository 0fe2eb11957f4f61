"""Stochastic descent: one sample a step, plain SGD, on one thread.

A product with one row reads a weight for every multiplication, so the large first layer is what costs. Two ways
around it, both exact:

Blocks, for dense data. Let the weights before a block of samples be W, b. The sample t of the block sees
    z_t = x_t W + b - lr sum_{s < t} (x_s . x_t + 1) delta_s
so the block needs one product X W, one Gram matrix X X.T, and one update W -= lr X.T Delta at its end; only the
correction, a few rows of n_1 elements, goes sample by sample. The layers above are small and follow row by row.

Rows, for data with many zeros. Row k of W is read and written only where x_k is not 0. A sample's update and the next
one's product go together through the panels of W: many rows are of both, and still near.

The layers above the first keep a second, transposed copy of their weights: transposing them for one row of deltas would
cost more than updating both.
"""

from typing import NamedTuple

import numpy as np

from fastnn_kernels import activation, dense, output, rowwise
from fastnn_kernels.dense import FROM_TARGET, FROM_ZERO
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import ACTIVATION, DEPTH, N_IN, N_OUT, STRIDE, WIDTH, A, B, D, T, W, Z
from fastnn_kernels.native import (
    count_true,
    fill,
    first_lanes,
    fma,
    lanes,
    load,
    lowest_one,
    mask_word,
    select,
    store,
    transpose,
)
from fastnn_kernels.optimizer import learning_rate
from fastnn_kernels.passes import Now, gather
from fastnn_kernels.team import DIVERGED, FLAG, GOES_ON, PROGRESS, STOP, STOPPED
from fastnn_kernels.work import BLOCK, COLUMNS_IN, LAYERS, LOSSES, NORMALIZED, ROWS, ask_for, at, sample_at

PROBED = 64  # samples that tell how many inputs are 0
SPARSE = 0.4  # share of inputs that are not 0, below which skipping rows is faster than blocks


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
def _activate_row(work, layer, row):
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
    _activate_row(work, layer, row)


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
    _update_bias(work, layer, change)


@kernel
def _update_bias(work, layer, change):
    bias = work.params + at(work, layer, B)
    for j in range(0, at(work, layer, WIDTH), lanes(bias)):
        store(bias + j, load(bias + j) + load(change + j))


@kernel
def _rest_of_step(work, row, position, lr):
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


@kernel
def _gram(work, rows, inputs, gram):
    """gram (rows, size) = X X.T + 1 of the block's input rows; their transpose goes into inputs (n_in, size)."""
    x, stride = work.space + at(work, 0, A), at(work, 0, STRIDE)
    size, n = work.numbers[ROWS], lanes(work.space)
    for k in range(0, at(work, 0, WIDTH), n):
        for row in range(0, size, n):
            transpose(x + (row * stride + k), stride, inputs + (k * size + row), size)
    dense.product_rows(x, stride, 1, inputs, size, gram, size, at(work, 0, N_OUT), rows, size, FROM_ZERO, gram)
    for i in range(0, rows * size, n):
        store(gram + i, load(gram + i) + 1.0)


@kernel
def _correct(work, row, gram):
    """z of the block's row: what the updates of the rows before it, whose changes are in D, do to it."""
    stride, size = at(work, 1, STRIDE), work.numbers[ROWS]
    z, change = work.space + (at(work, 1, A) + row * stride), work.space + at(work, 1, D)
    g = gram + row * size
    for j in range(0, at(work, 1, WIDTH), lanes(z)):
        value, p = load(z + j), change + j
        for s in range(row):
            value = fma(load(p), g[s], value)
            p = p + stride
        store(z + j, value)


@kernel
def _update_block(work, rows):
    """The first layer's weights and bias, by the changes of all rows in D."""
    x, x_stride = work.space + at(work, 0, A), at(work, 0, STRIDE)
    change, stride = work.space + at(work, 1, D), at(work, 1, STRIDE)
    n_in, depth, width, panel = at(work, 1, N_IN), at(work, 1, DEPTH), at(work, 1, WIDTH), 2 * lanes(x)
    for row in range(rows):
        _update_bias(work, 1, change + row * stride)
    for column in range(0, width, panel):
        columns = min(panel, width - column)
        w = work.params + (at(work, 1, W) + column * depth)
        dense.product_rows(x, 1, x_stride, change + column, stride, w, columns, rows, n_in, columns, FROM_TARGET, w)


@kernel
def _block(work, start, rows, t):
    """The steps of `rows` samples from position `start` of the order, t steps before them; (loss, hits, finite)."""
    inputs = work.space + work.numbers[BLOCK]
    gram = inputs + at(work, 0, WIDTH) * work.numbers[ROWS]
    now = Now(t + 1, start, True, rows, 0, 1)
    gather(work, 0, rows, now)
    dense.feed(work, 1, 0, rows, activation.LINEAR, now)
    _gram(work, rows, inputs, gram)
    loss, hits = 0.0, 0
    for row in range(rows):
        _correct(work, row, gram)
        _activate_row(work, 1, row)
        found, finite, value = _rest_of_step(work, row, start + row, learning_rate(work.constants, t + row + 1))
        if not finite:
            return loss, hits, False
        loss += value
        hits += found
    _update_block(work, rows)
    return loss, hits, True


class _Inputs(NamedTuple):
    """The inputs of a sample that are not 0: x[k] for `total` numbers k."""

    x: object
    numbers: object
    total: int


@kernel
def _not_zero(x, n, numbers):
    """The numbers k of all x[k] that are not 0, and up to a vector of others behind them; returns how many they are.

    Half a vector of them is written whatever is not 0 there: a branch for each would be guessed wrong too often.
    """
    count, size = 0, lanes(x)
    half, whole = size // 2, n - n % size
    for j in range(0, whole, size):
        mask = load(x + j) != 0.0
        here, word = count_true(mask), mask_word(mask) | (np.int64(-1) << size)
        for i in range(half):
            numbers[count + i] = j + lowest_one(word)
            word &= word - 1
        if here > half:
            for i in range(half, size):
                numbers[count + i] = j + lowest_one(word)
                word &= word - 1
        count += here
    for k in range(whole, n):
        numbers[count] = k
        count += x[k] != 0
    return count


@kernel
def _inputs(work, position, numbers):
    """Those of the sample at a position of the order."""
    columns = work.numbers[COLUMNS_IN]
    x = work.X + sample_at(work, position) * columns
    return _Inputs(x, numbers, _not_zero(x, columns, numbers))


@kernel
def _sparse_panel(inputs, w, columns, start, out):
    """_times_panel over the inputs that are not 0, for both vectors of a panel, or twice for its only one."""
    x, numbers, second = inputs.x, inputs.numbers, columns - lanes(w)
    v = w + second
    s0, t0 = load(start), load(start + second)
    s1 = s2 = s3 = t1 = t2 = t3 = fill(w, 0.0)
    whole = inputs.total - inputs.total % 4
    for i in range(0, whole, 4):
        k0, k1, k2, k3 = numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]
        s0, t0 = fma(load(w + k0 * columns), x[k0], s0), fma(load(v + k0 * columns), x[k0], t0)
        s1, t1 = fma(load(w + k1 * columns), x[k1], s1), fma(load(v + k1 * columns), x[k1], t1)
        s2, t2 = fma(load(w + k2 * columns), x[k2], s2), fma(load(v + k2 * columns), x[k2], t2)
        s3, t3 = fma(load(w + k3 * columns), x[k3], s3), fma(load(v + k3 * columns), x[k3], t3)
    for i in range(whole, inputs.total):
        k = numbers[i]
        s0, t0 = fma(load(w + k * columns), x[k], s0), fma(load(v + k * columns), x[k], t0)
    store(out, (s0 + s1) + (s2 + s3))
    store(out + second, (t0 + t1) + (t2 + t3))


@kernel
def _sparse_outer(inputs, change, w, columns):
    """_add_outer over the inputs that are not 0; a panel's only vector is read twice, then written twice alike."""
    second = columns - lanes(w)
    first, other = load(change), load(change + second)
    for i in range(inputs.total):
        k = inputs.numbers[i]
        p = w + k * columns
        a, b = fma(first, inputs.x[k], load(p)), fma(other, inputs.x[k], load(p + second))
        store(p, a)
        store(p + second, b)


@kernel
def _sparse_layer(work, inputs, following):
    """The first layer's weights by `inputs`, then z of the `following` sample, which reads half of the same.

    Panel by panel: what has been updated is still near when it is read.
    """
    z, change = work.space + at(work, 1, A), work.space + at(work, 1, D)
    depth, width, panel = at(work, 1, DEPTH), at(work, 1, WIDTH), 2 * lanes(z)
    weight, bias = work.params + at(work, 1, W), work.params + at(work, 1, B)
    for column in range(0, width, panel):
        columns, w = min(panel, width - column), weight + column * depth
        _sparse_outer(inputs, change + column, w, columns)
        _sparse_panel(following, w, columns, bias + column, z + column)


@kernel
def _sparse_step(work, position, inputs, following, lr):
    """The step of the sample at a position of the order, whose z is in A; leaves that of the `following` one there.

    Returns (loss, hits, finite).
    """
    _activate_row(work, 1, 0)
    hits, finite, loss = _rest_of_step(work, 0, position, lr)
    _update_bias(work, 1, work.space + at(work, 1, D))
    _sparse_layer(work, inputs, following)
    return loss, hits, finite


@kernel
def is_sparse(work, samples):
    """Whether few enough inputs of the first samples are not 0 (normalized ones never are)."""
    if work.numbers[NORMALIZED]:
        return False
    columns, probed, found = work.numbers[COLUMNS_IN], min(samples, PROBED), 0
    for i in range(probed):
        x = work.X + np.int64(work.samples[i]) * columns
        for k in range(columns):
            found += x[k] != 0
    return found < SPARSE * probed * columns


@kernel
def _following(work, position, count, numbers):
    """The inputs of the sample behind a position of the order; the last one's again at the end."""
    if position + 2 < count:
        ask_for(work, position + 2)
    return _inputs(work, min(position + 1, count - 1), numbers)


@kernel
def epoch(work, count, t, sparse):
    """One epoch of stochastic steps; returns (state of the run, step reached, sum of losses, hits)."""
    size = 1 if sparse else work.numbers[ROWS]
    loss, hits, numbers = 0.0, 0, work.indices
    others, none = numbers + (work.numbers[COLUMNS_IN] + lanes(work.X)), _Inputs(work.X, numbers, 0)
    following = none
    if sparse:
        following = _inputs(work, 0, numbers)
        _sparse_layer(work, none, following)
    for start in range(0, count, size):
        if work.words[STOP]:
            return STOPPED, t, loss, hits
        rows = min(size, count - start)
        if sparse:
            inputs, numbers, others = following, others, numbers
            following = _following(work, start, count, numbers)
            lr = learning_rate(work.constants, t + 1)
            value, found, finite = _sparse_step(work, start, inputs, following, lr)
        else:
            value, found, finite = _block(work, start, rows, t)
        if not finite or work.words[FLAG]:
            return DIVERGED, t, loss, hits
        loss += value
        hits += found
        t += rows
        work.words[PROGRESS] += rows
    return GOES_ON, t, loss, hits
