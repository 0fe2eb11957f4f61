"""One training step as every worker of a team sees it.

A worker takes its rows of the batch through feed, loss and delta without meeting anybody; then all meet; then it
takes its share of the weights through gradient and update; then all meet again. Batches of more rows than the
workspace holds go through in parts, their gradients added up in order before the one update.
"""

import numpy as np

from fastnn_kernels import activation, dense, optimizer, output
from fastnn_kernels.dense import FROM_TARGET, FROM_ZERO
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import ACTIVATION, DEPTH, N_IN, STRIDE, WIDTH, A, B, D, W
from fastnn_kernels.machine import UNIT
from fastnn_kernels.native import lanes, load, prefetch, store
from fastnn_kernels.team import GOES_ON, STOPPED, agreed, decide, meet, raise_flag
from fastnn_kernels.work import (
    COLUMNS_IN,
    LAYERS,
    LOSSES,
    NORMALIZED,
    OPTIMIZER,
    PARAMETERS,
    ROWS,
    SCRATCH,
    SCRATCH_SIZE,
    STATES,
    at,
    share,
)


@kernel
def gather(work, first, last, start):
    """Copy the samples at positions start + first to start + last of the order into the input rows, normalized."""
    columns, stride = work.numbers[COLUMNS_IN], at(work, 0, STRIDE)
    normalized = work.numbers[NORMALIZED] != 0
    out = work.space + (at(work, 0, A) + first * stride)
    n = lanes(out)
    whole = columns - columns % n
    for row in range(first, last):
        x = work.X + work.order[start + row] * columns
        if normalized:
            for j in range(0, whole, n):
                store(out + j, (load(x + j) - load(work.shift + j)) * load(work.scale + j))
            for j in range(whole, columns):
                out[j] = (x[j] - work.shift[j]) * work.scale[j]
        else:
            for j in range(0, whole, n):
                store(out + j, load(x + j))
            for j in range(whole, columns):
                out[j] = x[j]
        out = out + stride


@kernel
def feed_hidden(work, first, last, start):
    """Gather the rows first to last and feed them through all layers; the last one keeps its logits."""
    gather(work, first, last, start)
    layers = work.numbers[LAYERS]
    for layer in range(1, layers):
        dense.feed(work, layer, first, last, at(work, layer, ACTIVATION))
    dense.feed(work, layers, first, last, activation.LINEAR)


@kernel
def _backward_rows(work, first, last):
    for layer in range(work.numbers[LAYERS] - 1, 0, -1):
        dense.delta(work, layer, first, last)


@kernel
def sum_losses(work, count):
    """The rows' losses added up in float64, in order."""
    losses = work.space + work.numbers[LOSSES]
    total = 0.0
    for row in range(count):
        total += np.float64(losses[row])
    return total


@kernel
def _groups(work, layer):
    """Units of the gradient's work in a layer: panels of columns, groups of rows."""
    panel = 2 * lanes(work.params)
    panels = (at(work, layer, WIDTH) + panel - 1) // panel
    return panels, (at(work, layer, N_IN) + panel - 1) // panel


@kernel
def _bring_near(work, offset, count):
    """Ask for what the update will read and write, so that it arrives while the product runs."""
    for vector in range(1 + work.numbers[STATES]):
        p = (work.params if vector == 0 else work.state + (vector - 1) * work.numbers[PARAMETERS]) + offset
        for i in range(0, count, lanes(p)):
            prefetch(p + i)


@kernel
def _weight_unit(work, layer, rates, column, k, scratch, count, part, last_part):
    """Gradient, update and transposed copy of one group of rows of one panel."""
    depth, panel = at(work, layer, DEPTH), 2 * lanes(work.params)
    columns = min(panel, at(work, layer, WIDTH) - column)
    rows = min(panel, at(work, layer, N_IN) - k)
    offset = at(work, layer, W) + column * depth + k * columns
    code = work.numbers[OPTIMIZER]
    fused = part == 0 and last_part and code != optimizer.NONE
    out = scratch if fused else work.gradient + offset
    if last_part:
        _bring_near(work, offset, rows * columns)
    dense.weight_gradient(work, layer, column, columns, k, rows, count, out, FROM_TARGET if part else FROM_ZERO)
    if last_part and code != optimizer.NONE:
        s1 = work.state + offset
        s2 = s1 + work.numbers[PARAMETERS]
        optimizer.update(code, rates, work.params + offset, s1, s2, out, rows * columns, rates.l1, rates.l2)
        if layer > 1:
            dense.refresh_transposed(work, layer, column, columns, k, rows)


@kernel
def _bias_unit(work, layer, rates, column, scratch, count, part, last_part):
    """Gradient and update of the bias of one panel."""
    columns = min(2 * lanes(work.params), at(work, layer, WIDTH) - column)
    stride = at(work, layer, STRIDE)
    offset = at(work, layer, B) + column
    code = work.numbers[OPTIMIZER]
    fused = part == 0 and last_part and code != optimizer.NONE
    out = scratch if fused else work.gradient + offset
    d = work.space + (at(work, layer, D) + column)
    dense.bias_gradient(d, stride, columns, count, out, part > 0)
    if last_part and code != optimizer.NONE:
        s1 = work.state + offset
        s2 = s1 + work.numbers[PARAMETERS]
        optimizer.update(code, rates, work.params + offset, s1, s2, out, columns, 0.0, 0.0)


@kernel
def _gradients(work, rank, size, rates, count, part, last_part):
    """This worker's share of all gradients and updates; the units of all layers form one line."""
    layers, panel = work.numbers[LAYERS], 2 * lanes(work.params)
    scratch = work.space + (work.numbers[SCRATCH] + rank * work.numbers[SCRATCH_SIZE])
    total = 0
    for layer in range(1, layers + 1):
        panels, groups = _groups(work, layer)
        total += panels * groups
    first, last = share(total, rank, size)
    before = 0
    for layer in range(1, layers + 1):
        panels, groups = _groups(work, layer)
        begin, end = max(first - before, 0), min(last - before, panels * groups)
        for unit in range(begin, end):
            column, k = unit // groups * panel, unit % groups * panel
            _weight_unit(work, layer, rates, column, k, scratch, count, part, last_part)
            if k == 0:
                _bias_unit(work, layer, rates, column, scratch, count, part, last_part)
        before += panels * groups


@kernel
def step(work, rank, size, start, count, t):
    """One step on the batch at positions start to start + count of the order; t: its number, from 1.

    Returns what team.py calls the state of the run, and, on rank 0, the batch's loss summed over its rows and the
    hits of this worker's rows. Parameters are as before the step unless it returns GOES_ON.
    """
    rates = optimizer.rates(work.numbers[OPTIMIZER], work.constants, t)
    rows = work.numbers[ROWS]
    loss, hits = 0.0, 0
    for part in range((count + rows - 1) // rows):
        begin = start + part * rows
        here = min(rows, count - part * rows)
        units_first, units_last = share((here + UNIT - 1) // UNIT, rank, size)
        first, last = units_first * UNIT, min(units_last * UNIT, here)
        if first < last:
            feed_hidden(work, first, last, begin)
            found, finite = output.losses(work, first, last, begin, count)
            hits += found
            if not finite:
                raise_flag(work.words)
            _backward_rows(work, first, last)
        if rank == 0:
            decide(work.words)
        if not meet(work.words, size):
            return STOPPED, loss, hits
        state = agreed(work.words)
        if state != GOES_ON:
            return state, loss, hits
        if rank == 0:
            loss += sum_losses(work, here)
        _gradients(work, rank, size, rates, here, part, part == (count + rows - 1) // rows - 1)
        if not meet(work.words, size):
            return STOPPED, loss, hits
    return GOES_ON, loss, hits


@kernel
def refresh_all_transposed(work, rank, size):
    """Fill the transposed panels of every layer from its weights."""
    panel = 2 * lanes(work.params)
    for layer in range(2, work.numbers[LAYERS] + 1):
        panels, groups = _groups(work, layer)
        first, last = share(panels * groups, rank, size)
        for unit in range(first, last):
            column, k = unit // groups * panel, unit % groups * panel
            columns = min(panel, at(work, layer, WIDTH) - column)
            rows = min(panel, at(work, layer, N_IN) - k)
            dense.refresh_transposed(work, layer, column, columns, k, rows)
