"""From deltas to new weights: gradients and updates, divided among the workers of a team.

The unit of work is a group of up to PIECE rows of one panel of a layer's weights, and every worker owns a stretch of
them, see units.py. Whoever does the first group of a panel does its bias, gain and shift. In a stretch up to
PACKED_BYTES of panels of deltas are packed, and go side by side: what goes into a group of rows, scattered over memory,
is fetched and packed once for all of them. Where there are many rows, a stretch is cut into blocks of groups, which
whoever has time takes one by one, see claim.py.
"""

from typing import NamedTuple

from numba import types

from fastnn_kernels import dense, matrix, noise, norm, optimizer, penalty, sample_connect, subnetwork, weight_noise
from fastnn_kernels import piece as pieces
from fastnn_kernels.ahead import ahead_of, is_far
from fastnn_kernels.claim import helpers, next_of
from fastnn_kernels.jit import extra, inline, kernel, matrix_only
from fastnn_kernels.layout import (
    BATCH_NORM,
    BETA,
    BY_MATRIX,
    BY_PANELS,
    DEPTH,
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
from fastnn_kernels.machine import PIECE, VECTOR_BYTES
from fastnn_kernels.native import fill, lanes, matrix_close, matrix_open, store
from fastnn_kernels.product import FROM_TARGET, FROM_ZERO, STEPS
from fastnn_kernels.units import count_own, line_of, own_of, units_of
from fastnn_kernels.update import update
from fastnn_kernels.work import (
    COLUMNS_IN,
    INPUTS,
    LAYERS,
    OPTIMIZER,
    PREFETCHES,
    SAMPLES,
    SCRATCH_SIZE,
    ask_to_write,
    at,
    below,
    open_other,
    scratch,
    share_of_rows,
)

BLOCKS = 8  # of groups of rows, which a worker has of a panel where others may help it
CLOSE = 5  # times what units read of a row, from one row to the next: up to here rows are not scattered
WORTH_PACKING = 8  # units that read the same scattered rows, from which on copying them together pays
LEAST_UNITS = 2  # for which it pays where they read many pages
LEAST_UNITS_OF_DELTAS = 3  # and for deltas, which are copied by all their panels
PAGE = 1 << 12  # bytes of memory that a processor finds together
MANY_PAGES = 256  # of rows, times the units that read them


class Pass(NamedTuple):
    """One pass of rows through the gradients. Batches that are longer than the workspace take several.

    rates: the optimizer's, at this step; rank: the worker's, of `size`; rows: how many; is_first, is_last: of the
    batch's passes; upcoming: position in the order where the next pass begins; ask_first, ask_last: the rows of that
    one which this worker will gather; units: of its own; tile, inputs, packed: scratch for the gradient of a unit, for
    what goes into it and for panels of deltas, `slots` of them; updates: whether an update follows each unit's
    gradient; asks: whether products ask for what is wanted next, soon_step, later_step: by how many elements at a time;
    t: the step's number.
    """

    rates: object
    rank: object
    size: object
    rows: object
    is_first: object
    is_last: object
    upcoming: object
    ask_first: object
    ask_last: object
    units: object
    tile: object
    inputs: object
    packed: object
    slots: object
    updates: object
    asks: object
    soon_step: object
    later_step: object
    t: object


class Block(NamedTuple):
    """Units of work that are taken together: those of a layer's line from begin to end which are of the panels from
    panel to last_panel, and there of the groups from group to last_group. All ends are exclusive.
    """

    layer: object
    begin: object
    end: object
    panel: object
    last_panel: object
    group: object
    last_group: object


@kernel
def _target(work, one, offset):
    """Where a unit's gradient goes: to scratch where the update follows at once, else to the gradient vector."""
    return one.tile if one.updates else work.gradient + offset


@kernel
def _clear_padding(piece, g):
    """Products compute whole vectors of rows; behind those of the piece are inputs that do not exist, but are not 0."""
    n = lanes(g)
    for i in range(piece.rows * piece.columns, (piece.rows + n - 1) // n * n * piece.columns, n):
        store(g + i, fill(g, 0.0))


@kernel
def _ask_to_update(work, one, piece):
    """Take a unit's weights from those who have read them, where others do."""
    if one.updates and one.size > 1 and not at(work, piece.layer, BY_PANELS):
        ask_to_write(work.params + piece.offset, piece.rows * piece.columns)


@inline
def _weights(work, one, piece, unit, ends, x, x_stride, d, d_stride):
    """Gradient and update of a unit of work; x: what goes into it, d: the deltas of its panel."""
    layer, column, columns, k, rows = piece.layer, piece.column, piece.columns, piece.row, piece.rows
    g = _target(work, one, piece.offset)
    _ask_to_update(work, one, piece)
    if work.numbers[PREFETCHES]:
        subnetwork.ask_for(open_other(work, work.outer), work, piece)
    start = FROM_ZERO if one.is_first else FROM_TARGET
    if at(work, layer, NOISE) == noise.SAMPLE_CONNECT:
        sample_connect.gradient(work, layer, k, rows, column, columns, d, d_stride, one, g)
    else:
        outputs, ahead = min(columns, at(work, layer, N_OUT) - column), ahead_of(work, one, piece, unit, ends)
        dense.weight_gradient(x, x_stride, rows, d, d_stride, columns, outputs, one.rows, g, start, one.asks, ahead)
        _clear_padding(piece, g)
    if at(work, layer, NOISE) > noise.SAMPLE_CONNECT:
        place = piece.offset - at(work, layer, W)
        weight_noise.gradient(work, layer, place, rows, columns, d, d_stride, one.rows, g, one.is_last)
    _finish_weights(work, one, piece, g)


@kernel
def _finish_weights(work, one, piece, g):
    """Penalty and update, once the gradient g of a unit is whole."""
    if one.is_last:
        penalty.add_gradient(g, work.params + piece.offset, piece.rows * piece.columns, one.rates.l1, one.rates.l2)
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


@extra(types.none)
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
def _worth_packing(work, rows, stride, columns, units, least):
    """Whether copying so many columns of rows together pays, which lie `stride` elements apart and so many units read.

    least: units for which it may.
    """
    pages = rows * min(stride * (VECTOR_BYTES // lanes(work.params)), PAGE) // PAGE
    reads_many = units >= least and units * pages >= MANY_PAGES
    return stride > CLOSE * columns and (units >= WORTH_PACKING or reads_many)


@kernel
def _inputs(work, one, layer, group, units):
    """What goes into a group of rows of so many units, and the elements from one row of it to the next."""
    x, stride = below(work, layer, one.rank) + group * PIECE, at(work, layer - 1, STRIDE)
    if not _worth_packing(work, one.rows, stride, PIECE, units, LEAST_UNITS):
        return x, stride
    columns = min(PIECE, at(work, layer, DEPTH) - group * PIECE)
    dense.pack(x, stride, columns, one.rows, one.inputs)
    return one.inputs, columns


@kernel
def _deltas(work, one, layer, column, slot):
    """The deltas of the panel that begins at a column, and the elements from one row of them to the next.

    slot: where they are packed among others; negative if they are not.
    """
    panel = 2 * lanes(work.params)
    if slot < 0:
        return work.space + (at(work, layer, D) + column), at(work, layer, STRIDE)
    return one.packed + slot * panel * one.rows, min(panel, at(work, layer, WIDTH) - column)


@kernel
def _vectors(work, one, layer, column, slot):
    """All of a panel but its weights."""
    d, d_stride = _deltas(work, one, layer, column, slot)
    columns = min(2 * lanes(work.params), at(work, layer, WIDTH) - column)
    _bias(work, one, layer, column, columns, d, d_stride)
    if at(work, layer, NORM) != NO_NORM:
        _norm(work, one, layer, column, columns)


@kernel
def _pack(work, one, layer, first, last):
    """The deltas of all panels from column first to last side by side."""
    scattered, stride = _deltas(work, one, layer, first, -1)
    dense.pack_panels(scattered, stride, min(last, at(work, layer, WIDTH)) - first, one.rows, one.packed)


@kernel
def _panels_of(block, groups, group):
    """The panels of a block, first to last, whose units in a group of rows belong to it."""
    first = max(block.panel, (block.begin - group + groups - 1) // groups)
    return first, min(block.last_panel, (block.end - group + groups - 1) // groups)


@kernel
def _block(work, one, block, is_packed, unit):
    """A block of work. is_packed: whether the deltas of its panels are where this function packs them.

    unit: the number of the first unit among those that this worker does; returns that of the next.
    """
    layer, begin, end, p = block.layer, block.begin, block.end, block.panel
    panel, (_, groups) = 2 * lanes(work.params), pieces.groups(work, layer)
    stride, readers = at(work, layer, STRIDE), min(groups, end - begin)
    packs = _worth_packing(work, one.rows, stride, panel, readers, LEAST_UNITS_OF_DELTAS)
    slot = 0 if packs else p - block.last_panel
    if packs and not is_packed:
        _pack(work, one, layer, p * panel, block.last_panel * panel)
    for q in range(p, block.last_panel):
        if block.group == 0 and begin <= q * groups:
            _vectors(work, one, layer, q * panel, slot + (q - p))
    for group in range(block.group, block.last_group):
        first, last = _panels_of(block, groups, group)
        x, x_stride = _inputs(work, one, layer, group, last - first)
        for q in range(first, last):
            d, d_stride = _deltas(work, one, layer, q * panel, slot + (q - p))
            ends = packs and q == last - 1 and group < block.last_group - 1
            _weights(work, one, pieces.weights(work, layer, q * panel, group), unit, ends, x, x_stride, d, d_stride)
            unit += 1
    return unit


@kernel
def _matrix_slot(one, number):
    """Where the deltas of one panel of several lie, packed for the matrix unit: behind what goes into a unit."""
    return one.inputs + (matrix.packed(one.rows, PIECE) + number * matrix.packed(one.rows, matrix.BLOCK))


@kernel
def _matrix_slots(work, one):
    """How many panels of deltas the scratch has room for, packed in that way."""
    room = work.numbers[SCRATCH_SIZE] - PIECE * matrix.BLOCK - matrix.packed(one.rows, PIECE)
    return room // max(matrix.packed(one.rows, matrix.BLOCK), 1)


@kernel
def _pack_for_matrix(work, one, layer, first, last):
    """The deltas of all panels from column first to last, side by side."""
    panel, (d, stride) = 2 * lanes(work.params), _deltas(work, one, layer, 0, -1)
    for column in range(first, min(last, at(work, layer, WIDTH)), panel):
        columns, slot = min(panel, at(work, layer, WIDTH) - column), _matrix_slot(one, (column - first) // panel)
        matrix.pack_deltas(d + column, stride, one.rows, columns, slot)


@kernel
def _weights_by_matrix(work, one, piece, unit, d):
    """_weights of packed inputs and deltas."""
    g = _target(work, one, piece.offset)
    _ask_to_update(work, one, piece)
    ahead, steps = ahead_of(work, one, piece, unit, False), matrix.steps_of(one.rows)
    matrix.product_of_unit(d, one.inputs, steps, g, piece.rows, piece.columns, not one.is_first, one.asks, ahead)
    _clear_padding(piece, g)
    _finish_weights(work, one, piece, g)


@matrix_only(types.int64)
def _block_by_matrix(work, one, block, is_packed, unit):
    """_block of a layer whose products are the matrix unit's."""
    layer, begin, p = block.layer, block.begin, block.panel
    panel, (_, groups), stride = 2 * lanes(work.params), pieces.groups(work, layer), at(work, layer - 1, STRIDE)
    matrix_open()
    if not is_packed:
        _pack_for_matrix(work, one, layer, p * panel, block.last_panel * panel)
    for q in range(p, block.last_panel):
        if block.group == 0 and begin <= q * groups:
            _vectors(work, one, layer, q * panel, -1)
    for group in range(block.group, block.last_group):
        first, last = _panels_of(block, groups, group)
        columns = min(PIECE, at(work, layer, DEPTH) - group * PIECE)
        x = below(work, layer, one.rank) + group * PIECE
        matrix.pack_inputs(x, stride, one.rows, columns, one.inputs)
        for q in range(first, last):
            _weights_by_matrix(work, one, pieces.weights(work, layer, q * panel, group), unit, _matrix_slot(one, q - p))
            unit += 1
    matrix_close()
    return unit


@kernel
def _own(work, one, owner, size, unit):
    """All blocks of a worker's units that nobody else has taken; unit: as in _block."""
    takers, line, before, passed, done = helpers(one.rows, size), line_of(work), 0, 0, 0
    number = next_of(work.words, owner, takers, done)
    for layer in range(1, work.numbers[LAYERS] + 1):
        _, groups = pieces.groups(work, layer)
        begin, end = own_of(work, layer, line, before, owner, size)
        before += 0 if at(work, layer, BY_PANELS) else units_of(work, layer)
        if begin >= end:
            continue
        p, last_panel, packed = begin // groups, (end + groups - 1) // groups, -1
        each = groups if takers == 1 else max((groups + BLOCKS - 1) // BLOCKS, WORTH_PACKING)
        parts = (groups + each - 1) // each
        by_matrix = at(work, layer, BY_MATRIX)
        slots = _matrix_slots(work, one) if by_matrix else one.slots
        count = (last_panel - p + slots - 1) // slots * parts
        while number < passed + count:
            q, group = p + (number - passed) // parts * slots, (number - passed) % parts * each
            block = Block(layer, begin, end, q, min(q + slots, last_panel), group, min(group + each, groups))
            if by_matrix:
                unit = _block_by_matrix(work, one, block, q == packed, unit)
            else:
                unit = _block(work, one, block, q == packed, unit)
            packed = q
            done += 1
            number = next_of(work.words, owner, takers, done)
        passed += count
    return unit


@kernel
def _next_pass(work, rank, size, count, upcoming):
    """The rows, first to last, of a next pass of up to `count` that this worker gathers."""
    rows = min(count, work.numbers[SAMPLES] - upcoming)
    return (0, rows) if work.numbers[INPUTS] else share_of_rows(rows, rank, size)


@kernel
def _open_pass(work, rank, size, rates, count, is_first, is_last, upcoming, t):
    panel, rows, tile = 2 * lanes(work.params), max(count, 1), scratch(work, rank)
    inputs = tile + PIECE * panel
    packed = inputs + PIECE * rows
    slots, units = (work.numbers[SCRATCH_SIZE] - PIECE * (panel + rows)) // (panel * rows), count_own(work, rank, size)
    first, last = _next_pass(work, rank, size, count, upcoming)
    updates = is_first and is_last and rates.clip_norm == 0.0 and work.numbers[OPTIMIZER] != optimizer.NONE
    asks, turns = is_far(work) and not subnetwork.is_passing(work), max(count // STEPS, 1)
    soon, later = (PIECE * panel + turns - 1) // turns, (work.numbers[COLUMNS_IN] + turns - 1) // turns
    return Pass(
        rates,
        rank,
        size,
        count,
        is_first,
        is_last,
        upcoming,
        first,
        last,
        units,
        tile,
        inputs,
        packed,
        slots,
        updates,
        asks,
        soon,
        later,
        t,
    )


@kernel
def gradients(work, rank, size, rates, count, is_first, is_last, upcoming, t):
    """This worker's share of all gradients over `count` rows, and in the batch's last pass of all updates.

    upcoming: position in the order where the next pass begins; t: the number of the step.
    """
    one = _open_pass(work, rank, size, rates, count, is_first, is_last, upcoming, t)
    unit = 0
    for turn in range(helpers(count, size)):
        unit = _own(work, one, (rank + turn) % size, size, unit)
