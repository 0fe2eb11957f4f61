"""Dropout per batch and per epoch: the units that are off are left out of all products.

The same number of a layer's units stays every time, so what is left is a network of constant sizes with a Work of its
own, `small`. Its parameters and optimizer state are taken from the whole network before a batch (or an epoch) and given
back after it; in between it takes ordinary steps. What belongs to a unit that is off rests. Outputs of units that stay
are scaled by n / kept: as dropout with nothing off.

`small.units` holds the numbers of the units that stay, in order, for the input and each layer.
"""

import numpy as np

from fastnn_kernels import rng
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import DEPTH, N_IN, N_OUT, UNITS, WIDTH, B, W
from fastnn_kernels.machine import MOST_COLUMNS
from fastnn_kernels.native import lanes, room
from fastnn_kernels.noise import CONSTANTS, NEVER, PER, PER_BATCH
from fastnn_kernels.rng import GROUP
from fastnn_kernels.team import meet
from fastnn_kernels.work import LAYERS, PARAMETERS, SEED, STATES, at, share


@kernel
def _choose(small, layer, n, number):
    """Choose units of a layer of n, all choices equally likely; number: of the step or epoch.

    Unit j stays with probability (places left) / (units left): algorithm S of Knuth, volume 2, 3.4.2.
    """
    u = room(small.params, GROUP)
    units, kept = small.units + at(small, layer, UNITS), at(small, layer, N_OUT)
    taken = 0
    for j in range(n):
        if j % GROUP == 0:
            rng.group(u, j, rng.DROPOUT + layer, 0, number, small.numbers[SEED])
        if np.float64(u[j % GROUP]) * (n - j) < kept - taken:
            units[taken] = j
            taken += 1


@kernel
def _gather(target, source, starts, strides, row, count):
    for i in range(count):
        target[i] = source[starts[i] + row * strides[i]]


@kernel
def _scatter(target, source, starts, strides, row, count):
    for i in range(count):
        target[starts[i] + row * strides[i]] = source[i]


@kernel
def _move_panel(work, small, layer, column, whole, part, is_back):
    """One panel of the small network's weights and its bias, from the vector `whole` into `part`, or back."""
    panel, depth, width = 2 * lanes(part), at(work, layer, DEPTH), at(work, layer, WIDTH)
    columns = min(panel, at(small, layer, WIDTH) - column)
    count = min(columns, at(small, layer, N_OUT) - column)
    inputs = small.units + at(small, layer - 1, UNITS)
    outputs = small.units + (at(small, layer, UNITS) + column)
    starts, strides = room(outputs, MOST_COLUMNS), room(outputs, MOST_COLUMNS)
    for i in range(count):
        first = outputs[i] - outputs[i] % panel
        starts[i], strides[i] = first * depth + outputs[i] % panel, min(panel, width - first)
    weights = whole + at(work, layer, W)
    own = part + (at(small, layer, W) + column * at(small, layer, DEPTH))
    for k in range(at(small, layer, N_IN)):
        if is_back:
            _scatter(weights, own, starts, strides, inputs[k], count)
        else:
            _gather(own, weights, starts, strides, inputs[k], count)
        own = own + columns
    bias, own_bias = whole + at(work, layer, B), part + (at(small, layer, B) + column)
    for i in range(count):
        if is_back:
            bias[outputs[i]] = own_bias[i]
        else:
            own_bias[i] = bias[outputs[i]]


@kernel
def _move(work, small, rank, size, is_back):
    """This worker's share of all parameters and state."""
    panel = 2 * lanes(work.params)
    for layer in range(1, work.numbers[LAYERS] + 1):
        first, last = share((at(small, layer, WIDTH) + panel - 1) // panel, rank, size)
        for column in range(first * panel, last * panel, panel):
            _move_panel(work, small, layer, column, work.params, small.params, is_back)
            for i in range(work.numbers[STATES]):
                whole = work.state + i * work.numbers[PARAMETERS]
                part = small.state + i * small.numbers[PARAMETERS]
                _move_panel(work, small, layer, column, whole, part, is_back)


@kernel
def take(work, small, rank, size, t, epoch):
    """Choose the units that stay in step t, and fill the small network. False where the team is to leave."""
    for layer in range(1 + rank, work.numbers[LAYERS], size):
        per = small.noise[layer * CONSTANTS + PER]
        if per != NEVER:
            _choose(small, layer, at(work, layer, N_OUT), t if per == PER_BATCH else epoch)
    if not meet(work.words, size):
        return False
    _move(work, small, rank, size, False)
    return meet(work.words, size)


@kernel
def give_back(work, small, rank, size):
    """Write parameters and state of the small network back. False where the team is to leave."""
    _move(work, small, rank, size, True)
    return meet(work.words, size)
