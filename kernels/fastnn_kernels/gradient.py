"""From deltas to new weights: gradients and updates, divided among the workers of a team.

The unit of work is a group of up to NR rows of one panel of a layer's weights. The units of all layers form one line,
panel by panel, and every worker takes a stretch of it; layers whose panels are divided in the feed, too, have a line
each, so that it updates about those weights which it reads. Whoever has the first group of a panel does its bias, gain
and shift.
"""

from typing import NamedTuple

from fastnn_kernels import dense, noise, norm, optimizer, penalty, sample_connect, subnetwork, weight_noise
from fastnn_kernels import piece as pieces
from fastnn_kernels.dense import FROM_TARGET, FROM_ZERO
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import (
    BATCH_NORM,
    BETA,
    BY_PANELS,
    GAMMA,
    N_OUT,
    NO_NORM,
    NOISE,
    NORM,
    STRIDE,
    WIDTH,
    B,
    D,
    W,
)
from fastnn_kernels.native import fill, lanes, store
from fastnn_kernels.update import update
from fastnn_kernels.work import (
    INPUTS,
    LAYERS,
    OPTIMIZER,
    PREFETCHES,
    SAMPLES,
    ask_for,
    at,
    below,
    open_work,
    scratch,
    share,
    share_of_rows,
)

WORTH_PACKING = 4  # groups of rows that read a panel of deltas, from which on copying it together pays


class Pass(NamedTuple):
    """One pass of rows through the gradients. Batches that are longer than the workspace take several.

    rates: the optimizer's, at this step; rank: the worker's; rows: how many; is_first, is_last: of the batch's passes;
    upcoming: position in the order where the next pass begins; ask_first, ask_last: the rows of that one which this
    worker will gather; units: of its work; tile: scratch for the gradient of a unit; packed: scratch for a panel of
    deltas; t: the number of the step.
    """

    rates: object
    rank: object
    rows: object
    is_first: object
    is_last: object
    upcoming: object
    ask_first: object
    ask_last: object
    units: object
    tile: object
    packed: object
    t: object


@kernel
def _ask_for_samples(work, one, unit):
    """Every unit of work asks for its share of the next pass's samples: memory and arithmetic run side by side."""
    first, last = share(one.ask_last - one.ask_first, unit, one.units)
    for row in range(first, last):
        ask_for(work, one.upcoming + one.ask_first + row)


@kernel
def _target(work, one, offset):
    """Where a unit's gradient goes: to scratch where the update follows at once, else to the gradient vector."""
    at_once = one.is_first and one.is_last and one.rates.clip_norm == 0.0
    if at_once and work.numbers[OPTIMIZER] != optimizer.NONE:
        return one.tile
    return work.gradient + offset


@kernel
def _clear_padding(piece, g):
    """Products compute whole vectors of rows; behind those of the piece are inputs that do not exist, but are not 0."""
    n = lanes(g)
    for i in range(piece.rows * piece.columns, (piece.rows + n - 1) // n * n * piece.columns, n):
        store(g + i, fill(g, 0.0))


@kernel
def _weights(work, one, piece, d, d_stride):
    """Gradient and update of one group of rows."""
    layer, column, columns, k, rows = piece.layer, piece.column, piece.columns, piece.row, piece.rows
    g = _target(work, one, piece.offset)
    if work.numbers[PREFETCHES]:
        subnetwork.ask_for(open_work(work.params, work.outer), work, piece)
    start = FROM_ZERO if one.is_first else FROM_TARGET
    if at(work, layer, NOISE) == noise.SAMPLE_CONNECT:
        sample_connect.gradient(work, layer, k, rows, column, columns, d, d_stride, one, g)
    else:
        x, x_stride = below(work, layer, one.rank) + k, at(work, layer - 1, STRIDE)
        outputs = min(columns, at(work, layer, N_OUT) - column)
        dense.weight_gradient(x, x_stride, rows, d, d_stride, columns, outputs, one.rows, g, start)
        _clear_padding(piece, g)
    if at(work, layer, NOISE) > noise.SAMPLE_CONNECT:
        place = piece.offset - at(work, layer, W)
        weight_noise.gradient(work, layer, place, rows, columns, d, d_stride, one.rows, g, one.is_last)
    if one.is_last:
        penalty.add_gradient(g, work.params + piece.offset, rows * columns, one.rates.l1, one.rates.l2)
        if one.rates.clip_norm == 0.0:
            update(work, one.rates, piece, g)


@kernel
def _bias(work, one, layer, column, columns, d, d_stride):
    """Gradient and update of the bias of one panel. Batch normalization takes the bias off again: its gradient is 0."""
    piece = pieces.vector(work, layer, column, B)
    g = _target(work, one, piece.offset)
    rows = 0 if at(work, layer, NORM) == BATCH_NORM else one.rows
    dense.bias_gradient(d, d_stride, columns, rows, g, not one.is_first)
    if one.is_last and one.rates.clip_norm == 0.0:
        update(work, one.rates, piece, g)


@kernel
def _norm(work, one, layer, column, columns):
    """Gradients and updates of gain and shift of one panel, and its running averages."""
    for which in range(2):
        piece = pieces.vector(work, layer, column, BETA if which == norm.OF_BETA else GAMMA)
        g = _target(work, one, piece.offset)
        d, stride, count = norm.deltas(work, layer, which, one.rows)
        dense.bias_gradient(d + column, stride, columns, count, g, not one.is_first)
        if one.is_last and one.rates.clip_norm == 0.0:
            update(work, one.rates, piece, g)
    if at(work, layer, NORM) == BATCH_NORM and work.numbers[OPTIMIZER] != optimizer.NONE:
        norm.average(work, layer, column, columns, one.rows)


@kernel
def _panel(work, one, layer, column, first, last, unit):
    """The groups first to last (exclusive) of one panel; unit: the number of the first among the worker's."""
    panel = 2 * lanes(work.params)
    columns = min(panel, at(work, layer, WIDTH) - column)
    d, d_stride = work.space + (at(work, layer, D) + column), at(work, layer, STRIDE)
    if last - first >= WORTH_PACKING:
        dense.pack_panel(d, d_stride, columns, one.rows, one.packed)
        d, d_stride = one.packed, columns
    if first == 0:
        _bias(work, one, layer, column, columns, d, d_stride)
        if at(work, layer, NORM) != NO_NORM:
            _norm(work, one, layer, column, columns)
    for group in range(first, last):
        _ask_for_samples(work, one, unit + group - first)
        _weights(work, one, pieces.weights(work, layer, column, group), d, d_stride)


@kernel
def _layer_units(work, layer):
    panels, groups = pieces.groups(work, layer)
    return panels * groups


@kernel
def _line(work, rank, size):
    """This worker's stretch of the line, and how many units are its own with those of lines of one layer."""
    line, own = 0, 0
    for layer in range(1, work.numbers[LAYERS] + 1):
        units = _layer_units(work, layer)
        if at(work, layer, BY_PANELS):
            first, last = share(units, rank, size)
            own += last - first
        else:
            line += units
    begin, end = share(line, rank, size)
    return begin, end, own + (end - begin)


@kernel
def _next_pass(work, rank, size, count, upcoming):
    """The rows, first to last, of a next pass of up to `count` that this worker gathers."""
    rows = min(count, work.numbers[SAMPLES] - upcoming)
    return (0, rows) if work.numbers[INPUTS] else share_of_rows(rows, rank, size)


@kernel
def gradients(work, rank, size, rates, count, is_first, is_last, upcoming, t):
    """This worker's share of all gradients over `count` rows, and in the batch's last pass of all updates.

    upcoming: position in the order where the next pass begins; t: the number of the step.
    """
    panel, tile = 2 * lanes(work.params), scratch(work, rank)
    begin, end, own = _line(work, rank, size)
    asks = _next_pass(work, rank, size, count, upcoming)
    one = Pass(rates, rank, count, is_first, is_last, upcoming, asks[0], asks[1], own, tile, tile + panel * panel, t)
    unit = 0
    for layer in range(1, work.numbers[LAYERS] + 1):
        panels, groups = pieces.groups(work, layer)
        if at(work, layer, BY_PANELS):
            first, last = share(panels * groups, rank, size)
        else:
            first, last = begin, end
            begin -= panels * groups
            end -= panels * groups
        for p in range(panels):
            one_first, one_last = max(first - p * groups, 0), min(last - p * groups, groups)
            if one_first < one_last:
                _panel(work, one, layer, p * panel, one_first, one_last, unit)
                unit += one_last - one_first
