"""Stochastic descent by blocks: several samples side by side, as exact as one after the other.

Let the weights before a block be W, b. The sample t of the block sees

    z_t = x_t W + b - lr sum_{s < t} (x_s . x_t + 1) delta_s

so the block needs one product X W, one Gram matrix X X.T, and one update W -= lr X.T Delta at its end; only the
correction, a few rows of n_1 elements, goes sample by sample. The changes that the layers above the first still lack
after a block wait in a row behind it for the next one.

The workers of a team divide the first layer's panels: each updates its own by one block and feeds the next one, panel
by panel. Rank 0 takes the steps; meanwhile the others gather the next block, and the last one makes its Gram matrix.
How inputs are held and multiplied is up to the kind of data: see dense_blocks.py and sparse_blocks.py.
"""

from typing import NamedTuple

from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import STRIDE, WIDTH, A, D
from fastnn_kernels.native import fill, fma, lanes, load, maximum, store
from fastnn_kernels.native.atomic import load_acquire
from fastnn_kernels.optimizer import learning_rate
from fastnn_kernels.output import complete
from fastnn_kernels.stochastic import (
    activate_row,
    columns_of_first_layer,
    finish,
    floor_of,
    forget,
    keep,
    rest_of_step,
)
from fastnn_kernels.team import DECISION, DIVERGED, FLAG, GOES_ON, PROGRESS, STOPPED, decide, meet, raise_flag
from fastnn_kernels.work import BLOCK, COLUMNS_IN, LOSSES, SAMPLES, ask_for_elements, at, sample_at


class Block(NamedTuple):
    """One block, as one worker sees it.

    start: position of its first sample in the order; rows: samples; size: those of a whole block; inputs: where the
    worker has theirs; gram: X X.T + 1 (rows, size), left of the diagonal; first, last: the first layer's columns that
    are the worker's.
    """

    start: int
    rows: int
    size: int
    inputs: object
    gram: object
    first: int
    last: int


@kernel
def ask_for_next(work, following, column):
    """The panel at a column asks for its share of the inputs behind a block: a random order leaves nothing to guess."""
    width, columns, panel = following.last - following.first, work.numbers[COLUMNS_IN], 2 * lanes(work.space)
    part = (columns * panel + width - 1) // width
    place, start = (column - following.first) // panel * part, following.start + following.rows
    for position in range(start, min(start + following.size, work.numbers[SAMPLES])):
        ask_for_elements(work.X + (sample_at(work, position) * columns + place), part)


@kernel
def _correct(z, width, floor, changes, stride, gram, rows):
    """z of a row, raised to the floor: what the updates of the rows before it, with these changes, do to it.

    Four vectors at a time hide the latency; the last ones may be the same, and are written alike.
    """
    n, last, lowest = lanes(z), width - lanes(z), fill(z, floor)
    for first in range(0, width, 4 * n):
        second, third, fourth = min(first + n, last), min(first + 2 * n, last), min(first + 3 * n, last)
        a, b, c, d, change = load(z + first), load(z + second), load(z + third), load(z + fourth), changes
        for row in range(rows):
            g = gram[row]
            a, b = fma(load(change + first), g, a), fma(load(change + second), g, b)
            c, d = fma(load(change + third), g, c), fma(load(change + fourth), g, d)
            change = change + stride
        store(z + first, maximum(lowest, a))
        store(z + second, maximum(lowest, b))
        store(z + third, maximum(lowest, c))
        store(z + fourth, maximum(lowest, d))


@kernel
def _steps(work, block, t):
    """The block's steps, t steps before them; (loss, hits, finite). Leaves what each adds to the first layer in D."""
    loss, hits, size = 0.0, 0, block.size
    before, stride, width, floor = size, at(work, 1, STRIDE), at(work, 1, WIDTH), floor_of(work, 1)
    z, changes = work.space + at(work, 1, A), work.space + at(work, 1, D)
    for row in range(block.rows):
        _correct(z + row * stride, width, floor, changes, stride, block.gram + row * size, row)
        activate_row(work, 1, row)
        lr = learning_rate(work.constants, t + row + 1)
        found, finite = rest_of_step(work, row, before, block.start + row, lr)
        if not finite:
            return loss, hits, False
        hits += found
        before = row
    keep(work, before, size)
    complete(work, 0, block.rows, block.start)
    for row in range(block.rows):
        loss += work.space[work.numbers[LOSSES] + row]
    return loss, hits, True


def epochs_of(size_of, inputs_at, gather, move):
    """The epoch for a kind of data.

    size_of(work): samples of a whole block. inputs_at(work, rank, turn): where a worker has the inputs of a block;
    blocks take turns in two places. gather(work, rank, size, block): bring them there; the last worker makes the Gram
    matrix. move(work, block, following): the worker's columns of the first layer's weights and biases by a block whose
    changes are in D, then z of the following one, into A; either may have no samples.
    """

    @kernel
    def block_at(work, rank, start, first, last):
        """The block from a position of the order on; none at its end."""
        size = size_of(work)
        turn = start // size % 2
        gram = work.space + (work.numbers[BLOCK] + turn * size * size)
        rows = min(size, work.numbers[SAMPLES] - start)
        return Block(start, rows, size, inputs_at(work, rank, turn), gram, first, last)

    @kernel
    def epoch(work, rank, size, count, t):
        """One epoch of stochastic steps; returns (state of the run, step reached, rank 0's sum of losses and hits)."""
        first, last = columns_of_first_layer(work, rank, size)
        loss, hits, pending = 0.0, 0, size_of(work)
        if rank == 0:
            forget(work, pending)
        following = block_at(work, rank, 0, first, last)
        gather(work, rank, size, following)
        move(work, block_at(work, rank, count, first, last), following)
        while following.rows > 0:
            block = following
            following = block_at(work, rank, block.start + block.rows, first, last)
            if rank == 0:
                decide(work.words)
            if not meet(work.words, size):
                return STOPPED, t, loss, hits
            if load_acquire(work.words + DECISION) != 0:
                if rank == 0:
                    finish(work, pending)
                return STOPPED, t, loss, hits
            if rank == 0:
                value, found, finite = _steps(work, block, t)
                if not finite:
                    raise_flag(work.words)
                loss += value
                hits += found
            else:
                gather(work, rank, size, following)
            if not meet(work.words, size):
                return STOPPED, t, loss, hits
            if load_acquire(work.words + FLAG) != 0:
                return DIVERGED, t, loss, hits
            if rank == 0:
                gather(work, rank, size, following)
            move(work, block, following)
            t += block.rows
            if rank == 0:
                work.words[PROGRESS] += block.rows
        if rank == 0:
            finish(work, pending)
        return GOES_ON, t, loss, hits

    return epoch
