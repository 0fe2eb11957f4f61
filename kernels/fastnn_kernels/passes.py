"""One pass of rows through all layers, forth and back, as every worker of a team sees it.

By rows: a worker takes its rows of the pass through layer after layer, alone. It reads all weights, half of which on
two threads another one has just written.

By panels, where a layer has so many weights that fetching them costs more than meeting: a worker takes all rows through
those panels of the layer that it will update itself, then helps with those of others that are not begun, see claim.py;
and all meet before someone needs what another one has computed.
What goes by whole rows, as normalization does, is done by rows after the next meeting.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from fastnn_kernels import augment, by_matrix, dense, rowwise
from fastnn_kernels.claim import helpers, next_of
from fastnn_kernels.jit import extra, kernel
from fastnn_kernels.layout import ACTIVATION, BY_MATRIX, BY_PANELS, STRIDE, WIDTH
from fastnn_kernels.machine import TALL, UNIT
from fastnn_kernels.native import lanes, load, store
from fastnn_kernels.team import meet
from fastnn_kernels.work import COLUMNS_IN, INPUTS, LAYERS, NORMALIZED, ROWS, SEED, at, below, sample_at, share

UNITS = 8  # of work that a worker is to have of a layer, so that those which are left at the end are little
LEAST_TILES = 2  # rows of a unit, in tiles


class Now(NamedTuple):
    """The moment of a pass through the network. Random numbers and normalization depend on it.

    t: the number of the step, from 1; start: position in the order of the pass's row 0; is_training: whether there is
    noise; rows: of the whole pass, which workers rank = 0 to size divide among themselves.
    """

    t: int
    start: int
    is_training: bool
    rows: int
    rank: int
    size: int


@extra(types.none)
def _augment(work, first, x, columns, sample, now, out):
    """The sample x, augmented, into an input row; first: of the rows that this worker gathers."""
    room = work.room + first // UNIT * np.int64(work.augment[augment.ROOM_SIZE])
    augmented = augment.augmented(work.augment, work.basis, room, x, columns, sample, now.t, work.numbers[SEED])
    for j in range(columns):
        out[j] = augmented[j]


@kernel
def gather(work, rows, first, last, now):
    """Copy the samples at positions start + first to start + last of the order into input rows, normalized.

    rows: where row 0 of them begins. In training they are augmented before they are normalized.
    """
    columns, stride = work.numbers[COLUMNS_IN], at(work, 0, STRIDE)
    normalized = work.numbers[NORMALIZED] != 0
    is_augmented = now.is_training and work.augment[augment.ON] != 0.0
    out = rows + first * stride
    n = lanes(out)
    whole = columns - columns % n
    for row in range(first, last):
        sample = sample_at(work, now.start + row)
        x = work.X + sample * columns
        if is_augmented:
            _augment(work, first, x, columns, sample, now, out)
            x = out
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
def _rows_of_unit(panels, most, now):
    """Rows of a panel that a worker takes at a time: up to `most`, and fewer where there are few panels."""
    rows = (now.rows * panels + UNITS * now.size - 1) // (UNITS * now.size)
    return min(most, max((rows + TALL - 1) // TALL, LEAST_TILES) * TALL)


def _panels(one_panel):
    @kernel
    def panels(work, layer, most, act, now):
        """All panels of a layer, up to `most` rows at a time, after which all meet. False where the team is told to
        leave.

        The UNITs of rows of all panels form one line, panel by panel, and every worker owns a stretch of it.
        """
        columns, size = 2 * lanes(work.space), helpers(now.rows, now.size)
        count, each = (at(work, layer, WIDTH) + columns - 1) // columns, (now.rows + UNIT - 1) // UNIT
        rows = _rows_of_unit(count, most, now)
        blocks = (now.rows + rows - 1) // rows
        for turn in range(size):
            owner, done = (now.rank + turn) % now.size, 0
            begin, end = share(count * each, owner, now.size)
            own = (end + each - 1) // each - begin // each
            number = next_of(work.words, owner, size, done)
            while number < own * blocks:
                panel, block = begin // each + number % own, number // own
                first = max(block * rows, (begin - panel * each) * UNIT)
                last = min((block + 1) * rows, (end - panel * each) * UNIT, now.rows)
                if first < last:
                    one_panel(work, layer, panel * columns, first, last, act, now)
                done += 1
                number = next_of(work.words, owner, size, done)
        return meet(work.words, now.size)

    return panels


_feed_panels, _delta_panels = _panels(dense.feed_panel), _panels(dense.delta_panel)


@kernel
def feed_by_rows(work, layer, first, last, act, now):
    """A of the layer, rows first to last. False where the team is told to leave."""
    if at(work, layer, BY_MATRIX):
        return by_matrix.feed(work, layer, first, last, act, now)
    return dense.feed(work, layer, first, last, act, now)


@kernel
def delta_by_rows(work, layer, first, last, now):
    """D of the layer, rows first to last. False where the team is told to leave."""
    if at(work, layer + 1, BY_MATRIX):
        return by_matrix.delta(work, layer, first, last, now)
    return dense.delta(work, layer, first, last, now)


@kernel
def _feed_layer(work, layer, first, last, act, is_whole, now):
    """A of a layer; is_whole: whether all rows of what goes into it are there, and not only first to last.

    Returns (whether those of A are, whether to go on).
    """
    if not at(work, layer, BY_PANELS):
        return False, feed_by_rows(work, layer, first, last, act, now)
    if not is_whole and not meet(work.words, now.size):
        return False, False
    if at(work, layer, BY_MATRIX):
        by_matrix.feed_panels(work, layer, act, now)
        if not meet(work.words, now.size):
            return False, False
    elif not _feed_panels(work, layer, dense.rows_at_once(work, layer), act, now):
        return False, False
    if not dense.feeds_rows(work, layer, act, now):
        return True, True
    return False, dense.feed_rows(work, layer, first, last, act, now)


@kernel
def feed_all(work, first, last, now):
    """Gather the rows first to last and feed them through all layers; the last one keeps its logits.

    False where the team is told to leave.
    """
    layers, is_whole = work.numbers[LAYERS], work.numbers[INPUTS] != 0
    if is_whole:
        gather(work, below(work, 1, now.rank), 0, now.rows, now)
    else:
        gather(work, below(work, 1, now.rank), first, last, now)
    for layer in range(1, layers + 1):
        act = at(work, layer, ACTIVATION)
        if layer == layers:
            act = rowwise.before_output(act)
        is_whole, goes_on = _feed_layer(work, layer, first, last, act, is_whole, now)
        if not goes_on:
            return False
    return True


@kernel
def _delta_by_panels(work, layer, now):
    """D of a layer up to what goes by whole rows, between two meetings. False where the team is told to leave."""
    if not meet(work.words, now.size):
        return False
    if at(work, layer + 1, BY_MATRIX):
        by_matrix.delta_panels(work, layer, at(work, layer, ACTIVATION), now)
        return meet(work.words, now.size)
    return _delta_panels(work, layer, work.numbers[ROWS], at(work, layer, ACTIVATION), now)


@kernel
def delta_all(work, first, last, now):
    """Deltas of all layers below the last, rows first to last; False where the team is told to leave."""
    for layer in range(work.numbers[LAYERS] - 1, 0, -1):
        if at(work, layer + 1, BY_PANELS):
            if not _delta_by_panels(work, layer, now) or not dense.delta_rows(work, layer, first, last, now):
                return False
        elif not delta_by_rows(work, layer, first, last, now):
            return False
    return True
