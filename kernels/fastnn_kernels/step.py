"""One training step as every worker of a team sees it.

A worker takes its rows of the batch through feed, loss and delta without meeting anybody (but for batch
normalization, whose statistics are of all rows); then all meet; then it
takes its share of the weights through gradient and update; then all meet again. Batches of more rows than the
workspace holds go through in parts, their gradients added up in order before the one update.
"""

from typing import NamedTuple

import numpy as np

from fastnn_kernels import augment, dense, optimizer, output, rowwise, weight_noise
from fastnn_kernels.gradient import gradients
from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import ACTIVATION, STRIDE, A
from fastnn_kernels.machine import UNIT
from fastnn_kernels.native import lanes, load, store
from fastnn_kernels.team import GOES_ON, STOPPED, agreed, decide, meet, raise_flag
from fastnn_kernels.update import update_all
from fastnn_kernels.work import (
    COLUMNS_IN,
    LAYERS,
    LOSSES,
    NORMALIZED,
    OPTIMIZER,
    PASS_ROWS,
    RUNNING_SIZE,
    SEED,
    at,
    sample_at,
    scratch,
    share,
)


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


@kernel
def gather(work, first, last, now):
    """Copy the samples at positions start + first to start + last of the order into the input rows, normalized.

    In training they are augmented before that.
    """
    columns, stride = work.numbers[COLUMNS_IN], at(work, 0, STRIDE)
    normalized = work.numbers[NORMALIZED] != 0
    is_augmented = now.is_training and work.augment[augment.ON] != 0.0
    out = work.space + (at(work, 0, A) + first * stride)
    n = lanes(out)
    whole = columns - columns % n
    for row in range(first, last):
        sample = sample_at(work, now.start + row)
        x = work.X + sample * columns
        if is_augmented:
            room = work.room + first // UNIT * np.int64(work.augment[augment.ROOM_SIZE])
            x = augment.augmented(work.augment, work.basis, room, x, columns, sample, now.t, work.numbers[SEED])
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
def feed_hidden(work, first, last, now):
    """Gather the rows first to last and feed them through all layers; the last one keeps its logits.

    False where the team is told to leave.
    """
    gather(work, first, last, now)
    layers = work.numbers[LAYERS]
    for layer in range(1, layers):
        if not dense.feed(work, layer, first, last, at(work, layer, ACTIVATION), now):
            return False
    return dense.feed(work, layers, first, last, rowwise.before_output(at(work, layers, ACTIVATION)), now)


@kernel
def backward_rows(work, rank, first, last, now):
    """Deltas of all layers below the last, rows first to last; False where the team is told to leave."""
    for layer in range(work.numbers[LAYERS] - 1, 0, -1):
        if not dense.delta(work, layer, first, last, now, scratch(work, rank)):
            return False
    return True


@kernel
def sum_losses(work, count):
    """The rows' losses added up in float64, in order."""
    losses = work.space + work.numbers[LOSSES]
    total = 0.0
    for row in range(count):
        total += np.float64(losses[row])
    return total


@kernel
def step(work, rank, size, start, count, t):
    """One step on the batch at positions start to start + count of the order; t: its number, from 1.

    Returns what team.py calls the state of the run, and, on rank 0, the batch's loss summed over its rows and the
    hits of this worker's rows. Parameters are as before the step unless it returns GOES_ON.
    """
    rates = optimizer.rates(work.numbers[OPTIMIZER], work.constants, t)
    rows = work.numbers[PASS_ROWS]
    loss, hits = 0.0, 0
    if weight_noise.is_any(work):
        weight_noise.disturb(work, rank, size, t)
        if not meet(work.words, size):
            return STOPPED, loss, hits
    parts = (count + rows - 1) // rows
    for part in range(parts):
        begin = start + part * rows
        here = min(rows, count - part * rows)
        units_first, units_last = share((here + UNIT - 1) // UNIT, rank, size)
        first, last = units_first * UNIT, min(units_last * UNIT, here)
        if first < last or work.numbers[RUNNING_SIZE] > 0:  # batch normalization meets everybody
            now = Now(t, begin, work.numbers[OPTIMIZER] != optimizer.NONE, here, rank, size)
            if not feed_hidden(work, first, last, now):
                return STOPPED, loss, hits
            found, finite = output.losses(work, first, last, begin, count)
            hits += found
            if not finite:
                raise_flag(work.words)
            if not backward_rows(work, rank, first, last, now):
                return STOPPED, loss, hits
        if rank == 0:
            decide(work.words)
        if not meet(work.words, size):
            return STOPPED, loss, hits
        state = agreed(work.words)
        if state != GOES_ON:
            return state, loss, hits
        if rank == 0:
            loss += sum_losses(work, here)
        gradients(work, rank, size, rates, here, part == 0, part == parts - 1, begin + here, t)
        if not meet(work.words, size):
            return STOPPED, loss, hits
    state = GOES_ON
    if rates.clip_norm > 0.0:
        state = update_all(work, rank, size, rates)
    return state, loss, hits
