"""Stochastic descent on data with many zeros: row k of W is read and written only where x_k is not 0.

A sample's update and the next one's product go together through the panels of W: many rows are of both, and still near.
The workers of a team divide the first layer's panels; rank 0 does the rest of every step, which the others wait for.
"""

from typing import NamedTuple

import numpy as np

from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import DEPTH, A, B, D, W
from fastnn_kernels.machine import VECTOR_BYTES
from fastnn_kernels.native import fill, fma, lanes, load, maximum, put_true, store
from fastnn_kernels.native.atomic import load_acquire, store_release
from fastnn_kernels.optimizer import learning_rate
from fastnn_kernels.output import complete
from fastnn_kernels.stochastic import (
    activate_row,
    columns_of_first_layer,
    finish,
    floor_of,
    forget,
    rest_of_step,
    row_of,
    update_bias,
)
from fastnn_kernels.team import DECISION, DIVERGED, FLAG, GOES_ON, PROGRESS, STOP, STOPPED, meet
from fastnn_kernels.work import COLUMNS_IN, LOSSES, SPARE, ask_for_elements, at, sample_at

PAIRS = VECTOR_BYTES < 64
"""Whether panels go by two: where the rows of both that two samples read are no more than a first cache holds."""


class _Sample(NamedTuple):
    """The inputs of a sample that are not 0: x[k] for `total` numbers k."""

    x: object
    numbers: object
    total: int


@kernel
def _not_zero(x, n, numbers):
    """The numbers k of all x[k] that are not 0, and up to SPARE others behind them; returns how many they are.

    As many as a vector has lanes are written at a time, whatever is not 0 there: a branch for each would be guessed
    wrong too often.
    """
    count, whole = 0, n - n % lanes(x)
    for j in range(0, whole, lanes(x)):
        count += put_true(numbers + count, load(x + j) != 0.0, j)
    for k in range(whole, n):
        numbers[count] = k
        count += x[k] != 0
    return count


@kernel
def _inputs(work, position, numbers):
    """Those of the sample at a position of the order."""
    columns = work.numbers[COLUMNS_IN]
    x = work.X + sample_at(work, position) * columns
    return _Sample(x, numbers, _not_zero(x, columns, numbers))


@kernel
def _times_panel(inputs, w, columns, start, floor, out):
    """out (columns,) = start + x @ w (n, columns) over the inputs that are not 0, raised to the floor.

    For both vectors of a panel, or twice for its only one; four sums side by side hide the latency.
    """
    x, numbers, second = inputs.x, inputs.numbers, columns - lanes(w)
    v = w + second
    s0, t0 = load(start), load(start + second)
    s1 = s2 = s3 = t1 = t2 = t3 = fill(w, 0.0)
    whole = inputs.total - inputs.total % 4
    for i in range(0, whole, 4):
        k0, k1, k2, k3 = numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]
        s0, t0 = fma(load(w + k0 * columns), x[k0], s0), fma(load(v + k0 * columns), x[k0], t0)
        s1, t1 = fma(load(w + k1 * columns), x[k1], s1), fma(load(v + k1 * columns), x[k1], t1)
        s2, t2 = fma(load(w + k2 * columns), x[k2], s2), fma(load(v + k2 * columns), x[k2], t2)
        s3, t3 = fma(load(w + k3 * columns), x[k3], s3), fma(load(v + k3 * columns), x[k3], t3)
    for i in range(whole, inputs.total):
        k = numbers[i]
        s0, t0 = fma(load(w + k * columns), x[k], s0), fma(load(v + k * columns), x[k], t0)
    store(out, maximum(fill(w, floor), (s0 + s1) + (s2 + s3)))
    store(out + second, maximum(fill(w, floor), (t0 + t1) + (t2 + t3)))


@kernel
def _add_outer(inputs, change, w, columns):
    """w (n, columns) += x.T change over the inputs that are not 0.

    A panel's only vector is read twice, then written twice alike.
    """
    second = columns - lanes(w)
    first, other = load(change), load(change + second)
    for i in range(inputs.total):
        k = inputs.numbers[i]
        p = w + k * columns
        a, b = fma(first, inputs.x[k], load(p)), fma(other, inputs.x[k], load(p + second))
        store(p, a)
        store(p + second, b)


@kernel
def _add_outer_pair(inputs, change, w, other):
    """The same for two panels of two vectors, w and other: numbers and inputs are read once for both."""
    n, columns = lanes(w), 2 * lanes(w)
    a, b, c, d = load(change), load(change + n), load(change + 2 * n), load(change + 3 * n)
    for i in range(inputs.total):
        k = inputs.numbers[i]
        p, q, x = w + k * columns, other + k * columns, inputs.x[k]
        store(p, fma(a, x, load(p)))
        store(p + n, fma(b, x, load(p + n)))
        store(q, fma(c, x, load(q)))
        store(q + n, fma(d, x, load(q + n)))


@kernel
def _first_layer(work, row, inputs, following, upcoming, first, last):
    """Columns first to last of the first layer's weights by `inputs` and the row's D, then z of the `following` sample
    in the other row.

    It reads half of the same: panel by panel, or PAIRS, what has been updated is still near when it is read. Each asks
    for its share of the inputs at `upcoming`: a random order gives the processor nothing to guess from.
    """
    z, change = row_of(work, 1, A, 1 - row), row_of(work, 1, D, row)
    depth, panel = at(work, 1, DEPTH), 2 * lanes(z)
    weight, bias, floor = work.params + at(work, 1, W), work.params + at(work, 1, B), floor_of(work, 1)
    part = (work.numbers[COLUMNS_IN] * panel + last - first - 1) // max(last - first, 1)
    paired = first + (last - first) // (2 * panel) * 2 * panel if PAIRS else first
    for column in range(first, paired, 2 * panel):
        w, other = weight + column * depth, weight + (column + panel) * depth
        ask_for_elements(upcoming + (column - first) // panel * part, 2 * part)
        _add_outer_pair(inputs, change + column, w, other)
        _times_panel(following, w, panel, bias + column, floor, z + column)
        _times_panel(following, other, panel, bias + (column + panel), floor, z + (column + panel))
    for column in range(paired, last, panel):
        columns, w = min(panel, last - column), weight + column * depth
        ask_for_elements(upcoming + (column - first) // panel * part, part)
        _add_outer(inputs, change + column, w, columns)
        _times_panel(following, w, columns, bias + column, floor, z + column)


@kernel
def _rest_of_step(work, position, t):
    """The step of the sample at a position of the order, t steps before it, but for the first layer's changes.

    Its z is in A: samples take turns in two rows. Returns (loss, hits), both 0 where the team is to leave instead.
    """
    row, before, words = position % 2, 1 - position % 2, work.words
    if words[STOP]:
        finish(work, before)
        store_release(words + DECISION, STOPPED)
        return 0.0, 0
    activate_row(work, 1, row)
    hits, finite = rest_of_step(work, row, before, position, learning_rate(work.constants, t + 1))
    if not finite or words[FLAG]:
        store_release(words + DECISION, DIVERGED)
        return 0.0, 0
    complete(work, row, row + 1, position - row)
    words[PROGRESS] += 1
    return np.float64(work.space[work.numbers[LOSSES] + row]), hits


@kernel
def epoch(work, rank, size, count, t):
    """One epoch of stochastic steps; returns (state of the run, step reached, rank 0's sum of losses and hits)."""
    loss, hits, (first, last) = 0.0, 0, columns_of_first_layer(work, rank, size)
    numbers = work.indices + 2 * rank * (work.numbers[COLUMNS_IN] + SPARE)
    others = numbers + (work.numbers[COLUMNS_IN] + SPARE)
    following = _inputs(work, 0, numbers)
    _first_layer(work, 1, _Sample(work.X, numbers, 0), following, work.X, first, last)
    if rank == 0:
        forget(work, 1)
        store_release(work.words + DECISION, GOES_ON)
    for position in range(count):
        inputs, numbers, others = following, others, numbers
        following = _inputs(work, min(position + 1, count - 1), numbers)
        upcoming = work.X + sample_at(work, min(position + 2, count - 1)) * work.numbers[COLUMNS_IN]
        if not meet(work.words, size):
            return STOPPED, t, loss, hits
        if rank == 0:
            value, found = _rest_of_step(work, position, t)
            loss += value
            hits += found
        if not meet(work.words, size):
            return STOPPED, t, loss, hits
        state = load_acquire(work.words + DECISION)
        if state != GOES_ON:
            return state, t, loss, hits
        update_bias(work, 1, row_of(work, 1, D, position % 2), first, last)
        _first_layer(work, position % 2, inputs, following, upcoming, first, last)
        t += 1
    if rank == 0:
        finish(work, (count - 1) % 2)
    return GOES_ON, t, loss, hits
