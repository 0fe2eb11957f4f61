"""One training step as every worker of a team sees it.

A worker takes its part through feed, loss and delta, see passes.py; then all meet; then it takes its share of the
weights through gradient and update; then all meet again. Batches of more rows than the workspace holds go through in
parts, their gradients added up in order before the one update.
"""

import numpy as np

from fastnn_kernels import optimizer, output, weight_noise
from fastnn_kernels.gradient import gradients
from fastnn_kernels.jit import kernel
from fastnn_kernels.passes import Now, delta_all, feed_all
from fastnn_kernels.team import GOES_ON, STOPPED, agreed, decide, meet, raise_flag
from fastnn_kernels.update import update_all
from fastnn_kernels.work import LOSSES, MEETS, OPTIMIZER, PASS_ROWS, share_of_rows


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
        first, last = share_of_rows(here, rank, size)
        if first < last or work.numbers[MEETS]:
            now = Now(t, begin, work.numbers[OPTIMIZER] != optimizer.NONE, here, rank, size)
            if not feed_all(work, first, last, now):
                return STOPPED, loss, hits
            found, finite = output.losses(work, first, last, begin, 1.0 / count)
            hits += found
            if not finite and work.numbers[OPTIMIZER] != optimizer.NONE:
                raise_flag(work.words)
            if not delta_all(work, first, last, now):
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
