"""The three products of a dense layer, in register tiles.

feed      Z (rows, n_out) = X (rows, n_in) W + b, then the activation
delta     dX (rows, n_in) = dZ (rows, n_out) W.T, times the derivative of the activation below
gradient  dW (n_in, n_out) = X.T dZ;  db = sum of dZ over the rows

All three go by the register tiles of product.py, panel by panel; ReLU and its derivative are applied where tiles are
written, other activations to a panel behind its product. Rows are rounded up to UNIT: A, D and scratch have room for
that.
"""

from fastnn_kernels import activation, noise, norm, rowwise, sample_connect
from fastnn_kernels.jit import inline, kernel
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
from fastnn_kernels.machine import DOTS, MOST_COLUMNS, TALL, UNIT, VECTOR_BYTES
from fastnn_kernels.native import (
    fill,
    lanes,
    load,
    prefetch_l1,
    room,
    store,
    transpose,
)
from fastnn_kernels.product import (
    AHEAD,
    FROM_ROW,
    FROM_ZERO,
    GATED,
    RECTIFIED,
    STEPS,
    Ahead,
    dots,
    product_columns,
    product_columns_asking,
    product_rows,
    product_rows_asking,
)
from fastnn_kernels.work import ROWS, at, below, cache_line, scratch

FEED_BYTES = 1 << 19  # of inputs, or of weights, that stay in a core's second cache while a layer is fed
PANELS_AHEAD = 3  # of those whose rows are transposed: a few lines of each, which no processor foresees
TRANSPOSED = MOST_COLUMNS * MOST_COLUMNS // 2  # room for a vector of columns of a panel's rows, transposed


@kernel
def transpose_block(source, source_stride, target, target_stride):
    """The one copy of that long code: a block of lanes x lanes elements."""
    transpose(source, source_stride, target, target_stride)


@kernel
def _is_narrow(width, outputs, n):
    """Whether a layer's outputs fill at most half of its only vector, and that is worth the sums across lanes.

    Never the last panel of several: a unit more in such a layer would change the order of the others' sums.
    """
    return width == n and n >= 8 and 2 * outputs <= n


@kernel
def _narrow_feed(x, x_stride, w, depth, bias, outputs, rows, z, z_stride, transposed):
    """z (rows, a vector) = x w + bias as dot products, along the inputs; transposed: room for w (depth, a vector)."""
    n = lanes(z)
    for k in range(0, depth, n):
        transpose_block(w + k * n, n, transposed + k, depth)
    for row in range(0, rows, UNIT):
        a, c = x + row * x_stride, z + row * z_stride
        for i in range(UNIT):
            store(c + i * z_stride, load(bias))
        for j in range(0, outputs, DOTS):
            dots(a, x_stride, transposed + j * depth, depth, depth, c + j, z_stride)


@kernel
def weights(work, layer):
    """The panels that the layer's products read, the bias behind them: its own, or those that noise has disturbed."""
    if at(work, layer, NOISE) > noise.SAMPLE_CONNECT:
        return work.space + at(work, layer, NOISY)
    return work.params + at(work, layer, W)


@kernel
def panel_activation(act, now):
    """What a panel applies at once of an activation."""
    return activation.LINEAR if rowwise.applies(act, now) else act


@kernel
def _elements_near(work):
    """Elements of FEED_BYTES."""
    return FEED_BYTES * lanes(work.space) // VECTOR_BYTES


@kernel
def rows_at_once(work, layer):
    """Rows that go through all panels of a layer before others do: what goes into them stays near meanwhile."""
    if at(work, layer, WIDTH) <= 2 * lanes(work.space):
        return work.numbers[ROWS]  # one panel
    return max(_elements_near(work) // (TALL * at(work, layer, DEPTH)), 1) * TALL


@kernel
def _next_tile_and_panel(x, x_stride, rows, weight, column, depth, width):
    """What the feed of a panel of two vectors asks for: the rows of its next tile, and tile by tile the next panel."""
    columns = 2 * lanes(x)
    following = column + columns if column + columns < width else 0
    part = depth * columns // ((rows + TALL - 1) // TALL)
    a, b, tile, turns = x + TALL * x_stride, weight + following * depth, TALL * x_stride, (depth + STEPS - 1) // STEPS
    return Ahead(
        (a, a + tile, a + 2 * tile, a + 3 * tile),
        (tile + turns - 1) // turns,
        AHEAD * tile,
        (b, b + part, b + 2 * part, b + 3 * part),
        (part + turns - 1) // turns,
        AHEAD * part,
    )


@kernel
def _is_relu(act):
    """Whether an activation is what products of rows do by themselves; noisy ReLU is that without its noise."""
    return act in (activation.RELU, activation.NOISY_RELU)


@kernel
def _multiply_panel(work, layer, column, first, last, is_relu, now):
    """x W + b of the panel at a column, rows first to last; returns whether ReLU, where asked for, is applied."""
    x_stride, z_stride = at(work, layer - 1, STRIDE), at(work, layer, STRIDE)
    n_in, n_out = at(work, layer, N_IN), at(work, layer, N_OUT)
    depth, width = at(work, layer, DEPTH), at(work, layer, WIDTH)
    x = below(work, layer, now.rank) + first * x_stride
    z = work.space + (at(work, layer, A) + first * z_stride + column)
    rows, columns = last - first, min(2 * lanes(z), width - column)
    weight, mode = weights(work, layer), RECTIFIED if is_relu else FROM_ROW
    b, bias = weight + column * depth, weight + (depth * width + column)
    if _is_narrow(width, n_out, lanes(z)):
        _narrow_feed(x, x_stride, b, depth, bias, n_out, rows, z, z_stride, scratch(work, now.rank))
        return False
    if columns > lanes(z) and depth * width > _elements_near(work):
        ahead = _next_tile_and_panel(x, x_stride, rows, weight, column, depth, width)
        product_rows_asking(x, x_stride, b, columns, z, z_stride, n_in, rows, mode, bias, ahead)
    else:
        product_rows(x, x_stride, b, columns, z, z_stride, n_in, rows, columns, mode, bias)
    return is_relu


@kernel
def feed_panel(work, layer, column, first, last, act, now):
    """Rows first to last of the panel at a column, up to what goes by whole rows."""
    is_normed, done = at(work, layer, NORM) != NO_NORM, False
    act = panel_activation(act, now)
    if at(work, layer, NOISE) != noise.SAMPLE_CONNECT:
        done = _multiply_panel(work, layer, column, first, last, not is_normed and _is_relu(act), now)
    finish_feed(work, layer, column, first, last, act, done)


@kernel
def finish_feed(work, layer, column, first, last, act, done):
    """What follows the product of a panel, unless that goes by whole rows; done: whether the activation is applied."""
    if at(work, layer, NORM) != NO_NORM:
        return
    stride, columns = at(work, layer, STRIDE), min(2 * lanes(work.space), at(work, layer, WIDTH) - column)
    rowwise.keep_z(work, layer, first, last - first, column, columns)
    if not done:
        z = work.space + (at(work, layer, A) + first * stride + column)
        activation.feed(act, work.betas[layer], z, stride, last - first, columns)


@kernel
def feeds_rows(work, layer, act, now):
    """Whether something of the layer's feed goes by whole rows."""
    return at(work, layer, NORM) != NO_NORM or at(work, layer, NOISE) == noise.DROPOUT or rowwise.applies(act, now)


@kernel
def feed_rows(work, layer, first, last, act, now):
    """That, for the rows first to last; False where the team is told to leave."""
    if at(work, layer, NORM) != NO_NORM:
        if not norm.feed(work, layer, first, last, now):
            return False
        width, stride = at(work, layer, WIDTH), at(work, layer, STRIDE)
        z = work.space + (at(work, layer, A) + first * stride)
        rowwise.keep_z(work, layer, first, last - first, 0, width)
        activation.feed(panel_activation(act, now), work.betas[layer], z, stride, last - first, width)
    if rowwise.applies(act, now):
        rowwise.feed(work, layer, first, last, act, now)
    if at(work, layer, NOISE) == noise.DROPOUT:
        noise.drop(work, layer, first, last, now)
    return True


@kernel
def feed(work, layer, first, last, act, now):
    """A of the layer, rows first to last, from A of the layer below; act: the activation's code; now: of passes.py.

    False where the team is told to leave: batch normalization meets.
    """
    if at(work, layer, NOISE) == noise.SAMPLE_CONNECT:
        sample_connect.feed(work, layer, first, last, now)
    rows = rows_at_once(work, layer)
    for begin in range(first, last, rows):
        for column in range(0, at(work, layer, WIDTH), 2 * lanes(work.space)):
            feed_panel(work, layer, column, begin, min(begin + rows, last), act, now)
    return feed_rows(work, layer, first, last, act, now)


@kernel
def transpose_rows(work, layer, k, rows, out):
    """Rows k to k + rows of W as columns of out (width, rows); rows: whole vectors."""
    depth, width, n = at(work, layer, DEPTH), at(work, layer, WIDTH), lanes(out)
    is_far = depth * width > _elements_near(work)
    for column in range(0, width, 2 * n):
        columns = min(2 * n, width - column)
        source = weights(work, layer) + (column * depth + k * columns)
        if is_far:
            for i in range(0, rows * columns, cache_line(out)):
                prefetch_l1(source + (PANELS_AHEAD * depth * columns + i))
        for i in range(0, rows, n):
            for j in range(0, columns, n):
                transpose_block(source + (i * columns + j), columns, out + ((column + j) * rows + i), rows)


@kernel
def delta_panel(work, layer, column, first, last, act, now):
    """Rows first to last of the panel at a column of D, up to what goes by whole rows; act: the layer's activation."""
    above, stride, rows = layer + 1, at(work, layer, STRIDE), last - first
    place = first * stride + column
    dx, a = work.space + (at(work, layer, D) + place), work.space + (at(work, layer, Z) + place)
    columns = min(2 * lanes(dx), at(work, layer, WIDTH) - column)
    derives, multiplies = at(work, layer, NOISE) != noise.DROPOUT, at(work, above, NOISE) != noise.SAMPLE_CONNECT
    gates = derives and multiplies and _is_relu(act)
    if multiplies:
        n_out, d_stride = at(work, above, N_OUT), at(work, above, STRIDE)
        d, weight = work.space + (at(work, above, D) + first * d_stride), scratch(work, now.rank)
        transpose_rows(work, above, column, columns, weight)
        mode = GATED if gates else FROM_ZERO
        product_rows(d, d_stride, weight, columns, dx, stride, n_out, rows, columns, mode, a)
    if not gates:
        finish_delta(work, layer, column, first, last, act)


@kernel
def finish_delta(work, layer, column, first, last, act):
    """What follows the product of a panel, where it has not been done in it."""
    if at(work, layer, NOISE) == noise.DROPOUT:
        return
    stride = at(work, layer, STRIDE)
    place, columns = first * stride + column, min(2 * lanes(work.space), at(work, layer, WIDTH) - column)
    d, a = work.space + (at(work, layer, D) + place), work.space + (at(work, layer, Z) + place)
    activation.delta(act, work.betas[layer], d, a, stride, last - first, columns)


@kernel
def delta_rows(work, layer, first, last, now):
    """What of the layer's delta goes by whole rows, for the rows first to last.

    False where the team is told to leave.
    """
    if at(work, layer, NOISE) == noise.DROPOUT:
        noise.drop_delta(work, layer, first, last, now)
    if at(work, layer, ACTIVATION) == activation.CUSTOM:
        rowwise.delta(work, layer, first, last)
    return at(work, layer, NORM) == NO_NORM or norm.delta(work, layer, first, last, now)


@kernel
def delta(work, layer, first, last, now):
    """D of the layer, rows first to last, from D of the layer above.

    False where the team is told to leave.
    """
    if at(work, layer + 1, NOISE) == noise.SAMPLE_CONNECT:
        sample_connect.delta(work, layer + 1, first, last, now)
    for column in range(0, at(work, layer, WIDTH), 2 * lanes(work.space)):
        delta_panel(work, layer, column, first, last, at(work, layer, ACTIVATION), now)
    return delta_rows(work, layer, first, last, now)


@kernel
def pack(source, stride, columns, count, packed):
    """Copy (count, columns) into rows that follow each other."""
    for _ in range(count):
        for j in range(0, columns, lanes(source)):
            store(packed + j, load(source + j))
        source = source + stride
        packed = packed + columns


@kernel
def pack_panels(d, stride, width, count, packed):
    """Copy the panels of d (count, width), each packed, one behind the other. By whole rows, as memory likes it."""
    n = lanes(d)
    whole = width // (2 * n) * (2 * n)
    for row in range(count):
        panel = packed + row * (2 * n)
        for j in range(0, whole, 2 * n):
            store(panel, load(d + j))
            store(panel + n, load(d + (j + n)))
            panel = panel + count * (2 * n)
        if whole < width:
            store(packed + (whole * count + row * n), load(d + whole))
        d = d + stride


@kernel
def _narrow_gradient(x, x_stride, rows, d, d_stride, outputs, count, out):
    """weight_gradient for a panel of one vector of which `outputs` lanes count: as its transpose, along the rows."""
    n = lanes(out)
    transposed = room(out, TRANSPOSED)
    for i in range(0, 2 * n * n, n):
        store(transposed + i, fill(out, 0.0))
    for k in range(0, rows, 2 * n):
        width = n if rows - k <= n else 2 * n
        product_columns(d, d_stride, x + k, x_stride, transposed, 2 * n, count, outputs, width, FROM_ZERO, transposed)
        for i in range(0, width, n):
            transpose_block(transposed + i, 2 * n, out + (k + i) * n, n)


@inline
def weight_gradient(x, x_stride, rows, d, d_stride, columns, outputs, count, out, start, asks, ahead):
    """dW of `rows` rows of one panel into `out` (rows, columns).

    x (count, rows): what goes into those rows; d (count, columns): the panel's deltas, of which `outputs` count. Whole
    vectors of rows are written. ahead: what a product of two vectors of columns asks for where `asks`, see product.py.
    """
    n = lanes(out)
    if columns == n and 4 * outputs <= 3 * n and count >= n and start == FROM_ZERO:
        _narrow_gradient(x, x_stride, rows, d, d_stride, outputs, count, out)
    elif asks and columns > n:
        product_columns_asking(x, x_stride, d, d_stride, out, columns, count, rows, start, out, ahead)
    else:
        product_columns(x, x_stride, d, d_stride, out, columns, count, rows, columns, start, out)


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
