"""What the gradients of a pass ask for before it is wanted, so that memory and arithmetic run side by side.

With the product of a unit come its own parameters and state, a share of the next pass's samples, and where another
group of rows is packed next, what goes into that. `one` is the Pass of gradient.py.
"""

from fastnn_kernels import optimizer
from fastnn_kernels.jit import inline, kernel
from fastnn_kernels.layout import STRIDE
from fastnn_kernels.machine import PIECE, TALL, VECTOR_BYTES
from fastnn_kernels.native import lanes
from fastnn_kernels.product import STEPS, Ahead
from fastnn_kernels.work import COLUMNS_IN, OPTIMIZER, PARAMETERS, ask_for, at, below, cache_line, sample_at, share

TILES = -(-PIECE // TALL)  # of a unit's product: each can ask for a sample
NEAR_BYTES = 1 << 18  # of parameters and state, which a core's second cache holds beside all else


@kernel
def is_far(work):
    """Whether what an update reads and writes is more than a core has near."""
    vectors = work.numbers[PARAMETERS] * (1 + optimizer.states(work.numbers[OPTIMIZER])) // lanes(work.params)
    return vectors * VECTOR_BYTES > NEAR_BYTES


@kernel
def _soon(work, one, piece):
    """What is wanted with the gradient of a piece: where it goes, or the parameters and up to two vectors of state."""
    if not one.updates:
        g = work.gradient + piece.offset
        return g, g, g, g
    states, w, s1 = optimizer.states(work.numbers[OPTIMIZER]), work.params + piece.offset, work.state + piece.offset
    if states == 0:
        return w, w, w, w
    s2 = s1 + work.numbers[PARAMETERS] if states > 1 else s1
    return w, s1, s2, w


@kernel
def _later(work, position, count):
    """One to TILES samples of the next pass."""
    last, columns = position + count - 1, work.numbers[COLUMNS_IN]
    return (
        work.X + sample_at(work, position) * columns,
        work.X + sample_at(work, min(position + 1, last)) * columns,
        work.X + sample_at(work, min(position + 2, last)) * columns,
        work.X + sample_at(work, last) * columns,
    )


@kernel
def _following(work, one, piece):
    """What goes into the next group of rows, a line at a time; elements from one turn of a product's loop to the next.

    Two lines of every row, or where rows have more, those of every row that begins a turn.
    """
    x, stride = below(work, piece.layer, one.rank) + (piece.row + PIECE), at(work, piece.layer - 1, STRIDE)
    n = cache_line(x)
    if 2 * n >= PIECE:
        other = x + (STEPS - 1) * stride
        return (x, x + (PIECE - 1), other, other + (PIECE - 1)), STEPS * stride
    return (x, x + n, x + min(2 * n, PIECE - 1), x + (PIECE - 1)), STEPS * stride


@inline
def ahead_of(work, one, piece, unit, ends):
    """What the product of a unit is to ask for, its share of the next pass's samples among it.

    ends: whether another group's inputs are to be packed next. Where products ask for nothing, or for those, or the
    samples are more than they can, samples are asked for here.
    """
    rows = one.ask_last - one.ask_first
    first, last = share(rows, min(unit, one.units), max(one.units, 1))
    position, count = one.upcoming + one.ask_first + first, min(last, rows) - first
    soon = _soon(work, one, piece)
    if one.asks and not ends and 0 < count <= TILES:
        return Ahead(soon, one.soon_step, 0, _later(work, position, count), one.later_step, 0)
    for i in range(count):
        ask_for(work, position + i)
    if ends:
        later, step = _following(work, one, piece)
        return Ahead(soon, one.soon_step, 0, later, step, 0)
    return Ahead(soon, one.soon_step, 0, soon, 0, 0)
