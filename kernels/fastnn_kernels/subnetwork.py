"""Dropout per batch and per epoch: the units that are off are left out of all products.

The same number of a layer's units stays every time, so what is left is a network of constant sizes with a Work of its
own, `small`. Its parameters are taken from the whole network before a batch or an epoch. For an epoch its state is
taken too, and both are given back at the end. For a batch neither is: update.py changes the whole network at once,
through `lines`. What belongs to a unit that is off rests. Outputs of units that stay are scaled by n / kept: as dropout
with nothing off.

Numbers move by vectors, whose lanes are permuted. `small.units` holds, for the input and each layer, the numbers of the
units that stay, in order (UNITS), and for each unit of the whole network its place among them (PLACES); -1 is none.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from fastnn_kernels import piece as pieces
from fastnn_kernels import rng
from fastnn_kernels.jit import extra, kernel
from fastnn_kernels.layout import DEPTH, N_OUT, PLACES, UNITS, WIDTH, B, W
from fastnn_kernels.lines import Lines, beside, line, put
from fastnn_kernels.native import (
    count_true,
    has_permutations,
    lanes,
    load,
    permute,
    prefetch_l2,
    room,
    select,
    store_where,
)
from fastnn_kernels.noise import CONSTANTS, NEVER, PER, PER_BATCH
from fastnn_kernels.rng import GROUP
from fastnn_kernels.team import meet
from fastnn_kernels.work import LAYERS, PARAMETERS, SEED, STATES, SUBNETWORK, at, share


@kernel
def is_passing(work):
    """Whether a network that takes steps is a small one for a batch: its updates are of the whole."""
    return work.numbers[SUBNETWORK] == PER_BATCH


@kernel
def _choose(small, layer, n, number):
    """Choose units of a layer of n, all choices equally likely; number: of the step or epoch.

    Unit j stays with probability (places left) / (units left): algorithm S of Knuth, volume 2, 3.4.2.
    """
    u = room(small.params, GROUP)
    units, places = small.units + at(small, layer, UNITS), small.units + at(small, layer, PLACES)
    kept, taken = at(small, layer, N_OUT), 0
    for j in range(n):
        if j % GROUP == 0:
            rng.group(u, j, rng.DROPOUT + layer, 0, number, small.numbers[SEED])
        stays = np.float64(u[j % GROUP]) * (n - j) < kept - taken
        units[taken] = j  # overwritten if it does not stay: no branch to guess
        places[j] = taken if stays else -1
        taken += stays
    units[kept] = -1  # whole vectors are read


class _Vector(NamedTuple):
    """A vector of the whole network, as _place has it, and the lanes of another that come from it."""

    place: int
    stride: int
    mask: object


@kernel
def _place(work, piece, first):
    """Where the vector of the units from `first` on lies for input 0, and how far the next input's is; bias: 0."""
    n = lanes(work.params)
    if not piece.is_weight:
        return at(work, piece.layer, B) + first, 0
    column = first - first % (2 * n)
    stride = min(2 * n, at(work, piece.layer, WIDTH) - column)
    return at(work, piece.layer, W) + column * at(work, piece.layer, DEPTH) + (first - column), stride


@kernel
def _vector(work, piece, numbers, first):
    """The vector of the units from `first` on, wanted where `numbers` are among them."""
    n = lanes(work.params)
    place, stride = _place(work, piece, min(first, at(work, piece.layer, WIDTH) - n))  # there may be none
    return _Vector(place, stride, (numbers >= first) & (numbers < first + n))


@kernel
def _four_vectors(work, piece, numbers, unit):
    """The vector of a unit and the three behind it: mostly all that a vector of a small network comes from."""
    n = lanes(work.params)
    first = unit - unit % n
    return (
        _vector(work, piece, numbers, first),
        _vector(work, piece, numbers, first + n),
        _vector(work, piece, numbers, first + 2 * n),
        _vector(work, piece, numbers, first + 3 * n),
    )


@kernel
def _any(four):
    """The lanes that one of four vectors has."""
    a, b, c, d = four
    return a.mask | b.mask | c.mask | d.mask


@kernel
def _gather(target, columns, whole, four, inputs, rows, numbers):
    """One vector of each row of a piece, put together from four of the whole network and stored once."""
    a, b, c, d = four
    mask = _any(four)
    for k in range(rows):
        row = inputs[k]
        v = permute(load(whole + (a.place + row * a.stride)), numbers)
        v = select(b.mask, permute(load(whole + (b.place + row * b.stride)), numbers), v)
        v = select(c.mask, permute(load(whole + (c.place + row * c.stride)), numbers), v)
        v = select(d.mask, permute(load(whole + (d.place + row * d.stride)), numbers), v)
        store_where(mask, target, v)
        target = target + columns


@kernel
def end(small, piece):
    """The column behind the last one of a piece that is no padding."""
    return min(piece.column + piece.columns, at(small, piece.layer, N_OUT))


@kernel
def _inputs(small, piece):
    """The numbers of the inputs of a piece's rows."""
    return small.units + (at(small, piece.layer - 1, UNITS) + piece.row)


@kernel
def _take_vectors(work, small, piece, states):
    n, inputs, columns, rows = lanes(small.params), _inputs(small, piece), piece.columns, piece.rows
    units = small.units + at(small, piece.layer, UNITS)
    for j in range(piece.column, end(small, piece), n):
        numbers, column, place = load(units + j), j, piece.offset + (j - piece.column)
        while column < min(j + n, end(small, piece)):
            four = _four_vectors(work, piece, numbers, units[column])
            _gather(small.params + place, columns, work.params, four, inputs, rows, numbers)
            for i in range(states):
                own = small.state + (i * small.numbers[PARAMETERS] + place)
                _gather(own, columns, work.state + i * work.numbers[PARAMETERS], four, inputs, rows, numbers)
            column += count_true(_any(four))


@kernel
def _gather_elements(target, columns, source, stride, inputs, rows):
    for k in range(rows):
        target[k * columns] = source[inputs[k] * stride]


@kernel
def _take_elements(work, small, piece, states):
    inputs, columns, rows = _inputs(small, piece), piece.columns, piece.rows
    for column in range(piece.column, end(small, piece)):
        unit = small.units[at(small, piece.layer, UNITS) + column]
        first = unit - unit % lanes(small.params)
        theirs, stride = _place(work, piece, first)
        theirs, own = theirs + (unit - first), piece.offset + (column - piece.column)
        _gather_elements(small.params + own, columns, work.params + theirs, stride, inputs, rows)
        for i in range(states):
            target = small.state + (i * small.numbers[PARAMETERS] + own)
            source = work.state + (i * work.numbers[PARAMETERS] + theirs)
            _gather_elements(target, columns, source, stride, inputs, rows)


@kernel
def _take(work, small, piece, states):
    """A piece from the whole network: parameters, and so many vectors of state."""
    if has_permutations(small.params):
        _take_vectors(work, small, piece, states)
    else:
        _take_elements(work, small, piece, states)


@kernel
def lines(work, small, piece, column):
    """Where the units from a column of a piece on lie in one vector of the whole network.

    Returns the lines, their offset in the parameters, and how many units there are.
    """
    n, units = lanes(small.params), small.units + at(small, piece.layer, UNITS)
    first = units[column] - units[column] % n
    index = load(small.units + (at(small, piece.layer, PLACES) + first)) - column
    mask = (index >= 0) & (index < end(small, piece) - column)
    place, stride = _place(work, piece, first)
    found = Lines(piece.rows, _inputs(small, piece), stride, piece.columns, index, mask)
    return found, place, count_true(mask)


@extra(types.none)
def ask_for(work, small, piece):
    """Bring near what the update of a piece reads and writes: scattered lines that the processor does not foresee."""
    n, units, inputs = lanes(small.params), small.units + at(small, piece.layer, UNITS), _inputs(small, piece)
    first, last = units[piece.column], units[end(small, piece) - 1]
    for unit in range(first - first % n, last + 1, n):
        start, stride = _place(work, piece, unit)
        for k in range(piece.rows):
            place = start + inputs[k] * stride
            prefetch_l2(work.params + place)
            for i in range(small.numbers[STATES]):
                prefetch_l2(work.state + (i * work.numbers[PARAMETERS] + place))


@kernel
def _copy(lines, target, source):
    """What lies at `source` beside the lines to them."""
    for k in range(lines.total):
        put(lines, target + line(lines, k), beside(lines, source, k))


@kernel
def _give(work, small, piece):
    """A piece and its state back to the whole network."""
    column = piece.column
    while column < end(small, piece):
        where, offset, columns = lines(work, small, piece, column)
        own = piece.offset + (column - piece.column)
        _copy(where, work.params + offset, small.params + own)
        for i in range(small.numbers[STATES]):
            part, whole = i * small.numbers[PARAMETERS], i * work.numbers[PARAMETERS]
            _copy(where, work.state + (whole + offset), small.state + (part + own))
        column += columns


@extra(types.boolean)
def take(work, small, rank, size, t, epoch):
    """Choose the units that stay in step t, and fill the small network. False where the team is to leave."""
    for layer in range(1 + rank, work.numbers[LAYERS], size):
        per = small.noise[layer * CONSTANTS + PER]
        if per != NEVER:
            _choose(small, layer, at(work, layer, N_OUT), t if per == PER_BATCH else epoch)
    if not meet(work.words, size):
        return False
    states = 0 if is_passing(small) else small.numbers[STATES]
    for layer in range(1, work.numbers[LAYERS] + 1):
        first, last = share(pieces.count(small, layer), rank, size)
        for number in range(first, last):
            _take(work, small, pieces.piece(small, layer, number), states)
    return meet(work.words, size)


@extra(types.boolean)
def give_back(work, small, rank, size):
    """Write parameters and state of the small network back. False where the team is to leave."""
    for layer in range(1, work.numbers[LAYERS] + 1):
        first, last = share(pieces.count(small, layer), rank, size)
        for number in range(first, last):
            _give(work, small, pieces.piece(small, layer, number))
    return meet(work.words, size)
