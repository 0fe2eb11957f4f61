"""A step on so large a batch, through so small a network, that workers go from data to gradient without meeting.

The batch is divided into parts, as many on any number of threads, each with a gradient of its own. Workers take whole
parts one by one, a few rows after the other, each in a workspace of its own: what it has written is still in its cache
when its gradient reads it. Then all meet once, and the sum of the parts' gradients, in order, goes through penalty and
update.
"""

from fastnn_kernels import optimizer, output, penalty
from fastnn_kernels import piece as pieces
from fastnn_kernels.claim import next_of
from fastnn_kernels.gradient import gradients
from fastnn_kernels.jit import kernel
from fastnn_kernels.native import lanes, load, store
from fastnn_kernels.passes import Now, delta_all, feed_all
from fastnn_kernels.step import sum_losses
from fastnn_kernels.team import GOES_ON, STOPPED, agreed, decide, meet, raise_flag
from fastnn_kernels.update import CHUNK, update_all, update_layers
from fastnn_kernels.work import (
    FIELDS,
    LAYERS,
    OPTIMIZER,
    PARAMETERS,
    PARTS,
    PASS_ROWS,
    open_other,
    share,
)


@kernel
def _part(work, own, rates, start, first, last, count, t):
    """Rows first to last of the batch of `count` through the workspace and into the gradient of `own`.

    Returns (sum of losses, hits, whether all losses are finite).
    """
    loss, hits, all_finite, rows = 0.0, 0, True, work.numbers[PASS_ROWS]
    for begin in range(first, max(first + 1, last), rows):  # a part without rows has a gradient too: 0
        here = min(rows, last - begin)
        now = Now(t, start + begin, True, here, 0, 1)
        feed_all(own, 0, here, now)
        found, finite = output.losses(own, 0, here, start + begin, 1.0 / count)
        delta_all(own, 0, here, now)
        gradients(own, 0, 1, rates, here, begin == first, False, start + begin + here, t)
        loss += sum_losses(own, here)
        hits += found
        all_finite = all_finite and finite
    return loss, hits, all_finite


@kernel
def _losses(work):
    """Where the parts' sums of losses lie: behind the sums of update.py."""
    return work.constants + (optimizer.CONSTANTS + (work.numbers[PARAMETERS] + CHUNK - 1) // CHUNK)


@kernel
def _add_parts(work, g, count):
    """The parts' gradients of some parameters added up in order, into that of the first, g."""
    size, parts = work.numbers[PARAMETERS], work.numbers[PARTS]
    for i in range(0, count, lanes(g)):
        total, p = load(g + i), g + i
        for _ in range(1, parts):
            p = p + size
            total = total + load(p)
        store(g + i, total)


@kernel
def _collect(work, rank, size, rates):
    """This worker's share of the whole gradient, with the penalty's, in pieces as update.py divides them."""
    for layer in range(1, work.numbers[LAYERS] + 1):
        first, last = share(pieces.count(work, layer), rank, size)
        for number in range(first, last):
            piece = pieces.piece(work, layer, number)
            g, w, count = work.gradient + piece.offset, work.params + piece.offset, piece.rows * piece.columns
            _add_parts(work, g, count)
            if piece.is_weight:
                penalty.add_gradient(g, w, count, rates.l1, rates.l2)


@kernel
def step(work, rank, size, start, count, t):
    """As step.step, for batches that are divided into parts."""
    rates = optimizer.rates(work.numbers[OPTIMIZER], work.constants, t)
    parts, losses, hits = work.numbers[PARTS], _losses(work), 0
    for turn in range(size):
        owner = (rank + turn) % size
        first, last = share(parts, owner, size)
        done, part = 0, first + next_of(work.words, owner, size, 0)
        while part < last:
            own = open_other(work, work.alone + (rank * parts + part) * len(FIELDS))
            begin, end = share(count, part, parts)
            losses[part], found, finite = _part(work, own, rates, start, begin, end, count, t)
            hits += found
            if not finite:
                raise_flag(work.words)
            done += 1
            part = first + next_of(work.words, owner, size, done)
    if rank == 0:
        decide(work.words)
    if not meet(work.words, size):
        return STOPPED, 0.0, hits
    state, loss = agreed(work.words), 0.0
    if state != GOES_ON:
        return state, loss, hits
    for part in range(parts):
        loss += losses[part]
    _collect(work, rank, size, rates)
    if rates.clip_norm > 0.0:
        if not meet(work.words, size):
            return STOPPED, loss, hits
        return update_all(work, rank, size, rates), loss, hits
    update_layers(work, rank, size, rates, 1.0)
    return GOES_ON if meet(work.words, size) else STOPPED, loss, hits
