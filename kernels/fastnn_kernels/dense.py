"""The three products of a dense layer, in register tiles.

feed      Z (rows, n_out) = X (rows, n_in) W + b, then the activation
delta     dX (rows, n_in) = dZ (rows, n_out) W.T, times the derivative of the activation below
gradient  dW (n_in, n_out) = X.T dZ;  db = sum of dZ over the rows

All three are one loop over tiles of 3, 2 or 1 times UNIT rows and two vectors of columns, or one where a panel is
narrow. The inner sum runs over its whole length in one order, so that results do not depend on tile or thread. Rows
are rounded up to UNIT: A, D and scratch have room for that.
"""

from fastnn_kernels import activation, noise, norm, rowwise, sample_connect
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import (
    ACTIVATION,
    DEPTH,
    N_IN,
    N_OUT,
    NO_NORM,
    NOISE,
    NOISY,
    NORM,
    STRIDE,
    WIDTH,
    A,
    D,
    W,
    Z,
)
from fastnn_kernels.machine import UNIT
from fastnn_kernels.native import (
    fill,
    lanes,
    load,
    store,
    tile_load,
    tile_rank1,
    tile_rows,
    tile_store,
    tile_zero,
    transpose,
)
from fastnn_kernels.work import at

FROM_ZERO, FROM_ROW, FROM_TARGET = 0, 1, 2


def _product(rows, vectors):
    @kernel
    def product(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, start, first):
        """c (rows, vectors) = start + a (rows, depth) @ b (depth, vectors)"""
        if start == FROM_ROW:
            tile = tile_rows(first, rows, vectors)
        elif start == FROM_TARGET:
            tile = tile_load(c, c_stride, rows, vectors)
        else:
            tile = tile_zero(c, rows, vectors)
        for _ in range(depth):
            tile = tile_rank1(tile, a, row_stride, b, vectors)
            a = a + k_stride
            b = b + b_stride
        tile_store(tile, c, c_stride, vectors)

    return product


_tall, _middle, _short = (_product(n * UNIT, 2) for n in (3, 2, 1))
_tall_narrow, _middle_narrow, _short_narrow = (_product(n * UNIT, 1) for n in (3, 2, 1))


@kernel
def product_rows(a, row_stride, k_stride, b, b_stride, c, c_stride, depth, rows, width, start, first):
    """c (rows, width) = start + a (rows, depth) @ b (depth, width), for one panel of columns.

    Element (i, k) of a lies at i * row_stride + k * k_stride; width is one vector or two. start: FROM_ZERO, FROM_ROW
    (the row at pointer `first`) or FROM_TARGET (what c holds).
    """
    wide = width > lanes(c)
    done = 0
    while done < rows:
        left = rows - done
        x = a + done * row_stride
        z = c + done * c_stride
        if left > 4 * UNIT or 2 * UNIT < left <= 3 * UNIT:
            done += 3 * UNIT
            if wide:
                _tall(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first)
            else:
                _tall_narrow(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first)
        elif left > UNIT:
            done += 2 * UNIT
            if wide:
                _middle(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first)
            else:
                _middle_narrow(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first)
        else:
            done += UNIT
            if wide:
                _short(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first)
            else:
                _short_narrow(x, row_stride, k_stride, b, b_stride, z, c_stride, depth, start, first)


@kernel
def weights(work, layer):
    """The panels that the layer's products read, the bias behind them: its own, or those that noise has disturbed."""
    if at(work, layer, NOISE) > noise.SAMPLE_CONNECT:
        return work.space + at(work, layer, NOISY)
    return work.params + at(work, layer, W)


@kernel
def feed(work, layer, first, last, act, now):
    """A of the layer, rows first to last, from A of the layer below; act: the activation's code; now: of step.py.

    False where the team is told to leave: batch normalization meets.
    """
    below = layer - 1
    x_stride, z_stride = at(work, below, STRIDE), at(work, layer, STRIDE)
    n_in, depth, width = at(work, layer, N_IN), at(work, layer, DEPTH), at(work, layer, WIDTH)
    x = work.space + (at(work, below, A) + first * x_stride)
    z = work.space + (at(work, layer, A) + first * z_stride)
    weight = weights(work, layer)
    bias = weight + depth * width
    by_rows = rowwise.applies(act, now)
    panel_act = activation.LINEAR if by_rows else act
    has_norm = at(work, layer, NORM) != NO_NORM
    panel = 2 * lanes(z)
    is_plain = at(work, layer, NOISE) != noise.SAMPLE_CONNECT
    if not is_plain:
        sample_connect.feed(work, layer, first, last, now)
    for column in range(0, width, panel):
        columns = min(panel, width - column)
        b = weight + column * depth
        if is_plain:
            product_rows(
                x, x_stride, 1, b, columns, z + column, z_stride, n_in, last - first, columns, FROM_ROW, bias + column
            )
        if not has_norm:
            rowwise.keep_z(work, layer, first, last - first, column, columns)
            activation.feed(panel_act, work.betas[layer], z + column, z_stride, last - first, columns)
    if has_norm:
        if not norm.feed(work, layer, first, last, now):
            return False
        rowwise.keep_z(work, layer, first, last - first, 0, width)
        activation.feed(panel_act, work.betas[layer], z, z_stride, last - first, width)
    if by_rows:
        rowwise.feed(work, layer, first, last, act, now)
    if at(work, layer, NOISE) == noise.DROPOUT:
        noise.drop(work, layer, first, last, now)
    return True


@kernel
def transpose_rows(work, layer, k, rows, out):
    """Rows k to k + rows of W as columns of out (width, rows); rows: whole vectors."""
    depth, width, n = at(work, layer, DEPTH), at(work, layer, WIDTH), lanes(out)
    for column in range(0, width, 2 * n):
        columns = min(2 * n, width - column)
        source = weights(work, layer) + (column * depth + k * columns)
        for i in range(0, rows, n):
            for j in range(0, columns, n):
                transpose(source + (i * columns + j), columns, out + ((column + j) * rows + i), rows)


@kernel
def delta(work, layer, first, last, now, scratch):
    """D of the layer, rows first to last, from D of the layer above; scratch: the thread's.

    False where the team is told to leave.
    """
    above = layer + 1
    d_stride, x_stride = at(work, above, STRIDE), at(work, layer, STRIDE)
    n_out, width = at(work, above, N_OUT), at(work, layer, WIDTH)
    d = work.space + (at(work, above, D) + first * d_stride)
    a = work.space + (at(work, layer, Z) + first * x_stride)
    dx = work.space + (at(work, layer, D) + first * x_stride)
    act, beta = at(work, layer, ACTIVATION), work.betas[layer]
    drops = at(work, layer, NOISE) == noise.DROPOUT
    is_plain = at(work, above, NOISE) != noise.SAMPLE_CONNECT
    if not is_plain:
        sample_connect.delta(work, above, first, last, now)
    panel = 2 * lanes(dx)
    for column in range(0, width, panel):
        columns = min(panel, width - column)
        c = dx + column
        if is_plain:
            transpose_rows(work, above, column, columns, scratch)
            product_rows(d, d_stride, 1, scratch, columns, c, x_stride, n_out, last - first, columns, FROM_ZERO, c)
        if not drops:
            activation.delta(act, beta, c, a + column, x_stride, last - first, columns)
    if drops:
        noise.drop_delta(work, layer, first, last, now)
    if act == activation.CUSTOM:
        rowwise.delta(work, layer, first, last)
    return at(work, layer, NORM) == NO_NORM or norm.delta(work, layer, first, last, now)


@kernel
def pack_panel(d, stride, columns, count, packed):
    """Copy d (count, columns) into rows that follow each other."""
    for _ in range(count):
        for j in range(0, columns, lanes(d)):
            store(packed + j, load(d + j))
        d = d + stride
        packed = packed + columns


@kernel
def weight_gradient(work, layer, k, rows, d, d_stride, columns, count, out, start):
    """dW rows k to k + rows of one panel into `out` (rows, columns); d (count, columns): the panel's deltas."""
    below = layer - 1
    x = work.space + (at(work, below, A) + k)
    product_rows(x, 1, at(work, below, STRIDE), d, d_stride, out, columns, count, rows, columns, start, out)


@kernel
def bias_gradient(d, stride, columns, count, out, add):
    """db (columns,) = sum of d (count, columns) over its rows, added to `out` where `add`; four sums side by side."""
    whole = count - count % 4
    for j in range(0, columns, lanes(d)):
        s0 = s1 = s2 = s3 = fill(d, 0.0)
        p = d + j
        for _ in range(0, whole, 4):
            s0 = s0 + load(p)
            s1 = s1 + load(p + stride)
            s2 = s2 + load(p + 2 * stride)
            s3 = s3 + load(p + 3 * stride)
            p = p + 4 * stride
        for _ in range(whole, count):
            s0 = s0 + load(p)
            p = p + stride
        total = (s0 + s1) + (s2 + s3)
        store(out + j, load(out + j) + total if add else total)
