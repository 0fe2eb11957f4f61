"""Penalties on weights, never on biases: l2 / 2 sum w^2 + l1 sum abs(w).

Where l1 is proximal, weights move towards 0 by a threshold after the update instead, and those that get there stay
exactly 0. Source: Duchi and Singer 2009 (forward-backward splitting).

The users' lambda is divided by the number of training samples m before it comes here: l2 = lambda / m, l1 = lambda / m.
"""

from fastnn_kernels.jit import kernel
from fastnn_kernels.layout import DEPTH, N_IN, N_OUT, WIDTH, W
from fastnn_kernels.lines import line, put
from fastnn_kernels.native import absolute, fill, fma, lanes, load, maximum, select, store, sum_lanes
from fastnn_kernels.work import LAYERS, at


@kernel
def add_gradient(g, w, count, l1, l2):
    """g += l2 w + l1 sgn(w) over `count` elements; sgn(0) = 0."""
    if l1 == 0.0 and l2 == 0.0:
        return
    for i in range(0, count, lanes(w)):
        weight = load(w + i)
        sign = select(weight > 0.0, fill(weight, l1), select(weight < 0.0, fill(weight, -l1), 0.0))
        store(g + i, load(g + i) + fma(weight, l2, sign))


@kernel
def soften(lines, w, threshold):
    """w = sgn(w) max(abs(w) - threshold, 0)"""
    for k in range(lines.total):
        i = line(lines, k)
        weight = load(w + i)
        sign = select(weight < 0.0, fill(weight, -1.0), 1.0)
        put(lines, w + i, sign * maximum(fill(weight, 0.0), absolute(weight) - threshold))


@kernel
def share_of_zeros(work):
    """The share of the weights of all layers that are exactly 0."""
    weights = others = 0
    for layer in range(1, work.numbers[LAYERS] + 1):
        weights += at(work, layer, N_IN) * at(work, layer, N_OUT)
        w = work.params + at(work, layer, W)
        for i in range(at(work, layer, DEPTH) * at(work, layer, WIDTH)):
            others += w[i] != 0.0
    return 1.0 - others / weights


@kernel
def cost(work, l1, l2):
    """What the penalty adds to the loss; padding is zero and adds nothing."""
    total = 0.0
    for layer in range(1, work.numbers[LAYERS] + 1):
        weight = work.params + at(work, layer, W)
        squares = sizes = fill(weight, 0.0)
        for i in range(0, at(work, layer, DEPTH) * at(work, layer, WIDTH), lanes(weight)):
            w = load(weight + i)
            squares = fma(w, w, squares)
            sizes = sizes + absolute(w)
        total += 0.5 * l2 * sum_lanes(squares) + l1 * sum_lanes(sizes)
    return total
